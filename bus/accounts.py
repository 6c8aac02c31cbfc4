"""The users of one instance: a key for each role and each machine, their files, and the accounts block of server.conf.

A user is known by the public half of an Ed25519 key (an nkey) and proves it by signing what the server makes up anew for
each connection: no secret stands in server.conf, and none is ever sent. What each may do stands in `bus/rights.py`.
"""

import json
import logging
import os
from pathlib import Path

import msgspec
import nkeys

from bus.client import AGENT_WIRE, MINER_WIRE, Credentials
from bus.rights import EXPORTS, ROLES, host_of, may_publish, miner_user, services
from domain.errors import Unreachable

log = logging.getLogger("sluice.accounts")
#: Requests that are answered by several messages.
_MANY_ANSWERS = ("MSG.NEXT", "DIRECT.GET")


class Accounts(msgspec.Struct):
    """Seeds (private keys) of one instance by user, and that of the set-up user; kept 0600 and never printed."""

    seeds: dict[str, str]
    setup: str


class _Passwords(msgspec.Struct):
    """How users were known before they had keys."""

    passwords: dict[str, str]


def new_seed() -> str:
    return bytes(nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)).decode()


def public_key(seed: str) -> str:
    """What the server knows a user by."""
    return bytes(nkeys.from_seed(bytearray(seed.encode())).public_key).decode()


def load_accounts(path: Path, hosts: list[str]) -> Accounts:
    """Read `path`, or make it with fresh keys (0600); a user for each role and each mining host."""
    users = [*ROLES, *(miner_user(h) for h in hosts)]
    accounts = Accounts({}, new_seed())
    if path.exists():
        try:
            raw = path.read_bytes()
            found = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
            if "passwords" in found:
                users += [u for u in msgspec.json.decode(raw, type=_Passwords).passwords if host_of(u)]
                log.warning("users have keys instead of passwords now: machines that joined need new credentials files")
            else:
                accounts = msgspec.json.decode(raw, type=Accounts)
        except (OSError, msgspec.MsgspecError) as e:
            raise Unreachable(
                f"the accounts of this instance in {path} cannot be read ({e}); restore the file or start empty"
            ) from e
    missing = [u for u in dict.fromkeys(users) if u not in accounts.seeds]
    for user in missing:
        accounts.seeds[user] = new_seed()
    if missing or not path.exists():
        save_accounts(path, accounts)
    return accounts


def save_accounts(path: Path, accounts: Accounts) -> None:
    write_private(path, msgspec.json.encode(accounts))


def write_private(path: Path, data: bytes) -> None:
    """Write a 0600 file atomically."""
    tmp = path.with_suffix(".tmp")
    tmp.touch(mode=0o600)
    tmp.chmod(0o600)
    tmp.write_bytes(data)
    tmp.replace(path)


def write_credentials(folder: Path, accounts: Accounts, url: str, *, anonymous: bool = False, ca: str = "") -> None:
    """One 0600 file a user (ROLE.json), so that each agent gets its own and no other; beside it the bare key (ROLE.nk).

    `anonymous`: a server that knows no users. `ca`: the certificate (PEM) that vouches for the server; in ca.pem too.
    """
    if ca:
        write_private(folder / "ca.pem", ca.encode())
    for user, seed in accounts.seeds.items():
        host = host_of(user)
        wire = MINER_WIRE if host else AGENT_WIRE
        creds = Credentials(url, user, host=host) if anonymous else Credentials(url, user, user, seed, wire, host, ca)
        write_private(folder / f"{user}.json", msgspec.json.encode(creds))
        write_private(folder / f"{user}.nk", f"{seed}\n".encode())


def read_credentials(path: Path) -> Credentials:
    try:
        creds = msgspec.json.decode(path.read_bytes(), type=Credentials)
    except FileNotFoundError as e:
        raise Unreachable(
            f"there are no credentials at {path}; was `sluice up` ever run with this state directory?"
        ) from e
    except (OSError, msgspec.MsgspecError) as e:
        raise Unreachable(f"the credentials at {path} cannot be read: {e}") from e
    if creds.user and not creds.seed:
        raise Unreachable(f"the credentials at {path} hold no key; make them anew with `sluice creds add miner NAME`")
    return creds


def _user(name: str, seed: str) -> dict[str, object]:
    subscribe = [f"_INBOX.{name}.>"] if name != "admin" else [">"]
    rights = {"publish": {"allow": may_publish(name)}, "subscribe": {"allow": subscribe}}
    return {"nkey": public_key(seed), "permissions": rights}


def _exports() -> list[dict[str, object]]:
    out: list[dict[str, object]] = []
    for subject in EXPORTS:
        many = any(m in subject for m in _MANY_ANSWERS)
        service: dict[str, object] = {"service": subject}
        out.append(service | ({"response_type": "stream"} if many else {}))
    return out


def _imports(user: str) -> list[dict[str, object]]:
    out: list[dict[str, object]] = []
    for home, local in services(user):
        service: dict[str, object] = {"service": {"account": "SLUICE", "subject": home}}
        out.append(service | ({"to": local} if local != home else {}))
    return out


def accounts_conf(accounts: Accounts, *, setup: bool) -> str:
    """The `accounts` block of server.conf. With `setup`, only the set-up user exists: it makes streams while no agent runs."""
    block: dict[str, object] = {
        "SLUICE": {"jetstream": "enabled", "users": [{"nkey": public_key(accounts.setup)}] if setup else []}
    }
    if not setup:
        block["SLUICE"] = {"jetstream": "enabled", "users": [], "exports": _exports()}
        for user, seed in accounts.seeds.items():
            block[user.upper() if user in ROLES else user] = {"users": [_user(user, seed)], "imports": _imports(user)}
    # The server reads JSON as a subset of its own format.
    return f"accounts: {json.dumps(block, indent=2)}\n"

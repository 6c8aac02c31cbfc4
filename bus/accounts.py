"""Who may do what on the bus: roles with the least rights, in accounts that hold no stream.

The account with the streams has no user at run time. Agents and miners live in two accounts of their own and reach it
through imported, renamed services: rights on subjects alone are bypassed through reply subjects (a user who may read
could delete EVENTS by naming the delete request as the reply of a read), and across an account border a reply leads
nowhere but back. What is not imported (delete, purge, update, restore of a stream) nobody can ask for.
"""

import json
import secrets
from pathlib import Path

import msgspec

from bus.client import AGENT_WIRE, MINER_WIRE, Credentials
from domain.errors import Unreachable

_API = AGENT_WIRE.api
_READ_NAMES = [
    "INFO",
    "STREAM.INFO.*",
    "STREAM.NAMES",
    "STREAM.LIST",
    "STREAM.MSG.GET.*",
    "DIRECT.GET.>",
    "CONSUMER.CREATE.>",
    "CONSUMER.INFO.>",
    "CONSUMER.MSG.NEXT.>",
    "CONSUMER.NAMES.>",
    "CONSUMER.LIST.>",
]
_FEED_NAMES = ["STREAM.PURGE.WORK", "CONSUMER.DURABLE.CREATE.WORK.>", "CONSUMER.DELETE.WORK.>"]
# Buckets in memory do not outlive the server: its owner makes them anew after every start.
_BUCKET_NAMES = ["STREAM.CREATE.KV_PRESENCE", "STREAM.CREATE.KV_LEASE"]
_READ = [f"{_API}.{name}" for name in _READ_NAMES]
_AGENT = [*_READ, "$KV.PRESENCE.>", "$KV.LEASE.>", "parked.>", "log.*.*"]

#: role -> what it may publish, beside its own inbox to listen on.
ROLES: dict[str, list[str]] = {
    "admin": [">"],
    "dispatcher": [
        *_AGENT,
        "ev.mining.campaign.>",
        "ev.mining.unit.*.opened",
        "ev.mining.queue.>",
        "ev.data.>",
        "work.>",
        "art.>",
        *(f"{_API}.{name}" for name in _FEED_NAMES),
    ],
    "validator": [*_AGENT, "ev.mining.unit.>", "ev.mining.campaign.*.judged", "ev.strategy.>", "ev.ops.kernel.>"],
    "projector": [*_AGENT],
    "auditor": [*_READ, "$KV.PRESENCE.>", "$KV.LEASE.auditor", "log.*.*", "audit.>"],
    "watchdog": [*_AGENT, "ev.ops.>", *(f"{_API}.{name}" for name in _BUCKET_NAMES)],
    "web": [*_READ, "$KV.PRESENCE.>", "log.*.*", "ev.cmd.campaign.*.requested"],
}
_MINER_ALLOW = ["sluice.api.>", "$JS.ACK.WORK.>", "parked.miner.*.*"]
#: (subject where the streams are, name in the account that imports it; "" = the same)
_AGENT_SERVICES = [(f"$JS.API.{name}", f"{_API}.{name}") for name in (*_READ_NAMES, *_FEED_NAMES, *_BUCKET_NAMES)] + [
    (subject, "")
    for subject in (
        "ev.>",
        "work.>",
        "claim.>",
        "result.>",
        "ckpt.>",
        "art.>",
        "telem.>",
        "log.*.*",
        "parked.>",
        "audit.>",
        "$KV.PRESENCE.>",
        "$KV.LEASE.>",
    )
]
_MINER_SERVICES = [
    ("$JS.API.CONSUMER.MSG.NEXT.WORK.*", f"{MINER_WIRE.api}.CONSUMER.MSG.NEXT.WORK.*"),
    *(
        (f"$JS.API.STREAM.MSG.GET.{s}", f"{MINER_WIRE.api}.STREAM.MSG.GET.{s}")
        for s in ("CLAIM", "RESULT", "CKPT", "ARTIFACTS", "KV_PRESENCE")
    ),
    ("$JS.ACK.WORK.>", ""),
    ("claim.*.*.*.*", ""),
    ("result.*.*.*.*.*", ""),
    ("ckpt.*.*.*.*", ""),
    ("art.*.*.*", ""),
    ("telem.*.*.*", ""),
    ("log.*.*", ""),
    ("parked.miner.*.*", ""),
    ("$KV.PRESENCE.*.*", "presence.*.*"),
]
#: Requests that are answered by several messages.
_MANY_ANSWERS = ("MSG.NEXT", "DIRECT.GET")


class Accounts(msgspec.Struct):
    """Passwords of one instance, by user; kept 0600 and never printed."""

    passwords: dict[str, str]
    setup: str


def miner_rights(host: str) -> list[str]:
    """A machine writes claims, results, checkpoints, artifacts, logs and heartbeats under its own host token only."""
    return [
        *_MINER_ALLOW,
        f"claim.*.*.{host}.*",
        f"result.*.*.*.{host}.*",
        f"ckpt.*.*.{host}.*",
        f"art.{host}.*.*",
        f"telem.{host}.*.*",
        f"log.{host}.*",
        f"presence.{host}.*",
    ]


def load_accounts(path: Path, hosts: list[str]) -> Accounts:
    """Read `path`, or make it with fresh passwords (0600); a user for each role and each mining host."""
    users = [*ROLES, *(f"miner-{h}" for h in hosts)]
    accounts = Accounts({}, secrets.token_urlsafe(24))
    if path.exists():
        try:
            accounts = msgspec.json.decode(path.read_bytes(), type=Accounts)
        except (OSError, msgspec.MsgspecError) as e:
            raise Unreachable(
                f"the accounts of this instance in {path} cannot be read ({e}); restore the file or start empty"
            ) from e
    missing = [u for u in users if u not in accounts.passwords]
    for user in missing:
        accounts.passwords[user] = secrets.token_urlsafe(24)
    if missing or not path.exists():
        write_private(path, msgspec.json.encode(accounts))
    return accounts


def write_private(path: Path, data: bytes) -> None:
    """Write a 0600 file atomically."""
    tmp = path.with_suffix(".tmp")
    tmp.touch(mode=0o600)
    tmp.chmod(0o600)
    tmp.write_bytes(data)
    tmp.replace(path)


def write_credentials(folder: Path, accounts: Accounts, url: str, *, anonymous: bool = False) -> None:
    """One 0600 file a role, so that each agent gets its own and no other. `anonymous`: a server that knows no users."""
    for user, password in accounts.passwords.items():
        host = user.removeprefix("miner-") if user.startswith("miner-") else ""
        wire = MINER_WIRE if host else AGENT_WIRE
        creds = Credentials(url, user, host=host) if anonymous else Credentials(url, user, user, password, wire, host)
        write_private(folder / f"{user}.json", msgspec.json.encode(creds))


def read_credentials(path: Path) -> Credentials:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Credentials)
    except FileNotFoundError as e:
        raise Unreachable(
            f"there are no credentials at {path}; was `sluice up` ever run with this state directory?"
        ) from e
    except (OSError, msgspec.MsgspecError) as e:
        raise Unreachable(f"the credentials at {path} cannot be read: {e}") from e


def _user(name: str, password: str, allow: list[str]) -> dict[str, object]:
    subscribe = [f"_INBOX.{name}.>"] if name != "admin" else [">"]
    rights = {"publish": {"allow": allow}, "subscribe": {"allow": subscribe}}
    return {"user": name, "password": password, "permissions": rights}


def _exports(account: str, services: list[tuple[str, str]]) -> list[dict[str, object]]:
    out: list[dict[str, object]] = []
    for subject, _ in services:
        many = any(m in subject for m in _MANY_ANSWERS)
        service: dict[str, object] = {"service": subject, "accounts": [account]}
        out.append(service | ({"response_type": "stream"} if many else {}))
    return out


def _imports(services: list[tuple[str, str]]) -> list[dict[str, object]]:
    out: list[dict[str, object]] = []
    for subject, to in services:
        service: dict[str, object] = {"service": {"account": "SLUICE", "subject": subject}}
        out.append(service | ({"to": to} if to else {}))
    return out


def accounts_conf(accounts: Accounts, *, setup: bool) -> str:
    """The `accounts` block of server.conf. With `setup`, only the set-up user exists: it makes streams while no agent runs."""
    if setup:
        block: dict[str, object] = {
            "SLUICE": {"jetstream": "enabled", "users": [{"user": "setup", "password": accounts.setup}]}
        }
    else:
        agents = [_user(role, accounts.passwords[role], allow) for role, allow in ROLES.items()]
        miners = [
            _user(u, p, miner_rights(u.removeprefix("miner-")))
            for u, p in accounts.passwords.items()
            if u.startswith("miner-")
        ]
        exports = [*_exports("AGENTS", _AGENT_SERVICES), *_exports("MINERS", _MINER_SERVICES)]
        block = {
            "SLUICE": {"jetstream": "enabled", "users": [], "exports": exports},
            "AGENTS": {"users": agents, "imports": _imports(_AGENT_SERVICES)},
            "MINERS": {"users": miners, "imports": _imports(_MINER_SERVICES)},
        }
    # The server reads JSON as a subset of its own format.
    return f"accounts: {json.dumps(block, indent=2)}\n"

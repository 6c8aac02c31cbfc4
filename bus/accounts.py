"""Who may do what on the bus: roles with the least rights, and the miners' account with renamed imports.

Miners live in an account of their own because rights on subjects alone are bypassed through reply subjects:
across an account border only the imported services exist.
"""

import json
import secrets
from pathlib import Path

import msgspec

from bus.client import MINER_WIRE, Credentials, Wire
from domain.errors import Unreachable

#: Nobody at run time may delete, purge, update or restore a stream that is the record.
_DESTRUCTIVE = [
    f"$JS.API.STREAM.{verb}.{stream}"
    for verb in ("DELETE", "PURGE", "UPDATE", "RESTORE", "MSG.DELETE")
    for stream in ("EVENTS", "RESULT", "PARKED", "AUDIT")
]
_READ = [
    "$JS.API.INFO",
    "$JS.API.STREAM.INFO.*",
    "$JS.API.STREAM.NAMES",
    "$JS.API.STREAM.LIST",
    "$JS.API.STREAM.MSG.GET.*",
    "$JS.API.DIRECT.GET.>",
    "$JS.API.CONSUMER.CREATE.>",
    "$JS.API.CONSUMER.INFO.>",
    "$JS.API.CONSUMER.MSG.NEXT.>",
    "$JS.API.CONSUMER.NAMES.>",
    "$JS.API.CONSUMER.LIST.>",
]
_AGENT = [*_READ, "$KV.PRESENCE.>", "$KV.LEASE.>", "parked.>"]

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
        "$JS.API.STREAM.PURGE.WORK",
        "$JS.API.CONSUMER.DURABLE.CREATE.WORK.>",
        "$JS.API.CONSUMER.DELETE.WORK.>",
    ],
    "validator": [*_AGENT, "ev.mining.unit.>", "ev.strategy.>", "ev.ops.kernel.>"],
    "projector": [*_AGENT],
    # Buckets in memory do not outlive the server: its owner makes them anew after every start.
    "watchdog": [*_AGENT, "ev.ops.>", "$JS.API.STREAM.CREATE.KV_PRESENCE", "$JS.API.STREAM.CREATE.KV_LEASE"],
    "web": [*_READ, "ev.cmd.>"],
}
_MINER_ALLOW = ["sluice.api.>", "$JS.ACK.WORK.>", "parked.miner.*.*"]
_SERVICES = [
    # subject in the main account, name in the miners' account
    ("$JS.API.CONSUMER.MSG.NEXT.WORK.*", "sluice.api.CONSUMER.MSG.NEXT.WORK.*"),
    ("$JS.API.STREAM.MSG.GET.CLAIM", "sluice.api.STREAM.MSG.GET.CLAIM"),
    ("$JS.API.STREAM.MSG.GET.RESULT", "sluice.api.STREAM.MSG.GET.RESULT"),
    ("$JS.API.STREAM.MSG.GET.CKPT", "sluice.api.STREAM.MSG.GET.CKPT"),
    ("$JS.API.STREAM.MSG.GET.ARTIFACTS", "sluice.api.STREAM.MSG.GET.ARTIFACTS"),
    ("$JS.ACK.WORK.>", ""),
    ("claim.*.*.*.*", ""),
    ("result.*.*.*.*.*", ""),
    ("ckpt.*.*.*.*", ""),
    ("art.*.*.*", ""),
    ("telem.*.*.*", ""),
    ("parked.miner.*.*", ""),
    ("$KV.PRESENCE.*.*", "presence.*.*"),
]


class Accounts(msgspec.Struct):
    """Passwords of one instance, by user; kept 0600 and never printed."""

    passwords: dict[str, str]
    setup: str


def miner_rights(host: str) -> list[str]:
    """A machine writes claims, results, checkpoints, artifacts and heartbeats under its own host token only."""
    return [
        *_MINER_ALLOW,
        f"claim.*.*.{host}.*",
        f"result.*.*.*.{host}.*",
        f"ckpt.*.*.{host}.*",
        f"art.{host}.*.*",
        f"telem.{host}.*.*",
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
        wire = MINER_WIRE if host else Wire()
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


def _user(name: str, password: str, allow: list[str], deny: list[str] | None = None) -> dict[str, object]:
    publish: dict[str, object] = {"allow": allow}
    if deny:
        publish["deny"] = deny
    subscribe = [f"_INBOX.{name}.>"] if name != "admin" else [">"]
    return {"user": name, "password": password, "permissions": {"publish": publish, "subscribe": {"allow": subscribe}}}


def accounts_conf(accounts: Accounts, *, setup: bool) -> str:
    """The `accounts` block of server.conf. With `setup`, only the set-up user exists: it makes streams while no agent runs."""
    if setup:
        main_users: list[dict[str, object]] = [{"user": "setup", "password": accounts.setup}]
        miners: list[dict[str, object]] = []
    else:
        main_users = [
            _user(role, accounts.passwords[role], allow, _DESTRUCTIVE if role == "admin" else None)
            for role, allow in ROLES.items()
        ]
        miners = [
            _user(u, p, miner_rights(u.removeprefix("miner-")))
            for u, p in accounts.passwords.items()
            if u.startswith("miner-")
        ]
    exports = [
        {"service": main, "accounts": ["MINERS"]} | ({"response_type": "stream"} if "MSG.NEXT" in main else {})
        for main, _ in _SERVICES
    ]
    imports = [
        {"service": {"account": "SLUICE", "subject": main}} | ({"to": to} if to else {}) for main, to in _SERVICES
    ]
    block = {
        "SLUICE": {"jetstream": "enabled", "users": main_users, "exports": exports},
        "MINERS": {"users": miners, "imports": imports},
    }
    # The server reads JSON as a subset of its own format.
    return f"accounts: {json.dumps(block, indent=2)}\n"

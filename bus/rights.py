"""Who may do what on the bus: each role's least rights, and what its account can reach of the streams at all.

The account with the streams has no user at run time. Each user lives in an account of its own and reaches it through
imported, renamed services, which are exactly its rights: rights on subjects alone are bypassed through reply subjects (a
user who may read could delete EVENTS by naming the delete request as the reply of a read). Across an account border a
reply leads back into the account that asked and to what is imported there: measured, a role that shared an account with
the dispatcher purged WORK so. What nobody imports (delete, purge, update, restore of a stream) nobody can ask for.

`bus/matrix.py` prints docs/rights.md from it; tests try every pair that is forbidden against a real server.
"""

from bus.flow import FLOW, subject_pattern

#: The API of JetStream as agents and miners see it; un-renamed imports of it do not work across accounts.
API = "sluice.api"
_HOME_API = "$JS.API"
#: Streams that are followed by consumers; work is pulled by miners, buckets are read by message.
FOLLOWED = ("EVENTS", "CLAIM", "RESULT", "CKPT", "ARTIFACTS", "TELEM", "LOGS", "PARKED", "AUDIT")
_READ_NAMES = (
    "INFO",
    "STREAM.INFO.*",
    "STREAM.NAMES",
    "STREAM.LIST",
    "STREAM.MSG.GET.*",
    "DIRECT.GET.>",
    "CONSUMER.INFO.>",
    "CONSUMER.NAMES.>",
    "CONSUMER.LIST.>",
    *(f"CONSUMER.CREATE.{stream}.>" for stream in FOLLOWED),
    *(f"CONSUMER.MSG.NEXT.{stream}.*" for stream in FOLLOWED),
)
_FEED_NAMES = ("STREAM.PURGE.WORK", "CONSUMER.DURABLE.CREATE.WORK.>", "CONSUMER.DELETE.WORK.>")
# Buckets in memory do not outlive the server: its owner makes them anew after every start.
_BUCKET_NAMES = ("STREAM.CREATE.KV_PRESENCE", "STREAM.CREATE.KV_LEASE")
_READ = [f"{API}.{name}" for name in _READ_NAMES]


def _shown(role: str) -> list[str]:
    """Read everything; heartbeats and log lines in its own name."""
    return [*_READ, f"$KV.PRESENCE.*.{role}", f"log.*.{role}"]


def _agent(role: str, *, lease: bool = False) -> list[str]:
    return [*_shown(role), f"parked.{role}.*.*", *([f"$KV.LEASE.{role}"] if lease else [])]


def _events(role: str) -> list[str]:
    """The events that the flow table has it publish, and no other."""
    return [subject_pattern(name).replace("<id>", "*") for name, flow in FLOW.items() if role in flow.publishers]


#: role -> what it may publish, beside its own inbox to listen on.
ROLES: dict[str, list[str]] = {
    "admin": [">"],
    "dispatcher": [
        *_agent("dispatcher", lease=True),
        *_events("dispatcher"),
        "work.>",
        *(f"{API}.{name}" for name in _FEED_NAMES),
    ],
    "validator": [*_agent("validator", lease=True), *_events("validator")],
    "projector": _agent("projector"),
    "auditor": [*_shown("auditor"), "$KV.LEASE.auditor", "audit.>"],
    "watchdog": [*_agent("watchdog"), *_events("watchdog"), *(f"{API}.{name}" for name in _BUCKET_NAMES)],
    "web": [*_shown("web"), *_events("web")],
}
#: What the account with the streams offers to others; each imports no more than its own rights.
EXPORTS = (
    *(f"{_HOME_API}.{name}" for name in (*_READ_NAMES, *_FEED_NAMES, *_BUCKET_NAMES)),
    f"{_HOME_API}.CONSUMER.MSG.NEXT.WORK.*",
    "$JS.ACK.WORK.>",
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
#: Pulling and acknowledging is for miners.
_ADMIN = [e for e in EXPORTS if e not in (f"{_HOME_API}.CONSUMER.MSG.NEXT.WORK.*", "$JS.ACK.WORK.>")]


def miner_user(host: str) -> str:
    return f"miner-{host}"


def host_of(user: str) -> str:
    """The machine that this user's miners run on; "" for a role of the instance's own machine."""
    return user.removeprefix("miner-") if user.startswith("miner-") else ""


def miner_rights(host: str) -> list[str]:
    """A machine writes claims, results, checkpoints, artifacts, logs and heartbeats under its own host token only."""
    return [
        f"{API}.CONSUMER.MSG.NEXT.WORK.*",
        *(f"{API}.STREAM.MSG.GET.{s}" for s in ("CLAIM", "RESULT", "CKPT", "ARTIFACTS", "KV_PRESENCE")),
        "$JS.ACK.WORK.>",
        "parked.miner.*.*",
        f"claim.*.*.{host}.*",
        f"result.*.*.*.{host}.*",
        f"ckpt.*.*.{host}.*",
        f"art.{host}.*.*",
        f"telem.{host}.*.*",
        f"log.{host}.*",
        f"presence.{host}.*",
    ]


def may_publish(user: str) -> list[str]:
    """Patterns of subjects, as this user's account names them."""
    host = host_of(user)
    return miner_rights(host) if host else ROLES[user]


def services(user: str) -> list[tuple[str, str]]:
    """What this user's account imports: (subject where the streams are, its name here). Its rights and no more, because
    an answer whose sender names an imported subject as the reply goes on to that.
    """
    if user == "admin":
        return [(home, _local(home, "")) for home in _ADMIN]
    host = host_of(user)
    return [(_home(local, host), local) for local in may_publish(user)]


def _home(local: str, host: str) -> str:
    if local.startswith(f"{API}."):
        return f"{_HOME_API}.{local.removeprefix(f'{API}.')}"
    return f"$KV.PRESENCE.{local.removeprefix('presence.')}" if host and local.startswith("presence.") else local


def _local(home: str, host: str) -> str:
    if home.startswith(f"{_HOME_API}."):
        return f"{API}.{home.removeprefix(f'{_HOME_API}.')}"
    return f"presence.{home.removeprefix('$KV.PRESENCE.')}" if host and home.startswith("$KV.PRESENCE.") else home


def matches(pattern: str, subject: str) -> bool:
    """Whether a subject without wildcards falls under a pattern with `*` and `>`."""
    want, have = pattern.split("."), subject.split(".")
    for n, part in enumerate(want):
        if part == ">":
            return len(have) > n
        if n >= len(have) or part not in ("*", have[n]):
            return False
    return len(want) == len(have)


def is_served(user: str, subject: str) -> bool:
    """Whether `subject`, as this user's account names it, leads anywhere.

    Who is none of the roles (the set-up user) lives in the account of the streams itself, which answers everything.
    """
    if user not in ROLES and not host_of(user):
        return True
    return any(matches(local, subject) for _, local in services(user))


def local_name(user: str, home_subject: str) -> str:
    """How this user's account names a subject of the streams, whether it is imported there or not."""
    return _local(home_subject, host_of(user))


def allowed(user: str, home_subject: str) -> bool:
    """Whether this user can send a message to a subject of the account that holds the streams."""
    local = local_name(user, home_subject)
    return is_served(user, local) and any(matches(p, local) for p in may_publish(user))

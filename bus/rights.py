"""Who may do what on the bus: each role's least rights, and what its account can reach of the streams at all.

The account with the streams has no user at run time. Agents and miners live in two accounts of their own and reach it
through imported, renamed services: rights on subjects alone are bypassed through reply subjects (a user who may read
could delete EVENTS by naming the delete request as the reply of a read), and across an account border a reply leads
nowhere but back. What is not imported (delete, purge, update, restore of a stream) nobody can ask for.

`python -m bus.rights > docs/rights.md` prints the matrix; tests try every pair that it forbids against a real server.
"""

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


#: role -> what it may publish, beside its own inbox to listen on.
ROLES: dict[str, list[str]] = {
    "admin": [">"],
    "dispatcher": [
        *_agent("dispatcher", lease=True),
        "ev.mining.campaign.>",
        "ev.mining.unit.*.opened",
        "ev.mining.queue.>",
        "ev.data.>",
        "work.>",
        "art.>",
        *(f"{API}.{name}" for name in _FEED_NAMES),
    ],
    "validator": [
        *_agent("validator", lease=True),
        "ev.mining.unit.>",
        "ev.mining.campaign.*.judged",
        "ev.strategy.>",
        "ev.ops.kernel.>",
    ],
    "projector": _agent("projector"),
    "auditor": [*_agent("auditor", lease=True), "audit.>"],
    "watchdog": [*_agent("watchdog"), "ev.ops.>", *(f"{API}.{name}" for name in _BUCKET_NAMES)],
    "web": [*_shown("web"), "ev.cmd.campaign.*.requested"],
}
#: (subject where the streams are, name in the account that imports it; "" = the same)
AGENT_SERVICES = [(f"{_HOME_API}.{name}", f"{API}.{name}") for name in (*_READ_NAMES, *_FEED_NAMES, *_BUCKET_NAMES)] + [
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
MINER_SERVICES = [
    (f"{_HOME_API}.CONSUMER.MSG.NEXT.WORK.*", f"{API}.CONSUMER.MSG.NEXT.WORK.*"),
    *(
        (f"{_HOME_API}.STREAM.MSG.GET.{s}", f"{API}.STREAM.MSG.GET.{s}")
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


def miner_user(host: str) -> str:
    return f"miner-{host}"


def host_of(user: str) -> str:
    """The machine that this user's miners run on; "" for a role of the instance's own machine."""
    return user.removeprefix("miner-") if user.startswith("miner-") else ""


def miner_rights(host: str) -> list[str]:
    """A machine writes claims, results, checkpoints, artifacts, logs and heartbeats under its own host token only."""
    return [
        f"{API}.>",
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
    return MINER_SERVICES if host_of(user) else AGENT_SERVICES


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
    """Whether `subject`, as this user's account names it, leads anywhere."""
    return any(matches(to or home, subject) for home, to in services(user))


def local_name(user: str, home_subject: str) -> str:
    """How this user's account names a subject of the streams; "" where it cannot be reached from there."""
    for home, to in services(user):
        if matches(home, home_subject):
            # A renamed import keeps what its wildcards stand for, which is the end of the subject.
            fixed = len(_fixed(home).split(".")) if _fixed(home) else 0
            rest = home_subject.split(".")[fixed:]
            return ".".join([_fixed(to), *rest] if rest else [to]) if to else home_subject
    return ""


def _fixed(pattern: str) -> str:
    """The tokens before the first wildcard."""
    parts = pattern.split(".")
    return ".".join(parts[: next((n for n, p in enumerate(parts) if p in "*>"), len(parts))])


def allowed(user: str, home_subject: str) -> bool:
    """Whether this user can send a message to a subject of the account that holds the streams."""
    local = local_name(user, home_subject)
    return bool(local) and any(matches(p, local) for p in may_publish(user))

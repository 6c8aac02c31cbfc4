"""Every right that a user could have, and which of them it has: role × subject × verb, in the terms of the streams' account.

`python -m bus.matrix > docs/rights.md` prints it; tests try every pair that is not allowed against a real server.
"""

import sys
from pathlib import Path
from typing import NamedTuple

from bus.events import REGISTRY
from bus.rights import ROLES, allowed, matches, miner_user
from bus.streams import stream_specs

#: Two machines that mine: what one may do in the name of the other is nothing.
HOSTS = ("alpha", "beta")
AGENTS = tuple(role for role in ROLES if role != "admin")
STREAMS = tuple(str(spec.config.name) for spec in stream_specs())
#: Nobody deletes from these, purges or alters them while agents run.
RECORD = tuple(str(spec.config.name) for spec in stream_specs() if spec.config.deny_delete)
READ = {
    "look at": "STREAM.INFO.{}",
    "get a message (leader)": "STREAM.MSG.GET.{}",
    "get messages (any node)": "DIRECT.GET.{}",
    "list consumers": "CONSUMER.LIST.{}",
    "name consumers": "CONSUMER.NAMES.{}",
    "look at a consumer": "CONSUMER.INFO.{}.probe",
    "make a consumer": "CONSUMER.CREATE.{}.probe",
    "make a filtered consumer": "CONSUMER.CREATE.{}.probe.filter",
    "pull": "CONSUMER.MSG.NEXT.{}.probe",
}
CHANGE = {
    "make a durable consumer": "CONSUMER.DURABLE.CREATE.{}.probe",
    "delete a consumer": "CONSUMER.DELETE.{}.probe",
    "pause a consumer": "CONSUMER.PAUSE.{}.probe",
    "reset a consumer": "CONSUMER.RESET.{}.probe",
    "unpin a consumer": "CONSUMER.UNPIN.{}.probe",
    "move a consumer's leader": "CONSUMER.LEADER.STEPDOWN.{}.probe",
    "create": "STREAM.CREATE.{}",
    "update": "STREAM.UPDATE.{}",
    "delete": "STREAM.DELETE.{}",
    "purge": "STREAM.PURGE.{}",
    "delete a message": "STREAM.MSG.DELETE.{}",
    "restore": "STREAM.RESTORE.{}",
    "snapshot": "STREAM.SNAPSHOT.{}",
    "move the leader": "STREAM.LEADER.STEPDOWN.{}",
    "remove a peer": "STREAM.PEER.REMOVE.{}",
}
_ACK = "$JS.ACK.{}.probe.1.1.1.1.0"


class Probe(NamedTuple):
    """`subject` where the streams are. `what` is for people: a subject's pattern, or a stream."""

    verb: str
    what: str
    subject: str


def users() -> list[str]:
    return [*ROLES, miner_user(HOSTS[0])]


def writes() -> list[Probe]:
    """A subject for every kind of message, in everybody's name."""
    found = []
    for name in REGISTRY:
        context, entity, verb = name.split(".")
        found.append((f"ev.{context}.{entity}.<id>.{verb}", f"ev.{context}.{entity}.probe.{verb}"))
    found.append(("work.<lane>.<campaign>.<unit>.<replica>", "work.lane.campaign.probe.0"))
    for host in HOSTS:
        found += [
            (f"claim.<unit>.<replica>.{host}.<slot>", f"claim.probe.0.{host}.1"),
            (f"result.<campaign>.<unit>.<replica>.{host}.<slot>", f"result.campaign.probe.0.{host}.1"),
            (f"ckpt.<unit>.<replica>.{host}.<slot>", f"ckpt.probe.0.{host}.1"),
            (f"art.{host}.<sha256>.<n>", f"art.{host}.probe.0"),
            (f"telem.{host}.<agent>.<kind>", f"telem.{host}.probe.progress"),
        ]
    for agent in (*AGENTS, "miner-1"):
        for host in HOSTS:
            found += [(s, s) for s in (f"log.{host}.{agent}", f"$KV.PRESENCE.{host}.{agent}")]
    for agent in AGENTS:
        found.append((f"$KV.LEASE.{agent}",) * 2)
    for agent in (*AGENTS, "miner"):
        found.append((f"parked.{agent}.<stream>.<seq>", f"parked.{agent}.EVENTS.7"))
    found.append(("audit.<…>", "audit.probe"))
    taken = [pattern for spec in stream_specs() for pattern in spec.config.subjects or []]
    return [Probe("write", what, subject) for what, subject in found if any(matches(t, subject) for t in taken)]


def requests(verbs: dict[str, str]) -> list[Probe]:
    return [Probe(verb, s, f"$JS.API.{pattern.format(s)}") for verb, pattern in verbs.items() for s in STREAMS]


def account() -> list[Probe]:
    names = {"look at the account": "INFO", "name streams": "STREAM.NAMES", "list streams": "STREAM.LIST"}
    return [Probe(verb, "", f"$JS.API.{name}") for verb, name in names.items()]


def acks() -> list[Probe]:
    return [Probe("acknowledge", s, _ACK.format(s)) for s in STREAMS]


def probes() -> list[Probe]:
    return [*writes(), *requests(READ), *requests(CHANGE), *acks(), *account()]


def _streams(user: str, found: list[Probe]) -> str:
    may = [p.what for p in found if allowed(user, p.subject)]
    if len(may) == len(found):
        return "all"
    if len(may) > len(found) // 2:
        return "all but " + " ".join(p.what for p in found if p.what not in may)
    return " ".join(may) or "–"


def page() -> str:
    """docs/rights.md as it should be."""
    who = users()
    head = [*who[:-1], f"miner of {HOSTS[0]}"]
    lines = [
        "# Who may do what on the bus",
        "",
        "Generated from `bus/rights.py` by `python -m bus.matrix > docs/rights.md`; a test keeps it fresh. Others try every",
        "pair that is not allowed here against a real server: directly, and as the reply of every kind of request.",
        "",
        "Each role has a user of its own, known to the server by a public key. So has a machine that mines: shown is that of",
        f"`{HOSTS[0]}`, beside another machine, `{HOSTS[1]}`. The account with the streams has no user while agents run:",
        "what nobody has here nobody can do. Streams are made and altered by a set-up user, in a server without agents.",
        "",
        f"Nobody, the admin included, deletes from {', '.join(RECORD[:-1])} or {RECORD[-1]}, purges, alters or restores them.",
        "Who may listen: everybody to its own inbox only, the admin to what the roles of its own machine say too.",
        "",
        "## Messages that may be stored",
        "",
        f"| subject | {' | '.join(head)} |",
        f"|---|{'---|' * len(head)}",
    ]
    for p in writes():
        lines.append(f"| `{p.what}` | {' | '.join('yes' if allowed(u, p.subject) else '–' for u in who)} |")
    lines += ["", "## Requests about streams and consumers", "", f"| what | {' | '.join(head)} |"]
    lines.append(f"|---|{'---|' * len(head)}")
    groups = [
        [p for p in (*requests(READ), *acks(), *requests(CHANGE)) if p.verb == v]
        for v in (*READ, "acknowledge", *CHANGE)
    ]
    for found in groups:
        lines.append(f"| {found[0].verb} | {' | '.join(_streams(u, found) for u in who)} |")
    for p in account():
        lines.append(f"| {p.verb} | {' | '.join('yes' if allowed(u, p.subject) else '–' for u in who)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(page())
    else:
        sys.stdout.write(page())

"""What travels beside the event log: claims, checkpoint headers, heartbeats, progress, parked messages.

Live views and protocol records, not facts: agents that need to remember them turn them into events.
"""

from typing import Literal

import msgspec

AgentState = Literal["starting", "alive", "stalled", "stopped", "dead"]


#: Claims without progress after which nobody tries again.
POISON_ATTEMPTS = 3


class Claim(msgspec.Struct, frozen=True):
    """Who works on a replica. Published by compare-and-set over all claims of the unit; the newest of the replica holds.

    `highest_generation`: the highest ever checkpointed by anybody on this replica; `attempts`: claims since it last
    rose, this one included. `released`: the holder gave it back in good order; `poisoned`: too many attempts, nobody works.
    """

    id: str
    campaign: str
    unit: str
    replica: int
    host: str
    slot: str
    highest_generation: int
    attempts: int
    start_generation: int = 0
    taken_from: str = ""
    released: bool = False
    poisoned: bool = False


class Checkpoint(msgspec.Struct, frozen=True):
    """The state of a search after `generation`, written by the holder of claim `claim_seq`."""

    campaign: str
    unit: str
    replica: int
    claim_seq: int
    generation: int
    lane: str
    state: bytes


class Presence(msgspec.Struct, frozen=True):
    """A heartbeat. `done`: units answered, events projected, verdicts given … since the agent started; `lane`: miners only.

    What a watchdog judges by: `progress` rises with every turn of the main loop and every generation of a search
    (-1: not told); `positions`: how far each stream was read; `work`: the replica that a miner holds, as unit.replica;
    `quiet_s`: how long the present step may take without progress where that is long (loading, re-evaluating).
    """

    agent: str
    kind: str
    host: str
    pid: int
    state: AgentState
    started: str
    time: str
    interval_s: float
    done: int = 0
    slot: str = ""
    lane: str = ""
    detail: str = ""
    progress: int = -1
    positions: dict[str, int] = {}
    work: str = ""
    quiet_s: float = 0.0


#: What a person can do about a log that is not what was sealed, or that lacks events.
DAMAGED_DO = (
    "`sluice audit verify` lists all that differs; put the server's files back as they were, or restore a copy with "
    "`sluice restore`"
)


class Finding(msgspec.Struct, frozen=True):
    """What the auditor last found, on `audit.finding`: `ok`, or the first problem and what to do about it, in words."""

    ok: bool
    time: str
    seq: int = 0
    kind: str = ""
    words: str = ""


class LogLine(msgspec.Struct, frozen=True):
    """One line of an agent's log, on `log.<host>.<agent>`."""

    time: str
    level: str
    agent: str
    host: str
    message: str


class Progress(msgspec.Struct, frozen=True):
    """Where a miner is within a replica; at most one a second."""

    campaign: str
    unit: str
    index: int
    replica: int
    host: str
    slot: str
    generation: int
    generations: int
    evaluated: int
    best: float | None
    time: str


class Parked(msgspec.Struct, frozen=True):
    """A message that could not be handled: where it came from, why, and its bytes."""

    stream: str
    seq: int
    subject: str
    reason: str
    by: str
    time: str
    payload: bytes

"""Pure judgement: is an agent starting, alive, stalled or dead, and what follows when it has ended.

A missing heartbeat is never health, and nothing is held against anybody for the time in which the bus was away.
All times are seconds of the watchdog's own monotonic clock, except those of `Death` (since 1970).
"""

from collections.abc import Mapping
from typing import NamedTuple

from bus.messages import AgentState, Presence
from bus.settings import Settings

MAX_BACKOFF_S = 30.0


class Track(NamedTuple):
    """What is remembered of one agent of one process between two looks: its last heartbeat, and when what changed."""

    pid: int
    since: float
    last: Presence | None = None
    beat_at: float = 0.0
    ready_at: float = 0.0
    progress_at: float = 0.0
    positions_at: float = 0.0
    caught_up_at: float = 0.0

    @property
    def work(self) -> str:
        return self.last.work if self.last else ""

    @property
    def started(self) -> str:
        return self.last.started if self.last else ""


class Judged(NamedTuple):
    """`replace`: the watchdog found it stalled (an agent may also call itself so, and then only says it)."""

    state: AgentState
    reason: str = ""
    replace: bool = False


def _ready(presence: Presence | None) -> bool:
    return presence is not None and presence.state in ("alive", "stalled")


def _behind(presence: Presence, ends: Mapping[str, int]) -> dict[str, int]:
    """How many messages of each stream wait for the agent."""
    return {s: ends[s] - at for s, at in presence.positions.items() if ends.get(s, 0) > at}


def follow(track: Track, presence: Presence | None, now: float, ends: Mapping[str, int] | None = None) -> Track:
    """Fold the newest heartbeat in; one of an earlier process under the same name says nothing about this one.

    `ends` as in `judge`: while nothing waits for an agent its patience does not run, so that the first messages after
    an idle hour do not condemn it.
    """
    last = track.last
    if last is not None and ends is not None and not _behind(last, ends):
        track = track._replace(caught_up_at=now)
    if presence is None or presence.pid != track.pid or (last is not None and presence.time == last.time):
        return track
    if last is None or presence.started != last.started or _ready(presence) != _ready(last):
        track = track._replace(ready_at=now, progress_at=now, positions_at=now)
    elif (presence.progress, presence.work) != (last.progress, last.work):
        track = track._replace(progress_at=now)
    if last is not None and presence.positions != last.positions:
        track = track._replace(positions_at=now)
    return track._replace(last=presence, beat_at=now)


def judge(
    track: Track, ends: Mapping[str, int], now: float, reachable_since: float, settings: Settings
) -> Judged:  # fmt: skip
    """The state of an agent whose process runs. `ends`: last sequence of each stream that somebody reads."""

    def stalled(reason: str) -> Judged:
        return Judged("stalled", reason, replace=True)

    last = track.last
    if last is None or not _ready(last):
        if now - max(track.since, track.ready_at, reachable_since) > settings.start_s:
            return stalled(f"not ready {settings.start_s:g} s after its start")
        return Judged("starting")
    silent = now - max(track.beat_at, reachable_since)
    if silent > settings.silent_s:
        return stalled(f"no heartbeat for {silent:.0f} s")
    patience = max(settings.stall_s, last.quiet_s)
    if last.progress >= 0 and now - max(track.progress_at, reachable_since) > patience:
        what = f"while it works on {last.work}" if last.work else "its main loop stands still"
        return stalled(f"no progress for {patience:g} s, {what}")
    behind = _behind(last, ends)
    if behind and now - max(track.positions_at, track.caught_up_at, reachable_since) > patience:
        waiting = ", ".join(f"{count} of {stream}" for stream, count in sorted(behind.items()))
        return stalled(f"no progress for {patience:g} s, while {waiting} wait for it")
    return Judged(last.state, last.detail if last.state == "stalled" else "")


class Death(NamedTuple):
    """An end that nobody asked for: when, and the replica that a miner held then."""

    at: float
    work: str = ""


class Restart(NamedTuple):
    delay_s: float


class GiveUp(NamedTuple):
    """Left alone; `retry_s` 0 = for good."""

    deaths: int
    retry_s: float


def after_death(deaths: list[Death], now: float, settings: Settings, restart: str) -> Restart | GiveUp:
    """What follows the last of `deaths` (poison deaths are not among them), at time `now` since 1970."""
    recent = [d for d in deaths if 0 <= now - d.at < settings.restart_window_s]
    if restart == "never":
        return GiveUp(len(recent), 0.0)
    if len(recent) > settings.restart_limit:
        # A cooldown of 0 would be a loop.
        return GiveUp(len(recent), max(settings.cooldown_s, settings.backoff_s))
    return Restart(min(MAX_BACKOFF_S, settings.backoff_s * 2 ** max(0, len(recent) - 1)))

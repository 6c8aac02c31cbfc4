"""How an agent is judged, and what follows its end: pure, with made-up clocks."""

import pytest

from agents.watchdog.decide import Death, GiveUp, Judged, Restart, Track, after_death, follow, judge
from bus.messages import AgentState, Presence
from bus.settings import AgentSettings, Settings

SETTINGS = Settings(
    silent_s=10.0, stall_s=60.0, start_s=100.0, restart_limit=3, restart_window_s=300.0, cooldown_s=200.0
)


def beat(
    n: int, state: AgentState = "alive", progress: int = 0, work: str = "", quiet_s: float = 0.0, pid: int = 7,
    started: str = "s", **positions: int,
) -> Presence:  # fmt: skip
    return Presence(
        "miner-1", "miner", "alpha", pid, state, started, f"t{n}", 2.0,
        progress=progress, work=work, quiet_s=quiet_s, positions=positions,
    )  # fmt: skip


def after(*steps: tuple[float, Presence | None]) -> Track:
    track = Track(7, 0.0)
    for now, presence in steps:
        track = follow(track, presence, now)
    return track


def judged(track: Track, now: float, reachable_since: float = 0.0, **ends: int) -> Judged:
    return judge(track, ends, now, reachable_since, SETTINGS)


def test_a_process_without_a_heartbeat_is_starting_and_only_so_long() -> None:
    assert judged(after(), 99.0).state == "starting"
    late = judged(after(), 101.0)
    assert (late.state, late.replace) == ("stalled", True)
    assert "not ready" in late.reason


def test_starting_has_its_own_allowance_because_it_may_compile() -> None:
    track = after((1.0, beat(1, "starting")))
    assert judged(track, 90.0).state == "starting"
    assert judged(track, 102.0).state == "stalled"


def test_a_heartbeat_of_an_earlier_process_says_nothing() -> None:
    track = after((1.0, beat(1, pid=6)))
    assert track.last is None
    assert judged(track, 5.0).state == "starting"


def test_a_missing_heartbeat_is_never_health_also_when_its_key_has_expired() -> None:
    track = after((1.0, beat(1)), (5.0, None), (12.0, None))
    assert judged(track, 10.9).state == "alive"
    assert "no heartbeat for 11 s" in judged(track, 12.0).reason


def test_the_same_heartbeat_read_twice_is_one() -> None:
    assert judged(after((1.0, beat(1)), (11.0, beat(1))), 12.0).state == "stalled"


def test_the_time_without_a_bus_is_held_against_nobody() -> None:
    track = after((1.0, beat(1, progress=3, work="u.0")))
    assert judged(track, 500.0, reachable_since=495.0).state == "alive"
    assert judged(track, 506.0, reachable_since=495.0).state == "stalled"


def test_a_miner_that_beats_but_does_not_get_on_with_its_work_is_stalled() -> None:
    beats = [(float(t), beat(t, progress=4, work="u.0")) for t in range(1, 70)]
    found = judged(after(*beats), 69.0)
    assert found.replace
    assert "while it works on u.0" in found.reason


@pytest.mark.parametrize("get_on", [lambda t: beat(t, progress=t, work="u.0"), lambda t: beat(t, work=f"u{t // 30}.0")])
def test_generations_or_other_work_are_progress(get_on) -> None:  # type: ignore[no-untyped-def]
    assert judged(after(*[(float(t), get_on(t)) for t in range(1, 200)]), 199.0).state == "alive"


def test_a_step_that_was_said_to_be_long_may_be() -> None:
    beats = [(float(t), beat(t, progress=4, work="u.0", quiet_s=150.0)) for t in range(1, 200)]
    assert judged(after(*beats[:140]), 140.0).state == "alive"
    assert judged(after(*beats), 199.0).state == "stalled"


def test_a_position_that_stands_still_is_a_stall_only_with_something_behind_it() -> None:
    beats = [(float(t), beat(t, progress=t, EVENTS=50)) for t in range(1, 70)]
    assert judged(after(*beats), 69.0, EVENTS=50).state == "alive"
    found = judged(after(*beats), 69.0, EVENTS=53)
    assert found.replace
    assert "3 of EVENTS" in found.reason
    moving = [(float(t), beat(t, progress=t, EVENTS=t)) for t in range(1, 70)]
    assert judged(after(*moving), 69.0, EVENTS=10_000).state == "alive"


def test_an_agent_that_does_not_tell_its_progress_is_judged_by_its_heartbeat_alone() -> None:
    assert judged(after(*[(float(t), beat(t, progress=-1)) for t in range(1, 200)]), 199.0).state == "alive"


def test_an_agent_that_calls_itself_stalled_is_believed_and_not_replaced_at_once() -> None:
    found = judged(after((1.0, beat(1, "stalled"))), 2.0)
    assert (found.state, found.replace) == ("stalled", False)


def test_an_agent_started_again_in_its_process_gets_the_time_to_start() -> None:
    track = after((1.0, beat(1)), (500.0, beat(2, "dead")), (501.0, beat(3, "starting", started="s2")))
    assert judged(track, 590.0).state == "starting"
    assert judged(track, 602.0).state == "stalled"


def deaths(*at: float) -> list[Death]:
    return [Death(t) for t in at]


def test_restarts_come_later_each_time_until_the_limit() -> None:
    found = [after_death(deaths(*range(n)), 10.0, SETTINGS, "always") for n in (1, 2, 3, 4)]
    assert found == [Restart(0.5), Restart(1.0), Restart(2.0), GiveUp(4, 200.0)]


def test_old_deaths_are_forgotten() -> None:
    assert after_death(deaths(0, 1, 2, 400), 400.0, SETTINGS, "always") == Restart(0.5)


def test_never_means_never() -> None:
    assert after_death(deaths(5), 5.0, SETTINGS, "never") == GiveUp(1, 0.0)


def test_no_setting_makes_a_loop_without_a_pause() -> None:
    eager = Settings(restart_limit=0, cooldown_s=0.0, backoff_s=0.1)
    found = after_death(deaths(5), 5.0, eager, "always")
    assert isinstance(found, GiveUp)
    assert found.retry_s > 0
    many = after_death(deaths(*range(40)), 40.0, Settings(restart_limit=100), "always")
    assert many == Restart(30.0)


def test_a_table_for_one_miner_goes_before_that_of_all() -> None:
    settings = Settings(agents={"miner": AgentSettings(restart="never"), "miner-2": AgentSettings(alone=True)})
    assert [settings.agent(n).restart for n in ("miner-1", "miner-2", "validator")] == ["never", "always", "always"]


def test_the_first_messages_after_an_idle_hour_condemn_nobody() -> None:
    track = after((1.0, beat(1, EVENTS=50)))
    for look in range(2, 3_600, 2):
        track = follow(track, beat(look, progress=look, EVENTS=50), float(look), {"EVENTS": 50})
    # Sixteen events have come since its last heartbeat: it has had no time to read them.
    assert judged(track, 3_600.0, EVENTS=66).state == "alive"
    for look in range(3_600, 3_640, 2):
        track = follow(track, beat(look, progress=look, EVENTS=50), float(look), {"EVENTS": 66})
    assert judged(track, 3_640.0, EVENTS=66).state == "alive"
    for look in range(3_640, 3_664, 2):
        track = follow(track, beat(look, progress=look, EVENTS=50), float(look), {"EVENTS": 66})
    assert judged(track, 3_664.0, EVENTS=66).state == "stalled"

"""A miner's decisions about a delivery: every branch, and how attempts are counted."""

import msgspec
import pytest

from agents.miner.decide import POISON_ATTEMPTS, Drop, GoBack, Poison, Take, UnitView, decide, owner_of, release
from bus.messages import Claim
from domain.specs import Distinct
from domain.tasks import WorkItem
from tests.support.made import example


def item(replica: int = 0, distinct: Distinct = "slot", generations: int = 100) -> WorkItem:
    made = example(WorkItem)
    search = msgspec.structs.replace(made.search, generations=generations)
    return msgspec.structs.replace(
        made, campaign="c", unit="u", replica=replica, replica_limit=5, distinct=distinct, search=search
    )


def claim(
    replica: int = 0, host: str = "h", slot: str = "1", attempts: int = 1, highest: int = 0, **more: bool
) -> Claim:
    return Claim(
        "old", "c", "u", replica, host, slot, highest, attempts,
        released=more.get("released", False), poisoned=more.get("poisoned", False),
    )  # fmt: skip


def view(
    *claims: Claim, answered: set[int] = frozenset(), mine: set[int] = frozenset(), highest: int = 0, stored: int = 3
) -> UnitView:  # type: ignore[assignment]
    newest = {c.replica: (10 + i, c) for i, c in enumerate(claims)}
    return UnitView(newest, 10 + len(claims), frozenset(answered), frozenset(mine), highest, stored)


def test_a_fresh_replica_is_taken_as_the_first_attempt() -> None:
    got = decide(item(), "h", "1", view(), "new")
    assert isinstance(got, Take)
    assert (got.claim.id, got.claim.attempts, got.claim.taken_from, got.claim.highest_generation) == ("new", 1, "", 0)
    assert (got.claim.host, got.claim.slot, got.claim.unit, got.claim.replica) == ("h", "1", "u", 0)


def test_an_answered_replica_is_dropped_whoever_answered() -> None:
    assert isinstance(decide(item(), "h", "1", view(claim(), answered={0}), "new"), Drop)
    assert isinstance(decide(item(), "h", "1", view(answered={0}, mine={0}), "new"), Drop)


def test_who_has_answered_the_unit_gets_no_other_replica() -> None:
    assert isinstance(decide(item(1), "h", "1", view(answered={0}, mine={0}), "new"), GoBack)


@pytest.mark.parametrize(
    ("distinct", "host", "slot", "back"),
    [
        ("slot", "h", "1", True),
        ("slot", "h", "2", False),
        ("slot", "other", "1", False),
        ("host", "h", "2", True),
        ("host", "other", "1", False),
    ],
)
def test_an_owner_holds_one_replica_of_a_unit(distinct: Distinct, host: str, slot: str, back: bool) -> None:
    got = decide(item(1, distinct), host, slot, view(claim(0)), "new")
    assert isinstance(got, GoBack if back else Take)


@pytest.mark.parametrize("state", ["released", "poisoned", "answered by another"])
def test_a_replica_that_nobody_holds_any_more_keeps_nobody_away(state: str) -> None:
    held = claim(0, **{state: True}) if state != "answered by another" else claim(0)
    answered = {0} if state == "answered by another" else set[int]()
    assert isinstance(decide(item(1), "h", "1", view(held, answered=answered), "new"), Take)


def test_holding_the_delivery_permits_a_takeover_that_is_named() -> None:
    got = decide(item(), "h", "2", view(claim(slot="1")), "new")
    assert isinstance(got, Take)
    assert (got.claim.taken_from, got.claim.attempts) == ("h.1", 2)


def test_ones_own_replica_again_is_an_attempt_and_no_takeover() -> None:
    got = decide(item(), "h", "1", view(claim(slot="1")), "new")
    assert isinstance(got, Take)
    assert (got.claim.taken_from, got.claim.attempts) == ("", 2)


def test_three_claims_without_progress_and_the_fourth_is_poison() -> None:
    seen: list[Claim] = []
    for n in range(POISON_ATTEMPTS):
        got = decide(item(), "h", str(n), view(*seen[-1:]), str(n))
        assert isinstance(got, Take)
        seen.append(got.claim)
    assert [c.attempts for c in seen] == [1, 2, 3]
    last = decide(item(), "h", "9", view(seen[-1]), "last")
    assert isinstance(last, Poison)
    assert last.claim.poisoned
    assert (last.claim.host, last.claim.slot) == ("h", "9"), "a claim stands under the claimant's own name"


def test_progress_starts_the_count_again_and_less_progress_does_not() -> None:
    stuck = claim(attempts=3, highest=10)
    rose = decide(item(), "h", "2", view(stuck, highest=11), "new")
    assert isinstance(rose, Take)
    assert (rose.claim.attempts, rose.claim.highest_generation) == (1, 11)
    assert isinstance(decide(item(), "h", "2", view(stuck, highest=10), "new"), Poison)
    # Another owner starts at 0: its first checkpoints are no progress beyond what was reached before.
    assert isinstance(decide(item(), "h", "2", view(stuck, highest=4), "new"), Poison)
    assert isinstance(decide(item(generations=10), "h", "2", view(stuck, highest=10**9), "new"), Poison)


def test_a_stop_in_good_order_is_no_attempt() -> None:
    given_back = release(claim(attempts=3, host="a", slot="1"), "released")
    assert (given_back.released, given_back.attempts, given_back.id) == (True, 2, "released")
    got = decide(item(), "b", "1", view(given_back), "new")
    assert isinstance(got, Take)
    assert (got.claim.attempts, got.claim.taken_from) == (3, "")
    assert release(claim(attempts=0), "x").attempts == 0


def test_what_is_poisoned_stays_so_under_the_name_of_who_found_it() -> None:
    got = decide(item(), "other", "7", view(claim(attempts=4, poisoned=True), highest=50), "new")
    assert isinstance(got, Poison)
    assert (got.claim.host, got.claim.slot, got.claim.poisoned) == ("other", "7", True)


def test_attempts_that_left_no_claims_are_not_believed() -> None:
    for lie in (claim(attempts=9), claim(attempts=1, poisoned=True), claim(attempts=9, poisoned=True)):
        got = decide(item(), "other", "7", view(lie, stored=1), "new")
        assert isinstance(got, Take)
        assert got.claim.attempts == 2
        assert not got.claim.poisoned


def test_owners() -> None:
    assert (owner_of("host", "h", "1"), owner_of("slot", "h", "1")) == ("h", "h.1")

"""The verdict on a unit as a function of its answers, and what a claim or result must be to be read."""

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.validator.answers import Place, place_of, read_claim, read_result
from agents.validator.decide import AskMore, GiveUp, Quorum, Wait, counts, judge
from agents.validator.model import Answer
from bus.client import Stored
from bus.messages import Claim
from domain.errors import BadInput
from domain.genome import Genome, Operand, Risk, Rule, RuleSet, canonical_genome, genome_id
from domain.metrics import TIER1, TIER2
from domain.results import Find, FrontPoint, MarketFigures, ReplicaResult, UnitOutcome, WindowFigures


def answer(replica: int, owner: str, digest: str, counting: bool = True) -> Answer:
    return Answer(replica, owner, digest, 100 + replica, counting)


A0, B1 = answer(0, "a", "x"), answer(1, "b", "x")


def test_distinct_owners_with_equal_digests_are_a_quorum() -> None:
    assert judge([A0, B1], 2, 2, 5) == Quorum("x", ("a", "b"), (), 100)
    assert judge([B1, A0], 2, 2, 5) == Quorum("x", ("a", "b"), (), 100)
    assert judge([A0], 1, 1, 5) == Quorum("x", ("a",), (), 100)


def test_open_replicas_are_waited_for() -> None:
    assert judge([], 2, 2, 5) == Wait()
    assert judge([A0], 2, 2, 5) == Wait()
    assert judge([A0, answer(1, "b", "y")], 2, 3, 5) == Wait()


def test_disagreement_asks_for_one_more_and_the_liar_is_named() -> None:
    liar = answer(1, "liar", "y")
    asked = judge([A0, liar], 2, 2, 5)
    assert isinstance(asked, AskMore)
    assert (asked.replica, "2 different outcomes" in asked.reason) == (2, True)
    assert judge([A0, liar, answer(2, "c", "x")], 2, 3, 5) == Quorum("x", ("a", "c"), ("liar",), 100)


def test_a_second_answer_of_one_owner_never_counts() -> None:
    late = answer(1, "a", "x", counting=counts([A0], "a"))
    assert not late.counts
    asked = judge([A0, late], 2, 2, 5)
    assert isinstance(asked, AskMore)
    assert "1 of 2 votes" in asked.reason
    # Even if the log said that it counts, an owner is one voice.
    assert not isinstance(judge([A0, answer(1, "a", "x")], 2, 2, 5), Quorum)


def test_an_answer_nobody_asked_for_closes_no_open_replica() -> None:
    ahead = answer(4, "b", "", counting=False)
    assert judge([A0, ahead], 2, 2, 5) == Wait()
    assert isinstance(judge([A0, answer(1, "c", "y"), ahead], 2, 2, 5), AskMore)


def test_the_limit_ends_it() -> None:
    all_different = [answer(r, f"o{r}", f"d{r}") for r in range(5)]
    got = judge(all_different, 2, 5, 5)
    assert isinstance(got, GiveUp)
    assert "5 different outcomes" in got.reason
    assert isinstance(judge(all_different[:4], 2, 4, 5), AskMore)


def test_a_quorum_stands_even_where_replicas_are_open() -> None:
    assert isinstance(judge([A0, B1], 2, 4, 5), Quorum)


votes = st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from("xyz")), max_size=8)


@given(cast=votes, quorum=st.integers(1, 3), seed=st.integers(0, 999))
def test_the_verdict_never_depends_on_the_order_of_the_list_and_needs_distinct_owners(
    cast: list[tuple[str, str]], quorum: int, seed: int
) -> None:
    answers: list[Answer] = []
    for n, (owner, digest) in enumerate(cast):
        answers.append(answer(n, owner, digest, counts(answers, owner)))
    wanted = max(quorum, len(answers))
    got = judge(answers, quorum, wanted, 8)
    shuffled = list(answers)
    random.Random(seed).shuffle(shuffled)
    assert judge(shuffled, quorum, wanted, 8) == got
    if isinstance(got, Quorum):
        assert len(set(got.owners)) == len(got.owners) >= quorum
        assert not set(got.owners) & set(got.outvoted)
        firsts = {o: d for o, d in reversed(cast)}
        assert all(firsts[o] == got.digest for o in got.owners)
        assert all(firsts[o] != got.digest for o in got.outvoted)


# -- reading ----------------------------------------------------------------------------------------------------------

GENOME = Genome("long", Risk(100, 200), RuleSet((Rule(Operand("close"), ">", Operand("sma", 20)),)))
T1, T2 = dict.fromkeys(TIER1, 1.0), dict.fromkeys(TIER2, 1.0)
FIND = Find(GENOME, genome_id(GENOME), 0.5, True, (WindowFigures(0, 9, T1),), (), T2, {}, T2, {})
OUTCOME = UnitOutcome("d" * 64, 1, 4, 50, "a" * 64, (FIND,))
SUBJECT = "result.c.u.1.h.2"


def stored(subject: str, message: Any) -> Stored:
    return Stored(subject, 9, msgspec.json.encode(message), {}, "")


def result(outcome: UnitOutcome = OUTCOME, **changes: Any) -> ReplicaResult:
    good = ReplicaResult("c", "u", 0, 1, "h", "2", "lane", 5, outcome.digest(), outcome, 1.5)
    return msgspec.structs.replace(good, **changes)


def test_a_good_result_is_read() -> None:
    assert read_result(stored(SUBJECT, result())) == result()
    assert place_of(SUBJECT) == Place("c", "u", 1, "h", "2")


@pytest.mark.parametrize("subject", ["result.c.u.1.h", "result.c.u.x.h.2", "result.c.u.-1.h.2", "result.c.u.1.h.2.3"])
def test_a_place_that_is_none(subject: str) -> None:
    with pytest.raises(BadInput):
        place_of(subject)


def with_find(**changes: Any) -> ReplicaResult:
    return result(msgspec.structs.replace(OUTCOME, finds=(msgspec.structs.replace(FIND, **changes),)))


def further(**changes: Any) -> MarketFigures:
    figures = MarketFigures("e" * 64, (WindowFigures(0, 9, T1),), (), T2, {}, T2, {})
    return msgspec.structs.replace(figures, **changes)


def test_a_find_on_several_datasets_is_read() -> None:
    assert read_result(stored(SUBJECT, with_find(also=(further(),)))).outcome.finds[0].also == (further(),)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"not": "a result"}, "not a result"),
        (result(host="other"), "another unit, replica or owner"),
        (result(replica=0), "another unit, replica or owner"),
        (result(digest="0" * 64), "digest"),
        (result(msgspec.structs.replace(OUTCOME, tried_sha256="../x")), "tried"),
        (result(msgspec.structs.replace(OUTCOME, evaluated=-1)), "counted"),
        (result(msgspec.structs.replace(OUTCOME, generations=2**60)), "counted"),
        (result(seconds=-1.0), "counted"),
        (with_find(genome_id="0" * 64), "another genome's id"),
        (with_find(daily_fitness={"x" * 1000: 1.0}), "figures that we do not know"),
        (with_find(fitness=(WindowFigures(0, 9, {"trades": 1}),)), "figures that we do not know"),
        (with_find(also=(further(daily_walk={"x": 1.0}),)), "figures that we do not know"),
        (with_find(also=(further(walk_forward=(WindowFigures(0, 9, {"trades": 1}),)),)), "figures that we do not know"),
        (with_find(genome=msgspec.structs.replace(GENOME, long=RuleSet())), "entry rules"),
    ],
)
def test_a_result_that_is_none(wrong: Any, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        read_result(stored(SUBJECT, wrong))


def on_front(threshold: float, **changes: Any) -> FrontPoint:
    rule = Rule(Operand("rsi", 14), "<", Operand("const", value=threshold))
    g = canonical_genome(Genome("long", Risk(100, 200), RuleSet((rule,))))
    return msgspec.structs.replace(FrontPoint(g, genome_id(g), 0.2, 0.1, 0.3, 50), **changes)


BEST, CALM = on_front(30.0), on_front(40.0, objective=0.1, max_drawdown=0.1)


def test_a_front_is_read() -> None:
    good = result(msgspec.structs.replace(OUTCOME, front=(BEST, CALM)))
    assert read_result(stored(SUBJECT, good)) == good


@pytest.mark.parametrize(
    ("front", "why"),
    [
        ((CALM, BEST), "out of order"),
        ((BEST, BEST), "the front of the result is none"),
        ((BEST, on_front(40.0, objective=0.1)), "dominates"),
        ((on_front(30.0, genome_id="0" * 64),), "another genome's id"),
        ((on_front(30.0, genome=GENOME),), "another genome's id"),
        ((on_front(30.0, genome=msgspec.structs.replace(GENOME, long=RuleSet())),), "entry rules"),
        (tuple(on_front(t + 1.0, objective=0.1 - t / 100, trades=50 + t) for t in range(17)), "more than 16"),
    ],
)
def test_a_front_that_is_none(front: tuple[FrontPoint, ...], why: str) -> None:
    with pytest.raises(BadInput, match=why):
        read_result(stored(SUBJECT, result(msgspec.structs.replace(OUTCOME, front=front))))


@given(raw=st.binary(max_size=100))
def test_arbitrary_bytes_are_no_result_and_no_claim(raw: bytes) -> None:
    for read, subject in ((read_result, SUBJECT), (read_claim, "claim.u.0.h.1")):
        with pytest.raises(BadInput):
            read(Stored(subject, 1, raw, {}, ""))


def test_a_claim_is_who_the_subject_says() -> None:
    good = Claim("id", "c", "u", 0, "h", "1", 0, 1)
    assert read_claim(stored("claim.u.0.h.1", good)) == good
    for subject in ("claim.u.0.other.1", "claim.u.1.h.1", "claim.v.0.h.1", "claim.u.0.h.2", "claim.u.0.h"):
        with pytest.raises(BadInput):
            read_claim(stored(subject, good))
    with pytest.raises(BadInput, match="counted"):
        read_claim(stored("claim.u.0.h.1", msgspec.structs.replace(good, attempts=-1)))

"""docs/rights.md is fresh, and what it says of everybody holds for everybody."""

from pathlib import Path

from bus.matrix import CHANGE, HOSTS, RECORD, page, requests, users, writes
from bus.rights import allowed

ROOT = Path(__file__).resolve().parents[2]
USERS = users()


def test_the_page_is_fresh() -> None:
    assert (ROOT / "docs" / "rights.md").read_text() == page(), "run: python -m bus.matrix > docs/rights.md"


def test_the_record_is_out_of_everybodys_reach() -> None:
    """Nobody, the admin included: so that the tests above try it for all."""
    ways = [v for v in CHANGE if "consumer" not in v]
    assert {"delete", "purge", "update", "restore", "delete a message"} <= set(ways)
    assert {"EVENTS", "RESULT", "PARKED"} <= set(RECORD)
    for user in USERS:
        for p in requests({v: CHANGE[v] for v in ways}):
            assert p.what not in RECORD or not allowed(user, p.subject), (user, p)


def test_a_machine_has_no_right_in_the_name_of_another() -> None:
    others = [p for p in writes() if f".{HOSTS[1]}." in p.subject]
    assert len(others) > 10
    assert [p.subject for p in others if allowed(USERS[-1], p.subject)] == []

from pathlib import Path

import pytest

from tests.unit.projections.event_log import EventLog, dataset, discover, find, open_campaign, spec, validate
from tests.unit.web.web_app import project, services_on
from web.services import Services


@pytest.fixture
def empty(tmp_path: Path) -> Services:
    """Nothing has ever been projected."""
    return services_on(tmp_path)


@pytest.fixture
def log() -> EventLog:
    """One dataset, one open campaign of two units: one validated with a losing find, one with an unconfirmed winner."""
    made = EventLog()
    dataset(made)
    s = spec()
    units = open_campaign(made, "c1", s)
    discover(made, "c1", units[1], find(25, 0.5, 0.4), s.search)
    validate(made, "c1", s, 0, (find(30, 0.02, -0.01),))
    return made


@pytest.fixture
def services(tmp_path: Path, log: EventLog) -> Services:
    project(tmp_path / "views.sqlite", log.made)
    return services_on(tmp_path)

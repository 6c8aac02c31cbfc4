"""The form that opens campaigns: one for each risk level and seed chosen, estimated before anything is asked for."""

import sqlite3
from collections.abc import Mapping
from typing import Any

import msgspec

from bus.campaigns import campaign_spec
from domain.errors import BadInput
from domain.grammar import grammar_names
from domain.risk import RISK_LEVELS
from domain.specs import CampaignSpec
from projections import queries
from projections.estimate import Estimate, estimate
from projections.queries import Json

MAX_BATCH = 50
#: What the form starts with; names are those of the JSON interface too.
DEFAULTS: dict[str, str] = {
    "dataset": "",
    "name": "",
    "units": "8",
    "replicas": "2",
    "population": "60",
    "generations": "20",
    "candles": "0",
    "seed": "1",
    "seeds": "1",
    "nulls": "0",
    "grammar": "full",
}
_WORDS = {"seeds": "number of seeds", "candles": "number of candles", "nulls": "null repetitions"}


class Asked(msgspec.Struct, frozen=True):
    """What was filled in, as text, and what came of it: specs, or the reason why not."""

    values: dict[str, str]
    risks: tuple[str, ...]
    specs: tuple[CampaignSpec, ...]
    error: str = ""


def values_of(form: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(form.get(name, default)).strip() for name, default in DEFAULTS.items()}


def _whole(values: dict[str, str], name: str) -> int:
    text = values[name].replace(" ", "").replace("_", "")
    if not text.isascii() or not text.isdigit() or len(text) > 19:
        raise BadInput(f"{_WORDS.get(name, name)} must be a whole number, not {values[name][:20]!r}")
    return int(text)


def ask(con: sqlite3.Connection, values: dict[str, str], risks: tuple[str, ...]) -> Asked:
    """Every combination of risk level and seed; nothing is published here."""
    try:
        return Asked(values, risks, tuple(_specs(con, values, risks)))
    except BadInput as e:
        return Asked(values, risks, (), str(e))


def _specs(con: sqlite3.Connection, values: dict[str, str], risks: tuple[str, ...]) -> list[CampaignSpec]:
    info = queries.dataset_info(con, values["dataset"])
    if info is None:
        raise BadInput("choose a registered dataset; `sluice data import FILE` adds one")
    levels = [level for level in RISK_LEVELS if level in risks]
    if not levels or len(levels) != len(set(risks)):
        raise BadInput(f"choose at least one risk level of {', '.join(RISK_LEVELS)}")
    if values["grammar"] not in grammar_names():
        raise BadInput(f"grammar must be one of {', '.join(grammar_names())}")
    if len(values["name"]) > 80:
        raise BadInput("a name has at most 80 signs")
    n = {name: _whole(values, name) for name in DEFAULTS if name not in ("dataset", "name", "grammar")}
    if not 1 <= n["seeds"] * len(levels) <= MAX_BATCH:
        raise BadInput(f"a batch has 1 to {MAX_BATCH} campaigns, this one has {n['seeds'] * len(levels)}")
    many = n["seeds"] * len(levels) > 1
    return [
        campaign_spec(
            values["dataset"], info, units=n["units"], replicas=n["replicas"], seed=seed, risk=level,
            population=n["population"], generations=n["generations"], candles=n["candles"], grammar=values["grammar"],
            nulls=n["nulls"],
            name=_name(values["name"], level, seed, many),
        )
        for level in levels
        for seed in range(n["seed"], n["seed"] + n["seeds"])
    ]  # fmt: skip


def _name(name: str, level: str, seed: int, many: bool) -> str:
    return f"{name or 'batch'} {level.lower()} {seed}" if many else name


def estimates(con: sqlite3.Connection, asked: Asked, miners: int) -> Estimate | None:
    """Of the whole batch: its campaigns differ in risk and seed only, which timings do not tell apart."""
    return estimate(con, asked.specs[0], miners, len(asked.specs)) if asked.specs else None


def choices(con: sqlite3.Connection) -> Json:
    """What the form offers."""
    return {"datasets": queries.datasets(con), "risks": list(RISK_LEVELS), "grammars": grammar_names()}

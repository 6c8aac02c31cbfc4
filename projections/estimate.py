"""What a campaign would cost, from the timings of the last answers: nothing is promised where nothing was measured."""

import sqlite3

import msgspec

from domain.specs import CampaignSpec
from projections.queries import rows

#: How many of the latest answers are looked at.
RECENT = 200
_HASH_BYTES = 32
#: Bookkeeping events of a unit and of each of its replicas, in bytes as stored (measured on small campaigns).
_UNIT_BYTES, _REPLICA_BYTES = 1_500, 2_500


class Estimate(msgspec.Struct, frozen=True):
    """`trials`: genomes evaluated once each; `work_s` seconds of one miner; `seconds` with `miners` at work.

    `bytes`: what the log and the artifacts grow by. Null: there is no finished answer to conclude from. `answers`:
    how many the estimate rests on; `exact_market`: whether they are of the same dataset.
    """

    trials: int
    work_s: float | None
    seconds: float | None
    bytes: int | None
    answers: int
    exact_market: bool
    miners: int


class Timings(msgspec.Struct, frozen=True):
    """Seconds for one genome on one candle of fitness, and the share of the planned trials that were made."""

    answers: int
    s_per_genome_candle: float
    share: float


def _planned(spec: CampaignSpec) -> int:
    """Genomes of a unit that never stops early: a first population, then what each generation breeds beside its elite."""
    s = spec.search
    return s.population + (s.generations - 1) * (s.population - max(2, s.population // 8))


def _candles(spec: CampaignSpec) -> int:
    return sum(w.stop - w.start for w in spec.search.windows.fitness)


def timings(con: sqlite3.Connection, dataset: str) -> tuple[Timings | None, bool]:
    """Of the latest answers on this dataset, else on any; (None, False) when there is none."""
    latest = rows(
        con,
        "SELECT r.campaign, c.dataset, c.spec, count(*) AS n, sum(r.seconds) AS seconds, sum(r.evaluated) AS evaluated"
        " FROM (SELECT campaign, seconds, evaluated FROM replicas WHERE state = 'answered' AND seconds > 0"
        f" ORDER BY result_seq DESC LIMIT {RECENT}) r JOIN campaigns c ON c.id = r.campaign WHERE c.spec <> ''"
        " GROUP BY r.campaign",
    )
    same = [r for r in latest if r["dataset"] == dataset]
    chosen = same or latest
    if not chosen:
        return None, False
    seconds = work = planned = evaluated = 0.0
    answers = 0
    for r in chosen:
        spec = msgspec.json.decode(r["spec"], type=CampaignSpec)
        answers += r["n"]
        seconds += r["seconds"]
        evaluated += r["evaluated"]
        work += r["evaluated"] * _candles(spec)
        planned += r["n"] * _planned(spec)
    if not work:
        return None, False
    return Timings(answers, seconds / work, min(1.0, evaluated / planned)), bool(same)


def _find_bytes(con: sqlite3.Connection) -> float | None:
    """Mean size of a find with its genome and search, over the latest strategies."""
    sql = "SELECT avg(n) FROM (SELECT length(find) + length(search) + length(genome) AS n FROM strategies LIMIT 50)"
    value = con.execute(sql).fetchone()[0]
    return float(value) if value is not None else None


def estimate(con: sqlite3.Connection, spec: CampaignSpec, miners: int, campaigns: int = 1) -> Estimate:
    """For `campaigns` campaigns like `spec`, with `miners` live miners (at least one is reckoned with)."""
    found, same = timings(con, spec.search.dataset)
    units = spec.units * campaigns
    trials = round(units * _planned(spec) * (found.share if found else 1.0))
    if found is None:
        return Estimate(trials, None, None, None, 0, False, miners)
    # A null repetition does all the searches again; its trials are none of this dataset.
    work_s = (1 + spec.nulls) * trials * _candles(spec) * found.s_per_genome_candle * spec.replicas
    size = _find_bytes(con)
    stored = None
    if size is not None:
        # Every replica's answer holds the finds, the verdict holds them again, and so does each strategy's event.
        finds = spec.search.top * size * (spec.replicas + 2)
        stored = round(trials * _HASH_BYTES + units * (_UNIT_BYTES + spec.replicas * (_REPLICA_BYTES + size) + finds))
    return Estimate(trials, work_s, work_s / max(1, miners), stored, found.answers, same, miners)

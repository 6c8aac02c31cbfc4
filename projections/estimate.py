"""What a campaign would cost, from the timings of the last answers: nothing is promised where nothing was measured."""

import sqlite3
import statistics

import msgspec

from domain.specs import CampaignSpec, Method
from domain.sweep import set_count
from domain.tasks import space_of
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


class Answer(msgspec.Struct, frozen=True):
    """One recorded answer: its campaign's spec, genomes evaluated, seconds worked."""

    spec: CampaignSpec
    evaluated: int
    seconds: float


def _genomes(spec: CampaignSpec, generations: float) -> float:
    """Genomes of a unit that ends after so many generations, each of which breeds a whole population; all rule sets where
    a unit is exhaustive."""
    if spec.search.method == "sweep":
        return set_count(space_of(spec.search))
    return spec.search.population * generations


def _candles(spec: CampaignSpec) -> int:
    """Of all fitness windows of all datasets."""
    return sum(w.stop - w.start for m in spec.search.markets for w in m.windows.fitness)


def _latest(con: sqlite3.Connection, dataset: str, method: Method) -> tuple[list[Answer], bool]:
    """The latest answers by this method on this dataset, else on any; ([], False) when there is none."""
    found = rows(
        con,
        "SELECT r.seconds, r.evaluated, c.dataset, c.spec FROM (SELECT campaign, unit, seconds, evaluated, result_seq"
        " FROM replicas WHERE state = 'answered' AND seconds > 0 AND evaluated > 0"
        f" ORDER BY result_seq DESC LIMIT {RECENT}) r JOIN campaigns c ON c.id = r.campaign"
        # A null repetition runs all searches of its campaign: how many genomes it tried tells nothing of one of them.
        " JOIN units u ON u.id = r.unit WHERE c.spec <> '' AND u.task NOT LIKE '{\"type\":\"null\"%'",
    )
    specs = {text: msgspec.json.decode(text, type=CampaignSpec) for text in {r["spec"] for r in found}}
    found = [r for r in found if specs[r["spec"]].search.method == method]
    same = [r for r in found if r["dataset"] == dataset]
    return [Answer(specs[r["spec"]], r["evaluated"], r["seconds"]) for r in same or found], bool(same)


def _generations(spec: CampaignSpec, answers: list[Answer]) -> float:
    """How many generations a unit of `spec` runs on average, should it stop early as others did.

    A search that was allowed fewer generations does not tell how many more it would have taken: those count only
    where there are no others.
    """
    wanted = spec.search.generations
    if spec.search.method == "sweep":
        return float(wanted)
    telling = [a for a in answers if a.spec.search.generations >= wanted] or answers
    ran = [a.evaluated / a.spec.search.population for a in telling]
    if telling is answers and all(g >= a.spec.search.generations - 0.5 for g, a in zip(ran, telling, strict=True)):
        return float(wanted)
    return max(1.0, statistics.fmean(min(wanted, g) for g in ran))


def _find_bytes(con: sqlite3.Connection) -> tuple[float, float] | None:
    """Mean sizes of a find and of what else a strategy's event says, over some of them."""
    find = con.execute("SELECT avg(length(find)) FROM (SELECT find FROM finds LIMIT 50)").fetchone()[0]
    about = "SELECT avg(n) FROM (SELECT length(search) + length(genome) AS n FROM strategies LIMIT 50)"
    rest = con.execute(about).fetchone()[0]
    return (float(find), float(rest)) if find is not None and rest is not None else None


def estimate(con: sqlite3.Connection, spec: CampaignSpec, miners: int, campaigns: int = 1) -> Estimate:
    """For `campaigns` campaigns like `spec`, with `miners` live miners (at least one is reckoned with)."""
    answers, same = _latest(con, spec.search.dataset, spec.search.method)
    units = spec.units * campaigns
    if not answers:
        return Estimate(round(units * _genomes(spec, spec.search.generations)), None, None, None, 0, False, miners)
    trials = round(units * _genomes(spec, _generations(spec, answers)))
    s_per_genome_candle = sum(a.seconds for a in answers) / sum(a.evaluated * _candles(a.spec) for a in answers)
    # A null repetition does all the searches again; its trials are none of this dataset.
    work_s = (1 + spec.nulls) * trials * _candles(spec) * s_per_genome_candle * spec.replicas
    size = _find_bytes(con)
    stored = None
    if size is not None:
        # Every replica's answer holds the finds, the verdict holds them again, the first answer's best is written once
        # more; two events a strategy say what it is.
        find, about = size
        finds = find + spec.search.top * (find * (spec.replicas + 1) + 2 * about)
        hashes = 0 if spec.search.method == "sweep" else trials * _HASH_BYTES
        stored = round(hashes + units * (_UNIT_BYTES + spec.replicas * _REPLICA_BYTES + finds))
    return Estimate(trials, work_s, work_s / max(1, miners), stored, len(answers), same, miners)

"""A whole campaign in this process, from its searches and null repetitions to the judgement, without a bus."""

import msgspec

from domain.candles import Candles
from domain.execution import ExecutionModel
from domain.genome import Genome
from domain.hashing import content_hash
from domain.judgement import Judgement
from domain.results import Find, NullOutcome
from domain.specs import CampaignSpec, SearchSpec, split_windows
from domain.tasks import Null, unit_count, unit_seed, unit_task
from kernels.evaluation.gates import find_standing
from kernels.evaluation.judge import judge
from kernels.evaluation.question import Question
from kernels.evaluator import CompiledEvaluator
from kernels.evolution.null import NullSearch
from kernels.evolution.search import Search

CHEAP = ExecutionModel(taker_bps=10.0, maker_bps=5.0, slippage_bps=1.0)


def campaign_on(
    candles: Candles, units: int, nulls: int, seed: int = 1, block: int = 12, **fields: object
) -> CampaignSpec:
    """A small campaign over all of the candles."""
    search = SearchSpec(
        dataset=candles.hash(),
        venue=candles.info.venue,
        symbol=candles.info.symbol,
        granularity_s=candles.info.granularity_s,
        windows=split_windows(len(candles)),
        execution=CHEAP,
    )
    search = msgspec.structs.replace(search, **fields)
    return CampaignSpec(search, units, replicas=1, seed=seed, nulls=nulls, null_block=block)


def question_of(spec: CampaignSpec, candles: Candles) -> Question:
    """What a campaign on a log of its own leaves to be judged."""
    evaluator = CompiledEvaluator(candles, spec.search.execution)
    finds: dict[str, Find] = {}
    sample: dict[str, Genome] = {}
    nulls: list[NullOutcome] = []
    tried: set[bytes] = set()
    for index in range(unit_count(spec)):
        task, seed = unit_task(spec, index), unit_seed(spec, index)
        work: NullSearch | Search
        if isinstance(task, Null):
            work = NullSearch(spec.search, seed, task, candles, CompiledEvaluator)
        else:
            work = Search(spec.search, seed, evaluator)
        while not work.done:
            work.step()
        outcome = work.outcome()
        hashes = work.tried_bytes()
        tried |= {hashes[i : i + 32] for i in range(0, len(hashes), 32)}
        finds |= {f.genome_id: f for f in outcome.finds}
        sample |= {content_hash(g): g for g in outcome.sample}
        nulls += [outcome.null] if outcome.null is not None else []
    return Question(
        search=spec.search,
        seed=spec.seed,
        finds=tuple(sorted(finds.values(), key=lambda f: (find_standing(f), f.genome_id))),
        sample=tuple(sample[k] for k in sorted(sample)),
        nulls=tuple(nulls),
        nulls_asked=spec.nulls,
        trials=len(tried),
        candidates=len(finds),
        hold_out_looks=0,
    )


def judged(spec: CampaignSpec, candles: Candles, replicates: int = 100) -> Judgement:
    return judge(question_of(spec, candles), candles, CompiledEvaluator, replicates)

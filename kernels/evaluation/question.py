"""What a judgement is asked about; light, so that who asks need not load what answers."""

import msgspec

from domain.genome import Genome
from domain.results import Find, NullOutcome
from domain.specs import SearchSpec

#: Finds that are judged, best first, and unselected trials that luck is measured on.
MOST_FINDS = 20
MOST_SAMPLED = 200


class Question(msgspec.Struct, frozen=True):
    """What the log knows of a finished campaign. `finds` distinct, best first; `sample` unselected trials; the counts are
    those of `domain.judgement.Judgement`."""

    search: SearchSpec
    seed: int
    finds: tuple[Find, ...]
    sample: tuple[Genome, ...]
    nulls: tuple[NullOutcome, ...]
    nulls_asked: int
    trials: int
    candidates: int
    hold_out_looks: int

"""Random genomes, selection, crossover and mutation. Every genome that leaves here is canonical and within its space.

Rules come from `space.rules`, whose order is the canonical one: sorting by place is all it takes to stay canonical.
"""

from collections.abc import Callable, Iterable

import msgspec

from domain.genome import Genome, Risk, Rule, RuleSet, Sizing
from domain.grammar import Space
from kernels.evolution.rng import Rng

TOURNAMENT = 3
SIDES = ("long", "short")
_GENES = ("stop_bps", "target_bps", "trailing_bps", "max_hold", "size_bps", "leverage")


def random_genome(space: Space, rng: Rng) -> Genome:
    """Each gene uniform over its choices; the number of rules first, then the rules."""
    direction = rng.choice(space.directions)
    sides = {s: _random_side(space, rng) if direction in (s, "both") else RuleSet() for s in SIDES}
    return Genome(direction, _risk(*(rng.choice(getattr(space, gene)) for gene in _GENES)), **sides)


def tournament(size: int, rng: Rng) -> int:
    """The place of the winner among `size` ranked genomes, best first: the best of `TOURNAMENT` draws."""
    return min(rng.below(size) for _ in range(TOURNAMENT))


def crossover(a: Genome, b: Genome, space: Space, rng: Rng) -> Genome:
    """Each risk field from either parent, each rule of either with one half; differs from both, else it mutates."""
    coins = rng.raw()
    direction = (a if coins & 1 else b).direction
    pairs = zip(_genes(a.risk), _genes(b.risk), strict=True)
    risk = _risk(*(x if coins >> (i + 1) & 1 else y for i, (x, y) in enumerate(pairs)))
    sides = {s: _cross_side(s, a, b, space, rng) if direction in (s, "both") else RuleSet() for s in SIDES}
    child = Genome(direction, risk, **sides)
    while child in (a, b):  # mutants of one parent may be the other parent
        child = mutate(child, space, rng)
    return child


def mutate(genome: Genome, space: Space, rng: Rng, strength: int = 1) -> Genome:
    """1 to `strength` edits of the genome; never the genome itself."""
    mutant = genome
    for _ in range(rng.between(1, strength)):
        mutant = _edit(mutant, space, rng)
    # Edits can undo each other; a single one cannot undo itself.
    return _edit(mutant, space, rng) if mutant == genome else mutant


def _edit(genome: Genome, space: Space, rng: Rng) -> Genome:
    """One small change. Some do not apply (a full set, a gene with one choice): then another is drawn."""
    while True:
        edited = rng.choice(_EDITS)(genome, space, rng)
        if edited is not None:
            return edited


def _tune_rule(genome: Genome, space: Space, rng: Rng) -> Genome | None:
    """The same comparison with another period, constant or operator."""
    return _replace_rule(genome, space, rng, lambda rule: space.alike[rule])


def _swap_rule(genome: Genome, space: Space, rng: Rng) -> Genome | None:
    """Any other rule in the place of one."""
    return _replace_rule(genome, space, rng, lambda rule: space.rules)


def _replace_rule(genome: Genome, space: Space, rng: Rng, offers: Callable[[Rule], tuple[Rule, ...]]) -> Genome | None:
    side, part = rng.choice(_slots(genome))
    rules: tuple[Rule, ...] = getattr(getattr(genome, side), part)
    if not rules:
        return None
    old = rng.choice(rules)
    new = rng.choice(offers(old))
    return None if new in rules else _with_part(genome, side, part, space, (new, *(r for r in rules if r is not old)))


def _add_rule(genome: Genome, space: Space, rng: Rng) -> Genome | None:
    side, part = rng.choice(_slots(genome))
    rules: tuple[Rule, ...] = getattr(getattr(genome, side), part)
    new = rng.choice(space.rules)
    if new in rules or len(rules) >= _bounds(space, part)[1]:
        return None
    return _with_part(genome, side, part, space, (*rules, new))


def _drop_rule(genome: Genome, space: Space, rng: Rng) -> Genome | None:
    side, part = rng.choice(_slots(genome))
    rules: tuple[Rule, ...] = getattr(getattr(genome, side), part)
    if len(rules) <= _bounds(space, part)[0]:
        return None
    old = rng.choice(rules)
    return _with_part(genome, side, part, space, (r for r in rules if r is not old))


def _change_risk(genome: Genome, space: Space, rng: Rng) -> Genome | None:
    """One risk field to a neighbouring choice or, as often, to any other."""
    at = rng.below(len(_GENES))
    genes, choices = _genes(genome.risk), getattr(space, _GENES[at])
    if rng.below(2):
        place = choices.index(genes[at]) + (1 if rng.below(2) else -1)
        new = choices[min(max(place, 0), len(choices) - 1)]
    else:
        new = rng.choice(choices)
    if new == genes[at]:
        return None
    risk = _risk(*(new if i == at else gene for i, gene in enumerate(genes)))
    return msgspec.structs.replace(genome, risk=risk)


def _turn(genome: Genome, space: Space, rng: Rng) -> Genome | None:
    """Another direction: a side that stays keeps its rules, one that is new takes random ones."""
    direction = rng.choice(space.directions)
    if direction == genome.direction:
        return None
    sides = {}
    for side in SIDES:
        if direction not in (side, "both"):
            sides[side] = RuleSet()
        elif getattr(genome, side).entry:
            sides[side] = getattr(genome, side)
        else:
            sides[side] = _random_side(space, rng)
    return Genome(direction, genome.risk, **sides)


#: Drawn uniformly: what pays most often, the rules, stands here more than once.
_EDITS = (_tune_rule, _tune_rule, _tune_rule, _swap_rule, _swap_rule, _add_rule, _drop_rule, _change_risk,
          _change_risk, _change_risk, _turn)  # fmt: skip


def _bounds(space: Space, part: str) -> tuple[int, int]:
    return space.entry_rules if part == "entry" else space.exit_rules


def _slots(genome: Genome) -> tuple[tuple[str, str], ...]:
    return tuple((s, part) for s in SIDES if genome.direction in (s, "both") for part in ("entry", "exit"))


def _sorted(space: Space, rules: Iterable[Rule]) -> tuple[Rule, ...]:
    return tuple(sorted(rules, key=space.position.__getitem__))


def _with_part(genome: Genome, side: str, part: str, space: Space, rules: Iterable[Rule]) -> Genome:
    rule_set = msgspec.structs.replace(getattr(genome, side), **{part: _sorted(space, rules)})
    return msgspec.structs.replace(genome, **{side: rule_set})


def _random_side(space: Space, rng: Rng) -> RuleSet:
    return RuleSet(
        *(
            _sorted(space, rng.sample(space.rules, rng.between(low, high)))
            for low, high in (space.entry_rules, space.exit_rules)
        )
    )


def _cross_side(side: str, a: Genome, b: Genome, space: Space, rng: Rng) -> RuleSet:
    """Rules of both parents mixed; a side that only one parent has comes from that one whole."""
    first: RuleSet = getattr(a, side)
    second: RuleSet = getattr(b, side)
    if not (first.entry and second.entry):
        return first if first.entry else second
    return RuleSet(
        _cross_rules(first.entry, second.entry, space.entry_rules, space, rng),
        _cross_rules(first.exit, second.exit, space.exit_rules, space, rng),
    )


def _cross_rules(
    first: tuple[Rule, ...], second: tuple[Rule, ...], bounds: tuple[int, int], space: Space, rng: Rng
) -> tuple[Rule, ...]:
    """Each rule of the union with one half, topped up or thinned out at random to the allowed number."""
    union = [*first, *(rule for rule in second if rule not in first)]
    coins = rng.raw()
    taken = [rule for i, rule in enumerate(union) if coins >> i & 1]
    if len(taken) > bounds[1]:
        taken = rng.sample(taken, bounds[1])
    elif len(taken) < bounds[0]:
        rest = [rule for rule in union if rule not in taken]
        taken += rng.sample(rest, bounds[0] - len(taken))
    return _sorted(space, taken)


def _genes(risk: Risk) -> tuple[int, ...]:
    return (
        risk.stop_bps,
        risk.target_bps,
        risk.trailing_bps,
        risk.max_hold,
        risk.sizing.fraction_bps,
        risk.leverage,
    )


def _risk(stop: int, target: int, trailing: int, max_hold: int, size: int, leverage: int) -> Risk:
    return Risk(stop, target, trailing, max_hold, Sizing(fraction_bps=size), leverage)

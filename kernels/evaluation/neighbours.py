"""Strategies one step away from another: is it a plateau that was found, or a lucky peak?"""

from collections.abc import Iterator

import msgspec

from domain.genome import Genome, Operand, Risk, Rule, canonical_genome
from domain.grammar import Space

_GENES = ("stop_bps", "target_bps", "trailing_bps", "max_hold", "leverage")


def neighbours(genome: Genome, space: Space) -> tuple[Genome, ...]:
    """Every strategy of the space that differs in one choice by one step: a level, the size, a period, a constant.

    Distinct, in a fixed order, without the genome itself. What lies off the space's choices has no neighbours there.
    """
    found = dict.fromkeys(map(canonical_genome, (*_of_risk(genome, space), *_of_rules(genome, space))))
    found.pop(canonical_genome(genome), None)
    return tuple(found)


def _of_risk(genome: Genome, space: Space) -> Iterator[Genome]:
    risk = genome.risk
    for gene in _GENES:
        for value in _beside(getattr(risk, gene), getattr(space, gene)):
            yield _with_risk(genome, msgspec.structs.replace(risk, **{gene: value}))
    for value in _beside(risk.sizing.fraction_bps, space.size_bps):
        sizing = msgspec.structs.replace(risk.sizing, fraction_bps=value)
        yield _with_risk(genome, msgspec.structs.replace(risk, sizing=sizing))


def _with_risk(genome: Genome, risk: Risk) -> Genome:
    return msgspec.structs.replace(genome, risk=risk)


def _beside(value: float, choices: tuple[int, ...] | tuple[float, ...]) -> tuple[int, ...]:
    """The choices just below and just above, of `choices` in ascending order."""
    if value not in choices:
        return ()
    at = choices.index(value)
    return tuple(choices[i] for i in (at - 1, at + 1) if 0 <= i < len(choices))  # type: ignore[misc]


def _of_rules(genome: Genome, space: Space) -> Iterator[Genome]:
    for side in ("long", "short"):
        rules = getattr(genome, side)
        for part in ("entry", "exit"):
            some: tuple[Rule, ...] = getattr(rules, part)
            for i, rule in enumerate(some):
                for other in _beside_rule(rule, space):
                    if other not in some:
                        changed = msgspec.structs.replace(rules, **{part: (*some[:i], other, *some[i + 1 :])})
                        yield msgspec.structs.replace(genome, **{side: changed})


def _beside_rule(rule: Rule, space: Space) -> Iterator[Rule]:
    """Rules of the space with the same kinds and operator whose one operand is one step away."""
    alike = [r for r in space.alike.get(rule, ()) if r.op == rule.op]
    for name in ("left", "right"):
        operand: Operand = getattr(rule, name)
        for field in ("period", "value"):
            ladder = tuple(sorted({getattr(getattr(r, name), field) for r in alike}))
            for value in _beside(getattr(operand, field), ladder):
                other = msgspec.structs.replace(rule, **{name: msgspec.structs.replace(operand, **{field: value})})
                if other in space.position:
                    yield other

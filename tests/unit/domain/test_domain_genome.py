"""Canonical form, hash and validation of genomes."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import BadInput
from domain.genome import (
    FAMILY,
    INDICATORS,
    KINDS,
    MIRROR,
    OPS,
    Genome,
    Kelly,
    Operand,
    Risk,
    Rule,
    RuleSet,
    Sizing,
    VolatilityTarget,
    canonical_genome,
    canonical_rule,
    genome_id,
    validate_genome,
)
from domain.hashing import canonical

RSI, SMA = Operand("rsi", 14), Operand("sma", 50)
DIP = Rule(RSI, "<", Operand("const", value=30.0))
ABOVE = Rule(Operand("close"), ">", SMA)
KELLY = Sizing("kelly", 2_500, kelly=Kelly(5_000, 500, 30))
VOLATILITY = Sizing("volatility", 2_500, volatility=VolatilityTarget(500, 50))
RISK = Risk(stop_bps=200, target_bps=500, trailing_bps=100, max_hold=24, sizing=Sizing(fraction_bps=1000), leverage=2)
GENOME = Genome("both", RISK, RuleSet((DIP, ABOVE), (Rule(RSI, ">", Operand("rsi", 50)),)), RuleSet((ABOVE,)))


def operands(family: str) -> st.SearchStrategy[Operand]:
    def build(kind: str) -> st.SearchStrategy[Operand]:
        if kind in INDICATORS:
            return st.integers(2, 1000).map(lambda p: Operand(kind, p))
        if kind == "const":
            return st.floats(-1e14, 1e14).map(lambda v: Operand(kind, value=v))
        return st.just(Operand(kind))

    return st.sampled_from([k for k in KINDS if FAMILY[k] == family]).flatmap(build)


def rules() -> st.SearchStrategy[Rule]:
    def pair(family: str) -> st.SearchStrategy[Rule]:
        other = st.one_of(operands(family), operands("const"))
        return st.builds(Rule, operands(family), st.sampled_from(OPS), other).filter(lambda r: r.left != r.right)

    return st.sampled_from(["price", "volume", "rsi"]).flatmap(pair)


def genomes() -> st.SearchStrategy[Genome]:
    side = st.builds(
        RuleSet,
        st.lists(rules(), min_size=1, max_size=4).map(tuple),
        st.lists(rules(), max_size=3).map(tuple),
    )
    bps = st.integers(0, 9999)
    sizing = st.one_of(
        st.integers(1, 10_000).map(lambda f: Sizing(fraction_bps=f)),
        st.floats(0.01, 1e12).map(lambda a: Sizing("fixed", 0, a)),
        st.builds(
            lambda m, b: Sizing("kelly", 5_000, kelly=Kelly(m, b)), st.integers(1, 10_000), st.integers(1, 5_000)
        ),
        st.integers(2, 1_000).map(lambda p: Sizing("volatility", 5_000, volatility=VolatilityTarget(500, p))),
    )
    risk = st.builds(Risk, bps, bps, bps, st.integers(0, 1_000_000), sizing, st.integers(1, 3))
    return st.one_of(
        st.builds(lambda r, s: Genome("long", r, long=s), risk, side),
        st.builds(lambda r, s: Genome("short", r, short=s), risk, side),
        st.builds(lambda r, s, t: Genome("both", r, s, t), risk, side, side),
    )


@given(genomes())
def test_canonical_form_is_idempotent_and_stays_valid(genome: Genome) -> None:
    validate_genome(genome)
    once = canonical_genome(genome)
    validate_genome(once)
    assert canonical_genome(once) == once
    assert canonical(canonical_genome(once)) == canonical(once)


@given(genomes(), st.randoms(use_true_random=False))
def test_order_mirror_and_repeats_of_rules_do_not_change_the_id(genome: Genome, random) -> None:
    def written_otherwise(part: tuple[Rule, ...]) -> tuple[Rule, ...]:
        mirrored = [random.choice([r, Rule(r.right, MIRROR[r.op], r.left)]) for r in part]
        mirrored += random.sample(mirrored, len(mirrored) // 2)
        random.shuffle(mirrored)
        return tuple(mirrored)

    sides = {
        s: RuleSet(written_otherwise(getattr(genome, s).entry), written_otherwise(getattr(genome, s).exit))
        for s in ("long", "short")
    }
    assert genome_id(msgspec.structs.replace(genome, **sides)) == genome_id(genome)


@given(genomes())
def test_a_genome_read_back_from_json_or_msgpack_has_the_same_id(genome: Genome) -> None:
    from_json = msgspec.json.decode(canonical(genome), type=Genome)
    from_msgpack = msgspec.msgpack.decode(msgspec.msgpack.encode(genome), type=Genome)
    assert from_json == from_msgpack == genome
    assert genome_id(from_json) == genome_id(from_msgpack) == genome_id(genome)


@given(rules())
def test_a_rule_and_its_mirror_are_one(rule: Rule) -> None:
    mirrored = Rule(rule.right, MIRROR[rule.op], rule.left)
    assert canonical(canonical_rule(rule)) == canonical(canonical_rule(mirrored))


def replaced(genome: Genome, **risk: object) -> Genome:
    return msgspec.structs.replace(genome, risk=msgspec.structs.replace(genome.risk, **risk))


EVERY_GENE = {
    "direction": Genome("long", RISK, GENOME.long),
    "stop": replaced(GENOME, stop_bps=250),
    "target": replaced(GENOME, target_bps=600),
    "trailing": replaced(GENOME, trailing_bps=0),
    "max_hold": replaced(GENOME, max_hold=0),
    "size": replaced(GENOME, sizing=Sizing(fraction_bps=1001)),
    "size mode": replaced(GENOME, sizing=Sizing("fixed", 0, 100.0)),
    "amount": replaced(GENOME, sizing=Sizing("fixed", 0, 101.0)),
    "Kelly": replaced(GENOME, sizing=KELLY),
    "Kelly's cap": replaced(GENOME, sizing=msgspec.structs.replace(KELLY, fraction_bps=2_600)),
    "Kelly's multiplier": replaced(GENOME, sizing=msgspec.structs.replace(KELLY, kelly=Kelly(10_000, 500, 30))),
    "Kelly's base": replaced(GENOME, sizing=msgspec.structs.replace(KELLY, kelly=Kelly(5_000, 501, 30))),
    "Kelly's record": replaced(GENOME, sizing=msgspec.structs.replace(KELLY, kelly=Kelly(5_000, 500, 31))),
    "volatility": replaced(GENOME, sizing=VOLATILITY),
    "volatility's target": replaced(
        GENOME, sizing=msgspec.structs.replace(VOLATILITY, volatility=VolatilityTarget(501, 50))
    ),
    "volatility's period": replaced(
        GENOME, sizing=msgspec.structs.replace(VOLATILITY, volatility=VolatilityTarget(500, 51))
    ),
    "leverage": replaced(GENOME, leverage=1),
    "entry rule": Genome("both", RISK, RuleSet((DIP,), GENOME.long.exit), GENOME.short),
    "exit rule": Genome("both", RISK, RuleSet((DIP, ABOVE)), GENOME.short),
    "short rule": Genome("both", RISK, GENOME.long, RuleSet((DIP,))),
    "side": Genome("both", RISK, GENOME.short, GENOME.long),
    "period": Genome("both", RISK, GENOME.long, RuleSet((Rule(Operand("close"), ">", Operand("sma", 51)),))),
    "kind": Genome("both", RISK, GENOME.long, RuleSet((Rule(Operand("close"), ">", Operand("ema", 50)),))),
    "operator": Genome("both", RISK, GENOME.long, RuleSet((Rule(Operand("close"), "crosses_above", SMA),))),
    "constant": Genome("both", RISK, GENOME.long, RuleSet((Rule(RSI, "<", Operand("const", value=30.5)),))),
}


def test_genes_never_encoded_every_gene_is_part_of_the_hash() -> None:
    ids = {name: genome_id(g) for name, g in EVERY_GENE.items()}
    ids["unchanged"] = genome_id(GENOME)
    assert len(set(ids.values())) == len(ids)


@pytest.mark.parametrize(("one", "other"), [(30, 30.0), (0.0, -0.0), (0, -0.0)])
def test_equal_numbers_have_one_spelling(one: float, other: float) -> None:
    a, b = (Genome("long", RISK, RuleSet((Rule(RSI, ">", Operand("const", value=v)),))) for v in (one, other))
    assert genome_id(a) == genome_id(b)
    fixed = [replaced(GENOME, sizing=Sizing("fixed", 0, amount)) for amount in (100, 100.0)]
    assert genome_id(fixed[0]) == genome_id(fixed[1])


def test_the_id_of_a_known_genome_never_changes() -> None:
    """Ids are in logs for ever: a change of encoding must be a decision, not an accident."""
    text = canonical(canonical_genome(Genome("long", RISK, RuleSet((Rule(SMA, "<", Operand("close")),)))))
    assert text == (
        b'{"direction":"long","risk":{"stop_bps":200,"target_bps":500,"trailing_bps":100,"max_hold":24,'
        b'"sizing":{"mode":"fraction","fraction_bps":1000,"amount":0.0},"leverage":2},"long":{"entry":['
        b'{"left":{"kind":"close","period":0,"value":0.0},"op":">","right":{"kind":"sma","period":50,"value":0.0}}],'
        b'"exit":[]},"short":{"entry":[],"exit":[]}}'
    )


def test_the_encoding_of_sizes_that_follow_from_the_past_never_changes() -> None:
    assert canonical(KELLY) == (
        b'{"mode":"kelly","fraction_bps":2500,"amount":0.0,"kelly":{"multiplier_bps":5000,"base_bps":500,"min_trades":30}}'
    )
    assert canonical(VOLATILITY) == (
        b'{"mode":"volatility","fraction_bps":2500,"amount":0.0,"volatility":{"target_ppm":500,"period":50}}'
    )
    for sizing in (KELLY, VOLATILITY):
        read = msgspec.json.decode(canonical(sizing), type=Sizing)
        assert read == sizing
        assert canonical(read) == canonical(sizing)


def test_a_value_given_and_a_value_left_out_are_the_same_genome() -> None:
    given = Genome("long", RISK, RuleSet((ABOVE,), ()), RuleSet((), ()))
    spelled = Genome(
        "long",
        Risk(200, 500, 100, 24, Sizing("fraction", 1000, float("0")), 2),
        RuleSet((Rule(Operand("close", 0, float("0")), ">", SMA),)),
    )
    read = msgspec.json.decode(
        b'{"direction":"long","risk":{"stop_bps":200,"target_bps":500,"trailing_bps":100,"max_hold":24,"leverage":2,'
        b'"sizing":{"fraction_bps":1000}},"long":{"entry":[{"left":{"kind":"close"},"op":">","right":'
        b'{"kind":"sma","period":50}}]}}',
        type=Genome,
    )
    assert given == spelled == read
    assert canonical(given) == canonical(spelled) == canonical(read)


def one_rule(rule: Rule) -> Genome:
    return Genome("long", RISK, RuleSet((rule,)))


REFUSED = {
    "no rules": (Genome("long", RISK), "1 to 8 entry rules"),
    "rules of the other side": (Genome("long", RISK, GENOME.long, GENOME.short), "leaves the short side out"),
    "both with one side": (Genome("both", RISK, GENOME.long), "short side needs"),
    "too many": (
        Genome("long", RISK, RuleSet(tuple(Rule(RSI, ">", Operand("rsi", p)) for p in range(20, 29)))),
        "1 to 8",
    ),
    "itself": (one_rule(Rule(SMA, ">", SMA)), "two different things"),
    "constants": (one_rule(Rule(Operand("const", value=1), ">", Operand("const", value=2))), "not a constant"),
    "families": (one_rule(Rule(RSI, ">", SMA)), "cannot compare rsi"),
    "price with volume": (one_rule(Rule(Operand("close"), ">", Operand("volume"))), "cannot compare close"),
    "period 1": (one_rule(Rule(Operand("rsi", 1), ">", Operand("rsi", 14))), "period of 2 to 1000"),
    "period of a field": (one_rule(Rule(Operand("close", 5), ">", SMA)), "takes no period"),
    "value of a field": (one_rule(Rule(Operand("close", value=5.0), ">", SMA)), "takes no value"),
    "not a number": (one_rule(Rule(RSI, ">", Operand("const", value=float("nan")))), "finite number"),
    "infinite": (one_rule(Rule(RSI, ">", Operand("const", value=float("inf")))), "finite number"),
    "stop": (replaced(GENOME, stop_bps=10_000), "stop_bps must be"),
    "negative target": (replaced(GENOME, target_bps=-1), "target_bps must be"),
    "trailing": (replaced(GENOME, trailing_bps=20_000), "trailing_bps must be"),
    "hold": (replaced(GENOME, max_hold=-1), "max_hold must be"),
    "leverage": (replaced(GENOME, leverage=4), "leverage must be"),
    "no size": (replaced(GENOME, sizing=Sizing()), "fraction of equity"),
    "both sizes": (replaced(GENOME, sizing=Sizing(fraction_bps=100, amount=5.0)), "fraction of equity"),
    "fixed nothing": (replaced(GENOME, sizing=Sizing("fixed")), "fixed amount"),
    "Kelly without its part": (replaced(GENOME, sizing=Sizing("kelly", 100)), "a part `kelly` when, and only when"),
    "a part too many": (
        replaced(GENOME, sizing=msgspec.structs.replace(KELLY, mode="fraction")),
        "a part `kelly` when, and only when",
    ),
    "volatility without its part": (replaced(GENOME, sizing=Sizing("volatility", 100)), "a part `volatility` when"),
    "more than Kelly": (replaced(GENOME, sizing=Sizing("kelly", 100, kelly=Kelly(10_001, 50))), "multiplier_bps"),
    "a base above the cap": (replaced(GENOME, sizing=Sizing("kelly", 100, kelly=Kelly(5_000, 101))), "base_bps"),
    "no record": (replaced(GENOME, sizing=Sizing("kelly", 100, kelly=Kelly(5_000, 50, 1))), "min_trades"),
    "no cap": (replaced(GENOME, sizing=Sizing("kelly", 0, kelly=Kelly(5_000, 50))), "fraction of equity"),
    "no target": (replaced(GENOME, sizing=Sizing("volatility", 9, volatility=VolatilityTarget(0))), "target_ppm"),
    "no period": (replaced(GENOME, sizing=Sizing("volatility", 9, volatility=VolatilityTarget(9, 1))), "period of 2"),
    "fixed NaN": (replaced(GENOME, sizing=Sizing("fixed", 0, float("nan"))), "fixed amount"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_breaks_a_rule_is_refused_by_name(case: str) -> None:
    genome, words = REFUSED[case]
    validate_genome(GENOME)
    with pytest.raises(BadInput, match=words):
        validate_genome(genome)

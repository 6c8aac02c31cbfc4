"""Seals over logs in memory: the tree against its definition, every kind of tampering with its sequence, epochs, proofs."""

import base64
import hashlib
import random
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.chain import leaf_hash
from bus.seals.common import CommonFinder
from bus.seals.files import LeafFile, append_seal, read_seals, read_tree, write_tree
from bus.seals.keys import make_or_read_key, read_public
from bus.seals.seal import Opening, sign
from bus.seals.sealed import merge
from bus.seals.tree import CompactRange, inclusion_path, root_from_path
from domain.errors import BadInput, Unreachable
from tests.support.sealed import Auditor, auditor, chain_of, records, renumbered

LOG = records(100)
SEALS = [30, 60, 90]


def mth(leaves: list[bytes]) -> bytes:
    """The definition of RFC 9162, section 2.1.1, word for word (over leaf hashes)."""
    if len(leaves) <= 1:
        return leaves[0] if leaves else hashlib.sha256().digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def test_the_tree_is_that_of_the_rfc_and_every_leaf_has_a_proof():
    leaves = [hashlib.sha256(bytes([i])).digest() for i in range(70)]
    tree = CompactRange()
    for n, leaf in enumerate(leaves, 1):
        assert tree.root() == mth(leaves[: n - 1])
        tree.append(leaf)
        assert len(tree.peaks) == n.bit_count()
        for i in range(n):
            path = inclusion_path(leaves[:n], i)
            assert root_from_path(leaves[i], i, n, path) == tree.root()
    path = inclusion_path(leaves, 13)
    assert root_from_path(leaves[14], 13, 70, path) != tree.root()
    assert root_from_path(leaves[13], 12, 70, path) != tree.root()
    for wrong in (path[:-1], [*path, leaves[0]]):
        with pytest.raises(ValueError, match="path"):
            root_from_path(leaves[13], 13, 70, wrong)


def test_the_leaf_hash_is_the_one_of_the_design():
    head = (7).to_bytes(8, "big") + (4).to_bytes(4, "big") + b"ev.x" + (2).to_bytes(4, "big") + b"id"
    assert leaf_hash(7, "ev.x", "id", b"body") == hashlib.sha256(b"\x00" + head + b"body").digest()


def found(report) -> list[tuple[int, str]]:  # type: ignore[no-untyped-def]
    assert report.ok is (not report.problems)
    return [(p.seq, p.kind) for p in report.problems]


def changed(n: int):  # type: ignore[no-untyped-def]
    log = list(LOG)
    log[n - 1] = log[n - 1]._replace(payload=log[n - 1].payload.replace(b"n", b"m"))
    return log


TAMPERED = {
    "a changed byte": (changed(45), [(45, "changed")]),
    "a changed id": ([*LOG[:44], LOG[44]._replace(id="other"), *LOG[45:]], [(45, "changed")]),
    "a changed subject": ([*LOG[:44], LOG[44]._replace(subject="ev.x.y.z.w"), *LOG[45:]], [(45, "changed")]),
    "two far apart": (changed(45)[:70] + changed(71)[70:], [(45, "changed"), (71, "changed")]),
    "the first": (changed(1), [(1, "changed")]),
    "the last that is sealed": (changed(90), [(90, "changed")]),
    "deleted, leaving a hole": (LOG[:44] + LOG[45:], [(45, "deleted")]),
    "deleted without a hole": (renumbered(LOG[:44] + LOG[45:]), [(45, "deleted")]),
    "three deleted": (renumbered(LOG[:44] + LOG[47:]), [(45, "deleted")]),
    "inserted": (renumbered(LOG[:44] + records(1, "new") + LOG[44:]), [(45, "inserted")]),
    "inserted and deleted": (
        renumbered(LOG[:20] + records(2, "new") + LOG[20:60] + LOG[61:]), [(21, "inserted"), (61, "deleted")]
    ),
    "two swapped": (renumbered([*LOG[:44], LOG[45], LOG[44], *LOG[46:]]), [(45, "reordered")]),
    "one moved forward": (renumbered([*LOG[:44], *LOG[45:50], LOG[44], *LOG[50:]]), [(45, "reordered")]),
    "cut": (LOG[:70], [(71, "cut")]),
    "cut to nothing": ([], [(1, "cut")]),
    "rewound and written again": (LOG[:70] + records(80, "new")[70:], [(71, "rewound"), (81, "cut")]),
    "rewound and longer": (LOG[:70] + records(130, "new")[70:], [(71, "rewound")]),
    "another log": (records(100, "new"), [(1, "replaced")]),
}  # fmt: skip


@pytest.mark.parametrize("case", TAMPERED)
def test_what_was_done_to_the_log_is_found_with_its_sequence(tmp_path, case):
    log, expected = TAMPERED[case]
    report = auditor(tmp_path, LOG, SEALS).verify(log)
    assert found(report) == expected
    assert report.sealed_through == max((s for s in SEALS if s < expected[0][0]), default=0)


@pytest.mark.parametrize("case", TAMPERED)
def test_without_leaf_hashes_the_range_between_two_seals_is_named(tmp_path, case):
    log, expected = TAMPERED[case]
    report = auditor(tmp_path, LOG, SEALS).verify(log, leaves=False)
    first = expected[0][0]
    assert not report.ok
    starts = {1, *(s + 1 for s in SEALS)}
    assert report.problems[0].seq in {first, max(s for s in starts if s <= first)}


def test_a_whole_log_is_whole_and_what_is_not_sealed_yet_is_no_problem(tmp_path):
    a = auditor(tmp_path, LOG, SEALS)
    for leaves in (True, False):
        report = a.verify(LOG + renumbered([*LOG, *records(5, "later")])[100:], leaves=leaves)
        assert (report.ok, report.events, report.sealed_through, report.seals) == (True, 105, 90, 3)
    assert a.verify(changed(95)).ok


def test_a_leaf_file_that_does_not_match_the_seals_is_not_believed(tmp_path):
    a = auditor(tmp_path, LOG, SEALS)
    a.leaf_file.truncate(0)
    a.leaf_file.append(b"".join(leaf_hash(*r) for r in changed(45)[:90]))
    report = a.verify(LOG)
    assert report.ok
    assert "does not match the seal through 60" in report.notes[0]
    # It says just what the forged log says, and cannot excuse it.
    assert found(a.verify(changed(45))) == [(31, "changed"), (61, "unverified")]


def test_a_forged_seal_is_told_by_its_signature(tmp_path):
    a = auditor(tmp_path, LOG, SEALS)
    forger = Ed25519PrivateKey.generate()
    real = list(a.seals)
    a.seals[1] = sign(real[1].seal, forger)
    report = a.verify(LOG)
    assert (60, "forged") in found(report)
    a.seals[1] = msgspec.structs.replace(
        real[1], seal=msgspec.structs.replace(real[1].seal, time="2031-01-01T00:00:00Z")
    )
    assert (60, "forged") in found(a.verify(LOG))
    # Taken out, the one after it names it.
    a.seals[:] = [real[0], real[2]]
    assert found(a.verify(LOG)) == [(61, "forged")]
    # Whoever has no key cannot seal a changed log anew.
    other = Auditor(LeafFile(tmp_path / "other"), key=forger)
    other.seal(changed(45), SEALS)
    a.seals[:] = other.seals
    assert {kind for _, kind in found(a.verify(changed(45)))} == {"forged"}


def test_seals_of_the_stream_and_of_the_file_that_differ_are_found(tmp_path):
    a = auditor(tmp_path, LOG, SEALS)
    key = a.key.public_key()
    assert merge(a.seals, a.seals, key) == (a.seals, [])
    assert merge(a.seals, a.seals[:-1], key) == (a.seals, [])
    assert merge(a.seals[:-1], a.seals, key) == (a.seals, [])
    _, problems = merge(a.seals[1:], a.seals, key)
    assert [(p.seq, p.kind) for p in problems] == [(30, "seal_missing")]
    forged = sign(a.seals[1].seal, Ed25519PrivateKey.generate())
    merged, problems = merge([a.seals[0], forged, a.seals[2]], a.seals, key)
    assert merged == a.seals
    assert [(p.seq, p.kind) for p in problems] == [(60, "seals_differ")]
    assert "AUDIT is not by key" in problems[0].detail


# -- epochs -------------------------------------------------------------------------------------------------------


def restored(shared: int) -> tuple[list, Opening]:  # type: ignore[type-arg]
    """A copy up to `shared`, the event that opens epoch 2, and other events after it."""
    log = LOG[:shared] + renumbered([*LOG[:shared], *records(60, "second")])[shared:]
    return log, Opening(shared + 1, 2, shared, chain_of(LOG[:shared]))


@pytest.mark.parametrize("shared", [30, 45, 75])
def test_after_a_restore_the_lost_seals_are_superseded_and_no_problem(tmp_path, shared):
    a = auditor(tmp_path, LOG, SEALS)
    log, opening = restored(shared)
    late = sum(s > shared for s in SEALS)
    report = a.verify(log, [opening])
    assert (found(report), report.superseded, report.epoch) == ([], late, 2)
    # Without that event it is what it looks like.
    assert {kind for _, kind in found(a.verify(log))} & {"rewound", "cut"}
    # And with one that names another log, too.
    wrong = msgspec.structs.replace(opening, chain="00" * 32)
    if shared in SEALS:
        assert found(a.verify(log, [wrong])) == [(shared + 1, "epoch")]
    a.seal(log, [shared + 10, shared + 20], epoch=2, first=shared + 1)
    report = a.verify(log, [opening])
    assert (found(report), report.sealed_through, report.superseded) == ([], shared + 20, late)
    assert found(a.verify(log, [wrong])) == [(shared + 1, "epoch")]
    log[shared + 4] = log[shared + 4]._replace(payload=b"{}")
    assert found(a.verify(log, [opening])) == [(shared + 5, "changed")]


def test_a_new_epoch_that_no_event_opens_is_a_problem(tmp_path):
    a = auditor(tmp_path, LOG, SEALS)
    a.seal(LOG, [95], epoch=2, first=91)
    assert found(a.verify(LOG)) == [(91, "epoch")]


def test_a_log_made_at_another_time_is_another_log(tmp_path):
    assert found(auditor(tmp_path, LOG, SEALS).verify(LOG, created="2031-01-01T00:00:00Z")) == [(1, "replaced")]


def common(a: Auditor, log, leaves: bool = True) -> tuple[int, str]:  # type: ignore[no-untyped-def]
    finder = CommonFinder(a.seals, (), a.leaf_file if leaves else None)
    for at in range(0, len(log), 7):
        finder.feed(log[at : at + 7])
    return finder.result


def test_the_last_common_event_is_found(tmp_path):
    a = auditor(tmp_path, LOG, SEALS)
    assert common(a, LOG) == (100, chain_of(LOG))
    assert common(a, LOG, leaves=False) == (100, chain_of(LOG))
    assert common(a, LOG[:45]) == (45, chain_of(LOG[:45]))
    assert common(a, LOG[:45], leaves=False) == (30, chain_of(LOG[:30]))
    assert common(a, changed(45)) == (44, chain_of(LOG[:44]))
    assert common(a, changed(45), leaves=False) == (30, chain_of(LOG[:30]))
    assert common(a, records(50, "new")) == (0, "00" * 32)
    assert common(a, []) == (0, "00" * 32)


def test_what_the_finder_names_makes_a_restored_log_whole(tmp_path):
    a = auditor(tmp_path, LOG, SEALS)
    for copy in (LOG[:45], changed(45), LOG[:90], records(50, "new")):
        for leaves in (True, False):
            shared = common(a, copy, leaves)
            log = renumbered([*copy, *records(3, "after")])
            assert a.verify(log, [Opening(len(copy) + 1, 2, *shared)], leaves=leaves).ok


# -- any tampering ------------------------------------------------------------------------------------------------


@given(st.integers(0, 10**9))
@settings(max_examples=60, deadline=None)
def test_no_edit_of_the_sealed_part_goes_unnoticed(tmp_path_factory, seed):
    r = random.Random(seed)
    folder = tmp_path_factory.mktemp("seals")
    a = auditor(folder, LOG, sorted(r.sample(range(1, 100), 3)))
    end = a.seals[-1].seal.last_seq
    log = list(LOG)
    for _ in range(r.randint(1, 4)):
        at = r.randrange(end)
        if len(log) <= at + 1:
            continue
        match r.choice(["change", "delete", "insert", "swap", "cut"]):
            case "change":
                log[at] = log[at]._replace(payload=log[at].payload + b" ")
            case "delete":
                del log[at]
            case "insert":
                log.insert(at, records(1, str(seed))[0])
            case "swap":
                log[at], log[at + 1] = log[at + 1], log[at]
            case "cut":
                del log[at:]
    log = renumbered(log) if r.random() < 0.7 else [m for i, m in enumerate(log) if i == 0 or m.seq > log[i - 1].seq]
    for leaves in (True, False):
        report = a.verify(log, leaves=leaves)
        assert report.ok is (log[:end] == LOG[:end])
        if not report.ok:
            first = next(i for i in range(end) if log[i : i + 1] != LOG[i : i + 1]) + 1
            assert report.problems[0].seq == first or (not leaves and report.problems[0].seq <= first)


# -- files --------------------------------------------------------------------------------------------------------


def test_a_line_that_a_crash_cut_off_is_left_out_and_written_over(tmp_path):
    path = tmp_path / "out" / "seals.jsonl"
    a = auditor(tmp_path, LOG, SEALS)
    for s in a.seals[:2]:
        append_seal(path, s)
    whole = path.read_bytes()
    with path.open("ab") as f:
        f.write(msgspec.json.encode(a.seals[2])[:50])
    assert read_seals(path) == a.seals[:2]
    append_seal(path, a.seals[2])
    assert path.read_bytes().startswith(whole)
    assert read_seals(path) == a.seals
    path.write_bytes(whole + b"{}\n")
    with pytest.raises(BadInput, match="line 3"):
        read_seals(path)


def test_the_key_is_private_and_is_never_made_anew_in_silence(tmp_path):
    private, public = tmp_path / "key.pem", tmp_path / "key.pub"
    key = make_or_read_key(private, public)
    assert private.stat().st_mode & 0o777 == 0o600
    assert read_public(public) == make_or_read_key(private, public).public_key() == key.public_key()
    private.unlink()
    with pytest.raises(Unreachable, match="is gone"):
        make_or_read_key(private, public)
    private.write_bytes(b"junk")
    with pytest.raises(Unreachable, match="cannot be read"):
        make_or_read_key(private, public)
    with pytest.raises(BadInput, match="no public key"):
        read_public(private)


def test_the_cached_tree_is_used_only_where_it_is_that_of_the_seal(tmp_path: Path):
    tree, path = CompactRange(), tmp_path / "tree.json"
    for i in range(37):
        tree.append(hashlib.sha256(bytes([i])).digest())
    assert read_tree(path, 37, tree.root().hex()) is None
    write_tree(path, tree)
    again = read_tree(path, 37, tree.root().hex())
    assert again is not None
    assert again.peaks == tree.peaks
    assert read_tree(path, 36, tree.root().hex()) is None
    assert read_tree(path, 37, "00" * 32) is None
    path.write_bytes(b"{")
    assert read_tree(path, 37, tree.root().hex()) is None


def test_signatures_cover_every_field(tmp_path):
    a = auditor(tmp_path, LOG, SEALS)
    s = a.seals[0]
    assert s.flaw(a.key.public_key()) == ""
    for name in s.seal.__struct_fields__:
        value = getattr(s.seal, name)
        other = msgspec.structs.replace(s.seal, **{name: value + 1 if isinstance(value, int) else value + "0"})
        assert msgspec.structs.replace(s, seal=other).flaw(a.key.public_key())
    assert "base64" in msgspec.structs.replace(s, signature="***").flaw(a.key.public_key())
    assert base64.b64decode(s.signature)

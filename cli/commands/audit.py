"""`sluice audit verify | prove | check-proof | export`: is the log what was sealed, and proof of single events."""

import argparse
from collections.abc import Callable
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from bus.chain import leaf_hash
from bus.client import Bus
from bus.copies.target import open_target
from bus.copies.verified import inspect_copy
from bus.seals.files import LeafFile, Places, places, read_seals
from bus.seals.keys import read_public
from bus.seals.proof import check_proof, decode_proof, make_proof, payload_of
from bus.seals.reading import STREAM, read_audit, read_openings, read_records
from bus.seals.seal import SignedSeal, in_force
from bus.seals.sealed import Problem, Sealed, merge
from bus.seals.tree import HASH_BYTES, CompactRange
from bus.seals.verify import Report, Verifier, record_of
from bus.settings import StateDir
from cli import common
from cli.commands import audit_export
from domain.errors import SluiceError, Unreachable


def add(sub: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    p = sub.add_parser("audit", help="is the log what was sealed")
    verbs = p.add_subparsers(dest="verb", required=True, metavar="VERB")
    v = verbs.add_parser("verify", parents=[common.options()], help="compare the whole log with its seals")
    v.add_argument("--copy", metavar="SOURCE", help="verify a copy that `sluice backup` made; nothing needs to run")
    _files(v)
    v.set_defaults(run=verify)
    v = verbs.add_parser("prove", parents=[common.options()], help="make a proof that an event is in the sealed log")
    v.add_argument("seq", type=common.whole(1, 2**62), metavar="SEQ", help="sequence of the event")
    v.add_argument("--out", type=Path, metavar="FILE", help="write it to this file (default: print it)")
    _files(v)
    v.set_defaults(run=prove)
    v = verbs.add_parser("check-proof", parents=[common.options()], help="check a proof; needs neither log nor server")
    v.add_argument("file", type=Path, metavar="FILE", help="as `audit prove` made it")
    v.add_argument("--key", type=Path, metavar="FILE", help="the auditor's public key (default: the one in the proof)")
    v.set_defaults(run=check)
    audit_export.add(verbs)


def _files(p: argparse.ArgumentParser) -> None:
    p.add_argument("--seals", type=Path, metavar="FILE", help="the seals outside NATS (default: the auditor's file)")
    p.add_argument("--key", type=Path, metavar="FILE", help="the auditor's public key (default: the one in the state)")


async def _seals(
    bus: Bus, args: common.Args, at: Places, key: Ed25519PublicKey
) -> tuple[list[SignedSeal], list[Problem], list[str]]:
    """(all seals, where AUDIT and the file differ or hold something else, what could not be looked at)."""
    audit, problems = await read_audit(bus)
    path = args.seals or at.seals
    if args.seals is None and not path.exists():
        return audit, problems, [f"there is no seal file at {path}: only the seals in AUDIT were used"]
    merged, differ = merge(audit, read_seals(path), key)
    return merged, problems + differ, []


def _leaves(at: Places) -> LeafFile | None:
    return LeafFile(at.leaves) if at.leaves.exists() else None


async def inspect(bus: Bus, args: common.Args, progress: Callable[[int, int], None]) -> Report:
    """Verify the log of a running instance; `progress(events, of)` is called after each batch."""
    state = StateDir(args.state)
    at = places(state, state.settings())
    key = read_public(args.key or at.public_key)
    seals, problems, notes = await _seals(bus, args, at, key)
    last, _, created = await bus.stream_state(STREAM)
    sealed = Sealed(seals, await read_openings(bus), key, _leaves(at), created)
    sealed.problems += problems
    sealed.notes += notes
    if sealed.leaves is None and seals:
        sealed.notes.append("without the auditor's leaf hashes, a difference is found as a range between two seals")
    verifier = Verifier(sealed)
    async for batch in read_records(bus, last):
        verifier.feed(batch)
        progress(verifier.seq, last)
    return verifier.finish(last)


async def verify(args: common.Args) -> int:
    """Exit status 1 when the log is not what was sealed."""
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        console=common.console(), disable=args.json, transient=True,
    ) as bar:  # fmt: skip
        task = bar.add_task("events", total=None)
        if args.copy:
            report = inspect_copy(
                open_target(args.copy), args.key, args.seals, lambda at, end: bar.update(task, completed=at, total=end)
            )
        else:
            async with common.admin(args) as bus:
                report = await inspect(bus, args, lambda at, end: bar.update(task, completed=at, total=end))
    if args.json:
        common.print_json(report)
    else:
        _print(report)
    return 0 if report.ok else 1


def _print(r: Report) -> None:
    if r.ok:
        words = f"whole: {r.events:,} events, sealed through {r.sealed_through:,} by {r.seals:,} seals"
        print(words if r.seals else f"{r.events:,} events, none of them sealed yet: nothing was compared")
    else:
        rows = [(p.seq, p.kind, p.detail) for p in r.problems]
        common.print_table("NOT what was sealed", ("at event", "what", "in words"), rows, "")
        if r.more_problems:
            print(f"… and {r.more_problems:,} more")
        print(f"{r.events:,} events; sealed and as they were through {r.sealed_through:,}")
    if r.superseded:
        print(f"epoch {r.epoch}: {r.superseded:,} seals of earlier epochs cover events that no restored copy had")
    for note in r.notes:
        print(f"note: {note}")


async def prove(args: common.Args) -> int:
    """Exit status 1 when the event is not sealed yet, or the log is not what was sealed."""
    state = StateDir(args.state)
    at = places(state, state.settings())
    key = read_public(args.key or at.public_key)
    async with common.admin(args) as bus:
        seals, _, _ = await _seals(bus, args, at, key)
        bound, _ = in_force([s for s in seals if not s.flaw(key)], await read_openings(bus))
        seal = next((s for s in bound if s.seal.last_seq >= args.seq), None)
        if seal is None:
            through = bound[-1].seal.last_seq if bound else 0
            wait = state.settings().seal_s
            raise SluiceError(f"event {args.seq} is not sealed: seals reach to {through}; ask again in {wait:g} s")
        leaves = await _leaves_of(bus, at, seal)
        stored = await bus.get(STREAM, args.seq)
    if stored is None:
        raise SluiceError(f"event {args.seq} is gone or cannot be read; `sluice audit verify` says more")
    proof = make_proof(record_of(stored), leaves, seal, key)
    if not (checked := check_proof(proof, key)).ok:
        raise SluiceError(f"event {args.seq}: {checked.detail}; `sluice audit verify` says more")
    text = msgspec.json.format(msgspec.json.encode(proof), indent=2).decode() + "\n"
    if args.out is None:
        print(text, end="")
        return 0
    try:
        args.out.write_text(text)
    except OSError as e:
        raise Unreachable(f"{args.out} cannot be written: {e.strerror}; nothing was kept") from e
    if args.json:
        common.print_json({"file": str(args.out), "seq": args.seq, "sealed_through": seal.seal.last_seq})
    else:
        print(f"{args.out}: event {args.seq} is in the log sealed through {seal.seal.last_seq} at {seal.seal.time}")
    return 0


async def _leaves_of(bus: Bus, at: Places, seal: SignedSeal) -> list[bytes]:
    """All leaves under a seal: from the auditor's file where it matches the seal, else from the log."""
    size = seal.seal.size
    raw = LeafFile(at.leaves).read(1, size) if at.leaves.exists() else b""
    leaves = [raw[i : i + HASH_BYTES] for i in range(0, len(raw), HASH_BYTES)]
    tree = CompactRange()
    for leaf in leaves:
        tree.append(leaf)
    if tree.size == size and tree.root().hex() == seal.seal.root:
        return leaves
    leaves = []
    async for batch in read_records(bus, size):
        leaves += [leaf_hash(*record) for record in batch]
    if len(leaves) < size:
        raise SluiceError(f"the log does not hold all {size} sealed events; `sluice audit verify` says more")
    return leaves


def check(args: common.Args) -> int:
    """Exit status 1 when the proof does not hold."""
    try:
        raw = args.file.read_bytes()
    except OSError as e:
        raise Unreachable(f"{args.file} cannot be read: {e.strerror}") from e
    proof = decode_proof(raw)
    checked = check_proof(proof, read_public(args.key) if args.key else None)
    if args.json:
        common.print_json(checked)
        return 0 if checked.ok else 1
    if not checked.ok:
        print(f"NOT proved: {checked.detail}")
        return 1
    print(f"proved: event {checked.seq} ({checked.subject}) was in the log sealed through {checked.sealed_through}")
    print(f"sealed at {checked.sealed_at} with key {checked.key}")
    print(payload_of(proof).decode(errors="replace"))
    if not checked.trusted_key:
        print(
            f"note: checked with the key that the proof brings along; compare {checked.key} with the id of a key that "
            "you have from elsewhere, or name that key with --key"
        )
    return 0

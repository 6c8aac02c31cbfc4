"""What a search carries from one generation to the next, and the bytes of a checkpoint."""

import hashlib

import msgspec

from domain.errors import BadInput
from domain.genome import Genome
from domain.hashing import content_hash
from domain.specs import SearchSpec
from kernels.evolution.ranking import Fitness

_MAGIC = b"SLUICE-CHECKPOINT-1\n"
_DIGEST = 32
HASH_BYTES = 32


class Candidate(msgspec.Struct, frozen=True, array_like=True):
    """An evaluated genome; `key` is its hash as 32 bytes."""

    key: bytes
    genome: Genome
    fitness: Fitness


class State(msgspec.Struct, frozen=True, array_like=True):
    """Between two generations: no generator state, since each generation has a seed of its own.

    `population` ranked best first; `hall` the best eligible genomes of all so far, at most `spec.top`; `tried` the
    sorted hashes of all that were evaluated; `stale` the generations since the best last got better; `sample` the tried
    genomes with the smallest hashes.
    """

    generation: int = 0
    stale: int = 0
    population: tuple[Candidate, ...] = ()
    hall: tuple[Candidate, ...] = ()
    tried: bytes = b""
    sample: tuple[tuple[bytes, Genome], ...] = ()


class _Saved(msgspec.Struct, frozen=True, array_like=True):
    spec: str
    seed: int
    state: State


def genome_key(genome: Genome) -> bytes:
    """The id of a genome that is canonical already, as 32 bytes."""
    return bytes.fromhex(content_hash(genome))


def checkpoint_bytes(spec: SearchSpec, seed: int, state: State) -> bytes:
    """Magic line, SHA-256 of the body, body (msgpack: floats keep their bits)."""
    body = msgspec.msgpack.encode(_Saved(content_hash(spec), seed, state))
    return _MAGIC + hashlib.sha256(body).digest() + body


def state_from_checkpoint(spec: SearchSpec, seed: int, data: bytes) -> State:
    """Inverse of `checkpoint_bytes`; raises BadInput on damaged bytes or those of another spec, seed or version."""
    head, body = data[: len(_MAGIC) + _DIGEST], data[len(_MAGIC) + _DIGEST :]
    if not head.startswith(_MAGIC):
        raise BadInput("these bytes are not a checkpoint of this version")
    if head[len(_MAGIC) :] != hashlib.sha256(body).digest():
        raise BadInput("the checkpoint is damaged: its digest does not fit its body")
    try:
        saved = msgspec.msgpack.decode(body, type=_Saved)
    except msgspec.MsgspecError as e:
        raise BadInput(f"the checkpoint cannot be read: {e}") from e
    if saved.spec != content_hash(spec) or saved.seed != seed:
        raise BadInput("the checkpoint belongs to another search or another seed")
    return saved.state

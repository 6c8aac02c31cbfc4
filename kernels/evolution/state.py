"""What a search carries from one generation to the next, and the bytes of a checkpoint."""

import msgspec
import numpy as np
from numpy.typing import NDArray

from domain.errors import BadInput
from domain.genome import Genome
from domain.hashing import content_hash
from domain.specs import SearchSpec
from kernels.evolution.ranking import COLUMNS, Fitness
from kernels.evolution.sealed import seal, unseal

_MAGIC = b"SLUICE-CHECKPOINT-2\n"


class Candidate(msgspec.Struct, frozen=True, array_like=True):
    """An evaluated genome; `key` is its hash as 32 bytes."""

    key: bytes
    genome: Genome
    fitness: Fitness


class Group(msgspec.Struct, frozen=True, eq=False):
    """Some of the genomes tried: their numbers `index` int64[k] and their fitness table `fits` float64[k, 5]."""

    index: NDArray[np.int64]
    fits: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.index)

    def with_(self, other: "Group") -> "Group":
        return Group(np.concatenate((self.index, other.index)), np.concatenate((self.fits, other.fits)))

    def take(self, places: NDArray[np.int64]) -> "Group":
        return Group(self.index[places], self.fits[places])


def nobody() -> Group:
    return Group(np.empty(0, dtype=np.int64), np.empty((0, COLUMNS)))


class State(msgspec.Struct, frozen=True, eq=False):
    """Between two generations: no generator state, since each generation has a seed of its own.

    `population` ranked best first; `hall` the best eligible genomes of all so far, at most `spec.top`; `front` those that
    no other dominates; `stale` the generations since the best of all last got better, `stalled` since that of the
    population did, which a restart sets to 0.
    """

    generation: int = 0
    stale: int = 0
    stalled: int = 0
    restarts: int = 0
    population: Group = msgspec.field(default_factory=nobody)
    hall: Group = msgspec.field(default_factory=nobody)
    front: Group = msgspec.field(default_factory=nobody)


class _Packed(msgspec.Struct, frozen=True, array_like=True):
    index: bytes
    fits: bytes


class _Saved(msgspec.Struct, frozen=True, array_like=True):
    spec: str
    seed: int
    counts: tuple[int, int, int, int]
    groups: tuple[_Packed, _Packed, _Packed]
    tried: bytes


def genome_key(genome: Genome) -> bytes:
    """The id of a genome that is canonical already, as 32 bytes."""
    return bytes.fromhex(content_hash(genome))


def checkpoint_bytes(spec: SearchSpec, seed: int, state: State, tried: bytes) -> bytes:
    """Sealed, arrays little-endian.

    `tried`: the rows of all genomes in the order of their numbers (`Tried.packed`).
    """
    counts = (state.generation, state.stale, state.stalled, state.restarts)
    groups = (_pack(state.population), _pack(state.hall), _pack(state.front))
    return seal(_MAGIC, _Saved(content_hash(spec), seed, counts, groups, tried))


def state_from_checkpoint(spec: SearchSpec, seed: int, data: bytes) -> tuple[State, bytes]:
    """Inverse of `checkpoint_bytes`; raises BadInput on damaged bytes or those of another spec, seed or version."""
    saved = unseal(_MAGIC, data, _Saved)
    try:
        groups = [_unpack(group) for group in saved.groups]
    except ValueError as e:
        raise BadInput(f"the checkpoint cannot be read: {e}") from e
    if saved.spec != content_hash(spec) or saved.seed != seed:
        raise BadInput("the checkpoint belongs to another search or another seed")
    return State(*saved.counts, *groups), saved.tried


def _pack(group: Group) -> _Packed:
    return _Packed(group.index.astype("<i8").tobytes(), group.fits.astype("<f8").tobytes())


def _unpack(packed: _Packed) -> Group:
    index = np.frombuffer(packed.index, dtype="<i8").astype(np.int64)
    return Group(index, np.frombuffer(packed.fits, dtype="<f8").astype(np.float64).reshape(len(index), COLUMNS))

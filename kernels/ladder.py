"""A ladder of minima over the candles: the first candle that meets a guard or an aim, eight candidates a look.

Rung 0 holds every candle, each rung above the minima of eight places below it. A search looks at the eight places around
it, climbs while none of the rest of them meets a level, and descends into the first that does: about six looks where a
walk over blocks compares sixty places, and no more than one guess of the processor a rung.

A group of eight is laid out as eight lows, then eight negated highs (opens counted in, `touch.signed_extremes`): two cache
lines. A long is guarded by the first and aims in the second, a short the other way round; "met" is at or below (guard), below
(aim). Behind the last candle stands one that meets every guard, so that a search always ends.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from kernels.bitmaps import trailing_zeros
from kernels.jit import inlined

#: Values a group: eight of either row.
GROUP = 16
ALIGNMENT = 64


def _eight(context: Any, builder: Any, array_type: Any, array: Any, at: Any) -> Any:
    """The vector of array[at : at + 8]; no bounds are checked."""
    data = context.make_array(array_type)(context, builder, value=array).data
    eight = ir.VectorType(ir.DoubleType(), 8)
    return builder.load(builder.bitcast(builder.gep(data, [at]), eight.as_pointer()), align=8)


def _same(builder: Any, value: Any) -> Any:
    eight = ir.VectorType(ir.DoubleType(), 8)
    lanes = ir.VectorType(ir.IntType(32), 8)
    first = builder.insert_element(ir.Constant(eight, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, ir.Constant(eight, ir.Undefined), ir.Constant(lanes, [0] * 8))


def _met_of_eight(typing_context: Any, values: Any, guard_at: Any, aim_at: Any, guard: Any, aim: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array, guard_from, aim_from, guard_level, aim_level = args
        kind = signature.args[0]
        guarded = builder.fcmp_ordered(
            "<=", _eight(context, builder, kind, array, guard_from), _same(builder, guard_level)
        )
        aimed = builder.fcmp_ordered("<", _eight(context, builder, kind, array, aim_from), _same(builder, aim_level))
        mask = builder.bitcast(builder.or_(guarded, aimed), ir.IntType(8))
        return builder.zext(mask, ir.IntType(64))

    return types.uint64(values, types.int64, types.int64, types.float64, types.float64), generate


#: met_of_eight(values, guard_at, aim_at, guard, aim): bit k of the result (uint64) = values[guard_at + k] <= guard or
#: values[aim_at + k] < aim. Vectors of LLVM: one comparison each where the processor has registers for eight, several elsewhere.
met_of_eight: Any = intrinsic(_met_of_eight)


def build_ladder(
    lows: NDArray[np.float64], highs: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """(values of all rungs, where each rung begins) for `lows` and negated `highs` (n,)."""
    rungs: list[NDArray[np.float64]] = []
    pair = np.stack((lows, highs))
    while True:
        n = pair.shape[1]
        # The place behind the last candle is the one that always meets; further ones only fill the group.
        groups = n // 8 + 1 if not rungs else (n + 7) // 8
        padded = np.full((2, 8 * groups), -np.inf)
        padded[:, :n] = pair
        grouped = padded.reshape(2, groups, 8)
        rungs.append(np.ascontiguousarray(grouped.transpose(1, 0, 2)).reshape(-1))
        if groups == 1:
            break
        pair = grouped.min(axis=2)
    begins = np.cumsum([0, *(len(r) for r in rungs[:-1])], dtype=np.int64)
    values = _aligned(sum(map(len, rungs)))
    np.concatenate(rungs, out=values)
    return values, begins


def _aligned(count: int) -> NDArray[np.float64]:
    """float64[count] that begins with a cache line, so that a group of eight never lies in two of them."""
    raw = np.empty(count + ALIGNMENT // 8)
    first = (-raw.ctypes.data % ALIGNMENT) // 8
    return raw[first : first + count]


@inlined
def first_met(values, begins, c, guard_row, guard, aim):
    """The first candle from c (at most n) on that meets signed `guard` or `aim`, n where none does.

    `guard_row`: 0 where lows are guarded (a long), 8 where negated highs are. Levels that are off are -inf.
    """
    aim_row = 8 - guard_row
    first = GROUP * (c >> 3)
    met = met_of_eight(values, first + guard_row, first + aim_row, guard, aim) >> np.uint64(c & 7) << np.uint64(c & 7)
    rung = 0
    while met == np.uint64(0):
        c = (c >> 3) + 1
        rung += 1
        first = begins[rung] + GROUP * (c >> 3)
        met = (
            met_of_eight(values, first + guard_row, first + aim_row, guard, aim) >> np.uint64(c & 7) << np.uint64(c & 7)
        )
    c = (c & ~7) + np.int64(trailing_zeros(met))
    while rung > 0:
        rung -= 1
        first = begins[rung] + GROUP * c
        met = met_of_eight(values, first + guard_row, first + aim_row, guard, aim)
        c = 8 * c + np.int64(trailing_zeros(met))
    return c

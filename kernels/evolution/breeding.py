"""One generation of new genomes, compiled: systematic neighbours of the best, newcomers, mutants, children; none twice."""

from kernels.evolution.draws import below
from kernels.evolution.operators import copy_part, cross, draw_row, mutate, neighbour, steps_of, tournament
from kernels.evolution.tried import add_if_new
from kernels.jit import jit

MAX_STRENGTH = 4
_RETRIES = 16


@jit
def breed_neighbours(space, rows, slots, cursor, count, parents, most, row):
    """Add up to `most` untried neighbours, those of the best of `parents` (ranked, numbers of `rows`) first; returns the new
    count. In place."""
    steps, until = steps_of(space), count + most
    for p in parents:
        while cursor[p] < steps and count < until:
            if neighbour(space, rows[p], cursor[p], row) and add_if_new(row, rows, slots, count):
                count += 1
            cursor[p] += 1
        if count == until:
            break
    return count


@jit
def breed_child(space, state, rows, parents, strength, row, was):
    """Three in four by crossover, half of these mutated too; the rest are mutants."""
    first = rows[parents[tournament(state, len(parents))]]
    if below(state, 4) == 0:
        copy_part(first, row, 0, len(row))
        mutate(space, state, row, strength, was)
        return
    cross(space, state, first, rows[parents[tournament(state, len(parents))]], row, was)
    if below(state, 2):
        mutate(space, state, row, strength, was)


@jit
def breed(space, state, rows, slots, cursor, count, parents, hall, wanted, local, fresh, mutants, strength, row, was):
    """Add up to `wanted` new rows: at most `local` neighbours, then `fresh` random ones, `mutants` of the `hall`, and children
    of `parents` for the rest; returns the new count. In place.

    Fewer, down to none, only where a small space is nearly used up.
    """
    start = count
    count = breed_neighbours(space, rows, slots, cursor, count, parents, local, row)
    for place in range(wanted - (count - start)):
        if place < fresh or (len(parents) == 0 and len(hall) == 0):
            draw_row(space, state, row)
        elif place < fresh + mutants or len(parents) == 0:
            copy_part(rows[hall[below(state, len(hall))]], row, 0, len(row))
            mutate(space, state, row, MAX_STRENGTH, was)
        else:
            breed_child(space, state, rows, parents, strength, row, was)
        for _ in range(_RETRIES):
            if add_if_new(row, rows, slots, count):
                count += 1
                break
            mutate(space, state, row, MAX_STRENGTH, was)
    return count

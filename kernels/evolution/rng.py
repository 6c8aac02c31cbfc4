"""Random numbers of the search: splitmix64 in integers only, so that a seed has the same bits on every machine."""

_MASK = (1 << 64) - 1


class Rng:
    """Steele, Lea, Flood (2014), "Fast splittable pseudorandom number generators"; state is one 64-bit integer.

    The readable form of what `kernels.evolution.draws` compiles and `kernels.statistics.draws` makes by the array; tests
    compare them. Only raw output and integer arithmetic: no library's stream, whose bits could change between its versions.
    """

    __slots__ = ("_state",)

    def __init__(self, seed: int) -> None:
        self._state = seed & _MASK

    def raw(self) -> int:
        """The next 64 bits."""
        self._state = z = (self._state + 0x9E3779B97F4A7C15) & _MASK
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        return z ^ (z >> 31)

    def below(self, n: int) -> int:
        """Uniform over 0..n-1 (n up to 2**64), without bias: Lemire (2019), multiply, shift, reject."""
        product = self.raw() * n
        if product & _MASK < n:
            threshold = (_MASK + 1) % n
            while product & _MASK < threshold:
                product = self.raw() * n
        return product >> 64

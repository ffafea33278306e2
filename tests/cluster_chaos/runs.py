"""Sets of numbers of which most follow one another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

__all__ = ["Runs"]


class Runs:
    """A set of whole numbers, as the runs of numbers that follow one another.

    Args:
        pairs: The first and the last number of each run, in order; as in `pairs`.

    Attributes:
        pairs: The same.
    """

    def __init__(self, pairs: Sequence[Sequence[int]] = ()) -> None:
        self.pairs = [list(pair) for pair in pairs]

    def __len__(self) -> int:
        return sum(last - first + 1 for first, last in self.pairs)

    def __iter__(self) -> Iterator[int]:
        for first, last in self.pairs:
            yield from range(first, last + 1)

    def __contains__(self, number: int) -> bool:
        return any(first <= number <= last for first, last in reversed(self.pairs))

    def add(self, number: int) -> bool:
        """Put in a number; return whether it was not there before."""
        pairs = self.pairs
        # Most come in their order, so the place is near the end.
        place = len(pairs)
        while place and pairs[place - 1][0] > number:
            place -= 1
        if place and number <= pairs[place - 1][1]:
            return False
        follows = place > 0 and pairs[place - 1][1] == number - 1
        precedes = place < len(pairs) and pairs[place][0] == number + 1
        if follows and precedes:
            pairs[place - 1][1] = pairs.pop(place)[1]
        elif follows:
            pairs[place - 1][1] = number
        elif precedes:
            pairs[place][0] = number
        else:
            pairs.insert(place, [number, number])
        return True

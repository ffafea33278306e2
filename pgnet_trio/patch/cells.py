"""What changed in the rows of a table, column by column; `columns` says what becomes of it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, compress, repeat
from operator import is_, is_not, sub
from types import NoneType
from typing import Any

from pgnet_trio.codec.plain_data import HIGHEST_INT, LOWEST_INT
from pgnet_trio.patch.merge import same
from pgnet_trio.patch.sizes import encode, head_size, int_size, text_size

__all__ = ["CONSTANTS", "EXACT", "NESTED", "SCALARS", "Columns"]

EXACT = 2**53
"""Every int up to here is a float too."""

CONSTANTS = frozenset({int, float, bool, NoneType})
"""What may stand for the entry of every row. No text: few bytes could make many cells long."""

SCALARS = CONSTANTS | {str}
"""What a cell can be."""

NESTED = frozenset({dict, list})
"""What no cell is."""

_INTS = frozenset({int})
_FLOATS = frozenset({float})


class Columns:
    """Finds what changed in the rows of a table, field by field.

    Args:
        numbers: The numbers of the rows.
        before: The rows as they were.
        after: The rows as they are.
        row_size: The fewest bytes that the change of a row takes in `merge`, beside its cells.

    Attributes:
        found: The columns, as they travel.
        others: The numbers of the rows that the columns leave out: these are no records, or more
            may have changed in them than cells.
    """

    def __init__(
        self, numbers: Sequence[int], before: list[Any], after: list[Any], row_size: int
    ) -> None:
        self.found: list[Any] = []
        self.others: list[int] = []
        self._row_size = row_size
        self._rows: list[Sequence[int]] = []
        self._last_runs: list[int] | None = None
        # The most bytes that the columns take, and the fewest that the same takes row by row.
        self._size = 2
        self._size_by_row = 0
        cells = _cells_of_records(numbers, before, after)
        if cells is None:
            cells, self.others = _gathered_cells(numbers, before, after)
        for column in cells:
            self._add(*column)

    @property
    def rows(self) -> list[int]:
        """The numbers of the rows that the columns change."""
        return sorted({row for rows in self._rows for row in rows})

    @property
    def are_small(self) -> bool:
        """Whether the columns are known to be no larger than the changes of these rows."""
        rows = self._row_size * max(map(len, self._rows))
        return self._size + head_size(len(self.found)) <= self._size_by_row + rows

    def _add(
        self,
        field: str,
        rows: Sequence[int],
        olds: list[Any],
        news: list[Any],
        kinds: set[type],
    ) -> None:
        found = _ints(rows, olds, news) if kinds == _INTS else None
        rows, entries, size, size_by_row = found or _any_scalars(rows, olds, news, kinds)
        if not rows:
            return
        runs: list[int] | None = _runs(rows)
        if runs == self._last_runs:
            runs = None
            size += 1
        else:
            self._last_runs = runs
            size += len(encode(runs))
        name = text_size(field)
        self.found.append([field, runs, entries])
        self._rows.append(rows)
        self._size += 1 + name + size
        self._size_by_row += name * len(rows) + size_by_row


# A field, the rows that have it, their old and new cells, and the types of these.
_Cells = tuple[str, Sequence[int], list[Any], list[Any], set[type]]

# The rows that change, their entries or one for all, its size, and the size of the new values.
_Entries = tuple[Sequence[int], Any, int, int]


def _cells_of_records(
    numbers: Sequence[int], before: list[Any], after: list[Any]
) -> list[_Cells] | None:
    """Return the cells of rows that are records of one shape; None where they are not.

    Most tables are such, and this takes a fraction of the time of `_gathered_cells`.
    """
    fields = before[0] if before and type(before[0]) is dict else {}
    cells: list[_Cells] = []
    try:
        if not fields or not {len(fields)}.issuperset(map(len, chain(before, after))):
            return None
        for field in fields:
            # No other value has something under a key that is a text.
            olds, news = [row[field] for row in before], [row[field] for row in after]
            if all(map(is_, olds, news)):
                continue
            kinds = {*map(type, olds), *map(type, news)}
            if kinds.isdisjoint(NESTED):
                cells.append((field, numbers, olds, news, kinds))
            elif not all(map(same, olds, news)):
                return None
    except (KeyError, TypeError):
        return None
    return cells


def _gathered_cells(
    numbers: Sequence[int], before: list[Any], after: list[Any]
) -> tuple[list[_Cells], list[int]]:
    """Return the cells that differ, and the numbers of the rows that columns leave out."""
    columns: dict[str, tuple[list[int], list[Any], list[Any]]] = {}
    others = []
    for number, old, new in zip(numbers, before, after, strict=True):
        cells = _differing_cells(old, new)
        if cells is None:
            others.append(number)
            continue
        for field, was, value in cells:
            rows, olds, news = columns.setdefault(field, ([], [], []))
            rows.append(number)
            olds.append(was)
            news.append(value)
    return [
        (field, rows, olds, news, {*map(type, olds), *map(type, news)})
        for field, (rows, olds, news) in columns.items()
    ], others


def _differing_cells(old: Any, new: Any) -> list[tuple[str, Any, Any]] | None:
    """Return the cells in which two rows differ; None where they differ in other things too."""
    if not type(old) is dict is type(new) or old.keys() != new.keys():
        return None
    cells = []
    for field, before in old.items():
        value = new[field]
        if not same(before, value):
            if type(before) in NESTED or type(value) in NESTED:
                return None
            cells.append((field, before, value))
    return cells


def _ints(rows: Sequence[int], olds: list[int], news: list[int]) -> _Entries | None:
    """Return the entries of a column of ints; None where a difference could not travel."""
    steps = list(map(sub, news, olds))
    if 0 in steps:
        rows = list(compress(rows, steps))
        steps = list(filter(None, steps))
        if not steps:
            return rows, steps, 0, 0
    lowest, highest = min(steps), max(steps)
    if lowest < LOWEST_INT or highest > HIGHEST_INT:
        return None
    if lowest == highest:
        return rows, lowest, int_size(lowest), len(steps)
    return rows, steps, len(encode(steps)), len(steps)


def _any_scalars(
    rows: Sequence[int], olds: list[Any], news: list[Any], kinds: set[type]
) -> _Entries:
    differ = list(map(is_not, olds, news))
    if not all(differ):
        rows, olds, news = (list(compress(each, differ)) for each in (rows, olds, news))
    # Equal floats have a difference that is whole, too.
    if kinds != _FLOATS or any(map(float.is_integer, map(sub, news, olds))):
        differ = [not same(old, new) for old, new in zip(olds, news, strict=True)]
        rows, olds, news = (list(compress(each, differ)) for each in (rows, olds, news))
        entries: Any = list(map(_entry, olds, news))
    else:
        entries = news
    if not rows:
        return rows, entries, 0, 0
    size, size_by_row = len(encode(entries)), len(encode(news)) - head_size(len(news))
    first = entries[0]
    if type(first) in CONSTANTS and all(map(same, entries, repeat(first))):
        entries = first
    return rows, entries, size, size_by_row


def _entry(old: Any, new: Any) -> Any:
    kind = type(new)
    if kind is int:
        if type(old) is int and LOWEST_INT <= new - old <= HIGHEST_INT:
            return new - old
        return [new]
    if kind is float and type(old) is float:
        step = new - old
        if -EXACT <= step <= EXACT and step.is_integer() and same(old + int(step), new):
            return int(step)
    return new


def _runs(rows: Sequence[int]) -> list[int]:
    if type(rows) is range:
        return [rows.start, len(rows)]
    runs: list[int] = []
    end = 0
    for row in rows:
        if row == end and runs:
            runs[-1] += 1
        else:
            runs += (row - end, 1)
        end = row + 1
    return runs

"""Patches in which tables stand column by column, for clients that know the feature ``columns``.

A *table* is a map or list of which two items or more are records: maps whose values are *cells*,
which are no maps and no lists. Where all players move, the format of `merge` names each player and
each field anew; here a field is named once, and numbers are differences, which are short.

**The format** is that of `merge` with one more change, which may stand for the whole state, or for
the value of a key inside of any number of maps, but not inside of an edit, a value or another
change of this kind:

=================================  =============================================================
change                             what it makes of the old value
=================================  =============================================================
``[null, columns]``                The old value is a map or list, whose items are the rows. The
                                   columns change cells of rows.
``[null, columns, change]``        After that, *change* applies: ``{key: change, ...}`` to a map,
                                   ``[kept, step, ...]`` to a list, both as `merge` has them.
=================================  =============================================================

The rows of a list are in the order of the list, those of a map in the order of their keys, by the
numbers of their characters in Unicode. (The order in which a map has its keys means nothing, and
need not be the same on both sides.) *columns* is an array of ``[field, runs, entries]``:

===========  ===================================================================================
part         what it says
===========  ===================================================================================
``field``    The key of the cells. No two columns have the same.
``runs``     Which rows change: ``[skip, change, skip, change, ...]``. Leave so many of the next
             rows (0 or more), then change so many (1 or more), and so on. Null means the same
             rows as in the column before.
``entries``  An array with one entry for each row that changes. A number, boolean or null
             instead is the entry of every one of them.
===========  ===================================================================================

Each row that changes is a map, and has a cell under the field. What an entry makes of it:

===================================  ===========================================================
entry                                the new cell
===================================  ===========================================================
integer, where the cell is one       The sum; it has to be an integer that can travel.
integer, where the cell is a float   The sum as a float (IEEE 754). The entry is from -2**53 to
                                     2**53.
float, text, boolean, null           Itself.
``[value]``                          ``value``, which is no map and no list.
===================================  ===========================================================

So a difference stands for a float only where it gives the very same float: ``diff_columns`` adds it
up before it says so.

>>> old = {"10": {"x": 500, "y": 2.5}, "8": {"x": 300, "y": 0.5}, "9": {"x": 200, "y": 0.1}}
>>> new = {"10": {"x": 503, "y": 3.5}, "8": {"x": 299, "y": 0.5}, "9": {"x": 200, "y": 0.3}}
>>> diff_columns(old, new)
[None, [['x', [0, 2], [3, -1]], ['y', [0, 1, 1, 1], [1, 0.3]]]]

**Size.** A patch is never larger than that of `merge.diff` for the same states: where columns might
be larger, both are counted.

**Work.** No cell is changed by two columns. So the work of a patch is bounded by its own size and
that of the state, and what its columns add to the size of the state by `growth`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any

from pgnet_trio.codec.faults import Fault, Inside, value_name
from pgnet_trio.codec.plain_data import HIGHEST_INT, LOWEST_INT, normalised
from pgnet_trio.patch import merge
from pgnet_trio.patch.cells import CONSTANTS, EXACT, NESTED, SCALARS, Columns
from pgnet_trio.patch.merge import MISSING, Edit, Found, same, smaller
from pgnet_trio.patch.sizes import encode, head_size, text_size

__all__ = ["apply_columns", "diff_columns", "growth"]

# By how much a number of one byte can grow.
_MOST_GROWTH = 8

# What the change of a row takes at least in the format of `merge`: the head of a map, and a key.
_SIZE_IN_LIST = 1
_SIZE_IN_MAP = 2


def diff_columns(old: Any, new: Any) -> Any:
    """Return the patch that turns one state into another, with tables column by column.

    Neither state is changed. The patch may share objects with the new state, so encode it before
    you change that state in place.

    Args:
        old: The state that the receiver has: plain data, as `codec.plain` returns it.
        new: The state that the receiver should have.

    Returns:
        The patch, which is plain data; None where nothing changed.
    """
    if old is new:
        return None
    kind = type(new)
    if (kind is dict or kind is list) and kind is type(old):
        found = _change(old, new)
        return None if found is None else found[0]
    return merge.diff(old, new)


def apply_columns(old: Any, patch: Any) -> Any:
    """Return the new state that an old one and a patch make; see `merge.apply`.

    Args:
        old: The state that the patch was made for: plain data.
        patch: A patch of `diff_columns` or `merge.diff`. It may come from the wire: everything in
            it is checked.

    Raises:
        CodecError: It is no patch, or no patch for this state; the error says where in the state.
    """
    return merge.applied(old, patch, _changed)


def growth(patch: Any) -> int:
    """Return by how many bytes a state may grow beyond the size of its patch, at most.

    A difference of one byte can make a number longer that took one byte before, and one entry can
    do that to all rows.

    Args:
        patch: A patch that `diff_columns` has made, or that `apply_columns` has applied.
    """
    if type(patch) is dict:
        return sum(growth(change) for change in patch.values() if type(change) in NESTED)
    if type(patch) is not list or len(patch) < 2 or patch[0] is not None:
        return 0
    cells = 0
    rows = 0
    for _, runs, _ in patch[1]:
        if runs is not None:
            rows = sum(runs[1::2])
        cells += rows
    return cells * _MOST_GROWTH + sum(map(growth, patch[2:]))


# Finding what changed.


def _change(old: Any, new: Any) -> Found | None:
    return _dict_change(old, new) if type(new) is dict else _list_change(old, new)


def _begins_with_record(values: Iterable[Any]) -> bool:
    return type(next(iter(values), None)) is dict


def _dict_change(old: dict[str, Any], new: dict[str, Any]) -> Found | None:
    if _begins_with_record(old.values()) and _begins_with_record(new.values()):
        keys = sorted(old)
        before, after = list(map(old.__getitem__, keys)), list(map(new.get, keys))
        columns = Columns(range(len(keys)), before, after, _SIZE_IN_MAP)
        others = [keys[row] for row in columns.others]
        if others or len(new) > len(old):
            others += [key for key in new if key not in old]
        if columns.found:
            return _table_change(old, new, keys, columns, others)
    else:
        others = [*new, *(key for key in old if key not in new)]
    changes, surplus = _changes(old, new, others)
    if not changes:
        return None
    removed = sum(key not in new for key in others)
    surplus -= 2 * (len(new) - len(changes) + removed)
    return smaller(changes, new, surplus + head_size(len(changes)) - head_size(len(new)))


def _table_change(
    old: dict[str, Any],
    new: dict[str, Any],
    keys: list[str],
    columns: Columns,
    others: list[str],
) -> Found | None:
    """Return the change of a map of rows.

    Args:
        old: The old map.
        new: The new one.
        keys: The keys of the old one, in the order of the rows.
        columns: What changed in the cells of rows.
        others: The keys of what the columns leave out.
    """
    changes, surplus = _changes(old, new, others)
    found = [None, columns.found, changes] if changes else [None, columns.found]
    if not columns.are_small:
        whole, more = _changes(old, new, [keys[row] for row in columns.rows])
        whole.update(changes)
        if len(encode(whole)) < len(encode(found)):
            more += surplus + head_size(len(whole)) - head_size(len(new))
            return smaller(whole, new, more)
    if not changes:
        # A part of each row that changes would be no larger than the row.
        return found, 0
    surplus += head_size(len(new) + len(changes)) - head_size(len(new))
    return smaller(found, new, surplus)


def _changes(
    old: dict[str, Any], new: dict[str, Any], keys: Iterable[str]
) -> tuple[dict[str, Any], int]:
    """Return the changes of the values of these keys of either map, and their surplus."""
    changes: dict[str, Any] = {}
    surplus = 0
    for key in keys:
        before, value = old.get(key, MISSING), new.get(key, MISSING)
        kind = type(value)
        if before is value:
            continue
        if value is MISSING:
            changes[key] = []
            surplus += text_size(key) + 1
        elif kind is not dict and kind is not list:
            if not same(before, value):
                changes[key] = value
        elif kind is not type(before):
            changes[key] = [value]
            surplus += 1
        elif (found := _change(before, value)) is not None:
            changes[key] = found[0]
            surplus += found[1]
    return changes, surplus


def _list_change(old: list[Any], new: list[Any]) -> Found | None:
    blocks = merge.unequal_blocks(old, new)
    if not blocks:
        return None
    if _begins_with_record(old) and _begins_with_record(new) and _are_aligned(blocks, old, new):
        both = min(len(old), len(new))
        rows = [row for start, end, _, _ in blocks for row in range(start, min(end, both))]
        columns = Columns(
            rows, [old[row] for row in rows], [new[row] for row in rows], _SIZE_IN_LIST
        )
        if columns.found:
            found = [None, columns.found]
            rest = _edit(old, new, columns.others)
            if rest.steps:
                found.append(rest.steps)
            if not rest.steps and columns.are_small:
                return found, 0
            whole = merge.list_edit(old, new, blocks)
            return whole if len(encode(whole[0])) < len(encode(found)) else (found, whole[1])
    return merge.list_edit(old, new, blocks)


def _are_aligned(blocks: list[merge.Block], old: list[Any], new: list[Any]) -> bool:
    """Return whether items have kept their places, and only the ends of the lists may differ."""
    last = len(old), len(new)
    return all(
        start == new_start and (end == new_end or (end, new_end) == last)
        for start, end, new_start, new_end in blocks
    )


def _edit(old: list[Any], new: list[Any], rows: Iterable[int]) -> Edit:
    """Return the edit of these rows, and of what only one of the lists has at its end."""
    edit = Edit()
    position = 0
    for row in rows:
        edit.keep(row - position)
        edit.turn(old[row], new[row])
        position = row + 1
    both = min(len(old), len(new))
    if len(old) != len(new):
        edit.keep(both - position)
        edit.drop(len(old) - both)
        edit.insert(new[both:])
    if edit.dropped or edit.inserted:
        edit.settle()
    return edit


# Applying.


def _changed(old: Any, change: Any, depth: int) -> Any:
    kind = type(change)
    if kind is dict:
        return merge.merged(old, change, depth, _changed)
    if kind is list and len(change) > 1 and change[0] is None:
        return _tabled(old, change, depth)
    return merge.changed(old, change, depth)


def _tabled(old: Any, change: list[Any], depth: int) -> Any:
    kind = type(old)
    if kind is not dict and kind is not list:
        raise Fault(f"expected changes to {merge.old_name(old)}, got columns")
    if len(change) > 3:
        raise Fault(f"expected columns and at most one change more, got {len(change) - 2} more")
    keys: Sequence[Any] = sorted(old) if kind is dict else range(len(old))
    before = [old[key] for key in keys]
    after = before.copy()
    _change_cells(keys, before, after, change[1])
    if kind is list:
        new: Any = after
    else:
        new = old.copy()
        new.update(zip(keys, after, strict=True))
    if len(change) == 2:
        return new
    rest = change[2]
    if type(rest) is dict:
        return merge.merged(new, rest, depth, _changed)
    if type(rest) is list and len(rest) > 1:
        return merge.edited(new, rest, depth)
    raise Fault(f"expected changes to {value_name(old)} after the columns, got {value_name(rest)}")


def _change_cells(
    keys: Sequence[str | int], before: list[Any], after: list[Any], columns: Any
) -> None:
    """Put the rows that columns change into *after*, in the places of those before."""
    if type(columns) is not list:
        raise Fault(f"expected a list of columns, got {value_name(columns)}")
    fields: set[str] = set()
    rows: list[int] | None = None
    for column in columns:
        if type(column) is not list or len(column) != 3:
            raise Fault(f"expected a column of three parts, got {_part_name(column)}")
        field, runs, entries = column
        if type(field) is not str:
            raise Fault(f"expected the field of a column as text, got {value_name(field)}")
        if field in fields:
            raise Fault("expected one column for each field, got two for one")
        fields.add(field)
        if runs is not None:
            rows = _rows(runs, len(before))
        elif rows is None:
            raise Fault("expected runs in the first column, got None")
        for row, entry in zip(rows, _entries(entries, len(rows)), strict=True):
            record = after[row]
            try:
                if record is before[row]:
                    if type(record) is not dict:
                        raise Fault(f"expected a row with cells, got {value_name(record)}")
                    after[row] = record = record.copy()
                cell = record.get(field, MISSING)
                # The usual case, without a call.
                if type(cell) is int and type(entry) is int:
                    value = cell + entry
                    if LOWEST_INT <= entry <= HIGHEST_INT and LOWEST_INT <= value <= HIGHEST_INT:
                        record[field] = value
                        continue
                record[field] = _cell(cell, entry)
            except Fault as error:
                raise Inside(keys[row], Inside(field, error)) from None


def _rows(runs: Any, count: int) -> list[int]:
    """Return the numbers of the rows that runs select of so many."""
    if type(runs) is not list or len(runs) % 2:
        raise Fault(f"expected runs as a list of pairs, got {_part_name(runs)}")
    rows: list[int] = []
    end = 0
    for skip, change in zip(runs[::2], runs[1::2], strict=True):
        if type(skip) is not int or skip < 0:
            raise Fault("expected how many rows to skip, 0 or more, got something else")
        if type(change) is not int or change < 1:
            raise Fault("expected how many rows to change, 1 or more, got something else")
        start = end + skip
        end = start + change
        if end > count:
            raise Fault(f"expected at most {count} rows, got runs over more")
        rows += range(start, end)
    return rows


def _entries(entries: Any, count: int) -> Iterable[Any]:
    if type(entries) is list:
        if len(entries) != count:
            raise Fault(f"expected {count} entries, got {len(entries)}")
        return entries
    if type(entries) not in CONSTANTS:
        raise Fault(f"expected a list of entries, or one number for all, got {value_name(entries)}")
    return repeat(entries, count)


def _cell(old: Any, entry: Any) -> Any:
    """Return the new cell that an old one and an entry make."""
    was, kind = type(old), type(entry)
    if was not in SCALARS:
        raise Fault(f"expected a cell that is no dict and no list, got {merge.old_name(old)}")
    if kind is int:
        if was is int:
            return normalised(old + normalised(entry))
        if was is not float:
            raise Fault(f"expected a number to add to, got {value_name(old)}")
        if not -EXACT <= entry <= EXACT:
            raise Fault("expected at most 2**53 to add to a float, got more")
        return old + entry
    if kind is list and len(entry) == 1:
        entry = entry[0]
        kind = type(entry)
    if kind not in SCALARS:
        raise Fault(f"expected an entry of a column, got {value_name(entry)}")
    return normalised(entry)


def _part_name(part: Any) -> str:
    return f"a list of {len(part)}" if type(part) is list else value_name(part)

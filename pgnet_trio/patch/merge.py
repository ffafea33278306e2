"""What changed between two states, small enough to send at every tick.

A state is plain data, as `pgnet_trio.codec` defines it. `diff` returns a patch, which is plain data
too, and `apply` turns the old state into the new one. The format is that of RFC 7396 (JSON Merge
Patch) with two differences: null is a value like any other, and lists are patched item by item.
(The file is long because this page describes the format, and because `diff` and `apply` must agree
on it.)

**The format.** A patch for a whole state is null where nothing changed, otherwise a *change*:

============================  ==================================================================
change                        what it makes of the old value
============================  ==================================================================
null, boolean, number, text   That value. (Null for a whole state is ``[null]``.)
``{key: change, ...}``        The old value is a map. Each change applies to the value of its key;
                              other keys keep theirs. The change of a key that the old map does
                              not have is a scalar or ``[value]``.
``[]``                        The key is removed. It has to be a key that the old map has.
``[value]``                   ``value``, whatever it is. Nothing in it is read as a change, even if
                              it looks like one.
``[kept, step, ...]``         The old value is a list, and is edited; there is at least one step.
============================  ==================================================================

An edit goes along the old list once. It first keeps ``kept`` items (an integer, 0 or more). Then
each step is one of these:

============================  ==================================================================
step                          what it does
============================  ==================================================================
integer, 0 or more            Keep so many of the next items.
integer below 0               Drop so many of the next items.
``[value, ...]``              Insert these values here. Nothing in them is read as a change.
``{key: change, ...}``        The next item is a map, and is changed as above.
null, then an edit            The next item is a list, and is edited. The step is two elements of
                              the array; the second is ``[kept, step, ...]``.
============================  ==================================================================

After the last step the rest of the list is kept. A patch that does not fit the old state (it names
a key or item that is not there, or a map where a list is) is an error; nothing is guessed. The
order of keys in a map has no meaning: old keys keep their places, new ones come last, and maps that
differ in their order alone are equal. Every other difference counts: 1, 1.0 and true are three
values, 0.0 and -0.0 are two.

An example:

>>> argo = {"name": "Argo", "x": 1, "y": 2}
>>> old = {"turn": "ann", "log": ["a", "b", "c"], "ships": {"7": argo, "8": argo}}
>>> new = {"turn": None, "log": ["b", "c", "d"], "ships": {"7": argo | {"x": 5}, "9": {"x": 1}}}
>>> diff(old, new)
{'turn': None, 'log': [0, -1, 2, ['d']], 'ships': {'7': {'x': 5}, '9': [{'x': 1}], '8': []}}

**Size.** In msgpack, a change is at most one byte larger than the value that it leads to: where it
would be larger than the value, it is ``[value]``. This holds at every level. Less is impossible: if
no patch were ever larger than its state, there would be as many patches of each size as states, and
none could be smaller. So a protocol that has messages for full states beside those for patches asks
`is_replacement`, and then sends the state itself.

Keep items that move in a dict, by a key of their own: a list recognises its items only by their
places, and by being equal.
"""

from __future__ import annotations

from collections.abc import Callable
from math import copysign
from types import NoneType
from typing import Any

from pgnet_trio.codec.faults import MAX_DEPTH, Fault, Inside, codec_error, too_deep, value_name
from pgnet_trio.codec.plain_data import normalised
from pgnet_trio.patch.sizes import head_size, int_size, packed_size, text_size

__all__ = [
    "MISSING",
    "Block",
    "Edit",
    "Found",
    "apply",
    "changed",
    "diff",
    "edited",
    "is_replacement",
    "list_edit",
    "merged",
    "old_name",
    "same",
    "smaller",
    "unequal_blocks",
]

# None would not do: it is a value.
MISSING = object()

_SCALARS = frozenset({NoneType, bool, int, float, str})

# How far ahead to look for an equal item, so that a log that drops its oldest lines keeps the rest.
_LOOK_AHEAD = 32


def diff(old: Any, new: Any) -> Any:
    """Return the patch that turns one state into another.

    Neither state is changed. The patch may share objects with the new state, so encode it before
    you change that state in place. An object that is in both states counts as unchanged.

    Args:
        old: The state that the receiver has: plain data, as `codec.plain` returns it.
        new: The state that the receiver should have.

    Returns:
        The patch, which is plain data; None where nothing changed.
    """
    if old is new:
        return None
    kind = type(new)
    if kind is dict or kind is list:
        if kind is type(old):
            found = _change(old, new)
            return None if found is None else found[0]
        return [new]
    if same(old, new):
        return None
    return [None] if new is None else new


def apply(old: Any, patch: Any) -> Any:
    """Return the new state that an old one and a patch make.

    Neither argument is changed. The new state shares with the old one what did not change, and is
    the old one where the patch is None. So change neither of them in place; make a copy
    (`codec.plain`) for anybody who might. The new state shares nothing with the patch.

    Args:
        old: The state that the patch was made for: plain data.
        patch: A patch of `diff`. It may come from the wire: everything in it is checked.

    Raises:
        CodecError: It is no patch, or no patch for this state; the error says where in the state.
    """
    return applied(old, patch, changed)


def applied(old: Any, patch: Any, change: Callable[[Any, Any, int], Any]) -> Any:
    """Return the new state that a patch makes by a function for its changes; see `apply`."""
    if patch is None:
        return old
    try:
        return change(old, patch, 0)
    except Fault as error:
        raise codec_error(error, "patch") from None


def is_replacement(patch: Any) -> bool:
    """Return whether a patch holds the whole new state, so that a full state is no longer."""
    if type(patch) is list:
        return len(patch) == 1
    return patch is not None and type(patch) is not dict


def same(old: Any, new: Any) -> bool:
    """Return whether two values are the same, types and signs of zeros included."""
    if old is new:
        return True
    kind = type(new)
    if kind is not type(old):
        return False
    if kind is dict:
        if len(old) != len(new):
            return False
        get = old.get
        for key, value in new.items():
            before = get(key, MISSING)
            if before is not value and not same(before, value):
                return False
        return True
    if kind is list:
        return len(old) == len(new) and all(map(same, old, new))
    if kind is float:
        return old == new and (new != 0.0 or copysign(1.0, old) == copysign(1.0, new))
    return bool(old == new)


# A change and its surplus: by how many bytes, at most, the change is larger than the value that it
# leads to. Counting items is nearly always enough to know that the surplus is negative.
Found = tuple[Any, int]

# Where two lists differ: start and end in the old list, start and end in the new one.
Block = tuple[int, int, int, int]


def _change(old: Any, new: Any) -> Found | None:
    return _dict_change(old, new) if type(new) is dict else _list_change(old, new)


def _dict_change(old: dict[str, Any], new: dict[str, Any]) -> Found | None:
    changes: dict[str, Any] = {}
    surplus = 0
    added = 0
    get = old.get
    # Nearly all the time of a diff is spent in this loop, so it compares scalars without a call.
    for key, value in new.items():
        before = get(key, MISSING)
        if before is value:
            continue
        kind = type(value)
        if kind is type(before):
            if kind is float:
                if before == value and (value != 0.0 or same(before, value)):
                    continue
            elif kind is dict or kind is list:
                found = _dict_change(before, value) if kind is dict else _list_change(before, value)
                if found is not None:
                    changes[key] = found[0]
                    surplus += found[1]
                continue
            elif before == value:
                continue
            changes[key] = value
            continue
        if before is MISSING:
            added += 1
        if kind is dict or kind is list:
            changes[key] = [value]
            surplus += 1
        else:
            changes[key] = value
    # A key and its value that did not change save two bytes at least.
    surplus -= 2 * (len(new) - len(changes))
    if len(new) - added < len(old):
        for key in old:
            if key not in new:
                changes[key] = []
                surplus += text_size(key) + 1
    if not changes:
        return None
    return smaller(changes, new, surplus + head_size(len(changes)) - head_size(len(new)))


def _list_change(old: list[Any], new: list[Any]) -> Found | None:
    blocks = unequal_blocks(old, new)
    return list_edit(old, new, blocks) if blocks else None


def list_edit(old: list[Any], new: list[Any], blocks: list[Block]) -> Found:
    """Return the edit of a list, and its surplus.

    Args:
        old: The old list.
        new: The new one.
        blocks: The blocks in which they differ; at least one.
    """
    edit = Edit()
    position = 0
    for start, end, new_start, new_end in blocks:
        edit.keep(start - position)
        position = end
        both = min(end - start, new_end - new_start)
        for offset in range(both):
            edit.turn(old[start + offset], new[new_start + offset])
        edit.drop(end - start - both)
        edit.insert(new[new_start + both : new_end])
    return edit.finish(new)


def unequal_blocks(old: list[Any], new: list[Any]) -> list[Block]:
    """Return the blocks in which two lists differ; between them, all items are equal."""
    old_end, new_end = len(old), len(new)
    shorter = min(old_end, new_end)
    start = 0
    while start < shorter and same(old[start], new[start]):
        start += 1
    while old_end > start and new_end > start and same(old[old_end - 1], new[new_end - 1]):
        old_end -= 1
        new_end -= 1
    blocks = []
    here, there = start, start
    # Look less far each time that nothing is found: when every item moved, looking is a waste.
    look_ahead = _LOOK_AHEAD
    while here < old_end and there < new_end:
        if same(old[here], new[there]):
            here += 1
            there += 1
            look_ahead = min(look_ahead + 1, _LOOK_AHEAD)
            continue
        dropped, inserted = 1, 1
        old_ahead, new_ahead = old_end - here, new_end - there
        for ahead in range(1, min(look_ahead, max(old_ahead, new_ahead) - 1) + 1):
            in_old, in_new = ahead < old_ahead, ahead < new_ahead
            if in_old and in_new and same(old[here + ahead], new[there + ahead]):
                dropped, inserted = ahead, ahead
                break
            if in_old and same(old[here + ahead], new[there]):
                dropped, inserted = ahead, 0
                break
            if in_new and same(old[here], new[there + ahead]):
                dropped, inserted = 0, ahead
                break
        else:
            look_ahead //= 2
        blocks.append((here, here + dropped, there, there + inserted))
        here += dropped
        there += inserted
    if here < old_end or there < new_end:
        blocks.append((here, old_end, there, new_end))
    return blocks


class Edit:
    """An edit of a list while it is built, with its surplus."""

    def __init__(self) -> None:
        self.steps: list[Any] = []
        self.surplus = 0
        # The next steps. They are appended when they are known to be complete.
        self.kept = 0
        self.dropped = 0
        self.inserted: list[Any] = []

    def keep(self, count: int) -> None:
        """Keep the next items."""
        if count:
            if self.dropped or self.inserted:
                self.settle()
            self.kept += count

    def drop(self, count: int) -> None:
        """Remove the next items."""
        self.dropped += count

    def insert(self, values: list[Any]) -> None:
        """Insert values before the next item."""
        self.inserted += values

    def turn(self, old: Any, new: Any) -> None:
        """Turn the next item into another value."""
        kind = type(new)
        found = _change(old, new) if kind is type(old) and kind in {dict, list} else None
        if found is None or is_replacement(found[0]):
            self.dropped += 1
            self.inserted.append(new)
            return
        self.settle()
        change, surplus = found
        if kind is list:
            self.steps.append(None)
            self.surplus += 1
        self.steps.append(change)
        self.surplus += surplus

    def settle(self) -> None:
        """Append the steps that were collected; they are complete."""
        if self.kept or not self.steps:
            self.steps.append(self.kept)
            # Each item that is kept saves one byte at least.
            self.surplus += int_size(self.kept) - self.kept
            self.kept = 0
        if self.dropped:
            self.steps.append(-self.dropped)
            self.surplus += int_size(-self.dropped)
            self.dropped = 0
        if self.inserted:
            self.steps.append(self.inserted)
            self.surplus += head_size(len(self.inserted))
            self.inserted = []

    def finish(self, new: list[Any]) -> Found:
        """Return the edit, or the new list itself, and the surplus."""
        if self.dropped or self.inserted:
            self.settle()
        heads = head_size(len(self.steps)) - head_size(len(new))
        return smaller(self.steps, new, self.surplus + heads)


def smaller(change: Any, new: Any, surplus: int) -> Found:
    """Return a change of this surplus, or the new value itself where that is smaller."""
    if surplus > 0:
        size = packed_size(change)
        # Count the value only up to the size of the change: the work is limited by the patch.
        surplus = size - packed_size(new, size)
        if surplus > 0:
            return [new], 1
    return change, surplus


def changed(old: Any, change: Any, depth: int) -> Any:
    """Return what a change makes of a value that is inside of so many maps and lists."""
    kind = type(change)
    if kind is dict:
        return merged(old, change, depth)
    if kind is not list:
        return _scalar(change)
    if len(change) > 1:
        return edited(old, change, depth)
    if not change:
        raise Fault("expected a change, got a removal where there is no key")
    return normalised(change[0], depth)


def _scalar(value: Any) -> Any:
    if type(value) not in _SCALARS:
        raise Fault(f"expected a change, got {value_name(value)}")
    return normalised(value)


def merged(
    old: Any,
    changes: dict[Any, Any],
    depth: int,
    apply_change: Callable[[Any, Any, int], Any] = changed,
) -> dict[str, Any]:
    """Return what changes make of a map.

    Args:
        old: The map, if it is one.
        changes: The changes by key.
        depth: How many maps and lists the map is inside of.
        apply_change: Does the same as `changed` for the values, or more.
    """
    if type(old) is not dict:
        raise Fault(f"expected changes to {old_name(old)}, got those to a dict")
    if depth == MAX_DEPTH:
        raise too_deep()
    new = old.copy()
    depth += 1
    for key, change in changes.items():
        if type(key) is not str:
            raise Fault(f"expected keys of str, got {value_name(key)}")
        try:
            kind = type(change)
            if kind is float or kind is int:
                new[key] = normalised(change)
            elif kind is list and not change:
                if new.pop(key, MISSING) is MISSING:
                    raise Fault("expected a key that is there, got the removal of none")
            else:
                new[key] = apply_change(old.get(key, MISSING), change, depth)
        except Fault as error:
            raise Inside(key, error) from None
    if len(new) > len(old):
        for key in changes:
            if key not in old:
                normalised(key)
    return new


def edited(old: Any, edit: list[Any], depth: int) -> list[Any]:
    """Return what an edit of at least one step makes of a list; see `changed`."""
    if type(old) is not list:
        raise Fault(f"expected changes to {old_name(old)}, got those to a list")
    if depth == MAX_DEPTH:
        raise too_deep()
    if type(edit[0]) is not int or edit[0] < 0:
        raise Fault(f"expected first how many items are kept, got {_step_name(edit[0])}")
    new: list[Any] = []
    position = 0
    depth += 1
    steps = iter(edit)
    for step in steps:
        kind = type(step)
        if kind is int:
            count = abs(step)
            if count > len(old) - position:
                raise Fault(f"expected at most {len(old)} items, got steps over more")
            if step > 0:
                new += old[position : position + count]
            position += count
            continue
        try:
            if kind is list:
                for value in step:
                    new.append(normalised(value, depth))
                continue
            if position == len(old):
                raise Fault(f"expected at most {len(old)} items, got the change of one more")
            if kind is dict:
                new.append(merged(old[position], step, depth))
            elif step is None:
                inner = next(steps, None)
                if type(inner) is not list or len(inner) < 2:
                    raise Fault(f"expected an edit of a list, got {value_name(inner)}")
                new.append(edited(old[position], inner, depth))
            else:
                raise Fault(f"expected a step of an edit, got {_step_name(step)}")
        except Fault as error:
            raise Inside(len(new), error) from None
        position += 1
    new += old[position:]
    return new


def old_name(old: Any) -> str:
    """Return the name of an old value's type, for errors."""
    return "a new key" if old is MISSING else value_name(old)


def _step_name(step: Any) -> str:
    return "an int below 0" if type(step) is int else value_name(step)

"""What a patch with columns does to a state, how large it is, and what a wrong one cannot do."""

from __future__ import annotations

import contextlib
import copy
import doctest
import itertools
import random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import pgnet_trio.patch.columns
from pgnet_trio.codec import MAX_DEPTH, plain
from pgnet_trio.errors import CodecError
from pgnet_trio.patch import apply, apply_columns, diff, diff_columns, growth, is_replacement
from tests.codec.test_patch import (
    ANYTHING,
    KEYS,
    PAIRS,
    SCALARS,
    STATES,
    encoded,
    exact,
    nested,
    sent,
    spoil,
)

# Cells that are easily confused, and those whose differences are at some border.
NUMBERS = st.one_of(
    st.integers(-200, 200),
    st.sampled_from([2**63 - 1, -(2**63), 2**53, 2**53 + 1, -(2**53) - 1, 2**31, 65_535, 255]),
    st.sampled_from([0.0, -0.0, 0.5, 1.0, 1e300, -1e300, 1.7e308, -1.7e308, 5e-324, 2.0**53, 0.1]),
)
CELLS = st.one_of(NUMBERS, NUMBERS, NUMBERS, SCALARS)
FIELDS = ["x", "y", "n", "name", "", "é" * 20]


@st.composite
def tables(draw: st.DrawFn) -> tuple[Any, Any]:
    """A table and what becomes of it: mostly its numbers change, sometimes anything."""
    fields = draw(st.lists(st.sampled_from(FIELDS), unique=True, min_size=1, max_size=4))
    row = st.fixed_dictionaries(dict.fromkeys(fields, CELLS))
    count = draw(st.integers(1, 12))
    if draw(st.booleans()):
        keys: list[Any] = draw(st.lists(KEYS, unique=True, min_size=count, max_size=count))
        old: Any = {key: draw(row) for key in keys}
    else:
        keys = list(range(count))
        old = [draw(row) for _ in keys]
    new = copy.deepcopy(old)
    for field in fields:
        change = draw(st.sampled_from(["step", "leap", "same"]))
        step = draw(st.one_of(st.integers(-3, 300), NUMBERS))
        for key in keys:
            cell = new[key][field]
            if change == "leap" and draw(st.booleans()):
                new[key][field] = draw(CELLS)
            elif change == "step" and draw(st.integers(0, 3)) and type(cell) in {int, float}:
                with contextlib.suppress(CodecError):
                    new[key][field] = plain(cell + step)
    for _ in range(draw(st.sampled_from([0, 0, 1, 3]))):
        key = draw(st.sampled_from(keys))
        record = draw(row)
        odd = draw(
            st.one_of(
                STATES,
                st.just({**record, "more": 1}),
                st.just({**record, fields[0]: [1, 2]}),
                st.just({field: record[field] for field in fields[1:]}),
            )
        )
        for state in draw(st.sampled_from([[new], [old], [old, new]])):
            state[key] = copy.deepcopy(odd)
    if draw(st.integers(0, 3)) == 0:
        new = draw(with_other_rows(new, row))
    if isinstance(new, dict) and draw(st.booleans()):
        new = {key: new[key] for key in draw(st.permutations([*new]))}
    return old, new


@st.composite
def with_other_rows(draw: st.DrawFn, state: Any, row: st.SearchStrategy[Any]) -> Any:
    if isinstance(state, dict):
        gone = draw(st.sets(st.sampled_from([*state]), max_size=3))
        kept = {key: value for key, value in state.items() if key not in gone}
        return kept | draw(st.dictionaries(KEYS, row, max_size=2))
    start, end = draw(st.integers(0, 2)), draw(st.integers(0, 2))
    more = draw(st.lists(row, max_size=2))
    return [*state[start : len(state) - end], *more]


@st.composite
def states_with_tables(draw: st.DrawFn) -> tuple[Any, Any]:
    """Tables where states have them: as the whole, or in maps, beside other things."""
    old, new = draw(tables())
    for _ in range(draw(st.integers(0, 2))):
        more = draw(st.dictionaries(KEYS, st.one_of(PAIRS, tables()), max_size=2))
        key = draw(KEYS)
        old = {**{other: pair[0] for other, pair in more.items()}, key: old}
        new = {**{other: pair[1] for other, pair in more.items()}, key: new}
    return old, new


PLAYS = st.one_of(states_with_tables(), states_with_tables(), PAIRS)


# Diff and apply.


def the_patch_of_two_states_turns_the_first_into_the_second(pair: tuple[Any, Any]) -> None:
    old, new = pair
    patch = sent(diff_columns(old, new))
    result = apply_columns(old, patch)
    assert exact(result) == exact(new)
    assert exact(plain(result)) == exact(new)


def a_patch_is_never_larger_than_without_columns(pair: tuple[Any, Any]) -> None:
    old, new = pair
    assert len(encoded(diff_columns(old, new))) <= len(encoded(diff(old, new)))


def no_change_is_none_and_only_that(pair: tuple[Any, Any]) -> None:
    old, new = pair
    assert diff_columns(old, old) is None
    assert diff_columns(old, sent(old)) is None
    assert (diff_columns(old, new) is None) == (exact(old) == exact(new))
    assert apply_columns(old, None) is old


def the_arguments_are_not_changed(pair: tuple[Any, Any]) -> None:
    old, new = pair
    before = repr(old), repr(new)
    patch = diff_columns(old, new)
    assert (repr(old), repr(new)) == before
    said = repr(patch)
    apply_columns(old, patch)
    assert (repr(old), repr(patch)) == (before[0], said)


def the_new_state_does_not_follow_changes_of_the_patch(pair: tuple[Any, Any]) -> None:
    old, new = pair
    patch = sent(diff_columns(old, new))
    result = apply_columns(old, patch)
    spoil(patch)
    assert exact(result) == exact(new)


def patches_without_columns_are_applied_as_ever(pair: tuple[Any, Any]) -> None:
    old, new = pair
    assert exact(apply_columns(old, sent(diff(old, new)))) == exact(new)


def a_state_grows_by_no_more_than_its_patch_and_what_is_said(pair: tuple[Any, Any]) -> None:
    old, new = pair
    patch = diff_columns(old, new)
    if not is_replacement(patch):
        assert len(encoded(new)) <= len(encoded(old)) + len(encoded(patch)) + growth(patch)


def a_patch_that_lets_a_state_grow_no_further_has_no_columns(pair: tuple[Any, Any]) -> None:
    old, new = pair
    patch = diff_columns(old, new)
    if growth(patch):
        with pytest.raises(CodecError):
            apply(old, patch)
    else:
        assert exact(apply(old, sent(patch))) == exact(new)


def the_order_of_keys_means_nothing(pair: tuple[Any, Any]) -> None:
    (old, new), rng = pair, random.Random(1)
    patch = sent(diff_columns(shuffled(old, rng), shuffled(new, rng)))
    assert exact(apply_columns(shuffled(old, rng), patch)) == exact(new)


LAWS = [
    the_patch_of_two_states_turns_the_first_into_the_second,
    a_patch_is_never_larger_than_without_columns,
    no_change_is_none_and_only_that,
    the_arguments_are_not_changed,
    the_new_state_does_not_follow_changes_of_the_patch,
    patches_without_columns_are_applied_as_ever,
    a_state_grows_by_no_more_than_its_patch_and_what_is_said,
    a_patch_that_lets_a_state_grow_no_further_has_no_columns,
    the_order_of_keys_means_nothing,
]


@given(PLAYS)
@example(({"a": {"x": 0}, "b": {"x": 0}}, {"a": {"x": False}, "b": {"x": 0.0}}))
@example(({"a": {"x": True}, "b": {"x": True}}, {"a": {"x": 2}, "b": {"x": 2}}))
@example(({"a": {"x": 0.0}, "b": {"x": -0.0}}, {"a": {"x": -0.0}, "b": {"x": 0.0}}))
@example(({"a": {"x": 2.0**53}, "b": {"x": 1.5}}, {"a": {"x": 2.0**53 + 2}, "b": {"x": 2.5}}))
@example(({"a": {"x": -(2**63)}, "b": {"x": 0}}, {"a": {"x": 2**63 - 1}, "b": {"x": 1}}))
@example(({"a": {}, "b": {}}, {"a": {"x": 1}, "b": {}}))
@example(({"a": {}, "b": {}}, {"a": [], "b": {}}))
@example(({"a": {"x": 1}, "b": {"x": 1}}, {"a": {"x": 2}, "b": None}))
@example(([{"x": 1}], [{"x": 1}, {"x": 2}]))
# One byte too many.
@example(([{"": 0}, {"": 10}, {"": 20}], [{"": 1}, {"": 12}, {"": 23}]))
@example(([{"x": 65_535}] * 50, [{"x": 65_536}] * 50))
@example(([{"x": 1}, {"x": 2}], [{"x": 2}, {"x": 3}]))
def test_what_holds_for_any_two_states(pair: tuple[Any, Any]) -> None:
    """Pairs cost more to find than to try, so each is tried with all that holds for any pair."""
    for law in LAWS:
        law(pair)


def test_old_keys_keep_their_places_and_new_ones_come_last() -> None:
    old = {key: {"x": 1, "y": 1} for key in "dacb"}
    new: Any = {"e": {"x": 1}} | {key: {"y": 2, "x": 3} for key in "bcda"} | {"0": {"x": 1}}
    patch = diff_columns(old, new)
    assert has_columns(patch)
    result = apply_columns(old, sent(patch))
    assert [*result] == [*"dacbe0"]
    assert all([*result[key]] == ["x", "y"] for key in "dacb")


def shuffled(state: Any, rng: random.Random) -> Any:
    if isinstance(state, dict):
        keys = rng.sample([*state], len(state))
        return {key: shuffled(state[key], rng) for key in keys}
    return [shuffled(item, rng) for item in state] if isinstance(state, list) else state


def test_what_did_not_change_is_shared_with_the_old_state_and_what_did_is_not() -> None:
    old: Any = {"map": {"a": [1, 2]}, "ships": players(20)}
    ships: Any = copy.deepcopy(old["ships"])
    for number in range(5, 20):
        ships[f"p{number}"]["x"] += 1
    new = {"map": {"a": [1, 2]}, "ships": ships}
    patch = diff_columns(old, new)
    assert has_columns(patch["ships"])
    result = apply_columns(old, patch)
    assert result == new
    assert result["map"] is old["map"]
    for number in range(20):
        is_kept = result["ships"][f"p{number}"] is old["ships"][f"p{number}"]
        assert is_kept == (number < 5)
    assert diff_columns(result, result | {"turn": "bob"}) == {"turn": "bob"}


# How the format looks, for those who read it in another language.


def test_the_example_of_the_module_is_true() -> None:
    results = doctest.testmod(pgnet_trio.patch.columns)
    assert results.attempted
    assert not results.failed


def players(count: int) -> dict[str, dict[str, Any]]:
    return {
        f"p{number}": {"name": f"player {number}", "x": number * 97, "y": number * 61}
        for number in range(count)
    }


def has_columns(change: Any) -> bool:
    return isinstance(change, list) and len(change) > 1 and change[0] is None


def rows(*cells: Any, field: str = "position") -> dict[str, Any]:
    return {str(number): {field: cell} for number, cell in enumerate(cells)}


@pytest.mark.parametrize(
    ("old", "new", "patch"),
    [
        # Runs: all rows, some rows, and those of the column before.
        (rows(1, 2, 3), rows(2, 4, 6), [None, [["position", [0, 3], [1, 2, 3]]]]),
        (rows(1, 2, 3, 4), rows(0, 2, 0, 0), [None, [["position", [0, 1, 1, 2], [-1, -3, -4]]]]),
        (
            {key: {"x": 1, "y": 1.5} for key in "abcd"},
            {key: {"x": 1 + (key > "a"), "y": 1.5 + (key > "a")} for key in "abcd"},
            [None, [["x", [1, 3], 1], ["y", None, 1]]],
        ),
        # The order is that of the keys, as texts.
        (
            {"9": {"score": 1}, "10": {"score": 1}, "é": {"score": 1}, "z": {"score": 1}},
            {"9": {"score": 2}, "10": {"score": 4}, "é": {"score": 6}, "z": {"score": 5}},
            [None, [["score", [0, 4], [3, 1, 4, 5]]]],
        ),
        # Differences of floats that are exact, and of those that are not.
        (rows(1.5, 0.5, 0.1), rows(2.5, -0.5, 0.3), [None, [["position", [0, 3], [1, -1, 0.3]]]]),
        (rows(1.5, 0.25), rows(2.0, 2.0), [None, [["position", [0, 2], 2.0]]]),
        # Other types.
        (rows(1, 2, 3), rows("a", None, 4.5), [None, [["position", [0, 3], ["a", None, 4.5]]]]),
        (rows(1.5, 2.5, True), rows(1, 2, 3), [None, [["position", [0, 3], [[1], [2], [3]]]]]),
        (rows(1, 2), rows(True, True), [None, [["position", [0, 2], True]]]),
        # Rows that come and go, and that are no records.
        (
            rows(1, 2, 3) | {"odd": [1]},
            rows(3, 4, 5) | {"new": {"position": 1}},
            [None, [["position", [0, 3], 2]], {"odd": [], "new": [{"position": 1}]}],
        ),
        # Lists.
        (
            [{"position": 1}, {"position": 2}, {"position": 3}],
            [{"position": 2}, {"position": 2}, {"position": 4}],
            [None, [["position", [0, 1, 1, 1], 1]]],
        ),
        (
            [*rows(10, 20, 30).values()],
            [*rows(11, 21, 31, 5).values()],
            [None, [["position", [0, 3], 1]], [3, [{"position": 5}]]],
        ),
        # In maps, and beside other changes.
        (
            {"turn": 1, "ships": rows(1, 2)},
            {"turn": 2, "ships": rows(2, 3)},
            {"turn": 2, "ships": [None, [["position", [0, 2], 1]]]},
        ),
    ],
)
def test_the_format(old: Any, new: Any, patch: Any) -> None:
    assert repr(diff_columns(old, new)) == repr(patch)
    assert exact(apply_columns(old, sent(patch))) == exact(new)


# Size.


def test_a_hundred_players_that_moved_take_a_fifth_of_a_patch_without_columns() -> None:
    rng = random.Random(1)
    old = {str(number): {"x": 5000, "y": 4000, "n": 7} for number in range(100)}
    new = {
        key: {
            "x": body["x"] + rng.randrange(1, 10),
            "y": body["y"] + rng.randrange(1, 8),
            "n": body["n"] + rng.randrange(2),
        }
        for key, body in old.items()
    }
    patch = diff_columns(old, new)
    assert apply_columns(old, sent(patch)) == new
    assert len(encoded(patch)) <= 290
    assert len(encoded(diff(old, new))) > 5 * 290


def test_floats_that_moved_take_no_more_than_themselves() -> None:
    old = {str(number): {"x": number + 0.1, "y": number + 0.2} for number in range(100)}
    new = {key: {"x": row["x"] + 0.3, "y": row["y"] * 1.1} for key, row in old.items()}
    patch = diff_columns(old, new)
    assert apply_columns(old, sent(patch)) == new
    assert len(encoded(patch)) <= 2 * 100 * 9 + 25


# Wrong patches.

OTHERS: st.SearchStrategy[Any] = st.sampled_from(
    [-1, 0, 1, 2**63, 10**30, None, [], True, 0.5, float("nan"), {}]
)


@st.composite
def almost_columns(draw: st.DrawFn) -> tuple[Any, Any]:
    """A state, and a patch that is nearly one for it."""
    old, new = draw(states_with_tables())
    patch = sent(diff_columns(old, new))
    for _ in range(draw(st.integers(1, 2))):
        patch = draw(damaged(patch))
    return old, patch


@st.composite
def damaged(draw: st.DrawFn, value: Any) -> Any:
    """A patch of which one part is another, is missing, or is there twice."""
    if isinstance(value, dict) and value:
        key = draw(st.sampled_from([*value]))
        return value | {key: draw(damaged(value[key]))}
    if isinstance(value, list) and value:
        at = draw(st.integers(0, len(value) - 1))
        before, part, after = value[:at], value[at], value[at + 1 :]
        how = draw(st.sampled_from(["inside", "inside", "inside", "other", "missing", "twice"]))
        if how == "inside":
            return [*before, draw(damaged(part)), *after]
        if how == "missing":
            return [*before, *after]
        if how == "twice":
            return [*before, part, part, *after]
    return draw(st.one_of(OTHERS, ANYTHING))


@given(almost_columns())
def test_whatever_comes_is_a_patch_or_a_codec_error(case: tuple[Any, Any]) -> None:
    old, patch = case
    before = repr(old)
    result = None
    with contextlib.suppress(CodecError):
        result = apply_columns(old, patch)
        assert growth(patch) >= 0
    assert exact(plain(result)) == exact(result)
    assert repr(old) == before


@given(STATES, ANYTHING)
def test_anything_is_a_patch_or_a_codec_error(old: Any, patch: Any) -> None:
    result = None
    with contextlib.suppress(CodecError):
        result = apply_columns(old, patch)
    assert exact(plain(result)) == exact(result)


@given(states_with_tables(), states_with_tables())
def test_a_patch_for_another_state_is_a_patch_or_a_codec_error(
    pair: tuple[Any, Any], other: tuple[Any, Any]
) -> None:
    result = None
    with contextlib.suppress(CodecError):
        result = apply_columns(other[0], sent(diff_columns(*pair)))
    assert exact(plain(result)) == exact(result)


STATE: dict[str, Any] = {
    "turn": 1,
    "ships": {"7": {"x": 1, "y": 0.5, "name": "Argo", "log": []}, "8": {"x": 2}},
    "list": [{"x": 1}, 5],
}


def of_ships(*columns: Any) -> Any:
    return {"ships": [None, [*columns]]}


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ({"turn": [None, []]}, "patch.turn: expected changes to int, got columns"),
        ({"new": [None, []]}, "patch.new: expected changes to a new key, got columns"),
        ({"ships": [None, [], {}, {}]}, "patch.ships: expected columns and at most one change"),
        ({"ships": [None, 1]}, "patch.ships: expected a list of columns, got int"),
        ({"ships": [None, {}]}, "patch.ships: expected a list of columns, got dict"),
        ({"ships": [None, [], 5]}, "patch.ships: expected changes to dict after the columns, got"),
        (
            {"ships": [None, [], [5]]},
            "patch.ships: expected changes to dict after the columns, got",
        ),
        (
            {"ships": [None, [], None]},
            "patch.ships: expected changes to dict after the columns, got",
        ),
        ({"ships": [None, [], [0, -1]]}, "patch.ships: expected changes to dict, got those to a"),
        (
            {"ships": [None, [], [None, []]]},
            "patch.ships: expected changes to dict, got those to a",
        ),
        ({"list": [None, [], {}]}, "patch.list: expected changes to list, got those to a dict"),
        ({"list": [0, None, [None, []]]}, "patch.list[0]: expected changes to dict, got those to"),
        (of_ships(5), "patch.ships: expected a column of three parts, got int"),
        (of_ships(["x", [0, 1]]), "patch.ships: expected a column of three parts, got a list of 2"),
        (
            of_ships([1, [0, 1], [1]]),
            "patch.ships: expected the field of a column as text, got int",
        ),
        (of_ships(["x", None, [1]]), "patch.ships: expected runs in the first column, got None"),
        (of_ships(["x", 1, [1]]), "patch.ships: expected runs as a list of pairs, got int"),
        (
            of_ships(["x", [0], [1]]),
            "patch.ships: expected runs as a list of pairs, got a list of 1",
        ),
        (of_ships(["x", [-1, 1], [1]]), "patch.ships: expected how many rows to skip, 0 or more"),
        (of_ships(["x", [True, 1], [1]]), "patch.ships: expected how many rows to skip, 0 or more"),
        (of_ships(["x", [0, 0], []]), "patch.ships: expected how many rows to change, 1 or more"),
        (of_ships(["x", [0, 1.0], [1]]), "patch.ships: expected how many rows to change, 1 or"),
        (of_ships(["x", [0, 3], 1]), "patch.ships: expected at most 2 rows, got runs over more"),
        (of_ships(["x", [2, 1], 1]), "patch.ships: expected at most 2 rows, got runs over more"),
        (of_ships(["x", [0, 10**30], 1]), "patch.ships: expected at most 2 rows, got runs over"),
        (of_ships(["x", [2**62, 2**62], 1]), "patch.ships: expected at most 2 rows, got runs over"),
        (of_ships(["x", [0, 2], [1]]), "patch.ships: expected 2 entries, got 1"),
        (of_ships(["x", [0, 2], [1, 1, 1]]), "patch.ships: expected 2 entries, got 3"),
        (of_ships(["x", [0, 2], "a"]), "patch.ships: expected a list of entries, or one number"),
        (of_ships(["x", [0, 2], {}]), "patch.ships: expected a list of entries, or one number"),
        (of_ships(["x", [0, 2], 1], ["x", [0, 2], 1]), "patch.ships: expected one column for each"),
        (of_ships(["y", [0, 2], 1]), "patch.ships['8'].y: expected a cell that is no dict and no"),
        (of_ships(["log", [0, 1], 1]), "patch.ships['7'].log: expected a cell that is no dict and"),
        (of_ships(["name", [0, 1], 1]), "patch.ships['7'].name: expected a number to add to, got"),
        (of_ships(["x", [0, 1], 2**63 - 1]), "patch.ships['7'].x: expected an int of at most 64"),
        (of_ships(["x", [0, 1], [2**63]]), "patch.ships['7'].x: expected an int of at most 64"),
        (of_ships(["y", [0, 1], 2**53 + 1]), "patch.ships['7'].y: expected at most 2**53 to add"),
        (of_ships(["y", [0, 1], [float("nan")]]), "patch.ships['7'].y: expected a finite float"),
        (of_ships(["y", [0, 1], float("inf")]), "patch.ships['7'].y: expected a finite float"),
        (of_ships(["x", [0, 1], [[1, 2]]]), "patch.ships['7'].x: expected an entry of a column"),
        (of_ships(["x", [0, 1], [[]]]), "patch.ships['7'].x: expected an entry of a column"),
        (of_ships(["x", [0, 1], [[{}]]]), "patch.ships['7'].x: expected an entry of a column"),
        (of_ships(["x", [0, 1], [{}]]), "patch.ships['7'].x: expected an entry of a column"),
        (of_ships(["x", [0, 1], ["\ud800"]]), "patch.ships['7'].x: expected text that UTF-8 can"),
        (
            {"list": [None, [["x", [0, 2], 1]]]},
            "patch.list[1].x: expected a row with cells, got int",
        ),
    ],
)
def test_the_error_says_where_and_what(patch: Any, message: str) -> None:
    before = repr(STATE)
    with pytest.raises(CodecError) as caught:
        apply_columns(STATE, patch)
    assert str(caught.value).startswith(message)
    assert repr(STATE) == before


def test_a_difference_of_a_bool_is_none() -> None:
    with pytest.raises(CodecError, match="expected a number to add to, got bool"):
        apply_columns({"a": {"x": True}}, [None, [["x", [0, 1], 1]]])


def test_columns_are_no_patch_for_those_who_do_not_know_them() -> None:
    old = players(20)
    new = {key: row | {"x": row["x"] + 1} for key, row in old.items()}
    with pytest.raises(CodecError, match="expected changes to dict, got those to a list"):
        apply(old, diff_columns(old, new))


def test_no_patch_makes_a_state_deeper_than_what_can_travel() -> None:
    deeper = nested(500, dict)
    endless: Any = [None, [], {"a": 2}]
    for _ in range(400):
        endless = [None, [], {"a": endless}]
    with pytest.raises(CodecError, match="levels of nesting"):
        apply_columns(deeper, endless)
    circle: list[Any] = [None, []]
    circle.append({"a": circle})
    with pytest.raises(CodecError):
        apply_columns(nested(MAX_DEPTH, dict), circle)


def test_a_chain_of_patches_ends_at_the_last_state() -> None:
    rng = random.Random(2)
    states: list[Any] = [players(30)]
    for tick in range(40):
        state = copy.deepcopy(states[-1])
        for row in state.values():
            row["x"] += rng.randrange(-300, 300)
            row["y"] = rng.choice([row["y"], row["y"] + 0.5, row["y"] + 1, "gone", None, 7])
            if type(row["y"]) not in {int, float}:
                row["y"] = 0
        if tick % 7 == 3:
            del state[rng.choice([*state])]
        if tick % 5 == 2:
            state = {f"new{tick}": {"name": "new", "x": 1, "y": 2.5}, **state}
        states.append(state)
    held = states[0]
    for old, new in itertools.pairwise(states):
        held = apply_columns(held, sent(diff_columns(old, new)))
        assert exact(held) == exact(new)

"""What a patch does to a state, how large it is, and what a wrong one cannot do."""

from __future__ import annotations

import contextlib
import copy
import doctest
import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import pgnet_trio.patch.merge
from pgnet_trio.codec import MAX_DEPTH, plain
from pgnet_trio.errors import CodecError
from pgnet_trio.patch import apply, diff, is_replacement
from pgnet_trio.patch.sizes import packed_size

# A busy machine is no failure.

# Few keys and values, so that two states have much in common; and those that are easily confused
# with one another, or with the marks of a patch.
SCALARS = st.one_of(
    st.sampled_from([None, False, True, 0, 1, 2, -1, 0.0, -0.0, 1.0, 0.5, "", "a", "0", "é" * 20]),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=40),
)
KEYS = st.one_of(st.sampled_from(["a", "b", "c", "0", "-1", "", "null", "[]", "k" * 40]), st.text())
STATES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=25,
)


@st.composite
def steps_of_a_game(draw: st.DrawFn) -> tuple[Any, Any]:
    """Two states of which the second is the first with some changes, as in a game."""
    old = draw(STATES)
    return old, draw(changed(old))


def changed(state: Any) -> st.SearchStrategy[Any]:
    other = st.one_of(st.just(state), STATES)
    if isinstance(state, dict):
        kept = st.fixed_dictionaries({}, optional={key: changed(state[key]) for key in state})
        more = st.dictionaries(KEYS, STATES, max_size=2)
        return st.one_of(other, st.builds(lambda a, b: a | b, kept, more))
    if isinstance(state, list):
        return st.one_of(
            other,
            st.permutations(state).map(list),
            st.tuples(*map(changed, state)).map(list),
            st.tuples(st.lists(STATES, max_size=2), st.integers(0, 8), st.integers(0, 8)).map(
                lambda edit: state[: edit[1]] + edit[0] + state[edit[2] :]
            ),
        )
    return other


# Long enough for all that an edit can be, and with the same items again and again.
LISTS = st.lists(st.sampled_from([0, 1, 2, True, {"a": 1, "b": 2}, [1, 2]]), max_size=60)

PAIRS = st.one_of(st.tuples(STATES, STATES), steps_of_a_game(), st.tuples(LISTS, LISTS))


def encoded(value: Any) -> bytes:
    return msgspec.msgpack.encode(value)


def sent(patch: Any) -> Any:
    """The patch after its way over the wire."""
    return msgspec.msgpack.decode(encoded(patch))


def exact(state: Any) -> str:
    """What tells any two states apart, but not two orders of keys."""
    return repr(ordered(state))


def ordered(state: Any) -> Any:
    if isinstance(state, dict):
        return {key: ordered(state[key]) for key in sorted(state)}
    return [ordered(item) for item in state] if isinstance(state, list) else state


# Diff and apply.


def the_patch_of_two_states_turns_the_first_into_the_second(pair: tuple[Any, Any]) -> None:
    old, new = pair
    result = apply(old, sent(diff(old, new)))
    assert exact(result) == exact(new)
    assert exact(plain(result)) == exact(new)


def no_change_is_none_and_only_that(pair: tuple[Any, Any]) -> None:
    old, new = pair
    assert diff(old, old) is None
    # Decoded, it has no number or text in common with the old state.
    assert diff(old, sent(old)) is None
    assert (diff(old, new) is None) == (exact(old) == exact(new))
    assert apply(old, None) is old


def the_arguments_are_not_changed(pair: tuple[Any, Any]) -> None:
    old, new = pair
    before = repr(old), repr(new)
    patch = diff(old, new)
    assert (repr(old), repr(new)) == before
    said = repr(patch)
    apply(old, patch)
    assert (repr(old), repr(patch)) == (before[0], said)


def the_new_state_does_not_follow_changes_of_the_patch(pair: tuple[Any, Any]) -> None:
    old, new = pair
    patch = sent(diff(old, new))
    result = apply(old, patch)
    spoil(patch)
    assert exact(result) == exact(new)


def spoil(value: Any) -> None:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in list(items):
        spoil(item)
    if isinstance(value, dict | list):
        value.clear()


def test_what_did_not_change_is_shared_with_the_old_state_and_what_did_is_not() -> None:
    old: Any = {"map": {"rows": [1, 2]}, "units": [{"x": 1}, {"x": 2}], "turn": "ann" * 10}
    new = {"map": {"rows": [1, 2]}, "units": [{"x": 1}, {"x": 3}], "turn": "ann" * 10}
    result = apply(old, diff(old, new))
    assert result["map"] is old["map"]
    assert result["units"][0] is old["units"][0]
    for one, other in [
        (result, old),
        (result["units"], old["units"]),
        (result["units"][1], old["units"][1]),
    ]:
        assert one is not other
    # So the receiver's next diff, or comparison, is as cheap as the sender's.
    assert diff(result, result | {"turn": "bob"}) == {"turn": "bob"}


@given(st.lists(STATES, min_size=1, max_size=6))
def test_a_chain_of_patches_ends_at_the_last_state(states: list[Any]) -> None:
    held = states[0]
    for old, new in itertools.pairwise(states):
        held = apply(held, sent(diff(old, new)))
    assert exact(held) == exact(states[-1])


def test_parts_that_are_one_object_are_not_looked_into() -> None:
    looked_up = []

    class Key(str):
        __slots__ = ()

        def __hash__(self) -> int:
            looked_up.append(self)
            return super().__hash__()

    part = {Key("key"): 1.5}
    parts = [part] * 10
    old = {"part": part, "parts": parts, "list": [*parts, 1, *parts], "x": 1}
    new = {"part": part, "parts": parts, "list": [*parts, 2, *parts], "x": 2}
    looked_up.clear()
    assert diff(old, new) == {"list": [10, -1, [2]], "x": 2}
    assert not looked_up
    assert diff(copy.deepcopy(old), new) is not None
    assert looked_up


@pytest.mark.parametrize(
    ("old", "new"),
    [
        # Each of these is a change, or a step, when it stands in a patch.
        ({"a": 1}, {"a": []}),
        ({"a": 1}, {"a": [[]]}),
        ({"a": 1}, {"a": [1]}),
        ({"a": [1, 2, 3]}, {"a": [0, -1, [2]]}),
        ({"a": {"b": 1}}, {"a": [{"b": []}]}),
        ([[1], [2]], [[1], [0, -1, [2]]]),
        ([{"a": 1}], [None, [0, -1]]),
        ([1, [2, 3]], [None, [2, 4]]),
        ([], [[]]),
        ({}, {"": {}}),
        (None, []),
        ([], None),
        ({}, None),
        (None, {}),
    ],
)
def test_states_that_look_like_patches_are_only_states(old: Any, new: Any) -> None:
    for one, other in [(old, new), (new, old)]:
        assert exact(apply(one, sent(diff(one, other)))) == exact(other)


# How the format looks, for those who read it in another language.


def test_the_example_of_the_module_is_true() -> None:
    results = doctest.testmod(pgnet_trio.patch.merge)
    assert results.attempted
    assert not results.failed


LONG = {"name": "a name that is long enough", "text": "and a text that is even longer"}


@pytest.mark.parametrize(
    ("old", "new", "patch"),
    [
        (1, 2, 2),
        (1, None, [None]),
        (1, {"a": 1}, [{"a": 1}]),
        (LONG | {"a": 1}, LONG | {"a": None}, {"a": None}),
        (LONG | {"a": 1}, LONG | {"a": []}, {"a": [[]]}),
        (LONG | {"a": 1}, LONG, {"a": []}),
        (LONG, LONG | {"a": {"b": 1}}, {"a": [{"b": 1}]}),
        ({"a": LONG | {"b": 1}}, {"a": LONG | {"b": True}}, {"a": {"b": True}}),
        (["a", "b", "c"], ["a", "b", "c", "d"], [3, ["d"]]),
        (["a", "b", "c"], ["d", "a", "b", "c"], [0, ["d"]]),
        (["a", "b", "c"], ["a", "b"], [2, -1]),
        (["a", "b", "c"], ["a", "x", "c"], [1, -1, ["x"]]),
        (["a", LONG | {"b": 1}], ["a", LONG | {"b": 2}], [1, {"b": 2}]),
        (["a", ["b" * 9, 1]], ["a", ["b" * 9, 2]], [1, None, [1, -1, [2]]]),
    ],
)
def test_the_format(old: Any, new: Any, patch: Any) -> None:
    assert repr(diff(old, new)) == repr(patch)
    assert exact(apply(old, patch)) == exact(new)


# Size.


def a_patch_is_never_larger_than_the_state_or_is_the_state(pair: tuple[Any, Any]) -> None:
    old, new = pair
    patch = diff(old, new)
    if is_replacement(patch):
        assert exact(patch) in {exact(new), exact([new])}
    else:
        assert len(encoded(patch)) <= len(encoded(new))


def parts_of_a_patch_are_never_larger_than_the_parts(pair: tuple[Any, Any]) -> None:
    def check(change: Any, new: Any) -> None:
        if isinstance(change, dict):
            assert len(encoded(change)) <= len(encoded(new))
            for key in change:
                if key in new:
                    check(change[key], new[key])

    check(diff(*pair), pair[1])


LAWS = [
    the_patch_of_two_states_turns_the_first_into_the_second,
    no_change_is_none_and_only_that,
    the_arguments_are_not_changed,
    the_new_state_does_not_follow_changes_of_the_patch,
    a_patch_is_never_larger_than_the_state_or_is_the_state,
    parts_of_a_patch_are_never_larger_than_the_parts,
]


@given(PAIRS)
@example((True, 1))
@example(([1], [1.0]))
@example(({"x": 0.0}, {"x": -0.0}))
@example(([{"x": 0.0}], [{"x": -0.0}]))
@example(({"a": [], "b": {}}, {"a": {}, "b": []}))
# One byte too many, each for another reason.
@example(({"": 0, "a": 1}, {"": 0}))
@example(({"a": {"b": 1}}, {"a": {}}))
@example(([[0, 0, 0, 0, 1]], [[0, 0, 0, 0, 2]]))
@example(([*[{"a": 1}] * 14, {"": 0, "a": 1}], [*[{"a": 2}] * 14, {"": 0, "a": 2}]))
@example(
    (
        dict.fromkeys("abcdefghijkl", 1) | {key: {"": 0, "a": 1} for key in "mno"} | {"gone": 1},
        dict.fromkeys("abcdefghijkl", 2) | {key: {"": 0, "a": 2} for key in "mno"},
    )
)
def test_what_holds_for_any_two_states(pair: tuple[Any, Any]) -> None:
    """Pairs cost more to find than to try, so each is tried with all that holds for any pair."""
    for law in LAWS:
        law(pair)


@given(STATES)
@example(-33)
@example(2**63 - 1)
@example(-(2**63))
@example([0] * 65_535)
@example(["k" * size for size in (31, 32, 255, 256, 65_535, 65_536)])
def test_sizes_are_counted_as_msgpack_has_them(state: Any) -> None:
    wrapped = {"state": state}
    assert packed_size(wrapped) == len(encoded(wrapped))


@pytest.mark.parametrize("power", range(64))
def test_integers_are_counted_at_each_border(power: int) -> None:
    for number in [2**power - 1, 2**power, -(2**power), -(2**power) - 1, 1 - 2**power]:
        if -(2**63) <= number < 2**63:
            assert packed_size(number) == len(encoded(number))


def entities(count: int = 100) -> dict[str, Any]:
    return {f"e{number}": entity(number) for number in range(count)}


def entity(number: int) -> dict[str, Any]:
    return {"name": f"player {number}", "x": number + 0.5, "y": number + 0.25, "hp": 100}


def moved(entity: dict[str, Any]) -> dict[str, Any]:
    return entity | {"x": entity["x"] + 1, "y": entity["y"] + 1}


def test_a_hundred_entities_that_moved_take_no_more_than_nested_maps() -> None:
    old = entities()
    new = {key: moved(value) for key, value in old.items()}
    patch = diff(old, new)
    assert len(encoded(patch)) <= 2_703
    assert apply(old, patch) == new


def test_a_list_of_entities_that_moved_takes_no_more_than_a_dict_of_them() -> None:
    old = [*entities().values()]
    patch = diff(old, [*map(moved, old)])
    assert len(encoded(patch)) <= 2_703


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(lambda items: [entity(200), *items], id="one more at the front"),
        pytest.param(lambda items: [*items, entity(200)], id="one more at the end"),
        pytest.param(lambda items: [*items[:50], entity(200), *items[50:]], id="in the middle"),
        pytest.param(lambda items: items[1:], id="without the first"),
        pytest.param(lambda items: items[:40] + items[60:], id="without the middle"),
        pytest.param(lambda items: [*items[1:], entity(200)], id="oldest out, newest in"),
        pytest.param(lambda items: [items[-1], *items[:-1]], id="last becomes first"),
        pytest.param(
            lambda items: [moved(items[0]), *items[1:50], *items[51:99], moved(items[99])],
            id="both ends changed and one gone",
        ),
    ],
)
def test_a_small_edit_of_a_long_list_is_a_small_patch(edit: Any) -> None:
    old = [*entities().values()]
    new = edit(old)
    patch = diff(old, new)
    assert apply(old, patch) == new
    assert len(encoded(patch)) < 2 * len(encoded(entity(200)))


# Wrong patches.

ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        SCALARS,
        st.integers(-4, 9),
        st.binary(max_size=3),
        st.floats(),
        st.integers(),
        st.just(object()),
        st.just("\ud800"),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.lists(inner, max_size=3).map(tuple),
        st.builds(lambda kept, steps: [kept, *steps], st.integers(-1, 4), st.lists(inner)),
        st.dictionaries(KEYS | st.integers() | st.sampled_from([None, b"a", "\ud800"]), inner),
    ),
    max_leaves=20,
)


@given(STATES, ANYTHING)
def test_whatever_comes_is_a_patch_or_a_codec_error(old: Any, patch: Any) -> None:
    before = repr(old)
    result = None
    with contextlib.suppress(CodecError):
        result = apply(old, patch)
    assert exact(plain(result)) == exact(result)
    assert repr(old) == before


@given(steps_of_a_game(), STATES)
def test_a_patch_for_another_state_is_a_patch_or_a_codec_error(
    pair: tuple[Any, Any], other: Any
) -> None:
    patch = sent(diff(*pair))
    result = None
    with contextlib.suppress(CodecError):
        result = apply(other, patch)
    assert exact(plain(result)) == exact(result)


STATE = {"turn": 1, "ships": {"7": {"x": 1}}, "log": ["a", "b"], "grid": [[1], [2]]}


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ([], "patch: expected a change, got a removal where there is no key"),
        (b"", "patch: expected a change, got bytes"),
        (float("nan"), "patch: expected a finite float, got nan; send None, or text"),
        ([0, ["a"]], "patch: expected changes to dict, got those to a list"),
        ({"turn": {}}, "patch.turn: expected changes to int, got those to a dict"),
        ({"turn": [0, [1]]}, "patch.turn: expected changes to int, got those to a list"),
        ({"turn": b""}, "patch.turn: expected a change, got bytes"),
        ({"turn": (1,)}, "patch.turn: expected a change, got tuple"),
        ({"turn": [b""]}, "patch.turn: expected dict, list, str, int"),
        ({"turn": 2**63}, "patch.turn: expected an int of at most 64 bits"),
        ({"x": []}, "patch.x: expected a key that is there, got the removal of none"),
        ({"x": {}}, "patch.x: expected changes to a new key, got those to a dict"),
        ({"x": [0, [1]]}, "patch.x: expected changes to a new key, got those to a list"),
        ({"\ud800": 1}, "patch: expected text that UTF-8 can carry"),
        ({1: 1}, "patch: expected keys of str, got int"),
        ({None: 1}, "patch: expected keys of str, got None"),
        ({"ships": {"7": {"x": {}}}}, "patch.ships['7'].x: expected changes to int"),
        ({"log": [-1, ["c"]]}, "patch.log: expected first how many items are kept, got an int"),
        ({"log": [True, ["c"]]}, "patch.log: expected first how many items are kept, got bool"),
        ({"log": ["c", 1]}, "patch.log: expected first how many items are kept, got str"),
        ({"log": [3, ["c"]]}, "patch.log: expected at most 2 items, got steps over more"),
        ({"log": [1, -2]}, "patch.log: expected at most 2 items, got steps over more"),
        ({"log": [1, 10**30]}, "patch.log: expected at most 2 items, got steps over more"),
        ({"log": [2, {}]}, "patch.log[2]: expected at most 2 items, got the change of one more"),
        ({"log": [1, {}]}, "patch.log[1]: expected changes to str, got those to a dict"),
        ({"log": [1, "c"]}, "patch.log[1]: expected a step of an edit, got str"),
        ({"log": [1, True]}, "patch.log[1]: expected a step of an edit, got bool"),
        ({"log": [0, [b""]]}, "patch.log[0]: expected dict, list, str, int"),
        ({"log": [0, None, [0, -1]]}, "patch.log[0]: expected changes to str, got those to a list"),
        ({"grid": [0, None]}, "patch.grid[0]: expected an edit of a list, got None"),
        ({"grid": [0, None, [1]]}, "patch.grid[0]: expected an edit of a list, got list"),
        ({"grid": [1, None, [1, -1]]}, "patch.grid[1]: expected at most 1 items, got steps over"),
    ],
)
def test_the_error_says_where_and_what(patch: Any, message: str) -> None:
    with pytest.raises(CodecError) as caught:
        apply(STATE, patch)
    assert str(caught.value).startswith(message)


def nested(depth: int, kind: object, inmost: Any = 1) -> Any:
    for _ in range(depth):
        inmost = {"a": inmost} if kind is dict else [inmost]
    return inmost


@pytest.mark.parametrize("kind", [dict, list])
def test_the_deepest_states_can_be_patched(kind: type) -> None:
    old = nested(MAX_DEPTH, kind, "a long text that is worth its keeping")
    beside = [*range(200)]
    for level in (1, MAX_DEPTH - 2):
        inmost = {"a": beside, "b": 1} if kind is dict else [beside, 1]
        new = nested(level, kind, inmost)
        last = nested(level, kind, inmost | {"b": 2} if isinstance(inmost, dict) else [beside, 2])
        assert apply(old, diff(old, new)) == new
        assert apply(new, diff(new, last)) == last
        assert not is_replacement(diff(new, last))


@pytest.mark.parametrize("kind", [dict, list])
def test_no_patch_makes_a_state_deeper_than_what_can_travel(kind: type) -> None:
    old = nested(MAX_DEPTH, kind)
    change: Any = [{"a": 1}]
    for _ in range(MAX_DEPTH):
        change = {"a": change} if kind is dict else [0, None, change]
    patches = [
        [nested(MAX_DEPTH + 1, kind)],
        [nested(2000, kind)],
        nested(2000, kind),
        change,
    ]
    for patch in patches:
        with pytest.raises(CodecError):
            apply(old, patch)
    # Not even where somebody holds such a state already.
    deeper = nested(500, kind)
    endless: Any = {"a": 2} if kind is dict else [0, -1]
    for _ in range(400):
        endless = {"a": endless} if kind is dict else [0, None, endless]
    with pytest.raises(CodecError, match="levels of nesting"):
        apply(deeper, endless)


def test_a_patch_that_contains_itself_ends() -> None:
    circle: list[Any] = [0]
    circle += [None, circle]
    ring: dict[str, Any] = {}
    ring["a"] = ring
    for patch in (circle, ring, [circle], [ring]):
        with pytest.raises(CodecError):
            apply(nested(MAX_DEPTH, list if patch is circle else dict), patch)


# When the whole state serves as well.


def test_a_replacement_is_told_from_other_patches() -> None:
    whole: list[Any] = [True, 0, 1.5, "text", [None], [[]], [{"a": 1}]]
    assert all(map(is_replacement, whole))
    parts: list[Any] = [None, {}, {"a": 1}, [0, ["a"]]]
    assert not any(map(is_replacement, parts))


@given(STATES, STATES, STATES)
def test_a_replacement_fits_any_state(old: Any, new: Any, other: Any) -> None:
    patch = diff(old, new)
    if is_replacement(patch):
        assert exact(apply(other, patch)) == exact(new)

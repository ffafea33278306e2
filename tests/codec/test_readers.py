"""Models are read the same way, and refused in the same words, with the short way as without it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from enum import Enum, Flag, IntEnum, StrEnum
from types import GenericAlias
from typing import Any, Generic, Literal, NewType, TypeVar, Union

import attrs
import msgspec
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from pgnet_trio.codec import (
    check_model,
    encode_msgpack,
    encode_plain,
    from_parsed,
    from_plain,
    is_plain,
    plain,
    to_plain,
)
from pgnet_trio.codec.faults import codec_error
from pgnet_trio.codec.models import converter
from pgnet_trio.codec.readers import make_reader
from pgnet_trio.errors import CodecError


class Suit(Enum):
    HEARTS = "hearts"
    SPADES = "spades"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Word(StrEnum):
    YES = "yes"
    NO = "no"


class Lenient(Enum):
    """Takes other values than those of its members."""

    ONE = 1
    TWO = 2

    @classmethod
    def _missing_(cls, value: object) -> Lenient:
        return cls.ONE


class Mixed(Enum):
    TEXT = "text"
    NUMBER = 1


class Colours(Flag):
    RED = 1
    BLUE = 2


@attrs.define
class Inner:
    size: int
    name: str = ""


Number = NewType("Number", int)
ItemT = TypeVar("ItemT")


def union(*parts: Any) -> Any:
    return Union[parts]  # noqa: UP007 - put together at run time


scalar_kinds = [str, int, float, bool, None, Any]
field_kinds: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from(
        [
            *scalar_kinds * 4,
            Suit,
            Level,
            Word,
            Lenient,
            Mixed,
            Colours,
            Inner,
            Number,
            datetime,
            bytes,
            list,
            dict,
            tuple,
            Literal["a", "b"],
            Literal[1, "a", None],
            Literal[True],
            Literal[Suit.HEARTS],
            tuple[()],
        ]
    ),
    lambda inner: st.one_of(
        inner.map(lambda kind: GenericAlias(list, (kind,))),
        inner.map(lambda kind: union(kind, None)),
        inner.map(lambda kind: GenericAlias(dict, (str, kind))),
        inner.map(lambda kind: GenericAlias(dict, (int, kind))),
        inner.map(lambda kind: GenericAlias(Mapping, (str, kind))),
        inner.map(lambda kind: GenericAlias(tuple, (kind, ...))),
        st.lists(inner, min_size=1, max_size=3).map(lambda each: GenericAlias(tuple, tuple(each))),
        st.lists(st.sampled_from(scalar_kinds[:-1]), min_size=1).map(lambda each: union(*each)),
        st.tuples(inner, inner).map(lambda pair: union(*pair, None)),
    ),
    max_leaves=3,
)
kinds = st.sampled_from(scalar_kinds) | field_kinds

texts = st.text(max_size=4) | st.sampled_from(["a", "b", "hearts", "yes", "é"])
numbers = st.integers(-(2**63), 2**63 - 1) | st.integers(0, 3)
floats = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([1.0, -0.0, 2.0])
scalars = st.none() | st.booleans() | numbers | floats | texts
data = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
# What a program may hand over, and what is not plain data, or not yet.
others = st.sampled_from(
    [
        date(2026, 1, 1),
        datetime(2026, 1, 1, tzinfo=UTC),
        b"bytes",
        {1, 2},
        {1: 2},
        (1, 2),
        ("a", [1]),
        Level.LOW,
        Suit.HEARTS,
        Word.YES,
        "\ud800",
        ["\ud800"],
        {"\ud800": 1},
        2**63,
        2**64 - 1,
        -(2**63) - 1,
        float("inf"),
        float("nan"),
        Inner(1),
        object(),
        [object()],
    ]
)


def refuse_some(instance: Any, attribute: Any, value: Any) -> None:
    if not value:
        raise ValueError(f"{attribute.name} is nothing")


def doubled(value: Any) -> Any:
    return [value, value]


class Base:
    """Has something that the classes below inherit; what it sets is not one of their fields."""

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "posted", len(type(self).__mro__))


@st.composite
def models(draw: st.DrawFn) -> type:
    """Classes of attrs, as different as authors write them."""
    names = draw(st.lists(st.sampled_from("abc_"), min_size=0, max_size=3, unique=True))
    fields = {}
    has_defaults = False
    for name in names:
        options: dict[str, Any] = {}
        has_defaults = has_defaults or draw(st.integers(0, 9)) == 0
        if has_defaults:
            options["default"] = draw(st.sampled_from([None, 1, "a", attrs.Factory(list)]))
        if draw(st.integers(0, 5)) == 0:
            options["validator"] = refuse_some
        if draw(st.integers(0, 9)) == 0:
            options["converter"] = doubled
        if draw(st.integers(0, 9)) == 0:
            options["kw_only"] = True
        if draw(st.integers(0, 9)) == 0:
            options["alias"] = f"{name}x"
        fields["_private" if name == "_" else name] = attrs.field(type=draw(kinds), **options)
    return attrs.make_class(
        "Model",
        fields,
        bases=(draw(st.sampled_from([object, object, Base])),),
        slots=draw(st.booleans()),
        frozen=draw(st.booleans()),
    )


def examples(kind: Any) -> st.SearchStrategy[Any]:
    """Return plain data that is often a *kind*."""
    known: dict[Any, st.SearchStrategy[Any]] = {
        str: texts,
        int: numbers,
        float: floats | numbers,
        bool: st.booleans(),
        None: st.none(),
        type(None): st.none(),
        Suit: st.sampled_from(["hearts", "spades"]),
        Level: st.integers(0, 3),
        Word: st.sampled_from(["yes", "no"]),
        Lenient: st.integers(0, 3),
        Inner: st.fixed_dictionaries({"size": numbers}, optional={"name": texts, "more": texts}),
    }
    if kind in known:
        return known[kind]
    arguments: Any = getattr(kind, "__args__", ())
    container = getattr(kind, "__origin__", None)
    if container is Literal:
        return st.sampled_from(arguments).filter(is_plain) | st.just("a")
    if container is list:
        return st.lists(examples(arguments[0]), max_size=2)
    if container is tuple and arguments:
        if arguments[-1] is ...:
            return st.lists(examples(arguments[0]), max_size=2)
        return st.tuples(*map(examples, arguments)).map(list)
    if container in (dict, Mapping) and arguments:
        return st.dictionaries(texts, examples(arguments[1]), max_size=2)
    if arguments and container in (None, Union):
        return st.one_of(*map(examples, arguments))
    return data


@st.composite
def payloads(draw: st.DrawFn, model: type, *, wrong: st.SearchStrategy[Any]) -> Any:
    """Data that is a model, or nearly."""
    payload = {field.name: draw(examples(field.type)) for field in attrs.fields(model)}
    for change in draw(st.lists(st.sampled_from(["wrong", "missing", "more"]), max_size=1)):
        if change == "more":
            payload[draw(texts)] = draw(wrong)
        elif payload:
            name = draw(st.sampled_from(sorted(payload)))
            if change == "missing":
                del payload[name]
            else:
                payload[name] = draw(wrong)
    return draw(st.one_of(st.just(payload), st.just(payload), st.just(payload), wrong))


def outcome(read: Callable[..., Any], *arguments: Any) -> str:
    """Return what came, with the type of each part of it, or the text of the error."""
    try:
        model = read(*arguments)
    except CodecError as error:
        return f"{type(error).__name__}: {error}"
    return repr([model, vars(model) if hasattr(model, "__dict__") else None])


def by_converter(payload: Any, kind: Any) -> Any:
    try:
        return converter.structure(payload, kind)
    except Exception as error:
        raise codec_error(error, kind.__name__) from None


def in_general(payload: Any, kind: Any) -> Any:
    return by_converter(plain(payload, ""), kind)


def know(model: type) -> None:
    """Let the codec find the short way to read a class, if there is one."""
    try:
        check_model(model)
    except CodecError:
        assume(False)


slow = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])


@slow
@given(st.data(), models())
def test_models_of_parsed_data_are_the_converters_and_so_are_the_errors(
    draws: st.DataObject, model: type
) -> None:
    know(model)
    for _ in range(3):
        payload = draws.draw(payloads(model, wrong=data))
        expected = outcome(by_converter, payload, model)
        assert outcome(from_parsed, payload, model) == expected
        read = make_reader(model)
        if read is not None:
            with contextlib.suppress(ValueError, TypeError, msgspec.ValidationError):
                assert outcome(read, encode_plain(payload)) == expected


@pytest.mark.parametrize(
    "kind", [str, int, float, bool, None, int | None, list[int], dict[str, bool], Level, Suit]
)
def test_nothing_is_taken_for_what_it_only_looks_like(kind: Any) -> None:
    model = attrs.make_class("Model", {"value": attrs.field(type=kind)})
    know(model)
    read = make_reader(model)
    assert read is not None
    for value in ("1", "1.5", "true", "null", "", 0, 1, 1.0, True, None):
        for payload in ({"value": value}, {"value": [value]}, {"value": {"a": value}}):
            with contextlib.suppress(ValueError, TypeError, msgspec.ValidationError):
                assert outcome(read, encode_plain(payload)) == outcome(by_converter, payload, model)


@slow
@given(st.data(), models())
def test_what_a_program_hands_over_is_read_as_the_converter_reads_it(
    draws: st.DataObject, model: type
) -> None:
    know(model)
    for _ in range(3):
        payload = draws.draw(payloads(model, wrong=data | others))
        expected = outcome(in_general, payload, model)
        assert outcome(from_plain, payload, model) == expected


@attrs.define
class Move:
    x: float
    y: float
    seq: int


@attrs.frozen
class Everything:
    text: str
    _count: int | None
    suit: Suit
    level: Level
    word: Word
    one_of: Literal["a", None, 3]
    pair: tuple[int, str]
    number: int | float
    rows: list[list[float]]
    more: dict[str, Any] = attrs.field(factory=dict)
    flags: list[bool] | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.max_len(2))
    )
    converted: Any = attrs.field(default=None, converter=doubled)


@attrs.define
class Nothing:
    pass


@attrs.define
class Nested:
    inner: Inner


@attrs.define
class Timed:
    at: datetime


@attrs.define
class Binary:
    data: bytes


@attrs.define
class NumberedKeys:
    rows: dict[int, str]


@attrs.define
class ByKeyword:
    x: int
    y: int = attrs.field(kw_only=True)


@attrs.define
class Guesses:
    kind: Lenient


@attrs.define
class Painted:
    colour: Colours


@attrs.define
class Alike:
    one: Literal["a"] | str


@attrs.define
class Box(Generic[ItemT]):
    item: ItemT


@attrs.define(init=False)
class OwnInit:
    x: int
    y: int

    def __init__(self, y: int, x: int) -> None:
        self.x, self.y = x, -y


@pytest.mark.parametrize("kind", [Move, Everything, Nothing])
def test_models_of_plain_fields_have_a_short_way(kind: type) -> None:
    check_model(kind)
    assert make_reader(kind) is not None


@pytest.mark.parametrize(
    "kind",
    [
        Nested,
        Timed,
        Binary,
        NumberedKeys,
        ByKeyword,
        Guesses,
        Painted,
        Alike,
        Box,
        OwnInit,
        int,
        dict,
    ],
)
def test_other_types_are_left_to_the_converter(kind: type) -> None:
    with contextlib.suppress(CodecError):
        # Resolves the names in the annotations.
        check_model(kind)
    assert make_reader(kind) is None


def test_a_model_read_the_short_way_is_made_by_its_class() -> None:
    model = Everything("é", 3, Suit.SPADES, Level.HIGH, Word.NO, None, (1, "a"), 2, [[1.0]])
    check_model(Everything)
    read = make_reader(Everything)
    assert read is not None
    payload = {**to_plain(model), "converted": 5, "more": {"a": [1, {"b": None}]}}
    assert read(encode_msgpack(payload)) == attrs.evolve(
        model, more={"a": [1, {"b": None}]}, converted=5
    )
    with pytest.raises(ValueError, match="Length of 'flags'"):
        read(encode_msgpack({**payload, "flags": [True, False, True]}))


def test_the_model_shares_nothing_with_the_data() -> None:
    payload = {**to_plain(Everything("", 3, Suit.SPADES, Level.HIGH, Word.NO, 3, (1, "a"), 2, []))}
    payload["more"] = more = {"list": [1]}
    for _ in range(2):
        model = from_plain(payload, Everything)
        model.more["list"].append(2)
        assert more == {"list": [1]}


@attrs.define
class Said:
    text: str
    to: list[int]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"text": date(2026, 1, 1)}, "Said.text: expected dict, list, str"),
        ({"text": "\ud800"}, "Said.text: expected text that UTF-8 can carry"),
        ({"to": {1}}, "Said.to: expected dict, list, str"),
        ({"to": [2**63]}, r"Said.to\[0\]: expected an int of at most 64 bits"),
        ({"to": [True]}, r"Said.to\[0\]: expected an int, got bool"),
        ({"more": 1}, "Said: expected only the keys text, to, got 'more'"),
    ],
)
def test_what_cannot_travel_is_refused_though_the_short_way_is_known(
    fields: dict[str, Any], message: str
) -> None:
    check_model(Said)
    assert from_plain({"text": Word.YES, "to": (1, Level.LOW)}, Said) == Said("yes", [1, 1])
    with pytest.raises(CodecError, match=f"^{message}"):
        from_plain({"text": "a", "to": [], **fields}, Said, "Said")

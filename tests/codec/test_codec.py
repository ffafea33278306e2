"""What travels, what is refused, and where an error says that it is."""

from __future__ import annotations

import base64
import collections
import dataclasses
import json
import math
import pathlib
import sys
import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from types import NoneType
from typing import (
    Annotated,
    Any,
    Final,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    Optional,
    Self,
    TypedDict,
    TypeVar,
)

import attrs
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgnet_trio.codec import (
    MAX_DEPTH,
    check_model,
    count_nested,
    decode_json,
    decode_msgpack,
    decode_plain,
    encode_json,
    encode_msgpack,
    encode_plain,
    from_plain,
    is_plain,
    plain,
    to_plain,
)
from pgnet_trio.errors import CodecError, PGNetError


class Color(StrEnum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class OldStyle(str, Enum):  # noqa: UP042 - its `str()` is the name, not the value
    NAME = "value"


class Text(str):
    __slots__ = ()


class Point(NamedTuple):
    x: int
    y: int


@attrs.define
class Place:
    row: int
    column: int


@attrs.define
class Player:
    name: str
    place: Place
    speed: float = 1.0
    alive: bool = True
    color: Color = Color.RED
    nickname: str | None = None


@attrs.define
class Board:
    players: list[Player]
    scores: dict[str, int] = attrs.field(factory=dict)
    extra: dict[str, Any] = attrs.field(factory=dict)


@attrs.define
class Pair:
    pair: tuple[int, str] = (1, "a")
    many: tuple[int, ...] = ()


@attrs.define
class Tree:
    value: int
    children: list[Tree] = attrs.field(factory=list)
    parent: Tree | None = None


@attrs.define
class Rock:
    weight: int


@attrs.define
class Paper:
    size: int


@attrs.define
class Knock:
    sound: str
    kind: Literal["knock"] = "knock"


@attrs.define
class Ring:
    sound: str
    kind: Literal["ring"] = "ring"


@attrs.define
class Choices:
    throw: Rock | Paper | None = None
    door: Knock | Ring | None = None
    number: float | str | None = None
    mixed: int | list[int] = 0
    amount: int | Rock = 0
    mode: Literal["easy", 2] = "easy"
    level: Level = Level.LOW
    by_number: dict[int, str] = attrs.field(factory=dict)
    by_color: dict[Color, int] = attrs.field(factory=dict)


@attrs.define
class Dice:
    eyes: int = attrs.field(validator=[attrs.validators.ge(1), attrs.validators.le(6)])


@attrs.define
class Strict:
    value: int = attrs.field(validator=attrs.validators.instance_of(int))
    name: str = attrs.field(default="")

    @name.validator
    def _check(self, attribute: attrs.Attribute[str], value: str) -> None:
        if value == "bad":
            raise LookupError


@attrs.define
class Anything:
    value: Any = None
    items: list = attrs.field(factory=list)  # type: ignore[type-arg]  # bare, as authors write it
    table: dict = attrs.field(factory=dict)  # type: ignore[type-arg]  # bare, as authors write it
    pair: tuple = ()  # type: ignore[type-arg]  # bare, as authors write it


@attrs.define
class WithSet:
    taken: set[str] = attrs.field(factory=set)


@attrs.define
class WithOthers:
    raw: bytes = b""
    queue: collections.deque[str] = attrs.field(factory=collections.deque)
    few: frozenset[int] = frozenset()


@dataclasses.dataclass
class OldPlace:
    row: int = 0


T = TypeVar("T")


@attrs.define
class Box(Generic[T]):
    content: T


@attrs.define
class Mixed:
    place: OldPlace = attrs.field(factory=OldPlace)
    box: Box[int] = attrs.field(factory=lambda: Box(0))


@attrs.define
class WithOptional:
    name: Optional[str] = None  # noqa: UP045 - the spelling of older programs


Score = NewType("Score", int)


@attrs.define
class Decorated:
    score: Score = Score(0)
    side: Annotated[str, "left or right"] = "left"
    sides: Annotated[list[Score], "both"] = attrs.field(factory=list)
    old: OldStyle = OldStyle.NAME
    limit: Final[float] = 2.0


@attrs.define
class Nothing:
    pass


@attrs.define
class Event:
    when: datetime
    blob: bytes = b""
    until: datetime | None = None
    steps: list[datetime] = attrs.field(factory=list)
    parts: dict[str, bytes] = attrs.field(factory=dict)
    span: tuple[datetime, datetime] | None = None
    subject: Rock | Paper | list[bytes] | datetime | int | None = None


class Opaque:
    pass


class Shape(Enum):
    ROUND = (1, 2)
    SQUARE = "square"


class Huge(IntEnum):
    ONE = 1
    TOO_MUCH = 2**63


class Row(TypedDict):
    x: int


@attrs.define
class Stone:
    weight: int


@attrs.define
class Sealed:
    inner: Box[WithSet]


@attrs.define
class Deep:
    boards: dict[str, list[tuple[Sealed | None, int]]]


@attrs.define
class IntBox(Box[int]):
    pass


@attrs.define
class SetBox(Box[set[int]]):
    pass


@attrs.define
class Chain:
    next: Chain | None = None
    others: list["Chain"] = attrs.field(factory=list)  # as authors write it
    own: Self | None = None


@attrs.define
class Computed:
    x: int
    cache: set[int] = attrs.field(factory=set, init=False)
    _hidden: int = 0


@dataclasses.dataclass
class OldComputed:
    x: int
    square: int = dataclasses.field(default=0, init=False)


@attrs.define
class Unknown:
    x: NotDefinedAnywhere  # type: ignore[name-defined]  # noqa: F821 - there is none, which is what is tested


@dataclasses.dataclass
class OldEvent:
    day: date


MIN, MAX = -(2**63), 2**63 - 1

# A busy machine is no failure.

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(MIN, MAX)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
plain_data = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=15,
)
players = st.builds(
    Player,
    name=texts,
    place=st.builds(Place, st.integers(MIN, MAX), st.integers(MIN, MAX)),
    speed=st.floats(allow_nan=False, allow_infinity=False),
    alive=st.booleans(),
    color=st.sampled_from(Color),
    nickname=st.none() | texts,
)
boards = st.builds(
    Board,
    players=st.lists(players, max_size=3),
    scores=st.dictionaries(texts, st.integers(MIN, MAX), max_size=3),
    extra=st.dictionaries(texts, plain_data, max_size=3),
)


def exactly_equal(left: object, right: object) -> bool:
    """Whether two values are equal with all their types: True is not 1, and 1 is not 1.0."""
    return left == right and repr(left) == repr(right)


# Round trips


@given(plain_data)
def test_plain_data_comes_back_the_same_with_its_types(data: object) -> None:
    text = encode_json(data)
    assert exactly_equal(decode_json(text, Any), data)
    assert exactly_equal(decode_json(text.encode(), Any), data)
    assert exactly_equal(decode_msgpack(encode_msgpack(data)), data)


@given(plain_data)
def test_the_text_is_json_for_other_programs_too(data: object) -> None:
    assert exactly_equal(json.loads(encode_json(data)), data)
    assert exactly_equal(decode_json(json.dumps(data), Any), data)


@given(plain_data)
def test_the_bytes_are_msgpack_for_other_programs_too(data: object) -> None:
    assert exactly_equal(msgspec.msgpack.decode(encode_msgpack(data)), data)
    assert exactly_equal(decode_msgpack(msgspec.msgpack.encode(data)), data)


@given(boards)
def test_models_come_back_the_same(board: Board) -> None:
    assert exactly_equal(decode_json(encode_json(board), Board), board)
    assert exactly_equal(decode_msgpack(encode_msgpack(board), Board), board)
    assert exactly_equal(from_plain(to_plain(board), Board), board)


@given(plain_data)
def test_plain_gives_an_equal_copy_of_plain_data(data: object) -> None:
    copy = plain(data)
    assert exactly_equal(copy, data)
    assert copy is not data or not isinstance(data, list | dict)


@pytest.mark.parametrize(
    "choices",
    [
        Choices(),
        Choices(throw=Rock(3), door=Ring("ding"), number="x", mixed=[1, 2], mode=2),
        Choices(throw=Paper(4), door=Knock("tok"), number=2.5, amount=Rock(1)),
        Choices(level=Level.HIGH, by_number={-1: "a", 20: "b"}, by_color={Color.BLUE: 3}),
    ],
)
def test_unions_enums_literals_and_other_keys_come_back(choices: Choices) -> None:
    assert exactly_equal(decode_json(encode_json(choices), Choices), choices)
    assert exactly_equal(decode_msgpack(encode_msgpack(choices), Choices), choices)


def test_recursive_models_come_back() -> None:
    tree = Tree(1, [Tree(2), Tree(3, [Tree(4)])], parent=Tree(0))
    assert decode_json(encode_json(tree), Tree) == tree
    assert decode_json(encode_json([to_plain(tree)]), list[Tree]) == [tree]


def test_tuples_of_models_come_back_as_tuples_and_those_of_data_as_lists() -> None:
    pair = Pair((5, "b"), (1, 2, 3))
    assert to_plain(pair) == {"pair": [5, "b"], "many": [1, 2, 3]}
    assert from_plain(to_plain(pair), Pair) == pair
    assert plain({"pair": (1, (2, 3))}) == {"pair": [1, [2, 3]]}


def test_new_types_annotated_and_final_ones_are_as_strict_as_what_they_stand_for() -> None:
    value = Decorated(Score(3), "right", [Score(1)], OldStyle.NAME, 1.5)
    assert exactly_equal(decode_json(encode_json(value), Decorated), value)
    for name in ("score", "side", "sides", "old", "limit"):
        with pytest.raises(CodecError, match=rf"^Decorated\.{name}: expected"):
            from_plain({name: None}, Decorated)


def test_dataclasses_and_generic_classes_can_be_inside_a_model() -> None:
    value = Mixed(OldPlace(3), Box(4))
    assert exactly_equal(decode_json(encode_json(value), Mixed), value)


def test_fields_of_any_kind_carry_plain_data() -> None:
    value = Anything({"a": [1, None]}, [1, "x"], {"b": 2.5}, (1, "c"))
    assert decode_json(encode_json(value), Anything) == value


def test_an_int_is_taken_where_a_float_is_declared_and_becomes_one() -> None:
    player = decode_json('{"name": "ann", "place": {"row": 1, "column": 2}, "speed": 5}', Player)
    assert exactly_equal(player.speed, 5.0)
    assert exactly_equal(from_plain({"number": 5}, Choices).number, 5.0)
    assert exactly_equal(from_plain({"level": 2}, Choices).level, Level.HIGH)


def test_of_two_equal_keys_in_json_the_last_wins() -> None:
    assert decode_json('{"a": 1, "a": 2}', dict[str, int]) == {"a": 2}


def test_a_model_without_fields_takes_an_empty_dict_only() -> None:
    assert from_plain({}, Nothing) == Nothing()
    with pytest.raises(CodecError, match=r"^Nothing: expected only the keys of Nothing, got 'x'$"):
        from_plain({"x": 1}, Nothing)
    with pytest.raises(CodecError, match="expected a dict with the fields of Nothing, got str"):
        from_plain("", Nothing)


@given(
    st.recursive(
        scalars | st.integers() | st.floats() | st.sampled_from([Level.LOW, Color.RED, {1}, b"x"]),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.lists(inner, max_size=4).map(tuple)
            | st.dictionaries(texts | st.integers() | st.booleans(), inner, max_size=4)
        ),
        max_leaves=15,
    )
)
def test_what_is_called_plain_is_what_comes_back_unchanged(data: object) -> None:
    def with_lists(value: object) -> object:
        if isinstance(value, list | tuple):
            return [with_lists(item) for item in value]
        if isinstance(value, dict):
            return {key: with_lists(item) for key, item in value.items()}
        return value

    try:
        unchanged = exactly_equal(plain(data), with_lists(data))
    except CodecError:
        unchanged = False
    assert is_plain(data) == unchanged


NOT_PLAIN = [2**63, b"x", {1: 2}, {"x": {b"x": 1}}, float("nan"), float("inf")]


@given(
    st.recursive(
        scalars | st.sampled_from(NOT_PLAIN),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
        max_leaves=15,
    )
)
def test_decoded_data_is_counted_where_it_is_plain(data: object) -> None:
    decoded = msgspec.msgpack.decode(msgspec.msgpack.encode(data))
    if is_plain(decoded):
        assert count_nested(decoded) == nested_count(decoded)
        assert exactly_equal(decode_plain(encode_plain(decoded)), decoded)
    else:
        assert count_nested(decoded) is None


def nested_count(value: object) -> int:
    if isinstance(value, dict):
        return 1 + sum(map(nested_count, value.values()))
    return 1 + sum(map(nested_count, value)) if isinstance(value, list) else 0


@pytest.mark.parametrize("bottom", [None, [], {}])
def test_decoded_data_is_plain_to_the_last_level(bottom: object) -> None:
    for depth, plainly in ((MAX_DEPTH - 1, True), (MAX_DEPTH, bottom is None), (MAX_DEPTH + 1, 0)):
        data = bottom
        for level in range(depth):
            data = [data] if level % 2 else {"x": data}
        assert is_plain(data) is bool(plainly)
        assert (count_nested(data) is not None) is bool(plainly)


# Times and bytes


NAIVE = datetime(2030, 1, 1)  # noqa: DTZ001 - naive on purpose


class Odd(tzinfo):
    """A timezone that does not know its offset, as those of some libraries at some times."""

    def utcoffset(self, moment: datetime | None, /) -> None:
        return None

    def dst(self, moment: datetime | None, /) -> None:
        return None

    def tzname(self, moment: datetime | None, /) -> str:
        return "odd"


zones = (
    st.just(UTC)
    | st.timezones()
    | st.integers(-86_399, 86_399).map(lambda seconds: timezone(timedelta(seconds=seconds)))
)
moments = st.datetimes(timezones=zones)
events = st.builds(
    Event,
    when=moments,
    blob=st.binary(max_size=20),
    until=st.none() | moments,
    steps=st.lists(moments, max_size=2),
    parts=st.dictionaries(texts, st.binary(max_size=5), max_size=2),
    span=st.none() | st.tuples(moments, moments),
    subject=st.none()
    | st.builds(Rock, st.integers(MIN, MAX))
    | st.builds(Paper, st.integers(MIN, MAX))
    | st.lists(st.binary(max_size=5), max_size=2)
    | moments
    | st.integers(MIN, MAX),
)


def same(left: object, right: object) -> bool:
    """Whether two events are equal; of times, whether clocks there show the same."""
    if isinstance(left, datetime) and isinstance(right, datetime):
        return left.isoformat() == right.isoformat()
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return type(left) is type(right) and all(map(same, left, right)) and len(left) == len(right)
    if isinstance(left, Event) and isinstance(right, Event):
        fields = [field.name for field in attrs.fields(Event)]
        return all(same(getattr(left, name), getattr(right, name)) for name in fields)
    return exactly_equal(left, right)


@given(events)
def test_times_and_bytes_come_back_the_same(event: Event) -> None:
    assert same(decode_json(encode_json(event), Event), event)
    assert same(decode_msgpack(encode_msgpack(event), Event), event)
    assert same(from_plain(to_plain(event), Event), event)


def test_times_are_iso_8601_and_bytes_base64_for_other_programs() -> None:
    event = Event(datetime(2030, 1, 2, 3, 4, 5, 6, UTC), b"\xff\x00")
    data = to_plain(event)
    assert data["when"] == "2030-01-02T03:04:05.000006+00:00"
    assert base64.b64decode(data["blob"], validate=True) == b"\xff\x00"
    assert from_plain({"when": "2030-01-02T03:04:05.000006Z"}, Event).when == event.when
    assert from_plain({"when": "2030-01-02T05:04:05.000006+02:00"}, Event).when == event.when


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"when": NAIVE},
            "when: expected a datetime with a timezone, got one without; add one",
        ),
        ({"when": datetime(2030, 1, 1, tzinfo=Odd())}, "when: expected a datetime with a timezone"),
        ({"when": date(2030, 1, 1)}, "when: expected a datetime, got date"),
        ({"when": "2030-01-01T00:00:00Z"}, "when: expected a datetime, got str"),
        ({"when": None}, "when: expected a datetime, got None"),
        ({"until": NAIVE}, "until: expected a datetime with a timezone"),
        ({"steps": [NAIVE]}, "steps[0]: expected a datetime with a timezone"),
        ({"blob": "text"}, "blob: expected bytes, got str"),
        ({"blob": bytearray(b"x")}, "blob: expected bytes, got bytearray"),
        ({"parts": {"a": "x"}}, "parts.a: expected bytes, got str"),
    ],
)
def test_a_time_without_a_timezone_and_what_is_no_time_are_refused_at_the_sender(
    fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(CodecError) as caught:
        to_plain(wrong(Event(datetime.now(UTC)), **fields))
    assert str(caught.value).startswith(f"Event.{message}")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"when": "2030-01-02T03:04:05"}, "when: expected a time with a timezone, got one without"),
        ({"when": "2030-01-02"}, "when: expected a time with a timezone, got one without"),
        ({"when": "noon"}, "when: expected an ISO 8601 time as text, got other text"),
        ({"when": ""}, "when: expected an ISO 8601 time as text, got other text"),
        ({"when": 5}, "when: expected an ISO 8601 time as text, got int"),
        ({"when": None}, "when: expected an ISO 8601 time as text, got None"),
        ({"blob": "YQ"}, "blob: expected bytes as base64 text, got other text"),
        ({"blob": "YQ==\n"}, "blob: expected bytes as base64 text, got other text"),
        ({"blob": " YQ=="}, "blob: expected bytes as base64 text, got other text"),
        ({"blob": "YR=="}, "blob: expected bytes as base64 text, got other text"),
        ({"blob": "é==="}, "blob: expected bytes as base64 text, got other text"),
        ({"blob": "YQ==YQ=="}, "blob: expected bytes as base64 text, got other text"),
        ({"blob": [1]}, "blob: expected bytes as base64 text, got list"),
        ({"blob": 10**12}, "blob: expected bytes as base64 text, got int"),
        ({"parts": {"a": "?"}}, "parts.a: expected bytes as base64 text, got other text"),
        ({"subject": True}, "subject: expected Rock or Paper or list[bytes] or datetime or int"),
        ({"subject": "noon"}, "subject: expected an ISO 8601 time as text, got other text"),
        ({"subject": ["?"]}, "subject[0]: expected bytes as base64 text, got other text"),
        (
            {"subject": {"x": 1}},
            "subject: expected Rock or Paper or list[bytes] or datetime or int",
        ),
    ],
)
def test_times_and_bytes_are_read_strictly(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(CodecError) as caught:
        from_plain({"when": "2030-01-02T03:04:05Z", **fields}, Event)
    assert str(caught.value).startswith(f"Event.{message}")


# Classes that can never travel

TRAVEL: list[Any] = [
    Player, Board, Pair, Tree, Choices, Dice, Strict, Anything, Mixed, WithOptional, Decorated,
    Nothing, Event, Chain, IntBox, Box[int], Box[Box[str]], OldPlace, Color, Level,
    int, None, datetime, bytes | None, list, list[Rock], Sequence[int], tuple[()], dict[int, str],
    dict[Color, int], dict[Literal["a", "b"], int], Any, Any | None, int | float | None,
    Literal["a"] | str, Rock | Knock, Rock | list[int] | datetime, Literal[1, None, "x"], Score,
]  # fmt: skip


@pytest.mark.parametrize("kind", TRAVEL, ids=str)
def test_what_can_travel_passes_the_check(kind: Any) -> None:
    check_model(kind)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (WithSet, "WithSet.taken: set[str] cannot travel; declare list[str]"),
        (WithOthers, "WithOthers.queue: collections.deque[str] cannot travel; declare list[str]"),
        (Sealed, "WithSet.taken: set[str] cannot travel; declare list[str]"),
        (Deep, "WithSet.taken: set[str] cannot travel; declare list[str]"),
        (list[Deep], "WithSet.taken: set[str] cannot travel; declare list[str]"),
        (OldEvent, "OldEvent.day: date cannot travel; declare datetime, or str"),
        (Box[set[int]], "Box.content: set[int] cannot travel; declare list[int]"),
        (SetBox, "SetBox.content: set[int] cannot travel; declare list[int]"),
        (Box, "Box.content: what ~T stands for is not said; declare it, as in Name[int]"),
        (Unknown, "Unknown: its fields name NotDefinedAnywhere, which is not known; define NotDef"),
        (set, "set cannot travel; declare list"),
        (frozenset[int], "frozenset[int] cannot travel; declare list[int]"),
        (dict[str, set[int]], "set[int] cannot travel; declare list[int]"),
        (
            Computed,
            "Computed.cache: a field with init=False does not travel, and is not",
        ),
        (list[Computed], "Computed.cache: a field with init=False does not travel,"),
        (OldComputed, "OldComputed.square: a field with init=False does not travel,"),
        (Opaque, "Opaque cannot travel; make it an attrs class, with @attrs.define"),
        (Point, "Point cannot travel; make it an attrs class, with @attrs.define"),
        (Row, "Row cannot travel; make it an attrs class, with @attrs.define"),
        (Text, "Text would arrive as str; declare that"),
        (collections.OrderedDict[str, int], "collections.OrderedDict[str, int] would arrive as"),
        (time, "time cannot travel; declare datetime, or str"),
        (timedelta, "timedelta cannot travel; declare float, of seconds"),
        (Decimal, "Decimal cannot travel; declare str"),
        (uuid.UUID, "UUID cannot travel; declare str"),
        (pathlib.Path, "Path cannot travel; declare str"),
        (complex, "complex cannot travel; declare tuple[float, float]"),
        (bytearray, "bytearray cannot travel; declare bytes"),
        (object, "object cannot travel; declare Any"),
        (Callable[[], int], "collections.abc.Callable[[], int] cannot travel; declare plain data"),
        (Iterable[int], "collections.abc.Iterable[int] cannot travel; declare plain data, or an"),
        (type[int], "type[int] cannot travel; declare plain data, or an attrs class"),
        (dict[float, int], "dict[float, int] has keys of float, and keys are text on the wire;"),
        (dict[bool, int], "dict[bool, int] has keys of bool, and keys are text on the wire;"),
        (
            dict[Level, int],
            f"dict[{__name__}.Level, int] has keys of Level, and keys are",
        ),
        (dict[bytes, int], "dict[bytes, int] has keys of bytes, and keys are text on the wire;"),
        (Shape, "Shape has (1, 2), which cannot travel; give it values of str or int of"),
        (Huge, "Huge has 9223372036854775808, which cannot travel; give it values of str or int"),
        (Literal[b"x"], "typing.Literal[b'x'] has b'x', which cannot travel; give it values of"),
        (
            Literal["\ud800"],
            "typing.Literal['\\ud800'] has '\\ud800': expected text that UTF-8 can",
        ),
        (datetime | str, "datetime and str cannot be told apart in datetime.datetime | str, since"),
        (bytes | datetime, "bytes and datetime cannot be told apart in bytes | datetime.datetime,"),
        (Color | str | None, "Color and str cannot be told apart in"),
        (Level | float, "Level and float cannot be told apart in"),
        (Literal[Color.RED] | str, "typing.Literal[<Color.RED: 'red'>] and str cannot be told"),
        (list[int] | tuple[int, ...], "list[int] and tuple[int, ...] cannot be told apart in"),
        (Rock | dict[str, int], "Rock and dict[str, int] cannot be told apart in"),
        (Rock | Stone, "Rock and Stone cannot be told apart; give each a field without default"),
        (list[Rock | Stone | None], "Rock and Stone cannot be told apart; give each a field"),
    ],
    ids=str,
)
def test_what_can_never_travel_is_refused_with_the_field_and_what_to_declare(
    kind: Any, message: str
) -> None:
    with pytest.raises(CodecError) as caught:
        check_model(kind)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("value", [Computed(1), OldComputed(1)], ids=str)
def test_a_field_with_init_false_does_not_vanish_in_silence(value: Any) -> None:
    holder = attrs.make_class("Holder", {"value": attrs.field(type=type(value))})
    with pytest.raises(CodecError, match=r"a field with init=False does not travel"):
        to_plain(holder(value))
    with pytest.raises(CodecError, match=r"a field with init=False does not travel"):
        from_plain({"value": {"x": 1}}, holder)


@attrs.define
class Card:
    name: str

    def shout(self) -> str:
        return self.name.upper()


@attrs.define
class Joker(Card):
    """A card with something of its own."""

    stands_for: str


@attrs.define
class Loud(Card):
    """A card with nothing more to send."""


@attrs.define
class Hands:
    cards: list[Card] = attrs.field(factory=list)
    by_player: dict[str, tuple[Card, ...]] = attrs.field(factory=dict)
    top: Card | None = None
    below: Card | Joker | None = None


@pytest.mark.parametrize(
    ("hands", "place"),
    [
        (Hands(cards=[Card("a"), Joker("b", "c")]), "Hands.cards[1]"),
        (Hands(by_player={"ann": (Joker("b", "c"),)}), "Hands.by_player.ann[0]"),
        (Hands(top=Joker("b", "c")), "Hands.top"),
    ],
    ids=str,
)
def test_what_a_subclass_adds_is_not_lost_in_silence(hands: Hands, place: str) -> None:
    told = f"{place}: expected Card, got Joker, whose stands_for would be lost; declare Card | Joke"
    for send in to_plain, encode_json:
        with pytest.raises(CodecError) as caught:
            send(hands)
        assert str(caught.value).startswith(told)


def test_a_subclass_travels_where_it_is_declared_and_where_it_adds_nothing() -> None:
    hands = Hands([Loud("a")], below=Joker("b", "c"))
    assert from_plain(to_plain(hands), Hands) == Hands([Card("a")], below=Joker("b", "c"))


@given(st.data())
def test_a_union_that_passes_the_check_gives_back_what_was_put_in(data: st.DataObject) -> None:
    examples: dict[Any, list[Any]] = {
        None: [None], str: ["red", "a"], int: [1, 5], float: [1.0, 2.5], bool: [True],
        datetime: [datetime(2030, 1, 1, tzinfo=UTC)], bytes: [b"", b"abcd"], Color: list(Color),
        Level: list(Level), Literal["a"]: ["a"], list[int]: [[], [1]], tuple[int, ...]: [(), (1,)],
        dict[str, int]: [{}, {"weight": 1}], Rock: [Rock(1)], Stone: [Stone(1)],
        Paper: [Paper(1)], Knock: [Knock("a")], Ring: [Ring("a")],
    }  # fmt: skip
    parts = data.draw(
        st.lists(st.sampled_from(list(examples)), min_size=2, max_size=4, unique=True)
    )
    value = data.draw(st.sampled_from([value for part in parts for value in examples[part]]))
    union = parts[0]
    for part in parts[1:]:
        union = Optional[union] if part is None else union | part if union else Optional[part]  # noqa: UP045 - the spelling of older programs
    holder = attrs.make_class("Holder", {"value": attrs.field(type=union)})
    try:
        check_model(holder)
    except CodecError:
        return
    assert exactly_equal(from_plain(to_plain(holder(value)), holder).value, value)


def test_a_union_whose_parts_look_alike_is_not_guessed_at() -> None:
    for union in (datetime | str, Color | str, list[int] | tuple[int, ...]):
        with pytest.raises(CodecError, match="which look alike when they arrive"):
            from_plain("red", union)  # type: ignore[arg-type]  # a union is no type to mypy


# What `plain` makes of what is nearly plain


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Level.HIGH, 2),
        (Color.RED, "red"),
        (OldStyle.NAME, "value"),
        (Point(1, 2), [1, 2]),
        (collections.OrderedDict(a=1), {"a": 1}),
        (collections.defaultdict(list, {"a": [()]}), {"a": [[]]}),
        (collections.Counter("aab"), {"a": 2, "b": 1}),
        ({1: "a", -2: "b"}, {"1": "a", "-2": "b"}),
        ({Level.LOW: 1, Color.RED: 2, OldStyle.NAME: 3}, {"1": 1, "red": 2, "value": 3}),
        (Text("grüße"), "grüße"),
        (type("Number", (float,), {})(0.5), 0.5),
        (-0.0, -0.0),
        (MAX, MAX),
        (MIN, MIN),
        ("\x00\u2028\U0001f600", "\x00\u2028\U0001f600"),
        ({"": 1}, {"": 1}),
    ],
)
def test_subclasses_become_the_plain_types(value: object, expected: object) -> None:
    assert exactly_equal(plain(value), expected)
    assert exactly_equal(decode_json(encode_json(value), Any), expected)
    assert exactly_equal(decode_msgpack(encode_msgpack(value)), expected)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            {"players": [0, 1, 2, {"x": math.nan}]},
            "payload.players[3].x: expected a finite float, got nan",
        ),
        ({"x": math.inf}, "payload.x: expected a finite float, got inf"),
        ({"x": -math.inf}, "payload.x: expected a finite float, got -inf"),
        ({"x": MAX + 1}, "payload.x: expected an int of at most 64 bits, got one of 64; send"),
        ({"x": MIN - 1}, "payload.x: expected an int of at most 64 bits"),
        ({"x": 10**9999}, "payload.x: expected an int of at most 64 bits, got one of 33216;"),
        (
            {"x": "a\ud800"},
            "payload.x: expected text that UTF-8 can carry, got a lone surrogate at",
        ),
        (
            {"x": [(1, b"")]},
            "payload.x[0][1]: expected dict, list, str, int, float, bool or None, got",
        ),
        ({"two words": {1}}, "payload['two words']: expected dict, list, str, int, float, bool or"),
        (
            {"when": datetime.now(UTC)},
            "payload.when: expected dict, list, str, int, float, bool or",
        ),
        ({"when": datetime(2000, 1, 1)}, "payload.when: expected dict, list, str, int"),  # noqa: DTZ001 - naive on purpose
        ({"x": Decimal(1)}, "payload.x: expected dict, list, str, int"),
        (
            {"x": Place(1, 2)},
            "payload.x: expected dict, list, str, int, float, bool or None, got Place",
        ),
        ({"x": object}, "payload.x: expected dict, list, str, int, float, bool or None, got type"),
        ({"x": {True: 1}}, "payload.x: expected keys of str or int, got bool; use text"),
        ({"x": {None: 1}}, "payload.x: expected keys of str or int, got None; use text"),
        ({"x": {1.5: 1}}, "payload.x: expected keys of str or int, got float; use text"),
        ({(1, 2): 1}, "payload: expected keys of str or int, got tuple; use text"),
        (
            {"x": [{1: "a", "1": "b"}]},
            "payload.x[0]: expected keys that differ as text, got int and str, which both become "
            "'1'",
        ),
        ({MAX + 1: 1}, "payload: expected int keys of at most 64 bits, got a larger one; use text"),
        (
            {10**9999: 1},
            "payload: expected int keys of at most 64 bits, got a larger one; use text",
        ),
        ({"\udfff": 1}, "payload: expected text that UTF-8 can carry, got a lone surrogate"),
        (
            iter([1]),
            "payload: expected dict, list, str, int, float, bool or None, got list_iterator",
        ),
    ],
)
def test_what_cannot_travel_is_refused_with_its_place(value: object, message: str) -> None:
    with pytest.raises(CodecError) as caught:
        plain(value)
    assert str(caught.value).startswith(message)
    for encode in (encode_json, encode_msgpack):
        with pytest.raises(CodecError) as caught:
            encode(value)
        path = message.partition(":")[0].removeprefix("payload").removeprefix(".")
        path = path if path and path[0] != "[" else f"data{path}"
        assert str(caught.value).startswith(path + ": " + message.partition(": ")[2])
    with pytest.raises(CodecError):
        from_plain(value, Any)


def test_the_path_can_have_another_root() -> None:
    with pytest.raises(CodecError, match=r"^options\.x: "):
        plain({"x": math.nan}, "options")
    with pytest.raises(CodecError, match=r"^payload\.row: expected an int, got str$"):
        from_plain({"row": "1", "column": 2}, Place, "payload")


def test_errors_are_type_errors_of_ours_and_show_no_values() -> None:
    with pytest.raises(TypeError) as caught:
        from_plain({"row": "secret", "column": [1]}, Place)
    assert isinstance(caught.value, PGNetError)
    assert str(caught.value) == (
        "Place.row: expected an int, got str; Place.column: expected an int, got list"
    )


# What arrives


def in_model(kind: Any, message: str) -> str:
    """Return what an error says that begins each place with the name of the model."""
    if not attrs.has(kind):
        return message
    return "; ".join(
        f"{kind.__name__}{part[4:]}"
        if part.startswith("data")
        else f"{kind.__name__}.{part}"
        if ": " in part
        else part
        for part in message.split("; ")
    )


@pytest.mark.parametrize(
    ("data", "kind", "message"),
    [
        ("5", int, "data: expected an int, got str"),
        (5.7, int, "data: expected an int, got float"),
        (5.0, int, "data: expected an int, got float"),
        (True, int, "data: expected an int, got bool"),
        (None, int, "data: expected an int, got None"),
        (None, str, "data: expected a str, got None"),
        (5, str, "data: expected a str, got int"),
        (True, float, "data: expected a float, got bool"),
        ("1.0", float, "data: expected a float, got str"),
        (1, bool, "data: expected a bool, got int"),
        (0, NoneType, "data: expected None, got int"),
        ("text", Text, "data: expected a model without Text; declare str"),
        ("abc", list[str], "data: expected a list, got str"),
        ({"a": 1}, list[str], "data: expected a list, got dict"),
        (["a", 1], list[str], "data[1]: expected a str, got int"),
        ("ab", tuple[str, ...], "data: expected a list, got str"),
        ([1], tuple[int, str], "data: expected a list of 2, got list"),
        ("ab", tuple[str, str], "data: expected a list of 2, got str"),
        ([1, 2], tuple[int, str], "data[1]: expected a str, got int"),
        ([], dict[str, int], "data: expected a dict, got list"),
        ([], dict[str, Any], "data: expected a dict, got list"),
        ("", dict, "data: expected a dict, got str"),
        ({"a": "1"}, dict[str, int], "a: expected an int, got str"),
        ({"01": "a"}, dict[int, str], "data['01']: expected a key that is an int as text"),
        ({"x": "a"}, dict[int, str], "x: expected a key that is an int as text"),
        ({"green": 1}, dict[Color, int], "green: expected one of 'red', 'blue', got 'green'"),
        ([], Place, "data: expected a dict with the fields of Place, got list"),
        ({"row": 1}, Place, "column: expected a value, got none; the key is missing"),
        (
            {"row": 1, "column": 2, "z": 3},
            Place,
            "data: expected only the keys row, column, got 'z'",
        ),
        (
            {"row": 1, "col": 2},
            Place,
            "column: expected a value, got none; the key is missing; data: expected only",
        ),
        (
            {"players": [{"name": "a", "place": {"row": 1, "column": None}}]},
            Board,
            "players[0].place.column: expected an int, got None",
        ),
        (
            {"players": [], "scores": {"two words": "1"}},
            Board,
            "scores['two words']: expected an int, got str",
        ),
        ("green", Color, "data: expected one of 'red', 'blue', got 'green'"),
        (["red"], Color, "data: expected one of 'red', 'blue', got ['red']"),
        (True, Level, "data: expected one of 1, 2, got True"),
        (1.0, Level, "data: expected one of 1, 2, got 1.0"),
        ({"mode": "hard"}, Choices, "mode: expected one of 'easy', 2, got 'hard'"),
        ({"mode": 2.0}, Choices, "mode: expected one of 'easy', 2, got 2.0"),
        ({"number": True}, Choices, "number: expected float or str or None, got bool"),
        ({"mixed": "12"}, Choices, "mixed: expected a list, got str"),
        ({"mixed": [1, "2"]}, Choices, "mixed[1]: expected an int, got str"),
        ({"amount": {"weight": "1"}}, Choices, "amount.weight: expected an int, got str"),
        ({"throw": "rock"}, Choices, "throw: expected Rock or Paper or None, got str"),
        (
            {"throw": {"length": 1}},
            Choices,
            "throw: expected Rock or Paper or None, got keys or a tag",
        ),
        ({"throw": {"size": "x"}}, Choices, "throw.size: expected an int, got str"),
        (
            {"door": {"sound": "x", "kind": "kick"}},
            Choices,
            "door: expected Knock or Ring or None, got keys or a tag",
        ),
        (
            {"door": {"sound": "x", "kind": []}},
            Choices,
            "door: expected Knock or Ring or None, got keys or a tag",
        ),
        ({"door": {"sound": 1, "kind": "ring"}}, Choices, "door.sound: expected a str, got int"),
        ({"pair": [1]}, Pair, "pair: expected a list of 2, got list"),
        ({"name": 1}, WithOptional, "name: expected str or None, got int"),
        ({"eyes": 7}, Dice, "data: expected a valid value, got ValueError: 'eyes' must be <= 6: 7"),
        ({"value": 1, "name": "bad"}, Strict, "data: expected a valid value, got LookupError: "),
        (
            {"taken": ["a"]},
            WithSet,
            "taken: expected a model without set[str], which cannot travel",
        ),
        ({"raw": 10**12}, WithOthers, "raw: expected bytes as base64 text, got int"),
        ({"raw": "abc"}, WithOthers, "raw: expected bytes as base64 text, got other text"),
        ({"queue": "abc"}, WithOthers, "queue: expected a model without"),
        ({"few": [1]}, WithOthers, "few: expected a model without frozenset[int], which cannot"),
        ({"place": ""}, Mixed, "place: expected a dict with the fields of OldPlace, got str"),
        ({"place": {"x": 1}}, Mixed, "place: expected only the keys of OldPlace, got 'x'"),
        ({"box": {"content": "1"}}, Mixed, "box.content: expected an int, got str"),
        (2**64, Any, "data: expected an int of at most 64 bits, got one of 65"),
    ],
)
def test_what_is_not_exactly_the_declared_type_is_refused_with_its_place(
    data: object, kind: Any, message: str
) -> None:
    message = in_model(kind, message)
    with pytest.raises(CodecError) as caught:
        from_plain(data, kind)
    assert str(caught.value).startswith(message)
    with pytest.raises(CodecError) as caught:
        decode_json(json.dumps(data), kind)
    assert str(caught.value).startswith(message)
    with pytest.raises(CodecError) as caught:
        from_plain(data, kind, "here")
    assert str(caught.value).startswith("here")


def test_the_traceback_shows_an_error_of_the_authors_own_code_and_none_of_ours() -> None:
    with pytest.raises(CodecError) as caught:
        from_plain([{"value": 1, "name": "bad"}], list[Strict])
    assert str(caught.value).startswith("data[0]: expected a valid value, got LookupError")
    assert isinstance(caught.value.__cause__, LookupError)
    wrong_ones: list[object] = [{}, {"value": "1"}, 1, {"value": 1, "x": 2}]
    for data in wrong_ones:
        with pytest.raises(CodecError) as caught:
            from_plain([data], list[Strict])
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__


def test_a_class_that_cannot_be_read_is_a_codec_error_too() -> None:
    with pytest.raises(CodecError, match=r"^data: expected a valid value, got"):
        from_plain({}, Decimal)
    with pytest.raises(CodecError):
        from_plain({}, Rock | Stone)  # type: ignore[arg-type]  # a union is no type to mypy


@pytest.mark.parametrize(
    "text",
    [
        "",
        b"",
        " ",
        "{",
        "nothing",
        "{'a': 1}",
        "[1,]",
        "1 2",
        "NaN",
        "[Infinity]",
        '{"a": -Infinity}',
        "1e999",
        "1" * 5000,
        '"\ud800"',
        r'"\ud800"',
        r'"\udc00 "',
        r'{"\ud800": 1}',
        b"\xff",
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b"\xff\xfe1\x00",
        b"\xef\xbb\xbf1",
        bytes(range(256)),
    ],
)
def test_what_is_no_json_in_utf8_is_refused(text: str | bytes) -> None:
    with pytest.raises(CodecError, match=r"^data: expected JSON text in UTF-8: "):
        decode_json(text, Any)


def test_what_is_no_text_at_all_is_refused() -> None:
    with pytest.raises(CodecError, match="expected JSON text"):
        decode_json(None, Any)  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "data: expected MessagePack: "),
        (b"\xc1", "data: expected MessagePack: "),
        (b"\x01\x01", "data: expected MessagePack: "),
        (b"\x92\x01", "data: expected MessagePack: "),
        (b"\xdd\xff\xff\xff\xff", "data: expected MessagePack: "),
        (b"\xa1\xff", "data: expected MessagePack: "),
        (b"\xa3\xed\xa0\x80", "data: expected MessagePack: "),
        (b"\x81\xa3\xed\xa0\x80\x01", "data: expected MessagePack: "),
        (b"\x81\x80\x01", "data: expected MessagePack: "),
        (b"\x81\xa1x\xcf" + b"\xff" * 8, "x: expected an int of at most 64 bits, got one of 64;"),
        (b"\x91\xca\x7f\xc0\0\0", "data[0]: expected a finite float, got nan"),
        (b"\x91\xcb\x7f\xf0" + b"\0" * 6, "data[0]: expected a finite float, got inf"),
        (b"\x81\xa1x\xc4\x01a", "x: expected dict, list, str, int, float, bool or None, got bytes"),
        (b"\x91\xd4\x05a", "data[0]: expected dict, list, str, int, float, bool or None, got Ext"),
        (b"\xd6\xff\0\0\0\0", "data: expected dict, list, str, int, float, bool or None, got"),
        (b"\xc7\x0c\xff" + b"\xff" * 12, "data: expected MessagePack: "),
        (b"\x82\x01\x01\xa11\x01", "data: expected keys that differ as text, got int and str"),
        (b"\x81\xc0\x01", "data: expected keys of str or int, got None; use text"),
        (b"\x81\xc3\x01", "data: expected keys of str or int, got bool; use text"),
        (b"\x81\xcb" + b"\0" * 8 + b"\x01", "data: expected keys of str or int, got float; use"),
        (b"\x81\xc4\x01a\x01", "data: expected keys of str or int, got bytes; use text"),
        (b"\x81\x91\x01\x01", "data: expected keys of str or int, got tuple; use text"),
        (b"\x81\xcf" + b"\xff" * 8 + b"\x01", "data: expected int keys of at most 64 bits, got a"),
    ],
)
def test_msgpack_that_holds_more_than_plain_data_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(CodecError) as caught:
        decode_msgpack(data)
    assert str(caught.value).startswith(message)


def test_integer_keys_arrive_as_text_whoever_packed_them() -> None:
    assert decode_msgpack(msgspec.msgpack.encode({1: {-2: "a"}})) == {"1": {"-2": "a"}}
    assert decode_msgpack(msgspec.msgpack.encode({1: "a"}), dict[int, str]) == {1: "a"}


def test_msgpack_is_read_as_strictly_as_json() -> None:
    for wrong_one in ({"row": "1", "column": 2}, {"row": 1}, {"row": 1, "column": 2, "x": 3}, [1]):
        with pytest.raises(CodecError) as from_msgpack:
            decode_msgpack(msgspec.msgpack.encode(wrong_one), Place)
        with pytest.raises(CodecError) as from_json:
            decode_json(json.dumps(wrong_one), Place)
        assert str(from_msgpack.value) == str(from_json.value)
    with pytest.raises(CodecError, match="expected MessagePack"):
        decode_msgpack("text")  # type: ignore[call-overload]  # what a mistaken caller passes


@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 500, 2000])
def test_deep_msgpack_is_refused(levels: int) -> None:
    for data in (b"\x91" * levels + b"\xc0", b"\x81\xa1a" * levels + b"\xc0"):
        with pytest.raises(CodecError, match="expected at most 100 levels of nesting"):
            decode_msgpack(data)
    assert decode_msgpack(b"\x91" * MAX_DEPTH + b"\xc0")


@given(st.binary(max_size=50), st.sampled_from([Any, Board, Choices, Tree, int]))
def test_random_bytes_never_give_another_error(data: bytes, kind: Any) -> None:
    try:
        decode_msgpack(data, kind)
    except CodecError:
        pass


@given(st.binary(max_size=50) | texts, st.sampled_from([Board, Choices, Tree, Pair, int]))
def test_random_input_never_gives_another_error(text: str | bytes, kind: type) -> None:
    try:
        decode_json(text, kind)
    except CodecError:
        pass


@given(plain_data, st.sampled_from([Board, Choices, Tree, Pair, Anything, list[Rock]]))
def test_random_data_is_refused_or_becomes_what_it_was(data: object, kind: type) -> None:
    try:
        model: object = from_plain(data, kind)
    except CodecError:
        return
    assert from_plain(to_plain(model), kind) == model


@settings(max_examples=50)
@given(
    st.dictionaries(
        st.sampled_from([field.name for field in attrs.fields(Choices)]) | texts, plain_data
    )
)
def test_data_with_the_right_keys_is_refused_or_becomes_what_it_was(data: dict[str, Any]) -> None:
    try:
        choices = from_plain(data, Choices)
    except CodecError:
        return
    assert from_plain(to_plain(choices), Choices) == choices


@given(
    st.recursive(
        scalars | st.integers() | st.sampled_from([2**63, 2**64, -(2**63) - 1]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(texts, inner, max_size=3)
            | st.builds(lambda data, levels: [nested(levels), data], inner, st.integers(1, 101))
        ),
    )
)
def test_all_json_is_taken_and_refused_as_plain_takes_and_refuses_it(data: object) -> None:
    try:
        expected = repr(plain(data, ""))
    except CodecError as error:
        expected = str(error)
    try:
        outcome = repr(decode_json(json.dumps(data), Any))
    except CodecError as error:
        outcome = str(error)
    assert outcome == expected


# Nesting


def nested(levels: int) -> object:
    data: object = 0
    for level in range(levels):
        data = [data] if level % 2 else {"a": data}
    return data


@pytest.mark.parametrize(("open_", "close"), [("[", "]"), ('{"a":', "}")])
@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 500, 2000])
def test_deep_nesting_is_refused_when_it_arrives(levels: int, open_: str, close: str) -> None:
    text = open_ * levels + "0" + close * levels
    with pytest.raises(CodecError, match="expected at most 100 levels of nesting") as caught:
        decode_json(text, Any)
    assert len(str(caught.value)) < 300
    with pytest.raises(CodecError):
        decode_json(open_ * levels, Any)


def test_the_depth_limit_is_the_same_both_ways() -> None:
    data = nested(MAX_DEPTH)
    assert is_plain(data)
    assert not is_plain(nested(MAX_DEPTH + 1))
    assert is_plain([], MAX_DEPTH - 1)
    assert not is_plain([], MAX_DEPTH)
    assert decode_json(encode_json(data), Any) == data == plain(data)
    assert decode_msgpack(encode_msgpack(data)) == data
    for too_deep in (nested(MAX_DEPTH + 1), nested(2000)):
        for refuse in (
            plain,
            encode_json,
            encode_msgpack,
            to_plain,
            lambda data: from_plain(data, Any),
        ):
            with pytest.raises(CodecError, match="expected at most 100 levels of nesting"):
                refuse(too_deep)


def test_data_that_contains_itself_is_refused() -> None:
    data: list[object] = []
    data.append({"again": data})
    with pytest.raises(CodecError, match="expected at most 100 levels of nesting"):
        encode_json(data)
    tree = Tree(1)
    tree.children.append(tree)
    with pytest.raises(CodecError, match="expected at most 100 levels of nesting"):
        encode_json(tree)


@pytest.mark.parametrize("levels", [60, 150, 2 * sys.getrecursionlimit()])
def test_deep_models_are_refused_both_ways(levels: int) -> None:
    tree = Tree(0)
    data: dict[str, Any] = {"value": 0}
    for _ in range(levels):
        tree = Tree(0, [tree])
        data = {"value": 0, "children": [data]}
    with pytest.raises(CodecError, match="expected at most 100 levels of nesting"):
        to_plain(tree)
    with pytest.raises(CodecError, match="expected at most 100 levels of nesting"):
        from_plain(data, Tree)
    while tree.children:  # or the interpreter takes it apart by recursion
        tree = tree.children.pop()


# Models at the sender


def wrong(model: Any, **fields: Any) -> Any:
    """Give a model whose fields hold what their class does not declare."""
    for name, value in fields.items():
        setattr(model, name, value)
    return model


def player(**fields: Any) -> Player:
    ann = Player("ann", Place(1, 2))
    wrong(ann, **fields)
    return ann


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (player(name=5), "name: expected a str, got int"),
        (player(name=None), "name: expected a str, got None"),
        (player(nickname=1), "nickname: expected a str, got int"),
        (player(speed="fast"), "speed: expected a float, got str"),
        (player(speed=True), "speed: expected a float, got bool"),
        (player(speed=math.nan), "speed: expected a finite float, got nan"),
        (player(alive=1), "alive: expected a bool, got int"),
        (wrong(Choices(), level="x"), "level: expected Level, got str"),
        (player(place=None), "place: expected Place, got None"),
        (player(place=Place(1, True)), "place.column: expected an int, got bool"),
        (player(place=Place(1, MAX + 1)), "place.column: expected an int of at most 64 bits"),
        (Board([player(), player(name=1)]), "players[1].name: expected a str, got int"),
        (
            wrong(Board([]), players=3),
            f"players: expected list[{__name__}.Player], got int",
        ),
        (wrong(Board([]), scores={"a": "1"}), "scores.a: expected an int, got str"),
        (wrong(Board([]), extra={"a": [b""]}), "extra.a[0]: expected dict, list, str"),
        (
            wrong(Board([]), extra={"a": Place(1, 2)}),
            "extra.a: expected dict, list, str, int, float",
        ),
        (wrong(Pair(), pair=(1, 2)), "pair[1]: expected a str, got int"),
        (wrong(Pair(), many=(1, "2")), "many[1]: expected an int, got str"),
        (WithSet({"a"}), "taken: expected dict, list, str, int, float, bool or None, got set"),
        (Anything(datetime.now(UTC)), "value: expected dict, list, str, int, float, bool or None"),
    ],
)
def test_a_model_that_holds_what_it_does_not_declare_is_refused_at_the_sender(
    model: object, message: str
) -> None:
    with pytest.raises(CodecError) as caught:
        encode_json(model)
    assert str(caught.value).startswith(in_model(type(model), message))

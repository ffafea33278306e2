"""A game with a field of every kind; `typed_game.ts` says what `pgnet-trio types` makes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, IntEnum, StrEnum
from typing import Annotated, Any, Generic, Literal, NewType, TypeVar

import attrs

from pgnet_trio import Game, Response, on

T = TypeVar("T")
U = TypeVar("U")
Seat = NewType("Seat", int)


class Suit(StrEnum):
    """The four suits; */ ends no comment here."""

    HEARTS = "hearts"
    SPADES = "spades"


class Level(IntEnum):
    LOW = 1
    HIGH = 2**60


class Mixed(Enum):
    TEXT = 'a "b"'
    NUMBER = 5


@attrs.frozen
class Card:
    suit: Suit
    rank: int = 1


@dataclass
class Point:
    x: float
    y: float = 0.0


@attrs.frozen
class Step:
    to: int
    kind: Literal["step"] = "step"
    fast: bool = False


@attrs.frozen
class Jump:
    over: int = 0
    kind: Literal["jump"] = "jump"


@attrs.define
class Play:
    """A player's move.

    Attributes:
        card: Which card.
    """

    card: Card
    to: str | None = None
    where: Annotated[Point | None, "on the table"] = None
    cards: list[Card] = attrs.field(factory=list)
    pair: tuple[int, str] = (1, "")
    any_number: tuple[float, ...] = ()
    either: int | str | list[bool] = 0
    level: Level = Level.LOW
    how: Literal["fast", "slow", 3, True] | None = None
    counts: dict[str, int] = attrs.field(factory=dict)
    by_seat: Mapping[int, list[Card | None]] = attrs.field(factory=dict)
    by_suit: dict[Suit, Seat] = attrs.field(factory=dict)
    by_word: dict[Literal["one", "two"], bool] = attrs.field(factory=dict)
    mixed: Mixed = Mixed.NUMBER
    extra: Any = None
    items: list[int | None] = attrs.field(factory=list)
    bare: list = attrs.field(factory=list)  # type: ignore[type-arg]  # bare, as authors write it
    bare_map: dict = attrs.field(factory=dict)  # type: ignore[type-arg]  # bare, as authors write it
    nested: Sequence[tuple[int, int]] = ()
    maps: list[dict[str, int]] = attrs.field(factory=list)
    pairs: list[tuple[int, str] | None] = attrs.field(factory=list)
    ways: list[Literal["up", "down"]] = attrs.field(factory=list)
    moves: list[Step | Jump] = attrs.field(factory=list)
    at: datetime | None = None
    proof: bytes = b""


@attrs.frozen
class Nothing:
    pass


@attrs.frozen
class Played:
    """The answer to a move, and news of it."""

    card: Card
    at: datetime
    proof: bytes


@attrs.frozen
class TooLate:
    pass


@attrs.frozen
class Tree:
    value: int
    children: list[Tree] = attrs.field(factory=list)


@attrs.frozen
class Page(Generic[T]):
    """A part of a list."""

    items: list[T]
    next: Page[T] | None


@attrs.frozen
class Both(Generic[T, U]):
    one: T
    other: U


@attrs.frozen
class default:  # noqa: N801 - as an author may write it
    """A name that is a word of the language."""

    new: int
    größe: float  # noqa: PLC2401 - the same


@attrs.frozen
class Record:
    value: int


@attrs.define
class Plain:
    value = attrs.field(type=None)


OtherCard = attrs.make_class("Card", {"back": attrs.field(type=str)}, frozen=True)


@attrs.frozen
class Table:
    """What a player sees."""

    page: Page[Card]
    seats: Page[int]
    both: Both[list[Suit], dict[str, Page[Card]]]
    tree: Tree
    record: Record
    plain: Plain
    default: default
    other: OtherCard  # type: ignore[valid-type]  # made at run time


@attrs.frozen
class Choose:
    cards: list[Card]
    seconds: float = 20


@attrs.frozen
class Chosen:
    card: Card


class Cards(Game):
    """Every kind of field.

    Once.
    """

    pushes = (Played, Nothing)
    asks = {Choose: Chosen}  # noqa: RUF012 - as an author writes it

    @on(Play)
    async def play(self, player: str, play: Play) -> Played | TooLate | None:
        """Play a card."""
        return None

    @on(Nothing)
    def nothing(self, player: str, nothing: Nothing) -> None:
        """Do nothing."""

    @on(default)
    def anything(self, player: str, message: default) -> Response | Played:
        return Response("")

    @on(Tree)
    def tree(self, player: str, message: Tree):  # type: ignore[no-untyped-def]  # as authors write it
        return message

    def view(self, player: str | None) -> Table | None:
        return None


class Quiet(Game):
    """Says nothing of what it does."""


class Watches(Game):
    def view(self) -> dict[str, Any]:
        return {}

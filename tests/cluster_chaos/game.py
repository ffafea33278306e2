"""The game of `tests.cluster_chaos`: it counts, and each answer says who has given it.

Its save holds which requests of whom it has carried out, so that what was answered can be compared
with what is there in the end.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import attrs
import trio

from pgnet_trio import Game, PlayerLeft, on
from tests.cluster_chaos.runs import Runs

if TYPE_CHECKING:
    from pgnet_trio.server.cluster.engine import Engine

__all__ = ["Ask", "Book", "Count", "Counted", "Look", "Place", "Reply", "Tally", "Told", "Volley"]

QUESTION_TIMEOUT = 8.0
"""Seconds; a player may be away for longer."""

QUESTION_PAUSE = 0.5


@attrs.define(eq=False)
class Place:
    """Where games are: one run of one node.

    Attributes:
        name: The node's name and the number of its run, as ``b.3``.
        clock: Returns the time, by a clock that all nodes have.
        epochs: In which epoch each room is the node's, as the engine has said last.
    """

    name: str
    clock: Callable[[], float]
    epochs: dict[str, int] = attrs.field(factory=dict)
    _lives: int = 0

    def next_life(self) -> str:
        """Return a name for a game that no other one has."""
        self._lives += 1
        return f"{self.name}.{self._lives}"

    def watch(self, engine: Engine) -> None:
        """Hear what the engine says of rooms that become this node's."""
        claim, accept, take_back = engine.claim, engine.accept, engine.take_back

        async def noted_claim(node: int, name: str, **options: Any) -> Any:
            found = await claim(node, name, **options)
            epoch = getattr(found, "epoch", None)
            if epoch is not None and type(found).__name__ in ("Created", "Restored"):
                self.epochs[name] = epoch
            return found

        async def noted_accept(name: str, epoch: int, **options: Any) -> None:
            await accept(name, epoch, **options)
            self.epochs[name] = epoch

        async def noted_take_back(node: int, name: str, **options: Any) -> int:
            self.epochs[name] = epoch = await take_back(node, name, **options)
            return epoch

        wrapped: dict[str, Callable[..., Awaitable[Any]]] = {
            "claim": noted_claim,
            "accept": noted_accept,
            "take_back": noted_take_back,
        }
        for name, method in wrapped.items():
            setattr(engine, name, method)

    def make_game(self, name: str, save_string: str | None = None) -> Tally:
        """Make a game here."""
        return Tally(name, save_string, self)


@attrs.frozen
class Count:
    """Wants to be counted, once.

    Attributes:
        serial: The player's number of it; they count up, over all games.
    """

    serial: int


@attrs.frozen
class Counted:
    """What came of `Count`.

    Attributes:
        place: Who has counted: `Place.name`.
        epoch: In which epoch the room was that node's.
        life: Names the object that has counted.
        born: When that object was made.
        when: When it has counted.
        total: How much it has counted, of all players.
    """

    place: str
    epoch: int
    life: str
    born: float
    when: float
    total: int


@attrs.frozen
class Look:
    """Wants to see the `Book`."""


@attrs.frozen
class Book:
    """What a game has counted.

    Attributes:
        place: Who has the game.
        applied: The serials of each player.
        twice: Those that came once more, as ``PLAYER SERIAL``.
    """

    place: str
    applied: dict[str, list[list[int]]]
    twice: list[str]


@attrs.frozen
class Volley:
    """Like `Count`, but nobody waits for an answer."""

    serial: int


@attrs.frozen
class Told:
    """A push after each `Count` of a player; the numbers of one player and game count up."""

    number: int
    serial: int


@attrs.frozen
class Ask:
    """A question; a number is asked once, also by a game that moves meanwhile."""

    number: int


@attrs.frozen
class Reply:
    """The answer to it."""

    value: int


@attrs.frozen
class Saved:
    """What the game keeps.

    Attributes:
        applied: As in `Book`.
        told: How many pushes there were, by player.
        asked: How many questions there were.
        twice: As in `Book`.
    """

    applied: dict[str, list[list[int]]]
    told: dict[str, int]
    asked: int
    twice: list[str]


class Tally(Game):
    """Counts requests, and asks its players something now and then."""

    persistent = True
    question_pause = QUESTION_PAUSE

    def __init__(self, name: str, save_string: str | None, place: Place) -> None:
        super().__init__(name, save_string)
        self.name = name
        self.place = place
        self.life = place.next_life()
        self.born = place.clock()
        saved = self.room.saved(Saved) or Saved({}, {}, 0, [])
        self.applied = {who: Runs(runs) for who, runs in saved.applied.items()}
        self.told = dict(saved.told)
        self.asked = saved.asked
        self.twice = list(saved.twice)
        self.total = sum(len(runs) for runs in self.applied.values())

    def get_save_string(self) -> Saved:
        applied = {who: runs.pairs for who, runs in self.applied.items()}
        return Saved(applied, self.told, self.asked, self.twice)

    def view(self, player: str | None) -> dict[str, int]:
        return {"total": self.total}

    @on(Count)
    def count(self, player: str, message: Count) -> Counted:
        self.apply(player, message.serial)
        return Counted(
            self.place.name,
            self.place.epochs.get(self.name, 0),
            self.life,
            self.born,
            self.place.clock(),
            self.total,
        )

    @on(Volley)
    def count_volley(self, player: str, message: Volley) -> None:
        self.apply(player, message.serial)

    @on(Look)
    def look(self, player: str, message: Look) -> Book:
        applied = {who: runs.pairs for who, runs in self.applied.items()}
        return Book(self.place.name, applied, self.twice)

    def apply(self, player: str, serial: int) -> None:
        runs = self.applied.setdefault(player, Runs())
        if not runs.add(serial):
            self.twice.append(f"{player} {serial}")
            return
        self.total += 1
        number = self.told[player] = self.told.get(player, 0) + 1
        self.room.push(Told(number, serial), to=player)

    async def run(self) -> None:
        while True:
            await self.room.wait_players(1)
            await trio.sleep(self.question_pause)
            players = sorted(self.room.players)
            if not players:
                continue
            number = self.asked + 1
            try:
                await self.room.ask(
                    players[number % len(players)],
                    Ask(number),
                    Reply,
                    timeout=QUESTION_TIMEOUT,
                    default=Reply(-1),
                )
            except PlayerLeft:
                # That player is asked nothing more of this number, and another one may be.
                pass
            self.asked = number

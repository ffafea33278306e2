"""The game that `tests.soak` plays: it says whatever lets a client notice that something is lost.

One class for all of the games. The first word of a game's name says of which kind it is, since
that is all of a game that a save file keeps beside its save string.
"""

from __future__ import annotations

import logging
import zlib

import attrs
import trio

from pgnet_trio import Game, PlayerLeft, on

__all__ = [
    "PERSISTENT",
    "Add",
    "Added",
    "Break",
    "Choice",
    "Choose",
    "Finish",
    "Heard",
    "Nudge",
    "PlannedFault",
    "Said",
    "SlowSoakGame",
    "SoakGame",
    "Table",
    "kind_of",
]

logger = logging.getLogger("tests.soak.game")

PERSISTENT = {"bank", "vault"}
RESTARTS = {"vault", "frail"}
BREAKS = {"vault", "frail", "brittle"}


class PlannedFault(Exception):
    """What a game raises because a player wanted it to."""


@attrs.frozen
class Add:
    """Wants the total to rise by so much."""

    amount: int


@attrs.frozen
class Added:
    """What came of `Add`.

    Attributes:
        birth: Names the game, from its creation to its end, restarts included.
        life: Names the object on the server.
        seat: Names the player's stay in it.
        revision: How many additions there were since the birth.
        mine: How many of these this player made in this seat.
    """

    birth: str
    life: str
    seat: str
    revision: int
    mine: int


@attrs.frozen
class Nudge:
    """Wants nothing but to arrive once, and after the one before of its stream."""

    seat: str
    stream: str
    serial: int


@attrs.frozen
class Break:
    """Wants the game to raise."""


@attrs.frozen
class Finish:
    """Wants the game to end."""


@attrs.frozen
class Said:
    """A push; the numbers of a seat count up from 1."""

    seat: str
    number: int


@attrs.frozen
class Choose:
    """A question."""

    seat: str
    number: int


@attrs.frozen
class Choice:
    """The answer to it."""

    value: int


@attrs.frozen
class Heard:
    """Says which answer the game got."""

    seat: str
    number: int
    value: int


@attrs.frozen
class Table:
    """The state that a player sees.

    Attributes:
        digest: Of all the rest.
    """

    life: str
    own: str | None
    revision: int
    total: int
    clock: int
    scores: dict[str, int]
    digest: int = 0

    def sealed(self) -> Table:
        return attrs.evolve(self, digest=self.expected_digest())

    def expected_digest(self) -> int:
        scores = sorted(self.scores.items())
        rest = (self.life, self.own, self.revision, self.total, self.clock, scores)
        return zlib.crc32(repr(rest).encode())


@attrs.frozen
class Saved:
    """What a persistent game keeps."""

    birth: str
    revision: int
    total: int


@attrs.define
class Seat:
    """One player's stay."""

    name: str
    said: int = 0
    mine: int = 0
    stream: str = ""
    nudged: int = 0


def kind_of(game: str) -> str:
    return game.partition(" ")[0]


class SoakGame(Game):
    """Counts, talks and asks; some kinds of it break."""

    update_rate = 1.0
    question_interval = 1.0
    question_timeout = 3.0

    def __init__(self, name: str, save_string: str | None = None) -> None:
        super().__init__(name, save_string)
        self.kind = kind_of(name)
        if self.kind in RESTARTS:
            self.on_crash = "restart"
        saved = self.room.saved(Saved)
        self.life = f"{self.room.random.getrandbits(64):x}"
        self.birth = saved.birth if saved else self.life
        self.revision = saved.revision if saved else 0
        self.total = saved.total if saved else 0
        self.clock = 0
        self.seats: dict[str, Seat] = {}
        self.seats_given = 0

    @property
    def persistent(self) -> bool:
        return self.kind in PERSISTENT

    def get_save_string(self) -> Saved:
        return Saved(self.birth, self.revision, self.total)

    def get_lobby_info(self) -> str:
        return f"{self.kind} at {self.revision}"

    def user_joined(self, username: str, /) -> None:
        self.seats_given += 1
        self.seats[username] = Seat(f"{self.life}.{self.seats_given}")
        self.say(username)

    def user_left(self, username: str, /) -> None:
        del self.seats[username]

    def update(self) -> None:
        self.clock += 1
        for username in self.room.players:
            if username in self.seats:
                self.say(username)

    def say(self, username: str) -> None:
        seat = self.seats[username]
        seat.said += 1
        self.room.push(Said(seat.name, seat.said), to=username)

    def view(self, player: str | None) -> Table:
        scores = {username: seat.mine for username, seat in self.seats.items()}
        return Table(self.life, player, self.revision, self.total, self.clock, scores).sealed()

    @on(Add)
    def add(self, player: str, message: Add) -> Added:
        seat = self.seats[player]
        seat.mine += 1
        self.revision += 1
        self.total += message.amount
        return Added(self.birth, self.life, seat.name, self.revision, seat.mine)

    @on(Nudge)
    def nudge(self, player: str, message: Nudge) -> None:
        seat = self.seats[player]
        # One that was on its way when the game was made again, or the player came anew, is late.
        if message.seat != seat.name:
            return
        if message.stream != seat.stream:
            # Another client took over.
            seat.stream, seat.nudged = message.stream, 0
        if message.serial != seat.nudged + 1:
            logger.error("nudge %d of %s came after %d", message.serial, player, seat.nudged)
        seat.nudged = message.serial

    @on(Break)
    def break_down(self, player: str, message: Break) -> None:
        if self.kind in BREAKS:
            raise PlannedFault(f"{player} wanted it")

    @on(Finish)
    def finish(self, player: str, message: Finish) -> None:
        if self.kind not in PERSISTENT:
            self.room.close("finished")

    async def run(self) -> None:
        number = 0
        while True:
            await self.room.wait_players(1)
            await trio.sleep(self.question_interval)
            players = self.room.players
            if not players:
                continue
            player = self.room.random.choice(players)
            seat = self.seats[player].name if player in self.seats else ""
            number += 1
            try:
                answer = await self.room.ask(
                    player,
                    Choose(seat, number),
                    Choice,
                    timeout=self.question_timeout,
                    default=Choice(-1),
                )
            except PlayerLeft:
                continue
            if answer.value >= 0 and player in self.seats:
                self.room.push(Heard(seat, number, answer.value), to=player)


class SlowSoakGame(SoakGame):
    """The same for hours of virtual time."""

    update_rate = 1 / 60
    question_interval = 45.0
    question_timeout = 120.0

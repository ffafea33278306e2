"""Games that are recorded in tests, and what happens at their tables."""

from __future__ import annotations

import attrs
import trio

from pgnet_trio import Game, PlayerLeft, Reject, on
from pgnet_trio.netcode import Rewind

__all__ = [
    "Add",
    "Answer",
    "Busy",
    "Cards",
    "Fail",
    "Question",
    "Saved",
    "Slow",
    "Space",
    "Thrust",
    "Told",
]


@attrs.frozen
class Add:
    number: int


@attrs.frozen
class Slow:
    seconds: float


@attrs.frozen
class Fail:
    text: str


@attrs.frozen
class Told:
    text: str


@attrs.frozen
class Question:
    number: int


@attrs.frozen
class Answer:
    number: int


class Busy(Game):
    """Does all that a table can do at once: ticks, questions, chance, async handlers, scripts."""

    update_rate = 5

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.total = 0
        self.ticks = 0
        self.said: list[str] = []

    def view(self, player: str | None) -> dict[str, object]:
        shown = {"total": self.total, "ticks": self.ticks, "said": self.said[-4:], "for": player}
        return shown | {"players": self.room.players, "host": self.room.host}

    def say(self, text: str) -> None:
        self.said.append(f"{self.room.time():.6f} {text}")

    def user_joined(self, username: str) -> None:
        if username == "zoe":
            raise Reject("not you")
        self.say(f"{username} joined")

    async def user_left(self, username: str, reason: str) -> None:
        self.say(f"{username} left: {reason}")
        await trio.sleep(0.01)
        self.say(f"{username} is gone")

    def player_dropped(self, username: str) -> None:
        self.say(f"{username} away")

    def player_resumed(self, username: str) -> None:
        self.say(f"{username} back")

    def update(self) -> None:
        self.ticks += 1

    @on(Add)
    def add(self, player: str, message: Add) -> Told | None:
        self.total += message.number * self.room.random.randrange(100)
        self.room.push(Told(f"{player} adds {message.number}"), exclude=player)
        if message.number == 9:
            raise Reject("no nines", {"seen": self.total})
        if message.number == 8:
            self.room.nursery.start_soon(self.count, player)
        if message.number == 7:
            self.room.kick(player, "sevens")
        return None if message.number % 2 else Told(f"{self.total}")

    @on(Slow)
    async def slow(self, player: str, message: Slow) -> None:
        before = self.room.time()
        await trio.sleep(message.seconds)
        self.say(f"{player} was slow for {self.room.time() - before:.6f}")

    @on(Fail)
    def fail(self, player: str, message: Fail) -> None:
        raise ValueError(f"{message.text} {self.total} {self.ticks} {len(self.said)}")

    async def count(self, player: str) -> None:
        for number in range(3):
            await trio.sleep(0.05)
            self.say(f"{player} {number}")

    async def run(self) -> None:
        await self.room.wait_players(1)
        number = 0
        while True:
            number += 1
            try:
                answers = await self.room.ask_all(
                    self.room.players, Question(number), Answer, timeout=0.3, default=Answer(-1)
                )
                self.say(str({name: answer.number for name, answer in answers.items()}))
                self.total += sum(answer.number for answer in answers.values())
            except PlayerLeft as error:
                self.say(str(error))
            await trio.sleep(0.1)


class Saved(Game):
    """Closes where it raises; is saved."""

    persistent = True

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.total = int(save_string or 0)

    def get_save_string(self) -> str:
        return str(self.total)

    def view(self) -> dict[str, object]:
        return {"total": self.total, "players": self.room.players}

    @on(Add)
    def add(self, player: str, message: Add) -> Told | None:
        self.total += message.number * self.room.random.randrange(1000)
        return Told(str(self.total))

    @on(Fail)
    def fail(self, player: str, message: Fail) -> None:
        if message.text == "again":
            self.room.rematch()
        else:
            raise ValueError(f"{message.text} {self.total}")


class Cards(Saved):
    """Restarts where it raises."""

    on_crash = "restart"


@attrs.frozen
class Thrust:
    x: float = 0.0
    fire: bool = False


@attrs.define
class Ship:
    x: float = 0.0


class Space(Game):
    """Counts ticks, takes inputs, and looks back."""

    update_rate = 20
    sync_rate = 20
    inputs = Thrust
    rewinds = {"ships": Rewind("x")}  # noqa: RUF012 - as an author writes it

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.ships: dict[str, Ship] = {}
        self.hits: list[str] = []

    def user_joined(self, username: str) -> None:
        self.ships[username] = Ship()

    def user_left(self, username: str) -> None:
        del self.ships[username]

    def update(self) -> None:
        for name, ship in self.ships.items():
            thrust = self.room.next_input(name)
            if thrust is None:
                continue
            ship.x += thrust.x * self.room.dt
            if thrust.fire and not self.room.input_repeated(name):
                past = self.room.rewind(name)
                places = {key: round(it.x, 3) for key, it in past.ships.items()}
                self.hits.append(f"tick {self.room.tick}: {places}")

    def view(self) -> dict[str, object]:
        places = {name: ship.x for name, ship in self.ships.items()}
        return {"tick": self.room.tick, "places": places, "hits": self.hits[-3:]}

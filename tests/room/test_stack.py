"""The parts of a room: each knows only those below it, is handed few, and shows what it does."""

from __future__ import annotations

import inspect
import itertools
from importlib import import_module
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pgnet_trio import Game, Packet, Response, on
from pgnet_trio.server.refusals import RoomClosed
from pgnet_trio.server.room.player import HeldRequest, OpenQuestion, PacketTurn, Player
from pgnet_trio.server.room.room import RoomTask
from pgnet_trio.server.sessions.session import SILENT
from tests.package.test_layers import PACKAGE, our_imports

ROOM = "pgnet_trio.server.room"

# From the bottom up; those in one line know nothing of each other.
STACK = [
    {"outcome"},
    {"player", "stats", "deferred", "lateness", "host", "invitations", "kept"},
    {"owner", "tape"},
    {"queue", "instance", "members", "questions", "frozen"},
    {"snapshots", "simulation"},
    {"publisher"},
    {"runner"},
    {"dispatch", "presence", "ticker", "bots", "restarts"},
    {"membership"},
    {"loop"},
    {"scripts", "freezing", "reloading", "pictures"},
    {"backend"},
    {"room"},
]

GROUND_FLOOR = ("counters", "log_fields", "refusals", "watchdog")
"""Of the rest of the server, what a room may know."""

MOST_COLLABORATORS = 5

# Classes that hold parts of a room, and the options among what they are handed.
OPTIONS = {
    "RoomTask": {"name", "options", "seed", "save_string", "save_version", "kept", "thawing"},
    "ServerRoom": {"seed"},
    "GameInstance": {"time"},
}
RECORDS = {
    "Call",
    "FrozenMember",
    "FrozenQuestion",
    "FrozenRoom",
    "HeldAnswer",
    "HeldRequest",
    "Kept",
    "Member",
    "OpenQuestion",
    "PacketTurn",
    "QuestionSeen",
    "Reload",
    "RoomStats",
    "SeatView",
    "Snapshot",
    "TableView",
    "Thawing",
    "Wanted",
}


def test_every_part_has_its_place_in_the_stack() -> None:
    parts = {path.stem for path in (PACKAGE / "server" / "room").glob("*.py")} - {"__init__"}
    assert set().union(*STACK) == parts
    assert sum(map(len, STACK)) == len(parts)


def test_a_part_imports_only_those_below_it_for_types_too() -> None:
    height = {f"{ROOM}.{part}": at for at, parts in enumerate(STACK) for part in parts}
    wrong = [
        str(found)
        for module, imports in our_imports().items()
        if module in height
        for found in imports
        if found.target.startswith(ROOM) and height.get(found.target, -1) >= height[module]
    ]
    assert not wrong


def test_a_room_knows_nothing_of_those_who_use_it() -> None:
    allowed = {f"pgnet_trio.server.{name}" for name in GROUND_FLOOR}
    wrong = [
        str(found)
        for module, imports in our_imports().items()
        if module.startswith(ROOM)
        for found in imports
        if found.target.startswith("pgnet_trio.server")
        and not found.target.startswith(ROOM)
        and found.target not in allowed
    ]
    assert not wrong


def test_no_part_is_handed_more_than_a_few_others() -> None:
    for part in sorted(set().union(*STACK)):
        module = import_module(f"{ROOM}.{part}")
        for name, found in vars(module).items():
            own = inspect.isclass(found) and found.__module__ == module.__name__
            if not own or name in RECORDS or issubclass(found, Exception):
                continue
            handed = set(inspect.signature(found).parameters) - OPTIONS.get(name, set())
            handed -= {"args", "kwargs"}
            assert len(handed) <= MOST_COLLABORATORS, f"{name} is handed {sorted(handed)}"


def test_no_part_has_more_lines_than_can_be_read_at_once() -> None:
    for path in Path(PACKAGE / "server" / "room").glob("*.py"):
        assert len(path.read_text("utf-8").splitlines()) <= 450, path.name


# What a room tells of itself.


class Owner:
    """Keeps a room that nobody lists or saves."""

    def is_empty(self) -> bool:
        return False

    def user_left(self, username: str, /) -> None:
        pass

    def room_ended(self, reason: str, /) -> None:
        pass

    async def save(self) -> None:
        pass

    async def report(self, *of: Any) -> Any:
        pass

    def note_cause(self, error: BaseException, asker: str | None = None, /) -> None: ...

    def note_failure(
        self, error: BaseException, what: str, player: Player | None = None, /
    ) -> None:
        pass

    async def run_bot(self, bot: Any, /) -> None:
        await trio.sleep_forever()


@attrs.define(eq=False)
class Listener:
    """A player who notes what they are told."""

    username: str
    online: bool = True
    connection_number: int = 0
    takes_pushes: bool = True
    takes_player_lists: bool = True
    heard: list[str] = attrs.field(factory=list)

    def answer(self, turn: PacketTurn, response: Response, /) -> bool:
        self.heard.append(response.message)
        return not turn.quiet

    def waits_for(self, turn: PacketTurn, /) -> bool:
        return True

    def retake(self, held: HeldRequest, /) -> PacketTurn:
        return held.release(self, SILENT)

    def enter_game(self, name: str, heartbeat_rate: float, time: float, /) -> None:
        self.heard.append("in")

    def exit_game(self, reason: str, message: str, time: float, /) -> None:
        self.heard.append("out")

    def push(self, envelope: bytes, /) -> None:
        pass

    def mark(self, moment: bytes, /) -> None:
        pass

    def show(self, snapshot: Any, /) -> None:
        pass

    def ask(self, question: OpenQuestion, /) -> None:
        pass

    def withdraw(self, question: OpenQuestion, /) -> None:
        pass

    def flush(self) -> None:
        pass


@attrs.define
class Answer:
    pass


@attrs.define
class BotOne:
    username: str = "bot 1"

    async def take_seat(self, transport: Any, /) -> None:
        pass


def make_room(game: type[Game]) -> RoomTask:
    return RoomTask(
        "table 1",
        lambda save_string: game("table 1", save_string),
        question_ids=itertools.count(1),
        owner=Owner(),
    )


async def test_the_statistics_of_a_room(autojump_clock: MockClock) -> None:
    running: list[bool] = []

    class Busy(Game):
        update_rate = 10

        def view(self) -> dict[str, str]:
            return {"text": "x" * 1000}

        async def update(self) -> None:
            running.append(room.stats().is_running)
            if self.room.time() < 1:
                await trio.sleep(1)

        async def run(self) -> None:
            self.room.add_bot(BotOne())
            await self.room.wait_players(1)
            await self.room.ask("ann", Answer(), Answer)

    room = make_room(Busy)
    assert not room.stats().players
    ann, bob = Listener("ann"), Listener("bob")
    async with trio.open_nursery() as nursery:
        await nursery.start(room.run)
        await room.join(ann)
        await room.join(bob, spectate=True)
        await wait_all_tasks_blocked()
        found = room.stats()
        assert (found.name, found.players, found.spectators) == ("table 1", ("ann",), ("bob",))
        assert found.bots == ("bot 1",)
        assert found.open_questions == 1
        assert 1000 < found.state_size < 1100
        assert (found.is_running, found.is_over, found.crashed) == (False, False, False)
        await trio.sleep(0.5)
        room.handle(PacketTurn(ann, None, 1, Packet("late")))  # type: ignore[arg-type]  # nothing is answered over it
        assert room.stats().waiting_turns == 1
        await trio.sleep(1.05)
        assert room.stats().waiting_turns == 0
        assert room.stats().missed_ticks > 5
        room.close("It is over.")
        assert room.stats().is_over
        await room.ended.wait()
    assert set(running) == {True}
    assert not room.stats().players
    assert not room.stats().crashed
    assert ann.heard[0] == "in"
    assert ann.heard[-1] == "out"


async def test_the_statistics_of_a_room_that_crashed() -> None:
    class Broken(Game):
        def user_joined(self, username: str, /) -> None:
            raise ValueError("a fault of this game")

    room = make_room(Broken)
    async with trio.open_nursery() as nursery:
        await nursery.start(room.run)
        with pytest.raises(RoomClosed, match="crashed"):
            await room.join(Listener("ann"))
    assert room.stats().crashed
    assert not room.stats().is_running


@attrs.frozen
class Go:
    pass


@pytest.mark.parametrize("how", ["raises", "is cancelled", "is abandoned"])
async def test_nothing_runs_any_more_however_code_of_a_game_ends(
    how: str, autojump_clock: MockClock
) -> None:
    class Ends(Game):
        @on(Go)
        async def go(self, player: str, message: Go) -> Response:
            await trio.lowlevel.checkpoint()
            assert room.busy is not None
            if how == "raises":
                raise ValueError("a fault of this game")
            room.close("It is over.")
            await trio.sleep_forever()
            raise AssertionError

        async def run(self) -> None:
            await trio.sleep_forever()

    room = make_room(Ends)
    async with trio.open_nursery() as nursery:
        await nursery.start(room.run)
        ann = Listener("ann")
        await room.join(ann)
        room.handle(PacketTurn(ann, None, 1, Packet("Go")))  # type: ignore[arg-type]  # nothing is answered over it
        if how == "is abandoned":
            await wait_all_tasks_blocked()
            assert room.busy is None
            nursery.cancel_scope.cancel()
        else:
            await room.ended.wait()
    assert room.busy is None

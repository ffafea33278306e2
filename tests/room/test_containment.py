"""A game that raises, wherever it does, is alone with that: a second one never misses a tick."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pgnet_trio import (
    Bot,
    Client,
    Game,
    Packet,
    Question,
    Request,
    RequestFailed,
    Response,
    on,
)
from pgnet_trio.server.games.failures import MOST_LINES
from pgnet_trio.server.room.restarts import RESTARTS
from pgnet_trio.storage.interface import SavedGame
from pgnet_trio.testing import HostedServer, MemoryStore, hosting
from tests.kit.hosting import crashed, hosting_faults, without_error_id

if TYPE_CHECKING:
    from pathlib import Path

TICK = 0.1


@attrs.define
class Poke:
    where: str


@attrs.define
class Ask:
    pass


PLACES = [
    "init",
    "first view",
    "user joined",
    "user left",
    "player dropped",
    "player resumed",
    "handler",
    "async handler",
    "nested handler",
    "handle game packet",
    "handle heartbeat",
    "heartbeat rate",
    "persistent",
    "max players",
    "update",
    "async update",
    "view",
    "view after a step",
    "view at a take over",
    "run",
    "run while cancelled",
    "task",
    "group in a task",
    "task while cancelled",
    "get save string",
    "save",
    "get lobby info",
    "check",
    "kicked",
    "closed",
    "push",
]
"""Everywhere where the server runs code of a game."""

# There the player is already out of the game, or was never in it.
WITHOUT_PLAYERS = {
    "init",
    "first view",
    "user joined",
    "user left",
    "heartbeat rate",
    "get lobby info",
    "view at a take over",
}

# The game is over then, and stays so.
OVER_ALREADY = {"run while cancelled", "task while cancelled", "closed"}

# An `Exception` there is the sender's alone: `test_ported` has it.
ONLY_THE_SENDERS = {"handle game packet", "handle heartbeat"}

# What games raise. The last ones are no `Exception`.
FAULTS: list[type[BaseException]] = [
    ValueError,
    SystemExit,
    KeyboardInterrupt,
    GeneratorExit,
    asyncio.CancelledError,
    pytest.fail.Exception,
]

FAULT: list[type[BaseException]] = []
TICKS: list[float] = []
EXPLODING: list[bool] = []


@pytest.fixture(autouse=True)
def _begin_anew() -> None:
    FAULT[:] = [ValueError]
    TICKS.clear()
    EXPLODING.clear()


class Fragile(Game):
    """Raises where it is told to; a game named "steady" never does, and ticks."""

    update_rate = 1 / TICK
    armed = ""

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.name = name
        self.count = 0
        self.event = trio.Event()
        if name.startswith("place "):
            self.armed = name.removeprefix("place ")
        self.fail("init")

    def fail(self, *places: str) -> None:
        if self.armed in places:
            fault = FAULT[0](f"a fault in {self.armed}")
            if isinstance(fault, Exception):
                raise ExceptionGroup("faults", [fault])
            raise fault

    @property
    def persistent(self) -> bool:
        if self.count:
            self.fail("persistent")
        return True

    @property
    def heartbeat_rate(self) -> float:
        self.fail("heartbeat rate")
        return 10

    @property
    def max_players(self) -> int | None:  # type: ignore[override]  # what is tested
        if self.count:
            self.fail("max players")
        return None

    def view(self) -> int:
        self.fail("first view")
        if self.count:
            self.fail("view", "view after a step", "closed")
        if EXPLODING:
            self.fail("view at a take over")
        return self.count

    async def user_joined(self, username: str, /) -> None:
        await trio.lowlevel.checkpoint()
        self.fail("user joined")

    def user_left(self, username: str, /) -> None:
        self.fail("user left", "kicked")

    def player_dropped(self, username: str, /) -> None:
        self.fail("player dropped")

    async def player_resumed(self, username: str, /) -> None:
        self.fail("player resumed")

    @on(Poke)
    async def poke(self, player: str, message: Poke) -> None:
        self.fail("handler")
        await trio.sleep(0.01)
        self.fail("async handler")
        if message.where == "nested handler":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                self.fail("nested handler")
        match message.where:
            case "save":
                await self.room.save()
            case "task" | "group in a task" | "task while cancelled":
                self.room.nursery.start_soon(self.task, message.where)
                await trio.sleep(0.01)
                if message.where == "task while cancelled":
                    self.room.close("enough")
            case "kicked":
                self.room.kick(player)
            case "closed" | "run while cancelled":
                self.room.close("enough")
            case "push":
                if self.armed == "push":
                    self.room.push(Poke(5))  # type: ignore[arg-type]  # the fault
        if message.where in ("view", "persistent", "max players", "closed"):
            self.count = 1
        if message.where in ("run", "view after a step", "check"):
            self.event.set()

    def handle_game_packet(self, packet: Packet, /) -> Response:
        self.fail("handle game packet")
        return Response("")

    def handle_heartbeat(self, packet: Packet, /) -> Response:
        self.fail("handle heartbeat")
        return Response("")

    def get_save_string(self) -> str:
        self.fail("get save string", "save")
        return f"{self.name} at {self.count}"

    def get_lobby_info(self) -> str:
        if self.room.players:
            self.fail("get lobby info")
        return ""

    def update(self) -> Any:
        if self.name == "steady":
            TICKS.append(trio.current_time())
        if self.room.players:
            self.fail("update")
        if self.armed == "async update":
            return self.update_later()
        return None

    async def update_later(self) -> None:
        await trio.sleep(0.01)
        if self.room.players:
            self.fail("async update")

    async def task(self, where: str) -> None:
        if where == "group in a task":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                nursery.start_soon(self.fail_later)
        try:
            await trio.sleep(0.5 if where == "task" else 1000)
        finally:
            self.fail("task while cancelled")
        self.fail("task")

    async def fail_later(self) -> None:
        await trio.sleep(0.01)
        self.fail("group in a task")

    async def run(self) -> None:
        try:
            await self.event.wait()
            if self.armed == "view after a step":
                # What this waits for comes, after the view has raised.
                self.count = 1
                self.event = trio.Event()
                self.armed = "view"
                await self.event.wait()
            if self.armed == "check":
                await self.room.ask("bob", Ask(), Poke, check=self.check)
            self.fail("run")
            await trio.sleep_forever()
        finally:
            self.fail("run while cancelled")

    def check(self, answer: Poke) -> None:
        self.fail("check")


async def provoke(place: str, server: HostedServer, bob: Client) -> None:
    """Bring a game to where it raises; bob is in it, if that is possible."""
    await bob.request(Packet(Request.JOIN_GAME, {"name": f"place {place}"}))
    if bob.game is None:
        return
    match place:
        case "user left":
            await bob.leave_game()
        case "player dropped" | "player resumed":
            server.network.cut("bob")
            await trio.sleep(1)
            server.network.heal("bob")
            await trio.sleep(20)
        case "handle game packet":
            await bob.request(Packet("hello"))
        case "max players":
            await bob.call(Poke(place))
            await bob.get_game_dir()
        case "view at a take over":
            EXPLODING.append(True)
            async with server.client("bob") as other:
                await trio.sleep(1)
                assert other.game is None
                assert other.left is not None
        case "get save string" | "update" | "async update" | "handle heartbeat":
            await trio.sleep(5)
        case _:
            bob.on_question = answer
            await bob.request(Packet("Poke", {"where": place}))
            await trio.sleep(5)


async def answer(question: Question[Any]) -> None:
    with pytest.raises(RequestFailed):
        await question.answer(Poke("x"))


@pytest.mark.parametrize(
    ("place", "fault"),
    [
        *((place, ValueError) for place in PLACES if place not in ONLY_THE_SENDERS),
        *((place, SystemExit) for place in PLACES if place != "push"),
        *(("handler", fault) for fault in FAULTS[2:]),
        *(("task", fault) for fault in FAULTS[2:]),
        *(("async update", fault) for fault in FAULTS[2:]),
    ],
)
async def test_a_fault_anywhere_stays_in_its_game(
    place: str,
    fault: type[BaseException],
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    FAULT[:] = [fault]
    caplog.set_level(logging.ERROR)
    options: dict[str, Any] = {
        "save_file": tmp_path / "save.db",
        "autosave_interval": 2,
        "resume_grace": 30,
    }
    async with hosting_faults(Fragile, **options) as server, server.client("ann") as ann:
        await ann.create_game("steady")
        start = trio.current_time()
        states: list[int] = []
        ann.on_state = states.append
        bob = server.client("bob")
        async with bob:
            await provoke(place, server, bob)
            await trio.sleep(1)
            assert bob.game is None
            if place not in WITHOUT_PLAYERS | OVER_ALREADY:
                assert bob.left is not None
                kicked = place == "kicked"
                assert bob.left.reason == ("kicked" if kicked else "crashed")
                assert kicked or without_error_id(bob.left.message) == crashed(bob.left.game)
            assert list(await ann.get_game_dir()) == ["steady"]
            if bob.connected:
                await bob.join_game("steady")
                await bob.call(Poke("nothing"))
        await trio.sleep(1)
        assert ann.game == "steady"
        expected = [start + TICK * number for number in range(1, len(TICKS) + 1)]
        assert pytest.approx(expected, abs=0.02) == TICKS
        assert len(TICKS) == pytest.approx((trio.current_time() - start) / TICK, abs=1.5)
    faults = [record for record in caplog.records if record.exc_info]
    assert len(faults) >= 1
    assert f"a fault in {place}" in caplog.text or place in ("push", "view after a step")
    assert "TrioInternalError" not in caplog.text
    for record in faults:
        assert "'place " in record.getMessage()


async def test_a_task_that_a_view_ends_is_not_woken_any_more(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    events = [trio.Event() for _ in range(2)]

    class Waiting(Game):
        broken = False

        def view(self) -> int:
            if self.broken:
                raise ValueError("the view is broken")
            return 1

        async def run(self) -> None:
            await events[0].wait()
            self.broken = True
            await events[1].wait()

    async with hosting_faults(Waiting) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        events[0].set()
        await trio.sleep(1)
        assert ann.left is not None
        assert ann.left.reason == "crashed"
        # Nobody waits for it: Trio's own bookkeeping would break otherwise.
        assert events[1].statistics().tasks_waiting == 0
        events[1].set()
        await trio.sleep(1)
    assert "the view is broken" in caplog.text


# Games that come back.


class Phoenix(Game):
    """Comes back from its last save; counts what is said to it."""

    persistent = True
    on_crash = "restart"
    lives = 0

    def __init__(self, name: str, save_string: str | None = None) -> None:
        type(self).lives += 1
        self.count = int(save_string or 0)
        self.joined: list[str] = []

    def view(self) -> dict[str, Any]:
        return {"count": self.count, "joined": self.joined, "life": self.lives}

    def user_joined(self, username: str, /) -> None:
        self.joined.append(username)
        if username == "eve":
            raise ValueError("eve again")

    @on(Poke)
    async def poke(self, player: str, message: Poke) -> Response:
        match message.where:
            case "raise":
                raise ValueError("raised")
            case "task":
                self.room.nursery.start_soon(self.raise_later)
                await trio.sleep(10)
            case "save":
                await self.room.save()
            case "count":
                self.count += 1
        return Response(f"{self.count}")

    async def raise_later(self) -> None:
        await trio.sleep(1)
        raise ValueError("raised")

    def get_save_string(self) -> str:
        return str(self.count)


@pytest.fixture(autouse=True)
def _first_life() -> None:
    Phoenix.lives = 0


@pytest.mark.parametrize("where", ["raise", "task"])
async def test_a_game_comes_back_from_its_last_save_with_its_players(
    where: str, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    async with (
        hosting_faults(Phoenix, save_file=tmp_path / "save.db", autosave_interval=1e6) as server,
        server.client("ann") as ann,
        server.client("bob") as bob,
    ):
        await ann.create_game("table 1")
        await bob.join_game("table 1")
        for each in ("count", "save", "count"):
            await ann.call(Poke(each))
        assert ann.get_state(dict)["count"] == 2
        answer = await ann.request(Packet("Poke", {"where": where}))
        assert without_error_id(answer.message) == crashed("table 1")
        assert answer.game == "table 1"
        await wait_all_tasks_blocked()
        for client in (ann, bob):
            assert client.left is None
            assert client.get_state(dict) == {"count": 1, "joined": ["ann", "bob"], "life": 2}
        assert (await bob.call(Poke("count"))).message == "2"
        await bob.leave_game()
        assert ann.players == {"ann": True}
    assert "is restarted from its last save" in caplog.text


async def test_who_makes_a_game_raise_by_joining_is_not_in_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with (
        hosting_faults(Phoenix) as server,
        server.client("ann") as ann,
        server.client("eve") as eve,
    ):
        await ann.create_game("table 1")
        with pytest.raises(RequestFailed, match="crashed"):
            await eve.join_game("table 1")
        await wait_all_tasks_blocked()
        assert eve.game is None
        assert (await ann.call(Poke("count"))).message == "1"
        assert ann.players == {"ann": True}
        assert (await ann.get_game_dir())["table 1"].users == 1


async def test_restarts_are_limited(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with hosting_faults(Phoenix) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        for _ in range(3 * RESTARTS):
            await ann.request(Packet("Poke", {"where": "raise"}))
            await trio.sleep(60)
        assert ann.game == "table 1"
        for _ in range(RESTARTS + 1):
            assert ann.game == "table 1"
            await ann.request(Packet("Poke", {"where": "raise"}))
        assert await ann.get_game_dir() == {}
        assert ann.left is not None
        assert ann.left.reason == "crashed"


async def test_a_game_that_raises_when_made_again_is_closed(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Phoenix):
        def __init__(self, name: str, save_string: str | None = None) -> None:
            super().__init__(name, save_string)
            if type(self).lives > 1:
                raise ValueError("not again")

    async with hosting_faults(Broken) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        answer = await ann.request(Packet("Poke", {"where": "raise"}))
        assert without_error_id(answer.message) == crashed("table 1")
        await trio.sleep(1)
        assert ann.game is None
        assert Broken.lives == RESTARTS + 1


# What ends the whole program.


class Struck(Game):
    """A signal strikes in the middle of its code."""

    persistent = True

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.count = int(save_string or 0)
        self.strikes = False

    def view(self) -> int:
        if self.strikes:
            signal.raise_signal(signal.SIGINT)
        return 1

    def get_save_string(self) -> str:
        return str(self.count)

    def check(self, answer: Poke) -> None:
        signal.raise_signal(signal.SIGINT)

    @on(Poke)
    def poke(self, player: str, message: Poke) -> None:
        match message.where:
            case "count":
                self.count += 1
            case "handler":
                signal.raise_signal(signal.SIGINT)
            case "handler that hides it":
                try:
                    signal.raise_signal(signal.SIGINT)
                except KeyboardInterrupt:
                    raise ValueError("something else") from None
            case "SIGTERM":
                signal.raise_signal(signal.SIGTERM)
            case _:
                self.room.nursery.start_soon(self.task, message.where)

    async def task(self, where: str) -> None:
        if where == "check":
            await self.room.ask("ann", Ask(), Poke, check=self.check)
        await trio.lowlevel.checkpoint()
        if where == "view of a step":
            self.strikes = True
            await trio.sleep_forever()
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(
    "where",
    ["handler", "handler that hides it", "task", "view of a step", "check", "SIGTERM"],
)
async def test_a_signal_that_strikes_a_game_ends_the_server_in_order(where: str) -> None:
    def end_program(number: int, frame: object) -> None:
        sys.exit(7)

    store = MemoryStore()
    before = signal.signal(signal.SIGTERM, end_program)
    try:
        with pytest.raises(BaseException) as caught:  # noqa: PT011 - a group, or not
            async with (
                hosting_faults(Struck, store=store, autosave_interval=1e6) as server,
                server.client("bob") as bob,
                server.client("ann") as ann,
            ):
                await bob.create_game("table 2")
                await bob.call(Poke("count"))
                await ann.create_game("table 1")
                if where == "check":
                    await ann.call(Poke(where))
                    question = await anext(ann.questions())
                    await question.answer(Poke("x"))
                else:
                    await ann.request(Packet("Poke", {"where": where}))
                await trio.sleep_forever()
    finally:
        signal.signal(signal.SIGTERM, before)
    others = {"SIGTERM": SystemExit, "handler that hides it": ValueError}
    expected = others.get(where, KeyboardInterrupt)
    found = BaseExceptionGroup("", [caught.value])
    assert found.split(expected)[0] is not None, found
    # The last save, without which the other table would have lost what was played.
    assert store.state.games["table 2"].data == "1"


async def test_a_cancellation_that_a_game_kept_is_a_fault_of_that_game(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Keeping(Game):
        kept: BaseException | None = None

        async def keep(self) -> None:
            with trio.CancelScope() as scope:
                scope.cancel()
                try:
                    await trio.sleep_forever()
                except trio.Cancelled as error:
                    self.kept = error
                    raise

        @on(Poke)
        async def poke(self, player: str, message: Poke) -> None:
            await self.keep()
            assert self.kept is not None
            raise self.kept

    async with hosting_faults(Keeping) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        with pytest.raises(RequestFailed, match="crashed"):
            await ann.call(Poke("x"))
        await ann.create_game("table 2")
    assert "Game 'table 1' raised" in caplog.text


# Saved games that do not come back.


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_saved_game_that_cannot_be_made_does_not_stop_the_start(
    fault: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    broken = [True]

    class Broken(Phoenix):
        def __init__(self, name: str, save_string: str | None = None) -> None:
            super().__init__(name, save_string)
            if broken[0] and name == "table 1":
                raise fault("not now")

    store = MemoryStore()
    for name in ("table 1", "table 2"):
        store.state.games[name] = SavedGame(name, "", "5")
    async with hosting_faults(Broken, store=store) as server, server.client("ann") as ann:
        assert list(await ann.get_game_dir()) == ["table 2"]
        assert "the save file as it is" in caplog.text
        assert "'table 1'" in caplog.text
        broken.clear()
        broken.append(False)
        await ann.join_game("table 1")
        assert ann.get_state(dict)["count"] == 5
    assert store.state.games["table 1"].data == "5"


class Ending(Game):
    """A script that is over when its save says so."""

    persistent = True

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.over = save_string == "over"

    async def run(self) -> None:
        if not self.over:
            await trio.sleep_forever()

    def get_save_string(self) -> str:
        return "over"


async def test_a_game_that_is_over_in_its_save_is_not_loaded(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = MemoryStore()
    async with hosting(Ending, store=store) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
    assert store.state.games["table 1"].data == "over"
    async with hosting(Ending, store=store) as server, server.client("ann") as ann:
        await wait_all_tasks_blocked()
        assert await ann.get_game_dir() == {}
        # Its name is free.
        await ann.create_game("table 1")
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("where", ["init", "user joined"])
async def test_a_game_that_fails_to_load_three_times_is_kept_aside(
    where: str, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    attempts: list[str] = []

    class Broken(Game):
        persistent = True
        mended = False

        def __init__(self, name: str, save_string: str | None = None) -> None:
            self.fail("init")

        def user_joined(self, username: str, /) -> None:
            self.fail("user joined")

        def fail(self, place: str) -> None:
            if place == where and not type(self).mended:
                attempts.append(place)
                raise ValueError("always")

        def get_save_string(self) -> str:
            return "other"

    store = MemoryStore()
    store.state.games["table 1"] = SavedGame("table 1", "", "once")
    async with (
        hosting_faults(Broken, store=store, autosave_interval=1e6, admin_password="x") as server,
        server.client("ann") as ann,
        server.client("admin", "x") as admin,
    ):
        for _ in range(10):
            with pytest.raises(RequestFailed):
                await ann.join_game("table 1")
        assert len(attempts) == 3
        with pytest.raises(RequestFailed, match="kept aside; the admin"):
            await ann.join_game("table 1")
        assert caplog.text.count("is kept aside until the admin") == 1
        # One line of code that raises, and one traceback.
        assert caplog.text.count("ValueError: always") == 1
        with pytest.raises(RequestFailed):
            await admin.join_game("table 1")
        assert len(attempts) == 4
        Broken.mended = True
        await admin.join_game("table 1")
        await ann.join_game("table 1")
    assert caplog.text.count(": ValueError, with the traceback of error") == 3


async def test_the_log_has_one_traceback_of_each_fault_a_minute_some_lines_and_counts_the_rest(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Game):
        def __init__(self, name: str, save_string: str | None = None) -> None:
            if name.startswith("other"):
                raise ValueError("another line")
            raise ValueError("one line")

    async with hosting_faults(Broken) as server, server.client("ann") as ann:
        for number in range(1, 41):
            with pytest.raises(RequestFailed):
                await ann.join_game(f"table {number}")
        with pytest.raises(RequestFailed):
            await ann.join_game("other")
        assert caplog.text.count("ValueError: one line") == 1
        assert caplog.text.count("ValueError: another line") == 1
        again = [line for line in caplog.messages if ": ValueError, with the traceback of" in line]
        assert len(again) == MOST_LINES
        await trio.sleep(60)
        with pytest.raises(RequestFailed):
            await ann.join_game("table 1")
        assert caplog.text.count("ValueError: one line") == 2
        assert f"(the same came {39 - MOST_LINES} more times)" in caplog.text


async def test_mistakes_in_two_lines_are_told_though_the_same_line_of_a_library_finds_them(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Wrong(Game):
        def handle_game_packet(self, packet: Packet, /) -> Any:
            match packet.message:
                case "push":
                    self.room.push("one", {"it": object()})
                case "push otherwise":
                    self.room.push("two", {"it": object()})
                case "read":
                    json.loads("{")
                case "read otherwise":
                    json.loads("[")

    with caplog.at_level(logging.ERROR, "pgnet_trio.server"):
        async with hosting_faults(Wrong) as server, server.client("ann") as ann:
            await ann.create_game("table 1")
            for message in ("push", "push otherwise", "read", "read otherwise", "nothing"):
                for _ in range(2):
                    await ann.request(Packet(message))
    told = [each for each in caplog.records if "raised over a packet" in each.getMessage()]
    assert [each.exc_info is not None for each in told] == [True, False] * 5


async def go_on() -> None:
    with trio.CancelScope(shield=True):
        await trio.sleep(200)  # goes on


class StubbornBot(Bot):
    async def play(self) -> None:
        await go_on()


@pytest.mark.parametrize("where", ["run", "child of run", "bot"])
async def test_a_game_that_was_destroyed_and_goes_on_is_named_again_and_again(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    class Stubborn(Game):
        async def run(self) -> None:
            if where == "run":
                await go_on()
            elif where == "bot":
                self.room.add_bot(StubbornBot("bot 1"))
                await trio.sleep_forever()
            else:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(go_on)

    async with (
        hosting(Stubborn, admin_password="x") as server,
        server.client("admin", "x") as admin,
    ):
        await admin.create_game("table 1")
        await wait_all_tasks_blocked()
        await admin.call(Packet(Request.DESTROY_GAME, {"name": "table 1"}))
        await trio.sleep(300)
    found = [line for line in caplog.messages if "does not let itself" in line]
    assert len(found) == 6  # after 5, 15, 35, 75, 135 and 195 s
    with open(__file__) as source:  # noqa: ASYNC230 - a file of this folder
        line = next(n for n, each in enumerate(source, 1) if each.endswith("# goes on\n"))
    assert f" at {__file__}:{line}, in go_on" in found[0]


# A call that blocks.


class Blocking(Game):
    """Holds up the whole server until the watchdog has spoken."""

    spoken = threading.Event()
    where = ""

    def view(self) -> None:
        if self.where == "view":
            self.block()

    def get_lobby_info(self) -> str:
        if self.where == "lobby info":
            self.block()
        return ""

    @property
    def max_players(self) -> int:  # type: ignore[override]  # a property where the other is a value
        if self.where == "max_players":
            self.block()
        return 8

    @on(Poke)
    async def poke(self, player: str, message: Poke) -> None:
        self.where = message.where
        if message.where in ("view", "lobby info"):
            return
        if message.where == "handler":
            self.block()
        elif message.where == "task":
            self.room.nursery.start_soon(self.task)
        elif message.where == "child of a handler":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.task)
        elif message.where == "child of a task":
            self.room.nursery.start_soon(self.parent)
        elif message.where == "bot":
            self.room.add_bot(BlockingBot("bot 1"))
        elif message.where == "max_players":
            return
        else:
            await trio.lowlevel.checkpoint()
            self.block()

    async def task(self) -> None:
        await trio.lowlevel.checkpoint()
        self.block()

    async def parent(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.task)

    @classmethod
    def block(cls, timeout: float = 20) -> None:
        assert cls.spoken.wait(timeout)  # the line that blocks


class BlockingBot(Bot):
    async def play(self) -> None:
        await trio.lowlevel.checkpoint()
        Blocking.block()


class _Listener(logging.Handler):
    def __init__(self, wanted: int = 1) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.levels: list[int] = []
        self.wanted = wanted

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        # On a busy machine, other turns may seem long too.
        if "held up" in text and "Blocking.block" in text:
            # Before the game goes on, since other handlers of the same thread may come later.
            self.texts.append(text)
            self.levels.append(record.levelno)
            if len(self.texts) == self.wanted:
                Blocking.spoken.set()


@asynccontextmanager
async def blocked(where: str, *, wanted: int = 1) -> AsyncIterator[_Listener]:
    """Have a game block somewhere until the watchdog has spoken so many times."""
    Blocking.spoken.clear()
    listener = _Listener(wanted)
    logging.getLogger("pgnet_trio.server").addHandler(listener)
    try:
        async with hosting(Blocking, watchdog=0.01) as server, server.client("ann") as ann:
            await ann.create_game("table 1")
            await ann.call(Poke(where))
            await ann.get_game_dir()
            yield listener
    finally:
        logging.getLogger("pgnet_trio.server").removeHandler(listener)


@pytest.mark.parametrize(
    "where",
    [
        "handler",
        "async handler",
        "task",
        "child of a handler",
        "child of a task",
        "view",
        "lobby info",
        "max_players",
        "bot",
    ],
)
async def test_a_call_that_blocks_is_named(where: str) -> None:
    async with blocked(where) as listener:
        await wait_all_tasks_blocked()
        assert Blocking.spoken.is_set()
    (text,) = listener.texts
    assert text.startswith("Game 'table 1' has held up the whole server for more than ")
    with open(__file__) as source:  # noqa: ASYNC230 - a file of this folder
        line = next(n for n, each in enumerate(source, 1) if "# the line that" in each)
    assert f"{__file__}:{line}, in Blocking.block" in text
    assert "trio.to_thread.run_sync()" in text


async def test_a_call_that_goes_on_blocking_is_named_again_at_the_level_of_errors() -> None:
    async with blocked("handler", wanted=4) as listener:
        pass
    assert listener.levels[:4] == [logging.WARNING, *[logging.ERROR] * 3]


async def test_a_hook_of_the_server_that_blocks_is_named() -> None:
    def block(username: str, online: bool) -> None:
        if not Blocking.spoken.is_set():
            Blocking.block()

    Blocking.spoken.clear()
    listener = _Listener()
    logging.getLogger("pgnet_trio.server").addHandler(listener)
    try:
        async with (
            hosting(Blocking, watchdog=0.01, on_connection=block) as server,
            server.client("ann"),
        ):
            assert Blocking.spoken.is_set()
    finally:
        logging.getLogger("pgnet_trio.server").removeHandler(listener)
    assert listener.texts[0].startswith("Code beside the games has held up the whole server ")


async def test_what_the_program_does_besides_is_not_the_watchdog_s_business() -> None:
    listener = _Listener()
    logging.getLogger("pgnet_trio.server").addHandler(listener)
    try:
        async with hosting(Blocking, watchdog=0.01):
            Blocking.spoken.clear()
            with pytest.raises(AssertionError):
                Blocking.block(0.2)
    finally:
        logging.getLogger("pgnet_trio.server").removeHandler(listener)
    assert not listener.texts


async def test_the_watchdog_can_be_off() -> None:
    def watchdogs() -> set[threading.Thread]:
        return {each for each in threading.enumerate() if "watchdog" in each.name}

    # Those of earlier tests may still be about to end.
    before = watchdogs()
    async with hosting(Blocking, watchdog=None):
        assert not watchdogs() - before
    async with hosting(Blocking):
        assert len(watchdogs() - before) == 1
    for wrong in (0, -1.0):
        with pytest.raises(ValueError, match="watchdog"):
            HostedServer(Blocking, watchdog=wrong)

"""The short way: a packet that is answered in a round of reading is answered as in any turn."""

from __future__ import annotations

import functools
import logging
import math
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pgnet_trio import Game, Packet, Response, on
from pgnet_trio.server.refusals import GONE
from pgnet_trio.server.room.deferred import in_turn
from pgnet_trio.server.room.loop import Loop
from pgnet_trio.server.room.player import PacketTurn
from pgnet_trio.testing import HostedServer
from pgnet_trio.transport import rounds
from pgnet_trio.transport.rounds import Round
from tests.attacks.misbehaving import KINDS, Kind, Table, at
from tests.kit.hosting import Raise, socket_client, without_error_id
from tests.kit.subprocesses import DEADLINE
from tests.room.test_stack import Listener, make_room

if TYPE_CHECKING:
    from pgnet_trio.server.room.room import RoomTask

linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there are no rounds")

# Kinds that hold up this process, whose end is a matter of deadlines, or that race with a packet.
SLOW = ("for ever", "threads", "never returns", "shielded", "swallows", "20 tables", "0.4 s")
LEFT_OUT = (*SLOW, "nursery", "update", "run ")
KINDS_TO_PLANT = [name for name in KINDS if not any(word in name for word in LEFT_OUT)]


async def raises_later(game: Any) -> None:
    await trio.lowlevel.checkpoint()
    raise ValueError("on purpose")


async def waits_a_little(game: Any) -> Response:
    await trio.lowlevel.checkpoint()
    return Response("")


def kicks_who_asks(game: Any) -> str:
    game.room.kick("ann", "too loud")
    return ""


def ends_the_game(game: Any) -> str:
    game.room.close("over")
    return ""


def kicks_and_raises(game: Any) -> str:
    kicks_who_asks(game)
    raise ValueError("on purpose")


def closes_and_raises(game: Any) -> str:
    ends_the_game(game)
    raise SystemExit("on purpose")


# What only handlers do, who may be taken in a round.
PLANTED = {
    **{name: KINDS[name] for name in KINDS_TO_PLANT},
    **{
        f"{hook} {way.__name__}": Kind(way.__name__, at(hook, way))
        for hook in ("handler", "typed handler")
        for way in (
            raises_later,
            waits_a_little,
            kicks_who_asks,
            ends_the_game,
            kicks_and_raises,
            closes_and_raises,
        )
    },
}


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[PacketTurn]:
    """The turns that were taken in rounds of reading."""
    found: list[PacketTurn] = []
    take = Loop._take

    def note(self: Loop, turn: PacketTurn) -> None:
        found.append(turn)
        take(self, turn)

    monkeypatch.setattr(Loop, "_take", note)
    return found


# Over sockets, beside the tasks' way.


@attrs.define
class Outcome:
    """What players and the server got to see of a game."""

    heard: list[str] = attrs.field(factory=list)
    failures: list[str] = attrs.field(factory=list)

    async def note(self, what: Callable[[], Awaitable[Any]]) -> None:
        try:
            with trio.fail_after(DEADLINE):
                result = await what()
        except Exception as error:
            self.heard.append(f"{type(error).__name__}: {without_error_id(str(error))}")
        else:
            shown = ""
            if isinstance(result, Response):
                shown = f"{without_error_id(result.message)} {result.status}"
            self.heard.append(shown)


async def play(kind: Kind) -> Outcome:
    """Have a player play a game of this kind, and another one beside it a game that behaves."""

    def make(name: str, save_string: str | None = None) -> Any:
        game = kind.game if name == "bad" else Table
        return game(name, save_string)

    outcome = Outcome()
    server = HostedServer(make, port=0, requests_per_second=None)
    with server.expecting() as failures:
        async with (
            server.running(),
            socket_client(server, "ann", reconnect_for=0) as ann,
            socket_client(server, "bob") as bob,
        ):
            await bob.create_game("table")
            await outcome.note(lambda: ann.create_game("bad", **kind.options))
            for packet in (Packet("act"), Packet("Act", {"number": 1}), Packet("again")):
                await outcome.note(functools.partial(ann.request, packet))
                total = (await bob.request(Packet("add"))).payload["total"]
            await wait_all_tasks_blocked()
            outcome.heard += [
                f"{ann.game}",
                f"{ann.connected}",
                without_error_id(f"{ann.left}"),
                f"{total}",
            ]
    outcome.failures = [f"{type(error).__name__}: {error}" for error in failures]
    return outcome


@linux
@pytest.mark.parametrize("name", PLANTED)
async def test_a_game_that_misbehaves_does_so_as_in_its_own_task(
    name: str, taken: list[PacketTurn], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PGNET_SHORT_WAY", raising=False)
    # However busy the machine is.
    monkeypatch.setattr(rounds, "LONGEST_ROUND", 60.0)
    at_once = await play(PLANTED[name])
    # Bob's packets at least, unless his connection's task had just something else to do.
    assert taken
    taken.clear()
    monkeypatch.setenv("PGNET_SHORT_WAY", "0")
    assert await play(PLANTED[name]) == at_once
    assert taken == []


class Patience(logging.Handler):
    """Lets a game go on that blocks, once the log has named it."""

    def __init__(self) -> None:
        super().__init__()
        self.is_over = threading.Event()
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        # On a busy machine, other turns may seem long too.
        if "held up" in text and "Patience.wait" in text:
            self.text = text
            self.is_over.set()

    def wait(self) -> None:
        assert self.is_over.wait(20)


@linux
async def test_a_handler_that_blocks_in_a_round_is_named(
    taken: list[PacketTurn], monkeypatch: pytest.MonkeyPatch
) -> None:
    patience = Patience()

    class Blocks(Game):
        def handle_game_packet(self, packet: Packet, /) -> Response:
            patience.wait()
            return Response("")

    monkeypatch.delenv("PGNET_SHORT_WAY", raising=False)
    monkeypatch.setattr(rounds, "LONGEST_ROUND", 60.0)
    logger = logging.getLogger("pgnet_trio.server")
    logger.addHandler(patience)
    server = HostedServer(Blocks, port=0, watchdog=0.01)
    try:
        async with (
            server.running(),
            socket_client(server, "ann") as ann,
            socket_client(server, "bob") as bob,
        ):
            await ann.create_game("table 1")
            # The game whose code ran last is another one.
            await bob.create_game("table 2")
            await wait_all_tasks_blocked()
            await ann.request(Packet("block"))
    finally:
        logger.removeHandler(patience)
    assert len(taken) == 1
    assert patience.text.startswith("Game 'table 1' has held up the whole server for more than ")


# In a room alone.


class Played:
    """A room with ann and bob in it, and a round of reading."""

    def __init__(self, room: RoomTask) -> None:
        self.room = room
        self.ann, self.bob = Listener("ann"), Listener("bob")
        self.round = Round(0.0)

    def turn(self, player: Listener, message: str) -> PacketTurn:
        return PacketTurn(player, None, 1, Packet(message))  # type: ignore[arg-type]  # nothing is answered over it

    def take(self, player: Listener, message: str) -> None:
        self.room.take_now(self.turn(player, message), self.round)


@asynccontextmanager
async def in_room(
    game: type[Game], monkeypatch: pytest.MonkeyPatch, longest: float = 60.0
) -> AsyncIterator[Played]:
    monkeypatch.setattr(rounds, "LONGEST_ROUND", longest)
    played = Played(make_room(game))
    async with trio.open_nursery() as nursery:
        await nursery.start(played.room.run)
        await played.room.join(played.ann)
        await played.room.join(played.bob)
        await wait_all_tasks_blocked()
        played.ann.heard.clear()
        played.bob.heard.clear()
        yield played
        played.room.close("The test is over.")


class Echo(Game):
    """Answers with the message; what begins with "wait" waits for a second first."""

    def handle_game_packet(self, packet: Packet, /) -> Any:
        if packet.message.startswith("wait"):
            return self._wait(packet.message)
        return Response(packet.message)

    async def _wait(self, message: str) -> Response:
        await trio.sleep(1)
        return Response(message)


async def test_an_idle_room_answers_before_its_task_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    async with in_room(Echo, monkeypatch) as played:
        for message in ("one", "two", "three"):
            played.take(played.ann, message)
        assert played.ann.heard == ["one", "two", "three"]


async def test_a_handler_that_waits_goes_on_in_the_task_and_keeps_its_place(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    async with in_room(Echo, monkeypatch) as played:
        played.take(played.ann, "one")
        played.take(played.ann, "wait")
        played.take(played.ann, "two")
        played.take(played.bob, "three")
        assert played.ann.heard == ["one"]
        await trio.sleep(0.5)
        assert not played.room.is_waiting
        played.take(played.ann, "four")
        assert (played.ann.heard, played.bob.heard) == (["one"], [])
        await trio.sleep(1)
        assert (played.ann.heard, played.bob.heard) == (["one", "wait", "two", "four"], ["three"])


@pytest.mark.parametrize("when", ["in the turn", "after it"])
@pytest.mark.parametrize("what", ["waits", "raises"])
async def test_a_turn_that_has_begun_ends_in_the_task_where_the_room_is_cancelled(
    when: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []

    class Ends(Game):
        @on(Raise)
        def go(self, player: str, message: Raise) -> Any:
            if when == "in the turn":
                played.room.runner.nursery.cancel_scope.cancel()
            if what == "raises":
                raise ValueError("a fault of this game")
            return self._wait()

        async def _wait(self) -> None:
            try:
                await trio.sleep_forever()
            except trio.Cancelled:
                ended.append("cancelled")
                raise

    async with in_room(Ends, monkeypatch) as played:
        played.take(played.ann, "Raise")
        if when == "after it":
            played.room.runner.nursery.cancel_scope.cancel()
        await played.room.ended.wait()
    assert ended == (["cancelled"] if what == "waits" else [])
    # As for a turn in the task.
    assert played.room.crashed
    said, answer = played.ann.heard
    assert said == "out"
    assert "crashed" in answer


async def test_turns_are_queued_when_the_round_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    async with in_room(Echo, monkeypatch, longest=0.0) as played:
        played.take(played.ann, "one")
        assert played.ann.heard == []
        assert played.room.stats().waiting_turns == 1
        await wait_all_tasks_blocked()
        assert played.ann.heard == ["one"]


async def test_where_a_turn_runs_is_as_in_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Any, ...]] = []
    variable: ContextVar[int] = ContextVar("variable", default=0)

    class Looks(Game):
        def handle_game_packet(self, packet: Packet, /) -> Response:
            variable.set(variable.get() + 1)
            watched = played.room.runner._watchdog.room
            seen.append(
                (
                    in_turn.get(),
                    trio.lowlevel.currently_ki_protected(),
                    played.room.stats().is_running,
                    watched is not None and watched.busy is played.room.busy,
                )
            )
            return Response(str(variable.get()))

    async with in_room(Looks, monkeypatch) as played:
        played.room.handle(played.turn(played.ann, "queued"))
        await wait_all_tasks_blocked()
        played.take(played.ann, "at once")
        # The same variable, and not that of whoever reads.
        assert played.ann.heard == ["1", "2"]
        assert variable.get() == 0
    assert seen == [(True, False, True, True)] * 2


async def test_what_all_turns_of_a_round_say_is_written_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flushed: list[str] = []

    class Tells(Game):
        def handle_game_packet(self, packet: Packet, /) -> Response:
            self.room.push("news", {})
            return Response(packet.message)

    monkeypatch.setattr(Listener, "flush", lambda self: flushed.append(self.username))
    async with in_room(Tells, monkeypatch) as played:
        flushed.clear()
        for message in ("one", "two", "three"):
            played.take(played.ann, message)
            played.take(played.bob, message)
        assert flushed == []
        played.round.flush()
        assert sorted(flushed) == ["ann", "bob"]
        played.round.flush()
        assert sorted(flushed) == ["ann", "bob"]


async def test_nothing_is_written_for_packets_that_nobody_wants_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flushed: list[str] = []
    monkeypatch.setattr(Listener, "flush", lambda self: flushed.append(self.username))
    async with in_room(Echo, monkeypatch) as played:
        flushed.clear()
        for message in ("steer", "steer again"):
            quiet = played.turn(played.ann, message)
            quiet.quiet = True
            played.room.take_now(quiet, played.round)
        played.take(played.bob, "ask")
        played.round.flush()
        assert played.ann.heard == ["steer", "steer again"]
        assert flushed == ["bob"]


@pytest.mark.parametrize("is_busy", [False, True])
async def test_a_round_waits_no_longer_than_all_of_its_games_let_it(
    is_busy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Patient(Echo):
        input_delay = 0.005

    async with in_room(Patient, monkeypatch, longest=0.0 if is_busy else 60.0) as played:
        assert played.round.delay == math.inf
        quiet = played.turn(played.ann, "steer")
        quiet.quiet = True
        played.round.delay = 0.002
        played.room.take_now(quiet, played.round)
        assert played.round.delay == 0.002
        played.round.delay = math.inf
        played.room.take_now(quiet, played.round)
        assert played.round.delay == 0.005
        played.take(played.ann, "one")
        assert played.round.delay == 0.0
        await wait_all_tasks_blocked()


async def test_an_attribute_of_the_author_s_with_that_name_lets_no_socket_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Own(Echo):
        input_delay: Any = "a turn"

    async with in_room(Own, monkeypatch) as played:
        played.round.delay = math.inf
        quiet = played.turn(played.ann, "steer")
        quiet.quiet = True
        played.room.take_now(quiet, played.round)
        assert played.round.delay == 0.0


@pytest.mark.parametrize("delay", [10, math.inf, -1, math.nan])
async def test_no_game_lets_the_sockets_of_all_wait_for_long(
    delay: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Late(Echo):
        pass

    # After the class was checked.
    Late.input_delay = delay
    async with in_room(Late, monkeypatch) as played:
        quiet = played.turn(played.ann, "steer")
        quiet.quiet = True
        played.room.take_now(quiet, played.round)
        assert 0 <= played.round.delay <= 0.005


def test_an_input_delay_of_a_mixin_is_checked_with_the_class() -> None:
    class Settings:
        input_delay = 5

    with pytest.raises(TypeError, match=r"Slow\.input_delay: expected seconds from 0 to 0\.005"):

        class Slow(Settings, Echo):  # type: ignore[misc]  # the mistake
            pass


@linux
async def test_what_is_asked_of_the_server_lets_no_socket_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Patient(Echo):
        input_delay = 0.005

        async def run(self) -> None:
            await self.room.wait_players(1)
            await self.room.ask(self.room.players[0], Ask(), Guess)
            await trio.sleep_forever()

    monkeypatch.delenv("PGNET_SHORT_WAY", raising=False)
    monkeypatch.setattr(rounds, "LONGEST_ROUND", 60.0)
    delays: list[float] = []
    flush = Round.flush

    def note(self: Round) -> None:
        delays.append(self.delay)
        flush(self)

    monkeypatch.setattr(Round, "flush", note)
    server = HostedServer(Patient, port=0, requests_per_second=None)
    async with server.running(), socket_client(server, "ann") as ann:
        await ann.create_game("table")
        question = await anext(ann.questions())
        await ann.get_game_dir()
        assert 0.005 not in delays
        for _ in range(10):
            ann.send(Packet("steer"))
            await wait_all_tasks_blocked(0.01)
        assert 0.005 in delays
        for ask in (
            ann.get_game_dir,
            functools.partial(ann.request, Packet("one")),
            functools.partial(question.answer, Guess(7)),
        ):
            delays.clear()
            with trio.fail_after(5):
                await ask()
            # What comes later is read by the client, which is in this process too.
            assert delays[0] == 0.0


class Again(Game):
    """Begins anew when it is told to, and says in which game it answers."""

    games = 0

    def __init__(self, name: str, save_string: str | None = None) -> None:
        type(self).games += 1
        self.number = self.games

    def handle_game_packet(self, packet: Packet, /) -> Any:
        if packet.message == "wait":
            return self._wait()
        if packet.message == "again":
            self.room.rematch()
        return Response(f"game {self.number}")

    async def _wait(self) -> Response:
        await trio.lowlevel.checkpoint()
        self.room.rematch()
        return Response(f"game {self.number}")


@pytest.mark.parametrize("message", ["again", "wait"])
@pytest.mark.parametrize("at_once", [True, False])
async def test_a_game_that_is_to_begin_anew_takes_no_more_packets(
    message: str, at_once: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Again, "games", 0)
    async with in_room(Again, monkeypatch) as played:
        for player, text in ((played.ann, message), (played.bob, "late"), (played.ann, "later")):
            if at_once:
                played.take(player, text)
            else:
                played.room.handle(played.turn(player, text))
        await wait_all_tasks_blocked()
        assert played.ann.heard == ["game 1", GONE]
        assert played.bob.heard == [GONE]
        played.take(played.bob, "new")
        assert played.bob.heard == [GONE, "game 2"]


@attrs.frozen
class Ask:
    """A question."""


@attrs.frozen
class Guess:
    """An answer."""

    number: int


@linux
async def test_the_check_of_an_answer_runs_as_in_the_task_of_its_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    variable: ContextVar[str] = ContextVar("variable", default="nobody's")
    seen: list[tuple[bool, str]] = []
    in_rounds: list[bool] = []

    class Asks(Game):
        def check(self, guess: Guess) -> None:
            seen.append((trio.lowlevel.currently_ki_protected(), variable.get()))
            in_rounds.append("epoll" in trio.lowlevel.current_task().name)
            variable.set(f"that of {self.room.name}")

        async def run(self) -> None:
            await self.room.wait_players(1)
            for _ in range(2):
                await self.room.ask(self.room.players[0], Ask(), Guess, check=self.check)
            await trio.sleep_forever()

    async def play() -> None:
        token = variable.set("the server's")
        try:
            async with HostedServer(Asks, port=0).running() as server:
                async with socket_client(server, "ann") as ann, socket_client(server, "bob") as bob:
                    for client in (ann, bob):
                        await client.create_game(f"table of {client.username}")
                    for _ in range(2):
                        for client in (ann, bob):
                            question = await anext(client.questions())
                            await wait_all_tasks_blocked()
                            await question.answer(Guess(7))
        finally:
            variable.reset(token)

    monkeypatch.setattr(rounds, "LONGEST_ROUND", 60.0)
    for way in ("0", "1"):
        monkeypatch.setenv("PGNET_SHORT_WAY", way)
        await play()
        assert any(in_rounds) == (way == "1")
        assert [protected for protected, _ in seen] == [False] * 4
        # What one player's answer has set, no other game gets to see.
        assert [value for _, value in seen[:2]] == ["the server's"] * 2
        seen.clear()


@linux
async def test_a_handler_is_as_open_to_ctrl_c_in_a_round_as_in_the_task_of_its_game(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[bool] = []
    in_rounds: list[bool] = []

    class Counts(Game):
        def handle_game_packet(self, packet: Packet, /) -> Response:
            seen.append(trio.lowlevel.currently_ki_protected())
            in_rounds.append("epoll" in trio.lowlevel.current_task().name)
            return Response("counted")

    monkeypatch.setattr(rounds, "LONGEST_ROUND", 60.0)
    for way in ("0", "1"):
        monkeypatch.setenv("PGNET_SHORT_WAY", way)
        async with HostedServer(Counts, port=0).running() as server:
            async with socket_client(server, "ann") as client:
                await client.create_game("table 1")
                for _ in range(2):
                    await wait_all_tasks_blocked()
                    await client.request(Packet("count"))
        assert any(in_rounds) == (way == "1")
        assert seen == [False] * 2
        seen.clear()

"""Bots: players that are tasks of the server, and long thinking that delays nobody."""

from __future__ import annotations

import threading
from typing import Any

import attrs
import pytest
import trio
import trio_parallel
from trio.testing import MockClock, wait_all_tasks_blocked

from examples.nim import Nim, YourMove, best_move
from pgnet_trio import (
    Bot,
    Client,
    Game,
    Packet,
    PlayerLeft,
    Question,
    Reject,
    RequestFailed,
    Response,
    on,
)
from pgnet_trio.testing import hosting
from tests.kit.hosting import Raise, hosting_faults
from tests.kit.subprocesses import DEADLINE


@attrs.define
class Choose:
    prompt: str


@attrs.define
class Throw:
    hand: str


@attrs.define
class AddBot:
    kind: str
    name: str = "bot 1"


@attrs.define
class Kick:
    whom: str


class Rocky(Bot):
    """Answers every question with rock."""

    async def play(self) -> None:
        async for question in self.questions(Choose):
            await question.answer(Throw("rock"))


class Eventful(Bot):
    """The same, driven by events."""

    async def on_question(self, question: Question[Any], /) -> None:
        await question.answer(Throw("scissors"))


class Broken(Bot):
    async def play(self) -> None:
        async for _ in self.questions():
            raise ValueError("this bot is broken")


class Brief(Bot):
    """Says hello and goes."""

    async def play(self) -> None:
        response = await self.call(Throw("hello"))
        assert response.message == f"{self.username} throws hello"


class Looker(Bot):
    """Reads the state, and tries what is not for bots."""

    async def play(self) -> None:
        state = await self.wait_state(dict, lambda state: "ann" in state["players"])
        assert state["you"] == self.username
        assert self.players == {"ann": True, self.username: True}
        with pytest.raises(RequestFailed, match="not for bots"):
            await self.create_game("table 2")
        with pytest.raises(RequestFailed, match="not for bots"):
            await self.get_game_dir()
        await self.request(Packet("seen", {"time": self.time()}))
        await self.leave_game()
        await trio.sleep_forever()


KINDS: dict[str, type[Bot]] = {
    kind.__name__: kind for kind in (Rocky, Eventful, Broken, Brief, Looker)
}


class Table(Game):
    """Asks all players, round after round, once somebody says so."""

    max_players = 3
    patience = 5.0

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.notes: list[str] = []
        self.throws: dict[str, Throw] = {}

    def view(self, player: str | None) -> dict[str, Any]:
        return {"players": self.room.players, "you": player}

    def user_joined(self, username: str, /) -> None:
        if username == "bot refused":
            raise Reject("no more bots")
        self.notes.append(f"{username} joined")

    def user_left(self, username: str, /) -> None:
        self.notes.append(f"{username} left")

    @on(AddBot)
    def add_bot(self, player: str, message: AddBot) -> None:
        self.room.add_bot(KINDS[message.kind](message.name))

    @on(Throw)
    async def throw(self, player: str, message: Throw) -> Response:
        return Response(f"{player} throws {message.hand}")

    @on(Kick)
    def kick(self, player: str, message: Kick) -> None:
        self.room.kick(message.whom)

    def handle_game_packet(self, packet: Packet, /) -> Response:
        if packet.message == "ask":
            self.room.nursery.start_soon(self.ask)
        self.notes.append(packet.message)
        return Response("", {"notes": self.notes})

    async def ask(self) -> None:
        players = [name for name in self.room.players if name.startswith("bot")]
        try:
            self.throws = await self.room.ask_all(
                players, Choose("throw"), Throw, timeout=self.patience, default=Throw("none")
            )
        except PlayerLeft as error:
            self.notes.append(str(error))
            return
        self.notes.append(str({name: throw.hand for name, throw in self.throws.items()}))


async def notes(client: Client) -> list[str]:
    await wait_all_tasks_blocked()
    found: list[str] = (await client.request(Packet("notes"))).payload["notes"]
    return [note for note in found if note != "notes"]


async def test_bots_play_as_users_do() -> None:
    async with hosting(Table) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        await ann.call(AddBot("Rocky", "bot 1"))
        await ann.call(AddBot("Eventful", "bot 2"))
        await wait_all_tasks_blocked()
        assert ann.players == {"ann": True, "bot 1": True, "bot 2": True}
        await ann.request(Packet("ask"))
        assert await notes(ann) == [
            "ann joined",
            "bot 1 joined",
            "bot 2 joined",
            "ask",
            "{'bot 1': 'rock', 'bot 2': 'scissors'}",
        ]
        info = (await ann.get_game_dir())["table 1"]
        assert info.users == 1
        # They keep no game alive.
        await ann.leave_game()
        await wait_all_tasks_blocked()
        assert await ann.get_game_dir() == {}


async def test_a_bot_comes_and_goes_as_it_likes() -> None:
    async with hosting(Table) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        for _ in range(2):
            await ann.call(AddBot("Brief"))
            await wait_all_tasks_blocked()
            assert ann.players == {"ann": True}
        await ann.call(AddBot("Looker"))
        assert await notes(ann) == [
            "ann joined",
            *2 * ["bot 1 joined", "bot 1 left"],
            "bot 1 joined",
            "seen",
            "bot 1 left",
        ]


async def test_a_bot_is_kicked_as_a_user_is() -> None:
    async with hosting(Table) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        for _ in range(2):
            await ann.call(AddBot("Rocky"))
            await wait_all_tasks_blocked()
            await ann.call(Kick("bot 1"))
        assert await notes(ann) == ["ann joined", *2 * ["bot 1 joined", "bot 1 left"]]


async def test_a_new_bot_may_come_before_the_one_sent_away_is_done() -> None:
    lives: list[str] = []
    done = trio.Event()

    class Lingering(Bot):
        async def play(self) -> None:
            try:
                await trio.sleep_forever()
            finally:
                lives.append("cancelled")
                with trio.CancelScope(shield=True):
                    await done.wait()

    KINDS["Lingering"] = Lingering
    async with hosting(Table) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        await ann.call(AddBot("Lingering"))
        await wait_all_tasks_blocked()
        await ann.call(Kick("bot 1"))
        await wait_all_tasks_blocked()
        assert lives == ["cancelled"]
        await ann.call(AddBot("Rocky"))
        await wait_all_tasks_blocked()
        done.set()
        assert await notes(ann) == ["ann joined", "bot 1 joined", "bot 1 left", "bot 1 joined"]
        assert ann.players == {"ann": True, "bot 1": True}


async def test_a_bot_that_raises_is_out_of_the_game_that_goes_on(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    async with hosting_faults(Table, ValueError) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        await ann.call(AddBot("Broken"))
        await wait_all_tasks_blocked()
        await ann.request(Packet("ask"))
        await trio.sleep(1)
        assert ann.game == "table 1"
        assert ann.players == {"ann": True}
        assert "bot 1 left" in await notes(ann)
        assert "bot 1 left the game before the answer" in await notes(ann)
    assert "The bot 'bot 1' raised, and is out of the game 'table 1'" in caplog.text
    assert "this bot is broken" in caplog.text


async def test_a_bot_that_is_refused_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with hosting(Table) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        await ann.call(AddBot("Rocky", "bot refused"))
        for number in range(3):
            await ann.call(AddBot("Rocky", f"bot {number}"))
            await wait_all_tasks_blocked()
        assert await notes(ann) == ["ann joined", "bot 0 joined", "bot 1 joined"]
        text = caplog.text
    assert "The bot 'bot refused' did not get into the game 'table 1': no more bots" in text
    assert "The bot 'bot 2' did not get into the game 'table 1'" in text
    assert "is full" in text


@pytest.mark.parametrize("name", ["", "ann", "admin", "Robot1", "x" * 51])
async def test_bots_have_names_that_no_user_can_have(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with hosting_faults(Table, ValueError) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        await ann.request(Packet("AddBot", {"kind": "Rocky", "name": name}))
        assert ann.game is None
    assert "a bot cannot be named" in caplog.text


async def test_two_of_a_name_are_not_in_one_game_but_in_two(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with (
        hosting_faults(Table, ValueError) as server,
        server.client("ann") as ann,
        server.client("bob") as bob,
    ):
        for client, name in ((ann, "table 1"), (bob, "table 2")):
            await client.create_game(name)
            await client.call(AddBot("Rocky"))
        await wait_all_tasks_blocked()
        assert list(ann.players) == ["ann", "bot 1"]
        assert list(bob.players) == ["bob", "bot 1"]
        await ann.request(Packet("AddBot", {"kind": "Rocky"}))
        assert ann.game is None
        assert bob.game == "table 2"
    assert "'bot 1' is in the game 'table 1' already" in caplog.text


class Refilled(Game):
    """Makes its bot when it is made, and comes back when it raises."""

    on_crash = "restart"

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.joined: list[str] = []
        self.room.add_bot(Rocky("bot 1"))

    def user_joined(self, username: str, /) -> None:
        self.joined.append(username)

    def user_left(self, username: str, /) -> None:
        self.joined.append(f"{username} left")

    @on(Raise)
    def fail(self, player: str, message: Raise) -> None:
        raise ValueError("raised")

    def handle_game_packet(self, packet: Packet, /) -> Response:
        return Response("", {"joined": self.joined, "players": self.room.players})


async def test_a_game_that_is_made_again_makes_its_bots_again() -> None:
    async with hosting_faults(Refilled, ValueError) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        await wait_all_tasks_blocked()
        await ann.request(Packet("Raise"))
        await wait_all_tasks_blocked()
        answer = await ann.request(Packet("look"))
        assert answer.payload["joined"] == ["ann", "bot 1"]
        assert answer.payload["players"] == ["ann", "bot 1"]
        assert ann.players == {"ann": True, "bot 1": True}


async def test_bots_end_with_the_server_and_the_game() -> None:
    lives: list[str] = []

    class Noted(Bot):
        async def play(self) -> None:
            lives.append("begins")
            try:
                await trio.sleep_forever()
            finally:
                lives.append("ends")

    class Closing(Game):
        def __init__(self, name: str, save_string: str | None = None) -> None:
            self.room.add_bot(Noted("bot 1"))

        def handle_game_packet(self, packet: Packet, /) -> Response:
            self.room.close()
            return Response("")

    async with hosting(Closing) as server, server.client("ann") as ann:
        for name in ("table 1", "table 2"):
            await ann.create_game(name)
            await wait_all_tasks_blocked()
            if name == "table 1":
                await ann.request(Packet("close"))
                await wait_all_tasks_blocked()
                assert lives == ["begins", "ends"]
    assert lives == 2 * ["begins", "ends"]


# Long thinking.


def think(until: threading.Event) -> str:
    """Take as long as it likes, on another thread; the event stands for the work."""
    until.wait()
    return "paper"


class Thinker(Bot):
    done = threading.Event()

    async def play(self) -> None:
        async for question in self.questions(Choose):
            hand = await trio.to_thread.run_sync(think, self.done)
            await question.answer(Throw(hand))


class Patient(Table):
    """Waits longer for an answer than a test does, which takes a while on a busy machine."""

    patience = 2 * DEADLINE


class Clocked(Patient):
    update_rate = 100
    ticks = 0

    def update(self) -> None:
        type(self).ticks += 1


async def test_a_bot_that_thinks_in_a_thread_delays_no_game() -> None:
    KINDS["Thinker"] = Thinker
    Thinker.done.clear()
    async with (
        hosting(Clocked) as server,
        server.client("ann") as ann,
        server.client("bob") as bob,
    ):
        await ann.create_game("table 1")
        await bob.create_game("table 2")
        await ann.call(AddBot("Thinker"))
        await wait_all_tasks_blocked()
        try:
            await ann.request(Packet("ask"))
            # It thinks for as long as both games take to answer a hundred times.
            for _ in range(100):
                await bob.call(Throw("rock"))
                assert (await ann.call(Throw("rock"))).message == "ann throws rock"
            assert "{" not in str(await notes(ann))
        finally:
            # A thread cannot be cancelled.
            Thinker.done.set()
        with trio.fail_after(20):
            while "{'bot 1': 'paper'}" not in await notes(ann):
                await trio.lowlevel.checkpoint()


class Counter(Bot):
    async def play(self) -> None:
        async for question in self.questions(Choose):
            # Of the standard library, so that the new process has nothing to import.
            work = (sum, range(2_000_000))
            total = await trio_parallel.run_sync(*work, kill_on_cancel=True)
            await question.answer(Throw("scissors" if total else "rock"))


async def test_a_bot_that_thinks_in_a_process_delays_no_game(
    caplog: pytest.LogCaptureFixture,
) -> None:
    KINDS["Counter"] = Counter
    async with (
        hosting(Patient) as server,
        server.client("ann") as ann,
        server.client("bob") as bob,
    ):
        await ann.create_game("table 1")
        await bob.create_game("table 2")
        await ann.call(AddBot("Counter"))
        await wait_all_tasks_blocked()
        await ann.request(Packet("ask"))
        answered = 0
        with trio.move_on_after(DEADLINE) as limit:
            while not server.games["table 1"].throws:
                await bob.call(Throw("rock"))
                answered += 1
        assert not limit.cancelled_caught, f"the process has not answered for {DEADLINE} s"
        assert server.games["table 1"].throws == {"bot 1": Throw("scissors")}
        # A new process alone takes longer than that.
        assert answered > 5
    assert "held up" not in caplog.text


async def test_the_example_is_played_to_its_end() -> None:
    async with hosting(Nim) as server, server.client("ann") as ann:
        await ann.create_game("nim")
        with trio.fail_after(60):
            async for question in ann.questions(YourMove):
                await question.answer(best_move(question.prompt.heaps))
        assert ann.left is not None
        assert ann.left.message in ("ann wins!", "the bot wins!")

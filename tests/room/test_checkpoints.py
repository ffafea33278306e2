"""Every public coroutine is a checkpoint, also where it raises: no loop over one blocks others."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import pytest
import trio
from trio.testing import assert_checkpoints

from pgnet_trio import (
    Bot,
    Client,
    Game,
    Invitation,
    Packet,
    Question,
    Readiness,
    Result,
    Room,
    Seats,
    Server,
    on,
)
from pgnet_trio.client.profile import UserProfile
from pgnet_trio.testing import HostedServer, SimulatedNetwork
from pgnet_trio.testing.hosting import Kit


@attrs.define
class Ask:
    number: int = 0


class Asking(Game):
    """Asks whoever joins, and lets a test call its room."""

    persistent = True

    def user_joined(self, username: str, /) -> None:
        self.room.nursery.start_soon(self.ask, username)

    async def ask(self, username: str) -> None:
        await self.room.ask(username, Ask(), Ask)

    @on(Ask)
    def answer(self, player: str, message: Ask) -> Ask:
        return message

    def view(self) -> int:
        return 1

    def get_save_string(self) -> str:
        return "saved"


@attrs.define
class Case:
    """What the walk calls on.

    Attributes:
        online: A client that is in a game.
        offline: A client that is not connected.
    """

    kit: Kit
    server: HostedServer
    online: Client
    offline: Client
    room: Room
    question: Question[Any]

    async def in_game(self, call: Callable[[], Awaitable[Any]]) -> None:
        """Await something in a task of the game, where only a script may call it."""
        done = trio.Event()
        raised: list[BaseException] = []

        async def task() -> None:
            try:
                # Within: an error that passes through it would count as a checkpoint.
                with assert_checkpoints():
                    await _ignore_errors(call())
            except AssertionError as error:
                raised.append(error)
            done.set()

        self.room.nursery.start_soon(task)
        await done.wait()
        if raised:
            raise raised[0]


def seat_of(case: Case, player: str) -> int | str:
    return case.room.seats.take(player)


NOTHING: Any = None
"""What no method takes."""

Call = Callable[[Case], Awaitable[Any]]


# By class and method: calls that fail at once, and calls that succeed as soon as they can.
CALLS: dict[tuple[type, str], list[Call]] = {
    (Client, "__aenter__"): [lambda c: c.online.__aenter__()],
    (Client, "__aexit__"): [],
    (Client, "run"): [lambda c: c.online.run()],
    (Client, "request"): [
        lambda c: c.offline.request(Packet("x")),
        lambda c: c.online.request("x"),  # type: ignore[arg-type]  # the mistake
        lambda c: c.online.request(Packet("x", {"it": object()})),
        lambda c: c.online.request(Packet("Ask", {"number": 1})),
    ],
    (Client, "call"): [
        lambda c: c.offline.call(Ask()),
        lambda c: c.online.call(object()),
        lambda c: c.online.call(Ask(), Ask),
    ],
    (Client, "get_game_dir"): [
        lambda c: c.offline.get_game_dir(),
        lambda c: c.online.get_game_dir(),
    ],
    (Client, "create_game"): [
        lambda c: c.offline.create_game("table 2"),
        lambda c: c.online.create_game("table 2"),
    ],
    (Client, "join_game"): [
        lambda c: c.offline.join_game("table 2"),
        lambda c: c.online.join_game("table 2"),
    ],
    (Client, "invite"): [
        lambda c: c.offline.invite("bob"),
        lambda c: c.online.invite("bob"),
    ],
    (Client, "invitations"): [lambda c: anext(c.offline.invitations())],
    (Invitation, "join"): [
        lambda c: Invitation("bob", "table 2", "Asking", c.offline.request).join(),
        lambda c: Invitation("bob", "table 2", "Asking", c.online.request).join(),
    ],
    (Client, "change_password"): [
        lambda c: c.offline.change_password("a", "b"),
        lambda c: c.online.change_password("a", "b"),
        lambda c: c.online.change_password("", "b"),
    ],
    (UserProfile, "read"): [
        lambda c: c.offline.profile.read(),
        lambda c: c.online.profile.read(),
    ],
    (UserProfile, "write"): [
        lambda c: c.offline.profile.write({}, version=0),
        lambda c: c.online.profile.write({"it": object()}, version=0),
        lambda c: c.online.profile.write({}, version=0),
    ],
    (Client, "leave_game"): [lambda c: c.offline.leave_game()],
    (Client, "wait_state"): [
        lambda c: c.offline.wait_state(int),
        lambda c: c.online.wait_state(str),
        lambda c: c.online.wait_state(int),
    ],
    (Client, "states"): [
        lambda c: anext(c.offline.states(int)),
        lambda c: anext(c.online.states(int)),
    ],
    (Client, "pushes"): [lambda c: anext(c.offline.pushes())],
    (Client, "questions"): [lambda c: anext(c.offline.questions())],
    (Client, "events"): [lambda c: anext(c.offline.events())],
    (Question, "answer"): [
        lambda c: c.question.answer(object()),
        lambda c: c.question.answer(Ask()),
        lambda c: c.question.answer(Ask()),
    ],
    (Room, "ask"): [
        lambda c: c.in_game(lambda: c.room.ask("nobody", Ask(), Ask)),
        lambda c: c.in_game(lambda: c.room.ask("ann", object(), Ask)),
        lambda c: c.in_game(lambda: c.room.ask("ann", Ask(), Ask, timeout=0)),
        lambda c: Game("detached").room.ask("ann", Ask(), Ask),
    ],
    (Room, "ask_all"): [
        lambda c: c.in_game(lambda: c.room.ask_all([], Ask(), Ask)),
        lambda c: c.in_game(lambda: c.room.ask_all(["nobody"], Ask(), Ask)),
        lambda c: Game("detached").room.ask_all([], Ask(), Ask),
    ],
    (Room, "wait_players"): [
        lambda c: c.in_game(lambda: c.room.wait_players(1)),
        lambda c: Game("detached").room.wait_players(1),
    ],
    (Room, "save"): [
        lambda c: c.in_game(c.room.save),
        lambda c: Game("detached").room.save(),
    ],
    (Room, "report"): [
        lambda c: c.in_game(lambda: c.room.report("ann")),  # type: ignore[arg-type]  # the mistake
        lambda c: c.in_game(lambda: c.room.report(Result(["Ann"]))),
        lambda c: c.in_game(lambda: c.room.report(Result(["ann"]))),
        lambda c: c.in_game(lambda: c.room.report(Result(["ann"]))),
        lambda c: Game("detached").room.report(Result(["ann"])),
    ],
    (Client, "leaderboard"): [
        lambda c: c.offline.leaderboard(),
        lambda c: c.online.leaderboard(),
    ],
    (Client, "history"): [
        lambda c: c.offline.history(),
        lambda c: c.online.history(before=-1),
        lambda c: c.online.history(),
    ],
    (Seats, "wait_player"): [
        lambda c: c.in_game(lambda: c.room.seats.wait_player("up")),
        lambda c: c.in_game(lambda: c.room.seats.wait_player(seat_of(c, "ann"))),
    ],
    (Readiness, "check"): [
        lambda c: c.in_game(lambda: c.room.ready.check(timeout=-1)),
        lambda c: c.in_game(lambda: c.room.ready.check(timeout=0)),
    ],
    (Server, "reload"): [
        lambda c: Server.reload(c.server, Asking),
        lambda c: Server.reload(c.server, NOTHING),
        lambda c: Server(Asking, port=None).reload(Asking),
    ],
    (Server, "open_game"): [
        lambda c: c.server.open_game("?"),
        lambda c: c.server.open_game(),
        lambda c: Server(Asking, port=None).open_game(),
    ],
    (Server, "ban"): [
        lambda c: c.server.ban(),
        lambda c: c.server.ban("bob"),
        lambda c: Server(Asking, port=None).ban("bob"),
    ],
    (Server, "unban"): [
        lambda c: c.server.unban(),
        lambda c: c.server.unban("bob"),
        lambda c: Server(Asking, port=None).unban("bob"),
    ],
    (Server, "serve"): [
        lambda c: c.server.serve(),
        lambda c: c.server.serve(port=-1),
    ],
    (HostedServer, "reload"): [
        lambda c: c.server.reload(Asking),
        lambda c: c.server.reload(NOTHING),
    ],
    (HostedServer, "restart"): [lambda c: HostedServer(Asking).restart()],
    (Bot, "play"): [],
    (Bot, "take_seat"): [lambda c: Bot("bot 1").take_seat(None)],  # type: ignore[arg-type]  # wrong on purpose
    (Kit, "__aenter__"): [],
    (Kit, "__aexit__"): [],
    (Kit, "host"): [lambda c: c.kit.host(Asking, port=-1)],
    (Kit, "play"): [
        lambda c: Kit(c.server.network).play("eve"),
        lambda c: c.kit.play("eve", reconnect_for=-1),
    ],
}
"""Where there are none, nothing fails and nothing ends at once."""


def test_every_public_coroutine_is_walked() -> None:
    found = {
        (owner, name)
        for owner in {owner for owner, _ in CALLS}
        for name, member in vars(owner).items()
        if inspect.iscoroutinefunction(member)
        and (not name.startswith("_") or name in ("__aenter__", "__aexit__"))
    }
    assert found <= CALLS.keys()
    assert not [key for key in CALLS if not hasattr(*key)]


@pytest.mark.parametrize(
    ("name", "number"),
    [
        pytest.param(key, number, id=f"{key[0].__name__}.{key[1]} {number + 1}")
        for key, calls in CALLS.items()
        for number in range(len(calls))
    ],
)
async def test_it_is_a_checkpoint(name: tuple[type, str], number: int) -> None:
    async with Kit(SimulatedNetwork()) as kit:
        server = await kit.host(Asking)
        ann = await kit.play("ann", game="table 1")
        question = await anext(ann.questions())
        room = server.games["table 1"].room
        case = Case(kit, server, ann, server.client("bob"), room, question)
        if name[0] is Room:
            # Its calls are checked where they are made.
            await _ignore_errors(CALLS[name][number](case))
            return
        with assert_checkpoints():
            await _ignore_errors(CALLS[name][number](case))


@pytest.mark.parametrize("number", range(2))
@pytest.mark.parametrize("name", ["ask", "ask_all", "wait_players", "save"])
async def test_a_call_of_a_detached_room_is_a_checkpoint(name: str, number: int) -> None:
    room = Game("detached").room
    arguments = {
        "ask": ("ann", Ask(), Ask),
        "ask_all": (["ann"], Ask(), Ask),
        "wait_players": (1,),
        "save": (),
    }[name]
    with assert_checkpoints(), pytest.raises(RuntimeError, match="no room"):
        await getattr(room, name)(*arguments)


async def _ignore_errors(awaitable: Awaitable[Any]) -> None:
    try:
        await awaitable
    except AssertionError:
        raise
    except Exception:
        pass

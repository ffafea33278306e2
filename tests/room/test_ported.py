"""Games of the original's kind, whose hooks for any packet raise over what somebody sent."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pgnet_trio import Client, Game, Packet, Reject, RequestFailed, Response, Status, on
from pgnet_trio.cli.demo import TicTacToe
from pgnet_trio.examples import ExampleGame
from pgnet_trio.testing import hosting, playing
from tests.kit.hosting import hosting_faults, without_error_id


@attrs.frozen
class Add:
    by: int


class Counter(Game):
    """Reads payloads as the original's games do: without a look at them first."""

    heartbeat_rate = 1

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.total = 0

    def view(self) -> int:
        return self.total

    def handle_game_packet(self, packet: Packet, /) -> Any:
        match packet.message:
            case "add":
                self.total += packet.payload["by"]
                return Response("added", {"total": self.total})
            case "add later":
                return self.add_later(packet)
            case "refuse":
                raise Reject("not you", {"why": "so"})
            case "leave the process":
                raise SystemExit
            case "wrong":
                return packet.payload
        return super().handle_game_packet(packet)

    async def add_later(self, packet: Packet) -> Response:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 1)
            self.total += packet.payload["by"]
        return Response("added")

    def handle_heartbeat(self, packet: Packet, /) -> Response:
        return Response("beat", {"seen": packet.payload["seen"]})

    @on(Add)
    def add(self, player: str, message: Add) -> None:
        raise ValueError("a mistake in a handler")


class RoutesByItself(Counter):
    def handle_packet(self, packet: Packet, /) -> Any:
        return self.handle_game_packet(Packet("add", packet.payload["of"]))


def said(kind: str) -> str:
    return f"The game could not take this: it raised {kind}; the server's log says why."


@pytest.mark.parametrize("protocol", [1, 2])
@pytest.mark.parametrize(
    ("game", "message", "payload", "kind"),
    [
        (Counter, "add", {}, "KeyError"),
        (Counter, "add", {"by": "one"}, "TypeError"),
        (Counter, "add later", {}, "KeyError"),
        (Counter, "wrong", {}, "TypeError"),
        (RoutesByItself, "add", {}, "KeyError"),
    ],
)
async def test_what_nobody_expected_is_the_senders_alone(
    game: type[Game],
    message: str,
    payload: dict[str, Any],
    kind: str,
    protocol: int,
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with (
        hosting_faults(game) as server,
        server.client("ann") as ann,
        server.client("bob", protocol=protocol) as bob,
    ):
        ann.heartbeat_payload = bob.heartbeat_payload = lambda: {"seen": 0}  # type: ignore[method-assign]  # replaced for this test
        await ann.create_game("table 1")
        await bob.join_game("table 1")
        answer = await bob.request(Packet(message, payload))
        assert answer.status == Status.UNEXPECTED
        assert without_error_id(answer.message) == said(kind)
        assert (ann.game, bob.game, bob.online) == ("table 1", "table 1", True)
        assert server.stats().games["table 1"].room.players == ("ann", "bob")
        right = {"by": 2} if game is Counter else {"of": {"by": 2}}
        assert (await bob.request(Packet("add", right))).payload == {"total": 2}
        await wait_all_tasks_blocked()
        assert ann.get_state(int) == 2
    (record,) = [each for each in caplog.records if each.exc_info]
    assert (
        without_error_id(record.getMessage()) == "Game 'table 1' raised over a packet, and goes on"
    )
    assert record.levelno == logging.ERROR
    # With the line of the author's code, but for what is no mistake of one line.
    assert message == "wrong" or 'packet.payload["' in caplog.text


async def test_a_heartbeat_that_is_odd_is_the_senders_alone_and_told_once_a_minute(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with hosting_faults(Counter) as server, server.client("ann") as ann:
        answers: list[Response] = []
        ann.on_heartbeat = answers.append
        await ann.create_game("table 1")
        await trio.sleep(100)
        assert ann.game == "table 1"
        assert {without_error_id(answer.message) for answer in answers} == {said("KeyError")}
        assert len(answers) >= 90
    told = [each.getMessage() for each in caplog.records if each.exc_info]
    assert len(told) == 2
    assert "(the same came 3" in told[1]


async def test_a_hook_may_refuse_as_a_handler_does(caplog: pytest.LogCaptureFixture) -> None:
    async with hosting(Counter) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        answer = await ann.request(Packet("refuse"))
        assert (answer.status, answer.message) == (Status.UNEXPECTED, "not you")
        assert answer.payload == {"why": "so"}
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]


async def test_in_one_process_the_programmer_sees_what_was_raised() -> None:
    client = Client.local(game=Counter, username="ann")
    async with client:
        await client.create_game("table 1")
        answer = await client.request(Packet("add", {}))
        with pytest.raises(RequestFailed) as caught:
            answer.raise_for_status()
        assert isinstance(caught.value.__cause__, KeyError)
        assert client.game == "table 1"


@pytest.mark.parametrize("what", ["handler", "not an Exception"])
async def test_everything_else_that_a_game_raises_ends_it_as_ever(
    what: str, autojump_clock: MockClock
) -> None:
    async with hosting_faults(Counter) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        packet = Packet("Add", {"by": 1}) if what == "handler" else Packet("leave the process")
        assert "crashed" in (await ann.request(packet)).message
        await wait_all_tasks_blocked()
        assert ann.left is not None
        assert ann.left.reason == "crashed"


async def test_the_kit_shows_it_to_whoever_tests_such_a_game() -> None:
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - a group, or not
        async with hosting(Counter) as server, playing(server, "ann", game="table 1") as ann:
            await ann.request(Packet("add", {}))
    error: BaseException = caught.value
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, KeyError)


ODD: list[Any] = [None, True, -1, 10**12, 1.5, "x", "", [], [[]], {}, {"x": None}]


@pytest.mark.parametrize("game", [ExampleGame, TicTacToe])
async def test_the_packages_own_games_of_this_kind_take_anything(
    game: Callable[..., Game], autojump_clock: MockClock
) -> None:
    async with (
        hosting(game) as server,
        server.client("ann") as ann,
        server.client("bob") as bob,
    ):
        await ann.create_game("table 1")
        await bob.join_game("table 1")
        for message in ("place", "add", "text", "x", ""):
            for key in ("cell", "text", "by", "x"):
                for value in ODD:
                    await bob.request(Packet(message, {key: value}))
        assert (ann.game, bob.game) == ("table 1", "table 1")

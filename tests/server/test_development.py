"""Development mode: what a game raises is shown in full to the client that caused it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio

from pgnet_trio import Client, Game, Reject, Server, on
from pgnet_trio.errors import RequestFailed
from pgnet_trio.server.http.opening import Opening
from pgnet_trio.server.sessions.mistakes import MAX_TRACEBACK, describe
from pgnet_trio.server.sources import is_loopback
from pgnet_trio.testing import HostedServer, playing
from tests.kit.hosting import crashed, socket_client, without_error_id


@attrs.frozen
class Divide:
    by: int


@attrs.frozen
class Refuse:
    pass


class Divider(Game):
    def __init__(self, name: str, save_string: str | None = None) -> None:
        if name == "unlucky":
            raise LookupError("no luck here")

    @on(Divide)
    def divide(self, player: str, message: Divide) -> Divide:
        return Divide(1 // message.by)

    @on(Refuse)
    def refuse(self, player: str, message: Refuse) -> None:
        raise Reject("no")

    def user_joined(self, username: str, /) -> None:
        if username == "eve":
            raise OSError("eve is here")


class Ticking(Divider):
    update_rate = 10.0

    def update(self) -> None:
        if "bob" in self.room.players:
            raise RuntimeError("a tick too many")


@asynccontextmanager
async def developing(
    game: type[Game] = Divider, *, development: bool = True, **options: Any
) -> AsyncIterator[HostedServer]:
    server = HostedServer(game, port=0, development=development, **options)
    with server.expecting(ArithmeticError, LookupError, OSError, RuntimeError):
        async with server.running():
            yield server


async def raises(client: Client, message: object) -> str:
    with pytest.raises(RequestFailed) as caught:
        await client.call(message)
    return str(caught.value.response.message)


async def test_the_traceback_is_in_the_answer_and_begins_with_the_authors_code() -> None:
    async with developing() as server, socket_client(server, "ann") as ann:
        await ann.create_game("one")
        text = await raises(ann, Divide(0))
    assert text.startswith("The game 'one' crashed")
    assert "return Divide(1 // message.by)" in text
    assert text.endswith("ZeroDivisionError: integer division or modulo by zero")
    assert text.partition("most recent call last):\n")[2].startswith(f'  File "{__file__}"')


async def test_others_in_the_game_read_that_it_crashed_and_no_more() -> None:
    async with developing() as server, socket_client(server, "ann") as ann:
        async with socket_client(server, "bob") as bob:
            await ann.create_game("one")
            await bob.join_game("one")
            await raises(ann, Divide(0))
            await out(bob)
            assert bob.left is not None
            assert without_error_id(bob.left.message) == crashed("one")


async def out(client: Client) -> None:
    """Wait until a client's user is in no game any more."""
    event = trio.Event()
    client.on_game = lambda game: event.set() if game is None else None
    if client.game is not None:
        with trio.fail_after(10):
            await event.wait()


async def test_a_mistake_that_no_request_caused_is_shown_to_all_in_the_game() -> None:
    async with developing(Ticking) as server, socket_client(server, "ann") as ann:
        async with socket_client(server, "bob") as bob:
            await ann.create_game("one")
            await bob.join_game("one")
            await out(ann)
            await out(bob)
            for client in (ann, bob):
                assert client.left is not None
                assert "RuntimeError: a tick too many" in client.left.message


@pytest.mark.parametrize(
    ("username", "game", "error"),
    [("eve", "one", "OSError: eve is here"), ("ann", "unlucky", "LookupError: no luck here")],
)
async def test_joining_shows_what_was_raised(username: str, game: str, error: str) -> None:
    async with developing() as server, socket_client(server, username) as client:
        with pytest.raises(RequestFailed) as caught:
            await client.create_game(game)
    assert error in caught.value.response.message


async def test_a_refusal_is_no_mistake() -> None:
    async with developing() as server, socket_client(server, "ann") as ann:
        await ann.create_game("one")
        assert await raises(ann, Refuse()) == "no"


async def test_without_development_mode_nobody_is_shown_anything() -> None:
    async with developing(development=False) as server, socket_client(server, "ann") as ann:
        await ann.create_game("one")
        assert "ZeroDivisionError" not in await raises(ann, Divide(0))


async def test_whoever_comes_over_another_network_is_shown_nothing() -> None:
    # Over the simulated network, which is no loopback.
    async with developing() as server, playing(server, "ann") as ann:
        await ann.create_game("one")
        assert "ZeroDivisionError" not in await raises(ann, Divide(0))


async def test_behind_a_trusted_proxy_nobody_is_shown_anything() -> None:
    async with developing(trusted_proxies=["127.0.0.1"]) as server:
        async with socket_client(server, "ann") as ann:
            await ann.create_game("one")
            assert "ZeroDivisionError" not in await raises(ann, Divide(0))


@pytest.mark.parametrize(
    "header",
    ["X-Forwarded-For: 203.0.113.7", "x-forwarded-proto:https", "Forwarded: for=_x", "Via: 1.1 x"],
)
def test_every_header_of_a_proxy_counts(header: str) -> None:
    assert Opening(f"GET / HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n".encode()).is_forwarded
    assert not Opening(b"GET /via: HTTP/1.1\r\nHost: x\r\nX-A: forwarded: 1\r\n\r\n").is_forwarded


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("192.0.2.1", False),
        ("fe80::1%eth0", False),
        ("memory", False),
    ],
)
def test_loopback_is_this_machine(address: str, expected: bool) -> None:
    assert is_loopback(address) is expected


@pytest.mark.parametrize("option", [{"listen_globally": True}, {"development": "yes"}])
def test_development_is_for_this_machine(option: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError), match="development"):
        Server(Divider, **{"development": True, **option})


def test_a_long_traceback_loses_its_middle() -> None:
    text = describe(ValueError("\x1b[2J" + "x" * 2 * MAX_TRACEBACK))
    assert len(text) <= MAX_TRACEBACK
    assert text.startswith("ValueError: \\x1b[2J")
    assert "[...]" in text

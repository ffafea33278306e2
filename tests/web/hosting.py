"""Servers and games that pages of tests play with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from pgnet_trio import Game, Reject, Server, on
from tests.kit.hosting import cheap_environment
from tests.kit.proxy import InterceptingProxy

__all__ = ["Choose", "Gate", "Move", "Said", "Table", "Throw", "gated", "serving"]


@attrs.frozen
class Move:
    """A player takes a square."""

    square: int


@attrs.frozen
class Say:
    """A player says something to all."""

    text: str


@attrs.frozen
class Said:
    """What somebody has said."""

    text: str


@attrs.frozen
class Ask:
    """A player wants to be asked."""

    seconds: float | None = None


@attrs.frozen
class Choose:
    """Which of these?"""

    options: list[str]


@attrs.frozen
class Throw:
    """This one."""

    what: str


class Table(Game):
    """A board, a chat, and questions for whoever wants to be asked."""

    spectators = True
    persistent = True

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.board = [int(square) for square in save_string or "0" * 9]
        self.table: dict[str, dict[str, float]] = {}
        self.thrown: list[str] = []
        self.calls: list[str] = []

    def get_save_string(self) -> str:
        return "".join(map(str, self.board))

    def user_joined(self, username: str, /) -> None:
        self.table[username] = {"x": 0, "y": 0.5}

    def user_left(self, username: str, /) -> None:
        self.calls.append(f"{username} left")

    def player_dropped(self, username: str, /) -> None:
        self.calls.append(f"{username} dropped")

    def player_resumed(self, username: str, /) -> None:
        self.calls.append(f"{username} resumed")

    @on(Move)
    def move(self, player: str, message: Move) -> None:
        if not 0 <= message.square < 9 or self.board[message.square]:
            raise Reject("that square is not free", {"square": message.square})
        self.board[message.square] = 1
        for row in self.table.values():
            row["x"] += 1
            row["y"] += 1
        self.room.push(Said(f"{player} takes {message.square}"))

    @on(Say)
    def say(self, player: str, message: Say) -> None:
        self.room.push(Said(message.text))

    @on(Ask)
    def ask(self, player: str, message: Ask) -> None:
        self.room.nursery.start_soon(self._ask, player, message.seconds)

    async def _ask(self, player: str, seconds: float | None) -> None:
        def check(answer: Throw) -> None:
            if answer.what not in {"rock", "paper"}:
                raise Reject(f"{answer.what} is none of them")

        options = Choose(["rock", "paper"])
        thrown = (
            await self.room.ask(
                player, options, Throw, check=check, timeout=seconds, default=Throw("nothing")
            )
            if seconds
            else await self.room.ask(player, options, Throw, check=check)
        )
        self.thrown.append(thrown.what)

    def view(self, player: str | None = None) -> dict[str, Any]:
        return {"board": [*self.board], "table": self.table, "options": dict(self.room.options)}


@asynccontextmanager
async def serving(game: Callable[..., Game] = Table, **options: Any) -> AsyncIterator[Server]:
    """Run a server on a port of its own around a block."""
    server = Server(
        game,
        **{
            "port": 0,
            "environment": cheap_environment(),
            "max_logins_per_address": None,
            **options,
        },
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve)
        yield server
        server.shutdown()


@attrs.define(eq=False)
class Gate(InterceptingProxy):
    """A proxy that lets nobody through while it is closed."""

    is_closed: bool = False

    async def serve(self, client: trio.SocketStream) -> None:
        if self.is_closed:
            await trio.aclose_forcefully(client)
        else:
            await InterceptingProxy.serve(self, client)

    async def close(self) -> None:
        """Reset every connection, and let no new one through."""
        self.is_closed = True
        await self.reset()

    def open(self, server: Server | None = None) -> None:
        """Let connections through again, to another server where one is given."""
        if server is not None:
            self.target = server.port or 0
        self.is_closed = False


@asynccontextmanager
async def gated(server: Server | None) -> AsyncIterator[Gate]:
    """Run a gate for as long as the block lasts: before a server, or closed."""
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        gate = Gate(listener.socket.getsockname()[1], 0, is_closed=True)
        if server is not None:
            gate.open(server)
        nursery.start_soon(trio.serve_listeners, gate.serve, [listener])
        yield gate
        nursery.cancel_scope.cancel()

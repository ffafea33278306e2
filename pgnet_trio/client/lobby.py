"""The requests of the lobby: list the games, create, join and leave one.

`LobbyRequests` says what a client asks, and nothing of how a packet travels: that is left to one
abstract request, and to `send` for whoever gives a callback instead of waiting.
"""

from __future__ import annotations

import logging
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from types import EllipsisType
from typing import TYPE_CHECKING, Any, overload

from pgnet_trio.codec import from_plain
from pgnet_trio.messages import GameInfo, Packet, Request, Response

if TYPE_CHECKING:
    from pgnet_trio.client.outbox import Callback
    from pgnet_trio.client.search import Search

__all__ = ["LobbyRequests"]

logger = logging.getLogger("pgnet_trio.client")

MAX_PAGES = 100
"""Responses that a directory may have: thousands of games, and no more than fits into memory."""


class LobbyRequests:
    """What `Client` can ask of a server's lobby.

    It is no `abc.ABC`, because then a program could not derive one class from `Client` and from a
    class with another metaclass.
    """

    async def _request_next(self, packet: Packet) -> Response:
        """Send a packet before all others that wait, and return its response."""
        raise NotImplementedError

    def _look_for_game(
        self, queue: str, properties: dict[str, Any] | None, *, accept: bool
    ) -> AbstractAsyncContextManager[Search]:
        """Look for a game around a block."""
        raise NotImplementedError

    def send(
        self, message: object, callback: Callback | None = None, /, do_next: bool = False
    ) -> None:
        """Queue a message; never waits."""
        raise NotImplementedError

    @overload
    def get_game_dir(self) -> Coroutine[Any, Any, dict[str, GameInfo]]: ...
    @overload
    def get_game_dir(self, callback: Callback | None) -> None: ...
    def get_game_dir(self, callback: Callback | EllipsisType | None = ...) -> Any:
        """Ask for the directory of games.

        Args:
            callback: Called with the response; then this never waits, as `send`. If the server has
                more games than fit into one response, they are those that come first by name.

        Returns:
            Without *callback*, a coroutine that returns the games by name, all of them.

        Raises:
            RequestFailed: The server refused.
            Disconnected: There is no connection, or it ended before the response came.
        """
        packet = Packet(Request.GAME_DIR)
        if not isinstance(callback, EllipsisType):
            return self.send(packet, callback, do_next=True)
        return self._request_games(packet)

    @overload
    def create_game(
        self,
        name: str = "",
        /,
        *,
        password: str | None = None,
        options: dict[str, Any] | None = None,
        unlisted: bool = False,
    ) -> Coroutine[Any, Any, Response]: ...
    @overload
    def create_game(
        self,
        name: str = "",
        /,
        *,
        password: str | None = None,
        options: dict[str, Any] | None = None,
        unlisted: bool = False,
        callback: Callback | None,
    ) -> None: ...
    def create_game(
        self,
        name: str = "",
        /,
        *,
        password: str | None = None,
        options: dict[str, Any] | None = None,
        unlisted: bool = False,
        callback: Callback | EllipsisType | None = ...,
    ) -> Any:
        """Create a game and join it.

        Args:
            name: The game's name. Without one, the server calls it by a code of four letters, which
                `game` is then; a server without the feature ``tables`` refuses that.
            password: What others need to join it; empty for nothing.
            options: What the game gets as ``self.room.options``; plain data.
            unlisted: Whether the directory leaves it out: only who has its name or code joins it.
                A server without the feature ``tables`` refuses that.
            callback: Called with the response; then this never waits, as `send`.

        Returns:
            Without *callback*, a coroutine that returns the response.

        Raises:
            RequestFailed: The game cannot be created.
            Disconnected: There is no connection, or it ended before the response came.
        """
        payload = _game_payload(name, password)
        if options:
            payload["options"] = options
        if unlisted:
            payload["unlisted"] = True
        return self._ask(Request.CREATE_GAME, payload, callback)

    @overload
    def join_game(
        self,
        name: str,
        /,
        *,
        password: str | None = None,
        spectate: bool = False,
        options: dict[str, Any] | None = None,
    ) -> Coroutine[Any, Any, Response]: ...
    @overload
    def join_game(
        self,
        name: str,
        /,
        *,
        password: str | None = None,
        spectate: bool = False,
        options: dict[str, Any] | None = None,
        callback: Callback | None,
    ) -> None: ...
    def join_game(
        self,
        name: str,
        /,
        *,
        password: str | None = None,
        spectate: bool = False,
        options: dict[str, Any] | None = None,
        callback: Callback | EllipsisType | None = ...,
    ) -> Any:
        """Join a game; one that does not exist is created, unless its name is a code.

        Args:
            name: The game's name, or its code, in capitals or not.
            password: The game's password, if it has one.
            spectate: Whether only to watch.
            options: What a game that is created gets as ``self.room.options``; plain data. One that
                is there keeps its own. Servers of PGNet, and ours without the feature ``rejoin``,
                refuse to be asked with options.
            callback: Called with the response; then this never waits, as `send`.

        Returns:
            Without *callback*, a coroutine that returns the response.

        Raises:
            RequestFailed: The game cannot be joined.
            Disconnected: There is no connection, or it ended before the response came.
        """
        payload = _game_payload(name, password)
        if spectate:
            payload["spectate"] = True
        if options:
            payload["options"] = options
        return self._ask(Request.JOIN_GAME, payload, callback)

    @overload
    def leave_game(self) -> Coroutine[Any, Any, Response]: ...
    @overload
    def leave_game(self, *, callback: Callback | None) -> None: ...
    def leave_game(self, *, callback: Callback | EllipsisType | None = ...) -> Any:
        """Leave the game.

        Args:
            callback: Called with the response; then this never waits, as `send`.

        Returns:
            Without *callback*, a coroutine that returns the response.

        Raises:
            RequestFailed: The user is in no game.
            Disconnected: There is no connection, or it ended before the response came.
        """
        return self._ask(Request.LEAVE_GAME, {}, callback)

    async def invite(self, username: str, /) -> Response:
        """Invite a user to the game, at whatever server they are; see `invitations`.

        They join once without the game's password, within an hour. That ends with the game, or when
        it kicks them, and is not saved.

        Args:
            username: Who is invited; they have to be logged in.

        Raises:
            RequestFailed: They are not there, or in the game already; or this user is in no game,
                or only watches; or too many are invited; `code` says which.
            Disconnected: There is no connection, or it ended before the response came.
        """
        return await self._request_ok(Packet(Request.INVITE, {"username": username}))

    def find_game(
        self,
        queue: str = "",
        /,
        *,
        properties: dict[str, Any] | None = None,
        accept: bool = True,
    ) -> AbstractAsyncContextManager[Search]:
        """Look for a game with others in a queue of the server; use it as ``async with``.

        Inside the block the user is in the queue, and the `Search` shows how it goes. The end of
        the block waits until they are in a game, unless `Search.cancel` was called. A block that is
        left by an error or a cancellation leaves nothing behind: the user is out of the queue, and
        out of the game too if there was one already. Whoever was to play with them keeps their
        place in the queue.

        A connection that drops keeps the place. After a lost session the client looks again by
        itself, and the waiting begins anew.

        Args:
            queue: The queue's name; empty where the game has only one.
            properties: What the user looks for; plain data of 1 KiB at most.
            accept: Whether the client confirms a match by itself. Otherwise `Search.is_found` says
                that there is one, and the program calls `Search.accept` in time.

        Raises:
            RequestFailed: The server refused, or put the user out of the queue, as one who has not
                confirmed a match in time. The block is not cancelled: the error comes at its end,
                or from `Search`.
            Disconnected: There is no connection, or it ended first.
            RuntimeError: This client looks for a game already.
        """
        return self._look_for_game(queue, properties, accept=accept)

    def _ask(
        self, message: str, payload: dict[str, Any], callback: Callback | EllipsisType | None
    ) -> Any:
        packet = Packet(message, payload)
        if not isinstance(callback, EllipsisType):
            return self.send(packet, callback, do_next=True)
        return self._request_ok(packet)

    async def _request_ok(self, packet: Packet) -> Response:
        return (await self._request_next(packet)).raise_for_status()

    async def _request_games(self, packet: Packet) -> dict[str, GameInfo]:
        games: dict[str, GameInfo] = {}
        for _ in range(MAX_PAGES):
            payload = (await self._request_ok(packet)).payload
            page = from_plain(payload.get("games", {}), dict[str, GameInfo])
            games.update(page)
            if not page or payload.get("more") is not True:
                return games
            packet = Packet(Request.GAME_DIR, {"after": max(page)})
        logger.warning("The directory of games has no end: only %d are taken", len(games))
        return games


def _game_payload(name: str, password: str | None) -> dict[str, Any]:
    # The original refuses "password" on join_game, even an empty one.
    return {"name": name, "password": password} if password else {"name": name}

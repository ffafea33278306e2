"""`Client`: a user's connection to a server, and everything that can be asked of it."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import EllipsisType, TracebackType
from typing import TYPE_CHECKING, Any, Self, overload

import trio

from pgnet_trio.client.address import parse_address
from pgnet_trio.client.connector import Connector, LocalConnector, LocalServer, RemoteConnector
from pgnet_trio.client.dispatcher import Dispatcher
from pgnet_trio.client.outbox import Callback, Errand, Outbox
from pgnet_trio.codec import from_plain
from pgnet_trio.connection import Connection
from pgnet_trio.crypto import KeyPair
from pgnet_trio.environment import Environment
from pgnet_trio.errors import (
    ConnectFailed,
    Disconnected,
    LoginRefused,
    ProtocolError,
    SendQueueFull,
)
from pgnet_trio.messages import DEFAULT_PORT, GameInfo, Packet, Request, Response, Status
from pgnet_trio.protocol.events import Answer, ClientEvent, LoginRefusal
from pgnet_trio.protocol.v1 import ClientProtocol
from pgnet_trio.transport import MemoryTransport, choose

if TYPE_CHECKING:
    from pgnet_trio.game import Game

__all__ = ["Client"]

logger = logging.getLogger("pgnet_trio.client")

CONNECT_TIMEOUT = 15.0
"""Seconds for connecting and logging in; a busy server may take some for the password."""

DEFAULT_HEARTBEAT_RATE = 10.0

MAX_MESSAGE_SIZE = 1024 * 1024
PING_INTERVAL = 15.0
KEEPALIVE_TIMEOUT = 20.0

CLOSED_HERE = "disconnected by this client"
JOINING = (Request.CREATE_GAME, Request.JOIN_GAME)


class Client:
    """A user on a server, made by `Client.remote` or `Client.local`.

    Use it as ``async with client:``, connected and logged in inside, or start `run` as a
    background task for a program that is driven by events. Any number of tasks may use it at the
    same time.

    Events are attributes, to override in a subclass or to assign: each is called with one
    argument, one at a time and in order, and may be async; it may await requests too. An event
    or callback that raises ends the client with that error.

    Attributes:
        on_connection: Called with True when logged in, with False when the connection ended.
        on_status: Called with a text for people whenever `status` changes.
        on_game: Called with the name of the game that was joined, or None when it was left.
        on_heartbeat: Called with the game's answer to each heartbeat.
    """

    on_connection: Callable[..., Any] | None = None
    on_status: Callable[..., Any] | None = None
    on_game: Callable[..., Any] | None = None
    on_heartbeat: Callable[..., Any] | None = None

    def __init__(
        self,
        connector: Connector,
        *,
        username: str,
        password: str = "",
        invite_code: str = "",
        verify_server_pubkey: str = "",
        environment: Environment | None = None,
    ) -> None:
        """Use `Client.remote` or `Client.local` instead."""
        self._connector = connector
        self._username = username
        self._password = password
        self._invite_code = invite_code
        self._verify_server_pubkey = verify_server_pubkey
        self._environment = environment or Environment()
        self._status = "New client."
        self._in_use = False
        self._connected = False
        self._game: str | None = None
        self._close_reason = ""
        self._heartbeat_rate = DEFAULT_HEARTBEAT_RATE
        self._opened: AbstractAsyncContextManager[None] | None = None
        self._outbox: Outbox | None = None
        self._dispatcher = Dispatcher()
        self._ended = trio.Event()
        self._reading = trio.CancelScope()
        self._game_changed = trio.lowlevel.ParkingLot()

    @classmethod
    def remote(
        cls,
        *,
        address: str,
        username: str,
        password: str = "",
        invite_code: str = "",
        port: int = DEFAULT_PORT,
        verify_server_pubkey: str = "",
        transport: str | None = None,
        environment: Environment | None = None,
    ) -> Self:
        """Make a client of a server somewhere else.

        Args:
            address: ``host``, ``host:port``, ``[v6]:port``, ``ws://…`` or ``wss://…``.
            username: Who logs in; an unknown user is registered, where the server allows it.
            password: The user's password.
            invite_code: A code from the server's admin, for a new user.
            port: The port, where the address names none.
            verify_server_pubkey: The server's public key in base64. A server with another key is
                told nothing secret. Empty: any key is taken.
            transport: The WebSocket library: ``"trio-websocket"``, ``"websockets"``, or None for
                the fastest that is installed.
            environment: Randomness, to replace in tests.

        Raises:
            ValueError: The address is none, or there is no such transport.
        """
        connector = RemoteConnector(parse_address(address, port), choose(transport))
        return cls(
            connector,
            username=username,
            password=password,
            invite_code=invite_code,
            verify_server_pubkey=verify_server_pubkey,
            environment=environment,
        )

    @classmethod
    def local(
        cls,
        *,
        game: Callable[..., Game],
        username: str,
        password: str = "",
        port: int | None = None,
        server_factory: Callable[..., LocalServer] | None = None,
    ) -> Self:
        """Make a client with a server of its own, which runs while the client is connected.

        Args:
            game: The class of the server's games.
            username: Who logs in; ``admin`` may always.
            password: The user's password.
            port: A port on which others may join; None for none.
            server_factory: Makes the server; called with the game, ``listen_globally=False``,
                ``registration_enabled=True`` and ``require_user_password=False``.
        """
        if server_factory is None:
            from pgnet_trio.server import Server

            server_factory = Server
        server = server_factory(
            game,
            listen_globally=False,
            registration_enabled=True,
            require_user_password=False,
        )
        return cls(LocalConnector(server, port), username=username, password=password)

    def __repr__(self) -> str:
        state = "connected" if self._connected else "not connected"
        return f"<{type(self).__name__} {self._username!r} at {self._connector}, {state}>"

    @property
    def username(self) -> str:
        """Who this client is, or will be when it is logged in."""
        return self._username

    @property
    def connected(self) -> bool:
        """Whether this client is connected and logged in."""
        return self._connected

    @property
    def status(self) -> str:
        """How things are, for people."""
        return self._status

    @property
    def game(self) -> str | None:
        """The name of the game that the user is in, or None."""
        return self._game

    @property
    def close_reason(self) -> str:
        """Why the last connection ended; empty before that."""
        return self._close_reason

    def heartbeat_payload(self) -> dict[str, Any]:
        """Give what each heartbeat tells the game; override it to tell something."""
        return {}

    async def __aenter__(self) -> Self:
        """Connect and log in.

        Raises:
            ConnectFailed: The server was not reached.
            LoginRefused: It did not let this user in.
            ServerKeyMismatch: It has another key than it should.
        """
        opened = self._open()
        await opened.__aenter__()
        self._opened = opened
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """Disconnect. What a callback or event raised comes out, bare, as does the body's error."""
        opened, self._opened = self._opened, None
        assert opened is not None
        return await opened.__aexit__(exc_type, exc, traceback)

    async def run(self, *, task_status: trio.TaskStatus[Self] = trio.TASK_STATUS_IGNORED) -> str:
        """Connect, log in, and stay connected until `disconnect` or the connection's end.

        Started, with this client, once it is logged in. May be run again afterwards.
        Cancellation disconnects.

        Returns:
            Why the connection ended, which is `close_reason` too.

        Raises:
            ConnectFailed: The server was not reached, or did not let this user in.
            Exception: What a callback or event raised.
        """
        async with self:
            task_status.started(self)
            await self._ended.wait()
        return self._close_reason

    def disconnect(self) -> None:
        """End the connection; never waits. Whoever waits for an answer gets Disconnected."""
        self._end(CLOSED_HERE)

    async def request(self, packet: Packet) -> Response:
        """Send a packet and wait for the answer.

        A request that is cancelled before it was sent did not happen; after that it may have
        happened, and its answer is thrown away.

        Returns:
            The answer, whatever its status.

        Raises:
            Disconnected: There is no connection, or it ended before the answer came.
            CodecError: The payload cannot travel.
            SendQueueFull: Too many messages wait already.
        """
        errand = Errand(packet, done=trio.Event())
        return await self._wait_for(errand, do_next=False)

    def send(
        self, packet: Packet, callback: Callback | None = None, /, do_next: bool = False
    ) -> None:
        """Queue a packet; never waits. Without a connection it is dropped, with a warning.

        Args:
            packet: What to send.
            callback: Called with the answer; may be async.
            do_next: Whether it goes before everything else that waits.

        Raises:
            CodecError: The payload cannot travel.
            SendQueueFull: Too many messages wait already.
        """
        if self._outbox is None or not self._connected:
            logger.warning("Not connected, so this is dropped: %r", packet)
            return
        self._outbox.put(
            Errand(packet, callback), do_next=do_next, waiting_callbacks=len(self._dispatcher)
        )

    def flush_queue(self) -> None:
        """Forget the packets of `send` that have not been sent yet, with their callbacks."""
        if self._outbox is not None:
            dropped = self._outbox.drop_unsent()
            if dropped:
                logger.info("Dropped %d messages that were not sent yet", dropped)

    @overload
    def get_game_dir(self) -> Coroutine[Any, Any, dict[str, GameInfo]]: ...
    @overload
    def get_game_dir(self, callback: Callback | None) -> None: ...
    def get_game_dir(self, callback: Callback | EllipsisType | None = ...) -> Any:
        """Ask for the directory of games.

        Args:
            callback: Called with the response; then this never waits, as `send`.

        Returns:
            Without *callback*, a coroutine that gives the games by name.

        Raises:
            RequestFailed: The server refused.
            Disconnected: There is no connection, or it ended before the answer came.
        """
        packet = Packet(Request.GAME_DIR)
        if not isinstance(callback, EllipsisType):
            return self.send(packet, callback, do_next=True)
        return self._get_game_dir(packet)

    @overload
    def create_game(
        self, name: str, /, *, password: str | None = None
    ) -> Coroutine[Any, Any, Response]: ...
    @overload
    def create_game(
        self, name: str, /, *, password: str | None = None, callback: Callback | None
    ) -> None: ...
    def create_game(
        self,
        name: str,
        /,
        *,
        password: str | None = None,
        callback: Callback | EllipsisType | None = ...,
    ) -> Any:
        """Create a game and join it.

        Args:
            name: The game's name.
            password: What others need to join it; empty for nothing.
            callback: Called with the response; then this never waits, as `send`.

        Returns:
            Without *callback*, a coroutine that gives the response.

        Raises:
            RequestFailed: The game cannot be created.
            Disconnected: There is no connection, or it ended before the answer came.
        """
        return self._ask(Request.CREATE_GAME, _game_payload(name, password), callback)

    @overload
    def join_game(
        self, name: str, /, *, password: str | None = None
    ) -> Coroutine[Any, Any, Response]: ...
    @overload
    def join_game(
        self, name: str, /, *, password: str | None = None, callback: Callback | None
    ) -> None: ...
    def join_game(
        self,
        name: str,
        /,
        *,
        password: str | None = None,
        callback: Callback | EllipsisType | None = ...,
    ) -> Any:
        """Join a game; one that does not exist is created.

        Args:
            name: The game's name.
            password: The game's password, if it has one.
            callback: Called with the response; then this never waits, as `send`.

        Returns:
            Without *callback*, a coroutine that gives the response.

        Raises:
            RequestFailed: The game cannot be joined.
            Disconnected: There is no connection, or it ended before the answer came.
        """
        return self._ask(Request.JOIN_GAME, _game_payload(name, password), callback)

    @overload
    def leave_game(self) -> Coroutine[Any, Any, Response]: ...
    @overload
    def leave_game(self, *, callback: Callback | None) -> None: ...
    def leave_game(self, *, callback: Callback | EllipsisType | None = ...) -> Any:
        """Leave the game.

        Args:
            callback: Called with the response; then this never waits, as `send`.

        Returns:
            Without *callback*, a coroutine that gives the response.

        Raises:
            RequestFailed: The user is in no game.
            Disconnected: There is no connection, or it ended before the answer came.
        """
        return self._ask(Request.LEAVE_GAME, {}, callback)

    def _ask(
        self, message: str, payload: dict[str, Any], callback: Callback | EllipsisType | None
    ) -> Any:
        packet = Packet(message, payload)
        if not isinstance(callback, EllipsisType):
            return self.send(packet, callback, do_next=True)
        return self._request_ok(packet)

    async def _request_ok(self, packet: Packet) -> Response:
        response = await self._wait_for(Errand(packet, done=trio.Event()), do_next=True)
        return response.raise_for_status()

    async def _get_game_dir(self, packet: Packet) -> dict[str, GameInfo]:
        response = await self._request_ok(packet)
        return from_plain(response.payload.get("games", {}), dict[str, GameInfo])

    async def _wait_for(self, errand: Errand, *, do_next: bool) -> Response:
        outbox, done = self._outbox, errand.done
        assert done is not None
        if outbox is None or not self._connected:
            raise Disconnected(self._close_reason or "This client is not connected.")
        # Those who wait one by one are as many as their tasks, so they are not counted.
        outbox.put(errand, do_next=do_next, waiting_callbacks=0)
        try:
            await done.wait()
        finally:
            outbox.withdraw(errand)
        if errand.error is not None:
            raise errand.error
        assert errand.response is not None
        return errand.response

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[None]:
        if self._in_use:
            raise RuntimeError("This client is in use already: one connection at a time.")
        self._dispatcher = dispatcher = Dispatcher()
        self._ended = trio.Event()
        self._close_reason = ""
        body_error: Exception | None = None
        error: BaseException | None = None
        self._in_use = True
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(dispatcher.run)
                try:
                    async with self._logged_in():
                        try:
                            yield
                        except Exception as raised:
                            body_error = raised
                        finally:
                            self._end(CLOSED_HERE)
                except Exception as raised:
                    error = _bare(raised)
                    self._end(str(error))
                finally:
                    self._outbox = None
                    self._in_use = False
                    dispatcher.close()
        except BaseExceptionGroup as group:
            error = _bare(group)
        if body_error is not None:
            raise body_error
        if error is not None:
            raise error

    @asynccontextmanager
    async def _logged_in(self) -> AsyncIterator[None]:
        where = str(self._connector)
        self._set_status(f"Connecting to {where}...")
        reached = False
        with trio.move_on_after(CONNECT_TIMEOUT) as scope:
            try:
                async with self._connector.connect(MAX_MESSAGE_SIZE) as transport:
                    reached = True
                    protocol = self._make_protocol()
                    # A link in memory cannot break unnoticed, nor answer a ping.
                    local = isinstance(transport, MemoryTransport)
                    connection: Connection[ClientEvent] = Connection(
                        transport,
                        protocol,
                        ping_interval=None if local else PING_INTERVAL,
                        keepalive_timeout=None if local else KEEPALIVE_TIMEOUT,
                    )
                    async with connection.open(), trio.open_nursery() as tasks:
                        self._set_status("Logging in...")
                        await _log_in(connection)
                        scope.deadline = math.inf
                        self._reading = trio.CancelScope()
                        self._outbox = Outbox(protocol, connection.flush)
                        self._connected = True
                        self._dispatcher.call(self.on_connection, True)
                        self._set_status(f"Logged in as {self._username} at {where}.")
                        tasks.start_soon(self._read, connection)
                        tasks.start_soon(self._send_heartbeats)
                        try:
                            yield
                        finally:
                            tasks.cancel_scope.cancel()
            except Exception as error:
                bare = _bare(error)
                if not reached and isinstance(bare, (OSError, trio.BrokenResourceError)):
                    raise ConnectFailed(f"No server was reached at {where}: {bare}.") from bare
                raise
        if scope.cancelled_caught:
            raise ConnectFailed(f"{where} did not answer within {CONNECT_TIMEOUT:g} s.")

    def _make_protocol(self) -> ClientProtocol:
        random_bytes = self._environment.random_bytes
        encrypted = self._connector.encrypted
        return ClientProtocol(
            username=self._username,
            password=self._password,
            invite_code=self._invite_code,
            key=KeyPair.generate(random_bytes) if encrypted else None,
            random_bytes=random_bytes,
            verify_server_pubkey=self._verify_server_pubkey,
        )

    async def _read(self, connection: Connection[ClientEvent]) -> None:
        with self._reading:
            try:
                while True:
                    for event in await connection.receive():
                        if isinstance(event, Answer):
                            self._take_answer(event)
            except (Disconnected, ProtocolError) as error:
                self._end(str(error))
        await connection.aclose(reason=self._close_reason)

    def _take_answer(self, answer: Answer) -> None:
        outbox, response = self._outbox, answer.response
        if outbox is None:
            return
        errand = outbox.take(answer.id)
        if errand.packet.message in JOINING and response.status == Status.OK:
            rate = response.payload.get("heartbeat_rate")
            if isinstance(rate, (int, float)) and rate > 0:
                self._heartbeat_rate = float(rate)
        self._set_game(response.game)
        self._dispatcher.call(errand.callback, response)
        errand.succeed(response)
        if response.disconnecting:
            self._end(response.message)
        else:
            outbox.pump()

    async def _send_heartbeats(self) -> None:
        while True:
            if self._game is None:
                await self._game_changed.park()
            await trio.sleep(1 / self._heartbeat_rate)
            if self._game is None:
                continue
            packet = Packet(Request.HEARTBEAT_UPDATE, self.heartbeat_payload())
            try:
                response = await self._wait_for(Errand(packet, done=trio.Event()), do_next=False)
            except (Disconnected, SendQueueFull):
                continue
            if response.game is not None:
                self._dispatcher.call(self.on_heartbeat, response)

    def _set_game(self, game: str | None) -> None:
        if game == self._game:
            return
        self._game = game
        self._set_status(f"In the game {game!r}." if game is not None else "In no game.")
        self._dispatcher.call(self.on_game, game)
        self._game_changed.unpark_all()

    def _set_status(self, status: str) -> None:
        self._status = status
        logger.info("%s: %s", self._username, status)
        self._dispatcher.call(self.on_status, status)

    def _end(self, reason: str) -> None:
        if self._ended.is_set():
            return
        self._ended.set()
        self._close_reason = reason
        if self._outbox is not None:
            self._outbox.fail_all(reason)
            self._reading.cancel()
        self._game = None
        if self._connected:
            self._connected = False
            self._dispatcher.call(self.on_connection, False)
        self._set_status(f"Disconnected: {reason}")


async def _log_in(connection: Connection[ClientEvent]) -> None:
    connection.flush()
    try:
        (event,) = await connection.receive()
    except (Disconnected, ProtocolError) as error:
        raise ConnectFailed(f"The server did not log this client in: {error}.") from error
    if isinstance(event, LoginRefusal):
        raise LoginRefused(event.reason)


def _game_payload(name: str, password: str | None) -> dict[str, Any]:
    # The original refuses "password" on join_game, even an empty one.
    return {"name": name, "password": password} if password else {"name": name}


def _bare(error: BaseException) -> BaseException:
    """Give the one error that matters of a group: the first that is no cancellation."""
    while isinstance(error, BaseExceptionGroup):
        others = error.split(trio.Cancelled)[1]
        error = (others or error).exceptions[0]
    return error

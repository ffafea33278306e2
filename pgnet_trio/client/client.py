"""`Client`: a user's connection to a server, and everything that can be asked of it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import EllipsisType, TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

import trio

from pgnet_trio.client.address import parse_address
from pgnet_trio.client.callbacks import Dispatcher
from pgnet_trio.client.connector import Connector, LocalConnector, LocalServer, RemoteConnector
from pgnet_trio.client.game_view import Event, GameView, Left
from pgnet_trio.client.outbox import MAX_QUEUED, Callback, Errand, Outbox
from pgnet_trio.client.session import ClientSession, Credentials, Observer
from pgnet_trio.codec import from_plain
from pgnet_trio.environment import Environment, require_trio
from pgnet_trio.errors import (
    CodecError,
    Disconnected,
    PGNetError,
    SendQueueFull,
    SessionLost,
    first_error,
)
from pgnet_trio.messages import (
    DEFAULT_PORT,
    SERVER_PREFIX,
    GameInfo,
    Packet,
    Push,
    Request,
    RequestFailed,
    Response,
    Status,
    check_port,
)
from pgnet_trio.protocol.events import (
    ClientEvent,
    GameChanged,
    ResponseReceived,
)
from pgnet_trio.protocol.v2 import TAKEN_OVER
from pgnet_trio.transport import choose
from pgnet_trio.typed import to_packet, whats_given

if TYPE_CHECKING:
    from pgnet_trio.client.questions import Question
    from pgnet_trio.game import Game

__all__ = ["Client"]

logger = logging.getLogger("pgnet_trio.client")

DEFAULT_HEARTBEAT_RATE = 10.0

TAKEN_OVER_STATUS = "You logged in from elsewhere; this program is out of the game."

CLOSED_HERE = "disconnected by this client"
NOT_CONNECTED = "This client is not connected."
JOINING = (Request.CREATE_GAME, Request.JOIN_GAME)

ModelT = TypeVar("ModelT")


class Client:
    """A user on a server, made by `Client.remote` or `Client.local`.

    Use it as ``async with client:``, connected and logged in inside, or start `run` as a
    background task for a program that is driven by events. Any number of tasks may use it at the
    same time.

    Events are attributes, to override in a subclass or to assign: each is called with one
    argument, one at a time and in order, and may be async; it may await requests too. An event
    or callback that raises ends the client with that error.

    Attributes:
        on_connection: Called with True when logged in, with False when the session ended.
        on_online: Called with False when the connection dropped, with True when it is back.
        on_status: Called with a text for people whenever `status` changes.
        on_game: Called with the name of the game that was joined, or None when it was left.
        on_players: Called with `players` whenever they change.
        on_heartbeat: Called with the game's answer to each heartbeat.
        on_push: Called with each `Push`.
        on_state: Called with the latest state, as plain data, after it changed.
        on_question: Called with each `Question`.
    """

    on_connection: Callable[..., Any] | None = None
    on_online: Callable[..., Any] | None = None
    on_status: Callable[..., Any] | None = None
    on_game: Callable[..., Any] | None = None
    on_players: Callable[..., Any] | None = None
    on_heartbeat: Callable[..., Any] | None = None
    on_push: Callable[..., Any] | None = None
    on_state: Callable[..., Any] | None = None
    on_question: Callable[..., Any] | None = None

    def __init__(
        self,
        connector: Connector,
        *,
        username: str,
        password: str = "",
        invite_code: str = "",
        verify_server_pubkey: str = "",
        minimum_protocol: int = 1,
        reconnect_for: float | None = 60.0,
        environment: Environment | None = None,
    ) -> None:
        """Use `Client.remote` or `Client.local` instead."""
        if minimum_protocol not in (1, 2):
            raise ValueError(f"minimum_protocol: expected 1 or 2, got {minimum_protocol!r}.")
        if reconnect_for is not None and not reconnect_for >= 0:
            raise ValueError(
                f"reconnect_for: expected seconds, or None for ever; got {reconnect_for!r}."
            )
        self._connector = connector
        self._credentials = Credentials(username, password, invite_code, verify_server_pubkey)
        self._minimum_protocol = minimum_protocol
        self._reconnect_for = reconnect_for
        self._environment = environment or Environment()
        self._status = "New client."
        self._in_use = False
        self._connected = False
        self._online = False
        self._game: str | None = None
        self._close_reason = ""
        self._opened: AbstractAsyncContextManager[None] | None = None
        self._reset()
        self._view.end(Disconnected(NOT_CONNECTED))

    def _reset(self) -> None:
        """Forget the run before."""
        self._dispatcher = Dispatcher(self._end_overwhelmed)
        self._outbox = Outbox()
        self._session = ClientSession(
            self._connector,
            self._credentials,
            self._environment,
            self._outbox,
            Observer(
                set_status=self._set_status,
                session_opened=self._session_opened,
                session_lost=self._session_lost,
                online_changed=self._online_changed,
                take_event=self._take_event,
                session_ended=self._session_ended,
            ),
            minimum_protocol=self._minimum_protocol,
            reconnect_for=self._reconnect_for,
        )
        self._ended = trio.Event()
        self._close_reason = ""
        self._heartbeat_rate = DEFAULT_HEARTBEAT_RATE
        self._game_changed = trio.lowlevel.ParkingLot()
        # What asks for the game of before in the place of a session that was lost.
        self._rejoining: Errand | None = None
        # How the user got into the game, to get there again after the session was lost.
        self._way_in: Packet | None = None
        self._view = GameView(
            self,
            call=self._dispatch,
            call_once=self._dispatcher.call_once,
            want_state=self._session.want_state,
            answer=self._answer_question,
        )

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
        minimum_protocol: int = 1,
        reconnect_for: float | None = 60.0,
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
            minimum_protocol: 2 refuses servers of PGNet, whose protocol has no forward secrecy.
                With 1, the older protocol is spoken at a first contact, where there is no key to
                verify; what is spoken shows in `protocol`.
            reconnect_for: Seconds for which a dropped connection is tried to be replaced; 0 for
                never, None for ever. Requests wait meanwhile.
            transport: The WebSocket library: ``"trio-websocket"``, ``"websockets"``, or None for
                the fastest that is installed.
            environment: Randomness, to replace in tests.

        Raises:
            AddressError: The address is none; it is a ValueError too.
            ValueError: There is no such port or transport.
        """
        check_port(port, to_connect=True)
        connector = RemoteConnector(parse_address(address, port), choose(transport))
        return cls(
            connector,
            username=username,
            password=password,
            invite_code=invite_code,
            verify_server_pubkey=verify_server_pubkey,
            minimum_protocol=minimum_protocol,
            reconnect_for=reconnect_for,
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

        Raises:
            TypeError: *game* cannot make games.
            ValueError: There is no such port.
        """
        check_port(port)
        if server_factory is None:
            from pgnet_trio.server import Server

            server_factory = Server
        server = server_factory(
            game,
            listen_globally=False,
            registration_enabled=True,
            require_user_password=False,
        )
        return cls(
            LocalConnector(server, port), username=username, password=password, reconnect_for=0
        )

    def __repr__(self) -> str:
        state = "connected" if self._connected else "not connected"
        return f"<{type(self).__name__} {self.username!r} at {self._connector}, {state}>"

    @property
    def username(self) -> str:
        """Who this client is, or will be when it is logged in."""
        return self._credentials.username

    @property
    def connected(self) -> bool:
        """Whether this client is logged in; a dropped connection may come back meanwhile."""
        return self._connected

    @property
    def online(self) -> bool:
        """Whether there is a connection now."""
        return self._online

    @property
    def protocol(self) -> int | None:
        """The version of the protocol that is spoken; None before the first connection."""
        return self._session.protocol

    @property
    def server_pubkey(self) -> str | None:
        """The server's public key in base64; None where there is none, or not yet."""
        return self._session.server_pubkey

    @property
    def left(self) -> Left | None:
        """How the user got out of the last game; None before that."""
        return self._view.left

    @property
    def players(self) -> dict[str, bool]:
        """The players of the game in the order of joining, and whether each is connected.

        Only known with protocol 2.
        """
        return dict(self._view.players)

    def time(self) -> float:
        """The time in the game's room, in seconds, as far as this client can know it."""
        return trio.current_time() + self._view.clock

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
            RuntimeError: The client is in use already, or Trio does not run.
        """
        require_trio()
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
        """Disconnect. What a callback or event raised comes out, bare, as does the body's error.

        Raises:
            ServerKeyMismatch: The client gave up coming back, since the server has another key
                than before.
        """
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
            ServerKeyMismatch: It has another key than it should, or, at a reconnect, than before.
            Exception: What a callback or event raised.
        """
        async with self:
            task_status.started(self)
            await self._ended.wait()
        return self._close_reason

    def disconnect(self) -> None:
        """End the connection; never waits. Whoever waits for an answer gets Disconnected."""
        self._session.end(CLOSED_HERE)

    async def request(self, packet: Packet) -> Response:
        """Send a packet and wait for the answer.

        While the connection is dropped and may come back, it waits. A request that is cancelled
        before it was sent did not happen; after that it may have happened, and its answer is
        thrown away.

        Returns:
            The answer, whatever its status.

        Raises:
            Disconnected: There is no connection, or it ended before the answer came.
            SessionLost: The same, and the server does not know the session any more.
            CodecError: The payload cannot travel.
            SendQueueFull: Too many messages wait already.
            TypeError: It is no packet.
        """
        if not isinstance(packet, Packet):
            raise TypeError(
                f"request() takes a Packet, got {whats_given(packet)}; use call() for typed "
                "messages"
            )
        return await self._wait_for(Errand(packet, done=trio.Event()), do_next=False)

    @overload
    async def call(self, message: object, answer: None = None, /) -> Response: ...
    @overload
    async def call(self, message: object, answer: type[ModelT], /) -> ModelT: ...
    async def call(self, message: object, answer: type[ModelT] | None = None, /) -> Any:
        """Send a typed message and wait for its answer.

        Args:
            message: An attrs model, or a packet.
            answer: The attrs class of the answer.

        Returns:
            The answer, as that model, or as a response where no class is given.

        Raises:
            RequestFailed: The game refused; the response says why.
            CodecError: The message cannot travel, or the answer is no such model.
            Disconnected: There is no connection, or it ended before the answer came.
        """
        packet = to_packet(message)
        response = (await self.request(packet)).raise_for_status()
        if answer is None:
            return response
        try:
            return response.read(answer)
        except CodecError as error:
            what = f"The answer to {packet.message}"
            raise self._view.explain(error, what, answer) from error.__cause__

    def send(
        self, message: object, callback: Callback | None = None, /, do_next: bool = False
    ) -> None:
        """Queue a message; never waits. Without a session it is dropped, with a warning.

        Without a callback nobody hears whether the game has taken it, but for the logs: at level
        DEBUG the client's says what is sent, and at INFO the server's which message was refused,
        once in each game.

        Args:
            message: A packet, or an attrs model.
            callback: Called with the answer; may be async.
            do_next: Whether it goes before everything else that waits.

        Raises:
            CodecError: The payload cannot travel.
            SendQueueFull: Too many messages wait already.
        """
        packet = to_packet(message)
        if not self._connected:
            logger.warning("Not connected, so this is dropped: %r", packet)
            return
        quiet = callback is None and not packet.message.startswith(SERVER_PREFIX)
        if quiet:
            logger.debug(
                "%s sends %r; without a callback, no answer is shown", self.username, packet
            )
        self._outbox.put(
            Errand(packet, callback, quiet=quiet),
            do_next=do_next,
            waiting_callbacks=len(self._dispatcher),
        )
        self._session.flush()

    @overload
    def pushes(self, model: None = None, /) -> AsyncIterator[Push]: ...
    @overload
    def pushes(self, model: type[ModelT], /) -> AsyncIterator[ModelT]: ...
    def pushes(self, model: type[ModelT] | None = None, /) -> AsyncIterator[Any]:
        """Iterate over what the game says unasked, from what has not been read yet on.

        Args:
            model: Only pushes of this attrs class, as such; None for all, as `Push`.
        """
        return self._view.pushes(model)

    @overload
    def questions(self, model: None = None, /) -> AsyncIterator[Question[Packet]]: ...
    @overload
    def questions(self, model: type[ModelT], /) -> AsyncIterator[Question[ModelT]]: ...
    def questions(self, model: type[ModelT] | None = None, /) -> AsyncIterator[Question[Any]]:
        """Iterate over what the game asks this player.

        Args:
            model: Only questions of this attrs class, whose `prompt` is one; None for all.
        """
        return self._view.questions(model)

    def states(self, model: type[ModelT], /) -> AsyncIterator[ModelT]:
        """Iterate over the states of the game: the latest, and then whenever there is a newer one.

        Who is slow gets fewer of them.

        Args:
            model: The attrs class of the state, or ``dict``, or whatever ``view`` gives.
        """
        return self._view.states(model)

    def get_state(self, model: type[ModelT], /) -> ModelT:
        """Give the latest state of the game.

        Args:
            model: The attrs class of the state.

        Raises:
            CodecError: It is no such model.
            RuntimeError: There is no state: the user is in no game, or it shows none.
        """
        return self._view.get_state(model)

    async def wait_state(
        self, model: type[ModelT], predicate: Callable[[ModelT], bool] | None = None, /
    ) -> ModelT:
        """Wait until the state is as wanted; a state that is so already is given at once.

        Args:
            model: The attrs class of the state.
            predicate: Says whether a state is as wanted; None takes any.

        Raises:
            CodecError: A state is no such model.
            RequestFailed: The user left the game before.
            Disconnected: The session is gone.
        """
        found = await self._view.wait_state(model, predicate)
        if found is not None:
            return found[0]
        if self._ended.is_set():
            raise Disconnected(self._close_reason)
        raise RequestFailed(
            Response(
                "The user is out of the game, so its state changes no more.",
                status=Status.UNEXPECTED,
            )
        )

    def events(self) -> AsyncIterator[Event]:
        """Iterate over pushes, questions, changes of the state and of the game, as they come.

        What comes is kept from the first call on.
        """
        is_over = not self._in_use or self._ended.is_set()
        return self._view.events(
            Disconnected(self._close_reason or NOT_CONNECTED) if is_over else None
        )

    def flush_queue(self) -> None:
        """Forget the packets of `send` that have not been sent yet, with their callbacks."""
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
        self,
        name: str,
        /,
        *,
        password: str | None = None,
        options: dict[str, Any] | None = None,
    ) -> Coroutine[Any, Any, Response]: ...
    @overload
    def create_game(
        self,
        name: str,
        /,
        *,
        password: str | None = None,
        options: dict[str, Any] | None = None,
        callback: Callback | None,
    ) -> None: ...
    def create_game(
        self,
        name: str,
        /,
        *,
        password: str | None = None,
        options: dict[str, Any] | None = None,
        callback: Callback | EllipsisType | None = ...,
    ) -> Any:
        """Create a game and join it.

        Args:
            name: The game's name.
            password: What others need to join it; empty for nothing.
            options: What the game gets as ``self.room.options``; plain data.
            callback: Called with the response; then this never waits, as `send`.

        Returns:
            Without *callback*, a coroutine that gives the response.

        Raises:
            RequestFailed: The game cannot be created.
            Disconnected: There is no connection, or it ended before the answer came.
        """
        payload = _game_payload(name, password)
        if options:
            payload["options"] = options
        return self._ask(Request.CREATE_GAME, payload, callback)

    @overload
    def join_game(
        self, name: str, /, *, password: str | None = None, spectate: bool = False
    ) -> Coroutine[Any, Any, Response]: ...
    @overload
    def join_game(
        self,
        name: str,
        /,
        *,
        password: str | None = None,
        spectate: bool = False,
        callback: Callback | None,
    ) -> None: ...
    def join_game(
        self,
        name: str,
        /,
        *,
        password: str | None = None,
        spectate: bool = False,
        callback: Callback | EllipsisType | None = ...,
    ) -> Any:
        """Join a game; one that does not exist is created.

        Args:
            name: The game's name.
            password: The game's password, if it has one.
            spectate: Whether only to watch.
            callback: Called with the response; then this never waits, as `send`.

        Returns:
            Without *callback*, a coroutine that gives the response.

        Raises:
            RequestFailed: The game cannot be joined.
            Disconnected: There is no connection, or it ended before the answer came.
        """
        payload = _game_payload(name, password)
        if spectate:
            payload["spectate"] = True
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
        if not self._connected:
            raise Disconnected(self._close_reason or NOT_CONNECTED)
        # Those who wait one by one are as many as their tasks, so they are not counted.
        outbox.put(errand, do_next=do_next, waiting_callbacks=0)
        self._session.flush()
        try:
            await done.wait()
        finally:
            outbox.withdraw(errand)
        if errand.error is not None:
            raise errand.error
        assert errand.response is not None
        return errand.response

    async def _answer_question(self, question: int, packet: Packet) -> Response:
        errand = Errand(packet, done=trio.Event(), question=question)
        return await self._wait_for(errand, do_next=False)

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[None]:
        if self._in_use:
            raise RuntimeError("This client is in use already: one connection at a time.")
        self._reset()
        dispatcher, session = self._dispatcher, self._session
        body_error: Exception | None = None
        error: BaseException | None = None
        self._in_use = True
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(dispatcher.run)
                try:
                    async with trio.open_nursery() as tasks:
                        await tasks.start(session.run)
                        tasks.start_soon(self._send_heartbeats)
                        try:
                            yield
                        except Exception as raised:
                            body_error = raised
                            reason = first_error(raised)
                            if isinstance(reason, Disconnected):
                                # A program that goes no further says why by the status.
                                session.end(str(reason))
                        finally:
                            session.end(CLOSED_HERE)
                except Exception as raised:
                    error = first_error(raised)
                    session.end(str(error))
                finally:
                    self._in_use = False
                    dispatcher.close()
        except BaseExceptionGroup as group:
            error = first_error(group)
        if body_error is not None:
            raise body_error
        if error is None:
            error = session.end_error
        if error is not None:
            raise error

    async def _send_heartbeats(self) -> None:
        while not self._ended.is_set():
            if self._game is None or not self._heartbeat_rate:
                await self._game_changed.park()
                continue
            with trio.move_on_after(1 / self._heartbeat_rate) as pause:
                await self._game_changed.park()
            if not pause.cancelled_caught or self._game is None or not self._online:
                continue
            packet = Packet(Request.HEARTBEAT_UPDATE, self.heartbeat_payload())
            try:
                response = await self._wait_for(Errand(packet, done=trio.Event()), do_next=False)
            except (Disconnected, SendQueueFull):
                continue
            if response.game is not None:
                self._dispatcher.call(self.on_heartbeat, response)

    # What the session tells.

    def _set_status(self, status: str) -> None:
        """Take note of how things are."""
        self._status = status
        logger.info("%s: %s", self.username, status)
        self._dispatcher.call(self.on_status, status)

    def _session_opened(self, *, again: bool) -> None:
        """Take note of being logged in."""
        self._connected = self._online = True
        self._heartbeat_rate = DEFAULT_HEARTBEAT_RATE if self._session.protocol == 1 else 0.0
        self._dispatcher.call(self.on_connection, True)
        self._set_status(
            f"Logged in as {self.username} at {self._connector}, protocol {self._session.protocol}."
        )
        if again and self._way_in is not None:
            way_in = Packet(Request.JOIN_GAME, _without_options(self._way_in.payload))
            self._rejoining = Errand(way_in)
            self._outbox.put(self._rejoining, do_next=True, waiting_callbacks=0)

    def _session_lost(self, reason: str) -> None:
        """Fail what waits: the server knows nothing of it any more."""
        error = SessionLost(reason)
        self._outbox.fail_all(error)
        self._view.lose(error)
        self._connected = False
        self._dispatcher.call(self.on_connection, False)
        if self._way_in is None:
            self._set_game(None)

    def _online_changed(self, *, online: bool) -> None:
        """Take note of the connection."""
        self._online = online
        self._dispatcher.call(self.on_online, online)
        self._set_status("Online again." if online else "The connection dropped; coming back...")

    def _session_ended(self, reason: str, cause: PGNetError | None) -> None:
        """Tell everybody who waits that it is over."""
        self._ended.set()
        self._game_changed.unpark_all()
        self._close_reason = reason
        error = Disconnected(reason)
        error.__cause__ = cause
        self._outbox.fail_all(error)
        # Who wanted the end has lost nothing: iterators come to theirs.
        self._view.end(None if reason == CLOSED_HERE else error)
        self._game = None
        self._online = False
        if self._connected:
            self._connected = False
            self._dispatcher.call(self.on_connection, False)
        self._set_status(TAKEN_OVER_STATUS if reason == TAKEN_OVER else f"Disconnected: {reason}")

    def _take_event(self, event: ClientEvent) -> None:
        """Do what has to be done with something that came."""
        if self._session.end_reason is not None:
            # What came before it in the same frame has ended the session.
            return
        if isinstance(event, ResponseReceived):
            self._take_answer(event)
            return
        self._view.take(event)
        if isinstance(event, GameChanged):
            if event.name is None:
                self._way_in = None
            self._heartbeat_rate = event.heartbeat_rate
            self._set_game(event.name)
            # The game may be the one of before, and its rate another.
            self._game_changed.unpark_all()

    def _take_answer(self, answer: ResponseReceived) -> None:
        response = answer.response
        errand = self._outbox.take(answer.id)
        if errand.packet.message in JOINING and response.status == Status.OK:
            self._way_in = errand.packet
        elif errand is self._rejoining:
            self._way_in = None
            self._set_game(None)
        if self._session.protocol == 1:
            rate = response.payload.get("heartbeat_rate")
            if errand.packet.message in JOINING and isinstance(rate, (int, float)) and rate > 0:
                self._heartbeat_rate = float(rate)
            self._notice_game(errand.packet, response)
        else:
            response.game = self._game
        self._dispatcher.call(errand.callback, response)
        errand.succeed(response)
        if errand.question is not None and response.status == Status.OK:
            # After whoever answered is woken, who may do so within the question's scope.
            self._view.close_question(errand.question)
        if response.disconnecting:
            self._session.end(response.message)

    def _notice_game(self, packet: Packet, response: Response) -> None:
        """Take note of the game that an answer of protocol 1 names, which tells no more of it."""
        now = trio.current_time()
        if response.game == self._game:
            return
        if self._game is not None:
            reason, message = "kicked", ""
            if packet.message == Request.LEAVE_GAME and response.status == Status.OK:
                reason = "left"
            elif response.game is None and _is_from_game(packet, response):
                message = response.message
            self._view.take(GameChanged(None, 0.0, now, reason, message))
        if response.game is not None:
            self._view.take(GameChanged(response.game, 0.0, now))
        self._set_game(response.game)

    def _dispatch(self, hook: Callable[..., Any] | None, argument: Any) -> None:
        """Have a hook called, where not too many calls wait already."""
        if hook is not None and len(self._dispatcher) < MAX_QUEUED:
            self._dispatcher.call(hook, argument)
        elif hook is not None:
            self._end_overwhelmed()

    def _end_overwhelmed(self) -> None:
        self._session.end(
            f"more than {MAX_QUEUED} calls of events wait: they take longer than new ones come"
        )

    def _set_game(self, game: str | None) -> None:
        if game == self._game:
            return
        self._game = game
        self._set_status(f"In the game {game!r}." if game is not None else "In no game.")
        self._dispatcher.call(self.on_game, game)
        self._game_changed.unpark_all()


def _is_from_game(packet: Packet, response: Response) -> bool:
    """Whether an answer can be that of a game, and so say why the user is out of it."""
    is_for_game = packet.message == Request.HEARTBEAT_UPDATE or not packet.message.startswith(
        SERVER_PREFIX
    )
    # With these, a server says that the user was in no game already.
    return is_for_game and "commands" not in response.payload


def _game_payload(name: str, password: str | None) -> dict[str, Any]:
    # The original refuses "password" on join_game, even an empty one.
    return {"name": name, "password": password} if password else {"name": name}


def _without_options(payload: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in payload.items() if key != "options"}

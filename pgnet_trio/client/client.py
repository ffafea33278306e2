"""`Client`: the options and the documented methods of a user's connection to a server.

What a client asks of the lobby is in `lobby`, and what it reads of its game in `reading`. All state
of a connection is in `run`: each connect makes a new `ClientRun`. It is a little long: most of it
says what each option, event and method means.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from types import EllipsisType, TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, overload

import attrs
import trio

from pgnet_trio.author_classes import near_miss, near_misses
from pgnet_trio.client.account import AccountRequests
from pgnet_trio.client.address import parse_addresses
from pgnet_trio.client.callbacks import Hooks
from pgnet_trio.client.connector import Connector, LocalConnector, LocalServer, RemoteConnector
from pgnet_trio.client.endpoint import Credentials
from pgnet_trio.client.lobby import LobbyRequests
from pgnet_trio.client.playing import GamePlaying
from pgnet_trio.client.reading import GameReading
from pgnet_trio.client.route import Route
from pgnet_trio.client.run import CLOSED_HERE, NOT_CONNECTED, ClientRun
from pgnet_trio.client.standings import StandingRequests
from pgnet_trio.crypto import decode_public_key
from pgnet_trio.environment import Environment, require_trio
from pgnet_trio.errors import CodecError, Disconnected
from pgnet_trio.messages import (
    DEFAULT_PORT,
    Packet,
    Request,
    Response,
    Status,
    check_port,
)
from pgnet_trio.transport import choose
from pgnet_trio.typed import to_packet, whats_given

if TYPE_CHECKING:
    from pgnet_trio.client.outbox import Callback
    from pgnet_trio.client.search import Search
    from pgnet_trio.game import Game

__all__ = ["Client"]

logger = logging.getLogger("pgnet_trio.client")

ModelT = TypeVar("ModelT")

_TOLD_LATE = frozenset({"on_state", "on_players", "on_push", "on_question"})
_EVENTS = tuple(name for name in vars(Hooks)["__annotations__"] if name.startswith("on_"))


def _misspelt(cls: type, name: str, meant: str) -> str:
    return f"{cls.__name__}.{name}: a client has no such event; did you mean {meant}?"


class Client(LobbyRequests, AccountRequests, StandingRequests, GameReading, GamePlaying):
    """A user on a server, made by `Client.remote` or `Client.local`.

    Use it as ``async with client:``; inside the block it is connected and logged in. A program
    that is driven by events starts `run` as a background task instead. Any number of tasks may
    use a client at the same time.

    Events are attributes: override them in a subclass, or assign functions. The client calls them
    one at a time and in order, each with one argument. An event may be async, and may await
    requests. An event or callback that raises ends the client with that error. ``on_players``,
    ``on_state``, ``on_push`` and ``on_question`` are called with what is current, and not read yet,
    when they are assigned.

    Attributes:
        on_connection: Called with True when logged in, with False when the session ended.
        on_online: Called with False when the connection dropped, with True when it is back.
        on_status: Called with a text for people whenever `status` changes.
        on_announcement: Called with what whoever runs the server says to its users, a text.
        on_invitation: Called with each `Invitation` to a game.
        on_game: Called with the name of the game that was joined, or None when it was left.
        on_players: Called with `players` whenever they change.
        on_heartbeat: Called with the game's answer to each heartbeat.
        on_push: Called with each `Push`.
        on_lost_pushes: Called with how many pushes the server has dropped; see `LostPushes`.
        on_state: Called with the latest state, as plain data, after it changed.
        on_question: Called with each `Question`.
    """

    on_connection: Callable[..., Any] | None = None
    on_online: Callable[..., Any] | None = None
    on_status: Callable[..., Any] | None = None
    on_announcement: Callable[..., Any] | None = None
    on_invitation: Callable[..., Any] | None = None
    on_game: Callable[..., Any] | None = None
    on_players: Callable[..., Any] | None = None
    on_heartbeat: Callable[..., Any] | None = None
    on_push: Callable[..., Any] | None = None
    on_lost_pushes: Callable[..., Any] | None = None
    on_state: Callable[..., Any] | None = None
    on_question: Callable[..., Any] | None = None

    _run_class: ClassVar[type[ClientRun]] = ClientRun

    def __init__(
        self,
        connector: Connector,
        /,
        *others: Connector,
        username: str,
        password: str = "",
        invite_code: str = "",
        verify_server_pubkey: str = "",
        minimum_protocol: int = 1,
        reconnect_for: float | EllipsisType | None = ...,
        environment: Environment | None = None,
    ) -> None:
        """Use `Client.remote` or `Client.local` instead."""
        if minimum_protocol not in (1, 2):
            raise ValueError(f"minimum_protocol: expected 1 or 2, got {minimum_protocol!r}.")
        if isinstance(reconnect_for, (int, float)) and not reconnect_for >= 0:
            raise ValueError(
                f"reconnect_for: expected seconds, or None for ever; got {reconnect_for!r}."
            )
        # Several ways to one server, or to servers that look like one.
        self._connectors = (connector, *others)
        self._credentials = Credentials(username, password, invite_code, verify_server_pubkey)
        self._minimum_protocol = minimum_protocol
        self._reconnect_for = reconnect_for
        self._environment = environment or Environment()
        self._opened: AbstractAsyncContextManager[None] | None = None
        # A stand-in until the first connect: a run that never begins, for the properties to read.
        self._run = self._make_run("New client.")
        self._run.view.end(Disconnected(NOT_CONNECTED))

    def _make_run(self, status: str) -> ClientRun:
        return self._run_class(
            self,
            Route(self._connectors, self._environment.random_bytes),
            self._credentials,
            self._environment,
            status=status,
            minimum_protocol=self._minimum_protocol,
            reconnect_for=self._reconnect_for,
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
        reconnect_for: float | EllipsisType | None = ...,
        transport: str | None = None,
        environment: Environment | None = None,
    ) -> Self:
        """Make a client of a server somewhere else.

        Args:
            address: ``host``, ``host:port``, ``[v6]:port``, ``ws://…`` or ``wss://…``. Or several
                of these with commas between them, for several servers that look like one: the
                client tries them in random order.
            username: Who logs in; an unknown user is registered, where the server allows it.
            password: The user's password.
            invite_code: A code from the server's admin, for a new user, or for one who sets a new
                password instead of a forgotten one.
            port: The port, where an address names none.
            verify_server_pubkey: The server's public key in base64. The client tells a server with
                another key nothing secret. Empty: it takes any key.
            minimum_protocol: 2 refuses servers of PGNet, whose protocol has no forward secrecy.
                With 1, the client speaks the older protocol too, but only at a first contact with
                no key to verify; `protocol` says which one it is.
            reconnect_for: Seconds for which the client tries to replace a dropped connection; 0
                for never, None for ever. Left out, they are what the server says at the log-in: at
                least 60, and more than its `resume_grace`. Requests wait meanwhile.
            transport: The WebSocket library: ``"trio-websocket"``, ``"websockets"``, or None for
                the fastest that is installed.
            environment: Randomness, to replace in tests.

        Raises:
            AddressError: *address* is no address, or not all of several are; the error is a
                ValueError too.
            CryptoError: *verify_server_pubkey* is no public key.
            ValueError: There is no such port or transport.
        """
        check_port(port, to_connect=True)
        if verify_server_pubkey:
            # A key with a mistake would look like another server at each connection.
            decode_public_key(verify_server_pubkey)
        implementation = choose(transport)
        ways = [RemoteConnector(each, implementation) for each in parse_addresses(address, port)]
        return cls(
            *ways,
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
        state = "connected" if self._run.connected else "not connected"
        where = ",".join(map(str, self._connectors))
        return f"<{type(self).__name__} {self.username!r} at {where}, {state}>"

    @property
    def username(self) -> str:
        """Who this client is, or will be when it is logged in."""
        return self._credentials.username

    @property
    def connected(self) -> bool:
        """Whether this client is logged in, also while it replaces a dropped connection."""
        return self._run.connected

    @property
    def online(self) -> bool:
        """Whether there is a connection now."""
        return self._run.online

    @property
    def protocol(self) -> int | None:
        """The version of the protocol in use; None before the first connection."""
        return self._run.session.protocol

    @property
    def server_pubkey(self) -> str | None:
        """The server's public key in base64; None where there is none, or not yet."""
        return self._run.session.server_pubkey

    @property
    def status(self) -> str:
        """How things are, for people."""
        return self._run.status

    @property
    def game(self) -> str | None:
        """The name of the game that the user is in, or None."""
        return self._run.game.name

    @property
    def close_reason(self) -> str:
        """Why the last session ended; empty before that."""
        return self._run.close_reason

    @property
    def close_code(self) -> str:
        """The same for programs: a `ReasonCode`; empty where the server has said none."""
        return self._run.close_code

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Check the names of a subclass, so that a misspelt event shows at once.

        Raises:
            TypeError: The class defines nearly the name of an event for what nothing uses.
        """
        super().__init_subclass__(**kwargs)
        for name, meant in near_misses(cls, Client, lambda value: _EVENTS):
            raise TypeError(_misspelt(cls, name, meant))

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("on_") and not hasattr(self, name):
            meant = near_miss(name, _EVENTS)
            if meant is not None:
                raise AttributeError(_misspelt(type(self), name, meant))
        is_late = name in _TOLD_LATE and value is not None and getattr(self, name) is None
        super().__setattr__(name, value)
        if is_late:
            self._run.tell_current(name)

    def heartbeat_payload(self) -> dict[str, Any]:
        """Return what each heartbeat tells the game; override it to tell something."""
        return {}

    async def __aenter__(self) -> Self:
        """Connect and log in.

        Raises:
            ConnectFailed: The server was not reached.
            LoginRefused: The server did not let this user in.
            ServerKeyMismatch: The server has another key than it should.
            RuntimeError: The client is in use already, or Trio does not run.
        """
        require_trio()
        if self._run.in_use:
            await trio.lowlevel.checkpoint()
            raise RuntimeError("This client is in use already: one connection at a time.")
        self._run = self._make_run(self._run.status)
        opened = self._run.open()
        await opened.__aenter__()
        self._opened = opened
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """Disconnect, and make the calls of callbacks and events that wait.

        After a block that raised nothing, what `send` has queued leaves first, and callbacks get
        their answers; that may take 10 seconds.

        Raises:
            Disconnected: It took longer; the error says how many messages were not sent.
            ServerKeyMismatch: The client gave up coming back, since the server has another key
                than before.
            Exception: What a callback or event raised, bare; the body's own error comes first.
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
            ServerKeyMismatch: The server has another key than it should, or, at a reconnect, than
                before.
            Exception: What a callback or event raised.
        """
        async with self:
            run = self._run
            task_status.started(self)
            await run.ended.wait()
        # An event may have begun the next run by now.
        return run.close_reason

    def disconnect(self) -> None:
        """End the session; never waits. Whoever waits for an answer gets Disconnected."""
        self._run.session.end(CLOSED_HERE)

    async def request(self, packet: Packet) -> Response:
        """Send a packet and wait for the answer.

        While the connection is dropped and may come back, the request waits. A request that is
        cancelled before it was sent did not happen; after that it may have happened, and the
        client throws its answer away.

        Returns:
            The answer, whatever its status.

        Raises:
            Disconnected: There is no connection, or it ended before the answer came.
            SessionLost: The same, and the server does not know the session any more.
            CodecError: The payload cannot travel.
            SendQueueFull: Too many messages wait already.
            TypeError: *packet* is no `Packet`.
        """
        given: object = packet
        if not isinstance(given, Packet):
            await trio.lowlevel.checkpoint()
            raise TypeError(
                f"request() takes a Packet, got {whats_given(given)}; use call() for typed messages"
            )
        response = await self._run.request(given)
        if given.message == Request.CHANGE_PASSWORD and response.status == Status.OK:
            # By whatever way it was asked for: this client comes back with the new one.
            self._use_password(given.payload.get("new_password", ""))
        return response

    def _look_for_game(
        self, queue: str, properties: dict[str, Any] | None, *, accept: bool
    ) -> AbstractAsyncContextManager[Search]:
        return self._run.search.look(queue, properties, accept=accept)

    def _use_password(self, password: str) -> None:
        self._credentials = attrs.evolve(self._credentials, password=password)
        self._run.session.use_password(password)

    async def _request_next(self, packet: Packet) -> Response:
        return await self._run.request(packet, do_next=True)

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
        try:
            packet = to_packet(message)
        except Exception:
            await trio.lowlevel.checkpoint()
            raise
        response = (await self.request(packet)).raise_for_status()
        if answer is None:
            return response
        try:
            return response.read(answer)
        except CodecError as error:
            what = f"The answer to {packet.message}"
            raise self._run.view.explain(error, what, answer) from error.__cause__

    def send(
        self, message: object, callback: Callback | None = None, /, do_next: bool = False
    ) -> None:
        """Queue a message; never waits. Without a session the client drops it, with a warning.

        Without a callback, only the logs say what became of it: at level DEBUG the client's log
        names every message that is sent; at INFO the server's names a message that was refused,
        once in each game.

        Args:
            message: A packet, or an attrs model.
            callback: Called with the answer; may be async.
            do_next: Whether it is sent before everything else that waits; several such messages
                keep their order.

        Raises:
            CodecError: The payload cannot travel.
            SendQueueFull: Too many messages wait already.
        """
        self._run.send(to_packet(message), callback, do_next=do_next)

    def flush_queue(self) -> None:
        """Forget the packets of `send` that have not been sent yet, with their callbacks."""
        dropped = self._run.outbox.drop_unsent()
        if dropped:
            logger.info("Dropped %d messages that were not sent yet", dropped)

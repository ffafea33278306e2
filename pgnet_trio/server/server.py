"""`Server`: the nursery tree in which games are hosted, and its shutdown."""

from __future__ import annotations

import functools
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import EllipsisType
from typing import TYPE_CHECKING, Any, Literal

import trio

from pgnet_trio.crypto import KeyPair
from pgnet_trio.environment import Environment, require_trio
from pgnet_trio.errors import ServerError, StorageError, bare
from pgnet_trio.messages import ADMIN_USERNAME, DEFAULT_PORT, check_port
from pgnet_trio.protocol.v2 import SUBPROTOCOL
from pgnet_trio.server.accounts import AccountRefusal, Accounts
from pgnet_trio.server.connections.connection import handle_stream, handle_transport
from pgnet_trio.server.connections.listeners import open_listeners
from pgnet_trio.server.context import Host
from pgnet_trio.server.games.archive import Archive
from pgnet_trio.server.games.autosave import autosave
from pgnet_trio.server.limits import Limits
from pgnet_trio.server.options import check_game, check_hook, check_switch, check_text
from pgnet_trio.server.refusals import SHUTTING_DOWN, RoomClosed
from pgnet_trio.server.watchdog import Watchdog
from pgnet_trio.storage import keep_key, key_file_of, open_store, read_key
from pgnet_trio.storage.interface import SavedState, Store, UserRecord
from pgnet_trio.transport import Transport, choose, memory_pair

if TYPE_CHECKING:
    from pgnet_trio.game import Game
    from pgnet_trio.server.games.lobby import GameEntry
    from pgnet_trio.server.room.room import RoomTask

__all__ = ["Server"]

logger = logging.getLogger("pgnet_trio.server")

SHUTDOWN_DEADLINE = 5.0
"""Seconds that games get for their last turns, and then connections for their last messages."""

CANCELLED_DEADLINE = 2.0
"""The same when `Server.serve` was cancelled, and somebody waits for it to be gone."""

LAST_WRITE_DEADLINE = 30.0
"""Seconds that the last write to the save file may take."""


class Server:
    """Hosts games of one class for users who connect to it.

    ``trio.run(server.serve)`` runs it, and ``port = await nursery.start(server.serve)`` runs it
    beside other tasks.

    Args:
        game: The class of the games; called with a name and ``save_string=``.
        listen_globally: Whether to listen on all of the machine's addresses, not only loopback.
        port: The TCP port; 0 for any that is free, None for none.
        admin_password: The password of the user ``admin``; without one, or with an empty one,
            admin log-in is off.
        registration_enabled: Whether unknown users may register. A saved switch goes before it.
        require_user_password: Whether new users need a password that is not empty.
        on_connection: Called with a username and True when a user has logged in, and with False
            when they are gone. May be async. What it raises is logged.
        verbose_logging: Whether to log every packet and response.
        save_file: Where to save: the original's JSON where the name ends in ``.json``, SQLite
            otherwise. A store of your own may stand for the file. None: nothing is saved.
        key_file: Where the server's private key lies; by default ``<save_file>.key``. With
            neither, the key is new for each server.
        autosave_interval: Seconds from one save of the games to the next.
        transport: The WebSocket library: ``"trio-websocket"``, ``"websockets"``, or None for the
            fastest that is installed.
        environment: Randomness, hashing and blocking calls, to replace in tests.
        resume_grace: Seconds that a session outlives a dropped connection, with protocol 2; its
            user keeps their place in the game meanwhile. 0: none.
        duplicate_login: What happens to a log-in, with the right password, of a user who is
            connected already: ``"take_over"`` gives it the seat, and the older client is told;
            ``"refuse"`` refuses it. Clients with protocol 1 are always refused.
        minimum_protocol: 2 refuses clients of PGNet, whose protocol has no forward secrecy.
        watchdog: Seconds after which a game that holds up all others, by a call that blocks, is
            named in the log, with the line; None: it is not looked for.
        limits: Every limit of `Limits` by its name, such as ``max_connections=100``; None
            switches one off.

    Raises:
        StorageError: The key file cannot be used.
        TypeError: An option is of another type, or there is none of that name.
        ValueError: An option makes no sense.
    """

    def __init__(
        self,
        game: Callable[..., Game],
        /,
        *,
        listen_globally: bool = False,
        port: int | None = DEFAULT_PORT,
        admin_password: str | None = None,
        registration_enabled: bool = True,
        require_user_password: bool = False,
        on_connection: Callable[[str, bool], Any] | None = None,
        verbose_logging: bool = False,
        save_file: str | Path | Store | None = None,
        key_file: str | Path | None = None,
        autosave_interval: float = 10.0,
        transport: str | None = None,
        environment: Environment | None = None,
        resume_grace: float = 30.0,
        duplicate_login: Literal["take_over", "refuse"] = "take_over",
        minimum_protocol: int = 1,
        watchdog: float | None = 0.25,
        **limits: Any,
    ) -> None:
        unknown = limits.keys() - {field.name for field in Limits.__attrs_attrs__}
        if unknown:
            raise TypeError(f"Server() has no option {', '.join(map(repr, sorted(unknown)))}")
        check_game(game)
        check_port(port)
        check_switch("listen_globally", listen_globally)
        check_text("admin_password", admin_password)
        check_switch("registration_enabled", registration_enabled)
        check_switch("require_user_password", require_user_password)
        check_hook("on_connection", on_connection)
        check_switch("verbose_logging", verbose_logging)
        if not autosave_interval > 0:
            raise ValueError(f"autosave_interval has to be over 0 s; got {autosave_interval!r}.")
        if not resume_grace >= 0:
            raise ValueError(f"resume_grace has to be 0 s or more; got {resume_grace!r}.")
        if duplicate_login not in ("take_over", "refuse"):
            raise ValueError(
                f"duplicate_login: expected 'take_over' or 'refuse', got {duplicate_login!r}."
            )
        if watchdog is not None and not watchdog > 0:
            raise ValueError(f"watchdog has to be over 0 s, or None; got {watchdog!r}.")
        if minimum_protocol not in (1, 2):
            raise ValueError(f"minimum_protocol: expected 1 or 2, got {minimum_protocol!r}.")
        self._environment = environment or Environment()
        self._store = save_file if isinstance(save_file, Store) else None
        self._save_file = None
        if save_file is not None and not isinstance(save_file, Store):
            self._save_file = Path(save_file)
        self._key_file = None if key_file is None else Path(key_file)
        if self._key_file is None and self._save_file is not None:
            self._key_file = key_file_of(self._save_file)
        # A new one is written when the server runs: one that does not get as far leaves no file.
        key = None if self._key_file is None else read_key(self._key_file)
        self._key_is_new = key is None
        self._listen_globally = listen_globally
        self._port = port
        # An empty one, of a variable that is not set perhaps, would let everybody in.
        self._admin_password = admin_password or None
        self._registration_enabled = registration_enabled
        self._require_user_password = require_user_password
        self._autosave_interval = autosave_interval
        self._implementation = choose(transport)
        self._limits = Limits(**limits)
        self._host = Host(
            game,
            key=key or KeyPair.generate(self._environment.random_bytes),
            limits=self._limits,
            environment=self._environment,
            saves=save_file is not None,
            names_unsaved_games=self._save_file is not None,
            verbose_logging=verbose_logging,
            on_connection=on_connection,
            resume_grace=resume_grace,
            duplicate_login=duplicate_login,
            minimum_protocol=minimum_protocol,
            watchdog=Watchdog(watchdog),
        )
        self._accounts: Accounts | None = None
        self._connections: trio.Nursery | None = None
        self._running = False
        self._patience = SHUTDOWN_DEADLINE
        self._last_turns = self._last_messages = trio.CancelScope()
        self._actual_port: int | None = None

    def __repr__(self) -> str:
        where = f"port {self._actual_port}" if self._actual_port is not None else "no open port"
        return f"<{type(self).__name__} {'running' if self._running else 'stopped'}, {where}>"

    @property
    def pubkey(self) -> str:
        """The server's public key in base64, for clients that verify it.

        A key that is not in its file yet is written there once the server runs.
        """
        return self._host.key.pubkey

    @property
    def port(self) -> int | None:
        """The port that is listened on; None while none is."""
        return self._actual_port

    @property
    def registration_enabled(self) -> bool:
        """Whether unknown users may register; may be assigned at any time."""
        if self._accounts is None:
            return self._registration_enabled
        return self._accounts.registration_enabled

    @registration_enabled.setter
    def registration_enabled(self, enabled: bool) -> None:
        check_switch("registration_enabled", enabled)
        self._registration_enabled = enabled
        if self._accounts is not None:
            self._accounts.registration_enabled = enabled

    @property
    def verbose_logging(self) -> bool:
        """Whether every packet and response is logged; may be assigned at any time."""
        return self._host.verbose_logging

    @verbose_logging.setter
    def verbose_logging(self, verbose: bool) -> None:
        check_switch("verbose_logging", verbose)
        self._host.verbose_logging = verbose

    @property
    def on_connection(self) -> Callable[[str, bool], Any] | None:
        """Called when users come and go; may be assigned at any time."""
        return self._host.on_connection

    @on_connection.setter
    def on_connection(self, hook: Callable[[str, bool], Any] | None) -> None:
        self._host.on_connection = hook

    def shutdown(self, result: int = 0, /) -> None:
        """Have the server shut down in good order; does nothing where it is not running.

        Args:
            result: What `serve` returns, as an exit code; -1 asks for a reboot.
        """
        if self._running:
            self._host.shut_down(result)

    def delete_user(self, username: str) -> None:
        """Disconnect and delete a user; soon after this returns, the name is free again.

        Raises:
            ServerError: The server is not running.
            AccountRefusal: There is no such user, or it is the admin, who stays.
        """
        if not self._running or self._accounts is None:
            raise ServerError("The server is not running; users can be deleted while it is.")
        self._accounts.check_deletable(username)
        self._host.services.start_soon(self._delete_user, username)

    def connect_in_memory(self, *, protocol: int = 2) -> Transport:
        """Open a link to this server inside the process, without any port.

        Args:
            protocol: The version of the protocol to speak over it.

        Returns:
            The client's end of the link.

        Raises:
            ServerError: The server is not running.
        """
        if self._connections is None:
            raise ServerError("The server is not running; start it before connecting to it.")
        near, far = memory_pair(subprotocol=SUBPROTOCOL if protocol == 2 else None)
        self.serve_transport(far)
        return near

    def serve_transport(self, transport: Transport) -> None:
        """Take a link as that of a client; never waits, and closes it at its end.

        Args:
            transport: The server's end of the link. One whose `peer` is ``"memory"`` is neither
                encrypted nor limited; any other is like a connection over the network.

        Raises:
            ServerError: The server is not running.
        """
        if self._connections is None:
            raise ServerError("The server is not running; start it before connecting to it.")
        self._connections.start_soon(handle_transport, self._host, transport)

    async def serve(
        self,
        *,
        port: int | EllipsisType | None = ...,
        task_status: trio.TaskStatus[int | None] = trio.TASK_STATUS_IGNORED,
    ) -> int:
        """Host games until `shutdown` is called, or the admin requests it.

        Started, with the port, once clients can connect. Cancellation shuts down too, with less
        patience, and with none where a shutdown is under way: the games are saved all the same.

        Args:
            port: For this run, another port than the constructor was given, or None for none.
            task_status: Started with the port.

        Returns:
            The exit code given to `shutdown`.

        Raises:
            ServerError: It is running already, or the port cannot be listened on.
            ValueError: There is no such port.
            StorageError: The save file or the key file cannot be used; it is left as it was.
        """
        require_trio()
        port = self._port if isinstance(port, EllipsisType) else port
        check_port(port)
        if self._running:
            raise ServerError("This server is running already; one run at a time.")
        self._running = True
        self._host.stopping = trio.Event()
        self._host.exit_code = 0
        self._host.closing = False
        try:
            async with self._archive() as saved:
                await self._set_up(saved)
                listeners = []
                if port is not None:
                    listeners = await open_listeners(port, listen_globally=self._listen_globally)
                    self._actual_port = listeners[0].socket.getsockname()[1]
                    if self._listen_globally and self._key_file is None:
                        logger.warning(
                            "The key of this server is new at each run, so that clients cannot "
                            "tell it from another; give it a save file or a key file (--save-file, "
                            "--key-file; in a program, save_file= or key_file=)"
                        )
                await self._run(saved, listeners, task_status)
            return self._host.exit_code
        finally:
            self._running = False
            self._actual_port = None

    @asynccontextmanager
    async def _archive(self) -> AsyncIterator[SavedState]:
        store = self._store
        if self._save_file is not None:
            store = open_store(self._save_file)
        self._host.archive = archive = Archive(store, self._environment)
        try:
            yield await archive.load()
        finally:
            with trio.move_on_after(LAST_WRITE_DEADLINE, shield=True):
                await archive.close()

    async def _set_up(self, saved: SavedState) -> None:
        if self._key_is_new and self._key_file is not None:
            self._host.key = await self._environment.run_blocking(
                keep_key, self._key_file, self._host.key, abandon_on_cancel=False
            )
            self._key_is_new = False
        if saved.registration not in (None, self._registration_enabled):
            logger.info("Registration is %s, as it was saved", _switch(saved.registration))
        admin = None
        if self._admin_password is not None:
            record = await self._host.hash_password(
                self._environment.password_hasher.hash, self._admin_password
            )
            admin = UserRecord(ADMIN_USERNAME, "", record)
        if self._accounts is None or self._host.saves:
            self._accounts = Accounts(
                saved,
                registration_enabled=self._registration_enabled,
                require_user_password=self._require_user_password,
                admin=admin,
            )
        self._host.accounts = self._accounts

    async def _run(
        self,
        saved: SavedState,
        listeners: list[trio.SocketListener],
        task_status: trio.TaskStatus[int | None],
    ) -> None:
        finished = trio.Event()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._host_games, saved, listeners, task_status, finished)
                try:
                    await finished.wait()
                finally:
                    # Reached early by a cancellation, or by Ctrl-C in a program of this alone.
                    if not finished.is_set():
                        if self._host.stopping.is_set():
                            self._patience = 0.0
                            self._last_turns.cancel()
                            self._last_messages.deadline = trio.current_time()
                        else:
                            self._patience = CANCELLED_DEADLINE
                            self._host.shut_down(0)
                        with trio.CancelScope(shield=True):
                            await finished.wait()
        except BaseExceptionGroup as group:
            raise bare(group) from None

    # Ctrl-C is for whoever runs the server, or for a game that does not come to an end, but not
    # for the shutdown.
    @trio.lowlevel.enable_ki_protection
    async def _host_games(
        self,
        saved: SavedState,
        listeners: list[trio.SocketListener],
        task_status: trio.TaskStatus[int | None],
        finished: trio.Event,
    ) -> None:
        host = self._host
        self._patience = SHUTDOWN_DEADLINE
        self._last_turns = self._last_messages = trio.CancelScope()
        host.watchdog.start()
        try:
            with trio.CancelScope(shield=True):
                async with trio.open_nursery() as services:
                    host.services = services
                    await self._open_saved_games(saved)
                    services.start_soon(autosave, host, self._autosave_interval)
                    entries: list[GameEntry[RoomTask]] = []
                    # A Ctrl-C that strikes a connection's task ends the server through these
                    # nurseries, and the games are saved all the same.
                    try:
                        async with trio.open_nursery() as connections:
                            self._connections = connections
                            try:
                                async with trio.open_nursery() as accept:
                                    accept.start_soon(self._accept, listeners, connections)
                                    task_status.started(self._actual_port)
                                    logger.info("Serving: %r", self)
                                    await host.stopping.wait()
                                    accept.cancel_scope.cancel()
                            finally:
                                self._connections = None
                                entries = list(host.lobby)
                                with trio.CancelScope(shield=True):
                                    await self._wind_down(connections)
                    finally:
                        with trio.CancelScope(shield=True):
                            await self._write_at_the_end(entries)
                    services.cancel_scope.cancel()
            logger.info("Stopped with exit code %d", host.exit_code)
        finally:
            host.watchdog.stop()
            finished.set()

    async def _accept(
        self, listeners: list[trio.SocketListener], connections: trio.Nursery
    ) -> None:
        handler = functools.partial(handle_stream, self._host, self._implementation)
        if listeners:
            await trio.serve_listeners(handler, listeners, handler_nursery=connections)

    async def _open_saved_games(self, saved: SavedState) -> None:
        for game in saved.games.values():
            if self._host.saved_game(game.name) is None:
                # It ended in the run before, and that could not be written.
                continue
            try:
                await self._host.open_saved_game(game)
            except RoomClosed as error:
                logger.error(
                    "A saved game stays in the save file as it is, until it is joined and can be "
                    "made, or destroyed by the admin: %s",
                    error,
                )

    async def _wind_down(self, connections: trio.Nursery) -> None:
        host = self._host
        host.closing = True
        with self._last_turns:
            self._last_turns.deadline = trio.current_time() + self._patience
            async with trio.open_nursery() as nursery:
                for entry in host.lobby:
                    nursery.start_soon(entry.room.finish)
        for session in list(host.sessions.values()):
            session.end(SHUTTING_DOWN)
        self._last_messages = connections.cancel_scope
        self._last_messages.deadline = trio.current_time() + self._patience

    async def _write_at_the_end(self, entries: list[GameEntry[RoomTask]]) -> None:
        with trio.move_on_after(LAST_WRITE_DEADLINE) as scope:
            try:
                await self._host.write_games(entries, abandon_on_cancel=True)
            except StorageError as error:
                logger.error("The last save failed; the save file is as it was before: %s", error)
        if scope.cancelled_caught:
            logger.error("The last save did not end within %g s", LAST_WRITE_DEADLINE)

    async def _delete_user(self, username: str) -> None:
        try:
            await self._host.delete_user(username)
        except AccountRefusal as error:
            # Somebody else has deleted them meanwhile.
            logger.info("The user %s was not deleted: %s", username, error)
        except StorageError as error:
            logger.error("The user %s could not be deleted: %s", username, error)


def _switch(enabled: bool | None) -> str:
    return "on" if enabled else "off"

"""One run of a server: the nursery tree, and the order in which it ends.

::

    services            autosave; the queues; the bans; one task for each room; sessions at work
    └ connections       one task for each connection
      └ accept          the listeners

What is further in ends first: the listeners go while connections still work, the connections go
while rooms still answer, and rooms, sessions and autosave go last. See ``docs/design``.

It is a little long: the order of the end is only seen with all that ends side by side.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING

import trio

from pgnet_trio.errors import StorageError, bare
from pgnet_trio.foreign_text import one_line
from pgnet_trio.game import Game
from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.recording import describe_game
from pgnet_trio.server.admission import ArrivalPace, ConnectionCounts
from pgnet_trio.server.bots import run_bot
from pgnet_trio.server.cluster.errors import EngineError
from pgnet_trio.server.cluster.shared_accounts import SharedAccounts
from pgnet_trio.server.clustering import ClusterHost
from pgnet_trio.server.connections.listeners import accept_connections, open_listeners
from pgnet_trio.server.connections.serving import handle_passed, handle_socket
from pgnet_trio.server.context import ServerContext
from pgnet_trio.server.counters import Counters
from pgnet_trio.server.draining import Drain
from pgnet_trio.server.games.archive import Archive
from pgnet_trio.server.games.claims import LocalClaims, RoomClaims
from pgnet_trio.server.games.registry import GameRegistry
from pgnet_trio.server.games.saves import Saves
from pgnet_trio.server.http.pages import Pages
from pgnet_trio.server.http.router import Health, Router
from pgnet_trio.server.making import keep_rooms
from pgnet_trio.server.matchmaking.matchmaker import Matchmaker
from pgnet_trio.server.moderation.keeper import BanKeeper
from pgnet_trio.server.preparation import Carryover, Prepared, key_file, prepare
from pgnet_trio.server.recording.room import RecordedRoom
from pgnet_trio.server.recording.writer import RecordingWriter
from pgnet_trio.server.refusals import SHUTTING_DOWN
from pgnet_trio.server.room.room import RoomTask
from pgnet_trio.server.sessions.registry import SessionRegistry
from pgnet_trio.server.shutdown import Shutdown
from pgnet_trio.server.users import put_out_banned
from pgnet_trio.server.watchdog import Watchdog
from pgnet_trio.storage import open_store

if TYPE_CHECKING:
    from pgnet_trio.server.monitor.listener import MonitorListener
    from pgnet_trio.server.node.link import ClusterLink
    from pgnet_trio.server.node.member import ClusterMember
    from pgnet_trio.server.options import Options
    from pgnet_trio.server.workers.passing import Workers
    from pgnet_trio.storage.interface import SavedState

__all__ = ["Run"]

logger = logging.getLogger("pgnet_trio.server")

SHUTDOWN_DEADLINE = 5.0
"""Seconds that games get for their last turns, and then connections for their last messages."""

CANCELLED_DEADLINE = 2.0
"""The same when `Server.serve` was cancelled: whoever cancelled it wants it gone soon."""

LONGEST_END = 1.0
"""Seconds that games get to end when everything is saved, before the log says that they do not."""


class Run:
    """Hosts games from the loading of the save file to the last write.

    Args:
        options: What the server was made with.
        carryover: What the runs before have left, and this one leaves.
        port: The port to listen on; 0 for any that is free, None for none.
        workers: The processes that look like one server with this one, and what they listen on,
            instead of a port; None where it is alone.

    Attributes:
        shutdown: Whether the run is to end, and is ending.
        port: The port that is listened on; None while none is.
        context: What the run's tasks share; None before the first client may connect, and after
            everything has ended.
        accepting: Whether clients may connect.
    """

    def __init__(
        self,
        options: Options,
        carryover: Carryover,
        port: int | None,
        workers: Workers | None = None,
    ) -> None:
        self.shutdown = Shutdown()
        self.port: int | None = None
        self.context: ServerContext | None = None
        self.accepting = False
        self._was_accepting = False
        self._options = options
        self._carryover = carryover
        self._wanted_port = port
        self._workers = workers
        game = options.game_class
        self._counters = Counters(
            "unknown" if game is None else game.__name__, measures=options.monitor is not None
        )
        self._monitor: MonitorListener | None = None
        if options.monitor is not None:
            # Here, since it takes an extra, and a while to be loaded.
            from pgnet_trio.server.monitor.listener import MonitorListener

            self._monitor = MonitorListener(options.monitor)
        # How long each part of the ending may take, and the scopes that cut it short.
        self._patience = SHUTDOWN_DEADLINE
        self._draining = trio.CancelScope()
        self._last_turns = trio.CancelScope()
        self._last_messages = trio.CancelScope()
        self._finished = trio.Event()
        # The games that the last save has not saved.
        self._unsaved: list[str] = []

    @property
    def monitor_port(self) -> int | None:
        """The port that the monitor listens on; None while it listens on none."""
        return None if self._monitor is None else self._monitor.port

    async def serve(self, started: Callable[[int | None], None]) -> int:
        """Host games until `shutdown` is requested; see `pgnet_trio.Server.serve`.

        Args:
            started: Called with the port once clients can connect.

        Returns:
            The exit code.

        Raises:
            StorageError: The save file hangs, and everything else has ended.
        """
        options, carryover = self._options, self._carryover
        async with (
            self._open_archive() as (archive, saved),
            key_file(options, carryover, self._is_known),
        ):
            prepared = await prepare(options, carryover, archive, saved, self._workers)
            listeners = await self._listen()
            try:
                if self._monitor is not None:
                    await self._monitor.open()
                await self._host_shielded(prepared, listeners, started)
            finally:
                if self._monitor is not None:
                    await self._monitor.close()
                # Also where this was cancelled meanwhile: it is for the whole program.
                if self._workers is not None:
                    self._workers.note_end(restarting=self.shutdown.restarting)
                if self.shutdown.error is not None:
                    raise self.shutdown.error
        return self.shutdown.exit_code

    def _is_known(self) -> bool:
        """Return whether clients may know the server."""
        return self._was_accepting

    # Before the first client: load what is saved, and listen.

    @asynccontextmanager
    async def _open_archive(self) -> AsyncIterator[tuple[Archive, SavedState]]:
        options = self._options
        store = options.store if options.save_file is None else open_store(options.save_file)
        archive = Archive(store, options.environment)
        try:
            yield archive, await archive.load()
        except BaseException as error:
            await archive.close()
            # Also instead of a cancellation: whoever ends the process has to know of the thread.
            if archive.hangs and isinstance(error, trio.Cancelled):
                raise self._hang_error() from None
            raise
        await archive.close()
        if archive.hangs:
            raise self._hang_error()

    def _hang_error(self) -> StorageError:
        return StorageError(
            "the save file does not answer, and the thread that writes to it hangs; not saved: "
            f"{', '.join(map(repr, self._unsaved)) or 'no game'}"
        )

    async def _listen(self) -> list[socket.socket]:
        if self._wanted_port is None:
            return []
        options = self._options
        if self._workers is None:
            listeners = await open_listeners(
                self._wanted_port, listen_globally=options.listen_globally
            )
        else:
            await trio.lowlevel.checkpoint()
            listeners = self._workers.open_listeners()
        self.port = listeners[0].getsockname()[1]
        if options.listen_globally and options.key_file is None:
            logger.warning(
                "The key of this server is new at each run, so that clients cannot "
                "tell it from another; give it a save file or a key file (--save-file, "
                "--key-file; in a program, save_file= or key_file=)"
            )
        return listeners

    # While clients connect.

    async def _host_shielded(
        self,
        prepared: Prepared,
        listeners: list[socket.socket],
        started: Callable[[int | None], None],
    ) -> None:
        """Host games in a task that no cancellation reaches: it asks for a shutdown instead."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._host, prepared, listeners, started)
                try:
                    await self._finished.wait()
                finally:
                    # Not finished: this was cancelled, or Ctrl-C struck while nothing else ran.
                    if not self._finished.is_set():
                        self._hurry()
                        with trio.CancelScope(shield=True):
                            await self._finished.wait()
        except BaseExceptionGroup as group:
            raise bare(group) from None

    def _hurry(self) -> None:
        """Shut down with less patience, and with none where that is under way already."""
        if self.shutdown.requested.is_set():
            self._patience = 0.0
            self._draining.cancel()
            self._last_turns.cancel()
            self._last_messages.deadline = trio.current_time()
        else:
            self._patience = CANCELLED_DEADLINE
            self._draining.cancel()
            self.shutdown.request(0)

    # Ctrl-C is for whoever runs the server, or for a game that does not come to an end, but not
    # for the shutdown.
    @trio.lowlevel.enable_ki_protection
    async def _host(
        self,
        prepared: Prepared,
        listeners: list[socket.socket],
        started: Callable[[int | None], None],
    ) -> None:
        """Hold the whole nursery tree, and end it in order."""
        options = self._options
        watchdog = Watchdog(options.watchdog, options.watchdog_exit, self._counters)
        watchdog.start()
        try:
            with trio.CancelScope(shield=True):
                async with trio.open_nursery() as ending, _connected(prepared.link):
                    await self._host_games(prepared, listeners, started, watchdog, ending)
                    ending.cancel_scope.cancel()
            logger.info("Stopped with exit code %d", self.shutdown.exit_code)
        finally:
            self.context = None
            watchdog.stop()
            self._finished.set()

    async def _host_games(
        self,
        prepared: Prepared,
        listeners: list[socket.socket],
        started: Callable[[int | None], None],
        watchdog: Watchdog,
        ending: trio.Nursery,
    ) -> None:
        cluster = self._options.cluster
        async with trio.open_nursery() as services:
            saves, games = await self._open_games(prepared, watchdog, services)
            entries, host = [], None
            # A Ctrl-C that strikes a connection's task ends the server through these nurseries,
            # and the games are saved all the same.
            try:
                async with trio.open_nursery() as connections:
                    context = self._make_context(prepared, saves, games, services, connections)
                    if self._monitor is not None:
                        health = functools.partial(self._health, saves)
                        services.start_soon(self._monitor.run, context, health)
                    if context.matchmaker.has_queues:
                        services.start_soon(context.matchmaker.run)
                    drain = None
                    if prepared.link is not None and context.cluster is not None:
                        host = ClusterHost(context, prepared.link, context.cluster)
                        await services.start(self._run_node, prepared.link, context.cluster, host)
                        drain = Drain(context, prepared.link, host)
                    # Before anybody may come, and before the first mail of another server counts.
                    put_out = functools.partial(put_out_banned, context)
                    await services.start(context.bans.run, put_out)
                    await services.start(keep_rooms, context)
                    self.context, self.accepting = context, True
                    self._was_accepting = True
                    try:
                        async with trio.open_nursery() as accept:
                            accept.start_soon(self._accept, context, listeners)
                            if self._workers is not None:
                                await accept.start(self._receive, context, self._workers)
                            started(self.port)
                            await self.shutdown.requested.wait()
                            if self._may_drain and drain is not None and cluster is not None:
                                if self._workers is not None:
                                    self._workers.watch_end(self._draining.cancel)
                                with self._draining:
                                    await drain.run(cluster.drain_wait)
                            accept.cancel_scope.cancel()
                    finally:
                        self.accepting = False
                        # List the games before winding down: it takes them out of the lobby, and
                        # they are saved as they were, players included.
                        entries = list(games.lobby)
                        watchdog.write_last = lambda: saves.write_from_thread(entries)
                        with trio.CancelScope(shield=True):
                            await self._wind_down(context)
            finally:
                # The last message of every connection is out, or cut off, before this.
                with trio.CancelScope(shield=True):
                    self._unsaved = await saves.write_last(entries)
                    if host is not None:
                        await host.leave()
            self.context = None
            ending.start_soon(self._see_off, games)
            services.cancel_scope.cancel()

    @trio.lowlevel.enable_ki_protection
    async def _run_node(
        self,
        link: ClusterLink,
        member: ClusterMember,
        host: ClusterHost,
        *,
        task_status: trio.TaskStatus[None],
    ) -> None:
        """Be a node; where that is over, end the server in order.

        Raises:
            EngineError: It could not become one.
        """
        started = _Started(task_status)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(link.games.run)
                nursery.start_soon(member.run)
                await link.node.run(host, task_status=started)
                nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            error = bare(group)
            if not (isinstance(error, EngineError) and started.was_called):
                raise error from None
            logger.error("This server is no part of its cluster any more: %s", one_line(error))
            self.shutdown.request_by(error)

    @trio.lowlevel.enable_ki_protection
    async def _see_off(self, games: GameRegistry) -> None:
        """Name the games that go on when everything else has ended; end the process if possible."""
        await trio.sleep(LONGEST_END)
        logger.error(
            "The server has saved its games and ended, but for code that does not let itself be "
            "cancelled: %s",
            one_line(games.unended.describe()),
        )
        end_process = self._options.environment.end_process
        if end_process is not None:
            end_process(self.shutdown.exit_code)

    async def _open_games(
        self, prepared: Prepared, watchdog: Watchdog, services: trio.Nursery
    ) -> tuple[Saves, GameRegistry]:
        """Start the rooms of all saved games, and the autosave."""
        options, carryover = self._options, self._carryover
        store = prepared.archive if prepared.link is None else prepared.link.games
        saves = Saves(store, prepared.accounts, carryover.saves)
        recorded = await self._begin_recordings(services)
        make_room = functools.partial(
            recorded or RoomTask,
            question_ids=carryover.question_ids,
            watchdog=watchdog,
            counters=self._counters,
        )
        results = prepared.results()
        games = GameRegistry(options, make_room, saves, services, self.shutdown, run_bot, results)
        watchdog.write_last = lambda: saves.write_from_thread(list(games.lobby))
        await games.open_saved_games(prepared.saved)
        services.start_soon(saves.autosave, games.lobby, options.autosave_interval)
        if isinstance(prepared.service, SharedAccounts):
            services.start_soon(prepared.service.keep_count)
        return saves, games

    async def _begin_recordings(self, services: trio.Nursery) -> Callable[..., RoomTask] | None:
        """Begin to record tables; return what makes their rooms, or None where none is recorded."""
        options = self._options
        if options.record is None:
            await trio.lowlevel.checkpoint()
            return None
        game = describe_game(options.game_class, Game)
        writer = RecordingWriter(options.record, options.environment, game)
        await writer.prepare()
        services.start_soon(writer.run)
        return functools.partial(RecordedRoom, writer)

    def _make_context(
        self,
        prepared: Prepared,
        saves: Saves,
        games: GameRegistry,
        services: trio.Nursery,
        connections: trio.Nursery,
    ) -> ServerContext:
        options, link = self._options, prepared.link
        note_end = None if link is None else link.note_end
        sessions = SessionRegistry(options, games.lobby, services, note_end, games.cause_of)
        claims: RoomClaims = LocalClaims(saves) if link is None else link.games
        router = Router(options.site, options.origins, functools.partial(self._health, saves))
        return ServerContext(
            options=options,
            key=self._carryover.key,
            accounts=prepared.service,
            passwords=prepared.passwords,
            saves=saves,
            games=games,
            claims=claims,
            sessions=sessions,
            community=prepared.community,
            bans=BanKeeper(
                prepared.community, options.environment.wall_clock, shared=link is not None
            ),
            matchmaker=Matchmaker(games, options, self.shutdown, prepared.community, claims),
            arrivals=ArrivalPace(options.limits.max_logins_per_address),
            counts=ConnectionCounts(options.limits),
            counters=self._counters,
            pages=Pages(router, options.limits, options.environment),
            workers=self._workers,
            shutdown=self.shutdown,
            services=services,
            connections=connections,
            cluster=None if link is None else link.join(games, sessions),
        )

    @property
    def _may_drain(self) -> bool:
        """Whether other servers may be there that could go on with the games."""
        return self._workers is None or not self._workers.all_end

    def _health(self, saves: Saves) -> Health:
        if self.shutdown.requested.is_set():
            return "shutting down"
        return "cannot save" if saves.failing else "ok"

    async def _accept(self, context: ServerContext, listeners: list[socket.socket]) -> None:
        handle = functools.partial(handle_socket, context, self._options.implementation)
        await accept_connections(listeners, handle, context.connections)

    async def _receive(
        self,
        context: ServerContext,
        workers: Workers,
        *,
        task_status: trio.TaskStatus[None],
    ) -> None:
        handle = functools.partial(handle_passed, context, self._options.implementation)
        await workers.receive(handle, context.connections, task_status=task_status)

    # The end: games are saved, then sessions end, then connections have time for last messages.

    async def _wind_down(self, context: ServerContext) -> None:
        self.shutdown.begin()
        with self._last_turns:
            self._last_turns.deadline = trio.current_time() + self._patience
            await context.games.finish_all()
        context.pages.end()
        context.sessions.end_all(
            SHUTTING_DOWN, ReasonCode.SHUTTING_DOWN, restarting=self.shutdown.restarting
        )
        self._last_messages = context.connections.cancel_scope
        self._last_messages.deadline = trio.current_time() + self._patience


class _Started:
    """Notes that a task has said that it has started.

    Args:
        task_status: Is told too.
    """

    def __init__(self, task_status: trio.TaskStatus[None]) -> None:
        self.was_called = False
        self._task_status = task_status

    def started(self, value: None = None) -> None:
        """Note it."""
        self.was_called = True
        self._task_status.started(value)


def _connected(link: ClusterLink | None) -> AbstractAsyncContextManager[None]:
    return contextlib.nullcontext() if link is None else link.connected()

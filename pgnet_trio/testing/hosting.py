"""Servers and clients of a test: in memory, in tasks of the test, ready once they are made."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, overload

import trio

from pgnet_trio.client import Client
from pgnet_trio.errors import PlayerLeft, bare
from pgnet_trio.server import Server
from pgnet_trio.server.options import check_game
from pgnet_trio.testing.network import SimulatedNetwork
from pgnet_trio.testing.store import MemoryStore

if TYPE_CHECKING:
    from pgnet_trio.game import Game
    from pgnet_trio.server.games.reloading import Reloaded

__all__ = ["HostedServer", "Kit", "hosting", "playing"]

ClientT = TypeVar("ClientT", bound=Client)

FAILURE_NOTE = "It was raised in a server under test; see `expecting`."


class HostedServer(Server):
    """A server for tests: without a port, and with a save file in memory.

    An error in a game, a connection, a session or a hook ends the test with that error, where
    another server would log and contain it; see `expecting`.

    Args:
        game: The class of the games.
        network: How clients reach the server; None for a new network without delays.
        store: Where the server saves; None for a new `MemoryStore`.
        **options: As for `Server`.

    Attributes:
        network: How clients reach the server.
        store: Where the server saves.
        games: The author's objects by the names of the games; of several with one name, the
            latest.
        stopped: Set when the server does not run any more.
    """

    def __init__(
        self,
        game: Callable[..., Game],
        /,
        *,
        network: SimulatedNetwork | None = None,
        store: MemoryStore | None = None,
        **options: Any,
    ) -> None:
        # Here, because the server gets a function that takes what every class should take.
        check_game(game)
        self.network = SimulatedNetwork() if network is None else network
        self.store = MemoryStore() if store is None else store
        self.games: dict[str, Any] = {}
        self._expected: list[tuple[tuple[type[BaseException], ...], list[BaseException]]] = []
        self._failures: list[BaseException] = []
        self._body = trio.CancelScope()
        self._nursery: trio.Nursery | None = None
        self.stopped = trio.Event()
        self._parting = False
        self._clients = 0

        environment = self.network.environment("server", self._note_failure)
        defaults: dict[str, Any] = {
            "port": None,
            "save_file": self.store,
            "environment": environment,
        }
        super().__init__(self._recording(game), **{**defaults, **options})

    def _recording(self, game: Callable[..., Game]) -> Callable[..., Game]:
        """Return what makes games as *game* does, and keeps them in `games`."""

        def make_game(name: str, save_string: str | None = None) -> Game:
            made = self.games[name] = game(name, save_string=save_string)
            return made

        # The server asks the class of what its games are.
        functools.update_wrapper(make_game, game, updated=())
        return make_game

    async def reload(self, game: Callable[..., Game], /) -> Reloaded:
        """Host games of another class from now on; see `Server.reload`."""
        # First of all: what follows may raise.
        await trio.lowlevel.checkpoint()
        check_game(game)
        return await super().reload(self._recording(game))

    @overload
    def client(
        self,
        username: str,
        /,
        password: str = "",
        *,
        client_class: type[ClientT],
        **options: Any,
    ) -> ClientT: ...
    @overload
    def client(self, username: str, /, password: str = "", **options: Any) -> Client: ...
    def client(
        self,
        username: str,
        /,
        password: str = "",
        *,
        client_class: type[Client] = Client,
        protocol: int = 2,
        **options: Any,
    ) -> Client:
        """Return a client of this server, which is not connected yet.

        Args:
            username: Who will log in; the server registers unknown users.
            password: The user's password.
            client_class: `Client`, or a subclass of it.
            protocol: 1 for a client that speaks as the original's.
            **options: As for `Client.remote`: ``reconnect_for``, say.
        """
        self._clients += 1
        options.setdefault("environment", self.network.environment(f"client {self._clients}"))
        return client_class(
            self.network.connector(self, username, protocol=protocol),
            username=username,
            password=password,
            **options,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[HostedServer]:
        """Run the server around the block, and shut it down at the block's end.

        Raises:
            Exception: What a game, a connection, a session or a hook raised, unless the test
                expects it; the block is cancelled.
        """
        error: BaseException | None = None
        self._failures.clear()
        self._parting = False
        self._body = trio.CancelScope()
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                await nursery.start(self._serve)
                try:
                    with self._body:
                        yield self
                finally:
                    self.let_players_go()
                    self.shutdown()
        except BaseException as raised:
            error = bare(raised)
        finally:
            self._nursery = None
        if not isinstance(error, (KeyboardInterrupt, SystemExit)):
            self.raise_failure()
        if error is not None:
            raise error

    async def restart(self, *, crash: bool = False) -> None:
        """Stop, and start again from what was saved; only within `running`.

        Args:
            crash: Whether to stop as by a loss of power: connections break, and what the server
                has not saved until now is lost. Otherwise the server shuts down in good order,
                and tells clients that it restarts. In both cases clients come back by themselves,
                to a server that has forgotten their sessions.

        Raises:
            RuntimeError: The server is not running.
        """
        if self._nursery is None:
            await trio.lowlevel.checkpoint()
            raise RuntimeError("this server is not running: there is nothing to restart")
        saved = self.store.copy().state
        if crash:
            self.network.drop_all_to(self)
        self.shutdown(restarting=not crash)
        await self.stopped.wait()
        if crash:
            self.store.state = saved
        await self._nursery.start(self._serve)

    def raise_failure(self) -> None:
        """Raise the first error that the test did not expect, if there was one."""
        if self._failures:
            failure = self._failures[0]
            if FAILURE_NOTE not in getattr(failure, "__notes__", ()):
                failure.add_note(FAILURE_NOTE)
            raise failure from None

    def let_players_go(self) -> None:
        """Allow games to raise `PlayerLeft` from now on: players leave because the test is over."""
        self._parting = True

    @contextmanager
    def expecting(self, *errors: type[BaseException]) -> Iterator[list[BaseException]]:
        """Allow games, connections, sessions and hooks to raise such errors in this block.

        Args:
            *errors: The classes of the errors; without any, every error.

        Yields:
            The errors that were raised so far.
        """
        found: list[BaseException] = []
        entry = (errors or (BaseException,), found)
        self._expected.append(entry)
        try:
            yield found
        finally:
            # This very one: blocks within each other may expect the same, and have found the same.
            self._expected[:] = [each for each in self._expected if each is not entry]

    def _note_failure(self, error: BaseException) -> None:
        for classes, found in self._expected:
            if isinstance(error, classes):
                found.append(error)
                return
        if self._parting and isinstance(error, PlayerLeft):
            return
        self._failures.append(error)
        self._body.cancel()

    async def _serve(
        self, *, task_status: trio.TaskStatus[int | None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        self.stopped = trio.Event()
        try:
            await self.serve(task_status=task_status)
        finally:
            self.stopped.set()


@asynccontextmanager
async def hosting(
    game: Callable[..., Game],
    /,
    *,
    network: SimulatedNetwork | None = None,
    store: MemoryStore | None = None,
    **options: Any,
) -> AsyncIterator[HostedServer]:
    """Run a server around a block.

    ``async with hosting(MyGame) as server:``

    Args:
        game: The class of the games.
        network: How clients reach the server.
        store: Where the server saves; a store that another server used has its games.
        **options: As for `Server`.

    Raises:
        Exception: What a game, a connection, a session or a hook raised, unless the test expects
            it.
    """
    async with HostedServer(game, network=network, store=store, **options).running() as server:
        yield server


@overload
def playing(
    server: HostedServer, username: str, /, *, game: str | None = None, **options: Any
) -> AbstractAsyncContextManager[Client]: ...
@overload
def playing(
    server: HostedServer, /, *usernames: str, game: str | None = None, **options: Any
) -> AbstractAsyncContextManager[tuple[Client, ...]]: ...
def playing(
    server: HostedServer, /, *usernames: str, game: str | None = None, **options: Any
) -> AbstractAsyncContextManager[Any]:
    """Keep clients connected and logged in around a block.

    ``async with playing(server, "ann") as ann:``, or
    ``async with playing(server, "ann", "bob", game="table 1") as (ann, bob):``.

    Args:
        server: The server.
        *usernames: Who plays.
        game: A game that they join, one after the other; the first player creates it.
        **options: As for `HostedServer.client`.
    """
    return _playing(server, usernames, game, options)


@asynccontextmanager
async def _playing(
    server: HostedServer, usernames: tuple[str, ...], game: str | None, options: dict[str, Any]
) -> AsyncIterator[Any]:
    async with Kit(server.network, server) as kit:
        clients = [await kit.play(name, game=game, **options) for name in usernames]
        yield clients[0] if len(clients) == 1 else tuple(clients)


class Kit:
    """The servers and clients that one test starts; they end with the block.

    Args:
        network: What connects them.
        server: A server that runs already, and outlives the block.

    Attributes:
        server: The server of clients that name none: the latest.
    """

    def __init__(self, network: SimulatedNetwork, server: HostedServer | None = None) -> None:
        self.network = network
        self.server = server
        self._done = trio.Event()
        self._servers: list[HostedServer] = []
        self._playing: list[Client] = []

    async def __aenter__(self) -> Kit:
        """Begin the block in which servers and clients may start."""
        self._context = self._open()
        await self._context.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> bool | None:
        """Shut the servers down, and then disconnect the clients."""
        try:
            return await self._context.__aexit__(*error)
        except BaseExceptionGroup as group:
            if group.subgroup((KeyboardInterrupt, SystemExit)) is None:
                for server in self._servers:
                    # What the test stumbled over after that says less.
                    server.raise_failure()
            # The test sees the one error, and not how many nurseries it came through.
            raise bare(group) from None

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as self._hosts:
            try:
                async with trio.open_nursery() as self._clients:
                    try:
                        yield
                        # Servers first: a game need not be able to go on without its players.
                        self._done.set()
                        for server in self._servers:
                            await server.stopped.wait()
                    finally:
                        if self.server is not None:
                            self.server.let_players_go()
                        for client in self._playing:
                            client.disconnect()
            finally:
                self._done.set()

    async def host(self, game: Callable[..., Game], /, **options: Any) -> HostedServer:
        """Start a server, which ends with the block.

        Args:
            game: The class of the games.
            **options: As for `HostedServer`.
        """
        # First of all: what follows may raise.
        await trio.lowlevel.checkpoint()
        options.setdefault("network", self.network)
        server = HostedServer(game, **options)
        await self._hosts.start(self._run, server)
        self._servers.append(server)
        self.server = server
        return server

    async def play(
        self,
        username: str,
        /,
        password: str = "",
        *,
        server: HostedServer | None = None,
        game: str | None = None,
        **options: Any,
    ) -> Client:
        """Start a client, connected and logged in, which ends with the block.

        Args:
            username: Who plays.
            password: The user's password.
            server: The server; None for the one that was started last.
            game: A game to join, or to create where there is none of that name.
            **options: As for `HostedServer.client`.

        Raises:
            RuntimeError: There is no server.
            ConnectFailed: The client could not log in.
            RequestFailed: The client could not join the game.
        """
        # First of all: what follows may raise.
        await trio.lowlevel.checkpoint()
        where = server or self.server
        if where is None:
            raise RuntimeError("start a server before its clients: pgnet_server(MyGame)")
        client: Client = where.client(username, password, **options)
        await self._clients.start(client.run)
        self._playing.append(client)
        if game is not None:
            await client.join_game(game)
        return client

    async def _run(
        self,
        server: HostedServer,
        *,
        task_status: trio.TaskStatus[None],
    ) -> None:
        async with server.running():
            task_status.started()
            await self._done.wait()

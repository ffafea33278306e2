"""`Server`: the options of a server, and one run of it at a time.

It is a little long: most of it says what each option means.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import EllipsisType
from typing import TYPE_CHECKING, Any, Literal

import trio

from pgnet_trio.author_classes import near_miss
from pgnet_trio.crypto import KeyPair
from pgnet_trio.environment import Environment, require_trio
from pgnet_trio.errors import ServerError
from pgnet_trio.foreign_text import one_line
from pgnet_trio.messages import DEFAULT_PORT, check_port
from pgnet_trio.protocol.v2 import SUBPROTOCOL_2_1
from pgnet_trio.server.accounts import AccountRefusal
from pgnet_trio.server.administration import Administration
from pgnet_trio.server.attempts import FailedLogins
from pgnet_trio.server.certificate import Certificate
from pgnet_trio.server.connections.serving import handle_transport
from pgnet_trio.server.games.saves import SaveMemory
from pgnet_trio.server.http.files import Site
from pgnet_trio.server.http.origins import OriginRule
from pgnet_trio.server.limits import Limits
from pgnet_trio.server.moderation.audit import noting
from pgnet_trio.server.options import (
    Options,
    check_choice,
    check_cluster,
    check_game,
    check_hook,
    check_monitor,
    check_record,
    check_rooms,
    check_seconds,
    check_switch,
    check_text,
    unknown_options,
)
from pgnet_trio.server.preparation import Carryover
from pgnet_trio.server.proxies import TrustedProxies
from pgnet_trio.server.run import Run
from pgnet_trio.storage import key_file_of, read_key
from pgnet_trio.storage.interface import Store
from pgnet_trio.transport import Transport, choose, memory_pair

if TYPE_CHECKING:
    from pgnet_trio.game import Game
    from pgnet_trio.recording import Recording
    from pgnet_trio.server.cluster.cluster import Cluster
    from pgnet_trio.server.context import ServerContext
    from pgnet_trio.server.monitor_settings import Monitor
    from pgnet_trio.server.stats import ServerStats
    from pgnet_trio.server.workers.passing import Workers

__all__ = ["Server"]

logger = logging.getLogger("pgnet_trio.server")

_ASSIGNABLE = ("registration_enabled", "verbose_logging", "on_connection")


class Server(Administration):
    """Hosts games of one class for users who connect to it.

    ``trio.run(server.serve)`` runs it, and ``port = await nursery.start(server.serve)`` runs it
    beside other tasks.

    Args:
        game: The class of the games; called with a name and ``save_string=``.
        listen_globally: Whether to listen on all of the machine's addresses, not only loopback.
        port: The TCP port; 0 for any that is free, None for none.
        admin_password: The password of the user ``admin``; without one, or with an empty one,
            admin log-in is off.
        registration_enabled: Whether unknown users may register. A saved switch overrides it.
        require_user_password: Whether new users need a password that is not empty.
        on_connection: Called with a username and True when a user has logged in, and with False
            when they are gone. May be async. What it raises is logged.
        verbose_logging: Whether to log every packet and response.
        save_file: Where to save: the original's JSON where the name ends in ``.json``, SQLite
            otherwise. A store of your own may stand for the file. None: nothing is saved.
        key_file: Where the server's private key lies; by default ``<save_file>.key``, also where a
            *cluster* has the save file. With neither, the key is new for each server.
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
        trusted_proxies: The addresses of the proxies in front of this server, and networks such as
            ``"10.0.0.0/8"``. They are believed when they say in ``X-Forwarded-For`` which address a
            player comes from, and limits for each address hold for that one. From anybody else
            the header is ignored.
        proxy_protocol: Whether the trusted proxies begin each connection with the header of the
            PROXY protocol, version 1 or 2; a connection of theirs without it is closed.
        tls_certificate: A file with a certificate in PEM, and those of its authorities after it:
            the server then speaks TLS, to programs (``wss://``) and to browsers (``https://``), and
            nothing else. Files that are renewed hold for the connections that come then.
        tls_key: The file with the certificate's private key in PEM, without a password; None where
            it is in the file with the certificate.
        site: Pages that browsers are shown on the same port, beside the client for browsers.
        allowed_origins: The origins of other pages, such as ``"https://example.org"``, that may
            speak to this server; ``"*"`` for all of them, ``"null"`` for pages that are files. The
            pages of the server itself always may, and so may all programs that are no browsers.
        allowed_hosts: The names of this server, such as ``"play.example.org"``, by which browsers
            may ask for it, beside its addresses, ``localhost`` and the machine's own name. With
            *tls_certificate* any name will do: browsers have compared it with the certificate.
        watchdog: Seconds after which a game that holds up all others, by a call that blocks, is
            named in the log, with the line, and again and again while that lasts; None: it is not
            looked for.
        watchdog_exit: Seconds after which such a game ends the whole process, with status 70;
            another thread writes before what the games last returned as their save strings. Where
            the game keeps all of Python from running, nothing is written, and the status is 1; so
            it is for a process that was stopped for that long (``SIGSTOP``, ``docker pause``), when
            it goes on. None: the process goes on.
        cluster: Makes this server one of several that look like one: what they share, and where
            clients find this one. It takes the place of *save_file*, and needs
            ``minimum_protocol=2``; all of the servers need the same *key_file*.
        rooms: The games that the server makes itself: their names, or a dict from each name to what
            it gets as ``self.room.options``. They are there from the start, stay when nobody is in
            them, and are made again when they are over.
        players_create: Whether players may create games. If not, there are those that are saved,
            *rooms*, and what `open_game` makes; the admin may create games in any case.
        monitor: Where whoever runs the server looks at it: metrics, and pages for a browser.
        development: Whether what a game raises is shown in full, with its traceback, to the client
            that caused it: to programs on this machine that connect without a proxy. For nobody
            else than its author, so it does not go together with *listen_globally* or *cluster*.
        record: Has the tables recorded, so that one that crashed can be played again; None: nothing
            is recorded. What is in a recording, `Recording` says.
        limits: Every limit of `Limits` by its name, such as ``max_connections=100``; None
            switches one off.

    Raises:
        ServerError: The certificate for TLS cannot be used.
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
        trusted_proxies: Iterable[str] = (),
        proxy_protocol: bool = False,
        tls_certificate: str | Path | None = None,
        tls_key: str | Path | None = None,
        site: Site | None = None,
        allowed_origins: Iterable[str] = (),
        allowed_hosts: Iterable[str] = (),
        watchdog: float | None = 0.25,
        watchdog_exit: float | None = None,
        cluster: Cluster | None = None,
        rooms: Iterable[str] | Mapping[str, Mapping[str, Any]] = (),
        players_create: bool = True,
        monitor: Monitor | None = None,
        development: bool = False,
        record: Recording | None = None,
        **limits: Any,
    ) -> None:
        unknown = limits.keys() - {field.name for field in Limits.__attrs_attrs__}
        if unknown:
            raise TypeError(unknown_options(Server, unknown))
        check_game(game)
        check_port(port)
        check_switch("listen_globally", listen_globally)
        check_text("admin_password", admin_password)
        check_switch("registration_enabled", registration_enabled)
        check_switch("require_user_password", require_user_password)
        check_hook("on_connection", on_connection)
        check_switch("verbose_logging", verbose_logging)
        check_seconds("autosave_interval", autosave_interval)
        if not resume_grace >= 0:
            raise ValueError(f"resume_grace has to be 0 s or more; got {resume_grace!r}.")
        check_choice("duplicate_login", duplicate_login, "take_over", "refuse")
        check_seconds("watchdog", watchdog, or_none=True)
        check_seconds("watchdog_exit", watchdog_exit, or_none=True)
        check_choice("minimum_protocol", minimum_protocol, 1, 2)
        check_cluster(cluster, save_file=save_file, minimum_protocol=minimum_protocol)
        rooms = check_rooms(rooms)
        check_switch("players_create", players_create)
        check_monitor(monitor)
        check_switch("development", development)
        if development and (listen_globally or cluster is not None):
            raise ValueError(
                "development shows a game's mistakes to its author, on this machine alone; it does "
                f"not go together with {'listen_globally' if listen_globally else 'cluster'}."
            )
        check_record(record)
        proxies = TrustedProxies(trusted_proxies)
        check_switch("proxy_protocol", proxy_protocol)
        if proxy_protocol and not proxies:
            raise ValueError("proxy_protocol needs the addresses of the proxies: trusted_proxies.")
        if not (site is None or isinstance(site, Site)):
            raise TypeError(f"site: expected a Site such as Site('web'), or None; got {site!r}.")
        certificate = None
        if tls_certificate is not None:
            key_of_certificate = None if tls_key is None else Path(tls_key)
            certificate = Certificate(Path(tls_certificate), key_of_certificate)
        elif tls_key is not None:
            raise ValueError("tls_key needs the certificate that it belongs to: tls_certificate.")
        origins = OriginRule(
            allowed_origins,
            allowed_hosts,
            own_name=socket.gethostname(),
            with_tls=certificate is not None,
        )
        environment = environment or Environment()
        store = save_file if isinstance(save_file, Store) else None
        save_path = None
        if save_file is not None and not isinstance(save_file, Store):
            save_path = Path(save_file)
        key_path = None if key_file is None else Path(key_file)
        shared_file = save_path if cluster is None else cluster.save_file
        if key_path is None and shared_file is not None:
            key_path = key_file_of(shared_file)
        # A new key is written when the server runs: one that never runs leaves no file.
        key = None if key_path is None else read_key(key_path)
        self._options = Options(
            make_game=game,
            listen_globally=listen_globally,
            port=port,
            # An empty one, of a variable that is not set perhaps, would let everybody in.
            admin_password=admin_password or None,
            registration_enabled=registration_enabled,
            require_user_password=require_user_password,
            on_connection=on_connection,
            verbose_logging=verbose_logging,
            save_file=save_path,
            store=store,
            key_file=key_path,
            autosave_interval=autosave_interval,
            implementation=choose(transport),
            environment=environment,
            resume_grace=resume_grace,
            duplicate_login=duplicate_login,
            minimum_protocol=minimum_protocol,
            trusted_proxies=proxies,
            proxy_protocol=proxy_protocol,
            origins=origins,
            site=site,
            certificate=certificate,
            watchdog=watchdog,
            watchdog_exit=watchdog_exit,
            limits=Limits(**limits),
            cluster=cluster,
            rooms=rooms,
            players_create=players_create,
            monitor=monitor,
            development=development,
            record=record,
        )
        self._carryover = Carryover(
            key=key or KeyPair.generate(environment.random_bytes),
            key_is_new=key is None,
            failed_logins=FailedLogins(
                self._options.limits.failed_logins_per_account,
                self._options.limits.failed_logins_per_address,
            ),
            saves=SaveMemory(names_unsaved_games=save_path is not None),
        )
        self._run: Run | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        meant = None if hasattr(self, name) or name[0] == "_" else near_miss(name, _ASSIGNABLE)
        if meant is not None:
            raise AttributeError(
                f"{type(self).__name__}.{name}: a server has nothing of that name; did you mean "
                f"{meant}?"
            )
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        where = f"port {self.port}" if self.port is not None else "no open port"
        state = "stopped" if self._run is None else "running"
        game = self._options.game_class
        what = "" if game is None else f" of {game.__name__}"
        return f"<{type(self).__name__}{what} {state}, {where}>"

    @property
    def pubkey(self) -> str:
        """The server's public key in base64, for clients that verify it.

        A key that is not in its file yet is written there once the server runs.
        """
        return self._carryover.key.pubkey

    @property
    def port(self) -> int | None:
        """The port that the server listens on; None while it listens on none."""
        return None if self._run is None else self._run.port

    @property
    def monitor_port(self) -> int | None:
        """The port that the monitor listens on; None while it listens on none."""
        return None if self._run is None else self._run.monitor_port

    @property
    def registration_enabled(self) -> bool:
        """Whether unknown users may register; may be assigned at any time."""
        context = None if self._run is None else self._run.context
        accounts = self._carryover.accounts if context is None else context.accounts
        if accounts is None:
            return self._options.registration_enabled
        return accounts.registration_enabled

    @registration_enabled.setter
    def registration_enabled(self, enabled: bool) -> None:
        check_switch("registration_enabled", enabled)
        self._options.registration_enabled = enabled
        if self._carryover.accounts is not None:
            self._carryover.accounts.registration_enabled = enabled
        context = None if self._run is None else self._run.context
        if context is not None:
            is_shared = self._carryover.engine is not None
            context.services.start_soon(_set_registration, context, enabled, is_shared)

    @property
    def verbose_logging(self) -> bool:
        """Whether every packet and response is logged; may be assigned at any time."""
        return self._options.verbose_logging

    @verbose_logging.setter
    def verbose_logging(self, verbose: bool) -> None:
        check_switch("verbose_logging", verbose)
        self._options.verbose_logging = verbose

    @property
    def on_connection(self) -> Callable[[str, bool], Any] | None:
        """Called when users come and go; may be assigned at any time."""
        return self._options.on_connection

    @on_connection.setter
    def on_connection(self, hook: Callable[[str, bool], Any] | None) -> None:
        self._options.on_connection = hook

    def stats(self) -> ServerStats:
        """Return a picture of the running server in plain figures, which never changes.

        It takes a moment for each session and each game; ask for it now and then, not in a loop.

        Returns:
            The sessions, games, connections and tasks that there are, and what is saved.

        Raises:
            ServerError: The server is not running.
        """
        return self._context("its figures are there").stats()

    def shutdown(self, result: int = 0, /, *, restarting: bool = False) -> None:
        """Have the server shut down in good order; does nothing where it is not running.

        Args:
            result: What `serve` returns, as an exit code; -1 asks for a reboot.
            restarting: Whether the server will be back soon: its clients then keep trying to reach
                it, as after a connection that dropped, and are in their games again. A result of
                -1 means that too. Clients that do not know the feature ``restart``, PGNet's among
                them, hear goodbye all the same.
        """
        check_switch("restarting", restarting)
        if self._run is not None:
            self._run.shutdown.request(result, restarting=restarting)

    def cause_of(self, refusal: str) -> BaseException | None:
        """Return the error of a game behind a refusal, for a client inside this process.

        Args:
            refusal: The message of the response.

        Returns:
            What a game of this server raised last, if that is why; None otherwise.
        """
        run = self._run
        return None if run is None or run.context is None else run.context.games.cause_of(refusal)

    def connect_in_memory(self, *, protocol: int = 2) -> Transport:
        """Open a link to this server inside the process, without any port.

        Args:
            protocol: The version of the protocol to speak over it.

        Returns:
            The client's end of the link.

        Raises:
            ServerError: The server is not running.
        """
        context = self._accepting_context()
        near, far = memory_pair(subprotocol=SUBPROTOCOL_2_1 if protocol == 2 else None)
        context.connections.start_soon(handle_transport, context, far)
        return near

    def serve_transport(self, transport: Transport) -> None:
        """Serve a client over an open link, and close it at the end. Never waits.

        Args:
            transport: The server's end of the link. One that is `inside_process` is neither
                encrypted nor limited; any other is like a connection over the network.

        Raises:
            ServerError: The server is not running.
        """
        context = self._accepting_context()
        context.connections.start_soon(handle_transport, context, transport)

    async def serve(
        self,
        *,
        port: int | EllipsisType | None = ...,
        workers: Workers | None = None,
        task_status: trio.TaskStatus[int | None] = trio.TASK_STATUS_IGNORED,
    ) -> int:
        """Host games until `shutdown` is called, or the admin requests it.

        Started, with the port, once clients can connect. Cancellation shuts down too, with less
        patience, and with none where a shutdown is under way: the games are saved all the same.

        Args:
            port: For this run, another port than the constructor was given, or None for none.
            workers: The processes that listen together with this one, on sockets that are open
                already; for the command line.
            task_status: Started with the port.

        Returns:
            The exit code given to `shutdown`.

        Raises:
            ServerError: It is running already, or a port cannot be listened on.
            ValueError: There is no such port.
            StorageError: The save file or the key file cannot be used; it is left as it was. Or a
                write to the save file hangs: then everything else has ended, and the message
                names the games that are not saved.
        """
        require_trio()
        # First of all: what follows may raise.
        await trio.lowlevel.checkpoint()
        port = self._options.port if isinstance(port, EllipsisType) else port
        check_port(port)
        if self._run is not None:
            raise ServerError("This server is running already; one run at a time.")

        def started(port: int | None) -> None:
            task_status.started(port)
            logger.info("Serving: %r", self)

        self._run = Run(self._options, self._carryover, port, workers)
        try:
            return await self._run.serve(started)
        finally:
            self._run = None

    def _context(self, what: str) -> ServerContext:
        """Return what a running server's tasks share; *what* says what is possible then."""
        context = None if self._run is None else self._run.context
        if context is None:
            raise ServerError(f"The server is not running; {what} while it is.")
        return context

    def _accepting_context(self) -> ServerContext:
        """Return what a running server's tasks share, while it takes connections."""
        run = self._run
        if run is None or run.context is None or not run.accepting:
            raise ServerError("The server is not running; start it before connecting to it.")
        return run.context


async def _set_registration(context: ServerContext, enabled: bool, is_shared: bool) -> None:
    try:
        async with noting(context, "", "set_registration", {"set_as": enabled}) as deed:
            if is_shared:
                await context.accounts.set_registration(enabled)
            deed.done = True
    except AccountRefusal as error:
        logger.error("The registration switch was not set: %s", one_line(error))

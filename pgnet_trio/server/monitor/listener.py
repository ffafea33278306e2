"""The listener of the monitor, in the server's own run, by hypercorn's Trio worker.

No error in here reaches the server: a connection that fails ends alone, and a listener that fails
is opened again, later and later.

Hypercorn waits without end, and without heeding a cancellation, for a client that does not read. So
what it writes to has a deadline of its own here, and there are only so many connections.
"""

from __future__ import annotations

import functools
import logging
import math
import socket
from typing import TYPE_CHECKING, Any

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState, LifespanState

from pgnet_trio.errors import ServerError
from pgnet_trio.foreign_text import one_line
from pgnet_trio.server.attempts import FailedLogins
from pgnet_trio.server.monitor.access import Access
from pgnet_trio.server.monitor.app import MonitorView, make_app
from pgnet_trio.server.monitor.instruments import Instruments
from pgnet_trio.server.monitor.live import Live
from pgnet_trio.server.monitor.metrics import Metrics
from pgnet_trio.server.monitor_settings import Monitor, monitor_address

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgnet_trio.server.context import ServerContext
    from pgnet_trio.server.http.router import Health

__all__ = ["MonitorListener"]

logger = logging.getLogger("pgnet_trio.server")

MAX_CONNECTIONS = 64
"""More than that are closed at once: a browser takes up to six, Prometheus one."""

SEND_SECONDS = 10.0
"""Seconds in which a client has to take a piece of an answer."""

IDLE_SECONDS = 15.0
"""Seconds for which a connection that asks for nothing is kept."""

READ_AT_ONCE = 4096
"""Bytes that are read before players have their turn: so many may hold a hundred requests."""

QUIET_TIME = 60.0
"""Seconds in which the log tells once that there are too many connections."""

FIRST_REST = 1.0
LONGEST_REST = 60.0
"""Seconds until a listener that has failed is opened again, the first time and at most."""


class MonitorListener:
    """Listens for those who look at a server.

    Args:
        settings: Where, and what they have to know.
    """

    def __init__(self, settings: Monitor) -> None:
        self._settings = settings
        self._listeners: list[trio.SocketListener] = []
        self._address: tuple[str, int] = monitor_address(settings.address)
        # Those that are open, to be closed at the end.
        self._streams: set[_Stream] = set()
        self._told = -math.inf

    @property
    def port(self) -> int | None:
        """The port that is listened on; None while none is."""
        return self._address[1] if self._listeners else None

    async def open(self) -> None:
        """Open the port; cancellation leaves nothing open.

        Raises:
            ServerError: It cannot be listened on.
        """
        host, port = self._address
        try:
            self._listeners = await trio.open_tcp_listeners(port, host=host)
        except OSError as error:
            raise ServerError(
                f"The monitor cannot listen on {self._settings.address}: "
                f"{error.strerror or error}; choose another address, such as 127.0.0.1:0."
            ) from error
        # The same one again, should it have to be opened again.
        self._address = host, self._listeners[0].socket.getsockname()[1]
        where = f"[{host}]" if ":" in host else host
        url = f"http://{where}:{self._address[1]}/"
        logger.info("The monitor listens on %s", one_line(url))

    async def close(self) -> None:
        """Close the port, where it is open; a cancellation does not hinder that."""
        listeners, self._listeners = self._listeners, []
        with trio.CancelScope(shield=True):
            for listener in listeners:
                await listener.aclose()
            await trio.lowlevel.checkpoint()

    async def run(self, context: ServerContext, health: Callable[[], Health]) -> None:
        """Answer until cancelled, whatever happens.

        Args:
            context: The parts of the server.
            health: Called for how it is.
        """
        limits = context.options.limits
        instruments = Instruments(context.counters.lag)
        view = MonitorView(
            context=context,
            live=Live(context),
            access=Access(
                self._settings,
                FailedLogins(limits.failed_logins_per_account, limits.failed_logins_per_address),
                context.options.environment.random_bytes(32),
                own_name=socket.gethostname(),
            ),
            metrics=Metrics(context, instruments),
            health=health,
            cookie=f"pgnet_monitor_{self._address[1]}",
        )
        async with trio.open_nursery() as nursery:
            with instruments.counting():
                nursery.start_soon(instruments.watch_lag)
                await self._answer(view)

    async def _answer(self, view: MonitorView) -> None:
        """Answer until cancelled; open the port again where that fails."""
        handle = _make_handler(view)
        seconds = FIRST_REST
        while True:
            began = trio.current_time()
            try:
                if not self._listeners:
                    await self.open()
                await self._serve(handle, view.live)
            except (Exception, ExceptionGroup) as error:
                if trio.current_time() - began > LONGEST_REST:
                    seconds = FIRST_REST
                logger.error(
                    "The monitor has failed, and is opened again in %.0f s", seconds, exc_info=error
                )
                await self.close()
                await trio.sleep(seconds)
                seconds = min(2 * seconds, LONGEST_REST)

    async def _serve(self, handle: Callable[[_Stream], Any], live: Live) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(live.run)
            serve = functools.partial(self._serve_stream, handle)
            try:
                await trio.serve_listeners(serve, self._listeners, handler_nursery=nursery)
            finally:
                # Whoever does not read holds up a write that heeds no cancellation.
                for stream in self._streams:
                    stream.socket.close()

    async def _serve_stream(
        self, handle: Callable[[_Stream], Any], source: trio.SocketStream
    ) -> None:
        stream = _Stream(source)
        if len(self._streams) >= MAX_CONNECTIONS:
            self._tell_that_it_is_full()
            await source.aclose()
            return
        self._streams.add(stream)
        try:
            await handle(stream)
        except (Exception, ExceptionGroup) as error:
            logger.error("A connection of the monitor has failed: %s", one_line(error))
        finally:
            self._streams.discard(stream)
            stream.socket.close()

    def _tell_that_it_is_full(self) -> None:
        # Whoever connects chooses how often, and a log must not grow by that.
        if trio.current_time() >= self._told + QUIET_TIME:
            self._told = trio.current_time()
            logger.warning("The monitor has too many connections; more are closed at once")


def _make_handler(view: MonitorView) -> Callable[[_Stream], Any]:
    """Return what answers all requests of one connection."""
    config = Config()
    config.errorlog = logger
    config.include_server_header = False
    config.keep_alive_timeout = IDLE_SECONDS
    # Its types are narrower than those of Starlette, and of what it does with a stream.
    app: Any = make_app(view)
    worker = WorkerContext(None)

    async def handle(stream: Any) -> None:
        state = ConnectionState(LifespanState())
        await TCPServer(ASGIWrapper(app), config, worker, state, stream).run()

    return handle


class _Stream:
    """A connection whose other end has to read in time; as much of a stream as hypercorn uses.

    Attributes:
        socket: The connection itself.
    """

    def __init__(self, source: trio.SocketStream) -> None:
        self.socket = source.socket
        self._source = source

    async def send_all(self, data: bytes) -> None:
        """Send this.

        Raises:
            trio.BrokenResourceError: The other end is gone, or does not read.
        """
        try:
            with trio.fail_after(SEND_SECONDS):
                await self._source.send_all(data)
        except trio.TooSlowError:
            self.socket.close()
            raise trio.BrokenResourceError("the peer did not read its answer in time") from None

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return what has come.

        Raises:
            trio.BrokenResourceError: The other end is gone.
        """
        most = READ_AT_ONCE if max_bytes is None else min(max_bytes, READ_AT_ONCE)
        return bytes(await self._source.receive_some(most))

    async def send_eof(self) -> None:
        """Say that nothing more comes."""
        await self._source.send_eof()

    async def aclose(self) -> None:
        """Close the connection."""
        await self._source.aclose()

"""Host a game in this process until it is told to end, and say where."""

from __future__ import annotations

import signal
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

import trio

from pgnet_trio.cli.logs import log_signals
from pgnet_trio.cli.process import end_process, say
from pgnet_trio.cli.service import Service
from pgnet_trio.cli.signals import open_signals
from pgnet_trio.client.server_key import fingerprint
from pgnet_trio.environment import Environment
from pgnet_trio.errors import StorageError
from pgnet_trio.server.shutdown import REBOOT

if TYPE_CHECKING:
    from pgnet_trio.server import Server
    from pgnet_trio.server.workers.passing import Workers

__all__ = ["Announcement", "Announcer", "describe", "host"]

NOWHERE = ("192.0.2.1", 9)
"""An address of the internet that nobody has (RFC 5737)."""


class Announcer(Protocol):
    """Tells whoever has started this process how its server is."""

    @property
    def was_made(self) -> bool:
        """Whether clients could connect."""

    def started(self, port: int | None = None) -> None:
        """Tell that clients can connect; `Server.serve` calls this."""

    def ending(self) -> None:
        """Tell that the first signal has come."""

    def ended(self, exit_code: int) -> None:
        """Tell that a server has ended that nobody has sent a signal."""


async def host(
    make_server: Callable[..., Server],
    announce: Callable[[Server], Announcer],
    workers: Workers | None = None,
    beside: Callable[[Server], Awaitable[None]] | None = None,
    service: Service | None = None,
) -> int:
    """Host games until the server ends, again and again where it asks for a reboot.

    Args:
        make_server: Makes the server, with ``environment=``.
        announce: Makes what tells of one.
        workers: The processes that look like one server with this one; None where it is alone.
        beside: What runs beside each server, and is cancelled at its end.
        service: Hears that the event loop goes round; None for nobody.

    Returns:
        The server's exit code; or, where a second signal ended it, what shells report for that.
    """
    service = service or Service()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(service.keep_alive)
        with open_signals(log_signals()) as signals:
            while True:
                exit_code = await _host_once(make_server, announce, workers, beside, signals)
                if exit_code != REBOOT:
                    break
                say("The server asked for a reboot: starting again.")
        nursery.cancel_scope.cancel()
    return exit_code


async def _host_once(
    make_server: Callable[..., Server],
    announce: Callable[[Server], Announcer],
    workers: Workers | None,
    beside: Callable[[Server], Awaitable[None]] | None,
    signals: trio.MemoryReceiveChannel[int],
) -> int:
    exit_code = 0
    has_signal = False
    # This process is ours: no game that does not end is to hold it up.
    environment = Environment(end_process=lambda code: end_process(exit_code or code))
    server = make_server(environment=environment)
    announcement = announce(server)

    async def obey_signals() -> None:
        nonlocal exit_code, has_signal
        number = await signals.receive()
        has_signal = True
        if announcement.was_made:
            announcement.ending()
            # Ctrl-C is somebody's who is done with it; a service manager starts it again.
            server.shutdown(restarting=number != signal.SIGINT)
            number = await signals.receive()
        scope.cancel()
        exit_code = 128 + number

    async with trio.open_nursery() as nursery:
        nursery.start_soon(obey_signals)
        if beside is not None:
            nursery.start_soon(beside, server)
        with trio.CancelScope() as scope:
            try:
                if workers is None:
                    result = await server.serve(task_status=announcement)
                else:
                    result = await server.serve(workers=workers, task_status=announcement)
            except StorageError as error:
                if not announcement.was_made:
                    raise
                # A write to the save file hangs, and all else has ended.
                say(f"pgnet-trio: {error}")
                end_process(exit_code or 1)
            exit_code = exit_code or result
        nursery.cancel_scope.cancel()
    if not has_signal:
        announcement.ended(exit_code)
    return exit_code


class Announcement:
    """Prints where the server listens, once it does, and where its pages are.

    Args:
        server: The server.
        globally: Whether it listens on all addresses.
        scheme: That of its pages, ``"http"`` or ``"https"``; None where it has none.
        service: Is told too.
    """

    def __init__(
        self, server: Server, *, globally: bool, scheme: str | None, service: Service | None = None
    ) -> None:
        self._service = service or Service()
        self.was_made = False
        self._server = server
        self._globally = globally
        self._scheme = scheme

    def started(self, port: int | None = None) -> None:
        """Print where the server listens."""
        self.was_made = True
        print(
            describe(self._server.pubkey, port, globally=self._globally, scheme=self._scheme),
            # A program that reads through a pipe waits for this line.
            flush=True,
        )
        self._service.ready()

    def ending(self) -> None:
        """Say how to be quicker."""
        self._service.stopping()
        say("Shutting down; once more to stop at once.")

    def ended(self, exit_code: int) -> None:
        """Do nothing: the exit status says it."""


def describe(
    pubkey: str, port: int | None, *, globally: bool, scheme: str | None, note: str = ""
) -> str:
    """Return the lines that say where a server listens.

    Args:
        pubkey: Its public key.
        port: Its port.
        globally: Whether it listens on all addresses.
        scheme: That of its pages; None where it has none.
        note: What else there is to say of it.
    """
    where = "all addresses" if globally else "localhost"
    lines = [
        f"Listening on {where}, port {port}{note}; public key {pubkey}",
        f"Players are shown the key's fingerprint: {fingerprint(pubkey)}",
    ]
    if scheme is not None:
        name = (_own_address() if globally else None) or "localhost"
        lines.append(f"Open {scheme}://{name}:{port}/ in a browser")
    return "\n".join(lines)


def _own_address() -> str | None:
    """Return this machine's address in its network; None where it is in none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Nothing is sent: the system only chooses from which address it would be.
            probe.connect(NOWHERE)
        except OSError:
            return None
        address: str = probe.getsockname()[0]
        return address

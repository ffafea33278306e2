"""One of the processes of ``pgnet-trio serve --workers``: what it is told, and what it tells."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import trio

from pgnet_trio.cli.hosting import host
from pgnet_trio.errors import PGNetError
from pgnet_trio.server.workers.passing import Workers

if TYPE_CHECKING:
    from pgnet_trio.server import Server

__all__ = ["Orders", "WorkerProcess"]

LONGEST_END = 15.0
"""Seconds that a worker gets to end in good order once whoever has started it is gone."""

MAX_ORDERS = 64 * 1024
"""Bytes of what a worker is told at its start."""


@attrs.frozen(kw_only=True)
class Orders:
    """What a worker is told at its start.

    Attributes:
        number: Which one it is, from 1 on.
        count: How many there are.
        folder: Where their Unix sockets are.
        listeners: The open files of the sockets that they listen on together.
        admin_password: The password of the user ``admin``.
    """

    number: int
    count: int
    folder: str
    listeners: list[int]
    admin_password: str | None = attrs.field(repr=False)

    def encode(self) -> bytes:
        """Return what `decode` takes: one line."""
        return json.dumps(attrs.asdict(self)).encode() + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> Orders:
        """Return what was encoded.

        Raises:
            PGNetError: It is something else.
        """
        try:
            return cls(**json.loads(line))
        except (ValueError, TypeError) as error:
            raise PGNetError(
                "--worker is for the processes that --workers starts, and not for people"
            ) from error


class WorkerProcess:
    """This process as one of them.

    Args:
        link: Leads to whoever has started it.
        orders: What it was told.
    """

    def __init__(self, link: socket.socket, orders: Orders) -> None:
        self.orders = orders
        self._link = link
        self._is_alone = False

    @classmethod
    def open(cls, descriptor: int) -> WorkerProcess:
        """Read what this process is told.

        Args:
            descriptor: The open file that leads to whoever has started it.

        Raises:
            PGNetError: Nobody tells it anything.
        """
        try:
            os.set_inheritable(descriptor, False)
            link = socket.socket(fileno=descriptor)
            # No buffer: what comes behind is for the thread that watches.
            with link.makefile("rb", buffering=0) as file:
                orders = Orders.decode(file.readline(MAX_ORDERS))
        except OSError as error:
            raise PGNetError(f"--worker {descriptor} is no open file: {error}") from error
        return cls(link, orders)

    def run(self, make_server: Callable[..., Server]) -> int:
        """Host games until the server ends, or whoever has started this process.

        Args:
            make_server: Makes the server, with ``environment=``.

        Returns:
            The exit code.
        """
        orders = self.orders
        listeners = []
        for descriptor in orders.listeners:
            os.set_inheritable(descriptor, False)
            listeners.append(socket.socket(fileno=descriptor))
        workers = Workers(orders.number, orders.count, Path(orders.folder), listeners)
        threading.Thread(
            target=self._watch, args=[workers], name="pgnet_trio parent", daemon=True
        ).start()
        announce = functools.partial(_Report, self, workers)
        try:
            return trio.run(host, make_server, announce, workers)
        finally:
            if self._is_alone:
                # The last worker finds it empty.
                with contextlib.suppress(OSError):
                    os.rmdir(orders.folder)

    def tell(self, report: dict[str, Any]) -> None:
        """Tell whoever has started this process; where nobody is left, go on without."""
        with contextlib.suppress(OSError):
            self._link.sendall(json.dumps(report).encode() + b"\n")

    def _watch(self, workers: Workers) -> None:
        """Take the signal that ends all workers; where this one is left alone, end it anyway."""
        with contextlib.suppress(OSError):
            while number := self._link.recv(1):
                workers.all_end = True
                os.kill(os.getpid(), number[0])
        self._is_alone = workers.all_end = True
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(LONGEST_END)
        os.kill(os.getpid(), signal.SIGTERM)


class _Report:
    """Tells whoever has started this process how its server is; see `Announcer`."""

    def __init__(self, worker: WorkerProcess, workers: Workers, server: Server) -> None:
        self.was_made = False
        self._worker = worker
        self._workers = workers
        self._server = server

    def started(self, port: int | None = None) -> None:
        self.was_made = True
        self._worker.tell({"started": self._server.pubkey})

    def ending(self) -> None:
        """Do nothing: whoever has sent the signal says so."""

    def ended(self, exit_code: int) -> None:
        self._worker.tell({"ended": exit_code, "restarting": self._workers.is_restarting})

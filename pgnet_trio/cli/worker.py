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
from pgnet_trio.cli.worker_folder import remove_if_unused
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
        folder: Where their Unix sockets are; empty where each has a port of its own.
        lock: The open file that keeps this folder from being removed; -1 for none.
        listeners: The open files of the sockets that they listen on together, or this one alone.
        address: Where clients find it.
        node: The number, as a node of the cluster, of the process before this one, which has ended;
            0 for none.
        is_alone: Whether these processes are the whole cluster.
        admin_password: The password of the user ``admin``.
    """

    number: int
    count: int
    folder: str
    lock: int
    listeners: list[int]
    address: str
    node: int
    is_alone: bool
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
        self._is_orphan = False
        # Whether the server has been told to end by a signal; set by one thread, read by another.
        self._is_ending = False

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
        if orders.folder:
            # Not for programs that a game starts.
            os.set_inheritable(orders.lock, False)
        listeners = []
        for descriptor in orders.listeners:
            os.set_inheritable(descriptor, False)
            listeners.append(socket.socket(fileno=descriptor))
        workers = Workers(
            orders.number,
            orders.count,
            Path(orders.folder) if orders.folder else None,
            listeners,
            node=orders.node,
            tell_node=lambda node: self.tell({"node": node}),
        )
        threading.Thread(
            target=self._watch, args=[workers], name="pgnet_trio parent", daemon=True
        ).start()
        announce = functools.partial(_Report, self, workers)
        try:
            return trio.run(host, make_server, announce, workers)
        finally:
            if self._is_orphan and orders.folder:
                os.close(orders.lock)
                remove_if_unused(Path(orders.folder))

    def tell(self, report: dict[str, Any]) -> None:
        """Tell whoever has started this process; where nobody is left, go on without."""
        with contextlib.suppress(OSError):
            self._link.sendall(json.dumps(report).encode() + b"\n")

    def note_signal(self) -> None:
        """Note that a signal has told the server to end."""
        self._is_ending = True

    def _watch(self, workers: Workers) -> None:
        """Take the signal that ends all workers; where this one is left alone, end it anyway."""
        with contextlib.suppress(OSError):
            while number := self._link.recv(1):
                self._end(workers, number[0])
        self._is_orphan = True
        self._end(workers, signal.SIGTERM)
        threading.Event().wait(LONGEST_END)
        os.kill(os.getpid(), signal.SIGTERM)

    def _end(self, workers: Workers, number: int) -> None:
        if self.orders.is_alone:
            workers.note_all_end()
        # One that drains is ending already: for it, a second signal would mean at once.
        if not self._is_ending:
            os.kill(os.getpid(), number)


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
        """Note it; whoever has sent the signal says so."""
        self._worker.note_signal()

    def ended(self, exit_code: int) -> None:
        self._worker.tell({"ended": exit_code, "restarting": self._workers.is_restarting})

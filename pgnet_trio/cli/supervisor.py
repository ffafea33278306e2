"""``pgnet-trio serve --workers``: starts the processes, starts them again, and ends them in order.

The first worker starts alone. What is wrong with the game, or with the save file, is said once, by
that one, and nothing else is started. Each worker is a new process, and is told the open files of
the sockets that it listens on. It hears from its supervisor by a pair of sockets: the end
of that is the end of the supervisor, however it came about.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import trio

from pgnet_trio.cli.hosting import describe
from pgnet_trio.cli.process import say
from pgnet_trio.cli.service import Service
from pgnet_trio.cli.signals import open_signals
from pgnet_trio.cli.worker import Orders
from pgnet_trio.cli.worker_folder import WorkerFolder, open_folder
from pgnet_trio.server.connections.listeners import open_listeners

if TYPE_CHECKING:
    from pgnet_trio.cli.worker_plan import WorkerPlan

__all__ = ["Supervisor"]

SHORTEST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
"""Seconds from the end of a worker that nobody wanted to its next start; each failure in a row
doubles them."""

GOOD_AFTER = 60.0
"""Seconds after which a worker that ends has not failed at its start."""

LONGEST_REPORT = 1.0
"""Seconds until what a worker said at its end has to be there; a program that it has started may
keep its pair of sockets open."""

_PASSED_ON = [
    number for name in ("SIGUSR1", "SIGUSR2") if (number := getattr(signal, name, None)) is not None
]
"""What the workers do something about, and go on."""

MAX_REPORT = 4096
"""Bytes of what a worker tells at once."""


class Supervisor:
    """Starts workers, and ends with them.

    Args:
        arguments: Those of the command line, which each worker gets too.
        plan: What to start.
        admin_password: The password of the user ``admin``.
        service: Hears how this process is.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        plan: WorkerPlan,
        admin_password: str | None,
        service: Service | None = None,
    ) -> None:
        self._service = service or Service()
        self._arguments = list(arguments)
        self._plan = plan
        self._admin_password = admin_password
        # Of each worker; all have the same ones where they share a port.
        self._listeners: dict[int, list[socket.socket]] = {}
        self._lives: dict[int, _Life] = {}
        self._ending = trio.Event()
        self._exit_code: int | None = None
        self._folder: WorkerFolder | None = None
        self._pubkey = ""

    async def run(self, port: int, *, globally: bool, scheme: str | None) -> int:
        """Start the workers, and wait until all of them have ended.

        Args:
            port: The port, or the first of them; 0 for any that is free.
            globally: Whether to listen on all addresses.
            scheme: That of the pages; None where there are none.

        Returns:
            0 where all has gone well; else the exit code of the worker that went first, or, where
            a second signal ended all, what shells report for that.

        Raises:
            ServerError: The port cannot be listened on.
        """
        plan = self._plan
        soon = trio.lowlevel.current_trio_token().run_sync_soon
        others = {number: functools.partial(soon, self._pass_on, number) for number in _PASSED_ON}
        with open_signals(others) as signals, contextlib.ExitStack() as stack:
            if not plan.own_ports:
                self._folder = stack.enter_context(open_folder())
            with contextlib.ExitStack() as ports:
                await self._listen(ports, port, globally=globally)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._obey, signals)
                    nursery.start_soon(self._service.keep_alive)
                    async with trio.open_nursery() as workers:
                        if await workers.start(self._keep, 1):
                            last = _port_of(self._listeners[plan.count])
                            note = f", {plan.count} processes"
                            if plan.own_ports and plan.count > 1:
                                note = f" to {last}{note}"
                            print(
                                describe(
                                    self._pubkey,
                                    _port_of(self._listeners[1]),
                                    globally=globally,
                                    scheme=scheme,
                                    note=note,
                                ),
                                flush=True,
                            )
                            self._service.ready()
                            for other in range(2, plan.count + 1):
                                workers.start_soon(self._keep, other)
                    nursery.cancel_scope.cancel()
        return self._exit_code or 0

    async def _listen(self, stack: contextlib.ExitStack, port: int, *, globally: bool) -> None:
        """Open the ports: one for all workers, or one for each, in a row."""
        for number in range(1, self._plan.count + 1):
            if number > 1 and not self._plan.own_ports:
                self._listeners[number] = self._listeners[1]
                continue
            wanted = port and port + number - 1
            self._listeners[number] = []
            for listener in await open_listeners(wanted, listen_globally=globally):
                self._listeners[number].append(stack.enter_context(listener))

    async def _obey(self, signals: trio.MemoryReceiveChannel[int]) -> None:
        """Pass on each signal to all workers; the first one is the end."""
        number = await signals.receive()
        say("Shutting down; once more to stop at once.")
        self._end(number)
        number = await signals.receive()
        self._exit_code = 128 + number
        for life in self._lives.values():
            life.send_signal(number)

    def _end(self, number: int) -> None:
        """Have all workers end in good order, as they do at a signal."""
        self._ending.set()
        self._service.stopping()
        for life in self._lives.values():
            life.end(number)

    def _pass_on(self, number: int) -> None:
        """Send all workers a signal that does not end them."""
        for life in self._lives.values():
            life.pass_on(number)

    async def _keep(
        self, number: int, *, task_status: trio.TaskStatus[bool] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Have a worker of this number until the end.

        Args:
            number: The number.
            task_status: Started with whether the first process of this number has started.
        """
        failures = node = 0
        is_first = True
        while not self._ending.is_set():
            life = self._lives[number] = _Life()
            begun = trio.current_time()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._run_one, number, life, node)
                await life.started.wait()
                self._pubkey = life.pubkey or self._pubkey
                if is_first:
                    task_status.started(bool(life.pubkey))
                if is_first and number == 1 and not life.pubkey:
                    # It has said why.
                    self._note_end(number, life.status, is_wanted=self._ending.is_set())
                    self._ending.set()
            is_first = False
            # It has ended for certain, so that the next one may take its place.
            node = life.node or node
            if self._ending.is_set():
                if life.status not in life.when_cut_short:
                    self._note_end(number, life.status, is_wanted=True)
                return
            if life.ended is not None and not life.is_restarting:
                say(f"Worker {number} was told to shut the server down.")
                self._exit_code = life.ended
                self._end(signal.SIGINT)
                return
            if life.status == 0:
                say(f"Worker {number} has ended, and is started again.")
                failures = 0
                continue
            failures = 1 if trio.current_time() - begun > GOOD_AFTER else failures + 1
            pause = min(SHORTEST_PAUSE * math.ldexp(1.0, min(failures, 20) - 1), LONGEST_PAUSE)
            say(
                f"Worker {number} has ended with {_described(life.status)}; it is started again in "
                f"{pause:g} s."
            )
            with trio.move_on_after(pause):
                await self._ending.wait()

    def _note_end(self, number: int, status: int, *, is_wanted: bool) -> None:
        if status == 0 or self._exit_code is not None:
            return
        self._exit_code = status if status > 0 else 128 - status
        if is_wanted:
            say(f"Worker {number} has ended with {_described(status)}.")

    async def _run_one(self, number: int, life: _Life, node: int) -> None:
        """Run one process to its end, and note what becomes of it."""
        ours, theirs = socket.socketpair()
        plan, folder = self._plan, self._folder
        listeners = [listener.fileno() for listener in self._listeners[number]]
        orders = Orders(
            number=number,
            count=plan.count,
            folder="" if folder is None else str(folder.path),
            lock=-1 if folder is None else folder.lock,
            listeners=listeners,
            address=plan.address(number, _port_of(self._listeners[number])),
            node=node,
            is_alone=plan.is_alone,
            admin_password=self._admin_password,
        )
        try:
            with ours, theirs:
                ours.sendall(orders.encode())
                process = await trio.lowlevel.open_process(
                    [
                        *(sys.executable, "-m", "pgnet_trio", *self._arguments),
                        *("--worker", str(theirs.fileno())),
                    ],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[
                        theirs.fileno(),
                        *listeners,
                        *([] if folder is None else [folder.lock]),
                    ],
                    # Ctrl-C in a terminal is for this process, which passes it on.
                    start_new_session=True,
                )
                theirs.close()
                life.process, life.link = process, ours
                if self._ending.is_set():
                    # The signal has come meanwhile.
                    life.end(signal.SIGTERM)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(life.listen, ours)
                    life.status = await process.wait()
                    nursery.cancel_scope.deadline = trio.current_time() + LONGEST_REPORT
        finally:
            life.process = life.link = None
            life.started.set()


class _Life:
    """What is known of one process.

    Attributes:
        started: Set once it serves clients, or has ended before.
        pubkey: The server's public key; empty until it serves clients.
        node: Its number as a node of the cluster; 0 until it is one.
        status: How it has ended.
        when_cut_short: How it may end where it was told to before it served anybody.
        ended: The exit code of a server that has ended without a signal; None for no such one.
        is_restarting: Whether that one is to be started again.
        process: The process, while it runs.
        link: Leads to it.
    """

    def __init__(self) -> None:
        self.process: trio.Process | None = None
        self.link: socket.socket | None = None
        self.started = trio.Event()
        self.pubkey = ""
        self.node = 0
        self.status = 0
        self.when_cut_short: tuple[int, ...] = ()
        self.ended: int | None = None
        self.is_restarting = False
        # Signals that have come before it could take them.
        self._held: set[int] = set()

    def end(self, number: int) -> None:
        """Have the process end as it does at a signal, and know that all others end too."""
        if self.started.is_set() and self.link is not None:
            # It sends itself the signal, and knows by then from whom that comes.
            with contextlib.suppress(OSError):
                self.link.send(bytes([number]))
        else:
            # It has not begun to serve, and a signal ends it at once.
            self.when_cut_short = (-number, 128 + number)
            self.send_signal(number)

    def pass_on(self, number: int) -> None:
        """Send the process a signal that does not end it, once it can take one."""
        if self.started.is_set():
            self.send_signal(number)
        else:
            self._held.add(number)

    def send_signal(self, number: int) -> None:
        """Send the process a signal."""
        if self.process is not None:
            self.process.send_signal(number)

    async def listen(self, link: socket.socket) -> None:
        """Take what the process tells, until it has ended."""
        link.setblocking(False)
        received = b""
        while len(received) < MAX_REPORT:
            await trio.lowlevel.wait_readable(link)
            try:
                data = link.recv(MAX_REPORT)
            except BlockingIOError:
                continue
            except ConnectionError:
                return
            if not data:
                return
            *lines, received = (received + data).split(b"\n")
            for line in lines:
                self._take(json.loads(line))

    def _take(self, report: dict[str, Any]) -> None:
        if "started" in report:
            self.pubkey = report["started"]
            self.started.set()
            # It may have opened a file that was moved away meanwhile.
            for number in sorted(self._held):
                self.send_signal(number)
        elif "node" in report:
            self.node = report["node"]
        else:
            self.ended, self.is_restarting = report["ended"], report["restarting"]


def _port_of(listeners: Sequence[socket.socket]) -> int:
    port: int = listeners[0].getsockname()[1]
    return port


def _described(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"signal {signal.Signals(-status).name}"
    except ValueError:
        return f"signal {-status}"

"""What pages cost that a server shows beside its game."""

from __future__ import annotations

import contextlib
import socket
import statistics
from collections.abc import Callable, Iterator
from typing import Any

from tests.benchmarks.processes import RunningServer, cpu_time, missing_package, running_server
from tests.benchmarks.report import Report, Verdict

__all__ = ["FILE", "SIZE", "PageClient", "page_cost", "pages", "visit_cost"]

SIZE = 10_000
"""Bytes of the file that is asked for."""

FILE = "script.js"

BUDGET = 0.5
"""Milliseconds of the server's CPU for a file."""

CONNECTIONS = 6
FIRST_REQUESTS = 50

KINDS = {
    "the file": "",
    "the file, compressed": "Accept-Encoding: gzip\r\n",
    "that it has not changed": "If-None-Match: *\r\n",
}


class PageClient:
    """One connection that asks for one file again and again.

    Args:
        port: The server's port.
        headers: Lines to send beside the usual ones.
    """

    def __init__(self, port: int, headers: str = "") -> None:
        self._request = (
            f"GET /{FILE} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: benchmark\r\n"
            f"Accept: */*\r\nAccept-Language: en\r\n{headers}\r\n"
        ).encode()
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        self._socket.close()

    def ask(self) -> int:
        """Ask for the file, blocking; return the bytes of its content.

        Raises:
            ConnectionError: That was no good answer.
        """
        self._socket.sendall(self._request)
        came = b""
        while b"\r\n\r\n" not in came:
            came += self._more()
        head, _, body = came.partition(b"\r\n\r\n")
        if not head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 304")):
            raise ConnectionError(f"expected a file, got {head!r}")
        _, found, length = head.partition(b"Content-Length: ")
        size = int(length.partition(b"\r\n")[0]) if found else 0
        while len(body) < size:
            body += self._more()
        return len(body)

    def _more(self) -> bytes:
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionError("the server has closed the connection")
        return data


@contextlib.contextmanager
def _clients(port: int, headers: str) -> Iterator[list[PageClient]]:
    with contextlib.ExitStack() as stack:
        clients = []
        for _ in range(CONNECTIONS):
            clients.append(PageClient(port, headers))
            stack.callback(clients[-1].close)
        yield clients


def page_cost(server: RunningServer, count: int, headers: str) -> float:
    """The server's CPU time for one answer over a connection that is kept, in seconds."""
    with _clients(server.port, headers) as clients:

        def ask(times: int) -> None:
            for number in range(times):
                clients[number % CONNECTIONS].ask()

        return _cost(server, count, ask)


def visit_cost(server: RunningServer, count: int) -> float:
    """The same with a new connection for each."""

    def ask(times: int) -> None:
        for _ in range(times):
            with contextlib.closing(PageClient(server.port)) as client:
                client.ask()

    return _cost(server, count, ask)


def _cost(server: RunningServer, count: int, ask: Callable[[int], None]) -> float:
    ask(FIRST_REQUESTS)
    before = cpu_time(server.process)
    ask(count)
    used = cpu_time(server.process) - before
    return (used.user + used.system) / count


def pages(*, requests: int, rounds: int, progress: Callable[[str], None]) -> Report:
    """Measure the CPU time of an answer, with each transport.

    Args:
        requests: How many are asked for in each measurement.
        rounds: How often each measurement is repeated.
        progress: Called with a line of text before each measurement.
    """
    transports = [
        name for name in ("websockets", "trio-websocket") if missing_package(f"site-{name}") is None
    ]
    measured: list[dict[str, Any]] = []
    for number in range(rounds):
        for transport in transports if number % 2 == 0 else reversed(transports):
            progress(f"round {number + 1} of {rounds}: {transport}")
            with running_server(f"site-{transport}") as server:
                found = {
                    kind: page_cost(server, requests, headers) for kind, headers in KINDS.items()
                }
                found["the file, over a new connection"] = visit_cost(server, requests)
            measured.append({"transport": transport, **found})

    def median(transport: str, kind: str) -> float:
        values: list[float] = [each[kind] for each in measured if each["transport"] == transport]
        return 1e3 * statistics.median(values)

    kinds = [*KINDS, "the file, over a new connection"]
    return Report(
        title="Pages beside the game",
        command=f"python -m tests.benchmarks pages --requests {requests} --rounds {rounds}",
        head=["ms of CPU for an answer", *transports],
        rows=[[kind, *(f"{median(name, kind):.3f}" for name in transports)] for kind in kinds],
        notes=[
            f"The file has {SIZE:,} bytes, and is asked for over {CONNECTIONS} connections, one "
            f"after the other. CPU is the server's, all threads together. "
            f"Medians of {rounds} rounds."
        ],
        measured=measured,
        verdicts=[
            Verdict(f"a file of 10 KB, {name}", BUDGET, median(name, "the file"), "ms of CPU")
            for name in transports
        ],
    )

"""What a connection costs that does nothing."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Callable

from tests.benchmarks.processes import missing_package, resident_memory, running_server
from tests.benchmarks.report import Report, Verdict
from tests.benchmarks.wire import IdlePeer, Peer
from tests.benchmarks.wire2 import IdlePeer2

__all__ = ["idle"]

# Logged in before the counting begins, so that what the server loads once is not counted.
FIRST_CONNECTIONS = 10


# In KiB, by the protocol.
BUDGETS = {1: 40, 2: 18}

PEERS: dict[int, type[Peer]] = {1: IdlePeer, 2: IdlePeer2}


def memory_per_connection(server_name: str, protocol: int, connections: int) -> tuple[float, int]:
    """Log users in and let them idle.

    Returns:
        Bytes of the server's resident memory for each connection, and all of it at the end.
    """
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(running_server(server_name))

        def log_in(number: int) -> None:
            stack.callback(PEERS[protocol](server.port, f"idle{number}").close)

        for number in range(FIRST_CONNECTIONS):
            log_in(number)
        before = resident_memory(server.process)
        for number in range(connections):
            log_in(FIRST_CONNECTIONS + number)
        after = resident_memory(server.process)
    return (after - before) / connections, after


def idle(*, connections: int, progress: Callable[[str], None]) -> Report:
    """Measure the memory of idle logged-in connections, with each transport."""
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    measured = {
        (transport, protocol): _measured(transport, protocol, connections, progress)
        for transport in ("websockets", "trio-websocket")
        if missing_package(f"pgnet-{transport}") is None
        for protocol in PEERS
    }
    return Report(
        title=f"{connections:,} idle logged-in connections",
        command=f"python -m tests.benchmarks idle --connections {connections}",
        head=["transport", "protocol", "KiB a connection", "RSS at the end, MiB"],
        rows=[
            [transport, f"{protocol}", f"{each / 2**10:.1f}", f"{total / 2**20:.1f}"]
            for (transport, protocol), (each, total) in measured.items()
        ],
        notes=["Resident memory of the server's process; the kernel's socket buffers are its own."],
        measured=[
            {
                "transport": transport,
                "protocol": protocol,
                "per_connection": each,
                "total": total,
            }
            for (transport, protocol), (each, total) in measured.items()
        ],
        verdicts=[
            Verdict(
                f"memory for each idle connection, `speed`, protocol {protocol}",
                BUDGETS[protocol],
                each / 2**10,
                "KiB",
            )
            for (transport, protocol), (each, _) in measured.items()
            if transport == "websockets"
        ],
    )


def _measured(
    transport: str, protocol: int, connections: int, progress: Callable[[str], None]
) -> tuple[float, int]:
    progress(f"{connections} idle connections: {transport}, protocol {protocol}")
    return memory_per_connection(f"pgnet-{transport}", protocol, connections)

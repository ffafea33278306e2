"""How the processes of one machine that look like one server pass connections to each other.

They listen together: the system gives a new connection to whichever process is quickest. A client
that is sent to ``/node-2`` may meet any of them. That one reads the head of the request, and passes
the socket on, with all that it has read, over a Unix socket (``SCM_RIGHTS``). Each process has one
of these, in a folder that only their user may enter. A connection between two processes carries one
message and its answer, a single byte:

====================  ======================================================================
the sender            the receiver
====================  ======================================================================
sends the message     closes without an answer where it is no message, or not a whole one
waits for the answer  answers once it has the socket, and then serves the client
closes its socket
====================  ======================================================================

Until the last byte has left, nobody else serves the client, so the sender may still tell it why it
is refused. Nor does anybody if the receiver closes without an answer. A sender that waits in vain
cuts the client off, for both of them: the receiver may still take the socket at any time.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import socket
import stat
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import trio

from pgnet_trio.errors import PGNetError, ProtocolError, ServerError
from pgnet_trio.foreign_text import one_line
from pgnet_trio.server.workers.passed import HEADER_SIZE, PassedConnection, message_size

__all__ = ["CAN_PASS", "NotPassed", "Workers", "node_path"]

logger = logging.getLogger("pgnet_trio.server")

HandlePassed: TypeAlias = Callable[[socket.socket, PassedConnection], Awaitable[None]]
"""Called with a connected socket, which it owns from then on, and what is known of it."""

CAN_PASS = hasattr(socket, "AF_UNIX") and hasattr(socket, "recv_fds")
"""Whether this system can pass sockets from one process to another."""

PATIENCE = 5.0
"""Seconds that another process gets to take a connection, or to send one."""

MOST_AT_ONCE = 16
"""Connections that are being received; the others wait in the system, which counts them."""

BACKLOG = 64
"""Connections that wait in the system to be received."""

REST = 0.1
"""Seconds until the next try where none can be received, for want of memory, say."""

MOST_SOCKETS = 4
"""Sockets that are taken from one message, to be closed where there is more than one."""

NOT_THERE = "this part of the server is not there"

_TAKEN = b"\x01"
_PATH = re.compile(r"/node-([1-9][0-9]{0,3})")
_CLOSE_ON_EXEC: int = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
_PIECE = 64 * 1024


class NotPassed(PGNetError):
    """Another process did not take a connection.

    Args:
        reason: Why, for the client.
        is_untouched: Whether the client may still be told.
    """

    def __init__(self, reason: str, *, is_untouched: bool) -> None:
        super().__init__(reason)
        self.is_untouched = is_untouched


def node_path(number: int) -> str:
    """Return the path by which clients ask for a process."""
    return f"/node-{number}"


class Workers:
    """The processes that look like one server, for one of them.

    Args:
        number: Which of them this is, from 1 on.
        count: How many there are.
        folder: Where their Unix sockets are, so that nobody else may enter it; None where each
            listens on a port of its own, and passes nothing on.
        listeners: The sockets that they listen on together, or this one alone; they stay open.
        node: The number, as a node of the cluster, of the process whose place this one takes, and
            whose end was seen; 0 for none.
        tell_node: Called with the number of this one whenever it has become a node.

    Attributes:
        number: The same.
        node: The number of this one as a node; before it is one, as above.
        all_end: Whether all of them are to end, so that none is of help to the games of another.
        is_restarting: Whether the last run of a server ended to be followed by another.
    """

    def __init__(
        self,
        number: int,
        count: int,
        folder: Path | None,
        listeners: Sequence[socket.socket],
        *,
        node: int = 0,
        tell_node: Callable[[int], None] | None = None,
    ) -> None:
        self.number = number
        self.node = node
        self.all_end = False
        self.is_restarting = False
        self._tell_node = tell_node
        self._noted_end: Callable[[], object] | None = None
        self._count = count
        self._folder = folder
        self._listeners = list(listeners)
        for listener in self._listeners:
            # Python takes an inherited socket for one that blocks, and would have each copy block,
            # and with it those of all other processes: whoever comes second to a connection waits.
            listener.setblocking(False)

    def open_listeners(self) -> list[socket.socket]:
        """Return sockets that listen, and do not block, for one run of a server to close."""
        return [listener.dup() for listener in self._listeners]

    def note_end(self, *, restarting: bool) -> None:
        """Note how a run of a server has ended."""
        self.is_restarting = restarting

    def note_node(self, node: int) -> None:
        """Note the number of this process as a node."""
        self.node = node
        if self._tell_node is not None:
            self._tell_node(node)

    def note_all_end(self) -> None:
        """Note that all are to end. For any thread, before this one is told to end."""
        self.all_end = True
        noted = self._noted_end
        if noted is not None:
            with contextlib.suppress(trio.RunFinishedError):
                noted()

    def watch_end(self, note: Callable[[], object]) -> None:
        """Have a function called in this run of Trio as soon as all are to end."""
        token = trio.lowlevel.current_trio_token()
        self._noted_end = lambda: token.run_sync_soon(note)
        # Looked at after that is set: a thread sets this first.
        if self.all_end:
            note()

    def find_other(self, path: str) -> int | None:
        """Return the number of the process that a path asks for; None where this one will do."""
        if self._folder is None:
            return None
        match = _PATH.fullmatch(path)
        number = 0 if match is None else int(match[1])
        return number if 0 < number <= self._count and number != self.number else None

    async def pass_on(
        self, number: int, source: socket.socket, connection: PassedConnection
    ) -> None:
        """Pass a connection on.

        Whatever happens, the caller has still to close its own socket. After a cancellation, the
        other process may have the connection or not.

        Args:
            number: The process that is to serve it.
            source: The socket, of which nobody reads any more.
            connection: What is known of it.

        Raises:
            NotPassed: The other process is gone, too busy or too slow.
        """
        await trio.lowlevel.checkpoint()
        try:
            message = connection.encode()
        except ProtocolError as error:
            raise NotPassed("too much came with the request", is_untouched=True) from error
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
            link.setblocking(False)
            try:
                # It never waits: such a connection is there at once, or is refused.
                link.connect(str(self._address(number)))
            except OSError as error:
                is_full = error.errno in (errno.EAGAIN, errno.EWOULDBLOCK)
                raise NotPassed(
                    "this part of the server is busy" if is_full else NOT_THERE, is_untouched=True
                ) from error
            await self._hand(link, message, source)

    async def receive(
        self,
        handle: HandlePassed,
        connections: trio.Nursery,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Take connections that other processes pass on, until cancelled; none where none pass any.

        Args:
            handle: Serves a connection.
            connections: The nursery for its tasks.
            task_status: Started once others can pass connections on.

        Raises:
            ServerError: This process cannot be reached.
        """
        await trio.lowlevel.checkpoint()
        if self._folder is None:
            task_status.started()
            return
        address = self._address(self.number)
        listener = _listen(address)
        slots = trio.Semaphore(MOST_AT_ONCE)
        try:
            async with trio.open_nursery() as receiving:
                task_status.started()
                while True:
                    await slots.acquire()
                    link = await _accept(listener)
                    receiving.start_soon(self._take, link, slots, handle, connections)
        finally:
            listener.close()
            address.unlink(missing_ok=True)

    def _address(self, number: int) -> Path:
        assert self._folder is not None
        return self._folder / str(number)

    async def _hand(self, link: socket.socket, message: bytes, source: socket.socket) -> None:
        is_untouched = True
        with trio.move_on_after(PATIENCE):
            try:
                sent = 0
                while sent < len(message):
                    await trio.lowlevel.wait_writable(link)
                    with contextlib.suppress(BlockingIOError):
                        if sent:
                            sent += link.send(message[sent:])
                        else:
                            sent = socket.send_fds(link, [message], [source.fileno()])
                is_untouched = False
                if await _read_answer(link) == _TAKEN:
                    return
            except OSError as error:
                raise NotPassed(NOT_THERE, is_untouched=True) from error
            raise NotPassed(NOT_THERE, is_untouched=True)
        if not is_untouched:
            # Also for the other process, should it come to it.
            with contextlib.suppress(OSError):
                source.shutdown(socket.SHUT_RDWR)
        raise NotPassed("this part of the server does not answer", is_untouched=is_untouched)

    async def _take(
        self,
        link: socket.socket,
        slots: trio.Semaphore,
        handle: HandlePassed,
        connections: trio.Nursery,
    ) -> None:
        try:
            with link, trio.move_on_after(PATIENCE) as scope:
                source, connection = await _receive(link)
                # From here to the task that owns the socket there is no await.
                with contextlib.suppress(OSError):
                    # A sender that has been killed meanwhile no longer needs the answer.
                    link.send(_TAKEN)
                connections.start_soon(handle, source, connection)
            if scope.cancelled_caught:
                logger.warning("A connection that another process passes on did not come in time")
        except (ProtocolError, OSError) as error:
            logger.warning("No connection came from another process: %s", one_line(error))
        finally:
            slots.release()


def _listen(address: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        # What a process has left that was killed.
        address.unlink(missing_ok=True)
        listener.bind(str(address))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ServerError(
            f"The other processes of this server cannot reach this one by {str(address)!r}: {error}"
        ) from error
    return listener


async def _accept(listener: socket.socket) -> socket.socket:
    while True:
        await trio.lowlevel.wait_readable(listener)
        try:
            link, _ = listener.accept()
        except (BlockingIOError, ConnectionError):
            continue
        except OSError as error:
            logger.error("No connection of another process can be taken: %s", one_line(error))
            await trio.sleep(REST)
            continue
        link.setblocking(False)
        return link


async def _read_answer(link: socket.socket) -> bytes:
    while True:
        await trio.lowlevel.wait_readable(link)
        with contextlib.suppress(BlockingIOError):
            return link.recv(1)


async def _receive(link: socket.socket) -> tuple[socket.socket, PassedConnection]:
    """Read one message, and the socket that comes with it, which the caller owns.

    Raises:
        ProtocolError: It is no message, or there is not exactly one socket.
        OSError: The other process is gone.
    """
    message = b""
    wanted: int | None = None
    descriptors: list[int] = []
    try:
        while wanted is None or len(message) < wanted:
            await trio.lowlevel.wait_readable(link)
            size = min((wanted or HEADER_SIZE) - len(message), _PIECE)
            try:
                piece, new, flags, _ = socket.recv_fds(link, size, MOST_SOCKETS, _CLOSE_ON_EXEC)
            except BlockingIOError:
                continue
            descriptors += new
            for descriptor in new:
                # Where the system does not do so by itself.
                os.set_inheritable(descriptor, False)
            if flags & socket.MSG_CTRUNC:
                # More than one message may have, or more than this process may open.
                raise ProtocolError("expected one socket, got more than can be taken")
            if not piece:
                raise ProtocolError(f"expected a whole message, got {len(message)} bytes of it")
            message += piece
            if wanted is None and len(message) >= HEADER_SIZE:
                wanted = message_size(message)
        connection = PassedConnection.decode(message)
        if len(descriptors) != 1 or not stat.S_ISSOCK(os.fstat(descriptors[0]).st_mode):
            raise ProtocolError(f"expected one socket, got {len(descriptors)} open files")
        source = socket.socket(fileno=descriptors.pop())
        source.setblocking(False)
        return source, connection
    finally:
        for descriptor in descriptors:
            os.close(descriptor)

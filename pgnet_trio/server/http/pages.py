"""Serves the connections that ask for pages: a thin task around the rules beside it."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import trio

from pgnet_trio.foreign_text import one_line
from pgnet_trio.server.admission import ArrivalPace
from pgnet_trio.server.http.answers import Answer, encode_head, text_answer
from pgnet_trio.server.http.head import BadRequest, HeadReader, RequestHead
from pgnet_trio.transport.handshake import refuse

if TYPE_CHECKING:
    from pgnet_trio.environment import Environment
    from pgnet_trio.server.http.answers import File
    from pgnet_trio.server.http.router import Router
    from pgnet_trio.server.limits import Limits
    from pgnet_trio.transport.pipes import BytePipe

__all__ = ["Pages"]

logger = logging.getLogger("pgnet_trio.server")

READ_SIZE = 256 * 1024
"""Bytes that are read at once of a file that is too long to be read as a whole."""

WRITE_SIZE = 64 * 1024
"""Bytes that a client has to take within the time of a log-in, or it is gone."""

THREADS = 4
"""How many files are looked for at the same time: a slow disk is not to take all threads."""


class Pages:
    """Answers requests for pages, over all connections of a server.

    Args:
        router: Decides what each request gets.
        limits: What one address may ask, and how long it may take.
        environment: Reads files beside the event loop.
    """

    def __init__(self, router: Router, limits: Limits, environment: Environment) -> None:
        self._router = router
        self._limits = limits
        self._environment = environment
        self._pace = ArrivalPace(limits.requests_per_second)
        self._threads = trio.CapacityLimiter(THREADS)
        # The connections that nothing is under way on.
        self._silent: set[BytePipe] = set()
        self._ended = False

    def end(self) -> None:
        """Close the connections that have asked for nothing, and each other one after its answer.

        Those that have not said anything yet are among them, whatever they would have been.
        """
        self._ended = True
        for pipe in self._silent:
            pipe.interrupt()

    async def read_first(self, pipe: BytePipe) -> bytes:
        """Wait for the first bytes of a connection, or of its next request.

        Returns:
            At least one byte; none when the client sends no more.

        Raises:
            trio.BrokenResourceError: The connection broke.
            trio.ClosedResourceError: `end` was called.
        """
        self._silent.add(pipe)
        try:
            if self._ended:
                pipe.interrupt()
            return await pipe.read()
        finally:
            self._silent.remove(pipe)

    async def read_head(self, pipe: BytePipe, reader: HeadReader) -> RequestHead:
        """Read the rest of a head, if there is any; answer what is no request.

        Nothing here has a deadline: use a cancel scope.

        Raises:
            trio.BrokenResourceError: The client is gone, or has got an HTTP error.
        """
        try:
            while (head := reader.take()) is None:
                data = await pipe.read()
                if not data:
                    raise trio.BrokenResourceError("the peer was gone before its whole request")
                reader.receive(data)
        except BadRequest as error:
            await self.refuse(pipe, error.status, str(error))
            raise trio.BrokenResourceError(
                f"the peer sent no request ({one_line(error)}); "
                f"it was answered with HTTP {error.status}"
            ) from None
        return head

    async def refuse(self, pipe: BytePipe, status: int, text: str) -> None:
        """Answer a request with an error, and wait a little for the client to close.

        Raises:
            trio.BrokenResourceError: The client is gone.
        """
        answer = text_answer(status, text)
        await refuse(pipe, self._encode_head(answer, keeps_alive=False) + answer.body)

    async def serve(
        self,
        pipe: BytePipe,
        head: RequestHead,
        rest: bytes,
        address_of: Callable[[RequestHead], str],
    ) -> None:
        """Answer a connection's requests, one after the other, until it ends.

        Args:
            pipe: The connection.
            head: The first request.
            rest: What has come behind it.
            address_of: Called with a request; returns the address that it comes from.

        Raises:
            trio.BrokenResourceError: The client is gone.
        """
        while True:
            delay = self._pace.delay(address_of(head), trio.current_time())
            if delay:
                await trio.sleep(delay)
            if not await self._answer(pipe, head):
                # Closed in good order, or the client would lose the end of its answer.
                await refuse(pipe, b"")
                return
            reader = HeadReader()
            if not rest:
                rest = await self._wait_for_more(pipe)
                if not rest:
                    return
            reader.receive(rest)
            with trio.move_on_after(_seconds(self._limits.login_timeout)) as reading:
                head = await self.read_head(pipe, reader)
            if reading.cancelled_caught:
                raise trio.BrokenResourceError("the peer did not send its whole request in time")
            rest = reader.rest

    async def _wait_for_more(self, pipe: BytePipe) -> bytes:
        """Wait for the beginning of another request; return nothing where none comes in time."""
        with trio.move_on_after(_seconds(self._limits.http_keepalive_timeout)):
            try:
                return await self.read_first(pipe)
            except trio.ClosedResourceError:
                # The server ends.
                pass
        return b""

    async def _answer(self, pipe: BytePipe, head: RequestHead) -> bool:
        """Answer a request; return whether another one may follow."""
        answer = await self._find(head)
        logger.debug("%s", one_line(f"HTTP {answer.status} for {head.method} {head.target}", 200))
        keeps_alive = head.keeps_alive and not self._ended
        first = self._encode_head(answer, keeps_alive=keeps_alive)
        if head.method == "HEAD":
            await self._send(pipe, first)
        else:
            await self._send(pipe, first + answer.body)
            if answer.file is not None:
                await self._send_file(pipe, answer.file, answer.size)
        return keeps_alive

    async def _find(self, head: RequestHead) -> Answer:
        try:
            answer = self._router.route(head)
        except BadRequest as error:
            answer = text_answer(error.status, str(error))
        if isinstance(answer, Answer):
            return answer
        found: Answer = await self._run_blocking(answer)
        return found

    async def _send_file(self, pipe: BytePipe, file: File, size: int) -> None:
        position = 0
        while position < size:
            try:
                part: bytes = await self._run_blocking(file.read, position, READ_SIZE)
            except OSError as error:
                # The length was announced, and so nothing else can be said any more.
                raise trio.BrokenResourceError(f"a file changed: {one_line(error)}") from error
            await self._send(pipe, part)
            position += len(part)

    async def _send(self, pipe: BytePipe, data: bytes) -> None:
        """Send all of this, to a client that takes some of it in time.

        Raises:
            trio.BrokenResourceError: The client is gone, or too slow.
        """
        for start in range(0, len(data), WRITE_SIZE):
            with trio.move_on_after(_seconds(self._limits.login_timeout)) as sending:
                pipe.write_nowait(data[start : start + WRITE_SIZE])
                await pipe.flush()
            if sending.cancelled_caught:
                raise trio.BrokenResourceError("the peer did not read its answer in time")

    async def _run_blocking(self, function: Callable[..., Any], *args: Any) -> Any:
        return await self._environment.run_blocking(
            function, *args, abandon_on_cancel=True, limiter=self._threads
        )

    def _encode_head(self, answer: Answer, *, keeps_alive: bool) -> bytes:
        return encode_head(answer, self._environment.wall_clock(), keeps_alive=keeps_alive)


def _seconds(limit: float | None) -> float:
    return math.inf if limit is None else limit

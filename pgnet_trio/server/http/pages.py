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
from pgnet_trio.server.http.head import BadRequest, HeadReader
from pgnet_trio.server.http.opening import Opening
from pgnet_trio.transport.handshake import refuse
from pgnet_trio.transport.upgrade import read_upgrade

if TYPE_CHECKING:
    from pgnet_trio.environment import Environment
    from pgnet_trio.server.http.answers import File
    from pgnet_trio.server.http.head import RequestHead
    from pgnet_trio.server.http.router import Router
    from pgnet_trio.server.limits import Limits
    from pgnet_trio.transport.pipes import BytePipe

__all__ = ["Pages"]

logger = logging.getLogger("pgnet_trio.server")

CHUNK_SIZE = 64 * 1024
"""Bytes that a client has to take within the time of a log-in, or it is gone. No more than that is
read for it from a long file, nor put into its connection, before it has taken them."""

PAGE_COST = 4.0
"""Ordinary requests to a game that a page counts as; it takes ten times as long as one of them, but
a browser asks for many at once, and then for none."""

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

    async def read_opening(self, pipe: BytePipe, data: bytes = b"") -> Opening | None:
        """Read the first request of a connection; answer what is no request.

        Nothing here has a deadline: use a cancel scope.

        Args:
            pipe: The connection.
            data: What was read of it already.

        Returns:
            The request; None where the client has left, or the server ends, before any.

        Raises:
            trio.BrokenResourceError: The client is gone, or has got an HTTP error.
        """
        if data:
            await trio.lowlevel.checkpoint()
        else:
            data = await self._read_first(pipe)
        upgrade = read_upgrade(data)
        if upgrade is not None:
            return Opening(data, upgrade)
        return await self._read_head(pipe, data) if data else None

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
        opening: Opening,
        address_of: Callable[[list[str]], str],
    ) -> Opening | None:
        """Answer a connection's requests, one after the other, until it ends.

        Args:
            pipe: The connection.
            opening: The first request, which is for a page.
            address_of: Called with a request's lines of ``X-Forwarded-For``; returns the address
                that the request comes from.

        Returns:
            A request for a WebSocket, which was not answered; None where none came.

        Raises:
            trio.BrokenResourceError: The client is gone.
        """
        request: Opening | None = opening
        while request is not None and request.head is not None:
            if request.asks_for_websocket:
                return request
            address = address_of(request.forwarded_for)
            delay = self._pace.delay(address, trio.current_time(), PAGE_COST)
            if delay:
                await trio.sleep(delay)
            if not await self._answer(pipe, request.head):
                # Closed in good order, or the client would lose the end of its answer.
                await refuse(pipe, b"")
                return None
            request = await self._read_next(pipe, request.rest)
        return None

    async def _read_next(self, pipe: BytePipe, data: bytes) -> Opening | None:
        """Read another request; return None where none comes in time.

        Raises:
            trio.BrokenResourceError: The client is gone, or too slow, or has got an HTTP error.
        """
        if not data:
            with trio.move_on_after(_seconds(self._limits.http_keepalive_timeout)):
                data = await self._read_first(pipe)
            if not data:
                return None
        with trio.move_on_after(_seconds(self._limits.login_timeout)):
            return await self._read_head(pipe, data)
        raise trio.BrokenResourceError("the peer did not send its whole request in time")

    async def _read_first(self, pipe: BytePipe) -> bytes:
        """Wait for the beginning of a request; return nothing where none will come."""
        self._silent.add(pipe)
        try:
            if self._ended:
                await trio.lowlevel.checkpoint()
                return b""
            return await pipe.read()
        except trio.ClosedResourceError:
            # The server ends.
            return b""
        finally:
            self._silent.remove(pipe)

    async def _read_head(self, pipe: BytePipe, data: bytes) -> Opening:
        """Read the rest of a head; answer what is no request.

        Raises:
            trio.BrokenResourceError: The client is gone, or has got an HTTP error.
        """
        reader = HeadReader()
        try:
            while True:
                reader.receive(data)
                head = reader.take()
                if head is not None:
                    return Opening(reader.data, None, head, reader.rest)
                data = await pipe.read()
                if not data:
                    raise trio.BrokenResourceError("the peer was gone before its whole request")
        except BadRequest as error:
            await self.refuse(pipe, error.status, str(error))
            raise trio.BrokenResourceError(
                f"the peer sent no request ({one_line(error)}); "
                f"it was answered with HTTP {error.status}"
            ) from None

    async def _answer(self, pipe: BytePipe, head: RequestHead) -> bool:
        """Answer a request; return whether another one may follow."""
        answer = await self._find(head)
        logger.debug("%s", one_line(f"HTTP {answer.status} for {head.method} {head.target}", 200))
        keeps_alive = head.keeps_alive and not self._ended
        first = self._encode_head(answer, keeps_alive=keeps_alive)
        if head.method == "HEAD":
            await self._send(pipe, first)
            return keeps_alive
        body = answer.body
        await self._send(pipe, first + body[:CHUNK_SIZE])
        for start in range(CHUNK_SIZE, len(body), CHUNK_SIZE):
            await self._send(pipe, body[start : start + CHUNK_SIZE])
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
        try:
            found: Answer = await self._run_blocking(answer)
        except RuntimeError as error:
            logger.error("No thread looks for a page: %s", one_line(error))
            found = text_answer(503, "the server is too busy to look for this")
        return found

    async def _send_file(self, pipe: BytePipe, file: File, size: int) -> None:
        position = 0
        while position < size:
            try:
                part: bytes = await self._run_blocking(file.read, position, CHUNK_SIZE)
            except (OSError, RuntimeError) as error:
                # The length was announced, and so nothing else can be said any more.
                raise trio.BrokenResourceError(
                    f"a file could not be sent to its end: {one_line(error)}"
                ) from error
            await self._send(pipe, part)
            position += len(part)

    async def _send(self, pipe: BytePipe, data: bytes) -> None:
        """Send a piece of an answer, to a client that takes it in time.

        Raises:
            trio.BrokenResourceError: The client is gone, or too slow.
        """
        with trio.move_on_after(_seconds(self._limits.login_timeout)) as sending:
            pipe.write_nowait(data)
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

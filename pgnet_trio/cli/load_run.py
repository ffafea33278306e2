"""Many clients that each run an author's script, and the times of what they do."""

from __future__ import annotations

import signal
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING

import attrs
import trio

from pgnet_trio.cli.measuring import Tally
from pgnet_trio.cli.signals import open_signals
from pgnet_trio.client import Client
from pgnet_trio.client.outbox import Outbox, PendingRequest
from pgnet_trio.client.run import ClientRun
from pgnet_trio.errors import PGNetError, first_error
from pgnet_trio.messages import Request
from pgnet_trio.protocol.events import GameChanged, Patched, QuietAck, StateShown

if TYPE_CHECKING:
    from pgnet_trio.cli.load_report import Progress
    from pgnet_trio.messages import Response
    from pgnet_trio.protocol.events import ClientEvent

__all__ = ["Bot", "LoadClient", "LoadRun"]

PROGRESS_INTERVAL = 1.0
"""Seconds between two lines of progress."""

Bot = Callable[[Client, int], Awaitable[object]]


class TimedOutbox(Outbox):
    """An outbox that knows how long each packet has taken, from when it was queued.

    Args:
        on_quiet: Called when a packet is sent that wants no answer.
    """

    def __init__(self, on_quiet: Callable[[], None]) -> None:
        super().__init__()
        self._on_quiet = on_quiet
        self._queued: dict[PendingRequest, float] = {}
        # What was sent without wanting an answer, with its number, until the server has taken it.
        self._unsettled: deque[tuple[int, PendingRequest]] = deque()

    def put(
        self,
        request: PendingRequest,
        *,
        do_next: bool,
        waiting_callbacks: int,
        is_first: bool = False,
    ) -> None:
        """Queue a packet."""
        super().put(
            request, do_next=do_next, waiting_callbacks=waiting_callbacks, is_first=is_first
        )
        self._queued[request] = trio.current_time()

    def time_of(self, request: PendingRequest) -> float:
        """Return the seconds since a packet was queued, and forget it."""
        return trio.current_time() - self._queued.pop(request)

    def settle_quiet(self, last_id: int) -> Iterator[PendingRequest]:
        """Yield the packets without an answer that the server has taken, up to this number."""
        while self._unsettled and self._unsettled[0][0] <= last_id:
            yield self._unsettled.popleft()[1]

    def withdraw(self, request: PendingRequest) -> None:
        """Forget a packet if it was not sent yet."""
        if request in self._queue:
            del self._queued[request]
        super().withdraw(request)

    def drop_unsent(self) -> int:
        """Forget what was not sent yet and nobody waits for."""
        for request in self._queue:
            if request.done is None:
                del self._queued[request]
        return super().drop_unsent()

    def fail_all(self, error: PGNetError) -> None:
        """Tell everybody who waits that there will be no response."""
        self._queued.clear()
        self._unsettled.clear()
        super().fail_all(error)

    def _take_next(self) -> PendingRequest | None:
        request = super()._take_next()
        if request is not None and request.quiet:
            self._on_quiet()
            if self.version == 2:
                self._unsettled.append((self._last_id, request))
        return request


class TimedRun(ClientRun):
    """A run of a client that counts what is asked, sent and shown."""

    outbox: TimedOutbox
    _hooks: LoadClient
    _shown_at: float | None = None

    def _make_outbox(self) -> Outbox:
        return TimedOutbox(self._note_quiet)

    def _note_quiet(self) -> None:
        self._hooks.tally.sent(trio.current_time())

    async def _wait_response(self, request: PendingRequest, *, do_next: bool = False) -> Response:
        client = self._hooks
        try:
            return await super()._wait_response(request, do_next=do_next)
        except PGNetError as error:
            if request.packet.message == Request.HEARTBEAT_UPDATE:
                raise
            # Count an error once, whether the bot catches it or not.
            client.counted = error
            client.tally.failed(error, client.username, client.file)
            raise

    def take_event(self, event: ClientEvent) -> None:
        """Act on something that the server sent."""
        super().take_event(event)
        tally, now = self._hooks.tally, trio.current_time()
        if isinstance(event, QuietAck):
            for request in self.outbox.settle_quiet(event.id):
                tally.taken.add(self.outbox.time_of(request))
        elif isinstance(event, StateShown | Patched):
            tally.shown(None if self._shown_at is None else now - self._shown_at)
            self._shown_at = now
        elif isinstance(event, GameChanged):
            # The first state of another game replaces none.
            self._shown_at = None

    def _take_response(self, request: PendingRequest, response: Response, size: int) -> None:
        tally, now = self._hooks.tally, trio.current_time()
        seconds = self.outbox.time_of(request)
        if request.quiet:
            tally.taken.add(seconds)
        elif request.packet.message != Request.HEARTBEAT_UPDATE:
            # Heartbeats are the client's own.
            is_answer = request.question is not None
            tally.answered(seconds, response.status, now, is_answer=is_answer)
        super()._take_response(request, response, size)


class LoadClient(Client):
    """A client that counts and times what it does.

    Attributes:
        tally: Where it is counted.
        file: The author's file, for the lines of errors.
        counted: The latest error that was counted.
    """

    _run_class = TimedRun

    tally: Tally
    file: str = ""
    counted: BaseException | None = None

    def count_in(self, tally: Tally, file: str) -> None:
        """Count everything from here on in *tally*; to be called once, before connecting."""
        self.tally, self.file = tally, file

    @property
    def drops(self) -> int:
        """How many connections dropped since the last connect."""
        return self._run.drops


@attrs.define(eq=False)
class LoadRun:
    """A load test: clients that start one after the other, and what was counted.

    Attributes:
        bot: The author's script, which each client runs.
        make_client: Returns a client for a username.
        prefix: The beginning of all usernames.
        clients: How many clients there are.
        ramp: Seconds from the start of the first client to that of the last.
        seconds: Seconds until the bots are stopped; None for never.
        file: The author's file.
        logins_at_once: Clients that connect and log in at the same time, at most.
        tally: What was counted.
        elapsed: Seconds that the test took.
        cpu: The share of a core that this process used meanwhile.
    """

    bot: Bot
    make_client: Callable[..., LoadClient]
    prefix: str
    clients: int
    ramp: float
    seconds: float | None
    file: str = ""
    logins_at_once: int = 8
    tally: Tally = attrs.field(factory=Tally)
    elapsed: float = 0.0
    cpu: float = 0.0
    _scopes: dict[int, trio.CancelScope] = attrs.field(factory=dict)
    _starting: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _logins: trio.Semaphore = attrs.field(init=False)

    @_logins.default
    def _make_logins(self) -> trio.Semaphore:
        return trio.Semaphore(self.logins_at_once)

    async def run(self, progress: Progress) -> None:
        """Run the test until all bots have ended, time is up, or Ctrl-C.

        A second Ctrl-C ends the process, whatever the bots do.

        Args:
            progress: Shows the progress.
        """
        started, cpu = trio.current_time(), time.process_time()
        with open_signals() as signals, progress:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._obey, signals, progress)
                nursery.start_soon(self._show, progress, started)
                if self.seconds is not None:
                    nursery.start_soon(self._stop_after, self.seconds)
                await self._play_all(started)
                nursery.cancel_scope.cancel()
        self.elapsed = trio.current_time() - started
        self.cpu = (time.process_time() - cpu) / max(self.elapsed, 1e-9)

    def stop(self) -> None:
        """Stop the bots, and start no more; their clients log out in good order."""
        self._starting.cancel()
        for scope in self._scopes.values():
            scope.cancel()

    async def _obey(self, signals: trio.MemoryReceiveChannel[int], progress: Progress) -> None:
        await signals.receive()
        print("Ending; once more to stop at once.", file=sys.stderr)
        self.stop()
        number = await signals.receive()
        # Not by a cancellation, which a bot may hold off; and there is nothing to lose here.
        progress.close()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    async def _stop_after(self, seconds: float) -> None:
        await trio.sleep(seconds)
        self.stop()

    async def _show(self, progress: Progress, started: float) -> None:
        while True:
            await trio.sleep(PROGRESS_INTERVAL)
            progress.show(self.tally, trio.current_time() - started)

    async def _play_all(self, started: float) -> None:
        async with trio.open_nursery() as nursery:
            with self._starting:
                for number in range(self.clients):
                    await trio.sleep_until(started + self.ramp * number / max(self.clients - 1, 1))
                    nursery.start_soon(self._play, number)

    async def _play(self, number: int) -> None:
        client = self.make_client(username=f"{self.prefix}{number}")
        client.count_in(self.tally, self.file)
        tally, is_in = self.tally, False
        # What `stop` cancels: the client while it connects, and then the bot alone.
        with trio.CancelScope() as connecting:
            self._scopes[number] = connecting
            if self._starting.cancel_called:
                return
            # The server refuses too many log-ins at once, which would say nothing of the game.
            await self._logins.acquire()
            try:
                async with client:
                    is_in = True
                    self._logins.release()
                    tally.entered()
                    with trio.CancelScope() as playing:
                        self._scopes[number] = playing
                        await self.bot(client, number)
                        tally.ended += 1
                    # The client logs out now, which `stop` need not end.
                    del self._scopes[number]
            except Exception as error:
                if is_in:
                    tally.broken += 1
                else:
                    tally.not_in += 1
                if first_error(error) is not client.counted:
                    tally.failed(error, client.username, self.file)
            finally:
                self._scopes.pop(number, None)
                tally.drops += client.drops
                if is_in:
                    tally.parted()
                else:
                    self._logins.release()

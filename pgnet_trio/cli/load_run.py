"""Many clients that each run an author's script, and the timing of what they ask."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import trio

from pgnet_trio.cli.measuring import Tally
from pgnet_trio.cli.signals import open_signals
from pgnet_trio.client import Client
from pgnet_trio.errors import PGNetError, first_error
from pgnet_trio.messages import Packet, RequestFailed, Response

if TYPE_CHECKING:
    from pgnet_trio.cli.load_report import Progress

__all__ = ["Bot", "LoadClient", "LoadRun"]

PROGRESS_INTERVAL = 1.0
"""Seconds from one sign of progress to the next."""

Bot = Callable[[Client, int], Awaitable[object]]

T = TypeVar("T")


class LoadClient(Client):
    """A client whose requests are timed.

    Attributes:
        tally: Where they are counted.
        file: The author's file.
    """

    tally: Tally
    file: str = ""
    counted: BaseException | None = None

    async def request(self, packet: Packet) -> Response:
        """Send a packet and wait for the answer."""
        return await self._timed(super().request(packet))

    def send(
        self,
        message: object,
        callback: Callable[[Response], Any] | None = None,
        /,
        do_next: bool = False,
    ) -> None:
        """Queue a message; one with a callback is timed until that is called."""
        started, then = trio.current_time(), callback

        def call(response: Response) -> Any:
            self._count(started, response.status)
            return None if then is None else then(response)

        super().send(message, None if callback is None else call, do_next=do_next)

    def create_game(self, name: str, /, **options: Any) -> Any:
        """Create a game and join it."""
        return self._maybe_timed(super().create_game(name, **options))

    def join_game(self, name: str, /, **options: Any) -> Any:
        """Join a game."""
        return self._maybe_timed(super().join_game(name, **options))

    def leave_game(self, **options: Any) -> Any:
        """Leave the game."""
        return self._maybe_timed(super().leave_game(**options))

    def get_game_dir(self, *options: Any, **more: Any) -> Any:
        """Ask for the directory of games."""
        return self._maybe_timed(super().get_game_dir(*options, **more))

    def _online_changed(self, *, online: bool) -> None:
        """Count connections that drop."""
        if not online:
            self.tally.drops += 1
        super()._online_changed(online=online)

    def _maybe_timed(self, asking: Awaitable[Any] | None) -> Any:
        # With a callback it is `send` that times it.
        return None if asking is None else self._timed(asking)

    async def _timed(self, asking: Awaitable[T]) -> T:
        started = trio.current_time()
        try:
            answer = await asking
        except RequestFailed as error:
            self._count(started, error.response.status)
            raise
        except PGNetError as error:
            # Whether the bot catches it or not, it counts, and once.
            self.counted = error
            self.tally.failed(error, self.username, self.file)
            raise
        self._count(started, answer.status if isinstance(answer, Response) else 0)
        return answer

    def _count(self, started: float, status: int) -> None:
        now = trio.current_time()
        self.tally.answered(now - started, status, now)


@attrs.define(eq=False)
class LoadRun:
    """Clients that start one after the other, and all that is counted of them.

    Attributes:
        bot: What each of them does.
        make_client: Makes a client of a username.
        prefix: What their usernames begin with.
        clients: How many.
        ramp: Seconds from the start of the first to that of the last.
        seconds: Seconds until the bots are ended; None for never.
        file: The author's file.
        logins_at_once: Clients that connect and log in at the same time, at most.
        tally: What was counted.
        elapsed: Seconds that it took.
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
        """Run it, until all bots have ended, time is up, or Ctrl-C.

        A second Ctrl-C ends the process, whatever the bots do.

        Args:
            progress: Shows how it goes.
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
        """End the bots, and start no more; their clients log out in good order."""
        self._starting.cancel()
        for scope in self._scopes.values():
            scope.cancel()

    async def _obey(self, signals: trio.MemoryReceiveChannel[int], progress: Progress) -> None:
        await signals.receive()
        print("Ending; once more to stop at once.", file=sys.stderr)
        self.stop()
        number = await signals.receive()
        # There is nothing to lose, and a bot may hold a cancellation off for as long as it likes.
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
        client.tally, client.file = self.tally, self.file
        tally, is_in = self.tally, False
        # What `stop` ends: while it connects all of it, and then the bot alone.
        with trio.CancelScope() as connecting:
            self._scopes[number] = connecting
            if self._starting.cancel_called:
                return
            # A crowd at the door is refused by the server, and tells nothing about the game.
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
                    # It logs out, which nobody has to end.
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
                if is_in:
                    tally.parted()
                else:
                    self._logins.release()

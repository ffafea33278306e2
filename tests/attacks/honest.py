"""A client that plays as it should, and notes how long it has to wait."""

from __future__ import annotations

import math
from collections import deque

import attrs
import trio

from tests.attacks.peer import OK, ConnectionEnded, Peer, SessionOver
from tests.benchmarks.load import percentile

__all__ = ["CADENCE", "TABLE", "Played", "play"]

CADENCE = 0.02
"""Seconds from one request to the next."""

IN_FLIGHT = 60
"""Fewer than a server lets be under way."""

GRACE = 3.0
"""Seconds for the last answers."""

TABLE = "honest"


@attrs.frozen
class Played:
    """What came of it; times in milliseconds.

    Attributes:
        asked: How many requests were due.
        answered: How many of them were answered.
        p50: The median of the times from when a request was due to its answer. One that was not
            answered counts as long as was waited for it.
        p99: The time that 99 % of them did not exceed.
        longest: The longest.
        total: What the game counted last.
        ended: How the session ended; empty while it had not.
    """

    asked: int
    answered: int
    p50: float
    p99: float
    longest: float
    total: int
    ended: str

    @property
    def served(self) -> bool:
        """Whether all was answered."""
        return self.asked == self.answered and not self.ended


async def play(
    peer: Peer,
    seconds: float,
    *,
    message: str = "add",
    cadence: float = CADENCE,
    total: int = 0,
    until: trio.Event | None = None,
) -> Played:
    """Ask at a steady pace, whether or not the answers come; so no wait goes unnoticed.

    Args:
        peer: Logged in, and at a `tests.attacks.misbehaving.Table`.
        seconds: How long, at most.
        message: What to ask.
        cadence: Seconds from one request to the next.
        total: What the game counted so far.
        until: Ends it before, once it is set.
    """
    clock = trio.current_time
    waiting: dict[int, float] = {}
    due: deque[float] = deque()
    times: list[float] = []
    ended, asked = "", 0
    answered = trio.Event()
    start = clock()

    async def read() -> None:
        nonlocal ended, total, answered
        try:
            while True:
                await peer.receive()
                now = clock()
                for id, answer in peer.answers().items():
                    if id not in waiting:
                        # An answer to what was asked before this began.
                        continue
                    times.append(now - waiting.pop(id))
                    if answer.status == OK:
                        total = max(total, answer.payload["total"])
                answered.set()
                answered = trio.Event()
        except (ConnectionEnded, SessionOver) as error:
            ended = str(error) or type(error).__name__
            writing.cancel()

    async def write() -> None:
        nonlocal asked, ended
        try:
            while not (until is not None and until.is_set()) and clock() < start + seconds:
                asked += 1
                due.append(start + asked * cadence)
                while due and len(waiting) < IN_FLIGHT:
                    request = peer.next_request(message)
                    waiting[request[1]] = due.popleft()
                    await peer.say(peer.acknowledgement(), request)
                await trio.sleep_until(start + (asked + 1) * cadence)
            with trio.move_on_after(GRACE):
                while waiting or due:
                    while due and len(waiting) < IN_FLIGHT:
                        request = peer.next_request(message)
                        waiting[request[1]] = due.popleft()
                        await peer.say(peer.acknowledgement(), request)
                    await answered.wait()
        except (ConnectionEnded, SessionOver) as error:
            ended = str(error) or type(error).__name__

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        with trio.CancelScope() as writing:
            await write()
        nursery.cancel_scope.cancel()
    now = clock()
    count = len(times)
    times += [now - since for since in [*waiting.values(), *due]]
    times.sort()
    if not times:
        times = [math.nan]
    return Played(
        asked=asked,
        answered=count,
        p50=round(percentile(times, 50) * 1e3, 2),
        p99=round(percentile(times, 99) * 1e3, 2),
        longest=round(times[-1] * 1e3, 2),
        total=total,
        ended=ended,
    )

"""What waits until a client's program reads it: pushes, questions, states, events."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, Generic, TypeVar

import trio

from pgnet_trio.client.limits import MAX_UNREAD, MAX_UNREAD_SIZE
from pgnet_trio.errors import CodecError, PGNetError, PushesLost, SessionLost

__all__ = ["ALL_KINDS", "ContinuedReader", "Feed", "LatestFeed", "Reader", "StateReader"]

ALL_KINDS: frozenset[str | None] = frozenset({None})
"""What a reader of all items reads."""

_MAX_KIND = 200
"""Characters of a kind that are remembered of items that were dropped."""

ItemT = TypeVar("ItemT")
ReadT = TypeVar("ReadT")


class Feed(Generic[ItemT]):
    """Items in the order of arrival, until somebody reads them; a full feed drops its oldest.

    Args:
        what: What errors call the items, in the plural.
        kind: Returns the kind of an item.

    Attributes:
        count: How many items there were.
        end_seen: The kinds of which a reader has read everything up to the end.
    """

    def __init__(self, what: str, kind: Callable[[ItemT], str]) -> None:
        self._what = what
        self._kind = kind
        self.count = 0
        self.end_seen: set[str | None] = set()
        # Each with its number and its size.
        self._items: deque[tuple[ItemT, int, int]] = deque()
        self._size = 0
        # Counted by kind: whoever reads one kind lost nothing when items of another were dropped.
        self._lost: dict[str, int] = {}
        self._ended = False
        self._error: PGNetError | None = None
        self._changed = trio.lowlevel.ParkingLot()
        self._readers: set[str | None] = set()

    @property
    def ended(self) -> bool:
        """Whether no more items will come."""
        return self._ended

    def put(self, item: ItemT, size: int = 0) -> None:
        """Add an item of so many bytes; never waits."""
        self.count += 1
        self._items.append((item, self.count, size))
        self._size += size
        while len(self._items) > MAX_UNREAD or (
            self._size > MAX_UNREAD_SIZE and len(self._items) > 1
        ):
            self._drop_oldest()
        self._changed.unpark_all()

    def remove(self, item: ItemT) -> None:
        """Take an item back, if nobody has read it."""
        for index, (each, _, _) in enumerate(self._items):
            if each is item:
                self._take(index)
                return

    def unread_after(self, count: int) -> list[tuple[ItemT, int]]:
        """Return the items after the *count*-th that nobody has read, each with its size."""
        return [(item, size) for item, number, size in self._items if number > count]

    def end(self, error: PGNetError | None = None) -> None:
        """Say that no more comes: readers read what is there, and then stop, or raise *error*."""
        self._ended = True
        self._error = error
        self._changed.unpark_all()

    def read(
        self, kinds: frozenset[str | None], read: Callable[[ItemT], ReadT | None]
    ) -> Reader[ItemT, ReadT]:
        """Return an iterator over the items.

        Args:
            kinds: The kinds of item, or `ALL_KINDS`; each has one consumer at a time.
            read: Returns what the consumer gets for an item; None for an item of another kind.
        """
        return Reader(self, kinds, read)

    def _take(self, index: int) -> None:
        self._size -= self._items[index][2]
        del self._items[index]

    def _drop_oldest(self) -> None:
        kind = self._kind(self._items[0][0])[:_MAX_KIND]
        self._take(0)
        if kind not in self._lost and len(self._lost) >= MAX_UNREAD:
            del self._lost[next(iter(self._lost))]
        self._lost[kind] = self._lost.get(kind, 0) + 1

    def _take_lost(self, kinds: frozenset[str | None]) -> int:
        """Return how many items of some kinds were dropped since the last call."""
        lost = 0
        for kind in kinds:
            if kind is None:
                lost += sum(self._lost.values())
                self._lost.clear()
            else:
                lost += self._lost.pop(kind[:_MAX_KIND], 0)
        return lost


class Reader(Generic[ItemT, ReadT], AsyncIterator[ReadT]):
    """An iterator over a feed.

    A consumer may break out of the loop, or be cancelled: the next one goes on from there.
    """

    def __init__(
        self,
        feed: Feed[ItemT],
        kinds: frozenset[str | None],
        read: Callable[[ItemT], ReadT | None],
    ) -> None:
        self._feed = feed
        self._kinds = kinds
        self._read = read

    def __aiter__(self) -> Reader[ItemT, ReadT]:
        return self

    async def __anext__(self) -> ReadT:
        """Wait for the next item.

        Raises:
            StopAsyncIteration: The player is out of the game, and everything was read.
            CodecError: An item has the model's name, but not its fields; the next one follows.
            PushesLost: More came than the feed keeps; what it kept follows.
            Disconnected: The session ended.
            trio.BusyResourceError: Another task waits for the same kind.
        """
        feed = self._feed
        if not self._kinds.isdisjoint(feed._readers):
            await trio.lowlevel.checkpoint()
            raise trio.BusyResourceError(f"{feed._what} of this kind have another consumer")
        feed._readers |= self._kinds
        try:
            await trio.lowlevel.checkpoint()
            while True:
                lost = feed._take_lost(self._kinds)
                if lost:
                    raise PushesLost(
                        f"{lost} {feed._what} came while nobody read them, and are lost: at most "
                        f"{MAX_UNREAD} of them are kept, and {MAX_UNREAD_SIZE} bytes"
                    )
                for index, (item, _, _) in enumerate(feed._items):
                    try:
                        found = self._read(item)
                    except CodecError:
                        # Drop it: the next call would fail on it again.
                        feed._take(index)
                        raise
                    if found is not None:
                        feed._take(index)
                        return found
                if feed._ended:
                    feed.end_seen |= self._kinds
                    if feed._error is not None:
                        raise _copy_of(feed._error)
                    raise StopAsyncIteration
                await feed._changed.park()
        finally:
            feed._readers -= self._kinds


class LatestFeed:
    """The latest state, and what its readers wait on.

    Attributes:
        count: How many states there were.
        data: The latest, as plain data.
        ended: Whether there will be no more.
        error: What readers get then; None where they just stop.
        changed: Wakes readers.
        busy: Whether a `StateReader` waits.
        end_seen: Whether a `StateReader` has read everything up to the end.
    """

    def __init__(self) -> None:
        self.count = 0
        self.data: Any = None
        self.ended = False
        self.error: PGNetError | None = None
        self.changed = trio.lowlevel.ParkingLot()
        self.busy = False
        self.end_seen = False

    def put(self, data: Any) -> None:
        """Set the latest state."""
        self.count += 1
        self.data = data
        self.changed.unpark_all()

    def end(self, error: PGNetError | None = None) -> None:
        """Say that no more comes: readers read the latest, and then stop, or raise *error*."""
        self.ended = True
        self.error = error
        self.changed.unpark_all()

    async def next_after(self, count: int) -> bool:
        """Wait for a state later than the *count*-th; return False where there will be none."""
        while self.count <= count:
            if self.error is not None:
                raise _copy_of(self.error)
            if self.ended:
                return False
            await self.changed.park()
        return True


class StateReader(Generic[ReadT], AsyncIterator[ReadT]):
    """An iterator over states: each is the latest at the time of the call."""

    def __init__(self, feed: LatestFeed, read: Callable[[Any], ReadT]) -> None:
        self._feed = feed
        self._read = read
        self._count = 0

    def __aiter__(self) -> StateReader[ReadT]:
        return self

    async def __anext__(self) -> ReadT:
        """Wait for a state that this iterator has not returned yet.

        Raises:
            StopAsyncIteration: The player is out of the game.
            CodecError: The state is no such model.
            Disconnected: The session ended.
            trio.BusyResourceError: Another task waits for states.
        """
        feed = self._feed
        if feed.busy:
            await trio.lowlevel.checkpoint()
            raise trio.BusyResourceError("states have another consumer")
        feed.busy = True
        try:
            await trio.lowlevel.checkpoint()
            if not await feed.next_after(self._count):
                feed.end_seen = True
                raise StopAsyncIteration
            self._count = feed.count
            return self._read(feed.data)
        finally:
            feed.busy = False


class ContinuedReader(Generic[ReadT], AsyncIterator[ReadT]):
    """An iterator that outlives sessions: where one is lost, it goes on with what comes after.

    Args:
        open_reader: Returns an iterator over what the session tells that there is now. Such an
            iterator raises `SessionLost` once its session is lost, and everything before was read.
    """

    def __init__(self, open_reader: Callable[[], AsyncIterator[ReadT]]) -> None:
        self._open_reader = open_reader
        self._reader = open_reader()

    def __aiter__(self) -> ContinuedReader[ReadT]:
        return self

    async def __anext__(self) -> ReadT:
        """Wait for the next item; raises what the iterator of a session does, but SessionLost."""
        while True:
            try:
                return await anext(self._reader)
            except SessionLost:
                self._reader = self._open_reader()


def _copy_of(error: PGNetError) -> PGNetError:
    """Return a copy of an error: each reader raises its own, with its own traceback."""
    copy = type(error)(*error.args)
    copy.__cause__ = error.__cause__
    return copy

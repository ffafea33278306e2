"""Server-sent events: what a page of the monitor shows, and then what has changed of it.

A stream sends at most once a second, and only what its page shows now. It waits for its reader and
takes what has changed meanwhile in one go, so a slow reader gets less often what there is, and
nothing piles up. One that reads nothing at all is closed by the listener.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs
import trio

from pgnet_trio.server.monitor.live import ROWS
from pgnet_trio.server.monitor.rows import Rows, encode_json

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

    from pgnet_trio.server.context import ServerContext
    from pgnet_trio.server.monitor.live import Live
    from pgnet_trio.server.monitor.servers import Servers
    from pgnet_trio.server.room.stats import SeatView, TableView

__all__ = ["MOST_STREAMS", "VIEWS", "EventStreams", "Wanted"]

VIEWS = (
    "overview",
    "tables",
    "table",
    "players",
    "bans",
    "servers",
    "tasks",
    "log",
    "playground",
)

MOST_STREAMS = 32
"""Pages that may be open at once."""

ROWS_AT_ONCE = 250
"""Rows in one event, between which other tasks get their turn."""

RECORDS_AT_ONCE = 300
"""Records of the log in one event; of more, the latest are sent."""

TASKS_EVERY = 2
"""Looks from one picture of the tasks to the next."""

MOST_ENDED = 12
"""Games that have ended and are shown."""

LONGEST_STATE = 256 * 1024
"""Bytes of a state that is shown; a page that shows a longer one would be slow."""

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    # Proxies like nginx would wait for more.
    (b"x-accel-buffering", b"no"),
]


@attrs.frozen
class Wanted:
    """What a page shows.

    Attributes:
        view: One of `VIEWS`.
        table: The name of the table, where the view is of one.
        level: The lowest level of the log that is shown.
    """

    view: str
    table: str = ""
    level: int = logging.NOTSET


class EventStreams:
    """Makes the streams of events.

    Args:
        context: What the server's tasks share.
        live: Looks at the server.
        play: Makes what the playground is told of a table; None where there is none.
    """

    def __init__(
        self,
        context: ServerContext,
        live: Live,
        play: Callable[[ServerContext, str], TableChanges] | None = None,
    ) -> None:
        self._context = context
        self._live = live
        self._play = play
        self._open = 0

    @property
    def is_full(self) -> bool:
        """Whether there are as many streams as there may be."""
        return self._open >= MOST_STREAMS

    def open(self, wanted: Wanted, hello: Mapping[str, Any]) -> Stream:
        """Return a stream, as an ASGI application for one request.

        Args:
            wanted: What the page shows.
            hello: What it is told first.
        """
        return Stream(self, wanted, hello)

    async def respond(self, stream: Stream, receive: Receive, send: Send) -> None:
        """Send events until the page is gone."""
        self._open += 1
        try:
            await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_wait_gone, receive, nursery.cancel_scope)
                async with contextlib.aclosing(self._events(stream.wanted, stream.hello)) as events:
                    async for data in events:
                        await send({"type": "http.response.body", "body": data, "more_body": True})
        finally:
            self._open -= 1

    async def _events(
        self, wanted: Wanted, hello: Mapping[str, Any]
    ) -> AsyncGenerator[bytes, None]:
        live = self._live
        yield b"retry: 2000\n\n" + event("hello", encode_json(hello))
        with live.watching(wanted.view):
            if wanted.view in ROWS:
                await live.refresh()
            live.look_at_figures()
            changes = self._changes(wanted)
            while True:
                yield event("now", encode_json(live.figures))
                async with contextlib.aclosing(changes.next()) as found:
                    async for data in found:
                        yield data
                await live.next_look()

    def _changes(self, wanted: Wanted) -> Changes:
        live = self._live
        if wanted.view == "overview":
            return OverviewChanges(live)
        if wanted.view == "players":
            return RowChanges(live.players, "players")
        if wanted.view == "tables":
            return RowChanges(live.tables, "tables")
        if wanted.view == "bans":
            return RowChanges(live.bans, "bans")
        if wanted.view == "servers" and live.servers is not None:
            return ServerChanges(live.servers)
        if wanted.view == "tasks":
            return TaskChanges(live)
        if wanted.view == "log":
            return LogChanges(live, wanted.level)
        if wanted.view == "playground" and self._play is not None and wanted.table:
            return self._play(self._context, wanted.table)
        if wanted.table:
            return TableChanges(self._context, wanted.table)
        return Changes()


class Stream:
    """One stream of events, as an ASGI application.

    Args:
        streams: Makes what it sends.
        wanted: What the page shows.
        hello: What it is told first.
    """

    def __init__(self, streams: EventStreams, wanted: Wanted, hello: Mapping[str, Any]) -> None:
        self._streams = streams
        self.wanted = wanted
        self.hello = hello

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until the page is gone."""
        await self._streams.respond(self, receive, send)


class Changes:
    """What has changed of a view since the last look: nothing, where it has nothing of its own."""

    async def next(self) -> AsyncGenerator[bytes, None]:
        """Yield events."""
        await trio.lowlevel.checkpoint()
        nothing: tuple[bytes, ...] = ()
        for data in nothing:
            yield data


class OverviewChanges(Changes):
    """The points of the charts, and the games that have ended.

    Args:
        live: Has them.
    """

    def __init__(self, live: Live) -> None:
        self._live = live
        self._points: int | None = None
        self._ended: object = None

    async def next(self) -> AsyncGenerator[bytes, None]:
        """Yield all points first, and then each that has come."""
        await trio.lowlevel.checkpoint()
        history, ended = self._live.history, self._live.ended
        if self._points is None or history.count > self._points + 1:
            yield event("history", encode_json(history.as_data()))
        elif history.count > self._points:
            yield event("point", encode_json(history.latest()))
        self._points = history.count
        if self._ended != ended:
            self._ended = ended
            latest = [attrs.asdict(each) for each in ended[: -MOST_ENDED - 1 : -1]]
            yield event("ended", encode_json(latest))


class RowChanges(Changes):
    """The rows that have changed.

    Args:
        rows: The rows.
        name: What the event is called.
    """

    def __init__(self, rows: Rows, name: str) -> None:
        self._rows = rows
        self._name = name
        self._version = 0

    async def next(self) -> AsyncGenerator[bytes, None]:
        """Yield the rows that have changed."""
        rows, since = self._rows, self._version
        self._version = rows.version
        for part in list(rows.changes(since, ROWS_AT_ONCE)):
            yield event(self._name, part)
            await trio.lowlevel.checkpoint()


class ServerChanges(Changes):
    """The servers of a cluster, and the tables of all of them.

    Args:
        servers: Has them.
    """

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._parts = (RowChanges(servers.rows, "servers"), RowChanges(servers.tables, "elsewhere"))
        self._facts: Mapping[str, Any] = {}

    async def next(self) -> AsyncGenerator[bytes, None]:
        """Yield what has changed since."""
        await self._servers.refresh()
        for part in self._parts:
            async with contextlib.aclosing(part.next()) as found:
                async for data in found:
                    yield data
        if self._servers.facts != self._facts:
            self._facts = self._servers.facts
            yield event("cluster", encode_json(self._facts))


class TaskChanges(Changes):
    """The tree of tasks.

    Args:
        live: Has it.
    """

    def __init__(self, live: Live) -> None:
        self._live = live
        self._looks = 0

    async def next(self) -> AsyncGenerator[bytes, None]:
        """Yield the tree, now and then."""
        await trio.lowlevel.checkpoint()
        if self._looks % TASKS_EVERY == 0:
            tree = self._live.tasks.snapshot()
            await trio.lowlevel.checkpoint()
            yield event("tasks", encode_json({"now": trio.current_time(), "root": tree}))
        self._looks += 1


class LogChanges(Changes):
    """The records that have come.

    Args:
        live: Has them.
        level: The lowest level of those that are shown.
    """

    def __init__(self, live: Live, level: int) -> None:
        self._log = live.log
        self._level = level
        self._last = 0

    async def next(self) -> AsyncGenerator[bytes, None]:
        """Yield the records that have come."""
        await trio.lowlevel.checkpoint()
        self._last, records = self._log.since(self._last, self._level, RECORDS_AT_ONCE)
        if records:
            yield event("log", b"[%b]" % b",".join(records))


class TableChanges(Changes):
    """What is seen at a table.

    Args:
        context: Has it.
        name: The table's name.
    """

    def __init__(self, context: ServerContext, name: str) -> None:
        self._context = context
        self._name = name
        self._numbers: dict[str | None, int] = {}
        self._questions = b""
        self._was_there: bool | None = None

    async def next(self) -> AsyncGenerator[bytes, None]:
        """Yield the states that have changed, and the questions."""
        await trio.lowlevel.checkpoint()
        seen = self._context.table(self._name)
        is_there = seen is not None
        changed = [] if seen is None else self._changed(seen)
        questions = b"[]" if seen is None else encode_json(list(map(_question, seen.questions)))
        async with contextlib.aclosing(self.more(seen)) as more:
            async for data in more:
                yield data
        same = is_there == self._was_there and questions == self._questions
        seats = [] if seen is None else [each.seat for each in seen.seats]
        if same and not changed and len(seats) == len(self._numbers):
            return
        self._was_there, self._questions = is_there, questions
        self._numbers = {} if seen is None else {each.seat: each.number for each in seen.seats}
        head = encode_json(
            {
                "name": self._name,
                "is_there": is_there,
                "is_shared": seen is not None and seen.is_shared,
                "seats": seats,
            }
        )
        states = []
        for each in changed:
            states.append(encode_json(_state(each)))
            await trio.lowlevel.checkpoint()
        yield event(
            "table", b'%b,"questions":%b,"states":[%b]}' % (head[:-1], questions, b",".join(states))
        )

    async def more(self, seen: TableView | None) -> AsyncGenerator[bytes, None]:
        """Yield what a page is told besides; nothing."""
        await trio.lowlevel.checkpoint()
        nothing: tuple[bytes, ...] = ()
        for data in nothing:
            yield data

    def _changed(self, seen: TableView) -> list[SeatView]:
        return [each for each in seen.seats if self._numbers.get(each.seat) != each.number]


def event(name: str, data: bytes) -> bytes:
    """Return an event; *data* is JSON, which has no line breaks."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data)


def _state(view: SeatView) -> dict[str, Any]:
    long = view.size > LONGEST_STATE
    return {
        "seat": view.seat,
        "size": view.size,
        "too_long": long,
        "state": None if long else view.state,
    }


def _question(question: Any) -> dict[str, Any]:
    return {
        "player": question.player,
        "message": question.message,
        "payload": question.payload,
        "deadline": question.deadline,
    }


async def _wait_gone(receive: Receive, scope: trio.CancelScope) -> None:
    message: Message = {"type": ""}
    while message["type"] != "http.disconnect":
        message = await receive()
    scope.cancel()

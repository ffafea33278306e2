"""A server that does its worst: a client's memory stays bounded, and the end says why."""

from __future__ import annotations

import contextlib
import tracemalloc
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from pgnet_trio import Client, Disconnected, Packet, PushesLost
from pgnet_trio.client.connector import Connector
from pgnet_trio.client.feeds import Feed
from pgnet_trio.client.limits import (
    MAX_CALLS_SIZE,
    MAX_OPEN_QUESTIONS,
    MAX_OPEN_QUESTIONS_SIZE,
    MAX_PLAYERS_SIZE,
    MAX_STATE_SIZE,
    MAX_UNREAD,
    MAX_UNREAD_SIZE,
)
from pgnet_trio.messages import ANNOUNCEMENT, PLAYERS
from pgnet_trio.protocol.v2.client import SHARED_SIZE
from pgnet_trio.protocol.v2.states import WINDOW
from pgnet_trio.transport.memory import memory_pair

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pgnet_trio.transport import Transport

HELLO, WELCOME, PUSH, STATE, PATCH, QUESTION, WITHDRAWAL, GAME, RESPONSE, COLUMN_PATCH = (
    0, 3, 9, 10, 11, 13, 14, 16, 8, 24,
)  # fmt: skip
TIME, MOMENT = 29, 30

# What a test sends in all, and what of it a client may hold: a few bounds of 1 to 8 MiB.
FLOOD = 48 * 1024 * 1024
HELD = 24 * 1024 * 1024
LONG = "x" * (256 * 1024)

encode = msgspec.msgpack.Encoder().encode

Send = Callable[..., Awaitable[None]]


class HostileServer(Connector):
    """Lets everybody in, and then sends what a script says."""

    encrypted = False

    def __init__(
        self, script: Callable[[Send], Awaitable[None]], features: Sequence[str] = ("columns",)
    ) -> None:
        self._script = script
        self._features = features

    def __str__(self) -> str:
        return "a hostile server"

    def connect(self, max_message_size: int | None) -> AbstractAsyncContextManager[Transport]:
        return self._connect(max_message_size)

    @asynccontextmanager
    async def _connect(self, max_message_size: int | None) -> AsyncIterator[Transport]:
        here, there = memory_pair("pgnet.2.1", max_messages=4)
        here.max_message_size = max_message_size
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._serve, there)
            try:
                yield here
            finally:
                nursery.cancel_scope.cancel()

    async def _serve(self, there: Transport) -> None:
        async def send(*envelopes: list[Any]) -> None:
            if not there.send_nowait(encode(envelopes)):
                await there.drain()

        async def read() -> None:
            while True:
                await there.receive()

        try:
            async with trio.open_nursery() as nursery:
                await there.receive()
                await send([HELLO, None, self._features], [WELCOME, "hello", bytes(32)])
                await send([GAME, "table 1", 0.0, 0.0, "", ""])
                nursery.start_soon(read)
                await self._script(send)
                await trio.sleep_forever()
        except* (trio.EndOfChannel, trio.BrokenResourceError, trio.ClosedResourceError):
            pass


def client_of(
    script: Callable[[Send], Awaitable[None]],
    *,
    features: Sequence[str] = ("columns",),
    **options: Any,
) -> Client:
    return Client(HostileServer(script, features), username="ann", **options)


@asynccontextmanager
async def bounded_memory() -> AsyncIterator[None]:
    """Check that a block holds no more than `HELD` at any time."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < HELD


async def ended(client: Client) -> str:
    """Wait until a session ends, and return why."""
    with trio.fail_after(10**6), pytest.raises(Disconnected) as caught:
        while True:
            with contextlib.suppress(PushesLost):
                await anext(client.events())
    assert str(caught.value) == client.close_reason
    return client.close_reason


async def asks(send: Send) -> None:
    for id in range(FLOOD // len(LONG)):
        await send([QUESTION, id, "which", {"text": LONG}, None, 0.0])


async def asks_shortly(send: Send) -> None:
    for id in range(10 * MAX_OPEN_QUESTIONS):
        await send([QUESTION, id, "which", {}, None, 0.0])


async def asks_in_a_crowd(send: Send) -> None:
    crowd = [[WITHDRAWAL, 10**6]] * 1000
    for id in range(FLOOD // len(LONG)):
        await send([QUESTION, id, "which", {"text": LONG}, None, 0.0], *crowd)


async def has_players(send: Send) -> None:
    for number in range(FLOOD // 4096):
        name = f"{number:4096}"
        await send([PUSH, PLAYERS, {"players": {name: True}}])


async def has_many_players(send: Send) -> None:
    for number in range(20):
        players = {f"{number} {name}": True for name in range(5000)}
        await send([PUSH, PLAYERS, {"players": players}])


async def grows_its_state(send: Send) -> None:
    await send([STATE, 1, {}])
    for number in range(FLOOD // 4096):
        await send([PATCH, number + 1, number + 2, {str(number): f"{number:4096}"}])


async def grows_its_numbers(send: Send) -> None:
    fields = "abcdefghij"
    rows = [dict.fromkeys(fields, 0)] * 12_000
    await send([STATE, 1, rows])
    columns = [[field, [0, len(rows)], 2**62] for field in fields]
    await send([COLUMN_PATCH, 1, 2, [None, columns]])


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (asks, f"bytes of open questions: expected at most {MAX_OPEN_QUESTIONS_SIZE}, got "),
        (
            asks_in_a_crowd,
            f"bytes of open questions: expected at most {MAX_OPEN_QUESTIONS_SIZE}, got ",
        ),
        (asks_shortly, f"open questions: expected at most {MAX_OPEN_QUESTIONS}, got "),
        (has_players, f"bytes of a game's players: expected at most {MAX_PLAYERS_SIZE}, got "),
        (has_many_players, f"bytes of a game's players: expected at most {MAX_PLAYERS_SIZE}, got "),
        (grows_its_state, f"bytes of a state: expected at most {MAX_STATE_SIZE}, got "),
        (grows_its_numbers, f"bytes of a state: expected at most {MAX_STATE_SIZE}, got "),
    ],
)
@pytest.mark.no_cover
async def test_what_no_game_needs_ends_the_session(
    script: Callable[[Send], Awaitable[None]],
    reason: str,
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with bounded_memory(), client_of(script) as ann:
        assert (await ended(ann)).startswith(reason)


async def test_what_nobody_reads_drops_its_oldest_and_the_session_goes_on(
    autojump_clock: trio.testing.MockClock,
) -> None:
    count = FLOOD // len(LONG)

    async def pushes(send: Send) -> None:
        for number in range(count):
            await send([PUSH, "news", {"text": LONG, "n": number}])

    async with bounded_memory(), client_of(pushes) as ann:
        events = ann.events()
        await wait_all_tasks_blocked()
        kept = MAX_UNREAD_SIZE // len(LONG) - 1
        reader = ann.pushes()
        with pytest.raises(PushesLost, match=f"{count - kept} pushes came"):
            await anext(reader)
        assert [(await anext(reader)).payload["n"] for _ in range(kept)] == [
            *range(count - kept, count)
        ]
        with pytest.raises(PushesLost):
            await anext(events)
        assert ann.online


async def test_withdrawn_questions_that_nobody_reads_as_events_are_dropped(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def asks_and_withdraws(send: Send) -> None:
        for id in range(FLOOD // len(LONG)):
            await send([QUESTION, id, "which", {"text": LONG}, None, 0.0])
            await send([WITHDRAWAL, id])

    async with bounded_memory(), client_of(asks_and_withdraws) as ann:
        ann.events()
        await wait_all_tasks_blocked()
        assert ann.online


async def test_calls_that_wait_are_bounded_in_bytes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def pushes(send: Send) -> None:
        for _ in range(FLOOD // len(LONG)):
            await send([PUSH, "news", {"text": LONG}])

    async def is_slow(_: object) -> None:
        await trio.sleep(10_000)

    async with bounded_memory(), client_of(pushes) as ann:
        ann.on_push = is_slow
        reason = await ended(ann)
        assert f"more than {MAX_CALLS_SIZE} bytes" in reason
        ann.on_push = None


async def test_names_of_games_count_too(autojump_clock: trio.testing.MockClock) -> None:
    async def changes(send: Send) -> None:
        for number in range(FLOOD // len(LONG)):
            await send([GAME, f"{number}{LONG}", 0.0, 0.0, "", ""])

    async def is_slow(_: object) -> None:
        await trio.sleep(10_000)

    async with bounded_memory(), client_of(changes) as ann:
        ann.on_game = is_slow
        assert "calls of events wait" in await ended(ann)


async def test_patches_that_replace_each_other_may_go_on_for_ever(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def changes(send: Send) -> None:
        await send([STATE, 1, {}])
        for number in range(FLOOD // 8192):
            await send([PATCH, number + 1, number + 2, {"text": f"{number:8192}"}])

    async with bounded_memory(), client_of(changes) as ann:
        await ann.wait_state(dict, lambda state: state.get("text", "").strip() == "6143")
        assert ann.online


@pytest.mark.parametrize("players", [5, ["ann"], "ann", None])
async def test_players_that_are_no_map_end_the_session(
    players: object, autojump_clock: trio.testing.MockClock
) -> None:
    async def script(send: Send) -> None:
        await send([PUSH, PLAYERS, {"players": players}])

    async with client_of(script) as ann:
        assert (await ended(ann)).startswith("players: expected a map, got ")


@pytest.mark.parametrize(
    ("players", "complaint"),
    [
        ({"ann": True}, "expected a list, got "),
        ("ann", "expected a list, got "),
        (None, "expected a list, got "),
        (["ann"], "expected pairs of a name and a bool or nil, got 'ann'"),
        ([["ann"]], "expected pairs of a name and a bool or nil, got ['ann']"),
        ([["ann", 1]], "expected pairs of a name and a bool or nil, got ['ann', 1]"),
        ([[7, True]], "expected pairs of a name and a bool or nil, got [7, True]"),
        ([["ann", True, 0]], "expected pairs of a name and a bool or nil, got ['ann', True, 0]"),
        ([["ann", True], ["bob", True], ["ann", None]], "expected each once, got ann again"),
    ],
)
async def test_players_that_are_no_list_of_pairs_end_the_session(
    players: object, complaint: str, autojump_clock: trio.testing.MockClock
) -> None:
    async def script(send: Send) -> None:
        await send([PUSH, PLAYERS, {"players": players}])

    async with client_of(script, features=["players"]) as ann:
        assert (await ended(ann)).startswith(f"players: {complaint}")


async def test_pushes_of_the_server_that_are_not_known_are_ignored(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def script(send: Send) -> None:
        await send([PUSH, "__pgnet__.tomorrow", {}], [PUSH, "news", {}])

    async with client_of(script) as ann:
        assert (await anext(ann.pushes())).message == "news"


async def test_an_announcement_without_a_text_ends_the_session(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def script(send: Send) -> None:
        await send([PUSH, ANNOUNCEMENT, {"text": 7}])

    async with client_of(script, features=["announcements"]) as ann:
        assert "an announcement has to have a text" in await ended(ann)


@pytest.mark.parametrize("rate", [-1.0, -1e308, 1e-320])
async def test_no_rate_of_heartbeats_is_an_error(
    rate: float, autojump_clock: trio.testing.MockClock
) -> None:
    async def script(send: Send) -> None:
        await send([GAME, "table 2", rate, 0.0, "", ""])

    async with client_of(script) as ann:
        await trio.sleep(100)
        assert ann.online


@pytest.mark.parametrize(
    "envelope",
    [
        [GAME, "table", 0.0, 1e300, "", ""],
        [QUESTION, 1, "which", {}, None, -1e300],
        [TIME, 1, 1e300, 20.0],
        [TIME, 1, 5.0, 1e300],
        [TIME, 1, 5.0, -1.0],
        [MOMENT, 1, 1e300],
    ],
)
async def test_times_in_which_nobody_can_count_end_the_session(
    envelope: list[Any], autojump_clock: trio.testing.MockClock
) -> None:
    """And do not fail in the program that shows a game by them."""

    async def script(send: Send) -> None:
        await send([GAME, "table", 0.0, 5.0, "", ""])
        await send(envelope)

    async with client_of(script, features=["netcode"]) as ann:
        assert "xpected" in await ended(ann)


async def test_short_messages_share_their_size_and_long_ones_are_measured(
    autojump_clock: trio.testing.MockClock,
) -> None:
    texts = ["a" * (SHARED_SIZE // 4), "b", "c" * SHARED_SIZE]
    questions = [
        [QUESTION, id, "which", {"text": text}, None, 0.0] for id, text in enumerate(texts)
    ]

    async def script(send: Send) -> None:
        await send(*questions[:2])
        await send(*questions[1:])

    async with client_of(script) as ann:
        await wait_all_tasks_blocked()
        sizes = {id: each.size for id, each in ann._run.view._open_questions.items()}
    assert sizes[0] == len(encode(questions[:2])) // 2
    assert (sizes[1], sizes[2]) == (len(encode(questions[1])), len(encode(questions[2])))


async def test_the_kinds_of_what_was_lost_are_short() -> None:
    feed: Feed[str] = Feed("pushes", lambda item: item)
    for number in range(2 * MAX_UNREAD):
        feed.put(f"{LONG[:1000]}{number}")
    with pytest.raises(PushesLost, match=f"{MAX_UNREAD} pushes"):
        await anext(feed.read(frozenset({f"{LONG[:1000]}7"}), lambda item: item))


async def test_responses_to_callbacks_that_wait_are_bounded(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def answers(send: Send) -> None:
        # Behind the requests.
        await trio.sleep(1)
        for id in range(1, WINDOW + 1):
            await send([RESPONSE, id, 0, LONG, {}])

    async def is_slow(_: object) -> None:
        await trio.sleep(10_000)

    async with bounded_memory(), client_of(answers) as ann:
        with trio.fail_after(10**6), pytest.raises(Disconnected):
            for _ in range(WINDOW):
                ann.send(Packet("x"), is_slow)
            await ann.request(Packet("y"))
        assert "calls of events wait" in ann.close_reason

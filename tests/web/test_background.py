"""A page in the background, and one that was left: timers that are never due cost no seat."""

from __future__ import annotations

import json
import re
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pgnet_trio.crypto import PasswordHasher
from tests.kit.hosting import cheap_environment
from tests.web.hosting import Table, gated, serving
from tests.web.node import needs_packages
from tests.web.page import PageError, open_page

pytestmark = needs_packages


class Watched(Table):
    """Notes in a list that outlives it what becomes of its players."""

    seen: Seen

    def user_left(self, username: str, /) -> None:
        self.seen.note("left")

    def player_dropped(self, username: str, /) -> None:
        self.seen.note("dropped")

    def player_resumed(self, username: str, /) -> None:
        self.seen.note("resumed")


class Seen:
    """What became of the players."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self._news = trio.lowlevel.ParkingLot()

    def note(self, what: str) -> None:
        self.all.append(what)
        self._news.unpark_all()

    async def wait(self, count: int) -> list[str]:
        while len(self.all) < count:
            await self._news.park()
        return self.all


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def game(seen: Seen) -> type[Watched]:
    return type("Watched", (Watched,), {"seen": seen})


@pytest.fixture
def real_clock() -> MockClock:
    """A clock that goes as all others do, and jumps when it is told to."""
    return MockClock(rate=1.0)


async def test_a_page_whose_timers_are_never_due_keeps_its_seat(
    real_clock: MockClock, game: type[Watched], seen: Seen
) -> None:
    """The server pings after 15 s and closes after 20 s: what comes has to be answered at once."""
    heard = trio.Event()

    def listen(data: bytes) -> bytes:
        heard.set()
        return data

    async with serving(game) as server, gated(server) as gate:
        async with open_page(deadline=200, timers=False, hidden=True) as page:
            await page.log_in(gate.port)
            await page("joinGame", "table 1")
            gate.to_server = listen
            for _ in range(10):
                await wait_all_tasks_blocked(0.05)
                heard = trio.Event()
                real_clock.jump(16)
                await heard.wait()
            await page("call", "Move", {"square": 1})
            assert seen.all == []


async def test_a_page_in_the_background_comes_back_without_a_timer(
    game: type[Watched], seen: Seen
) -> None:
    async with serving(game) as server, gated(server) as gate:
        async with open_page(timers=False, hidden=True) as page:
            await page.log_in(gate.port, "ann", "online")
            await page("joinGame", "table 1")
            await gate.reset()
            assert await page("wait", "online", 2) == [False, True]
            await page("call", "Move", {"square": 1})
            assert seen.all == ["dropped", "resumed"]


async def test_a_page_that_comes_to_the_front_tries_at_once() -> None:
    async with serving() as server, gated(server) as gate:
        async with open_page(timers=False) as page:
            await page.log_in(gate.port, "ann", "online")
            await gate.reset()
            await page("wait", "online", 1)
            await page("tell_page", "wake")
            assert await page("wait", "online", 2) == [False, True]


async def test_a_page_that_comes_to_the_front_looks_whether_the_server_is_there() -> None:
    async with serving() as server, gated(server) as gate:
        async with open_page(speed=5) as page:
            await page.log_in(gate.port, "ann", "online")
            # The network has gone, and nobody has said so.
            gate.to_client = lambda data: b""
            await page("tell_page", "wake")
            # Much earlier than the server would notice, after 20 s.
            with trio.fail_after(12):
                await page("wait", "online", 1)
            gate.to_client = bytes
            assert await page("wait", "online", 2) == [False, True]


async def test_a_page_that_is_left_says_no_goodbye_and_is_back_in_its_seat(
    game: type[Watched], seen: Seen
) -> None:
    async with serving(game) as server, open_page() as page:
        await page.log_in(server.port, "ann", "online")
        await page("joinGame", "table 1")
        await page("tell_page", "hide")
        await page("wait", "online", 1)
        assert await seen.wait(1) == ["dropped"]
        await page("tell_page", "show")
        assert await page("wait", "online", 2) == [False, True]
        await page("call", "Move", {"square": 1})
        assert seen.all == ["dropped", "resumed"]
        assert await page("sockets") == 2


async def test_a_page_that_is_reloaded_takes_over_its_own_seat(
    game: type[Watched], seen: Seen
) -> None:
    async with serving(game) as server:
        async with open_page() as page:
            guest, kept = await page("guest", {}, {}, "")
            await page.log_in(server.port, guest["username"], password=guest["password"])
            await page("joinGame", "table 1")
            await page("tell_page", "hide")
        async with open_page() as page:
            again, _ = await page("guest", {}, kept, "")
            assert again == guest
            await page.log_in(server.port, again["username"], password=again["password"])
            assert await page("get", "game") == "table 1"
        assert "left" not in seen.all


async def test_guests() -> None:
    async with open_page() as page:
        guest, kept = await page("guest", {}, {}, "")
        assert guest["username"].isalnum()
        assert 3 <= len(guest["username"]) <= 20
        assert re.fullmatch(r"random:[A-Za-z0-9_-]{43}", guest["password"])
        assert [json.loads(text) for text in kept.values()] == [guest]
        # A name of one's own, and another server, each have a password of their own.
        named, kept = await page("guest", {"username": "ann"}, kept, "")
        elsewhere, kept = await page("guest", {"address": "example.org"}, kept, "")
        assert named["username"] == "ann"
        assert elsewhere["address"] == "example.org"
        assert len({each["password"] for each in (guest, named, elsewhere)}) == 3
        for options, expected in (
            ({}, guest),
            ({"username": "ann"}, named),
            ({"address": "example.org"}, elsewhere),
        ):
            assert (await page("guest", options, kept, ""))[0] == expected
        # A browser that keeps nothing, or something else.
        assert (await page("guest", {}, {}, "broken"))[0] != guest
        odd, _ = await page("guest", {}, {"pgnet.guest": "{"}, "")
        assert odd["username"].startswith("guest")
        with pytest.raises(PageError, match=r"guest: expected only username, .*, got name"):
            await page("guest", {"name": "ann"}, {}, "")


async def test_the_password_of_a_guest_costs_the_server_nothing() -> None:
    async def run(function: Any, *args: Any, **options: Any) -> Any:
        assert not isinstance(getattr(function, "__self__", None), PasswordHasher)
        return await run_blocking(function, *args, **options)

    run_blocking = cheap_environment().run_blocking
    environment = attrs.evolve(
        cheap_environment(), run_blocking=run, password_hasher=PasswordHasher()
    )
    async with serving(environment=environment) as server, open_page() as page:
        guest, _ = await page("guest", {}, {}, "")
        for _ in range(2):  # a new user, and one that is known
            await page.log_in(server.port, guest["username"], password=guest["password"])
            await page("disconnect")


async def test_sleep_of_the_machine_counts_in_the_clock_of_the_room() -> None:
    async with serving() as server, open_page() as page:
        await page.log_in(server.port, "ann", "question")
        await page("joinGame", "table 1")
        await page("call", "Ask", {"seconds": 600})
        [question] = await page("wait", "question", 1)
        before = await page("time")
        await page("page", {"slept": 500})
        assert 500 <= await page("time") - before < 510
        assert 90 <= (await page("question", question["id"]))["secondsLeft"] <= 100
        # The time is up then, also where the page has asked for the time before anything else.
        await page("page", {"slept": 601})
        await page("time")
        await page("call", "Ask", {"seconds": 1200})
        with trio.fail_after(20):
            await page("closed", question["id"])

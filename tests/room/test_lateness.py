"""Games that are late: counted in the statistics, and told in the log once a minute."""

from __future__ import annotations

import re
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pgnet_trio import Game, Packet, Response, on
from pgnet_trio.testing import HostedServer, hosting, playing


@attrs.frozen
class Work:
    seconds: float


class Busy(Game):
    """Awaits what takes long in its hooks and handlers."""

    @on(Work)
    async def work(self, player: str, message: Work) -> None:
        await trio.sleep(message.seconds)

    async def handle_game_packet(self, packet: Packet, /) -> Response:
        await trio.sleep(packet.payload["seconds"])
        return Response("")

    async def user_joined(self, username: str, /) -> None:
        await trio.sleep(3 if username == "zoe" else 0)


def room_of(server: HostedServer) -> Any:
    return server.stats().games["table 1"].room


def told(caplog: pytest.LogCaptureFixture, words: str) -> list[str]:
    return [each for each in caplog.messages if words in each]


async def test_a_handler_that_holds_its_game_is_counted_and_told(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with hosting(Busy) as server, playing(server, "ann", game="table 1") as ann:
        await ann.call(Work(0.9))
        assert (room_of(server).long_turns, told(caplog, "no other turn")) == (0, [])
        await ann.call(Work(3))
        assert room_of(server).long_turns == 1
    (line,) = told(caplog, "no other turn")
    assert re.fullmatch(
        r"The game 'table 1' took no other turn for 3\.0 s, while Busy\.work, at "
        r".*test_lateness\.py:\d+, waited\. Start a task for what takes long: "
        r"self\.room\.nursery\.start_soon\(\.\.\.\)",
        line,
    )


async def test_long_turns_are_told_once_a_minute_and_all_counted(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with hosting(Busy) as server, playing(server, "ann", game="table 1") as ann:
        for seconds in [2.0] * 10 + [5.0] * 4 + [2.0] * 15:
            await ann.request(Packet("work", {"seconds": seconds}))
        assert room_of(server).long_turns == 29
    first, second = told(caplog, "no other turn")
    assert "for 2.0 s, while Busy.handle_game_packet" in first
    assert "for 5.0 s" in second
    assert re.search(r"waited \(the longest of 2\d such turns\)\.", second)


async def test_any_hook_may_hold_the_game(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with hosting(Busy) as server, playing(server, "ann", "zoe", game="table 1"):
        assert room_of(server).long_turns == 1
    (line,) = told(caplog, "no other turn")
    assert "Busy.user_joined" in line


async def test_a_turn_that_the_end_cuts_off_is_no_slow_one(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with hosting(Busy) as server, playing(server, "ann", game="table 1") as ann:
        ann.send(Packet("work", {"seconds": 1000}))
        await wait_all_tasks_blocked()
    assert told(caplog, "no other turn") == []


class Ticking(Game):
    update_rate = 20

    def __init__(self, name: str, save_string: str | None = None) -> None:
        # No whole number of intervals: it never ends at the very moment of an update.
        self.seconds = 0.09

    async def update(self) -> None:
        await trio.sleep(self.seconds)

    @on(Work)
    def work(self, player: str, message: Work) -> None:
        self.seconds = message.seconds


class Blocking(Ticking):
    """Its updates let nobody else run meanwhile."""

    clock: MockClock

    def update(self) -> Any:
        self.clock.jump(0.1)


@pytest.mark.parametrize("game", [Ticking, Blocking])
async def test_updates_that_take_too_long_are_counted_and_told_once_a_minute(
    game: type[Ticking],
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Blocking, "clock", autojump_clock, raising=False)
    async with hosting(game) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        start = trio.current_time()
        await trio.sleep(10)
        # A blocking update keeps the sleeper waiting too.
        elapsed = trio.current_time() - start
        assert room_of(server).missed_ticks == pytest.approx(elapsed * 10, rel=0.2)
        (line,) = told(caplog, "is late")
        await trio.sleep(120)
        await ann.leave_game()
    assert 2 <= len(told(caplog, "is late")) <= 4
    assert re.fullmatch(
        r"The game 'table 1' is late: 2\d of \d\d updates were skipped\. There are to be 20 a "
        r"second, and the longest took 0\.(09|1\d) s\. Do less in update\(\), or set a lower "
        r"update_rate\.",
        line,
    )


@pytest.mark.parametrize("seconds", [3, 1000])
async def test_an_update_that_has_not_ended_yet_is_what_keeps_the_next_ones_waiting(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, seconds: float
) -> None:
    async with hosting(Ticking) as server, playing(server, "ann", game="table 1") as ann:
        ann.send(Work(seconds))
        await trio.sleep(2.5)
        (line,) = told(caplog, "is late")
        assert re.search(r"the longest took 1\.\d\d s\. Do less in update\(\), or set", line)


@pytest.mark.no_cover
async def test_a_hitch_is_no_news(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with hosting(Ticking) as server, playing(server, "ann", game="table 1") as ann:
        await ann.call(Work(0.01))
        await trio.sleep(1)
        missed = room_of(server).missed_ticks
        for _ in range(10):
            await ann.call(Work(0.5))
            await trio.sleep(0.1)
            await ann.call(Work(0.01))
            await trio.sleep(61)
        assert room_of(server).missed_ticks - missed >= 50
    assert told(caplog, "is late") == []


class Waiting(Busy):
    update_rate = 20

    def update(self) -> None:
        """Do nothing, in no time."""


async def test_updates_that_something_else_delays_are_told_so(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with hosting(Waiting) as server, playing(server, "ann", game="table 1") as ann:
        await ann.call(Work(3))
        assert room_of(server).missed_ticks == pytest.approx(60, abs=2)
        await trio.sleep(1)
    (line,) = told(caplog, "is late")
    assert line.endswith("Something else kept them waiting: another turn, or another game.")
    assert len(told(caplog, "no other turn")) == 1

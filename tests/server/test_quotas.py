"""Quotas: how many games one user makes, how large their options are, and when games expire."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from pgnet_trio import Client, Game, Packet, RequestFailed, Response, on
from pgnet_trio.messages import wall_clock
from pgnet_trio.server.limits import Limits
from pgnet_trio.storage import open_store
from pgnet_trio.storage.interface import Changes, SavedGame, SavedState
from pgnet_trio.testing import MemoryStore, hosting
from tests.kit.hosting import Raise, hosting_faults

HOUR = 3600.0
DAY = 24 * 3600.0

if TYPE_CHECKING:
    from trio.testing import MockClock


class Table(Game):
    """Stays when it is empty, until it is told that it is over."""

    persistent = True

    async def handle_game_packet(self, packet: Packet, /) -> Response:
        if packet.message == "save":
            await self.room.save()
        if packet.message == "end":
            self.room.close("It is over.")
        return Response("")

    @on(Raise)
    def fail(self, player: str, message: Raise) -> None:
        raise ValueError("a fault of this game")

    def get_save_string(self) -> str:
        return "a table"


async def leave_behind(client: Client, *names: str) -> None:
    for name in names:
        await client.create_game(name)
        await client.leave_game()


async def test_a_user_creates_no_more_games_than_are_allowed() -> None:
    async with (
        hosting(Table, max_games_per_user=2) as server,
        server.client("ann") as ann,
        server.client("bob") as bob,
    ):
        await leave_behind(ann, "table 1", "table 2")
        for request in (ann.create_game, ann.join_game):
            with pytest.raises(RequestFailed, match="2 games that are not over, and 2 are allowed"):
                await request("table 3")
        # Others may, and their games are no games of hers.
        await leave_behind(bob, "table 3")
        await ann.join_game("table 3")
        await ann.leave_game()
        # One that is over counts no more.
        await ann.join_game("table 1")
        await ann.request(Packet("end"))
        await leave_behind(ann, "table 4")
        assert set(await ann.get_game_dir()) == {"table 2", "table 3", "table 4"}


async def test_a_game_that_crashed_counts_for_as_long_as_it_is_saved() -> None:
    async with hosting_faults(Table, ValueError, max_games_per_user=1) as server:
        async with server.client("ann") as ann:
            await ann.create_game("table 1")
            # Nothing of it is saved.
            await ann.request(Packet("Raise"))
            await ann.create_game("table 2")
            await ann.request(Packet("save"))
            await ann.request(Packet("Raise"))
            assert await ann.get_game_dir() == {}
            with pytest.raises(RequestFailed, match="1 games that are not over"):
                await ann.create_game("table 3")
            await ann.join_game("table 2")
            await ann.request(Packet("end"))
            await ann.create_game("table 3")


async def test_games_of_the_run_before_count_for_nobody_but_for_all() -> None:
    store = MemoryStore()
    async with hosting(Table, store=store) as server, server.client("ann") as ann:
        await leave_behind(ann, "table 1", "table 2")
    async with (
        hosting(Table, store=store, max_games_per_user=2, max_games=3) as server,
        server.client("ann") as ann,
        server.client("bob") as bob,
    ):
        await leave_behind(ann, "table 3")
        for client in (ann, bob):
            with pytest.raises(RequestFailed, match="has 3 games, and takes no more"):
                await client.create_game("table 4")


class Spoiled(Table):
    """Cannot be loaded."""

    def __init__(self, name: str, save_string: str | None = None) -> None:
        if save_string:
            raise ValueError("a fault of this game")


async def test_saved_games_that_do_not_run_count_too() -> None:
    store = MemoryStore()
    store.state.games["table 1"] = SavedGame("table 1", "", "a table")
    async with hosting_faults(Spoiled, ValueError, store=store, max_games=1) as server:
        async with server.client("ann") as ann:
            assert await ann.get_game_dir() == {}
            with pytest.raises(RequestFailed, match="has 1 games"):
                await ann.create_game("table 2")


async def test_options_have_a_largest_size() -> None:
    async with hosting(Table) as server, server.client("ann") as ann:
        await ann.create_game("table 1", options={"text": "x" * 1000})
        await ann.leave_game()
        with pytest.raises(RequestFailed, match=r"take 1,0\d\d bytes; 1,024 are allowed"):
            await ann.create_game("table 2", options={"text": "x" * 1020})
        assert list(await ann.get_game_dir()) == ["table 1"]


async def test_no_limit_at_all(autojump_clock: MockClock) -> None:
    options = dict.fromkeys(("max_games", "max_games_per_user", "max_options_size"))
    async with (
        hosting(Table, empty_games_expire_after=None, **options) as server,
        server.client("ann") as ann,
    ):
        for number in range(10):
            await ann.create_game(f"table {number}", options={"text": "x" * 20_000})
            await ann.leave_game()
        assert len(await ann.get_game_dir()) == 10


def test_the_limits_are_those_that_the_page_names() -> None:
    limits = Limits()
    assert (limits.max_games, limits.max_games_per_user) == (1000, 8)
    assert (limits.max_options_size, limits.empty_games_expire_after) == (1024, 30 * DAY)


# Empty games.


async def test_an_empty_game_expires(autojump_clock: MockClock) -> None:
    async with hosting(Table, empty_games_expire_after=HOUR) as server:
        async with server.client("ann") as ann:
            await leave_behind(ann, "table 1")
            await ann.create_game("table 2")
            await trio.sleep(HOUR / 2)
            assert set(server.store.games) == {"table 1", "table 2"}
            await ann.leave_game()
            await trio.sleep(HOUR / 2 + 20)
            # Table 2 was empty for half an hour only.
            assert list(await ann.get_game_dir()) == ["table 2"]
            assert list(server.store.games) == ["table 2"]
            await ann.join_game("table 2")
            await trio.sleep(HOUR)
            assert list(await ann.get_game_dir()) == ["table 2"]
            await ann.leave_game()
            await trio.sleep(HOUR + 20)
            assert await ann.get_game_dir() == {}
            assert server.store.games == {}


@pytest.fixture(params=["sqlite", "json"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"save.{request.param}"


def at(day: int, clock: MockClock) -> Any:
    """Set the clock of the wall to a day of January, at the time of the virtual clock by now."""
    start = datetime(2026, 1, day, tzinfo=UTC).timestamp() - clock.current_time()
    return wall_clock.set(lambda: datetime.fromtimestamp(start + clock.current_time(), UTC))


async def test_time_goes_on_while_the_server_is_down(
    path: Path, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pgnet_trio")

    async def games_on(day: int, **options: Any) -> list[str]:
        token = at(day, autojump_clock)
        try:
            async with (
                hosting(Table, save_file=path, **options) as server,
                server.client("ann") as ann,
            ):
                if day == 1:
                    await leave_behind(ann, "table 1")
                if day == 5:
                    await leave_behind(ann, "table 2")
                return list(await ann.get_game_dir())
        finally:
            wall_clock.reset(token)

    assert await games_on(1) == ["table 1"]
    assert await games_on(5, empty_games_expire_after=5 * DAY) == ["table 1", "table 2"]
    # In JSON there is no place for it, so that the time of all begins with the server's start.
    left = ["table 2"] if path.suffix == ".sqlite" else ["table 1", "table 2"]
    assert await games_on(9, empty_games_expire_after=5 * DAY) == left
    assert ("has ended: Nobody was in it" in caplog.text) is (path.suffix == ".sqlite")
    store = open_store(path)
    try:
        assert sorted(store.load().games) == left
    finally:
        store.close()


def test_a_save_file_has_place_for_the_time_of_the_last_use(tmp_path: Path) -> None:
    game = SavedGame("table 1", "", "a table", 1_767_225_600)
    kept: dict[str, SavedState] = {}
    for suffix in ("sqlite", "json"):
        path = tmp_path / f"save.{suffix}"
        store = open_store(path)
        store.load()
        store.write(Changes(games={"table 1": game}))
        store.close()
        store = open_store(path)
        kept[suffix] = store.load()
        store.close()
    assert kept["sqlite"].games == {"table 1": game}
    # The original reads this file too.
    assert kept["json"].games == {"table 1": attrs.evolve(game, empty_since=None)}
    assert "empty_since" not in (tmp_path / "save.json").read_text("utf-8")


async def test_a_clock_that_was_wrong_keeps_no_game_for_ever(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    far = int(datetime(2099, 1, 1, tzinfo=UTC).timestamp())
    store.state.games["table 1"] = SavedGame("table 1", "", "a table", far)
    async with hosting(Table, store=store, empty_games_expire_after=HOUR) as server:
        await trio.sleep(HOUR + 20)
        assert server.stats().games == {}


async def test_a_game_that_is_used_is_not_saved_anew_each_time(autojump_clock: MockClock) -> None:
    writes: list[Any] = []

    class Counting(MemoryStore):
        def write(self, changes: Any) -> None:
            writes.append(dict(changes.games))
            super().write(changes)

    async with hosting(Table, store=Counting()) as server, server.client("ann") as ann:
        await leave_behind(ann, "table 1")
        await ann.create_game("table 2")
        await trio.sleep(15)
        writes.clear()
        await trio.sleep(100)
        assert writes == []


class Finished(Game):
    """Persistent until it is finished, which shows at a tick, or in its script."""

    update_rate = 1
    finished = False

    @property
    def persistent(self) -> bool:
        return not self.finished

    def get_save_string(self) -> str:
        return "not finished"


class FinishedAtATick(Finished):
    def update(self) -> None:
        if self.room.time() > 100:
            self.finished = True


class FinishedByAScript(Finished):
    async def run(self) -> None:
        await trio.sleep(100)
        self.finished = True
        await trio.sleep(1)
        await trio.sleep_forever()


@pytest.mark.parametrize("kind", [FinishedAtATick, FinishedByAScript])
async def test_an_empty_game_ends_once_it_is_not_persistent_any_more(
    kind: type[Game], autojump_clock: MockClock
) -> None:
    async with hosting(kind) as server, server.client("ann") as ann:
        await leave_behind(ann, "table 1")
        await trio.sleep(99)
        assert list(await ann.get_game_dir()) == ["table 1"]
        assert list(server.store.games) == ["table 1"]
        await trio.sleep(4)
        assert await ann.get_game_dir() == {}
        await trio.sleep(10)
        assert server.store.games == {}


async def test_a_game_with_somebody_in_it_goes_on_whatever_it_is(
    autojump_clock: MockClock,
) -> None:
    async with hosting(FinishedAtATick) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        await trio.sleep(200)
        assert ann.game == "table 1"
        await ann.leave_game()
        assert await ann.get_game_dir() == {}

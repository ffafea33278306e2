"""Nothing grows and nothing breaks in hours of play: the short forms of `python -m tests.soak`."""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pgnet_trio import Game, Packet, Request, RequestFailed, on
from pgnet_trio.server.accounts import Accounts
from pgnet_trio.server.bots import run_bot
from pgnet_trio.server.cluster.memory_engine import MemoryEngine
from pgnet_trio.server.games.archive import Archive
from pgnet_trio.server.games.opening import Opening
from pgnet_trio.server.games.registry import GameRegistry
from pgnet_trio.server.games.results import Results
from pgnet_trio.server.games.saves import SaveMemory, Saves
from pgnet_trio.server.room.room import RoomTask
from pgnet_trio.server.shutdown import Shutdown
from pgnet_trio.server.watchdog import Watchdog
from pgnet_trio.storage import SavedGame, SavedState
from pgnet_trio.testing import HostedServer, MemoryStore, hosting, simulate
from tests.conftest import VIRTUAL_SECONDS
from tests.kit.hosting import Raise, Recorder, cheap_environment, hosting_faults, in_the_clear
from tests.soak.__main__ import soak
from tests.soak.game import Add, Added, PlannedFault, SlowSoakGame
from tests.soak.life import Ledger
from tests.soak.measure import Complaints, growing, rise
from tests.soak.simulated import Simulated, soak_simulated

if TYPE_CHECKING:
    from pgnet_trio.environment import Environment

DONE_IN_AN_HOUR = {
    "answers",
    "breaks",
    "drops",
    "finishes",
    "guests",
    "kills",
    "leaves",
    "pushes",
    "quiet",
    "restarts",
    "save",
    "stalls",
    "states",
    "take-overs",
}


@pytest.mark.no_cover
def test_an_hour_of_play_leaves_nothing_behind(pytestconfig: pytest.Config) -> None:
    outcome = simulate(soak_simulated, 1, 0.8, 3, seed=1)
    pytestconfig.stash.setdefault(VIRTUAL_SECONDS, []).append(3600 * outcome.hours)
    assert outcome.problems == []
    assert outcome.hours > 0.8
    assert outcome.counts.keys() >= DONE_IN_AN_HOUR
    assert outcome.counts["requests"] > 200
    assert outcome.planned_faults


@pytest.mark.no_cover
async def test_a_real_server_comes_back_to_its_base(tmp_path: Path) -> None:
    outcome = await soak(tmp_path, seconds=2.0, requests=20, seed=1, players=6, grace=0.5)
    assert outcome.problems == []
    assert outcome.counts["restarts"] + outcome.counts.get("kills", 0) >= 2
    parts = [sample["part"] for sample in outcome.samples]
    assert {"fresh", "restarts", "ebb"} <= set(parts)


# That the life finds what it is there to find.


def life_of(game: type[SlowSoakGame]) -> Simulated:
    return simulate(soak_simulated, 1, 0.3, 3, game, seed=1)


def found(outcome: Simulated, text: str) -> bool:
    return any(text in problem and "seed 1" in problem for problem in outcome.problems)


@pytest.mark.no_cover
def test_an_update_that_is_lost_is_found() -> None:
    class LosesUpdates(SlowSoakGame):
        @on(Add)
        def add(self, player: str, message: Add) -> Added:
            self.seats[player].mine -= self.revision % 10 == 7
            return super().add(player, message)

    assert found(life_of(LosesUpdates), "expected")


@pytest.mark.no_cover
def test_a_push_that_comes_twice_is_found() -> None:
    class Repeats(SlowSoakGame):
        def update(self) -> None:
            super().update()
            for seat in self.seats.values():
                seat.said -= self.clock % 5 == 3

    assert found(life_of(Repeats), "push")


@pytest.mark.no_cover
def test_a_state_of_somebody_else_is_found() -> None:
    class Leaks(SlowSoakGame):
        def view(self, player: str | None) -> Any:
            others = [each for each in self.room.players if each != player]
            return super().view(others[0] if others else player)

    assert found(life_of(Leaks), "the state is for")


@pytest.mark.no_cover
def test_a_game_that_stays_in_memory_is_found() -> None:
    kept = []

    class Stays(SlowSoakGame):
        def __init__(self, name: str, save_string: str | None = None) -> None:
            super().__init__(name, save_string)
            kept.append(self)

    assert found(life_of(Stays), "there are more objects")


@pytest.mark.no_cover
def test_a_save_that_is_forgotten_is_found() -> None:
    class StartsAnew(SlowSoakGame):
        def get_save_string(self) -> Any:
            return ""

    outcome = simulate(soak_simulated, 1, 0.8, 3, StartsAnew, seed=1)
    assert found(outcome, "is another game than before")


# The ledger.


def added(revision: int, *, life: str = "first", birth: str = "one") -> Added:
    return Added(birth, life, f"{life}.1", revision, 1)


def test_what_was_answered_is_there_after_a_restart_in_order() -> None:
    ledger = Ledger()
    ledger.saw("bank 0", added(7))
    ledger.restarted(in_order=True)
    assert ledger.saw("bank 0", added(8, life="second")) is None
    ledger.restarted(in_order=True)
    assert "revision 8 after 8" in (ledger.saw("bank 0", added(8, life="third")) or "")


def test_what_was_saved_is_there_after_a_kill() -> None:
    ledger = Ledger()
    ledger.saw("bank 0", added(5))
    saved = ledger.before_save()
    ledger.saw("bank 0", added(9))
    saved()
    ledger.restarted(in_order=False)
    assert ledger.saw("bank 0", added(6, life="second")) is None
    ledger.restarted(in_order=False)
    assert "after 5 was saved" in (ledger.saw("bank 0", added(5, life="third")) or "")


def test_a_save_by_the_server_after_a_kill_covers_nothing_that_was_lost() -> None:
    ledger = Ledger()
    ledger.saw("bank 0", added(9))
    ledger.restarted(in_order=False)
    ledger.saw("bank 0", added(10))
    ledger.before_save()()
    ledger.restarted(in_order=True)
    assert ledger.saw("bank 0", added(8, life="third")) is None


def test_a_late_answer_of_the_server_before_is_no_problem() -> None:
    ledger = Ledger()
    ledger.saw("bank 0", added(9))
    ledger.restarted(in_order=True)
    ledger.saw("bank 0", added(10, life="second"))
    assert ledger.saw("bank 0", added(9)) is None


@pytest.mark.parametrize("destroyed", [False, True])
def test_another_game_comes_only_after_one_that_was_destroyed(destroyed: bool) -> None:
    ledger = Ledger()
    ledger.saw("bank 0", added(9))
    if destroyed:
        ledger.destroying("bank 0")
    problem = ledger.saw("bank 0", added(1, life="second", birth="two"))
    assert (problem is None) == destroyed


def test_a_game_that_was_never_saved_may_be_gone_after_a_kill() -> None:
    ledger = Ledger()
    ledger.saw("bank 0", added(9))
    ledger.restarted(in_order=False)
    assert ledger.saw("bank 0", added(1, life="second", birth="two")) is None


def test_games_that_are_not_kept_are_not_checked() -> None:
    ledger = Ledger()
    ledger.saw("quiz 0", added(9))
    assert ledger.saw("quiz 0", added(1, life="second", birth="two")) is None


# What grows, and what is noise.


@pytest.mark.parametrize(
    ("values", "grows"),
    [
        ([100, 100, 110, 120, 130, 140, 150], True),
        ([100, 120, 121, 119, 122, 120, 121], False),
        ([100, 120, 180, 119, 200, 130, 121], False),
        ([100, 120, 130, 160, 161, 161, 161], False),
        ([100, 101], False),
    ],
)
def test_only_what_grows_all_the_time_grows(values: list[float], grows: bool) -> None:
    records = [{"things": value, "rest": 3} for value in values]
    assert list(growing(records, least=5, share=0.03)) == (["things"] if grows else [])


def test_what_was_not_there_before_grows_too() -> None:
    records = [{"new": float(value)} if value else {} for value in (0, 0, 0, 10, 20, 30, 40)]
    assert list(growing(records, least=5, share=0.03)) == ["new"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([50, 90, 100, 100], 0.0),
        ([50, 90, 100, 102], 0.0),
        ([50, 90, 100, 110], 0.1),
        ([50, 90, 100, 90], 0.0),
        ([1, 2], 0.0),
        ([0, 0, 0, 1], 1.0),
    ],
)
def test_the_second_half_is_what_counts(values: list[float], expected: float) -> None:
    assert rise(values, share=0.03) == pytest.approx(expected)


def test_a_planned_fault_is_counted_and_another_kept() -> None:
    complaints = Complaints(PlannedFault)
    complaints.install()
    logger = logging.getLogger("pgnet_trio.server")
    try:
        for error in (PlannedFault("on purpose"), ValueError("by mistake")):
            try:
                raise error
            except Exception:
                logger.exception("a game raised")
        logger.error("%s at game.py:1 came %d more times", PlannedFault.__name__, 3)
        logger.info("nothing to mind")
    finally:
        complaints.remove()
    assert complaints.planned_count == 1
    (text,) = complaints.take()
    assert "by mistake" in text
    assert complaints.take() == []


# What the soak has found.


async def run_slowly(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    await trio.sleep(1)
    return function(*args)


SLOW = attrs.evolve(cheap_environment(), run_blocking=run_slowly)


def make_saves(store: MemoryStore, environment: Environment) -> Saves:
    accounts = Accounts(
        SavedState(), registration_enabled=True, require_user_password=False, admin=None
    )
    return Saves(Archive(store, environment), accounts, SaveMemory(names_unsaved_games=False))


def make_games(
    game: type[Game],
    services: trio.Nursery,
    watchdog: Watchdog,
    note_failure: Callable[[BaseException], None] | None = None,
) -> GameRegistry:
    """Give the games of a server that has neither clients nor a save file."""
    server = HostedServer(game)
    options = server._options
    if note_failure is not None:
        options.environment = attrs.evolve(options.environment, note_failure=note_failure)
    return GameRegistry(
        options,
        functools.partial(RoomTask, question_ids=itertools.count(1), watchdog=watchdog),
        make_saves(MemoryStore(), options.environment),
        services,
        Shutdown(),
        run_bot,
        Results(MemoryEngine(), None),
    )


async def save(archive: Archive, games: dict[str, SavedGame], gone: set[str]) -> None:
    await archive.save_games(games, gone, True, {})


GAMES = {"bank": SavedGame("bank", "", "data")}


@pytest.mark.parametrize("saved_before", [False, True])
async def test_a_game_that_ends_while_saves_are_under_way_is_gone(
    autojump_clock: MockClock, saved_before: bool
) -> None:
    store = MemoryStore()
    archive = Archive(store, SLOW)
    if saved_before:
        await save(archive, GAMES, set())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(save, archive, {} if saved_before else GAMES, {"bank"})
        await wait_all_tasks_blocked()
        nursery.start_soon(save, archive, {}, {"bank"})
    assert store.games == {}


async def test_a_game_that_comes_and_ends_during_a_save_is_taken_out_by_the_next(
    autojump_clock: MockClock,
) -> None:
    saves = make_saves(MemoryStore(), SLOW)
    saves.note_end("bank")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(saves.write_games, [])
        await wait_all_tasks_blocked()
        saves.note_end("bank")
    assert saves.stats().ended_games == ("bank",)
    await saves.write_games([])
    assert saves.stats().ended_games == ()


async def test_games_that_ended_are_not_remembered_without_a_save_file() -> None:
    async with hosting(Recorder, network=in_the_clear(), save_file=None) as server:
        async with server.client("admin") as admin:
            for name in ("one game", "two game"):
                await admin.join_game(name)
                await admin.leave_game()
            await admin.join_game("one game")
            await admin.request(Packet(Request.DESTROY_GAME, {"name": "one game"}))
        assert server.stats().saves.ended_games == ()


async def test_a_game_that_has_ended_is_let_go() -> None:
    class Waits(Game):
        async def run(self) -> None:
            await trio.sleep_forever()

    watchdog = Watchdog(None)
    async with trio.open_nursery() as nursery:
        games = make_games(Waits, nursery, watchdog)
        await games.open_game(Opening(name="one game"))
        (entry,) = games.lobby
        entry.room.close_if_empty()
        await entry.room.ended.wait()
        # Else the watchdog takes the script's last step for one that does not end.
        assert entry.room.busy is None
        assert watchdog.room is None


async def test_a_tick_that_waits_while_its_game_raises_is_not_taken(
    autojump_clock: MockClock,
) -> None:
    made: list[Game] = []
    updated: list[Game] = []

    class Breaks(Game):
        update_rate = 10
        on_crash = "restart"

        def __init__(self, name: str, save_string: str | None = None) -> None:
            super().__init__(name, save_string)
            made.append(self)

        def update(self) -> None:
            updated.append(made[-1])
            assert self is made[-1]

        @on(Raise)
        async def break_it(self, player: str, message: Raise) -> None:
            await trio.sleep(0.15)
            raise PlannedFault

    async with hosting_faults(Breaks, PlannedFault) as server, server.client("ann") as ann:
        await ann.join_game("one game")
        with pytest.raises(RequestFailed):
            await ann.call(Raise())
        await trio.sleep(1)
        assert len(made) == 2
        assert made[1] in updated
        assert ann.game == "one game"


async def test_a_game_whose_creator_leaves_while_it_is_made_has_done_nothing_wrong() -> None:
    class Waits(Game):
        async def run(self) -> None:
            await trio.sleep_forever()

    failures: list[BaseException] = []
    async with trio.open_nursery() as services:
        games = make_games(Waits, services, Watchdog(None), failures.append)
        for number in range(400):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(games.open_game, Opening(name=f"game {number}"))
                # Somewhere in the steps that it takes; which task comes first is chance.
                for _ in range(number % 8):
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
        await wait_all_tasks_blocked()
        services.cancel_scope.cancel()
    assert failures == []

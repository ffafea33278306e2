"""What every engine promises about results and leaderboards, those of a server alone too."""

from __future__ import annotations

import itertools
import math
import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from pgnet_trio.server.cluster import standing_tables
from pgnet_trio.server.cluster.errors import BoardTurned, Fenced, OutcomeUnknown, ReportedBefore
from pgnet_trio.server.cluster.memory_community import MemoryCommunity
from pgnet_trio.server.cluster.records import Created, NewRoom
from pgnet_trio.server.cluster.sql_community import SQLCommunity
from pgnet_trio.server.cluster.sqlite_engine import SQLiteTransaction
from pgnet_trio.server.cluster.standing_records import BoardScores, Report
from pgnet_trio.server.cluster.standing_tables import BEYOND, LOWEST, MAX_HISTORY, StandingTables
from pgnet_trio.standings import MAX_SCORE, Leaderboard, PlayedGame
from pgnet_trio.storage.interface import UserRecord
from pgnet_trio.storage.sqlite_schema import make_tables
from pgnet_trio.testing.engine import SimulatedDatabase, SimulatedEngine

if TYPE_CHECKING:
    from trio.testing import MockClock

    from pgnet_trio.server.cluster.community import Community
    from pgnet_trio.standings import LeaderboardPage
    from tests.cluster.conftest import Bench

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
BEST = Leaderboard()
ids = itertools.count(1)


def report(
    scores: Mapping[str, int],
    *,
    id: bytes = b"",
    name: str = "points",
    board: Leaderboard = BEST,
    queue: str | None = None,
    epoch: int | None = None,
    began: float = math.inf,
) -> Report:
    """Return the result of a game in which these scores were made."""
    ranks = [[player] for player in sorted(scores, key=lambda player: -scores[player])]
    played = PlayedGame(name="table 1", ended_at=NOON, ranks=ranks, scores=dict(scores))
    return Report(
        id=id or b"%d" % next(ids),
        played=played,
        users=tuple(scores),
        boards=(BoardScores(name, board, scores),),
        queue=queue,
        epoch=epoch,
        began=began,
    )


def lines(page: LeaderboardPage) -> list[tuple[int, str, int]]:
    return [(entry.rank, entry.username, entry.score) for entry in page.entries]


async def test_players_with_one_score_have_one_rank(community: Community[Any]) -> None:
    await community.report(report({"ann": 5, "eve": 7, "bob": 7, "dan": 9, "joe": 1}))
    page = await community.leaderboard("points")
    assert (page.name, page.total) == ("points", 5)
    assert lines(page) == [
        (1, "dan", 9),
        (2, "bob", 7),
        (2, "eve", 7),
        (4, "ann", 5),
        (5, "joe", 1),
    ]


@pytest.mark.parametrize("first", range(6))
async def test_a_leaderboard_has_pages(community: Community[Any], first: int) -> None:
    await community.report(report({"ann": 5, "eve": 7, "bob": 7, "dan": 7, "joe": 1}))
    everything = lines(await community.leaderboard("points"))
    page = await community.leaderboard("points", offset=first, limit=2)
    assert lines(page) == everything[first : first + 2]
    assert page.total == 5


async def test_a_player_sees_who_is_around_them(community: Community[Any]) -> None:
    await community.report(report({name: ord(name[0]) for name in ("a1", "b1", "c1", "d1", "e1")}))
    around = community.leaderboard_around
    assert [each[:2] for each in lines(await around("points", "c1", limit=3))] == [
        (2, "d1"),
        (3, "c1"),
        (4, "b1"),
    ]
    # At an end there are more on the other side.
    assert [each[:2] for each in lines(await around("points", "e1", limit=3))] == [
        (1, "e1"),
        (2, "d1"),
        (3, "c1"),
    ]
    assert [each[:2] for each in lines(await around("points", "a1", limit=4))] == [
        (2, "d1"),
        (3, "c1"),
        (4, "b1"),
        (5, "a1"),
    ]
    stranger = await around("points", "zoe")
    assert (lines(stranger), stranger.total) == ([], 5)


async def test_an_unknown_leaderboard_is_empty(community: Community[Any]) -> None:
    assert await community.leaderboard("nothing") == await community.leaderboard_around(
        "nothing", "ann"
    )
    assert (await community.leaderboard("nothing")).total == 0


@pytest.mark.parametrize(
    ("board", "score"),
    [
        (Leaderboard("best"), 9),
        (Leaderboard("last"), 4),
        (Leaderboard("sum"), 18),
        (Leaderboard("best", "lowest"), 4),
        (Leaderboard("sum", "lowest"), 18),
    ],
)
async def test_a_leaderboard_keeps_what_it_is_to_keep(
    community: Community[Any], board: Leaderboard, score: int
) -> None:
    for points in (5, 9, 4):
        await community.report(report({"ann": points, "bob": 6}, board=board))
    found = {each[1]: each for each in lines(await community.leaderboard("points"))}
    assert found["ann"][2] == score
    is_first = score < found["bob"][2] if board.order == "lowest" else score > found["bob"][2]
    assert (found["ann"][0] == 1) is is_first or score == found["bob"][2]


async def test_the_order_of_a_leaderboard_stays(community: Community[Any]) -> None:
    await community.report(report({"ann": 5}))
    turned = report({"ann": 3, "bob": 4}, board=Leaderboard(order="lowest"))
    before = BoardScores("another", Leaderboard(), {"ann": 3})
    turned = attrs.evolve(turned, boards=(before, *turned.boards))
    with pytest.raises(BoardTurned, match=r"'points'.*highest score first"):
        await community.report(turned)
    # Nothing of it has happened.
    assert (await community.leaderboard("another")).total == 0
    assert lines(await community.leaderboard("points")) == [(1, "ann", 5)]
    assert await community.history("bob") == []
    assert len(await community.history("ann")) == 1


async def test_a_result_counts_once_however_often_it_is_reported(
    community: Community[Any],
) -> None:
    one = report({"ann": 5, "bob": 3}, board=Leaderboard("sum"))
    late = attrs.evolve(one, played=attrs.evolve(one.played, ended_at=datetime.now(UTC)))
    assert await community.report(one) == await community.report(late) == one.played
    assert lines(await community.leaderboard("points")) == [(1, "ann", 5), (2, "bob", 3)]
    assert len(await community.history("ann")) == 1


async def test_a_result_that_is_reported_at_the_same_time_counts_once(
    community: Community[Any],
) -> None:
    one = report({"ann": 5, "bob": 3}, board=Leaderboard("sum"))
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(community.report, one)
    assert lines(await community.leaderboard("points")) == [(1, "ann", 5), (2, "bob", 3)]


async def test_another_result_of_the_same_game_is_refused(community: Community[Any]) -> None:
    one = report({"ann": 5, "bob": 3})
    await community.report(one)
    with pytest.raises(ReportedBefore, match="A rematch is a new game"):
        await community.report(report({"ann": 3, "bob": 5}, id=one.id))
    assert lines(await community.leaderboard("points")) == [(1, "ann", 5), (2, "bob", 3)]


async def test_a_history_has_the_latest_game_first_and_an_end(community: Community[Any]) -> None:
    for score in range(MAX_HISTORY + 5):
        await community.report(report({"ann": score}))
    first = await community.history("ann", limit=3)
    assert [played.scores["ann"] for played in first] == [104, 103, 102]
    assert (first[0].name, first[0].ended_at, first[0].ranks) == ("table 1", NOON, [["ann"]])
    rest = await community.history("ann", before=first[-1].number, limit=1000)
    assert [played.scores["ann"] for played in rest] == list(range(101, 4, -1))
    assert await community.history("bob") == []


async def test_a_result_that_is_in_no_history_any_more_was_counted_all_the_same(
    community: Community[Any],
) -> None:
    board = Leaderboard("sum")
    one = report({"ann": 5, "bob": 3}, board=board)
    await community.report(one)
    await community.forget_player("ann")
    # Bob has it still, so another result is noticed.
    with pytest.raises(ReportedBefore):
        await community.report(report({"ann": 1, "bob": 2}, id=one.id, board=board))
    for _ in range(MAX_HISTORY):
        await community.report(report({"bob": 0}, board=board))
    assert await community.report(one) == one.played
    assert lines(await community.leaderboard("points")) == [(1, "bob", 3)]
    assert all(played.scores == {"bob": 0} for played in await community.history("bob", limit=500))


async def test_a_player_who_is_forgotten_has_no_standing(community: Community[Any]) -> None:
    await community.report(report({"ann": 5, "bob": 3}))
    await community.report(report({"ann": 5}, name="other"))
    await community.forget_player("ann")
    await community.forget_player("nobody")
    assert lines(await community.leaderboard("points")) == [(1, "bob", 3)]
    assert (await community.leaderboard("points")).total == 1
    assert (await community.leaderboard("other")).total == 0
    assert await community.history("ann") == []
    assert (await community.history("bob"))[0].scores == {"ann": 5, "bob": 3}


async def test_the_largest_scores_are_kept_exactly(community: Community[Any]) -> None:
    board = Leaderboard("sum")
    for _ in range(2):
        await community.report(report({"ann": MAX_SCORE, "bob": -MAX_SCORE, "eve": 0}, board=board))
    assert lines(await community.leaderboard("points")) == [
        (1, "ann", MAX_SCORE),
        (2, "eve", 0),
        (3, "bob", -MAX_SCORE),
    ]


# Faults, in virtual time


@pytest.mark.parametrize("moment", [0.0, 0.5, 1.5, 2.5])
async def test_a_cancelled_report_counts_as_a_whole_or_not(
    moment: float, autojump_clock: MockClock
) -> None:
    engine = SimulatedEngine(SimulatedDatabase())
    engine.request_delay = engine.answer_delay = 1.0
    one = report({"ann": 5, "bob": 3}, queue="ranked")
    returned = False
    with trio.move_on_after(moment):
        await engine.report(one)
        returned = True
    # Too late to change nothing, it goes on to its end, and says so.
    assert returned is (moment > 1)
    page = await engine.leaderboard("points")
    assert page.total == (2 if returned else 0)
    assert len(await engine.history("ann")) == len(await engine.history("bob")) == page.total // 2
    assert (await engine.rating("ranked", "ann") > 1500) is returned


@pytest.mark.parametrize("lost", [1, 2])
async def test_a_lost_answer_leads_to_no_second_count(lost: int, autojump_clock: MockClock) -> None:
    engine = SimulatedEngine(SimulatedDatabase())
    engine.lost_answers = lost
    one = report({"ann": 5, "bob": 3}, board=Leaderboard("sum"), queue="ranked")
    if lost == 2:
        with pytest.raises(OutcomeUnknown):
            await engine.report(one)
    played = await engine.report(one)
    assert lines(await engine.leaderboard("points")) == [(1, "ann", 5), (2, "bob", 3)]
    assert await engine.rating("ranked", "ann") == played.ratings["ann"].after


# Ratings


async def test_a_rated_game_changes_ratings_once(community: Community[Any]) -> None:
    assert await community.rating("ranked", "ann") == 1500
    one = report({"ann": 5, "bob": 3}, queue="ranked")
    played = await community.report(one)
    assert await community.report(one) == played
    change = played.ratings["ann"]
    assert (change.before, change.after) == (1500, await community.rating("ranked", "ann"))
    assert change.after > 1550
    assert played.ratings["bob"].after < 1450
    assert (await community.history("bob"))[0].ratings == played.ratings
    # Each queue has its own.
    assert await community.rating("casual", "ann") == 1500
    second = await community.report(report({"ann": 5, "bob": 3}, queue="ranked"))
    assert second.ratings["ann"].before == change.after
    # The better one wins what was to be expected.
    assert second.ratings["ann"].after - change.after < change.after - 1500
    await community.forget_player("ann")
    assert await community.rating("ranked", "ann") == 1500


async def test_a_leaderboard_may_be_of_ratings(community: Community[Any]) -> None:
    ladder = BoardScores("ladder", Leaderboard(rating="ranked"), {})
    for scores in ({"ann": 5, "bob": 3}, {"bob": 5, "ann": 3}, {"ann": 5, "eve": 5}):
        one = report(scores, queue="ranked")
        one = attrs.evolve(one, boards=(*one.boards, ladder))
        await community.report(one)
        assert await community.report(one)
    found = {name: score for _, name, score in lines(await community.leaderboard("ladder"))}
    assert found == {
        name: round(await community.rating("ranked", name)) for name in ("ann", "bob", "eve")
    }


async def test_bots_change_no_ratings(community: Community[Any]) -> None:
    one = report({"ann": 5, "a bot": 3}, queue="ranked")
    one = attrs.evolve(one, users=("ann",), boards=())
    assert (await community.report(one)).ratings == {}
    assert await community.rating("ranked", "ann") == 1500
    assert await community.history("a bot") == []


async def test_a_refused_result_changes_no_ratings(community: Community[Any]) -> None:
    await community.report(report({"ann": 5}))
    turned = report({"ann": 3, "bob": 4}, board=Leaderboard(order="lowest"), queue="ranked")
    with pytest.raises(BoardTurned):
        await community.report(turned)
    assert await community.rating("ranked", "ann") == 1500


# In a cluster


async def test_ratings_of_games_that_end_at_once_are_all_counted(bench: Bench) -> None:
    async def play(engine: Community[Any], scores: dict[str, int], name: str) -> None:
        for _ in range(10):
            # On leaderboards of their own: those keep each other waiting.
            await engine.report(report(scores, name=name, queue="ranked"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(play, bench.first, {"ann": 5, "bob": 3}, "one")
        nursery.start_soon(play, bench.second, {"bob": 3, "ann": 5}, "other")
    games = await bench.first.history("ann")
    assert len(games) == 20
    for later, earlier in itertools.pairwise(games):
        assert later.ratings["ann"].before == earlier.ratings["ann"].after


async def test_only_the_owner_of_a_room_reports_its_result(bench: Bench) -> None:
    north = (await bench.first.register("north", "")).node
    south = (await bench.second.register("south", "")).node
    claimed = await bench.first.claim(north, "table 1", new=NewRoom())
    assert isinstance(claimed, Created)
    one = report({"ann": 5}, epoch=claimed.epoch)
    await bench.first.report(one)
    await bench.first.resign(north)
    again = await bench.second.claim(south, "table 1", new=NewRoom())
    assert isinstance(again, Created)
    with pytest.raises(Fenced, match="let it go"):
        await bench.first.report(report({"ann": 7}, epoch=claimed.epoch))
    # What was counted before is known to whoever has the room now, and to whoever had it.
    for engine, epoch in ((bench.second, again.epoch), (bench.first, claimed.epoch)):
        assert await engine.report(attrs.evolve(one, epoch=epoch)) == one.played
    assert lines(await bench.first.leaderboard("points")) == [(1, "ann", 5)]


async def test_results_of_two_nodes_at_once_are_all_counted(bench: Bench) -> None:
    players = [f"player {number}" for number in range(4)]

    async def play(engine: Community[Any], scores: dict[str, int]) -> None:
        for _ in range(5):
            await engine.report(report(scores, board=Leaderboard("sum")))

    async with trio.open_nursery() as nursery:
        for engine in (bench.first, bench.second):
            nursery.start_soon(play, engine, dict.fromkeys(players, 1))
            nursery.start_soon(play, engine, dict.fromkeys(reversed(players), 1))
    page = await bench.second.leaderboard("points")
    assert lines(page) == [(1, player, 20) for player in players]


async def test_a_deleted_user_leaves_no_standing(bench: Bench) -> None:
    user = UserRecord("ann", "", "x")
    await bench.first.register_user(user, "", registration_enabled=True)
    await bench.first.report(report({"ann": 5, "bob": 3}))
    await bench.first.delete_user("ann")
    assert lines(await bench.second.leaderboard("points")) == [(1, "bob", 3)]


async def test_nothing_counts_for_who_was_deleted_since_the_game_began(
    community: Community[Any],
) -> None:
    before, after = (datetime.now(UTC).timestamp() + seconds for seconds in (-60, 60))
    await community.forget_player("ann")
    scores = {"ann": 5, "bob": 3}
    played = await community.report(report(scores, queue="ranked", began=before))
    assert played.ranks == [["ann"], ["bob"]]
    assert played.ratings.keys() <= {"bob"}
    assert lines(await community.leaderboard("points")) == [(1, "bob", 3)]
    assert await community.history("ann") == []
    # Whoever has the name next plays games that have begun since.
    await community.report(report(scores, began=after))
    assert lines(await community.leaderboard("points")) == [(1, "ann", 5), (2, "bob", 3)]


async def test_the_oldest_deletions_are_forgotten(
    community: Community[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing_tables, "MAX_DELETIONS", 2)
    before = datetime.now(UTC).timestamp() - 60
    for name in ("ann", "bob", "ann", "cleo"):
        await community.forget_player(name)
    await community.report(report({"ann": 1, "bob": 2, "cleo": 3}, began=before))
    assert lines(await community.leaderboard("points")) == [(1, "bob", 2)]


@pytest.mark.usefixtures("small_ranges")
async def test_players_with_one_score_fill_many_pages(community: Community[Any]) -> None:
    players = [f"player {number:02}" for number in range(40)]
    for start in range(0, 40, 8):
        await community.report(report(dict.fromkeys(players[start : start + 8], 7)))
    await community.report(report({"zoe": 9, "eve": 1}))
    expected = [(1, "zoe", 9), *((2, player, 7) for player in players), (42, "eve", 1)]
    for offset in range(0, 45, 3):
        page = await community.leaderboard("points", offset=offset, limit=5)
        assert lines(page) == expected[offset : offset + 5]
    around = await community.leaderboard_around("points", "player 20", limit=3)
    assert lines(around) == expected[20:23]


# The ranges

SCORES = st.just(3) | st.integers(-4, 4) | st.integers(-MAX_SCORE, MAX_SCORE)
NAMES = [*map("p{}".format, range(16)), "é", "漢", "\uffff", "\U0001f600"]
CHANGES = st.lists(st.tuples(st.sampled_from(NAMES), st.none() | SCORES), max_size=60)


def check_ranges(tables: StandingTables) -> None:
    """Check that the ranges are what the rows say, and no larger than they may be."""
    found = tables._find_board("points")
    assert found is not None
    ranges = tables._ranges(found[0])
    assert ranges[0][0] == LOWEST
    for (low, players), (high, _) in itertools.pairwise([*ranges, ((BEYOND, ""), 0)]):
        assert tables._count_between(found[0], low, high) == players
        # Also where all have the same score: no line is looked for behind more.
        assert players <= standing_tables.MAX_RANGE


@pytest.fixture
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing_tables, "MAX_RANGE", 4)
    monkeypatch.setattr(standing_tables, "MIN_RANGE", 2)


@pytest.mark.usefixtures("small_ranges")
@pytest.mark.parametrize("order", ["highest", "lowest"])
@given(changes=CHANGES)
def test_ranks_are_exact_however_scores_come_and_go(order: Any, changes: Any) -> None:
    with sqlite3.connect(":memory:", isolation_level=None) as connection:
        make_tables(connection)
        connection.text_factory = bytes
        for tables in (MemoryCommunity(), SQLCommunity(SQLiteTransaction(connection))):
            check_history_of_changes(tables, Leaderboard("last", order), changes)
    connection.close()


def check_history_of_changes(
    tables: StandingTables, board: Leaderboard, changes: list[tuple[str, int | None]]
) -> None:
    sign = 1 if board.order == "lowest" else -1
    scores: dict[str, int] = {}
    for player, score in changes:
        if score is None:
            tables.forget_player(player)
            scores.pop(player, None)
        else:
            tables.report(report({player: score}, board=board))
            scores[player] = score
    if tables._find_board("points") is None:
        return
    check_ranges(tables)
    order = sorted(scores.items(), key=lambda each: (sign * each[1], each[0]))
    expected = [
        (1 + sum(sign * other < sign * score for other in scores.values()), player, score)
        for player, score in order
    ]
    for offset, limit in itertools.product((0, 1, 3, 8), (1, 4, 30)):
        page = tables.leaderboard("points", offset, limit)
        assert lines(page) == expected[offset : offset + limit]
        assert page.total == len(scores)
    for number, (player, _) in enumerate(order):
        for limit in (1, 2, 5, 30):
            page = tables.leaderboard_around("points", player, limit)
            assert expected[number] in lines(page)
            assert len(page.entries) == min(limit, len(scores))
            start = expected.index(lines(page)[0])
            assert lines(page) == expected[start : start + limit]

"""Results of games: reported by rooms, counted once, and read by clients."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

from pgnet_trio import (
    Bot,
    Disconnected,
    Game,
    Leaderboard,
    LeaderboardEntry,
    Queue,
    ReasonCode,
    Reject,
    RequestFailed,
    Result,
    ServerError,
    StorageError,
    on,
)
from pgnet_trio.server.room.outcome import MAX_LEFT, Outcome
from pgnet_trio.storage import SavedGame, UserRecord
from pgnet_trio.testing import MemoryStore, SimulatedNetwork, cluster, hosting, playing
from pgnet_trio.testing.hosting import HostedServer, Kit

if TYPE_CHECKING:
    from trio.testing import MockClock

    from pgnet_trio import Client
    from pgnet_trio.testing.clusters import HostedCluster

NAME = "table 1"


@attrs.define
class Over:
    """The game is over: who won, and who lost."""

    winner: str
    loser: str
    points: int = 3


@attrs.define
class Counted:
    winner_rating: float | None = None


@attrs.define
class Again:
    """Play once more."""


class Duel(Game):
    persistent = True
    max_players = 2
    leaderboards = {  # noqa: RUF012 - as an author writes it
        "points": Leaderboard("sum"),
        "best": Leaderboard("best"),
        "ladder": Leaderboard(rating="ranked"),
    }
    matchmaking = {  # noqa: RUF012 - the same
        "ranked": Queue(rating=True, within=100, wait=30),
        "casual": Queue(),
    }

    def get_save_string(self) -> str:
        return "played"

    @on(Over)
    async def over(self, player: str, message: Over) -> Counted:
        scores = {message.winner: message.points, message.loser: 1}
        played = await self.room.report(Result([message.winner, message.loser], scores))
        change = played.ratings.get(message.winner)
        return Counted(None if change is None else change.after)

    @on(Again)
    def again(self, player: str, message: Again) -> None:
        self.room.rematch()


@asynccontextmanager
async def two_playing(game: type[Game]) -> AsyncIterator[tuple[Client, Client]]:
    async with hosting(game) as server, playing(server, "ann", "bob", game=NAME) as clients:
        ann, bob = clients
        yield ann, bob


async def host_game(
    kit: Kit, game: type[Game], host: str = "ann", guest: str = "bob", *, password: str = ""
) -> tuple[HostedServer, Client, Client]:
    """Start a server; return it, who has made a game there, and who has joined it."""
    server = await kit.host(game)
    first, second = [await kit.play(name, password) for name in (host, guest)]
    await first.create_game(NAME)
    await second.join_game(NAME)
    return server, first, second


async def play_at_two_servers(servers: HostedCluster) -> tuple[Client, Client]:
    """Return two who play in a game: it is at the first one's server, the other came to it."""
    ann = await servers.play("ann", node="a")
    bob = await servers.play("bob", node="b")
    await ann.create_game(NAME)
    await bob.join_game(NAME)
    return ann, bob


def lines(page: Any) -> list[tuple[int, str, int]]:
    return [(entry.rank, entry.username, entry.score) for entry in page.entries]


async def standings(client: Client) -> list[tuple[int, str, int]]:
    return lines(await client.leaderboard("points"))


async def test_a_result_is_on_the_leaderboards_and_in_the_histories(
    autojump_clock: MockClock,
) -> None:
    async with two_playing(Duel) as (ann, bob):
        await ann.call(Over("bob", "ann"))
        assert await standings(ann) == [(1, "bob", 3), (2, "ann", 1)]
        page = await bob.leaderboard("best", around="ann")
        assert page.entries == [LeaderboardEntry(1, "bob", 3), LeaderboardEntry(2, "ann", 1)]
        assert (page.name, page.total) == ("best", 2)
        (played,) = await ann.history()
        assert played.ranks == [["bob"], ["ann"]]
        assert played.scores == {"bob": 3, "ann": 1}
        assert played.name == ann.game
        assert played.ratings == {}
        assert await ann.history(before=played.number) == []


async def test_a_second_report_is_refused_and_a_rematch_is_a_new_game(
    autojump_clock: MockClock,
) -> None:
    async with two_playing(Duel) as (ann, bob):
        await ann.call(Over("ann", "bob"))
        for message in (Over("ann", "bob"), Over("bob", "ann")):
            with pytest.raises(RequestFailed, match="cannot be counted") as refusal:
                await bob.call(message)
            assert refusal.value.code == ReasonCode.CANNOT_SAVE
        await bob.call(Again())
        await trio.sleep(1)
        await bob.call(Over("bob", "ann"))
        assert await standings(ann) == [(1, "ann", 4), (1, "bob", 4)]
        assert len(await ann.history()) == 2


class Told(Duel):
    """Says what refuses a second report."""

    said = ""

    @on(Over)
    async def over(self, player: str, message: Over) -> Counted:
        try:
            return await super().over(player, message)
        except StorageError as error:
            type(self).said = str(error)
            raise


async def test_the_author_is_told_why(autojump_clock: MockClock) -> None:
    async with two_playing(Told) as (ann, _bob):
        await ann.call(Over("ann", "bob"))
        with pytest.raises(RequestFailed):
            await ann.call(Over("ann", "bob"))
    assert Told.said == (
        "The result was not counted: this game has reported its result already, and it counts "
        "once; room.rematch() begins a new game, which may report its own"
    )


class Timed(Game):
    leaderboards = Leaderboard(order="lowest")

    @on(Over)
    async def over(self, player: str, message: Over) -> None:
        scores = {message.winner: message.points, message.loser: 1}
        await self.room.report(Result(scores=scores))


class Lap(Game):
    """Reports times for a leaderboard, and nothing else."""

    persistent = True
    leaderboards = {"lap": Leaderboard(order="lowest")}  # noqa: RUF012 - as an author writes it

    def get_save_string(self) -> str:
        return "driven"

    @on(Over)
    async def over(self, player: str, message: Over) -> None:
        await self.room.report(Result(boards={"lap": {message.winner: message.points}}))


async def test_a_loaded_game_reports_no_other_scores_for_a_leaderboard(
    autojump_clock: MockClock,
) -> None:
    async with Kit(SimulatedNetwork()) as kit:
        server = await kit.host(Lap)
        ann = await kit.play("ann", game=NAME)
        await ann.call(Over("ann", "", points=61))
        await server.restart()
        await trio.sleep(60)
        await ann.call(Over("ann", "", points=61))
        with pytest.raises(RequestFailed, match="cannot be counted"):
            await ann.call(Over("ann", "", points=59))
        assert lines(await ann.leaderboard("lap")) == [(1, "ann", 61)]
        assert (await ann.history())[0].boards == {"lap": {"ann": 61}}


@pytest.mark.parametrize("crash", [False, True])
async def test_a_loaded_game_counts_once_and_keeps_its_id(
    crash: bool, autojump_clock: MockClock
) -> None:
    async with Kit(SimulatedNetwork()) as kit:
        server, ann, bob = await host_game(kit, Duel)
        await trio.sleep(100)
        await ann.call(Over("ann", "bob"))
        # The game's save knows nothing of the result, which is counted all the same.
        await server.restart(crash=crash)
        await trio.sleep(60)
        await ann.call(Over("ann", "bob"))
        with pytest.raises(RequestFailed, match="cannot be counted"):
            await ann.call(Over("bob", "ann"))
        assert await standings(bob) == [(1, "ann", 3), (2, "bob", 1)]
        assert len(await bob.history()) == 1


async def test_a_full_disk_counts_nothing_refuses_and_holds_up_nobody(
    autojump_clock: MockClock,
) -> None:
    async with Kit(SimulatedNetwork()) as kit:
        server = await kit.host(Duel)
        ann, bob, eve = [await kit.play(name) for name in ("ann", "bob", "eve")]
        await ann.create_game(NAME)
        await bob.join_game(NAME)
        await eve.create_game("table 2")
        server.store.full = True
        with pytest.raises(RequestFailed, match="cannot be counted now; try again later"):
            await ann.call(Over("ann", "bob"))
        # The game goes on, and so does everybody else.
        assert await standings(eve) == []
        server.store.full = False
        await ann.call(Over("ann", "bob"))
        assert await standings(eve) == [(1, "ann", 3), (2, "bob", 1)]


@pytest.mark.parametrize("lost", [1, 2])
async def test_a_lost_answer_counts_a_result_once(lost: int, autojump_clock: MockClock) -> None:
    async with Kit(SimulatedNetwork()) as kit:
        server, ann, _bob = await host_game(kit, Duel)
        server.store.community.lost_answers = lost
        if lost == 1:
            await ann.call(Over("ann", "bob"))
        else:
            with pytest.raises(RequestFailed, match="cannot be counted now"):
                await ann.call(Over("ann", "bob"))
            # Nobody knew; it may be said again, and another result is none.
            with pytest.raises(RequestFailed, match="cannot be counted"):
                await ann.call(Over("bob", "ann"))
            await ann.call(Over("ann", "bob"))
        assert await standings(ann) == [(1, "ann", 3), (2, "bob", 1)]


# Who is in a result


class Careful(Duel):
    """Tells its players what is wrong with a result."""

    @on(Over)
    async def over(self, player: str, message: Over) -> Counted:
        try:
            return await super().over(player, message)
        except ValueError as error:
            raise Reject(str(error)) from error


async def test_only_who_plays_or_has_played_is_in_a_result(autojump_clock: MockClock) -> None:
    async with Kit(SimulatedNetwork()) as kit:
        await kit.host(Careful)
        ann, bob, eve, dan = [await kit.play(name) for name in ("ann", "bob", "eve", "dan")]
        await ann.create_game(NAME)
        await bob.join_game(NAME)
        await bob.leave_game()
        await eve.join_game(NAME)
        await dan.join_game(NAME, spectate=True)
        for stranger, hint in (("dan", "'dan'$"), ("zoe", "'zoe'$"), ("BOB", "mean 'bob'?")):
            with pytest.raises(RequestFailed, match=f"who are or were in this game, got .*{hint}"):
                await ann.call(Over("ann", stranger))
        await ann.call(Over("ann", "bob"))
        assert await standings(eve) == [(1, "ann", 3), (2, "bob", 1)]


@pytest.mark.parametrize("crash", [False, True])
async def test_who_has_left_is_known_after_a_restart(
    crash: bool, autojump_clock: MockClock
) -> None:
    async with Kit(SimulatedNetwork()) as kit:
        server, ann, bob = await host_game(kit, Careful)
        await bob.leave_game()
        await trio.sleep(100)
        await server.restart(crash=crash)
        await trio.sleep(60)
        await ann.call(Over("ann", "bob"))
        assert await standings(bob) == [(1, "ann", 3), (2, "bob", 1)]
        # Nobody has left the rematch.
        await ann.call(Again())
        await trio.sleep(1)
        with pytest.raises(RequestFailed, match="got 'bob'"):
            await ann.call(Over("ann", "bob"))


async def test_who_has_left_is_known_after_a_move(autojump_clock: MockClock) -> None:
    async with cluster(Careful) as servers:
        ann, bob = await play_at_two_servers(servers)
        await bob.leave_game()
        await servers.stop("a")
        await trio.sleep(60)
        with pytest.raises(RequestFailed, match="got 'zoe'"):
            await ann.call(Over("ann", "zoe"))
        await ann.call(Over("ann", "bob"))


def test_so_many_have_left_that_nobody_counts_them() -> None:
    outcome = Outcome()
    for number in range(MAX_LEFT + 1):
        assert outcome.left is not None
        outcome.note_left(f"player {number}")
    assert outcome.left is None
    outcome.note_left("ann")
    outcome.begin_anew(1.0)
    assert outcome.left == set()


@pytest.mark.parametrize("moment", [0.5, 4.5])
async def test_a_game_that_is_destroyed_meanwhile_has_counted_or_not(
    moment: float, autojump_clock: MockClock
) -> None:
    async with Kit(SimulatedNetwork()) as kit:
        server, ann, bob = await host_game(kit, Duel)
        server.store.community.request_delay = server.store.community.answer_delay = 4.0
        told = []

        async def play() -> None:
            try:
                await ann.call(Over("ann", "bob"))
                told.append(True)
            except RequestFailed:
                told.append(False)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(play)
            await trio.sleep(moment)
            entry = server._context("a test").games.lobby.get(NAME)
            assert entry is not None
            entry.room.close("It is destroyed.")
        server.store.community.request_delay = server.store.community.answer_delay = 0.0
        await trio.sleep(10)
        # Whoever plays is told what is so.
        assert told == [moment > 4]
        assert await standings(bob) == ([(1, "ann", 3), (2, "bob", 1)] if told[0] else [])


async def test_a_game_may_have_one_leaderboard_without_a_name(autojump_clock: MockClock) -> None:
    async with two_playing(Duel) as (ann, _):
        with pytest.raises(
            RequestFailed, match=r"no leaderboard 'other'.*'points', 'best', 'ladder'"
        ):
            await ann.leaderboard("other")
        for offset, limit in ((0, 0), (0, 101), (-1, 5)):
            with pytest.raises(RequestFailed, match="has to be from"):
                await ann.leaderboard("points", offset=offset, limit=limit)
    async with two_playing(Timed) as (ann, _bob):
        await ann.call(Over("ann", "bob", points=61))
        assert lines(await ann.leaderboard()) == [(1, "bob", 1), (2, "ann", 61)]


async def test_a_player_is_found_on_a_leaderboard_however_the_name_is_spelt(
    autojump_clock: MockClock,
) -> None:
    async with two_playing(Duel) as (ann, _bob):
        await ann.call(Over("bob", "ann"))
        for name in ("bob", "BOB"):
            page = await ann.leaderboard("points", around=name)
            assert lines(page) == [(1, "bob", 3), (2, "ann", 1)]
        assert lines(await ann.leaderboard("points", around="BO")) == []
    async with cluster(Duel) as servers:
        ann = await servers.play("Ann", game=NAME)
        await servers.play("bob", game=NAME)
        await ann.call(Over("bob", "Ann"))
        page = await ann.leaderboard("points", around="aNN")
        assert lines(page) == [(1, "bob", 3), (2, "Ann", 1)]
        assert lines(await ann.leaderboard("points", around="An")) == []


async def test_a_name_in_another_case_is_a_mistake_that_names_the_player(
    autojump_clock: MockClock,
) -> None:
    async with Kit(SimulatedNetwork()) as kit:
        server = await kit.host(Duel)
        ann = await kit.play("ann")
        await ann.create_game(NAME)
        with server.expecting(ValueError) as errors, pytest.raises(RequestFailed):
            await ann.call(Over("Ann", "bob"))
        assert "got 'Ann'; did you mean 'ann'?" in str(errors[0])


async def test_two_players_of_an_older_save_may_differ_in_case_alone(
    autojump_clock: MockClock,
) -> None:
    store = MemoryStore()
    for name in ("ann", "Ann"):
        record = hashlib.sha256(b"saltpassword").hexdigest()
        store.state.users[name] = UserRecord(name, "salt", record)
    async with Kit(SimulatedNetwork()) as kit:
        await kit.host(Duel, store=store)
        ann, other = [await kit.play(name, "password") for name in ("ann", "Ann")]
        await ann.create_game(NAME)
        await other.join_game(NAME)
        await ann.call(Over("ann", "Ann"))
        assert await standings(other) == [(1, "ann", 3), (2, "Ann", 1)]
        for name in ("ann", "Ann"):
            page = await ann.leaderboard("points", around=name, limit=1)
            assert [entry.username for entry in page.entries] == [name]
        assert (await other.leaderboard("points", around="Ann", limit=1)).entries[0].rank == 2


async def test_a_server_with_json_saves_says_that_it_has_no_standings(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with Kit(SimulatedNetwork()) as kit:
        await kit.host(Duel, save_file=tmp_path / "save.json")
        ann = await kit.play("ann")

        async def find_game() -> None:
            async with ann.find_game("ranked"):
                pass

        for ask in (lambda: ann.leaderboard("points"), ann.history, find_game):
            with pytest.raises(RequestFailed, match="SQLite") as refusal:
                await ask()
            assert refusal.value.code == ReasonCode.NOT_KEPT


class Alone(Duel):
    """Plays against a bot."""

    def user_joined(self, username: str) -> None:
        if username == "ann":
            self.room.add_bot(Bot("bot 1"))


async def test_bots_are_in_histories_alone(autojump_clock: MockClock) -> None:
    async with Kit(SimulatedNetwork()) as kit:
        await kit.host(Alone)
        ann = await kit.play("ann", game=NAME)
        await ann.call(Over("bot 1", "ann"))
        assert await standings(ann) == [(1, "ann", 1)]
        assert (await ann.history())[0].ranks == [["bot 1"], ["ann"]]


async def test_a_deleted_user_leaves_their_name_to_the_next_one(
    autojump_clock: MockClock,
) -> None:
    async with Kit(SimulatedNetwork()) as kit:
        server, ann, bob = await host_game(kit, Duel, password="password")
        await ann.call(Over("ann", "bob"))
        server.delete_user("ann")
        await trio.sleep(5)
        assert await standings(bob) == [(1, "bob", 1)]
        again = await kit.play("ann", "another password")
        assert await again.history() == []


async def test_a_server_that_dies_after_a_deletion_counts_nothing_for_the_name(
    autojump_clock: MockClock,
) -> None:
    async with Kit(SimulatedNetwork()) as kit:
        server, bob, _ann = await host_game(kit, Duel, "bob", "ann", password="password")
        await trio.sleep(100)
        server.delete_user("ann")
        await trio.sleep(1)
        # Before it saves anything of the game again.
        await server.restart(crash=True)
        await trio.sleep(60)
        again = await kit.play("ann", "another password")
        await bob.call(Over("bob", "ann"))
        assert await standings(bob) == [(1, "bob", 3)]
        assert await again.history() == []


async def test_a_user_who_could_not_be_deleted_goes_on_with_their_games(
    autojump_clock: MockClock,
) -> None:
    async with Kit(SimulatedNetwork()) as kit:
        server, bob, _ann = await host_game(kit, Duel, "bob", "ann", password="password")
        server.store.full = True
        server.delete_user("ann")
        await trio.sleep(5)
        server.store.full = False
        again = await kit.play("ann", "password")
        await bob.call(Over("bob", "ann"))
        assert await standings(bob) == [(1, "bob", 3), (2, "ann", 1)]
        assert len(await again.history()) == 1


async def test_a_game_that_was_loaded_reports_nothing_for_a_user_of_before(
    autojump_clock: MockClock,
) -> None:
    async with Kit(SimulatedNetwork()) as kit:
        server, bob, _ann = await host_game(kit, Duel, "bob", "ann", password="password")
        server.delete_user("ann")
        await trio.sleep(5)
        await server.restart()
        await trio.sleep(60)
        again = await kit.play("ann", "another password")
        await bob.call(Over("bob", "ann"))
        assert await standings(bob) == [(1, "bob", 3)]
        assert await again.history() == []


async def test_a_rematch_that_is_killed_before_it_is_saved_counts_once(
    autojump_clock: MockClock,
) -> None:
    async with Kit(SimulatedNetwork()) as kit:
        server, ann, bob = await host_game(kit, Duel)
        await trio.sleep(100)
        await ann.call(Over("ann", "bob"))
        await ann.call(Again())
        await trio.sleep(1)
        await ann.call(Over("ann", "bob"))
        await server.restart(crash=True)
        await trio.sleep(60)
        assert await standings(ann) == [(1, "ann", 6), (2, "bob", 2)]
        # The game before goes on, and they play once more: that has counted already.
        await ann.call(Over("ann", "bob"))
        await ann.call(Again())
        await trio.sleep(1)
        await ann.call(Over("ann", "bob"))
        with pytest.raises(RequestFailed, match="cannot be counted"):
            await ann.call(Over("bob", "ann"))
        assert await standings(ann) == [(1, "ann", 6), (2, "bob", 2)]
        assert len(await bob.history()) == 2
        await ann.call(Again())
        await trio.sleep(1)
        await ann.call(Over("bob", "ann"))
        assert await standings(ann) == [(1, "ann", 7), (2, "bob", 5)]


async def test_a_game_whose_save_has_no_id_counts_once(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    # As an earlier version has saved it.
    store.state.games[NAME] = SavedGame(NAME, "", "played")
    async with Kit(SimulatedNetwork()) as kit:
        server = await kit.host(Duel, store=store)
        ann, bob = [await kit.play(name) for name in ("ann", "bob")]
        await ann.join_game(NAME)
        await bob.join_game(NAME)
        await ann.call(Over("ann", "bob"))
        await server.restart(crash=True)
        await trio.sleep(60)
        await ann.call(Over("ann", "bob"))
        assert await standings(ann) == [(1, "ann", 3), (2, "bob", 1)]


async def count(game: Game, result: Result) -> None:
    await game.room.report(result)


class Hidden(Game):
    """Reports where its class does not show it."""

    persistent = True

    def get_save_string(self) -> str:
        return "played"

    @on(Over)
    async def over(self, player: str, message: Over) -> None:
        await count(self, Result([message.winner, message.loser]))
        # The power is gone before anything else is saved.
        await trio.sleep_forever()

    @on(Again)
    def again(self, player: str, message: Again) -> None:
        self.room.rematch()


async def test_a_result_of_a_game_that_does_not_show_that_it_reports_counts_once(
    autojump_clock: MockClock,
) -> None:
    async with Kit(SimulatedNetwork()) as kit:
        server, ann, bob = await host_game(kit, Hidden)
        await trio.sleep(100)
        for _ in range(2):
            with trio.move_on_after(1):
                await ann.call(Over("ann", "bob"))
            await server.restart(crash=True)
            await trio.sleep(60)
        assert len(await bob.history()) == 1


async def test_a_rematch_of_a_game_that_does_not_show_that_it_reports_counts_once(
    autojump_clock: MockClock,
) -> None:
    async with Kit(SimulatedNetwork()) as kit:
        server, ann, bob = await host_game(kit, Hidden)
        await trio.sleep(100)
        await ann.call(Again())
        await trio.sleep(1)
        for _ in range(2):
            with trio.move_on_after(1):
                await ann.call(Over("ann", "bob"))
            await server.restart(crash=True)
            await trio.sleep(60)
        assert len(await bob.history()) == 1


async def test_a_full_disk_counts_no_result_of_a_game_whose_save_has_no_id(
    autojump_clock: MockClock,
) -> None:
    store = MemoryStore()
    store.state.games[NAME] = SavedGame(NAME, "", "played")
    async with Kit(SimulatedNetwork()) as kit:
        await kit.host(Duel, store=store)
        ann = await kit.play("ann", game=NAME)
        store.full = True
        with pytest.raises(RequestFailed, match="cannot be counted now; try again later"):
            await ann.call(Over("ann", "bob"))
        store.full = False
        await ann.call(Over("ann", "bob"))
        assert len(await ann.history()) == 1


async def test_a_game_that_outlasts_a_user_reports_nothing_for_their_name(
    autojump_clock: MockClock,
) -> None:
    async with Kit(SimulatedNetwork()) as kit:
        server, bob, _ann = await host_game(kit, Duel, "bob", "ann", password="password")
        server.delete_user("ann")
        await trio.sleep(5)
        again = await kit.play("ann", "another password")
        await bob.call(Over("bob", "ann"))
        assert await standings(bob) == [(1, "bob", 3)]
        assert (await bob.history())[0].ranks == [["bob"], ["ann"]]
        assert await again.history() == []


# Ratings


async def meet(queue: str, *clients: Client) -> None:
    async def find(client: Client) -> None:
        async with client.find_game(queue):
            pass

    async with trio.open_nursery() as nursery:
        for client in clients:
            nursery.start_soon(find, client)


async def host_match(kit: Kit, queue: str) -> tuple[HostedServer, Client, Client]:
    """Start a server; return it, and two who have met in one of its queues."""
    server = await kit.host(Duel)
    ann, bob = [await kit.play(name) for name in ("ann", "bob")]
    await meet(queue, ann, bob)
    return server, ann, bob


async def test_a_match_changes_the_ratings_of_its_queue(autojump_clock: MockClock) -> None:
    async with Kit(SimulatedNetwork()) as kit:
        server, ann, bob = await host_match(kit, "ranked")
        counted = await ann.call(Over("ann", "bob"), Counted)
        assert counted.winner_rating is not None
        assert counted.winner_rating > 1500
        (played,) = await bob.history()
        assert played.ratings["bob"].after < played.ratings["bob"].before == 1500
        ladder = lines(await bob.leaderboard("ladder"))
        assert ladder[0] == (1, "ann", round(counted.winner_rating))
        assert [line[1] for line in ladder] == ["ann", "bob"]
        # The same people once more, in the same queue: that is rated too.
        await ann.call(Again())
        await trio.sleep(1)
        second = await ann.call(Over("ann", "bob"), Counted)
        assert second.winner_rating is not None
        assert second.winner_rating > counted.winner_rating
        # The ratings outlive a restart, and whoever is far apart does not meet at once.
        await server.restart(crash=True)
        await trio.sleep(60)
        await ann.leave_game()
        await bob.leave_game()
        with trio.move_on_after(5) as waiting:
            await meet("ranked", ann, bob)
        assert waiting.cancelled_caught


async def test_only_games_of_a_rated_queue_are_rated(autojump_clock: MockClock) -> None:
    async with Kit(SimulatedNetwork()) as kit:
        _server, ann, bob = await host_match(kit, "casual")
        assert (await ann.call(Over("ann", "bob"), Counted)).winner_rating is None
        assert (await ann.leaderboard("ladder")).total == 0
        await ann.leave_game()
        # Not even one that says that it is of that queue.
        await ann.create_game(NAME, options={"queue": "ranked"})
        await bob.leave_game()
        await bob.join_game(NAME)
        assert (await ann.call(Over("ann", "bob"), Counted)).winner_rating is None


async def test_a_rated_game_that_is_loaded_is_still_rated(autojump_clock: MockClock) -> None:
    async with Kit(SimulatedNetwork()) as kit:
        server, ann, _bob = await host_match(kit, "ranked")
        await trio.sleep(100)
        await server.restart(crash=True)
        await trio.sleep(60)
        assert (await ann.call(Over("ann", "bob"), Counted)).winner_rating is not None


async def test_a_rated_game_that_is_loaded_changes_ratings_once(
    autojump_clock: MockClock,
) -> None:
    async with Kit(SimulatedNetwork()) as kit:
        server, ann, _bob = await host_match(kit, "ranked")
        await trio.sleep(100)
        first = await ann.call(Over("ann", "bob"), Counted)
        await server.restart(crash=True)
        await trio.sleep(60)
        assert await ann.call(Over("ann", "bob"), Counted) == first
        assert len(await ann.history()) == 1


async def test_ratings_without_the_package_are_an_error_that_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    def missing() -> None:
        raise ImportError

    monkeypatch.setattr("pgnet_trio.server.matchmaking.matchmaker.check_ratings", missing)
    with pytest.raises(ServerError, match=r"pip install 'pgnet_trio\[ratings\]'"):
        async with hosting(Duel):
            pass


# Servers that look like one


async def test_a_game_that_moves_counts_once_at_whatever_server(
    autojump_clock: MockClock,
) -> None:
    async with cluster(Duel) as servers:
        ann, bob = await play_at_two_servers(servers)
        await ann.call(Over("ann", "bob"))
        await servers.stop("a")
        await trio.sleep(60)
        assert await standings(bob) == [(1, "ann", 3), (2, "bob", 1)]
        await bob.call(Over("ann", "bob"))
        with pytest.raises(RequestFailed, match="cannot be counted"):
            await bob.call(Over("bob", "ann"))
        assert await standings(bob) == [(1, "ann", 3), (2, "bob", 1)]


async def test_a_server_that_dies_after_a_result_has_counted_it_once(
    autojump_clock: MockClock,
) -> None:
    async with cluster(Duel) as servers:
        ann, bob = await play_at_two_servers(servers)
        # Whoever has left is in the result too.
        await bob.leave_game()
        await trio.sleep(100)
        await ann.call(Over("ann", "bob"))
        servers.kill("a")
        await trio.sleep(60)
        await bob.join_game(NAME)
        await bob.call(Over("ann", "bob"))
        assert await standings(bob) == [(1, "ann", 3), (2, "bob", 1)]
        assert len(await bob.history()) == 1


@pytest.mark.parametrize("moment", [0.5, 1.5])
async def test_a_server_that_dies_between_a_result_and_its_answer_counts_once(
    moment: float, autojump_clock: MockClock
) -> None:
    async with cluster(Duel) as servers:
        ann, bob = await play_at_two_servers(servers)
        await bob.leave_game()
        await trio.sleep(100)
        engine = servers.nodes["a"].engine
        engine.request_delay = engine.answer_delay = 1.0

        async def lose() -> None:
            # Nobody hears whether it was counted.
            with contextlib.suppress(RequestFailed, Disconnected):
                await ann.call(Over("ann", "bob"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(lose)
            await trio.sleep(moment)
            servers.kill("a")
            await trio.sleep(60)
            assert await standings(bob) == ([(1, "ann", 3), (2, "bob", 1)] if moment > 1 else [])
            await bob.join_game(NAME)
            if moment > 1:
                with pytest.raises(RequestFailed, match="cannot be counted"):
                    await bob.call(Over("bob", "ann"))
            await bob.call(Over("ann", "bob"))
            assert await standings(bob) == [(1, "ann", 3), (2, "bob", 1)]
            nursery.cancel_scope.cancel()


async def test_a_user_who_is_deleted_at_another_server_gets_nothing_for_their_name(
    autojump_clock: MockClock,
) -> None:
    async with cluster(Duel) as servers:
        bob = await servers.play("bob", node="b")
        ann = await servers.play("ann", "password", node="b")
        await bob.create_game(NAME)
        await ann.join_game(NAME)
        servers.nodes["a"].delete_user("ann")
        await trio.sleep(30)
        await bob.call(Over("bob", "ann"))
        assert await standings(bob) == [(1, "bob", 3)]


async def test_a_game_at_another_server_than_the_deleted_user_gives_their_name_nothing(
    autojump_clock: MockClock,
) -> None:
    async with cluster(Duel) as servers:
        bob = await servers.play("bob", node="b")
        ann = await servers.play("ann", "password", node="a")
        await bob.create_game(NAME)
        await ann.join_game(NAME)
        await ann.leave_game()
        await ann.create_game("elsewhere")
        await trio.sleep(1)
        servers.nodes["a"].delete_user("ann")
        await trio.sleep(60)
        again = await servers.play("ann", "another password", node="a")
        await bob.call(Over("bob", "ann"))
        assert await standings(bob) == [(1, "bob", 3)]
        assert await again.history() == []

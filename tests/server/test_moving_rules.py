"""What travels with a game and what does not, and games that cannot go anywhere."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from pgnet_trio import Client, CodecError, Game, Packet, Request, RequestFailed, Response, on
from pgnet_trio.codec import unpack
from pgnet_trio.server import moving, run
from pgnet_trio.server.games.claims import Claim, Elsewhere, LocalClaims
from pgnet_trio.server.games.save_format import unpack as unpack_save
from pgnet_trio.server.games.save_format import version_of
from pgnet_trio.server.moving import (
    MovingGame,
    PackedGame,
    moving_game,
    receive_game,
)
from pgnet_trio.server.moving_session import moving_session, receive_session
from pgnet_trio.server.refusals import CannotMove
from pgnet_trio.server.room.player import question_ids
from pgnet_trio.server.sessions.packed import unpack_session
from pgnet_trio.testing import HostedServer, SimulatedNetwork, playing
from tests.server.test_moving import HERE, Arena, context_of, move
from tests.server.test_moving import Add as AddToArena

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio.testing import MockClock


@attrs.define
class Choose:
    prompt: str


@attrs.define
class Chosen:
    hand: str


@attrs.define
class Add:
    number: int


@attrs.define
class Take:
    number: int
    much: str


class Table(Game):
    """Asks "ann" as its test says, and notes everything."""

    persistent = True
    pause = 0.0
    prompts = ("first",)

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.save_string = save_string or ""
        self.heard: list[Any] = []
        self.wait = 0.0

    def get_save_string(self) -> str:
        return self.save_string + "+"

    def user_joined(self, player: str) -> None:
        self.heard.append(f"{player} joined")

    def user_left(self, player: str) -> None:
        self.heard.append(f"{player} left")

    def player_dropped(self, player: str) -> None:
        self.heard.append(f"{player} dropped")

    def player_resumed(self, player: str) -> None:
        self.heard.append(f"{player} resumed")

    def view(self, player: str | None) -> list[str]:
        return [self.save_string, str(player)]

    @on(Add)
    async def add(self, player: str, message: Add) -> None:
        await trio.sleep(self.wait)
        self.heard.append((player, message.number))

    async def run(self) -> None:
        await self.room.wait_players(1)
        if self.save_string:
            await trio.sleep(self.pause)
        prompt = self.prompts[-1] if self.save_string else self.prompts[0]
        answer = await self.room.ask(
            "ann", Choose(prompt), Chosen, timeout=20.0, default=Chosen("")
        )
        self.heard.append((answer.hand, self.room.time()))
        await trio.sleep_forever()


def a_table(**changes: Any) -> type[Table]:
    return type("Table", (Table,), changes)


class Asked:
    """What a client is asked, and the questions that were withdrawn."""

    def __init__(self, client: Client) -> None:
        self.questions: list[Any] = []
        self.offline = 0
        client.on_question = self.questions.append
        client.on_online = self.note

    def note(self, online: bool) -> None:
        self.offline += not online


TWO = "two.example:38929"


@asynccontextmanager
async def two_servers(game: Callable[..., Game] = Table, **options: Any) -> AsyncIterator[Any]:
    """Run two servers of one cluster: they have one key."""
    network = SimulatedNetwork(latency=0.01)
    async with (
        HostedServer(game, network=network, **options).running() as one,
        HostedServer(game, network=network, **options).running() as two,
    ):
        network.addresses[TWO] = two
        yield one, two


def hosting_here(game: Any = Table, **options: Any) -> AbstractAsyncContextManager[HostedServer]:
    """Run a server that clients find when they are sent to `HERE`."""
    network = SimulatedNetwork()
    server = HostedServer(game, network=network, **options)
    network.addresses[HERE] = server
    return server.running()


def game_of(server: HostedServer) -> Table:
    game = server.games["table 1"]
    assert isinstance(game, Table)
    return game


async def test_a_game_goes_to_another_server_with_all_that_it_is(
    autojump_clock: MockClock,
) -> None:
    async with two_servers() as (one, two), one.client("ann") as ann:
        await ann.create_game("table 1", password="secret", options={"size": 3})
        async with one.client("cat") as cat:
            await cat.join_game("table 1", password="secret", spectate=True)
            states: list[list[Any]] = [[], []]
            ann.on_state, cat.on_state = states[0].append, states[1].append
            await trio.sleep(5)
            old = game_of(one)
            old.room.locked = True
            old.room.random.gauss(0, 1)
            expected = old.room.random.getstate()
            async with moving_game(context_of(one), "table 1") as game:
                time = old.room.time()
                game.moved(TWO)
                await receive_game(context_of(two), game)
            new = game_of(two)
            assert new is not old
            assert new.save_string == "+"
            assert new.room.random.getstate() == expected
            assert new.room.locked
            assert new.room.time() == pytest.approx(time, abs=0.01)
            assert new.room.options == {"size": 3}
            await trio.sleep(1)
            assert (ann.game, cat.game) == ("table 1", "table 1")
            assert ann.online
            assert cat.online
            assert new.heard == ["ann joined"]
            assert (states[0][-1], states[1][-1]) == (["+", "ann"], ["+", "None"])
            (entry,) = context_of(two).games.lobby
            assert (entry.password, entry.users) == ("secret", ["ann", "cat"])
            assert entry.spectators == {"cat"}
            assert context_of(two).games.lobby.created_by("ann") == 1
            assert context_of(one).games.lobby.created_by("ann") == 0
            assert not list(context_of(one).games.lobby)
            assert not context_of(one).sessions.usernames
            await ann.call(Add(1))
            with pytest.raises(RequestFailed, match="watch"):
                await cat.call(Add(2))
            assert new.heard == ["ann joined", ("ann", 1)]


async def test_a_question_that_is_asked_again_is_the_one_that_was_asked(
    autojump_clock: MockClock,
) -> None:
    async with hosting_here(Table) as server, playing(server, "ann", game="table 1") as ann:
        asked = Asked(ann)
        await trio.sleep(12)
        await move(server)
        await trio.sleep(1)
        assert len(asked.questions) == 1
        assert asked.questions[0].is_open
        await asked.questions[0].answer(Chosen("rock"))
        await trio.sleep(1)
        assert game_of(server).heard == ["ann joined", ("rock", pytest.approx(13, abs=0.1))]
        assert len(asked.questions) == 1


async def test_a_question_keeps_its_deadline(autojump_clock: MockClock) -> None:
    async with hosting_here(Table) as server, playing(server, "ann", game="table 1") as ann:
        asked = Asked(ann)
        await trio.sleep(12)
        await move(server)
        await trio.sleep(12)
        assert game_of(server).heard == ["ann joined", ("", pytest.approx(20, abs=0.1))]
        assert not asked.questions[0].is_open


async def test_an_answer_that_comes_before_the_question_is_asked_again_counts(
    autojump_clock: MockClock,
) -> None:
    async with (
        hosting_here(a_table(pause=3.0)) as server,
        playing(server, "ann", game="table 1") as ann,
    ):
        asked = Asked(ann)
        await trio.sleep(1)
        await move(server)
        await trio.sleep(1)
        start = trio.current_time()
        await asked.questions[0].answer(Chosen("rock"))
        assert trio.current_time() - start == pytest.approx(2, abs=0.2)
        await trio.sleep(1)
        assert game_of(server).heard[1][0] == "rock"


async def test_an_answer_travels_once_more_before_the_question_is_asked_again(
    autojump_clock: MockClock,
) -> None:
    async with (
        hosting_here(a_table(pause=3.0)) as server,
        playing(server, "ann", game="table 1") as ann,
        trio.open_nursery() as nursery,
    ):
        asked = Asked(ann)
        await trio.sleep(1)
        await move(server)
        await trio.sleep(1)
        nursery.start_soon(asked.questions[0].answer, Chosen("rock"))
        await trio.sleep(0.5)
        await move(server)
        await trio.sleep(4)
        assert game_of(server).heard[1][0] == "rock"


@pytest.mark.parametrize("pause", [0.0, 20.0])
async def test_a_question_that_is_not_asked_again_is_withdrawn(
    pause: float, autojump_clock: MockClock
) -> None:
    async with (
        hosting_here(a_table(pause=pause, prompts=("first", "second"))) as server,
        playing(server, "ann", game="table 1") as ann,
    ):
        asked = Asked(ann)
        await trio.sleep(1)
        await move(server)
        await trio.sleep(0.5)
        assert asked.questions[0].is_open == (pause > 0)
        early: list[Response] = []

        async def answer() -> None:
            early.append(await asked.questions[0].answer(Chosen("rock")))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer)
            await trio.sleep(6)
            assert early[0].message == "This question is no longer open."
        assert not asked.questions[0].is_open
        assert [each.prompt.payload["prompt"] for each in asked.questions] == (
            ["first"] if pause else ["first", "second"]
        )


async def test_a_client_that_was_away_is_sent_after_its_session(
    autojump_clock: MockClock,
) -> None:
    async with (
        two_servers() as (one, two),
        one.client("bob") as bob,
        one.client("ann") as ann,
    ):
        await ann.create_game("table 1")
        await bob.join_game("table 1")
        one.network.cut("ann")
        await trio.sleep(2)
        async with moving_game(context_of(one), "table 1") as game:
            game.moved(TWO)
            await receive_game(context_of(two), game)
        await trio.sleep(2)
        assert game_of(two).heard == ["ann joined", "bob joined", "ann dropped"]
        assert bob.players == {"ann": False, "bob": True}
        one.network.heal("ann")
        await trio.sleep(10)
        assert (ann.online, ann.game) == (True, "table 1")
        assert game_of(two).heard == [
            "ann joined",
            "bob joined",
            "ann dropped",
            "ann resumed",
        ]
        await ann.call(Add(1))


async def test_a_client_that_does_not_come_is_away(autojump_clock: MockClock) -> None:
    async with hosting_here(Table) as server, playing(server, "ann", "bob", game="table 1"):
        async with moving_game(context_of(server), "table 1") as game:
            server.network.cut("ann")
            game.moved(HERE)
            await receive_game(context_of(server), game)
        await trio.sleep(1)
        assert game_of(server).heard == ["ann joined", "bob joined"]
        await trio.sleep(12)
        assert game_of(server).heard == ["ann joined", "bob joined", "ann dropped"]
        await trio.sleep(60)
        assert game_of(server).heard[-1] == "ann left"
        server.network.heal()


async def test_a_client_that_cannot_follow_hears_that_its_session_is_over(
    autojump_clock: MockClock,
) -> None:
    async with hosting_here() as server:
        async with playing(server, "ann", game="table 1") as ann:
            session = context_of(server).sessions.holder("ann")
            assert session is not None
            assert session.client.delivery is not None
            session.client.delivery.features -= {"moved"}
            assert not session.client.may_move
            async with moving_game(context_of(server), "table 1") as game:
                assert game.sessions == {}
                game.moved(HERE)
                await receive_game(context_of(server), game)
            assert game_of(server).heard == []
            await trio.sleep(3)
            assert session.end_reason is not None
            # It has come back by itself, and joined the game.
            assert ann.game == "table 1"


async def test_a_game_that_is_not_saved_stays_and_goes_on(autojump_clock: MockClock) -> None:
    async with (
        hosting_here(a_table(persistent=False)) as server,
        playing(server, "ann", game="table 1") as ann,
    ):
        with pytest.raises(CannotMove, match="'table 1' is not saved"):
            await move(server)
        await ann.call(Add(1))
        assert game_of(server).heard == ["ann joined", ("ann", 1)]


async def test_there_has_to_be_a_game_and_no_other_one(autojump_clock: MockClock) -> None:
    async with hosting_here(Table) as server, playing(server, "ann", game="table 1"):
        with pytest.raises(CannotMove, match="There is no game 'table 2' here"):
            await move(server, "table 2")
        async with moving_game(context_of(server), "table 1") as game:
            game.moved(HERE)
            await receive_game(context_of(server), game)
            with pytest.raises(CannotMove, match="a game 'table 1' here already"):
                await receive_game(context_of(server), game)


async def test_a_turn_that_takes_too_long_keeps_the_game_here(autojump_clock: MockClock) -> None:
    async with (
        hosting_here(Table) as server,
        playing(server, "ann", game="table 1") as ann,
        trio.open_nursery() as nursery,
    ):
        game_of(server).wait = 8.0
        nursery.start_soon(ann.call, Add(1))
        await trio.sleep(0.5)
        game = game_of(server)
        with pytest.raises(CannotMove, match="did not come to rest within 5 s"):
            await move(server)
        nursery.start_soon(ann.call, Add(2))
        await trio.sleep(20)
        assert game_of(server) is game
        assert game.heard[:3] == ["ann joined", ("ann", 1), ("ann", 2)]


async def test_what_waits_behind_a_turn_is_carried_out_there_in_order(
    autojump_clock: MockClock,
) -> None:
    class Long(Arena):
        max_request_size = 100_000

        @on(Take)
        async def take(self, player: str, message: Take) -> None:
            if not self.saved.pushed:
                await trio.sleep(2)
            self.saved.pushed += 1
            self.saved.added.append([player, message.number])

    async with (
        hosting_here(Long) as server,
        playing(server, "ann", "bob", game="table 1") as (ann, bob),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(ann.call, Take(1, ""))
        await trio.sleep(0.5)
        nursery.start_soon(move, server)
        await trio.sleep(0.5)
        for number, client in ((2, ann), (3, bob), (4, ann)):
            nursery.start_soon(client.call, Take(number, "x" * 30_000 * (number == 3)))
            await trio.sleep(0.1)
        ann.send(Take(5, ""))
        await trio.sleep(0.5)
        old = server.games["table 1"]
        await trio.sleep(1)
        new = server.games["table 1"]
        assert new is not old
        assert [number for _, number in old.saved.added] == [1]
        assert [number for _, number in new.saved.added] == [1, 2, 3, 4, 5]
        assert new.saved.added[2] == ["bob", 3]


async def test_what_the_server_is_asked_is_done_before_a_game_moves(
    autojump_clock: MockClock,
) -> None:
    async with hosting_here(Arena, admin_password="secret") as server:
        async with playing(server, "admin", password="secret", game="table 1") as admin:
            done = []

            async def sleep() -> None:
                await admin.request(Packet(Request.SLEEP, {"seconds": 3.0}))
                done.append(trio.current_time())

            async with trio.open_nursery() as nursery:
                nursery.start_soon(sleep)
                await trio.sleep(0.5)
                await move(server)
                assert trio.current_time() == pytest.approx(3, abs=0.3)
            assert done


async def test_a_game_that_does_not_get_away_goes_on_with_all_that_came_meanwhile(
    autojump_clock: MockClock,
) -> None:
    async with (
        hosting_here(Table) as server,
        playing(server, "ann", "bob", game="table 1") as (ann, bob),
    ):
        asked = Asked(ann)
        states: list[Any] = []
        bob.on_state = states.append
        await trio.sleep(1)
        async with trio.open_nursery() as nursery:
            with pytest.raises(ValueError, match="no commit"):
                async with moving_game(context_of(server), "table 1"):
                    for number in range(5):
                        nursery.start_soon(ann.call, Add(number))
                        await trio.sleep(0.1)
                    nursery.start_soon(asked.questions[0].answer, Chosen("rock"))
                    await trio.sleep(1)
                    server.network.cut("bob")
                    await trio.sleep(1)
                    raise ValueError("no commit")
        await trio.sleep(1)
        heard = game_of(server).heard
        assert heard[:2] == ["ann joined", "bob joined"]
        assert [each for each in heard if each[0] == "ann"] == [("ann", n) for n in range(5)]
        assert [each[0] for each in heard if each[0] == "rock"] == ["rock"]
        assert "bob dropped" in heard
        assert len(asked.questions) == 1
        assert asked.offline == 0
        server.network.heal()
        await trio.sleep(10)
        assert heard[-1] == "bob resumed"
        await bob.call(Add(9))
        assert states[-1] == ["+", "bob"]


async def test_who_joins_or_logs_in_meanwhile_waits(autojump_clock: MockClock) -> None:
    async with (
        hosting_here(Table) as server,
        playing(server, "ann", "bob", game=None) as (ann, bob),
        trio.open_nursery() as nursery,
    ):
        await ann.join_game("table 1")
        async with moving_game(context_of(server), "table 1") as game:
            nursery.start_soon(bob.join_game, "table 1")
            again = server.client("ann", reconnect_for=0)
            nursery.start_soon(again.run)
            await trio.sleep(2)
            assert context_of(server).games.lobby.game_of("bob") is None
            assert not again.connected
            game.moved(HERE)
            await receive_game(context_of(server), game)
        await trio.sleep(2)
        assert bob.game == "table 1"
        assert again.game == "table 1"
        assert game_of(server).heard == ["ann joined", "bob joined"]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("steps", range(14))
async def test_whoever_is_cancelled_anywhere_leaves_a_game_that_goes_on(
    steps: int, autojump_clock: MockClock
) -> None:
    async with hosting_here(Table) as server, playing(server, "ann", game="table 1") as ann:
        await trio.sleep(1)

        async def moving_once(scope: trio.CancelScope) -> None:
            with scope:
                async with moving_game(context_of(server), "table 1") as game:
                    # As a commit would take its time.
                    for _ in range(3):
                        await trio.lowlevel.checkpoint()
                    with trio.CancelScope(shield=True):
                        game.moved(HERE)
                        await receive_game(context_of(server), game)

        scope = trio.CancelScope()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(moving_once, scope)
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            scope.cancel()
        await ann.call(Add(1))
        assert game_of(server).heard == ["ann joined", ("ann", 1)]
        assert not set(context_of(server).games.reservations)
        await move(server)
        await ann.call(Add(2))
        assert game_of(server).heard == ["ann joined", ("ann", 2)]


async def test_a_shutdown_in_the_middle_saves_the_game(autojump_clock: MockClock) -> None:
    class Newer(Table):
        save_version = 2

    server = HostedServer(Newer)
    async with server.running(), trio.open_nursery() as nursery:
        async with playing(server, "ann", game="table 1"):
            context = context_of(server)

            async def half_a_move() -> None:
                async with moving_game(context, "table 1"):
                    await trio.sleep(1)

            nursery.start_soon(half_a_move)
            await trio.sleep(0.5)
            assert "table 1" not in server.store.state.games
            server.shutdown()
            await trio.sleep(1)
            with pytest.raises(CannotMove):
                async with moving_game(context, "table 1"):
                    pass
    data = server.store.state.games["table 1"].data
    assert unpack_save(data)[0] == "+"
    assert version_of(data) == 2


async def test_who_leaves_meanwhile_is_named(autojump_clock: MockClock) -> None:
    async with hosting_here(Arena) as server, playing(server, "ann", game="table 1"):
        async with server.client("bob") as bob:
            await bob.join_game("table 1")
            async with moving_game(context_of(server), "table 1") as game:
                bob.disconnect()
                await trio.sleep(1)
                assert game.moved(HERE) == {"bob"}
                await receive_game(context_of(server), game)
        await context_of(server).sessions.end("bob", "The user has left.", "")
        await wait_all_tasks_blocked()
        assert server.games["table 1"].heard == ["bob left"]


async def test_a_game_is_received_whole_though_somebody_is_cancelled(
    autojump_clock: MockClock,
) -> None:
    async with hosting_here() as server, playing(server, "ann", game="table 1") as ann:
        await trio.sleep(1)
        with trio.CancelScope() as scope:
            async with moving_game(context_of(server), "table 1") as game:
                game.moved(HERE)
                scope.cancel()
                await receive_game(context_of(server), game)
        await ann.call(Add(1))
        assert game_of(server).heard == ["ann joined", ("ann", 1)]


async def test_a_wrong_address_changes_nothing(autojump_clock: MockClock) -> None:
    async with hosting_here(Table) as server, playing(server, "ann", game="table 1") as ann:
        with pytest.raises(ValueError, match="expected one of a server"):
            async with moving_game(context_of(server), "table 1") as game:
                game.moved("")
        await ann.call(Add(1))


# A user who joins a game of another server


@pytest.mark.parametrize("has_moved", [True, False])
async def test_who_joins_a_game_of_another_server_is_sent_there(
    has_moved: bool, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    places: list[Any] = []

    class Directory(LocalClaims):
        """Says that all games are at the second server."""

        async def claim(self, name: str, guess: str | None, **wish: Any) -> Claim:
            if not places:
                return await super().claim(name, guess, **wish)
            await trio.lowlevel.checkpoint()
            return Elsewhere(TWO, send)

    async def send(username: str) -> None:
        one, two = map(context_of, places)
        async with moving_session(one, username) as session:
            await trio.sleep(1)
            if has_moved:
                assert receive_session(two, session.packed)
                assert session.moved(TWO)
                return
        raise CannotMove("No commit.")

    told: list[tuple[str, bool]] = []
    monkeypatch.setattr(run, "LocalClaims", Directory)
    async with two_servers(Arena, on_connection=lambda *each: told.append(each)) as (one, two):
        async with one.client("ann") as ann, two.client("bob") as bob:
            await bob.join_game("table 1")
            places += [one, two]
            asked = Asked(ann)
            async with trio.open_nursery() as nursery:
                if has_moved:
                    nursery.start_soon(ann.join_game, "table 1")
                else:
                    with pytest.raises(RequestFailed, match="No commit"):
                        await ann.join_game("table 1")
                await trio.sleep(0.5)
                nursery.start_soon(ann.request, Packet(Request.HELP))
            assert ann.game == ("table 1" if has_moved else None)
            assert (context_of(one).sessions.holder("ann") is None) == has_moved
            assert asked.offline == 0
            assert told == [("ann", True), ("bob", True)]
            if has_moved:
                await ann.call(AddToArena(1))
                assert two.games["table 1"].saved.added == [["ann", 1]]
                assert list(ann.players) == ["bob", "ann"]


@pytest.mark.parametrize("gives_up", [True, False])
async def test_a_session_goes_once_what_was_asked_of_the_server_is_answered(
    gives_up: bool, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    here: list[HostedServer] = []

    class Directory(LocalClaims):
        async def claim(self, name: str, guess: str | None, **wish: Any) -> Claim:
            await trio.sleep(0.5)
            return Elsewhere(TWO, send) if gives_up else await super().claim(name, guess, **wish)

    async def send(username: str) -> None:
        # It wants to move too, and gives that up.
        async with moving_session(context_of(here[0]), username):
            await trio.sleep(0.1)
        raise CannotMove("No commit.")

    async def join(client: Client) -> None:
        try:
            await client.join_game("table 1")
        except RequestFailed as error:
            outcomes.append(str(error))
        else:
            outcomes.append("joined")

    outcomes: list[str] = []
    monkeypatch.setattr(run, "LocalClaims", Directory)
    async with hosting_here(Arena) as server, server.client("ann") as ann:
        here.append(server)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(join, ann)
            await trio.sleep(0.1)
            with pytest.raises(CannotMove, match="has left, or has joined a game"):
                async with moving_session(context_of(server), "ann", in_own_task=False):
                    pass
        assert outcomes == ["No commit." if gives_up else "joined"]
        await ann.request(Packet(Request.HELP))
        if gives_up:
            async with moving_session(context_of(server), "ann", in_own_task=False) as session:
                assert unpack_session(session.packed).requests == ()


async def test_what_a_user_has_spent_goes_along(autojump_clock: MockClock) -> None:
    async with two_servers(Arena, requests_per_second=10) as (one, two):
        async with one.client("ann") as ann:
            # Some seconds' worth of them, long before these are over.
            for _ in range(3):
                await ann.request(Packet(Request.HELP))
            session = context_of(one).sessions.holder("ann")
            assert session is not None
            session.budget.charge(200 * 20.0)
            debt = session.budget.debt()
            assert debt > 10
            async with moving_session(context_of(one), "ann", in_own_task=False) as moving:
                assert receive_session(context_of(two), moving.packed)
                assert moving.moved(TWO)
            moved = context_of(two).sessions.holder("ann")
            assert moved is not None
            assert moved.budget.debt() == pytest.approx(debt, abs=1)


async def test_a_game_is_not_destroyed_while_it_moves(autojump_clock: MockClock) -> None:
    async with (
        hosting_here(Table, admin_password="secret") as server,
        playing(server, "ann", game="table 1"),
        playing(server, "admin", password="secret") as admin,
    ):
        outcomes: list[str] = []

        async def destroy() -> None:
            response = await admin.request(Packet(Request.DESTROY_GAME, {"name": "table 1"}))
            outcomes.append(response.message)

        async with trio.open_nursery() as nursery:
            async with moving_game(context_of(server), "table 1"):
                nursery.start_soon(destroy)
                await trio.sleep(1)
                assert outcomes == []
        assert outcomes == ["The game 'table 1' is destroyed."]
        await wait_all_tasks_blocked()
        assert context_of(server).games.lobby.get("table 1") is None


# What is no game, and no session


async def packed_up() -> MovingGame:
    """Return a game with a user as it travels."""
    async with hosting_here(Table) as server, playing(server, "ann", game="table 1"):
        await wait_all_tasks_blocked()
        async with moving_game(context_of(server), "table 1") as game:
            return game


@pytest.fixture(scope="module")
def packed() -> MovingGame:
    return trio.run(packed_up, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_what_cannot_be_read_changes_nothing(packed: MovingGame) -> None:
    async with hosting_here(Table) as server:
        await wait_all_tasks_blocked()
        context = context_of(server)
        for changes in (
            {"packed": b"something"},
            {"packed": b""},
            {"sessions": {"ann": b"something"}},
        ):
            with pytest.raises(CodecError, match="expected a packed"):
                await receive_game(context, attrs.evolve(packed, **changes))
        assert not list(context.games.lobby)
        assert not context.sessions.usernames


@given(st.data())
def test_a_slip_is_an_error_or_a_game(packed: MovingGame, data: st.DataObject) -> None:
    def slip(whole: bytes) -> bytes:
        changed = bytearray(whole)
        at = data.draw(st.integers(0, len(changed) - 1))
        changed[at] = data.draw(st.integers(0, 255))
        return bytes(changed[: data.draw(st.sampled_from([len(changed), at]))])

    with contextlib.suppress(CodecError):
        unpack_session(slip(packed.sessions["ann"]))
    with contextlib.suppress(CodecError):
        unpack(slip(packed.packed), PackedGame, moving.VERSION).room.check()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"members": "twice"}, "each user once"),
        ({"members": ()}, "asks its players"),
        ({"time": -1.0}, "a time in seconds"),
        ({"time": float("nan")}, "a time in seconds"),
        ({"random": b"x"}, "a state of random.Random"),
    ],
)
def test_what_can_be_no_room_is_named(
    packed: MovingGame, changes: dict[str, Any], says: str
) -> None:
    room = unpack(packed.packed, PackedGame, moving.VERSION).room
    if changes.get("members") == "twice":
        changes = {"members": room.members * 2}
    with pytest.raises(CodecError, match=says):
        msgspec.structs.replace(room, **changes).check()


def test_nothing_of_what_travels_is_shown(packed: MovingGame) -> None:
    assert "packed" not in repr(packed)
    assert repr(unpack_session(packed.sessions["ann"])) == "<PackedSession>"


def test_an_idle_session_is_small(packed: MovingGame) -> None:
    assert len(packed.sessions["ann"]) < 450


def test_no_two_servers_of_a_cluster_ask_by_the_same_id() -> None:
    first = [list(itertools.islice(question_ids(node), 3)) for node in (0, 1, 2, 2**20 - 1)]
    assert first[0] == [1, 2, 3]
    assert len(set(itertools.chain.from_iterable(first))) == 12
    assert max(itertools.chain.from_iterable(first)) < 2**53

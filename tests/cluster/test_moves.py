"""Games and players that go from one server of a cluster to another, with faults at each step."""

from __future__ import annotations

import contextlib
import json
import logging
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import pytest
import trio

from pgnet_trio import Client, Game, Left, Question, RequestFailed
from pgnet_trio.server.cluster.errors import EngineUnavailable, LeaseLapsed, OutcomeUnknown
from pgnet_trio.server.cluster.records import HandedOver, Node
from pgnet_trio.server.node.shares import Shares, takers
from pgnet_trio.testing import SimulatedNetwork
from pgnet_trio.testing.clusters import HostedCluster, cluster
from tests.cluster.test_servers import Counter, count, count_again
from tests.kit.hosting import crashed, without_error_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from trio.testing import MockClock

    from pgnet_trio.server.cluster.tables import Tables
    from pgnet_trio.testing.engine import SimulatedEngine

LEASE = 10.0
T = TypeVar("T")


class Brief(Counter):
    """Is not saved."""

    persistent = False


def where(servers: HostedCluster, game: str) -> list[str]:
    """At which servers a game is."""
    return [name for name, node in servers.nodes.items() if game in node.stats().games]


def fail_at(
    engine: SimulatedEngine, number: int, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let one of the calls of an engine fail that come from now on."""
    transact = engine._transact
    calls = 0

    async def fail(work: Callable[[Tables], T], *, writes: bool) -> T:
        nonlocal calls
        calls += 1
        if calls != number:
            return await transact(work, writes=writes)
        if fault == "refused":
            await trio.lowlevel.checkpoint()
            raise EngineUnavailable("As the test wants it.")
        result = await transact(work, writes=writes)
        if fault == "late":
            with trio.CancelScope(shield=True):
                await trio.sleep(4)
            return result
        raise OutcomeUnknown("As the test wants it.") if writes else EngineUnavailable("So.")

    monkeypatch.setattr(engine, "_transact", fail)


class Players:
    """Count, all of them at once, until told to stop.

    Args:
        clients: Theirs.
        pause: Seconds from an answer to the next request.
    """

    def __init__(self, clients: list[Client], *, pause: float = 0.05) -> None:
        self.answers: list[int] = []
        self.offline: list[str] = []
        self.longest = 0.0
        self._clients = clients
        self._pause = pause
        self._stopping = False
        for client in clients:
            client.on_online = lambda online, name=client: (
                None if online else self.offline.append(str(name))
            )

    async def play(self, client: Client) -> None:
        while not self._stopping:
            asked = trio.current_time()
            self.answers.append(await count(client))
            self.longest = max(self.longest, trio.current_time() - asked)
            await trio.sleep(self._pause)

    async def run(self, seconds: float) -> None:
        async with trio.open_nursery() as nursery:
            for client in self._clients:
                nursery.start_soon(self.play, client)
            await trio.sleep(seconds)
            self._stopping = True

    def check(self) -> None:
        """Each request was carried out once, and answered once."""
        assert sorted(self.answers) == list(range(1, len(self.answers) + 1))


# Joining a game of another server


async def test_players_of_two_servers_play_one_game(autojump_clock: MockClock) -> None:
    async with cluster(Counter) as servers:
        ann = await servers.play("ann", node="a", game="table")
        bob = await servers.play("bob", node="b")
        online: list[bool] = []
        bob.on_online = online.append
        await bob.join_game("table")
        assert [await count(ann), await count(bob), await count(ann)] == [1, 2, 3]
        assert online == []
        assert where(servers, "table") == ["a"]
        assert sorted(servers.nodes["a"].stats().sessions) == ["ann", "bob"]
        assert servers.nodes["b"].stats().sessions == {}
        await bob.leave_game()
        await bob.join_game("another")
        assert where(servers, "another") == ["a"]


async def test_a_wrong_password_leads_nowhere(autojump_clock: MockClock) -> None:
    async with cluster(Counter) as servers:
        ann = await servers.play("ann", node="a")
        await ann.create_game("table", password="key")
        bob = await servers.play("bob", node="b")
        with pytest.raises(RequestFailed, match="password"):
            await bob.join_game("table", password="no")
        assert list(servers.nodes["b"].stats().sessions) == ["bob"]
        await bob.join_game("table", password="key")
        assert await count(bob) == 1


async def test_the_list_of_games_has_those_of_all_servers(autojump_clock: MockClock) -> None:
    async with cluster(Counter) as servers:
        for name, node in (("one", "a"), ("two", "b"), ("three", "c")):
            await servers.play(name, node=node, game=f"table of {name}")
        await trio.sleep(11)
        ann = await servers.play("ann", node="a")
        games = await ann.get_game_dir()
        assert list(games) == ["table of one", "table of three", "table of two"]
        assert {game.users for game in games.values()} == {1}
        assert {game.info for game in games.values()} == {"at 0"}


@pytest.mark.parametrize("fault", ["refused", "lost", "late"])
@pytest.mark.parametrize("at", ["a", "b"])
@pytest.mark.parametrize("number", range(1, 9))
async def test_a_player_joins_elsewhere_once_whatever_becomes_of_a_call(
    autojump_clock: MockClock,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    at: str,
    number: int,
) -> None:
    async with cluster(Counter, lease=60.0) as servers:
        ann = await servers.play("ann", "secret", node="a", game="table")
        bob = await servers.play("bob", "secret", node="b")
        assert await count(ann) == 1
        fail_at(servers.nodes[at].engine, number, fault, monkeypatch)
        with contextlib.suppress(RequestFailed):
            await bob.join_game("table")
        if bob.game is None:
            # It was refused, and told so.
            assert fault != "late"
            await bob.join_game("table")
        assert [await count(bob), await count(ann)] == [2, 3]
        assert where(servers, "table") == ["a"]
        holders = [name for name, node in servers.nodes.items() if "bob" in node.stats().sessions]
        assert holders == ["a"]
        row = await servers.nodes["c"].engine.find_session("bob")
        assert row is not None
        assert row.packed is None


# Draining


async def test_a_server_that_stops_gives_its_games_away_while_they_are_played(
    autojump_clock: MockClock,
) -> None:
    async with cluster(Counter) as servers:
        clients = [
            await servers.play(name, "secret", node="a", game="table") for name in ("ann", "bob")
        ]
        players = Players(clients)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(players.run, 5.0)
            await trio.sleep(1)
            await servers.stop("a")
        players.check()
        assert len(players.answers) > 50
        assert players.offline == []
        (there,) = where(servers, "table")
        assert there in ("b", "c")


@attrs.define
class Choose:
    """What ann is asked."""


@attrs.define
class Chosen:
    """What she says."""

    hand: str


class Asking(Game):
    """Asks ann, who has 20 s, and saves what she has said."""

    persistent = True

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.said: tuple[str, float] | None = json.loads(save_string or "null")

    def get_save_string(self) -> str:
        return json.dumps(self.said)

    async def run(self) -> None:
        await self.room.wait_players(1)
        if self.said is not None:
            await trio.sleep_forever()
        answer = await self.room.ask("ann", Choose(), Chosen, timeout=20.0, default=Chosen("none"))
        self.said = answer.hand, self.room.time()
        await trio.sleep_forever()


@pytest.mark.parametrize("when", [None, -0.5, 0.0, 0.01, 0.02, 0.05, 0.1, 0.5])
async def test_a_question_goes_along_with_its_time_and_its_answer(
    when: float | None, autojump_clock: MockClock
) -> None:
    async with cluster(Asking, network=SimulatedNetwork(latency=0.01)) as servers:
        ann = await servers.play("ann", "secret", node="a", game="table")
        asked: list[Question[Any]] = []
        ann.on_question = asked.append
        await trio.sleep(5)
        (question,) = asked
        left = question.seconds_left
        async with trio.open_nursery() as nursery:
            if when is not None and when < 0:
                await question.answer(Chosen("rock"))
            nursery.start_soon(servers.stop, "a")
            if when is not None and when >= 0:
                # At some step of the move.
                await trio.sleep(when)
                assert question.is_open
                await question.answer(Chosen("rock"))
        if when is None:
            # Nobody sees the question twice, nor hears that it was asked again.
            assert question.is_open
            assert question.seconds_left == pytest.approx(left, abs=1.5)
        await trio.sleep(25)
        assert asked == [question]
        (there,) = where(servers, "table")
        assert there != "a"
        hand, time = servers.nodes[there].games["table"].said
        assert hand == ("none" if when is None else "rock")
        assert time == pytest.approx(20 if when is None else 5, abs=1.5)


async def test_games_go_to_the_servers_with_the_least_to_do(autojump_clock: MockClock) -> None:
    async with cluster(Counter) as servers:
        for number in range(8):
            await servers.play(f"user{number}", node="a", game=f"table {number}")
        await servers.stop("a")
        assert sorted(len(node.stats().games) for node in servers.nodes.values()) == [4, 4]


async def test_a_server_drains_when_the_cluster_says_so(autojump_clock: MockClock) -> None:
    async with cluster(Counter, lease=LEASE) as servers:
        ann = await servers.play("ann", "secret", node="a", game="table")
        a = servers.nodes.pop("a")
        node = next(each for each in await a.engine.nodes() if each.name == "a")
        await servers.nodes["b"].engine.ask_to_drain(node.id)
        await a.stopped.wait()
        assert await count(ann) == 1
        assert where(servers, "table") != []


async def test_a_server_alone_restarts_and_its_players_are_back(autojump_clock: MockClock) -> None:
    async with cluster(Counter, nodes=1) as servers:
        ann = await servers.play("ann", "secret", game="table")
        assert await count(ann) == 1
        online: list[bool] = []
        ann.on_online = online.append
        await servers.stop("a")
        await servers.start("a")
        while True not in online:  # noqa: ASYNC110 - in virtual time
            await trio.sleep(0.1)
        assert await count(ann) == 2


async def test_games_that_are_not_saved_may_come_to_their_end(autojump_clock: MockClock) -> None:
    async with cluster(Brief, drain_wait=60.0) as servers:
        ann = await servers.play("ann", "secret", node="a", game="table")
        a = servers.nodes["a"]
        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(servers.stop, "a")
            await trio.sleep(20)
            assert not a.stopped.is_set()
            assert await count(ann) == 1
            await ann.leave_game()
        assert 20 <= trio.current_time() - start < 30


async def test_servers_that_stop_at_once_give_each_other_nothing(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pgnet_trio.server")
    async with cluster(Counter, nodes=3) as servers:
        clients = [
            await servers.play(
                f"user{node}{number}", "secret", node=node, game=f"table {node}{number}"
            )
            for node in "ab"
            for number in range(10)
        ]
        async with trio.open_nursery() as nursery:
            for node in "ab":
                nursery.start_soon(servers.stop, node)
        assert len(servers.nodes["c"].games) == 20
        left = [record for record in caplog.records if "is on its way" in record.message]
        assert len(left) == 20
        assert [await count(client) for client in clients] == [1] * 20


async def test_who_is_in_no_game_goes_to_another_server_too(autojump_clock: MockClock) -> None:
    async with cluster(Counter) as servers:
        clients = [await servers.play(f"user{n}", "secret", node="a") for n in range(20)]
        online: list[bool] = []
        for client in clients:
            client.on_online = online.append
        directories: list[int] = []

        async def look(client: Client) -> None:
            directories.append(len(await client.get_game_dir()))

        async with trio.open_nursery() as nursery:
            # On its way while they go.
            for client in clients:
                nursery.start_soon(look, client)
            await servers.stop("a")
        assert directories == [0] * 20
        await clients[0].create_game("table")
        assert await count(clients[0]) == 1
        assert online == []
        assert sorted(len(node.stats().sessions) for node in servers.nodes.values()) == [10, 10]


async def test_a_server_that_stops_makes_no_games_while_there_are_others(
    autojump_clock: MockClock,
) -> None:
    async with cluster(Brief, drain_wait=60.0) as servers:
        ann = await servers.play("ann", "secret", node="a", game="table")
        bob = await servers.play("bob", "secret", node="a", game="table")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(servers.stop, "a")
            await trio.sleep(0.5)
            await bob.leave_game()
            await bob.create_game("another")
            assert await count(bob) == 1
            (there,) = where(servers, "another")
            assert there != "a"
            await ann.leave_game()


async def test_a_join_and_a_drain_move_a_session_once(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The join asks the engine for so long that the drain wants the session meanwhile.
    for delay in (0.0, 0.01, 0.3, 0.9, 1.5):
        async with cluster(Counter, lease=60.0) as servers:
            ann = await servers.play("ann", "secret", node="a", game="table")
            bob = await servers.play("bob", "secret", node="b")
            assert await count(ann) == 1
            servers.nodes["b"].engine.request_delay = delay
            async with trio.open_nursery() as nursery:
                nursery.start_soon(bob.join_game, "table")
                await trio.sleep(0.01)
                await servers.stop("b")
            assert [await count(bob), await count(ann)] == [2, 3]


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.3, 0.9, 1.5])
async def test_what_is_asked_of_a_server_that_ends_is_done_once(
    delay: float, autojump_clock: MockClock
) -> None:
    async with cluster(Counter, nodes=2, lease=60.0) as servers:
        bob = await servers.play("bob", "secret", node="b")
        servers.nodes["b"].engine.request_delay = delay
        online: list[bool] = []
        bob.on_online = online.append
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bob.create_game, "table")
            await trio.sleep(0.01)
            await servers.stop("b")
        assert await count(bob) == 1
        assert where(servers, "table") == ["a"]
        assert online == []


class Mixed(Counter):
    """Is saved if it is called so."""

    def __init__(self, name: str, save_string: str | None = None) -> None:
        super().__init__(name, save_string)
        self.persistent = name != "brief"


async def test_a_push_comes_once_while_a_drain_waits_for_a_session_that_goes_by_itself(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is told here after it was packed up would be counted twice."""
    async with cluster(Mixed, lease=60.0, drain_wait=20.0) as servers:
        await servers.play("ann", node="a", game="table")
        # The server does not end as long as this is played.
        await servers.play("eve", node="b", game="brief")
        bob = await servers.play("bob", node="b")
        here = servers.nodes["b"]
        hear_late(here.engine, "pass_session", 3.0, monkeypatch)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bob.join_game, "table")
            await trio.sleep(0.01)
            nursery.start_soon(servers.stop, "b")
            # The drain has given up to wait for what the user has asked.
            await trio.sleep(2)
            nursery.start_soon(here.push, "bob", "from here")
            nursery.start_soon(servers.nodes["a"].push, "bob", "from there")
        pushes = bob.pushes()
        with trio.fail_after(5):
            heard = {(await anext(pushes)).message for _ in range(2)}
        assert heard == {"from here", "from there"}
        assert await count(bob) == 1


@pytest.mark.parametrize("offset", [0.01 * number for number in (0, 3, 7, 20, 31, 32, 35, 50)])
async def test_who_joins_a_game_of_a_server_that_ends_joins_it_where_it_goes_on(
    autojump_clock: MockClock, offset: float
) -> None:
    """Their session would be lost, given to a server that takes no more."""
    async with cluster(Counter, lease=60.0, network=SimulatedNetwork(latency=0.02)) as servers:
        ann = await servers.play("ann", node="a", game="table")
        bob = await servers.play("bob", node="b")
        assert await count(ann) == 1
        here, there = servers.nodes["a"].engine, servers.nodes["b"].engine
        here.request_delay, here.answer_delay = 0.03, 0.05
        there.request_delay = 0.01
        async with trio.open_nursery() as nursery:
            nursery.start_soon(servers.stop, "a")
            await trio.sleep(offset)
            await bob.join_game("table")
        assert [await count(bob), await count(ann)] == [2, 3]


async def test_who_cannot_be_sent_to_a_server_that_ends_is_told_so_and_stays(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with cluster(Mixed, lease=60.0, drain_wait=60.0) as servers:
        await servers.play("ann", node="a", game="table")
        await servers.play("eve", node="a", game="brief")
        bob = await servers.play("bob", node="b")
        engine = servers.nodes["b"].engine
        pass_session = engine.pass_session
        is_first = True
        async with trio.open_nursery() as nursery:

            async def be_late(*args: Any, **options: Any) -> int:
                nonlocal is_first
                if is_first:
                    is_first = False
                    nursery.start_soon(servers.stop, "a")
                    await trio.sleep(1)
                return await pass_session(*args, **options)

            monkeypatch.setattr(engine, "pass_session", be_late)
            await bob.join_game("table")
            assert await count(bob) == 1
            await bob.leave_game()
            # This one stays where it is until it is over.
            with pytest.raises(RequestFailed, match="is about to end; try again in a moment"):
                await bob.join_game("brief")
            await bob.join_game("table")
            assert await count(bob) == 2
            nursery.cancel_scope.cancel()


async def test_who_leaves_while_their_session_is_given_away_is_out(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other server may read that they have left before it takes the session."""
    async with cluster(Counter, nodes=2, lease=60.0) as servers:
        ann = await servers.play("ann", node="a")
        there = servers.nodes["b"]
        pass_session = servers.nodes["a"].engine.pass_session

        async def leave_meanwhile(*args: Any, **options: Any) -> int:
            there.engine.pause()
            epoch = await pass_session(*args, **options)
            ann.disconnect()
            await trio.sleep(0.5)
            return epoch

        monkeypatch.setattr(servers.nodes["a"].engine, "pass_session", leave_meanwhile)
        await servers.stop("a")
        await trio.sleep(0.5)
        there.engine.resume()
        await trio.sleep(2)
        assert there.stats().sessions == {}
        assert await there.users() == []


async def test_a_server_that_loses_the_database_while_it_gives_a_game_away_ends(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with cluster(Counter, nodes=2, lease=LEASE) as servers:
        ann = await servers.play("ann", node="a", game="table")
        assert await count(ann) == 1
        engine = servers.nodes["a"].engine
        hand_over = engine.hand_over

        async def be_cut_off(*args: Any, **options: Any) -> HandedOver:
            servers.nodes["b"].engine.pause()
            over = await hand_over(*args, **options)
            engine.cut = True
            return over

        monkeypatch.setattr(engine, "hand_over", be_cut_off)
        with trio.fail_after(3 * LEASE):
            await servers.stop("a")
        servers.nodes["b"].engine.resume()
        with trio.fail_after(3 * LEASE):
            assert await count_again(ann) == 2
        assert where(servers, "table") == ["b"]


def hear_late(
    engine: SimulatedEngine, call: str, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let the answer to a call of an engine come late, which may be cancelled meanwhile."""
    real = getattr(engine, call)

    async def be_late(*args: Any, **options: Any) -> Any:
        found = await real(*args, **options)
        await trio.sleep(seconds)
        return found

    monkeypatch.setattr(engine, call, be_late)


def test_the_next_game_goes_to_who_has_least_with_what_was_given() -> None:
    def node(number: int, load: float) -> Node:
        return Node(number, f"n{number}", "", "", load, False, True, 10.0)

    shares, nodes = Shares(), [node(1, 0.0), node(2, 3.0)]
    given = []
    for _ in range(5):
        first, _ = shares.in_order(nodes)
        shares.note(first, 2)
        given.append(first.id)
    assert given == [1, 1, 2, 1, 2]
    # A load that was told anew counts what was given before.
    assert shares.in_order([node(1, 6.0), node(2, 3.5)])[0].id == 2


def test_only_nodes_that_are_heard_of_take_games() -> None:
    def node(number: int, left: float, *, draining: bool = False, alive: bool = True) -> Node:
        return Node(number, f"n{number}", "", "", 10.0 - number, draining, alive, left)

    nodes = [
        node(1, 9.0),
        node(2, 9.0),
        node(3, 9.0, draining=True),
        node(4, 5.0),
        node(5, -1.0, alive=False),
        node(6, 8.0),
    ]
    assert [each.id for each in takers(nodes, 1, 10.0)] == [6, 2]


@pytest.mark.parametrize("fault", ["refused", "lost", "late"])
@pytest.mark.parametrize("at", ["a", "b"])
@pytest.mark.parametrize("number", range(1, 9))
async def test_a_game_moves_once_whatever_becomes_of_a_call(
    autojump_clock: MockClock,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    at: str,
    number: int,
) -> None:
    async with cluster(Counter, nodes=2, lease=60.0) as servers:
        clients = [
            await servers.play(name, "secret", node="a", game="table") for name in ("ann", "bob")
        ]
        players = Players(clients, pause=0.2)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(players.run, 12.0)
            await trio.sleep(1)
            fail_at(servers.nodes[at].engine, number, fault, monkeypatch)
            await servers.stop("a")
        players.check()
        assert where(servers, "table") == ["b"]


@pytest.mark.parametrize("delay", [0.0, 0.001, 0.3, 1.0, 2.9, 3.1])
async def test_a_server_that_dies_while_it_gets_a_game_gives_it_back(
    autojump_clock: MockClock, delay: float
) -> None:
    async with cluster(Counter, nodes=2, lease=LEASE) as servers:
        ann = await servers.play("ann", "secret", game="table")
        assert await count(ann) == 1
        (here,) = where(servers, "table")
        there = "b" if here == "a" else "a"
        servers.nodes[there].engine.request_delay = 0.5
        async with trio.open_nursery() as nursery:
            nursery.start_soon(servers.stop, here)
            await trio.sleep(delay)
            servers.kill(there)
        await servers.start(there)
        with trio.fail_after(60):
            while ann.game is None or not ann.online:  # noqa: ASYNC110 - in virtual time
                await trio.sleep(0.1)
        assert await count(ann) == 2
        assert where(servers, "table") == [there]


async def test_a_server_may_take_a_game_before_the_other_one_knows_that_it_gave_it(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with cluster(Counter, nodes=2, lease=60.0) as servers:
        ann = await servers.play("ann", "secret", node="a", game="table")
        engine = servers.nodes["a"].engine
        hand_over = engine.hand_over

        async def hear_late(*args: Any, **options: Any) -> HandedOver:
            over = await hand_over(*args, **options)
            await trio.sleep(0.5)
            return over

        monkeypatch.setattr(engine, "hand_over", hear_late)
        players = Players([ann], pause=0.01)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(players.run, 6.0)
            await trio.sleep(1)
            await servers.stop("a")
        players.check()
        assert where(servers, "table") == ["b"]
        assert players.longest < 0.7


async def test_a_game_goes_once_the_players_of_the_one_before_are_there(
    autojump_clock: MockClock,
) -> None:
    """Whoever is sent on waits for those before, so a server is sent few at once."""
    async with cluster(Counter, nodes=2, network=SimulatedNetwork(latency=0.05)) as servers:
        tables = [f"table {number}" for number in range(5)]
        clients = [
            await servers.play(f"{table.replace(' ', '')}user{number}", node="a", game=table)
            for table in tables
            for number in range(8)
        ]
        offline: list[bool] = []
        on_the_way: list[int] = []

        async def look() -> None:
            while True:
                await trio.sleep(0.005)
                on_the_way.append(sum("Going on" in client.status for client in clients))

        for client in clients:
            client.on_online = offline.append
        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            await servers.stop("a")
            nursery.cancel_scope.cancel()
        assert offline == []
        assert max(on_the_way) == 8
        assert {client.game for client in clients} == set(tables)


async def until_left(events: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for event in events:
        yield event
        if isinstance(event, Left):
            return


class Unloadable(Counter):
    """Cannot go on from a save."""

    def __init__(self, name: str, save_string: str | None = None) -> None:
        super().__init__(name, save_string)
        if save_string:
            raise UnloadableError(f"the save {save_string} is not for this class")


# Nobody can tell by this that it is another version.
Unloadable.__name__ = "Counter"


class UnloadableError(Exception):
    """What it raises."""


async def test_a_game_that_raises_where_it_is_to_go_on_has_crashed_and_its_save_stays(
    autojump_clock: MockClock,
) -> None:
    """It is not given back: who gives it away is about to end, and would have to, again."""
    with pytest.raises(UnloadableError):
        async with cluster(Counter, nodes=1) as servers:
            ann = await servers.play("ann", "secret", node="a", game="table")
            assert [await count(ann), await count(ann)] == [1, 2]
            events = ann.events()
            await servers.start("b", Unloadable)
            await servers.stop("a")
            left = [event async for event in until_left(events)][-1]
            assert isinstance(left, Left)
            assert left.reason == "crashed"
            assert without_error_id(left.message) == crashed("table")
            assert ann.connected
            with pytest.raises(RequestFailed, match="could not be made: it raised an error"):
                await ann.join_game("table")
            # Once there is a server that can load it, it goes on.
            await servers.start("c")
            bob = await servers.play("bob", "secret", node="c", game="table")
            assert await count(bob) == 3
            await ann.join_game("table")
            assert await count(ann) == 4


async def test_a_server_that_ends_gives_on_what_it_was_just_given(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with cluster(Counter) as servers:
        clients = [
            await servers.play(name, "secret", node="b", game="table") for name in ("ann", "bob")
        ]
        players = Players(clients)
        engine = servers.nodes["a"].engine
        accept = engine.accept

        async def accept_slowly(name: str, epoch: int, **options: Any) -> None:
            await accept(name, epoch, **options)
            await trio.sleep(1)

        monkeypatch.setattr(engine, "accept", accept_slowly)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(players.run, 12.0)
            await trio.sleep(1)
            nursery.start_soon(servers.stop, "b")
            await trio.sleep(0.5)
            # It has the game by now, and does not know.
            nursery.start_soon(servers.stop, "a")
        players.check()
        assert players.offline == []
        assert where(servers, "table") == ["c"]


async def test_a_game_does_not_go_on_where_the_lease_is_over_when_nobody_has_said_that_it_came(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other server has it by then, or will have it."""
    async with cluster(Counter, nodes=2, lease=60.0) as servers:
        clients = [
            await servers.play(name, "secret", node="a", game="table") for name in ("ann", "bob")
        ]
        players = Players(clients)
        here, there = servers.nodes["a"].engine, servers.nodes["b"].engine
        take_back, accept = here.take_back, there.accept
        monkeypatch.setattr(here, "take_back", refuse_once(take_back))

        async def accept_late(name: str, epoch: int, **options: Any) -> None:
            await trio.sleep(3.2)
            await accept(name, epoch, **options)

        monkeypatch.setattr(there, "accept", accept_late)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(players.run, 12.0)
            await trio.sleep(1)
            await servers.stop("a")
        players.check()
        assert players.offline == []
        assert where(servers, "table") == ["b"]


def refuse_once(take_back: Callable[..., Awaitable[int]]) -> Callable[..., Awaitable[int]]:
    """Have the engine say once that the lease is over."""
    calls = 0

    async def refuse(node: int, name: str, *, operation: bytes) -> int:
        nonlocal calls
        calls += 1
        if calls == 1:
            await trio.lowlevel.checkpoint()
            raise LeaseLapsed("As the test wants it.")
        return await take_back(node, name, operation=operation)

    return refuse

"""Several servers that look like one, in virtual time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from pgnet_trio import (
    Client,
    ConnectFailed,
    Game,
    LoginRefused,
    Packet,
    ReasonCode,
    RequestFailed,
    Response,
    SessionLost,
)
from pgnet_trio.testing.clusters import HostedCluster, cluster
from tests.server.test_moving import context_of

if TYPE_CHECKING:
    from trio.testing import MockClock

LEASE = 10.0


class Counter(Game):
    """Counts, and saves what it has counted."""

    persistent = True

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.count = int(save_string or 0)

    def get_save_string(self) -> str:
        return str(self.count)

    def get_lobby_info(self) -> str:
        return f"at {self.count}"

    def handle_game_packet(self, packet: Packet) -> Response:
        self.count += 1
        return Response(str(self.count))


async def count(client: Client) -> int:
    return int((await client.request(Packet("count"))).message)


async def count_again(client: Client) -> int:
    """Count, once more where it is not known what became of it, and wait for the game to be there.

    What a player does whose server has died.
    """
    while True:
        try:
            return await count(client)
        except SessionLost:
            while client.game is None:  # noqa: ASYNC110 - in virtual time
                await trio.sleep(0.05)


async def test_a_game_of_one_server_is_made_there_once(autojump_clock: MockClock) -> None:
    async with cluster(Counter) as servers:
        ann = await servers.play("ann", node="a", game="table")
        assert await count(ann) == 1
        assert list(servers.nodes["a"].games) == ["table"]


async def test_a_user_who_logs_in_at_another_server_takes_over_where_they_are(
    autojump_clock: MockClock,
) -> None:
    async with cluster(Counter) as servers:
        ann = await servers.play("ann", "secret", node="a", game="table")
        assert await count(ann) == 1
        again = await servers.play("ann", "secret", node="b")
        assert again.game == "table"
        assert await count(again) == 2
        assert not ann.connected
        assert servers.nodes["b"].stats().sessions == {}


async def test_a_session_is_resumed_where_it_is(autojump_clock: MockClock) -> None:
    async with cluster(Counter) as servers:
        # A balancer leads to the first server, and then to another one.
        servers.network.addresses["lb"] = servers.nodes["a"]
        ann = await servers.play("ann", address="lb", game="table")
        assert await count(ann) == 1
        servers.network.addresses["lb"] = servers.nodes["b"]
        servers.network.drop("ann")
        assert await count(ann) == 2
        assert list(servers.nodes["a"].stats().sessions) == ["ann"]


async def test_a_game_goes_on_elsewhere_when_its_server_dies(autojump_clock: MockClock) -> None:
    async with cluster(Counter, lease=LEASE) as servers:
        ann = await servers.play("ann", "secret", game="table")
        (first,) = [name for name, node in servers.nodes.items() if node.games]
        for number in range(5):
            assert await count(ann) == number + 1
        await trio.sleep(30)
        servers.kill(first)
        died = trio.current_time()
        assert await count_again(ann) == 6
        assert trio.current_time() - died < LEASE + 1
        (second,) = [name for name, node in servers.nodes.items() if node.games]
        assert second != first


async def test_a_server_that_is_blocked_saves_its_games(autojump_clock: MockClock) -> None:
    async with cluster(Counter, nodes=2, lease=30.0, autosave_interval=5) as servers:
        ann = await servers.play("ann", "secret", game="table")
        (name,) = [name for name, node in servers.nodes.items() if node.games]
        a, context = servers.nodes[name], context_of(servers.nodes[name])
        assert await count(ann) == 1
        await trio.sleep(12)
        a.engine.cut = True
        assert await count(ann) == 2
        await trio.sleep(6)
        # What the watchdog says and does, once with the database out of reach.
        told = context.saves.write_from_thread(list(context.games.lobby))
        assert "nothing could be written" in told
        a.engine.cut = False
        told = context.saves.write_from_thread(list(context.games.lobby))
        assert told == "Saved, as they were at their last saves: 'table'. Not saved: none"
        servers.kill(name)
        assert await count_again(ann) == 3


async def test_a_server_that_is_cut_off_says_nothing_more(autojump_clock: MockClock) -> None:
    async with cluster(Counter, lease=LEASE) as servers:
        ann = await servers.play("ann", "secret", node="a", game="table")
        assert await count(ann) == 1
        await trio.sleep(20)
        servers.nodes["a"].engine.cut = True
        await trio.sleep(LEASE)
        bob = await servers.play("bob", "secret", node="b", game="table")
        assert await count(bob) == 2
        with trio.move_on_after(5) as scope:
            await count(ann)
        assert scope.cancelled_caught
        servers.nodes["a"].engine.cut = False
        assert await count_again(ann) == 3
        assert servers.nodes["a"].stats().games == {}


async def test_a_server_that_has_no_lease_says_nothing_more_when_it_ends(
    autojump_clock: MockClock,
) -> None:
    async with cluster(Counter, lease=LEASE) as servers:
        ann = await servers.play("ann", "secret", game="table")
        (first,) = [name for name, node in servers.nodes.items() if node.games]
        assert await count(ann) == 1
        await trio.sleep(20)
        servers.database.stop()
        await trio.sleep(LEASE)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(servers.stop, first)
            await trio.sleep(1)
            nursery.start_soon(start_later, servers)
            # It is counted there, in a game that another server may have by now.
            with pytest.raises(SessionLost):
                await count(ann)
        assert await count_again(ann) == 2


async def start_later(servers: HostedCluster) -> None:
    await trio.sleep(10)
    servers.database.start()


async def test_two_who_make_a_game_at_once_are_in_one(autojump_clock: MockClock) -> None:
    async with cluster(Counter) as servers:
        bob = await servers.play("bob", node="b")
        ann = await servers.play("ann", node="a")
        errors: list[str] = []

        async def make(client: Client) -> None:
            try:
                await client.create_game("table")
            except RequestFailed as error:
                errors.append(str(error))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(make, ann)
            nursery.start_soon(make, bob)
        assert len(errors) == 1
        assert "There is a game 'table' already" in errors[0]


async def test_a_game_that_is_over_is_over_everywhere(autojump_clock: MockClock) -> None:
    class Brief(Counter):
        def handle_game_packet(self, packet: Packet) -> Response:
            self.room.close("done")
            return Response("done")

    async with cluster(Brief) as servers:
        ann = await servers.play("ann", node="a", game="table")
        await trio.sleep(30)
        await ann.request(Packet("end"))
        await trio.sleep(1)
        bob = await servers.play("bob", node="b", game="table")
        assert servers.nodes["b"].games["table"].count == 0
        assert bob.game == "table"


class Short(Counter):
    def handle_game_packet(self, packet: Packet) -> Response:
        self.room.close("The game is over.")
        return Response("bye")


async def test_a_game_that_ends_just_before_its_server_is_over(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with cluster(Short, nodes=1, autosave_interval=1.0) as servers:
        ann = await servers.play("ann", node="a", game="table")
        await trio.sleep(3)
        database, engine = servers.database, servers.nodes["a"].engine
        assert await engine.directory() != []
        end = engine.end

        async def take_long(*arguments: Any, **options: Any) -> None:
            await trio.sleep(3)
            await end(*arguments, **options)

        monkeypatch.setattr(engine, "end", take_long)
        await ann.request(Packet("end"))
    assert database.carry_out(lambda tables: tables.directory("", 10), writes=False) == []


async def test_a_user_who_is_deleted_is_out_wherever_they_are(autojump_clock: MockClock) -> None:
    async with cluster(Counter, admin_password="secret") as servers:
        ann = await servers.play("ann", "secret", node="a", game="table")
        servers.nodes["b"].delete_user("ann")
        await trio.sleep(2)
        assert not ann.connected
        assert servers.nodes["a"].stats().sessions == {}
        # Whoever takes the name then is somebody else.
        await servers.play("ann", "another", node="c")


async def test_a_user_registers_once_for_all_servers(autojump_clock: MockClock) -> None:
    async with cluster(Counter) as servers:
        ann = await servers.play("ann", "secret", node="a")
        ann.disconnect()
        await trio.sleep(2)
        with pytest.raises(LoginRefused, match="password"):
            await servers.client("ann", "other", node="b").run()
        await servers.play("ann", "secret", node="c")


async def test_whoever_guesses_a_games_password_is_refused_at_all_servers(
    autojump_clock: MockClock,
) -> None:
    async with cluster(Counter, failed_logins_per_account=5) as servers:
        ann = await servers.play("ann", node="a")
        await ann.create_game("table", password="right")
        codes = []
        for node in "abc":
            bob = await servers.play("bob", "secret", node=node)
            for _ in range(2):
                with pytest.raises(RequestFailed) as refused:
                    await bob.join_game("table", password="wrong")
                codes.append(refused.value.response.code)
            if node != "c":
                bob.disconnect()
                await trio.sleep(2)
        assert codes == [ReasonCode.WRONG_PASSWORD] * 5 + [ReasonCode.TOO_MANY_ATTEMPTS]
        with pytest.raises(RequestFailed, match="Too many wrong passwords"):
            await bob.join_game("table", password="right")
        await trio.sleep(61)
        await bob.join_game("table", password="right")
        assert bob.game == "table"


async def test_a_user_who_is_deleted_while_they_log_in_is_not_in(
    autojump_clock: MockClock,
) -> None:
    """The mail about it may come before the answer that lets them in."""
    async with cluster(Counter, nodes=2) as servers:
        (await servers.play("ann", "secret", node="a")).disconnect()
        await trio.sleep(2)
        engine = servers.nodes["a"].engine
        admit = engine.admit

        async def admit_slowly(*args: Any, **options: Any) -> Any:
            admitted = await admit(*args, **options)
            servers.nodes["b"].delete_user("ann")
            await trio.sleep(3)
            return admitted

        engine.admit = admit_slowly  # type: ignore[method-assign]  # replaced for this test
        client = servers.client("ann", "secret", node="a")
        with trio.fail_after(60):
            await client.run()
        assert client.close_code == ReasonCode.USER_DELETED
        assert servers.nodes["a"].stats().sessions == {}
        await trio.sleep(2)
        assert await servers.nodes["b"].users() == []


@pytest.mark.parametrize("fault", ["lost", "late"])
async def test_a_log_in_that_comes_to_nothing_leaves_nothing(
    autojump_clock: MockClock, fault: str
) -> None:
    """Nobody is shown as there, and sent there, whom an unknown outcome has let in."""
    async with cluster(Counter, nodes=2, login_timeout=2.0) as servers:
        (await servers.play("ann", "secret", node="a")).disconnect()
        await trio.sleep(2)
        server = servers.nodes["a"]
        admit = server.engine.admit

        async def admit_in_vain(*args: Any, **options: Any) -> Any:
            if fault == "late":
                admitted = await admit(*args, **options)
                await trio.sleep(3)
                return admitted
            server.engine.lost_answers = 10
            return await admit(*args, **options)

        server.engine.admit = admit_in_vain  # type: ignore[method-assign]  # replaced for this test
        client = servers.client("ann", "secret", node="a", reconnect_for=0)
        with pytest.raises(ConnectFailed):
            await client.run()
        server.engine.lost_answers = 0
        server.engine.admit = admit  # type: ignore[method-assign]  # replaced for this test
        await trio.sleep(15)
        assert await servers.nodes["b"].users() == []
        again = await servers.play("ann", "secret", node="b")
        assert list(servers.nodes["b"].stats().sessions) == ["ann"]
        assert again.connected


async def test_of_two_log_ins_at_two_servers_the_later_one_stays(
    autojump_clock: MockClock,
) -> None:
    """Also where the earlier one is let in last, since its server had to wait for the database."""
    async with cluster(Counter, nodes=2) as servers:
        (await servers.play("ann", "secret", node="a")).disconnect()
        await trio.sleep(2)
        engine = servers.nodes["a"].engine
        admit = engine.admit

        async def admit_late(*args: Any, **options: Any) -> Any:
            await trio.sleep(3)
            return await admit(*args, **options)

        engine.admit = admit_late  # type: ignore[method-assign]  # replaced for this test
        earlier = servers.client("ann", "secret", node="a")
        outcome: list[str] = []

        async def log_in() -> None:
            try:
                await earlier.run()
            except LoginRefused as error:
                outcome.append(str(error.code))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(log_in)
            await trio.sleep(1)
            later = await servers.play("ann", "secret", node="b", game="table")
            await trio.sleep(5)
            nursery.cancel_scope.cancel()
        assert outcome == [ReasonCode.TAKEN_OVER]
        assert later.connected
        assert await count(later) == 1
        assert list(servers.nodes["b"].stats().sessions) == ["ann"]
        assert servers.nodes["a"].stats().sessions == {}
        engine.admit = admit  # type: ignore[method-assign]  # replaced for this test
        # One that comes after that goes on.
        again = await servers.play("ann", "secret", node="a")
        assert again.game == "table"
        assert not later.connected


async def test_a_log_in_is_one_change(autojump_clock: MockClock) -> None:
    async with cluster(Counter, nodes=2) as servers:
        (await servers.play("ann", "secret", node="a")).disconnect()
        await trio.sleep(2)
        changes = []
        database = servers.database
        carry_out = database.carry_out

        def counting(work: Any, *, writes: bool) -> Any:
            if writes:
                changes.append(work)
            return carry_out(work, writes=writes)

        database.carry_out = counting  # type: ignore[method-assign]  # replaced for this test
        await servers.play("ann", "secret", node="b")
        assert len(changes) == 1

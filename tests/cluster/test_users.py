"""Pushes, kicks and announcements reach users at whatever server they are, and who is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

from pgnet_trio import (
    Client,
    Disconnected,
    Game,
    Packet,
    Push,
    ReasonCode,
    Request,
    Response,
    ServerError,
)
from pgnet_trio.server import user_notes
from pgnet_trio.server.cluster.notes import MAX_PUSH
from pgnet_trio.testing import SimulatedNetwork
from pgnet_trio.testing.clusters import HostedCluster, cluster

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio.testing import MockClock

    from pgnet_trio.testing.engine import SimulatedEngine

LEASE = 10.0


@attrs.frozen
class Invitation:
    table: str


class Table(Game):
    persistent = True

    def get_save_string(self) -> str:
        return "saved"

    def handle_game_packet(self, packet: Packet) -> Response:
        return Response(packet.message)


async def next_push(client: Client) -> Push:
    with trio.fail_after(60):
        return await anext(client.pushes())


async def wait_until(predicate: Callable[[], bool]) -> None:
    with trio.fail_after(60):
        while not predicate():  # noqa: ASYNC110 - in virtual time
            await trio.sleep(0.01)


def note_announcements(client: Client) -> list[str]:
    texts: list[str] = []
    client.on_announcement = texts.append
    return texts


@pytest.mark.parametrize("game", [None, "table"])
async def test_a_push_reaches_a_user_at_another_server(
    autojump_clock: MockClock, game: str | None
) -> None:
    async with cluster(Table) as servers:
        ann = await servers.play("ann", node="a", game=game)
        assert await servers.nodes["b"].push("ann", Invitation("one"))
        assert await servers.nodes["a"].push("ann", "hello", {"from": "a"})
        pushes = [await next_push(ann), await next_push(ann)]
        assert {push.message for push in pushes} == {"Invitation", "hello"}
        assert not await servers.nodes["b"].push("bob", Invitation("one"))


async def test_pushes_of_one_server_come_in_their_order(autojump_clock: MockClock) -> None:
    async with cluster(Table) as servers:
        ann = await servers.play("ann", node="a")
        for number in range(50):
            assert await servers.nodes["c"].push("ann", str(number))
        assert [(await next_push(ann)).message for _ in range(50)] == list(map(str, range(50)))


async def test_a_user_who_moves_meanwhile_misses_no_push(autojump_clock: MockClock) -> None:
    """Some are pushed while the session is packed up, and some while it is not there yet."""
    async with cluster(Table) as servers:
        await servers.play("bob", node="b", game="table")
        ann = await servers.play("ann", node="a")
        for name in servers.nodes:
            servers.nodes[name].engine.answer_delay = 0.3
            servers.nodes[name].engine.request_delay = 0.2
        sent = []

        async def push_all(name: str) -> None:
            for number in range(20):
                sent.append(f"{name} {number}")
                assert await servers.nodes[name].push("ann", sent[-1])
                await trio.sleep(0.05)

        async with trio.open_nursery() as nursery:
            for name in servers.nodes:
                nursery.start_soon(push_all, name)
            await trio.sleep(1)
            await ann.join_game("table")
        assert list(servers.nodes["a"].stats().sessions) == []
        came = [(await next_push(ann)).message for _ in sent]
        assert sorted(came) == sorted(sent)


async def test_users_of_a_game_that_moves_miss_no_push(autojump_clock: MockClock) -> None:
    async with cluster(Table, nodes=2) as servers:
        ann = await servers.play("ann", node="a", game="table")
        server = servers.nodes["a"]
        servers.nodes["b"].engine.answer_delay = 0.1
        sent = 0

        async def push_all() -> None:
            nonlocal sent
            while not server.stopped.is_set():
                assert await servers.nodes["b"].push("ann", str(sent))
                sent += 1
                await trio.sleep(0.02)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(push_all)
            await trio.sleep(1)
            await servers.stop("a")
        assert sent > 5
        came = [int((await next_push(ann)).message) for _ in range(sent)]
        assert sorted(came) == list(range(sent))


@pytest.mark.parametrize("lost", [0, 2])
@pytest.mark.parametrize("delay", [0.05, 0.3])
@pytest.mark.parametrize("game", [None, "table"])
async def test_no_push_stays_behind_at_a_server_that_has_ended(
    autojump_clock: MockClock,
    monkeypatch: pytest.MonkeyPatch,
    lost: int,
    delay: float,
    game: str | None,
) -> None:
    """Whoever writes may have looked up where the user is just before they went.

    Then the mail is there just before the server has ended, or comes too late for it.
    """
    async with cluster(Table, network=SimulatedNetwork(latency=0.02)) as servers:
        ann = await servers.play("ann", node="a", game=game)
        for node in servers.nodes.values():
            node.engine.request_delay = node.engine.answer_delay = 0.05
        servers.nodes["c"].engine.request_delay = delay
        lose_answers(servers.nodes["a"].engine, "resign", lost, monkeypatch)
        sent = [str(number) for number in range(60)]
        heard: list[str] = []

        async def listen() -> None:
            while True:
                heard.append((await anext(ann.pushes())).message)

        async def push(number: int) -> None:
            # At all times until the server has ended, and after that.
            await trio.sleep(0.04 * number)
            assert await servers.nodes["c"].push("ann", sent[number])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            nursery.start_soon(servers.stop, "a")
            async with trio.open_nursery() as pushing:
                for number in range(len(sent)):
                    pushing.start_soon(push, number)
            await trio.sleep(5)
            nursery.cancel_scope.cancel()
        assert sorted(heard, key=int) == sent


def lose_answers(
    engine: SimulatedEngine, name: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let the first answers to calls of one kind be lost."""
    method = getattr(engine, name)
    left = count

    async def call(*arguments: Any, **options: Any) -> Any:
        nonlocal left
        engine.lost_answers, left = left, 0
        return await method(*arguments, **options)

    monkeypatch.setattr(engine, name, call)


async def test_a_push_whose_answers_are_lost_comes_once(autojump_clock: MockClock) -> None:
    async with cluster(Table) as servers:
        ann = await servers.play("ann", node="a")
        servers.nodes["b"].engine.lost_answers = 3
        assert await servers.nodes["b"].push("ann", "one")
        assert await servers.nodes["b"].push("ann", "two")
        await trio.sleep(5)
        assert [(await next_push(ann)).message for _ in range(2)] == ["one", "two"]
        with trio.move_on_after(5) as scope:
            await next_push(ann)
        assert scope.cancelled_caught


async def test_a_server_that_cannot_ask_the_others_says_so(autojump_clock: MockClock) -> None:
    async with cluster(Table) as servers:
        await servers.play("ann", node="a")
        server = servers.nodes["b"]
        server.engine.pause()
        for call in (
            server.push("ann", "one"),
            server.kick("ann"),
            server.announce("hello"),
            server.users(),
            server.cluster.nodes(),
        ):
            with pytest.raises(ServerError, match="cannot reach each other now"):
                await call
        server.engine.resume()
        assert await server.push("ann", "two")


async def test_a_server_that_pauses_for_a_moment_has_its_mail_afterwards(
    autojump_clock: MockClock,
) -> None:
    async with cluster(Table, lease=LEASE) as servers:
        ann = await servers.play("ann", node="a")
        texts = note_announcements(ann)
        await trio.sleep(LEASE)
        servers.nodes["a"].engine.pause()
        assert await servers.nodes["b"].push("ann", "hello")
        await servers.nodes["b"].announce("We close.")
        await trio.sleep(3)
        assert texts == []
        servers.nodes["a"].engine.resume()
        assert (await next_push(ann)).message == "hello"
        await wait_until(lambda: texts == ["We close."])


async def test_nobody_is_reached_at_a_server_that_is_silent(autojump_clock: MockClock) -> None:
    async with cluster(Table, lease=LEASE) as servers:
        await servers.play("ann", node="a")
        servers.nodes["a"].engine.cut = True
        await trio.sleep(LEASE + 1)
        assert not await servers.nodes["b"].push("ann", "hello")
        assert not await servers.nodes["b"].kick("ann")
        assert await servers.nodes["b"].users() == []
        await servers.nodes["b"].announce("We close.")
        nodes = await servers.nodes["b"].cluster.nodes()
        assert [node.alive for node in nodes] == [False, True, True]


async def test_a_push_that_is_too_long_is_refused(autojump_clock: MockClock) -> None:
    async with cluster(Table, nodes=2) as servers:
        ann = await servers.play("ann", node="a")
        server = servers.nodes["b"]
        with pytest.raises(TypeError, match="32,768 bytes"):
            await server.push("ann", "x" * MAX_PUSH)
        assert await server.push("ann", "y" * (MAX_PUSH - 10))
        assert (await next_push(ann)).message[0] == "y"


async def test_what_waits_for_users_on_their_way_is_limited(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(user_notes, "MAX_WAITING", 10_000)
    async with cluster(Table, nodes=2) as servers:
        ann = await servers.play("ann", node="a")
        # The mail is on its way to a server that the user has just left.
        servers.nodes["b"].engine.answer_delay = 1.0
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(servers.nodes["b"].push, "ann", "x" * 1000)
        ann.disconnect()
        await trio.sleep(5)
        again = await servers.play("ann", node="b")
        assert await servers.nodes["a"].push("ann", "still there")
        while (await next_push(again)).message != "still there":
            pass


async def test_a_kick_reaches_a_user_at_another_server(autojump_clock: MockClock) -> None:
    async with cluster(Table) as servers:
        ann = await servers.play("ann", node="a", game="table")
        assert await servers.nodes["c"].kick("ann", "No insults, please.")
        await wait_until(lambda: not ann.connected)
        assert ann.close_reason == "No insults, please."
        assert ann.close_code == ReasonCode.KICKED
        await trio.sleep(2)
        assert await servers.nodes["b"].users() == []
        assert not await servers.nodes["c"].kick("ann", "Once more.")
        await servers.play("ann", node="b")


async def test_a_user_who_moves_meanwhile_is_kicked(autojump_clock: MockClock) -> None:
    async with cluster(Table) as servers:
        await servers.play("bob", node="b", game="table")
        ann = await servers.play("ann", node="a")
        servers.nodes["a"].engine.answer_delay = 1.0

        async def join() -> None:
            with pytest.raises(Disconnected):
                await ann.join_game("table")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(join)
            # It is given to the other server by now, and this one does not know yet.
            await trio.sleep(1.5)
            assert await servers.nodes["c"].kick("ann", "Out.")
        await wait_until(lambda: not ann.connected)
        assert ann.close_reason == "Out."


async def test_who_is_kicked_at_a_server_that_ends_is_kicked_at_the_next_one(
    autojump_clock: MockClock,
) -> None:
    async with cluster(Table, network=SimulatedNetwork(latency=0.02)) as servers:
        ann = await servers.play("ann", node="a", game="table")
        for node in servers.nodes.values():
            node.engine.request_delay = node.engine.answer_delay = 0.02
        async with trio.open_nursery() as nursery:
            nursery.start_soon(servers.stop, "a")
            # The mail is there just before they are sent on.
            await trio.sleep(0.15)
            assert await servers.nodes["c"].kick("ann", "Out.")
        await wait_until(lambda: not ann.connected)
        assert ann.close_reason == "Out."


async def test_a_user_who_is_away_reads_why_they_were_kicked(autojump_clock: MockClock) -> None:
    async with cluster(Table) as servers:
        ann = await servers.play("ann", node="a", game="table")
        servers.network.addresses.pop("a.example:38929")
        servers.network.drop("ann")
        await wait_until(lambda: not ann.online)
        assert await servers.nodes["b"].kick("ann", "Out.")
        await trio.sleep(2)
        servers.network.addresses["a.example:38929"] = servers.nodes["a"]
        await wait_until(lambda: not ann.connected)
        assert ann.close_reason == "Out."
        assert ann.close_code == ReasonCode.KICKED


async def test_all_users_of_all_servers_are_told_once(autojump_clock: MockClock) -> None:
    async with cluster(Table) as servers:
        heard = {}
        for number, node in enumerate([*servers.nodes] * 2):
            client = await servers.play(f"user{number}", node=node)
            heard[client.username] = note_announcements(client)
        await servers.nodes["a"].announce("The servers restart at ten.")
        await trio.sleep(3)
        assert list(heard.values()) == [["The servers restart at ten."]] * 6
        # Who comes later is not told.
        late = await servers.play("late", node="b")
        texts = note_announcements(late)
        await trio.sleep(3)
        assert texts == []


async def test_the_users_of_one_game_are_told(autojump_clock: MockClock) -> None:
    async with cluster(Table) as servers:
        ann = await servers.play("ann", node="a", game="table")
        bob = await servers.play("bob", node="a")
        heard, unheard = note_announcements(ann), note_announcements(bob)
        await servers.nodes["b"].announce("This table closes.", game="table")
        await trio.sleep(3)
        assert (heard, unheard) == (["This table closes."], [])


async def test_the_admin_hears_that_no_server_plays_a_game(autojump_clock: MockClock) -> None:
    async with cluster(Table, admin_password="secret") as servers:
        admin = await admin_of(servers)
        ann = await servers.play("ann", node="b", game="table")
        heard = note_announcements(ann)
        refusal = await ask(admin, Request.ANNOUNCE, text="hello", game="tabel")
        assert refusal.message == "The game 'tabel' is not played now: nobody was told."
        assert refusal.code == ReasonCode.UNKNOWN_GAME
        answer = await ask(admin, Request.ANNOUNCE, text="hello", game="table")
        assert answer.message == "The users in the game 'table' are told."
        await wait_until(lambda: heard == ["hello"])


@pytest.mark.parametrize("pause", [-0.6, -0.4, -0.2, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0])
async def test_a_user_who_moves_meanwhile_is_told_once(
    autojump_clock: MockClock, pause: float
) -> None:
    """Whether the server before has told it, or the next one, or neither yet."""
    async with cluster(Table) as servers:
        await servers.play("bob", node="b", game="table")
        ann = await servers.play("ann", node="a")
        texts = note_announcements(ann)
        for name in "ab":
            servers.nodes[name].engine.answer_delay = 0.3
            servers.nodes[name].engine.request_delay = 0.2

        async def join() -> None:
            await trio.sleep(max(0.0, -pause))
            await ann.join_game("table")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(join)
            await trio.sleep(max(0.0, pause))
            await servers.nodes["c"].announce("hello")
        await trio.sleep(10)
        assert texts == ["hello"]


async def test_the_list_of_users_spans_the_cluster(autojump_clock: MockClock) -> None:
    async with cluster(Table, lease=LEASE) as servers:
        for number, node in enumerate("abc"):
            await servers.play(f"user{number}", node=node)
        found = await servers.nodes["b"].users()
        assert [(user.username, user.node) for user in found] == [
            ("user0", "a"),
            ("user1", "b"),
            ("user2", "c"),
        ]
        assert [user.username for user in await servers.nodes["b"].users(limit=2)] == [
            "user0",
            "user1",
        ]
        assert [user.username for user in await servers.nodes["b"].users(after="user1")] == [
            "user2"
        ]
        # Those of a server that has died are in it for a lease.
        servers.kill("c")
        await trio.sleep(LEASE + 1)
        names = [user.username for user in await servers.nodes["b"].users()]
        assert names[:2] == ["user0", "user1"]


async def test_the_servers_are_shown_with_what_they_have_to_do(autojump_clock: MockClock) -> None:
    async with cluster(Table, lease=LEASE) as servers:
        await servers.play("ann", node="a", game="one")
        await servers.play("bob", node="a", game="two")
        await trio.sleep(LEASE)
        nodes = await servers.nodes["b"].cluster.nodes()
        assert [node.name for node in nodes] == ["a", "b", "c"]
        assert [node.address for node in nodes] == [f"{name}.example:38929" for name in "abc"]
        assert [(node.rooms, node.users) for node in nodes] == [(2, 2), (0, 0), (0, 0)]
        assert all(node.alive and not node.draining and node.lag == 0 for node in nodes)
        assert all(node.lease_left is not None and node.lease_left > 0 for node in nodes)
        servers.kill("c")
        await trio.sleep(LEASE + 1)
        nodes = await servers.nodes["b"].cluster.nodes()
        assert [node.alive for node in nodes] == [True, True, False]


async def admin_of(servers: HostedCluster) -> Client:
    return await servers.play("admin", "secret", node="a")


async def ask(admin: Client, message: Request, **payload: Any) -> Response:
    return await admin.request(Packet(message, payload))


async def test_the_admin_asks_for_all_of_it(autojump_clock: MockClock) -> None:
    async with cluster(Table, admin_password="secret") as servers:
        admin = await admin_of(servers)
        ann = await servers.play("ann", node="b")
        texts = note_announcements(ann)
        answer = await ask(admin, Request.USERS)
        assert answer.payload == {"users": {"admin": "a", "ann": "b"}, "more": False}
        answer = await ask(admin, Request.USERS, limit=1)
        assert answer.payload == {"users": {"admin": "a"}, "more": True}
        assert (await ask(admin, Request.DEBUG)).payload["connected_users"] == ["admin", "ann"]
        nodes = (await ask(admin, Request.NODES)).payload["nodes"]
        assert [node["name"] for node in nodes] == ["a", "b", "c"]
        answer = await ask(admin, Request.ANNOUNCE, text="hello")
        assert answer.payload == {"servers": 3}
        await wait_until(lambda: texts == ["hello"])
        assert (await ask(admin, Request.KICK, username="ann", reason="Out.")).status == 0
        await wait_until(lambda: not ann.connected)
        assert ann.close_reason == "Out."

"""What players rely on when connections drop: their seat, their requests, what they are told."""

from __future__ import annotations

import gc
import itertools
import logging
import random
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pgnet_trio import (
    Client,
    ConnectFailed,
    Disconnected,
    Game,
    Left,
    LoginRefused,
    Packet,
    Reject,
    Request,
    RequestFailed,
    Response,
    ServerKeyMismatch,
    SessionLost,
    testing,
)
from pgnet_trio.client.connector import Connector
from pgnet_trio.protocol.events import RequestReceived
from pgnet_trio.server.room.player import PacketTurn
from pgnet_trio.testing import HostedServer, SimulatedNetwork, playing
from tests.kit.seeds import seeds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@attrs.define
class Throw:
    hand: str


class Table(Game):
    """Notes every hook and message; ``wait`` is answered when the gate is open."""

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.calls: list[str] = []
        self.notes: list[int] = []
        self.gate = trio.Event()

    def user_joined(self, username: str, /) -> Any:
        self.calls.append(f"{username} joined")

    def user_left(self, username: str, /) -> Any:
        self.calls.append(f"{username} left")

    def player_dropped(self, username: str, /) -> None:
        self.calls.append(f"{username} dropped")

    def player_resumed(self, username: str, /) -> None:
        self.calls.append(f"{username} resumed")

    async def handle_game_packet(self, packet: Packet, /) -> Response:
        match packet.message:
            case "wait":
                await self.gate.wait()
            case "note":
                self.notes.append(packet.payload["n"])
            case "say":
                self.room.push("said", packet.payload)
        return Response(packet.message, packet.payload)


class Plain(Game):
    """A game of which nothing needs protocol 2."""

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.calls: list[str] = []

    def user_joined(self, username: str, /) -> Any:
        self.calls.append(f"{username} joined")

    def user_left(self, username: str, /) -> Any:
        self.calls.append(f"{username} left")

    def handle_game_packet(self, packet: Packet, /) -> Response:
        return Response(packet.message, packet.payload)


class Watched:
    """What a client told its program, in order."""

    def __init__(self, client: Client) -> None:
        self.calls: list[tuple[str, Any]] = []
        for name in ("connection", "online", "game", "players"):
            setattr(client, f"on_{name}", self._note(name))

    def _note(self, name: str) -> Any:
        return lambda argument: self.calls.append((name, argument))

    def of(self, name: str) -> list[Any]:
        return [argument for each, argument in self.calls if each == name]


@asynccontextmanager
async def hosting(game: type[Game], **options: Any) -> AsyncIterator[HostedServer]:
    """Run a server; who waits in vain waits no virtual week."""
    with trio.fail_after(200_000):
        async with testing.hosting(game, **options) as server:
            yield server


@asynccontextmanager
async def two_at_a_table(
    **options: Any,
) -> AsyncIterator[tuple[HostedServer, Table, Client, Client]]:
    async with (
        hosting(Table, **options) as server,
        playing(server, "ann", "bob", game="table 1") as (ann, bob),
    ):
        yield server, server.games["table 1"], ann, bob


# A connection drops, and comes back.


async def test_a_short_drop_goes_by_unnoticed_but_for_those_who_ask(
    autojump_clock: MockClock,
) -> None:
    presence: list[tuple[str, bool]] = []
    async with two_at_a_table(on_connection=lambda *args: presence.append(args)) as (
        server,
        table,
        ann,
        bob,
    ):
        watched, seen_by_bob = Watched(ann), Watched(bob)
        server.network.cut("ann")
        await trio.sleep(1)
        assert (ann.connected, ann.online, ann.game) == (True, False, "table 1")
        assert ann.status.startswith("Not back yet: No server was reached")
        assert bob.players == {"ann": False, "bob": True}
        assert table.calls[-1] == "ann dropped"
        assert table.room.players == ["ann", "bob"]
        server.network.heal("ann")
        await trio.sleep(10)
        assert (ann.connected, ann.online, ann.game) == (True, True, "table 1")
        assert ann.status == "Online again."
        assert ann.players == bob.players == {"ann": True, "bob": True}
        assert table.calls == ["ann joined", "bob joined", "ann dropped", "ann resumed"]
        assert watched.calls == [
            ("players", {"ann": True, "bob": True}),
            ("online", False),
            ("online", True),
        ]
        assert seen_by_bob.of("players")[-2:] == [
            {"ann": False, "bob": True},
            {"ann": True, "bob": True},
        ]
        assert presence == [("ann", True), ("bob", True)]


async def test_what_was_asked_while_offline_is_asked_then_and_once(
    autojump_clock: MockClock,
) -> None:
    async with two_at_a_table() as (server, table, ann, _):
        server.network.cut("ann")
        await trio.sleep(0.5)
        answers: list[Response] = []
        async with trio.open_nursery() as nursery:
            for n in range(100):
                ann.send(Packet("note", {"n": n}), answers.append)

            async def ask() -> None:
                assert (await ann.request(Packet("last"))).message == "last"

            nursery.start_soon(ask)
            await trio.sleep(1)
            assert table.notes == []
            server.network.heal("ann")
        await wait_all_tasks_blocked()
        assert table.notes == [answer.payload["n"] for answer in answers] == list(range(100))


@pytest.mark.parametrize("seed", seeds(3))
@pytest.mark.no_cover
async def test_whatever_is_under_way_at_a_drop_happens_once_and_in_order(
    seed: int, autojump_clock: MockClock
) -> None:
    network = SimulatedNetwork(seed, latency=0.02, jitter=0.05)
    chance = random.Random(seed)
    count = 150
    heard: list[int] = []
    answers: list[int] = []

    async def drop() -> None:
        while True:
            await trio.sleep(chance.uniform(0, 1))
            network.drop("ann")

    async def listen() -> None:
        async for push in ann.pushes():
            heard.append(push.payload["n"])
            note()

    def note() -> None:
        if len(answers) == len(heard) == count:
            everything.set()

    def take_answer(response: Response) -> None:
        answers.append(response.payload["n"])
        note()

    everything = trio.Event()
    async with two_at_a_table(network=network) as (_, table, ann, bob), trio.open_nursery() as n:
        n.start_soon(drop)
        n.start_soon(listen)
        for number in range(count):
            ann.send(Packet("note", {"n": number}), take_answer)
            bob.send(Packet("say", {"n": number}))
            await trio.sleep(0.05)
        await everything.wait()
        assert table.notes == answers == heard == list(range(count))
        assert network.dropped
        n.cancel_scope.cancel()


@pytest.mark.parametrize("seed", seeds(8))
@pytest.mark.no_cover
async def test_frames_may_break_at_any_point_from_the_handshake_on(
    seed: int, autojump_clock: MockClock
) -> None:
    network = SimulatedNetwork(seed, latency=0.01)
    async with (
        hosting(Table, network=network, resume_grace=1000) as server,
        playing(server, "ann", "bob", game="table 1", reconnect_for=None) as (ann, bob),
    ):
        table = server.games["table 1"]
        network.conditions.drop_rate = 0.2
        for number in range(20):
            await ann.request(Packet("note", {"n": number}))
            bob.send(Packet("say", {"n": number}))
        network.conditions.drop_rate = 0.0
        await bob.request(Packet("last"))
        await ann.request(Packet("last"))
        heard = ann.pushes()
        assert [(await anext(heard)).payload["n"] for _ in range(20)] == list(range(20))
        assert table.notes == list(range(20))


async def test_a_half_open_connection_is_noticed_by_both_sides(autojump_clock: MockClock) -> None:
    async with two_at_a_table() as (server, table, ann, bob):
        server.network.partition("ann")
        await trio.sleep(19)
        assert (ann.online, bob.players["ann"]) == (True, True)
        await trio.sleep(21)
        assert (ann.online, bob.players["ann"]) == (False, False)
        assert table.calls[-1] == "ann dropped"
        server.network.heal("ann")
        await trio.sleep(6)
        assert ann.online
        assert table.calls[-1] == "ann resumed"


async def test_a_client_is_back_before_the_server_missed_it(autojump_clock: MockClock) -> None:
    async with two_at_a_table() as (server, table, ann, _):
        # Only the client learns of it: the server has two connections then, and keeps the later.
        (link,) = server.network._place("ann").links
        link.to_server.blocked = True
        link.to_client.break_off("gone")
        assert (await ann.request(Packet("note", {"n": 1}))).payload == {"n": 1}
        assert table.notes == [1]
        await trio.sleep(60)
        assert "ann dropped" not in table.calls
        assert ann.online


async def test_others_are_asked_and_told_while_somebody_is_gone(autojump_clock: MockClock) -> None:
    async with two_at_a_table() as (server, table, ann, bob):
        server.network.cut("ann")
        await trio.sleep(0.1)
        for n in range(3):
            await bob.request(Packet("say", {"n": n}))
        await bob.leave_game()
        assert table.room.players == ["ann"]
        server.network.heal("ann")
        await trio.sleep(5)
        heard = ann.pushes()
        assert [(await anext(heard)).payload["n"] for _ in range(3)] == [0, 1, 2]
        assert ann.players == {"ann": True}


# Who comes and goes meanwhile.


async def test_comings_and_goings_do_not_pile_up_for_who_is_away(
    autojump_clock: MockClock,
) -> None:
    # So few that her session would end, were they kept.
    async with two_at_a_table(max_unacknowledged_messages=100, requests_per_second=None) as (
        server,
        _,
        ann,
        bob,
    ):
        watched = Watched(ann)
        server.network.cut("ann")
        await trio.sleep(1)
        kept = server.stats().sessions["ann"].unacknowledged_bytes
        async with server.client("eve") as eve, server.client("zoe") as zoe:
            await zoe.join_game("table 1")
            for _ in range(300):
                await eve.join_game("table 1")
                await eve.leave_game()
                assert server.stats().sessions["ann"].unacknowledged_bytes == kept
            await bob.leave_game()
            await bob.request(Packet(Request.JOIN_GAME, {"name": "table 1"}))
            server.network.cut("zoe")
            await trio.sleep(1)
            await bob.request(Packet("say", {"n": 1}))
            server.network.heal("ann")
            await trio.sleep(6)
            truth = [("ann", True), ("zoe", False), ("bob", True)]
            assert list(ann.players.items()) == list(bob.players.items()) == truth
            assert watched.of("players") == [{"ann": True, "bob": True}, dict(truth)]
            assert (await anext(ann.pushes())).payload == {"n": 1}
            server.network.heal("zoe")
            await trio.sleep(6)
            assert ann.players == zoe.players == {"ann": True, "bob": True, "zoe": True}
            await eve.join_game("table 1")
            await wait_all_tasks_blocked()
            assert ann.players == eve.players == zoe.players
        await wait_all_tasks_blocked()
        assert ann.players == {"ann": True, "bob": True}
        assert watched.of("connection") == []


async def test_who_came_and_left_while_a_client_was_away_is_no_news(
    autojump_clock: MockClock,
) -> None:
    async with two_at_a_table() as (server, _, ann, bob):
        watched, seen_by_bob = Watched(ann), Watched(bob)
        server.network.cut("ann")
        await trio.sleep(1)
        async with server.client("eve") as eve:
            await eve.join_game("table 1")
        await trio.sleep(1)
        server.network.heal("ann")
        await trio.sleep(6)
        assert ann.online
        assert len(seen_by_bob.of("players")) == 5
        assert watched.of("players") == [{"ann": True, "bob": True}]
        assert ann.players == {"ann": True, "bob": True}


async def test_who_is_back_knows_who_is_there_even_while_the_game_is_busy(
    autojump_clock: MockClock,
) -> None:
    async with two_at_a_table() as (server, table, ann, bob):
        server.network.cut("ann")
        await trio.sleep(1)
        async with server.client("eve") as eve:
            await eve.join_game("table 1")
            bob.send(Packet("wait"), None)
            await trio.sleep(1)
            server.network.heal("ann")
            await trio.sleep(6)
            assert table.calls[-1] == "eve joined"
            assert ann.players == {"ann": True, "bob": True, "eve": True}
            table.gate.set()


async def test_who_drops_while_joining_is_not_away_in_their_own_eyes(
    autojump_clock: MockClock,
) -> None:
    class Slow(Table):
        async def user_joined(self, username: str, /) -> Any:
            await trio.sleep(1)

    async with hosting(Slow) as server, server.client("ann") as ann:
        ann.create_game("table 1", callback=None)
        await trio.sleep(0.5)
        server.network.cut("ann")
        await trio.sleep(2)
        server.network.heal("ann")
        await trio.sleep(6)
        assert (ann.game, ann.players) == ("table 1", {"ann": True})


@pytest.mark.parametrize("seed", seeds(4))
@pytest.mark.no_cover
async def test_everybody_knows_who_is_there_whatever_drops(
    seed: int, autojump_clock: MockClock
) -> None:
    chance = random.Random(seed)
    network = SimulatedNetwork(seed, latency=0.02, jitter=0.05)
    names = ["bob", "eve", "zoe", "kim"]

    async def come_and_go(client: Client) -> None:
        while trio.current_time() < until:
            await client.join_game("table 1")
            await trio.sleep(chance.expovariate(1))
            await client.leave_game()
            await trio.sleep(chance.expovariate(1))
        await client.join_game("table 1")

    async def drop() -> None:
        while trio.current_time() < until:
            await trio.sleep(chance.expovariate(2))
            name = chance.choice(["ann", *names])
            network.drop(name)
            if chance.random() < 0.5:
                network.cut(name)
                await trio.sleep(chance.expovariate(0.5))
                network.heal(name)

    async with (
        hosting(Table, network=network) as server,
        playing(server, "ann", *names) as (ann, *others),
    ):
        await ann.create_game("table 1")
        until = trio.current_time() + 30
        async with trio.open_nursery() as nursery:
            nursery.start_soon(drop)
            for client in others:
                nursery.start_soon(come_and_go, client)
        await trio.sleep(30)
        players = server.games["table 1"].room.players
        assert sorted(players) == sorted(["ann", *names])
        for client in (ann, *others):
            assert list(client.players.items()) == [(name, True) for name in players]


# The grace runs out.


async def test_the_seat_is_free_when_the_grace_is_over(autojump_clock: MockClock) -> None:
    presence: list[tuple[str, bool]] = []
    async with two_at_a_table(
        resume_grace=10, on_connection=lambda *args: presence.append(args)
    ) as (server, table, ann, bob):
        server.network.cut("ann")
        await trio.sleep(9.9)
        assert table.room.players == ["ann", "bob"]
        await trio.sleep(0.2)
        assert table.calls[-2:] == ["ann dropped", "ann left"]
        assert table.room.players == ["bob"]
        assert bob.players == {"bob": True}
        assert presence[-1] == ("ann", False)
        assert ann.connected


async def test_who_comes_back_too_late_logs_in_afresh_and_rejoins(
    autojump_clock: MockClock,
) -> None:
    watched_kinds: list[str] = []
    async with (
        hosting(Table, resume_grace=5) as server,
        playing(server, "ann", "bob") as (
            ann,
            bob,
        ),
    ):
        await bob.create_game("table 1", password="pw")
        await ann.join_game("table 1", password="pw")
        watched = Watched(ann)
        table = server.games["table 1"]

        async def expect_lost(name: str, iterator: Any) -> None:
            with pytest.raises(SessionLost, match="away for too long"):
                await anext(iterator)
            watched_kinds.append(name)

        async def expect_lost_request(message: str) -> None:
            with pytest.raises(SessionLost):
                await ann.request(Packet(message))
            watched_kinds.append(message)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect_lost_request, "wait")
            for name in ("pushes", "questions", "events"):
                iterator = getattr(ann, name)(raise_session_lost=True)
                nursery.start_soon(expect_lost, name, iterator)
            nursery.start_soon(expect_lost, "states", ann.states(dict, raise_session_lost=True))
            await wait_all_tasks_blocked()
            server.network.cut("ann")
            await trio.sleep(1)
            nursery.start_soon(expect_lost_request, "not sent yet")
            await trio.sleep(20)
            server.network.heal("ann")
        table.gate.set()
        await trio.sleep(6)
        assert sorted(watched_kinds) == [
            "events",
            "not sent yet",
            "pushes",
            "questions",
            "states",
            "wait",
        ]
        assert (ann.connected, ann.online, ann.game) == (True, True, "table 1")
        assert ann.players == {"bob": True, "ann": True}
        assert watched.of("connection") == [False, True]
        assert watched.of("game") == []
        assert table.calls[-1] == "ann joined"
        assert (await ann.request(Packet("note", {"n": 1}))).payload == {"n": 1}
        await bob.request(Packet("say", {"n": 5}))
        assert (await anext(ann.pushes())).payload == {"n": 5}


async def test_a_program_that_a_lost_session_ends_has_the_reason_in_its_status(
    autojump_clock: MockClock,
) -> None:
    async with hosting(Table, resume_grace=5) as server:
        ann = server.client("ann")
        with pytest.raises(SessionLost):
            async with ann:
                await ann.create_game("table 1")
                server.network.cut("ann")
                await trio.sleep(10)
                server.network.heal("ann")
                await anext(ann.pushes(raise_session_lost=True))
        assert (
            ann.status == "Disconnected: The server was restarted, or you were away for too long."
        )


async def test_who_cannot_rejoin_is_told_to_be_in_no_game(autojump_clock: MockClock) -> None:
    async with two_at_a_table(resume_grace=5) as (server, table, ann, _):
        watched = Watched(ann)
        server.network.cut("ann")
        await trio.sleep(10)
        table.room.locked = True
        server.network.heal("ann")
        await trio.sleep(6)
        assert (ann.connected, ann.online, ann.game) == (True, True, None)
        assert watched.of("game") == [None]
        assert ann.players == {}
        table.room.locked = False
        await ann.join_game("table 1")


async def test_a_second_loss_before_the_answer_still_leads_back_into_the_game(
    autojump_clock: MockClock,
) -> None:
    async with two_at_a_table(resume_grace=5) as (server, _, ann, _bob):
        async with trio.open_nursery() as nursery:
            server.network.cut("ann")
            await trio.sleep(10)

            def cut_at_join(record: Any, frame: bytes) -> None:
                # The answer to the log-in is the third frame that comes; the next is lost.
                if record.what == "receive" and record.where.endswith("<-"):
                    seen.append(record)
                    if len(seen) == 2:
                        server.network.on_record = None
                        nursery.start_soon(cut)

            async def cut() -> None:
                server.network.cut("ann")
                await trio.sleep(20)
                server.network.heal("ann")
                came.set()

            came = trio.Event()
            seen: list[Any] = []
            server.network.on_record = cut_at_join
            server.network.heal("ann")
            await came.wait()
        await trio.sleep(20)
        assert (ann.connected, ann.game) == (True, "table 1")
        assert (await ann.request(Packet("hello"))).message == "hello"


async def test_after_a_crash_of_the_server_everybody_logs_in_again_and_rejoins(
    autojump_clock: MockClock,
) -> None:
    class Lasting(Table):
        persistent = True

        def get_save_string(self) -> str:
            return "saved"

    async with (
        hosting(Lasting, autosave_interval=1) as server,
        playing(server, "ann", "bob", game="table 1") as (ann, bob),
    ):
        await trio.sleep(2)
        watched = Watched(ann)
        await server.restart(crash=True)
        await trio.sleep(10)
        for client in (ann, bob):
            assert (client.connected, client.online, client.game) == (True, True, "table 1")
        assert watched.of("connection") == [False, True]
        assert watched.of("game") == []
        assert sorted(server.games["table 1"].calls) == ["ann joined", "bob joined"]
        # Their numbers begin anew on both sides.
        for n in range(100):
            assert (await ann.request(Packet("note", {"n": n}))).payload == {"n": n}


# The client's side of it: for how long, how often, and how it ends.


async def test_without_reconnecting_a_drop_is_the_end(autojump_clock: MockClock) -> None:
    async with hosting(Table) as server, playing(server, "ann", reconnect_for=0) as ann:
        await ann.create_game("table 1")
        watched = Watched(ann)
        async with trio.open_nursery() as nursery:

            async def expect_disconnected() -> None:
                with pytest.raises(Disconnected, match="cut") as caught:
                    await ann.request(Packet("wait"))
                assert not isinstance(caught.value, SessionLost)

            nursery.start_soon(expect_disconnected)
            await wait_all_tasks_blocked()
            server.network.drop("ann")
        await wait_all_tasks_blocked()
        assert (ann.connected, ann.online, ann.game) == (False, False, None)
        assert "cut" in ann.close_reason
        assert watched.calls == [("players", {"ann": True}), ("connection", False)]


async def test_the_client_gives_up_in_time_and_says_why(autojump_clock: MockClock) -> None:
    async with hosting(Table, resume_grace=1000) as server:
        ann = server.client("ann", reconnect_for=7)
        async with trio.open_nursery() as nursery:
            await nursery.start(ann.run)
            start = trio.current_time()
            server.network.cut("ann")
            with pytest.raises(Disconnected, match="No server was reached"):
                await ann.request(Packet("hello"))
            assert trio.current_time() - start == pytest.approx(7, abs=0.01)
        assert "No server was reached" in ann.close_reason


class Switch(Connector):
    """A way that leads to another server once it is told so."""

    encrypted = True

    def __init__(self, *ways: Connector) -> None:
        self.ways = list(ways)
        self.uses = 0

    def __str__(self) -> str:
        return "the switch"

    def connect(self, max_message_size: int | None) -> Any:
        self.uses += 1
        return self.ways[0].connect(max_message_size)


@asynccontextmanager
async def another_server_in_its_place(
    **options: Any,
) -> AsyncIterator[tuple[Client, Switch, HostedServer, HostedServer]]:
    """Give a client that is logged in; its next connection leads to a server with another key."""
    async with (
        hosting(Table) as server,
        hosting(Table, network=SimulatedNetwork(1)) as other,
    ):
        switch = Switch(
            server.network.connector(server, "ann"), other.network.connector(other, "ann")
        )
        ann = Client(switch, username="ann", environment=server.network.environment("x"), **options)
        yield ann, switch, server, other


@pytest.mark.parametrize("how", ["run", "body"])
async def test_a_server_that_has_another_key_now_ends_the_client_soon_and_is_told_of_at_once(
    how: str, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    statuses: list[str] = []
    waited: list[Disconnected] = []
    async with another_server_in_its_place() as (ann, switch, server, other):

        async def switch_over() -> None:
            ann.on_status = statuses.append
            switch.ways.reverse()
            server.network.drop("ann")
            with pytest.raises(Disconnected) as caught:
                await ann.request(Packet("hello"))
            waited.append(caught.value)
            with pytest.raises(Disconnected) as caught:
                await anext(ann.pushes())
            waited.append(caught.value)

        start = trio.current_time()
        told = f"is {other.pubkey}, expected {server.pubkey}"

        async def run(task_status: trio.TaskStatus[Any]) -> None:
            with pytest.raises(ServerKeyMismatch, match=re.escape(told)):
                await ann.run(task_status=task_status)

        if how == "run":
            async with trio.open_nursery() as nursery:
                await nursery.start(run)
                await switch_over()
        else:
            with pytest.raises(ServerKeyMismatch, match=re.escape(told)):
                async with ann:
                    await switch_over()
        assert 5 < trio.current_time() - start < 15
        assert switch.uses > 3
        assert [type(error.__cause__) for error in waited] == [ServerKeyMismatch] * 2
        assert "public key" in ann.close_reason
        status = next(status for status in statuses if "public key" in status)
        assert told in status
        assert "ask who runs it" in status
        (warning,) = [record for record in caplog.records if record.levelname == "WARNING"]
        assert told in warning.getMessage()
        assert "key_file" in warning.getMessage()
        assert other.stats().users == 0


async def test_somebody_in_the_servers_place_for_a_moment_ends_nothing(
    autojump_clock: MockClock,
) -> None:
    async with another_server_in_its_place() as (ann, switch, server, _), ann:
        await ann.create_game("table 1")
        switch.ways.reverse()

        def put_back(status: str) -> None:
            if "public key" in status:
                switch.ways.reverse()

        ann.on_status = put_back
        server.network.drop("ann")
        assert (await ann.request(Packet("note", {"n": 1}))).message == "note"


async def test_another_key_once_and_nobody_there_for_long_ends_nothing(
    autojump_clock: MockClock,
) -> None:
    async with another_server_in_its_place() as (ann, switch, server, _), ann:
        switch.ways.reverse()

        def put_back(status: str) -> None:
            if "public key" in status:
                server.network.cut("ann")
                switch.ways.reverse()

        ann.on_status = put_back
        server.network.drop("ann")
        await trio.sleep(20)
        assert (ann.connected, ann.online) == (True, False)
        server.network.heal("ann")
        await trio.sleep(6)
        assert ann.online


async def test_who_wants_to_try_for_ever_bears_another_key_too(autojump_clock: MockClock) -> None:
    async with (
        another_server_in_its_place(reconnect_for=None) as (ann, switch, server, _),
        ann,
    ):
        switch.ways.reverse()
        server.network.drop("ann")
        await trio.sleep(1000)
        assert "public key" in ann.status
        switch.ways.reverse()
        await trio.sleep(6)
        assert ann.online


async def test_without_a_limit_the_client_never_gives_up(autojump_clock: MockClock) -> None:
    async with hosting(Table) as server, playing(server, "ann", reconnect_for=None) as ann:
        server.network.cut("ann")
        await trio.sleep(5_000)
        server.network.heal("ann")
        await trio.sleep(6)
        assert ann.online


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
async def test_tries_to_come_back_are_spread_by_full_jitter(
    share: float, autojump_clock: MockClock
) -> None:
    async with hosting(Table, resume_grace=1000) as server:
        ann = server.client("ann", reconnect_for=60)

        def random_bytes(count: int) -> bytes:
            return int(share * (2 ** (8 * count) - 1)).to_bytes(count)

        async with trio.open_nursery() as nursery:
            await nursery.start(ann.run)
            ann._run.session._environment = attrs.evolve(
                ann._run.session._environment, random_bytes=random_bytes
            )
            server.network.cut("ann")
            if share == 0:
                # Nothing else holds it back: it may try at once, each time.
                server.network.heal("ann")
                await wait_all_tasks_blocked()
                assert ann.online
                ann.disconnect()
                return
            await trio.sleep(59)
            ann.disconnect()
        tries = [record.time for record in server.network.records if record.what == "refuse"]
        waits = [later - earlier for earlier, later in itertools.pairwise(tries)]
        expected = [share * min(0.1 * 2**n, 5) for n in range(1, len(waits) + 1)]
        assert waits == pytest.approx(expected, abs=0.001)


@pytest.mark.parametrize("busy", [True, False])
async def test_a_connection_that_breaks_each_time_is_tried_less_and_less(
    busy: bool, autojump_clock: MockClock
) -> None:
    async with hosting(Table, resume_grace=1000) as server:
        ann = server.client("ann", reconnect_for=30)
        async with trio.open_nursery() as nursery:
            await nursery.start(ann.run)
            await ann.create_game("table 1")
            start = trio.current_time()
            if busy:
                ann.send(Packet("wait"), print)
                await wait_all_tasks_blocked()

            def break_when_back(record: Any, frame: bytes) -> None:
                if record.what == "receive" and record.where.endswith("<-"):
                    frames.append(record.where)
                    # The second frame says that the session goes on.
                    if frames.count(record.where) == 2:
                        nursery.start_soon(drop)

            async def drop() -> None:
                server.network.drop("ann")

            frames: list[str] = []
            server.network.on_record = break_when_back
            server.network.drop("ann")
            with trio.move_on_after(100):
                await ann._run.ended.wait()
            assert 5 < len(set(frames)) < 80
            if busy:
                # It may be what is asked that breaks it.
                assert trio.current_time() - start == pytest.approx(30, abs=0.1)
                assert "cut" in ann.close_reason
            else:
                assert ann.connected
                ann.disconnect()


@pytest.mark.parametrize("how", ["disconnect", "leave", "cancel", "raise"])
async def test_who_goes_gives_up_the_seat_at_once(how: str, autojump_clock: MockClock) -> None:
    async with hosting(Table) as server, playing(server, "bob") as bob:
        await bob.create_game("table 1")
        table = server.games["table 1"]
        try:
            with trio.CancelScope() as scope:
                async with server.client("ann") as ann:
                    await ann.join_game("table 1")
                    match how:
                        case "disconnect":
                            ann.disconnect()
                            await wait_all_tasks_blocked()
                        case "cancel":
                            scope.cancel()
                            await trio.lowlevel.checkpoint()
                        case "raise":
                            raise KeyError("the program's own")
        except KeyError:
            assert how == "raise"
        now = trio.current_time()
        await wait_all_tasks_blocked()
        assert table.calls[-1] == "ann left"
        assert "ann dropped" not in table.calls
        assert trio.current_time() == now
        assert list(server.stats().sessions) == ["bob"]


async def test_a_program_may_go_while_its_client_is_coming_back(autojump_clock: MockClock) -> None:
    async with hosting(Table) as server:
        for moment in (0.0, 0.05, 0.5, 3.0):
            now = trio.current_time()
            async with server.client("ann") as ann:
                server.network.cut("ann")
                await trio.sleep(moment)
            assert trio.current_time() - now == pytest.approx(moment, abs=0.01)
            assert ann.close_reason == "disconnected by this client"
            server.network.heal("ann")


async def test_disconnecting_before_the_log_in_is_a_clear_failure(
    autojump_clock: MockClock,
) -> None:
    async with hosting(Table) as server:
        server.network.partition("ann")
        ann = server.client("ann")
        async with trio.open_nursery() as nursery:

            async def fail() -> None:
                with pytest.raises(ConnectFailed, match="disconnected by this client"):
                    await ann.run()

            nursery.start_soon(fail)
            await wait_all_tasks_blocked()
            ann.disconnect()


async def test_the_log_tells_how_users_and_games_come_and_go(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pgnet_trio.server")
    async with hosting(Plain) as server, server.client("bob"):
        async with server.client("ann") as ann:
            await ann.create_game("table 1")
        await wait_all_tasks_blocked()
        server.network.cut("bob")
        await trio.sleep(60)
        told = [record.getMessage().partition(": ")[0] for record in caplog.records]
    assert "Server of Plain " in caplog.records[0].getMessage()
    assert told == [
        "Serving",
        "bob logged in from host of bob",
        "ann logged in from host of ann",
        "The game 'table 1' has begun",
        "ann is out",
        "The game 'table 1' has ended",
        "bob lost the connection, and may come back within 30 s",
        "bob is out",
    ]


async def test_the_log_says_of_no_game_that_it_has_ended_with_the_server(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pgnet_trio.server")
    async with hosting(Plain) as server, playing(server, "ann", game="table 1"):
        await server.restart()
    assert "The game 'table 1' is closed: The server is shutting down." in caplog.text
    assert "has ended" not in caplog.text


async def test_a_session_without_grace_ends_with_its_connection(autojump_clock: MockClock) -> None:
    async with (
        hosting(Table, resume_grace=0) as server,
        playing(server, "ann", "bob") as (
            ann,
            bob,
        ),
    ):
        await bob.create_game("table 1")
        await ann.join_game("table 1")
        table = server.games["table 1"]
        server.network.drop("ann")
        await trio.sleep(5)
        assert table.calls == ["bob joined", "ann joined", "ann left", "ann joined"]
        assert (ann.connected, ann.game) == (True, "table 1")


async def test_a_drop_while_the_server_shuts_down_holds_up_nothing(
    autojump_clock: MockClock,
) -> None:
    async with (
        hosting(Table) as server,
        playing(server, "ann", "bob", game="table 1") as (
            ann,
            bob,
        ),
    ):
        now = trio.current_time()
        server.network.cut("ann")
        server.shutdown()
        await bob._run.ended.wait()
        assert bob.close_reason == "The server is shutting down."
        assert trio.current_time() - now < 3
        await server.stopped.wait()
        assert trio.current_time() - now < 3
        assert ann.connected
        ann.disconnect()


# What happens to a user who is away.


async def test_who_is_sent_away_while_gone_learns_it_on_return(autojump_clock: MockClock) -> None:
    async with two_at_a_table() as (server, table, ann, bob):
        server.network.cut("ann")
        await trio.sleep(1)
        table.room.kick("ann", "You were away for too long.")
        await trio.sleep(1)
        assert bob.players == {"bob": True}
        server.network.heal("ann")
        await trio.sleep(5)
        assert ann.game is None
        assert ann.left == Left("table 1", "kicked", "You were away for too long.")
        await ann.create_game("table 2")


async def test_who_was_in_a_destroyed_game_learns_it_on_return(autojump_clock: MockClock) -> None:
    async with two_at_a_table(admin_password="pw") as (server, _, ann, _bob):
        server.network.cut("ann")
        await trio.sleep(1)
        async with server.client("admin", "pw") as admin:
            await admin.request(Packet(Request.DESTROY_GAME, {"name": "table 1"}))
        server.network.heal("ann")
        await trio.sleep(5)
        assert ann.game is None
        assert ann.left is not None
        assert (ann.left.game, ann.left.reason) == ("table 1", "destroyed")


async def test_a_user_who_is_deleted_while_gone_cannot_come_back(autojump_clock: MockClock) -> None:
    async with two_at_a_table() as (server, table, ann, _):
        server.network.cut("ann")
        await trio.sleep(1)
        server.registration_enabled = False
        server.delete_user("ann")
        await trio.sleep(1)
        assert table.calls[-1] == "ann left"
        server.network.heal("ann")
        await trio.sleep(6)
        assert not ann.connected
        assert "deleted" in ann.close_reason


async def test_a_full_server_counts_those_who_are_away_but_lets_them_back(
    autojump_clock: MockClock,
) -> None:
    async with (
        hosting(Table, max_connections=2) as server,
        playing(server, "ann", "bob") as (
            ann,
            _,
        ),
    ):
        server.network.cut("ann")
        await trio.sleep(1)
        with pytest.raises(ConnectFailed, match="full"):
            await server.client("eve").run()
        server.network.heal("ann")
        await trio.sleep(5)
        assert ann.online
        assert server.stats().away == 0


@pytest.mark.parametrize("protocol", [1, 2])
async def test_those_who_left_are_counted_no_more(protocol: int, autojump_clock: MockClock) -> None:
    async with hosting(Table, max_connections=2, resume_grace=0) as server:
        for _ in range(5):
            async with server.client("ann", protocol=protocol):
                server.network.drop("ann")
                await wait_all_tasks_blocked()
            await trio.sleep(1)
        assert server.stats().away == 0
        async with server.client("bob"), server.client("eve"):
            with pytest.raises(ConnectFailed):
                await server.client("ann").run()


# One seat a user.


async def test_the_right_password_from_elsewhere_takes_the_seat_over(
    autojump_clock: MockClock,
) -> None:
    class Asking(Table):
        async def run(self) -> None:
            await self.room.wait_players(2)
            self.answer = await self.room.ask("ann", Throw("which?"), Throw, timeout=100)
            await trio.sleep_forever()

        def view(self, player: str | None) -> dict[str, Any]:
            return {"for": player, "notes": len(self.notes)}

    async with (
        hosting(Asking) as server,
        playing(server, "bob", "ann", game="table 1") as (
            bob,
            first,
        ),
    ):
        table = server.games["table 1"]
        watched = Watched(first)
        question = await anext(first.questions(Throw))
        await trio.sleep(30)
        outcome: list[str] = []

        async def wait_in_vain() -> None:
            with pytest.raises(Disconnected, match="taken over"):
                await first.request(Packet("wait"))
            outcome.append("told")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_in_vain)
            await wait_all_tasks_blocked()
            async with server.client("ann") as second:
                # It is shown its game as soon as the turn in progress is over.
                table.gate.set()
                await wait_all_tasks_blocked()
                assert outcome == ["told"]
                assert not first.connected
                assert first.close_reason == "taken over"
                assert first.status == (
                    "You logged in from elsewhere; this program is out of the game."
                )
                assert not question.is_open
                assert (second.game, second.players) == ("table 1", {"bob": True, "ann": True})
                state = await second.wait_state(dict)
                assert state == {"for": "ann", "notes": 0}
                again = await anext(second.questions(Throw))
                assert again.prompt == Throw("which?")
                assert again.seconds_left == pytest.approx(70, abs=1)
                await again.answer(Throw("rock"))
                assert not again.is_open
                assert table.answer == Throw("rock")
                assert (await second.request(Packet("note", {"n": 1}))).payload == {"n": 1}
                assert bob.players == {"bob": True, "ann": True}
                # The older one stops for good: no tug of war.
                await trio.sleep(100)
                assert second.connected
                assert not first.connected
        assert watched.of("online") == []
        assert "ann dropped" not in table.calls


def from_elsewhere(server: HostedServer, username: str, place: str = "elsewhere") -> Client:
    """Make a client whose connection fares otherwise than that of the user's other ones."""
    network = server.network
    connector = network.connector(server, place)
    return Client(connector, username=username, environment=network.environment(place))


@pytest.mark.parametrize("knows_of_its_drop", [True, False])
async def test_a_seat_whose_client_is_away_is_taken_over_too_and_for_good(
    knows_of_its_drop: bool, autojump_clock: MockClock
) -> None:
    async with two_at_a_table() as (server, table, ann, bob):
        watched = Watched(ann)
        outcome: list[str] = []

        async def wait_in_vain() -> None:
            with pytest.raises(Disconnected, match="taken over") as caught:
                await ann.request(Packet("wait"))
            # What it asked is not lost with a session: the user has just turned to another client.
            assert not isinstance(caught.value, SessionLost)
            outcome.append("told")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_in_vain)
            await wait_all_tasks_blocked()
            if knows_of_its_drop:
                server.network.cut("ann")
            else:
                server.network.partition("ann")
            await trio.sleep(1)
            table.gate.set()
            async with from_elsewhere(server, "ann") as elsewhere:
                await wait_all_tasks_blocked()
                assert elsewhere.game == "table 1"
                assert bob.players == {"ann": True, "bob": True}
                if knows_of_its_drop:
                    assert table.calls[-1] == "ann resumed"
                await trio.sleep(30)
                assert outcome == []
                server.network.heal("ann")
                await trio.sleep(300)
                assert outcome == ["told"]
                assert (ann.connected, ann.online, ann.game) == (False, False, None)
                assert ann.close_reason == "taken over"
                assert watched.of("online") == [False]
                assert watched.of("connection") == [False]
                assert (elsewhere.connected, elsewhere.game) == (True, "table 1")
                assert table.room.players == ["ann", "bob"]


async def test_whoever_was_away_stays_out_whichever_client_has_the_seat_then(
    autojump_clock: MockClock,
) -> None:
    async with two_at_a_table() as (server, _, ann, _bob), trio.open_nursery() as nursery:
        server.network.cut("ann")
        later = [from_elsewhere(server, "ann", f"place {n}") for n in range(10)]
        for client in later:
            await nursery.start(client.run)
        server.network.heal("ann")
        await trio.sleep(60)
        assert ann.close_reason == "taken over"
        assert [client.connected for client in later] == [False] * 9 + [True]
        assert later[-1].game == "table 1"
        later[-1].disconnect()


async def test_no_request_is_kept_until_the_next_one(autojump_clock: MockClock) -> None:
    async def kept(*kinds: type) -> list[object]:
        await wait_all_tasks_blocked()
        return [each for each in gc.get_objects() if isinstance(each, kinds)]

    async with two_at_a_table() as (_, _table, ann, bob):
        await ann.request(Packet(Request.GAME_DIR))
        assert await kept(RequestReceived, PacketTurn) == []
        await bob.request(Packet("note", {"n": 1}))
        assert await kept(RequestReceived) == []


async def test_tokens_of_clients_that_were_taken_over_do_not_pile_up(
    autojump_clock: MockClock,
) -> None:
    async with hosting(Table) as server, trio.open_nursery() as nursery:
        for _ in range(100):
            client = server.client("ann")
            await nursery.start(client.run)
        await wait_all_tasks_blocked()
        assert 0 < server.stats().sessions["ann"].superseded_tokens < 20
        client.disconnect()


async def test_a_seat_that_is_free_again_is_anybodys_who_has_the_password(
    autojump_clock: MockClock,
) -> None:
    async with two_at_a_table() as (server, table, ann, _):
        server.network.cut("ann")
        await trio.sleep(1)
        async with from_elsewhere(server, "ann"):
            await trio.sleep(1)
        server.network.heal("ann")
        await trio.sleep(6)
        assert (ann.online, ann.game) == (True, "table 1")
        assert table.calls[-2:] == ["ann left", "ann joined"]


async def test_a_wrong_password_takes_nothing_over(autojump_clock: MockClock) -> None:
    async with hosting(Table) as server:
        async with server.client("ann", "pw") as ann:
            with pytest.raises(LoginRefused, match="not right"):
                await server.client("ann", "guess").run()
            assert ann.online
            await ann.create_game("table 1")


async def test_a_server_may_refuse_second_log_ins_instead(autojump_clock: MockClock) -> None:
    async with hosting(Table, duplicate_login="refuse") as server, playing(server, "ann") as ann:
        with pytest.raises(ConnectFailed, match="connected already"):
            await server.client("ann").run()
        assert ann.online


async def test_protocol_1_never_takes_over(autojump_clock: MockClock) -> None:
    async with hosting(Plain) as server, playing(server, "ann") as ann:
        with pytest.raises(LoginRefused, match="connected already"):
            await server.client("ann", protocol=1).run()
        assert ann.online
        ann.disconnect()
        await wait_all_tasks_blocked()
        async with server.client("ann", protocol=1) as older:
            assert older.protocol == 1
            await older.create_game("table 1")
            async with server.client("ann") as newer:
                assert newer.game == "table 1"
                await wait_all_tasks_blocked()
                assert not older.connected


@pytest.mark.parametrize("seed", seeds(3))
async def test_of_many_log_ins_at_once_one_holds_the_seat_in_the_end(
    seed: int, autojump_clock: MockClock
) -> None:
    async with hosting(Table, network=SimulatedNetwork(seed, jitter=0.1)) as server:
        clients = [server.client("ann") for _ in range(5)]
        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(client.run)
            await trio.sleep(30)
            (winner,) = [client for client in clients if client.connected]
            assert {c.close_reason for c in clients if c is not winner} == {"taken over"}
            await winner.create_game("table 1")
            assert list(server.stats().sessions) == ["ann"]
            winner.disconnect()


async def test_a_log_in_right_after_a_goodbye_waits_for_the_seat(autojump_clock: MockClock) -> None:
    leaving = trio.Event()

    class Clingy(Plain):
        async def user_left(self, username: str, /) -> Any:
            await leaving.wait()

    async with hosting(Clingy, duplicate_login="refuse") as server:
        for number, protocol in enumerate((1, 2, 1, 2)):
            async with server.client("ann", protocol=protocol) as ann:
                await ann.create_game(f"table {number}")
        leaving.set()


async def test_a_take_over_while_joining_ends_up_in_the_game_or_out_of_it(
    autojump_clock: MockClock,
) -> None:
    class Choosy(Table):
        def __init__(self, name: str, save_string: str | None = None) -> None:
            super().__init__(name, save_string)
            self.refuses = name == "refusing"

        async def user_joined(self, username: str, /) -> Any:
            await self.gate.wait()
            if self.refuses:
                raise Reject("Not you.")
            await super_joined(self, username)

    async def super_joined(table: Table, username: str) -> None:
        table.calls.append(f"{username} joined")

    for name, game in (("table 1", "table 1"), ("refusing", None)):
        async with hosting(Choosy) as server, server.client("ann") as first:
            first.join_game(name, callback=None)
            await wait_all_tasks_blocked()
            async with server.client("ann") as second:
                await wait_all_tasks_blocked()
                assert second.game is None
                server.games[name].gate.set()
                await wait_all_tasks_blocked()
                assert second.game == game
                assert not first.connected


async def test_what_the_older_client_asked_costs_the_newer_one_nothing(
    autojump_clock: MockClock,
) -> None:
    async with hosting(Table, max_unacknowledged_bytes=20_000) as server:
        async with server.client("ann") as first:
            await first.create_game("table 1")
            first.send(Packet("wait", {"x": "x" * 1000}), print)
            for n in range(50):
                first.send(Packet("note", {"n": n, "x": "x" * 1000}), print)
            await wait_all_tasks_blocked()
            async with server.client("ann") as second:
                server.games["table 1"].gate.set()
                await wait_all_tasks_blocked()
                assert not first.connected
                assert second.game == "table 1"
                # What it asked was carried out all the same, and once.
                assert server.games["table 1"].notes == list(range(50))
                await second.request(Packet("note", {"n": 50}))


async def test_who_is_not_let_in_for_now_tries_again(autojump_clock: MockClock) -> None:
    statuses: list[str] = []
    async with (
        hosting(Table, max_connections=3, resume_grace=15) as server,
        playing(server, "ann", "bob", "zoe") as (ann, _, _),
    ):
        ann.on_status = statuses.append
        server.network.cut("ann")
        await trio.sleep(10)
        server.network.cut("zoe")
        await trio.sleep(6)
        async with server.client("eve"):
            # Ann's session is over, and Zoe's seat is kept for her.
            server.network.heal("ann")
            await trio.sleep(6)
            assert (ann.connected, ann.online) == (False, False)
            assert "The server is full." in "".join(statuses)
            await trio.sleep(9)
            assert (ann.connected, ann.online) == (True, True)


# Who is no client of ours.


async def test_a_resume_without_the_token_gets_nothing(autojump_clock: MockClock) -> None:
    async with (
        hosting(Table) as server,
        playing(server, "ann", password="the right one", game="table 1") as ann,
    ):
        thief = server.client("ann", "a guess", reconnect_for=5)
        thief._run.session._login._token = bytes(32)
        with pytest.raises(LoginRefused):
            # It has to log in then, which takes the password.
            thief._run = thief._make_run("")
            thief._run.session._login._token = bytes(32)
            await thief._run.session.run()
        assert ann.online
        assert "ann dropped" not in server.games["table 1"].calls


async def test_requests_of_an_answer_that_cannot_travel_are_answered_all_the_same(
    autojump_clock: MockClock,
) -> None:
    class Unsound(Table):
        async def handle_game_packet(self, packet: Packet, /) -> Response:
            return Response("x", {"x": object()})

    async with hosting(Unsound) as server, playing(server, "ann", game="table 1") as ann:
        for _ in range(100):
            answer = await ann.request(Packet("x"))
            assert "cannot travel" in answer.message
            with pytest.raises(RequestFailed):
                answer.raise_for_status()

"""Two servers that share their accounts, with real clients, in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

from pgnet_trio import Client, Packet, Request
from pgnet_trio.client.connector import Connector
from pgnet_trio.crypto import KeyPair
from pgnet_trio.errors import ConnectFailed
from pgnet_trio.testing import HostedServer, SimulatedNetwork
from pgnet_trio.testing.clusters import cluster
from pgnet_trio.testing.engine import SimulatedDatabase, SimulatedEngine
from tests.kit.hosting import CountingHasher, Recorder

if TYPE_CHECKING:
    from trio.testing import MockClock

KEY = KeyPair(bytes(range(32)))


@attrs.frozen
class Pair:
    """Two servers of a cluster.

    Attributes:
        hasher: Counts what both of them hash.
    """

    database: SimulatedDatabase
    hasher: CountingHasher
    north: HostedServer
    south: HostedServer


def server_of(database: SimulatedDatabase, network: SimulatedNetwork, **options: Any) -> Any:
    server = HostedServer(Recorder, network=network, save_file=None, **options)
    server._carryover.engine = SimulatedEngine(database)
    server._carryover.key = KEY
    return server


class Way(Connector):
    """A way to the first server, and later to the second one."""

    encrypted = True

    def __init__(self, network: SimulatedNetwork, north: HostedServer, south: HostedServer) -> None:
        self.leads_south = False
        self._ways = network.connector(north, "ann"), network.connector(south, "ann")

    def __str__(self) -> str:
        return "the cluster"

    def connect(self, max_message_size: int | None) -> Any:
        return self._ways[self.leads_south].connect(max_message_size)


async def debug_of(server: HostedServer) -> Any:
    async with server.client("admin", "root") as admin:
        return await asked(admin, Request.DEBUG)


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    database, network, hasher = SimulatedDatabase(), SimulatedNetwork(), CountingHasher()
    environment = attrs.evolve(network.environment("server"), password_hasher=hasher)
    options = {"admin_password": "root", "environment": environment}
    north, south = (server_of(database, network, **options) for _ in range(2))
    async with north.running(), south.running():
        yield Pair(database, hasher, north, south)


async def asked(client: Client, message: Request, **payload: Any) -> Any:
    return (await client.request(Packet(message, payload))).payload


async def refused(server: HostedServer, username: str, password: str = "", **options: Any) -> str:
    with pytest.raises(ConnectFailed) as caught:
        async with server.client(username, password, **options):
            pass
    return str(caught.value)


async def test_who_registers_at_one_server_logs_in_at_the_other(
    autojump_clock: MockClock, pair: Pair
) -> None:
    async with pair.north.client("ann", "pw"):
        pass
    assert "password is not right" in await refused(pair.south, "ann", "guess")
    async with pair.south.client("ann", "pw") as ann:
        assert ann.connected
    assert "'ann' already" in await refused(pair.south, "Ann", "pw")


async def test_a_token_of_one_server_lets_in_at_the_other_without_a_hash(
    autojump_clock: MockClock, pair: Pair
) -> None:
    network = pair.north.network
    way = Way(network, pair.north, pair.south)
    client = Client(way, username="ann", password="pw", environment=network.environment("ann"))
    async with client:
        assert client._run.session._login._login_token
        # The north is gone, and its sessions with it.
        way.leads_south = True
        pair.north.network.drop_all_to(pair.north)
        await trio.sleep(5)
        assert client.connected
        assert pair.hasher.verified == 0
        connected = await debug_of(pair.south)
        assert "ann" in connected["connected_users"]


async def test_who_is_sent_to_another_server_logs_in_there_without_a_hash(
    autojump_clock: MockClock,
) -> None:
    network, hasher = SimulatedNetwork(), CountingHasher()
    environment = attrs.evolve(network.environment("server"), password_hasher=hasher)
    async with cluster(Recorder, network=network, environment=environment) as servers:
        ann = await servers.play("ann", "pw", node="a", game="table")
        again = await servers.play("ann", "pw", node="b")
        assert again.game == "table"
        assert not ann.connected
        assert list(servers.nodes["a"].stats().sessions) == ["ann"]
        assert hasher.verified == 1
        with pytest.raises(ConnectFailed, match="password is not right"):
            async with servers.client("ann", "guess", node="b"):
                pass
        assert hasher.verified == 2


async def test_a_log_in_that_nobody_waits_for_takes_over_from_no_later_one(
    autojump_clock: MockClock,
) -> None:
    async with cluster(Recorder, nodes=1) as servers:
        async with servers.client("ann", "pw"):
            pass
        engine = servers.nodes["a"].engine
        engine.answer_delay = 3.0
        with trio.move_on_after(2.0):
            async with servers.client("ann", "pw"):
                pass
        engine.answer_delay = 0.0
        ann = await servers.play("ann", "pw", game="table")
        await trio.sleep(10)
        assert ann.connected
        # The next one takes over, as ever.
        again = await servers.play("ann", "pw")
        assert again.game == "table"
        assert not ann.connected


async def test_what_the_admin_does_at_one_server_holds_at_the_other(
    autojump_clock: MockClock, pair: Pair
) -> None:
    async with pair.north.client("admin", "root") as admin, pair.north.client("bob", "pw"):
        await asked(admin, Request.SET_REGISTRATION, set_as=False)
        assert "need an invite code" in await refused(pair.south, "ann", "pw")
        assert not pair.north.registration_enabled
        code = (await asked(admin, Request.CREATE_INVITE, username="ann"))["code"]
        async with pair.south.client("ann", "pw", invite_code=code) as ann:
            assert ann.connected
        shown = await asked(admin, Request.DEBUG)
        assert (shown["all_users"], shown["invite_codes"]) == (["ann", "bob"], {})
        assert (shown["registration"], shown["deleted_users"]) == (False, [])
        await asked(admin, Request.DELETE_USER, username="ann")
        assert "need an invite code" in await refused(pair.south, "ann", "pw")
        answer = await admin.request(Packet(Request.DELETE_USER, {"username": "ann"}))
        assert answer.message == "There is no user 'ann'."
        # Somebody who is here is put out at once.
        await asked(admin, Request.DELETE_USER, username="bob")
        assert "bob" not in (await asked(admin, Request.DEBUG))["connected_users"]


async def test_a_program_deletes_users_and_sets_the_switch(
    autojump_clock: MockClock, pair: Pair
) -> None:
    async with pair.north.client("ann", "pw"):
        pair.south.registration_enabled = False
        pair.south.delete_user("ann")
        pair.south.delete_user("nobody")
        await trio.sleep(1)
        assert "need an invite code" in await refused(pair.north, "ann", "pw")
    assert pair.north.stats().users == 0
    await trio.sleep(61)
    assert not pair.north.registration_enabled


async def test_a_player_is_told_that_the_database_is_away_and_comes_back_by_themselves(
    autojump_clock: MockClock, pair: Pair
) -> None:
    async with pair.north.client("ann", "pw") as ann:
        pair.database.stop()
        said = await refused(pair.south, "bob", "pw")
        assert "database cannot be reached now; try again in a moment" in said
        # Who is here goes on, and so does who has lost their connection.
        await ann.get_game_dir()
        pair.north.network.drop_all_to(pair.north)
        await trio.sleep(5)
        assert ann.connected
        # A log-in is tried again until it can be looked up.
        await pair.north.restart(crash=True)
        await trio.sleep(5)
        away = ann.connected
        pair.database.start()
        await trio.sleep(30)
        assert (away, ann.connected) == (False, True)


async def test_guesses_at_one_server_count_at_the_other(
    autojump_clock: MockClock, pair: Pair
) -> None:
    async with pair.north.client("ann", "pw"):
        pass
    for _ in range(5):
        assert "not right" in await refused(pair.north, "ann", "guess")
    hashes = pair.hasher.verified
    assert "Too many failed log-ins" in await refused(pair.south, "ann", "guess")
    assert pair.hasher.verified == hashes

"""Two versions of a game, and of the package, in one cluster: upgrades of one server at a time."""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from pgnet_trio import Client, CodecError, Game, Packet, RequestFailed, Response, Server
from pgnet_trio.server import preparation
from pgnet_trio.server.cluster.errors import EngineError
from pgnet_trio.server.cluster.sql import SCHEMA_VERSION, check_version
from pgnet_trio.server.cluster.versions import NodeVersion
from pgnet_trio.server.games.save_format import pack, too_new, unpack, version_of
from pgnet_trio.testing import HostedCluster, MemoryStore, cluster, hosting

if TYPE_CHECKING:
    from trio.testing import MockClock

LEASE = 10.0


@attrs.frozen
class Count:
    count: int


@attrs.frozen
class Tally:
    total: int
    unit: str


class Counter(Game):
    """The game as it was."""

    persistent = True

    def __init__(self, name: str, save_string: str | None = None) -> None:
        saved = self.room.saved(Count)
        self.count = saved.count if saved else 0

    def get_save_string(self) -> Any:
        return Count(self.count)

    def handle_game_packet(self, packet: Packet) -> Response:
        self.count += 1
        return Response(str(self.count))


class NewCounter(Counter):
    """The game as it is now: what it saves is no `Count` any more."""

    save_version = 1

    def __init__(self, name: str, save_string: str | None = None) -> None:
        try:
            saved = self.room.saved(Tally)
        except CodecError:
            before = self.room.saved(Count)
            assert before is not None
            saved = Tally(before.count, "points")
        self.count = saved.total if saved else 0

    def get_save_string(self) -> Any:
        return Tally(self.count, "points")


# One cluster has one game, whose class may only change its version.
NewCounter.__name__ = Counter.__name__


async def count(client: Client) -> int:
    return int((await client.call(Packet("count"))).message)


def where(servers: HostedCluster, game: str) -> list[str]:
    return [name for name, node in servers.nodes.items() if game in node.stats().games]


async def upgrade(servers: HostedCluster, name: str) -> None:
    await servers.stop(name)
    await servers.start(name, NewCounter)


async def test_a_cluster_is_upgraded_one_server_after_the_other_while_people_play(
    autojump_clock: MockClock,
) -> None:
    async with cluster(Counter, lease=LEASE) as servers:
        clients = [
            await servers.play(f"user{number}", "secret", node=node, game=f"table {number}")
            for number, node in enumerate("aabbcc")
        ]
        answers: list[list[int]] = [[] for _ in clients]

        async def play(number: int) -> None:
            while len(answers[number]) < 400:
                answers[number].append(await count(clients[number]))
                await trio.sleep(0.05)

        async with trio.open_nursery() as nursery:
            for number in range(len(clients)):
                nursery.start_soon(play, number)
            for name in "abc":
                await trio.sleep(1)
                await upgrade(servers, name)
        # Each request once, wherever the game was meanwhile.
        assert answers == [list(range(1, 401))] * len(clients)
        assert all(client.online for client in clients)


async def test_a_game_goes_to_no_server_that_could_not_load_it(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with cluster(Counter, lease=LEASE) as servers:
        await upgrade(servers, "c")
        ann = await servers.play("ann", "secret", node="c", game="table")
        assert await count(ann) == 1
        eve = await servers.play("eve", "secret", node="b")
        await servers.stop("c")
        assert "all are of other versions" in caplog.text
        assert where(servers, "table") == []
        # Nobody who is left can load it, and nothing of it is lost.
        with pytest.raises(RequestFailed, match="saved by a newer version of its rules"):
            await eve.join_game("table")
        await servers.start("c", NewCounter)
        # A server that cannot load it sends whoever wants it to one that can.
        await eve.join_game("table")
        assert where(servers, "table") == ["c"]
        assert await count(eve) == 2


async def test_the_games_of_a_newer_server_that_dies_are_left_to_another_newer_one(
    autojump_clock: MockClock,
) -> None:
    async with cluster(Counter, nodes=4, lease=LEASE) as servers:
        for name in "cd":
            await upgrade(servers, name)
        ann = await servers.play("ann", "secret", node="c", game="table")
        assert await count(ann) == 1
        await trio.sleep(11)
        servers.kill("c")
        await trio.sleep(LEASE + 1)
        bob = await servers.play("bob", "secret", node="a")
        await bob.join_game("table")
        assert where(servers, "table") == ["d"]
        assert await count(bob) == 2


async def test_servers_whose_packages_do_not_understand_each_other_go_on_from_saves(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with cluster(Counter, nodes=2, lease=LEASE) as servers:
        ann = await servers.play("ann", "secret", node="a", game="table")
        assert await count(ann) == 1
        await servers.stop("b")
        with monkeypatch.context() as changed:
            changed.setattr(preparation, "FORMATS", "9.9")
            await servers.start("b")
        bob = await servers.play("bob", "secret", node="b")
        with pytest.raises(RequestFailed, match="the servers are being upgraded"):
            await bob.join_game("table")
        await servers.stop("a")
        assert "all are of other versions" in caplog.text
        await bob.join_game("table")
        assert where(servers, "table") == ["b"]
        assert await count(bob) == 2


# A single server


async def test_a_server_leaves_a_save_alone_that_it_cannot_load(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = MemoryStore()
    async with hosting(NewCounter, store=store) as server, server.client("ann") as ann:
        await ann.join_game("table")
        assert await count(ann) == 1
    saved = store.state.games["table"]
    async with hosting(Counter, store=store) as server, server.client("ann") as ann:
        assert "with save_version 1, and this server knows 0" in caplog.text
        with pytest.raises(RequestFailed, match="saved by a newer version of its rules"):
            await ann.join_game("table")
    assert store.state.games["table"] == saved
    async with hosting(NewCounter, store=store) as server, server.client("ann") as ann:
        await ann.join_game("table")
        assert await count(ann) == 2


async def test_what_makes_the_games_need_not_be_their_class() -> None:
    def versions_of(make_game: Any) -> int | None:
        return Server(make_game, port=None)._options.save_version

    assert versions_of(NewCounter) == 1
    assert versions_of(functools.partial(NewCounter)) == 1
    assert versions_of(lambda name, save_string=None: NewCounter(name, save_string)) is None


@pytest.mark.parametrize("version", [True, -1, "2", 1.0])
def test_a_version_is_a_whole_number(version: Any) -> None:
    with pytest.raises(TypeError, match="expected a whole number from 0 on"):
        type("Odd", (Counter,), {"save_version": version})


def test_a_save_says_of_which_version_it_is() -> None:
    assert pack("board", {}) == "board"
    packed = pack("board", {}, version=3)
    assert unpack(packed) == ("board", {})
    assert (version_of(packed), version_of("board")) == (3, 0)
    assert too_new("table", packed, 3) == too_new("table", packed, None) == ""
    assert "with save_version 3, and this server knows 2" in too_new("table", packed, 2)
    # A server that knows nothing of versions reads it too.
    content = json.loads(packed)
    assert content["save_string"] == "board"


# What a node says of itself

WORDS = st.text("abcXYZ.0123456789", min_size=1, max_size=8)
VERSIONS = st.builds(
    NodeVersion,
    WORDS,
    WORDS,
    st.from_regex(r"[A-Z][a-z]{0,6}", fullmatch=True),
    st.none() | st.integers(0, 999),
)


@given(VERSIONS)
def test_a_node_says_of_which_version_it_is(version: NodeVersion) -> None:
    assert NodeVersion.decode(version.encode()) == version
    assert version.takes_over(version)


@given(st.text(max_size=30))
def test_any_text_stands_for_some_version(text: str) -> None:
    NodeVersion.decode(text)


@pytest.mark.parametrize(
    ("other", "takes_over"),
    [
        (NodeVersion("1", "1.1", "Table", 2), True),
        (NodeVersion("2", "1.1", "Table", 3), True),
        (NodeVersion("1", "1.1", "Table", 1), False),
        (NodeVersion("1", "1.1", "Table", None), True),
        (NodeVersion("1", "1.1", "Other", 2), False),
        (NodeVersion("1", "1.2", "Table", 2), False),
    ],
)
def test_who_takes_a_game_over(other: NodeVersion, takes_over: bool) -> None:
    assert other.takes_over(NodeVersion("1", "1.1", "Table", 2)) is takes_over


def test_a_cluster_of_a_later_version_is_refused_with_a_sentence() -> None:
    check_version([])
    check_version([(SCHEMA_VERSION,)])
    with pytest.raises(EngineError, match="use a version of pgnet_trio that knows it"):
        check_version([(SCHEMA_VERSION + 1,)])

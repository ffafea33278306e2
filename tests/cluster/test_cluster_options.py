"""`Cluster` and the texts that stand for an engine."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

from pgnet_trio import Game, Server
from pgnet_trio.crypto import KeyPair
from pgnet_trio.environment import Environment
from pgnet_trio.server.cluster.cluster import Cluster
from pgnet_trio.server.cluster.errors import EngineError
from pgnet_trio.server.cluster.opening import open_engine, shown
from pgnet_trio.server.cluster.sqlite_engine import SQLiteEngine
from pgnet_trio.storage import keep_key
from pgnet_trio.testing.engine import SimulatedDatabase, SimulatedEngine

if TYPE_CHECKING:
    from trio.testing import MockClock

URL = "postgresql://ann:secret@db.example:5432/game?password=secret"
ADDRESS = "a.example:38929"


async def test_a_server_that_is_refused_for_its_new_key_leaves_no_key_file(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    """The next start would find it, where the others' key is to lie."""
    database = SimulatedDatabase()

    def server(name: str) -> Server:
        member = Cluster(SimulatedEngine(database), node_address=f"{name}.example:1", name=name)
        key_file = tmp_path / f"{name}.key"
        return Server(Game, port=None, minimum_protocol=2, cluster=member, key_file=key_file)

    async with trio.open_nursery() as nursery:
        first, second = server("a"), server("b")
        await nursery.start(first.serve)
        for _ in range(2):
            with pytest.raises(EngineError, match="'a' has another key"):
                await second.serve()
            assert os.listdir(tmp_path) == ["a.key"]
        # One that was there before stays.
        keep_key(tmp_path / "b.key", KeyPair(bytes(range(32))))
        with pytest.raises(EngineError, match="'a' has another key"):
            await server("b").serve()
        assert sorted(os.listdir(tmp_path)) == ["a.key", "b.key"]
        first.shutdown()


async def test_a_server_that_cannot_be_part_of_its_cluster_leaves_no_key_file(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    engine = SimulatedEngine(SimulatedDatabase())
    (tmp_path / "game.txt").write_text("This is no save file.\n" * 100)
    for member in (
        Cluster(tmp_path / "game.txt", node_address=ADDRESS),
        Cluster(engine, node_address=ADDRESS, name="other"),
    ):
        key_file = tmp_path / "game.key"
        server = Server(Game, port=None, minimum_protocol=2, cluster=member, key_file=key_file)
        async with trio.open_nursery() as nursery:
            alive = Server(
                Game,
                port=None,
                minimum_protocol=2,
                cluster=Cluster(engine, node_address=ADDRESS, name="first"),
            )
            await nursery.start(alive.serve)
            with pytest.raises(EngineError, match=r"game\.txt|'first' already that clients find"):
                await server.serve()
            alive.shutdown()
        assert not key_file.exists()


@pytest.mark.parametrize("text", ["sqlite:game.sqlite", "game.sqlite", "/srv/game", r"C:\game.db"])
def test_a_path_is_a_save_file_that_processes_share(text: str) -> None:
    assert isinstance(open_engine(text), SQLiteEngine)


def test_an_address_of_postgresql_is_one() -> None:
    pytest.importorskip("psycopg")
    from pgnet_trio.server.cluster.postgres_engine import PostgresEngine

    for url in (URL, "postgres://h/d"):
        engine = open_engine(url, lease=20.0)
        assert isinstance(engine, PostgresEngine)
        assert engine.lease == 20.0


@pytest.mark.parametrize("text", ["", "sqlite:", "mysql://u:secret@h/d", "redis://secret"])
def test_other_texts_are_refused_without_a_password(text: str) -> None:
    with pytest.raises(EngineError, match="expected postgresql://") as caught:
        open_engine(text)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("text", ["game.json", "sqlite:game.json", "/srv/game.JSON"])
def test_a_save_file_of_json_is_for_one_server(text: str) -> None:
    with pytest.raises(EngineError, match=r"expected a save file of SQLite.*; got one of JSON"):
        open_engine(text)


def test_what_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pgnet_trio.server.cluster.postgres_engine", None)
    with pytest.raises(EngineError, match=r"pip install 'pgnet_trio\[postgres\]'"):
        open_engine(URL)


def test_a_text_is_shown_without_its_password() -> None:
    assert shown(URL) == "postgresql://db.example:5432/game"
    assert shown("postgresql://a:s@h1:1,h2:2/d") == "postgresql://h1:1,h2:2/d"
    assert shown("postgresql://a:se@cret@h/d") == "postgresql://h/d"
    assert shown("postgresql://[secret/d") == "postgresql://…"
    assert shown("sqlite:game.sqlite") == "sqlite:game.sqlite"


def test_a_cluster_shows_no_password() -> None:
    cluster = Cluster(URL, node_address=ADDRESS)
    assert repr(cluster) == (
        "Cluster('postgresql://db.example:5432/game', node_address='a.example:38929', "
        "name='a.example:38929')"
    )
    assert cluster.drain_wait == 0.0
    assert Cluster(URL, node_address=ADDRESS, name="north").name == "north"


@pytest.mark.parametrize(
    "address", ["a.example:1", "[::1]:38929", "ws://a:1", "wss://a.example/node-1", "/node-1"]
)
def test_addresses_that_clients_can_use(address: str) -> None:
    assert Cluster("game.sqlite", node_address=address).node_address == address


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"node_address": "a.example"}, ValueError, "node_address: expected where clients"),
        ({"node_address": "a.example:0"}, ValueError, "node_address"),
        ({"node_address": "a.example:70000"}, ValueError, "node_address"),
        ({"node_address": "http://a.example"}, ValueError, "node_address"),
        ({"node_address": "a b:1"}, ValueError, "node_address"),
        # No client could be told these, and the server would end when it is to tell the first.
        ({"node_address": "bücher.example:1"}, ValueError, "node_address: .* of ASCII"),
        ({"node_address": f"{'a' * 500}:1", "name": "a"}, ValueError, "at most 500 characters"),
        ({"node_address": None}, TypeError, "node_address"),
        ({"name": "a\nb"}, ValueError, "name: expected 1 to 100"),
        ({"name": "a" * 101}, ValueError, "name"),
        ({"name": 5}, TypeError, "name"),
        ({"drain_wait": -1}, ValueError, "drain_wait: expected 0 s or more"),
        ({"drain_wait": "5"}, TypeError, "drain_wait"),
        ({"drain_wait": True}, TypeError, "drain_wait"),
        ({"lease": 0.5}, ValueError, "lease: expected 1 s or more"),
        ({"lease": float("inf")}, ValueError, "lease"),
        ({"engine": "mysql://u:secret@h"}, ValueError, "Cluster: expected postgresql"),
        ({"engine": 5}, TypeError, "Cluster: expected postgresql"),
    ],
)
def test_what_makes_no_sense_is_refused(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        Cluster(**{"engine": "game.sqlite", "node_address": ADDRESS, **arguments})
    assert "secret" not in str(caught.value)


async def test_a_cluster_opens_its_engine(tmp_path: Path) -> None:
    engine = Cluster(tmp_path / "game.sqlite", node_address=ADDRESS, lease=4).open(Environment())
    assert isinstance(engine, SQLiteEngine)
    assert engine.lease == 4
    own = SimulatedEngine(SimulatedDatabase())
    assert Cluster(own, node_address=ADDRESS).open(Environment()) is own

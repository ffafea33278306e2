"""`pgnet-trio cluster`: what it shows, and that it shows no password."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from pgnet_trio.cli import main
from pgnet_trio.server.cluster.records import Created, NewRoom, RoomSave
from pgnet_trio.server.cluster.sqlite_engine import SQLiteEngine
from pgnet_trio.server.cluster.versions import NodeVersion

if TYPE_CHECKING:
    from pgnet_trio.server.cluster.engine import Engine


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "game.sqlite"


def in_engine(path: Path, work: Callable[[Engine], Awaitable[None]]) -> None:
    async def run() -> None:
        engine = SQLiteEngine(path, lease=60.0)
        async with trio.open_nursery() as nursery:
            await nursery.start(engine.run)
            await work(engine)
            nursery.cancel_scope.cancel()

    trio.run(run)


async def fill(engine: Engine) -> None:
    version = NodeVersion("2.0", "1.1", "Table", 3).encode()
    north = await engine.register("north", "n.example:1", version=version, load=3.0)
    south = await engine.register("south\x1b[2J", "", version="")
    for name in ("one", "two"):
        room = await engine.claim(north.node, name, new=NewRoom())
        assert isinstance(room, Created)
        await engine.save([RoomSave(name, room.epoch, "board")])
    for number in range(3):
        await engine.enter(south.node, f"user{number}", b"t")
    saved = await engine.claim(south.node, "saved", new=NewRoom())
    assert isinstance(saved, Created)
    await engine.give_back(RoomSave("saved", saved.epoch, "board"))


def test_the_status_is_a_table_of_nodes(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    in_engine(path, fill)
    assert main(["cluster", "status", f"sqlite:{path}"]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == f"The cluster of sqlite:{path}"
    heading, north, south, last = lines
    assert heading.split()[:6] == ["NODE", "NUMBER", "ADDRESS", "VERSION", "GAME", "STATE"]
    name, number, address, version, game, saves, state, seconds, *rest = north.split()
    unit, *figures = rest
    assert (name, number, address, state) == ("north", "1", "n.example:1", "ready")
    assert (version, game, saves) == ("2.0", "Table", "3")
    assert figures == ["2", "0", "3", "0", "ms"]
    assert 0 < float(seconds) <= 60
    assert unit == "s"
    assert "\x1b" not in south
    assert south.split()[-5:] == ["0", "3", "0", "0", "ms"]
    assert last == "Saved, and at no server now: 1 room"
    monkeypatch.setenv("PGNET_CLUSTER", str(path))
    assert main(["cluster", "status"]) == 0
    assert "n.example:1" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["north", "n.example:1", "1"])
def test_a_server_is_asked_to_drain(
    path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    in_engine(path, fill)
    assert main(["cluster", "drain", text, str(path)]) == 0
    assert "The server north is to give its games" in capsys.readouterr().out
    main(["cluster", "status", str(path)])
    assert "draining" in capsys.readouterr().out


def test_a_server_that_is_alone_is_said_to_be(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def register(engine: Engine) -> None:
        await engine.register("north", "")

    in_engine(path, register)
    assert main(["cluster", "drain", "north", str(path)]) == 0
    assert "There is no other one" in capsys.readouterr().out


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["cluster", *arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    return err


def test_mistakes_are_said(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PGNET_CLUSTER", raising=False)
    assert "PGNET_CLUSTER" in complaint(capsys, "status")
    assert "there is no save file" in complaint(capsys, "status", str(path))
    assert not path.exists()
    in_engine(path, fill)
    error = complaint(capsys, "drain", "west", str(path))
    assert "no server 'west'; those that are there: north, south" in error
    assert "begins with 'mysql:'" in complaint(capsys, "status", "mysql://u:secret@h/d")


def test_no_password_is_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("psycopg")
    monkeypatch.setenv("PGNET_CLUSTER", "postgresql://ann:secret@127.0.0.1:1/game?password=secret")
    assert "secret" not in complaint(capsys, "status")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--node-address", "a:1"], "are for --cluster"),
        (["--cluster", "x.sqlite", "--listen-globally"], "--node-address play.example.org:38929"),
        (["--cluster", "x.sqlite", "--port", "0"], "--node-address"),
        (
            ["--cluster", "postgresql://h/d", "--listen-globally", "--node-address", "a:1"],
            "same --key-file",
        ),
        (["--cluster", "--node-address", "a:1"], "PGNET_CLUSTER"),
        (["--cluster", "x.json"], "expected a save file of SQLite"),
        (["--cluster", "x.sqlite", "--node-address", "a"], "expected where clients"),
        (["--cluster", "x", "--node-address", "a:1", "--save-file", "y"], "--save-file"),
        (
            ["--cluster", "x", "--node-address", "a:1", "--minimum-protocol", "1"],
            "does not go together with --minimum-protocol 1",
        ),
    ],
)
def test_what_is_said_of_a_cluster_has_to_fit(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    problem: str,
) -> None:
    monkeypatch.delenv("PGNET_CLUSTER", raising=False)
    assert main(["serve", *arguments]) == 1
    assert problem in capsys.readouterr().err

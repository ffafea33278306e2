"""``pgnet-trio doctor``: what it finds, and that it says what to do."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trustme

from pgnet_trio.cli import doctor, doctor_cluster, doctor_time, main
from pgnet_trio.cli.clock import is_synchronised
from pgnet_trio.cli.doctor import examine
from pgnet_trio.server.cluster.opening import open_engine

GAME = """
from pgnet_trio import Game

class Board(Game):
    persistent = True
"""

AS_USER = pytest.mark.skipif(
    sys.platform == "win32" or os.getuid() == 0, reason="root may write everywhere"
)


def module(folder: Path, text: str, name: str = "board") -> str:
    """Write a game's file; no other test has a module of this name."""
    path = folder / f"{name}_{folder.name}.py"
    path.write_text(text)
    return f"{path}:Board"


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    """The options of a server with which all is well."""
    return {
        "game": module(tmp_path, GAME),
        "save_file": str(tmp_path / "game.sqlite"),
        "port": 0,
        "max_connections": 10,
        "max_http_connections": 10,
    }


@pytest.fixture(autouse=True)
def _clock_that_is_kept_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_time, "is_synchronised", lambda: True)


def troubles(settings: dict[str, Any]) -> list[tuple[str, str]]:
    return [(finding.level, finding.text) for finding in examine(settings) if finding.level != "ok"]


def the_trouble(settings: dict[str, Any]) -> tuple[str, str]:
    [found] = troubles(settings)
    return found


def secret(path: Path, text: str, mode: int = 0o600) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_where_all_is_well_nothing_is_to_mend(settings: dict[str, Any]) -> None:
    assert troubles(settings) == []


@pytest.mark.parametrize(
    "kept", ["leaderboards = Leaderboard('sum')", "matchmaking = Queue(rating=True)"]
)
def test_a_json_file_has_no_place_for_leaderboards_and_ratings(
    settings: dict[str, Any], tmp_path: Path, kept: str
) -> None:
    settings["game"] = module(tmp_path, f"from pgnet_trio import *\n{GAME}    {kept}\n", "kept")
    assert troubles(settings) == []
    level, text = the_trouble(settings | {"save_file": str(tmp_path / "game.json")})
    assert level == "bad"
    assert text.endswith(f"--save-file {tmp_path / 'game.sqlite'}")


def test_the_command_takes_the_options_of_serve_and_says_how_it_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    game = module(tmp_path, GAME)
    small = ["--max-connections", "10", "--max-http-connections", "10", "--port", "0"]
    assert main(["doctor", game, *small, "--save-file", str(tmp_path / "game.sqlite")]) == 0
    assert "0 bad, 0 to look at" in capsys.readouterr().out
    assert main(["doctor", game, *small, "--save-file", str(tmp_path / "no" / "game.sqlite")]) == 1
    shown = capsys.readouterr().out
    assert f"bad   there is no folder {tmp_path / 'no'}: mkdir -p" in shown
    assert not (tmp_path / "game.sqlite").exists()


def test_a_game_that_cannot_be_imported_is_bad(settings: dict[str, Any]) -> None:
    settings["game"] = settings["game"].replace(":Board", ":Bored")
    level, text = the_trouble(settings)
    assert level == "bad"
    assert "its games: Board" in text


def test_a_game_that_is_not_saved_is_worth_a_look(settings: dict[str, Any], tmp_path: Path) -> None:
    settings["game"] = module(tmp_path, GAME.replace("persistent = True", "pass"), "other")
    level, text = the_trouble(settings)
    assert level == "warn"
    assert "persistent = True" in text


def test_a_damaged_save_file_is_bad(settings: dict[str, Any], tmp_path: Path) -> None:
    secret(tmp_path / "game.sqlite", "no database" * 100)
    found = troubles(settings)
    assert [level for level, _ in found] == ["bad", "warn"]
    # What was saved without its key.
    assert "restore it from a backup" in found[1][1]


def test_a_damaged_key_is_bad(settings: dict[str, Any], tmp_path: Path) -> None:
    settings["key_file"] = secret(tmp_path / "key", "nonsense")
    assert the_trouble(settings)[0] == "bad"


@AS_USER
def test_a_folder_that_cannot_be_written_is_bad(settings: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    settings["save_file"] = str(folder / "game.sqlite")
    level, text = the_trouble(settings)
    assert level == "bad"
    assert "chown" in text


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such rights")
def test_a_secret_that_others_may_read_is_worth_a_look(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    settings["admin_password_file"] = secret(tmp_path / "password", "x" * 20, 0o644)
    level, text = the_trouble(settings)
    assert level == "warn"
    assert f"chmod 600 {tmp_path / 'password'}" in text
    settings["admin_password_file"] = secret(tmp_path / "password", "short\n")
    assert "5 characters" in the_trouble(settings)[1]
    assert "short" not in the_trouble(settings)[1]
    settings["admin_password_file"] = secret(tmp_path / "password", "\n")
    assert the_trouble(settings)[0] == "bad"


@pytest.mark.parametrize("content", [b"\xff\xfe", b"x" * 5000, b""])
def test_a_secret_that_the_server_refuses_is_bad(
    settings: dict[str, Any], tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    path.chmod(0o600)
    settings |= {"monitor": "127.0.0.1:0", "monitor_token_file": str(path)}
    level, text = the_trouble(settings)
    assert (level, str(path) in text) == ("bad", True)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no such files")
def test_a_secret_in_a_pipe_is_not_waited_for(settings: dict[str, Any], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "token")
    settings |= {"monitor": "127.0.0.1:0", "monitor_token_file": str(tmp_path / "token")}
    assert "is no ordinary file" in the_trouble(settings)[1]


def test_a_monitor_that_the_server_refuses_is_bad(settings: dict[str, Any]) -> None:
    settings["monitor"] = "0.0.0.0:0"
    level, text = the_trouble(settings)
    assert (level, "it needs a token" in text) == ("bad", True)


def test_a_folder_that_cannot_take_recordings_is_bad(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    settings |= {"record": str(tmp_path / "recordings"), "record_total_bytes": 2**23}
    assert troubles(settings) == []
    settings["record_total_bytes"] = 1 << 60
    assert "--record-total-bytes" in the_trouble(settings)[1]
    (tmp_path / "recordings").write_text("")
    settings["record_total_bytes"] = 2**23
    level, text = the_trouble(settings)
    assert (level, "is no folder" in text) == ("bad", True)


def test_a_file_that_is_not_there_is_bad(settings: dict[str, Any], tmp_path: Path) -> None:
    settings["monitor_token_file"] = str(tmp_path / "nothing")
    level, text = the_trouble(settings)
    assert (level, str(tmp_path / "nothing") in text) == ("bad", True)
    del settings["monitor_token_file"]
    settings["tls_certificate"] = str(tmp_path / "nothing.pem")
    assert the_trouble(settings)[0] == "bad"


def test_a_disk_that_is_nearly_full_is_bad(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1024))
    level, text = the_trouble(settings)
    assert level == "bad"
    assert "make room until there are 200 MiB" in text
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=100 << 20))
    assert the_trouble(settings)[0] == "warn"


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such limits")
def test_too_few_open_files_are_worth_a_look(settings: dict[str, Any]) -> None:
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY:
        pytest.skip("this system has no limit")
    settings["max_connections"] = most + 1
    assert any("LimitNOFILE=" in text for _, text in troubles(settings))


def test_too_little_memory_is_worth_a_look(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "free_memory", lambda: 5 * doctor.BYTES_OF_A_PLAYER)
    level, text = the_trouble(settings)
    assert level == "warn"
    assert "--max-connections 5" in text


def test_a_port_that_is_in_use_is_worth_a_look(settings: dict[str, Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        settings["port"] = listener.getsockname()[1]
        settings["monitor"] = f"127.0.0.1:{settings['port']}"
        found = troubles(settings)
    assert [level for level, _ in found] == ["warn", "warn"]
    assert all("is in use" in text for _, text in found)
    assert found[1][1].startswith("the monitor: ")


def test_a_clock_that_is_behind_is_bad(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1e9)
    level, text = the_trouble(settings)
    assert level == "bad"
    assert "2001" in text
    assert "timedatectl" in text


def test_a_server_for_others_without_a_save_file_is_worth_a_look(settings: dict[str, Any]) -> None:
    del settings["save_file"]
    settings["listen_globally"] = True
    level, text = the_trouble(settings)
    assert level == "warn"
    assert "--save-file" in text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"development": True, "listen_globally": True}, "--dev shows the game's mistakes"),
        ({"monitor": "0.0.0.0:0"}, "it needs a token"),
        ({"tls_key": "key.pem"}, "--tls-key needs the certificate"),
        ({"record_table_bytes": 10**7}, "are for --record"),
        ({"workers": 2, "save_file": None}, "--workers needs a save file"),
        ({"max_message_size": 10}, "max_message_size: expected a whole number"),
    ],
)
def test_what_serve_refuses_is_bad(
    settings: dict[str, Any], options: dict[str, Any], words: str
) -> None:
    found = [text for level, text in troubles({**settings, **options}) if level == "bad"]
    assert any(words in text for text in found)


def test_a_library_that_is_missing_is_named_with_its_extra(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    missing = {"starlette", "watchfiles"}
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name in missing else find(name)
    )
    found = troubles({**settings, "monitor": "127.0.0.1:0", "development": True})
    assert [level for level, _ in found] == ["warn", "bad"]
    assert "pgnet_trio[reload]" in found[0][1]
    assert "pgnet_trio[monitor]" in found[1][1]


def test_where_the_log_goes_is_looked_at(settings: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for path, level in (
        (tmp_path / "log", None),
        (file, None),
        (tmp_path / "missing" / "log", "bad"),
        (tmp_path, "bad"),
    ):
        found = troubles({**settings, "log_file": str(path)})
        assert [each for each, _ in found] == ([] if level is None else [level])


def test_a_clock_that_nothing_keeps_right_is_worth_a_look(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for kept, found in ((True, 0), (None, 0), (False, 1)):
        monkeypatch.setattr(doctor_time, "is_synchronised", lambda kept=kept: kept)
        assert len(troubles(settings)) == found
    assert "timedatectl set-ntp true" in the_trouble(settings)[1]
    assert is_synchronised() in (True, False, None)


def issued(folder: Path, days: float = 60.0) -> dict[str, Any]:
    """Return the options for a certificate that ends in so many days."""
    leaf = trustme.CA().issue_cert(
        "localhost",
        not_before=datetime.now(UTC) - timedelta(days=2),
        not_after=datetime.now(UTC) + timedelta(days=days),
    )
    certificate, key = folder / "own.pem", folder / "own.key"
    certificate.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
    key.write_bytes(leaf.private_key_pem.bytes())
    key.chmod(0o600)
    return {"tls_certificate": str(certificate), "tls_key": str(key)}


@pytest.mark.parametrize(
    ("days", "level", "words"),
    [(-1, "bad", "certificate has expired"), (10, "warn", "which is soon"), (20, "ok", "until")],
)
def test_a_certificate_that_ends_soon_is_to_be_renewed(
    settings: dict[str, Any], tmp_path: Path, days: int, level: str, words: str
) -> None:
    settings |= issued(tmp_path, days)
    [(found, text)] = [
        (each.level, each.text) for each in examine(settings) if "own.pem" in each.text
    ]
    assert (found, words in text) == (level, True)


def test_a_key_of_another_certificate_is_bad(settings: dict[str, Any], tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    settings |= issued(tmp_path) | {"tls_key": issued(other)["tls_key"]}
    level, text = the_trouble(settings)
    assert (level, "holds another key than" in text) == ("bad", True)


def register_nodes(path: Path, *addresses: str) -> None:
    """Have servers in a cluster's save file, with these addresses."""

    async def register() -> None:
        engine = open_engine(str(path))
        async with trio.open_nursery() as nursery:
            await nursery.start(engine.run)
            for address in addresses:
                await engine.register(name=f"at {address}", address=address, version="0")
            nursery.cancel_scope.cancel()

    trio.run(register)


def test_the_other_servers_of_a_cluster_are_tried(settings: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "cluster.sqlite"
    del settings["save_file"]
    settings |= {"cluster": str(path), "node_address": "localhost:1"}
    assert troubles(settings) == []
    assert not path.exists()
    with socket.create_server(("127.0.0.1", 0)) as there, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        reached = f"127.0.0.1:{there.getsockname()[1]}"
        lost = f"127.0.0.1:{closed.getsockname()[1]}"
        register_nodes(path, reached, lost, "/behind-the-proxy", "localhost:1")
        level, text = the_trouble(settings)
        texts = [each.text for each in examine(settings)]
    assert level == "warn"
    assert text.startswith(f"the server at {lost} at {lost} cannot be reached from here")
    assert "the cluster's database answers; servers there now: 4" in texts
    assert f"the server at {reached} at {reached} can be reached" in texts


def test_a_cluster_whose_database_does_not_answer_is_bad(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("psycopg")
    monkeypatch.setattr(doctor_cluster, "LONGEST_ANSWER", 0.3)
    del settings["save_file"]
    settings["node_address"] = "localhost:1"
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        settings["cluster"] = f"postgresql://host:secret@127.0.0.1:{port}/games"
        level, text = the_trouble(settings)
    assert level == "bad"
    assert f"the cluster's database postgresql://127.0.0.1:{port}/games" in text
    assert "secret" not in text
    monkeypatch.delenv("PGNET_CLUSTER", raising=False)
    assert "PGNET_CLUSTER" in the_trouble(settings | {"cluster": ""})[1]

"""The options of ``serve`` about the monitor: what becomes of them, and which are refused."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from pgnet_trio import Monitor, PGNetError
from pgnet_trio.cli.monitor_options import use_monitor
from pgnet_trio.cli.worker_plan import make_plan

LOOK, ACT = "a-token-for-looking-at-it", "a-token-for-acting-there"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Any]:
    look, act = tmp_path / "look.token", tmp_path / "act.token"
    look.write_text(f"{LOOK}\n")
    act.write_text(f"{ACT}\nwhat follows is no part of it\n")
    return {"monitor_token_file": str(look), "monitor_write_token_file": str(act)}


def monitor(settings: dict[str, Any], worker: int | None = None) -> Monitor:
    use_monitor(settings, worker)
    # Nothing else is left for the server.
    assert set(settings) == {"monitor"}
    made: Monitor = settings["monitor"]
    return made


def test_the_tokens_are_the_first_lines_of_their_files(files: dict[str, Any]) -> None:
    made = monitor({"monitor": "0.0.0.0:9000", **files})
    assert (made.address, made.token, made.write_token) == ("0.0.0.0:9000", LOOK, ACT)


@pytest.mark.parametrize(
    ("address", "worker", "found"),
    [
        ("127.0.0.1:9000", None, "127.0.0.1:9000"),
        ("127.0.0.1:9000", 1, "127.0.0.1:9000"),
        ("127.0.0.1:9000", 3, "127.0.0.1:9002"),
        ("[::1]:9000", 2, "[::1]:9001"),
        # A free one is another one for each anyway.
        ("127.0.0.1:0", 3, "127.0.0.1:0"),
    ],
)
def test_each_process_has_the_port_after_the_one_before(
    address: str, worker: int | None, found: str
) -> None:
    assert monitor({"monitor": address}, worker).address == found


@pytest.mark.parametrize(
    ("port", "address", "fits"),
    [
        (38929, "127.0.0.1:38930", False),
        (38929, "127.0.0.1:38932", False),
        (38929, "127.0.0.1:38933", True),
        (38933, "127.0.0.1:38930", False),
        (38934, "127.0.0.1:38930", True),
        (0, "127.0.0.1:38930", True),
        (38929, "127.0.0.1:0", True),
        (38929, None, True),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="several processes take Linux")
def test_the_ports_of_the_processes_are_not_those_of_their_monitors(
    port: int, address: str | None, fits: bool
) -> None:
    settings = {"save_file": "game.sqlite", "worker_ports": True, "port": port, "monitor": address}
    if fits:
        assert make_plan(4, settings).own_ports
    else:
        with pytest.raises(PGNetError, match=f"as many from {address[-5:] if address else 0} on"):
            make_plan(4, settings)


def test_without_a_monitor_there_is_none(files: dict[str, Any]) -> None:
    settings: dict[str, Any] = {}
    use_monitor(settings, None)
    assert settings == {}
    with pytest.raises(PGNetError, match="--monitor-token-file is for --monitor"):
        use_monitor(files, None)


def test_an_address_that_others_reach_says_which_option_it_takes() -> None:
    with pytest.raises(PGNetError, match=r"^--monitor: .* needs a token, .*--monitor-token-file"):
        use_monitor({"monitor": "0.0.0.0:9000"}, None)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    with pytest.raises(PGNetError, match=r"cannot read .*missing"):
        use_monitor({"monitor": "127.0.0.1:0", "monitor_token_file": missing}, None)

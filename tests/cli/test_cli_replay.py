"""``serve --record`` and ``replay``: from a crash to the same traceback at the desk."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import msgspec
import pytest
import trio

from pgnet_trio import Client
from pgnet_trio.cli import main
from pgnet_trio.recording import encode_head, frame_of, preamble, read_recording
from tests.kit.subprocesses import run_program, start_program
from tests.recording.games import Add, Busy, Fail
from tests.recording.tables import RecordedTable, record_table, recordings_in

GAMES = Path(__file__).parent.parent / "recording" / "games.py"


async def crash(table: RecordedTable) -> None:
    await table.join("ann")
    table.send("ann", Add(2), at_once=True)
    await trio.sleep(1)
    table.send("ann", Fail("a fault of this game"), at_once=True)
    await trio.sleep(1)


@pytest.fixture
def recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # In a process of its own, the replay would set it.
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    record_table(Busy, crash, tmp_path / "recordings")
    (path,) = recordings_in(tmp_path / "recordings")
    return path


NAME = "tests.recording.games:Busy"


def test_a_crash_is_played_again_to_the_same_traceback(
    recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", str(recording), NAME]) == 0
    output, errors = capsys.readouterr()
    assert output == "As recorded, 9 turns: the game has raised.\n"
    assert re.search(r'games\.py", line \d+, in fail\n', errors)
    assert re.search(r"\nValueError: a fault of this game \d+ \d \d\n", errors)


def test_turns_and_states_are_shown(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(recording), NAME, "--states", "--until", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "turn 1, 0.000 s: ann join"
    assert lines[1].startswith('  ann: {"total": 0, "ticks": 0, "said": ["0.000000 ann joined"]')
    assert lines[2].startswith("turn 2, ")
    assert lines[-1] == "As recorded, 2 turns: it stops after turn 2."


def test_the_debugger_opens_where_the_game_raises_and_where_the_replay_stops(
    recording: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Lines:
        def __init__(self, *lines: str) -> None:
            self.lines = list(lines)

        def readline(self) -> str:
            return self.lines.pop(0) if self.lines else ""

    monkeypatch.setattr(sys, "stdin", Lines("p message.text\n", "q\n"))
    assert main(["replay", str(recording), NAME, "--pdb"]) == 0
    assert "(Pdb) 'a fault of this game'" in capsys.readouterr().out
    monkeypatch.setattr(sys, "stdin", Lines("p game.said\n", "c\n"))
    assert main(["replay", str(recording), NAME, "--until", "1", "--pdb"]) == 0
    assert "(Pdb) ['0.000000 ann joined']" in capsys.readouterr().out
    # Whoever has seen enough leaves it.
    monkeypatch.setattr(sys, "stdin", Lines("q\n"))
    assert main(["replay", str(recording), NAME, "--until", "1", "--pdb"]) == 0
    assert capsys.readouterr().err == ""


def test_without_a_game_it_is_shown_what_is_in_the_file(
    recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", str(recording), "--last", "3"]) == 0
    output = capsys.readouterr().out
    assert "table    'table 1', of Busy" in output
    assert "a new game" in output
    assert "earlier ones" in output
    assert "'Fail' from ann: {'text': 'a fault of this game'}" in output
    assert "ValueError: a fault of this game" in output.splitlines()[-1]


def test_a_difference_is_told_and_is_an_error_for_scripts(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mended = tmp_path / "mended.py"
    text = GAMES.read_text("utf-8")
    mended.write_text(text.replace("self.total += message.number *", "self.total -="), "utf-8")
    assert main(["replay", str(recording), f"{mended}:Busy"]) == 1
    output, errors = capsys.readouterr()
    assert re.match(r"It differs from the recording in turn 2, at .*: expected an answer", output)
    assert "This may make a difference" in errors
    assert "mended.py is not as it was recorded" in errors


@pytest.mark.parametrize(
    ("content", "game", "complaint"),
    [
        (b"garbage", NAME, "is no recording of a table"),
        (preamble()[:-2] + b"\0\x63", NAME, "a recording of version 99"),
        (preamble() + b"\0\0", NAME, "is cut before anything of the table is in it"),
        (None, "tests.recording.games:Saved", "is a recording of Busy, and Saved is another class"),
        (None, "tests.recording.games:None_", "has no 'None_'"),
    ],
)
def test_what_cannot_be_played_is_one_clear_line(
    recording: Path,
    content: bytes | None,
    game: str,
    complaint: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if content is not None:
        recording.write_bytes(content)
    assert main(["replay", str(recording), game]) == 1
    output, errors = capsys.readouterr()
    assert output == ""
    assert complaint in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize("seed", ["x", "-1", "4294967296", "1\0", "٣", "9" * 5000])
def test_a_hash_seed_that_python_does_not_take_is_refused(
    recording: Path, seed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = read_recording(recording)
    body = encode_head(msgspec.structs.replace(stored.head, hash_seed=seed))
    recording.write_bytes(preamble() + frame_of(body))
    assert main(["replay", str(recording), NAME]) == 1
    assert "PYTHONHASHSEED" in capsys.readouterr().err


def test_options_that_need_a_game_say_so(
    recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", str(recording), "--states"]) == 1
    assert "name its MODULE:CLASS" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--record-table-bytes", "1M"], "are for --record"),
        (["--record", "r", "--record-table-bytes", "1K"], "at least 65,536 bytes"),
        (["--record", ""], "expected the path of a folder"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", NAME, *arguments]) == 1
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize("size", ["", "x", "1T", "-1", "1.5M"])
def test_a_size_is_a_number_with_a_unit(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["serve", NAME, f"--record-total-bytes={size}"])
    assert "expected a number of bytes such as 8M, 512K or 1G" in capsys.readouterr().err


GAME = """\
import attrs
from pgnet_trio import Game, on

@attrs.frozen
class Fail:
    text: str

class Sets(Game):
    def __init__(self, name, save_string=None):
        pass

    @on(Fail)
    def fail(self, player, message):
        raise ValueError(" ".join({str(number) for number in range(50)}))
"""


@pytest.mark.parametrize("seed", [None, "7"])
async def test_the_command_in_the_log_plays_the_crash_again(
    tmp_path: Path, seed: str | None
) -> None:
    """One command, with hashes of text that are the same."""
    (tmp_path / "sets.py").write_text(GAME, "utf-8")
    env = {"PYTHONHASHSEED": seed}
    serve = "serve", "sets.py:Sets", "--port", "0", "--record", "recordings"
    async with start_program(*serve, cwd=tmp_path, env=env) as server:
        port = (await server.out.wait_for(r"port (\d+);"))[1]
        async with Client.remote(address=f"127.0.0.1:{port}", username="ann") as ann:
            await ann.create_game("table 1")
            ann.send(Fail("oh"))
            again = (await server.err.wait_for(r"plays it again: pgnet-trio (.*)\n"))[1]
    status, output, errors = await run_program(
        *again.split(), cwd=tmp_path, env={"PYTHONHASHSEED": None}
    )
    assert (status, output) == (0, "As recorded, 2 turns: the game has raised.\n"), errors
    assert 'sets.py", line 14, in fail' in errors
    (path,) = recordings_in(tmp_path / "recordings")
    found = read_recording(path).head.hash_seed
    assert found == seed if seed else found is not None

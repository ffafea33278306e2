"""`pgnet-trio key`: the public key and the fingerprint, a new key, and files that have none."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from pgnet_trio.cli import main
from pgnet_trio.client.server_key import fingerprint
from pgnet_trio.crypto import KeyPair
from pgnet_trio.storage import keep_key, read_key
from tests.kit.subprocesses import run_program, start_in_terminal

KEY = KeyPair(bytes(range(32)))

SHOWN = f"public key   {KEY.pubkey}\nfingerprint  {fingerprint(KEY.pubkey)}\n"


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def key_file(folder: Path) -> Path:
    (folder / "game.json").write_text("{}")
    keep_key(folder / "game.json.key", KEY)
    return folder / "game.json.key"


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["key", *arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("pgnet-trio: ")
    assert err.count("\n") == 1
    return err.removeprefix("pgnet-trio: ").removesuffix("\n")


@pytest.mark.parametrize("name", ["game.json", "game.json.key", None])
@pytest.mark.usefixtures("key_file")
def test_the_key_of_a_server_is_shown(capsys: pytest.CaptureFixture[str], name: str | None) -> None:
    assert main(["key", *([name] if name else [])]) == 0
    assert capsys.readouterr() == (SHOWN, "")


def test_a_key_file_may_have_any_name(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    keep_key(folder / "identity", KEY)
    assert main(["key", "identity"]) == 0
    assert capsys.readouterr().out == SHOWN


def test_the_private_key_is_never_shown(capsys: pytest.CaptureFixture[str], key_file: Path) -> None:
    private = key_file.read_text().strip()
    main(["key", str(key_file)])
    main(["key", str(key_file), "--new", "--yes"])
    out, err = capsys.readouterr()
    for text in (private, key_file.read_text().strip()):
        assert text not in out + err


# Files that have none.


@pytest.mark.parametrize("more", [(), ("--new", "--yes")])
@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("missing", "there is neither missing.key nor missing"),
        ("missing.key", "there is no missing.key"),
        ("no/folder.key", "there is no no/folder.key"),
        ("save.sqlite", "save.sqlite is no key file, and if it is a save file, it has no key yet"),
        ("damaged.key", "cannot read damaged.key: expected one line, a private key in base64"),
        ("damaged", "cannot read damaged.key: expected one line, a private key in base64"),
        ("folder", "cannot use folder: expected a file, and it is a folder"),
        ("other.key", "cannot use other.key: expected a file, and it is a folder"),
        ("hidden", "cannot read hidden: Permission denied"),
        ("secret", "cannot read secret.key: Permission denied"),
        ("secret.key", "cannot read secret.key: Permission denied"),
        ("x" * 300, "File name too long"),
    ],
)
def test_a_file_without_a_key(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    name: str,
    problem: str,
    more: tuple[str, ...],
) -> None:
    (folder / "save.sqlite").write_bytes(b"SQLite format 3\0" + bytes(4096))
    (folder / "damaged.key").write_bytes(b"\xff damaged")
    for each in ("folder", "other.key"):
        (folder / each).mkdir()
    for each in ("hidden", "secret.key"):
        (folder / each).touch(0o600)
    reading = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        if path.stem in {"hidden", "secret"}:
            raise PermissionError(13, "Permission denied")
        return reading(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    before = sorted(folder.iterdir())
    assert problem in complaint(capsys, name, *more)
    assert sorted(folder.iterdir()) == before


def test_a_folder_with_no_key_or_with_several(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    assert "whose name ends in .key, got none; say which" in complaint(capsys)
    for name in ("b.key", "a.key"):
        keep_key(folder / name, KEY)
    assert "got a.key, b.key; say which" in complaint(capsys)


async def test_a_key_that_others_can_read_gets_a_warning(key_file: Path) -> None:
    os.chmod(key_file, 0o644)
    status, out, err = await run_program("key", str(key_file))
    assert (status, out) == (0, SHOWN)
    assert err == f"WARNING Others can read the server's private key: run chmod 600 {key_file}\n"


# A new one.


def test_a_new_key_keeps_the_old_one(capsys: pytest.CaptureFixture[str], key_file: Path) -> None:
    assert main(["key", "game.json", "--new", "--yes"]) == 0
    out, err = capsys.readouterr()
    new = read_key(key_file)
    assert new is not None
    assert new != KEY
    assert read_key(key_file.with_name("game.json.key.old")) == KEY
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    assert "will refuse the server until its user accepts the new one" in out
    assert out.endswith(f"public key   {new.pubkey}\nfingerprint  {fingerprint(new.pubkey)}\n")
    assert err == ""


async def test_a_script_has_to_say_yes(key_file: Path) -> None:
    status, out, err = await run_program("key", str(key_file), "--new", stdin="yes\n")
    assert (status, out) == (1, "")
    assert err == "pgnet-trio: --new needs --yes where standard input is no terminal\n"
    assert read_key(key_file) == KEY


@pytest.mark.parametrize("answer", ["yes", "no"])
async def test_a_person_is_asked(key_file: Path, answer: str) -> None:
    pytest.importorskip("pty")
    async with start_in_terminal("key", str(key_file), "--new") as program:
        await program.out.wait_for("will refuse the server")
        await program.out.wait_for(r"Make a new key\? ")
        await program.type("y\n")
        await program.out.wait_for(r"Make a new key\? ")
        await program.type(f"{answer}\n")
        assert await program.exit_status() == (0 if answer == "yes" else 1)
    assert (read_key(key_file) == KEY) == (answer == "no")
    assert ("stays as it was" in program.out.text) == (answer == "no")

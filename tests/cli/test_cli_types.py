"""`pgnet-trio types`: what a page may send, and what it gets, as TypeScript that compiles."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from pgnet_trio import Game, on
from pgnet_trio.cli import main
from pgnet_trio.cli.author_code import AuthorCodeError
from pgnet_trio.cli.typescript import describe
from tests.cli.typed_game import Cards, Quiet, Watches
from tests.kit.typescript import compile_strictly

if TYPE_CHECKING:
    from tests.cli.typed_game import Table as Unseen

HERE = Path(__file__).parent
EXAMPLES = HERE.parent.parent / "examples"
GAME_EXAMPLES = ["arena.py:Arena", "go_fish.py:GoFish", "tictactoe.py:TicTacToe"]


@pytest.fixture(autouse=True)
def modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget the modules and the paths that the command line has added."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if str(EXAMPLES) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_a_field_of_every_kind() -> None:
    assert describe(Cards) == (HERE / "typed_game.ts").read_text("utf-8")


def test_a_page_that_uses_the_types_compiles() -> None:
    assert compile_strictly(HERE / "typed_page.ts") == ""


@pytest.mark.parametrize("game", [Cards, Quiet, Watches], ids=lambda game: game.__name__)
def test_the_types_compile(game: type[Game], tmp_path: Path) -> None:
    (tmp_path / "messages.ts").write_text(describe(game), "utf-8")
    assert compile_strictly(tmp_path / "messages.ts") == ""


def test_a_game_that_says_nothing_may_say_anything() -> None:
    assert "requests: Record<never, never>;" in describe(Quiet)
    assert "pushes: Record<string, { [key: string]: Plain }>;" in describe(Quiet)
    assert "state: never;" in describe(Quiet)
    assert "state: Record<string, Plain>;" in describe(Watches)


@pytest.mark.parametrize("game", GAME_EXAMPLES)
def test_the_types_of_the_examples_compile(
    game: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["types", str(EXAMPLES / game)]) == 0
    (tmp_path / "messages.ts").write_text(capsys.readouterr().out, "utf-8")
    assert compile_strictly(tmp_path / "messages.ts") == ""


def test_a_file_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "größe.ts"
    path.write_text("old", "utf-8")
    assert main(["types", "tests.cli.typed_game:Cards", "--output", str(path)]) == 0
    assert capsys.readouterr() == ("", "")
    assert path.read_text("utf-8") == (HERE / "typed_game.ts").read_text("utf-8")


def test_a_file_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "missing" / "messages.ts"
    assert main(["types", "tests.cli.typed_game:Cards", "--output", str(path)]) == 1
    assert capsys.readouterr() == (
        "",
        f"pgnet-trio: cannot write to {path}: No such file or directory\n",
    )


@attrs.frozen
class Move:
    square: int


class NamesWhatIsUnseen(Game):
    def view(self) -> Unseen:
        raise NotImplementedError


class AnswersWhatIsUnseen(Game):
    @on(Move)
    def move(self, player: str, move: Move) -> Unseen:
        raise NotImplementedError


class ShowsASet(Game):
    def view(self) -> dict[str, set[int]]:
        return {}


@pytest.mark.parametrize(
    ("game", "says"),
    [
        (NamesWhatIsUnseen, "NamesWhatIsUnseen.view: its annotation names Unseen, which is not"),
        (AnswersWhatIsUnseen, "AnswersWhatIsUnseen.move: its annotation names Unseen, which is"),
        (ShowsASet, "ShowsASet.view: set[int] cannot travel; declare list[int]"),
    ],
)
def test_what_cannot_be_described_is_named(game: type[Game], says: str) -> None:
    with pytest.raises(AuthorCodeError) as raised:
        describe(game)
    assert says in str(raised.value)


def test_what_players_do_in_a_tick_is_a_message_too() -> None:
    @attrs.frozen
    class Thrust:
        x: float

    class Space(Game):
        inputs = Thrust

    written = describe(Space)
    assert "Thrust" in written
    assert "What a player does in one tick" in written


def test_other_annotations_may_name_what_is_unseen() -> None:
    class Moves(Game):
        @on(Move)
        def move(self, player: Unseen, move: Any) -> None:
            """Move."""

        @staticmethod
        def view() -> list[int]:
            return []

    text = describe(Moves)
    assert "    Move: Move;\n" in text
    assert "state: number[];" in text

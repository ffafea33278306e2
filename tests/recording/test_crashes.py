"""Wherever a game raises, its recording is kept, and is played again to the same traceback."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import pytest
import trio

from pgnet_trio import Game, on
from pgnet_trio.errors import first_error
from pgnet_trio.recording.records import Crashed
from pgnet_trio.replay import load_life, replay
from tests.recording.games import Add, Answer, Question
from tests.recording.tables import RecordedTable, record_table, recordings_in


class Plain(Game):
    """Is there, and has a state."""

    def view(self) -> Any:
        return [*self.room.players]

    @on(Add)
    async def add(self, player: str, message: Add) -> None:
        await trio.lowlevel.checkpoint()


class InHandler(Plain):
    @on(Add)
    async def add(self, player: str, message: Add) -> None:
        await trio.sleep(0.1)
        raise ValueError("in a handler")


class InUpdate(Plain):
    update_rate = 10

    def update(self) -> None:
        if self.room.time() > 0.5:
            raise ValueError("in an update")


class InAnswer(Plain):
    def check(self, answer: Answer) -> None:
        raise ValueError("in the check of an answer")

    async def run(self) -> None:
        await self.room.wait_players(1)
        await self.room.ask("ann", Question(1), Answer, check=self.check)


class InJoin(Plain):
    async def user_joined(self, player: str) -> None:
        await trio.sleep(0.1)
        raise ValueError("in a join")


class InLoad(Plain):
    def __init__(self, name: str, save_string: str | None = None) -> None:
        raise ValueError("in a load")


class InTask(Plain):
    async def user_joined(self, player: str) -> None:
        self.room.nursery.start_soon(self.task)

    async def task(self) -> None:
        await trio.sleep(0.3)
        raise ValueError("in a task")


class InScript(Plain):
    async def run(self) -> None:
        await self.room.wait_players(1)
        raise ValueError("in a script")


class InView(Plain):
    def view(self) -> Any:
        if self.room.players:
            raise ValueError("in a view")
        return None


# While they are closed.


class TurnUnderWay(Plain):
    @on(Add)
    async def add(self, player: str, message: Add) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("in a turn that was under way")


class SlowTurn(Plain):
    @on(Add)
    async def add(self, player: str, message: Add) -> None:
        # Into the short time that the turn gets to end.
        await trio.sleep(2)
        raise ValueError("in a turn that went on")


class ScriptAtEnd(Plain):
    async def run(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("in a script at its end")


class LastView(Plain):
    async def run(self) -> None:
        await self.room.wait_players(1)
        self.room.close("enough")

    def view(self) -> Any:
        # What is shown before the end, and not after each step.
        if self.room.players and "close" in [each.name for each in traceback.extract_stack()]:
            raise ValueError("in the last view")
        return None


class LastSave(Plain):
    persistent = True

    def get_save_string(self) -> str:
        if self.room.time() > 0.5:
            raise ValueError("in the last save")
        return ""


def recorded(game: type[Game], folder: Path, *, finishes: bool = False) -> RecordedTable:
    async def play(table: RecordedTable) -> None:
        await table.join("ann")
        await trio.sleep(0.2)
        table.answer("ann", Answer(1))
        # Not in the same moment: whether a handler takes another step when a script raises is open.
        await trio.sleep(0.1)
        table.send("ann", Add(1), at_once=True)
        await trio.sleep(0.8)
        if finishes:
            await table.room.finish()

    saved = "saved" if game is InLoad else None
    return record_table(game, play, folder, saved=saved)


def lines_of(error: BaseException) -> list[str]:
    """The lines of the games that an error goes through."""
    frames = traceback.extract_tb(first_error(error).__traceback__)
    return [f"{each.lineno} {each.name}" for each in frames if each.filename == __file__]


@pytest.mark.parametrize(
    "game",
    [
        *(InHandler, InUpdate, InAnswer, InJoin, InLoad, InTask, InScript, InView),
        *(LastView, TurnUnderWay, SlowTurn, ScriptAtEnd, LastSave),
    ],
)
def test_what_a_game_raises_is_kept_and_raised_again(tmp_path: Path, game: type[Game]) -> None:
    table = recorded(game, tmp_path / "recordings", finishes=game is LastSave)
    # One over an answer is told twice: when the check has raised it, and when the game ends by it.
    error = table.owner.errors[-1]
    (path,) = recordings_in(tmp_path / "recordings")
    assert path.name.endswith(".crash.rec")
    life = load_life(path)
    assert isinstance(life.records[-1], Crashed)
    outcome = replay(life, game)
    assert outcome.difference is None
    assert outcome.error is not None
    assert repr(first_error(outcome.error)) == repr(first_error(error))
    assert lines_of(outcome.error) == lines_of(error) != []


@pytest.mark.parametrize("seed", range(6))
def test_a_handler_that_a_crash_cancels_may_take_a_step_more_or_less(
    tmp_path: Path, seed: int
) -> None:
    async def play(table: RecordedTable) -> None:
        await table.join("ann")
        await trio.sleep(0.2)
        # In the same moment: it is by chance whether the script or the handler goes on first.
        table.answer("ann", Answer(1))
        table.send("ann", Add(1), at_once=True)
        await trio.sleep(0.8)

    record_table(InAnswer, play, tmp_path / "recordings", seed=seed)
    (path,) = recordings_in(tmp_path / "recordings")
    outcome = replay(load_life(path), InAnswer)
    assert outcome.difference is None
    assert "in the check of an answer" in repr(outcome.error)

"""Pages whose game goes to another process of the server while it is played, in real browsers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from pgnet_trio.server.workers.passing import CAN_PASS
from tests.browser.serving import PAGES
from tests.browser.test_web_examples import square
from tests.kit.needed import BROWSERS, BUNDLED
from tests.kit.subprocesses import Program, run_program, start_program

if TYPE_CHECKING:
    from tests.browser.conftest import OpenPage

pytestmark = [
    pytest.mark.needs(*BROWSERS, BUNDLED),
    pytest.mark.skipif(not CAN_PASS, reason="this system passes no sockets"),
    pytest.mark.no_cover,
]

ROOT = Path(__file__).parents[2]
GAME = '''\
from examples.tictactoe import Table, TicTacToe


class Lasting(TicTacToe):
    """Tic-tac-toe that is saved, and so can move."""

    persistent = True

    def __init__(self, name, save_string=None):
        super().__init__(name, save_string)
        saved = self.room.saved(Table)
        if saved is not None:
            self.squares, self.seats = list(saved.squares), dict(saved.seats)
            self.turn, self.result = saved.turn, saved.result

    def get_save_string(self):
        return self.view()

    def user_joined(self, username):
        if username not in self.seats.values():
            super().user_joined(username)
'''


async def drain(program: Program, save_file: Path) -> str:
    """Have the process with the game give it away, end, and start again; return its name."""
    _, out, _ = await run_program("cluster", "status", str(save_file))
    rows = [re.split(r"  +", line) for line in out.splitlines()[1:]]
    column = rows[0].index("ROOMS")
    (name,) = [row[0] for row in rows[1:] if row[column] == "1"]
    status, _, problem = await run_program("cluster", "drain", name, str(save_file))
    assert status == 0, problem
    await program.err.wait_for(f"{name.capitalize()} has ended, and is started again")
    return name


async def test_a_page_goes_on_while_its_game_moves_from_process_to_process(
    open_page: OpenPage, tmp_path: Path
) -> None:
    game, save_file = tmp_path / "game.py", tmp_path / "game.sqlite"
    await trio.Path(game).write_text(GAME, "utf-8")
    async with start_program(
        *("serve", f"{game}:Lasting", "--workers", "2", "--port", "0"),
        *("--save-file", str(save_file), "--site", str(PAGES / "tictactoe")),
        cwd=ROOT,
    ) as program:
        port = (await program.out.wait_for(r"port (\d+), 2 processes"))[1]
        for _ in range(2):
            await program.err.wait_for(r"worker \d INFO Serving")
        ann = await open_page(f"http://127.0.0.1:{port}/")
        await ann.wait_text("#X", "you")
        bob = await open_page(f"http://127.0.0.1:{port}/")
        await bob.wait_text("#O", "you")
        for tab in ann, bob:
            # Gone with any reload.
            await tab.evaluate("window.isSame = true")
        await ann.click(square(5))
        await bob.wait_text("#news", "Your turn: O")
        first = await drain(program, save_file)
        await bob.click(square(1))
        await ann.wait_text("#news", "Your turn: X")
        await program.err.wait_for(r"worker \d INFO Serving")
        assert await drain(program, save_file) != first
        await ann.click(square(9))
        await bob.wait_text("#news", "Your turn: O")
        for tab in ann, bob:
            # The mover's own page may be the later one.
            await tab.wait_text("#board", "O   X   X")
            assert await tab.evaluate("window.isSame") is True
        # Each page was sent on by each process that ended.
        sent = re.findall(r"INFO \S+ goes on at (/node-[12]): The game goes on", program.err.text)
        assert sorted(sent)[:2] == ["/node-1", "/node-1"]
        assert sorted(sent)[-2:] == ["/node-2", "/node-2"]

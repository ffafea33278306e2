"""The command that the first page begins with, and the link that it prints."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.test_web_examples import square
from tests.kit.needed import BROWSERS, BUNDLED
from tests.kit.subprocesses import start_program

if TYPE_CHECKING:
    from tests.browser.conftest import OpenPage

pytestmark = pytest.mark.needs(*BROWSERS, BUNDLED)

ROOT = Path(__file__).parents[2]


async def test_the_first_command_serves_a_game_to_two_windows(
    open_page: OpenPage, tmp_path: Path
) -> None:
    page = (ROOT / "README.md").read_text("utf-8")
    (command,) = re.findall(r"<!-- first-command -->\n```sh\n(.*?)\n```", page, re.DOTALL)
    program, *arguments = shlex.split(command.rpartition(" && ")[2])
    assert program == ".venv/bin/pgnet-trio"
    settings = ("--port", "0", "--key-file", str(tmp_path / "key"))
    async with start_program(*arguments, *settings, cwd=ROOT) as server:
        link = (await server.out.wait_for(r"Open (http://localhost:\d+/) in a browser"))[1]
        ann, bob = await open_page(link), await open_page(link)
        await ann.wait_text("#news", "Your turn: X")
        await bob.wait_text("#O", "you")
        await ann.click(square(5))
        await bob.wait_text("#news", "Your turn: O")
        await bob.wait_text(square(5), "X")

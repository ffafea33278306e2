"""The examples with pages, each played by two people in real browsers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from examples.arena import Arena
from examples.chat import ChatRoom
from examples.tictactoe import TicTacToe
from tests.browser.serving import PAGES, serving
from tests.kit.needed import BROWSERS, BUNDLED

if TYPE_CHECKING:
    from tests.browser.conftest import OpenPage
    from tests.kit.bidi import Tab

pytestmark = pytest.mark.needs(*BROWSERS, BUNDLED)


def test_tic_tac_toe_takes_less_than_forty_lines() -> None:
    files = [PAGES / "tictactoe" / name for name in ("index.html", "tictactoe.js")]
    assert sum(len(path.read_text("utf-8").splitlines()) for path in files) < 40


def square(number: int) -> str:
    return f"#board button:nth-child({number})"


async def test_tic_tac_toe(open_page: OpenPage) -> None:
    async with serving(TicTacToe, PAGES / "tictactoe") as port:
        ann = await open_page(f"http://127.0.0.1:{port}/")
        # Whoever is alone plays both sides.
        await ann.wait_text("#news", "Your turn: X")
        await ann.click(square(9))
        await ann.wait_text("#news", "Your turn: O")
        bob = await open_page(f"http://127.0.0.1:{port}/")
        await bob.wait_text("#O", "you")
        await ann.wait_text("#news", "Your turn: X")
        await bob.click(square(1))
        await bob.wait_text("#news", "It is the turn of guest")
        for mover, other, number in [(ann, bob, 1), (bob, ann, 4), (ann, bob, 2), (bob, ann, 5)]:
            await mover.click(square(number), kind="touch" if mover is bob else "mouse")
            await other.wait_text("#news", "Your turn")
        await ann.click(square(5))
        await ann.wait_text("#news", "Square 5 is taken.")
        await ann.click(square(3))
        for player in ann, bob:
            await player.wait_text("#news", "X wins.")
            assert await player.text("#board") == "XXXOO    "
        await bob.click("#again")
        await ann.wait_text("#news", "Your turn: X")
        assert not (await ann.text("#board")).strip()


async def open_table(open_page: OpenPage, port: int, watchers: int) -> list[Tab]:
    """Open two pages that play and some that watch, in this order whoever is quicker to connect."""
    tabs = []
    for number in range(2 + watchers):
        tabs.append(await open_page(f"http://127.0.0.1:{port}/"))
        verb = "In" if number < 2 else "Watching"
        await tabs[-1].wait_text("#status", f"{verb} the game table 1.")
    return tabs


async def test_a_third_page_of_tic_tac_toe_watches(open_page: OpenPage) -> None:
    async with serving(TicTacToe, PAGES / "tictactoe") as port:
        ann, bob, eve = await open_table(open_page, port, watchers=1)
        await eve.wait_text("#news", "'s turn")
        await ann.click(square(5))
        await eve.wait_text(square(5), "X")
        await eve.click(square(1))
        await eve.wait_for("!document.querySelector('#news').textContent.includes('turn')")
        assert (await bob.text("#board")).strip() == "X"
        assert "you" not in await eve.text("h1")


async def test_who_watches_tic_tac_toe_takes_a_seat_that_is_free(open_page: OpenPage) -> None:
    async with serving(TicTacToe, PAGES / "tictactoe", resume_grace=0.0) as port:
        ann, bob, eve, joe = await open_table(open_page, port, watchers=2)
        # Both at the same time, as when two close their browsers.
        await ann.open("about:blank")
        await bob.open("about:blank")
        for player in eve, joe:
            await player.wait_text("h1", "you")
            await player.wait_text("#status", "In the game table 1.")
        await eve.wait_text("#news", "turn")
        assert "…" not in await eve.text("h1")


async def enter(tab: Tab, name: str) -> None:
    """Type a name into a page that asks for one."""
    await tab.wait_for("document.activeElement.id === 'name'")
    await tab.type(f"{name}\n")


async def say(tab: Tab, line: str) -> None:
    await tab.wait_for("document.activeElement.id === 'line'")
    await tab.type(f"{line}\n")


async def test_the_chat(open_page: OpenPage) -> None:
    async with serving(ChatRoom, PAGES / "chat") as port:
        ann, bob = [await open_page(f"http://127.0.0.1:{port}/") for _ in range(2)]
        await enter(ann, "ann")
        await say(ann, "is <b>anybody</b> here?")
        await ann.wait_text("#lines .mine", "is <b>anybody</b> here?")
        await enter(bob, "bob")
        await ann.wait_text("#lines", "bob comes in")
        # What was said before he came, as it was typed.
        await bob.wait_text("#lines", "annis <b>anybody</b> here?")
        await say(bob, "I am")
        await ann.wait_text("#lines li:last-child", "bobI am")
        # Loaded again, the page has the same player, and the same lines.
        await ann.reload()
        await ann.wait_text("#lines", "bobI am")
        await bob.wait_text("#lines", "ann is back")
        await bob.wait_for("document.querySelector('#people').textContent === 'annbob'")
        await say(ann, "good bye")
        await bob.wait_text("#lines", "good bye")
        await ann.close()
        await bob.wait_text("#lines", "ann has lost the connection")
        await bob.wait_for("document.querySelector('#people .away')?.textContent === 'ann'")


async def test_the_chat_says_what_is_refused(open_page: OpenPage) -> None:
    async with serving(ChatRoom, PAGES / "chat") as port:
        ann = await open_page(f"http://127.0.0.1:{port}/")
        await enter(ann, "ann")
        # A page cannot be relied on, and what the game refuses stays in the field.
        await ann.wait_for("document.activeElement.id === 'line'")
        await ann.evaluate("document.querySelector('#line').value = '\\u200b'")
        await ann.type("\n")
        await ann.wait_text("#problem", "Expected printable text")
        assert await ann.evaluate("document.querySelector('#line').value") == "\u200b"
        # Somebody else cannot be ann. Each origin has a storage of its own, as each browser has.
        mallory = await open_page(f"http://localhost:{port}/")
        await enter(mallory, "ann")
        await mallory.wait_text("#problem", "password")
        await enter(mallory, "mallory")
        await ann.wait_text("#people", "annmallory")


async def test_one_name_in_two_tabs_is_one_player(open_page: OpenPage) -> None:
    async with serving(ChatRoom, PAGES / "chat") as port:
        first, second = [await open_page(f"http://127.0.0.1:{port}/") for _ in range(2)]
        await enter(first, "ann")
        await first.wait_text("#people", "ann")
        await enter(second, "ann")
        await second.wait_text("#people", "ann")
        await first.wait_text("#status", "You logged in from elsewhere")
        # And back again.
        await enter(first, "")
        await second.wait_text("#status", "You logged in from elsewhere")


class Corridor(Arena):
    """An arena whose runners begin in the middle, and whose gems are at the right edge.

    Gems that were taken come back in a corner, where nobody is.
    """

    place = (700, 300)

    def pick_place(self) -> tuple[int, int]:
        return self.place

    def user_joined(self, username: str) -> None:
        self.place = (400, 300)
        super().user_joined(username)
        self.place = (30, 30)


async def test_the_arena(open_page: OpenPage) -> None:
    async with serving(Corridor, PAGES / "arena") as port:
        ann, bob = [await open_page(f"http://127.0.0.1:{port}/") for _ in range(2)]
        await enter(ann, "ann")
        await enter(bob, "bob")
        for tab in ann, bob:
            await tab.wait_text("#scores", "ann 0")
            await tab.wait_text("#scores", "bob 0")
        # A finger that is held where the gems are, until they are taken.
        x, y = await ann.middle("#field")
        await ann.press(x + 140, y, kind="touch")
        for tab in ann, bob:
            await tab.wait_text("#scores li:first-child", "ann 12")
        await ann.release(kind="touch")
        # Bob shoots to the right, where she is now, and takes a gem.
        await bob.type(" ")
        for tab in ann, bob:
            await tab.wait_text("#scores", "bob 1")

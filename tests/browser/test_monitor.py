"""The monitor's page and its playground, in real browsers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest
import trio

from pgnet_trio import Client, Game, Monitor, on
from pgnet_trio.testing import HostedServer
from tests.kit.bidi import BrowserError, Link, Tab
from tests.kit.needed import BROWSERS, BUNDLED

if TYPE_CHECKING:
    from tests.browser.conftest import OpenPage

pytestmark = [
    pytest.mark.needs(*BROWSERS, BUNDLED),
    pytest.mark.parametrize("browser", ["chromium"], indirect=True),
]

MARKUP = "<img src=x onerror=document.title='harmed'>"


@attrs.frozen
class Say:
    text: str
    loudly: bool = False


@attrs.frozen
class Said:
    lines: list[str]


class Chat(Game):
    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.lines: list[str] = []

    @on(Say)
    def say(self, player: str, message: Say) -> None:
        if message.text == "crash":
            raise ZeroDivisionError("what nobody should say")
        self.lines.append(message.text.upper() if message.loudly else message.text)

    def view(self) -> Said:
        return Said(self.lines)


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgnet_trio.server.monitor.live.INTERVAL", 0.1)


async def arrive(page: Tab) -> None:
    """Wait for the page that a form leads to: what is asked of the one before fails."""
    with trio.fail_after(20):
        while True:
            try:
                return await page.wait_text("#health", "Running")
            except BrowserError:
                await trio.sleep(0.05)


async def test_the_host_sees_players_and_puts_one_out(open_page: OpenPage) -> None:
    monitor = Monitor("127.0.0.1:0", token="looking", write_token="doing")
    server = HostedServer(Chat, port=0, monitor=monitor)
    async with (
        server.running(),
        Client.remote(address=f"127.0.0.1:{server.port}", username="ann", reconnect_for=0) as ann,
    ):
        await ann.create_game("one", options={"map": MARKUP})
        await ann.call(Say(MARKUP))
        page = await open_page(f"http://127.0.0.1:{server.monitor_port}/")
        await page.click("input")
        await page.type("doing")
        await page.click("button")
        await arrive(page)
        await page.evaluate("location.hash = '#/tables'")
        await page.wait_text("main tbody", "one")
        await page.click("main tbody a")
        await page.wait_text("main .state", "onerror")
        # What players write is text, wherever it is shown.
        assert await page.evaluate("document.querySelectorAll('img').length") == 0
        await page.evaluate("location.hash = '#/players'")
        await page.wait_text("main tbody", "ann")
        await page.click("td.actions button")
        await page.click("dialog input")
        await page.type("too loud")
        await page.click("dialog button.primary")
        await page.wait_text("#toast", "ann is kicked.")
        await page.wait_text("main", "Nobody is logged in.")
        assert ann.close_reason == "too loud"
        await page.evaluate(
            "fetch('/actions/ban', {method: 'POST', headers: {'Content-Type': "
            '\'application/json\'}, body: \'{"username": "ann", "reason": "rude"}\'}).then(() => 0)'
        )
        await page.evaluate("location.hash = '#/bans'")
        await page.wait_text("main tbody", "rude")
        await page.click("td.actions button")
        await page.click("dialog button.primary")
        await page.wait_text("#toast", "ann is not banned any more.")
        await page.wait_text("main", "Nobody is banned.")


async def join(page: Tab) -> None:
    """Join the table as a made-up player, once the playground is there."""
    await page.wait_text("#nav", "Playground")
    await page.wait_for("document.querySelector('.toolbar button') !== null")
    await page.click(".toolbar button")


async def test_a_made_up_player_plays_from_a_form(open_page: OpenPage) -> None:
    server = HostedServer(Chat, port=None, monitor=Monitor("127.0.0.1:0"), development=True)
    with server.expecting(ZeroDivisionError):
        async with server.running():
            page = await open_page(f"http://127.0.0.1:{server.monitor_port}/#/playground/one")
            await join(page)
            await page.wait_for("document.querySelector('[type=checkbox]') !== null")
            await page.click(".message-form input")
            await page.type("hello")
            await page.click(".message-form input[type=checkbox]")
            await page.click(".message-form button")
            await page.wait_text(".player .state", "HELLO")
            await page.evaluate("document.querySelector('.message-form input').value = 'crash'")
            await page.click(".message-form button")
            await page.wait_text(".lines", "ZeroDivisionError: what nobody should say")
            # The same name in another tab, and after a restart, is the same player.
            await page.evaluate("sessionStorage.clear()")
            await page.reload()
            await join(page)
            await page.wait_text(".player h3", "Ada")
            # A name that somebody else has is none to play with.
            await page.evaluate("localStorage.clear()")
            await page.reload()
            await join(page)
            await page.wait_text(".problem", "There is a user Ada already")


async def test_a_page_that_is_one_too_many_says_so(
    open_page: OpenPage, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgnet_trio.server.monitor.events.MOST_STREAMS", 0)
    monkeypatch.setattr("pgnet_trio.server.monitor.app.MOST_STREAMS", 0)
    async with HostedServer(Chat, port=None, monitor=Monitor("127.0.0.1:0")).running() as server:
        page = await open_page(f"http://127.0.0.1:{server.monitor_port}/")
        await page.wait_text("#health", "pages of the monitor are open already; close one first")
    # The browser's own lines on what was refused.
    link.logged.clear()

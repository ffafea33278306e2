"""What networks, servers and browsers do to a page, in real browsers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
import trustme

from examples.tictactoe import TicTacToe
from pgnet_trio import Site
from tests.browser.serving import PAGES, make_server, serving, serving_behind_proxy
from tests.browser.test_web_examples import square
from tests.kit.bidi import PLAIN_NAME, Browser, Tab
from tests.kit.needed import BROWSERS, BUNDLED
from tests.kit.proxy import intercepting

if TYPE_CHECKING:
    from tests.browser.conftest import OpenPage

pytestmark = pytest.mark.needs(*BROWSERS, BUNDLED)

SITE = PAGES / "tictactoe"
OFFLINE = "back"
"""It is in every status of a page that tries to come back, and in no other."""


async def sit_down(open_page: OpenPage, port: int) -> tuple[Tab, Tab]:
    """Return the pages of two players, of whom the first has X and the move."""
    ann = await open_page(f"http://127.0.0.1:{port}/")
    await ann.wait_text("#X", "you")
    bob = await open_page(f"http://127.0.0.1:{port}/")
    await bob.wait_text("#O", "you")
    await ann.wait_text("#news", "Your turn: X")
    return ann, bob


async def test_a_page_that_is_loaded_again_is_the_same_player(open_page: OpenPage) -> None:
    async with serving(TicTacToe, SITE) as port:
        ann, bob = await sit_down(open_page, port)
        await ann.click(square(5))
        await bob.wait_text("#news", "Your turn: O")
        await bob.reload()
        await bob.wait_text("#O", "you")
        await bob.click(square(1))
        await ann.wait_text("#news", "Your turn: X")
        assert await ann.text("#board") == "O   X    "


async def test_a_cut_costs_nothing(open_page: OpenPage) -> None:
    async with serving_behind_proxy(TicTacToe, SITE) as proxy:
        ann, bob = await sit_down(open_page, proxy.port)
        proxy.refusing = True
        await proxy.reset()
        for tab in ann, bob:
            await tab.wait_text("#status", OFFLINE)
        # What is done meanwhile waits.
        await ann.click(square(5))
        proxy.refusing = False
        await bob.wait_text("#news", "Your turn: O")
        for tab in ann, bob:
            await tab.wait_text("#status", "Online again")
            assert await tab.text("#board") == "    X    "


async def test_who_is_cut_off_is_shown_as_away(open_page: OpenPage) -> None:
    async with serving(TicTacToe, SITE) as port, intercepting(port) as proxy:
        ann = await open_page(f"http://127.0.0.1:{port}/")
        await ann.wait_text("#X", "you")
        bob = await open_page(f"http://127.0.0.1:{proxy.port}/")
        await bob.wait_text("#O", "you")
        proxy.refusing = True
        await proxy.reset()
        await ann.wait_for("document.querySelector('#O').className === 'away'")
        proxy.refusing = False
        await ann.wait_for("document.querySelector('#O').className === ''")


async def test_a_server_that_is_started_anew(open_page: OpenPage, tmp_path: Path) -> None:
    """The pages come back by themselves, to a table that has begun anew."""
    key_file = tmp_path / "key"
    async with trio.open_nursery() as nursery, intercepting(None) as proxy:
        server = make_server(TicTacToe, SITE, key_file=key_file)
        proxy.target = await nursery.start(server.serve)
        ann, bob = await sit_down(open_page, proxy.port)
        await ann.click(square(5))
        await bob.wait_text("#news", "Your turn: O")
        proxy.refusing = True
        server.shutdown(restarting=True)
        await ann.wait_text("#status", "The server restarts")
        proxy.target = await nursery.start(make_server(TicTacToe, SITE, key_file=key_file).serve)
        proxy.refusing = False
        # Who comes first has X now.
        for tab in ann, bob:
            await tab.wait_for("!document.querySelector('#board').textContent.trim()")
            await tab.wait_text("h1", "guest")
        first = ann if "you" in await ann.text("#X") else bob
        await first.wait_text("#news", "Your turn: X")
        await first.click(square(1))
        for tab in ann, bob:
            await tab.wait_text(square(1), "X")
        nursery.cancel_scope.cancel()


async def test_an_insecure_context(open_page: OpenPage) -> None:
    """A page that came from a LAN address has no cryptography of the browser's own."""
    async with serving(TicTacToe, SITE, allowed_hosts=[PLAIN_NAME]) as port:
        tab = await open_page(f"http://{PLAIN_NAME}:{port}/")
        assert await tab.evaluate("[isSecureContext, typeof crypto.subtle]") == [False, "undefined"]
        await tab.wait_text("#news", "Your turn: X")
        await tab.click(square(5))
        await tab.wait_text("#news", "Your turn: O")


async def test_a_page_and_its_game_over_tls(open_page: OpenPage, tmp_path: Path) -> None:
    certificate = trustme.CA().issue_cert("127.0.0.1").private_key_and_cert_chain_pem
    certificate.write_to_path(tmp_path / "certificate.pem")
    (tmp_path / "certificate.pem").chmod(0o600)
    async with serving(TicTacToe, SITE, tls_certificate=tmp_path / "certificate.pem") as port:
        ann = await open_page(f"https://127.0.0.1:{port}/")
        assert await ann.evaluate("isSecureContext")
        await ann.wait_text("#X", "you")
        bob = await open_page(f"https://127.0.0.1:{port}/")
        await bob.wait_text("#O", "you")
        await ann.click(square(5))
        await bob.wait_text("#news", "Your turn: O")


FOREIGN = """
(async () => {
  const { Client } = await import("/pgnet/client.js");
  const client = new Client({ username: "mallory", address: "127.0.0.1:PORT", reconnectFor: 0 });
  return await client.connect().then(() => "in", (error) => error.code);
})()
"""


@pytest.mark.parametrize("allowed", [False, True], ids=["refused", "allowed"])
async def test_the_page_of_another_server(
    open_page: OpenPage, allowed: bool, tmp_path: Path
) -> None:
    (tmp_path / "index.html").write_text("<title>Another</title>", "utf-8")
    # It may connect to wherever it likes.
    elsewhere = Site(tmp_path, content_security_policy="default-src * 'unsafe-inline'")
    async with serving(TicTacToe, elsewhere) as other:
        origins = [f"http://127.0.0.1:{other}"] if allowed else []
        async with serving(TicTacToe, SITE, allowed_origins=origins) as port:
            tab = await open_page(f"http://127.0.0.1:{other}/")
            found = await tab.evaluate(FOREIGN.strip().replace("PORT", str(port)))
            assert found == ("in" if allowed else "connect_failed")


async def test_a_page_that_is_left_and_come_back_to(open_page: OpenPage, browser: Browser) -> None:
    async with serving(TicTacToe, SITE) as port:
        ann, bob = await sit_down(open_page, port)
        await bob.evaluate("document.body.dataset.kept = 'yes'")
        await bob.open(f"http://127.0.0.1:{port}/icon.svg")
        # A browser may keep the page, but nobody plays in it.
        await ann.wait_for("document.querySelector('#O').className === 'away'")
        await ann.click(square(5))
        await bob.go(-1)
        await ann.wait_for("document.querySelector('#O').className === ''")
        await bob.wait_text("#news", "Your turn: O")
        if browser.name == "chromium":  # it has kept the page, and not loaded it again
            assert await bob.evaluate("document.body.dataset.kept") == "yes"
        await bob.click(square(1))
        await ann.wait_text("#news", "Your turn: X")


async def test_a_tab_in_the_background_keeps_its_seat(open_page: OpenPage) -> None:
    async with serving_behind_proxy(TicTacToe, SITE) as proxy:
        ann, bob = [
            await open_page(f"http://127.0.0.1:{proxy.port}/", new=it) for it in (False, True)
        ]
        await ann.wait_text("#news", "Your turn: X")
        await bob.wait_text("#O", "you")
        async with bob.in_background():
            proxy.refusing = True
            await proxy.reset()
            await bob.wait_text("#status", OFFLINE)
            proxy.refusing = False
            await bob.wait_text("#status", "Online again")
            await ann.click(square(5))
            # Without being looked at.
            await bob.wait_text("#news", "Your turn: O")
            assert await bob.evaluate("document.visibilityState") == "hidden"

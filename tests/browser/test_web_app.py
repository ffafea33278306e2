"""The example inside a web application, in real browsers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from hypercorn.config import Config
from hypercorn.trio import serve

from examples.web_app import Clicks, make_app
from pgnet_trio import Server
from tests.kit.hosting import cheap_environment
from tests.kit.needed import BROWSERS, BUNDLED

if TYPE_CHECKING:
    from tests.browser.conftest import OpenPage

pytestmark = pytest.mark.needs(*BROWSERS, BUNDLED)


async def test_two_pages_of_a_web_application_count_clicks(open_page: OpenPage) -> None:
    config = Config()
    config.bind, config.errorlog = ["127.0.0.1:0"], None
    app = make_app(Server(Clicks, environment=cheap_environment()))
    async with trio.open_nursery() as nursery:
        [address] = await nursery.start(serve, app, config)
        ann, bob = await open_page(address), await open_page(address)
        # A click before the page is in the game would be lost: the button takes none.
        assert await ann.evaluate("(await (await fetch('/')).text()).includes('<button disabled>')")
        await ann.wait_for("!document.querySelector('button').disabled")
        await ann.click("button")
        await bob.wait_text("pre", ": 1")
        await bob.wait_for("!document.querySelector('button').disabled")
        await bob.click("button")
        await ann.wait_for("document.querySelector('pre').textContent.split(': 1').length === 3")
        nursery.cancel_scope.cancel()

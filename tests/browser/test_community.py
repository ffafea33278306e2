"""The file beside the client plays in real browsers, as a server serves it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.serving import serving
from tests.kit.needed import BROWSERS, BUNDLED
from tests.web.test_community import Duel

if TYPE_CHECKING:
    from tests.browser.conftest import OpenPage

pytestmark = pytest.mark.needs(*BROWSERS, BUNDLED)

PAGE = """<!doctype html><title>duel</title><p id="news"></p><p id="best"></p>
<script type="module" src="page.js"></script>"""

SCRIPT = """
import { Client, Rejected, guest } from "/pgnet/client.js";
import { findGame, leaderboard } from "/pgnet/community.js";

const say = (id, text) => (document.querySelector(id).textContent = text);
const client = new Client(guest({ storage: sessionStorage }));
await client.connect();
// Its errors are those of the client.
await leaderboard(client, "none").catch((error) => say("#best", String(error instanceof Rejected)));
const search = findGame(client);
for await (const { position } of search) say("#news", `place ${position}`);
say("#news", `in ${await search.joined()}`);
"""


async def test_two_pages_find_each_other(open_page: OpenPage, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(PAGE, "utf-8")
    (tmp_path / "page.js").write_text(SCRIPT, "utf-8")
    async with serving(Duel, tmp_path) as port:
        ann = await open_page(f"http://127.0.0.1:{port}/")
        await ann.wait_text("#best", "true")
        await ann.wait_text("#news", "place 1")
        bob = await open_page(f"http://127.0.0.1:{port}/")
        for page in ann, bob:
            await page.wait_text("#news", "in match")
        assert await ann.text("#news") == await bob.text("#news")

"""Takes the picture of the first page again: ``python -m tests.browser.screenshot``.

Two phones in one round of tic-tac-toe, in Chromium: the one is light, and the other one dark.
"""

from __future__ import annotations

import base64
from pathlib import Path

import trio

from examples.tictactoe import TicTacToe
from tests.browser.serving import PAGES, serving
from tests.kit.bidi import Link, Tab, connected, started

PICTURE = Path(__file__).parents[2] / "docs" / "pictures" / "phones.png"

WIDTH, HEIGHT = 360, 560
MARGIN = 16

FRAME = """
document.body.style = "margin: 0; display: flex; gap: MARGINpx; padding: MARGINpx;" +
  "background: #8a9cd0";
Promise.all(SHOTS.map((shot) => {
  const image = new Image(WIDTH, HEIGHT);
  image.src = "data:image/png;base64," + shot;
  image.style = "border-radius: 18px; box-shadow: 0 2px 10px #0006";
  document.body.append(image);
  return image.decode();
})).then(() => true)
"""


async def open_phone(link: Link, url: str, name: str, scheme: str) -> Tab:
    """Open the page on a phone of a player with this name."""
    tab = await link.open_window()
    await tab.resize(WIDTH, HEIGHT, ratio=2)
    session = (await link.command("goog:cdp.getSession", context=tab.context))["session"]
    await link.command(
        "goog:cdp.sendCommand",
        session=session,
        method="Emulation.setEmulatedMedia",
        params={"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )
    await tab.open(f"{url}icon.svg")
    guest = f'{{"username": "{name}", "password": "a picture of {name}"}}'
    await tab.evaluate(f"sessionStorage.setItem('pgnet.guest', '{guest}')")
    await tab.open(url)
    return tab


async def take() -> None:
    with started("chromium") as browser:
        async with connected(browser) as link, serving(TicTacToe, PAGES / "tictactoe") as port:
            url = f"http://127.0.0.1:{port}/"
            ann = await open_phone(link, url, "ann", "light")
            await ann.wait_text("#X", "you")
            bob = await open_phone(link, url, "bob", "dark")
            await bob.wait_text("#O", "you")
            for mover, other, square in [(ann, bob, 5), (bob, ann, 1), (ann, bob, 7)]:
                await mover.click(f"#board button:nth-child({square})")
                await other.wait_text("#news", "Your turn")
            for tab in ann, bob:
                await tab.move(0, 0, kind="mouse")
            shots = [base64.b64encode(await tab.screenshot()).decode() for tab in (ann, bob)]
            table = await link.open_window()
            await table.resize(2 * WIDTH + 3 * MARGIN, HEIGHT + 2 * MARGIN)
            sizes = {"WIDTH": WIDTH, "HEIGHT": HEIGHT, "MARGIN": MARGIN, "SHOTS": shots}
            frame = FRAME
            for name, value in sizes.items():
                frame = frame.replace(name, str(value))
            await table.evaluate(f"eval({frame!r})")
            PICTURE.write_bytes(await table.screenshot())


if __name__ == "__main__":
    trio.run(take)

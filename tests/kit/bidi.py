"""Real browsers, headless, driven over WebDriver BiDi, which Chromium and Firefox both speak.

BiDi is JSON over a WebSocket, which trio-websocket speaks already, and so the little that tests say
to a browser is here: Selenium and Playwright bring their own drivers or browsers, and block a
thread or need asyncio.

A browser runs as long as `started` does, and each test connects anew. Its windows stay open from
one test to the next, because Firefox takes a second for each; what pages keep belongs to their
origin, and each server of a test has a port, and so an origin, of its own.
"""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import tempfile
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream

__all__ = [
    "PLAIN_NAME",
    "Browser",
    "BrowserError",
    "Link",
    "Tab",
    "connected",
    "started",
]

DEADLINE = 30.0
"""Seconds for anything that a browser does; much more than it takes on a busy machine."""

PLAIN_NAME = "game.test"
"""A name that leads browsers to this machine, and is as insecure to them as a LAN address."""

MAX_MESSAGE = 16 * 1024 * 1024

# Nothing of this asks a network for anything: updates, lists of bad sites, experiments.
CHROMIUM = [
    "--headless=new",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    f"--host-resolver-rules=MAP {PLAIN_NAME} 127.0.0.1",
    # Both are for people, and may take seconds on a machine without a display.
    "--disable-gpu",
    "--disable-extensions",
]

FIREFOX = {
    "app.normandy.enabled": False,
    "app.update.disabledForTesting": True,
    "browser.safebrowsing.downloads.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.homepage": "about:blank",
    "browser.startup.page": 0,
    "datareporting.policy.dataSubmissionEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "network.dns.localDomains": PLAIN_NAME,
    "services.settings.server": "data:,none",
    "toolkit.telemetry.enabled": False,
}


class BrowserError(Exception):
    """A browser refuses a command, or a script in a page throws."""


@attrs.frozen
class Browser:
    """A browser that runs.

    Attributes:
        name: "chromium" or "firefox".
        url: Where its session is; one connection after the other may use it.
    """

    name: str
    url: str


CAPABILITIES = {"acceptInsecureCerts": True}
"""Browsers do not know who signs the certificates of tests."""


@contextmanager
def started(name: str) -> Iterator[Browser]:
    """Start a browser with an empty profile; end all that it has started with the block."""
    with tempfile.TemporaryDirectory(prefix="pgnet-trio-browser-") as folder:
        start = {"chromium": _start_chromium, "firefox": _start_firefox}[name]
        with start(Path(folder)) as url:
            yield Browser(name, url)


@contextmanager
def _start_chromium(folder: Path) -> Iterator[str]:
    with _process(
        ["chromedriver", "--port=0"], folder, r"started successfully on port (\d+)"
    ) as port:
        options = {"args": [*CHROMIUM, f"--user-data-dir={folder / 'profile'}"]}
        if os.geteuid() == 0:
            options["args"].append("--no-sandbox")
        wanted = {"webSocketUrl": True, "goog:chromeOptions": options, **CAPABILITIES}
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/session",
            json.dumps({"capabilities": {"alwaysMatch": wanted}}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=DEADLINE) as response:
            yield str(json.load(response)["value"]["capabilities"]["webSocketUrl"])


@contextmanager
def _start_firefox(folder: Path) -> Iterator[str]:
    lines = [
        f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in FIREFOX.items()
    ]
    (folder / "user.js").write_text("\n".join(lines), "utf-8")
    command = [
        "firefox-esr",
        "--headless",
        "--remote-debugging-port",
        "0",
        "--profile",
        str(folder),
    ]
    with _process(command, folder, r"BiDi listening on (ws://\S+)") as url:
        yield f"{url}/session"


@contextmanager
def _process(command: list[str], folder: Path, announcement: str) -> Iterator[str]:
    """Run a program, and yield what it announces."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "HOME": str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        seen = []
        for line in process.stdout:
            seen.append(line)
            if match := re.search(announcement, line):
                yield match[1]
                return
        raise BrowserError(f"{command[0]} did not start:\n{''.join(seen)}")
    finally:
        # Browsers start processes of their own, which nobody else would end.
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


class Link:
    """A connection to a browser, for one test."""

    def __init__(self, websocket: WebSocketConnection) -> None:
        self._websocket = websocket
        self._waiting: dict[int, trio.MemorySendChannel[dict[str, Any]]] = {}
        self._count = 0
        self.logged: list[str] = []

    async def command(self, method: str, /, **parameters: object) -> dict[str, Any]:
        """Say something, and return the answer.

        Raises:
            BrowserError: It was refused.
        """
        self._count += 1
        number = self._count
        send, receive = trio.open_memory_channel[dict[str, Any]](1)
        self._waiting[number] = send
        message = {"id": number, "method": method, "params": parameters}
        await self._websocket.send_message(json.dumps(message))
        with trio.fail_after(DEADLINE):
            answer = await receive.receive()
        if answer["type"] == "error":
            raise BrowserError(f"{method}: {answer['error']}: {answer['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    async def read(self) -> None:
        """Hand out what the browser says, until the connection is closed."""
        try:
            while True:
                message = json.loads(await self._websocket.get_message())
                if "id" in message and message["id"] in self._waiting:
                    self._waiting.pop(message["id"]).send_nowait(message)
                elif message.get("method") == "log.entryAdded":
                    entry = message["params"]
                    self.logged.append(f"{entry['level']}: {entry['text']}")
        except ConnectionClosed:
            pass

    async def windows(self) -> list[Tab]:
        """Return what is open."""
        tree = await self.command("browsingContext.getTree", maxDepth=0)
        return [Tab(self, each["context"]) for each in tree["contexts"]]

    async def open_window(self) -> Tab:
        created = await self.command("browsingContext.create", type="window")
        return Tab(self, created["context"])


@attrs.frozen
class Tab:
    """A tab of a browser."""

    link: Link
    context: str

    async def open(self, url: str) -> None:
        """Go to a page, and wait until it is loaded."""
        await self.link.command(
            "browsingContext.navigate", context=self.context, url=url, wait="complete"
        )

    async def reload(self) -> None:
        await self.link.command("browsingContext.reload", context=self.context, wait="complete")

    async def go(self, steps: int) -> None:
        """Go back and forth in the history of the tab."""
        await self.link.command(
            "browsingContext.traverseHistory", context=self.context, delta=steps
        )

    async def close(self) -> None:
        await self.link.command("browsingContext.close", context=self.context)

    @asynccontextmanager
    async def in_background(self) -> AsyncIterator[None]:
        """Have another tab in front of this one for a block: it has to be in the newest window."""
        created = await self.link.command(
            "browsingContext.create", type="tab", referenceContext=self.context
        )
        front = Tab(self.link, created["context"])
        try:
            await self.link.command("browsingContext.activate", context=front.context)
            await self.wait_for("document.visibilityState === 'hidden'")
            yield
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + DEADLINE):
                await front.close()

    async def evaluate(self, expression: str) -> Any:
        """Return what an expression of JavaScript is, or what the promise becomes that it is.

        Raises:
            BrowserError: It throws.
        """
        answer = await self.link.command(
            "script.evaluate",
            expression=f"(async () => JSON.stringify(await ({expression})) ?? 'null')()",
            target={"context": self.context},
            awaitPromise=True,
            userActivation=True,
        )
        if answer["type"] == "exception":
            raise BrowserError(f"{expression}: {answer['exceptionDetails']['text']}")
        return json.loads(answer["result"]["value"])

    async def wait_for(self, expression: str) -> Any:
        """Wait until an expression is true, looking whenever the page changes; return its value."""
        watching = f"""new Promise((resolve) => {{
            const look = () => {{
                const value = ({expression});
                if (value) (observer.disconnect(), resolve(value));
            }};
            const observer = new MutationObserver(look);
            const what = {{subtree: true, childList: true, attributes: true, characterData: true}};
            observer.observe(document, what);
            look();
        }})"""
        try:
            return await self.evaluate(watching)
        except trio.TooSlowError:
            text = await self.evaluate("document.body.innerText")
            raise AssertionError(f"{expression} did not come; there was:\n{text}") from None

    async def text(self, selector: str) -> str:
        return str(await self.evaluate(f"document.querySelector({selector!r}).textContent"))

    async def wait_text(self, selector: str, text: str) -> None:
        """Wait until an element contains a text."""
        found = f"document.querySelector({selector!r})?.textContent.includes({json.dumps(text)})"
        await self.wait_for(found)

    async def click(self, selector: str, *, kind: str = "mouse") -> None:
        """Click into the middle of an element, as a person does."""
        x, y = await self.middle(selector)
        await self.point(kind, [_move(x, y), _DOWN, _UP])

    async def middle(self, selector: str) -> tuple[int, int]:
        """Return where the middle of an element is in the window."""
        box = await self.evaluate(
            f"""(({{left, top, width, height}}) => [left + width / 2, top + height / 2])(
            document.querySelector({selector!r}).getBoundingClientRect())"""
        )
        return round(box[0]), round(box[1])

    async def point(self, kind: str, actions: list[dict[str, Any]]) -> None:
        source = {
            "type": "pointer",
            "id": kind,
            "parameters": {"pointerType": kind},
            "actions": actions,
        }
        await self.link.command("input.performActions", context=self.context, actions=[source])

    async def press(self, x: int, y: int, *, kind: str) -> None:
        """Put a finger, or the button of the mouse, down."""
        await self.point(kind, [_move(x, y), _DOWN])

    async def move(self, x: int, y: int, *, kind: str) -> None:
        await self.point(kind, [_move(x, y)])

    async def release(self, *, kind: str) -> None:
        await self.point(kind, [_UP])

    async def type(self, text: str) -> None:
        """Type into what has the focus; a line break is the key Enter."""
        keys = [
            {"type": what, "value": "\ue007" if letter == "\n" else letter}
            for letter in text
            for what in ("keyDown", "keyUp")
        ]
        source = {"type": "key", "id": "keyboard", "actions": keys}
        await self.link.command("input.performActions", context=self.context, actions=[source])

    async def resize(self, width: int, height: int, *, ratio: float = 1) -> None:
        """Have the page this size, as a phone would."""
        await self.link.command(
            "browsingContext.setViewport",
            context=self.context,
            viewport={"width": width, "height": height},
            devicePixelRatio=ratio,
        )

    async def screenshot(self) -> bytes:
        """Return what the page looks like, as PNG."""
        shot = await self.link.command("browsingContext.captureScreenshot", context=self.context)
        return base64.b64decode(shot["data"])


_DOWN = {"type": "pointerDown", "button": 0}
_UP = {"type": "pointerUp", "button": 0}


def _move(x: int, y: int) -> dict[str, Any]:
    return {"type": "pointerMove", "x": x, "y": y}


@asynccontextmanager
async def connected(browser: Browser) -> AsyncIterator[Link]:
    """Connect to a browser, and hear what its pages log."""
    address = urlsplit(browser.url)
    assert address.hostname is not None
    assert address.port is not None
    async with (
        await trio.open_tcp_stream(address.hostname, address.port) as stream,
        trio.open_nursery() as nursery,
    ):
        websocket = await wrap_client_stream(
            nursery, stream, address.netloc, address.path, max_message_size=MAX_MESSAGE
        )
        link = Link(websocket)
        nursery.start_soon(link.read)
        if browser.name == "firefox":
            # Its sessions end with their connection; that of Chromium is there from the beginning.
            await link.command("session.new", capabilities={"alwaysMatch": CAPABILITIES})
        subscribed = await link.command("session.subscribe", events=["log.entryAdded"])
        try:
            yield link
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + DEADLINE):
                if browser.name == "firefox":
                    await link.command("session.end")
                else:
                    number = subscribed["subscription"]
                    await link.command("session.unsubscribe", subscriptions=[number])
        nursery.cancel_scope.cancel()

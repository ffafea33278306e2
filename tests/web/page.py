"""A page in Node.js that a test plays with, against a server that runs in the test."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from tests.web.node import WEB, command_of

__all__ = ["Page", "PageError", "open_page"]


class PageError(Exception):
    """What the page has caught.

    Attributes:
        name: The error's class.
        code: Its code.
        payload: What a game says beside it.
    """

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["message"])
        self.name = error["name"]
        self.code = error.get("code")
        self.payload = error.get("payload")


@attrs.define(eq=False)
class _Deed:
    done: trio.Event = attrs.field(factory=trio.Event)
    outcome: dict[str, Any] = attrs.field(factory=dict)


class Page:
    """One page, with one client or more."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._count = 0
        self._deeds: dict[int, _Deed] = {}

    async def __call__(self, deed: str, /, *given: Any) -> Any:
        """Have the page do something, mostly call a method of the client; return the outcome."""
        self._count += 1
        number = self._count
        waiting = self._deeds[number] = _Deed()
        assert self._process.stdin is not None
        line = json.dumps({"id": number, "deed": deed, "given": given}) + "\n"
        await self._process.stdin.send_all(line.encode())
        await waiting.done.wait()
        if "error" in waiting.outcome:
            raise PageError(waiting.outcome["error"])
        return waiting.outcome.get("value")

    async def log_in(
        self, port: int | None, username: str = "ann", /, *events: str, **options: Any
    ) -> None:
        """Make a client, listen to some events, and connect."""
        await self("new", {"address": f"127.0.0.1:{port}", "username": username, **options})
        for event in events:
            await self("on", event)
        await self("connect")

    async def read(self) -> None:
        """Read what the page says, until it ends."""
        assert self._process.stdout is not None
        rest = b""
        async for chunk in self._process.stdout:
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                outcome = json.loads(line)
                deed = self._deeds.pop(outcome["id"])
                deed.outcome = outcome
                deed.done.set()
        for deed in self._deeds.values():
            deed.outcome = {"error": {"name": "PageEnded", "message": "the page has ended"}}
            deed.done.set()


@asynccontextmanager
async def open_page(
    client: str = str(WEB / "client.js"), deadline: float = 30.0, **oddities: Any
) -> AsyncIterator[Page]:
    """Open a page for so many seconds; see ``player.mjs`` for what may be odd about it."""
    process = await trio.lowlevel.open_process(
        command_of("player.mjs", client, json.dumps(oddities)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    page = Page(process)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(page.read)
            with trio.fail_after(deadline):
                yield page
            nursery.cancel_scope.cancel()
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    await stream.aclose()

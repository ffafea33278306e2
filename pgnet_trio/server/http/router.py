"""Decides what a request for a page gets. Pure, but for the files that it names."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from pgnet_trio.server.http.answers import Answer, html_answer, text_answer
from pgnet_trio.server.http.files import NOT_FOUND, Folder

if TYPE_CHECKING:
    from pgnet_trio.server.http.files import Site
    from pgnet_trio.server.http.head import RequestHead
    from pgnet_trio.server.http.origins import OriginRule

__all__ = ["Health", "Router"]

logger = logging.getLogger("pgnet_trio.server")

Health: TypeAlias = Literal["ok", "shutting down", "cannot save"]

BUNDLE = Path(__file__).parent.parent.parent / "web" / "bundle"
"""Where the client for browsers lies once it is built."""

OURS = "/pgnet/"
CLIENT_FILES = {
    f"{OURS}{name}": f"/{name}"
    for file in ("client", "netcode", "community")
    for name in (f"{file}.js", f"{file}.d.ts")
}
HEALTH = "/healthz"
ICON = "/favicon.ico"
"""Browsers ask for it where a page names no icon, and show an error if it is not there."""

NOT_BUILT = (
    "the client for browsers was not built when pgnet_trio was installed: install it again on a "
    "machine that reaches PyPI or has npm"
)
WELCOME = (
    "This is the server of a game that was made with pgnet_trio. It has no page of its own: "
    "players connect to it with a program of theirs.",
    "Whoever runs the server can give it a page: Site in a program, --site on the command line.",
)


class Router:
    """Decides what each request gets.

    Args:
        site: The author's files; None for none.
        origins: Which hosts are answered for.
        health: Called for how the server is.
    """

    def __init__(
        self, site: Site | None, origins: OriginRule, health: Callable[[], Health]
    ) -> None:
        self._origins = origins
        self._health = health
        self._site = None if site is None else Folder(site.folder, site.content_security_policy)
        self._bundle = Folder(BUNDLE)
        if site is not None and not (BUNDLE / "client.js").is_file():
            logger.warning("No page can play here: the client for browsers is not there")

    def route(self, head: RequestHead) -> Answer | Callable[[], Answer]:
        """Return the answer, or what finds it on the disk.

        Raises:
            BadRequest: The target of the request makes no sense.
        """
        if head.method not in ("GET", "HEAD"):
            return text_answer(405, "expected GET or HEAD", {"Allow": "GET, HEAD"})
        if head.has_body:
            return text_answer(400, f"expected {head.method} without a body")
        path = head.path()
        if path != HEALTH or head.origin is not None:
            refusal = self._origins.refuse_host(head.host)
            if refusal is not None:
                return text_answer(421, refusal)
        if path == HEALTH:
            return _health_answer(self._health())
        if path.startswith(OURS):
            return functools.partial(self._client_answer, path, head)
        if path == ICON:
            return functools.partial(self._icon_answer, head)
        if self._site is not None:
            return functools.partial(self._site.answer, path, head)
        if path == "/":
            return html_answer("A game server", *WELCOME)
        return text_answer(404, NOT_FOUND)

    def _client_answer(self, path: str, head: RequestHead) -> Answer:
        if path not in CLIENT_FILES:
            return text_answer(404, NOT_FOUND)
        answer = self._bundle.answer(CLIENT_FILES[path], head)
        return text_answer(503, NOT_BUILT) if answer.status == HTTPStatus.NOT_FOUND else answer

    def _icon_answer(self, head: RequestHead) -> Answer:
        if self._site is not None:
            answer = self._site.answer(ICON, head)
            if answer.status != HTTPStatus.NOT_FOUND:
                return answer
        return Answer(status=HTTPStatus.NO_CONTENT, headers={"Cache-Control": "no-cache"})


def _health_answer(health: Health) -> Answer:
    return Answer(
        status=200 if health == "ok" else 503,
        headers={"Content-Type": "application/json", "Cache-Control": "no-store"},
        body=f"{json.dumps({'status': health})}\n".encode(),
    )

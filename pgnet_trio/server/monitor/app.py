"""The monitor as an ASGI application: who is let in, and which page answers.

Each request passes the same gate before it reaches a page: where it comes from, who has sent it,
and, if it is neither GET nor HEAD, whether they may do something. A page finds in
``request.state.role`` what they may do.
"""

from __future__ import annotations

import contextlib
import html
import importlib.metadata
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import attrs
import trio
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
)
from starlette.routing import BaseRoute, Route

from pgnet_trio.foreign_text import one_line
from pgnet_trio.server.context import ServerContext
from pgnet_trio.server.http.answers import STRICT_POLICY
from pgnet_trio.server.http.opening import names_a_proxy
from pgnet_trio.server.http.router import Health
from pgnet_trio.server.monitor.access import Access, Asked, Refusal, Role
from pgnet_trio.server.monitor.actions import ActionRefused, carry_out
from pgnet_trio.server.monitor.events import MOST_STREAMS, VIEWS, EventStreams, Stream, Wanted
from pgnet_trio.server.monitor.live import Live
from pgnet_trio.server.monitor.metrics import CONTENT_TYPE, Metrics
from pgnet_trio.server.monitor.pages import index, page_file
from pgnet_trio.server.monitor.playground import PlaygroundChanges, client_file, play
from pgnet_trio.server.sources import is_loopback

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["MonitorView", "make_app"]

MAX_FORM = 4096
"""Bytes of the form with the token."""

FORM_SECONDS = 10.0
"""Seconds in which it has to come."""

OPEN_PATHS = ("/healthz", "/login")
"""What nobody needs a token for."""

OPEN_FOLDER = "/page/"
"""Where the files of the page are, which hold no secret; the login page has their looks."""

PLAYGROUND = "/playground/socket"
"""Where made-up players connect."""

HTTP_VERSIONS = ("1.0", "1.1")
"""What is spoken; hypercorn would speak HTTP/2 too."""

MAX_ACTION = 16 * 1024
"""Bytes of what comes with an action."""

HEADERS = {
    "Content-Security-Policy": STRICT_POLICY,
    "X-Content-Type-Options": "nosniff",
    # With "no-referrer", browsers say that a form comes from the origin "null".
    "Referrer-Policy": "same-origin",
}

TOKEN_NOTE = (
    "Whoever looks has to know a token. It is in the file that --monitor-token-file names, or, for "
    "whoever does something too, --monitor-write-token-file."
)

LOGIN_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>pgnet_trio monitor</title>
<link rel="icon" href="/page/icon.svg">
<link rel="stylesheet" href="/page/style.css">
<body class="login">
<form method="post" action="/login">
<h1>Monitor</h1>
<p>{note}</p>
<label>Token <input name="token" type="password" autocomplete="current-password" autofocus required>
</label>
<button class="primary">Log in</button>
</form>
</body>
</html>
"""


@attrs.frozen(eq=False, kw_only=True)
class MonitorView:
    """What the pages of a monitor look at.

    Attributes:
        context: The parts of the running server.
        live: Looks at it once a second.
        access: Who may look.
        metrics: Collects the metrics.
        health: Called for how the server is.
        cookie: The name of the cookie: one for each port, as browsers do not tell ports apart.
    """

    context: ServerContext
    live: Live
    access: Access
    metrics: Metrics
    health: Callable[[], Health]
    cookie: str


def make_app(view: MonitorView) -> ASGIApp:
    """Return the application.

    Args:
        view: What its pages look at.
    """
    return _Gate(view, Starlette(routes=_routes(view)))


def _routes(view: MonitorView) -> list[BaseRoute]:
    """Return all pages of the monitor."""

    async def health(request: Request) -> Response:
        status = view.health()
        return JSONResponse({"status": status}, 200 if status == "ok" else 503)

    async def metrics(request: Request) -> Response:
        return Response(await view.metrics.collect(), headers={"Content-Type": CONTENT_TYPE})

    async def login_page(request: Request) -> Response:
        return HTMLResponse(LOGIN_PAGE.format(note=TOKEN_NOTE))

    async def log_in(request: Request) -> Response:
        token = await _read_token(request)
        role = view.access.log_in(token, _address(view, request.scope), trio.current_time())
        if isinstance(role, Refusal):
            note = html.escape(role.text)
            return HTMLResponse(LOGIN_PAGE.format(note=note), role.status, dict(role.headers))
        answer = RedirectResponse("/", 303)
        answer.set_cookie(
            view.cookie,
            view.access.make_cookie(role, trio.current_time()),
            httponly=True,
            samesite="strict",
            secure=request.headers.get("origin", "").startswith("https://"),
        )
        return answer

    async def log_out(request: Request) -> Response:
        answer = RedirectResponse("/login", 303)
        answer.delete_cookie(view.cookie, httponly=True, samesite="strict")
        return answer

    in_development = view.context.options.development
    streams = EventStreams(view.context, view.live, PlaygroundChanges if in_development else None)

    async def events(request: Request) -> Response | Stream:
        if streams.is_full:
            text = f"{MOST_STREAMS} pages of the monitor are open already; close one first\n"
            return PlainTextResponse(text, 503, {"Retry-After": "5"})
        query = request.query_params
        level = logging.getLevelNamesMapping().get(query.get("level", ""), logging.NOTSET)
        wanted = Wanted(query.get("view", VIEWS[0]), query.get("table", ""), level)
        if wanted.view not in VIEWS:
            return PlainTextResponse(f"expected a view of {', '.join(VIEWS)}\n", 400)
        return streams.open(wanted, _hello(view, request.state.role))

    async def stack(request: Request) -> Response:
        lines = view.live.tasks.stack(request.query_params.get("task", ""))
        if lines is None:
            return JSONResponse({"error": "this task has ended"}, 404)
        return JSONResponse({"lines": [attrs.asdict(line) for line in lines]})

    async def act(request: Request) -> Response:
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            # No form of another page can send this.
            return JSONResponse({"error": "expected Content-Type: application/json"}, 415)
        body = await _read_body(request, MAX_ACTION)
        if body is None:
            return JSONResponse({"error": f"expected at most {MAX_ACTION:,} bytes"}, 413)
        name = request.path_params["name"]
        try:
            done = await carry_out(view.context, name, body, _address(view, request.scope))
        except ActionRefused as error:
            return JSONResponse({"error": str(error)}, 400)
        answer = JSONResponse({"text": done.text})
        if done.then is not None:
            # Or the server would end before the page has its answer.
            answer.background = BackgroundTask(_call, done.then)
        return answer

    development = [Route("/playground/client.js", client_file)] if in_development else []
    return [
        *development,
        Route("/", index),
        Route("/page/{name}", page_file),
        Route("/events", events),
        Route("/stack", stack),
        Route("/actions/{name}", act, methods=["POST"]),
        Route("/healthz", health),
        Route("/metrics", metrics),
        Route("/login", login_page),
        Route("/login", log_in, methods=["POST"]),
        Route("/logout", log_out, methods=["POST"]),
    ]


class _Gate:
    """Lets requests in, or answers them.

    Args:
        view: Has the rules.
        app: The pages.
    """

    def __init__(self, view: MonitorView, app: ASGIApp) -> None:
        self._view = view
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] not in ("http", "websocket"):
            # The application has nothing to start.
            await trio.lowlevel.checkpoint()
            return
        if scope["http_version"] not in HTTP_VERSIONS:
            # There, who reads nothing holds up no write that has a deadline.
            await Response(None, 505)(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await self._serve_websocket(scope, receive, send)
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = dict(HEADERS)
                names = {name.lower() for name, _ in message["headers"]}
                if b"cache-control" not in names:
                    headers["Cache-Control"] = "no-store"
                message["headers"] = [
                    *message["headers"],
                    *(
                        (name.lower().encode(), value.encode())
                        for name, value in headers.items()
                        if name.lower().encode() not in names
                    ),
                ]
            await send(message)

        answer = self._check(scope)
        await (self._app if answer is None else answer)(scope, receive, send_safely)

    async def _serve_websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a made-up player play, where there is a playground."""
        context, access = self._view.context, self._view.access
        asked = self._asked(scope, "GET")
        is_refused = (
            not context.options.development
            or scope["path"] != PLAYGROUND
            or access.check_source(asked) is not None
            or isinstance(access.identify(asked, trio.current_time()), Refusal)
        )
        if is_refused:
            await receive()
            await send({"type": "websocket.close"})
            return
        is_local = is_loopback(asked.address) and not asked.is_forwarded
        await play(context, scope, receive, send, is_local=is_local)

    def _asked(self, scope: Scope, method: str) -> Asked:
        headers = Headers(scope=scope)
        return Asked(
            method=method,
            address=_address(self._view, scope),
            host=headers.get("host"),
            origin=headers.get("origin"),
            authorization=headers.get("authorization", ""),
            cookie=HTTPConnection(scope).cookies.get(self._view.cookie, ""),
            is_forwarded=any(names_a_proxy(name) for name, _ in scope["headers"]),
        )

    def _check(self, scope: Scope) -> Response | None:
        """Return the answer to a request that is not let in; None where it is."""
        headers, path = Headers(scope=scope), scope["path"]
        asked = self._asked(scope, scope["method"])
        access = self._view.access
        # Whoever watches over a service asks by any name, and no page reads the answer.
        if not (path == "/healthz" and asked.origin is None):
            refusal = access.check_source(asked)
            if refusal is not None:
                return _refused(refusal)
        if path in OPEN_PATHS or path.startswith(OPEN_FOLDER):
            return None
        role = access.identify(asked, trio.current_time())
        if isinstance(role, Refusal):
            if role.status == 401 and asked.reads and "text/html" in headers.get("accept", ""):
                return RedirectResponse("/login", 303)
            return _refused(role)
        if not asked.reads and path != "/logout" and role is not Role.WRITE:
            return _refused(
                Refusal(403, "this token is for looking; doing something takes the write token")
            )
        scope.setdefault("state", {})["role"] = role
        return None


def _refused(refusal: Refusal) -> Response:
    return PlainTextResponse(f"{refusal.text}\n", refusal.status, dict(refusal.headers))


def _address(view: MonitorView, scope: Scope) -> str:
    """Return where a request comes from, as a proxy says that is trusted."""
    client = scope.get("client")
    peer = "" if client is None else str(client[0])
    forwarded_for = Headers(scope=scope).getlist("x-forwarded-for")
    return view.context.options.trusted_proxies.client_of(peer, forwarded_for)


async def _read_token(request: Request) -> str:
    """Return the token of the form; an empty text where none comes in time."""
    body = await _read_body(request, MAX_FORM) or b""
    return one_line(parse_qs(body.decode("latin-1")).get("token", [""])[0])


async def _read_body(request: Request, most: int) -> bytes | None:
    """Return what comes with a request; None where it is too long, or does not come in time."""
    body = b""
    with contextlib.suppress(ClientDisconnect), trio.move_on_after(FORM_SECONDS):
        async with contextlib.aclosing(request.stream()) as parts:
            async for part in parts:
                body += part
                if len(body) > most:
                    return None
        return body
    return None


async def _call(function: Callable[[], None]) -> None:
    # Not in a thread, as a function that is not async would be.
    function()
    await trio.lowlevel.checkpoint()


def _hello(view: MonitorView, role: Role) -> dict[str, Any]:
    """Return what a page is told first."""
    options = view.context.options
    game = options.game_class
    return {
        "role": role.value,
        "has_tokens": view.access.has_tokens,
        "version": importlib.metadata.version("pgnet_trio"),
        "game": "games" if game is None else game.__name__,
        "development": options.development,
        "in_cluster": view.context.cluster is not None,
        "can_save": view.context.saves.enabled,
    }

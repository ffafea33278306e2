"""The playground: made-up players who are played from the monitor's page, in development mode.

Such a player is a real one: the page has the client for browsers, which speaks to the server over a
WebSocket of the monitor's listener. So nothing is done for it that is not done for others.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

import attrs
import trio
from starlette.responses import PlainTextResponse, Response

from pgnet_trio.protocol.v2 import SUBPROTOCOLS
from pgnet_trio.server.connections.serving import handle_transport
from pgnet_trio.server.http.router import BUNDLE
from pgnet_trio.server.monitor.events import TableChanges, event
from pgnet_trio.server.monitor.forms import Form, form_of
from pgnet_trio.server.monitor.rows import encode_json
from pgnet_trio.transport.asgi import ASGITransport
from pgnet_trio.transport.upgrade import choose

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from pgnet_trio.server.context import ServerContext
    from pgnet_trio.server.room.stats import TableView

__all__ = ["PlaygroundChanges", "client_file", "play"]


async def client_file(request: Request) -> Response:
    """Answer with the client for browsers."""
    await trio.lowlevel.checkpoint()
    path = BUNDLE / "client.js"
    if not path.is_file():
        return PlainTextResponse("the client for browsers was not built\n", 404)
    return Response(path.read_bytes(), media_type="text/javascript; charset=utf-8")


async def play(
    context: ServerContext, scope: Scope, receive: Receive, send: Send, *, is_local: bool
) -> None:
    """Serve a made-up player over a WebSocket, from its handshake to its end.

    Args:
        context: What the server's tasks share.
        scope: The WebSocket, of which it is known that it may be served.
        receive: ASGI's.
        send: ASGI's.
        is_local: Whether it comes from this machine, with nobody in between.
    """
    await receive()
    offered = tuple(scope.get("subprotocols") or ())
    subprotocol = choose(SUBPROTOCOLS, offered)
    if subprotocol is None or context.shutdown.requested.is_set():
        await send({"type": "websocket.close"})
        return
    await send({"type": "websocket.accept", "subprotocol": subprotocol})
    client = scope.get("client")
    transport = ASGITransport(
        receive,
        send,
        peer=client[0] if client else "local",
        subprotocol=subprotocol,
        offered_subprotocols=offered,
    )
    context.connections.start_soon(_serve, context, transport, is_local)
    try:
        await transport.closed.wait()
    finally:
        transport.abandon()


async def _serve(context: ServerContext, transport: ASGITransport, is_local: bool) -> None:
    await handle_transport(context, transport, is_local=is_local)


class PlaygroundChanges(TableChanges):
    """What is seen at a table, and the forms for what may be said there.

    Args:
        context: Has it.
        name: The table's name.
    """

    def __init__(self, context: ServerContext, name: str) -> None:
        super().__init__(context, name)
        self._handled: object = None
        self._asked: object = None

    async def more(self, seen: TableView | None) -> AsyncGenerator[bytes, None]:
        """Yield the forms that have changed."""
        await trio.lowlevel.checkpoint()
        handled = None if seen is None else tuple(seen.handled.items())
        asked = (
            None if seen is None else tuple((q.player, q.message, q.model) for q in seen.questions)
        )
        if (handled, asked) == (self._handled, self._asked):
            return
        self._handled, self._asked = handled, asked
        yield event("forms", encode_json(_forms(seen)))


def _forms(seen: TableView | None) -> dict[str, Any]:
    if seen is None:
        return {"messages": [], "takes_any": False, "answers": []}
    return {
        "messages": [_shown(form_of(name, model)) for name, model in seen.handled.items()],
        "takes_any": seen.takes_any,
        "answers": [
            {
                "player": question.player,
                "message": question.message,
                "form": _shown(form_of(question.model.__name__, question.model)),
            }
            for question in seen.questions
        ],
    }


def _shown(form: Form) -> dict[str, Any]:
    return attrs.asdict(form)

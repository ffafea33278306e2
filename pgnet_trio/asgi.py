"""A server inside a web application on Trio: players reach it over the application's WebSockets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from pgnet_trio.errors import ServerError
from pgnet_trio.protocol.v2 import SUBPROTOCOLS
from pgnet_trio.server.http.origins import OriginRule
from pgnet_trio.transport.asgi import ASGITransport, Receive, Scope, Send
from pgnet_trio.transport.rules import TRY_AGAIN_LATER
from pgnet_trio.transport.upgrade import choose

if TYPE_CHECKING:
    from pgnet_trio.transport import Transport

__all__ = ["ASGIApp"]

_REFUSED = b"This is for WebSockets of pgnet_trio clients.\n"


class GameServer(Protocol):
    """What the application needs of a server; `pgnet_trio.Server` is one."""

    def serve_transport(self, transport: Transport, /) -> None:
        """Serve a client over an open link."""


class ASGIApp:
    """An ASGI application through which clients reach a server that runs in the same program.

    The web application around it gives it a path, as in Starlette's
    ``WebSocketRoute("/game", ASGIApp(server))``, and has to run on Trio: with hypercorn,
    ``hypercorn.trio.serve``. The server runs in a task of the program, ``server.serve(port=None)``,
    and has no port of its own. Clients connect to ``wss://play.example.org/game``; those of PGNet,
    with protocol 1, are refused.

    What the server limits for each address holds for the address that the application is told;
    behind a proxy, have the application's own settings see to it.

    Args:
        server: The server.
        allowed_origins: The origins of other pages than those of this host that may connect, such
            as ``"https://example.org"``; ``"*"`` for all. Programs always may.

    Raises:
        TypeError: *allowed_origins* is no list of texts.
        ValueError: One of them is no origin.
    """

    def __init__(self, server: GameServer, *, allowed_origins: Iterable[str] = ()) -> None:
        self._server = server
        # Which hosts it answers to is the business of the application.
        self._origins = OriginRule(allowed_origins, any_host=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one WebSocket, from its handshake to its end.

        Cancellation closes it; the player may come back to their game, as after a drop.

        Raises:
            ValueError: It is asked for something else than a WebSocket or a page.
        """
        if scope["type"] == "http":
            await _refuse_page(send)
            return
        if scope["type"] != "websocket":
            raise ValueError(f"ASGIApp: expected a WebSocket, got {scope['type']!r}; mount it")
        await receive()
        offered = tuple(scope.get("subprotocols") or ())
        subprotocol = choose(SUBPROTOCOLS, offered)
        host, origin = _header(scope, b"host"), _header(scope, b"origin")
        if subprotocol is None or self._origins.refuse_handshake(host, origin) is not None:
            # Before it is accepted, this is an answer with status 403.
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
        try:
            self._server.serve_transport(transport)
        except ServerError:
            await transport.aclose(TRY_AGAIN_LATER, "The server is not running.")
            return
        try:
            await transport.closed.wait()
        finally:
            transport.abandon()


async def _refuse_page(send: Send) -> None:
    headers = [
        (b"content-type", b"text/plain"),
        (b"content-length", str(len(_REFUSED)).encode()),
        (b"upgrade", b"websocket"),
    ]
    await send({"type": "http.response.start", "status": 426, "headers": headers})
    await send({"type": "http.response.body", "body": _REFUSED})


def _header(scope: Scope, name: bytes) -> str | None:
    """Return a header; of several with its name, all: no rule takes those."""
    values = [value.decode("latin-1") for key, value in scope["headers"] if key == name]
    return ", ".join(values) if values else None

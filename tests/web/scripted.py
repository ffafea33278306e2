"""A server that says what a script says, encrypted as it should be."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import trio
import trio_websocket

from pgnet_trio.crypto import KeyPair
from pgnet_trio.crypto.noise import NoiseHandshake, NoiseTransport
from pgnet_trio.protocol.v2 import features, prologue

__all__ = ["HELLO", "WELCOME", "Link", "Script", "scripted"]

FEATURES = sorted(features.FEATURES)
HELLO = [0, 65_536, FEATURES]
WELCOME = [3, "hello", bytes(32)]

encode = msgspec.msgpack.Encoder().encode


class Link:
    """A connection of the page, after the handshake."""

    def __init__(self, socket: trio_websocket.WebSocketConnection, cipher: NoiseTransport) -> None:
        self.socket = socket
        self.path = socket.path or ""
        self.cipher = cipher
        self._waiting: list[Any] = []

    async def send(self, *envelopes: list[Any]) -> None:
        """Send a frame."""
        await self.socket.send_message(self.cipher.encrypt_frame(encode(envelopes)))

    async def receive(self, *kinds: int) -> list[Any]:
        """Return the next envelope of one of these kinds; others are left out."""
        while True:
            while self._waiting:
                envelope: list[Any] = self._waiting.pop(0)
                if envelope[0] in kinds:
                    return envelope
            message = await _bytes_of(self.socket)
            self._waiting = msgspec.msgpack.decode(self.cipher.decrypt_frame(message))


async def _bytes_of(socket: trio_websocket.WebSocketConnection) -> bytes:
    message = await socket.get_message()
    assert isinstance(message, bytes)
    return message


Script = Callable[[Link, int], Awaitable[None]]
"""What the server says over a connection; it gets the number of the connection, from 0."""


class ScriptedServer:
    """The server; it closes a connection when its script is at the end."""

    def __init__(self, script: Script, keys: list[KeyPair], hello: list[Any]) -> None:
        self.port = 0
        self.connections = 0
        self._script = script
        self._keys = keys
        self._hello = hello

    async def serve(self, request: trio_websocket.WebSocketRequest) -> None:
        """Serve one connection."""
        number = self.connections
        self.connections += 1
        offered = request.proposed_subprotocols
        socket = await request.accept(subprotocol=offered[0])
        key = self._keys[min(number, len(self._keys) - 1)]
        try:
            handshake = NoiseHandshake(
                initiator=False,
                prologue=prologue(offered, offered[0]),
                static=key,
                random_bytes=os.urandom,
            )
            handshake.read(await _bytes_of(socket))
            await socket.send_message(handshake.write(encode([self._hello])))
            await self._script(Link(socket, handshake.split()), number)
            await socket.aclose()
        except trio_websocket.ConnectionClosed:
            pass


@asynccontextmanager
async def scripted(
    script: Script, *keys: KeyPair, hello: list[Any] = HELLO
) -> AsyncIterator[ScriptedServer]:
    """Run such a server; its connections show these keys, one after the other."""
    server = ScriptedServer(script, [*keys] or [KeyPair.generate(os.urandom)], hello)
    async with trio.open_nursery() as nursery:
        listening = await nursery.start(
            trio_websocket.serve_websocket, server.serve, "127.0.0.1", 0, None
        )
        server.port = listening.port
        yield server
        nursery.cancel_scope.cancel()

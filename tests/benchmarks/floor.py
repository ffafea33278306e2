"""The least that a server on Trio can do for a request of protocol 2: the same bytes, no rules.

Each client has a task, which reads its socket, takes the frame and the encryption off, decodes the
request, answers with its payload, and writes. There are no sessions, windows, rooms, limits or
errors that anybody is told: what a server costs beyond this is what those take.
"""

from __future__ import annotations

import secrets
import struct
import time
from collections.abc import Callable
from functools import partial

import msgspec
import trio
from websockets.speedups import apply_mask

from pgnet_trio.crypto import KeyPair
from pgnet_trio.crypto.noise import NoiseHandshake
from pgnet_trio.protocol import v2
from pgnet_trio.protocol.v2 import envelopes
from pgnet_trio.transport.upgrade import read_upgrade

__all__ = ["serve_floor"]

REQUEST, RESPONSE = 7, 8
BINARY = 0x82

_decode = msgspec.msgpack.Decoder(list[list[object]]).decode
_encode = msgspec.msgpack.Encoder().encode
_short = struct.Struct("!BB").pack
_medium = struct.Struct("!BBH").pack


def _frame(payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return _short(BINARY, size) + payload
    return _medium(BINARY, 126, size) + payload


def _message(data: bytes) -> bytes:
    """What is in one whole frame of a client, of less than 64 KiB."""
    start = 8 if data[1] == 254 else 6
    return apply_mask(data[start:], data[start - 4 : start])


async def _serve_client(key: KeyPair, stream: trio.SocketStream) -> None:
    upgrade = read_upgrade(bytes(await stream.receive_some(4096)))
    assert upgrade is not None
    subprotocol = next(each for each in v2.SUBPROTOCOLS if each in upgrade.offered)
    await stream.send_all(upgrade.accept(subprotocol, time.time()))
    handshake = NoiseHandshake(
        initiator=False,
        prologue=v2.prologue(upgrade.offered, subprotocol),
        static=key,
        random_bytes=secrets.token_bytes,
    )
    handshake.read(_message(bytes(await stream.receive_some(4096))))
    features: list[str] | None = [] if subprotocol != v2.SUBPROTOCOL else None
    hello = envelopes.array_head(1) + envelopes.encode_hello(None, features)
    await stream.send_all(_frame(handshake.write(hello)))
    link = handshake.split()
    link.decrypt_frame(_message(bytes(await stream.receive_some(4096))))
    welcome = envelopes.array_head(1) + envelopes.encode_welcome("welcome", bytes(32))
    await stream.send_all(_frame(link.encrypt_frame(welcome)))
    receive, send = stream.receive_some, stream.send_all
    encrypt, decrypt = link.encrypt_frame, link.decrypt_frame
    while data := await receive(65536):
        answers = [
            (RESPONSE, envelope[1], 0, "echo", envelope[3])
            for envelope in _decode(decrypt(_message(bytes(data))))
            if envelope[0] == REQUEST
        ]
        if answers:
            await send(_frame(encrypt(_encode(answers))))


def serve_floor(announce: Callable[[int], None]) -> None:
    """Serve until the process ends.

    Args:
        announce: Called with the port.
    """
    key = KeyPair.generate(secrets.token_bytes)

    async def serve_client(stream: trio.SocketStream) -> None:
        try:
            await _serve_client(key, stream)
        except trio.BrokenResourceError:
            pass

    async def serve() -> None:
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(
                partial(trio.serve_tcp, serve_client, 0, host="127.0.0.1")
            )
            announce(listeners[0].socket.getsockname()[1])

    trio.run(serve)

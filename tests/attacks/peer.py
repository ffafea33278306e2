"""A client that can say what `pgnet_trio.Client` never would.

This is the only module of the harness that imports what is not public, so that it alone follows
when names change. What stands on the wire it knows from `docs/protocol.md`; it offers ``pgnet.2``
too, so every server since 0.1 understands it.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Mapping
from typing import Any

import attrs
import msgspec
import trio

from pgnet_trio.crypto.noise import NoiseHandshake, NoiseTransport

__all__ = [
    "ACKNOWLEDGEMENT",
    "OK",
    "PING",
    "REQUEST",
    "RESPONSE",
    "STATE_WANTED",
    "Answer",
    "ConnectionEnded",
    "Peer",
    "Refused",
    "SessionOver",
]

SUBPROTOCOL, SUBPROTOCOL_2_1 = "pgnet.2", "pgnet.2.1"
OFFER = (SUBPROTOCOL_2_1, SUBPROTOCOL)
FEATURES = ["token"]

# Numbers of envelopes: docs/protocol.md.
HELLO, LOG_IN, RESUME, WELCOME, RESUMED, SESSION_GONE, REFUSAL, REQUEST, RESPONSE = range(9)
ACKNOWLEDGEMENT, STATE_WANTED, PING, PONG, GOODBYE = 17, 18, 19, 20, 21
COUNTED = {RESPONSE, 9, 12, 13, 14, 16}
OK = 0

ACKNOWLEDGE_AFTER = 32

# WebSocket: the opcodes of RFC 6455, each with the bit of a message's last frame.
WS_BINARY, WS_CLOSE, WS_PING, WS_PONG = 0x82, 0x88, 0x89, 0x8A

RECEIVE_SIZE = 256 * 1024

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[list[Any]]).decode


class ConnectionEnded(Exception):
    """The connection is gone; the session may be resumed."""


class Refused(Exception):
    """The server refused a log-in, for good."""


class SessionOver(Exception):
    """The server said goodbye."""


@attrs.frozen
class Answer:
    """A response to a request."""

    status: int
    message: str
    payload: dict[str, Any]


class Conversation:
    """One connection's bytes, both ways; does no I/O.

    Attributes:
        out: What has to be sent.
        open: Whether the handshake is over.
        server_key: The server's public key, once it is known.
        has_features: Whether the subprotocol has features.
    """

    def __init__(self) -> None:
        key = base64.b64encode(secrets.token_bytes(16)).decode("ascii")
        self.out = bytearray(
            "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Protocol: {', '.join(OFFER)}\r\n\r\n".encode("ascii")
        )
        self.open = False
        self.server_key = b""
        self.has_features = False
        self._closed = ""
        self._upgraded = False
        self._buffer = b""
        self._handshake: NoiseHandshake | None = None
        self._cipher: NoiseTransport | None = None

    @property
    def handshake_hash(self) -> bytes:
        """What names this connection to both sides."""
        assert self._cipher is not None
        return self._cipher.handshake_hash

    def say(self, *envelopes: Any) -> None:
        """Put envelopes into `out`, as one frame."""
        if self._cipher is None:
            raise ConnectionEnded("there was no handshake")
        self.out += _masked(WS_BINARY, self._cipher.encrypt_frame(_encode(envelopes)))

    def take(self, data: bytes) -> list[list[Any]]:
        """Take bytes of the server in; returns the envelopes in them.

        Raises:
            ConnectionEnded: The server closed the WebSocket, or refused it.
        """
        if self._closed:
            raise ConnectionEnded(self._closed)
        self._buffer += data
        if not self._upgraded and not self._upgrade():
            return []
        found: list[list[Any]] = []
        for opcode, payload in self._frames():
            if opcode == WS_PING:
                self.out += _masked(WS_PONG, payload)
            elif opcode == WS_CLOSE:
                self._closed = f"WebSocket was closed with {payload[:2].hex()}"
                break
            elif opcode != WS_BINARY:
                raise ConnectionEnded(f"an unexpected WebSocket frame: {opcode:#x}")
            elif self._cipher is None:
                assert self._handshake is not None
                found += _decode(self._handshake.read(payload))
                self.server_key = self._handshake.remote_static or b""
                self._cipher = self._handshake.split()
                self.open = True
            else:
                found += _decode(self._cipher.decrypt_frame(payload))
        if self._closed and not found:
            raise ConnectionEnded(self._closed)
        # What came before the close comes first.
        return found

    def _upgrade(self) -> bool:
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return False
        selected = ""
        for line in head.decode("latin-1").split("\r\n"):
            name, _, value = line.partition(":")
            if name.lower() == "sec-websocket-protocol":
                selected = value.strip()
        if not head.startswith(b"HTTP/1.1 101 ") or selected not in OFFER:
            raise ConnectionEnded(f"no WebSocket: {head[:100]!r}")
        self.has_features = selected == SUBPROTOCOL_2_1
        self._upgraded, self._buffer = True, rest
        self._handshake = NoiseHandshake(
            initiator=True,
            prologue="\0".join((selected, *OFFER)).encode("ascii"),
            static=None,
            random_bytes=secrets.token_bytes,
        )
        self.out += _masked(WS_BINARY, self._handshake.write())
        return True

    def _frames(self) -> list[tuple[int, bytes]]:
        buffer, position, found = self._buffer, 0, []
        while len(buffer) - position >= 2:
            size, start = buffer[position + 1], position + 2
            if size >= 126:
                width = 2 if size == 126 else 8
                size = int.from_bytes(buffer[start : start + width], "big")
                start += width
            if len(buffer) < start + size:
                break
            found.append((buffer[position], buffer[start : start + size]))
            position = start + size
        self._buffer = buffer[position:]
        return found


def _masked(opcode: int, payload: bytes) -> bytes:
    # A mask of zeros, which RFC 6455 lets pass, leaves the payload as it is.
    size = len(payload)
    if size < 126:
        head = bytes([opcode, 0x80 | size])
    elif size < 1 << 16:
        head = bytes([opcode, 0x80 | 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([opcode, 0x80 | 127]) + size.to_bytes(8, "big")
    return head + bytes(4) + payload


class Peer:
    """A user with one connection at a time. One task reads at a time, and one writes.

    Args:
        port: Where the server listens on 127.0.0.1.
        name: The username.
        password: The password.
        source: The address to come from, one of 127.0.0.0/8.

    Attributes:
        last_request: The id of the last request.
        received: How many envelopes that are counted came.
        token: For coming back.
        login_token: For logging in without the password; empty where there is none.
    """

    def __init__(
        self, port: int, name: str, password: str = "password", source: str = "127.0.0.1"
    ) -> None:
        assert source.startswith("127.")
        self.port = port
        self.name = name
        self.password = password
        self.source = source
        self.token = self.login_token = b""
        self.last_request = 0
        self.received = 0
        self._told = 0
        self._answers: dict[int, Answer] = {}
        self._conversation: Conversation | None = None
        self._socket: trio.socket.SocketType | None = None
        self._sending = trio.Lock()

    @property
    def connected(self) -> bool:
        """Whether it has a connection, as far as it knows."""
        conversation = self._conversation
        return self._socket is not None and conversation is not None and conversation.open

    # Connections.

    async def connect(self) -> None:
        """Open a connection, as far as the server's hello.

        Raises:
            ConnectionEnded: The server is not there, or does not want it.
        """
        self.drop()
        self._socket = trio.socket.socket()
        self._conversation = Conversation()
        try:
            await self._socket.bind((self.source, 0))
            await self._socket.connect(("127.0.0.1", self.port))
            self._socket.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_NODELAY, 1)
        except OSError as error:
            raise ConnectionEnded(str(error)) from error
        await self._flush()
        envelopes: list[list[Any]] = []
        while not self._conversation.open:
            envelopes = await self.receive()
        if envelopes[:1] and envelopes[0][0] == REFUSAL:
            raise Refused(envelopes[0][1])

    async def log_in(self) -> None:
        """Connect, and log in or register.

        Raises:
            ConnectionEnded: The connection failed.
            Refused: The server does not let this user in.
            SessionOver: The server does not let anybody in now.
        """
        await self.connect()
        await self.say(self._hello(), [LOG_IN, self.name, self.password, ""])
        await self._wait_for_welcome()

    def _hello(self) -> list[Any]:
        assert self._conversation is not None
        return [HELLO, None, FEATURES] if self._conversation.has_features else [HELLO, None]

    async def resume(self) -> bool:
        """Connect, and ask for the session that was; returns False where it is gone."""
        await self.connect()
        assert self._conversation is not None
        proof = hashlib.blake2s(self._conversation.handshake_hash, key=self.token).digest()
        self._told = self.received
        await self.say(self._hello(), [RESUME, self.name, proof, self.received])
        while True:
            for envelope in await self.receive():
                if envelope[0] == RESUMED:
                    # Requests that did not arrive are given up: whoever made them was cancelled.
                    self.last_request = envelope[1]
                    return True
                if envelope[0] == SESSION_GONE:
                    return False
                if envelope[0] == REFUSAL:
                    raise Refused(envelope[1])

    async def come_back(self) -> None:
        """Do what a client does whose server was started again: resume, else log in.

        It logs in with its token, and with its password where that is not taken.
        """
        if not await self.resume():
            if self.login_token:
                token, self.login_token = self.login_token, b""
                await self.say([LOG_IN, self.name, "", "", token])
                if await self._wait_for_welcome():
                    self.login_token = self.login_token or token
                    return
            await self.say([LOG_IN, self.name, self.password, ""])
            await self._wait_for_welcome()

    async def _wait_for_welcome(self) -> bool:
        """Wait to be let in; return False where the token was not taken."""
        self.last_request = self.received = self._told = 0
        self._answers.clear()
        welcome = False
        while not welcome:
            # What is counted may come in the same frame.
            for envelope in await self.receive():
                if envelope[0] == REFUSAL:
                    raise Refused(envelope[1])
                if envelope[0] == SESSION_GONE:
                    return False
                if envelope[0] == WELCOME:
                    welcome, self.token = True, envelope[2]
                    if len(envelope) > 3:
                        self.login_token = envelope[3]
        return True

    def drop(self) -> None:
        """Close the connection without a word; the session may be resumed."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def leave(self) -> None:
        """Say goodbye."""
        if self._socket is not None:
            try:
                await self.say([GOODBYE, "bye"])
            except ConnectionEnded:
                pass
            self.drop()

    # Envelopes.

    async def say(self, *envelopes: Any) -> None:
        """Send envelopes in one frame."""
        assert self._conversation is not None
        self._conversation.say(*envelopes)
        await self._flush()

    def next_request(
        self, message: str, payload: Mapping[str, Any] | msgspec.Raw | None = None
    ) -> list[Any]:
        """Make the next request; it has to be sent before another one is made."""
        self.last_request += 1
        return [REQUEST, self.last_request, message, {} if payload is None else payload]

    def acknowledgement(self) -> list[Any]:
        """Make an acknowledgement of all that came."""
        self._told = self.received
        return [ACKNOWLEDGEMENT, self.received]

    async def receive(self) -> list[list[Any]]:
        """Wait for the next envelopes; pings are answered here, and what is due acknowledged.

        Raises:
            ConnectionEnded: The connection is gone.
            SessionOver: The server said goodbye.
        """
        assert self._conversation is not None
        if self._socket is None:
            raise ConnectionEnded("there is no connection")
        try:
            data = await self._socket.recv(RECEIVE_SIZE)
        except (OSError, trio.ClosedResourceError) as error:
            raise ConnectionEnded(str(error)) from error
        if not data:
            raise ConnectionEnded("the server closed the connection")
        envelopes = self._conversation.take(data)
        pinged = False
        for envelope in envelopes:
            kind = envelope[0]
            self.received += kind in COUNTED
            if kind == RESPONSE:
                self._answers[envelope[1]] = Answer(envelope[2], envelope[3], envelope[4])
            elif kind == GOODBYE:
                raise SessionOver(envelope[1])
            pinged |= kind == PING
        if pinged:
            self._conversation.say([PONG])
        if self.received - self._told >= ACKNOWLEDGE_AFTER:
            self._conversation.say(self.acknowledgement())
        if self._conversation.out:
            await self._flush()
        return envelopes

    def answers(self) -> dict[int, Answer]:
        """Take the responses that came since the last call, by id."""
        answers, self._answers = self._answers, {}
        return answers

    async def request(
        self, message: str, payload: Mapping[str, Any] | msgspec.Raw | None = None
    ) -> Answer:
        """Make a request, and wait for the response.

        Raises:
            ConnectionEnded: The connection is gone.
            SessionOver: The server said goodbye.
        """
        await self.say(self.acknowledgement(), self.next_request(message, payload))
        while self.last_request not in self._answers:
            await self.receive()
        return self._answers.pop(self.last_request)

    async def _flush(self) -> None:
        assert self._conversation is not None
        # A task that reads answers pings while another one writes.
        async with self._sending:
            data = bytes(self._conversation.out)
            self._conversation.out.clear()
            view = memoryview(data)
            while view:
                if self._socket is None:
                    raise ConnectionEnded("there is no connection")
                try:
                    sent = await self._socket.send(view)
                except (OSError, trio.ClosedResourceError) as error:
                    raise ConnectionEnded(str(error)) from error
                view = view[sent:]

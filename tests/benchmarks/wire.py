"""The load generator's side of each wire: cheap, blocking to log in, and constant afterwards.

A peer logs in over a blocking socket. From then on all that it asks are the same bytes again and
again, made once: no time goes into JSON, encryption or masking, so that the server is what is
measured. (Protocol 1 does not mind a request that is repeated to the byte.) Answers are checked
for their frame each time, and for what they say at the first and at every 64th.
"""

from __future__ import annotations

import base64
import json
import socket
from abc import ABC, abstractmethod
from typing import Any

import nacl.public
import nacl.utils

__all__ = [
    "CHECK_EVERY",
    "PAYLOAD",
    "IdlePeer",
    "Peer",
    "Protocol1Peer",
    "SocketIOPeer",
    "TCPPeer",
    "WebSocketPeer",
    "client_frame",
    "frame_length",
    "server_payload",
]

CHECK_EVERY = 64

# 100 bytes of JSON.
PAYLOAD = {"text": "x" * 89}
MESSAGE = json.dumps(PAYLOAD, separators=(",", ":")).encode("ascii")

TEXT = 1
CLOSE = 8
PING = 9
PONG = 10

MASK = bytes.fromhex("5ac3961e")


def client_frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """One whole WebSocket message as a client sends it (RFC 6455, section 5.2)."""
    length = len(payload)
    if length < 126:
        header = bytes([0x80 | opcode, 0x80 | length])
    elif length < 1 << 16:
        header = bytes([0x80 | opcode, 0x80 | 126]) + length.to_bytes(2, "big")
    else:
        header = bytes([0x80 | opcode, 0x80 | 127]) + length.to_bytes(8, "big")
    masked = bytes(byte ^ MASK[index % 4] for index, byte in enumerate(payload))
    return header + MASK + masked


def frame_length(data: bytes) -> int:
    """How long the first frame of a server is, header included; 0 where that cannot be told yet."""
    if len(data) < 2:
        return 0
    length = data[1]
    if length < 126:
        return length + 2
    if length == 126:
        return 4 + (data[2] << 8 | data[3]) if len(data) >= 4 else 0
    if length == 127:
        return 10 + int.from_bytes(data[2:10], "big") if len(data) >= 10 else 0
    raise ConnectionError("the server sent a masked frame")


def server_payload(frame: bytes) -> bytes:
    """What is in one whole frame of a server."""
    if frame[1] < 126:
        return frame[2:]
    return frame[4:] if frame[1] == 126 else frame[10:]


class Peer(ABC):
    """One connection of the load generator.

    Attributes:
        socket: Blocking until the peer is logged in.
        request: The bytes of one request.
        sent_at: When the last request was sent; the load generator keeps it here.
        answers: How many answers came.
        receive_buffer: Bytes that the kernel may keep for it; None for as many as it likes.
    """

    receive_buffer: int | None = None

    def __init__(self, port: int, name: str, payload: dict[str, Any] | None = None) -> None:
        self.name = name
        self.payload = PAYLOAD if payload is None else payload
        self.request = b""
        self.sent_at = 0.0
        self.answers = 0
        self.port = port
        self.connect()
        try:
            self.log_in()
        except BaseException:
            self.socket.close()
            raise

    def connect(self) -> None:
        """Open the connection, blocking."""
        self._buffer = b""
        self.socket = socket.socket()
        self.socket.settimeout(30)
        if self.receive_buffer is not None:
            # Only before it connects does this bound the window.
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.socket.connect(("127.0.0.1", self.port))
        except BaseException:
            self.socket.close()
            raise

    @abstractmethod
    def log_in(self) -> None:
        """Do all that comes before requests, and set `request`."""

    @abstractmethod
    def take(self, data: bytes) -> bool:
        """Take bytes that came; true when the answer is there whole."""

    def pipeline(self, in_flight: int) -> None:
        """Have so many requests under way at a time from now on; they count as one."""
        if in_flight != 1:
            raise ValueError(f"{type(self).__name__} has one request at a time")

    def next_request(self) -> bytes:
        """The bytes to send next; each has to be sent."""
        return self.request

    def ask(self) -> None:
        """Send one request and wait for its answer, blocking."""
        self.send(self.next_request())
        while not self.take(self.receive()):
            pass

    def send(self, data: bytes) -> None:
        """Send bytes; a closed loop never has so much under way that they would not fit."""
        if self.socket.send(data) != len(data):
            raise ConnectionError(f"the server does not read what {self.name} sends")

    def close(self) -> None:
        """Hang up."""
        self.socket.close()

    def receive(self) -> bytes:
        """Take what the socket has; at least one byte."""
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError(f"the server closed the connection of {self.name}")
        return data


class TCPPeer(Peer):
    """Plain bytes; the answer is what was sent."""

    def log_in(self) -> None:
        self.request = MESSAGE

    def take(self, data: bytes) -> bool:
        if self._buffer:
            data = self._buffer + data
        if len(data) < len(self.request):
            self._buffer = data
            return False
        self._buffer = b""
        if data != self.request:
            raise ConnectionError(f"not an echo: {data[:200]!r}")
        self.answers += 1
        return True


class WebSocketPeer(Peer):
    """WebSocket messages; the answer is what was sent."""

    resource = "/"
    # Those that it offers, the best first, and the one that was selected.
    subprotocols: tuple[str, ...] = ()
    subprotocol = ""

    def log_in(self) -> None:
        self.ask_for_upgrade()
        self.wait_for_upgrade()
        self.log_in_over_websocket()

    def log_in_over_websocket(self) -> None:
        """Do all that comes between the upgrade and requests, and set `request`."""
        self.request = client_frame(MESSAGE)

    def check(self, payload: bytes) -> None:
        """Raise ConnectionError unless this is the right answer."""
        if payload != MESSAGE:
            raise ConnectionError(f"not an echo: {payload[:200]!r}")

    def is_answer(self, payload: bytes) -> bool:
        """Whether this message is an answer at all; it may answer by itself what is not."""
        return True

    def take(self, data: bytes) -> bool:
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        length = frame_length(data)
        if length != len(data) or data[0] != 0x80 | TEXT:
            return self._take_slowly(data)
        self.answers += 1
        if self.answers % CHECK_EVERY == 1 or length < 8:
            payload = server_payload(data)
            if not self.is_answer(payload):
                self.answers -= 1
                return False
            self.check(payload)
        return True

    def send_message(self, text: str | bytes) -> None:
        self.send(client_frame(text.encode() if isinstance(text, str) else text))

    def receive_message(self) -> bytes:
        """Wait for the next message, blocking; nothing else may come."""
        while True:
            length = frame_length(self._buffer)
            if length and len(self._buffer) >= length:
                frame, self._buffer = self._buffer[:length], self._buffer[length:]
                if frame[0] != 0x80 | TEXT:
                    raise ConnectionError(f"not a text message: {frame[:200]!r}")
                return server_payload(frame)
            self._buffer += self.receive()

    def ask_for_upgrade(self) -> None:
        """Ask for WebSocket."""
        key = base64.b64encode(nacl.utils.random(16)).decode("ascii")
        names = ", ".join(self.subprotocols)
        offer = f"Sec-WebSocket-Protocol: {names}\r\n" if names else ""
        self.send(
            (
                f"GET {self.resource} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
                f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
                f"Sec-WebSocket-Version: 13\r\n{offer}\r\n"
            ).encode("ascii")
        )

    def wait_for_upgrade(self) -> None:
        """Wait for it, blocking."""
        while b"\r\n\r\n" not in self._buffer:
            self._buffer += self.receive()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101"):
            raise ConnectionError(f"no WebSocket: {head.splitlines()[0]!r}")
        for line in head.splitlines():
            name, _, value = line.partition(b":")
            if name.lower() == b"sec-websocket-protocol":
                self.subprotocol = value.strip().decode("ascii")

    def _take_slowly(self, data: bytes) -> bool:
        answered = False
        while (length := frame_length(data)) and len(data) >= length:
            frame, data = data[:length], data[length:]
            payload = server_payload(frame)
            if frame[0] == 0x80 | PING:
                self.send(client_frame(payload, PONG))
            elif frame[0] != 0x80 | TEXT:
                raise ConnectionError(f"the server sent {frame[:200]!r}")
            elif self.is_answer(payload):
                if answered:
                    raise ConnectionError("two answers to one request")
                answered = True
                self.answers += 1
                self.check(payload)
        self._buffer = data
        return answered


class Protocol1Peer(WebSocketPeer):
    """A player in a game of its own, as a client of the original would do it."""

    in_game = True

    def log_in_over_websocket(self) -> None:
        key = nacl.public.PrivateKey.generate()
        pubkey = base64.b64encode(bytes(key.public_key)).decode("ascii")
        self.send_message(self._packet("key_trade", {"pubkey": pubkey}))
        answer = json.loads(self.receive_message())
        server_key = nacl.public.PublicKey(base64.b64decode(answer["payload"]["pubkey"]))
        self._box = nacl.public.Box(key, server_key)
        self._exchange(
            "handshake", {"username": self.name, "password": "password", "invite_code": ""}
        )
        if self.in_game:
            self._exchange("__pgnet__.create_game", {"name": self.name})
        self.request = client_frame(self._encrypt(self._packet("echo", self.payload)))

    def check(self, payload: bytes) -> None:
        response = self._decrypt(payload)
        if response["status"] != 0 or response["payload"] != self.payload:
            raise ConnectionError(f"not an echo: {response}")

    def _exchange(self, message: str, payload: dict[str, str]) -> None:
        self.send_message(self._encrypt(self._packet(message, payload)))
        response = self._decrypt(self.receive_message())
        if response["status"] != 0:
            raise ConnectionError(f"{message} of {self.name}: {response['message']}")

    def _packet(self, message: str, payload: dict[str, Any]) -> bytes:
        return json.dumps(
            {
                "message": message,
                "payload": payload,
                "created_on": "2025-01-01T12:00:00.000000+00:00",
                "username": self.name,
            }
        ).encode()

    def _encrypt(self, text: bytes) -> bytes:
        return base64.b64encode(bytes(self._box.encrypt(text)))

    def _decrypt(self, message: bytes) -> dict[str, Any]:
        response = json.loads(self._box.decrypt(base64.b64decode(message)))
        assert isinstance(response, dict)
        return response


class IdlePeer(Protocol1Peer):
    """A user in the lobby."""

    in_game = False


class SocketIOPeer(WebSocketPeer):
    """python-socketio, straight to WebSocket: Engine.IO 4, Socket.IO 5, events with an answer."""

    resource = "/socket.io/?EIO=4&transport=websocket"

    def log_in_over_websocket(self) -> None:
        opened = self.receive_message()
        if not opened.startswith(b"0{"):
            raise ConnectionError(f"no Engine.IO handshake: {opened[:200]!r}")
        self.send_message("40")
        while not (connected := self.receive_message()).startswith(b"40"):
            if self.is_answer(connected):
                raise ConnectionError(f"no Socket.IO connection: {connected[:200]!r}")
        event = json.dumps(["echo", self.payload], separators=(",", ":"))
        self.request = client_frame(f"421{event}".encode("ascii"))

    def is_answer(self, payload: bytes) -> bool:
        if payload != b"2":
            return True
        # Engine.IO's own ping, every 25 s.
        self.send_message("3")
        return False

    def check(self, payload: bytes) -> None:
        if not payload.startswith(b"431") or json.loads(payload[3:]) != [self.payload]:
            raise ConnectionError(f"not an echo: {payload[:200]!r}")

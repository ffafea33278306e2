"""Lean clients of the rivals, for the load generator; see `tests/benchmarks/wire.py`.

Which of these a contender needs: any `Peer` for requests and for idling, a `Visitor`, a `Listener`
for broadcasts, whose `request` makes the server broadcast, a `Player`, and a `Returning` where it
comes back.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import msgspec

from tests.benchmarks.wire import (
    CHECK_EVERY,
    Peer,
    SocketIOPeer,
    WebSocketPeer,
    client_frame,
    frame_length,
    server_payload,
)

__all__ = [
    "ColyseusBroadcast",
    "ColyseusEcho",
    "ColyseusReturn",
    "ColyseusVisit",
    "Listener",
    "Player",
    "Returning",
    "SocketIOBroadcast",
    "SocketIOEcho",
    "SocketIOPlayer",
    "SocketIOVisit",
    "Visitor",
    "WebSocketsBroadcast",
    "WebSocketsEcho",
    "WebSocketsPlayer",
    "WebSocketsReturn",
    "WebSocketsVisit",
]

TEXT, BINARY, PING, PONG = 1, 2, 9, 10


class Listener(WebSocketPeer):
    """Takes any number of messages at once, text or binary."""

    _early: tuple[bytes, ...] = ()
    _in_flight = _outstanding = 1

    def pipeline(self, in_flight: int) -> None:
        self.request *= in_flight
        self._in_flight = self._outstanding = in_flight

    def messages(self, data: bytes) -> list[bytes]:
        """What came whole, pings aside."""
        if self._buffer:
            data = self._buffer + data
        payloads = list(self._early)
        self._early = ()
        while (length := frame_length(data)) and len(data) >= length:
            frame, data = data[:length], data[length:]
            payload = server_payload(frame)
            if frame[0] == 0x80 | PING:
                self.send(client_frame(payload, PONG))
            elif frame[0] & 0x7F not in {TEXT, BINARY}:
                raise ConnectionError(f"the server sent {frame[:200]!r}")
            elif self.is_answer(payload):
                payloads.append(payload)
        self._buffer = data
        return payloads

    def take(self, data: bytes) -> bool:
        payloads = self.messages(data)
        self._outstanding -= len(payloads)
        if self._outstanding < 0:
            raise ConnectionError("more answers than requests")
        for payload in payloads:
            self.answers += 1
            if self.answers % CHECK_EVERY == 1:
                self.check(payload)
        if self._outstanding:
            return False
        self._outstanding = self._in_flight
        return True

    def receive_message(self) -> bytes:
        payloads = self.messages(b"")
        while not payloads:
            payloads = self.messages(self.receive())
        first, *others = payloads
        self._early = tuple(others)
        return first


class Player(Listener):
    """Plays the `sync` benchmark; its payload is `{"body": number}`.

    Attributes:
        body: The entity that it steers.
    """

    def __init__(self, port: int, name: str, payload: dict[str, Any] | None = None) -> None:
        assert payload is not None
        self.body: int = payload["body"]
        super().__init__(port, name, payload)

    @abstractmethod
    def input(self, number: int, dx: int, dy: int) -> bytes:
        """The bytes that give the entity another velocity."""

    @abstractmethod
    def seen(self, message: bytes) -> int | None:
        """The last input that the entity carries, where this message shows a state."""


class Visitor(Peer):
    """Joins and leaves; both together are one request, answered when it has left."""

    def join_and_leave(self) -> None:
        """Do both, blocking; called once, right after the log-in."""
        self.ask()


class Returning(Peer):
    """Loses its connection and comes back.

    Attributes:
        steps: What it does for that, blocking. All clients do one before any does the next.
    """

    steps: tuple[Callable[[Any], None], ...]


class _Turns(Listener, Visitor):
    # What leaves; `request` joins.
    leaving: bytes

    def take(self, data: bytes) -> bool:
        if not super().take(data):
            return False
        if self.answers % 2:
            self.send(self.leaving)
            return False
        return True


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


class _StateOnce:
    # All players of a room get the same bytes: whoever comes first decodes them for all.
    _last = b""
    _bodies: list[dict[str, int]] = []  # noqa: RUF012 - replaced, never changed

    @classmethod
    def bodies(cls, message: bytes, start: int) -> list[dict[str, int]]:
        if message != cls._last:
            cls._bodies = msgspec.json.decode(memoryview(message)[start:])[1]
            cls._last = message
        return cls._bodies


# python-socketio


class SocketIOEcho(Listener, SocketIOPeer):
    """Events with an answer."""


class SocketIOVisit(_Turns, SocketIOPeer):
    """Enters a room and leaves it again."""

    def log_in_over_websocket(self) -> None:
        super().log_in_over_websocket()
        self.request = client_frame(b'421["join","room"]')
        self.leaving = client_frame(b'421["leave","room"]')

    def check(self, payload: bytes) -> None:
        if payload != b"431[]":
            raise ConnectionError(f"not an answer: {payload[:200]!r}")


class SocketIOBroadcast(Listener, SocketIOPeer):
    """A recipient in the room; what it asks is broadcast."""

    def log_in_over_websocket(self) -> None:
        super().log_in_over_websocket()
        self.request = client_frame(b'421["join","room"]')
        self.ask()
        self.request = client_frame(f"42{compact(['broadcast', self.payload])}".encode())

    def check(self, payload: bytes) -> None:
        if not payload.startswith(b'42["broadcast",') and payload != b"431[]":
            raise ConnectionError(f"not a broadcast: {payload[:200]!r}")


class SocketIOPlayer(_StateOnce, Player, SocketIOPeer):
    """Gets the whole state as JSON."""

    def log_in_over_websocket(self) -> None:
        super().log_in_over_websocket()
        self.send_message(f"42{compact(['play', self.body])}")

    def input(self, number: int, dx: int, dy: int) -> bytes:
        return client_frame(b'42["steer",{"number":%d,"dx":%d,"dy":%d}]' % (number, dx, dy))

    def seen(self, message: bytes) -> int | None:
        if not message.startswith(b'42["state",'):
            return None
        return self.bodies(message, 2)[self.body]["seen"]


# Raw `websockets`, each message a JSON list of a kind and data


class WebSocketsEcho(Listener):
    """A message with an answer."""

    def log_in_over_websocket(self) -> None:
        self.request = client_frame(compact(["echo", self.payload]).encode())

    def check(self, payload: bytes) -> None:
        if json.loads(payload) != ["echo", self.payload]:
            raise ConnectionError(f"not an echo: {payload[:200]!r}")


class WebSocketsVisit(_Turns):
    """Enters the only room and leaves it again."""

    def log_in_over_websocket(self) -> None:
        self.request = client_frame(b'["join",0]')
        self.leaving = client_frame(b'["leave",0]')

    def check(self, payload: bytes) -> None:
        if payload not in {b'["join",0]', b'["leave",0]'}:
            raise ConnectionError(f"not an answer: {payload[:200]!r}")


class WebSocketsReturn(Returning, WebSocketPeer):
    """Has nothing to come back to: connects, and has the connection upgraded."""

    def log_in_over_websocket(self) -> None:
        pass

    def begin_return(self) -> None:
        self.connect()
        self.ask_for_upgrade()

    steps = (WebSocketPeer.close, begin_return, WebSocketPeer.wait_for_upgrade)


class WebSocketsBroadcast(Listener):
    """A recipient in the room; what it asks is broadcast."""

    def log_in_over_websocket(self) -> None:
        self.send_message('["join",0]')
        self.receive_message()
        self.request = client_frame(compact(["broadcast", self.payload]).encode())

    def check(self, payload: bytes) -> None:
        if json.loads(payload) != ["broadcast", self.payload]:
            raise ConnectionError(f"not a broadcast: {payload[:200]!r}")


class WebSocketsPlayer(_StateOnce, Player):
    """Gets the whole state as JSON."""

    def log_in_over_websocket(self) -> None:
        self.send_message(compact(["play", self.body]))

    def input(self, number: int, dx: int, dy: int) -> bytes:
        return client_frame(b'["steer",{"number":%d,"dx":%d,"dy":%d}]' % (number, dx, dy))

    def seen(self, message: bytes) -> int | None:
        if not message.startswith(b'["state",'):
            return None
        return self.bodies(message, 0)[self.body]["seen"]


# Colyseus; the numbers are those of `Protocol` in its package `shared-types`

JOIN_ROOM, LEAVE_ROOM, ROOM_DATA, ROOM_REQUEST, ROOM_RESPONSE = 10, 12, 13, 21, 22
CLOSE_FRAME = 0x88


def short_string(text: str) -> bytes:
    return bytes([0xA0 | len(text)]) + text.encode("ascii")


class _Colyseus(Listener):
    room = "jobs"

    def log_in(self) -> None:
        # Its clients ask over HTTP for a seat and then connect with WebSocket. Browsers keep the
        # HTTP connection; here, one TCP connection serves for both.
        self.send(
            b"POST /matchmake/joinOrCreate/%s HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            b"Content-Type: application/json\r\nAccept: application/json\r\n"
            b"Content-Length: 2\r\n\r\n{}" % self.room.encode("ascii")
        )
        seat = json.loads(self._http_body())
        self.resource = f"/{seat['processId']}/{seat['roomId']}?sessionId={seat['sessionId']}"
        super().log_in()

    def _http_body(self) -> bytes:
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self.receive()
        head, _, body = answer.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise ConnectionError(f"no seat: {answer[:300]!r}")
        if b"chunked" in head.lower():
            while not body.endswith(b"0\r\n\r\n"):
                body += self.receive()
            return body.partition(b"\r\n")[2].partition(b"\r\n")[0]
        length = int(head.lower().partition(b"content-length:")[2].split()[0])
        while len(body) < length:
            body += self.receive()
        return body

    def log_in_over_websocket(self) -> None:
        self.joined = self.receive_message()
        if self.joined[0] != JOIN_ROOM:
            raise ConnectionError(f"not joined: {self.joined[:200]!r}")
        self.send(client_frame(bytes([JOIN_ROOM]), BINARY))


class ColyseusEcho(_Colyseus):
    """Requests with an answer."""

    def log_in_over_websocket(self) -> None:
        super().log_in_over_websocket()
        # The number that its client counts up is part of the request; 0 here each time.
        self._packed = msgspec.msgpack.encode(self.payload)
        head = bytes([ROOM_REQUEST, 0]) + short_string("echo")
        self.request = client_frame(head + self._packed, BINARY)

    def check(self, payload: bytes) -> None:
        if (
            payload[:3] != bytes([ROOM_RESPONSE, 0, 0])
            or msgspec.msgpack.decode(payload[3:]) != self.payload
        ):
            raise ConnectionError(f"not an echo: {payload[:200]!r}")


class ColyseusBroadcast(_Colyseus):
    """A recipient in the room; what it asks is broadcast."""

    def log_in_over_websocket(self) -> None:
        super().log_in_over_websocket()
        self._head = bytes([ROOM_DATA]) + short_string("broadcast")
        self.request = client_frame(self._head + msgspec.msgpack.encode(self.payload), BINARY)

    def check(self, payload: bytes) -> None:
        length = len(self._head)
        if (
            payload[:length] != self._head
            or msgspec.msgpack.decode(payload[length:]) != self.payload
        ):
            raise ConnectionError(f"not a broadcast: {payload[:200]!r}")


class ColyseusVisit(_Colyseus, Visitor):
    """Has joined when it has logged in, and leaves as its clients do: they ask to."""

    def join_and_leave(self) -> None:
        self.send(client_frame(bytes([LEAVE_ROOM]), BINARY))
        data = self._buffer
        while not data or data[0] != CLOSE_FRAME:
            data = self.receive()


class ColyseusReturn(Returning, _Colyseus):
    """Comes back to its seat as its clients do, without asking for one over HTTP."""

    room = "returns"

    def log_in(self) -> None:
        super().log_in()
        self._seat = self.resource

    def begin_return(self) -> None:
        # A new one each time, after its length.
        token = self.joined[2 : 2 + self.joined[1]].decode("ascii")
        self.resource = f"{self._seat}&reconnectionToken={token}&skipHandshake=true"
        self.connect()
        self.ask_for_upgrade()

    steps = (
        _Colyseus.close,
        begin_return,
        _Colyseus.wait_for_upgrade,
        _Colyseus.log_in_over_websocket,
    )

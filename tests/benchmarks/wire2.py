"""The load generator's side of protocol 2; see `wire.py` for what all peers have in common.

Frames are encrypted anew each time, since a nonce may not come twice. All else of them is made
once: masks are zero, which RFC 6455 lets pass, and numbers stand in a template at fixed places.
"""

from __future__ import annotations

import contextlib
import secrets
import struct
from typing import Any

import msgspec

from pgnet_trio.crypto.noise import NoiseHandshake, NoiseTransport
from pgnet_trio.crypto.noise_states import TAG_BYTES
from pgnet_trio.messages import Packet, Push, Request
from pgnet_trio.protocol import v2
from pgnet_trio.protocol.v2 import envelopes
from tests.benchmarks.wire import CHECK_EVERY, PING, PONG, WebSocketPeer, client_frame

__all__ = [
    "IdlePeer2",
    "Protocol2Peer",
    "TypedPeer",
    "binary_frame_head",
    "push_body",
    "request_body",
    "with_number",
]

BINARY = 2
ACKNOWLEDGE_AFTER = 32

_number = struct.Struct(">I")
# An acknowledgement whose number has a fixed place: msgpack's 32-bit form, whatever its value.
_ACKNOWLEDGEMENT = envelopes.encode(envelopes.Acknowledgement(0))[:2] + b"\xce\0\0\0\0"
_RESPONSE_HEAD = envelopes.encode(envelopes.ResponseEnvelope(1, 0, "", {}))[:2]

_read_any = msgspec.msgpack.Decoder(list[list[Any]]).decode


def binary_frame_head(size: int) -> bytes:
    """What stands before a client's binary message of so many bytes; the mask in it is zero."""
    if size < 126:
        return bytes([0x80 | BINARY, 0x80 | size]) + bytes(4)
    if size < 1 << 16:
        return bytes([0x80 | BINARY, 0x80 | 126]) + size.to_bytes(2, "big") + bytes(4)
    return bytes([0x80 | BINARY, 0x80 | 127]) + size.to_bytes(8, "big") + bytes(4)


def request_body(message: str, payload: dict[str, Any], *, quiet: bool = False) -> bytes:
    """A request without its number; see `with_number`."""
    return envelopes.encode_request(Packet(message, payload), quiet=quiet)


def push_body(message: str, payload: dict[str, Any]) -> bytes:
    """A push as the server sends it."""
    return envelopes.encode_push(Push(message, payload))


def with_number(body: bytes, number: int) -> bytes:
    """A request with its number."""
    return envelopes.numbered(body, number)


class Protocol2Peer(WebSocketPeer):
    """A player in a game of its own, with any number of requests at a time.

    Attributes:
        game: The game that it joins, made by the first who does; None for the lobby.
        features: What its hello names, where the subprotocol that is selected has features.
        message: What its requests say.
        in_flight: Requests in one frame, which are answered before the next.
        received: How many of the envelopes that are counted came.
        last_request: The number of the last request.
    """

    subprotocols: tuple[str, ...] = (v2.SUBPROTOCOL,)
    features: tuple[str, ...] = ()
    message = "echo"
    in_flight = 1

    @property
    def game(self) -> str | None:
        return self.name

    # A log-in in steps, so that many can be under way at once.

    def log_in(self) -> None:
        self.received = self._told = 0
        self.last_request = 0
        self._frames = 0
        self._outstanding = 1
        self.token = b""
        self.shake_hands()
        self.log_in_to_server()
        if self.game is not None:
            self.exchange(Request.JOIN_GAME, {"name": self.game})
        self.pipeline(1)

    def shake_hands(self) -> None:
        """Do all that comes before the log-in, blocking."""
        self.ask_for_upgrade()
        self.begin_handshake()
        self.end_handshake()

    def begin_handshake(self) -> None:
        """Wait for WebSocket, and send the first message of Noise."""
        self.wait_for_upgrade()
        self._handshake = NoiseHandshake(
            initiator=True,
            prologue=v2.prologue(self.subprotocols, self.subprotocol),
            static=None,
            random_bytes=secrets.token_bytes,
        )
        message = self._handshake.write()
        self.send(binary_frame_head(len(message)) + message)

    def end_handshake(self) -> None:
        """Wait for the second message of Noise, which has the server's hello in it."""
        message = self._messages(b"")
        while not message:
            message = self._messages(self.receive())
        hello = _read_any(self._handshake.read(message[0]))
        if hello[0][0] != 0:
            raise ConnectionError(f"expected a hello, got {hello}")
        self._link: NoiseTransport = self._handshake.split()

    def log_in_to_server(self) -> None:
        """Log in after the handshake, blocking."""
        self.say(
            self.hello(),
            envelopes.encode_log_in(self.name, "password", ""),
        )
        kind, *fields = self.wait_for_envelopes()[0]
        if kind != 3:
            raise ConnectionError(f"{self.name} was not let in: {fields}")
        self.token = fields[1]

    def hello(self) -> bytes:
        """What it says first, encrypted."""
        has_features = self.subprotocol != v2.SUBPROTOCOL
        return envelopes.encode_hello(None, self.features if has_features else None)

    def begin_resume(self) -> None:
        """Wait for the second message of Noise, and ask for the session that was."""
        self.end_handshake()
        proof = v2.prove(self.token, self._link.handshake_hash)
        self._told = self.received
        self.say(
            self.hello(),
            envelopes.encode(envelopes.ResumeEnvelope(self.name, proof, self.received)),
        )

    def end_resume(self) -> None:
        """Wait until the session goes on."""
        kind, *fields = self.wait_for_envelopes()[0]
        if kind != 4:
            raise ConnectionError(f"{self.name} did not get its session back: {fields}")

    def exchange(self, message: str, payload: dict[str, Any]) -> list[Any]:
        """Ask for something and wait for the answer, blocking; gives what came on the way."""
        self.last_request += 1
        self.say(with_number(request_body(message, payload), self.last_request))
        came = []
        while True:
            for envelope in self.wait_for_envelopes():
                came.append(envelope)
                if envelope[0] == 8 and envelope[1] == self.last_request:
                    if envelope[2] != 0:
                        raise ConnectionError(f"{message} of {self.name}: {envelope}")
                    return came

    def close(self) -> None:
        """Leave for good: a session that waits for its user would be in the way of the next run."""
        if self.token:
            with contextlib.suppress(OSError):
                self.say(envelopes.encode(envelopes.GoodbyeEnvelope("done")))
        self.drop()

    def drop(self) -> None:
        """Lose the connection; the session may be resumed."""
        self.socket.close()

    def begin_return(self) -> None:
        """Connect again, and ask for WebSocket; `begin_handshake` and the rest follow."""
        self.connect()
        self.ask_for_upgrade()

    # Requests, as many as fit, and their answers.

    def pipeline(self, in_flight: int) -> None:
        self.in_flight = self._outstanding = in_flight
        self.request_with(request_body(self.message, self.payload), in_flight)

    def request_with(self, body: bytes, count: int) -> None:
        """Have this request asked from now on, so many times in a frame."""
        head = envelopes.array_head(count + 1)
        template = bytearray(head + _ACKNOWLEDGEMENT)
        self._acknowledgement_at = len(template) - 4
        self._numbers_at = []
        for _ in range(count):
            template += body[:2] + b"\xce"
            self._numbers_at.append(len(template))
            template += bytes(4) + body[2:]
        self._template = template
        self._head = binary_frame_head(len(template) + TAG_BYTES)

    def next_request(self) -> bytes:
        template = self._template
        number = self.last_request
        put = _number.pack_into
        self._told = self.received
        put(template, self._acknowledgement_at, self.received)
        for place in self._numbers_at:
            number += 1
            put(template, place, number)
        self.last_request = number
        return self._head + self._link.encrypt(bytes(template))

    def take(self, data: bytes) -> bool:
        outstanding = self._outstanding
        for plaintext in self.plaintexts(data):
            outstanding -= self._count_answers(plaintext)
        if outstanding > 0:
            self._outstanding = outstanding
            return False
        if outstanding < 0:
            raise ConnectionError("more answers than requests")
        self.answers += self.in_flight
        self._outstanding = self.in_flight
        return True

    def _count_answers(self, plaintext: bytes) -> int:
        self._frames += 1
        first = plaintext[0]
        start = 1 if first < 0xA0 else 3
        if self._frames % CHECK_EVERY == 1 or plaintext[start : start + 2] != _RESPONSE_HEAD:
            return self._count_slowly(plaintext)
        count = first & 15 if start == 1 else plaintext[1] << 8 | plaintext[2]
        self.received += count
        return count

    def _count_slowly(self, plaintext: bytes) -> int:
        answers = [envelope for envelope in self._decode(plaintext) if envelope[0] == 8]
        for answer in answers:
            if answer[2] != 0 or answer[4] != self.payload:
                raise ConnectionError(f"not an echo: {answer}")
        return len(answers)

    # Frames.

    def say(self, *what: bytes) -> None:
        """Send envelopes in one frame."""
        self.send(self.sealed(envelopes.array_head(len(what)) + b"".join(what)))

    def sealed(self, plaintext: bytes) -> bytes:
        """A frame, encrypted; has to be the next one to be sent."""
        ciphertext = self._link.encrypt(plaintext)
        return binary_frame_head(len(ciphertext)) + ciphertext

    def acknowledge_if_due(self) -> None:
        """Tell what came as seldom as a real client does."""
        if self.received - self._told >= ACKNOWLEDGE_AFTER:
            self._told = self.received
            self.say(envelopes.encode(envelopes.Acknowledgement(self.received)))

    def wait_for_envelopes(self) -> list[list[Any]]:
        """Wait for the next frame, blocking."""
        found: list[list[Any]] = []
        plaintexts = self.plaintexts(b"")
        while not plaintexts:
            plaintexts = self.plaintexts(self.receive())
        for plaintext in plaintexts:
            found += self._decode(plaintext)
        return found

    def plaintexts(self, data: bytes) -> list[bytes]:
        """What came whole, decrypted."""
        decrypt = self._link.decrypt_frame
        return [decrypt(message) for message in self._messages(data)]

    def _decode(self, plaintext: bytes) -> list[list[Any]]:
        found = _read_any(plaintext)
        # Answers, pushes, last states, questions, withdrawals and changes of the game.
        self.received += sum(envelope[0] in {8, 9, 12, 13, 14, 16} for envelope in found)
        for envelope in found:
            if envelope[0] in {6, 21}:
                raise ConnectionError(f"the server ended the session of {self.name}: {envelope}")
        return found

    def _messages(self, data: bytes) -> list[bytes]:
        if self._buffer:
            data = self._buffer + data
        found = []
        position, end = 0, len(data)
        while end - position >= 2:
            size, start = data[position + 1], position + 2
            if size == 126:
                size, start = int.from_bytes(data[start : start + 2], "big"), start + 2
            elif size == 127:
                size, start = int.from_bytes(data[start : start + 8], "big"), start + 8
            if start + size > end:
                break
            message = data[start : start + size]
            if data[position] == 0x80 | BINARY:
                found.append(message)
            elif data[position] == 0x80 | PING:
                self.send(client_frame(message, PONG))
            else:
                raise ConnectionError(f"the server sent {data[position : start + 100]!r}")
            position = start + size
        self._buffer = data[position:] if position else data
        return found


class IdlePeer2(Protocol2Peer):
    """A user in the lobby."""

    @property
    def game(self) -> str | None:
        return None


class TypedPeer(Protocol2Peer):
    """Asks what a typed handler answers."""

    message = "Said"

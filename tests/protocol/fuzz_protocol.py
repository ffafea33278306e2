"""Feeds malformed, mutated and out-of-order frames to both sides of protocol 2.

Run it with ``python -m tests.protocol.fuzz_protocol --frames 100000 --seed 1``. Whatever comes, a
side either takes it or raises ProtocolError or CryptoError, and neither it nor the session grows.
The same seed makes the same frames.
"""

from __future__ import annotations

import argparse
import gc
import random
import tracemalloc
from collections import Counter
from collections.abc import Callable
from typing import Any

import attrs
import msgspec

from pgnet_trio.errors import CryptoError, ProtocolError
from pgnet_trio.messages import Packet, Push, Response
from pgnet_trio.netcode import InputQueue
from pgnet_trio.protocol.events import (
    FullStateRequested,
    InputReceived,
    LogIn,
    QuestionAnswered,
    RequestReceived,
    Resume,
    TimeRequested,
)
from pgnet_trio.protocol.v2 import ClientProtocol, ServerProtocol, State
from pgnet_trio.protocol.v2 import envelopes as wire
from pgnet_trio.protocol.v2.client_delivery import ClientDelivery
from pgnet_trio.protocol.v2.features import FEATURES
from pgnet_trio.protocol.v2.input_stream import MAX_FIELDS
from pgnet_trio.protocol.v2.server_delivery import DeliveryOverflow, ServerDelivery
from pgnet_trio.protocol.v2.states import WINDOW
from tests.kit.protocol_pair import (
    TOKEN,
    Requests,
    ScriptedPeer,
    Seen,
    make_client,
    make_server,
    msgpack,
)

MAX_UNACKNOWLEDGED = 200
"""What a session of these may keep; it ends beyond that, as one of a real server does."""

FRAMES_OF_ONE_PEER = 40
"""After so many a peer that has broken no rule is replaced, so that all states are met often."""

STEADY = 256 * 1024
"""Bytes by which memory may differ between the first quarter of a run and its end."""

# Heads of msgpack with counts that nothing can follow, and bytes that mean something elsewhere.
HEADS = [
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\xdc\xff\xff",
    b"\xde\xff\xff",
    b"\xdb\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\xc9\xff\xff\xff\xff\x01",
    b"\xc1",
    b"\xc0",
    b"\x90",
    b"\x80",
    b"\x9f",
    b"\x8f",
    b"\xcf" + b"\xff" * 8,
    b"\xd3\x80" + bytes(7),
    b"\xcb\x7f\xf0" + bytes(6),
    b"\xcb\x7f\xf8" + bytes(6),
    b"\xd6\xff" + bytes(4),
    b"\xd4\x05\x00",
    b"\xa1\xff",
    b"\xa3\xed\xa0\x80",
]


@attrs.define
class Report:
    """What came of a run.

    Attributes:
        frames: How many were fed.
        taken: How many of them were taken.
        errors: How many were refused, by the error.
        growth: Bytes by which memory was larger at the end than after a quarter of the run; None
            where it was not measured.
        conversations: How many began.
        states: How many frames came in each state.
    """

    frames: int = 0
    taken: int = 0
    errors: Counter[str] = attrs.field(factory=Counter)
    growth: int | None = None
    conversations: int = 0
    states: Counter[str] = attrs.field(factory=Counter)

    @property
    def refused(self) -> int:
        """How many frames were refused."""
        return self.errors.total()


class Values:
    """Makes envelopes, right and wrong ones.

    Args:
        rng: Decides.
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def number(self) -> Any:
        return self.rng.choice(
            [0, 1, 2, 3, WINDOW, WINDOW + 1, -1, 255, 2**31, 2**63 - 1, 2**63, 2**64 - 1, -(2**63)]
        )

    def text(self) -> str:
        return self.rng.choice(["", "x", "é", "__pgnet__.players", "x" * 300, "\0"])

    def plain(self, depth: int = 0) -> Any:
        kind = self.rng.randrange(7 if depth < 4 else 5)
        if kind == 5:
            return [self.plain(depth + 1) for _ in range(self.rng.randrange(3))]
        if kind == 6:
            return self.map(depth + 1)
        return [None, True, self.rng.randrange(-99, 2**40), 0.5, self.text()][kind]

    def map(self, depth: int = 0) -> dict[str, Any]:
        return {self.text(): self.plain(depth) for _ in range(self.rng.randrange(3))}

    def anything(self, depth: int = 0) -> Any:
        """Data of which much may not travel."""
        kind = self.rng.randrange(10)
        if kind == 0:
            return float(self.rng.choice(["nan", "inf", "-inf"]))
        if kind == 1:
            return self.rng.randbytes(self.rng.choice([0, 1, 31, 32]))
        if kind == 2:
            return msgspec.msgpack.Ext(self.rng.randrange(5, 100), b"ext")
        if kind == 3:
            return self.number()
        if kind == 4 and depth < 3:
            return {
                self.rng.choice([1, -5, True, None, 1.5, b"key", "key"]): self.anything(depth + 1)
            }
        if kind == 5 and depth < 3:
            return [self.anything(depth + 1) for _ in range(self.rng.randrange(4))]
        return self.plain()

    def deep(self) -> bytes:
        """Nesting, with an end and without one."""
        depth = self.rng.choice([30, 33, 64, 100, 1000, 2000])
        head, end = self.rng.choice([(b"\x91", b"\xc0"), (b"\x81\xa1k", b"\x01"), (b"\x91", b"")])
        return self.rng.choice([b"", b"\x91\x94\x07\x01\xa1x\x81\xa1k"]) + head * depth + end

    def from_client(self, next_id: int) -> list[Any]:
        """An envelope of a client; its numbers are right more often than not."""
        id = next_id if self.rng.random() < 0.7 else self.number()
        received = self.rng.choice([0, 0, 0, 1, self.number()])
        return self.rng.choice(
            [
                [0, self.rng.choice([None, 1024, 5000, 2**20, self.number()])],
                [1, self.text(), self.text(), self.text()],
                [2, self.text(), self.rng.randbytes(32), received],
                [7, id, self.text(), self.map()],
                [7, id, self.text(), self.map(), True],
                [7, id, self.text(), {"deep": [[[[[[[self.plain()]]]]]]]}, False, self.text()],
                [15, id, self.number(), self.text(), self.map()],
                [17, received],
                [18],
                [19],
                [20],
                [21, self.text()],
                [27, self.rng.choice([1, self.number()]), self.rng.choice([33, self.number()])],
                [27, 1, 33, self.map()],
                [28, self.number()],
            ]
        )

    def from_server(self, id: int) -> list[Any]:
        """An envelope of a server, likewise."""
        if self.rng.random() < 0.3:
            id = self.number()
        return self.rng.choice(
            [
                [0, self.rng.choice([None, 1024, 5000, 2**20, self.number()])],
                [3, self.text(), self.rng.choice([TOKEN, TOKEN, b""])],
                [4, self.rng.choice([0, 1, self.number()])],
                [5, self.text()],
                [6, self.text()],
                [8, id, self.number(), self.text(), self.map()],
                [9, self.text(), self.map()],
                [10, self.number(), self.plain()],
                [11, self.number(), self.number(), self.plain()],
                [12, self.number(), self.plain()],
                [13, self.number(), self.text(), self.map(), self.rng.choice([None, 1.5]), 0.5],
                [14, self.number()],
                [16, self.rng.choice([None, "table"]), 0.0, 1.0, self.text(), self.text()],
                [17, self.rng.choice([0, 1, self.number()])],
                [19],
                [20],
                [21, self.text()],
                [25, self.rng.choice(["/b", self.text()]), self.text()],
                [25, "b.example", self.text(), self.rng.choice([TOKEN, b"", b"x"])],
                [29, self.number(), self.rng.choice([0.5, self.anything()]), 20.0],
                [30, self.number(), self.rng.choice([0.5, self.anything()]), self.number()],
            ]
        )


class Peer:
    """One side of a conversation, and somebody who torments it.

    Args:
        rng: Decides.
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.values = Values(rng)
        self.encrypted = rng.random() < 0.3
        self.recorded: list[bytes] = []
        self.side: ServerProtocol | ClientProtocol
        self.stranger: ScriptedPeer | None = None

    def introduce(self) -> None:
        """Come further than chance would, often as far as an open session."""

    def envelope(self) -> list[Any]:
        raise NotImplementedError

    def react(self, events: list[Any]) -> None:
        """Do what a server or a client does about events."""

    def speak(self) -> None:
        for _ in range(200):
            if self.side.next_message() is None:
                return
        raise AssertionError("a side has no end of what it says")

    def check_end(self, reason: str) -> None:
        """Whoever was told a broken rule has ended, and said little about it."""
        assert self.side.closing
        assert 0 < len(reason) <= 300
        self.speak()

    def plaintext(self) -> bytes:
        rng, values = self.rng, self.values
        trick = rng.randrange(12)
        envelopes = [self.envelope() for _ in range(rng.choice([1, 1, 1, 2, 3, 8]))]
        if trick < 4:
            return msgpack(envelopes)
        if trick == 4:
            fields = rng.choice(envelopes)
            fields[rng.randrange(len(fields))] = values.anything()
            return msgpack(envelopes)
        if trick == 5:
            fields = rng.choice(envelopes)
            if rng.random() < 0.5:
                fields.append(values.anything())
            else:
                fields.pop()
            return msgpack(envelopes)
        if trick == 6:
            return values.deep()
        if trick == 7:
            return rng.randbytes(rng.choice([1, 2, 5, 50, 500]))
        if trick == 8:
            return msgpack([[19]] * rng.choice([100, 5000]))
        return self.mutated(msgpack(envelopes))

    def mutated(self, data: bytes) -> bytes:
        rng = self.rng
        for _ in range(rng.choice([1, 1, 2, 5])):
            at, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
            data = rng.choice(
                [
                    data[:at] + data[end:],
                    data[:at] + rng.randbytes(3) + data[at:],
                    data[:at] + rng.choice(HEADS) + data[end:],
                    data[:at] + rng.choice(HEADS) + data[at:],
                    data[:end] + data[at:end] * rng.choice([1, 50]) + data[end:],
                    data[:at],
                    data + rng.choice(HEADS),
                    data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :],
                ]
            )[:100_000]
        return data

    def message(self) -> bytes | str:
        rng = self.rng
        trick = rng.randrange(40)
        if trick == 0:
            return rng.choice(["", "[]", '{"message": "key_trade"}'])
        if trick == 1:
            return rng.randbytes(rng.choice([0, 1, 16, 17, 32, 96, 1000, 65_535, 65_540]))
        stranger = self.stranger
        if stranger is None:
            return self.plaintext()
        if trick == 2 and self.recorded:
            return rng.choice(self.recorded)
        message = stranger.frame(self.plaintext() or b"\x90")
        self.recorded.append(message)
        if trick == 3:
            return self.mutated(message)
        return message


class Server(Peer):
    """A server that is tormented by a client."""

    side: ServerProtocol

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.side = make_server(encrypted=self.encrypted)
        self.delivery = self.new_delivery()
        if not self.encrypted or rng.random() < 0.9:
            self.stranger = ScriptedPeer.client_of(self.side, encrypted=self.encrypted)
        self.snapshots = 0

    def new_delivery(self) -> ServerDelivery:
        return ServerDelivery(max_messages=MAX_UNACKNOWLEDGED, max_bytes=100_000)

    def introduce(self) -> None:
        stage = self.rng.random()
        if self.stranger is None or stage < 0.1:
            return
        features = [sorted(FEATURES)] if self.rng.random() < 0.7 else []
        self.side.receive(self.stranger.say([0, 5000, *features]))
        if stage > 0.2:
            events = self.side.receive(self.stranger.say([1, "annabelle", "secret"]))
            if stage > 0.3:
                self.react(events)

    def envelope(self) -> list[Any]:
        return self.values.from_client(self.delivery.last_request + 1)

    def react(self, events: list[Any]) -> None:
        rng, delivery = self.rng, self.delivery
        try:
            for event in events:
                if isinstance(event, LogIn):
                    verdict = rng.random()
                    if verdict < 0.05:
                        self.side.refuse("not you")
                    elif verdict < 0.1:
                        self.side.moved("/b", "not here")
                    elif verdict < 0.9:
                        self.side.accept("welcome", TOKEN, delivery)
                elif isinstance(event, Resume):
                    if self.side.proves(event.proof, TOKEN) or rng.random() < 0.5:
                        self.side.resume(delivery, event.received)
                    else:
                        self.side.refuse_resume("gone")
                elif isinstance(event, RequestReceived | QuestionAnswered):
                    assert event.packet.payload is not None
                    if rng.random() < 0.9:
                        delivery.respond(event.id, Response("ok", event.packet.payload))
                elif isinstance(event, FullStateRequested):
                    delivery.show_again()
                elif isinstance(event, InputReceived):
                    assert len(event.payload) <= MAX_FIELDS
                    delivery.mark(wire.moment_with(wire.encode_moment(1, 0.5), event.number))
                elif isinstance(event, TimeRequested):
                    self.side.tell_time(event.id, 0.5, 20)
            if self.side.state is State.OPEN and rng.random() < 0.3:
                self.snapshots += 1
                delivery.show(Seen({"turn": self.snapshots}))
                delivery.add(wire.encode_push(Push("news")))
        except DeliveryOverflow as error:
            self.side.goodbye(str(error))
        assert delivery.unacknowledged <= MAX_UNACKNOWLEDGED + 1


class Client(Peer):
    """A client that is tormented by a server."""

    side: ClientProtocol

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.requests = Requests()
        self.inputs = InputQueue()
        self.delivery = ClientDelivery(self.requests.next, self.inputs.take)
        self.side = make_client(
            self.delivery,
            encrypted=self.encrypted,
            token=TOKEN if rng.random() < 0.3 else b"",
            login_token=TOKEN if rng.random() < 0.3 else b"",
        )
        if not self.encrypted or rng.random() < 0.9:
            self.stranger = (
                ScriptedPeer.server_of(self.side, encrypted=True)
                if self.encrypted
                else ScriptedPeer(None)
            )

    def introduce(self) -> None:
        stage = self.rng.random()
        if self.stranger is None or stage < 0.1:
            return
        if self.side.state is State.HELLO:
            self.side.receive(self.stranger.say([0, None]))
        if stage < 0.3:
            if stage < 0.2 and self.side.state is State.RETURN:
                self.side.receive(self.stranger.say([5, "gone"]))
            return
        if self.side.state is State.RETURN:
            self.side.receive(self.stranger.say([4, 0]))
        else:
            self.side.receive(self.stranger.say([3, "welcome", TOKEN]))
        for _ in range(self.rng.randrange(5)):
            self.requests.put(Packet("ask"), quiet=self.rng.random() < 0.5)
        self.speak()

    def envelope(self) -> list[Any]:
        return self.values.from_server(self.rng.randint(1, self.delivery.last_request + 1))

    def react(self, events: list[Any]) -> None:
        if self.side.state is State.LOG_IN and self.rng.random() < 0.5:
            self.delivery = ClientDelivery(self.requests.next, self.inputs.take)
            self.side.log_in(self.delivery)
        if self.rng.random() < 0.3 and len(self.requests.waiting) < WINDOW:
            self.requests.put(Packet("ask"), quiet=self.rng.random() < 0.5)
        if self.rng.random() < 0.1:
            self.side.request_full_state()
        if self.rng.random() < 0.3:
            self.side.request_time(1)
            self.inputs.put({"x": self.rng.random()}, 0.5, 0.5)
        assert self.delivery.unsettled <= WINDOW


def fuzz(frames: int, seed: int, *, watch: Callable[[], int] | None = None) -> Report:
    """Feed frames to servers and clients.

    Args:
        frames: How many.
        seed: Decides which.
        watch: Gives the bytes of memory that are in use.

    Raises:
        Exception: What came out is neither a ProtocolError nor a CryptoError.
    """
    rng = random.Random(seed)
    report = Report()
    memory = None
    peer: Peer | None = None
    fed = 0
    while report.frames < frames:
        if peer is None or fed >= FRAMES_OF_ONE_PEER:
            kind = rng.choice([Server, Client])
            peer, fed = kind(rng), 0
            report.conversations += 1
            peer.introduce()
        if watch is not None and memory is None and report.frames >= frames // 4:
            memory = watch()
        report.frames += 1
        fed += 1
        report.states[f"{type(peer).__name__} {peer.side.state.name}"] += 1
        try:
            events = peer.side.receive(peer.message())
            peer.react(list(events))
        except (CryptoError, ProtocolError) as error:
            report.errors[type(error).__name__] += 1
            peer.check_end(str(error))
            # What has ended takes nothing more, and stays quiet.
            if rng.random() < 0.8:
                peer = None
        else:
            report.taken += 1
            peer.speak()
    if watch is not None and memory is not None:
        peer = None
        report.growth = watch() - memory
    return report


def _traced_bytes() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    tracemalloc.start()
    report = fuzz(arguments.frames, arguments.seed, watch=_traced_bytes)
    peak = tracemalloc.get_traced_memory()[1]
    print(f"{report.frames} frames, {report.conversations} conversations, seed {arguments.seed}")
    print(f"taken: {report.taken}")
    for name, count in sorted(report.errors.items()):
        print(f"{name}: {count}")
    for name, count in sorted(report.states.items()):
        print(f"  {name}: {count}")
    print(f"memory: {report.growth:+d} bytes since a quarter of the run, {peak} at the peak")
    if report.growth is not None and report.growth > STEADY:
        raise SystemExit("memory has grown")


if __name__ == "__main__":
    main()

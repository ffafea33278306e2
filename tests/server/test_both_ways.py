"""The short way and the tasks' way: whatever comes over sockets, all are told the same."""

from __future__ import annotations

import contextlib
import logging
import re
import secrets
import socket
import sys
from collections.abc import Iterator
from typing import Any

import attrs
import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from pgnet_trio import Game, Packet, Request, Response, on
from pgnet_trio.patch import apply, apply_columns
from pgnet_trio.server.causes import without_error_id
from pgnet_trio.testing import HostedServer
from pgnet_trio.transport import rounds
from tests.attacks.peer import ConnectionEnded, Conversation
from tests.kit.subprocesses import DEADLINE

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there are no rounds")

HELLO, LOG_IN, WELCOME, REQUEST, RESPONSE, PUSH = 0, 1, 3, 7, 8, 9
STATE, PATCH, LAST_STATE, QUESTION, WITHDRAWAL, ANSWER, GAME = 10, 11, 12, 13, 14, 15, 16
ACKNOWLEDGEMENT, FULL_STATE, PING, PONG, GOODBYE, COLUMN_PATCH = 17, 18, 19, 20, 21, 24
COUNTED = {RESPONSE, PUSH, LAST_STATE, QUESTION, WITHDRAWAL, GAME}
FEATURES = ["codes", "columns"]
MOST = 2000
TRIES = 12

encode = msgspec.msgpack.Encoder().encode


@attrs.frozen
class Ask:
    """A question of the game."""


@attrs.frozen
class Throw:
    """An answer, and a message with a handler of its own."""

    hand: int


class Base(BaseException):
    """What no game should raise."""


class Zoo(Game):
    """Does whatever it is told to."""

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.log: list[str] = []
        self.rows = {"1": {"x": 1, "y": 2.5}, "2": {"x": 2, "y": 0.5}}

    def view(self) -> dict[str, Any]:
        return {"log": self.log[-5:], "count": len(self.log), "rows": self.rows}

    def user_joined(self, username: str, /) -> None:
        self.log.append(f"{username} joined")

    def user_left(self, username: str, /) -> None:
        self.log.append(f"{username} left")

    def player_dropped(self, username: str, /) -> None:
        self.log.append(f"{username} dropped")

    @on(Throw)
    def throw(self, player: str, message: Throw) -> Throw:
        self.log.append(f"{player} throws {message.hand}")
        return message

    def handle_game_packet(self, packet: Packet, /) -> Any:
        name, payload = packet.username, packet.payload
        assert name is not None
        self.log.append(f"{name}: {packet.message}")
        match packet.message:
            case "push":
                self.room.push("news", {"count": len(self.log)})
            case "many":
                for number in range(40):
                    self.room.push("one of many", {"number": number})
            case "kick me":
                self.room.kick(name, "You asked for it.")
            case "kick bob":
                self.room.kick("bob", "Somebody asked for it.")
            case "close":
                self.room.close("over")
            case "rematch":
                self.room.rematch()
            case "wait":
                return self._wait(packet)
            case "wait and raise":
                return self._wait_and_raise()
            case "raise":
                raise ValueError("on purpose")
            case "raise base":
                raise Base("on purpose")
            case "exit":
                raise SystemExit(3)
            case "spawn":
                self.room.nursery.start_soon(self._tell_later)
            case "spawn and raise":
                self.room.nursery.start_soon(self._raise_later)
            case "ask":
                self.room.nursery.start_soon(self._ask, name)
            case "cancel":
                self.room.nursery.cancel_scope.cancel()
            case "out":
                return Response("bye", disconnecting=True)
            case "lock":
                self.room.locked = not self.room.locked
            case "sync":
                self.room.sync()
            case "move":
                for row in self.rows.values():
                    row["x"] += payload.get("by", 1) if type(payload.get("by", 1)) is int else 0
                    row["y"] -= 1
            case "cannot travel":
                return Response("look", {"what": object()})
            case "nothing":
                return None
        return Response(packet.message, payload)

    async def _wait(self, packet: Packet) -> Response:
        self.room.push("before", {})
        await trio.lowlevel.checkpoint()
        self.log.append("waited")
        return Response("waited")

    async def _wait_and_raise(self) -> Response:
        await trio.lowlevel.checkpoint()
        raise ValueError("on purpose")

    async def _tell_later(self) -> None:
        await trio.lowlevel.checkpoint()
        self.log.append("spawned")
        self.room.push("later", {})

    async def _raise_later(self) -> None:
        await trio.lowlevel.checkpoint()
        raise ValueError("on purpose")

    async def _ask(self, name: str) -> None:
        answer = await self.room.ask(name, Ask(), Throw)
        self.log.append(f"{name} answers {answer.hand}")


@attrs.define
class Visitor:
    """A client that a test plays byte by byte."""

    port: int
    name: str
    heard: list[Any] = attrs.field(factory=list)
    state: Any = None
    last_states: list[Any] = attrs.field(factory=list)
    answers: set[int] = attrs.field(factory=set)
    judged: list[Any] = attrs.field(factory=list)
    versions: list[int] = attrs.field(factory=list)
    last_request: int = 0
    received: int = 0
    question: int = 0
    is_over: bool = False
    _conversation: Conversation = attrs.field(factory=Conversation)
    _socket: socket.socket = attrs.field(factory=socket.socket)

    async def log_in(self) -> None:
        self._socket.connect(("127.0.0.1", self.port))
        self._socket.setblocking(False)
        with trio.fail_after(DEADLINE):
            while not self._conversation.open:
                await self._exchange()
            self._conversation.say([HELLO, None, FEATURES], [LOG_IN, self.name, "password", ""])
            while "welcome" not in self.heard and not self.is_over:
                await self._exchange()

    async def join(self, **options: Any) -> None:
        self.last_request += 1
        payload = {"name": "table", **options}
        self._conversation.say([REQUEST, self.last_request, Request.JOIN_GAME, payload])
        await self._exchange()

    async def _exchange(self) -> None:
        self.send(self.take_out())
        await wait_all_tasks_blocked(0.001)
        self.hear()

    def take_out(self) -> bytes:
        out = bytes(self._conversation.out)
        self._conversation.out.clear()
        return out

    def send(self, data: bytes) -> None:
        # A connection that the server has closed takes no more.
        with contextlib.suppress(OSError):
            self._socket.sendall(data)

    def hear(self) -> None:
        """Note all that has come."""
        while not self.is_over:
            try:
                data = self._socket.recv(1 << 20)
            except BlockingIOError:
                return
            except OSError as error:
                self._end(type(error).__name__)
                return
            if not data:
                self._end("end")
                return
            try:
                for envelope in self._conversation.take(data):
                    self._take(envelope)
            except ConnectionEnded as error:
                self._end(str(error))
            # Pongs of WebSocket.
            self.send(self.take_out())

    def hear_step(self) -> tuple[Any, ...]:
        """Return all that it was told, now that everything is still.

        Of what ends the connection it is a matter of chance how much else leaves before it: of the
        step in which it came, only the last word counts.
        """
        if self.is_over:
            return (self.heard,)
        before = len(self.heard)
        self.hear()
        return self._what_counts(before)

    def _what_counts(self, before: int) -> tuple[Any, ...]:
        if self.is_over:
            last = [each for each in self.heard[before:] if each[0] == GOODBYE]
            self.heard[before:] = last or ["over"]
            return (self.heard,)
        return [*self.heard], [*self.judged], self.state, [*self.last_states]

    def _end(self, how: str) -> None:
        self.heard.append(how)
        self.is_over = True

    def _take(self, envelope: list[Any]) -> None:
        kind, *rest = envelope
        self.received += kind in COUNTED
        match kind:
            case 3:
                self.heard.append("welcome")
            case 10:
                self.versions.append(rest[0])
                self.state = rest[1]
            case 11 | 24:
                base, version, patch = rest
                assert base == self.versions[-1]
                self.versions.append(version)
                self.state = (apply if kind == PATCH else apply_columns)(self.state, patch)
            case 12:
                # Like any state, it goes before all that waits to be written just then.
                self.last_states.append(rest[1])
                self.state = None
            case 13:
                self.question = rest[0]
                self.heard.append(["question", rest[1]])
            case 16:
                self.heard.append(["game", rest[0], rest[3], without_error_id(rest[4])])
            case 8:
                # What becomes of an answer to a question waits for no turn.
                (self.judged if rest[0] in self.answers else self.heard).append(_told_of(rest))
            case 0 | 17 | 19 | 20:
                pass
            case 21:
                # How many envelopes were sent before it is a matter of chance.
                self.heard.append([GOODBYE, re.sub(r"\d+", "so many", rest[0]), *rest[1:]])
            case _:
                self.heard.append(envelope)

    def close(self) -> None:
        self._socket.close()

    # What it sends.

    def request(self, message: str, payload: Any = None, *, quiet: bool = False) -> list[Any]:
        self.last_request += 1
        request = [REQUEST, self.last_request, message, {} if payload is None else payload]
        return [*request, True] if quiet else request

    def frame(self, envelopes: list[Any], pieces: int = 1, pinged: bool = False) -> bytes:
        cipher = self._conversation._cipher
        assert cipher is not None
        payload = cipher.encrypt_frame(encode(envelopes))
        size = len(payload) // pieces + 1
        parts = [payload[start : start + size] for start in range(0, len(payload), size)]
        ping = masked(0x89, b"now and then") if pinged else b""
        return ping.join(
            masked(
                (0x02 if number == 0 else 0x00) | (0x80 if number == len(parts) - 1 else 0), part
            )
            for number, part in enumerate(parts)
        )


REFUSED_LATE = {"not_in_game", "game_over", "game_failed"}


def _told_of(response: list[Any]) -> list[Any]:
    """What a response says; that the game is over or left is told in one of several ways."""
    id, status, message, payload, *more = response
    code = more[1] if len(more) > 1 else ""
    if code in REFUSED_LATE:
        return ["answer", id, "out"]
    # Each failure has another id.
    return ["answer", id, status, without_error_id(message), payload]


def masked(first: int, payload: bytes) -> bytes:
    size, mask = len(payload), secrets.token_bytes(4)
    if size < 126:
        head = bytes([first, 0x80 | size])
    elif size < 1 << 16:
        head = bytes([first, 0xFE]) + size.to_bytes(2)
    else:
        head = bytes([first, 0xFF]) + size.to_bytes(8)
    body = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
    return head + mask + body


# What is sent: a script is a list of steps, each of one player.


@attrs.frozen
class Frame:
    """One message: its envelopes, in how many pieces, and whether pings come between them."""

    said: tuple[Any, ...]
    pieces: int = 1
    pinged: bool = False


@attrs.frozen
class Step:
    """What one player sends, and where the network cuts it."""

    player: str
    frames: tuple[Any, ...]
    cuts: tuple[float, ...] = ()


def said_by(visitor: Visitor, said: Any) -> list[Any]:
    match said:
        case "ack":
            return [ACKNOWLEDGEMENT, visitor.received]
        case "ack too many":
            return [ACKNOWLEDGEMENT, visitor.received + 1000]
        case "ping":
            return [PING]
        case "full state":
            return [FULL_STATE]
        case "goodbye":
            return [GOODBYE, "bye"]
        case "answer":
            visitor.last_request += 1
            visitor.answers.add(visitor.last_request)
            return [ANSWER, visitor.last_request, visitor.question, "Throw", {"hand": 3}]
        case "wrong answer":
            visitor.last_request += 1
            visitor.answers.add(visitor.last_request)
            return [ANSWER, visitor.last_request, visitor.question, "Throw", {"hand": "x"}]
        case "wrong id":
            return [REQUEST, visitor.last_request + 5, "echo", {}]
        case "log in":
            return [LOG_IN, "ann", "password", ""]
        case "leave":
            return visitor.request(Request.LEAVE_GAME)
        case "join":
            return visitor.request(Request.JOIN_GAME, {"name": "table"})
        case "join another":
            return visitor.request(Request.JOIN_GAME, {"name": "another"})
        case "watch":
            return visitor.request(Request.JOIN_GAME, {"name": "table", "spectate": True})
        case ("quiet", message):
            return visitor.request(message, quiet=True)
        case ("with", message, payload):
            return visitor.request(message, payload)
    assert isinstance(said, str)
    return visitor.request(said)


# What begins a task of its own, or waits in one: when that goes on is a matter of chance. A game
# hears of a kick in another turn, before or behind what has come in the same segment.
LATE = {"wait", "wait and raise", "spawn", "spawn and raise", "ask", "kick me", "kick bob", "out"}


def parts_of(frames: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """Yield what is sent at once: before more is sent, all is over whose order is a chance."""
    part: list[Any] = []
    for frame in frames:
        said = () if isinstance(frame, bytes) else frame.said
        late = [
            at
            for at, each in enumerate(said)
            if (each[1] if isinstance(each, tuple) else each) in LATE
        ]
        asked = [each for each in said if each in ("answer", "wrong answer")]
        if asked:
            # An answer to a question waits for no turn, unless turns are taken at once.
            yield tuple(part)
            yield (attrs.evolve(frame, said=tuple(asked)),)
            part = []
        elif late:
            part.append(attrs.evolve(frame, said=said[: late[0] + 1]))
            yield tuple(part)
            part = []
        else:
            part.append(frame)
    if part:
        yield tuple(part)


async def play(script: list[Step], bob_watches: bool, **options: Any) -> dict[str, Any]:
    server = HostedServer(Zoo, port=0, max_message_size=MOST, **options)
    with server.expecting() as failures:
        async with server.running():
            assert server.port is not None
            visitors = {name: Visitor(server.port, name) for name in ("ann", "bob")}
            try:
                for name, visitor in visitors.items():
                    await visitor.log_in()
                    await visitor.join(spectate=bob_watches and name == "bob")
                told = []
                for step in script:
                    visitor = visitors[step.player]
                    if visitor.is_over:
                        continue
                    for frames in parts_of(step.frames):
                        data = b""
                        for frame in frames:
                            if isinstance(frame, bytes):
                                data += frame
                            else:
                                envelopes = [said_by(visitor, said) for said in frame.said]
                                data += visitor.frame(envelopes, frame.pieces, frame.pinged)
                        places = sorted({int(cut * len(data)) for cut in step.cuts} - {0})
                        for start, end in zip([0, *places], [*places, len(data)], strict=True):
                            visitor.send(data[start:end])
                            await wait_all_tasks_blocked(0.001)
                    told.append({name: each.hear_step() for name, each in visitors.items()})
                games = {name: [*game.log] for name, game in server.games.items()}
            finally:
                for visitor in visitors.values():
                    visitor.close()
    return {
        "told": told,
        "failures": [repr(error) for error in failures],
        "games": games,
    }


@contextlib.contextmanager
def by(way: str, longest: float) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGNET_SHORT_WAY", way)
        patch.setattr(rounds, "LONGEST_ROUND", longest)
        yield


MESSAGES = st.sampled_from(
    [
        "echo",
        "echo",
        "echo",
        "echo",
        "push",
        "move",
        "wait",
        "many",
        "kick me",
        "kick bob",
        "close",
        "rematch",
        "raise",
        "wait and raise",
        "raise base",
        "exit",
        "spawn",
        "spawn and raise",
        "ask",
        "cancel",
        "out",
        "lock",
        "sync",
        "cannot travel",
        "nothing",
    ]
)
DEEP: Any = {"a": [[[[[[[1]]]]]]]}
SAID = st.one_of(
    MESSAGES,
    MESSAGES,
    MESSAGES.map(lambda message: ("quiet", message)),
    st.sampled_from(
        [
            "ack",
            "ack",
            "ping",
            "full state",
            "answer",
            "answer",
            "wrong answer",
            "leave",
            "join",
            "join another",
            "watch",
        ]
    ),
    st.sampled_from(["goodbye", "wrong id", "log in", "ack too many"]),
    st.sampled_from(
        [
            ("with", "echo", DEEP),
            ("with", "echo", {"text": "x" * 600}),
            ("with", "move", {"by": 2**40}),
            ("with", "Throw", {"hand": 1}),
            ("with", "Throw", {"hand": "wrong"}),
            ("with", "echo", {"text": "x" * MOST}),
        ]
    ),
)
FRAMES = st.builds(
    Frame,
    said=st.lists(SAID, min_size=1, max_size=4).map(tuple),
    pieces=st.sampled_from([1, 1, 1, 2, 3]),
    pinged=st.booleans(),
)
RAW = st.sampled_from(
    [
        masked(0x89, b"ping"),
        masked(0x8A, b"pong"),
        masked(0x88, (1000).to_bytes(2)),
        masked(0x82, b"nonsense"),
        masked(0x81, b"text"),
        masked(0xC2, b"reserved"),
        b"\x82\x01x",
    ]
)
STEPS = st.builds(
    Step,
    player=st.sampled_from(["ann", "ann", "bob"]),
    frames=st.lists(st.one_of(FRAMES, FRAMES, FRAMES, FRAMES, RAW), min_size=1, max_size=6).map(
        tuple
    ),
    cuts=st.lists(st.floats(0, 0.999), max_size=2).map(tuple),
)


def compare(script: list[Step], bob_watches: bool, longest: float, **options: Any) -> None:
    """Check that something can come of a script in both ways.

    Which of two tasks goes on first is a matter of chance, so there is more than one try.
    """

    async def find_both() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for way in ("1", "0"):
            with by(way, longest):
                found.append(await play(script, bob_watches, **options))
        return found

    ways: tuple[list[Any], list[Any]] = ([], [])
    logging.disable()
    try:
        for _ in range(TRIES):
            for outcomes, found in zip(ways, trio.run(find_both), strict=True):
                outcomes.append(found)
            if any(found in ways[1] for found in ways[0]):
                return
    finally:
        logging.disable(logging.NOTSET)
    assert ways[0][-1] == ways[1][-1]


@given(st.lists(STEPS, min_size=1, max_size=4), st.booleans(), st.sampled_from([60.0, 60.0, 0.0]))
def test_whatever_comes_all_are_told_the_same(
    script: list[Step], bob_watches: bool, longest: float
) -> None:
    compare(script, bob_watches, longest, requests_per_second=None)

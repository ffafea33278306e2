"""The short way in one piece does what its parts do, one after the other, whatever bytes come."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import attrs
import msgspec
import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from pgnet_trio.connection import Connection
from pgnet_trio.crypto.noise import NoiseHandshake, NoiseTransport
from pgnet_trio.errors import PGNetError
from pgnet_trio.messages import Packet, Push, Request, Response, wall_clock
from pgnet_trio.protocol.v2 import ServerProtocol, prologue
from pgnet_trio.protocol.v2 import envelopes as wire
from pgnet_trio.protocol.v2.server_delivery import ServerDelivery
from pgnet_trio.protocol.v2.states import OPEN
from pgnet_trio.server.connections import reader
from pgnet_trio.server.connections.gate import GatedConnection
from pgnet_trio.server.connections.reader import read_requests
from pgnet_trio.server.room.player import PacketTurn
from pgnet_trio.server.sessions.budget import Budget
from pgnet_trio.server.sessions.handle import ConnectionHandle
from pgnet_trio.server.sessions.sender import LoggedInClient, SenderV2
from pgnet_trio.server.sessions.session import Session
from pgnet_trio.transport.pipes import BytePipe
from pgnet_trio.transport.rounds import Round
from pgnet_trio.transport.websockets import WebsocketsLibraryTransport
from tests.kit.protocol_pair import OFFERED, SERVER_KEY, SPOKEN, TOKEN, Seen, seeded_bytes
from tests.server.test_both_ways import masked

if TYPE_CHECKING:
    from pgnet_trio.protocol.events import ServerEvent

encode = msgspec.msgpack.Encoder().encode


class Pipe(BytePipe):
    """A pipe whose bytes a test gives and takes; what it writes goes out when the test says so."""

    def __init__(self) -> None:
        self.peer = "192.0.2.1"
        self.written: list[bytes] = []
        self.is_full = self.is_broken = False
        self._unsent = b""
        self._reader: trio.lowlevel.ParkingLot = trio.lowlevel.ParkingLot()
        self._writer = trio.lowlevel.ParkingLot()
        self._came: list[bytes] = []
        self._is_closed = False

    @property
    def takes(self) -> bool:
        """Whether a round of reading takes what comes."""
        return len(self._reader) > 0 and self.take_data is not None

    def feed(self, data: bytes) -> None:
        """Have bytes come, in a round of reading where the reader waits."""
        if self.takes and self.take_data is not None:
            data = self.take_data(data, Round(trio.current_time()))
            if not data:
                return
        self._came.append(data)
        self._reader.unpark_all()

    def make_room(self) -> None:
        self.is_full = False
        if self._unsent:
            self.written.append(self._unsent)
            self._unsent = b""
        self._writer.unpark_all()

    @property
    def unsent(self) -> bool:
        return bool(self._unsent)

    async def read(self) -> bytes:
        while not self._came:
            if self._is_closed:
                raise trio.ClosedResourceError
            await self._reader.park()
        await trio.lowlevel.checkpoint()
        return self._came.pop(0)

    def write_nowait(self, data: bytes) -> bool:
        if self.is_broken:
            # As with a socket: what did not go out is lost.
            self._unsent = b""
            raise trio.BrokenResourceError("on purpose")
        if self.is_full or self._unsent:
            self._unsent += data
            return not self._unsent
        self.written.append(data)
        return True

    async def flush(self) -> None:
        while self._unsent:
            if self._is_closed:
                raise trio.ClosedResourceError
            await self._writer.park()

    def half_close(self) -> None:
        pass

    def interrupt(self) -> None:
        self._reader.unpark_all()
        self._writer.unpark_all()

    async def close(self) -> None:
        self._is_closed = True
        self.take_data = None
        self.interrupt()


@attrs.define(eq=False)
class Room:
    """Answers each packet at once, or later, and notes what came."""

    log: list[Any] = attrs.field(factory=list)
    waiting: list[PacketTurn] = attrs.field(factory=list)
    name: str = "table"
    audience: int = 1
    is_waiting: bool = True

    @property
    def room(self) -> Room:
        return self

    def game_of(self, username: str, /) -> Room:
        return self

    def leave(self, username: str, reason: str = "", /, *, player: Any = None) -> None:
        self.log.append(("leave", username, reason))

    def take_now(self, turn: PacketTurn, round: Round, /) -> None:
        round.delay = 0.0
        self.handle(turn)

    def handle(self, turn: PacketTurn, /) -> None:
        packet = turn.packet
        turn.unpack()
        self.log.append((turn.request_id, turn.quiet, packet.username, packet.message))
        self.log.append((packet.payload, packet.created_on))
        if packet.message == "raise":
            raise ValueError("on purpose")
        if packet.message == "later":
            self.waiting.append(turn)
        else:
            self.answer(turn)

    def answer(self, turn: PacketTurn) -> None:
        if turn.player.answer(turn, Response("yes", turn.packet.payload)):
            turn.player.flush()

    def take_input(self, player: Any, given: Any, round: Round | None, /) -> None:
        self.log.append(("input", given))

    def times(self) -> tuple[float, float]:
        return 0.0, 10.0

    def handle_answer(self, turn: PacketTurn, question_id: int, /) -> None:
        self.log.append(("answer", question_id))
        self.answer(turn)

    def drop(self, username: str, /) -> None:
        self.log.append(("drop", username))

    def resume(self, username: str, /) -> None:
        pass

    def catch_up(self, player: Any, /) -> None:
        pass

    def introduce(self, player: Any, /) -> None:
        pass


@attrs.define
class Settings:
    """What an admin may turn on."""

    verbose_logging: bool = False


@attrs.frozen
class Owner:
    """Runs what a session's own task does."""

    nursery: trio.Nursery
    announcements: tuple[Any, ...] = ()

    def start(self, session: Session, /) -> None:
        self.nursery.start_soon(self._run, session)

    async def _run(self, session: Session) -> None:
        # What a room raises, which no real one does.
        with contextlib.suppress(ValueError):
            await session.run()

    def note_away(self, is_away: bool, /) -> None:
        pass


class Gate:
    """Lets nothing out while it is shut."""

    is_open = True

    def may_send(self, username: str, /) -> bool:
        return self.is_open


class End:
    """A server's end of one session, over a pipe of a test."""

    def __init__(self, nursery: trio.Nursery, limit: int | None, rate: float | None, gated: bool):
        self.pipe = Pipe()
        self.room = Room()
        self.gate = Gate()
        self.settings = Settings()
        self.raised: list[str] = []
        self.protocol = ServerProtocol(
            SERVER_KEY,
            seeded_bytes(3),
            offered=OFFERED,
            max_frame_size=None,
            subprotocol=SPOKEN,
        )
        self.delivery = ServerDelivery(max_messages=8, max_bytes=3000, window=6)
        handshake = NoiseHandshake(
            initiator=True,
            prologue=prologue(OFFERED, SPOKEN),
            static=None,
            random_bytes=seeded_bytes(4),
        )
        self.protocol.receive(handshake.write())
        hello = self.protocol.next_message()
        assert hello is not None
        handshake.read(hello)
        self.client: NoiseTransport = handshake.split()
        said = [[0, 2000, ["columns", "lost"]], [1, "ann", "password"]]
        self.protocol.receive(self.client.encrypt_frame(encode(said)))
        self.protocol.accept("welcome", TOKEN, self.delivery)
        self.transport = WebsocketsLibraryTransport(
            self.pipe,
            is_client=False,
            peer="192.0.2.1",
            subprotocol=SPOKEN,
            offered_subprotocols=tuple(OFFERED),
            max_message_size=limit,
        )
        kind = GatedConnection if gated else Connection
        self.connection: Connection[ServerEvent] = kind(
            self.transport,
            self.protocol,
            ping_interval=None,
            keepalive_timeout=None,
            pace=self.pace,
        )
        if isinstance(self.connection, GatedConnection):
            self.connection.guard("ann", self.gate)
        self.handle = ConnectionHandle(self.connection, self.protocol)
        self.session = Session(
            "ann",
            LoggedInClient(SenderV2(self.delivery), self.delivery),
            games=self.room,
            carry_out=self.carry_out,
            max_in_flight=4,
            max_bytes_in_flight=3000,
            budget=Budget(rate),
            settings=self.settings,
            owner=Owner(nursery),
        )
        self.helpers = nursery

    def pace(self) -> float:
        count, self.protocol.uncharged = self.protocol.uncharged, 0
        return 0.5 * (count > 3)

    async def carry_out(self, session: Session, packet: Packet) -> Response:
        await trio.lowlevel.checkpoint()
        return Response("done", packet.payload)

    async def run(self, way: bool) -> None:
        async with self.connection.open(self.helpers):
            self.session.attach(self.handle)
            self.connection.flush()
            try:
                with pytest.MonkeyPatch.context() as patch:
                    if not way:
                        patch.setattr(reader, "begin_short_way", lambda *_: None)
                    reading = read_requests(
                        self.connection, self.protocol, self.handle, self.session
                    )
                    await reading
            except (PGNetError, ValueError) as error:
                self.raised.append(f"{type(error).__name__}: {error}")
            self.session.detach(self.handle, "The connection is over.")

    def check_stopped(self) -> None:
        """Check that whoever ends a session stops its reading too, as does a pong that waits."""
        if self.pipe.takes and not self.connection.blocked:
            assert self.protocol.state is OPEN
            assert self.pipe.is_broken or not self.transport.late_control

    def found(self) -> dict[str, Any]:
        """All that can be told of it from outside."""
        delivery = {
            name: getattr(self.delivery, name)
            for name in ServerDelivery.__slots__
            if name not in {"_snapshot", "_shown", "_too_long"}
        }
        return {
            "written": b"".join(self.pipe.written),
            "log": list(self.room.log),
            "raised": list(self.raised),
            "delivery": {
                name: value.copy() if isinstance(value, (list, dict)) else value
                for name, value in delivery.items()
            },
            "unanswered": self.session.unanswered,
            "end": self.session.end_reason,
            "protocol": (self.protocol.state, self.protocol.uncharged, self.protocol.owes_flush),
            "control": list(self.protocol.control),
            "heard": self.transport.last_received,
        }


@attrs.define
class Script:
    """What the client has said so far, from which what it says next follows."""

    last_request: int = 0
    received: int = 0

    def envelopes(self, said: Sequence[Any]) -> list[Any]:
        found: list[Any] = []
        for each in said:
            match each:
                case "ack":
                    found.append([17, self.received])
                case "ack too many":
                    found.append([17, self.received + 99])
                case ("other", envelope):
                    found.append(envelope)
                case ("skewed", message):
                    found.append([7, self.last_request + 3, message, {}])
                case (message, quiet, payload):
                    self.last_request += 1
                    more = [True] if quiet else []
                    found.append([7, self.last_request, message, payload, *more])
        return found


PAYLOADS: st.SearchStrategy[Any] = st.sampled_from(
    [
        {},
        {"x": 1},
        {"text": "x" * 90},
        {"text": "x" * 300},
        {"text": "x" * 700},
        {"deep": [[[[[[[1]]]]]]]},
        {"1": b"bytes"},
        {"x": 1.5},
    ]
)
REQUESTS = st.tuples(
    st.sampled_from(["ask", "ask", "ask", "later", "raise", Request.GAME_DIR]),
    st.booleans(),
    PAYLOADS,
)
USUAL = st.tuples(
    st.lists(st.just("ack"), max_size=1),
    st.tuples(st.just("ask"), st.booleans(), PAYLOADS),
).map(lambda parts: [*parts[0], parts[1]])
SAID = st.one_of(
    USUAL,
    USUAL,
    USUAL,
    st.lists(
        st.one_of(
            REQUESTS,
            st.just("ack"),
            st.sampled_from([("other", [19]), ("other", [20]), ("other", [18])]),
            st.sampled_from([("other", [21, "bye"]), ("other", [99]), "ack too many"]),
            st.just(("skewed", "ask")),
        ),
        max_size=4,
    ),
)
FORMS = st.sampled_from(
    ["whole"] * 6
    + ["text", "altered", "long head", "unmasked", "reserved", "cut", "pieces"]
    + ["behind a ping", "twice", "empty", "begun", "132 bytes", "cut late"]
)
STEPS = st.one_of(
    st.tuples(st.just("say"), SAID, FORMS),
    st.tuples(st.just("say"), SAID, st.just("whole")),
    st.tuples(st.just("say"), SAID, st.just("whole")),
    st.tuples(st.just("answer"), st.none(), st.none()),
    st.tuples(st.just("push"), PAYLOADS, st.none()),
    st.tuples(st.just("state"), st.integers(0, 3), st.none()),
    st.tuples(st.just("end and say"), USUAL, st.none()),
    st.tuples(
        st.sampled_from(["full", "room", "broken", "log", "close", "ping", "end", "gate", "wait"]),
        st.none(),
        st.none(),
    ),
)


def framed(payload: bytes, form: str) -> list[bytes]:
    match form:
        case "text":
            return [masked(0x81, b"text")]
        case "altered":
            return [masked(0x82, payload[:-1] + bytes([payload[-1] ^ 1]))]
        case "long head":
            return [bytes([0x82, 0xFE]) + (5).to_bytes(2) + bytes(4) + payload[:5]]
        case "unmasked":
            return [bytes([0x82, min(125, len(payload))]) + payload]
        case "reserved":
            return [masked(0xC2, payload)]
        case "empty":
            return [masked(0x82, b"")]
        case "cut late":
            whole = masked(0x82, payload)
            return [whole[:-5], whole[-5:]]
        case "begun":
            return [masked(0x02, payload[:3])]
        case "132 bytes":
            whole = masked(0x82, payload)
            return [whole[:132], whole[132:]] if len(whole) > 132 else [whole]
        case "cut":
            whole = masked(0x82, payload)
            return [whole[:9], whole[9:]]
        case "pieces":
            return [masked(0x02, payload[:3]) + masked(0x80, payload[3:])]
        case "behind a ping":
            return [masked(0x89, b"ping") + masked(0x82, payload)]
    return [masked(0x82, payload)]


async def do(end: End, what: str, detail: Any, form: Any, script: Script) -> None:
    match what:
        case "say":
            said = script.envelopes(detail)
            frames = framed(end.client.encrypt_frame(encode(said)), form)
            if form == "twice":
                again = [each for each in said if each[0] == 17]
                frames = [frames[0] + masked(0x82, end.client.encrypt_frame(encode(again)))]
            for data in frames:
                end.check_stopped()
                end.pipe.feed(data)
        case "answer":
            if end.room.waiting:
                end.room.answer(end.room.waiting.pop(0))
        case "push":
            end.session.push(wire.encode_push(Push("news", {"x": str(detail)})))
            end.session.flush()
        case "state":
            end.session.show(Seen({"number": detail}))
        case "end and say":
            end.session.end("over")
            await do(end, "say", detail, "whole", script)
        case "wait":
            clock = trio.lowlevel.current_clock()
            assert isinstance(clock, MockClock)
            clock.jump(0.3)
        case "full":
            end.pipe.is_full = True
        case "room":
            end.pipe.make_room()
        case "broken":
            end.pipe.is_broken = True
        case "log":
            end.settings.verbose_logging = not end.settings.verbose_logging
        case "close":
            end.session.close()
        case "ping":
            end.protocol.ping()
            end.session.flush()
        case "end":
            end.session.end("over")
        case "gate":
            end.gate.is_open = not end.gate.is_open
            end.session.flush()
    await wait_all_tasks_blocked()
    script.received = end.delivery._acknowledged + end.delivery._sent


async def play(
    steps: list[tuple[str, Any, Any]],
    way: bool,
    *,
    limit: int | None,
    rate: float | None,
    gated: bool,
) -> list[dict[str, Any]]:
    found = []
    async with trio.open_nursery() as nursery:
        end, script = End(nursery, limit, rate, gated), Script()
        nursery.start_soon(end.run, way)
        await wait_all_tasks_blocked()
        for what, detail, form in steps:
            await do(end, what, detail, form, script)
            found.append(end.found())
        end.pipe.make_room()
        end.session.end("The test is over.")
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    return found


ASK = ("ask", False, {"text": "x" * 90})
LONG = ("ask", False, {"text": "x" * 300})
LONGER = ("ask", False, {"text": "x" * 700})
QUIET: tuple[str, bool, dict[str, Any]] = ("ask", True, {})
FULL, ROOM, BROKEN = [(what, None, None) for what in ("full", "room", "broken")]
PUSHED: tuple[str, dict[str, Any], None] = ("push", {}, None)
SAID_ONCE = ("say", [ASK], "whole")
PINGED = ("say", [ASK], "behind a ping")


@given(
    st.lists(STEPS, max_size=12),
    st.sampled_from([None, 2000, 200]),
    st.sampled_from([None, None, 2.0]),
    st.booleans(),
)
@example([("say", ["ack", ASK], "whole")] * 3, None, None, False)
@example([("full", None, None), *[("say", ["ack", ASK], "whole")] * 2], None, None, False)
@example([("broken", None, None), *[("say", ["ack", ASK], "whole")] * 2], None, None, False)
@example([("say", [ASK], "altered"), ("say", [ASK], "whole")], None, None, False)
@example([("say", ["ack too many", ASK], "whole")], None, None, False)
@example([("say", [("skewed", "ask")], "whole")], None, None, False)
@example([("say", [("raise", False, {})], "whole")], None, None, False)
@example([("close", None, None), ("say", [ASK], "whole")], None, None, False)
@example([("say", [ASK], "whole")] * 8, None, 2.0, False)
@example([("close", None, None), *[("say", [ASK], "whole")] * 3], None, None, False)
@example([("full", None, None), *[("say", ["ack", ASK], "whole")] * 4], None, None, False)
@example([("end and say", [ASK], None)], None, None, False)
@example([("say", [ASK], "begun"), ("say", [ASK], "whole")], None, None, False)
@example([("say", [LONG], "132 bytes"), ("say", [ASK], "whole")], None, None, False)
@example([("say", [LONG], "cut late"), ("say", [ASK], "whole")], None, None, False)
@example([("say", [LONGER], "whole"), ("wait", None, None)], None, 2.0, False)
@example([("wait", None, None), ("say", [ASK], "whole")], None, None, False)
@example([("state", 1, None), ("say", [ASK], "whole")], None, None, False)
@example(
    [("say", [("later", False, {})], "whole"), ("state", 1, None), ("answer", None, None)],
    None,
    None,
    False,
)
@example([("gate", None, None), ("say", [ASK], "whole"), ("gate", None, None)], None, None, True)
@example([("say", [("ask", False, {"text": "x" * 300})], "whole")], 200, None, False)
@example([("log", None, None), ("say", ["ack", ASK], "whole")], None, None, False)
@example([("ping", None, None), ("say", ["ack", ASK], "whole")], None, None, False)
@example([("say", [("later", False, {})], "whole")] * 7, None, None, False)
# So many pushes are dropped that the last of them has to wait for the acknowledgement.
@example([*[PUSHED] * 80, ("say", ["ack", QUIET], "whole")], None, None, False)
@example([FULL, PUSHED, PINGED, SAID_ONCE, ROOM, SAID_ONCE], None, None, False)
@example([FULL, PUSHED, PINGED, BROKEN, SAID_ONCE, ROOM, SAID_ONCE], None, None, False)
def test_one_piece_does_what_the_parts_do(
    steps: list[tuple[str, Any, Any]], limit: int | None, rate: float | None, gated: bool
) -> None:
    token = wall_clock.set(lambda: datetime(2026, 1, 1, tzinfo=UTC))
    try:
        options: dict[str, Any] = {"limit": limit, "rate": rate, "gated": gated}
        both = [
            trio.run(
                functools.partial(play, steps, way, **options),
                clock=MockClock(),
            )
            for way in (True, False)
        ]
    finally:
        wall_clock.reset(token)
    for number, (piece, parts) in enumerate(zip(*both, strict=True)):
        assert piece == parts, steps[: number + 1]

"""What a protocol reports when a message has arrived; the same for every version.

It is a little long: a class for each thing that either side may be told.

The ``size`` of an event that a client may keep is what it took on the wire, in bytes: its share of
the message where several came in a short one.
"""

from __future__ import annotations

from typing import Any

import attrs
import msgspec

from pgnet_trio.codec import count_nested
from pgnet_trio.messages import Packet, Push, Response, explicit_time

__all__ = [
    "FEW_BYTES",
    "MAX_REASON",
    "ClientEvent",
    "FullStateRequested",
    "GameChanged",
    "Goodbye",
    "InputReceived",
    "LogIn",
    "LoggedIn",
    "LoginRefusal",
    "MomentTold",
    "Moved",
    "Patched",
    "Pushed",
    "PushesMissing",
    "QuestionAnswered",
    "QuestionAsked",
    "QuietAck",
    "RequestReceived",
    "ResponseReceived",
    "Restarting",
    "Resume",
    "ResumeRefusal",
    "Resumed",
    "SearchTold",
    "ServerEvent",
    "StateShown",
    "TimeRequested",
    "TimeTold",
    "Withdrawn",
    "cost_of",
    "weigh",
]


MAX_REASON = 200
"""Characters of a reason that is sent or logged: enough to find a mistake, too few for a flood."""


@attrs.frozen
class LogIn:
    """Server side: the client wants to log in.

    Attributes:
        username: Who it says it is.
        password: Their password.
        invite_code: An invite for a new user, or empty.
        token: What stands for the password, which is empty then; empty where nothing does.
    """

    username: str
    password: str = attrs.field(repr=False)
    invite_code: str = attrs.field(repr=False)
    token: bytes = attrs.field(default=b"", repr=False)


@attrs.frozen
class Resume:
    """Server side: the client wants to resume its session over this new connection.

    Attributes:
        username: Whose session it is.
        proof: Bytes that only a holder of the session's token can make, and for this connection
            alone.
        received: How many counted envelopes of the session it has.
    """

    username: str
    proof: bytes = attrs.field(repr=False)
    received: int


# A Struct, because there is one for each request: msgspec makes it in C.
class RequestReceived(msgspec.Struct):
    """Server side: a client that is logged in made a request.

    Attributes:
        id: Its number; the requests of a session count up from 1.
        packet: The request.
        quiet: Whether the client wants no response.
        size: How many bytes it is, in MessagePack; 0 for few.
        cost: What it costs the server, in requests of few bytes.
        packed: The payload as `encode_plain` returns it, where it is of many bytes.
    """

    id: int
    packet: Packet
    quiet: bool = False
    size: int = 0
    cost: int = 1
    packed: bytes = b""

    def __repr__(self) -> str:
        return (
            f"RequestReceived(id={self.id}, packet={self.packet!r}, quiet={self.quiet}, "
            f"size={self.size}, cost={self.cost})"
        )


@attrs.define
class QuestionAnswered:
    """Server side: a client answered a question of its game.

    Attributes:
        id: The number of the answer, which is one of the client's requests and gets a response.
        question: Which question it answers.
        packet: The answer.
        size: How many bytes it is, in MessagePack; 0 for few.
        cost: What it costs the server, in requests of few bytes.
        packed: The payload as `encode_plain` returns it, where it is of many bytes.
    """

    id: int
    question: int
    packet: Packet
    size: int = attrs.field(default=0, eq=False)
    cost: int = attrs.field(default=1, eq=False)
    packed: bytes = attrs.field(default=b"", eq=False, repr=False)


class InputReceived(msgspec.Struct):
    """Server side: a client says what its user does in one tick. Nobody waits for an answer.

    Attributes:
        number: Its number, which need not be the next one.
        seen: The room's time of what the user saw, in seconds, as the client says.
        payload: The fields. It is the same object as before where nothing in it has changed.
    """

    number: int
    seen: float
    payload: dict[str, Any]

    def __repr__(self) -> str:
        return f"InputReceived(number={self.number}, seen={self.seen:g})"


@attrs.frozen
class TimeRequested:
    """Server side: a client asks what time it is in its game's room."""

    id: int


FEW_BYTES = 512
"""Bytes up to which a request is not weighed: nothing about it can cost much."""

# The bytes with which a dict or a list begins. Such bytes are in other text than ASCII too.
_DICTS_AND_LISTS = bytes([*range(0x80, 0xA0), *range(0xDC, 0xE0)])

_encode = msgspec.msgpack.Encoder().encode


def cost_of(nested: int) -> int:
    """Return what a request costs that has so many dicts and lists in it, in ordinary requests."""
    return 1 + nested // 20


def weigh(request: RequestReceived | QuestionAnswered) -> None:
    """Note how large a request is, and what follows for its cost.

    Dicts and lists cost more than their bytes: up to 70 times as much memory, and the time for it.
    """
    packet = request.packet
    # As `encode_plain`, with spare memory behind it: most of many requests in a frame are small.
    packed = _encode(packet.payload)
    size = len(packed) + len(packet.message) + len(explicit_time(packet) or "")
    if size > FEW_BYTES:
        packed = bytes(memoryview(packed))
        request.size, request.packed = size, packed
        if request.cost == 1 and len(packed) - len(packed.translate(None, _DICTS_AND_LISTS)) > 200:
            request.cost = cost_of(count_nested(packet.payload) or 0)
        request.cost += size // 1024


@attrs.frozen
class FullStateRequested:
    """Server side: the client cannot use the patches that it gets, and asks for the whole state."""


@attrs.frozen
class Goodbye:
    """Either side: the other side ends the session for good.

    Attributes:
        reason: Why, for people.
        code: Why, for programs; a `ReasonCode`, or empty. So it is below.
    """

    reason: str
    code: str = ""


@attrs.frozen
class Restarting:
    """Client side: the server ends to begin anew; this client may come back."""

    reason: str


@attrs.frozen
class Moved:
    """Client side: the session goes on at another address, to which this client connects at once.

    Attributes:
        address: Where: host:port, ws://…, wss://…, or a path at the same host.
        reason: Why, for people.
        login_token: What this client can log in with there instead of its password; empty where
            the server has said nothing new of that.
    """

    address: str
    reason: str
    login_token: bytes = attrs.field(default=b"", repr=False)


@attrs.frozen
class LoggedIn:
    """Client side: the server let this client in.

    Attributes:
        message: The server's greeting.
        token: The token with which this client can resume the session; empty where it cannot.
        login_token: What this client can log in with later instead of its password; empty where
            the server has said nothing new of that.
        grace: Seconds that the session outlives a connection, infinite for ever; None where the
            server has not said.
        reconnect_for: Seconds for which a client should try to come back; likewise.
    """

    message: str
    token: bytes = attrs.field(default=b"", repr=False)
    login_token: bytes = attrs.field(default=b"", repr=False)
    grace: float | None = None
    reconnect_for: float | None = None


@attrs.frozen
class LoginRefusal:
    """Client side: the server does not let this client in, and closes."""

    reason: str
    code: str = ""


@attrs.frozen
class Resumed:
    """Client side: the session goes on over this connection."""


@attrs.frozen
class ResumeRefusal:
    """Client side: the session is gone, or the token not taken; this client may log in."""

    reason: str
    code: str = ""


# Not frozen: there is one for each request, and a frozen one takes twice as long to make.
@attrs.define
class ResponseReceived:
    """Client side: the server answered the request with this id."""

    id: int
    response: Response
    size: int = attrs.field(default=0, eq=False, repr=False)


@attrs.frozen
class QuietAck:
    """Client side: the server has carried out all quiet requests up to this id."""

    id: int


@attrs.frozen
class Pushed:
    """Client side: the game or the server says something unasked."""

    # Whoever prints a push wants to see its payload; who prints an event looks for a fault.
    push: Push = attrs.field(repr=lambda push: f"Push({push.message!r}, ...)")
    size: int = attrs.field(default=0, eq=False, repr=False)


@attrs.frozen
class PushesMissing:
    """Client side: the server has dropped so many pushes, because too much waited to be sent."""

    count: int


@attrs.frozen
class GameChanged:
    """Client side: the user is in this game now, or in none.

    Attributes:
        name: The game; None for none.
        heartbeat_rate: How many heartbeats a second to send; 0 for none.
        time: The time of the game's room, in seconds.
        reason: Why the user is no longer in the game before: left, kicked, closed, crashed or
            destroyed.
        message: The reason in words for people.
    """

    name: str | None
    heartbeat_rate: float = 0.0
    time: float = 0.0
    reason: str = ""
    message: str = ""
    size: int = attrs.field(default=0, eq=False, repr=False)


@attrs.frozen
class StateShown:
    """Client side: the whole state of the game came, as this user may see it."""

    version: int
    data: Any
    size: int = attrs.field(default=0, eq=False, repr=False)


@attrs.frozen
class Patched:
    """Client side: a patch came.

    Attributes:
        base: The version of the state that it applies to.
        version: The version of the state that results.
        patch: The difference.
        columns: Whether tables in it may stand column by column: `patch.apply_columns`.
    """

    base: int
    version: int
    patch: Any
    size: int = attrs.field(default=0, eq=False, repr=False)
    columns: bool = False


@attrs.frozen
class MomentTold:
    """Client side: of which moment the state is that the client has; see `netcode.Moment`."""

    tick: int
    time: float
    confirmed: int


@attrs.frozen
class TimeTold:
    """Client side: what time it is in the game's room.

    Attributes:
        id: Which request this answers.
        time: The time in seconds.
        rate: How many ticks a second the game has; 0 for none.
    """

    id: int
    time: float
    rate: float


@attrs.frozen
class QuestionAsked:
    """Client side: the game asks this user something.

    Attributes:
        id: The question's number; its answer names it.
        packet: The question.
        deadline: The time of the room until which an answer counts; None for no limit.
        time: The time of the room when the question was sent, in seconds.
    """

    id: int
    packet: Packet
    deadline: float | None
    time: float
    size: int = attrs.field(default=0, eq=False, repr=False)


@attrs.frozen
class Withdrawn:
    """Client side: the game no longer waits for an answer to this question."""

    id: int


@attrs.frozen(kw_only=True)
class SearchTold:
    """Client side: how a search for a game goes.

    Attributes:
        id: Which search of this client's it is.
        state: waiting, found, joined or over; another one, of a later server, means nothing.
        position: Which place the user has among those who wait; 1 is the first.
        waited: For how many seconds they have waited.
        match: The number of a match that is found.
        seconds: In how many seconds to confirm that.
        reason: Why the search is over without a game, for people.
        code: The same for programs: a `ReasonCode`, or empty.
        options: Those of the game that is joined.
    """

    id: int
    state: str
    position: int = 0
    waited: float = 0.0
    match: int = 0
    seconds: float = 0.0
    reason: str = ""
    code: str = ""
    options: dict[str, Any] = attrs.field(factory=dict, repr=False)


ServerEvent = (
    LogIn
    | Resume
    | RequestReceived
    | QuestionAnswered
    | InputReceived
    | FullStateRequested
    | TimeRequested
    | Goodbye
)
ClientEvent = (
    LoggedIn
    | LoginRefusal
    | Resumed
    | ResumeRefusal
    | ResponseReceived
    | QuietAck
    | Pushed
    | PushesMissing
    | GameChanged
    | StateShown
    | Patched
    | QuestionAsked
    | Withdrawn
    | Goodbye
    | Restarting
    | Moved
    | SearchTold
    | MomentTold
    | TimeTold
)

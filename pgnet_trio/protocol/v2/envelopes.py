"""The envelopes of protocol 2: what can stand in a frame, as msgpack arrays.

A frame is an array of envelopes, and an envelope is an array that begins with the number of its
kind. The classes below are the wire format: their fields follow that number, in this order.

The file is long because the functions that write envelopes stay beside the classes that read them.
Those on the hot path write the arrays without making an object, so a change of a class has to be
made there too.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, get_args

import msgspec

from pgnet_trio.codec import Int64, plain
from pgnet_trio.codec.plain_data import ShallowDict, collector_paused, is_plain
from pgnet_trio.errors import CodecError, ProtocolError
from pgnet_trio.foreign_text import one_line
from pgnet_trio.messages import PLAYERS, Packet, Push, Response, Status, explicit_time
from pgnet_trio.protocol.events import FEW_BYTES, MAX_REASON
from pgnet_trio.protocol.v2.features import CODES

__all__ = [
    "ARRAY_OF_ONE",
    "ARRAY_OF_TWO",
    "NOT_TOLD",
    "PING",
    "PONG",
    "Acknowledgement",
    "AnswerEnvelope",
    "ColumnPatchEnvelope",
    "FromClient",
    "FromServer",
    "FullStateRequestEnvelope",
    "GameEnvelope",
    "GoodbyeEnvelope",
    "Hello",
    "InputEnvelope",
    "LastState",
    "LogInEnvelope",
    "LostEnvelope",
    "MomentEnvelope",
    "MovedEnvelope",
    "PatchEnvelope",
    "Ping",
    "Pong",
    "PushEnvelope",
    "QuestionEnvelope",
    "Refusal",
    "RequestEnvelope",
    "ResponseEnvelope",
    "RestartEnvelope",
    "ResumeEnvelope",
    "ResumedEnvelope",
    "SearchEnvelope",
    "SessionGone",
    "ShallowAnswer",
    "ShallowRequest",
    "StateEnvelope",
    "TimeEnvelope",
    "TimeRequestEnvelope",
    "Welcome",
    "WithdrawalEnvelope",
    "array_head",
    "cut",
    "encode",
    "encode_answer",
    "encode_game",
    "encode_goodbye",
    "encode_hello",
    "encode_input",
    "encode_log_in",
    "encode_lost",
    "encode_moment",
    "encode_moved",
    "encode_patch",
    "encode_push",
    "encode_question",
    "encode_refusal",
    "encode_request",
    "encode_response",
    "encode_session_gone",
    "encode_state",
    "encode_time",
    "encode_token_log_in",
    "encode_welcome",
    "frame_of",
    "is_presence",
    "moment_with",
    "numbered",
    "read_from_client",
    "read_from_server",
    "size_of",
]


# Seconds that a room may have: with milliseconds of them, everybody can count.
LONGEST_TIME = 1e12
MOST_TICKS = 1e6

if TYPE_CHECKING:
    Finite: TypeAlias = float
    RoomTime: TypeAlias = float
    TickRate: TypeAlias = float
else:
    # NaN is in no range.
    Finite = Annotated[float, msgspec.Meta(ge=-sys.float_info.max, le=sys.float_info.max)]
    RoomTime = Annotated[float, msgspec.Meta(ge=-LONGEST_TIME, le=LONGEST_TIME)]
    TickRate = Annotated[float, msgspec.Meta(ge=0, le=MOST_TICKS)]

# Nobody but the receiver may see these: they are secrets, or hold what players, games and servers
# say to each other, which may be secrets too.
_NEVER_SHOWN = frozenset(
    {"password", "invite_code", "proof", "token", "login_token", "payload", "data", "patch"}
)


class _Envelope(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """An array: the kind's number, then the fields. Those with a default may be left out."""

    def __rich_repr__(self) -> Any:
        for name in self.__struct_fields__:
            if name not in _NEVER_SHOWN:
                yield name, getattr(self, name)

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({fields})"


class Hello(_Envelope, tag=0, frozen=True):
    """Either side, first: the longest frame in bytes that it takes (nil: any), and its features."""

    max_frame_size: int | None
    features: list[str] | None = None


class LogInEnvelope(_Envelope, tag=1, frozen=True):
    """Client: it wants to log in; the token, of the feature ``token``, stands for the password."""

    username: str
    password: str
    invite_code: str = ""
    token: bytes = b""


class ResumeEnvelope(_Envelope, tag=2, frozen=True):
    """Client: it wants to resume its session; `received` counts what it has."""

    username: str
    proof: bytes
    received: int


NOT_TOLD = -1.0
"""Stands for seconds that a welcome does not say: no time is below 0."""


class Welcome(_Envelope, tag=3, frozen=True):
    """Server: the client is logged in; the token is for resuming the session.

    The login token, of the feature ``token``, is for logging in later. Of the feature ``grace`` are
    the seconds that a session outlives its connection, and those for which a client should try to
    come back; nil for ever.
    """

    message: str
    token: bytes
    login_token: bytes = b""
    grace: Finite | None = NOT_TOLD
    reconnect_for: Finite | None = NOT_TOLD


class ResumedEnvelope(_Envelope, tag=4, frozen=True):
    """Server: the session goes on; this is the last request that came."""

    last_request: int


class SessionGone(_Envelope, tag=5, frozen=True):
    """Server: the session is gone, or the log-in token is not taken; the client may log in.

    The code, here and below, is of the feature ``codes``.
    """

    reason: str
    code: str = ""


class Refusal(_Envelope, tag=6, frozen=True):
    """Server: the client is not let in, and the connection ends."""

    reason: str
    code: str = ""


class RequestEnvelope(_Envelope, tag=7, frozen=True):
    """Client: a request. A quiet one wants no response; the time is there only where it was set."""

    id: int
    message: str
    payload: dict[str, Any]
    quiet: bool = False
    created_on: str | None = None


class ShallowRequest(_Envelope, tag=7, frozen=True):
    """A request whose payload the parser has already checked to be plain data, of few levels."""

    id: int
    message: str
    payload: ShallowDict
    quiet: bool = False
    created_on: str | None = None


class ResponseEnvelope(_Envelope, tag=8, frozen=True):
    """Server: the response to a request."""

    id: int
    status: Int64
    message: str
    payload: dict[str, Any]
    created_on: str | None = None
    code: str = ""


class PushEnvelope(_Envelope, tag=9, frozen=True):
    """Server: something unasked."""

    message: str
    payload: dict[str, Any]


class StateEnvelope(_Envelope, tag=10, frozen=True):
    """Server: the whole state. It is not counted, because the next one replaces it."""

    version: int
    data: Any


class PatchEnvelope(_Envelope, tag=11, frozen=True):
    """Server: how the state differs from version `base`. It is not counted."""

    base: int
    version: int
    patch: Any


class ColumnPatchEnvelope(_Envelope, tag=24, frozen=True):
    """Server: the same with tables column by column. Of the feature ``columns``."""

    base: int
    version: int
    patch: Any


class LastState(_Envelope, tag=12, frozen=True):
    """Server: the state when the user left the game. It is counted, so it is certain to arrive."""

    version: int
    data: Any


class QuestionEnvelope(_Envelope, tag=13, frozen=True):
    """Server: the game asks something; deadline and time are seconds of the room's clock."""

    id: int
    message: str
    payload: dict[str, Any]
    deadline: Finite | None
    time: RoomTime


class WithdrawalEnvelope(_Envelope, tag=14, frozen=True):
    """Server: the game no longer waits for an answer to this question."""

    id: int


class AnswerEnvelope(_Envelope, tag=15, frozen=True):
    """Client: the answer to a question. It is a request too: it has an id, and gets a response."""

    id: int
    question: int
    message: str
    payload: dict[str, Any]


class ShallowAnswer(_Envelope, tag=15, frozen=True):
    """An answer to a question whose payload the parser has already checked."""

    id: int
    question: int
    message: str
    payload: ShallowDict


class GameEnvelope(_Envelope, tag=16, frozen=True):
    """Server: the user is in this game now; nil for none."""

    name: str | None
    heartbeat_rate: Finite
    time: RoomTime
    reason: str
    message: str


class Acknowledgement(_Envelope, tag=17, frozen=True):
    """Client: how many counted envelopes it has. Server: the last quiet request carried out."""

    received: int


class FullStateRequestEnvelope(_Envelope, tag=18, frozen=True):
    """Client: it asks for the whole state, because it cannot use the patches that come."""


class Ping(_Envelope, tag=19, frozen=True):
    """Either side: it asks for a sign of life."""


class Pong(_Envelope, tag=20, frozen=True):
    """Either side: the answer to a ping."""


class GoodbyeEnvelope(_Envelope, tag=21, frozen=True):
    """Either side, last: the session ends for good."""

    reason: str
    code: str = ""


class RestartEnvelope(_Envelope, tag=22, frozen=True):
    """Server, last: it restarts; the client comes back by itself. Of the feature ``restart``."""

    reason: str


class LostEnvelope(_Envelope, tag=23, frozen=True):
    """Server: so many pushes stood here, and are dropped. Of the feature ``lost``."""

    count: int


class MovedEnvelope(_Envelope, tag=25, frozen=True):
    """Server, last: the session goes on at this address. Of the feature ``moved``.

    The login token, where there is one, stands for the password there.
    """

    address: str
    reason: str
    login_token: bytes = b""


class SearchEnvelope(_Envelope, tag=26, frozen=True):
    """Server: how a search for a game goes. Of the feature ``matchmaking``.

    The state is one of "waiting" (which place, and for how many seconds), "found" (a match, to be
    confirmed in so many seconds), "joined" (a game with these options) and "over" (without a game).
    """

    id: int
    state: str
    position: int = 0
    waited: Finite = 0.0
    match: int = 0
    seconds: Finite = 0.0
    reason: str = ""
    code: str = ""
    options: ShallowDict = {}


class InputEnvelope(_Envelope, tag=27, frozen=True):
    """Client: what its user does in one tick. Of the feature ``netcode``, as those below.

    The number, and the room's time in milliseconds of what the user saw, are the difference to
    the input before on this connection. Of the fields there are those that have changed; all of
    them where one of those before is gone.
    """

    number: Int64
    seen: Int64
    changes: ShallowDict = {}
    whole: bool = False


class TimeRequestEnvelope(_Envelope, tag=28, frozen=True):
    """Client: it asks what time it is in the game's room."""

    id: Int64


class TimeEnvelope(_Envelope, tag=29, frozen=True):
    """Server: the answer to the time request of this id, with the ticks a second of the game."""

    id: Int64
    time: RoomTime
    rate: TickRate


class MomentEnvelope(_Envelope, tag=30, frozen=True):
    """Server: the state that the client has is that of this tick, at this time of the room.

    The last number is that of the user's last input in it.
    """

    tick: Int64
    time: RoomTime
    confirmed: Int64 = 0


FromClient = (
    Hello
    | LogInEnvelope
    | ResumeEnvelope
    | RequestEnvelope
    | AnswerEnvelope
    | Acknowledgement
    | FullStateRequestEnvelope
    | Ping
    | Pong
    | GoodbyeEnvelope
    | InputEnvelope
    | TimeRequestEnvelope
)
ShallowFromClient = (
    Hello
    | LogInEnvelope
    | ResumeEnvelope
    | ShallowRequest
    | ShallowAnswer
    | Acknowledgement
    | FullStateRequestEnvelope
    | Ping
    | Pong
    | GoodbyeEnvelope
    | InputEnvelope
    | TimeRequestEnvelope
)
FromServer = (
    Hello
    | Welcome
    | ResumedEnvelope
    | SessionGone
    | Refusal
    | ResponseEnvelope
    | PushEnvelope
    | StateEnvelope
    | PatchEnvelope
    | ColumnPatchEnvelope
    | LastState
    | QuestionEnvelope
    | WithdrawalEnvelope
    | GameEnvelope
    | Acknowledgement
    | Ping
    | Pong
    | GoodbyeEnvelope
    | RestartEnvelope
    | LostEnvelope
    | MovedEnvelope
    | SearchEnvelope
    | TimeEnvelope
    | MomentEnvelope
)

encode = msgspec.msgpack.Encoder().encode
_NOT_SHALLOW = (msgspec.MsgspecError, UnicodeError, RecursionError)
_decode_from_client = msgspec.msgpack.Decoder(list[FromClient]).decode
_decode_shallow_from_client = msgspec.msgpack.Decoder(list[ShallowFromClient]).decode
_decode_from_server = msgspec.msgpack.Decoder(list[FromServer]).decode

_NUMBERS: dict[type, int] = {
    kind: kind.__struct_config__.tag for kind in get_args(FromClient) + get_args(FromServer)
}
_REQUEST, _RESPONSE = _NUMBERS[RequestEnvelope], _NUMBERS[ResponseEnvelope]
_PUSH, _QUESTION, _ANSWER = (
    _NUMBERS[PushEnvelope],
    _NUMBERS[QuestionEnvelope],
    _NUMBERS[AnswerEnvelope],
)

_OK = Status.OK
PING, PONG = encode(Ping()), encode(Pong())
_PATCH_HEAD = b"\x94" + encode(_NUMBERS[PatchEnvelope])
_COLUMN_PATCH_HEAD = b"\x94" + encode(_NUMBERS[ColumnPatchEnvelope])


def read_from_client(plaintext: bytes) -> list[FromClient | ShallowRequest | ShallowAnswer]:
    """Decode a frame that a client sent.

    Raises:
        ProtocolError: It is no array of a client's envelopes; the message says where.
    """
    if len(plaintext) <= FEW_BYTES:
        # As `_read_from_client`, without a call for each frame.
        try:
            shallow: list[Any] = _decode_shallow_from_client(plaintext)
            return shallow
        except _NOT_SHALLOW:
            return _read_from_client(plaintext)
    with collector_paused():
        return _read_from_client(plaintext)


def _read_from_client(plaintext: bytes) -> list[FromClient | ShallowRequest | ShallowAnswer]:
    try:
        shallow: list[Any] = _decode_shallow_from_client(plaintext)
        return shallow
    except _NOT_SHALLOW:
        # Either a payload has more levels than `ShallowRequest` takes, or something is wrong.
        envelopes: list[Any] = _read(_decode_from_client, plaintext)
        return envelopes


def read_from_server(plaintext: bytes) -> list[FromServer]:
    """Decode a frame that a server sent.

    Raises:
        ProtocolError: It is no array of a server's envelopes; the message says where.
    """
    envelopes: list[FromServer] = _read(_decode_from_server, plaintext)
    return envelopes


def _read(decode: Any, plaintext: bytes) -> Any:
    try:
        return decode(plaintext)
    except (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError, TypeError) as error:
        raise ProtocolError(
            f"expected an array of envelopes in msgpack: {one_line(error, MAX_REASON)}"
        ) from None


def size_of(envelope: FromServer) -> int:
    """Return the size of an envelope on the wire, in bytes."""
    return len(encode(envelope))


def cut(reason: str) -> str:
    """Return a reason that can travel: at most `MAX_REASON` characters, and valid Unicode."""
    return reason[:MAX_REASON].encode(errors="replace").decode()


def array_head(count: int) -> bytes:
    """Return the head of a msgpack array of so many items."""
    if count < 16:
        return _SHORT_HEADS[count]
    if count < 1 << 16:
        return b"\xdc" + count.to_bytes(2)
    return b"\xdd" + count.to_bytes(4)


_SHORT_HEADS = [bytes((0x90 | count,)) for count in range(16)]
ARRAY_OF_ONE, ARRAY_OF_TWO = _SHORT_HEADS[1], _SHORT_HEADS[2]


def frame_of(envelopes: list[bytes]) -> bytes:
    """Return the array of encoded envelopes, one at least, that a frame is before encryption."""
    if len(envelopes) == 1:
        return ARRAY_OF_ONE + envelopes[0]
    return array_head(len(envelopes)) + b"".join(envelopes)


def numbered(body: bytes, id: int) -> bytes:
    """Put the id into what `encode_request` or `encode_answer` returned."""
    # The array's head and the kind take one byte each; the id comes after them.
    return body[:2] + encode(id) + body[2:]


def encode_hello(max_frame_size: int | None, features: Iterable[str] | None) -> bytes:
    """Return a hello.

    Args:
        max_frame_size: The longest frame in bytes that this side takes; None for any.
        features: The features that it names; None where the subprotocol has none.
    """
    fields: list[Any] = [_NUMBERS[Hello], max_frame_size]
    if features is not None:
        fields.append(sorted(features))
    return encode(fields)


def encode_log_in(username: str, password: str, invite_code: str) -> bytes:
    """Encode a log-in.

    Raises:
        CodecError: Something in it cannot travel; the message says what.
    """
    texts = (
        _text(username, "username"),
        _text(password, "password"),
        _text(invite_code, "invite_code"),
    )
    return encode((_NUMBERS[LogInEnvelope], *texts))


def encode_token_log_in(username: str, token: bytes) -> bytes:
    """Encode a log-in with a token instead of a password, of the feature ``token``."""
    return encode((_NUMBERS[LogInEnvelope], username, "", "", token))


def encode_welcome(
    message: str,
    token: bytes,
    login_token: bytes = b"",
    times: tuple[float, float] | None = None,
) -> bytes:
    """Encode a welcome. Fields at its end are left out: without the feature, no client takes them.

    Args:
        message: What the client is told.
        token: What the session is resumed with.
        login_token: What stands for the password, of the feature ``token``; empty for nothing.
        times: The grace, and how long to try to come back, of the feature ``grace``: seconds, or
            infinite. None says nothing of them.
    """
    fields: tuple[Any, ...] = (_NUMBERS[Welcome], message, token)
    if times is not None:
        finite = (None if seconds == math.inf else seconds for seconds in times)
        return encode((*fields, login_token, *finite))
    return encode((*fields, login_token) if login_token else fields)


def encode_session_gone(reason: str, code: str = "") -> bytes:
    """Encode that the session is gone; without the feature ``codes`` the code has to be empty."""
    return _encode_reason(SessionGone, reason, code)


def encode_refusal(reason: str, code: str = "") -> bytes:
    """Encode a refusal; as `encode_session_gone`."""
    return _encode_reason(Refusal, reason, code)


def encode_goodbye(reason: str, code: str = "") -> bytes:
    """Encode a goodbye; as `encode_session_gone`."""
    return _encode_reason(GoodbyeEnvelope, reason, code)


def _encode_reason(kind: type, reason: str, code: str) -> bytes:
    fields = (_NUMBERS[kind], cut(reason))
    return encode((*fields, code) if code else fields)


def encode_request(packet: Packet, *, quiet: bool = False) -> bytes:
    """Encode a request without its id: `numbered` puts that in when the request leaves.

    Raises:
        CodecError: Something in it cannot travel; the message says where.
    """
    message, payload = _text(packet.message, "message"), plain(packet.payload)
    time = explicit_time(packet)
    if time is not None:
        return _without_id([_REQUEST, 0, message, payload, quiet, _text(time, "created_on")])
    if quiet:
        return _without_id([_REQUEST, 0, message, payload, True])
    return _without_id([_REQUEST, 0, message, payload])


def encode_answer(question: int, packet: Packet) -> bytes:
    """Encode the answer to a question without its id: `numbered` puts that in.

    Raises:
        CodecError: Something in it cannot travel; the message says where.
    """
    message = _text(packet.message, "message")
    return _without_id([_ANSWER, 0, question, message, plain(packet.payload)])


def _without_id(fields: list[Any]) -> bytes:
    data = encode(fields)
    # An id of 0 is one byte.
    return data[:2] + data[3:]


def _compact(data: bytes) -> bytes:
    # msgspec returns bytes with spare memory behind them, half a KiB and more. That would be held
    # for as long as the envelope waits to be acknowledged.
    return bytes(memoryview(data))


def encode_response(id: int, response: Response, features: Collection[str] = ()) -> bytes:
    """Encode the response to a request.

    Args:
        id: The request's id.
        response: The response.
        features: The features in use: without ``codes``, the response's code stays here.

    Raises:
        CodecError: Something in it cannot travel; the message says where.
    """
    payload = response.payload
    if type(payload) is not dict or (payload and not is_plain(payload)):
        payload = plain(payload)
        if type(payload) is not dict:
            raise CodecError(f"payload: expected a dict, got {type(payload).__name__}")
    message = response.message
    if type(message) is not str or not message.isascii():
        message = _text(message, "message")
    # As `explicit_time`, without a call for each response.
    time = response._set_time
    fields: tuple[Any, ...]
    if response.status is _OK and time is None:
        # Nearly always.
        fields = (_RESPONSE, id, 0, message, payload)
    else:
        status = _int64(response.status)
        fields = (_RESPONSE, id, status, message, payload)
        if time is not None:
            fields += (_text(time, "created_on"),)
        if status and CODES in features and (code := response.code):
            fields += (None, code) if time is None else (code,)
    try:
        # As `_compact`, without a call for each response.
        return bytes(memoryview(encode(fields)))
    except UnicodeError:
        # This check finds the text that cannot travel, and says where it is.
        plain(payload)
        raise


def _int64(status: object) -> int:
    if not isinstance(status, int) or isinstance(status, bool):
        raise CodecError(f"status: expected an int, got {type(status).__name__}")
    if not -(2**63) <= status < 2**63:
        raise CodecError("status: expected an int of at most 64 bits, got a larger one")
    return int(status)


def encode_push(push: Push) -> bytes:
    """Encode a push; once is enough for all who get it.

    Raises:
        CodecError: Something in it cannot travel; the message says where.
    """
    return _compact(encode((_PUSH, _text(push.message, "message"), plain(push.payload))))


def is_presence(push: bytes) -> bool:
    """Return whether an encoded push is one of the server's own, which says who is there."""
    return push.startswith(_PRESENCE_HEAD)


def encode_lost(count: int) -> bytes:
    """Encode that so many pushes were dropped."""
    return _compact(encode((_NUMBERS[LostEnvelope], count)))


def encode_moved(address: str, reason: str, login_token: bytes = b"") -> bytes:
    """Encode that the session goes on at another address.

    Args:
        address: Where.
        reason: Why, for people.
        login_token: What stands for the password there; empty for nothing.
    """
    fields = (_NUMBERS[MovedEnvelope], address, cut(reason))
    return encode((*fields, login_token) if login_token else fields)


def encode_input(number: int, seen: int, changes: dict[str, Any], *, whole: bool = False) -> bytes:
    """Encode an input, by how it differs from the one before on the same connection.

    Args:
        number: By how much its number is above that one's.
        seen: By how many milliseconds what the user saw is later.
        changes: The fields that differ, as plain data.
        whole: Whether these are all fields, and no other of before is left.
    """
    fields = (_NUMBERS[InputEnvelope], number, seen)
    if whole:
        return encode((*fields, changes, True))
    return encode((*fields, changes) if changes else fields)


def encode_time(id: int, time: float, rate: float) -> bytes:
    """Encode the answer to a time request."""
    return encode((_NUMBERS[TimeEnvelope], id, time, rate))


def encode_moment(tick: int, time: float) -> bytes:
    """Encode of which moment a state is; once is enough for all who get it."""
    return encode((_NUMBERS[MomentEnvelope], tick, time))


def moment_with(moment: bytes, confirmed: int) -> bytes:
    """Return what `encode_moment` has returned, with the number of a user's last input."""
    return b"\x94" + moment[1:] + encode(confirmed)


def encode_question(id: int, packet: Packet, deadline: float | None, time: float) -> bytes:
    """Encode a question.

    Raises:
        CodecError: Something in it cannot travel; the message says where.
    """
    message = _text(packet.message, "message")
    return encode((_QUESTION, id, message, plain(packet.payload), deadline, time))


def encode_game(game: GameEnvelope, limit: int | None = None) -> bytes:
    """Encode a change of the game.

    It has to arrive whatever its message for people is: one that cannot travel is cut.

    Args:
        game: The change.
        limit: The longest envelope in bytes that the client takes; None for any.
    """
    try:
        envelope = encode(game)
    except UnicodeError:
        pass
    else:
        if limit is None or len(envelope) <= limit:
            return envelope
    return encode(msgspec.structs.replace(game, message=cut(game.message)))


def encode_state(version: int, data: bytes, *, last: bool = False) -> bytes:
    """Put the msgpack bytes of a state into its envelope."""
    kind = LastState if last else StateEnvelope
    return b"\x93" + encode(_NUMBERS[kind]) + encode(version) + data


def encode_patch(base: int, version: int, patch: bytes, *, columns: bool = False) -> bytes:
    """Put the msgpack bytes of a patch into its envelope.

    Args:
        base: The version that it changes.
        version: The version that it makes.
        patch: The patch.
        columns: Whether it may have columns: a patch of `patch.diff_columns`.
    """
    head = _COLUMN_PATCH_HEAD if columns else _PATCH_HEAD
    return head + encode(base) + encode(version) + patch


def _text(value: object, path: str) -> str:
    text = plain(value, path)
    if type(text) is not str:
        raise CodecError(f"{path}: expected a str, got {type(value).__name__}")
    return text


# The payload, an empty map here, is the last byte.
_PRESENCE_HEAD = encode_push(Push(PLAYERS))[:-1]

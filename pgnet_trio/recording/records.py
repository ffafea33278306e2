"""What a recording holds, one record after the other.

There are three kinds of them. What comes into a table from outside: a join, a packet, a tick. The
order in which its code runs: which turn begins, which script takes its next step. And what it says:
answers, pushes, digests of its state. The first two are enough to play a table again, and the third
shows whether it was the same.

Times are the room's, in seconds.
"""

from __future__ import annotations

import zlib
from typing import Any, TypeAlias

import msgspec

__all__ = [
    "FROM_OUTSIDE",
    "AnswerCame",
    "Answered",
    "AnsweredLong",
    "AskBegan",
    "BotEnded",
    "CallEnded",
    "ClientCame",
    "ClockRead",
    "Closed",
    "Crashed",
    "Due",
    "EmptyChanged",
    "EmptyChecked",
    "Ended",
    "Gap",
    "InputCame",
    "Joined",
    "Left",
    "OnlineChanged",
    "OtherTurn",
    "PacketCame",
    "Pushed",
    "QuestionAsked",
    "Record",
    "SaveAsked",
    "SessionRecord",
    "Shown",
    "StepBegan",
    "TimeIsUp",
    "TurnBegan",
    "decode_records",
    "digest_of",
    "encode_record",
]

LONGEST_CONTENT = 256
"""Bytes of an answer's record, or of a push, that are kept; of a longer one, its digest is."""


class SessionRecord(msgspec.Struct, array_like=True, frozen=True):
    """A user's session, as far as a room looks at it.

    Attributes:
        number: Tells this session from others of the same user.
        username: Whose it is.
        online: Whether it has a connection.
        takes_pushes: As of `pgnet_trio.server.room.player.Player`.
        takes_player_lists: The same.
    """

    number: int
    username: str
    online: bool = True
    takes_pushes: bool = True
    takes_player_lists: bool = True


# What comes from outside.


class PacketCame(msgspec.Struct, array_like=True, tag=1, gc=False):
    """A packet was put into the queue."""

    time: float
    player: str
    message: str
    payload: Any
    created_on: str | float | None = None
    quiet: bool = False
    size: int = 0


class AnswerCame(msgspec.Struct, array_like=True, tag=2):
    """A player answered a question."""

    time: float
    player: str
    question: int
    message: str
    payload: Any
    created_on: str | float | None = None
    size: int = 0


class Joined(msgspec.Struct, array_like=True, tag=3):
    """Somebody wants to join, or several want to, together."""

    time: float
    sessions: list[SessionRecord]
    spectates: bool = False
    together: bool = False


class Left(msgspec.Struct, array_like=True, tag=4):
    """Somebody has left; *session* is the number of the session that did, 0 for whichever."""

    time: float
    player: str
    reason: str
    message: str = ""
    session: int = 0
    online: bool = True


class OnlineChanged(msgspec.Struct, array_like=True, tag=5):
    """A player's connection dropped, or is back."""

    time: float
    player: str
    online: bool


class ClientCame(msgspec.Struct, array_like=True, tag=6):
    """A player has come with another client, which is shown everything."""

    time: float
    session: SessionRecord


class Due(msgspec.Struct, array_like=True, tag=7):
    """The time has come for something that the room itself does: a tick, a state that waited."""

    time: float
    what: str


class SaveAsked(msgspec.Struct, array_like=True, tag=8):
    """The game is to be asked for its save string, in a turn."""

    time: float


class EmptyChecked(msgspec.Struct, array_like=True, tag=9):
    """The game is to end if nobody is in it, in a turn."""

    time: float


class OtherTurn(msgspec.Struct, array_like=True, tag=10):
    """A turn was queued in which no code of the game runs."""

    time: float


class Closed(msgspec.Struct, array_like=True, tag=11):
    """Somebody has closed the room; *saves* where the server ends, and the game is saved."""

    time: float
    reason: str
    kind: str
    saves: bool = False


class ClockRead(msgspec.Struct, array_like=True, tag=12):
    """The game has read its room's clock."""

    value: float


class EmptyChanged(msgspec.Struct, array_like=True, tag=13):
    """Whether nobody is in the game any more, where that is not what it was before."""

    is_empty: bool


class CallEnded(msgspec.Struct, array_like=True, tag=14):
    """A save or a report that the game waited for is through.

    Attributes:
        time: When.
        number: Which of the table's calls it was.
        error: Why it failed, as the class of the error and its text; None where it did not.
        result: What it returned, as JSON; empty for nothing.
    """

    time: float
    number: int
    error: tuple[str, str] | None = None
    result: str = ""


class BotEnded(msgspec.Struct, array_like=True, tag=15):
    """A bot plays no more."""

    time: float
    name: str


class TimeIsUp(msgspec.Struct, array_like=True, tag=16):
    """A question was not answered in time."""

    time: float
    question: int


class InputCame(msgspec.Struct, array_like=True, tag=17):
    """A player did something in one tick; *payload* is None where it is as it was before."""

    time: float
    player: str
    number: int
    seen: float
    payload: dict[str, Any] | None = None


# In which order the table's code runs.


class TurnBegan(msgspec.Struct, array_like=True, tag=20):
    """The next turn in the queue begins; *time* is None where the packet just recorded is it."""

    time: float | None = None


class StepBegan(msgspec.Struct, array_like=True, tag=21):
    """A coroutine of the game goes on; *raised* where an error, a cancellation say, wakes it."""

    time: float
    number: int
    raised: bool = False


class AskBegan(msgspec.Struct, array_like=True, tag=22):
    """The game has called ``room.ask``."""

    time: float
    player: str


# What the table says.


class QuestionAsked(msgspec.Struct, array_like=True, tag=30):
    """A player was asked something."""

    id: int
    player: str
    digest: int = 0


class Answered(msgspec.Struct, array_like=True, tag=31, gc=False):
    """A packet was answered, with more than an empty text."""

    status: int
    message: str
    # Anything that can be encoded; whoever reads it compares it as bytes.
    payload: msgspec.Raw


class AnsweredLong(msgspec.Struct, array_like=True, tag=34):
    """The same, where that is long; the digest is 0 where it cannot be encoded."""

    digest: int


class Pushed(msgspec.Struct, array_like=True, tag=32):
    """Something was pushed; *content* is the envelope, and empty for a long one."""

    digest: int
    content: bytes = b""


class Shown(msgspec.Struct, array_like=True, tag=33):
    """A state has changed, and was shown to those whom it concerns."""

    digest: int


# What became of it.


class Crashed(msgspec.Struct, array_like=True, tag=40):
    """The game raised.

    Attributes:
        time: When.
        kind: The class of the error.
        text: Its text.
        traceback: The whole traceback, as Python prints it.
        place: The lines of the author's that it goes through, the innermost last.
        restarted: Whether the game was made again.
    """

    time: float
    kind: str
    text: str
    traceback: str
    place: list[str]
    restarted: bool = False


class Ended(msgspec.Struct, array_like=True, tag=41):
    """The game is over; or it has moved to another server."""

    time: float
    reason: str
    moves: bool = False


class Gap(msgspec.Struct, array_like=True, tag=42):
    """From here on something is missing."""

    time: float
    why: str


Record: TypeAlias = (
    PacketCame
    | AnswerCame
    | Joined
    | Left
    | OnlineChanged
    | ClientCame
    | Due
    | SaveAsked
    | EmptyChecked
    | OtherTurn
    | Closed
    | ClockRead
    | EmptyChanged
    | CallEnded
    | BotEnded
    | TimeIsUp
    | InputCame
    | TurnBegan
    | StepBegan
    | AskBegan
    | QuestionAsked
    | Answered
    | AnsweredLong
    | Pushed
    | Shown
    | Crashed
    | Ended
    | Gap
)

FROM_OUTSIDE = (
    PacketCame,
    AnswerCame,
    Joined,
    Left,
    OnlineChanged,
    ClientCame,
    Due,
    SaveAsked,
    EmptyChecked,
    OtherTurn,
    Closed,
    CallEnded,
    BotEnded,
    TimeIsUp,
    InputCame,
)
"""What comes from outside a table."""

encode_record = msgspec.msgpack.Encoder().encode
"""Returns a record as bytes; raises what msgspec raises."""

_decoder = msgspec.msgpack.Decoder(list[Record])


def decode_records(body: bytes, count: int) -> list[Record]:
    """Return the records that stand one after the other.

    Raises:
        ValueError: They are something else; msgspec's own error is one.
    """
    return _decoder.decode(b"\xdd" + count.to_bytes(4, "big") + body)


def digest_of(*parts: bytes) -> int:
    """Return a number that differs where the bytes do, nearly always."""
    digest = 0
    for part in parts:
        digest = zlib.crc32(part, digest)
    return digest


def content_of(data: bytes) -> bytes:
    """Return what a record keeps of a push."""
    return data if len(data) <= LONGEST_CONTENT else b""

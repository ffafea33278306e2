"""What arrives over a protocol, whichever version speaks it."""

from __future__ import annotations

from typing import Any

import attrs

from pgnet_trio.messages import Packet, Push, Response

__all__ = [
    "ClientEvent",
    "FullStateRequested",
    "GameChanged",
    "Goodbye",
    "LogIn",
    "LoggedIn",
    "LoginRefusal",
    "Patched",
    "Pushed",
    "QuestionAnswered",
    "QuestionAsked",
    "QuietAck",
    "RequestReceived",
    "ResponseReceived",
    "Resume",
    "ResumeRefusal",
    "Resumed",
    "ServerEvent",
    "StateShown",
    "Withdrawn",
]


@attrs.frozen
class LogIn:
    """Server side: the client names its user and proves who it is."""

    username: str
    password: str = attrs.field(repr=False)
    invite_code: str = attrs.field(repr=False)


@attrs.frozen
class Resume:
    """Server side: the client wants its session back, over this new connection.

    Attributes:
        username: Whose session it is.
        proof: What only a holder of the session's token can make, for this connection alone.
        received: How much of what the session sent it has.
    """

    username: str
    proof: bytes = attrs.field(repr=False)
    received: int


# Not frozen, like `ResponseReceived`: there is one for each request, and making a frozen one
# takes twice as long.
@attrs.define
class RequestReceived:
    """Server side: a logged-in client asks something; ids count up from 1.

    A quiet request wants no answer.
    """

    id: int
    packet: Packet
    quiet: bool = False


@attrs.frozen
class QuestionAnswered:
    """Server side: a client answers a question of its game, as its request number `id`."""

    id: int
    question: int
    packet: Packet


@attrs.frozen
class FullStateRequested:
    """Server side: a client cannot use the patches that it gets, and needs a full state."""


@attrs.frozen
class Goodbye:
    """Either side: the other one ends the session, for good."""

    reason: str


@attrs.frozen
class LoggedIn:
    """Client side: the server let this client in.

    Attributes:
        message: What the server says.
        token: What the session can be resumed with; empty where it cannot.
    """

    message: str
    token: bytes = attrs.field(default=b"", repr=False)


@attrs.frozen
class LoginRefusal:
    """Client side: the server did not let this client in, and closes."""

    reason: str


@attrs.frozen
class Resumed:
    """Client side: the session goes on over this connection."""


@attrs.frozen
class ResumeRefusal:
    """Client side: the session is gone; this client may log in afresh."""

    reason: str


@attrs.define
class ResponseReceived:
    """Client side: the server's answer to the request with this id."""

    id: int
    response: Response


@attrs.frozen
class QuietAck:
    """Client side: the server has carried out all quiet requests up to this id."""

    id: int


@attrs.frozen
class Pushed:
    """Client side: the game, or the server, says something unasked."""

    push: Push


@attrs.frozen
class GameChanged:
    """Client side: the user is in this game from here on, or (None) in no game.

    Attributes:
        name: The game.
        heartbeat_rate: Heartbeats a second; 0 for none.
        time: The time in the game's room, in seconds.
        reason: Why the user is out of the game before: left, kicked, closed, crashed, destroyed.
        message: The same for people.
    """

    name: str | None
    heartbeat_rate: float = 0.0
    time: float = 0.0
    reason: str = ""
    message: str = ""


@attrs.frozen
class StateShown:
    """Client side: the whole state of the game, as this user may see it."""

    version: int
    data: Any


@attrs.frozen
class Patched:
    """Client side: how the state differs from an earlier version."""

    base: int
    version: int
    patch: Any


@attrs.frozen
class QuestionAsked:
    """Client side: the game asks this user something.

    Attributes:
        id: Names the question, for its answer.
        packet: The question.
        deadline: Until when an answer counts, in the room's time; None for no limit.
        time: The room's time when it was sent.
    """

    id: int
    packet: Packet
    deadline: float | None
    time: float


@attrs.frozen
class Withdrawn:
    """Client side: a question is no longer open."""

    id: int


ServerEvent = LogIn | Resume | RequestReceived | QuestionAnswered | FullStateRequested | Goodbye
ClientEvent = (
    LoggedIn
    | LoginRefusal
    | Resumed
    | ResumeRefusal
    | ResponseReceived
    | QuietAck
    | Pushed
    | GameChanged
    | StateShown
    | Patched
    | QuestionAsked
    | Withdrawn
    | Goodbye
)

"""The reasons and the errors of refusals that several parts of the server share."""

from __future__ import annotations

from typing import Any

from pgnet_trio.errors import PGNetError, Reject, StorageError, first_error
from pgnet_trio.messages import Response, Status, note_code
from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.causes import error_id

__all__ = [
    "BANNED",
    "CLOSED",
    "DELETED",
    "GONE",
    "GRACE_OVER",
    "KICKED",
    "LEFT",
    "MOVED_ON",
    "RESTARTING",
    "SHUTTING_DOWN",
    "CannotMove",
    "CannotReload",
    "CodedRefusal",
    "JoinRefused",
    "ReportRefused",
    "RoomClosed",
    "SaveRefused",
    "answer_failed",
    "crash_texts",
    "crashed",
    "departure",
    "log_says",
    "not_made",
    "not_taken",
    "refused",
    "rejected",
]

# The words for programs of why a user is in no game any more: its end, or the server's restart.
CLOSED = "closed"
RESTARTING = "restarting"

# Those of why a user is in the game no more, where it is not the game's end.
LEFT = "left"
KICKED = "kicked"
GRACE_OVER = "grace_over"
BANNED = "banned"
DELETED = "deleted"

_DEPARTURES = {
    "": LEFT,
    ReasonCode.TAKEN_OVER: LEFT,
    ReasonCode.USER_DELETED: DELETED,
    ReasonCode.KICKED: KICKED,
    ReasonCode.PASSWORD_CHANGED: KICKED,
    ReasonCode.BANNED: BANNED,
}

GONE = "The game is over."
MOVED_ON = "The game goes on at another server."
SHUTTING_DOWN = "The server is shutting down."


def departure(code: str) -> str:
    """Return the word by which a game is told of a user whose session has ended with a code."""
    return _DEPARTURES.get(code, GRACE_OVER)


def crashed(name: str, error: BaseException) -> str:
    """Return what is said of a game that raised."""
    return f"The game {name!r} crashed; {log_says(error)}"


def not_made(name: str, error: BaseException | None) -> str:
    """Return what is said of a game that raised when it was to be made; None for who knows what."""
    said = "the server's log says why." if error is None else log_says(error)
    return f"The game {name!r} could not be made: it raised an error; {said}"


def not_taken(error: Exception) -> str:
    """Return what is said to the sender of a packet over which a game raised, and goes on."""
    kind = type(first_error(error)).__name__
    return f"The game could not take this: it raised {kind}; {log_says(error)}"


def answer_failed(error: BaseException) -> str:
    """Return what is said to a player over whose answer a game raised."""
    return f"The game could not take this answer: its check raised an error; {log_says(error)}"


def crash_texts(name: str, error: BaseException) -> tuple[str, ...]:
    """Return all that is said of a game because of an error that it raised."""
    texts = crashed(name, error), not_made(name, error), answer_failed(error)
    return (*texts, not_taken(error)) if isinstance(error, Exception) else texts


def log_says(error: BaseException) -> str:
    """Return what a player is told of where to find more of an error that is logged."""
    return f"the server's log says why, as error {error_id(error)}."


def refused(text: str, code: ReasonCode, payload: dict[str, Any] | None = None) -> Response:
    """Return the response to a request that is not carried out.

    Args:
        text: Why, for people.
        code: Why, for programs.
        payload: What the user's program is told besides.
    """
    return note_code(Response(text, payload, Status.UNEXPECTED), code)


def rejected(reject: Reject) -> Response:
    """Return the response to a request that a game rejects."""
    cannot_save = isinstance(reject, SaveRefused | ReportRefused)
    code = ReasonCode.CANNOT_SAVE if cannot_save else ReasonCode.REJECTED
    return refused(reject.reason, code, reject.payload)


class CodedRefusal(PGNetError):
    """Something is refused; the message is for the user.

    Args:
        reason: What the user is told.
        code: The same for programs; empty for what only protocol 1 is told.
    """

    def __init__(self, reason: str, code: ReasonCode | None = None) -> None:
        super().__init__(reason)
        self.code = code or ""


class RoomClosed(CodedRefusal):
    """The room ended before it did what was asked of it; the message says why."""

    def __init__(self, reason: str, code: ReasonCode = ReasonCode.GAME_OVER) -> None:
        super().__init__(reason, code)


class CannotMove(PGNetError):
    """A game or a session cannot go to another server, and goes on here; the message says why."""


class CannotReload(PGNetError):
    """A game cannot go on with another class, and goes on as it was; the message says why."""


class SaveRefused(StorageError, Reject):
    """A game that wants to be saved cannot be; the author's to catch, and no crash where not.

    A handler that does not catch it refuses its message with it.

    Args:
        problem: What is wrong with the save file; the player's `reason` leaves it out.
    """

    def __init__(self, problem: str) -> None:
        super().__init__(f"The game could not be saved, which is tried again: {problem}")
        self.reason = "The game cannot be saved now; try again later."


class ReportRefused(StorageError, Reject):
    """A result was not counted; the author's to catch. A handler that does not refuses its message.

    Args:
        problem: What is wrong; the player's `reason` leaves it out.
    """

    def __init__(self, problem: str) -> None:
        super().__init__(f"The result was not counted: {problem}")
        self.reason = "The result of this game cannot be counted now; try again later."


class JoinRefused(CodedRefusal):
    """The game does not let a user in; the message is for the user.

    Args:
        reason: What the user is told.
        code: The same for programs; None for a client that is told no codes.
        payload: Data for the user's program.

    Attributes:
        username: Which of several users the game refuses, where they were to join together.
    """

    def __init__(
        self, reason: str, code: ReasonCode | None, payload: dict[str, Any] | None = None
    ) -> None:
        super().__init__(reason, code)
        self.payload = payload
        self.username = ""

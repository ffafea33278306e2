"""Every error that pgnet_trio raises on purpose.

::

    PGNetError
    ├── CodecError (also TypeError)     something cannot travel, or is not what was expected
    ├── CryptoError                     a key, a ciphertext or a password record is not valid
    ├── ProtocolError                   the peer broke the rules of the protocol
    ├── AddressError (also ValueError)  a text is no address of a server
    ├── ConnectFailed                   no connection to a server, or not logged in
    │   ├── LoginRefused                the server answered the log-in with a refusal
    │   └── ServerKeyMismatch           the server's public key is not the one expected
    ├── RequestFailed                   the server answered a request with a status that is not OK
    ├── Disconnected                    the connection ended while somebody waited for it
    │   └── SessionLost                 the session ended too: a request may have been carried out
    ├── PushesLost                      a program did not read its pushes, and some were dropped
    ├── SendQueueFull                   too many messages wait to be sent
    ├── Reject                          a game refuses what a player wants
    ├── PlayerLeft                      a player left while the game waited for them
    ├── StorageError                    a save file or key file cannot be used
    └── ServerError                     the server cannot start, or cannot be used like this

Programming errors in calls (a wrong argument type, a method used at the wrong time) are
Python's own ``TypeError``, ``ValueError`` and ``RuntimeError``.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "AddressError",
    "CodecError",
    "ConnectFailed",
    "CryptoError",
    "Disconnected",
    "LoginRefused",
    "PGNetError",
    "PlayerLeft",
    "ProtocolError",
    "PushesLost",
    "Reject",
    "RequestFailed",
    "SendQueueFull",
    "ServerError",
    "ServerKeyMismatch",
    "SessionLost",
    "StorageError",
    "bare",
    "first_error",
]


RequestFailed: Any
"""`messages` defines the class beside the `Response` that it carries, and adds it here."""


class PGNetError(Exception):
    """The root of every error that this package raises on purpose."""


class CodecError(PGNetError, TypeError):
    """Data cannot be encoded, or bytes are not what was expected.

    The message says where: a path such as ``payload.players[3].x``, what was expected, and
    what came. It is also a ``TypeError``, which is what programs ported from PGNet expect.
    """


class CryptoError(PGNetError):
    """A key, a ciphertext or a password record is not valid.

    The message never contains key material or plaintext.
    """


class ProtocolError(PGNetError):
    """The peer broke the rules of the protocol; the connection cannot go on."""


class AddressError(PGNetError, ValueError):
    """A text is no address of a server; the message says how to write one.

    This is a `PGNetError` because people type addresses: a program that shows them these errors
    shows this one too.
    """


class _WithCode(PGNetError):
    """An error for which the server may have said a `ReasonCode` beside its text."""

    def __init__(self, *args: object, code: str = "") -> None:
        super().__init__(*args)
        self.code = code


class ConnectFailed(_WithCode):
    """There is no connection: the server was not reached, or did not log this client in.

    Attributes:
        code: The server's `ReasonCode`, where it cannot let the client in now, but perhaps later;
            empty where it has said none.
    """


class LoginRefused(ConnectFailed):
    """The server was reached and refused the log-in; the message is the server's reason.

    Attributes:
        code: The `ReasonCode`; empty where the server has said none.
    """


class ServerKeyMismatch(ConnectFailed):
    """The server's public key is not the expected one; nothing secret was sent to it."""


class Disconnected(_WithCode):
    """The connection ended while somebody waited for it; the message says why it ended.

    Attributes:
        code: The server's `ReasonCode`; empty where it has said none.
    """


class Reject(PGNetError):
    """A game raises this to refuse what a player wants; the player is told why.

    A handler refuses the message with it, ``user_joined`` the join, and the ``check`` of a question
    the answer. The framework undoes nothing that the game changed before it raised.

    Args:
        reason: What the player is told.
        payload: Plain data for the player's program.
    """

    def __init__(self, reason: str, payload: dict[str, Any] | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.payload = payload


class PlayerLeft(PGNetError):
    """A player left the game while it waited for them, or is not in it."""


class SessionLost(Disconnected):
    """The session ended with its connection: requests under way may have been carried out.

    The client logs in anew, and goes on.
    """


class PushesLost(PGNetError):
    """A program did not read its pushes, and some were dropped; the message says how many."""


class SendQueueFull(PGNetError):
    """Too many messages wait to be sent; wait for answers before sending more."""


class StorageError(PGNetError):
    """A save file or key file cannot be read or written; the message names the file and why."""


class ServerError(PGNetError):
    """The server cannot start; the message says what to change."""


# Two ways to treat an exception group: `bare` where somebody is to see all of its errors, and
# `first_error` where one error has to stand for all of them.


def bare(error: BaseException) -> BaseException:
    """Return the one error inside a group, however nested; a group of several as it is."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def first_error(error: BaseException) -> BaseException:
    """Return the first error of a group that is no cancellation."""
    while isinstance(error, BaseExceptionGroup):
        errors = error.split(_is_error)[0]
        error = (errors or error).exceptions[0]
    return error


def _is_error(error: BaseException) -> bool:
    # Trio's Cancelled is none of these. This module must not import Trio to ask.
    return isinstance(error, Exception | KeyboardInterrupt | SystemExit)

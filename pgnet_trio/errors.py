"""Every error that pgnet_trio raises on purpose.

::

    PGNetError
    ├── CodecError (also TypeError)     something cannot travel, or is not what was expected
    ├── CryptoError                     a key, a ciphertext or a password record is not valid
    ├── ProtocolError                   the peer broke the rules of the protocol
    ├── AddressError (also ValueError)  what should be a server's address is none
    ├── ConnectFailed                   no connection to a server, or not logged in
    │   ├── LoginRefused                the server answered the log-in with a refusal
    │   └── ServerKeyMismatch           the server's public key is not the one expected
    ├── RequestFailed                   the server answered a request with a status that is not OK
    ├── Disconnected                    the connection ended while somebody waited for it
    │   └── SessionLost                 so did the session: what was asked may have happened
    ├── PushesLost                      more came unasked than is kept for who does not read
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
"""Defined beside the `Response` that it carries, in `messages`, which adds it to this module."""


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
    """What should be the address of a server is none; the message says how to write one.

    People type addresses, so a program that shows `PGNetError` to them shows this too.
    """


class ConnectFailed(PGNetError):
    """There is no connection to the server: it was not reached, or did not log this client in."""


class LoginRefused(ConnectFailed):
    """The server was reached and refused the log-in; the message is the server's reason."""


class ServerKeyMismatch(ConnectFailed):
    """The server's public key is not the expected one, so nothing secret was sent to it."""


class Disconnected(PGNetError):
    """The connection ended while somebody waited for it; the message says why it ended."""


class Reject(PGNetError):
    """Raised by a game to refuse what a player wants; the player is told why.

    In a handler it refuses the message, in ``user_joined`` the join, and in the ``check`` of a
    question the answer. Whatever the game changed before it raised stays changed.

    Args:
        reason: What the player is told.
        payload: Data for the player's program, which has to be plain.
    """

    def __init__(self, reason: str, payload: dict[str, Any] | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.payload = payload


class PlayerLeft(PGNetError):
    """A player left the game while it waited for them, or is not in it."""


class SessionLost(Disconnected):
    """The session is gone with its connection: what was asked may have happened, or not."""


class PushesLost(PGNetError):
    """More came than is kept for a program that does not read it; the message says how much."""


class SendQueueFull(PGNetError):
    """Too many messages already wait to be sent; wait for answers before sending more."""


class StorageError(PGNetError):
    """A save file or key file cannot be read or written; the message names the file and why."""


class ServerError(PGNetError):
    """The server cannot start; the message says what to change."""


# Two rules for groups: where somebody is to see everything that went wrong, and where one error
# has to be told, or raised, in the place of all.


def bare(error: BaseException) -> BaseException:
    """Give the error in a group of one, and groups within it; a group of several as it is."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def first_error(error: BaseException) -> BaseException:
    """Give the one error that matters of a group: the first that is no cancellation."""
    while isinstance(error, BaseExceptionGroup):
        errors = error.split(_is_error)[0]
        error = (errors or error).exceptions[0]
    return error


def _is_error(error: BaseException) -> bool:
    # Trio's Cancelled is neither; Trio itself is not known here.
    return isinstance(error, Exception | KeyboardInterrupt | SystemExit)

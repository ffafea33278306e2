"""How much a client keeps of what a server sends: each bound has its one place here.

A size is counted as what came over the wire; the objects that a program gets of it take several
times as much memory. What a program does not read drops its oldest items. A server that exceeds one
of the other bounds does what no game needs, and the session ends.
"""

from __future__ import annotations

from pgnet_trio.errors import ProtocolError

__all__ = [
    "MAX_CALLS",
    "MAX_CALLS_SIZE",
    "MAX_OPEN_QUESTIONS",
    "MAX_OPEN_QUESTIONS_SIZE",
    "MAX_PLAYERS_SIZE",
    "MAX_STATE_SIZE",
    "MAX_STATUS",
    "MAX_UNREAD",
    "MAX_UNREAD_SIZE",
    "PLAYER_SIZE",
    "check",
]

MAX_UNREAD = 5 * 1024
"""Items that a feed keeps for a program that does not read them.

A client that is back after a drop is sent up to 4,096 at once, which the program reads one by one.
"""

MAX_UNREAD_SIZE = 2 * 1024 * 1024
"""The same in bytes. The latest item is kept whatever its size."""

MAX_OPEN_QUESTIONS = 1024
"""Questions of a game that are open at the same time."""

MAX_OPEN_QUESTIONS_SIZE = 2 * 1024 * 1024
"""The same in bytes."""

MAX_STATE_SIZE = 1024 * 1024
"""Bytes of a state in msgpack, also of one that patches have made: what one message can carry."""

MAX_PLAYERS_SIZE = 1024 * 1024
"""Bytes of the names of a game's players, and `PLAYER_SIZE` for each."""

PLAYER_SIZE = 16
"""What a player counts besides the name."""

MAX_CALLS = 5 * 1024
"""Calls of a game's events that may wait; for the same reason as for `MAX_UNREAD`."""

MAX_CALLS_SIZE = 8 * 1024 * 1024
"""Bytes of what the calls of events that wait are about."""

MAX_STATUS = 1000
"""Characters of a status: it may quote a server."""


def check(what: str, value: int, limit: int) -> None:
    """Check that something of a server is within its bound.

    Raises:
        ProtocolError: It is not; the session has to end.
    """
    if value > limit:
        raise ProtocolError(f"{what}: expected at most {limit}, got {value}")

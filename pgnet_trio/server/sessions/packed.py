"""A session as it travels to another server."""

from __future__ import annotations

import math
from typing import Any

from pgnet_trio.codec import Packed, pack, unpack
from pgnet_trio.errors import CodecError
from pgnet_trio.protocol.v2.packed_delivery import PackedDelivery  # noqa: TC001 - msgspec reads it
from pgnet_trio.protocol.v2.states import TOKEN_BYTES
from pgnet_trio.server.room.player import HeldRequest  # noqa: TC001 - msgspec reads it

__all__ = ["PackedSearch", "PackedSession", "pack_session", "unpack_session"]

VERSION = 1
"""Goes up when servers of the version before could not read what is packed any more."""


class PackedSearch(Packed, frozen=True):
    """A user's search for a game.

    Attributes:
        id: What the client calls it.
        queue: The queue's name.
        waited: For how many seconds the user has looked.
        rating: How well they play.
        properties: What they look for.
    """

    id: int
    queue: str
    waited: float
    rating: float
    properties: dict[str, Any]

    def check(self) -> None:
        """Check that this can be a search.

        Raises:
            CodecError: It cannot; the message says what is wrong.
        """
        if not 0 <= self.waited < math.inf or not math.isfinite(self.rating):
            raise CodecError("expected a packed search with seconds and a rating")


class PackedSession(Packed, frozen=True):
    """What `SessionHold.pack` returns.

    Attributes:
        username: Whose it is.
        token: What the client resumes it with.
        superseded_tokens: Those of clients that another one has superseded.
        grace: Seconds that the session outlives a connection.
        grace_left: How many of them are left; None for a client that is connected.
        address: Where it logged in from; None for inside the process.
        limited: Whether its requests are limited.
        delivery: What was asked, and what is not acknowledged.
        requests: The requests that the session itself has not begun with.
        announcements: The ids of the latest announcements that the user was told.
        spent: What the user has spent of what they may cost; see `Budget`.
        search: The user's search for a game; None for none.
    """

    username: str
    token: bytes
    superseded_tokens: tuple[bytes, ...]
    grace: float
    grace_left: float | None
    address: str | None
    limited: bool
    delivery: PackedDelivery
    requests: tuple[HeldRequest, ...]
    announcements: tuple[str, ...] = ()
    spent: float = 0.0
    search: PackedSearch | None = None

    def check(self) -> None:
        """Check that this can be a session.

        Raises:
            CodecError: It cannot; the message says what is wrong.
        """
        self.delivery.check()
        if len(self.token) != TOKEN_BYTES:
            raise CodecError(f"expected a packed session with a token of {TOKEN_BYTES} bytes")
        left = self.grace if self.grace_left is None else self.grace_left
        if not (self.grace > 0 and 0 <= left <= self.grace) or math.isnan(left):
            raise CodecError("expected a packed session with seconds that it outlives a connection")
        if not 0 <= self.spent < math.inf:
            raise CodecError("expected a packed session with what its user has spent, from 0 on")
        if self.search is not None:
            self.search.check()
        for request in self.requests:
            if request.player != self.username:
                raise CodecError("expected a packed session with its own requests, got others")
            request.check()


def pack_session(session: PackedSession) -> bytes:
    """Return a session as bytes."""
    return pack(session, VERSION)


def unpack_session(data: bytes) -> PackedSession:
    """Return the session in bytes that another server has packed.

    Raises:
        CodecError: They are something else; the message says what.
    """
    session = unpack(data, PackedSession, VERSION)
    session.check()
    return session

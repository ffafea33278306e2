"""The search of a session's user for a game, as far as the session knows of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pgnet_trio.server.sessions.packed import PackedSearch

__all__ = ["LatestSearch", "SessionSearch"]


class SessionSearch(Protocol):
    """A user's search for a game. Nothing here waits."""

    def note_online(self, online: bool, /) -> None:
        """Note that the user's connection dropped, or that they are back."""

    def pack(self) -> PackedSearch | None:
        """Return the search for another server; None where it is over.

        The user is in no match until the session goes on here, and `note_online` says so.
        """

    def stop(self) -> None:
        """Look no more: the session has ended, or goes on with another client."""


class LatestSearch:
    """Tells a user's latest search what becomes of their session.

    Attributes:
        latest: It, also one that is over; None where there was none.
    """

    __slots__ = ("latest",)

    def __init__(self) -> None:
        self.latest: SessionSearch | None = None

    def note_online(self, online: bool) -> None:
        """Note that the user's connection dropped, or that they are back."""
        if self.latest is not None:
            self.latest.note_online(online)

    def pack(self) -> PackedSearch | None:
        """Return the search for another server; see `SessionSearch.pack`."""
        return None if self.latest is None else self.latest.pack()

    def stop(self) -> None:
        """Look no more, and forget the search."""
        search, self.latest = self.latest, None
        if search is not None:
            search.stop()

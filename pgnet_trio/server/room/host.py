"""Whose table a game is: the rules of who is its host."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["Host"]


class Host:
    """Knows the host of a game: its creator, until somebody else is.

    Who is host and not here, as after a restart, is so again when they are back. Meanwhile the
    player who has been here for longest stands in.

    Args:
        name: Who it is at first; None for whoever joins first.

    Attributes:
        name: Who is host, here or not; None where nobody is yet.
        is_used: Whether the game has ever asked who is host, or said so.
    """

    def __init__(self, name: str | None = None) -> None:
        self.name = name
        self.is_used = False

    def current(self, players: Mapping[str, bool]) -> str | None:
        """Return who is host now.

        Args:
            players: The users who play, in the order of joining, and whether each is connected.
        """
        if self.name in players:
            return self.name
        return next(iter(players), self.name)

    def note_joined(self, username: str) -> None:
        """Note that a user has joined: where nobody is host, they are."""
        if self.name is None:
            self.name = username

    def note_left(self, username: str, players: Mapping[str, bool]) -> None:
        """Note that a user is here no more; whoever is here for longest follows a host.

        Those who are connected come before those who are not.

        Args:
            username: Who is gone.
            players: Who is left, as in `current`.
        """
        if self.name == username:
            here = [player for player, online in players.items() if online]
            self.name = next(iter(here or players), None)

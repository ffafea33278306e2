"""Who was invited to a game, and so needs no password for it."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["LASTS", "MOST_INVITED", "TOLD_AGAIN_AFTER", "Invitations"]

MOST_INVITED = 50
"""How many users may be invited to a game at the same time."""

LASTS = 3600.0
"""Seconds for which an invitation holds."""

TOLD_AGAIN_AFTER = 30.0
"""Seconds after which a user who was invited may be told so once more."""


class Invitations:
    """The invitations to one game, each for one user, who joins once with it.

    Args:
        names: Who was invited when the game moved; their time begins anew.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        # When each was made; None where it has come from another server, until it is looked at.
        self._made: dict[str, float | None] = dict.fromkeys(names)

    @property
    def names(self) -> tuple[str, ...]:
        """Who is invited, or was until a moment ago."""
        return tuple(self._made)

    def holds(self, username: str, now: float) -> bool:
        """Return whether a user is invited.

        Args:
            username: Who.
            now: The time in seconds.
        """
        self._forget_old(now)
        return username in self._made

    def was_just_told(self, username: str, now: float) -> bool:
        """Return whether a user was invited so lately that they need not be told again."""
        made = self._made.get(username)
        return made is not None and now < made + TOLD_AGAIN_AFTER

    def add(self, username: str, now: float) -> bool:
        """Invite a user, or begin their time anew; return whether there was a place for it."""
        self._forget_old(now)
        if username not in self._made and len(self._made) >= MOST_INVITED:
            return False
        self._made[username] = now
        return True

    def end(self, username: str) -> None:
        """End the invitation of a user. Idempotent."""
        self._made.pop(username, None)

    def _forget_old(self, now: float) -> None:
        for username, made in list(self._made.items()):
            if made is None:
                self._made[username] = now
            elif now >= made + LASTS:
                del self._made[username]

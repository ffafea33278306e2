"""A ready check: its messages, and the rules of who is ready."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs

__all__ = ["Ready", "ReadyCheck", "ReadyState"]


@attrs.frozen
class ReadyCheck:
    """The question of a ready check, which each player answers with a `Ready`."""


@attrs.frozen
class Ready:
    """The answer to a `ReadyCheck`.

    Attributes:
        ready: Whether the player is ready; False ends the check.
    """

    ready: bool = True


class ReadyState:
    """Who is ready, in the ready check of a room, or was in its last one.

    Attributes:
        is_open: Whether a check goes on.
        remembered: Who was ready in a check that the game has not begun with again since it moved.
    """

    def __init__(self) -> None:
        self.is_open = False
        self.remembered: frozenset[str] = frozenset()
        self._players: dict[str, bool] = {}
        self._has_failed = False
        self._listener: Callable[[], None] | None = None

    @property
    def ready(self) -> tuple[str, ...]:
        """Who is ready, in the order of joining."""
        return tuple(player for player, is_ready in self._players.items() if is_ready)

    @property
    def waiting(self) -> tuple[str, ...]:
        """Who is not."""
        return tuple(player for player, is_ready in self._players.items() if not is_ready)

    @property
    def has_failed(self) -> bool:
        """Whether somebody has said no, or nothing in time, or has left."""
        return self._has_failed

    @property
    def is_complete(self) -> bool:
        """Whether all are ready."""
        return bool(self._players) and not self._has_failed and all(self._players.values())

    def begin(self, players: Iterable[str], listener: Callable[[], None]) -> None:
        """Begin a check.

        Args:
            players: Who is asked, in the order of joining.
            listener: Called when something has changed.
        """
        remembered, self.remembered = self.remembered, frozenset()
        self._players = {player: player in remembered for player in players}
        self._has_failed = False
        self.is_open = True
        self._listener = listener

    def end(self) -> None:
        """End the check; who was ready can be read until the next one."""
        self.is_open, self._listener = False, None

    def note_joined(self, player: str) -> None:
        """Note that somebody has joined, who is asked too."""
        if self.is_open and player not in self._players:
            self._players[player] = False
            self._tell()

    def note_left(self, player: str) -> None:
        """Note that somebody has left: without them it is another game, and the check is over."""
        if self.is_open and player in self._players:
            del self._players[player]
            self._has_failed = True
            self._tell()

    def note_answer(self, player: str, *, is_ready: bool) -> None:
        """Note what somebody has answered, or that their time is up."""
        if self.is_open and player in self._players:
            self._players[player] = is_ready
            self._has_failed = self._has_failed or not is_ready
            self._tell()

    def forget(self) -> None:
        """Forget the last check: the game that has made it is gone."""
        self._players, self._has_failed, self.remembered = {}, False, frozenset()

    def _tell(self) -> None:
        if self._listener is not None:
            self._listener()

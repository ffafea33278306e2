"""What a game asks for in the middle of its code, and the room does after it."""

from __future__ import annotations

from contextvars import ContextVar

import attrs

from pgnet_trio.server.refusals import GONE

__all__ = ["Deferred", "Wanted", "in_turn"]

in_turn: ContextVar[bool] = ContextVar("in_turn", default=False)
"""Whether this task runs a turn of a game; False in scripts, and outside of rooms."""


@attrs.define(eq=False)
class Wanted:
    """What was asked for and is not done yet.

    Attributes:
        kicks: Whom to kick, and why.
        end: Why to end the game; None for not to.
        rematch: Whether to begin a new one.
    """

    kicks: dict[str, str] = attrs.field(factory=dict)
    end: str | None = None
    rematch: bool = False


class Deferred:
    """Keeps kicks, a rematch and the end of the game until the turn, or the script's step, is over.

    Attributes:
        waiting: Whether there may be something to do.
        of_turns: What turns asked for; done after the turn.
        of_scripts: What scripts asked for; done after the script's step, which need not wait for
            a turn that does not end.
    """

    def __init__(self) -> None:
        self.waiting = False
        self.of_turns = Wanted()
        self.of_scripts = Wanted()

    def kick(self, username: str, reason: str) -> None:
        """Ask for a member to be kicked."""
        self._wanted().kicks[username] = reason

    def end(self, reason: str) -> bool:
        """Ask for the game to be ended; the first reason counts, and so does an earlier rematch.

        Returns:
            Whether this was the first time.
        """
        wanted = self._wanted()
        if wanted.end is not None or wanted.rematch:
            return False
        wanted.end = reason or GONE
        return True

    def rematch(self) -> None:
        """Ask for a new game, unless the end was asked for before."""
        wanted = self._wanted()
        wanted.rematch = wanted.end is None

    def clear(self) -> None:
        """Forget everything: the game that asked for it is gone."""
        self.of_turns = Wanted()
        self.of_scripts = Wanted()

    def _wanted(self) -> Wanted:
        self.waiting = True
        return self.of_turns if in_turn.get() else self.of_scripts

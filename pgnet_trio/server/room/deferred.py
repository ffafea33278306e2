"""What a game asks for that comes after its turn: whom to send away, and to end."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from pgnet_trio.server.refusals import GONE
from pgnet_trio.server.room.scripts import in_turn

if TYPE_CHECKING:
    from pgnet_trio.server.room.queue import Inbox

__all__ = ["Wishes"]


@attrs.define(eq=False)
class _Wanted:
    kicks: dict[str, str] = attrs.field(factory=dict)
    end: str | None = None


class Wishes:
    """Keeps what is to happen after the turn, or the script's step, in which it was asked for.

    Args:
        inbox: Is asked for a turn where none is in progress.
        send_away: Has a member out, with a reason.
        close: Ends the game, with a reason.

    Attributes:
        waiting: Whether there is something to settle.
    """

    def __init__(
        self,
        inbox: Inbox,
        *,
        send_away: Callable[[str, str], None],
        close: Callable[[str], None],
    ) -> None:
        self.waiting = False
        self._inbox = inbox
        self._send_away = send_away
        self._close = close
        self._of_turns = _Wanted()
        # Scripts need not wait for a turn that does not come to an end.
        self._of_scripts = _Wanted()

    def kick(self, player: str, reason: str) -> None:
        """Have a player sent away."""
        self._wanted().kicks[player] = reason
        self._inbox.poke()

    def end(self, reason: str = "") -> None:
        """Have the game ended."""
        wanted = self._wanted()
        if wanted.end is None:
            wanted.end = reason or GONE
            self._inbox.poke()

    def settle(self) -> None:
        """Do what waits for the end of a turn."""
        if self.waiting:
            self.waiting = False
            self._fulfil(self._of_turns)
            self._fulfil(self._of_scripts)

    def settle_scripts(self) -> None:
        """Do what waits for the end of a script's step."""
        if self.waiting:
            self._fulfil(self._of_scripts)

    def clear(self) -> None:
        """Forget them all."""
        self._of_turns = _Wanted()
        self._of_scripts = _Wanted()

    def _wanted(self) -> _Wanted:
        """Give the wishes of who calls this, which is about to add to them."""
        self.waiting = True
        return self._of_turns if in_turn.get() else self._of_scripts

    def _fulfil(self, wanted: _Wanted) -> None:
        if wanted.kicks and self._inbox.end_reason is None:
            kicks, wanted.kicks = wanted.kicks, {}
            for username, reason in kicks.items():
                self._send_away(username, reason)
        if wanted.end is not None:
            self._close(wanted.end)

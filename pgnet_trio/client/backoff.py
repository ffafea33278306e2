"""How long a session pauses between tries to come back, and when it gives up.

It knows no clock and no randomness: whoever asks hands both in.
"""

from __future__ import annotations

import math

__all__ = ["CONNECT_TIMEOUT", "LONGEST_PAUSE", "REACH_TIMEOUT", "Backoff"]

CONNECT_TIMEOUT = 15.0
"""Seconds for connecting and logging in; a busy server may take some for the password."""

REACH_TIMEOUT = 5.0
"""Seconds until the next of several addresses is tried, where nobody answers at one."""

RESUME_TIMEOUT = 5.0
"""Seconds for one try to come back, which costs the server next to nothing. A try that hangs on a
link that broke unnoticed must not use up all of `reconnect_for`. Each try that took longer doubles
it for the next one, up to `CONNECT_TIMEOUT`: a slow network needs it."""

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds between tries to come back, at most: full jitter, so that many do not come at once."""

LONGEST_PAUSE_WHEN_SENT = 2.5
"""The same where a server has sent this client to another one that did not let it in: that one may
be dead, which the first one will soon know, and then have this client wait there."""


class Backoff:
    """The patience of one session, kept over its connections.

    Only a connection that gets something done resets it. Otherwise a request that breaks every
    connection would be sent for ever, and without a pause.

    Args:
        reconnect_for: Seconds from a drop to giving up; infinite for ever.

    Attributes:
        reconnect_for: The same.
        resume_timeout: Seconds that the next try to come back may take.
        give_up_at: The time at which a session that is not back ends.
    """

    def __init__(self, reconnect_for: float) -> None:
        self.reconnect_for = reconnect_for
        self.resume_timeout = RESUME_TIMEOUT
        self.give_up_at = math.inf
        self._pause = FIRST_PAUSE
        self._is_stuck = False

    def note_drop(self, now: float) -> None:
        """Start the time for coming back; a session that is stuck has what is left of it."""
        if not self._is_stuck:
            self.give_up_at = now + self.reconnect_for

    def next_pause(self, share: float, *, sent_after: float | None = None) -> float:
        """Return the seconds until the next try, and lengthen the pause after it.

        Args:
            share: A random number from 0 to 1, by which clients that dropped together come back
                one by one.
            sent_after: Seconds after which a server has sent the client to where the last try
                failed, which count as a pause too; None where none has.
        """
        longest = LONGEST_PAUSE if sent_after is None else LONGEST_PAUSE_WHEN_SENT
        pause = share * min(self._pause, longest)
        self._pause = min(2 * self._pause, longest)
        return max(0.0, pause - (sent_after or 0.0))

    def note_timeout(self) -> None:
        """Allow the next try more time: this one took longer than it may."""
        self.resume_timeout = min(2 * self.resume_timeout, CONNECT_TIMEOUT)

    def note_connection(self, lasted: float, *, progressed: bool, unsettled: bool) -> None:
        """Judge a connection that ended.

        Args:
            lasted: Seconds from the log-in, or resume, to the end.
            progressed: Whether a message was settled in either direction.
            unsettled: Whether requests wait that the server has not settled.
        """
        if progressed or lasted >= LONGEST_PAUSE:
            self.resume_timeout = RESUME_TIMEOUT
            self._pause = FIRST_PAUSE
            self._is_stuck = False
        else:
            self._is_stuck = unsettled

"""What a program does in a game in real time: inputs, and when things are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgnet_trio.client.game_play import play
from pgnet_trio.typed import to_packet

if TYPE_CHECKING:
    from pgnet_trio.client.run import ClientRun
    from pgnet_trio.netcode import Latency, Moment

__all__ = ["GamePlaying"]


class GamePlaying:
    """What `Client` has for games in real time, all of it from the latest run."""

    _run: ClientRun

    def input(self, given: object, /, *, seen: float | None = None) -> int:
        """Say what the player does in one tick; never waits, and nobody answers.

        Call it once for each tick of the game, with what is held and pressed then. Only the latest
        counts: one that has not left yet is replaced by the next, and none is sent again after a
        drop. A server, or a game, that does not know inputs gets it as a message. As long as the
        user is in no game, nobody hears it.

        Args:
            given: An object of the model in `Game.inputs`, of at most 64 fields and 900 bytes.
            seen: The room's time of what the player saw of the others, in seconds, for
                `Room.rewind`; None for that of the latest state.

        Returns:
            The input's number; `moment.confirmed` says which of them are in the state.

        Raises:
            CodecError: It cannot travel, or is too large.
            ValueError: *seen* is no time.
        """
        run = self._run
        return run.play(to_packet(given), run.view.timing.moment.time if seen is None else seen)

    # Not typed here: `Bot.play` is something else.
    play: Any = play

    @property
    def moment(self) -> Moment:
        """Of which tick and time the latest state is, and which of this player's inputs are in it.

        It belongs to what `get_state` returns now. In a game without `update` the tick is 0, and
        the time is that at which the state came.
        """
        return self._run.view.timing.moment

    @property
    def tick_rate(self) -> float:
        """How many ticks a second the game has, as far as the server has said; 0 for none."""
        return self._run.view.timing.rate

    @property
    def latency(self) -> Latency | None:
        """How long a message to the server and its answer take; None before it was measured.

        It is measured once a second while it is looked at, and in a game with `update`.
        """
        timing = self._run.view.timing
        timing.look()
        return timing.clock.latency

    @property
    def server_time(self) -> float:
        """The time in the game's room now, in seconds: an estimate that stays right.

        See `time`, which returns the same.
        """
        timing = self._run.view.timing
        timing.look()
        return timing.clock.time()

    def time(self) -> float:
        """Return the time in the game's room now, in seconds, as far as this client can know it.

        It is what ``room.time()`` returns at the server at this moment, and not the time of the
        latest news: `moment` has that. It is learned from all that comes with a time, and from
        questions about it. It never runs backwards in one game, and makes up for an error at 5 %
        more or less than a second a second; for one of more than 50 ms, within a second.
        """
        return self.server_time

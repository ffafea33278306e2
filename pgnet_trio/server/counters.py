"""What a running server counts, in plain integers: whoever reads them makes metrics of them.

Nothing is counted for each player or table, whose number knows no limit: only for the server, and
for each class of game.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from pgnet_trio.messages import Status
from pgnet_trio.transport.traffic import Traffic

__all__ = [
    "DROP_REASONS",
    "LAG_BOUNDS",
    "OUTCOMES",
    "TIMED",
    "TURN_BOUNDS",
    "Counters",
    "GameCounters",
    "Histogram",
    "TurnTimes",
    "outcome_of",
]

TURN_BOUNDS = (
    *(0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005),
    *(0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
"""Seconds of a turn: most take microseconds, and one that waits for somebody takes seconds."""

LAG_BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds by which the event loop was late."""

TIMED = 16
"""Of so many packets of a game, one is timed: to take the time costs as much as a third of what it
costs to read a short packet."""

MOST_CLASSES = 50
"""Classes of games that are counted apart: a program may make classes without end."""

OTHERS = "other classes"

OUTCOMES = ("ok", "bad", "refused", "other")
"""What becomes of a request, by its status: `Status` has the first three."""

DROP_REASONS = ("surplus", "early", "invalid", "no_player", "no_inputs", "gone")
"""Why an input of a player is never played: more came than are played, or out of order; its player
says that they saw the future; its fields are wrong; they only watch; the game takes none; they had
left, or the game had begun anew, before its tick."""


class Histogram:
    """How many of something took how long.

    Args:
        bounds: The upper bounds of the classes, ascending, in seconds.

    Attributes:
        bounds: The same.
        counts: How many were in each class, the last without a bound.
        total: The seconds of all of them.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds


class TurnTimes:
    """How long the turns of one game took: those that are timed.

    Attributes:
        histogram: Counts the turns of all games of its class.
        count: How many were timed.
        total: How many seconds they took.
        longest: How many the longest of them took.
    """

    __slots__ = ("count", "histogram", "longest", "total")

    def __init__(self, histogram: Histogram) -> None:
        self.histogram = histogram
        self.count = 0
        self.total = self.longest = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.histogram.add(seconds)
        self.count += 1
        self.total += seconds
        if seconds > self.longest:  # noqa: PLR1730 - a call less for each turn
            self.longest = seconds


class GameCounters:
    """What is counted of all games of one class since the server runs.

    Args:
        name: The name of the class.

    Attributes:
        name: The same.
        turns: How long their turns took: one in `TIMED` of those that answered a packet at once,
            and all hooks, updates, and turns that have waited.
        ticks: How long their updates took.
        fine: How many packets were answered with OK.
        answers: How many were answered by something else, by `OUTCOMES`.
        pushes: How many pushes were sent, to each player anew.
        ticks_due: How many updates were due.
        ticks_missed: How many of these were skipped.
        crashes: How many games were ended by an error.
        restarts: How many went on from their last save after an error.
        states: How many states were made to be sent whole, for whoever sees the same.
        patches: How many patches of states were made, for whoever sees the same.
        patch_bytes: The bytes of these.
        dropped_inputs: How many inputs of players were never played, by `DROP_REASONS`.
    """

    __slots__ = (
        "answers",
        "crashes",
        "dropped_inputs",
        "fine",
        "name",
        "patch_bytes",
        "patches",
        "pushes",
        "restarts",
        "states",
        "ticks",
        "ticks_due",
        "ticks_missed",
        "turns",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.turns = Histogram(TURN_BOUNDS)
        self.ticks = Histogram(TURN_BOUNDS)
        self.fine = 0
        self.answers = [0] * len(OUTCOMES)
        self.pushes = self.ticks_due = self.ticks_missed = 0
        self.crashes = self.restarts = 0
        self.states = self.patches = self.patch_bytes = 0
        self.dropped_inputs = dict.fromkeys(DROP_REASONS, 0)

    def note_crash(self, *, restarts: bool) -> None:
        """Count a game that has raised, and goes on from its last save or not at all."""
        if restarts:
            self.restarts += 1
        else:
            self.crashes += 1


class Counters:
    """What is counted of a server since it runs.

    Args:
        game_class: What a game counts as whose class is not known yet.
        measures: Whether somebody may want to know how long the turns of packets took, which
            takes time for each packet.

    Attributes:
        measures: Whether somebody may.
        games: What is counted of games, by the names of their classes.
        answers: How many requests the server answered itself, by `OUTCOMES`.
        logins: How many log-ins were taken.
        refused_logins: How many were refused, by the code of the reason.
        resumes: How many sessions went on over another connection.
        lost_resumes: How many clients could not go on with theirs.
        takeovers: How many sessions went on with another client of their user.
        lag: By how much the event loop was late.
        stalls: How often the watchdog has named a game in the log that held up all others.
        traffic: How many bytes came and went over the network.
    """

    def __init__(self, game_class: str = "unknown", *, measures: bool = False) -> None:
        self.measures = measures
        self._game_class = game_class
        self.games: dict[str, GameCounters] = {}
        self.answers = [0] * len(OUTCOMES)
        self.logins = 0
        self.refused_logins: dict[str, int] = {}
        self.resumes = self.lost_resumes = self.takeovers = 0
        self.lag = Histogram(LAG_BOUNDS)
        self.stalls = 0
        self.traffic = Traffic()

    def of_game(self, name: str = "") -> GameCounters:
        """Return what is counted of the games of a class.

        Args:
            name: The name of the class; empty where it is not known yet.
        """
        name = name or self._game_class
        if name not in self.games:
            if len(self.games) >= MOST_CLASSES:
                name = OTHERS
            self.games.setdefault(name, GameCounters(name))
        return self.games[name]

    @property
    def requests(self) -> int:
        """How many requests were answered, by games and by the server itself."""
        of_games = sum(game.fine + sum(game.answers) for game in self.games.values())
        return sum(self.answers) + of_games

    def note_login(self, *, takes_over: bool) -> None:
        """Count a log-in that was taken, of a user who had a client or of one who had none."""
        self.logins += 1
        self.takeovers += takes_over

    def note_resume(self, *, succeeded: bool) -> None:
        """Count a client that wanted to go on with its session."""
        if succeeded:
            self.resumes += 1
        else:
            self.lost_resumes += 1

    def note_refused_login(self, code: str) -> None:
        """Count a log-in that was refused, for a reason with this code."""
        self.refused_logins[code] = self.refused_logins.get(code, 0) + 1


def outcome_of(status: int) -> int:
    """Return the place of a status in `OUTCOMES`; a game may use any number."""
    return status if Status.OK <= status <= Status.UNEXPECTED else len(OUTCOMES) - 1

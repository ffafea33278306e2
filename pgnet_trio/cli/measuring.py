"""The numbers of a load test, in memory that does not grow with the number of requests."""

from __future__ import annotations

import math
import re
import traceback
from collections import Counter

import attrs

from pgnet_trio.errors import first_error
from pgnet_trio.messages import Status

__all__ = ["Latencies", "Tally", "describe_error"]

_SMALLEST = 1e-6
_STEP = math.log(1.02)
"""Each bucket of latencies ends 2 % above its beginning, so percentiles are right to 1 %."""

MAX_KINDS = 20
"""Kinds of errors that a tally tells apart; further errors count by their class alone."""

MAX_KIND_LENGTH = 160


class Latencies:
    """How long requests took: a histogram whose buckets are wider for longer times."""

    def __init__(self) -> None:
        self.count = 0
        self.longest = 0.0
        self._buckets: Counter[int] = Counter()

    def add(self, seconds: float) -> None:
        """Count a request."""
        self.count += 1
        self.longest = max(self.longest, seconds)
        self._buckets[round(math.log(max(seconds, _SMALLEST) / _SMALLEST) / _STEP)] += 1

    def percentile(self, percent: float) -> float | None:
        """Return the seconds within which this share was answered; None without requests."""
        wanted = math.ceil(self.count * percent / 100)
        for bucket in sorted(self._buckets):
            wanted -= self._buckets[bucket]
            if wanted <= 0:
                return min(_SMALLEST * math.exp(bucket * _STEP), self.longest)
        return None


@attrs.define(eq=False)
class Tally:
    """Everything that a load test counts.

    Attributes:
        connected: Clients that logged in.
        now: Clients that are logged in at the moment.
        most: The most clients that were logged in at the same time.
        ended: Bots that returned without an error.
        broken: Bots that raised an error.
        latencies: How long everything took that the server has answered.
        answers: How many of these were answers to questions.
        sends: How much was sent that wanted no answer.
        taken: How long it took until the server had taken that, and said so.
        states: States that were shown.
        ages: How old a state was when the next one came.
        busiest: How much that was in the busiest second.
        not_ok: Answers whose status is not OK, by status.
        drops: Connections that dropped, whether they came back or not.
        errors: Errors, by kind.
        not_in: Clients that could not log in.
    """

    connected: int = 0
    now: int = 0
    most: int = 0
    ended: int = 0
    broken: int = 0
    latencies: Latencies = attrs.field(factory=Latencies)
    answers: int = 0
    sends: int = 0
    taken: Latencies = attrs.field(factory=Latencies)
    states: int = 0
    ages: Latencies = attrs.field(factory=Latencies)
    busiest: int = 0
    not_ok: Counter[str] = attrs.field(factory=Counter)
    drops: int = 0
    errors: Counter[str] = attrs.field(factory=Counter)
    not_in: int = 0
    _second: int = 0
    _in_second: int = 0

    @property
    def error_count(self) -> int:
        """How many errors there were."""
        return self.errors.total()

    def entered(self) -> None:
        """Count a client that logged in."""
        self.connected += 1
        self.now += 1
        self.most = max(self.most, self.now)

    def parted(self) -> None:
        """Count a client that logged out, or was dropped."""
        self.now -= 1

    def answered(self, seconds: float, status: int, now: float, *, is_answer: bool = False) -> None:
        """Count something that the server has answered.

        Args:
            seconds: How long it took.
            status: The status of the response.
            now: The time, in seconds of any clock.
            is_answer: Whether it answers a question of the game.
        """
        self.latencies.add(seconds)
        self._note_busy(now)
        self.answers += is_answer
        if status != Status.OK:
            known = status in [*Status]
            self.not_ok[Status(status).name if known else "another status"] += 1

    def sent(self, now: float) -> None:
        """Count a message that is sent without wanting an answer.

        Args:
            now: The time, in seconds of any clock.
        """
        self.sends += 1
        self._note_busy(now)

    def shown(self, age: float | None) -> None:
        """Count a state.

        Args:
            age: Seconds since the one before it came; None for the first of a game.
        """
        self.states += 1
        if age is not None:
            self.ages.add(age)

    @property
    def count(self) -> int:
        """How much was answered, or sent without wanting an answer."""
        return self.latencies.count + self.sends

    def slowest(self, percent: float) -> float | None:
        """Return the higher percentile of what was answered and of what was taken."""
        both = (self.latencies.percentile(percent), self.taken.percentile(percent))
        return max((each for each in both if each is not None), default=None)

    def _note_busy(self, now: float) -> None:
        if int(now) != self._second:
            self._second, self._in_second = int(now), 0
        self._in_second += 1
        self.busiest = max(self.busiest, self._in_second)

    def failed(self, error: BaseException, username: str, file: str) -> None:
        """Count an error.

        Args:
            error: What was raised.
            username: Whose client it was; errors that differ in this alone are of one kind.
            file: The author's file; the kind names the line in it that raised.
        """
        kind = describe_error(error, username, file)
        if kind not in self.errors and len(self.errors) >= MAX_KINDS:
            kind = type(first_error(error)).__name__
            if kind not in self.errors and len(self.errors) >= 2 * MAX_KINDS:
                kind = "others"
        self.errors[kind] += 1


def describe_error(error: BaseException, username: str, file: str) -> str:
    """Return one line for an error, with the same words for every user."""
    error = first_error(error)
    name = re.compile(rf"\b{re.escape(username)}\b") if username else None
    text = " ".join(str(error).split())
    text = name.sub("USER", text) if name is not None else text
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == file
    ]
    place = f" (line {lines[-1]})" if lines else ""
    text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text[: MAX_KIND_LENGTH - len(place)] + place

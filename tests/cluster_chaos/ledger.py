"""What players were told, what nodes went through, and whether the two fit together.

No clock, no task, no process: whoever runs a cluster writes down what happens, and asks at the end
what is wrong.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

import attrs

from tests.cluster_chaos.game import Book, Counted
from tests.cluster_chaos.runs import Runs

__all__ = ["Answer", "Ledger", "Loss", "Trouble"]

MAX_PROBLEMS = 60
MAX_KINDS = 200


@attrs.frozen
class Answer:
    """A request that was answered.

    Attributes:
        received: When the player had the answer, by the clock of the games.
    """

    table: str
    player: str
    serial: int
    counted: Counted
    received: float


@attrs.frozen
class Trouble:
    """Something that lets a node lose what it has not saved.

    Attributes:
        place: The node's run: `tests.cluster_chaos.game.Place.name`.
        kind: What it was.
        start: When it began.
        end: When it was over; for a kill, the same.
        keeps_from_saving: Whether the node could not save meanwhile, and played on.
    """

    place: str
    kind: str
    start: float
    end: float
    keeps_from_saving: bool = False


@attrs.frozen
class Loss:
    """An answered request that is not in the game any more.

    Attributes:
        cause: The trouble that explains it.
        age: Seconds from the answer to that trouble.
    """

    answer: Answer
    cause: Trouble
    age: float

    def __str__(self) -> str:
        answer, cause = self.answer, self.cause
        return (
            f"{answer.player} {answer.serial} at {answer.table}, counted by {answer.counted.place} "
            f"{self.age:.2f} s before it was {cause.kind}"
        )


class Ledger:
    """Keeps what was seen.

    Args:
        unsaved: Seconds before a node's death in which what it has answered may be lost: what
            passes from one save to the next, and what a save takes.
        unsaved_in_trouble: The same where it could not save before.

    Attributes:
        counts: What happened, and how often.
        problems: What was wrong.
        troubles: What the nodes went through.
    """

    def __init__(self, *, unsaved: float, unsaved_in_trouble: float) -> None:
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []
        self.troubles: list[Trouble] = []
        self._unsaved = unsaved
        self._unsaved_in_trouble = unsaved_in_trouble
        self._sent: dict[tuple[str, str], Runs] = defaultdict(Runs)
        self._refused: dict[tuple[str, str], Runs] = defaultdict(Runs)
        # All answers of which nobody knows yet whether a game was saved with them.
        self._answers: dict[str, list[Answer]] = defaultdict(list)
        self._lives: dict[str, dict[str, _Life]] = defaultdict(dict)

    def note(self, what: str) -> None:
        """Count something; what comes in too many kinds is counted as one."""
        if what not in self.counts and len(self.counts) >= MAX_KINDS:
            what = "something else"
        self.counts[what] += 1

    def wrong(self, text: str) -> None:
        """Write down what must not be."""
        self.note("problems")
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(text)

    def sent(self, table: str, player: str, serial: int) -> None:
        """Write down that a player is about to ask for something."""
        self._sent[table, player].add(serial)
        self.note("requests")

    def answered(self, answer: Answer) -> None:
        """Write down an answer, and look whether it can be."""
        self.note("answered")
        self._answers[answer.table].append(answer)
        counted = answer.counted
        lives = self._lives[answer.table]
        life = lives.get(counted.life)
        if life is None:
            life = lives[counted.life] = _Life(counted.place, counted.born)
        life.epochs.add(counted.epoch)
        life.last = max(life.last, counted.when)

    def refused(self, table: str, player: str, serial: int) -> None:
        """Write down that a request was refused: it must not have been carried out."""
        self.note("refused")
        self._refused[table, player].add(serial)

    def check_lives(self) -> None:
        """Look whether ever two nodes answered for one room."""
        for table, lives in self._lives.items():
            in_order = sorted(lives.items(), key=lambda each: each[1].born)
            places: dict[int, str] = {}
            for _, life in in_order:
                for epoch in life.epochs:
                    other = places.setdefault(epoch, life.place)
                    if other != life.place:
                        self.wrong(f"{table}: epoch {epoch} is of {other} and of {life.place}")
            for (_, before), (_, after) in itertools.pairwise(in_order):
                if before.last > after.born:
                    self.wrong(
                        f"{table}: {before.place} answered {before.last - after.born:.3f} s after "
                        f"{after.place} had begun (epochs {sorted(before.epochs)} and "
                        f"{sorted(after.epochs)})"
                    )
                # A game that was to go, and could not, is made again in the same epoch.
                if max(before.epochs) > min(after.epochs):
                    self.wrong(
                        f"{table}: epochs {sorted(before.epochs)} at {before.place}, and later "
                        f"{sorted(after.epochs)} at {after.place}"
                    )
        self.counts["lives of games"] = sum(len(lives) for lives in self._lives.values())

    def check_books(self, books: Mapping[str, Book]) -> list[Loss]:
        """Compare what the games have with what was answered; return what was lost as may be."""
        losses: list[Loss] = []
        for table, answers in self._answers.items():
            if table not in books:
                self.wrong(f"{table} is gone, with {len(answers)} answers")
        for table, book in books.items():
            applied = {player: Runs(pairs) for player, pairs in book.applied.items()}
            losses += self._check_answers(table, applied)
            for each in book.twice:
                self.wrong(f"{table}: {each} was asked of the game twice")
            for player, runs in applied.items():
                for serial in runs:
                    if serial not in self._sent[table, player]:
                        self.wrong(f"{table}: {player} {serial} was never asked")
                    if serial in self._refused[table, player]:
                        self.wrong(f"{table}: {player} {serial} was refused, and is counted")
            self.counts["counted"] += sum(len(runs) for runs in applied.values())
        self.counts["answered and lost"] = len(losses)
        return losses

    def _check_answers(self, table: str, applied: Mapping[str, Runs]) -> Iterator[Loss]:
        for answer in self._answers[table]:
            runs = applied.get(answer.player)
            if runs is not None and answer.serial in runs:
                continue
            loss = self._explain(answer)
            if loss is None:
                counted = answer.counted
                self.wrong(
                    f"{table}: {answer.player} {answer.serial} was answered by {counted.place} "
                    f"(epoch {counted.epoch}) at {counted.when:.2f}, and is lost"
                )
            else:
                yield loss

    def _explain(self, answer: Answer) -> Loss | None:
        when = answer.counted.when
        own = [each for each in self.troubles if each.place == answer.counted.place]
        found = []
        for trouble in own:
            age = trouble.start - when
            could_not_save = trouble.keeps_from_saving or any(
                each.keeps_from_saving and each.start <= trouble.start and when <= each.end
                for each in own
            )
            most = self._unsaved_in_trouble if could_not_save else self._unsaved
            if age <= most and when <= trouble.end:
                found.append((max(0.0, age), trouble))
        if not found:
            return None
        age, trouble = min(found, key=lambda each: each[0])
        return Loss(answer, trouble, age)


@attrs.define
class _Life:
    place: str
    born: float
    epochs: set[int] = attrs.field(factory=set)
    last: float = 0.0

"""What an engine does with results, whatever keeps them; each method in one transaction.

`MemoryStandings` and `SQLStandings` have the rows, and the rules stand here once.

A leaderboard's lines are sorted by *points*, of which fewer are better: a score, or the same with
its sign turned; and those with the same points by the player. To find a rank, or a line by its
number, without counting all that are before it, the lines are divided into ranges, and each range
counts its lines. One with too many is split in two.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import attrs

from pgnet_trio.messages import wall_clock
from pgnet_trio.server.cluster.errors import BoardTurned, ReportedBefore
from pgnet_trio.standings import LeaderboardEntry, LeaderboardPage, PlayedGame, RatingChange
from pgnet_trio.standings.rating import rate
from pgnet_trio.standings.result import MAX_SCORE

if TYPE_CHECKING:
    from pgnet_trio.server.cluster.standing_records import BoardScores, Report
    from pgnet_trio.standings.leaderboard import Keep
    from pgnet_trio.standings.rating import Skill

__all__ = ["LOWEST", "MAX_DELETIONS", "MAX_HISTORY", "MAX_RANGE", "MIN_RANGE", "StandingTables"]

MAX_RANGE = 1024
"""Players of a range before it is split."""

MIN_RANGE = 64
"""Players of a range below which it is joined with the one before."""

MAX_HISTORY = 100
"""Games in the history of each player; older ones go."""

MAX_DELETIONS = 100_000
"""Deleted users who are remembered, for games that began before."""

Line = tuple[int, str]
"""A player's points, and the player: the order of the lines."""

LOWEST: Line = (-(2**62), "")
"""Where the first range of each leaderboard begins: before all lines."""

BEYOND = 2**62
"""More points than anybody has."""

FORGOTTEN = PlayedGame(name="", ended_at=datetime.min.replace(tzinfo=UTC))
"""Stands for a result of which nothing is left but that it was counted."""


class StandingTables(ABC):
    """Results, leaderboards and histories."""

    def report(self, report: Report) -> PlayedGame:
        """See `Standings.report`."""
        before = self._result(report.id)
        if before == FORGOTTEN:
            return report.played
        if before is not None:
            if not _is_same(before, report.played):
                raise ReportedBefore(
                    "This game has reported another result before; it counts once. A rematch is a "
                    "new game, and may report its own."
                )
            return before
        if report.epoch is not None:
            self._require_owner(report.played.name, report.epoch)
        for board in report.boards:
            self._check_order(board)
        report = self._without_deleted(report)
        played = report.played
        if report.queue is not None:
            played = attrs.evolve(played, ratings=self._rate(report.queue, report))
        ratings = {name: round(change.after) for name, change in played.ratings.items()}
        for board in sorted(report.boards, key=lambda each: each.name):
            is_rating = board.board.rating is not None
            self._enter(attrs.evolve(board, scores=ratings) if is_rating else board)
        self._write_result(report.id, played)
        for user in sorted(report.users):
            self._write_history(user, report.id, MAX_HISTORY)
        return played

    def _without_deleted(self, report: Report) -> Report:
        """Leave out users who were deleted since the game began, whoever has their names now."""
        deleted = self._deleted_since(report.began, report.users)
        if not deleted:
            return report
        users = tuple(user for user in report.users if user not in deleted)
        boards = tuple(
            attrs.evolve(
                board,
                scores={name: score for name, score in board.scores.items() if name in users},
            )
            for board in report.boards
        )
        return attrs.evolve(report, users=users, boards=boards)

    def _rate(self, queue: str, report: Report) -> dict[str, RatingChange]:
        """Change the ratings of the users who have a rank, and return how."""
        users = set(report.users)
        groups = [[name for name in group if name in users] for group in report.played.ranks]
        ranks = [group for group in groups if group]
        before = {}
        for name in sorted(itertools.chain(*ranks)):
            self._lock_skill(queue, name)
            before[name] = self._skill(queue, name)
        after = rate(ranks, before)
        for name, skill in sorted(after.items()):
            self._write_skill(queue, name, skill)
        return {
            name: RatingChange(before[name].rating, skill.rating) for name, skill in after.items()
        }

    def rating(self, queue: str, player: str) -> float:
        """See `Standings.rating`."""
        return self._skill(queue, player).rating

    def forget_player(self, name: str) -> None:
        """See `Standings.forget_player`."""
        for key in self._boards_of(name):
            self._lock_board(key)
            points = self._points(key, name)
            if points is not None:
                self._write_points(key, name, None)
                self._count_line(key, (points, name), -1)
        self._forget_history(name)
        self._forget_skills(name)
        self._write_deletion(name, wall_clock.get()().timestamp(), MAX_DELETIONS)

    # Leaderboards

    def _enter(self, scores: BoardScores) -> None:
        key = self._board_for(scores)
        sign = _sign(lowest_first=scores.board.order == "lowest")
        for user in sorted(scores.scores):
            before = self._points(key, user)
            keep = scores.board.keep if scores.board.rating is None else "last"
            points = _kept(keep, before, sign * scores.scores[user])
            if points == before:
                continue
            # In this order: a range that is split looks at its lines.
            if before is not None:
                self._count_line(key, (before, user), -1)
            self._write_points(key, user, points)
            self._count_line(key, (points, user), 1)

    def _check_order(self, scores: BoardScores) -> None:
        found = self._find_board(scores.name)
        if found is not None and found[1] != (scores.board.order == "lowest"):
            order = "lowest" if found[1] else "highest"
            raise BoardTurned(
                f"The leaderboard {scores.name!r} has been kept with the {order} score first, and "
                f"stays so: declare it as Leaderboard(order={order!r}), or another name."
            )

    def _board_for(self, scores: BoardScores) -> int:
        found = self._find_board(scores.name)
        if found is None:
            key = self._make_board(scores.name, lowest_first=scores.board.order == "lowest")
            self._write_range(key, LOWEST, 0)
            return key
        self._lock_board(found[0])
        return found[0]

    def _count_line(self, key: int, line: Line, by: int) -> None:
        """Count a line more, or fewer, in its range."""
        low, count = self._range_of(key, line)
        count += by
        self._write_range(key, low, count)
        if count > MAX_RANGE:
            kept = count // 2
            (middle,) = self._lines(key, low, kept, 1)
            self._write_range(key, low, kept)
            self._write_range(key, middle, count - kept)
        elif count < MIN_RANGE and low != LOWEST:
            before, others = self._range_before(key, low)
            if count + others <= MAX_RANGE // 2:
                self._write_range(key, low, None)
                self._write_range(key, before, count + others)

    def _rank(self, key: int, points: int) -> int:
        first = points, ""
        low, _ = self._range_of(key, first)
        return 1 + self._count_before(key, low) + self._count_between(key, low, first)

    def leaderboard(self, name: str, offset: int, limit: int) -> LeaderboardPage:
        """See `Standings.leaderboard`."""
        found = self._find_board(name)
        if found is None:
            return LeaderboardPage(name, 0, [])
        key, lowest_first = found
        before, total = 0, 0
        start = LOWEST
        for low, count in self._ranges(key):
            if total <= offset:
                start, before = low, total
            total += count
        lines = self._lines(key, start, offset - before, limit) if offset < total else []
        return self._page(name, key, total, lines, lowest_first=lowest_first)

    def leaderboard_around(self, name: str, player: str, limit: int) -> LeaderboardPage:
        """See `Standings.leaderboard_around`."""
        found = self._find_board(name)
        if found is None:
            return LeaderboardPage(name, 0, [])
        key, lowest_first = found
        total = self._count_before(key, None)
        points = self._points(key, player)
        lines: list[Line] = []
        if points is not None:
            here = points, player
            better = self._lines_before(key, here, limit - 1)
            others = self._lines_after(key, here, limit - 1)
            # As many on either side, and more on one where the other has no more.
            above = min(len(better), max(limit // 2, limit - 1 - len(others)))
            lines = [*better[:above][::-1], here, *others[: limit - 1 - above]]
        return self._page(name, key, total, lines, lowest_first=lowest_first)

    def _page(
        self, name: str, key: int, total: int, lines: Sequence[Line], *, lowest_first: bool
    ) -> LeaderboardPage:
        sign = _sign(lowest_first=lowest_first)
        entries = []
        rank, begun, scores = 0, 0, 0
        for number, (points, player) in enumerate(lines):
            if number == 0 or points != lines[number - 1][0]:
                scores += 1
                # The first score of the page may have begun before it; from the second one on, all
                # who have it are here.
                rank = self._rank(key, points) if scores <= 2 else rank + number - begun
                begun = number
            entries.append(LeaderboardEntry(rank, player, sign * points))
        return LeaderboardPage(name, total, entries)

    def history(self, player: str, before: int | None, limit: int) -> list[PlayedGame]:
        """See `Standings.history`."""
        return [
            attrs.evolve(played, number=number)
            for number, played in self._history(player, before, limit)
        ]

    # The rows

    @abstractmethod
    def _require_owner(self, room: str, epoch: int) -> None:
        """Check that a room is owned in an epoch, until the transaction ends.

        Raises:
            Fenced: It is not.
        """

    @abstractmethod
    def _result(self, id: bytes) -> PlayedGame | None:
        """Return a result that was reported; `FORGOTTEN` for one that is in no history any more."""

    @abstractmethod
    def _write_result(self, id: bytes, played: PlayedGame) -> None:
        """Add a result."""

    @abstractmethod
    def _write_history(self, player: str, id: bytes, most: int) -> None:
        """Add a result to a player's history, and take out the oldest of more than *most*.

        Of a result that is in no history any more, nothing is kept but that it was counted.
        """

    @abstractmethod
    def _history(self, player: str, before: int | None, limit: int) -> list[tuple[int, PlayedGame]]:
        """Return a player's results, with their numbers, the latest first."""

    @abstractmethod
    def _forget_history(self, player: str) -> None:
        """Take out a player's history, likewise."""

    @abstractmethod
    def _write_deletion(self, player: str, now: float, most: int) -> None:
        """Note that a user is deleted now, and forget the oldest of more than *most* deletions."""

    @abstractmethod
    def _deleted_since(self, time: float, players: Sequence[str]) -> set[str]:
        """Return which of these users were deleted since a time, also those who are back."""

    @abstractmethod
    def _lock_skill(self, queue: str, player: str) -> None:
        """Let nobody else change how well a player plays until the transaction ends."""

    @abstractmethod
    def _skill(self, queue: str, player: str) -> Skill:
        """Return how well a player plays."""

    @abstractmethod
    def _write_skill(self, queue: str, player: str, skill: Skill) -> None:
        """Set how well a player plays."""

    @abstractmethod
    def _forget_skills(self, player: str) -> None:
        """Take out how well a player plays."""

    @abstractmethod
    def _find_board(self, name: str) -> tuple[int, bool] | None:
        """Return the key of a leaderboard, and whether the lowest score is the best."""

    @abstractmethod
    def _make_board(self, name: str, *, lowest_first: bool) -> int:
        """Add a leaderboard, and return its key."""

    @abstractmethod
    def _lock_board(self, key: int) -> None:
        """Let nobody else change a leaderboard until the transaction ends."""

    @abstractmethod
    def _boards_of(self, player: str) -> list[int]:
        """Return the keys of the leaderboards on which a player is, in order."""

    @abstractmethod
    def _points(self, key: int, player: str) -> int | None:
        """Return a player's points; None where they have none."""

    @abstractmethod
    def _write_points(self, key: int, player: str, points: int | None) -> None:
        """Set a player's points; None takes them out."""

    @abstractmethod
    def _ranges(self, key: int) -> list[tuple[Line, int]]:
        """Return where each range begins, and how many lines it has, in order."""

    @abstractmethod
    def _range_of(self, key: int, line: Line) -> tuple[Line, int]:
        """Return where the range of a line begins, and how many it has."""

    @abstractmethod
    def _range_before(self, key: int, low: Line) -> tuple[Line, int]:
        """Return the same of the range before the one that begins there, which is not the first."""

    @abstractmethod
    def _write_range(self, key: int, low: Line, count: int | None) -> None:
        """Set how many lines a range has; None takes the range out."""

    @abstractmethod
    def _count_before(self, key: int, low: Line | None) -> int:
        """Count the lines of all ranges before one; None for all ranges."""

    @abstractmethod
    def _count_between(self, key: int, low: Line, high: Line) -> int:
        """Count the lines from *low* on that are before *high*."""

    @abstractmethod
    def _lines(self, key: int, low: Line, offset: int, limit: int) -> list[Line]:
        """Return lines from *low* on, but for the first *offset*, the best first."""

    @abstractmethod
    def _lines_before(self, key: int, here: Line, limit: int) -> list[Line]:
        """Return the lines before one, the nearest first."""

    @abstractmethod
    def _lines_after(self, key: int, here: Line, limit: int) -> list[Line]:
        """Return the lines behind one, the nearest first."""


def _is_same(one: PlayedGame, other: PlayedGame) -> bool:
    """Whether two results say the same, whenever they were reported."""
    return all(
        getattr(one, said) == getattr(other, said) for said in ("name", "ranks", "scores", "boards")
    )


def _sign(*, lowest_first: bool) -> int:
    return 1 if lowest_first else -1


def _kept(keep: Keep, before: int | None, points: int) -> int:
    if before is None or keep == "last":
        return points
    if keep == "best":
        return min(before, points)
    return max(-MAX_SCORE, min(before + points, MAX_SCORE))

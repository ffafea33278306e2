"""Results and leaderboards in memory; pure, and as short as it can be said."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from pgnet_trio.server.cluster.standing_tables import FORGOTTEN, Line, StandingTables
from pgnet_trio.standings.rating import BEGINNER, Skill

if TYPE_CHECKING:
    from pgnet_trio.standings import PlayedGame

__all__ = ["MemoryStandings"]

MAX_RESULTS = 10_000
"""Results that are kept in memory; a game of an older one counts again if it is reported again."""


@attrs.define
class _Board:
    lowest_first: bool
    points: dict[str, int] = attrs.field(factory=dict)
    # The same, sorted.
    lines: list[Line] = attrs.field(factory=list)
    ranges: dict[Line, int] = attrs.field(factory=dict)
    lows: list[Line] = attrs.field(factory=list)


class MemoryStandings(StandingTables):
    """Results, leaderboards and histories, in dictionaries."""

    def __init__(self) -> None:
        self._results: dict[bytes, PlayedGame] = {}
        self._histories: dict[str, list[tuple[int, bytes, PlayedGame]]] = {}
        self._in_histories: Counter[bytes] = Counter()
        self._boards: dict[str, int] = {}
        self._board_rows: list[_Board] = []
        self._last_result_number = 0
        self._skills: dict[str, dict[str, Skill]] = {}
        # The oldest first.
        self._deletions: dict[str, float] = {}

    def _require_owner(self, room: str, epoch: int) -> None:
        """Do nothing: a server alone owns all of its rooms."""

    def _result(self, id: bytes) -> PlayedGame | None:
        return self._results.get(id)

    def _write_result(self, id: bytes, played: PlayedGame) -> None:
        self._results[id] = played
        if len(self._results) > MAX_RESULTS:
            del self._results[next(iter(self._results))]

    def _write_history(self, player: str, id: bytes, most: int) -> None:
        history = self._histories.setdefault(player, [])
        self._last_result_number += 1
        history.append((self._last_result_number, id, self._results[id]))
        self._in_histories[id] += 1
        gone, history[:] = history[:-most], history[-most:]
        self._forget_results(gone)

    def _forget_results(self, gone: list[tuple[int, bytes, PlayedGame]]) -> None:
        for _, id, _ in gone:
            self._in_histories[id] -= 1
            if not self._in_histories[id]:
                del self._in_histories[id]
                if id in self._results:
                    self._results[id] = FORGOTTEN

    def _history(self, player: str, before: int | None, limit: int) -> list[tuple[int, PlayedGame]]:
        found = [
            (number, played)
            for number, _, played in reversed(self._histories.get(player, []))
            if before is None or number < before
        ]
        return found[:limit]

    def _forget_history(self, player: str) -> None:
        self._forget_results(self._histories.pop(player, []))

    def _write_deletion(self, player: str, now: float, most: int) -> None:
        self._deletions.pop(player, None)
        self._deletions[player] = now
        if len(self._deletions) > most:
            del self._deletions[next(iter(self._deletions))]

    def _deleted_since(self, time: float, players: Sequence[str]) -> set[str]:
        return {player for player in players if self._deletions.get(player, -math.inf) > time}

    def _lock_skill(self, queue: str, player: str) -> None:
        """Do nothing, for the same reason as `_lock_board`."""

    def _skill(self, queue: str, player: str) -> Skill:
        return self._skills.get(player, {}).get(queue, BEGINNER)

    def _write_skill(self, queue: str, player: str, skill: Skill) -> None:
        self._skills.setdefault(player, {})[queue] = skill

    def _forget_skills(self, player: str) -> None:
        self._skills.pop(player, None)

    def _find_board(self, name: str) -> tuple[int, bool] | None:
        key = self._boards.get(name)
        return None if key is None else (key, self._board_rows[key].lowest_first)

    def _make_board(self, name: str, *, lowest_first: bool) -> int:
        key = self._boards[name] = len(self._board_rows)
        self._board_rows.append(_Board(lowest_first))
        return key

    def _lock_board(self, key: int) -> None:
        """Do nothing: there is one transaction at a time."""

    def _boards_of(self, player: str) -> list[int]:
        return [key for key, board in enumerate(self._board_rows) if player in board.points]

    def _points(self, key: int, player: str) -> int | None:
        return self._board_rows[key].points.get(player)

    def _write_points(self, key: int, player: str, points: int | None) -> None:
        board = self._board_rows[key]
        before = board.points.pop(player, None)
        if before is not None:
            del board.lines[bisect_left(board.lines, (before, player))]
        if points is not None:
            board.points[player] = points
            insort(board.lines, (points, player))

    def _ranges(self, key: int) -> list[tuple[Line, int]]:
        board = self._board_rows[key]
        return [(low, board.ranges[low]) for low in board.lows]

    def _range_of(self, key: int, line: Line) -> tuple[Line, int]:
        board = self._board_rows[key]
        low = board.lows[bisect_right(board.lows, line) - 1]
        return low, board.ranges[low]

    def _range_before(self, key: int, low: Line) -> tuple[Line, int]:
        board = self._board_rows[key]
        before = board.lows[bisect_left(board.lows, low) - 1]
        return before, board.ranges[before]

    def _write_range(self, key: int, low: Line, count: int | None) -> None:
        board = self._board_rows[key]
        if count is None:
            del board.ranges[low]
            board.lows.remove(low)
            return
        if low not in board.ranges:
            insort(board.lows, low)
        board.ranges[low] = count

    def _count_before(self, key: int, low: Line | None) -> int:
        ranges = self._ranges(key)
        return sum(count for start, count in ranges if low is None or start < low)

    def _count_between(self, key: int, low: Line, high: Line) -> int:
        lines = self._board_rows[key].lines
        return bisect_left(lines, high) - bisect_left(lines, low)

    def _lines(self, key: int, low: Line, offset: int, limit: int) -> list[Line]:
        lines = self._board_rows[key].lines
        start = bisect_left(lines, low) + offset
        return lines[start : start + limit]

    def _lines_before(self, key: int, here: Line, limit: int) -> list[Line]:
        lines = self._board_rows[key].lines
        place = bisect_left(lines, here)
        return lines[max(0, place - limit) : place][::-1]

    def _lines_after(self, key: int, here: Line, limit: int) -> list[Line]:
        lines = self._board_rows[key].lines
        place = bisect_right(lines, here)
        return lines[place : place + limit]

"""Results and leaderboards in SQL."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pgnet_trio.codec import decode_json, encode_json
from pgnet_trio.server.cluster.errors import Fenced
from pgnet_trio.server.cluster.sql import Row, SQLOperations, as_bytes, as_text
from pgnet_trio.server.cluster.standing_tables import BEYOND, FORGOTTEN, Line, StandingTables
from pgnet_trio.standings import PlayedGame
from pgnet_trio.standings.rating import BEGINNER, Skill

__all__ = ["SQLStandings"]

_LINES = "SELECT points, username FROM scores WHERE board = %s"

_RANGES = "SELECT low, low_name, players FROM score_ranges WHERE board = %s"


class SQLStandings(SQLOperations, StandingTables):
    """Results, leaderboards and histories, for one transaction; see `SQLNodes`."""

    def _require_owner(self, room: str, epoch: int) -> None:
        rows = self._tx.execute("SELECT epoch FROM rooms WHERE name = %t FOR SHARE", as_bytes(room))
        if not rows or rows[0][0] != epoch:
            raise Fenced(f"The room {room!r} is not owned in epoch {epoch} any more; let it go.")

    # Results

    def _result(self, id: bytes) -> PlayedGame | None:
        rows = self._tx.execute("SELECT played FROM results WHERE id = %s", id)
        if not rows:
            return None
        return decode_json(as_text(rows[0][0]), PlayedGame) if rows[0][0] else FORGOTTEN

    def _write_result(self, id: bytes, played: PlayedGame) -> None:
        # The same result, reported twice at once, is written once: the second transaction is done
        # anew, and finds what the first has written.
        self._tx.execute(
            "INSERT INTO results (id, played) VALUES (%s, %t)", id, as_bytes(encode_json(played))
        )

    def _write_history(self, player: str, id: bytes, most: int) -> None:
        self._tx.execute(
            "INSERT INTO histories (username, number, result) VALUES (%t, %s, %s)",
            as_bytes(player),
            self._tx.next_number(),
            id,
        )
        gone = self._tx.execute(
            "DELETE FROM histories WHERE username = %t AND number <="
            " (SELECT number FROM histories WHERE username = %t"
            " ORDER BY number DESC LIMIT 1 OFFSET %s) RETURNING result",
            as_bytes(player),
            as_bytes(player),
            most,
        )
        self._forget_results(gone)

    def _history(self, player: str, before: int | None, limit: int) -> list[tuple[int, PlayedGame]]:
        rows = self._tx.execute(
            "SELECT number, played FROM histories JOIN results ON results.id = histories.result"
            " WHERE username = %t AND number < %s ORDER BY number DESC LIMIT %s",
            as_bytes(player),
            2**62 if before is None else before,
            limit,
        )
        return [(number, decode_json(as_text(played), PlayedGame)) for number, played in rows]

    def _forget_history(self, player: str) -> None:
        gone = self._tx.execute(
            "DELETE FROM histories WHERE username = %t RETURNING result", as_bytes(player)
        )
        self._forget_results(gone)

    def _forget_results(self, results: Sequence[Row]) -> None:
        """Forget what is in no history any more, but not that it was counted."""
        for (id,) in sorted(results):
            self._tx.execute(
                "UPDATE results SET played = %t WHERE id = %s"
                " AND NOT EXISTS (SELECT 1 FROM histories WHERE result = %s)",
                b"",
                id,
                id,
            )

    def _lock_skill(self, queue: str, player: str) -> None:
        key = as_bytes(player), as_bytes(queue)
        # There has to be a row to be locked, also where two games make it at the same time.
        self._tx.execute(
            "INSERT INTO ratings (username, queue, mu, sigma) VALUES (%t, %t, %s, %s)"
            " ON CONFLICT (username, queue) DO NOTHING",
            *key,
            BEGINNER.mu,
            BEGINNER.sigma,
        )
        self._tx.execute(
            "SELECT username FROM ratings WHERE username = %t AND queue = %t FOR UPDATE", *key
        )

    def _write_deletion(self, player: str, now: float, most: int) -> None:
        self._tx.execute(
            "INSERT INTO deletions (username, deleted) VALUES (%t, %s)"
            " ON CONFLICT (username) DO UPDATE SET deleted = excluded.deleted",
            as_bytes(player),
            now,
        )
        self._tx.execute(
            "DELETE FROM deletions WHERE deleted <="
            " (SELECT deleted FROM deletions ORDER BY deleted DESC LIMIT 1 OFFSET %s)",
            most,
        )

    def _deleted_since(self, time: float, players: Sequence[str]) -> set[str]:
        if not players or time == math.inf:
            return set()
        names = ", ".join(["%t"] * len(players))
        rows = self._tx.execute(
            f"SELECT username FROM deletions WHERE deleted > %s AND username IN ({names})",  # noqa: S608 - placeholders
            time,
            *map(as_bytes, players),
        )
        return {as_text(player) for (player,) in rows}

    def _skill(self, queue: str, player: str) -> Skill:
        rows = self._tx.execute(
            "SELECT mu, sigma FROM ratings WHERE username = %t AND queue = %t",
            as_bytes(player),
            as_bytes(queue),
        )
        return Skill(*rows[0]) if rows else BEGINNER

    def _write_skill(self, queue: str, player: str, skill: Skill) -> None:
        self._tx.execute(
            "INSERT INTO ratings (username, queue, mu, sigma) VALUES (%t, %t, %s, %s)"
            " ON CONFLICT (username, queue) DO UPDATE SET mu = excluded.mu, sigma = excluded.sigma",
            as_bytes(player),
            as_bytes(queue),
            skill.mu,
            skill.sigma,
        )

    def _forget_skills(self, player: str) -> None:
        self._tx.execute("DELETE FROM ratings WHERE username = %t", as_bytes(player))

    # Leaderboards

    def _find_board(self, name: str) -> tuple[int, bool] | None:
        rows = self._tx.execute(
            "SELECT id, lowest_first FROM leaderboards WHERE name = %t", as_bytes(name)
        )
        return (rows[0][0], bool(rows[0][1])) if rows else None

    def _make_board(self, name: str, *, lowest_first: bool) -> int:
        key = self._tx.next_number()
        self._tx.execute(
            "INSERT INTO leaderboards (id, name, lowest_first) VALUES (%s, %t, %s)",
            key,
            as_bytes(name),
            int(lowest_first),
        )
        return key

    def _lock_board(self, key: int) -> None:
        self._tx.execute("SELECT id FROM leaderboards WHERE id = %s FOR UPDATE", key)

    def _boards_of(self, player: str) -> list[int]:
        rows = self._tx.execute(
            "SELECT board FROM scores WHERE username = %t ORDER BY board", as_bytes(player)
        )
        return [key for (key,) in rows]

    def _points(self, key: int, player: str) -> int | None:
        rows = self._tx.execute(
            "SELECT points FROM scores WHERE username = %t AND board = %s", as_bytes(player), key
        )
        return int(rows[0][0]) if rows else None

    def _write_points(self, key: int, player: str, points: int | None) -> None:
        if points is None:
            self._tx.execute(
                "DELETE FROM scores WHERE username = %t AND board = %s", as_bytes(player), key
            )
            return
        self._tx.execute(
            "INSERT INTO scores (username, board, points) VALUES (%t, %s, %s)"
            " ON CONFLICT (username, board) DO UPDATE SET points = excluded.points",
            as_bytes(player),
            key,
            points,
        )

    # Their ranges

    def _ranges(self, key: int) -> list[tuple[Line, int]]:
        rows = self._tx.execute(f"{_RANGES} ORDER BY low, low_name", key)
        return [_range(row) for row in rows]

    def _range_of(self, key: int, line: Line) -> tuple[Line, int]:
        (row,) = self._tx.execute(
            f"{_RANGES} AND (low, low_name) <= (%s, %t) ORDER BY low DESC, low_name DESC LIMIT 1",
            key,
            *_place(line),
        )
        return _range(row)

    def _range_before(self, key: int, low: Line) -> tuple[Line, int]:
        (row,) = self._tx.execute(
            f"{_RANGES} AND (low, low_name) < (%s, %t) ORDER BY low DESC, low_name DESC LIMIT 1",
            key,
            *_place(low),
        )
        return _range(row)

    def _write_range(self, key: int, low: Line, count: int | None) -> None:
        if count is None:
            self._tx.execute(
                "DELETE FROM score_ranges WHERE board = %s AND low = %s AND low_name = %t",
                key,
                *_place(low),
            )
            return
        self._tx.execute(
            "INSERT INTO score_ranges (board, low, low_name, players) VALUES (%s, %s, %t, %s)"
            " ON CONFLICT (board, low, low_name) DO UPDATE SET players = excluded.players",
            key,
            *_place(low),
            count,
        )

    def _count_before(self, key: int, low: Line | None) -> int:
        # PostgreSQL's sums of such numbers are of a type of their own.
        ((count,),) = self._tx.execute(
            "SELECT CAST(COALESCE(SUM(players), 0) AS BIGINT) FROM score_ranges"
            " WHERE board = %s AND (low, low_name) < (%s, %t)",
            key,
            *_place((BEYOND, "") if low is None else low),
        )
        return int(count)

    def _count_between(self, key: int, low: Line, high: Line) -> int:
        ((count,),) = self._tx.execute(
            "SELECT COUNT(*) FROM scores WHERE board = %s"
            " AND (points, username) >= (%s, %t) AND (points, username) < (%s, %t)",
            key,
            *_place(low),
            *_place(high),
        )
        return int(count)

    def _lines(self, key: int, low: Line, offset: int, limit: int) -> list[Line]:
        rows = self._tx.execute(
            f"{_LINES} AND (points, username) >= (%s, %t)"
            " ORDER BY points, username LIMIT %s OFFSET %s",
            key,
            *_place(low),
            limit,
            offset,
        )
        return [_line(row) for row in rows]

    def _lines_before(self, key: int, here: Line, limit: int) -> list[Line]:
        rows = self._tx.execute(
            f"{_LINES} AND (points, username) < (%s, %t)"
            " ORDER BY points DESC, username DESC LIMIT %s",
            key,
            *_place(here),
            limit,
        )
        return [_line(row) for row in rows]

    def _lines_after(self, key: int, here: Line, limit: int) -> list[Line]:
        rows = self._tx.execute(
            f"{_LINES} AND (points, username) > (%s, %t) ORDER BY points, username LIMIT %s",
            key,
            *_place(here),
            limit,
        )
        return [_line(row) for row in rows]


def _place(line: Line) -> tuple[int, bytes]:
    points, player = line
    return points, as_bytes(player)


def _line(row: Row) -> Line:
    points, player = row
    return points, as_text(player)


def _range(row: Row) -> tuple[Line, int]:
    low, name, count = row
    return (low, as_text(name)), count

"""Results and leaderboards in SQL."""

from __future__ import annotations

from collections.abc import Sequence

from pgnet_trio.codec import decode_json, encode_json
from pgnet_trio.server.cluster.errors import Fenced
from pgnet_trio.server.cluster.sql import Row, SQLOperations, as_bytes, as_text
from pgnet_trio.server.cluster.standing_tables import FORGOTTEN, Line, StandingTables
from pgnet_trio.standings import PlayedGame
from pgnet_trio.standings.rating import BEGINNER, Skill

__all__ = ["SQLStandings"]

_LINES = "SELECT username, points FROM scores WHERE board = %s"


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

    def _ranges(self, key: int) -> list[tuple[int, int]]:
        rows = self._tx.execute(
            "SELECT low, players FROM score_ranges WHERE board = %s ORDER BY low", key
        )
        return [(low, players) for low, players in rows]

    def _range_of(self, key: int, points: int) -> tuple[int, int]:
        ((low, players),) = self._tx.execute(
            "SELECT low, players FROM score_ranges WHERE board = %s AND low <= %s"
            " ORDER BY low DESC LIMIT 1",
            key,
            points,
        )
        return low, players

    def _next_range(self, key: int, low: int) -> int | None:
        ((found,),) = self._tx.execute(
            "SELECT MIN(low) FROM score_ranges WHERE board = %s AND low > %s", key, low
        )
        return None if found is None else int(found)

    def _write_range(self, key: int, low: int, players: int | None) -> None:
        if players is None:
            self._tx.execute("DELETE FROM score_ranges WHERE board = %s AND low = %s", key, low)
            return
        self._tx.execute(
            "INSERT INTO score_ranges (board, low, players) VALUES (%s, %s, %s)"
            " ON CONFLICT (board, low) DO UPDATE SET players = excluded.players",
            key,
            low,
            players,
        )

    def _count_before(self, key: int, low: int | None) -> int:
        # PostgreSQL's sums of such numbers are of a type of their own.
        ((players,),) = self._tx.execute(
            "SELECT CAST(COALESCE(SUM(players), 0) AS BIGINT) FROM score_ranges"
            " WHERE board = %s AND low < %s",
            key,
            2**62 if low is None else low,
        )
        return int(players)

    def _count_between(self, key: int, low: int, high: int | None) -> int:
        ((count,),) = self._tx.execute(
            "SELECT COUNT(*) FROM scores WHERE board = %s AND points >= %s AND points < %s",
            key,
            low,
            2**62 if high is None else high,
        )
        return int(count)

    def _points_at(self, key: int, low: int, offset: int) -> int:
        ((points,),) = self._tx.execute(
            "SELECT points FROM scores WHERE board = %s AND points >= %s"
            " ORDER BY points, username LIMIT 1 OFFSET %s",
            key,
            low,
            offset,
        )
        return int(points)

    def _points_above(self, key: int, points: int) -> int | None:
        ((found,),) = self._tx.execute(
            "SELECT MIN(points) FROM scores WHERE board = %s AND points > %s", key, points
        )
        return None if found is None else int(found)

    def _lines(self, key: int, low: int, offset: int, limit: int) -> list[Line]:
        rows = self._tx.execute(
            f"{_LINES} AND points >= %s ORDER BY points, username LIMIT %s OFFSET %s",
            key,
            low,
            limit,
            offset,
        )
        return [(as_text(player), points) for player, points in rows]

    def _lines_before(self, key: int, here: Line, limit: int) -> list[Line]:
        rows = self._tx.execute(
            f"{_LINES} AND (points, username) < (%s, %t)"
            " ORDER BY points DESC, username DESC LIMIT %s",
            key,
            here[1],
            as_bytes(here[0]),
            limit,
        )
        return [(as_text(player), points) for player, points in rows]

    def _lines_after(self, key: int, here: Line, limit: int) -> list[Line]:
        rows = self._tx.execute(
            f"{_LINES} AND (points, username) > (%s, %t) ORDER BY points, username LIMIT %s",
            key,
            here[1],
            as_bytes(here[0]),
            limit,
        )
        return [(as_text(player), points) for player, points in rows]

"""Users' sessions and mail in SQL; with the rest, all tables of an engine."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pgnet_trio.server.cluster.errors import Fenced, LoggedInLater
from pgnet_trio.server.cluster.records import (
    Entered,
    Mail,
    Moment,
    MovingSession,
    SessionRow,
)
from pgnet_trio.server.cluster.rules import is_later, logged_in_later, no_such_session
from pgnet_trio.server.cluster.sql import as_bytes, as_text
from pgnet_trio.server.cluster.sql_accounts import SQLAccounts
from pgnet_trio.server.cluster.sql_nodes import holds

__all__ = ["SQLTables"]


class SQLTables(SQLAccounts):
    """All that the servers of a cluster share, for one transaction; see `SQLNodes`."""

    # Users who are there, and mail

    def enter(
        self,
        node: int,
        username: str,
        token: bytes,
        operation: bytes,
        asked: Moment | None = None,
    ) -> Entered:
        """See `Engine.enter`."""
        done = self._done(operation)
        if done is not None:
            epoch, before = done
            return Entered(epoch, None if before is None else _session(username, before))
        nodes, now = self._locked_nodes([node])
        self._require_lease(nodes, node, now)
        known = None if asked is None else self._note_asked(username, asked)
        rows = self._tx.execute(
            "SELECT node, epoch, token FROM sessions WHERE username = %t FOR UPDATE",
            as_bytes(username),
        )
        if asked is not None and known is not None and known != asked.earliest:
            if rows and is_later(known, asked, now):
                raise LoggedInLater(logged_in_later(username))
            self._tx.execute(
                "UPDATE log_ins SET asked = %s WHERE username = %t",
                asked.earliest,
                as_bytes(username),
            )
        epoch = self._tx.next_number()
        self._tx.execute(
            "INSERT INTO sessions (username, node, epoch, token) VALUES (%t, %s, %s, %s)"
            " ON CONFLICT (username) DO UPDATE SET node = excluded.node, epoch = excluded.epoch,"
            " token = excluded.token, room = NULL, packed = NULL",
            as_bytes(username),
            node,
            epoch,
            token,
        )
        row = None
        if rows:
            row = [rows[0][0], rows[0][1], rows[0][2].hex()]
        self._note(operation, epoch, row)
        return Entered(epoch, None if row is None else _session(username, row))

    def _note_asked(self, username: str, asked: Moment) -> float:
        """Note when a log-in was asked for, unless that of another one is; return what is noted.

        Two log-ins of one user are one after the other from here on.
        """
        ((known,),) = self._tx.execute(
            "INSERT INTO log_ins (username, asked) VALUES (%t, %s)"
            " ON CONFLICT (username) DO UPDATE SET asked = log_ins.asked RETURNING asked",
            as_bytes(username),
            asked.earliest,
        )
        return float(known)

    def leave(self, username: str, epoch: int) -> None:
        """See `Engine.leave`."""
        self._tx.execute(
            "DELETE FROM sessions WHERE username = %t AND epoch = %s", as_bytes(username), epoch
        )

    def pass_session(self, session: MovingSession, to: int, operation: bytes) -> int:
        """See `Engine.pass_session`."""
        done = self._done(operation)
        if done is not None:
            return int(done[0])
        # The node before the session, as `enter` does: two would wait for each other otherwise.
        nodes, now = self._locked_nodes([to])
        self._require_session(session.username, session.epoch)
        self._require_taker(nodes, to, now)
        epoch = self._tx.next_number()
        self._tx.execute(
            "UPDATE sessions SET node = %s, epoch = %s, room = NULL, packed = %s"
            " WHERE username = %t",
            to,
            epoch,
            session.packed,
            as_bytes(session.username),
        )
        self._tx.woken.add(to)
        self._note(operation, epoch)
        return epoch

    def passed_sessions(self, node: int, after: int, limit: int) -> list[SessionRow]:
        """See `Engine.passed_sessions`."""
        rows = self._tx.execute(
            "SELECT username, node, epoch, token, packed FROM sessions"
            " WHERE node = %s AND epoch > %s AND room IS NULL AND packed IS NOT NULL"
            " ORDER BY epoch LIMIT %s",
            node,
            after,
            limit,
        )
        return [SessionRow(as_text(username), *rest) for username, *rest in rows]

    def accept_session(self, username: str, epoch: int, operation: bytes) -> None:
        """See `Engine.accept_session`."""
        if self._done(operation) is None:
            self._require_session(username, epoch)
            self._tx.execute(
                "UPDATE sessions SET packed = NULL WHERE username = %t", as_bytes(username)
            )
            self._note(operation)

    def _require_session(self, username: str, epoch: int) -> None:
        """Lock a user's session, if it still is the one of this epoch."""
        rows = self._tx.execute(
            "SELECT epoch FROM sessions WHERE username = %t FOR UPDATE", as_bytes(username)
        )
        if not rows or rows[0][0] != epoch:
            raise Fenced(no_such_session(username, epoch))

    def find_session(self, username: str) -> SessionRow | None:
        """See `Engine.find_session`."""
        rows = self._tx.execute(
            "SELECT node, epoch, token, packed FROM sessions WHERE username = %t",
            as_bytes(username),
        )
        if not rows or not self._alive(rows[0][0]):
            return None
        return SessionRow(username, *rows[0])

    def online(self, after: str, limit: int) -> list[SessionRow]:
        """See `Engine.online`."""
        now = self._tx.now()
        alive = [node.id for node in self.nodes() if node.alive]
        found: list[SessionRow] = []
        start = as_bytes(after)
        while alive and len(found) < limit:
            rows = self._tx.execute(
                "SELECT username, sessions.node, epoch, token, renewed, expires FROM sessions"
                " JOIN nodes ON nodes.id = sessions.node WHERE username > %t"
                " ORDER BY username LIMIT %s",
                start,
                limit,
            )
            for username, node, epoch, token, *lease in rows:
                if holds((None,) * 6 + tuple(lease), now):
                    found.append(SessionRow(as_text(username), node, epoch, token))
            if len(rows) < limit:
                break
            start = rows[-1][0]
        return found[:limit]

    def _tell_nodes(self, note: bytes, operation: bytes) -> None:
        alive = [node.id for node in self.nodes() if node.alive]
        self.send_mail(alive, note, operation)

    def send_mail(self, to: Collection[int], body: bytes, operation: bytes) -> frozenset[int]:
        """See `Engine.send_mail`."""
        done = self._done(operation)
        if done is not None:
            return frozenset(done[0])
        reached = [node for node in sorted(set(to)) if self._leave_mail(node, body)]
        self._note(operation, reached)
        return frozenset(reached)

    def read_mail(self, node: int, done: Collection[int], limit: int) -> list[Mail]:
        """See `Engine.read_mail`."""
        for number in sorted(done):
            self._tx.execute("DELETE FROM mail WHERE id = %s AND node = %s", number, node)
        rows = self._tx.execute(
            "SELECT id, body FROM mail WHERE node = %s ORDER BY id LIMIT %s", node, limit
        )
        return [Mail(number, body) for number, body in rows]


def _session(username: str, row: list[Any]) -> SessionRow:
    node, epoch, token = row
    return SessionRow(username, node, epoch, bytes.fromhex(token))

"""Users, their sessions and mail in SQL; with the rest, all tables of an engine."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pgnet_trio.server.cluster.errors import Fenced, NodeUnavailable
from pgnet_trio.server.cluster.records import (
    Entered,
    Mail,
    MovingSession,
    Registration,
    SessionRow,
)
from pgnet_trio.server.cluster.rules import MAX_MAIL, no_such_session, unavailable
from pgnet_trio.server.cluster.sql import as_bytes, as_text
from pgnet_trio.server.cluster.sql_nodes import holds
from pgnet_trio.server.cluster.sql_rooms import SQLRooms
from pgnet_trio.server.cluster.tables import Tables
from pgnet_trio.storage.interface import TokenRecord, UserRecord

__all__ = ["SQLTables"]

_LEASE_OF = "SELECT renewed, expires FROM nodes WHERE id = %s"
_WRITE_USER = """
    INSERT INTO users (name, salt, password) VALUES (%t, %t, %t)
    ON CONFLICT (name) DO UPDATE SET salt = excluded.salt, password = excluded.password
"""


class SQLTables(SQLRooms, Tables):
    """All that the servers of a cluster share, for one transaction; see `SQLNodes`."""

    # Users who are there, and mail

    def enter(self, node: int, username: str, token: bytes, operation: bytes) -> Entered:
        """See `Engine.enter`."""
        done = self._done(operation)
        if done is not None:
            epoch, before = done
            return Entered(epoch, None if before is None else _session(username, before))
        nodes, now = self._locked_nodes([node])
        self._require_lease(nodes, node, now)
        rows = self._tx.execute(
            "SELECT node, epoch, token FROM sessions WHERE username = %t FOR UPDATE",
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
        if to not in nodes or not holds(nodes[to], now):
            raise NodeUnavailable(unavailable(to))
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

    def _alive(self, node: int) -> bool:
        rows = self._tx.execute(_LEASE_OF, node)
        return bool(rows) and holds((None,) * 6 + rows[0], self._tx.now())

    def send_mail(self, to: Collection[int], body: bytes, operation: bytes) -> frozenset[int]:
        """See `Engine.send_mail`."""
        done = self._done(operation)
        if done is not None:
            return frozenset(done[0])
        reached = []
        for node in sorted(set(to)):
            (row,) = self._tx.execute("SELECT COUNT(*) FROM mail WHERE node = %s", node)
            if row[0] < MAX_MAIL and self._alive(node):
                self._tx.execute(
                    "INSERT INTO mail (id, node, body) VALUES (%s, %s, %s)",
                    self._tx.next_number(),
                    node,
                    body,
                )
                reached.append(node)
        self._tx.woken |= set(reached)
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

    # Accounts

    def find_user(self, name: str) -> UserRecord | None:
        """See `Engine.find_user`."""
        rows = self._tx.execute("SELECT salt, password FROM users WHERE name = %t", as_bytes(name))
        return UserRecord(name, *map(as_text, rows[0])) if rows else None

    def usernames(self, after: str, limit: int) -> list[str]:
        """See `Engine.usernames`."""
        rows = self._tx.execute(
            "SELECT name FROM users WHERE name > %t ORDER BY name LIMIT %s", as_bytes(after), limit
        )
        return [as_text(name) for (name,) in rows]

    def register_user(
        self, user: UserRecord, code: str, registration_enabled: bool, operation: bytes
    ) -> Registration:
        """See `Engine.register_user`."""
        if self._done(operation) is not None:
            return "done"
        # Nobody else may register a name that looks like this one meanwhile.
        self._tx.lock_names()
        refusal = self._refusal(user.name)
        if refusal is not None:
            return refusal
        if code:
            used = self._tx.execute(
                "DELETE FROM invite_codes WHERE code = %t AND username IN (%t, %t) RETURNING code",
                *map(as_bytes, (code, "", user.name)),
            )
            if not used:
                return "bad code"
        else:
            switch = self.registration()
            if not (registration_enabled if switch is None else switch):
                return "code needed"
        self._tx.execute(_WRITE_USER, *map(as_bytes, (user.name, user.salt, user.password)))
        self._note(operation)
        return "done"

    def _refusal(self, name: str) -> Registration | None:
        if self.find_user(name) is not None:
            return "taken"
        # New names are of ASCII letters and digits, whose lower case is the same everywhere.
        statement = "SELECT name FROM users WHERE LOWER_OF(name) = LOWER_OF(%t) LIMIT 1"
        similar = self._tx.execute(statement, as_bytes(name))
        return "too similar" if similar else None

    def replace_user(self, old: UserRecord, new: UserRecord) -> bool:
        """See `Engine.replace_user`."""
        self._tx.execute("SELECT name FROM users WHERE name = %t FOR UPDATE", as_bytes(old.name))
        now = self.find_user(old.name)
        if now == new:
            return True
        if now != old:
            return False
        self._tx.execute(_WRITE_USER, *map(as_bytes, (new.name, new.salt, new.password)))
        self._tx.execute("DELETE FROM tokens WHERE username = %t", as_bytes(old.name))
        return True

    def delete_user(self, name: str, operation: bytes) -> bool:
        """See `Engine.delete_user`."""
        if self._done(operation) is not None:
            return True
        gone = self._tx.execute("DELETE FROM users WHERE name = %t RETURNING name", as_bytes(name))
        if not gone:
            return False
        self._tx.execute("DELETE FROM tokens WHERE username = %t", as_bytes(name))
        self._note(operation)
        return True

    def add_invite(self, code: str, username: str) -> Registration:
        """See `Engine.add_invite`."""
        refusal = self._refusal(username) if username else None
        if refusal is None:
            self._tx.execute(
                "INSERT INTO invite_codes (code, username) VALUES (%t, %t)"
                " ON CONFLICT (code) DO UPDATE SET username = excluded.username",
                *map(as_bytes, (code, username)),
            )
        return refusal or "done"

    def invites(self) -> dict[str, str]:
        """See `Engine.invites`."""
        rows = self._tx.execute("SELECT code, username FROM invite_codes")
        return {as_text(code): as_text(username) for code, username in rows}

    def registration(self) -> bool | None:
        """See `Engine.registration`."""
        rows = self._tx.execute("SELECT value FROM settings WHERE name = 'registration'")
        return bool(rows[0][0]) if rows else None

    def set_registration(self, enabled: bool) -> None:
        """See `Engine.set_registration`."""
        self._tx.execute(
            "INSERT INTO settings (name, value) VALUES ('registration', %s)"
            " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            int(enabled),
        )

    def tokens_of(self, username: str) -> list[TokenRecord]:
        """See `Engine.tokens_of`."""
        rows = self._tx.execute(
            "SELECT digest, expires FROM tokens WHERE username = %t ORDER BY expires, digest",
            as_bytes(username),
        )
        return [TokenRecord(username, digest, expires) for digest, expires in rows]

    def add_token(self, token: TokenRecord, instead_of: bytes, limit: int) -> None:
        """See `Engine.add_token`."""
        name = as_bytes(token.username)
        # One at a time for each user, so that there are never too many.
        if not self._tx.execute("SELECT name FROM users WHERE name = %t FOR UPDATE", name):
            return
        mine = self.tokens_of(token.username)
        rest = [old for old in mine if old.digest not in (instead_of, token.digest)]
        kept = rest[max(0, len(rest) - limit + 1) :]
        for old in mine:
            if old not in kept:
                self._tx.execute("DELETE FROM tokens WHERE digest = %s", old.digest)
        self._tx.execute(
            "INSERT INTO tokens (digest, username, expires) VALUES (%s, %t, %s)"
            " ON CONFLICT (digest) DO UPDATE SET username = excluded.username,"
            " expires = excluded.expires",
            token.digest,
            name,
            token.expires,
        )

    def note_failures(self, keys: Collection[str]) -> None:
        """See `Engine.note_failures`."""
        now = self._tx.now()
        for key in sorted(keys):
            self._tx.execute("INSERT INTO failures (key, time) VALUES (%t, %s)", as_bytes(key), now)

    def count_failures(self, keys: Collection[str], window: float) -> dict[str, int]:
        """See `Engine.count_failures`."""
        since = self._tx.now() - window
        counts = {}
        for key in keys:
            (row,) = self._tx.execute(
                "SELECT COUNT(*) FROM failures WHERE key = %t AND time > %s", as_bytes(key), since
            )
            counts[key] = row[0]
        return counts


def _session(username: str, row: list[Any]) -> SessionRow:
    node, epoch, token = row
    return SessionRow(username, node, epoch, bytes.fromhex(token))

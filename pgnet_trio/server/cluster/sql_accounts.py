"""Users, invite codes, tokens and failed log-ins in SQL."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from pgnet_trio.server.admission import MAX_KNOWN_ADDRESSES
from pgnet_trio.server.cluster.records import (
    Admission,
    Admitted,
    Lookup,
    NotAdmitted,
    Registration,
    SessionRow,
)
from pgnet_trio.server.cluster.sql import as_bytes, as_text
from pgnet_trio.server.cluster.sql_rooms import SQLRooms
from pgnet_trio.server.cluster.tables import Tables
from pgnet_trio.storage.interface import TokenRecord, UserRecord

__all__ = ["SQLAccounts"]

_WRITE_USER = """
    INSERT INTO users (name, salt, password) VALUES (%t, %t, %t)
    ON CONFLICT (name) DO UPDATE SET salt = excluded.salt, password = excluded.password
"""
_LOCK_USER = "SELECT name FROM users WHERE name = %t FOR UPDATE"


class SQLAccounts(SQLRooms, Tables):
    """Who may log in, for one transaction; see `SQLNodes`."""

    def look_up(
        self, name: str, code: str, keys: Mapping[str, float], registration_enabled: bool
    ) -> Lookup:
        """See `Engine.look_up`."""
        session = self.find_session(name)
        node = None
        if session is not None:
            (node,) = (one for one in self.nodes() if one.id == session.node)
        refusal = self._refusal(name) or self._code_refusal(name, code, registration_enabled)
        now = self._tx.now()
        return Lookup(
            self.find_user(name),
            tuple(self.tokens_of(name)),
            refusal or "done",
            self._similar(name),
            tuple(as_text(place) for place in self._places(name)),
            {key: self._count(key, now - window, now) for key, window in keys.items()},
            session,
            node,
        )

    def admit(self, admission: Admission, limit: int, operation: bytes) -> Admitted | NotAdmitted:
        """See `Engine.admit`."""
        name, node = admission.username, admission.node
        if node is not None and self._done(operation) is not None:
            return Admitted(self.enter(node, name, admission.session_token, operation))
        if admission.user is not None:
            self._tx.execute(_LOCK_USER, as_bytes(name))
            now = self.find_user(name)
            if now != admission.user:
                return NotAdmitted(now)
        entered = None
        if node is not None:
            entered = self.enter(node, name, admission.session_token, operation)
        if admission.place:
            self._note_place(name, as_bytes(admission.place))
        if admission.token is not None:
            self.add_token(admission.token, admission.instead_of, limit)
        return Admitted(entered)

    def _places(self, name: str) -> list[bytes]:
        rows = self._tx.execute(
            "SELECT place FROM places WHERE username = %t ORDER BY number", as_bytes(name)
        )
        return [place for (place,) in rows]

    def _note_place(self, name: str, place: bytes) -> None:
        places = self._places(name)
        if places[-1:] == [place]:
            return
        others = [other for other in places if other != place]
        for other in others[: max(0, len(others) - MAX_KNOWN_ADDRESSES + 1)]:
            self._tx.execute(
                "DELETE FROM places WHERE username = %t AND place = %t", as_bytes(name), other
            )
        self._tx.execute(
            "INSERT INTO places (username, place, number) VALUES (%t, %t, %s)"
            " ON CONFLICT (username, place) DO UPDATE SET number = excluded.number",
            as_bytes(name),
            place,
            self._tx.next_number(),
        )

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
        self,
        user: UserRecord,
        code: str,
        registration_enabled: bool,
        counted: Collection[str],
        operation: bytes,
    ) -> Registration:
        """See `Engine.register_user`."""
        if self._done(operation) is not None:
            return "done"
        # Nobody else may register a name that looks like this one meanwhile, nor use this code.
        self._tx.lock_names()
        refusal = self._refusal(user.name) or self._code_refusal(
            user.name, code, registration_enabled
        )
        if refusal is not None:
            return refusal
        if code:
            self._tx.execute("DELETE FROM invite_codes WHERE code = %t", as_bytes(code))
        self._tx.execute(_WRITE_USER, *map(as_bytes, (user.name, user.salt, user.password)))
        self.note_failures(counted)
        self._note(operation)
        return "done"

    def _refusal(self, name: str) -> Registration | None:
        if self.find_user(name) is not None:
            return "taken"
        if self._similar(name):
            return "too similar"
        return "leaving" if self.find_session(name) is not None else None

    def _similar(self, name: str) -> str:
        # New names are of ASCII letters and digits, whose lower case is the same everywhere.
        rows = self._tx.execute(
            "SELECT name FROM users WHERE LOWER_OF(name) = LOWER_OF(%t) AND name <> %t"
            " ORDER BY name LIMIT 1",
            as_bytes(name),
            as_bytes(name),
        )
        return as_text(rows[0][0]) if rows else ""

    def _code_refusal(
        self, name: str, code: str, registration_enabled: bool
    ) -> Registration | None:
        if code:
            rows = self._tx.execute(
                "SELECT username FROM invite_codes WHERE code = %t", as_bytes(code)
            )
            is_good = bool(rows) and as_text(rows[0][0]) in ("", name)
            return None if is_good else "bad code"
        switch = self.registration()
        enabled = registration_enabled if switch is None else switch
        return None if enabled else "code needed"

    def replace_user(self, old: UserRecord, new: UserRecord) -> bool:
        """See `Engine.replace_user`."""
        self._tx.execute(_LOCK_USER, as_bytes(old.name))
        now = self.find_user(old.name)
        if now == new:
            return True
        if now != old:
            return False
        self._tx.execute(_WRITE_USER, *map(as_bytes, (new.name, new.salt, new.password)))
        self._tx.execute("DELETE FROM tokens WHERE username = %t", as_bytes(old.name))
        return True

    def delete_user(
        self, name: str, note: Callable[[SessionRow], bytes] | None, operation: bytes
    ) -> bool:
        """See `Engine.delete_user`."""
        if self._done(operation) is not None:
            return True
        gone = self._tx.execute("DELETE FROM users WHERE name = %t RETURNING name", as_bytes(name))
        if not gone:
            return False
        for table in ("tokens", "places"):
            self._tx.execute(f"DELETE FROM {table} WHERE username = %t", as_bytes(name))  # noqa: S608 - a constant
        # A log-in at the same time was committed before, or will find nobody.
        session = self.find_session(name)
        if note is not None and session is not None:
            self.send_mail([session.node], note(session), operation + b" mail")
        self._note(operation)
        return True

    def count_accounts(self) -> tuple[int, int]:
        """See `Engine.count_accounts`."""
        ((users,),) = self._tx.execute("SELECT COUNT(*) FROM users")
        ((codes,),) = self._tx.execute("SELECT COUNT(*) FROM invite_codes")
        return users, codes

    def add_invite(self, code: str, username: str) -> Registration:
        """See `Engine.add_invite`."""
        refusal = self._refusal(username) if username else None
        # Who was deleted is gone when the code is used.
        if refusal is None or refusal == "leaving":
            self._tx.execute(
                "INSERT INTO invite_codes (code, username) VALUES (%t, %t)"
                " ON CONFLICT (code) DO UPDATE SET username = excluded.username",
                *map(as_bytes, (code, username)),
            )
            return "done"
        return refusal

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
        if not self._tx.execute(_LOCK_USER, name):
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
        now = self._tx.now()
        return {key: self._count(key, now - window, now) for key in keys}

    def _count(self, key: str, since: float, now: float) -> int:
        # One that is still to come was counted before the clock was set back.
        ((count,),) = self._tx.execute(
            "SELECT COUNT(*) FROM failures WHERE key = %t AND time > %s AND time <= %s",
            as_bytes(key),
            since,
            now,
        )
        return int(count)

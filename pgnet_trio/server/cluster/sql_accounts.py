"""Users, invite codes, tokens and failed log-ins in SQL."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from pgnet_trio.server.cluster.account_tables import AccountTables
from pgnet_trio.server.cluster.sql import as_bytes, as_text
from pgnet_trio.server.cluster.sql_rooms import SQLRooms
from pgnet_trio.storage.interface import TokenRecord, UserRecord

__all__ = ["SQLAccounts"]


class SQLAccounts(SQLRooms, AccountTables):
    """The accounts, for one transaction; see `SQLNodes`."""

    def _lock_names(self) -> None:
        self._tx.lock_names()

    def _lock_user(self, name: str) -> None:
        self._tx.execute("SELECT name FROM users WHERE name = %t FOR UPDATE", as_bytes(name))

    # Users

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

    def count_accounts(self) -> tuple[int, int]:
        """See `Engine.count_accounts`."""
        ((users,),) = self._tx.execute("SELECT COUNT(*) FROM users")
        ((codes,),) = self._tx.execute("SELECT COUNT(*) FROM invite_codes")
        return users, codes

    def _similar(self, name: str) -> str:
        # New names are of ASCII letters and digits, whose lower case is the same everywhere.
        rows = self._tx.execute(
            "SELECT name FROM users WHERE LOWER_OF(name) = LOWER_OF(%t) AND name <> %t"
            " ORDER BY name LIMIT 1",
            as_bytes(name),
            as_bytes(name),
        )
        return as_text(rows[0][0]) if rows else ""

    def _write_user(self, user: UserRecord) -> None:
        self._tx.execute(
            "INSERT INTO users (name, salt, password) VALUES (%t, %t, %t)"
            " ON CONFLICT (name) DO UPDATE SET salt = excluded.salt, password = excluded.password",
            *map(as_bytes, (user.name, user.salt, user.password)),
        )

    def _remove_user(self, name: str) -> bool:
        gone = self._tx.execute("DELETE FROM users WHERE name = %t RETURNING name", as_bytes(name))
        if gone:
            self._remove_tokens(name)
            for table in ("places", "log_ins"):
                statement = f"DELETE FROM {table} WHERE username = %t"  # noqa: S608 - a constant
                self._tx.execute(statement, as_bytes(name))
        return bool(gone)

    def _places(self, name: str) -> list[str]:
        rows = self._tx.execute(
            "SELECT place FROM places WHERE username = %t ORDER BY number", as_bytes(name)
        )
        return [as_text(place) for (place,) in rows]

    def _write_place(self, name: str, place: str, gone: Sequence[str]) -> None:
        for other in gone:
            self._tx.execute(
                "DELETE FROM places WHERE username = %t AND place = %t",
                as_bytes(name),
                as_bytes(other),
            )
        self._tx.execute(
            "INSERT INTO places (username, place, number) VALUES (%t, %t, %s)"
            " ON CONFLICT (username, place) DO UPDATE SET number = excluded.number",
            as_bytes(name),
            as_bytes(place),
            self._tx.next_number(),
        )

    # Invite codes, and the switch

    def invites(self) -> dict[str, str]:
        """See `Engine.invites`."""
        rows = self._tx.execute("SELECT code, username FROM invite_codes")
        return {as_text(code): as_text(username) for code, username in rows}

    def _code_is_for(self, code: str) -> str | None:
        rows = self._tx.execute("SELECT username FROM invite_codes WHERE code = %t", as_bytes(code))
        return as_text(rows[0][0]) if rows else None

    def _write_code(self, code: str, username: str) -> None:
        self._tx.execute(
            "INSERT INTO invite_codes (code, username) VALUES (%t, %t)"
            " ON CONFLICT (code) DO UPDATE SET username = excluded.username",
            *map(as_bytes, (code, username)),
        )

    def _remove_code(self, code: str) -> None:
        self._tx.execute("DELETE FROM invite_codes WHERE code = %t", as_bytes(code))

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

    # Tokens, and failures

    def tokens_of(self, username: str) -> list[TokenRecord]:
        """See `Engine.tokens_of`."""
        rows = self._tx.execute(
            "SELECT digest, expires FROM tokens WHERE username = %t ORDER BY expires, digest",
            as_bytes(username),
        )
        return [TokenRecord(username, digest, expires) for digest, expires in rows]

    def _write_token(self, token: TokenRecord, gone: Sequence[bytes]) -> None:
        for digest in gone:
            self._tx.execute("DELETE FROM tokens WHERE digest = %s", digest)
        self._tx.execute(
            "INSERT INTO tokens (digest, username, expires) VALUES (%s, %t, %s)"
            " ON CONFLICT (digest) DO UPDATE SET username = excluded.username,"
            " expires = excluded.expires",
            token.digest,
            as_bytes(token.username),
            token.expires,
        )

    def _remove_tokens(self, name: str) -> None:
        self._tx.execute("DELETE FROM tokens WHERE username = %t", as_bytes(name))

    def note_failures(self, keys: Collection[str]) -> None:
        """See `Engine.note_failures`."""
        now = self._tx.now()
        for key in sorted(keys):
            self._tx.execute("INSERT INTO failures (key, time) VALUES (%t, %s)", as_bytes(key), now)

    def _count(self, key: str, window: float) -> int:
        now = self._tx.now()
        ((count,),) = self._tx.execute(
            "SELECT COUNT(*) FROM failures WHERE key = %t AND time > %s AND time <= %s",
            as_bytes(key),
            now - window,
            now,
        )
        return int(count)

"""Bans, roles, codes, profiles and the audit log in SQL."""

from __future__ import annotations

from pgnet_trio.server.bans import Ban
from pgnet_trio.server.cluster.moderation_records import (
    MAX_AUDIT,
    AuditEntry,
    Profile,
    ResetCode,
)
from pgnet_trio.server.cluster.moderation_tables import ModerationTables
from pgnet_trio.server.cluster.sql import SQLOperations, as_bytes, as_text

__all__ = ["SQLModeration"]


class SQLModeration(SQLOperations, ModerationTables):
    """What is in the tables of moderation, for one transaction; see `SQLNodes`."""

    def _lock_moderation(self) -> None:
        self._tx.lock_names()

    def bans(self) -> list[Ban]:
        """See `Moderation.bans`."""
        rows = self._tx.execute(
            "SELECT subject, reason, banned_by, made, ends FROM bans ORDER BY subject"
        )
        return [
            Ban(as_text(subject), as_text(reason), as_text(by), made, ends)
            for subject, reason, by, made, ends in rows
        ]

    def _tell_nodes(self, note: bytes, operation: bytes) -> None:
        """Do nothing: a server alone knows already."""

    def _write_ban(self, ban: Ban) -> None:
        self._tx.execute(
            "INSERT INTO bans (subject, reason, banned_by, made, ends)"
            " VALUES (%t, %t, %t, %s, %s)"
            " ON CONFLICT (subject) DO UPDATE SET reason = excluded.reason,"
            " banned_by = excluded.banned_by, made = excluded.made, ends = excluded.ends",
            *map(as_bytes, (ban.subject, ban.reason, ban.by)),
            ban.made,
            ban.ends,
        )

    def _remove_ban(self, subject: str) -> None:
        self._tx.execute("DELETE FROM bans WHERE subject = %t", as_bytes(subject))

    def role(self, username: str) -> str:
        """See `Moderation.role`."""
        rows = self._tx.execute("SELECT role FROM roles WHERE username = %t", as_bytes(username))
        return as_text(rows[0][0]) if rows else ""

    def roles(self) -> dict[str, str]:
        """See `Moderation.roles`."""
        rows = self._tx.execute("SELECT username, role FROM roles ORDER BY username")
        return {as_text(username): as_text(role) for username, role in rows}

    def _write_role(self, username: str, role: str) -> None:
        self._tx.execute(
            "INSERT INTO roles (username, role) VALUES (%t, %t)"
            " ON CONFLICT (username) DO UPDATE SET role = excluded.role",
            *map(as_bytes, (username, role)),
        )

    def _remove_role(self, username: str) -> None:
        self._tx.execute("DELETE FROM roles WHERE username = %t", as_bytes(username))

    def _reset_code(self, username: str) -> ResetCode:
        rows = self._tx.execute(
            "SELECT digest, expires, used_by FROM reset_codes WHERE username = %t",
            as_bytes(username),
        )
        return ResetCode(*rows[0]) if rows else ResetCode()

    def _lock_reset_code(self, username: str) -> None:
        self._tx.execute(
            "SELECT username FROM reset_codes WHERE username = %t FOR UPDATE", as_bytes(username)
        )

    def _write_reset_code(self, username: str, code: ResetCode) -> None:
        self._tx.execute(
            "INSERT INTO reset_codes (username, digest, expires, used_by) VALUES (%t, %s, %s, %s)"
            " ON CONFLICT (username) DO UPDATE SET digest = excluded.digest,"
            " expires = excluded.expires, used_by = excluded.used_by",
            as_bytes(username),
            code.digest,
            code.expires,
            code.used_by,
        )

    def _remove_reset_code(self, username: str) -> None:
        self._tx.execute("DELETE FROM reset_codes WHERE username = %t", as_bytes(username))

    def profile(self, username: str) -> Profile:
        """See `Moderation.profile`."""
        rows = self._tx.execute(
            "SELECT version, data FROM profiles WHERE username = %t", as_bytes(username)
        )
        return Profile(rows[0][0], as_text(rows[0][1])) if rows else Profile()

    def _lock_profile(self, username: str) -> None:
        self._tx.execute(
            "INSERT INTO profiles (username, version, data) VALUES (%t, 0, %t)"
            " ON CONFLICT (username) DO NOTHING",
            *map(as_bytes, (username, "")),
        )
        self._tx.execute(
            "SELECT username FROM profiles WHERE username = %t FOR UPDATE", as_bytes(username)
        )

    def _write_profile(self, username: str, profile: Profile) -> None:
        self._tx.execute(
            "UPDATE profiles SET version = %s, data = %t WHERE username = %t",
            profile.version,
            *map(as_bytes, (profile.data, username)),
        )

    def _remove_profile(self, username: str) -> None:
        self._tx.execute("DELETE FROM profiles WHERE username = %t", as_bytes(username))

    def note_audit(self, entry: AuditEntry, id: bytes) -> None:
        """See `Moderation.note_audit`."""
        self._tx.execute(
            "INSERT INTO audit (number, id, time, done_by, did, details)"
            " VALUES (%s, %s, %s, %t, %t, %t) ON CONFLICT (id) DO NOTHING",
            self._tx.next_number(),
            id,
            entry.time,
            *map(as_bytes, (entry.by, entry.did, entry.details)),
        )
        self._tx.execute(
            "DELETE FROM audit WHERE number <="
            " (SELECT number FROM audit ORDER BY number DESC LIMIT 1 OFFSET %s)",
            MAX_AUDIT,
        )

    def audit(self, before: int, limit: int) -> list[AuditEntry]:
        """See `Moderation.audit`."""
        rows = self._tx.execute(
            "SELECT number, time, done_by, did, details FROM audit"
            " WHERE %s = 0 OR number < %s ORDER BY number DESC LIMIT %s",
            before,
            before,
            limit,
        )
        return [
            AuditEntry(time, as_text(by), as_text(did), as_text(details), number)
            for number, time, by, did, details in rows
        ]

"""Bans, roles, codes, profiles and the audit log in memory; pure."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import attrs

from pgnet_trio.server.cluster.moderation_records import (
    MAX_AUDIT,
    AuditEntry,
    Profile,
    ResetCode,
)
from pgnet_trio.server.cluster.moderation_tables import ModerationTables

if TYPE_CHECKING:
    from pgnet_trio.server.bans import Ban

__all__ = ["MemoryModeration"]


class MemoryModeration(ModerationTables):
    """What is in the tables of moderation, in dictionaries."""

    def __init__(self) -> None:
        self._bans: dict[str, Ban] = {}
        self._roles: dict[str, str] = {}
        self._reset_codes: dict[str, ResetCode] = {}
        self._profiles: dict[str, Profile] = {}
        # By what the call was that has noted it, in their order.
        self._audit: dict[bytes, AuditEntry] = {}
        self._last_audit_number = 0

    def bans(self) -> list[Ban]:
        """See `Moderation.bans`."""
        return [self._bans[subject] for subject in sorted(self._bans)]

    def _lock_moderation(self) -> None:
        """Do nothing: there is one transaction at a time."""

    def _tell_nodes(self, note: bytes, operation: bytes) -> None:
        """Do nothing: a server alone knows already."""

    def _write_ban(self, ban: Ban) -> None:
        self._bans[ban.subject] = ban

    def _remove_ban(self, subject: str) -> None:
        self._bans.pop(subject, None)

    def role(self, username: str) -> str:
        """See `Moderation.role`."""
        return self._roles.get(username, "")

    def roles(self) -> dict[str, str]:
        """See `Moderation.roles`."""
        return dict(sorted(self._roles.items()))

    def _write_role(self, username: str, role: str) -> None:
        self._roles[username] = role

    def _remove_role(self, username: str) -> None:
        self._roles.pop(username, None)

    def _reset_code(self, username: str) -> ResetCode:
        return self._reset_codes.get(username, ResetCode())

    def _lock_reset_code(self, username: str) -> None:
        """Do nothing, for the same reason."""

    def _write_reset_code(self, username: str, code: ResetCode) -> None:
        self._reset_codes[username] = code

    def _remove_reset_code(self, username: str) -> None:
        self._reset_codes.pop(username, None)

    def profile(self, username: str) -> Profile:
        """See `Moderation.profile`."""
        return self._profiles.get(username, Profile())

    def _lock_profile(self, username: str) -> None:
        """Do nothing, for the same reason."""

    def _write_profile(self, username: str, profile: Profile) -> None:
        self._profiles[username] = profile

    def _remove_profile(self, username: str) -> None:
        self._profiles.pop(username, None)

    def note_audit(self, entry: AuditEntry, id: bytes) -> None:
        """See `Moderation.note_audit`."""
        if id not in self._audit:
            self._last_audit_number += 1
            self._audit[id] = attrs.evolve(entry, number=self._last_audit_number)
            if len(self._audit) > MAX_AUDIT:
                del self._audit[next(iter(self._audit))]

    def audit(self, before: int, limit: int) -> list[AuditEntry]:
        """See `Moderation.audit`."""
        entries = reversed(self._audit.values())
        found = (entry for entry in entries if not before or entry.number < before)
        return list(itertools.islice(found, limit))

"""What an engine does with bans, roles, codes, profiles and the audit log.

`MemoryModeration` and `SQLModeration` have the rows, and the rules stand here once. Each method is
one transaction; one that raises changes nothing, and one that is repeated because its answer was
lost changes nothing more.
"""

from __future__ import annotations

import hmac
from abc import ABC, abstractmethod

import attrs

from pgnet_trio.server.bans import MAX_BANS, Ban
from pgnet_trio.server.cluster.moderation_records import (
    MAX_ROLES,
    AuditEntry,
    Profile,
    ResetCode,
)

__all__ = ["ModerationTables"]


class ModerationTables(ABC):
    """Who is banned, who may do more than others, and what users have saved."""

    # Bans

    @abstractmethod
    def bans(self) -> list[Ban]:
        """See `Moderation.bans`."""

    def put_ban(self, ban: Ban, note: bytes, operation: bytes) -> bool:
        """See `Moderation.put_ban`."""
        self._lock_moderation()
        bans = self.bans()
        others = [old for old in bans if old.holds(ban.made) and old.subject != ban.subject]
        if len(others) >= MAX_BANS:
            return False
        for old in bans:
            if not old.holds(ban.made):
                self._remove_ban(old.subject)
        self._write_ban(ban)
        self._tell_nodes(note, operation)
        return True

    def lift_ban(self, subject: str, note: bytes, operation: bytes) -> None:
        """See `Moderation.lift_ban`."""
        self._remove_ban(subject)
        self._tell_nodes(note, operation)

    @abstractmethod
    def _tell_nodes(self, note: bytes, operation: bytes) -> None:
        """Leave mail for all nodes that are not silent; do nothing where there are no nodes."""

    # Roles

    @abstractmethod
    def role(self, username: str) -> str:
        """See `Moderation.role`."""

    @abstractmethod
    def roles(self) -> dict[str, str]:
        """See `Moderation.roles`."""

    def set_role(self, username: str, role: str) -> bool:
        """See `Moderation.set_role`."""
        if not role:
            self._remove_role(username)
            return True
        self._lock_moderation()
        roles = self.roles()
        if username not in roles and len(roles) >= MAX_ROLES:
            return False
        self._write_role(username, role)
        return True

    # Codes that stand for a forgotten password

    def put_reset_code(self, username: str, digest: bytes, expires: int) -> None:
        """See `Moderation.put_reset_code`."""
        self._write_reset_code(username, ResetCode(digest, expires))

    def check_reset_code(self, username: str, digest: bytes, now: float) -> bool:
        """See `Moderation.check_reset_code`."""
        code = self._reset_code(username)
        return _fits(code, digest, now) and not code.used_by

    def use_reset_code(self, username: str, digest: bytes, now: float, operation: bytes) -> bool:
        """See `Moderation.use_reset_code`."""
        self._lock_reset_code(username)
        code = self._reset_code(username)
        if not _fits(code, digest, now) or code.used_by not in (b"", operation):
            return False
        self._write_reset_code(username, attrs.evolve(code, used_by=operation))
        return True

    # Profiles

    @abstractmethod
    def profile(self, username: str) -> Profile:
        """See `Moderation.profile`."""

    def write_profile(self, username: str, data: str, known: int) -> Profile:
        """See `Moderation.write_profile`."""
        self._lock_profile(username)
        now, new = self.profile(username), Profile(known + 1, data)
        if now.version == known:
            self._write_profile(username, new)
            return new
        # It may be the same, written by a call whose answer was lost.
        return now

    # The audit log

    @abstractmethod
    def note_audit(self, entry: AuditEntry, id: bytes) -> None:
        """See `Moderation.note_audit`."""

    @abstractmethod
    def audit(self, before: int, limit: int) -> list[AuditEntry]:
        """See `Moderation.audit`."""

    # Users who are deleted

    def forget_user(self, username: str) -> None:
        """See `Moderation.forget_user`."""
        self._remove_role(username)
        self._remove_reset_code(username)
        self._remove_profile(username)

    # The rows

    @abstractmethod
    def _lock_moderation(self) -> None:
        """Let nobody else add a ban or a role until the transaction ends."""

    @abstractmethod
    def _write_ban(self, ban: Ban) -> None:
        """Add a ban, or replace the one of the same subject."""

    @abstractmethod
    def _remove_ban(self, subject: str) -> None:
        """Take a ban out."""

    @abstractmethod
    def _write_role(self, username: str, role: str) -> None:
        """Give a user a role."""

    @abstractmethod
    def _remove_role(self, username: str) -> None:
        """Take a user's role away."""

    @abstractmethod
    def _reset_code(self, username: str) -> ResetCode:
        """Return a user's code."""

    @abstractmethod
    def _lock_reset_code(self, username: str) -> None:
        """Let nobody else use a user's code until the transaction ends."""

    @abstractmethod
    def _write_reset_code(self, username: str, code: ResetCode) -> None:
        """Write a user's code."""

    @abstractmethod
    def _remove_reset_code(self, username: str) -> None:
        """Take a user's code out."""

    @abstractmethod
    def _lock_profile(self, username: str) -> None:
        """Let nobody else write a user's profile until the transaction ends."""

    @abstractmethod
    def _write_profile(self, username: str, profile: Profile) -> None:
        """Write a user's profile."""

    @abstractmethod
    def _remove_profile(self, username: str) -> None:
        """Take a user's profile out."""


def _fits(code: ResetCode, digest: bytes, now: float) -> bool:
    # A digest that is empty stands for no code.
    return hmac.compare_digest(code.digest, digest) and bool(digest) and now < code.expires

"""Who may do what; pure."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Role", "may_act_on"]


class Role(StrEnum):
    """What somebody is allowed; each may do what those before may."""

    USER = "user"
    """Whoever has logged in."""
    MODERATOR = "moderator"
    """A user to whom the admin has given this role."""
    ADMIN = "admin"
    """The user ``admin``, and nobody else."""

    @property
    def rank(self) -> int:
        """How much the role allows: the higher, the more."""
        return list(Role).index(self)

    def may(self, needed: Role) -> bool:
        """Whether this role allows what takes another one."""
        return self.rank >= needed.rank


def may_act_on(role: Role, other: Role) -> bool:
    """Whether somebody may put out or ban a user: the admin may all others, moderators users."""
    return role.may(Role.MODERATOR) and role.rank > other.rank

"""What an engine keeps of users beside their accounts, and of what was done to them.

Times are in seconds since 1970, by the clock of whoever asks.
"""

from __future__ import annotations

import attrs

__all__ = ["MAX_AUDIT", "MAX_PROFILE", "MAX_ROLES", "AuditEntry", "Profile", "ResetCode"]

MAX_AUDIT = 10_000
"""How many entries of the audit log are kept; the oldest go."""

MAX_PROFILE = 16 * 1024
"""Bytes of a user's profile, as JSON."""

MAX_ROLES = 1000
"""How many users may have a role."""


@attrs.frozen
class AuditEntry:
    """Something that somebody did with a right that users do not have.

    Attributes:
        time: When.
        by: Who.
        did: What, in one word.
        details: To whom, and the like, as people read it; no secret.
        number: The entry's number; later ones have higher ones. 0 before it has one.
    """

    time: int
    by: str
    did: str
    details: str
    number: int = 0


@attrs.frozen
class Profile:
    """What a user has saved.

    Attributes:
        version: How often it was saved: 1 for the first time, 0 for never.
        data: The save, as JSON; empty for none.
    """

    version: int = 0
    data: str = attrs.field(default="", repr=False)


@attrs.frozen
class ResetCode:
    """What is kept of a code that stands for a forgotten password.

    Attributes:
        digest: Of the code; empty where there is none.
        expires: When it ends.
        used_by: Which call has used it up; empty where none has.
    """

    digest: bytes = attrs.field(default=b"", repr=False)
    expires: int = 0
    used_by: bytes = attrs.field(default=b"", repr=False)

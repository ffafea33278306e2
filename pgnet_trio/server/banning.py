"""Makes bans and ends them, at this server and at all that look like one with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgnet_trio.server.bans import (
    MAX_BAN_REASON,
    MAX_BANS,
    Ban,
    network_subject,
    user_subject,
)
from pgnet_trio.server.users import put_out_banned

if TYPE_CHECKING:
    from pgnet_trio.server.context import ServerContext

__all__ = ["ban", "check_ban", "subject_of", "unban"]

MAX_NAME = 60
"""Characters of a username that can be banned; no new one is longer than 20."""

LONGEST_BAN = 100 * 366 * 24 * 3600
"""Seconds of a ban that ends; a longer one is one for ever."""


def subject_of(username: str, network: str) -> str:
    """Return what stands for whom a ban is of: a user, or a range of addresses.

    Raises:
        ValueError: It is neither, or both.
    """
    if bool(username) == bool(network) or len(username) > MAX_NAME:
        raise ValueError(
            "expected either the 'username' of a user or, as 'network', a range of addresses"
        )
    return user_subject(username) if username else network_subject(network)


def check_ban(reason: str, seconds: int) -> None:
    """Check what is said of a ban.

    Raises:
        ValueError: It is too long, in words or in time.
    """
    if len(reason) > MAX_BAN_REASON:
        raise ValueError(
            f"reason: expected at most {MAX_BAN_REASON} characters, got {len(reason):,}"
        )
    if not 0 <= seconds <= LONGEST_BAN:
        raise ValueError(f"seconds: expected 0, for ever, to {LONGEST_BAN:,}, got {seconds}")


async def ban(
    context: ServerContext, subject: str, *, reason: str, seconds: int, by: str
) -> str | None:
    """Ban a user or a range of addresses, and put out whoever is banned now.

    Those who are at other servers are out when these have read their mail. Cancellation leaves the
    ban made or not, and some of those who are here where they are for a moment.

    Args:
        context: What the server's tasks share.
        subject: Whom, from `subject_of`.
        reason: Why, for whoever is banned.
        seconds: For how long; 0 for ever.
        by: Who bans them; empty for the program of the server.

    Returns:
        What is wrong, if there is no room for one more; None otherwise.

    Raises:
        EngineError: It could not be made.
    """
    now = int(context.options.environment.wall_clock())
    made = Ban(subject, reason, by, now, now + seconds if seconds else None)
    if not await context.bans.put(made):
        return f"There are {MAX_BANS:,} bans already; lift some first."
    await put_out_banned(context)
    return None


async def unban(context: ServerContext, subject: str) -> bool:
    """End a ban, and return whether there was one; cancelled, it is ended or not.

    Raises:
        EngineError: It could not be ended.
    """
    return await context.bans.lift(subject)

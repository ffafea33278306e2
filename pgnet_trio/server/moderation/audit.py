"""Who may make which request, and the audit log of those that not everybody may make."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import trio

from pgnet_trio.foreign_text import one_line
from pgnet_trio.messages import ADMIN_USERNAME
from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.cluster.errors import EngineError, NotKept
from pgnet_trio.server.cluster.moderation_records import AuditEntry
from pgnet_trio.server.refusals import CodedRefusal
from pgnet_trio.server.roles import Role, may_act_on

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgnet_trio.server.cluster.community import Community

__all__ = ["as_date", "check_may_act_on", "note_deed", "role_of"]

logger = logging.getLogger("pgnet_trio.server")

MAX_VALUE = 200
"""Characters of an argument that the audit log shows."""


def as_date(time: int) -> str:
    """Return a time, in seconds since 1970, as people and programs read it."""
    return datetime.fromtimestamp(time, UTC).isoformat()


async def role_of(community: Community[Any], username: str) -> Role:
    """Return what a user may do; where nobody can be asked, as little as anybody.

    Raises:
        EngineError: It cannot be read now.
    """
    if username == ADMIN_USERNAME:
        await trio.lowlevel.checkpoint()
        return Role.ADMIN
    try:
        role = await community.role(username)
    except NotKept:
        return Role.USER
    return Role.MODERATOR if role == Role.MODERATOR else Role.USER


async def check_may_act_on(community: Community[Any], by: str, username: str) -> None:
    """Check that somebody may put out or ban a user, whose name they may have spelt otherwise.

    Raises:
        CodedRefusal: They may not.
        EngineError: It cannot be read now.
    """
    target = Role.USER
    if username.lower() == ADMIN_USERNAME:
        target = Role.ADMIN
    elif by != ADMIN_USERNAME:
        roles = await community.roles()
        if any(other.lower() == username.lower() for other in roles):
            target = Role.MODERATOR
    if not may_act_on(await role_of(community, by), target):
        who = "The admin" if target is Role.ADMIN else "Moderators"
        raise CodedRefusal(
            f"{who} cannot be put out or banned by you.",
            ReasonCode.INVALID_ARGUMENT if by == ADMIN_USERNAME else ReasonCode.MODERATORS_ONLY,
        )


async def note_deed(
    community: Community[Any], by: str, request: str, arguments: Mapping[str, Any], now: float
) -> None:
    """Note in the audit log that a request was carried out; where that fails, the log says so.

    It is noted also where whoever has made the request is put out meanwhile, or the server ends.

    Args:
        community: Where the audit log is.
        by: Who has made the request.
        request: The request's name, without what all names begin with.
        arguments: What came with it; no secret.
        now: The time, in seconds since 1970.
    """
    details = "; ".join(
        f"{key}={one_line(value, MAX_VALUE)}" for key, value in arguments.items() if value != ""
    )
    try:
        with trio.CancelScope(shield=True):
            await community.note_audit(AuditEntry(int(now), by, request, details))
    except NotKept:
        pass
    except EngineError as error:
        logger.error(
            "The audit log lacks that %s has requested %s (%s): %s",
            one_line(by),
            one_line(request),
            one_line(details),
            one_line(error),
        )
    await trio.lowlevel.checkpoint()

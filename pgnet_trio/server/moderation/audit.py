"""Who may make which request, and the audit log of those that not everybody may make."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

import attrs
import trio

from pgnet_trio.foreign_text import one_line
from pgnet_trio.messages import ADMIN_USERNAME
from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.cluster.errors import EngineError, NotKept, OutcomeUnknown
from pgnet_trio.server.cluster.moderation_records import AuditEntry
from pgnet_trio.server.refusals import CodedRefusal
from pgnet_trio.server.roles import Role, may_act_on

if TYPE_CHECKING:
    from pgnet_trio.server.cluster.community import Community
    from pgnet_trio.server.options import Options

__all__ = ["Deed", "as_date", "check_may_act_on", "note_deed", "noting", "role_of"]

logger = logging.getLogger("pgnet_trio.server")


class Deeds(Protocol):
    """What has an audit log, and knows the time: a `ServerContext`."""

    @property
    def options(self) -> Options:
        """What the server was made with."""

    @property
    def community(self) -> Community[Any]:
        """Keeps the audit log."""


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


@attrs.define
class Deed:
    """What is being done.

    Attributes:
        done: Whether it was done, which is to be noted then.
    """

    done: bool = False


@contextlib.asynccontextmanager
async def noting(
    context: Deeds, by: str, did: str, arguments: Mapping[str, Any]
) -> AsyncIterator[Deed]:
    """Note in the audit log what the block has done, if it says so.

    What is cut short, and may have been done or not, is noted as of an unknown outcome.

    Args:
        context: Has the audit log, and the time.
        by: Who does it; empty for the program of the server.
        did: What, in one word.
        arguments: To whom, and the like; no secret.
    """
    now = context.options.environment.wall_clock()
    deed = Deed()
    try:
        yield deed
    except (trio.Cancelled, OutcomeUnknown):
        # Whoever does it may be put out meanwhile, and it may be done by then.
        unknown = {**arguments, "outcome": "unknown"}
        await note_deed(context.community, by, did, unknown, now)
        raise
    if deed.done:
        await note_deed(context.community, by, did, arguments, now)


async def note_deed(
    community: Community[Any], by: str, request: str, arguments: Mapping[str, Any], now: float
) -> None:
    """Note in the audit log that something was done; where that fails, the log says so.

    It is noted also where whoever has made the request is put out meanwhile, or the server ends.

    Args:
        community: Where the audit log is.
        by: Who has made the request; empty for the program of the server.
        request: What was done: the request's name, without what all names begin with.
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
            one_line(by or "the program"),
            one_line(request),
            one_line(details),
            one_line(error),
        )
    await trio.lowlevel.checkpoint()

"""The requests that moderators may make, and the admin: who is there, and who is not to be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from pgnet_trio.messages import Request, Response
from pgnet_trio.protocol.events import MAX_REASON, LogIn
from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.account_refusals import AccountRefusal, TemporaryRefusal
from pgnet_trio.server.banning import ban, check_ban, subject_of, unban
from pgnet_trio.server.moderation.audit import as_date, check_may_act_on
from pgnet_trio.server.refusals import CodedRefusal, refused
from pgnet_trio.server.request_table import NOTED, RequestTable
from pgnet_trio.server.roles import Role
from pgnet_trio.server.users import (
    DEFAULT_REASON,
    MAX_ANNOUNCEMENT,
    MOST_LISTED,
    announce,
    kick,
    list_users,
)
from pgnet_trio.storage.interface import UserRecord

if TYPE_CHECKING:
    from pgnet_trio.server.context import ServerContext
    from pgnet_trio.server.sessions.session import Session

__all__ = ["MODERATOR_REQUESTS"]

MODERATOR_REQUESTS = RequestTable(Role.MODERATOR)
"""The requests, for whoever carries out requests."""


@MODERATOR_REQUESTS.request(Request.USERS, after="", limit=0)
async def _users(context: ServerContext, session: Session, after: str, limit: int) -> Response:
    if not 0 <= limit <= MOST_LISTED:
        return refused(
            f"The argument 'limit' has to be 0 (for {MOST_LISTED:,}) to {MOST_LISTED:,}, "
            f"not {limit}.",
            ReasonCode.INVALID_ARGUMENT,
        )
    # One more, to see whether there are more.
    most = limit or MOST_LISTED
    found = await list_users(context, after, most + 1)
    users = {user.username: user.node for user in found[:most]}
    payload: dict[str, Any] = {"users": users, "more": len(found) > most}
    if len(found) <= most:
        return Response(f"{len(users):,} users are logged in.", payload)
    return Response(
        f"{len(users):,} users. There are more after {found[most - 1].username!r}: ask for them "
        "with 'after'.",
        payload,
    )


@MODERATOR_REQUESTS.request(Request.ANNOUNCE, NOTED, text="", game="")
async def _announce(context: ServerContext, session: Session, text: str, game: str) -> Response:
    if not 0 < len(text) <= MAX_ANNOUNCEMENT:
        return refused(
            f"The argument 'text' has to have 1 to {MAX_ANNOUNCEMENT:,} characters; it came with "
            f"{len(text):,}.",
            ReasonCode.INVALID_ARGUMENT,
        )
    if game and not await _is_played(context, game):
        return refused(
            f"The game {game[:60]!r} is not played now: nobody was told.", ReasonCode.UNKNOWN_GAME
        )
    servers = await announce(context, text, game)
    whom = f"in the game {game[:60]!r}" if game else "who are logged in"
    return Response(f"The users {whom} are told.", {"servers": servers})


async def _is_played(context: ServerContext, game: str) -> bool:
    """Return whether a game is played, here or at another server, so that it may be told something.

    Raises:
        NotNow: It is not here, and the other servers cannot be asked.
    """
    await trio.lowlevel.checkpoint()
    name = context.canonical(game)
    if context.games.lobby.get(name) is not None:
        return True
    return context.cluster is not None and await context.cluster.users.is_played(name)


@MODERATOR_REQUESTS.request(Request.KICK, NOTED, username="", reason="")
async def _kick(context: ServerContext, session: Session, username: str, reason: str) -> Response:
    await check_may_act_on(context.community, session.username, username)
    if len(reason) > MAX_REASON:
        return refused(
            f"The argument 'reason' has to have at most {MAX_REASON} characters; it came with "
            f"{len(reason):,}.",
            ReasonCode.INVALID_ARGUMENT,
        )
    if not await kick(context, username, reason or DEFAULT_REASON):
        return refused(f"{username[:60]!r} is not logged in.", ReasonCode.UNKNOWN_USER)
    return Response(f"The user {username!r} is kicked.")


@MODERATOR_REQUESTS.request(Request.BAN, NOTED, username="", network="", reason="", seconds=0)
async def _ban(
    context: ServerContext,
    session: Session,
    username: str,
    network: str,
    reason: str,
    seconds: int,
) -> Response:
    await trio.lowlevel.checkpoint()
    try:
        check_ban(reason, seconds)
    except ValueError as error:
        return refused(f"The argument {error}.", ReasonCode.INVALID_ARGUMENT)
    subject = _subject(session, username, network)
    if username:
        await check_may_act_on(context.community, session.username, username)
    problem = await ban(context, subject, reason=reason, seconds=seconds, by=session.username)
    if problem is not None:
        return refused(problem, ReasonCode.INVALID_ARGUMENT)
    absent = " There is no user of that name now." if await _is_nobody(context, username) else ""
    return Response(f"{username or network!r} is banned.{absent}")


async def _is_nobody(context: ServerContext, username: str) -> bool:
    """Return whether a name that was banned is surely no user's: it may have been misspelt."""
    if not username:
        return False
    try:
        name = await context.accounts.spelling_of(username)
        found = await context.accounts.find(LogIn(name, "", ""), trusted=False, address=None)
    except TemporaryRefusal:
        return False
    except AccountRefusal:
        return True
    return not isinstance(found, UserRecord)


@MODERATOR_REQUESTS.request(Request.UNBAN, NOTED, username="", network="")
async def _unban(context: ServerContext, session: Session, username: str, network: str) -> Response:
    await trio.lowlevel.checkpoint()
    subject = _subject(session, username, network)
    if not await unban(context, subject):
        return refused(f"{(username or network)[:60]!r} is not banned.", ReasonCode.UNKNOWN_USER)
    return Response(f"{username or network!r} is not banned any more.")


def _subject(session: Session, username: str, network: str) -> str:
    """Return what stands for whom a ban is of: a user, or a range of addresses.

    Raises:
        CodedRefusal: It is neither, or both, or not for a moderator to ban.
    """
    if network and not session.is_admin:
        # It may be a whole town.
        raise CodedRefusal("Only the admin may ban addresses.", ReasonCode.ADMIN_ONLY)
    try:
        return subject_of(username, network)
    except ValueError as error:
        text = f"Whom to ban: {error}."
        raise CodedRefusal(text, ReasonCode.INVALID_ARGUMENT) from None


@MODERATOR_REQUESTS.request(Request.BANS, after="", limit=0)
async def _bans(context: ServerContext, session: Session, after: str, limit: int) -> Response:
    """List the bans that are not over, in the order of whom they are of."""
    if not 0 <= limit <= MOST_LISTED:
        await trio.lowlevel.checkpoint()
        return refused(
            f"The argument 'limit' has to be 0 (for {MOST_LISTED:,}) to {MOST_LISTED:,}, "
            f"not {limit}.",
            ReasonCode.INVALID_ARGUMENT,
        )
    now = context.options.environment.wall_clock()
    found = [each for each in await context.community.bans() if each.holds(now)]
    found.sort(key=lambda each: each.whom)
    # Ranges of addresses are for the admin.
    rest = [each for each in found if each.whom > after and (each.is_of_a_user or session.is_admin)]
    shown = rest[: limit or MOST_LISTED]
    bans = [
        {
            "whom": each.whom,
            "reason": each.reason,
            "by": each.by,
            "made": as_date(each.made),
            "ends": None if each.ends is None else as_date(each.ends),
        }
        for each in shown
    ]
    return Response(f"{len(bans):,} bans.", {"bans": bans, "more": len(rest) > len(shown)})

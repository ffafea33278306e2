"""What reaches users wherever they are: pushes, kicks, announcements; and who is there.

A server alone does the same as one of several: it finds nobody elsewhere.
"""

from __future__ import annotations

import importlib.metadata
import logging
from typing import TYPE_CHECKING

import attrs
import trio

from pgnet_trio.errors import CodecError
from pgnet_trio.foreign_text import one_line
from pgnet_trio.messages import ANNOUNCEMENT, Push
from pgnet_trio.protocol.v2.envelopes import encode_push
from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.cluster.notes import (
    MAX_PUSH,
    Announce,
    KickUser,
    PushToUser,
)
from pgnet_trio.server.cluster.versions import NodeVersion
from pgnet_trio.server.directory import uses
from pgnet_trio.server.node.users import NotNow
from pgnet_trio.server.stats import NodeStats
from pgnet_trio.server.user_notes import announcement_of, leave_note, reach

if TYPE_CHECKING:
    from pgnet_trio.server.context import ServerContext
    from pgnet_trio.server.sessions.sender import LoggedInClient
    from pgnet_trio.server.sessions.session import Session

__all__ = [
    "DEFAULT_REASON",
    "MAX_ANNOUNCEMENT",
    "MOST_LISTED",
    "OnlineUser",
    "announce",
    "kick",
    "list_nodes",
    "list_users",
    "push",
    "put_others_out",
    "put_out_banned",
    "put_out_if_banned",
]

logger = logging.getLogger("pgnet_trio.server")

DEFAULT_REASON = "The administrator has ended your session."

PASSWORD_CHANGED = "Your password was changed; log in with the new one."

MAX_ANNOUNCEMENT = 1000
"""Characters of an announcement: enough for people to read, and few enough for every client."""

MOST_LISTED = 1000
"""How many users are listed at once."""

LOOKED_AT_ONCE = 100
"""How many sessions are looked at before others have a turn."""


@attrs.frozen
class OnlineUser:
    """A user who is logged in. One whose connection has dropped is, until the grace is over.

    Attributes:
        username: Who.
        node: The name of the server that they are at; empty where it is the only one.
    """

    username: str
    node: str


async def push(context: ServerContext, username: str, message: Push, *, feature: str = "") -> bool:
    """Push something to a user, in a game or not.

    Args:
        context: What the server's tasks share.
        username: To whom.
        message: What.
        feature: The feature without which their client is not told; empty for all clients.

    Returns:
        Whether the user's session has it, or the server that they are at will.

    Raises:
        CodecError: It cannot travel, or is too long.
        NotNow: It is not known where the user is; nothing was sent.
    """
    try:
        envelope = encode_push(message)
    except CodecError:
        await trio.lowlevel.checkpoint()
        raise
    if len(envelope) > MAX_PUSH:
        await trio.lowlevel.checkpoint()
        raise CodecError(
            f"expected a push of at most {MAX_PUSH:,} bytes to a user who may be at another "
            f"server, got {len(envelope):,}"
        )
    session = context.sessions.holder(username)
    reached = await reach(context, PushToUser(username, envelope, feature=feature))
    # Protocol 1 carries nothing unasked; only a server alone has such clients.
    return reached and (
        session is None or (session.takes_pushes and (not feature or uses(session, feature)))
    )


async def kick(context: ServerContext, username: str, reason: str) -> bool:
    """End a user's session, and tell them why.

    Returns:
        Whether they had one.

    Raises:
        NotNow: It is not known where the user is; nothing was done.
    """
    return await reach(context, KickUser(username, reason))


# Ctrl-C here would end the rooms before their last save; whoever runs the server gets it.
@trio.lowlevel.enable_ki_protection
async def put_others_out(context: ServerContext, session: Session, client: LoggedInClient) -> None:
    """End what others have of a user's session who came in with a password that is no more.

    Where that fails, the log says so.

    Args:
        context: What the server's tasks share.
        session: The session of the user who has changed the password.
        client: The client that has; the session stays if it still is that client's.
    """
    cluster, username = context.cluster, session.username
    kick = KickUser(username, PASSWORD_CHANGED, code=str(ReasonCode.PASSWORD_CHANGED))
    await trio.lowlevel.checkpoint()
    try:
        if cluster is not None:
            # A log-in that was let in before the change, and has no seat yet.
            async with cluster.entering.holding(username):
                pass
            where = await cluster.users.find(username)
            if where is not None and where.token == client.token:
                # The same session, which may have moved since.
                return
            if await leave_note(cluster, kick) is not None:
                return
        if session.client is not client or session.end_reason is not None:
            await reach(context, kick)
    except NotNow:
        logger.error("%s may still be logged in elsewhere", one_line(username))


# Ctrl-C here would end the rooms before their last save; whoever runs the server gets it.
@trio.lowlevel.enable_ki_protection
async def put_out_banned(context: ServerContext) -> None:
    """End the sessions of all who are here and banned, in games, queues, or away.

    Cancellation leaves some of them.
    """
    for number, username in enumerate(context.sessions.usernames):
        if number % LOOKED_AT_ONCE == 0:
            await trio.lowlevel.checkpoint()
        put_out_if_banned(context, username)
    await trio.lowlevel.checkpoint()


def put_out_if_banned(context: ServerContext, username: str) -> None:
    """End the session that a user has here, if they are banned. Never waits.

    One that is on its way to another server is looked at again if it stays; the other server looks
    when it arrives.
    """
    session = context.sessions.holder(username)
    if session is None or session.end_reason is not None:
        return
    ban = context.bans.find(username, session.client.address)
    if ban is None:
        return
    if session.is_packed:
        context.services.start_soon(_put_out_once_settled, context, session)
        return
    context.sessions.kick(session, ban.text, ReasonCode.BANNED)


@trio.lowlevel.enable_ki_protection
async def _put_out_once_settled(context: ServerContext, session: Session) -> None:
    await session.wait_settled()
    put_out_if_banned(context, session.username)


async def announce(context: ServerContext, text: str, game: str = "") -> int:
    """Tell all users something, or those in one game.

    The users of this server are told when this returns, those of the others when they read their
    mail. Cancellation leaves some untold.

    Returns:
        How many servers tell it.

    Raises:
        CodecError: It cannot travel; nobody was told.
        NotNow: The other servers cannot be asked; nobody was told.
    """
    await trio.lowlevel.checkpoint()
    encode_push(Push(ANNOUNCEMENT, {"text": text}))
    id = context.options.environment.random_bytes(12).hex()
    note, others = Announce(id, text, context.canonical(game)), 0
    if context.cluster is not None:
        others = await context.cluster.users.tell_others(note.packed())
    await context.sessions.announce(announcement_of(note))
    return others + 1


async def list_users(context: ServerContext, after: str, limit: int) -> list[OnlineUser]:
    """Return a part of the list of the users who are logged in, in the order of their names.

    Args:
        context: What the server's tasks share.
        after: The last name of the part before; empty for the first.
        limit: How many at most.

    Raises:
        NotNow: The other servers cannot be asked.
    """
    sessions, cluster = context.sessions, context.cluster
    if cluster is None:
        await trio.lowlevel.checkpoint()
        names = sorted(name for name in sessions.usernames if name > after)
        return [OnlineUser(name, "") for name in names[:limit]]
    nodes = {node.id: node.name for node in await cluster.users.nodes()}
    return [
        OnlineUser(row.username, nodes.get(row.node, ""))
        for row in await cluster.users.online(after, limit)
        # This server knows its own better.
        if row.node != cluster.node or row.packed or sessions.holder(row.username) is not None
    ]


async def list_nodes(context: ServerContext) -> list[NodeStats]:
    """Return the servers that look like one, as the cluster knows them; alone, this server.

    Raises:
        NotNow: The cluster cannot be asked.
    """
    if context.cluster is None:
        return [await _describe_alone(context)]
    survey = await context.cluster.users.survey()
    return [
        NodeStats(
            name=node.name,
            number=node.id,
            address=node.address,
            version=NodeVersion.decode(node.version).package,
            alive=node.alive,
            draining=node.draining,
            lease_left=node.lease_left,
            rooms=survey.rooms.get(node.id, 0),
            users=survey.users.get(node.id, 0),
            lag=survey.lags.get(node.id, 0.0),
        )
        for node in survey.nodes
    ]


async def _describe_alone(context: ServerContext) -> NodeStats:
    began = trio.current_time()
    await trio.lowlevel.checkpoint()
    return NodeStats(
        name="",
        number=0,
        address="",
        version=importlib.metadata.version("pgnet_trio"),
        alive=True,
        draining=context.shutdown.requested.is_set(),
        lease_left=None,
        rooms=len(context.games.lobby),
        users=len(context.sessions.usernames),
        lag=trio.current_time() - began,
    )

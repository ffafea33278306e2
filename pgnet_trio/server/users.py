"""What reaches users wherever they are: pushes, kicks, announcements; and who is there.

A server alone does the same as one of several: it finds nobody elsewhere.
"""

from __future__ import annotations

import importlib.metadata
import logging
from collections import deque
from typing import TYPE_CHECKING

import attrs
import trio

from pgnet_trio.errors import CodecError
from pgnet_trio.foreign_text import one_line
from pgnet_trio.messages import ANNOUNCEMENT, Push
from pgnet_trio.protocol.v2.envelopes import encode_push
from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.cluster.notes import (
    MAX_HOPS,
    MAX_PUSH,
    Announce,
    BansChanged,
    KickUser,
    PushToUser,
)
from pgnet_trio.server.cluster.versions import NodeVersion
from pgnet_trio.server.directory import uses
from pgnet_trio.server.node.users import NotNow
from pgnet_trio.server.sessions.announcements import Announcement
from pgnet_trio.server.stats import NodeStats

if TYPE_CHECKING:
    from pgnet_trio.server.context import ServerContext
    from pgnet_trio.server.sessions.sender import LoggedInClient
    from pgnet_trio.server.sessions.session import Session

__all__ = [
    "DEFAULT_REASON",
    "MAX_ANNOUNCEMENT",
    "MOST_LISTED",
    "OnlineUser",
    "UserNotes",
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

MAX_WAITING = 4 * 1024 * 1024
"""Bytes of pushes of other servers that may wait here for users who are on their way."""

LOOKED_AT_ONCE = 100
"""How many sessions are looked at before others have a turn."""

TRIES = 5
"""How often a user is looked for who is where they were found no more."""

RETRY = 0.5
"""Seconds until a note is tried again for which the other servers could not be asked."""


@attrs.frozen
class OnlineUser:
    """A user who is logged in. One whose connection has dropped is, until the grace is over.

    Attributes:
        username: Who.
        node: The name of the server that they are at; empty where it is the only one.
    """

    username: str
    node: str


UserNote = PushToUser | KickUser
"""What is for one user, wherever they are."""


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
    reached = await _reach(context, PushToUser(username, envelope, feature=feature))
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
    return await _reach(context, KickUser(username, reason))


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
            if where is not None and where.node != cluster.node:
                await cluster.users.tell(where.node, kick.packed())
                return
        if session.client is not client or session.end_reason is not None:
            await _reach(context, kick)
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
    await context.sessions.announce(_announcement(note))
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


class UserNotes:
    """Takes what other servers have written about users, in the order in which they have.

    Args:
        context: What the server's tasks share.
    """

    def __init__(self, context: ServerContext) -> None:
        self._context = context
        # For users who are not here, or on their way: each has a task of its own.
        self._waiting: dict[str, deque[UserNote]] = {}
        self._size = 0
        self._sent = trio.Event()
        # Announcements that some users have not been told yet.
        self._telling: list[Announcement] = []

    def take(self, note: UserNote | Announce | BansChanged) -> None:
        """Do what a note says; what takes longer is done in a task. Never waits."""
        context = self._context
        if isinstance(note, BansChanged):
            context.bans.note_change()
            return
        if isinstance(note, Announce):
            announcement = _announcement(note)
            self._telling.append(announcement)
            context.services.start_soon(self._tell, announcement)
            return
        session = context.sessions.holder(note.username)
        if session is not None:
            # They may not have been told yet what came before.
            for announcement in self._telling:
                session.announce(announcement)
        waiting = self._waiting.get(note.username)
        if waiting is None and _carry_out(context, note):
            return
        size = _size_of(note)
        if self._size + size > MAX_WAITING:
            logger.warning("Too much waits for users on their way; a push is dropped")
            return
        self._size += size
        if waiting is not None:
            waiting.append(note)
        else:
            self._waiting[note.username] = deque([note])
            context.services.start_soon(self._go_after, note.username)

    async def wait_sent(self) -> None:
        """Wait until nothing is left that was for users who are not here, or on their way."""
        await trio.lowlevel.checkpoint()
        while self._waiting:
            await self._sent.wait()

    @trio.lowlevel.enable_ki_protection
    async def _tell(self, announcement: Announcement) -> None:
        try:
            await self._context.sessions.announce(announcement)
        finally:
            self._telling.remove(announcement)

    # Ctrl-C here would end the rooms before their last save; whoever runs the server gets it.
    @trio.lowlevel.enable_ki_protection
    async def _go_after(self, username: str) -> None:
        """Bring what waits for a user to where they are."""
        waiting = self._waiting[username]
        try:
            while waiting:
                await self._bring(waiting[0])
                self._size -= _size_of(waiting.popleft())
        finally:
            self._size -= sum(map(_size_of, waiting))
            del self._waiting[username]
            self._sent.set()
            self._sent = trio.Event()

    async def _bring(self, note: UserNote) -> None:
        for _ in range(TRIES):
            try:
                if not await _reach(self._context, note):
                    logger.info("%s is nowhere any more", one_line(note.username))
                return
            except NotNow:
                await trio.sleep(RETRY)
        logger.warning("Something for %s is dropped", one_line(note.username))


def _size_of(note: UserNote) -> int:
    return len(note.envelope) if isinstance(note, PushToUser) else len(note.reason)


async def _reach(context: ServerContext, note: UserNote) -> bool:
    """Carry out a note for a user who is here, or leave it for the server that they are at.

    A session that is on its way is waited for, and so is a log-in that is about to get a seat.
    """
    cluster, username = context.cluster, note.username
    await trio.lowlevel.checkpoint()
    for _ in range(TRIES):
        session = context.sessions.holder(username)
        if session is not None and session.is_packed:
            await session.wait_settled()
            continue
        if _carry_out(context, note):
            return True
        if cluster is None:
            return False
        where = await cluster.users.find(username)
        if where is None:
            return False
        if where.node != cluster.node:
            if note.hops >= MAX_HOPS:
                return False
            further = attrs.evolve(note, hops=note.hops + 1)
            return await cluster.users.tell(where.node, further.packed())
        await cluster.users.look()
        async with cluster.entering.holding(username):
            pass
    return False


def _carry_out(context: ServerContext, note: UserNote) -> bool:
    """Do what a note says, where the user's session is here; return whether it is."""
    session = context.sessions.holder(note.username)
    if session is None or not session.is_open:
        return False
    if isinstance(note, KickUser):
        logger.info("%s is kicked: %s", session.username, one_line(note.reason))
        context.sessions.kick(session, note.reason, note.code)
    elif not note.feature or uses(session, note.feature):
        _push(session, note.envelope)
    return True


def _push(session: Session, envelope: bytes) -> None:
    session.push(envelope)
    session.flush()


def _announcement(note: Announce) -> Announcement:
    envelope = encode_push(Push(ANNOUNCEMENT, {"text": note.text}))
    return Announcement(note.id, envelope, note.game)

"""Notes for users, wherever they are: carried out here, or left for the server that they are at."""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING

import attrs
import trio

from pgnet_trio.foreign_text import one_line
from pgnet_trio.messages import ANNOUNCEMENT, Push
from pgnet_trio.protocol.v2.envelopes import encode_push
from pgnet_trio.server.cluster.notes import (
    MAX_HOPS,
    Announce,
    BansChanged,
    KickUser,
    PushToUser,
)
from pgnet_trio.server.directory import uses
from pgnet_trio.server.node.users import NotNow
from pgnet_trio.server.sessions.announcements import Announcement

if TYPE_CHECKING:
    from pgnet_trio.server.context import ServerContext
    from pgnet_trio.server.node.member import ClusterMember
    from pgnet_trio.server.sessions.session import Session

__all__ = ["UserNote", "UserNotes", "announcement_of", "leave_note", "reach"]

logger = logging.getLogger("pgnet_trio.server")

MAX_WAITING = 4 * 1024 * 1024
"""Bytes of pushes of other servers that may wait here for users who are on their way."""

TRIES = 5
"""How often a user is looked for who is where they were found no more."""

RETRY = 0.5
"""Seconds until a note is tried again for which the other servers could not be asked."""

UserNote = PushToUser | KickUser
"""What is for one user, wherever they are."""


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
            announcement = announcement_of(note)
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
                if not await reach(self._context, note):
                    logger.info("%s is nowhere any more", one_line(note.username))
                return
            except NotNow:
                await trio.sleep(RETRY)
        logger.warning("Something for %s is dropped", one_line(note.username))


def _size_of(note: UserNote) -> int:
    return len(note.envelope) if isinstance(note, PushToUser) else len(note.reason)


async def reach(context: ServerContext, note: UserNote) -> bool:
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
        is_left = await leave_note(cluster, note)
        if is_left is not None:
            return is_left
        await cluster.users.look()
        async with cluster.entering.holding(username):
            pass
    return False


async def leave_note(cluster: ClusterMember, note: UserNote) -> bool | None:
    """Leave a note for the server that its user is at; return whether that will get it.

    Returns:
        None where the user is at this server.
    """
    further = attrs.evolve(note, hops=note.hops + 1)
    asked: set[int] = set()
    while True:
        where = await cluster.users.find(note.username)
        if where is not None and where.node == cluster.node:
            return None
        # A server that has refused it before has too much mail.
        if where is None or where.node in asked or note.hops >= MAX_HOPS:
            return False
        if await cluster.users.tell(where.node, further.packed()):
            return True
        # If it has ended, its users are elsewhere by now.
        asked.add(where.node)


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


def announcement_of(note: Announce) -> Announcement:
    """Return what a session is told of an announcement."""
    envelope = encode_push(Push(ANNOUNCEMENT, {"text": note.text}))
    return Announcement(note.id, envelope, note.game)

"""Sessions that go from one server to another alone, because their users are in no game."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio

from pgnet_trio.protocol.v2.states import is_moved_address
from pgnet_trio.server.context import ServerContext
from pgnet_trio.server.refusals import CannotMove
from pgnet_trio.server.requests import carry_out
from pgnet_trio.server.sessions.packed import pack_session, unpack_session
from pgnet_trio.server.sessions.session import Session

__all__ = [
    "FREEZE_PATIENCE",
    "MOVED_REASON",
    "MovingSession",
    "check_address",
    "moving_session",
    "receive_session",
]

FREEZE_PATIENCE = 5.0
"""Seconds that a game, and what its users ask of the server, get to come to rest."""

MOVED_REASON = "The game goes on at another server."


@attrs.define(eq=False)
class MovingSession:
    """A session on its way, whose user is in no game.

    Attributes:
        username: The user.
        packed: What the other server needs.
    """

    username: str
    packed: bytes = attrs.field(repr=False)
    _context: ServerContext = attrs.field(repr=False)
    _session: Session = attrs.field(repr=False)

    def moved(self, address: str) -> bool:
        """Note that the session is another server's, and send the user there. Never waits.

        Args:
            address: Where clients find the other server; see `ServerProtocol.moved`.

        Returns:
            Whether the user is still here; if not, the other server should end the session.

        Raises:
            ValueError: That is no address; nothing has changed.
        """
        check_address(address)
        if self._session.end_reason is not None:
            return False
        self._context.sessions.send_away(self._session, address, MOVED_REASON)
        return True


@asynccontextmanager
async def moving_session(
    context: ServerContext,
    username: str,
    *,
    patience: float = FREEZE_PATIENCE,
    in_own_task: bool = True,
) -> AsyncIterator[MovingSession]:
    """Have a session ready for another server around the block, whose user is in no game.

    Where the block ends before `MovingSession.moved` was called, the session goes on here.

    Args:
        context: What the server's tasks share.
        username: The user.
        patience: Seconds that what the user has asked gets to be answered: by games that they have
            left, and by the server.
        in_own_task: Whether this is the task of the session itself, while it carries out a request
            of the user. That one goes along, and is carried out at the other server; where the
            session stays, it is carried out here.

    Raises:
        CannotMove: The session cannot go anywhere: it goes on here.
    """
    await trio.lowlevel.checkpoint()
    session = context.sessions.holder(username)
    if session is None or not _may_go_alone(context, session):
        raise CannotMove("This session cannot go to another server.")
    hold = session.hold()
    is_packed_here = False
    try:
        with trio.move_on_after(patience):
            while not hold.may_be_packed(in_own_task=in_own_task):
                await session.next_answer().wait()
        if hold.is_packed:
            # Its own task sends it somewhere, and is not told yet what has become of that.
            await session.wait_settled()
        if not hold.may_be_packed(in_own_task=in_own_task):
            raise CannotMove(f"What was asked was not answered within {patience:g} s.")
        has_left = session.end_reason is not None or session.held_by is not hold
        if has_left or not _may_go_alone(context, session):
            raise CannotMove("The user has left, or has joined a game.")
        is_packed_here = True
        packed = pack_session(hold.pack())
        yield MovingSession(username, packed, context=context, session=session)
    finally:
        # Its own task may have moved it meanwhile, or given that up, or may be about to.
        is_ours = is_packed_here or not hold.is_packed
        if is_ours and session.end_reason is None and session.held_by is hold:
            session.go_on()


def receive_session(context: ServerContext, data: bytes) -> bool:
    """Go on with a session of another server, whose user is in no game. Never waits.

    Args:
        context: What the server's tasks share.
        data: The session, as `MovingSession.packed`.

    Returns:
        Whether it was done; not where the user has logged in here meanwhile.

    Raises:
        CodecError: It cannot be read; nothing was done.
    """
    packed = unpack_session(data)
    if context.sessions.holder(packed.username) is not None:
        return False
    do = functools.partial(carry_out, context)
    session = context.sessions.take_in(packed, carry_out=do)
    if packed.search is not None:
        # Before the requests that came along: one of them may end it.
        context.matchmaker.take_in(session, packed.search)
    session.go_on()
    return True


def _may_go_alone(context: ServerContext, session: Session) -> bool:
    """Whether a session is in no game, and its client can be sent anywhere."""
    return session.client.may_move and context.games.lobby.game_of(session.username) is None


def check_address(address: str) -> None:
    """Check where clients are to be sent.

    Raises:
        ValueError: That is no address.
    """
    if not is_moved_address(address):
        raise ValueError(f"address: expected one of a server, got {address!r}")

"""Where the users of a queue meet: at one server of a cluster, which is the queue's home.

All who look in a queue have their sessions there, so a match is made as at a server alone, and
nothing of it is known to two servers. The engine only says which server that is. Where it says so
too late, some wait at another one for a second; they meet fewer others, and are in no second match.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

import trio

from pgnet_trio.foreign_text import one_line
from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.games.lobby import LobbyRefusal
from pgnet_trio.server.refusals import CannotMove, CodedRefusal

if TYPE_CHECKING:
    from pgnet_trio.server.games.claims import RoomClaims
    from pgnet_trio.server.matchmaking.searches import Line, Search
    from pgnet_trio.server.sessions.session import Session

__all__ = ["LOOK_INTERVAL", "stay_together", "was_sent"]

logger = logging.getLogger("pgnet_trio.server")

LOOK_INTERVAL = 1.0
"""Seconds from one look at which server a queue is to the next, where somebody waits in it."""

CANNOT_BE_SENT = "This queue is at another server, and your client cannot be sent there."


async def was_sent(claims: RoomClaims, queue: str, session: Session) -> bool:
    """Send a user to the server that a queue is at, if that is another one; return whether it is.

    For the task of the session, which carries out the request for the search: that goes along.

    Raises:
        CodedRefusal: It cannot be found out, or the user cannot be sent there.
    """
    elsewhere = await claims.claim_queue(queue)
    if elsewhere is None:
        return False
    if elsewhere.send is None or not session.client.may_move:
        raise LobbyRefusal(CANNOT_BE_SENT, ReasonCode.UNKNOWN_QUEUE)
    await elsewhere.send(session.username)
    return True


# Ctrl-C here would end the rooms before their last save; whoever runs the server gets it.
@trio.lowlevel.enable_ki_protection
async def stay_together(
    claims: RoomClaims, lines: Collection[Line], put_out: Callable[[Search, str], None]
) -> None:
    """Send those who wait to where their queues are by now, until cancelled.

    A queue leaves a server that is drained, or silent for a while. Whoever was on the way to it, or
    waits at a server that was silent, would meet nobody.

    Args:
        claims: Says where a queue is.
        lines: The queues.
        put_out: Ends the search of a user who cannot be sent, with a reason.
    """
    while True:
        await trio.sleep(LOOK_INTERVAL)
        for line in lines:
            if len(line.pool):
                await _follow(claims, line, put_out)


async def _follow(claims: RoomClaims, line: Line, put_out: Callable[[Search, str], None]) -> None:
    """Send those who wait in a queue to the server that it is at, if that is another one."""
    try:
        elsewhere = await claims.claim_queue(line.name)
    except CodedRefusal:
        # The log says why; the next look may find it out.
        return
    if elsewhere is None or elsewhere.give is None:
        return
    for search in list(line.searches.values()):
        # A match that is found is first played, or called off.
        if search.state != "in the pool" or search.entry.offer is not None:
            continue
        if not search.session.client.may_move:
            put_out(search, CANNOT_BE_SENT)
            continue
        try:
            await elsewhere.give(search.session.username)
        except CannotMove as error:
            logger.debug("A search stays here for now: %s", one_line(error))
        except CodedRefusal:
            return

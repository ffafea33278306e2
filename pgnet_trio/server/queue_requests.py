"""The requests of those who look for a game."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from pgnet_trio.messages import Request, Response
from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.matchmaking.searches import Search
from pgnet_trio.server.refusals import refused
from pgnet_trio.server.request_table import RequestTable
from pgnet_trio.server.sessions.budget import OWN_REQUEST_COST

if TYPE_CHECKING:
    from pgnet_trio.server.context import ServerContext
    from pgnet_trio.server.sessions.session import Session

__all__ = ["QUEUE_REQUESTS", "stop_searching"]

QUEUE_REQUESTS = RequestTable()

_no_properties: dict[str, Any] = {}


@QUEUE_REQUESTS.request(Request.FIND_GAME, queue="", properties=_no_properties, id=1)
async def _find_game(
    context: ServerContext, session: Session, queue: str, properties: dict[str, Any], id: int
) -> Response:
    search = await context.matchmaker.find(session, id, queue, dict(properties))
    if search is None:
        # Nobody gets this: the session goes on at another server, and with this request.
        return Response("")
    search.told = position = context.matchmaker.position(search)
    return Response("You look for a game.", {"position": position})


@QUEUE_REQUESTS.request(Request.CONFIRM_MATCH, id=1, match=0)
async def _confirm_match(context: ServerContext, session: Session, id: int, match: int) -> Response:
    await trio.lowlevel.checkpoint()
    if context.matchmaker.confirm(session, id, match):
        # The server has asked, once for each match, and the search was paid for.
        session.budget.take_back(OWN_REQUEST_COST)
    return Response("You are there for the match.")


@QUEUE_REQUESTS.request(Request.LEAVE_QUEUE, id=0)
async def _leave_queue(context: ServerContext, session: Session, id: int) -> Response:
    """End a search, also one that has just led into a game: the user leaves that."""
    search = session.search.latest
    if not isinstance(search, Search) or id not in (0, search.id):
        await trio.lowlevel.checkpoint()
        return refused("You look for no game.", ReasonCode.NOT_SEARCHING)
    game = search.game
    session.search.stop()
    entry = context.games.lobby.game_of(session.username)
    if id and entry is not None and entry.name == game:
        context.games.lobby.leave(session.username)
        session.budget.charge(entry.room.audience)
        await entry.room.leave(session.username, awaited=True).wait()
    else:
        await trio.lowlevel.checkpoint()
    return Response("You look for no game any more.")


def stop_searching(session: Session) -> None:
    """End the search of a user who joins a game by themselves."""
    search = session.search.latest
    if isinstance(search, Search) and search.state == "in the pool":
        search.stop()
        search.tell(
            "over",
            reason="You have joined a game yourself.",
            code=ReasonCode.ALREADY_IN_GAME,
        )

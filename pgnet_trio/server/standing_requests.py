"""The requests of those who want to know how games ended."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import trio

from pgnet_trio.codec import encode_msgpack, to_plain
from pgnet_trio.foreign_text import one_line
from pgnet_trio.messages import Request, Response
from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.cluster.errors import EngineError, NotKept
from pgnet_trio.server.refusals import CodedRefusal, refused
from pgnet_trio.server.request_table import RequestTable
from pgnet_trio.standings import leaderboards_of

if TYPE_CHECKING:
    from pgnet_trio.server.context import ServerContext
    from pgnet_trio.server.sessions.session import Session

__all__ = ["STANDING_REQUESTS"]

logger = logging.getLogger("pgnet_trio.server")

MAX_LINES = 100
MAX_GAMES = 50
MAX_HISTORY_SIZE = 256 * 1024
"""Bytes of the games of one answer; those of a thousand players are long."""

STANDING_REQUESTS = RequestTable()


@STANDING_REQUESTS.request(Request.LEADERBOARD, name="", around="", offset=0, limit=20)
async def _leaderboard(
    context: ServerContext, session: Session, name: str, around: str, offset: int, limit: int
) -> Response:
    await trio.lowlevel.checkpoint()
    _check_number("offset", offset, 0, 2**53)
    _check_number("limit", limit, 1, MAX_LINES)
    options = context.options
    known = leaderboards_of(options.game_class or options.make_game)
    # Where only a function knows what the games are, it may make some with leaderboards.
    if name not in known and (known or options.game_class is not None):
        names = f"the leaderboards are: {', '.join(map(repr, known))}"
        raise CodedRefusal(
            f"There is no leaderboard {name[:60]!r}; "
            f"{names if known else 'this game has no leaderboards'}.",
            ReasonCode.INVALID_ARGUMENT,
        )
    community = context.community
    try:
        if around:
            page = await community.leaderboard_around(name, around, limit=limit)
            # Who is on it under this very name is found without a look at the accounts.
            if (
                not page.entries
                and (player := await context.accounts.spelling_of(around)) != around
            ):
                page = await community.leaderboard_around(name, player, limit=limit)
        else:
            page = await community.leaderboard(name, offset=offset, limit=limit)
    except EngineError as error:
        return _not_now("leaderboard", error)
    absent = f"{around[:60]!r} is not on this leaderboard. " if around and not page.entries else ""
    return Response(f"{absent}Players on this leaderboard: {page.total}.", to_plain(page))


@STANDING_REQUESTS.request(Request.HISTORY, before=0, limit=20)
async def _history(context: ServerContext, session: Session, before: int, limit: int) -> Response:
    await trio.lowlevel.checkpoint()
    _check_number("before", before, 0, 2**62)
    _check_number("limit", limit, 1, MAX_GAMES)
    try:
        found = await context.community.history(
            session.username, before=before or None, limit=limit
        )
    except EngineError as error:
        return _not_now("history", error)
    games: list[Any] = []
    size = 0
    for played in found:
        plain = to_plain(played)
        size += len(encode_msgpack(plain))
        if games and size > MAX_HISTORY_SIZE:
            break
        games.append(plain)
    return Response(f"Games that you have played: {len(games)}.", {"games": games})


def _check_number(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise CodedRefusal(
            f"The argument {name!r} has to be from {least} to {most:,}.",
            ReasonCode.INVALID_ARGUMENT,
        )


def _not_now(what: str, error: EngineError) -> Response:
    if isinstance(error, NotKept):
        return refused(str(error), ReasonCode.NOT_KEPT)
    # It says where the server saves, and that is nobody else's concern.
    logger.debug("Standings cannot be read: %s", one_line(error))
    return refused(f"The {what} cannot be read now; try again later.", ReasonCode.BUSY)

"""The list of games, of which a client gets a part at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pgnet_trio.codec import encode_msgpack
from pgnet_trio.errors import CodecError
from pgnet_trio.messages import Response
from pgnet_trio.protocol.v2.features import DIRECTORY
from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.games.codes import as_code
from pgnet_trio.server.node.games import shown_info
from pgnet_trio.server.refusals import refused

if TYPE_CHECKING:
    from pgnet_trio.server.cluster.records import Listing
    from pgnet_trio.server.context import ServerContext
    from pgnet_trio.server.games.lobby import GameEntry
    from pgnet_trio.server.room.room import RoomTask
    from pgnet_trio.server.sessions.session import Session

__all__ = ["list_games", "uses"]

MAX_DIRECTORY_SIZE = 256 * 1024
"""Bytes of the games in one answer; `max_unacknowledged_bytes` has room for several of these."""

MIN_DIRECTORY_SIZE = 512
"""Bytes of the games without which there is no answer: one game fits, without what it says."""

DIRECTORY_OVERHEAD = 300
"""Bytes of that answer around its games: the message, and the heads of the envelope."""


Described = tuple[str, dict[str, Any], float]
"""A game's name, what the list shows of it, and the bytes that this takes."""


async def list_games(context: ServerContext, session: Session, after: str, limit: int) -> Response:
    """Return a part of the list of games, in the order of their names.

    Args:
        context: What the server's tasks share.
        session: Who asks.
        after: The last name of the part before; empty for the first.
        limit: How many games at most; 0 for as many as there is room for.
    """
    if limit < 0:
        return refused(
            f"The argument 'limit' has to be 0 (for no limit) or more, not {limit}.",
            ReasonCode.INVALID_ARGUMENT,
        )
    most = left = _directory_size(context, session)
    if most < MIN_DIRECTORY_SIZE:
        return refused(
            "Too much waits until you have acknowledged it; ask again after that.", ReasonCode.BUSY
        )
    is_rest = True
    found = _here(context, after, most)
    if context.cluster is not None:
        listings, is_rest = await context.cluster.directory(after)
        # No await from here on: the games of this server change.
        end = None if is_rest else listings[-1].name
        found = _merged(list(_here(context, after, most)), listings, context.cluster.node, end)
    games: dict[str, Any] = {}
    for name, game, size in found:
        if size > left or (limit and len(games) == limit):
            is_rest = False
            break
        games[name] = game
        left -= size
    session.budget.charge(len(games) / 10)
    if is_rest:
        return Response("The games on this server.", {"games": games})
    payload: dict[str, Any] = {"games": games}
    if uses(session, DIRECTORY):
        payload["more"] = True
    total = "" if context.cluster else f" of the {len(context.games.lobby):,}"
    return Response(
        f"{len(games):,}{total} games on this server. There are more "
        f"after {next(reversed(games), after)!r}: ask for them with 'after'.",
        payload,
    )


def _here(context: ServerContext, after: str, most: float) -> Iterator[Described]:
    """Return the games of this server alone; nothing may await meanwhile."""
    for entry in context.games.lobby.after(after):
        if entry.room.members.unlisted:
            continue
        game, size = _describe(entry, most)
        if game is not None:
            yield entry.name, game, size


def _merged(
    here: list[Described], listings: list[Listing], node: int, end: str | None
) -> Iterator[Described]:
    """Return the games of all servers.

    Args:
        here: Those of this one.
        listings: A part of all, as the others know them.
        node: This server's number.
        end: The last name of that part; None where it has the rest.
    """
    names = {name for name, _, _ in here}
    elsewhere = [
        (listing.name, game, _size_of(listing.name, game))
        for listing in listings
        # This server knows its own better.
        if listing.name not in names and listing.node != node
        # Nobody knows of one that is only saved whether it is listed, and codes are for friends.
        if listing.node is not None or as_code(listing.name) is None
        for game in [
            {
                "name": listing.name,
                "users": listing.players,
                "password_protected": listing.locked,
                **shown_info(listing.info),
            }
        ]
        if "unlisted" not in game
    ]
    part = [game for game in here if end is None or game[0] <= end]
    return iter(sorted(part + elsewhere, key=lambda game: game[0]))


def uses(session: Session, feature: str) -> bool:
    """Return whether a feature is in use with a session's client."""
    delivery = session.client.delivery
    return delivery is not None and feature in delivery.features


def _directory_size(context: ServerContext, session: Session) -> float:
    """Return how many bytes of games an answer to this session may have."""
    most: float = MAX_DIRECTORY_SIZE
    waiting = context.options.limits.max_unacknowledged_bytes
    if waiting is not None:
        most = min(most, waiting / 4)
    delivery = session.client.delivery
    if delivery is not None:
        if delivery.max_envelope_size is not None:
            most = min(most, delivery.max_envelope_size - DIRECTORY_OVERHEAD)
        if waiting is not None:
            # A client may ask again before it has acknowledged an answer, and lose nothing by it.
            most = min(most, (waiting - delivery.unacknowledged_bytes) / 2)
    return most


def _describe(entry: GameEntry[RoomTask], most: float) -> tuple[dict[str, Any] | None, float]:
    """Return a game as the directory shows it, and its size in bytes; None if it cannot travel.

    A game of more than *most* bytes, or that cannot travel whole, is shown without what it says of
    itself.
    """
    game = {
        "name": entry.name,
        "users": entry.player_count,
        "password_protected": bool(entry.password),
        "info": entry.room.info,
        **entry.room.lobby_extras,
    }
    # Encoding takes longer than comparing, and most games have not changed.
    if entry.described is None or entry.described[0] != game:
        entry.described = (game, _size_of(entry.name, game))
    if entry.described[1] <= most:
        return entry.described
    plainly = {key: game[key] for key in ("name", "users", "password_protected")}
    plainly["info"] = ""
    size = _size_of(entry.name, plainly)
    return (plainly, size) if size <= most else (None, 0)


def _size_of(name: str, game: dict[str, Any]) -> float:
    """Return the bytes that a game takes in the directory; infinite if it cannot travel."""
    try:
        return len(encode_msgpack({name: game}))
    except CodecError:
        return math.inf

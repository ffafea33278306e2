"""The table of a match: its name, its options, and its making."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from pgnet_trio.codec import plain
from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.games.claiming import claiming
from pgnet_trio.server.games.claims import Make
from pgnet_trio.server.games.opening import Opening
from pgnet_trio.server.refusals import CodedRefusal, RoomClosed, log_says
from pgnet_trio.server.room.kept import Kept

if TYPE_CHECKING:
    from pgnet_trio.matchmaking import Offer
    from pgnet_trio.server.games.claims import RoomClaims
    from pgnet_trio.server.games.lobby import GameEntry
    from pgnet_trio.server.games.registry import GameRegistry
    from pgnet_trio.server.matchmaking.searches import Line
    from pgnet_trio.server.room.room import RoomTask

__all__ = ["NotHere", "note_failure", "open_table"]


class NotHere(Exception):
    """No table is made at this server now; the match waits."""


async def open_table(
    games: GameRegistry, claims: RoomClaims, line: Line, offer: Offer, *, name: str
) -> GameEntry[RoomTask]:
    """Make the game of a match; nobody is in it yet.

    Args:
        games: Makes it.
        claims: Says who makes it.
        line: The queue.
        offer: The match.
        name: What the game is called; nobody else thinks of it.

    Raises:
        NotHere: It is not this server that makes it.
        CodedRefusal: It cannot be made.
    """
    await trio.lowlevel.checkpoint()
    options = _options_of(games, line, offer)
    games.check_count()
    async with claiming(games, claims, name):
        await _claim(claims, name)
        # By the queue that made it, whatever its options say: anybody may create a game so.
        kept = Kept(queue=line.name if line.queue.rating is True else None)
        await games.open_game(Opening(name=name, options=options, kept=kept))
    entry = games.lobby.get(name)
    if entry is None:
        raise RoomClosed("The game was over before anybody was in it.")
    return entry


async def _claim(claims: RoomClaims, name: str) -> None:
    """Claim the name of a new table, which nobody else has.

    Raises:
        NotHere: This server makes no games any more, or it cannot be found out.
    """
    try:
        claim = await claims.claim(name, None, make=True)
    except CodedRefusal as refusal:
        raise NotHere(str(refusal)) from None
    if not isinstance(claim, Make):
        raise NotHere("This server is about to end, and another one makes new games.")


def _options_of(games: GameRegistry, line: Line, offer: Offer) -> dict[str, Any]:
    """Return the options of a match's table.

    Raises:
        RoomClosed: The author's function raised, or returned what cannot be options.
    """
    choose = line.queue.options
    if choose is None:
        return {"queue": line.name}
    now = trio.current_time()
    try:
        options = plain(choose([entry.ticket(now) for entry in offer.entries]))
        if not isinstance(options, dict):
            raise TypeError(f"expected a dict of options, got {type(options).__name__}")
    except Exception as error:
        note_failure(games, line, error, "options")
        raise RoomClosed(
            "The table could not be made: the game's function for its options raised an error; "
            f"{log_says(error)}",
            ReasonCode.GAME_FAILED,
        ) from None
    return options


def note_failure(games: GameRegistry, line: Line, error: Exception, what: str) -> None:
    """Log what a function of the author's raised, which a queue has."""
    named = f" {line.name!r}" if line.name else ""
    games.note_failure(error, f"The {what} of the queue{named} raised")

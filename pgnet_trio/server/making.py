"""New games, made for a user or by the server itself, under a name that is free."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import attrs
import trio

from pgnet_trio.errors import PGNetError
from pgnet_trio.foreign_text import one_line
from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.games.claiming import claiming
from pgnet_trio.server.games.claims import Elsewhere, Here, Make, Restore
from pgnet_trio.server.games.codes import new_codes
from pgnet_trio.server.games.lobby import LobbyRefusal, WrongPassword
from pgnet_trio.server.games.opening import Opening

if TYPE_CHECKING:
    from pgnet_trio.server.context import ServerContext

__all__ = ["keep_rooms", "make_game", "make_table"]

logger = logging.getLogger("pgnet_trio.server")

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
"""Seconds after which a room of the server that is over is made again: longer each time that it is
over soon."""


async def make_game(
    context: ServerContext, opening: Opening, *, creator: str | None
) -> Elsewhere | None:
    """Make a new game, which nobody is in yet.

    Cancellation leaves no game behind.

    Args:
        context: What the server's tasks share.
        opening: What it is opened with.
        creator: As whose game it counts; None for the server's own.

    Returns:
        None; or where it has to be made instead, since this server is about to end.

    Raises:
        LobbyRefusal: The name is not allowed, or taken; or the creator has too many games.
        RoomClosed: The game could not be made.
        JoinRefused: The game's ``__init__`` has refused what it was made with.
    """
    name, lobby = opening.name, context.games.lobby
    lobby.check_new(name)
    async with claiming(context.games, context.claims, name):
        # Another user may have made it while this one waited.
        lobby.check_new(name)
        try:
            claim = await context.claims.claim(
                name,
                None,
                make=True,
                password=opening.password,
                unlisted=opening.kept.unlisted,
            )
        except WrongPassword:
            claim = None
        if isinstance(claim, Elsewhere) and not claim.is_there:
            return claim
        if isinstance(claim, Elsewhere | Here):
            raise LobbyRefusal(
                f"There is a game {name!r} already; join it, or take another name.",
                ReasonCode.NAME_TAKEN,
            )
        if not isinstance(claim, Make):
            raise LobbyRefusal(
                f"There is a saved game {name!r}; join it, or take another name.",
                ReasonCode.NAME_TAKEN,
            )
        if creator is not None:
            # No await between the check and the game's place in the lobby.
            context.games.check_quota(creator, dict(opening.options))
        await context.games.open_game(opening, creator=creator)
        return None


async def make_table(
    context: ServerContext, opening: Opening, *, creator: str | None
) -> tuple[str, Elsewhere | None]:
    """Make a new game whose name is a code; errors are as of `make_game`.

    Args:
        context: What the server's tasks share.
        opening: What it is opened with, but for its name.
        creator: As whose game it counts; None for the server's own.

    Returns:
        The code, and what `make_game` returns.
    """
    for code in new_codes(context.options.environment.random_bytes):
        try:
            named = attrs.evolve(opening, name=code)
            return code, await make_game(context, named, creator=creator)
        except LobbyRefusal as refusal:
            if refusal.code != ReasonCode.NAME_TAKEN:
                raise
    raise LobbyRefusal("No code is free now; try again, or give a name.", ReasonCode.BUSY)


async def keep_rooms(
    context: ServerContext, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Make the rooms of the server, and again whenever one is over, until the server closes.

    Started once it has been tried to make each.
    """
    async with trio.open_nursery() as nursery:
        for name, options in context.options.rooms.items():
            opening = Opening(name=name, options=options, stays=True)
            await nursery.start(_keep_room, context, opening)
        task_status.started()


async def _keep_room(
    context: ServerContext, opening: Opening, *, task_status: trio.TaskStatus[None]
) -> None:
    """Make a room of the server, and again whenever it is over, until the server closes.

    Where another server of a cluster has it, whoever joins it there or here makes it again.

    Args:
        context: What the server's tasks share.
        opening: What it is opened with.
        task_status: Started once it has been tried to make it.
    """
    name, pause, is_started = opening.name, FIRST_PAUSE, False
    while not context.shutdown.closing:
        began = trio.current_time()
        try:
            is_here = await _open_room(context, opening)
        except PGNetError as error:
            logger.error("The room %r could not be made: %s", one_line(name), one_line(error))
            is_here = True
        if not is_started:
            is_started = True
            task_status.started()
        entry = context.games.lobby.get(name)
        if entry is not None:
            await entry.room.ended.wait()
        elif not is_here:
            return
        if trio.current_time() - began > LONGEST_PAUSE:
            pause = FIRST_PAUSE
        await trio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


async def _open_room(context: ServerContext, opening: Opening) -> bool:
    """Open a room of the server, if it is nowhere yet; return whether it is here."""
    name = opening.name
    async with claiming(context.games, context.claims, name):
        if context.games.lobby.get(name) is not None:
            return True
        claim = await context.claims.claim(name, "", make=True)
        if isinstance(claim, Restore):
            await context.games.open_saved_game(claim.game)
        elif isinstance(claim, Make):
            await context.games.open_game(opening)
        return not isinstance(claim, Elsewhere)

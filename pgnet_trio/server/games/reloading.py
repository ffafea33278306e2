"""Running games that go on with another class; what is made from then on is of that class too."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import attrs
import trio

from pgnet_trio.foreign_text import one_line
from pgnet_trio.server.refusals import CannotReload, RoomClosed

if TYPE_CHECKING:
    from pgnet_trio.game import Game
    from pgnet_trio.server.games.lobby import GameEntry
    from pgnet_trio.server.games.registry import GameRegistry
    from pgnet_trio.server.options import Options
    from pgnet_trio.server.room.room import RoomTask

__all__ = ["Reloaded", "reload_games"]

logger = logging.getLogger("pgnet_trio.server")

PATIENCE = 5.0
"""Seconds that a game gets to end the turn in progress."""


@attrs.frozen
class Reloaded:
    """What has become of the games that were running when their class was replaced.

    Attributes:
        moved: The names of those that go on with the new class.
        kept: Of each that goes on as it was, why.
    """

    moved: tuple[str, ...]
    kept: Mapping[str, str]


async def reload_games(
    games: GameRegistry, options: Options, make_game: Callable[..., Game]
) -> Reloaded:
    """Have new games made in another way from now on, and have those that run go on so.

    Cancellation leaves some of them as they were.

    Args:
        games: The games.
        options: The server's.
        make_game: Makes a game from a name and ``save_string=``.
    """
    options.make_game = make_game
    # Whatever kept them from being loaded, the new class may not have it.
    games.forget_failed_loads()
    moved: list[str] = []
    kept: dict[str, str] = {}

    async def reload(entry: GameEntry[RoomTask]) -> None:
        problem = await _reload(entry, options, make_game)
        if problem:
            kept[entry.name] = problem
        else:
            moved.append(entry.name)

    async with trio.open_nursery() as nursery:
        for entry in games.lobby:
            nursery.start_soon(reload, entry)
    return Reloaded(tuple(sorted(moved)), dict(sorted(kept.items())))


async def _reload(
    entry: GameEntry[RoomTask], options: Options, make_game: Callable[..., Game]
) -> str:
    """Have one game go on with another class; return why it does not, or nothing."""
    name, room = entry.name, entry.room
    version = options.save_version
    if version is not None and version < room.save_version:
        await trio.lowlevel.checkpoint()
        return (
            f"its save has version {room.save_version}, which the new class does not know "
            f"(its save_version is {version})"
        )
    try:
        with trio.fail_after(PATIENCE):
            await room.reload(lambda save_string: make_game(name, save_string=save_string))
    except CannotReload as error:
        if error.__cause__ is not None:
            logger.error(
                "The game %r could not be made by its new class, and goes on as it was",
                name,
                exc_info=error.__cause__,
                extra={"table": name},
            )
            return f"{one_line(error)}: {one_line(error.__cause__)}"
        return str(error)
    except RoomClosed:
        return "it has ended meanwhile"
    except trio.TooSlowError:
        return f"its turn in progress takes longer than {PATIENCE:g} s"
    logger.info("The game %r goes on with its new class", name, extra={"table": name})
    return ""

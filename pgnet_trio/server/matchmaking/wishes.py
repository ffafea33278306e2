"""What a user looks for, and how well they play, as far as a queue wants to know."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import trio

from pgnet_trio.codec import encode_msgpack, from_plain
from pgnet_trio.errors import CodecError
from pgnet_trio.foreign_text import one_line
from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.cluster.errors import EngineError, NotKept
from pgnet_trio.server.games.lobby import LobbyRefusal
from pgnet_trio.server.refusals import log_says

if TYPE_CHECKING:
    from pgnet_trio.matchmaking import Queue

__all__ = ["check_properties", "rating_of"]

logger = logging.getLogger("pgnet_trio.server")

MAX_PROPERTIES_SIZE = 1024
"""Bytes of what a user looks for."""


def check_properties(queue: Queue, properties: dict[str, Any]) -> None:
    """Check what a user looks for.

    Raises:
        LobbyRefusal: It is no such thing, or too much.
    """
    try:
        size = len(encode_msgpack(properties)) if properties else 0
        if queue.properties is not None:
            from_plain(properties, queue.properties)
    except CodecError as error:
        raise LobbyRefusal(f"The properties: {error}", ReasonCode.INVALID_ARGUMENT) from None
    if size > MAX_PROPERTIES_SIZE:
        raise LobbyRefusal(
            f"The properties take {size:,} bytes; {MAX_PROPERTIES_SIZE:,} are allowed.",
            ReasonCode.TOO_LONG,
        )


async def rating_of(
    queue: Queue,
    username: str,
    properties: dict[str, Any],
    kept: Callable[[str], Awaitable[float]],
    note_failure: Callable[[BaseException, str], None],
) -> float:
    """Return how well a user plays: the one place where ratings come from.

    Args:
        queue: The queue in which they look.
        username: Who it is.
        properties: What they look for; a property that is the rating is taken out.
        kept: Returns the rating that the server keeps of a user in this queue.
        note_failure: Logs what the author's function raised.

    Raises:
        LobbyRefusal: There is none.
    """
    await trio.lowlevel.checkpoint()
    source = queue.rating
    if source is None:
        return 0.0
    if isinstance(source, str):
        rating = properties.pop(source, None)
        if type(rating) not in (int, float):
            raise LobbyRefusal(
                f"This queue needs a property {source!r}, a number.",
                ReasonCode.INVALID_ARGUMENT,
            )
        return float(rating)
    if source is True:
        try:
            return await kept(username)
        except NotKept as error:
            raise LobbyRefusal(str(error), ReasonCode.NOT_KEPT) from error
        except EngineError as error:
            logger.debug("A rating cannot be read: %s", one_line(error))
            raise LobbyRefusal(
                "Your rating cannot be read now; try again later.", ReasonCode.BUSY
            ) from error
    try:
        found = source(username)
        rating = float(await found if inspect.isawaitable(found) else found)
        if not math.isfinite(rating):
            raise ValueError(f"expected a finite rating, got {rating!r}")
    except Exception as error:
        note_failure(error, f"The rating of {username} could not be found")
        raise LobbyRefusal(
            f"Your rating could not be found; {log_says(error)}",
            ReasonCode.GAME_FAILED,
        ) from None
    return rating

"""How many games there may be, and how many of one user."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pgnet_trio.codec import encode_msgpack
from pgnet_trio.errors import CodecError
from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.games.lobby import Lobby, LobbyRefusal

if TYPE_CHECKING:
    from pgnet_trio.server.limits import Limits

__all__ = ["check_count", "check_quota"]


def check_quota(
    limits: Limits,
    lobby: Lobby[Any],
    saved: Iterable[str],
    username: str,
    options: dict[str, Any],
) -> None:
    """Check that a user may create one more game, with these options.

    Args:
        limits: The server's.
        lobby: The games that are there.
        saved: The names of all games that are saved.
        username: Who would create it.
        options: What it would be created with.

    Raises:
        LobbyRefusal: They may not; the message says how many there are, or how long those are.
    """
    most = limits.max_options_size
    try:
        size = len(encode_msgpack(options)) if options else 0
    except CodecError as error:
        raise LobbyRefusal(
            f"The options cannot travel: {error}", ReasonCode.INVALID_ARGUMENT
        ) from None
    if most is not None and size > most:
        raise LobbyRefusal(
            f"The options take {size:,} bytes; {most:,} are allowed.", ReasonCode.TOO_LONG
        )
    most, count = limits.max_games_per_user, lobby.created_by(username)
    if most is not None and count >= most:
        raise LobbyRefusal(
            f"You have created {count:,} games that are not over, and {most:,} are allowed; "
            "create another one when one of them has ended.",
            ReasonCode.TOO_MANY_GAMES,
        )
    check_count(limits, lobby, saved)


def check_count(limits: Limits, lobby: Lobby[Any], saved: Iterable[str]) -> None:
    """Check that there may be one more game, whoever's; the arguments are as above.

    Raises:
        LobbyRefusal: There may not.
    """
    most = limits.max_games
    if most is not None and _count_games(lobby, saved) >= most:
        raise LobbyRefusal(
            f"This server has {most:,} games, and takes no more.", ReasonCode.SERVER_FULL
        )


def _count_games(lobby: Lobby[Any], saved: Iterable[str]) -> int:
    return len(lobby) + sum(lobby.get(name) is None for name in saved)

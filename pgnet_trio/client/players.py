"""Who is in a game, as the server tells it."""

from __future__ import annotations

import reprlib
from typing import Any

from pgnet_trio.client.limits import PLAYER_SIZE
from pgnet_trio.codec.faults import value_name
from pgnet_trio.errors import ProtocolError
from pgnet_trio.foreign_text import one_line

__all__ = ["players_size", "read_players"]


def read_players(payload: dict[str, Any], *, as_list: bool) -> dict[str, Any]:
    """Return who is there, by name: connected (True), dropped (False), or gone (None).

    Args:
        payload: That of the push.
        as_list: Whether it has a list of pairs, and not a map.

    Raises:
        ProtocolError: It has something else; the message says what.
    """
    changes = payload.get("players", [] if as_list else {})
    if not as_list:
        if not isinstance(changes, dict):
            raise ProtocolError(f"players: expected a map, got {value_name(changes)}")
        return changes
    if not isinstance(changes, list):
        raise ProtocolError(f"players: expected a list, got {value_name(changes)}")
    players: dict[str, Any] = {}
    for item in changes:
        match item:
            case [str() as name, True | False | None as online] if name not in players:
                players[name] = online
            case [str() as name, True | False | None]:
                raise ProtocolError(f"players: expected each once, got {one_line(name, 40)} again")
            case _:
                raise ProtocolError(
                    "players: expected pairs of a name and a bool or nil, "
                    f"got {one_line(reprlib.repr(item), 100)}"
                )
    return players


def players_size(players: dict[str, bool]) -> int:
    """Return how much these players count against the client's bound, in bytes."""
    return sum(map(len, players)) + PLAYER_SIZE * len(players)

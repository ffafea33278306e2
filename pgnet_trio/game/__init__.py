"""What an author subclasses, `Game`, and what a game sees of the server, `Room`."""

from __future__ import annotations

from pgnet_trio.game.checks import tells_why
from pgnet_trio.game.declared import Declared, declared_by
from pgnet_trio.game.game import Game
from pgnet_trio.game.room import (
    NO_DEFAULT,
    BotPlayer,
    NoDefault,
    Room,
    RoomBackend,
    current_room,
)

__all__ = [
    "NO_DEFAULT",
    "BotPlayer",
    "Declared",
    "Game",
    "NoDefault",
    "Room",
    "RoomBackend",
    "current_room",
    "declared_by",
    "tells_why",
]

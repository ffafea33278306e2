"""What an author subclasses, `Game`, and what a game sees of the server, `Room`."""

from __future__ import annotations

from pgnet_trio.game.asking import NO_DEFAULT, NoDefault
from pgnet_trio.game.backend import BotPlayer, RoomBackend, current_room
from pgnet_trio.game.checks import MOST_INPUT_DELAY, tells_why
from pgnet_trio.game.declared import Declared, declared_by
from pgnet_trio.game.game import Game
from pgnet_trio.game.ready import Readiness
from pgnet_trio.game.ready_state import Ready, ReadyCheck, ReadyState
from pgnet_trio.game.room import Room
from pgnet_trio.game.seat_plan import Seat, SeatPlan, seats_of
from pgnet_trio.game.seats import Seats
from pgnet_trio.game.simulated import inputs_of, rewinds_of

__all__ = [
    "MOST_INPUT_DELAY",
    "NO_DEFAULT",
    "BotPlayer",
    "Declared",
    "Game",
    "NoDefault",
    "Readiness",
    "Ready",
    "ReadyCheck",
    "ReadyState",
    "Room",
    "RoomBackend",
    "Seat",
    "SeatPlan",
    "Seats",
    "current_room",
    "declared_by",
    "inputs_of",
    "rewinds_of",
    "seats_of",
    "tells_why",
]

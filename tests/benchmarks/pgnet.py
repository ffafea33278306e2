"""Our own server as it is measured: limits off, cheap passwords, and the games on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import nacl.pwhash

from pgnet_trio import Game, Packet, Response, Server, on
from pgnet_trio.crypto import PasswordHasher
from pgnet_trio.environment import Environment
from tests.benchmarks.peers.workload import WORKLOAD, World

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["GAMES", "ArenaGame", "EchoGame", "JobGame", "TableGame", "open_server"]


class EchoGame(Game):
    """Answers each packet with its payload; takes players of both protocols."""

    def handle_game_packet(self, packet: Packet, /) -> Response:
        return Response("echo", packet.payload)


@attrs.frozen
class Said:
    """A typed message with the 100-byte payload."""

    text: str


class JobGame(EchoGame):
    """Echoes, untyped and typed, and pushes when it is told to."""

    # A room that ends with its last player would be gone when the next one comes.
    persistent = True

    @on(Said)
    def said(self, player: str, said: Said) -> Said:
        return said

    def handle_game_packet(self, packet: Packet, /) -> Response:
        if packet.message == "broadcast":
            self.room.push("broadcast", packet.payload)
            return Response("")
        if packet.message == "flood":
            self._flood(packet)
            return Response("")
        return super().handle_game_packet(packet)

    def _flood(self, packet: Packet) -> None:
        # Each push is made anew, so that all have bytes of their own, like those of a real game.
        assert packet.username is not None
        for number in range(packet.payload["count"]):
            text = f"{number:>{packet.payload['size']}}"
            self.room.push("flood", {"text": text}, to=packet.username)


@attrs.frozen
class Play:
    """Which entity a player steers."""

    body: int


@attrs.frozen
class Steer:
    """A player's input."""

    number: int
    dx: int
    dy: int


class ArenaGame(Game):
    """The `sync` benchmark: all that moves, by its number, under keys that are short."""

    update_rate = WORKLOAD.ticks_per_second
    sync_rate = WORKLOAD.ticks_per_second

    def __init__(self, name: str, save_string: str | None = None) -> None:
        super().__init__(name, save_string)
        self.world = World(seen="n")
        self.entities = {str(number): body for number, body in enumerate(self.world.bodies)}
        self.steered: dict[str, int] = {}

    @on(Play)
    def play(self, player: str, play: Play) -> None:
        self.steered[player] = play.body

    @on(Steer)
    def steer(self, player: str, steer: Steer) -> None:
        self.world.steer(self.steered[player], steer.number, steer.dx, steer.dy)

    def update(self) -> None:
        self.world.tick()

    def view(self) -> dict[str, Any]:
        return self.entities


class InputsArenaGame(ArenaGame):
    """The same, whose inputs are those of ticks, which are never answered."""

    inputs = Steer

    def update(self) -> None:
        for player, body in self.steered.items():
            steer = self.room.next_input(player)
            if steer is not None:
                self.world.steer(body, steer.number, steer.dx, steer.dy)
        self.world.tick()


class PatientArenaGame(ArenaGame):
    """The same, whose inputs are read in lots."""

    input_delay = 0.005


@attrs.frozen
class Place:
    """A move at a table."""

    number: int
    row: int
    column: int


class TableGame(Game):
    """A table at which a few play: each move shows in the state of all."""

    def __init__(self, name: str, save_string: str | None = None) -> None:
        super().__init__(name, save_string)
        self.number = 0
        self.rows = [[0] * 8 for _ in range(8)]

    @on(Place)
    def place(self, player: str, place: Place) -> None:
        self.number = place.number
        self.rows[place.row][place.column] = place.number

    def view(self) -> dict[str, Any]:
        return {"number": self.number, "rows": self.rows}


# By the first word of a server's name.
GAMES: dict[str, Callable[..., Game]] = {
    "pgnet": EchoGame,
    "jobs": JobGame,
    "arena": ArenaGame,
    "inputs": InputsArenaGame,
    "patient": PatientArenaGame,
    "table": TableGame,
}


def open_server(game: Callable[..., Game] = EchoGame, *, transport: str, **options: Any) -> Server:
    """A server with all limits off.

    Args:
        game: The class of its games.
        transport: Which WebSocket transport it uses.
        **options: Other options, and what is limited nevertheless.
    """
    # 2,000 registrations at 60 ms each would say nothing about idle connections.
    hasher = PasswordHasher(
        opslimit=nacl.pwhash.argon2id.OPSLIMIT_MIN, memlimit=nacl.pwhash.argon2id.MEMLIMIT_MIN
    )
    off = {
        "max_message_size": None,
        "max_login_message_size": None,
        "login_timeout": None,
        "ping_interval": None,
        "keepalive_timeout": None,
        "max_connections": None,
        "max_connections_per_address": None,
        "max_logins_per_address": None,
        "failed_logins_per_account": None,
        "failed_logins_per_address": None,
        "registrations_per_address": None,
        "requests_per_second": None,
        "max_requests_in_flight": None,
        "max_unacknowledged_messages": None,
        "max_unacknowledged_bytes": None,
        "max_games": None,
        "max_games_per_user": None,
    }
    return Server(
        game,
        transport=transport,
        environment=Environment(password_hasher=hasher),
        **{"port": 0, **off, **options},
    )

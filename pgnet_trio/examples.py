"""A small game and a client for it, to try things out and to start from.

``pgnet-trio serve`` hosts `ExampleGame` when no other game is named. The project's folder
``examples`` has whole programs.
"""

from __future__ import annotations

from pgnet_trio.client import Client
from pgnet_trio.foreign_text import printable
from pgnet_trio.game import Game
from pgnet_trio.messages import Packet, Response, Status

__all__ = ["ExampleClient", "ExampleGame"]

GAME_NAME = "test"
"""The name of the game that an `ExampleClient` joins."""

SHOWN_ENTRIES = 10
"""Entries of the log in each answer to a heartbeat."""

MAX_ENTRIES = 1000
MAX_MESSAGE_LENGTH = 200


class ExampleGame(Game):
    """A log of strings that players read, and add to by sending any message.

    It answers each heartbeat with the last ten entries. The game is persistent.

    Attributes:
        log: The entries, oldest first; the last thousand at most.
    """

    persistent = True

    def __init__(self, name: str, save_string: str | None = None) -> None:
        super().__init__(name, save_string)
        self.log = save_string.splitlines() if save_string else ["Game started"]

    def user_joined(self, username: str, /) -> None:
        """Note in the log who joined."""
        self._add(f"Joined: {username}")

    def user_left(self, username: str, /) -> None:
        """Note in the log who left."""
        self._add(f"Left: {username}")

    def handle_game_packet(self, packet: Packet, /) -> Response:
        """Add the user's message to the log."""
        if len(packet.message) > MAX_MESSAGE_LENGTH:
            return Response(
                f"Expected a message of at most {MAX_MESSAGE_LENGTH} characters, "
                f"got {len(packet.message)}.",
                status=Status.UNEXPECTED,
            )
        self._add(f"{packet.username} says: {packet.message!r}")
        return Response("Message added.")

    def handle_heartbeat(self, packet: Packet, /) -> Response:
        """Return the latest entries, as ``log`` in the payload."""
        return Response("Latest log entries.", {"log": self.log[-SHOWN_ENTRIES:]})

    def get_save_string(self) -> str:
        """Return the log, one line for each entry."""
        return "\n".join(self.log)

    def get_lobby_info(self) -> str:
        """Return the number of entries, for the lobby."""
        return f"{len(self.log)} entries in the log"

    def _add(self, entry: str) -> None:
        self.log.append(entry)
        del self.log[:-MAX_ENTRIES]


class ExampleClient(Client):
    """Plays an `ExampleGame`, and prints what happens.

    Once it is connected, it joins the game "test"; the server creates it if there is none.

    Attributes:
        log: The entries in the answer to the last heartbeat.
    """

    log: tuple[str, ...] = ()

    def on_connection(self, connected: bool, /) -> None:
        """Print whether there is a connection; if so, join the game."""
        print(">> CONNECTION:", connected)
        if connected:
            self.join_game(GAME_NAME, callback=None)

    def on_status(self, status: str, /) -> None:
        """Print the status."""
        print(">> STATUS:", printable(status))

    def on_game(self, name: str | None, /) -> None:
        """Print the name of the game."""
        print(">> GAME:", None if name is None else printable(name))

    def on_heartbeat(self, heartbeat: Response, /) -> None:
        """Print the log if it has changed."""
        log = tuple(heartbeat.payload.get("log", ()))
        if log != self.log:
            self.log = log
            print("New log:")
            for entry in log:
                print("--", printable(str(entry)))

"""What an author subclasses: `Game`."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from pgnet_trio.messages import Packet, Request, Response, Status

__all__ = ["Game"]


class Game:
    """The rules of a game; the server makes one object for each game that is played.

    Every hook is called by the game's own task on the server, one at a time and each to its
    end, so a game needs no locks. Hooks that are told something (`user_joined`, `user_left`,
    `handle_packet`, `handle_game_packet`, `handle_heartbeat`, `update`) may be ``async def``
    too; a game then does nothing else until the hook returns. The others are plain functions.

    A hook that raises ends this game and no other: the exception is logged with its traceback,
    and the players are back in the lobby. A persistent game is then in the save file as it was
    last saved, and comes back with the next start of the server.

    Attributes:
        persistent: Whether the game stays when its last user leaves, and is saved. A class
            attribute, an attribute or a property; read anew each time.
        heartbeat_rate: How many times a second clients send a heartbeat; more than 0. Read when
            a user joins.
    """

    if TYPE_CHECKING:
        # To a type checker these are properties: an author may override them with a property or
        # with a plain attribute, and the latter may be assigned.
        @property
        def persistent(self) -> bool:
            """Whether the game stays when its last user leaves, and is saved."""

        @property
        def heartbeat_rate(self) -> float:
            """How many times a second clients send a heartbeat."""

    else:
        persistent = False
        heartbeat_rate = 10

    def __init__(self, name: str, save_string: str | None = None) -> None:
        """Make the game.

        Args:
            name: The game's name in the lobby.
            save_string: What `get_save_string` returned when the game was last saved; None for
                a new game.
        """

    def user_joined(self, username: str, /) -> Awaitable[None] | None:
        """Called when a user has joined.

        Args:
            username: Who joined.
        """
        return None

    def user_left(self, username: str, /) -> Awaitable[None] | None:
        """Called when a user has left, whether they asked to or their connection ended.

        Args:
            username: Who left.
        """
        return None

    def handle_packet(self, packet: Packet, /) -> Response | Awaitable[Response]:
        """Called with each packet of a user in this game; most games override the next two.

        Args:
            packet: What the user sent; its username is certain.

        Returns:
            The answer. With ``disconnecting=True`` the user is removed from the game.
        """
        if packet.message == Request.HEARTBEAT_UPDATE:
            return self.handle_heartbeat(packet)
        return self.handle_game_packet(packet)

    def handle_game_packet(self, packet: Packet, /) -> Response | Awaitable[Response]:
        """Called with each packet that is not a heartbeat.

        Args:
            packet: What the user sent; its username is certain.

        Returns:
            The answer.
        """
        return Response(
            f"{type(self).__name__} handles no packets; it got {packet.message!r}.",
            status=Status.UNEXPECTED,
        )

    def handle_heartbeat(self, packet: Packet, /) -> Response | Awaitable[Response]:
        """Called with each heartbeat of a user, `heartbeat_rate` times a second.

        Args:
            packet: The heartbeat; its payload is what the client's ``heartbeat_payload`` gave.

        Returns:
            The answer, which the client passes to its ``on_heartbeat``.
        """
        return Response(f"{type(self).__name__} has nothing to tell in a heartbeat.")

    def get_save_string(self) -> str:
        """Called to save a persistent game: at each autosave, ``save`` request and shutdown.

        Returns:
            Whatever the game needs to go on later; ``__init__`` gets it as *save_string*. A game
            whose save string is empty is not saved.
        """
        return ""

    def get_lobby_info(self) -> str:
        """Called to describe the game in the directory of games.

        Returns:
            A text for people who look for a game to join.
        """
        return ""

    def update(self) -> Any:
        """Called ten times a second, whether or not anybody plays."""
        return None

"""What clients and servers say to each other: packets, responses, pushes, and their names."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from typing import Any, Self

import attrs

from pgnet_trio.codec import decode_json, encode_json
from pgnet_trio.errors import RequestFailed

__all__ = [
    "ADMIN_USERNAME",
    "DEFAULT_PORT",
    "GameInfo",
    "Packet",
    "Push",
    "Request",
    "Response",
    "Status",
    "is_gamename_allowed",
    "is_username_allowed",
    "wall_clock",
]

DEFAULT_PORT = 38929
"""The port of a server that is not told another."""

ADMIN_USERNAME = "admin"
"""The one user who may make admin requests."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


wall_clock: ContextVar[Callable[[], datetime]] = ContextVar("wall_clock", default=_utc_now)
"""The clock that `Packet` and `Response` take their ``created_on`` from."""


class Status(IntEnum):
    """What a response says about its request; a game may use any other int as well."""

    OK = 0
    """It was done."""
    BAD = 1
    """A fatal error."""
    UNEXPECTED = 2
    """It was not done, and nothing was changed."""


class Request(StrEnum):
    """The messages of packets that the server itself answers; all others go to the game."""

    GAME_DIR = "__pgnet__.game_dir"
    """List the games."""
    JOIN_GAME = "__pgnet__.join_game"
    """Join a game, or create it where there is none of that name."""
    LEAVE_GAME = "__pgnet__.leave_game"
    """Leave the game."""
    CREATE_GAME = "__pgnet__.create_game"
    """Create a game and join it."""
    HEARTBEAT_UPDATE = "__pgnet__.heartbeat_update"
    """Ask the game for its heartbeat."""
    HELP = "__pgnet__.help"
    """List the requests and their arguments."""
    SHUTDOWN = "__pgnet__.shutdown"
    """Admin: stop the server."""
    SET_REGISTRATION = "__pgnet__.set_registration"
    """Admin: let new users register, or stop letting them."""
    CREATE_INVITE = "__pgnet__.create_invite"
    """Admin: make an invite code."""
    DELETE_USER = "__pgnet__.delete_user"
    """Admin: disconnect and delete a user."""
    DESTROY_GAME = "__pgnet__.destroy_game"
    """Admin: end a game."""
    SAVE = "__pgnet__.save"
    """Admin: write the save file now."""
    SET_VERBOSE = "__pgnet__.set_verbose"
    """Admin: log every packet and response, or stop doing so."""
    DEBUG = "__pgnet__.debug"
    """Admin: show what the server holds."""
    SLEEP = "__pgnet__.sleep"
    """Admin: get an answer late, to try a slow server."""


def _payload_or_empty(payload: dict[str, Any] | None) -> dict[str, Any]:
    return {} if payload is None else payload


def _time_or_now(created_on: str | None) -> str:
    return created_on or wall_clock.get()().isoformat()


_statuses = {int(status): status for status in Status}


def _named_status(status: int) -> int:
    return _statuses.get(status, status)


# Converters run when an instance is made, and not at each assignment, to keep that cheap;
# the codec checks all types anyway when the instance is sent.
@attrs.define(on_setattr=attrs.setters.NO_OP)
class Packet:
    """What a client sends.

    Args:
        message: What it is about; a `Request`, or whatever the game understands.
        payload: The data, which has to be plain (see `pgnet_trio.codec`). None is an empty dict.
        created_on: When it was made, an ISO 8601 time; now where it is absent.
        username: Who sent it. The server sets it, whatever the client wrote.
    """

    message: str
    payload: dict[str, Any] = attrs.field(factory=dict, converter=_payload_or_empty, repr=False)
    created_on: str | None = attrs.field(default=None, converter=_time_or_now)
    username: str | None = None

    def serialize(self) -> str:
        """Give the JSON text that goes over the wire.

        Raises:
            CodecError: Something in it cannot travel, and the message says where. It is a
                ``TypeError`` too.
        """
        return encode_json(self)

    @classmethod
    def deserialize(cls, text: str | bytes, /) -> Self:
        """Read what `serialize` gave.

        Raises:
            CodecError: It is no packet, and the message says where. It is a ``TypeError`` too.
        """
        return decode_json(text, cls)

    @property
    def debug_repr(self) -> str:
        """The repr with the payload, which may hold secrets: not for logs."""
        return f"{self!r}+{self.payload}"


@attrs.define(on_setattr=attrs.setters.NO_OP)
class Response:
    """What the server, or the game, answers to a packet.

    Args:
        message: Text for people or for the client's program.
        payload: The data, which has to be plain (see `pgnet_trio.codec`). None is an empty dict.
        status: A `Status`, or any int that the game likes.
        created_on: When it was made, an ISO 8601 time; now where it is absent.
        disconnecting: Whether the connection is being closed. From a game: whether the user
            is to be removed from the game.
        game: The game that the user is in now. The server sets it.
    """

    message: str
    payload: dict[str, Any] = attrs.field(factory=dict, converter=_payload_or_empty, repr=False)
    status: int = attrs.field(default=Status.OK, converter=_named_status)
    created_on: str | None = attrs.field(default=None, converter=_time_or_now)
    disconnecting: bool = False
    game: str | None = None

    def raise_for_status(self) -> Self:
        """Return this response if its status is OK.

        Raises:
            RequestFailed: The status is another one.
        """
        if self.status != Status.OK:
            raise RequestFailed(self)
        return self

    def serialize(self) -> str:
        """Give the JSON text that goes over the wire.

        Raises:
            CodecError: Something in it cannot travel, and the message says where. It is a
                ``TypeError`` too.
        """
        return encode_json(self)

    @classmethod
    def deserialize(cls, text: str | bytes, /) -> Self:
        """Read what `serialize` gave.

        Raises:
            CodecError: It is no response, and the message says where. It is a ``TypeError`` too.
        """
        return decode_json(text, cls)

    @property
    def debug_repr(self) -> str:
        """The repr with the payload, which may hold secrets: not for logs."""
        return f"{self!r}+{self.payload}"


@attrs.define(on_setattr=attrs.setters.NO_OP)
class Push:
    """What a game sends to its players unasked.

    Args:
        message: What it is about; whatever the game and its clients agree on.
        payload: The data, which has to be plain (see `pgnet_trio.codec`). None is an empty dict.
    """

    message: str
    payload: dict[str, Any] = attrs.field(factory=dict, converter=_payload_or_empty, repr=False)

    @property
    def debug_repr(self) -> str:
        """The repr with the payload, which may hold secrets: not for logs."""
        return f"{self!r}+{self.payload}"


@attrs.frozen
class GameInfo:
    """A game as the lobby lists it.

    Args:
        name: The game's name.
        users: How many users are in it.
        password_protected: Whether joining takes a password.
        info: What the game says about itself.
        max_players: How many users it takes; None for any number.
        locked: Whether it takes nobody more.
        options: What it was created with.
    """

    name: str
    users: int
    password_protected: bool
    info: str
    max_players: int | None = None
    locked: bool = False
    options: dict[str, Any] = attrs.field(factory=dict)


def is_username_allowed(name: str) -> bool:
    """Whether a new user may have this name: 3 to 20 ASCII letters or digits, without "admin"."""
    return 3 <= len(name) <= 20 and name.isascii() and name.isalnum() and not _has_admin(name)


def is_gamename_allowed(name: str) -> bool:
    """Whether a game may have this name.

    It has 3 to 50 ASCII letters, digits or inner spaces, and "admin" is not in it.
    """
    has_spaces_inside_only = name == name.strip(" ")
    is_alphanumeric = name.isascii() and name.replace(" ", "").isalnum()
    return (
        3 <= len(name) <= 50 and has_spaces_inside_only and is_alphanumeric and not _has_admin(name)
    )


def _has_admin(name: str) -> bool:
    return ADMIN_USERNAME in name.lower()

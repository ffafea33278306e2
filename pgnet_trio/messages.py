"""What clients and servers say to each other: packets, responses, pushes, and their names.

The file is long because the fast ways to read and write packets and responses stand beside the
classes: they must take and refuse exactly what the codec does.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from time import time
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

import attrs
import msgspec

from pgnet_trio import errors
from pgnet_trio.codec import Int64, ShallowDict, decode_json, encode_json, from_plain, is_plain
from pgnet_trio.errors import CodecError, PGNetError
from pgnet_trio.foreign_text import printable

__all__ = [
    "ADMIN_USERNAME",
    "ANNOUNCEMENT",
    "DEFAULT_HEARTBEAT_RATE",
    "DEFAULT_PORT",
    "INVITATION",
    "PLAYERS",
    "SERVER_PREFIX",
    "GameInfo",
    "Packet",
    "Push",
    "Request",
    "RequestFailed",
    "Response",
    "Status",
    "cause_of",
    "check_port",
    "encode_message",
    "explicit_time",
    "is_gamename_allowed",
    "is_username_allowed",
    "note_cause",
    "note_code",
    "wall_clock",
]

DEFAULT_PORT = 38929
"""The port of a server that is given no other."""

DEFAULT_HEARTBEAT_RATE = 10.0
"""Heartbeats a second, if a game gives no rate above 0, or a server tells none."""

ADMIN_USERNAME = "admin"
"""The only user who may make admin requests."""


_write = msgspec.json.Encoder().encode


SERVER_PREFIX = "__pgnet__."
"""The beginning of all messages that belong to the server and not to a game."""

PLAYERS = f"{SERVER_PREFIX}players"
"""The push that says who is in the game, and which of them are connected."""

ANNOUNCEMENT = f"{SERVER_PREFIX}announcement"
"""The push with what whoever runs the server says to its users."""

INVITATION = f"{SERVER_PREFIX}invitation"
"""The push that tells a user that a player has invited them to a game."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


T = TypeVar("T")
SecondT = TypeVar("SecondT")

wall_clock: ContextVar[Callable[[], datetime]] = ContextVar("wall_clock", default=_utc_now)
"""The clock from which `Packet` and `Response` take their ``created_on``."""


class Status(IntEnum):
    """What a response says about its request. A game may use any other int too."""

    OK = 0
    """The request was carried out."""
    BAD = 1
    """A fatal error."""
    UNEXPECTED = 2
    """The request was not carried out, and changed nothing."""


class Request(StrEnum):
    """The messages of packets that the server itself answers. All others go to the game."""

    GAME_DIR = "__pgnet__.game_dir"
    """List the games."""
    JOIN_GAME = "__pgnet__.join_game"
    """Join a game; create it where there is none of that name."""
    LEAVE_GAME = "__pgnet__.leave_game"
    """Leave the game."""
    CREATE_GAME = "__pgnet__.create_game"
    """Create a game and join it."""
    INVITE = "__pgnet__.invite"
    """Invite a user to one's game."""
    FIND_GAME = "__pgnet__.find_game"
    """Look for a game in a queue."""
    CONFIRM_MATCH = "__pgnet__.confirm_match"
    """Confirm that one is there for a match that the server has found."""
    LEAVE_QUEUE = "__pgnet__.leave_queue"
    """Look for a game no more."""
    READ_PROFILE = "__pgnet__.read_profile"
    """Read one's own profile."""
    WRITE_PROFILE = "__pgnet__.write_profile"
    """Save one's own profile, over the version that one knows."""
    CHANGE_PASSWORD = "__pgnet__.change_password"
    """Change one's own password, with the old one."""
    LEADERBOARD = "__pgnet__.leaderboard"
    """Show a part of a leaderboard."""
    HISTORY = "__pgnet__.history"
    """List the games that one has played."""
    HEARTBEAT_UPDATE = "__pgnet__.heartbeat_update"
    """Ask the game for its heartbeat."""
    HELP = "__pgnet__.help"
    """List the requests and their arguments."""
    SHUTDOWN = "__pgnet__.shutdown"
    """Admin: stop the server."""
    SET_REGISTRATION = "__pgnet__.set_registration"
    """Admin: allow or forbid new users to register."""
    CREATE_INVITE = "__pgnet__.create_invite"
    """Admin: make an invite code."""
    DELETE_USER = "__pgnet__.delete_user"
    """Admin: disconnect and delete a user."""
    DESTROY_GAME = "__pgnet__.destroy_game"
    """Admin: end a game."""
    SAVE = "__pgnet__.save"
    """Admin: write the save file now."""
    USERS = "__pgnet__.users"
    """Moderators: list the users who are logged in, at whatever server of a cluster."""
    NODES = "__pgnet__.nodes"
    """Admin: list the servers that look like one, with what they have to do."""
    ANNOUNCE = "__pgnet__.announce"
    """Moderators: say something to all users, or to those in a game."""
    KICK = "__pgnet__.kick"
    """Moderators: end the session of a user, and tell them why."""
    BAN = "__pgnet__.ban"
    """Moderators: ban a user; admin: or a range of addresses."""
    UNBAN = "__pgnet__.unban"
    """Moderators: end a ban."""
    BANS = "__pgnet__.bans"
    """Moderators: list the bans."""
    RESET_PASSWORD = "__pgnet__.reset_password"
    """Admin: make a code with which a user sets a new password."""
    SET_ROLE = "__pgnet__.set_role"
    """Admin: make a user a moderator, or not any more."""
    ROLES = "__pgnet__.roles"
    """Admin: list the moderators."""
    AUDIT = "__pgnet__.audit"
    """Admin: read what moderators and the admin have done."""
    SET_VERBOSE = "__pgnet__.set_verbose"
    """Admin: start or stop logging every packet and response."""
    DEBUG = "__pgnet__.debug"
    """Admin: show what the server holds."""
    SLEEP = "__pgnet__.sleep"
    """Admin: get an answer late, as from a slow server."""


def _payload_or_empty(payload: dict[str, Any] | None) -> dict[str, Any]:
    return {} if payload is None else payload


def _time_or_now(created_on: str | None) -> str | datetime:
    return created_on or wall_clock.get()()


def _iso_8601(reading: float | datetime) -> str:
    moment = reading if isinstance(reading, datetime) else datetime.fromtimestamp(reading, UTC)
    # The same text as that of `isoformat`, in a third of the time.
    if moment.tzinfo is UTC:
        return f"{_write(moment)[1:-2].decode()}+00:00"
    return moment.isoformat()


def _formats_its_time_late(kind: type[T]) -> type[T]:
    """Make ``created_on`` of a class a text for everybody, though it may be a clock's reading.

    Most times that nobody set are never read, and formatting one is slow. attrs, cattrs and the
    users of the class all use the attribute, so none of them notices.
    """

    def created_on(self: Packet | Response) -> str | None:
        reading = self._reading
        return self._set_time if reading is None else _iso_8601(reading)

    def set_created_on(self: Packet | Response, time: str | datetime | None) -> None:
        if isinstance(time, datetime):
            self._set_time, self._reading = None, time
        else:
            self._set_time, self._reading = time, None

    for name, value in {
        "_set_time": kind.__dict__["created_on"],
        "created_on": property(created_on, set_created_on),
    }.items():
        setattr(kind, name, value)
    return kind


def explicit_time(message: Packet | Response) -> str | None:
    """Return the ``created_on`` that somebody set, be it who made the message or who sent it.

    None where the message took the time from the clock.
    """
    return message._set_time


def time_of(message: Packet | Response) -> str | float | None:
    """Return ``created_on`` as it is kept: a text, or seconds since 1970, which cost nothing."""
    reading = message._reading
    if reading is None:
        return message._set_time
    return reading if isinstance(reading, float) else reading.timestamp()


def set_time_of(message: Packet | Response, time: str | float | None) -> None:
    """Set ``created_on`` as `time_of` has returned it."""
    text = time if time is None or isinstance(time, str) else _iso_8601(time)
    message.created_on = text


_statuses = {int(status): status for status in Status}


def _named_status(status: int) -> int:
    # A dict of ints, because the hash of an enum is slow.
    return status if type(status) is Status else _statuses.get(status, status)


class _Message:
    """What packets, responses and pushes have in common."""

    # Only a response has the first two: a cause inside of the process in which a game raised it,
    # and a code if it is a refusal of the server. A push has none of the three. The reading of the
    # clock, in seconds or as another clock returns it, is there where nobody has set a time.
    __slots__ = ("_cause", "_code", "_reading")

    _cause: BaseException | None
    _code: str
    _reading: float | datetime | None

    message: str
    payload: dict[str, Any]

    if TYPE_CHECKING:
        # Only classes with `_formats_its_time_late` have it.
        _set_time: str | None

    @overload
    def read(self, model: type[T], /) -> T: ...
    @overload
    def read(self, model: type[T], second: type[SecondT], /) -> T | SecondT: ...
    @overload
    def read(self, *models: type[Any]) -> Any: ...
    def read(self, *models: type[Any]) -> Any:
        """Return the message as a model.

        Args:
            models: An attrs class, or several. The message has to be the name of one, and the
                payload its fields.

        Raises:
            CodecError: It is no such model; the error says which field is wrong, and how.
        """
        for model in models:
            if self.message == model.__name__:
                return from_plain(self.payload, model)
        expected = " or ".join(model.__name__ for model in models)
        raise CodecError(f"message: expected {expected}, got {self.message[:60]!r}")

    @property
    def debug_repr(self) -> str:
        """The repr with the payload, which may hold secrets: not for logs."""
        return f"{self!r}+{self.payload}"


# Converters run when an instance is made and not at each assignment, because assignments have to be
# cheap. The codec checks all types anyway when the instance is sent. Both classes have an
# ``__init__`` that does what attrs would, without a call for each converter: there is a packet and
# a response for each request. A subclass gets the one that attrs makes.
@_formats_its_time_late
@attrs.define(on_setattr=attrs.setters.NO_OP)
class Packet(_Message):
    """What a client sends.

    Args:
        message: What it is about: a `Request`, or any text that the game understands.
        payload: Plain data (see `pgnet_trio.codec`). None stands for an empty dict.
        created_on: When it was made, an ISO 8601 time; None for now.
        username: Who sent it. The server sets it, whatever the client wrote.
    """

    message: str
    payload: dict[str, Any] = attrs.field(factory=dict, converter=_payload_or_empty, repr=False)
    created_on: str | None = attrs.field(default=None, converter=_time_or_now)
    username: str | None = None

    def __init__(
        self,
        message: str,
        payload: dict[str, Any] | None = None,
        created_on: str | None = None,
        username: str | None = None,
    ) -> None:
        self.message = message
        self.payload = {} if payload is None else payload
        # The clock is read here, without a call for each message.
        if created_on:
            self._set_time, self._reading = created_on, None  # type: ignore[misc]  # a slot; see above
        else:
            clock = wall_clock.get()
            self._set_time = None  # type: ignore[misc]  # as above
            self._reading = time() if clock is _utc_now else clock()  # type: ignore[misc]  # as above
        self.username = username

    def serialize(self) -> str:
        """Return the JSON text that goes over the wire.

        Raises:
            CodecError: Something in it cannot travel; the error says where. It is a ``TypeError``
                too.
        """
        return encode_message(self).decode()

    @classmethod
    def deserialize(cls, text: str | bytes, /) -> Self:
        """Return the packet in a JSON text.

        Raises:
            CodecError: The text is no packet; the error says where. It is a ``TypeError`` too.
        """
        if cls is Packet:
            try:
                fields = _read_packet(text)
            except _parser_errors:
                # The codec below finds out what is wrong, or that the payload is only deep.
                pass
            else:
                return cls(fields.message, fields.payload, fields.created_on, fields.username)
        return decode_json(text, cls, "")


@_formats_its_time_late
@attrs.define(on_setattr=attrs.setters.NO_OP)
class Response(_Message):
    """What the server, or the game, answers to a packet.

    Args:
        message: Text for people or for the client's program.
        payload: Plain data (see `pgnet_trio.codec`). None stands for an empty dict.
        status: A `Status`, or any other int of the game's choice.
        created_on: When it was made, an ISO 8601 time; None for now.
        disconnecting: Whether the connection is being closed. In a response of a game: whether
            the server is to remove the user from the game.
        game: The game that the user is in now. The server sets it.
    """

    message: str
    payload: dict[str, Any] = attrs.field(factory=dict, converter=_payload_or_empty, repr=False)
    status: int = attrs.field(default=Status.OK, converter=_named_status)
    created_on: str | None = attrs.field(default=None, converter=_time_or_now)
    disconnecting: bool = False
    game: str | None = None

    def __init__(
        self,
        message: str,
        payload: dict[str, Any] | None = None,
        status: int = Status.OK,
        created_on: str | None = None,
        disconnecting: bool = False,
        game: str | None = None,
    ) -> None:
        self.message = message
        self.payload = {} if payload is None else payload
        self.status = status if type(status) is Status else _named_status(status)
        # The clock is read here, without a call for each message.
        if created_on:
            self._set_time, self._reading = created_on, None  # type: ignore[misc]  # a slot; see above
        else:
            clock = wall_clock.get()
            self._set_time = None  # type: ignore[misc]  # as above
            self._reading = time() if clock is _utc_now else clock()  # type: ignore[misc]  # as above
        self.disconnecting = disconnecting
        self.game = game

    @property
    def code(self) -> str:
        """The `ReasonCode` of a refusal; empty where there is none.

        Only the server sets it, with protocol 2. A response that a game has made itself has none.
        """
        return getattr(self, "_code", "")

    def raise_for_status(self) -> Self:
        """Return this response if its status is OK.

        Raises:
            RequestFailed: The status is not OK.
        """
        if self.status != Status.OK:
            raise RequestFailed(self)
        return self

    def serialize(self) -> str:
        """Return the JSON text that goes over the wire.

        Raises:
            CodecError: Something in it cannot travel; the error says where. It is a ``TypeError``
                too.
        """
        return encode_message(self).decode()

    @classmethod
    def deserialize(cls, text: str | bytes, /) -> Self:
        """Return the response in a JSON text.

        Raises:
            CodecError: The text is no response; the error says where. It is a ``TypeError`` too.
        """
        if cls is Response:
            try:
                fields = _read_response(text)
            except _parser_errors:
                pass
            else:
                return cls(
                    fields.message,
                    fields.payload,
                    fields.status,
                    fields.created_on,
                    fields.disconnecting,
                    fields.game,
                )
        return decode_json(text, cls, "")


def note_cause(response: Response, error: BaseException | None) -> None:
    """Note the error behind a refusal, for the `RequestFailed` that is made of it."""
    response._cause = error  # type: ignore[misc]  # a slot of the class above


def cause_of(response: Response) -> BaseException | None:
    """Return the error behind a refusal, as far as that is known inside this process."""
    return getattr(response, "_cause", None)


def note_code(response: Response, code: str) -> Response:
    """Note the `ReasonCode` of a refusal; return the response."""
    response._code = code  # type: ignore[misc]  # a slot of the class above
    return response


class RequestFailed(PGNetError):
    """The server answered a request with a status other than OK.

    Args:
        response: The whole response. Its message is the message of this error, together with the
            status where that is not `Status.UNEXPECTED`. Where a game of `Client.local` raised,
            its exception is the cause of this error.

    Attributes:
        response: The same.
        code: The `ReasonCode` of the refusal; empty where there is none.
    """

    def __init__(self, response: Response) -> None:
        super().__init__(_refusal(response.message, response.status))
        self.response = response
        self.code = response.code
        cause = cause_of(response)
        if cause is not None:
            self.__cause__ = cause


errors.RequestFailed = RequestFailed


def _refusal(message: str, status: int) -> str:
    """Return the text of a refusal, with the status where that says more than "refused"."""
    message = printable(message)
    if status == Status.UNEXPECTED and message:
        return message
    return f"{message} (status {getattr(status, 'name', status)})".lstrip()


class _PacketFields(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A packet for msgspec, which takes and refuses exactly what the converter does, but faster."""

    message: str
    payload: ShallowDict = {}
    created_on: str | None = None
    username: str | None = None


class _ResponseFields(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A response for msgspec; see `_PacketFields`."""

    message: str
    payload: ShallowDict = {}
    status: Int64 = 0
    created_on: str | None = None
    disconnecting: bool = False
    game: str | None = None


_read_packet = msgspec.json.Decoder(_PacketFields).decode
_read_response = msgspec.json.Decoder(_ResponseFields).decode
_parser_errors = (msgspec.MsgspecError, UnicodeError, TypeError, RecursionError)


def encode_message(message: Packet | Response) -> bytes:
    """Return the JSON text of `serialize` as UTF-8.

    Raises:
        CodecError: Something in it cannot travel; the error says where.
    """
    fields: _PacketFields | _ResponseFields | None = None
    if type(message) is Packet:
        fields = _packet_fields(message)
    elif type(message) is Response:
        fields = _response_fields(message)
    if fields is not None:
        try:
            return _write(fields)
        except UnicodeError:
            # The codec below says where the lone surrogate is.
            pass
    return encode_json(message, "").encode()


def _packet_fields(packet: Packet) -> _PacketFields | None:
    message, payload, username = packet.message, packet.payload, packet.username
    created_on = packet.created_on
    if (
        type(message) is str
        and type(payload) is dict
        and (username is None or type(username) is str)
        and (created_on is None or type(created_on) is str)
        and is_plain(payload, 1)
    ):
        return _PacketFields(message, payload, created_on, username)
    return None


def _response_fields(response: Response) -> _ResponseFields | None:
    message, payload, status = response.message, response.payload, response.status
    created_on, game = response.created_on, response.game
    disconnecting = response.disconnecting
    if (
        type(message) is str
        and type(payload) is dict
        and (type(status) is Status or (type(status) is int and is_plain(status)))
        and (created_on is None or type(created_on) is str)
        and (disconnecting is False or disconnecting is True)
        and (game is None or type(game) is str)
        and is_plain(payload, 1)
    ):
        return _ResponseFields(message, payload, status, created_on, disconnecting, game)
    return None


@attrs.define(on_setattr=attrs.setters.NO_OP)
class Push(_Message):
    """What a game sends to its players unasked.

    Args:
        message: What it is about: any text that the game and its clients agree on.
        payload: Plain data (see `pgnet_trio.codec`). None stands for an empty dict.
    """

    message: str
    payload: dict[str, Any] = attrs.field(factory=dict, converter=_payload_or_empty)

    # Unlike a packet, which may be a log-in, a push holds what a program is to show.
    @property
    def debug_repr(self) -> str:
        """The repr, which has the payload."""
        return repr(self)


@attrs.frozen
class GameInfo:
    """A game as the lobby lists it.

    Args:
        name: The game's name.
        users: How many users play in it; spectators and bots do not count.
        password_protected: Whether joining needs a password.
        info: The game's description of itself.
        max_players: How many users may play in it; None for any number.
        locked: Whether nobody more may join.
        options: The options that the game was created with.
    """

    name: str
    users: int
    password_protected: bool
    info: str
    max_players: int | None = None
    locked: bool = False
    options: dict[str, Any] = attrs.field(factory=dict)


def check_port(port: object, *, to_connect: bool = False) -> None:
    """Check the argument ``port`` of a server or a client.

    Args:
        port: The TCP port. To listen on, it may be 0 for any free port, or None for none.
        to_connect: Whether it is a port to connect to.

    Raises:
        TypeError: It is no whole number.
        ValueError: There is no such port. (The system would silently use another one.)
    """
    if port is None and not to_connect:
        return
    least, or_none = (1, "") if to_connect else (0, ", or None for no port")
    expected = f"port: expected a whole number from {least} to 65535{or_none}; got {port!r}"
    if type(port) is not int:
        raise TypeError(expected)
    if not least <= port <= 65535:
        raise ValueError(expected)


def is_username_allowed(name: str) -> bool:
    """Return whether a new user may have this name.

    It has 3 to 20 ASCII letters or digits, and does not contain "admin".
    """
    return 3 <= len(name) <= 20 and name.isascii() and name.isalnum() and not _has_admin(name)


def is_gamename_allowed(name: str) -> bool:
    """Return whether a game may have this name.

    It has 3 to 50 ASCII letters, digits or inner spaces, and does not contain "admin".
    """
    has_spaces_inside_only = name == name.strip(" ")
    is_alphanumeric = name.isascii() and name.replace(" ", "").isalnum()
    return (
        3 <= len(name) <= 50 and has_spaces_inside_only and is_alphanumeric and not _has_admin(name)
    )


def _has_admin(name: str) -> bool:
    return ADMIN_USERNAME in name.lower()

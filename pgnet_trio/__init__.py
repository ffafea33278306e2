"""Multiplayer games on Trio: a server, a client, and everything between them.

The layers, each of which imports only from those before it: errors, reason_codes, codec,
messages, typed, crypto, netcode, protocol, patch, transport, recording, connection,
environment, matchmaking, standings, game, storage, server, client, bot, testing, replay, terminal,
lines, examples, devclient, cli.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

from pgnet_trio import examples
from pgnet_trio.bot import Bot
from pgnet_trio.client import (
    Client,
    Entered,
    Invitation,
    Left,
    LostPushes,
    Profile,
    ProfileConflict,
    Question,
    Search,
    StateChanged,
)
from pgnet_trio.errors import (
    AddressError,
    CodecError,
    ConnectFailed,
    CryptoError,
    Disconnected,
    LoginRefused,
    PGNetError,
    PlayerLeft,
    ProtocolError,
    PushesLost,
    Reject,
    SendQueueFull,
    ServerError,
    ServerKeyMismatch,
    SessionLost,
    StorageError,
)
from pgnet_trio.examples import ExampleClient, ExampleGame
from pgnet_trio.foreign_text import make_tracebacks_printable
from pgnet_trio.game import Game, Readiness, Ready, ReadyCheck, Room, Seats
from pgnet_trio.matchmaking import Queue, Ticket
from pgnet_trio.messages import (
    ADMIN_USERNAME,
    DEFAULT_PORT,
    GameInfo,
    Packet,
    Push,
    Request,
    RequestFailed,
    Response,
    Status,
    is_gamename_allowed,
    is_username_allowed,
)
from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.recording import Recording
from pgnet_trio.standings import (
    Leaderboard,
    LeaderboardEntry,
    LeaderboardPage,
    PlayedGame,
    RatingChange,
    Result,
)
from pgnet_trio.terminal import ainput
from pgnet_trio.typed import on

__all__ = [
    "ADMIN_USERNAME",
    "DEFAULT_PORT",
    "AddressError",
    "Bot",
    "Client",
    "Cluster",
    "CodecError",
    "ConnectFailed",
    "CryptoError",
    "Disconnected",
    "Entered",
    "ExampleClient",
    "ExampleGame",
    "Game",
    "GameInfo",
    "Invitation",
    "Leaderboard",
    "LeaderboardEntry",
    "LeaderboardPage",
    "Left",
    "LoginRefused",
    "LostPushes",
    "Monitor",
    "PGNetError",
    "Packet",
    "PlayedGame",
    "PlayerLeft",
    "Profile",
    "ProfileConflict",
    "ProtocolError",
    "Push",
    "PushesLost",
    "Question",
    "Queue",
    "RatingChange",
    "Readiness",
    "Ready",
    "ReadyCheck",
    "ReasonCode",
    "Recording",
    "Reject",
    "Request",
    "RequestFailed",
    "Response",
    "Result",
    "Room",
    "Search",
    "Seats",
    "SendQueueFull",
    "Server",
    "ServerError",
    "ServerKeyMismatch",
    "SessionLost",
    "Site",
    "StateChanged",
    "Status",
    "StorageError",
    "Ticket",
    "ainput",
    "devclient",
    "enable_logging",
    "examples",
    "is_gamename_allowed",
    "is_username_allowed",
    "on",
]

if TYPE_CHECKING:
    from pgnet_trio import devclient
    from pgnet_trio.server import Cluster, Monitor, Server, Site
else:
    # More than half of the package, which a player's program is not to wait for.
    _OF_SERVERS = frozenset({"Cluster", "Monitor", "Server", "Site"})

    def __getattr__(name: str) -> Any:
        # Where it is imported already, ``python -m pgnet_trio.devclient`` begins with a warning.
        if name == "devclient":
            return importlib.import_module("pgnet_trio.devclient")
        if name in _OF_SERVERS:
            found = getattr(importlib.import_module("pgnet_trio.server"), name)
            return globals().setdefault(name, found)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


_logger = logging.getLogger("pgnet_trio")
_logger.addHandler(logging.NullHandler())
for _name in ("client", "server", "storage", "transport.trio_websocket"):
    make_tracebacks_printable(logging.getLogger(f"pgnet_trio.{_name}"))
_handler = logging.StreamHandler()
_handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))


def enable_logging(enable: bool = True, *, level: int | str = logging.INFO) -> None:
    """Show the library's log messages on standard error, or no more.

    A program that configures logging itself needs none of this: the logger is ``pgnet_trio``.

    Args:
        enable: Whether messages are shown.
        level: The lowest level that is: ``"WARNING"``, or a number of `logging`, leaves what goes
            well out, and still shows the traceback of a game that raises.

    Raises:
        ValueError: There is no level of that name.
    """
    if enable:
        _logger.addHandler(_handler)
        _logger.setLevel(level)
    else:
        _logger.removeHandler(_handler)
        _logger.setLevel(logging.NOTSET)

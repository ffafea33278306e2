"""Multiplayer games on Trio: a server, a client, and everything between them.

The layers, each of which imports only from those before it: errors, codec, messages, crypto,
protocol, transport, connection, environment, game, storage, server, client, terminal, examples,
devclient, cli.
"""

from __future__ import annotations

import logging

from pgnet_trio.client import Client
from pgnet_trio.errors import (
    CodecError,
    ConnectFailed,
    CryptoError,
    Disconnected,
    LoginRefused,
    PGNetError,
    ProtocolError,
    RequestFailed,
    SendQueueFull,
    ServerError,
    ServerKeyMismatch,
    StorageError,
)
from pgnet_trio.game import Game
from pgnet_trio.messages import (
    ADMIN_USERNAME,
    DEFAULT_PORT,
    GameInfo,
    Packet,
    Request,
    Response,
    Status,
    is_gamename_allowed,
    is_username_allowed,
)
from pgnet_trio.server import Server

__all__ = [
    "ADMIN_USERNAME",
    "DEFAULT_PORT",
    "Client",
    "CodecError",
    "ConnectFailed",
    "CryptoError",
    "Disconnected",
    "Game",
    "GameInfo",
    "LoginRefused",
    "PGNetError",
    "Packet",
    "ProtocolError",
    "Request",
    "RequestFailed",
    "Response",
    "SendQueueFull",
    "Server",
    "ServerError",
    "ServerKeyMismatch",
    "Status",
    "StorageError",
    "enable_logging",
    "is_gamename_allowed",
    "is_username_allowed",
]

logging.getLogger("pgnet_trio").addHandler(logging.NullHandler())


def enable_logging(enable: bool = True, /) -> None:
    """Let the library's log messages through, or silence it again.

    Args:
        enable: Whether messages of level INFO and above go to the handlers of the program, or to
            standard error where it has none.
    """
    logger = logging.getLogger("pgnet_trio")
    logger.setLevel(logging.INFO if enable else logging.CRITICAL + 1)
    if enable and not logging.getLogger().handlers:
        logging.basicConfig()


enable_logging(False)

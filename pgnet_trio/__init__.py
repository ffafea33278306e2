"""Multiplayer games on Trio: a server, a client, and everything between them.

The layers, each of which imports only from those before it: errors, codec, messages, crypto,
protocol, transport, connection, environment, game, storage, server, client, terminal, examples,
devclient, cli.
"""

from __future__ import annotations

import logging

from pgnet_trio import devclient, examples
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
from pgnet_trio.examples import ExampleClient, ExampleGame
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
from pgnet_trio.terminal import ainput

__all__ = [
    "ADMIN_USERNAME",
    "DEFAULT_PORT",
    "Client",
    "CodecError",
    "ConnectFailed",
    "CryptoError",
    "Disconnected",
    "ExampleClient",
    "ExampleGame",
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
    "ainput",
    "devclient",
    "enable_logging",
    "examples",
    "is_gamename_allowed",
    "is_username_allowed",
]

_logger = logging.getLogger("pgnet_trio")
_logger.addHandler(logging.NullHandler())
_handler = logging.StreamHandler()
_handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))


def enable_logging(enable: bool = True, /) -> None:
    """Show the library's log messages on standard error, or no more.

    A program that configures logging itself needs none of this: the logger is ``pgnet_trio``.

    Args:
        enable: Whether messages of level INFO and above are shown.
    """
    if enable:
        _logger.addHandler(_handler)
        _logger.setLevel(logging.INFO)
    else:
        _logger.removeHandler(_handler)
        _logger.setLevel(logging.NOTSET)

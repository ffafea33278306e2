"""The wire behaviour of PGNet 0.2, client and server, to hold ours against.

It shares no code with the package: `json` and PyNaCl are used directly, and it is as strict as
the original is: a key that it does not know is an error. Nothing here reads or writes; a message
goes in, and what would be sent comes out, so that it runs in plain tests and over real WebSockets.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from enum import Enum
from typing import Any

import nacl.exceptions
import nacl.public
from nacl.encoding import Base64Encoder

__all__ = [
    "BAD",
    "OK",
    "UNEXPECTED",
    "OriginalClient",
    "OriginalConnection",
    "OriginalServer",
    "PeerError",
]

OK, BAD, UNEXPECTED = 0, 1, 2

PACKET_KEYS = ("message", "payload", "created_on", "username")
RESPONSE_KEYS = ("message", "payload", "status", "created_on", "disconnecting", "game")

DEFAULT_HEARTBEAT_RATE = 10


class PeerError(Exception):
    """What makes the original give a connection up."""


def _now() -> str:
    return datetime.now().astimezone().isoformat()


def _packet(message: str, payload: dict[str, Any]) -> str:
    return json.dumps(dict(zip(PACKET_KEYS, (message, payload, _now(), None), strict=True)))


def _response(
    message: str,
    payload: dict[str, Any] | None = None,
    status: int = OK,
    disconnecting: bool = False,
    game: str | None = None,
) -> str:
    values = (message, payload or {}, status, _now(), disconnecting, game)
    return json.dumps(dict(zip(RESPONSE_KEYS, values, strict=True)))


def _read(text: str, known: tuple[str, ...]) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except ValueError as error:
        raise PeerError(f"no JSON: {text[:80]!r}") from error
    if not isinstance(data, dict) or "message" not in data:
        raise PeerError(f"no message in {text[:80]!r}")
    if unknown := data.keys() - set(known):
        raise PeerError(f"unexpected keyword arguments {sorted(unknown)}")
    return data


class _Tunnel:
    def __init__(self, key: nacl.public.PrivateKey, pubkey: str) -> None:
        public = nacl.public.PublicKey(pubkey.encode(), encoder=Base64Encoder)
        self._box = nacl.public.Box(key, public)

    def encrypt(self, text: str) -> str:
        return self._box.encrypt(text.encode(), encoder=Base64Encoder).decode()

    def decrypt(self, message: str | bytes) -> str:
        if isinstance(message, bytes):
            raise PeerError("a binary message")
        try:
            return self._box.decrypt(message.encode(), encoder=Base64Encoder).decode()
        except (nacl.exceptions.CryptoError, ValueError) as error:
            raise PeerError("failed to decrypt") from error


class Stage(Enum):
    KEY_TRADE = 1
    LOG_IN = 2
    CONNECTED = 3
    CLOSED = 4


class OriginalClient:
    """The original's client: it sends one message, and waits for the one that answers it.

    Attributes:
        stage: How far it is.
        received: Each response as it stood on the wire, the handshake's included.
        status: Why it is closed, as it would tell its user.
        game: The game that it believes to be in.
        heartbeat_interval: Seconds between heartbeats in that game.
        waiting: Whether a message is unanswered.
    """

    def __init__(
        self,
        username: str,
        password: str = "",
        invite_code: str | None = "",
        *,
        verify_server_pubkey: str = "",
    ) -> None:
        self.stage = Stage.KEY_TRADE
        self.received: list[dict[str, Any]] = []
        self.status = ""
        self.game: str | None = None
        self.heartbeat_interval = 1 / DEFAULT_HEARTBEAT_RATE
        self.waiting = False
        self._key = nacl.public.PrivateKey.generate()
        self._tunnel: _Tunnel | None = None
        self._verify_server_pubkey = verify_server_pubkey
        self._credentials = {"username": username, "password": password}
        # The first releases knew of no invites.
        if invite_code is not None:
            self._credentials["invite_code"] = invite_code

    @property
    def pubkey(self) -> str:
        return self._key.public_key.encode(encoder=Base64Encoder).decode()

    def open(self) -> str:
        """Give the first message of the connection."""
        return self._send("key_trade", {"pubkey": self.pubkey})

    def request(self, message: str, payload: dict[str, Any] | None = None) -> str:
        """Give the message that carries a request; to be called once the last one is answered."""
        if self.stage is not Stage.CONNECTED:
            raise PeerError(f"not connected: {self.status}")
        return self._send(message, payload or {})

    def receive(self, message: str | bytes) -> str | None:
        """Take a message in, and give the one that this client sends next, if it has one."""
        if not self.waiting:
            raise PeerError("a message that nobody asked for: all later answers would be shifted")
        self.waiting = False
        if self._tunnel is not None:
            message = self._tunnel.decrypt(message)
        response = _read(str(message), RESPONSE_KEYS)
        self.received.append(response)
        if self.stage is Stage.KEY_TRADE:
            return self._trade_keys(response)
        if self.stage is Stage.LOG_IN:
            if response["status"] != OK:
                self._close(response["message"])
            else:
                self.stage = Stage.CONNECTED
            return None
        self._follow(response)
        if response["disconnecting"]:
            self._close(response["message"])
        return None

    def _send(self, message: str, payload: dict[str, Any]) -> str:
        if self.waiting:
            raise PeerError("the answer to the last message is outstanding")
        self.waiting = True
        text = _packet(message, payload)
        return text if self._tunnel is None else self._tunnel.encrypt(text)

    def _trade_keys(self, response: dict[str, Any]) -> str | None:
        pubkey = response["payload"].get("pubkey")
        if not pubkey or not isinstance(pubkey, str):
            self._close("no public key from the server")
            return None
        if self._verify_server_pubkey and pubkey != self._verify_server_pubkey:
            self._close("another public key than expected")
            return None
        self._tunnel = _Tunnel(self._key, pubkey)
        self.stage = Stage.LOG_IN
        return self._send("handshake", self._credentials)

    def _follow(self, response: dict[str, Any]) -> None:
        if response["game"] != self.game:
            rate = response["payload"].get("heartbeat_rate", DEFAULT_HEARTBEAT_RATE)
            # A rate of 0 ends the original here, too.
            self.heartbeat_interval = 1 / rate
            self.game = response["game"]

    def _close(self, status: str) -> None:
        self.stage = Stage.CLOSED
        self.status = status


# What a game of the original's answers: message, payload, status, disconnecting.
GameAnswer = tuple[str, dict[str, Any], int, bool]


def echo(packet: dict[str, Any]) -> GameAnswer:
    """Answer a packet of a game with what is in it."""
    return packet["message"], packet["payload"], OK, False


class OriginalServer:
    """The original's server, with the smallest lobby that one can play in.

    Args:
        game: Answers the packets of every game, heartbeats too.
        passwords: The users that exist; unknown ones are registered.

    Attributes:
        games: The users of each game.
        packets: Each packet as it stood on the wire, handshakes included.
        kicked: Users whose next request is answered by the end of the connection.
    """

    def __init__(
        self,
        game: Callable[[dict[str, Any]], GameAnswer] = echo,
        passwords: dict[str, str] | None = None,
    ) -> None:
        self.handle_packet = game
        self.passwords = dict(passwords or {})
        self.connected: set[str] = set()
        self.games: dict[str, set[str]] = {}
        self.packets: list[dict[str, Any]] = []
        self.kicked: set[str] = set()
        self.key = nacl.public.PrivateKey.generate()

    @property
    def pubkey(self) -> str:
        return self.key.public_key.encode(encoder=Base64Encoder).decode()

    def connect(self) -> OriginalConnection:
        """Begin a connection."""
        return OriginalConnection(self)


class OriginalConnection:
    """One connection of the original's server: each message gets exactly one back.

    Attributes:
        stage: How far it is; when it is CLOSED the connection is to be closed, after what
            `receive` gave last is sent.
        username: Who logged in.
        game: The game that this user is in.
    """

    def __init__(self, server: OriginalServer) -> None:
        self.stage = Stage.KEY_TRADE
        self.username = ""
        self.game: str | None = None
        self._server = server
        self._tunnel: _Tunnel | None = None

    def receive(self, message: str | bytes) -> str:
        """Take a message in, and give the one that answers it.

        Raises:
            PeerError: The original would have closed the connection without an answer.
        """
        if self.stage is Stage.CLOSED:
            raise PeerError("the connection is closed")
        tunnel = self._tunnel
        text = str(message) if tunnel is None else tunnel.decrypt(message)
        packet = _read(text, PACKET_KEYS)
        self._server.packets.append(packet)
        answer = {
            Stage.KEY_TRADE: self._trade_keys,
            Stage.LOG_IN: self._log_in,
            Stage.CONNECTED: self._answer,
        }[self.stage](packet)
        return answer if tunnel is None else tunnel.encrypt(answer)

    def close(self) -> None:
        """Let the user go, as at the end of the connection."""
        self.stage = Stage.CLOSED
        self._server.connected.discard(self.username)
        self._leave()

    def _refuse(self, reason: str) -> str:
        self.stage = Stage.CLOSED
        return _response(reason, status=BAD, disconnecting=True)

    def _trade_keys(self, packet: dict[str, Any]) -> str:
        pubkey = packet["payload"].get("pubkey")
        if not pubkey or not isinstance(pubkey, str):
            return self._refuse("no public key")
        self._tunnel = _Tunnel(self._server.key, pubkey)
        self.stage = Stage.LOG_IN
        return _response("key_trade", {"pubkey": self._server.pubkey})

    def _log_in(self, packet: dict[str, Any]) -> str:
        username, password = packet["payload"]["username"], packet["payload"]["password"]
        if username in self._server.connected:
            return self._refuse("connected already")
        if self._server.passwords.setdefault(username, password) != password:
            return self._refuse("not the password")
        self._server.connected.add(username)
        self.username = username
        self.stage = Stage.CONNECTED
        return _response("logged in")

    def _answer(self, packet: dict[str, Any]) -> str:
        message, payload, status, disconnecting = self._handle(packet | {"username": self.username})
        answer = _response(message, payload, status, disconnecting, self.game)
        if disconnecting:
            self.close()
        return answer

    def _handle(self, packet: dict[str, Any]) -> GameAnswer:
        if self.username in self._server.kicked:
            return "kicked", {}, OK, True
        requests: dict[str, Callable[..., GameAnswer]] = {
            "__pgnet__.game_dir": self._game_dir,
            "__pgnet__.create_game": self._create_game,
            "__pgnet__.join_game": self._join_game,
            "__pgnet__.leave_game": self._leave_game,
        }
        if request := requests.get(packet["message"]):
            try:
                return request(**packet["payload"])
            except TypeError as error:
                return str(error), {}, UNEXPECTED, False
        if self.game is None:
            return "not in a game", {"commands": sorted(requests)}, UNEXPECTED, False
        message, payload, status, leaving = self._server.handle_packet(packet)
        if leaving:
            self._leave()
        return message, payload, status, False

    def _game_dir(self) -> GameAnswer:
        games = {
            name: {"name": name, "users": len(users), "password_protected": False, "info": ""}
            for name, users in self._server.games.items()
        }
        return "the games", {"games": games}, OK, False

    def _create_game(self, name: str, password: str = "") -> GameAnswer:
        if self.game is not None or not name or name in self._server.games:
            return "not created", {}, UNEXPECTED, False
        self._server.games[name] = {self.username}
        self.game = name
        return "created", {"heartbeat_rate": DEFAULT_HEARTBEAT_RATE}, OK, False

    # The original has no parameter for a password here, not even for an empty one.
    def _join_game(self, name: str) -> GameAnswer:
        if name not in self._server.games:
            return self._create_game(name)
        if self.game is not None:
            return "not joined", {}, UNEXPECTED, False
        self._server.games[name].add(self.username)
        self.game = name
        return "joined", {"heartbeat_rate": DEFAULT_HEARTBEAT_RATE}, OK, False

    def _leave_game(self) -> GameAnswer:
        if self.game is None:
            return "not in a game", {}, UNEXPECTED, False
        self._leave()
        return "left", {}, OK, False

    def _leave(self) -> None:
        if self.game is not None:
            users = self._server.games[self.game]
            users.discard(self.username)
            if not users:
                del self._server.games[self.game]
            self.game = None

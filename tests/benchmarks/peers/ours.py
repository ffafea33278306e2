"""Ours beside the rivals: how our server is started, and lean clients of protocol 2."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import msgspec

from pgnet_trio import Request
from pgnet_trio.patch import apply_columns
from pgnet_trio.protocol.v2 import SUBPROTOCOLS, envelopes
from pgnet_trio.protocol.v2.features import COLUMNS, NETCODE
from tests.benchmarks.peers.drive import Command, sync_result
from tests.benchmarks.peers.rivals import LeanContender
from tests.benchmarks.peers.wire import Returning, Visitor
from tests.benchmarks.processes import missing_package, server_tree
from tests.benchmarks.wire2 import IdlePeer2, Protocol2Peer, push_body, request_body, with_number

if TYPE_CHECKING:
    from pathlib import Path

    from tests.benchmarks.peers import SyncResult

__all__ = [
    "INPUTS",
    "OURS",
    "PATIENT",
    "Broadcast",
    "Echo",
    "InputPlayer",
    "Ours",
    "Player",
    "Return",
    "Visit",
    "earlier",
]

_encode = msgspec.msgpack.Encoder().encode
_REQUEST = _encode(envelopes.RequestEnvelope(1, "", {}))[1]

RESPONSE, PUSH, STATE, PATCH, COLUMN_PATCH = 8, 9, 10, 11, 24


class Echo(Protocol2Peer):
    """Requests with an answer, each client in a game of its own."""


class Broadcast(Protocol2Peer):
    """A recipient in the room; what it asks is broadcast."""

    message = "broadcast"

    @property
    def game(self) -> str:
        return "room"

    def pipeline(self, in_flight: int) -> None:
        # Nobody waits for the answer, as with the rivals.
        self.request_with(request_body(self.message, self.payload, quiet=True), 1)
        self._push = push_body(self.message, self.payload)
        self._alone = envelopes.array_head(1) + self._push

    def messages(self, data: bytes) -> list[bytes]:
        found = []
        for plaintext in self.plaintexts(data):
            # All recipients get the same bytes.
            if plaintext == self._alone:
                self.received += 1
                found.append(self._push)
                continue
            found += [
                _encode(envelope)
                for envelope in self._decode(plaintext)
                if envelope[0] == PUSH and envelope[1] == self.message
            ]
        self.acknowledge_if_due()
        return found

    def check(self, payload: bytes) -> None:
        if payload != self._push:
            raise ConnectionError(f"not a broadcast: {payload[:200]!r}")


class Visit(IdlePeer2, Visitor):
    """Joins a game and leaves it again."""

    def pipeline(self, in_flight: int) -> None:
        self._joining = request_body(Request.JOIN_GAME, {"name": "room"})
        self._leaving = request_body(Request.LEAVE_GAME, {})
        self.request_with(self._joining, 1)

    def take(self, data: bytes) -> bool:
        for plaintext in self.plaintexts(data):
            for envelope in self._decode(plaintext):
                # Besides answers there is what others do in the room.
                if envelope[0] != RESPONSE:
                    continue
                if envelope[2] != 0:
                    raise ConnectionError(f"not done: {envelope}")
                self.answers += 1
                joined = self.answers % 2 == 1
                self.request_with(self._leaving if joined else self._joining, 1)
                if not joined:
                    return True
                self.send(self.next_request())
        return False


class Return(Returning, Protocol2Peer):
    """Resumes its session, alone in its game."""

    steps = (
        Protocol2Peer.drop,
        Protocol2Peer.begin_return,
        Protocol2Peer.begin_handshake,
        Protocol2Peer.begin_resume,
        Protocol2Peer.end_resume,
    )


class Player(Protocol2Peer):
    """Plays the `sync` benchmark: keeps what it steers up to date by patches.

    The first player keeps the whole state, as a real client does, and so proves the others right.
    """

    # Release 0.1 has no columns.
    subprotocols = SUBPROTOCOLS
    features: tuple[str, ...] = (COLUMNS,)

    def __init__(self, port: int, name: str, payload: dict[str, Any] | None = None) -> None:
        assert payload is not None
        self.body: int = payload["body"]
        self._key = str(self.body)
        self._row = self._seen = 0
        self._version = 0
        self._whole: Any = None
        super().__init__(port, name, payload)

    @property
    def game(self) -> str:
        return "arena"

    def pipeline(self, in_flight: int) -> None:
        # Nothing is asked again and again here.
        pass

    def log_in(self) -> None:
        super().log_in()
        self.exchange("Play", {"body": self.body})

    def input(self, number: int, dx: int, dy: int) -> bytes:
        self.last_request += 1
        steer = {"number": number, "dx": dx, "dy": dy}
        body = _encode((_REQUEST, 0, "Steer", steer, True))
        # Where there is a number already, of one byte, which `with_number` puts in itself.
        return self.sealed(
            envelopes.array_head(1) + with_number(body[:2] + body[3:], self.last_request)
        )

    def messages(self, data: bytes) -> list[bytes]:
        return self.plaintexts(data)

    def _decode(self, plaintext: bytes) -> list[list[Any]]:
        found = super()._decode(plaintext)
        for envelope in found:
            kind = envelope[0]
            if kind in {PATCH, COLUMN_PATCH}:
                self._take_patch(*envelope[1:])
            elif kind == STATE:
                self._version, state = envelope[1:]
                self._seen = state[self._key]["n"]
                self._row = sorted(state).index(self._key)
                self._whole = state if self.name == "player0" else None
        return found

    def seen(self, message: bytes) -> int | None:
        version = self._version
        self._decode(message)
        self.acknowledge_if_due()
        return self._seen if self._version != version else None

    def _take_patch(self, base: int, version: int, patch: Any) -> None:
        if base != self._version:
            raise ConnectionError(f"a patch of version {base} came at version {self._version}")
        self._version = version
        if type(patch) is list:
            self._take_columns(patch[1])
        else:
            self._seen = patch.get(self._key, {}).get("n", self._seen)
        if self._whole is not None:
            self._whole = apply_columns(self._whole, patch)
            if self._whole[self._key]["n"] != self._seen:
                raise ConnectionError("the patches do not add up")

    def _take_columns(self, columns: list[Any]) -> None:
        runs: list[int] = []
        for field, of_its_own, entries in columns:
            runs = of_its_own or runs
            if field != "n":
                continue
            row = place = 0
            for skip, change in zip(runs[::2], runs[1::2], strict=True):
                row += skip
                if row <= self._row < row + change:
                    place += self._row - row
                    self._seen += entries[place] if type(entries) is list else entries
                    return
                row += change
                place += change


class InputPlayer(Player):
    """The same, whose inputs are those of ticks: never answered, and never sent again."""

    features = (COLUMNS, NETCODE)

    def input(self, number: int, dx: int, dy: int) -> bytes:
        changes = {"number": number, "dx": dx, "dy": dy}
        # What the player saw does not matter: this game never rewinds.
        return self.sealed(envelopes.array_head(1) + envelopes.encode_input(1, 0, changes))


class Ours(LeanContender):
    """Our server, with one of its transports.

    Args:
        name: What the command line calls it.
        transport: Which WebSocket transport it uses.
        label: What the tables call it.
        notes: What a reader of its figures has to know.
        tree: The tree whose server it is; by default the one that is measured.
        arena: The game of `sync`.
        player: Who plays it.
    """

    encrypted = True
    echoes = f"{__name__}:Echo"
    recipients = f"{__name__}:Broadcast"
    visitors = f"{__name__}:Visit"
    idlers = f"{IdlePeer2.__module__}:{IdlePeer2.__name__}"
    returners = f"{__name__}:Return"

    def __init__(
        self,
        name: str,
        transport: str,
        label: str,
        notes: dict[str, str],
        tree: Path | None = None,
        arena: str = "arena",
        player: type[Player] = Player,
    ) -> None:
        self.players = f"{__name__}:{player.__name__}"
        self.name = name
        self.label = label
        self.notes = notes
        self._transport = transport
        self._tree = tree
        self._arena = arena

    def missing(self) -> str | None:
        package = missing_package(f"jobs-{self._transport}")
        return f"{self.label} needs {package}, which is not installed" if package else None

    def server(self) -> Command:
        return self._server("jobs")

    def run_sync(self, players: int, seconds: float) -> SyncResult:
        return sync_result(self._server(self._arena), self.players, players, seconds)

    def _server(self, game: str) -> Command:
        program = ["-m", "tests.benchmarks.servers", f"{game}-{self._transport}"]
        return Command([sys.executable, *program], folder=self._tree or server_tree())


OURS = [
    Ours(
        "speed",
        "websockets",
        "pgnet_trio, `speed`",
        {
            "sync": "pgnet_trio compares what `view` gives, a dict of entities with whole numbers "
            "under short keys, and sends what has changed in msgpack; its inputs are typed, "
            "validated and need no answer.",
            "jobs": "Who joins or leaves a game of pgnet_trio is told to all others in it, which "
            "is part of its figures. With it, connecting includes an account: registration, and a "
            "password hash of the cheapest kind; who comes back resumes a session.",
            "idle": "A player of pgnet_trio is logged in, in the lobby.",
        },
    ),
    Ours("trio-websocket", "trio-websocket", "pgnet_trio, trio-websocket", {}),
]


PATIENT = Ours(
    "patient", "websockets", "pgnet_trio, `speed`, `input_delay` of 5 ms", {}, arena="patient"
)
"""Differs from ours in `sync` alone."""

INPUTS = Ours(
    "inputs",
    "websockets",
    "pgnet_trio, `speed`, with `inputs`",
    {},
    arena="inputs",
    player=InputPlayer,
)
"""The same: what inputs of ticks cost beside those by `client.send`."""


def earlier(revision: str, tree: Path) -> Ours:
    """The server of another revision, which lies in *tree*."""
    return Ours("earlier", "websockets", f"pgnet_trio at {revision}, `speed`", {}, tree)

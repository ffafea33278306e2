"""Both endpoints of protocol 2, joined without a socket, and peers that send whatever they like."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import msgspec

from pgnet_trio.crypto import KeyPair
from pgnet_trio.crypto.noise import NoiseHandshake, NoiseTransport
from pgnet_trio.patch import diff, diff_columns, is_replacement
from pgnet_trio.protocol.events import LoggedIn, Resume, Resumed
from pgnet_trio.protocol.v2 import (
    SUBPROTOCOL_2_1,
    SUBPROTOCOLS,
    ClientProtocol,
    ServerProtocol,
    prologue,
)
from pgnet_trio.protocol.v2 import envelopes as wire
from pgnet_trio.protocol.v2.client_delivery import ClientDelivery
from pgnet_trio.protocol.v2.features import FEATURES
from pgnet_trio.protocol.v2.server_delivery import ServerDelivery

if TYPE_CHECKING:
    from pgnet_trio.messages import Packet

SERVER_KEY = KeyPair(bytes(range(32)))
OTHER_KEY = KeyPair(bytes(range(2, 34)))
TOKEN = bytes(range(100, 132))
OFFERED = list(SUBPROTOCOLS)
SPOKEN = SUBPROTOCOL_2_1
USERNAME, PASSWORD, INVITE_CODE = "annabelle", "hunter2-secret", "lucky-invite"

msgpack = msgspec.msgpack.Encoder().encode


def seeded_bytes(seed: int) -> Callable[[int], bytes]:
    return random.Random(seed).randbytes


random_bytes = seeded_bytes(1)


class Seen:
    """A state as the server encodes it: a `Snapshot`."""

    def __init__(self, data: Any, number: int = 0) -> None:
        self.data = data
        self.number = number
        self.encoded = msgpack(data)

    def patch_from(self, earlier: Seen, base: int, *, columns: bool) -> bytes | None:
        patch = (diff_columns if columns else diff)(earlier.data, self.data)
        if patch is None:
            return None
        if is_replacement(patch):
            return b""
        return wire.encode_patch(base, base + 1, msgpack(patch), columns=columns)


class Requests:
    """The requests that a client has not sent yet."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[bytes, bool]] = deque()

    def put(self, packet: Packet, *, quiet: bool = False) -> None:
        self.waiting.append((wire.encode_request(packet, quiet=quiet), quiet))

    def put_answer(self, question: int, packet: Packet) -> None:
        self.waiting.append((wire.encode_answer(question, packet), False))

    def next(self) -> tuple[bytes, bool] | None:
        return self.waiting.popleft() if self.waiting else None


def make_server(
    *,
    encrypted: bool = True,
    offered: Sequence[str] = OFFERED,
    max_frame_size: int | None = 64 * 1024,
) -> ServerProtocol:
    return ServerProtocol(
        SERVER_KEY if encrypted else None,
        random_bytes,
        offered=offered,
        max_frame_size=max_frame_size,
        subprotocol=SPOKEN,
    )


def make_client(
    delivery: ClientDelivery | None = None,
    *,
    encrypted: bool = True,
    offered: Sequence[str] = OFFERED,
    max_frame_size: int | None = 1024 * 1024,
    token: bytes = b"",
    login_token: bytes = b"",
    verify_server_pubkey: str = "",
    features: Collection[str] = FEATURES,
) -> ClientProtocol:
    return ClientProtocol(
        username=USERNAME,
        password=PASSWORD,
        invite_code=INVITE_CODE,
        encrypted=encrypted,
        random_bytes=random_bytes,
        offered=offered,
        max_frame_size=max_frame_size,
        subprotocol=SPOKEN,
        features=features,
        delivery=ClientDelivery(Requests().next) if delivery is None else delivery,
        token=token,
        login_token=login_token,
        verify_server_pubkey=verify_server_pubkey,
    )


def exchange(client: ClientProtocol, server: ServerProtocol) -> list[object]:
    """Carry messages both ways until neither side has any; return the events, in order."""
    events: list[object] = []
    while True:
        if (message := client.next_message()) is not None:
            events += server.receive(message)
        elif (message := server.next_message()) is not None:
            events += client.receive(message)
        else:
            return events


@attrs.define
class Session:
    """Both ends of a session, and both endpoints of the connection that it has now."""

    encrypted: bool = True
    client_limit: int | None = 1024 * 1024
    server_limit: int | None = 64 * 1024
    requests: Requests = attrs.field(factory=Requests)
    to_client: ServerDelivery = attrs.field(factory=ServerDelivery)
    to_server: ClientDelivery = attrs.field(init=False)
    client: ClientProtocol = attrs.field(init=False)
    server: ServerProtocol = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.to_server = ClientDelivery(self.requests.next)
        self.connect()

    def connect(self, token: bytes = b"") -> None:
        self.server = make_server(encrypted=self.encrypted, max_frame_size=self.server_limit)
        self.client = make_client(
            self.to_server,
            encrypted=self.encrypted,
            max_frame_size=self.client_limit,
            token=token,
        )

    def log_in(self) -> None:
        self.exchange()
        self.server.accept("welcome", TOKEN, self.to_client)
        assert self.exchange() == [LoggedIn("welcome", TOKEN)]

    def resume(self) -> list[object]:
        """Come back over a new connection; return the events that follow the resumption."""
        self.connect(TOKEN)
        (asked,) = self.exchange()
        assert isinstance(asked, Resume)
        assert self.server.proves(asked.proof, TOKEN)
        self.server.resume(self.to_client, asked.received)
        resumed, *events = self.exchange()
        assert resumed == Resumed()
        return events

    def exchange(self) -> list[object]:
        return exchange(self.client, self.server)


def logged_in(
    *,
    encrypted: bool = True,
    client_limit: int | None = 1024 * 1024,
    server_limit: int | None = 64 * 1024,
) -> Session:
    session = Session(encrypted, client_limit, server_limit)
    session.log_in()
    return session


class ScriptedPeer:
    """A peer that has the right keys, and sends whatever the test says."""

    def __init__(self, cipher: NoiseTransport | None) -> None:
        self._cipher = cipher

    @classmethod
    def client_of(cls, server: ServerProtocol, *, encrypted: bool = True) -> ScriptedPeer:
        """Shake hands with a server."""
        if not encrypted:
            return cls(None)
        handshake = NoiseHandshake(
            initiator=True,
            prologue=prologue(OFFERED, SPOKEN),
            static=None,
            random_bytes=random_bytes,
        )
        server.receive(handshake.write())
        answer = server.next_message()
        assert answer is not None
        handshake.read(answer)
        return cls(handshake.split())

    @classmethod
    def server_of(cls, client: ClientProtocol, *, encrypted: bool = True) -> ScriptedPeer:
        """Shake hands with a client, the hello included."""
        hello = wire.array_head(1) + wire.encode(wire.Hello(None, sorted(FEATURES)))
        if not encrypted:
            client.receive(hello)
            return cls(None)
        handshake = NoiseHandshake(
            initiator=False,
            prologue=prologue(OFFERED, SPOKEN),
            static=SERVER_KEY,
            random_bytes=random_bytes,
        )
        first = client.next_message()
        assert first is not None
        handshake.read(first)
        client.receive(handshake.write(hello))
        return cls(handshake.split())

    def frame(self, plaintext: bytes) -> bytes:
        return plaintext if self._cipher is None else self._cipher.encrypt_frame(plaintext)

    def say(self, *envelopes: Any) -> bytes:
        """Return a frame with these envelopes."""
        return self.frame(msgpack(list(envelopes)))

    def hear(self, message: bytes | None) -> list[Any]:
        """Return the envelopes in a message, as plain lists."""
        assert message is not None
        plaintext = message if self._cipher is None else self._cipher.decrypt_frame(message)
        envelopes: list[Any] = msgspec.msgpack.decode(plaintext)
        return envelopes

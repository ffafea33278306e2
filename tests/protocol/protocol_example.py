"""The conversation that docs/protocol.md shows in hex.

A test compares the page with it. ``python -m tests.protocol.protocol_example`` writes it into the
page, after a change of the protocol that is meant.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from pgnet_trio.crypto import KeyPair
from pgnet_trio.crypto.noise import NX, HandshakeState, NoiseTransport, hkdf
from pgnet_trio.messages import Packet, Push, Response
from pgnet_trio.protocol.v2 import SUBPROTOCOL, ClientProtocol, ServerProtocol, prologue, prove
from pgnet_trio.protocol.v2 import envelopes as wire
from pgnet_trio.protocol.v2.server_delivery import ClientDelivery, ServerDelivery
from tests.kit.protocol_pair import Requests, Seen

PAGE = Path(__file__).parent.parent.parent / "docs" / "protocol.md"
BEGIN, END = "<!-- The example begins. -->\n", "<!-- The example ends. -->\n"

SERVER_STATIC = bytes(range(32))
CLIENT_EPHEMERAL = bytes(range(0x20, 0x40))
SERVER_EPHEMERAL = bytes(range(0x40, 0x60))
TOKEN = bytes(range(0x60, 0x80))


def once(data: bytes) -> Callable[[int], bytes]:
    def give(size: int) -> bytes:
        assert size == len(data)
        return data

    return give


def transport_keys(first: bytes, second: bytes) -> tuple[bytes, bytes]:
    """What Split() gives, which nothing but this page has a use for."""
    state = HandshakeState(
        NX,
        initiator=True,
        prologue=prologue([SUBPROTOCOL]),
        s=None,
        rs=None,
        random_bytes=once(CLIENT_EPHEMERAL),
    )
    assert state.write_message(b"")[0] == first
    state.read_message(second)
    return hkdf(state.symmetric_state.ck, b"")


def hex_block(data: bytes) -> str:
    return "\n".join(textwrap.wrap(data.hex(), 64))


def plain_text(plaintext: bytes) -> str:
    def show(value: Any) -> str:
        return f"<{value.hex()}>"

    envelopes = msgspec.msgpack.decode(plaintext)
    return "\n".join(
        json.dumps(it, default=show).replace('"<', "<").replace('>"', ">") for it in envelopes
    )


class Writer:
    """Writes the page's section while the conversation goes on."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.plaintexts: list[bytes] = []
        server_key = KeyPair(SERVER_STATIC)
        self.requests = Requests()
        self.delivery = ServerDelivery()
        self.client = ClientProtocol(
            username="ann",
            password="hunter2",
            invite_code="",
            encrypted=True,
            random_bytes=once(CLIENT_EPHEMERAL),
            offered=[SUBPROTOCOL],
            max_frame_size=1024 * 1024,
            delivery=ClientDelivery(self.requests.next),
        )
        self.server = ServerProtocol(
            server_key, once(SERVER_EPHEMERAL), offered=[SUBPROTOCOL], max_frame_size=64 * 1024
        )
        self.keys = server_key

    def text(self, text: str) -> None:
        self.parts.append(text)

    def block(self, text: str) -> None:
        self.parts.append(f"```text\n{text}\n```")

    def values(self, values: dict[str, bytes]) -> None:
        width = max(map(len, values))
        lines = []
        for name, value in values.items():
            first, *more = textwrap.wrap(value.hex(), 64)
            lines.append(f"{name:{width}}  {first}")
            lines += [" " * (width + 2) + line for line in more]
        self.block("\n".join(lines))

    def carry(self, what: str, *, by_client: bool) -> None:
        """Carry one frame, and write it down with what it says."""
        sender: ServerProtocol | ClientProtocol = self.client if by_client else self.server
        receiver = self.server if by_client else self.client
        message = sender.next_message()
        assert message is not None
        assert sender.next_message() is None
        link = receiver._link
        assert isinstance(link, NoiseTransport)
        plaintext = link.decrypt_frame(message)
        # What has been decrypted here is not decrypted again.
        receiver._link = None
        receiver._handshake = None
        receiver.receive(plaintext)
        receiver._link = link
        who = "Client" if by_client else "Server"
        self.text(f"**{who}: {what}.** The envelopes, their msgpack, and the frame:")
        self.block(plain_text(plaintext))
        self.block(hex_block(plaintext))
        self.block(hex_block(message))

    def converse(self) -> None:
        client, server, delivery = self.client, self.server, self.delivery
        self.text("The keys, all of them private here, and what follows from the server's:")
        self.values(
            {
                "server static, private": SERVER_STATIC,
                "server static, public": self.keys.public,
                "client ephemeral, private": CLIENT_EPHEMERAL,
                "server ephemeral, private": SERVER_EPHEMERAL,
                "prologue": prologue([SUBPROTOCOL]),
            }
        )
        first = client.next_message()
        assert first is not None
        server.receive(first)
        self.text("**Client: the handshake's first message.**")
        self.block(hex_block(first))
        second = server.next_message()
        assert second is not None
        client.receive(second)
        hello = wire.array_head(1) + wire.encode(wire.Hello(64 * 1024))
        self.text("**Server: the handshake's second message.** Its payload, and the message:")
        self.block(plain_text(hello))
        self.block(hex_block(hello))
        self.block(hex_block(second))
        to_server, to_client = transport_keys(first, second)
        self.text("What both sides have now:")
        self.values(
            {
                "handshake hash": client.handshake_hash,
                "key, client to server": to_server,
                "key, server to client": to_client,
            }
        )
        self.carry("hello and log-in", by_client=True)
        server.accept("Welcome, ann.", TOKEN, delivery)
        self.carry("welcome", by_client=False)
        self.requests.put(Packet("__pgnet__.create_game", {"name": "table 1"}))
        self.carry("request 1", by_client=True)
        delivery.change_game(wire.GameEnvelope("table 1", 0.0, 0.25, "", ""))
        delivery.show(Seen({"turn": "ann", "log": ["start"], "scores": {"ann": 0, "bob": 0}}))
        delivery.add(
            wire.encode_push(Push("__pgnet__.players", {"players": {"ann": True}, "all": True}))
        )
        delivery.respond(1, Response("You are in the game 'table 1'.", {"heartbeat_rate": 10.0}))
        self.carry("the game, its state, a push, response 1", by_client=False)
        self.requests.put(Packet("move", {"x": 1}))
        self.carry("an acknowledgement of the three that count, and request 2", by_client=True)
        delivery.show(Seen({"turn": None, "log": ["start", "x"], "scores": {"ann": 1, "bob": 0}}))
        delivery.respond(2, Response("Well done.", {}))
        self.carry("what has changed in the state, and response 2", by_client=False)
        client.ping()
        self.carry("a ping, and an acknowledgement beside it", by_client=True)
        self.carry("a pong", by_client=False)
        client.part("bye")
        self.carry("goodbye", by_client=True)
        self.text(
            "Were this connection one that resumes the session of this token, the proof would be:"
        )
        self.values({"token": TOKEN, "proof": prove(TOKEN, client.handshake_hash)})


def example() -> str:
    """The section, as it stands in the page."""
    writer = Writer()
    writer.converse()
    return "\n" + "\n\n".join(writer.parts) + "\n\n"


def shown(page: str) -> str:
    """What stands in a page as the example."""
    match = re.search(re.escape(BEGIN) + "(.*)" + re.escape(END), page, re.DOTALL)
    assert match is not None
    return match[1]


def main() -> None:
    page = PAGE.read_text("utf-8")
    PAGE.write_text(page.replace(shown(page), example()), "utf-8")


if __name__ == "__main__":
    main()

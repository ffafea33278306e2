"""The handshake and the encryption of the client for browsers, against those in Python."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgnet_trio.crypto import KeyPair
from pgnet_trio.crypto.noise import NoiseHandshake, NoiseTransport
from pgnet_trio.errors import CryptoError
from pgnet_trio.protocol.v2 import SUBPROTOCOL, prologue, prove
from tests.protocol.protocol_example import (
    BEGIN,
    CLIENT_EPHEMERAL,
    END,
    PAGE,
    SERVER_STATIC,
    TOKEN,
)
from tests.web import node
from tests.web.node import Oracle, needs_packages

pytestmark = needs_packages

KEY = KeyPair.generate(os.urandom)


@pytest.fixture(scope="module")
def javascript() -> Iterator[Oracle]:
    yield from node.oracle("noise.mjs")


def shake_hands(javascript: Oracle, payload: bytes = b"hello") -> NoiseTransport:
    """Return the server's end; the client's is in the program."""
    server = NoiseHandshake(
        initiator=False, prologue=b"prologue", static=KEY, random_bytes=os.urandom
    )
    first = javascript.ask("begin", prologue=b"prologue", secret=os.urandom(32))["answer"]
    server.read(bytes.fromhex(first))
    message = server.write(payload)
    transport = server.split()
    read = javascript.ask("read", message=message)["answer"]
    assert read == [KEY.public.hex(), payload.hex(), transport.handshake_hash.hex()]
    return transport


@given(st.binary(max_size=300), st.lists(st.binary(min_size=1, max_size=200), max_size=4))
def test_both_sides_understand_each_other(
    javascript: Oracle, payload: bytes, frames: list[bytes]
) -> None:
    server = shake_hands(javascript, payload)
    for frame in frames:
        sealed = bytes.fromhex(javascript.ask("encrypt", data=frame)["answer"])
        assert server.decrypt_frame(sealed) == frame
        answer = javascript.ask("decrypt", data=server.encrypt_frame(frame))["answer"]
        assert answer == frame.hex()


@pytest.mark.parametrize("size", [1, 65_519, 65_520, 131_038, 131_039, 200_000])
def test_frames_of_several_pieces(javascript: Oracle, size: int) -> None:
    server = shake_hands(javascript)
    frame = os.urandom(size)
    sealed = bytes.fromhex(javascript.ask("encrypt", data=frame)["answer"])
    assert server.decrypt_frame(sealed) == frame
    answer = javascript.ask("decrypt", data=server.encrypt_frame(frame))["answer"]
    assert answer == frame.hex()


@pytest.mark.parametrize("at", [0, 31, 32, 79, 80, 95, 96, 116])
def test_a_handshake_that_was_altered_fails(javascript: Oracle, at: int) -> None:
    server = NoiseHandshake(
        initiator=False, prologue=b"prologue", static=KEY, random_bytes=os.urandom
    )
    first = javascript.ask("begin", prologue=b"prologue", secret=os.urandom(32))["answer"]
    server.read(bytes.fromhex(first))
    message = bytearray(server.write(b"hello"))
    message[min(at, len(message) - 1)] ^= 1
    assert javascript.ask("read", message=bytes(message))["code"] == "crypto"


@pytest.mark.parametrize("message", [b"", bytes(95), bytes(96), bytes(200), bytes(65_536)], ids=len)
def test_what_is_no_handshake_is_an_error(javascript: Oracle, message: bytes) -> None:
    javascript.ask("begin", prologue=b"", secret=os.urandom(32))
    assert javascript.ask("read", message=message)["code"] == "crypto"


def test_another_prologue_fails(javascript: Oracle) -> None:
    server = NoiseHandshake(initiator=False, prologue=b"one", static=KEY, random_bytes=os.urandom)
    first = javascript.ask("begin", prologue=b"other", secret=os.urandom(32))["answer"]
    # With an empty payload in the clear, only the client can notice.
    server.read(bytes.fromhex(first))
    assert javascript.ask("read", message=server.write(b""))["code"] == "crypto"


def test_a_message_that_comes_twice_or_altered_is_refused(javascript: Oracle) -> None:
    server = shake_hands(javascript)
    sealed = server.encrypt_frame(b"one")
    assert javascript.ask("decrypt", data=sealed)["answer"] == b"one".hex()
    assert javascript.ask("decrypt", data=sealed)["code"] == "crypto"
    server = shake_hands(javascript)
    sealed = bytes.fromhex(javascript.ask("encrypt", data=b"one")["answer"])
    server.decrypt_frame(sealed)
    with pytest.raises(CryptoError):
        server.decrypt_frame(sealed)


@pytest.mark.parametrize("size", [0, 1, 15])
def test_no_frame_has_such_a_length(javascript: Oracle, size: int) -> None:
    shake_hands(javascript)
    assert javascript.ask("decrypt", data=bytes(size))["code"] == "crypto"


@pytest.mark.parametrize("pieces", [[0], [65_519, 0]])
def test_no_frame_ends_with_an_empty_piece_though_it_decrypts(
    javascript: Oracle, pieces: list[int]
) -> None:
    server = shake_hands(javascript)
    frame = b"".join(server.encrypt(bytes(size)) for size in pieces)
    assert "bytes long" in javascript.ask("decrypt", data=frame)["error"]


def test_the_conversation_of_the_page_is_understood(javascript: Oracle) -> None:
    page = PAGE.read_text("utf-8").partition(BEGIN)[2].partition(END)[0]
    block = re.compile(r"^```text\n([0-9a-f\n]+)```$", re.MULTILINE)
    parts = [
        (part.startswith("Client"), [bytes.fromhex(text.replace("\n", "")) for text in found])
        for part in page.split("\n**")
        if (found := block.findall(part))
    ]
    (_, [first]), (_, [hello, second]), *rest = parts
    begun = javascript.ask("begin", prologue=prologue([SUBPROTOCOL]), secret=CLIENT_EPHEMERAL)
    assert bytes.fromhex(begun["answer"]) == first
    key, payload, hash = javascript.ask("read", message=second)["answer"]
    assert (key, payload) == (KeyPair(SERVER_STATIC).public.hex(), hello.hex())
    assert hash in page
    assert len(rest) > 8
    for is_client, (plaintext, frame) in rest:
        if is_client:
            assert javascript.ask("encrypt", data=plaintext)["answer"] == frame.hex()
        else:
            assert javascript.ask("decrypt", data=frame)["answer"] == plaintext.hex()
    proof = javascript.ask("prove", token=TOKEN, hash=bytes.fromhex(hash))["answer"]
    assert proof == prove(TOKEN, bytes.fromhex(hash)).hex()
    assert proof in page

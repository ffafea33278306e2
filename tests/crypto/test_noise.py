"""The encryption of protocol 2: what it carries, what it refuses, and that it is Noise."""

from __future__ import annotations

import hmac
import itertools
import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from noise.connection import Keypair, NoiseConnection

from pgnet_trio.crypto import KeyPair, NoiseHandshake, NoiseTransport, aead, noise_states
from pgnet_trio.crypto.noise_states import (
    NX,
    CipherState,
    HandshakePattern,
    HandshakeState,
    SymmetricState,
    encode_nonce,
    hash_,
    protocol_name,
)
from pgnet_trio.errors import CryptoError

# How long an example takes says nothing on a busy machine.

PROLOGUE = b"pgnet.2"
SERVER = KeyPair(bytes(range(32)))
CLIENT = KeyPair(bytes(range(1, 33)))
SERVER_EPHEMERAL = bytes(range(64, 96))
CLIENT_EPHEMERAL = bytes(range(96, 128))
PIECE = 65_519
MESSAGE = 65_535

# Only NX is in use. What interprets it can do these too, which shows that it interprets.
NK = HandshakePattern("NK", (("e", "es"), ("e", "ee")), responder_pre_message=("s",))
XX = HandshakePattern("XX", (("e",), ("e", "ee", "s", "es"), ("s", "se")))
IX = HandshakePattern("IX", (("e", "s"), ("e", "ee", "se", "s", "es")))
KK = HandshakePattern("KK", (("e", "es", "ss"), ("e", "ee", "se")), ("s",), ("s",))
PATTERNS = {pattern.name: pattern for pattern in (NX, NK, XX, IX, KK)}

# Of this file, cacophony's, NX and NK with BLAKE2s are run, in both roles; NX with SHA-256 is
# another protocol, and not implemented.
VECTORS_FILE = Path(__file__).parents[3] / "shared" / "vectors" / "noise.json"
VECTORS: list[dict[str, Any]] = (
    json.loads(VECTORS_FILE.read_text("utf-8"))["vectors"] if VECTORS_FILE.exists() else []
)
IMPLEMENTED = {protocol_name(pattern).decode(): pattern for pattern in PATTERNS.values()}

# The points of small order on Curve25519 and its twist, and the same with the bit that X25519
# ignores.
PRIME = 2**255 - 19
LOW_ORDER = [
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    PRIME - 1,
    PRIME,
    PRIME + 1,
    *(2**255 + point for point in (0, 1, PRIME - 1, PRIME, PRIME + 1)),
]


def fixed(data: bytes) -> Callable[[int], bytes]:
    def random_bytes(size: int) -> bytes:
        assert size == len(data)
        return data

    return random_bytes


def client(prologue: bytes = PROLOGUE) -> NoiseHandshake:
    return NoiseHandshake(
        initiator=True, prologue=prologue, static=None, random_bytes=fixed(CLIENT_EPHEMERAL)
    )


def server(prologue: bytes = PROLOGUE, static: KeyPair = SERVER) -> NoiseHandshake:
    return NoiseHandshake(
        initiator=False, prologue=prologue, static=static, random_bytes=fixed(SERVER_EPHEMERAL)
    )


def transports() -> tuple[NoiseTransport, NoiseTransport]:
    ann, bob = client(), server()
    bob.read(ann.write())
    ann.read(bob.write())
    return ann.split(), bob.split()


def flipped(data: bytes, bit: int) -> bytes:
    altered = bytearray(data)
    altered[bit // 8] ^= 1 << bit % 8
    return bytes(altered)


def is_dead(transport: NoiseTransport) -> bool:
    for call in (
        transport.encrypt,
        transport.decrypt,
        transport.encrypt_frame,
        transport.decrypt_frame,
    ):
        with pytest.raises(CryptoError, match="an earlier failure"):
            call(bytes(17))
    for call in (transport.encrypt_frame, transport.decrypt_frame):
        with pytest.raises(CryptoError, match="an earlier failure"):
            call(bytes(MESSAGE + 17))
    return True


def is_dead_handshake(handshake: NoiseHandshake) -> bool:
    assert not handshake.finished
    assert handshake.remote_static is None
    with pytest.raises(CryptoError, match="failed before"):
        handshake.write()
    with pytest.raises(CryptoError, match="failed before"):
        handshake.read(b"")
    with pytest.raises(CryptoError, match="failed before"):
        handshake.split()
    return True


# Test vectors.


@pytest.mark.skipif(not VECTORS, reason=f"no vectors: {VECTORS_FILE} is not there")
@pytest.mark.parametrize("initiator", [True, False], ids=["initiator", "responder"])
@pytest.mark.parametrize(
    "vector",
    [vector for vector in VECTORS if vector["protocol_name"] in IMPLEMENTED],
    ids=lambda vector: vector["protocol_name"],
)
def test_vectors(vector: dict[str, Any], initiator: bool) -> None:
    role = "init" if initiator else "resp"
    data = {
        name: bytes.fromhex(value)
        for name, value in vector.items()
        if name not in ("protocol_name", "messages")
    }
    pattern = IMPLEMENTED[vector["protocol_name"]]
    static = data.get(f"{role}_static")
    state = HandshakeState(
        pattern,
        initiator=initiator,
        prologue=data[f"{role}_prologue"],
        s=None if static is None else KeyPair(static),
        rs=data.get(f"{role}_remote_static"),
        random_bytes=fixed(data[f"{role}_ephemeral"]),
    )
    cipher_states = None
    own_turn = initiator
    for message in vector["messages"]:
        payload, ciphertext = (bytes.fromhex(message[key]) for key in ("payload", "ciphertext"))
        if cipher_states is None:
            if own_turn:
                output, cipher_states = state.write_message(payload)
                assert output == ciphertext
            else:
                output, cipher_states = state.read_message(ciphertext)
                assert output == payload
            if cipher_states is not None:
                sending, receiving = cipher_states if initiator else cipher_states[::-1]
                transport = NoiseTransport(
                    sending, receiving, state.symmetric_state.get_handshake_hash()
                )
        elif own_turn:
            assert transport.encrypt(payload) == ciphertext
        else:
            assert transport.decrypt(ciphertext) == payload
        own_turn = not own_turn
    assert transport.handshake_hash == data["handshake_hash"]


@pytest.mark.skipif(not VECTORS, reason=f"no vectors: {VECTORS_FILE} is not there")
@pytest.mark.parametrize("initiator", [True, False], ids=["initiator", "responder"])
def test_vector_of_the_protocol_in_use(initiator: bool) -> None:
    name = "Noise_NX_25519_ChaChaPoly_BLAKE2s"
    (vector,) = (vector for vector in VECTORS if vector["protocol_name"] == name)
    static = KeyPair(bytes.fromhex(vector["resp_static"]))
    role = "init" if initiator else "resp"
    handshake = NoiseHandshake(
        initiator=initiator,
        prologue=bytes.fromhex(vector[f"{role}_prologue"]),
        static=None if initiator else static,
        random_bytes=fixed(bytes.fromhex(vector[f"{role}_ephemeral"])),
    )
    (first, first_message), (second, second_message), *later = (
        (bytes.fromhex(message["payload"]), bytes.fromhex(message["ciphertext"]))
        for message in vector["messages"]
    )
    if initiator:
        assert handshake.write(first) == first_message
        assert handshake.read(second_message) == second
        assert handshake.remote_static == static.public
    else:
        assert handshake.read(first_message) == first
        assert handshake.write(second) == second_message
        assert handshake.remote_static is None
    transport = handshake.split()
    assert transport.handshake_hash.hex() == vector["handshake_hash"]
    assert later
    for index, (payload, ciphertext) in enumerate(later):
        if initiator is (index % 2 == 0):
            assert transport.encrypt_frame(payload) == ciphertext
        else:
            assert transport.decrypt_frame(ciphertext) == payload


# Another implementation.


def other_implementation(
    pattern: HandshakePattern, *, initiator: bool, own: KeyPair, peer: KeyPair
) -> Any:
    connection = NoiseConnection.from_name(protocol_name(pattern))
    connection.set_prologue(PROLOGUE)
    if initiator:
        connection.set_as_initiator()
    else:
        connection.set_as_responder()
    if "s" in (pattern.initiator_pre_message if initiator else pattern.responder_pre_message) or (
        any("s" in tokens for tokens in pattern.messages[0 if initiator else 1 :: 2])
    ):
        connection.set_keypair_from_private_bytes(Keypair.STATIC, own.private)
    if "s" in (pattern.responder_pre_message if initiator else pattern.initiator_pre_message):
        connection.set_keypair_from_public_bytes(Keypair.REMOTE_STATIC, peer.public)
    connection.start_handshake()
    return connection


@given(st.binary(max_size=200), st.binary(max_size=200), st.lists(st.binary(max_size=200)))
def test_our_initiator_understands_another_responder(
    first: bytes, second: bytes, messages: list[bytes]
) -> None:
    ours = NoiseHandshake(
        initiator=True, prologue=PROLOGUE, static=None, random_bytes=secrets.token_bytes
    )
    theirs = other_implementation(NX, initiator=False, own=SERVER, peer=CLIENT)
    assert theirs.read_message(ours.write(first)) == first
    assert ours.read(bytes(theirs.write_message(second))) == second
    assert ours.finished
    assert ours.remote_static == SERVER.public
    exchange(ours.split(), theirs, messages)


@given(st.binary(max_size=200), st.binary(max_size=200), st.lists(st.binary(max_size=200)))
def test_our_responder_understands_another_initiator(
    first: bytes, second: bytes, messages: list[bytes]
) -> None:
    ours = NoiseHandshake(
        initiator=False, prologue=PROLOGUE, static=SERVER, random_bytes=secrets.token_bytes
    )
    theirs = other_implementation(NX, initiator=True, own=CLIENT, peer=SERVER)
    assert ours.read(bytes(theirs.write_message(first))) == first
    assert theirs.read_message(ours.write(second)) == second
    assert ours.finished
    assert ours.remote_static is None
    exchange(ours.split(), theirs, messages)


@pytest.mark.parametrize("initiator", [True, False], ids=["initiator", "responder"])
@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_other_patterns_understand_another_implementation(
    pattern: HandshakePattern, initiator: bool
) -> None:
    own, peer = (CLIENT, SERVER) if initiator else (SERVER, CLIENT)
    known = pattern.responder_pre_message if initiator else pattern.initiator_pre_message
    ours = HandshakeState(
        pattern,
        initiator=initiator,
        prologue=PROLOGUE,
        s=own,
        rs=peer.public if known else None,
        random_bytes=secrets.token_bytes,
    )
    theirs = other_implementation(pattern, initiator=not initiator, own=peer, peer=own)
    for index in range(len(pattern.messages)):
        payload = b"payload %d" % index
        if initiator is (index % 2 == 0):
            message, cipher_states = ours.write_message(payload)
            assert theirs.read_message(message) == payload
        else:
            output, cipher_states = ours.read_message(bytes(theirs.write_message(payload)))
            assert output == payload
    assert cipher_states is not None
    sending, receiving = cipher_states if initiator else cipher_states[::-1]
    handshake_hash = ours.symmetric_state.get_handshake_hash()
    exchange(NoiseTransport(sending, receiving, handshake_hash), theirs, [b"", b"x" * 1000])


def exchange(ours: NoiseTransport, theirs: Any, messages: list[bytes]) -> None:
    assert ours.handshake_hash == theirs.get_handshake_hash()
    assert len(ours.handshake_hash) == 32
    for message in messages:
        assert theirs.decrypt(ours.encrypt(message)) == message
        assert ours.decrypt(theirs.encrypt(message)) == message


# Details of the specification that short exchanges do not reach.


def test_nonce_is_in_little_endian_order_after_32_bits_of_zeros() -> None:
    assert encode_nonce(0x0102030405060708) == bytes(4) + bytes([8, 7, 6, 5, 4, 3, 2, 1])


def test_short_protocol_names_are_padded_and_long_ones_hashed() -> None:
    assert SymmetricState(b"x").h == b"x" + bytes(31)
    assert SymmetricState(b"x" * 32).h == b"x" * 32
    assert SymmetricState(b"x" * 33).h == hash_(b"x" * 33)


def test_cipher_state_without_a_key_leaves_messages_as_they_are() -> None:
    state = CipherState()
    assert not state.has_key()
    assert state.encrypt_with_ad(b"", b"text") == state.decrypt_with_ad(b"", b"text") == b"text"
    assert state.n == 0


# The handshake.


@given(st.binary(max_size=300), st.binary(max_size=300), st.binary(max_size=300))
def test_handshake_carries_payloads(prologue: bytes, first: bytes, second: bytes) -> None:
    ann, bob = client(prologue), server(prologue)
    assert bob.read(ann.write(first)) == first
    assert (ann.finished, bob.finished) == (False, False)
    message = bob.write(second)
    assert (ann.finished, bob.finished) == (False, True)
    assert (ann.remote_static, bob.remote_static) == (None, None)
    assert ann.read(message) == second
    assert (ann.finished, bob.finished) == (True, True)
    assert (ann.remote_static, bob.remote_static) == (SERVER.public, None)
    assert ann.split().handshake_hash == bob.split().handshake_hash


def test_ephemeral_keys_come_from_the_given_randomness() -> None:
    assert client().write() == KeyPair(CLIENT_EPHEMERAL).public
    bob = server()
    bob.read(client().write())
    assert bob.write().startswith(KeyPair(SERVER_EPHEMERAL).public)


def test_only_the_responder_has_static_keys() -> None:
    with pytest.raises(ValueError, match="initiator stays anonymous"):
        NoiseHandshake(
            initiator=True, prologue=b"", static=CLIENT, random_bytes=secrets.token_bytes
        )
    with pytest.raises(ValueError, match="responder needs"):
        NoiseHandshake(initiator=False, prologue=b"", static=None, random_bytes=secrets.token_bytes)


def test_keys_that_a_pattern_needs_are_missed() -> None:
    with pytest.raises(ValueError, match="static key that was not given"):
        HandshakeState(
            NK, initiator=True, prologue=b"", s=None, rs=None, random_bytes=secrets.token_bytes
        )


def test_calls_out_of_turn_are_mistakes_and_harm_nothing() -> None:
    ann, bob = client(), server()
    with pytest.raises(RuntimeError, match="this side's turn"):
        ann.read(b"")
    with pytest.raises(RuntimeError, match="the peer's turn"):
        bob.write()
    with pytest.raises(RuntimeError, match="goes on"):
        bob.split()
    bob.read(ann.write())
    with pytest.raises(RuntimeError, match="the peer's turn"):
        ann.write()
    ann.read(bob.write())
    for handshake in (ann, bob):
        with pytest.raises(RuntimeError, match="has finished"):
            handshake.write()
        with pytest.raises(RuntimeError, match="has finished"):
            handshake.read(b"")
        handshake.split()
        # A second transport would use the nonces of the first again.
        with pytest.raises(RuntimeError, match="split before"):
            handshake.split()


def test_longest_handshake_messages() -> None:
    ann, bob = client(), server()
    message = ann.write(bytes(MESSAGE - 32))
    assert len(message) == MESSAGE
    bob.read(message)
    reply = bob.write(bytes(MESSAGE - 96))
    assert len(reply) == MESSAGE
    assert ann.read(reply) == bytes(MESSAGE - 96)


def test_longer_handshake_messages_are_refused() -> None:
    ann, bob = client(), server()
    with pytest.raises(ValueError, match="at most 65535 bytes, this one would be 65536"):
        ann.write(bytes(MESSAGE - 31))
    assert is_dead_handshake(ann)
    with pytest.raises(CryptoError, match="at most 65535 bytes long, this one is 65536"):
        bob.read(bytes(MESSAGE + 1))
    assert is_dead_handshake(bob)


@pytest.mark.parametrize("size", range(32))
def test_shortened_first_message_is_refused(size: int) -> None:
    bob = server()
    with pytest.raises(CryptoError, match="too short"):
        bob.read(client().write()[:size])
    assert is_dead_handshake(bob)


def test_shortened_second_message_is_refused() -> None:
    bob = server()
    bob.read(client().write())
    reply = bob.write(b"hello")
    assert len(reply) == 101
    for size in range(len(reply)):
        ann = client()
        ann.write()
        with pytest.raises(CryptoError, match=r"too short|at least 16 bytes|was altered"):
            ann.read(reply[:size])
        assert is_dead_handshake(ann)


def test_every_flipped_bit_of_the_first_message_is_noticed_by_its_sender() -> None:
    for bit in range((32 + 5) * 8):
        ann, bob = client(), server()
        bob.read(flipped(ann.write(b"hello"), bit))
        with pytest.raises(CryptoError, match="was altered"):
            ann.read(bob.write())
        assert is_dead_handshake(ann)


def test_every_flipped_bit_of_the_second_message_is_noticed() -> None:
    bob = server()
    bob.read(client().write())
    reply = bob.write(b"hello")
    for bit in range(len(reply) * 8):
        ann = client()
        ann.write()
        with pytest.raises(CryptoError, match="was altered"):
            ann.read(flipped(reply, bit))
        assert is_dead_handshake(ann)


@given(st.binary(), st.binary())
def test_other_prologue_is_refused(one: bytes, other: bytes) -> None:
    ann, bob = client(PROLOGUE + one), server(PROLOGUE + other)
    bob.read(ann.write())
    reply = bob.write()
    if one == other:
        ann.read(reply)
        return
    with pytest.raises(CryptoError, match="was altered"):
        ann.read(reply)
    assert is_dead_handshake(ann)


def test_answer_to_another_handshake_is_refused() -> None:
    bob = server()
    bob.read(KeyPair(bytes(32)).public)
    ann = client()
    ann.write()
    with pytest.raises(CryptoError, match="was altered"):
        ann.read(bob.write())
    assert is_dead_handshake(ann)


def test_own_message_sent_back_is_refused() -> None:
    ann = client()
    message = ann.write(bytes(200))
    with pytest.raises(CryptoError, match="was altered"):
        ann.read(message)
    assert is_dead_handshake(ann)


def test_claiming_the_key_of_another_server_is_refused() -> None:
    impostor = KeyPair(bytes(reversed(range(32))))
    object.__setattr__(impostor, "public", SERVER.public)
    ann, bob = client(), server(static=impostor)
    bob.read(ann.write())
    with pytest.raises(CryptoError, match="was altered"):
        ann.read(bob.write())
    assert is_dead_handshake(ann)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_as_second_message(message: bytes) -> None:
    ann = client()
    ann.write()
    with pytest.raises(CryptoError):
        ann.read(message)
    assert is_dead_handshake(ann)


@pytest.mark.parametrize("point", LOW_ORDER)
def test_keys_that_would_give_the_secret_away_are_refused(point: int) -> None:
    key = point.to_bytes(32, "little")

    bob = server()
    bob.read(key)
    with pytest.raises(CryptoError, match="make the shared secret public"):
        bob.write()
    assert is_dead_handshake(bob)

    ann = client()
    ann.write()
    with pytest.raises(CryptoError, match="make the shared secret public"):
        ann.read(key + bytes(64))
    assert is_dead_handshake(ann)

    static = KeyPair(SERVER.private)
    object.__setattr__(static, "public", key)
    ann, bob = client(), server(static=static)
    bob.read(ann.write())
    with pytest.raises(CryptoError, match="make the shared secret public"):
        ann.read(bob.write())
    assert is_dead_handshake(ann)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_key_of_another_size_is_refused(size: int) -> None:
    state = HandshakeState(
        NK, initiator=True, prologue=b"", s=None, rs=bytes(size), random_bytes=secrets.token_bytes
    )
    with pytest.raises(CryptoError, match=f"32 bytes long, this one is {size}"):
        state.write_message(b"")


def test_randomness_of_another_size_is_refused() -> None:
    ann = NoiseHandshake(
        initiator=True, prologue=b"", static=None, random_bytes=lambda size: bytes(size - 1)
    )
    with pytest.raises(CryptoError, match="a private key is 32 bytes long"):
        ann.write()
    assert is_dead_handshake(ann)


def test_missing_randomness_ends_the_handshake() -> None:
    def random_bytes(size: int) -> bytes:
        raise NotImplementedError

    ann = NoiseHandshake(initiator=True, prologue=b"", static=None, random_bytes=random_bytes)
    with pytest.raises(NotImplementedError):
        ann.write()
    assert is_dead_handshake(ann)


# Single messages.


@given(st.lists(st.tuples(st.booleans(), st.binary())))
def test_what_one_side_encrypts_the_other_decrypts(messages: list[tuple[bool, bytes]]) -> None:
    ann, bob = transports()
    for from_ann, plaintext in messages:
        sender, receiver = (ann, bob) if from_ann else (bob, ann)
        ciphertext = sender.encrypt(plaintext)
        assert len(ciphertext) == len(plaintext) + 16
        assert receiver.decrypt(ciphertext) == plaintext


def test_directions_have_different_keys() -> None:
    ann, bob = transports()
    assert ann.encrypt(bytes(100)) != bob.encrypt(bytes(100))


def test_same_text_never_encrypts_to_the_same() -> None:
    ann, _ = transports()
    assert len({ann.encrypt(b"the same") for _ in range(100)}) == 100


def test_longest_message() -> None:
    ann, bob = transports()
    ciphertext = ann.encrypt(bytes(PIECE))
    assert len(ciphertext) == MESSAGE
    assert bob.decrypt(ciphertext) == bytes(PIECE)


def test_longer_plaintext_is_a_mistake_and_harms_nothing() -> None:
    ann, bob = transports()
    with pytest.raises(ValueError, match="at most 65519 bytes, got 65520"):
        ann.encrypt(bytes(PIECE + 1))
    assert bob.decrypt(ann.encrypt(b"hello")) == b"hello"


def test_longer_ciphertext_is_refused() -> None:
    ann, _ = transports()
    with pytest.raises(CryptoError, match="at most 65535 bytes long, this one is 65536"):
        ann.decrypt(bytes(MESSAGE + 1))
    assert is_dead(ann)


@pytest.mark.parametrize("size", range(16))
def test_ciphertext_without_room_for_a_tag_is_refused(size: int) -> None:
    ann, _ = transports()
    with pytest.raises(CryptoError, match=f"at least 16 bytes long, this one is {size}"):
        ann.decrypt(bytes(size))
    assert is_dead(ann)


def test_every_flipped_bit_of_a_message_is_noticed() -> None:
    ann, _ = transports()
    ciphertext = ann.encrypt_frame(b"attack at dawn")
    for bit in range(len(ciphertext) * 8):
        _, bob = transports()
        with pytest.raises(CryptoError, match="was altered"):
            bob.decrypt_frame(flipped(ciphertext, bit))
        assert is_dead(bob)


def test_every_truncation_and_extension_of_a_message_is_noticed() -> None:
    ann, _ = transports()
    ciphertext = ann.encrypt(b"attack at dawn")
    altered = [ciphertext[:size] for size in range(len(ciphertext))]
    altered += [ciphertext + b"\0", b"\0" + ciphertext, ciphertext[1:], ciphertext * 2]
    for message in altered:
        _, bob = transports()
        with pytest.raises(CryptoError, match=r"at least 16 bytes|was altered"):
            bob.decrypt(message)
        assert is_dead(bob)


@given(st.permutations(range(4)))
def test_reordered_messages_are_refused(order: list[int]) -> None:
    ann, bob = transports()
    ciphertexts = [ann.encrypt(b"message %d" % index) for index in range(4)]
    for position, index in enumerate(order):
        if index != position:
            with pytest.raises(CryptoError, match="not the peer's next one"):
                bob.decrypt(ciphertexts[index])
            assert is_dead(bob)
            break
        assert bob.decrypt(ciphertexts[index]) == b"message %d" % index


def test_replayed_message_is_refused() -> None:
    ann, bob = transports()
    ciphertext = ann.encrypt(b"pay 10")
    assert bob.decrypt(ciphertext) == b"pay 10"
    with pytest.raises(CryptoError, match="not the peer's next one"):
        bob.decrypt(ciphertext)
    assert is_dead(bob)


def test_message_sent_back_to_its_sender_is_refused() -> None:
    for sender in transports():
        with pytest.raises(CryptoError, match="not the peer's next one"):
            sender.decrypt(sender.encrypt(b"hello"))
        assert is_dead(sender)


def test_message_of_another_connection_is_refused() -> None:
    ann, bob = client(), server(static=CLIENT)
    bob.read(ann.write())
    ann.read(bob.write())
    _, other = transports()
    with pytest.raises(CryptoError, match="not the peer's next one"):
        other.decrypt(ann.split().encrypt(b"hello"))


def test_used_up_nonces_end_the_sender() -> None:
    ann, bob = transports()
    assert ann._sending is not None
    assert bob._receiving is not None
    ann._sending.n = bob._receiving.n = 2**64 - 2
    assert bob.decrypt(ann.encrypt(b"the last")) == b"the last"
    with pytest.raises(CryptoError, match="used up"):
        ann.encrypt(b"one more")
    assert is_dead(ann)
    with pytest.raises(CryptoError, match="used up"):
        bob.decrypt(bytes(100))
    assert is_dead(bob)


def test_nonces_that_run_out_within_a_frame_end_both_sides() -> None:
    ann, bob = transports()
    assert ann._sending is not None
    assert bob._receiving is not None
    ann._sending.n = bob._receiving.n = 2**64 - 2
    first_message = ann.encrypt(bytes(PIECE))
    with pytest.raises(CryptoError, match="used up"):
        bob.decrypt_frame(first_message + bytes(17))
    assert is_dead(bob)
    ann._sending.n = 2**64 - 2
    with pytest.raises(CryptoError, match="used up"):
        ann.encrypt_frame(bytes(2 * PIECE))
    assert is_dead(ann)


# Frames.

near_the_borders = st.builds(
    lambda pieces, offset: max(1, pieces * PIECE + offset), st.integers(0, 4), st.integers(-20, 20)
)


@given(st.lists(near_the_borders | st.integers(1, 300_000), min_size=1, max_size=3))
def test_frames_carry_any_size(sizes: list[int]) -> None:
    ann, bob = transports()
    for index, size in enumerate(sizes):
        plaintext = bytes([index + 1]) * size
        frame = ann.encrypt_frame(plaintext)
        pieces = -(-size // PIECE)
        assert len(frame) == size + 16 * pieces
        assert bob.decrypt_frame(frame) == plaintext


@given(st.binary(min_size=1, max_size=1000))
def test_frames_carry_any_bytes(plaintext: bytes) -> None:
    ann, bob = transports()
    assert bob.decrypt_frame(ann.encrypt_frame(plaintext)) == plaintext


@pytest.mark.parametrize(
    ("size", "messages"),
    [
        (1, [17]),
        (PIECE - 1, [MESSAGE - 1]),
        (PIECE, [MESSAGE]),
        (PIECE + 1, [MESSAGE, 17]),
        (2 * PIECE, [MESSAGE, MESSAGE]),
        (2 * PIECE + 1, [MESSAGE, MESSAGE, 17]),
    ],
)
def test_frame_is_a_row_of_messages(size: int, messages: list[int]) -> None:
    ann, bob = transports()
    plaintext = bytes(range(256)) * 600
    frame = ann.encrypt_frame(plaintext[:size])
    ends = list(itertools.accumulate(messages))
    assert len(frame) == ends[-1]
    parts = [bob.decrypt(frame[a:b]) for a, b in itertools.pairwise([0, *ends])]
    assert b"".join(parts) == plaintext[:size]


def test_empty_frame_is_a_mistake_and_harms_nothing() -> None:
    ann, bob = transports()
    with pytest.raises(ValueError, match="at least one byte"):
        ann.encrypt_frame(b"")
    assert bob.decrypt_frame(ann.encrypt_frame(b"hello")) == b"hello"


@pytest.mark.parametrize(
    "size", [*range(17), *(MESSAGE + size for size in range(1, 17)), 2 * MESSAGE + 1]
)
def test_frame_of_an_impossible_length_is_refused(size: int) -> None:
    ann, _ = transports()
    with pytest.raises(CryptoError, match=f"no frame is {size} bytes long"):
        ann.decrypt_frame(bytes(size))
    assert is_dead(ann)


def test_empty_message_is_no_frame() -> None:
    ann, bob = transports()
    with pytest.raises(CryptoError, match="no frame is 16 bytes long"):
        bob.decrypt_frame(ann.encrypt(b""))
    assert is_dead(bob)


@given(st.data())
def test_altered_frame_is_refused(data: st.DataObject) -> None:
    ann, bob = transports()
    frame = ann.encrypt_frame(bytes(2 * PIECE + 100))
    first, second, third = frame[:MESSAGE], frame[MESSAGE : 2 * MESSAGE], frame[2 * MESSAGE :]
    bit = data.draw(st.integers(0, len(frame) * 8 - 1), label="bit")
    # Cuts between messages leave a frame: the next test.
    cut = data.draw(
        st.integers(0, len(frame) - 1).filter(lambda size: not size or size % MESSAGE), label="cut"
    )
    altered = data.draw(
        st.sampled_from(
            [
                flipped(frame, bit),
                frame[:cut],
                frame[:cut] + frame[cut + 1 :],
                second + first + third,
                first + first + third,
                first + third,
                second + third,
                frame + b"\0" * 17,
                b"\0" + frame,
            ]
        ),
        label="altered",
    )
    with pytest.raises(CryptoError):
        bob.decrypt_frame(altered)
    assert is_dead(bob)


def test_frame_cut_between_its_messages_is_two_frames() -> None:
    ann, bob = transports()
    frame = ann.encrypt_frame(b"a" * PIECE + b"b")
    assert bob.decrypt_frame(frame[:MESSAGE]) == b"a" * PIECE
    assert bob.decrypt_frame(frame[MESSAGE:]) == b"b"


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_as_frame(frame: bytes) -> None:
    _, bob = transports()
    with pytest.raises(CryptoError):
        bob.decrypt_frame(frame)
    assert is_dead(bob)


# Secrets.


def test_nothing_shows_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    keys: list[bytes] = []

    def open_aead(key: bytes) -> aead.AEAD:
        keys.append(key)
        return aead.open_aead(key)

    monkeypatch.setattr(noise_states, "open_aead", open_aead)
    ann, bob = client(), server()
    states = [ann._state, bob._state]
    bob.read(ann.write())
    ann.read(bob.write())
    symmetric_states = [state.symmetric_state for state in states if state is not None]
    ciphers = [state.cipher_state for state in symmetric_states]
    keys += [state.ck for state in symmetric_states]
    keys += [CLIENT_EPHEMERAL, SERVER_EPHEMERAL, SERVER.private]
    ends = ann.split(), bob.split()
    for end in ends:
        assert end._sending is not None
        ciphers.append(end._sending)
    shown = "".join(
        map(repr, [ann, bob, *states, *symmetric_states, *ciphers, *ends, client(), server()])
    )
    assert len(keys) > 6
    for key in keys:
        assert repr(key)[2:-1] not in shown
        assert key.hex() not in shown


def test_errors_show_neither_keys_nor_text() -> None:
    ann, bob = transports()
    ciphertext = ann.encrypt(b"secret")
    with pytest.raises(CryptoError) as caught:
        bob.decrypt(flipped(ciphertext, 0))
    error: BaseException | None = caught.value
    while error is not None:
        assert "secret" not in str(error)
        assert ciphertext.hex() not in str(error)
        error = error.__cause__


def test_dead_transport_forgets_its_keys() -> None:
    ann, _ = transports()
    with pytest.raises(CryptoError):
        ann.decrypt(bytes(16))
    assert ann._sending is None
    assert ann._receiving is None


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200))
def test_hmac_is_that_of_the_standard_library(key: bytes, data: bytes) -> None:
    assert noise_states.hmac_hash(key, data) == hmac.digest(key, data, "blake2s")

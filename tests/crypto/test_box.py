"""The encryption of protocol 1: what it carries, and what it refuses."""

from __future__ import annotations

import base64
import itertools
import random
import secrets
from collections.abc import Callable

import nacl.public
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.encoding import Base64Encoder

from pgnet_trio.crypto import Box, KeyPair
from pgnet_trio.errors import CryptoError

# How long an example takes says nothing on a busy machine.

ANN = KeyPair(bytes(range(32)))
BOB = KeyPair(bytes(range(1, 33)))

# The points of small order on Curve25519 and its twist: RFC 7748, section 6.1, asks to refuse
# the all-zero secret that each of them gives.
PRIME = 2**255 - 19
LOW_ORDER = [
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    PRIME - 1,
    PRIME,
    PRIME + 1,
]


def counter() -> Callable[[int], bytes]:
    numbers = itertools.count()
    return lambda size: next(numbers).to_bytes(size, "big")


def boxes() -> tuple[Box, Box]:
    ann = Box(ANN, BOB.pubkey, secrets.token_bytes)
    bob = Box(BOB, ANN.pubkey, secrets.token_bytes)
    return ann, bob


def test_key_pair_hides_its_private_half() -> None:
    assert ANN.private == bytes(range(32))
    assert ANN.public == bytes(nacl.public.PrivateKey(ANN.private).public_key)
    assert base64.b64decode(ANN.pubkey, validate=True) == ANN.public
    assert repr(ANN.private) not in repr(ANN)
    assert repr(ANN.public) in repr(ANN)


def test_key_pair_comes_from_the_given_randomness() -> None:
    assert KeyPair.generate(counter()) == KeyPair(bytes(32))
    assert KeyPair.generate(secrets.token_bytes) != KeyPair.generate(secrets.token_bytes)


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_private_key_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(CryptoError, match=rf"32 bytes long, this one is {size}"):
        KeyPair(bytes(size))


@given(st.text())
def test_what_one_side_encrypts_the_other_decrypts(text: str) -> None:
    ann, bob = boxes()
    assert bob.decrypt(ann.encrypt(text)) == text
    assert ann.decrypt(bob.encrypt(text)) == text


def nonce_of(text: str) -> bytes:
    return base64.b64decode(text)[:24]


def test_no_nonce_is_used_twice() -> None:
    ann, bob = boxes()
    texts = [box.encrypt("the same") for _ in range(200) for box in (ann, bob)]
    assert len({nonce_of(text) for text in texts}) == 400


def test_every_random_byte_is_in_one_nonce_only_and_none_is_left_out() -> None:
    drawn = bytearray()

    def random_bytes(size: int) -> bytes:
        fresh = secrets.token_bytes(size)
        drawn.extend(fresh)
        return fresh

    ann = Box(ANN, BOB.pubkey, random_bytes)
    nonces = b""
    while len(nonces) < len(drawn) or not nonces:
        nonces += nonce_of(ann.encrypt("the same"))
    assert nonces == drawn
    assert nonce_of(ann.encrypt("the same")) not in nonces


def test_a_text_that_is_refused_and_one_that_is_not_share_no_nonce() -> None:
    ann, bob = boxes()
    first = ann.encrypt("one")
    with pytest.raises(CryptoError):
        ann.encrypt("\ud800")
    with pytest.raises(CryptoError):
        ann.decrypt("")
    second = ann.encrypt("two")
    assert nonce_of(first) != nonce_of(second)
    assert (bob.decrypt(first), bob.decrypt(second)) == ("one", "two")


def test_the_same_randomness_gives_the_same_ciphertexts() -> None:
    def texts(seed: int) -> list[str]:
        box = Box(ANN, BOB.pubkey, random.Random(seed).randbytes)
        return [box.encrypt("the same") for _ in range(50)]

    assert texts(1) == texts(1)
    assert not set(texts(1)) & set(texts(2))


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_the_bytes_of_a_text_are_encrypted_like_the_text(text: str) -> None:
    def encrypted(content: str | bytes) -> str:
        return Box(ANN, BOB.pubkey, random.Random(1).randbytes).encrypt(content)

    assert encrypted(text.encode()) == encrypted(text)


@given(st.text())
def test_box_is_the_one_of_nacl(text: str) -> None:
    ann, bob = boxes()
    theirs = nacl.public.Box(nacl.public.PrivateKey(BOB.private), nacl.public.PublicKey(ANN.public))
    assert theirs.decrypt(ann.encrypt(text).encode(), encoder=Base64Encoder).decode() == text
    assert ann.decrypt(theirs.encrypt(text.encode(), encoder=Base64Encoder).decode()) == text
    assert bob.decrypt(ann.encrypt(text)) == text


@pytest.mark.parametrize(
    "pubkey",
    [
        "",
        "?" * 44,
        "é" * 44,
        "A" * 43,
        ANN.pubkey + "\n",
        base64.b64encode(ANN.public[:31]).decode(),
        base64.b64encode(ANN.public + b"x").decode(),
    ],
)
def test_what_is_no_public_key_is_refused(pubkey: str) -> None:
    with pytest.raises(CryptoError, match="a public key is"):
        Box(ANN, pubkey, secrets.token_bytes)


@pytest.mark.parametrize("point", LOW_ORDER)
def test_public_key_that_would_give_the_secret_away_is_refused(point: int) -> None:
    pubkey = base64.b64encode(point.to_bytes(32, "little")).decode()
    with pytest.raises(CryptoError, match="make the shared secret public"):
        Box(ANN, pubkey, secrets.token_bytes)


def test_every_flipped_bit_is_noticed() -> None:
    ann, bob = boxes()
    data = base64.b64decode(ann.encrypt("attack at dawn"))
    for bit in range(len(data) * 8):
        altered = bytearray(data)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CryptoError, match="was altered"):
            bob.decrypt(base64.b64encode(altered).decode())


def test_every_flipped_bit_of_the_text_is_noticed_or_means_nothing() -> None:
    # Base64 may leave up to four bits of its last character unused.
    ann, bob = boxes()
    text = ann.encrypt("attack at dawn!")
    unnoticed = 0
    for index, bit in itertools.product(range(len(text)), range(7)):
        altered = text[:index] + chr(ord(text[index]) ^ 1 << bit) + text[index + 1 :]
        try:
            assert bob.decrypt(altered) == "attack at dawn!"
            unnoticed += 1
        except CryptoError:
            pass
    assert unnoticed <= 4


@given(st.integers(0, 200))
def test_shortened_ciphertext_is_refused(size: int) -> None:
    ann, bob = boxes()
    data = base64.b64decode(ann.encrypt("x" * 200))
    reason = "at least 40 bytes" if size < 40 else "altered"
    with pytest.raises(CryptoError, match=reason):
        bob.decrypt(base64.b64encode(data[:size]).decode())


@given(st.text() | st.binary(max_size=100).map(lambda data: base64.b64encode(data).decode()))
def test_noise_is_refused(text: str) -> None:
    _, bob = boxes()
    with pytest.raises(CryptoError, match=r"a ciphertext is|was altered"):
        bob.decrypt(text)


def test_ciphertext_for_somebody_else_is_refused() -> None:
    ann, _ = boxes()
    eve = KeyPair(bytes(reversed(range(32))))
    with pytest.raises(CryptoError, match="not from this peer"):
        Box(eve, ANN.pubkey, secrets.token_bytes).decrypt(ann.encrypt("hello"))


def test_what_is_no_text_is_refused_without_showing_it() -> None:
    theirs = nacl.public.Box(nacl.public.PrivateKey(BOB.private), nacl.public.PublicKey(ANN.public))
    ciphertext = theirs.encrypt(b"secret \xff", encoder=Base64Encoder).decode()
    ann, _ = boxes()
    with pytest.raises(CryptoError, match="no text in UTF-8") as caught:
        ann.decrypt(ciphertext)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_half_a_surrogate_pair_is_refused() -> None:
    ann, _ = boxes()
    with pytest.raises(CryptoError, match="lone surrogate"):
        ann.encrypt("secret \ud800")

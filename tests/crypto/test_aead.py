"""ChaCha20-Poly1305, with each of the libraries that may be installed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgnet_trio.crypto.aead import AEAD, DECRYPTION_ERRORS, SodiumAEAD, open_aead
from pgnet_trio.errors import CryptoError

KEY = bytes(range(0x80, 0xA0))


@pytest.fixture(params=[SodiumAEAD, open_aead], ids=["PyNaCl", "what is installed"])
def aead(request: pytest.FixtureRequest) -> AEAD:
    opened: AEAD = request.param(KEY)
    return opened


def test_the_example_of_the_standard(aead: AEAD) -> None:
    # RFC 8439, section 2.8.2.
    plaintext = (
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the "
        b"future, sunscreen would be it."
    )
    nonce = bytes.fromhex("070000004041424344454647")
    associated = bytes.fromhex("50515253c0c1c2c3c4c5c6c7")
    ciphertext = aead.encrypt(nonce, plaintext, associated)
    assert ciphertext[:16].hex() == "d31a8d34648e60db7b86afbc53ef7ec2"
    assert ciphertext[-16:].hex() == "1ae10b594f09e26a7e902ecbd0600691"
    assert aead.decrypt(nonce, ciphertext, associated) == plaintext


@given(st.binary(min_size=12, max_size=12), st.binary(max_size=300), st.binary(max_size=40))
def test_the_libraries_agree(nonce: bytes, plaintext: bytes, associated: bytes) -> None:
    one, other = SodiumAEAD(KEY), open_aead(KEY)
    ciphertext = one.encrypt(nonce, plaintext, associated)
    assert other.encrypt(nonce, plaintext, associated) == ciphertext
    assert other.decrypt(nonce, ciphertext, associated) == plaintext


def test_what_was_altered_is_refused(aead: AEAD) -> None:
    nonce = bytes(12)
    ciphertext = bytearray(aead.encrypt(nonce, b"move", b""))
    for index in range(len(ciphertext)):
        ciphertext[index] ^= 1
        with pytest.raises(DECRYPTION_ERRORS):
            aead.decrypt(nonce, bytes(ciphertext), b"")
        ciphertext[index] ^= 1
    with pytest.raises(DECRYPTION_ERRORS):
        aead.decrypt(nonce, bytes(ciphertext), b"other")


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(CryptoError, match="32 bytes"):
        open_aead(bytes(size))

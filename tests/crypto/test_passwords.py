"""Password records: ours, and those of old save files."""

from __future__ import annotations

import hashlib
import re
import secrets

import nacl.exceptions
import nacl.pwhash
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pgnet_trio.crypto import PasswordHasher
from pgnet_trio.errors import CryptoError

# How long an example takes says nothing on a busy machine.

# The least that Argon2id takes, so that a test hashes in a fraction of a millisecond.
WEAK = PasswordHasher(opslimit=1, memlimit=8192)
SALT = "5be2d4a2f1c7"

passwords = st.text(max_size=40)


def original_record(password: str, salt: str = SALT) -> str:
    return hashlib.sha256(f"{salt}{password}".encode()).hexdigest()


@given(passwords, passwords)
def test_only_the_right_password_fits_its_record(password: str, other: str) -> None:
    record = WEAK.hash(password)
    assert WEAK.verify(password, "", record)
    assert WEAK.verify(other, "", record) == (other == password)


@given(passwords, passwords, st.text(min_size=1, max_size=40))
def test_records_of_the_original_still_fit(password: str, other: str, salt: str) -> None:
    record = original_record(password, salt)
    assert WEAK.verify(password, salt, record)
    assert WEAK.verify(other, salt, record) == (other == password)


def test_record_holds_neither_the_password_nor_a_salt_that_repeats() -> None:
    first, second = WEAK.hash("correct horse"), WEAK.hash("correct horse")
    assert first != second
    assert first.startswith("$argon2id$")
    assert "correct" not in first


def random_password() -> str:
    return f"random:{secrets.token_urlsafe(32)}"


def test_a_random_password_is_hashed_in_no_time() -> None:
    hasher, password = PasswordHasher(), random_password()
    record = hasher.hash(password)
    assert hasher.is_quick(password=password)
    assert hasher.is_quick(record)
    assert not hasher.needs_upgrade(record)
    assert password.removeprefix("random:") not in record
    assert hasher.verify(password, "", record)
    for other in (random_password(), password.removeprefix("random:"), ""):
        assert not hasher.verify(other, "", record)


@pytest.mark.parametrize(
    "password",
    [
        "",
        "random:",
        f"random:{'a' * 42}",
        f"random:{'a' * 44}",
        f"random:{'a' * 43}\n",
        f"random:{'a' * 42}=",
        f"random:{'a' * 42}\u0661",
        f"Random:{'a' * 43}",
        f" random:{'a' * 43}",
        "a" * 50,
    ],
)
def test_every_other_password_is_hashed_like_those_that_people_type(password: str) -> None:
    hasher = PasswordHasher()
    assert not hasher.is_quick(password=password)
    assert hasher.hash(password).startswith("$argon2id$v=19$m=65536,t=2,p=1$")


def test_a_random_password_that_was_hashed_like_others_still_fits() -> None:
    password = random_password()
    record = nacl.pwhash.argon2id.str(password.encode(), opslimit=1, memlimit=8192).decode()
    assert WEAK.verify(password, "", record)
    assert not WEAK.verify(random_password(), "", record)


def test_default_is_what_libsodium_calls_interactive() -> None:
    hasher = PasswordHasher()
    record = hasher.hash("correct horse")
    assert record.startswith("$argon2id$v=19$m=65536,t=2,p=1$")
    assert hasher.verify("correct horse", "", record)
    assert not hasher.verify("wrong horse", "", record)
    assert not hasher.needs_upgrade(record)


def test_any_hasher_verifies_records_of_any_other() -> None:
    strong = PasswordHasher(opslimit=2, memlimit=65536)
    assert WEAK.verify("p", "", strong.hash("p"))
    assert strong.verify("p", "", WEAK.hash("p"))


@pytest.mark.parametrize(
    ("opslimit", "memlimit", "weaker"),
    [(1, 8192, True), (2, 8192, True), (1, 65536, True), (2, 65536, False), (3, 131072, False)],
)
def test_weaker_records_are_to_be_upgraded(opslimit: int, memlimit: int, weaker: bool) -> None:
    record = PasswordHasher(opslimit=opslimit, memlimit=memlimit).hash("p")
    assert PasswordHasher(opslimit=2, memlimit=65536).needs_upgrade(record) == weaker


def test_records_of_the_original_are_to_be_upgraded() -> None:
    assert WEAK.needs_upgrade(original_record("p"))


RECORD = WEAK.hash("p")

BROKEN = [
    "",
    "p",
    RECORD[:-1],
    RECORD + "A",
    RECORD + "\n",
    RECORD.replace("argon2id", "argon2i"),
    RECORD.replace("v=19", "v=16"),
    RECORD.replace("p=1", "p=2"),
    RECORD.replace("m=8", "m=0"),
    re.sub(r"\$[^$]*$", "$", RECORD),
    original_record("p")[:-1],
    original_record("p").upper(),
]


# By their numbers, since the salt is another one in each run.
@pytest.mark.parametrize("record", BROKEN, ids=range(len(BROKEN)))
def test_broken_records_are_refused(record: str) -> None:
    with pytest.raises(CryptoError, match="password record"):
        WEAK.needs_upgrade(record)
    for salt in ("", SALT):
        with pytest.raises(CryptoError, match="password record"):
            WEAK.verify("p", salt, record)


def test_a_record_without_its_salt_is_broken() -> None:
    with pytest.raises(CryptoError, match="without a salt"):
        WEAK.verify("p", "", original_record("p"))
    with pytest.raises(CryptoError, match="with a salt"):
        WEAK.verify("p", SALT, RECORD)


@given(st.text(), st.sampled_from(["", SALT]))
def test_noise_is_no_record(record: str, salt: str) -> None:
    with pytest.raises(CryptoError):
        WEAK.verify("p", salt, record)


@given(st.integers(0, len(RECORD) - 1), st.characters(codec="ascii"))
def test_an_altered_record_fits_nobody(index: int, character: str) -> None:
    altered = RECORD[:index] + character + RECORD[index + 1 :]
    assume(altered != RECORD)
    try:
        assert not WEAK.verify("p", "", altered)
    except CryptoError:
        pass


@pytest.mark.parametrize("salt", ["", SALT])
def test_password_that_is_no_text_is_refused_without_showing_it(salt: str) -> None:
    record = original_record("p") if salt else RECORD
    with pytest.raises(CryptoError, match="lone surrogate") as caught:
        WEAK.verify("secret \ud800", salt, record)
    assert caught.value.__suppress_context__
    with pytest.raises(CryptoError, match="lone surrogate"):
        WEAK.hash("secret \ud800")


def test_memory_that_is_not_there_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    # As PyNaCl says it; to really run out of memory is no good to a machine that overcommits.
    def fail(*_: object) -> bytes:
        raise nacl.exceptions.RuntimeError("Unexpected failure in key derivation")

    monkeypatch.setattr("pgnet_trio.crypto.passwords.crypto_pwhash_str_alg", fail)
    with pytest.raises(CryptoError, match="takes 8192 bytes of memory"):
        WEAK.hash("p")


def test_limits_below_the_least_are_refused() -> None:
    with pytest.raises(ValueError, match="opslimit: expected at least 1, got 0"):
        PasswordHasher(opslimit=0)
    with pytest.raises(ValueError, match="memlimit: expected at least 8192 bytes, got 8191"):
        PasswordHasher(memlimit=8191)

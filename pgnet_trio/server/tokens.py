"""What stands for users' passwords, so that nobody who was here has to have theirs hashed again.

A token is bound to its user, to the server's key and to the user's password record, by what is
hashed with it. So none is of any use once the password is another one, at another server, or for
another user who registers by the same name, whatever a save file still holds.

Everything here is pure: whoever asks brings the time along, in seconds since 1970.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from pgnet_trio.storage.interface import TokenRecord

if TYPE_CHECKING:
    from pgnet_trio.storage.interface import UserRecord

__all__ = ["LIFETIME", "MAX_TOKENS", "LoginTokens", "find_token", "token_record"]

LIFETIME = 30 * 24 * 3600
"""Seconds for which a token stands for its user's password."""

MAX_TOKENS = 4
"""How many tokens a user may have, one for each program; the oldest gives way."""


class LoginTokens:
    """Owns the tokens that stand for users' passwords; it knows their digests only.

    Nothing is written at once: a token that is lost in a crash costs its user no more than one
    more hash of their password.

    Args:
        saved: What the save file held.
        server_key: The server's public key.
        now: The time.
    """

    def __init__(self, saved: Iterable[TokenRecord], server_key: bytes, now: float) -> None:
        self._server_key = server_key
        self._tokens: dict[str, list[TokenRecord]] = {}
        self._unsaved: dict[bytes, TokenRecord | None] = {}
        self._saves_under_way = 0
        for record in saved:
            if record.expires > now:
                self._tokens.setdefault(record.username, []).append(record)
            else:
                self._unsaved[record.digest] = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self._tokens)} users>"

    def keep_only(self, usernames: Iterable[str]) -> None:
        """Forget the tokens of all but these users."""
        for username in self._tokens.keys() - set(usernames):
            self.revoke(username)

    def add(
        self, user: UserRecord, token: bytes, now: float, *, instead_of: TokenRecord | None = None
    ) -> None:
        """Let a token stand for a user's password from now on, in place of another one perhaps."""
        self._forget_late(user.name, now)
        records = self._tokens.setdefault(user.name, [])
        if instead_of is not None and instead_of in records:
            records.remove(instead_of)
            self._remove(instead_of)
        while len(records) >= MAX_TOKENS:
            self._remove(records.pop(0))
        record = token_record(user, token, self._server_key, now)
        records.append(record)
        self._unsaved[record.digest] = record

    def find(self, user: UserRecord, token: bytes, now: float) -> TokenRecord | None:
        """Return what is kept of a token; None where it does not stand for a user's password."""
        self._forget_late(user.name, now)
        return find_token(self._tokens.get(user.name, ()), user, token, self._server_key)

    def revoke(self, username: str) -> None:
        """Let no token stand for a user's password any more."""
        for record in self._tokens.pop(username, ()):
            self._remove(record)

    @contextlib.contextmanager
    def saving(self) -> Iterator[Mapping[bytes, TokenRecord | None]]:
        """Yield what is not in the save file yet; it is, if the block ends without an error."""
        written = dict(self._unsaved)
        self._saves_under_way += 1
        try:
            yield written
            for digest, record in written.items():
                if digest in self._unsaved and self._unsaved[digest] is record:
                    del self._unsaved[digest]
        finally:
            self._saves_under_way -= 1

    def _forget_late(self, username: str, now: float) -> None:
        records = self._tokens.pop(username, [])
        for record in records:
            if record.expires <= now:
                self._remove(record)
        if fresh := [record for record in records if record.expires > now]:
            self._tokens[username] = fresh

    def _remove(self, record: TokenRecord) -> None:
        if self._unsaved.get(record.digest) is not None and not self._saves_under_way:
            # It never was in the save file.
            del self._unsaved[record.digest]
        else:
            self._unsaved[record.digest] = None


def token_record(user: UserRecord, token: bytes, server_key: bytes, now: float) -> TokenRecord:
    """Return what is kept of a new token.

    Args:
        user: Whose password it stands for.
        token: The token.
        server_key: The server's public key.
        now: The time.
    """
    return TokenRecord(user.name, _digest(user, token, server_key), int(now) + LIFETIME)


def find_token(
    records: Iterable[TokenRecord], user: UserRecord, token: bytes, server_key: bytes
) -> TokenRecord | None:
    """Return what is kept of a token; None where it does not stand for a user's password."""
    digest = _digest(user, token, server_key)
    for record in records:
        if hmac.compare_digest(record.digest, digest):
            return record
    return None


def _digest(user: UserRecord, token: bytes, server_key: bytes) -> bytes:
    digest = hashlib.sha256()
    texts = (user.name, user.salt, user.password)
    for part in (
        b"pgnet_trio log-in token",
        server_key,
        *(text.encode("utf-8", "surrogatepass") for text in texts),
        token,
    ):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()

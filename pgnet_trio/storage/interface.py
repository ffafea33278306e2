"""What a store is: it loads everything once, and then takes changes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import attrs

__all__ = [
    "Changes",
    "SavedGame",
    "SavedState",
    "Store",
    "TableStore",
    "TokenRecord",
    "UserRecord",
]

T = TypeVar("T")


@attrs.frozen
class UserRecord:
    """A registered user.

    Attributes:
        name: The username.
        salt: The salt of an original PGNet record; empty for Argon2id, which carries its own.
        password: Hex SHA-256 of salt + password (an original record), or an Argon2id string.
    """

    name: str
    salt: str = attrs.field(repr=False)
    password: str = attrs.field(repr=False)


@attrs.frozen
class SavedGame:
    """A game at rest.

    Attributes:
        name: Its name.
        password: What joining it takes.
        data: Its save string.
        empty_since: When its last user left, in seconds since 1970; None where somebody is in it,
            or where nobody knows. A store that has no place for it may leave it out.
    """

    name: str
    password: str = attrs.field(repr=False)
    data: str = attrs.field(repr=False)
    empty_since: int | None = None


@attrs.frozen
class TokenRecord:
    """What stands for a user's password, as a server keeps it.

    Attributes:
        username: Whose it is.
        digest: A SHA-256 of the token, and of all that it is bound to.
        expires: When it ends, in seconds since 1970.
    """

    username: str
    digest: bytes = attrs.field(repr=False)
    expires: int


@attrs.define
class SavedState:
    """Everything that a save file holds.

    Attributes:
        registration: Whether new users may register; None where the file is new.
        invite_codes: Code to username; an empty username means that anybody may use the code.
        tokens: What stands for users' passwords, by digest.
    """

    users: dict[str, UserRecord] = attrs.field(factory=dict)
    games: dict[str, SavedGame] = attrs.field(factory=dict)
    registration: bool | None = None
    invite_codes: dict[str, str] = attrs.field(factory=dict, repr=False)
    tokens: dict[bytes, TokenRecord] = attrs.field(factory=dict, repr=False)


@attrs.frozen
class Changes:
    """What to write, all of it or nothing. None as a value removes that key."""

    users: Mapping[str, UserRecord | None] = attrs.field(factory=dict)
    games: Mapping[str, SavedGame | None] = attrs.field(factory=dict)
    registration: bool | None = None
    invite_codes: Mapping[str, str | None] = attrs.field(factory=dict, repr=False)
    tokens: Mapping[bytes, TokenRecord | None] = attrs.field(factory=dict, repr=False)


class Store(ABC):
    """A save file. Methods block, and are called by one thread at a time.

    A store is made closed. `load` opens it and locks it, so that no second server writes to it.

    Attributes:
        keeps_tokens: Whether it writes, and loads again, the `tokens` of changes. A server gives
            no tokens out where its store does not.
    """

    keeps_tokens: bool = False

    @abstractmethod
    def load(self) -> SavedState:
        """Open the file, made anew where there is none, and read everything in it.

        Raises:
            StorageError: It is damaged, of another program, not readable or writable, or in use
                by another server. The file is left as it was.
        """

    @abstractmethod
    def write(self, changes: Changes) -> None:
        """Put changes on disk, all of them or none; durable when this returns.

        Raises:
            StorageError: It could not be written (a full disk, say); the file holds what it held,
                and writing may be tried again.
        """

    def sync(self) -> None:  # noqa: B027 - not abstract: authors' stores may do without it
        """Make the file of this name hold everything that was written, so that it may be copied.

        Called after each autosave, also where nothing was written. A store that has nothing to do
        for it need not define it.

        Raises:
            StorageError: It failed. What was written is durable all the same.
        """

    @abstractmethod
    def close(self) -> None:
        """Release the file; idempotent."""


class TableStore(Store):
    """A save file that also has tables of which a server reads no more than it needs."""

    @abstractmethod
    def transact(self, work: Callable[[Any], T], *, writes: bool) -> T:
        """Do something with these tables in one transaction.

        Args:
            work: Does it, and is given a connection of `sqlite3` that returns texts as bytes. What
                it raises undoes all of it.
            writes: Whether it may change anything.

        Raises:
            StorageError: It could not be done, and nothing was changed.
        """

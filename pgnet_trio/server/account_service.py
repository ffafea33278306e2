"""What a server asks of its accounts, whether they are its own or those of a cluster.

A log-in takes four steps, and whoever lets clients in takes them one after the other: `find` says
what a password has to fit, or `find_by_token` whether a token stands for it; the password is
hashed; an unknown user goes through `register`; and `admit` looks once more, last of all.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Literal

import attrs

from pgnet_trio.storage.interface import UserRecord

if TYPE_CHECKING:
    from pgnet_trio.protocol.events import LogIn
    from pgnet_trio.storage.interface import TokenRecord

__all__ = ["AccountRules", "AccountService", "AccountsOverview", "Seat"]


@attrs.frozen
class Seat:
    """What a user has who is let in.

    Attributes:
        token_stands: Whether the new token stands for the password.
        epoch: Which of the user's sessions in the cluster this is; 0 where no other node knows.
        replaced: The node and the epoch of the session whose place this one takes; None for none.
    """

    token_stands: bool
    epoch: int = 0
    replaced: tuple[int, int] | None = None


@attrs.frozen
class AccountRules:
    """What the host of a node has said about accounts.

    Attributes:
        registration_enabled: Whether unknown users may register, as long as the switch of the
            cluster was never set.
        require_user_password: Whether an empty password is refused at registration.
        admin: The admin's record; None where admin log-in is off.
    """

    registration_enabled: bool
    require_user_password: bool
    admin: UserRecord | None


@attrs.frozen
class AccountsOverview:
    """What the administrator is shown of the accounts.

    Attributes:
        usernames: Registered users; in a cluster the first thousand of them.
        registration_enabled: Whether unknown users may register.
        invite_codes: The unused invite codes, each with the username that it is for, or an empty
            one.
        deleting: The users who are being deleted.
    """

    usernames: Sequence[str]
    registration_enabled: bool
    invite_codes: Mapping[str, str] = attrs.field(repr=False)
    deleting: Sequence[str]


class AccountService(ABC):
    """Users, invite codes, the registration switch, tokens, and what is guessed wrong.

    Every method may raise `TemporaryRefusal` where the accounts cannot be reached now: nothing is
    changed then, or it is whole, and whoever comes back finds out. A call that is cancelled has
    changed nothing, or everything.
    """

    @property
    @abstractmethod
    def registration_enabled(self) -> bool:
        """Whether unknown users may register, as far as this server knows."""

    @property
    @abstractmethod
    def user_count(self) -> int:
        """How many users are registered, as far as this server knows."""

    @property
    @abstractmethod
    def invite_code_count(self) -> int:
        """How many invite codes are unused, as far as this server knows."""

    # Logging in

    @abstractmethod
    async def find(
        self, log_in: LogIn, *, trusted: bool, address: str | None
    ) -> UserRecord | Literal["trusted", "new"]:
        """Return what the password of a log-in has to fit.

        Args:
            log_in: The log-in.
            trusted: Whether it comes from inside this process, where the admin needs no password.
            address: Where it comes from; None for inside the process, where nothing is counted.

        Returns:
            The user's record; ``"trusted"`` where no password is needed; ``"new"`` where the
            user is to be registered.

        Raises:
            TooMany: Too many log-ins have failed, to this account or from this address.
            AccountRefusal: The log-in is refused whatever the password.
        """

    @abstractmethod
    async def find_by_token(self, log_in: LogIn, now: float) -> tuple[UserRecord, TokenRecord]:
        """Return whose password the token of a log-in stands for, and what is kept of it.

        Args:
            log_in: The log-in.
            now: The time, in seconds since 1970.

        Raises:
            TokenRefused: It stands for none.
        """

    @abstractmethod
    async def register(
        self, log_in: LogIn, record: str, *, address: str | None = None
    ) -> UserRecord:
        """Register a user whose password was hashed since `find`; uses up the invite code.

        Args:
            log_in: The log-in.
            record: The record of the password.
            address: As for `find`.

        Returns:
            The new user, who is on disk.

        Raises:
            AccountRefusal: Somebody else took the name or the code meanwhile.
            StorageError: The user could not be saved, and is not registered.
        """

    @abstractmethod
    async def admit(
        self,
        username: str,
        user: UserRecord | None,
        *,
        address: str | None,
        token: bytes,
        now: float,
        instead_of: TokenRecord | None,
        session_token: bytes = b"",
        asked_at: float = -math.inf,
    ) -> Seat:
        """Make sure that a user who has proved who they are still may log in.

        When this returns, nothing has changed since it has looked: with no await after it, whoever
        gets a seat is a user.

        Args:
            username: Who has logged in.
            user: What their password, or their token, has fitted; None where none was asked for.
            address: As for `find`: a place from which the user is known from now on.
            token: What is to stand for the password from now on; empty for nothing.
            now: The time, in seconds since 1970.
            instead_of: The token that the new one replaces; None for none.
            session_token: What the session is resumed with, for the other nodes of a cluster; empty
                where the user gets none here.
            asked_at: When the user asked to be let in, by Trio's clock. Of two log-ins at two nodes
                the later one stays.

        Returns:
            What the user has. No token stands for the admin's password, nor where none are kept.

        Raises:
            AccountRefusal: The user was deleted meanwhile, or is being deleted, or another log-in
                changed the record, or got in which was asked for later.
        """

    @abstractmethod
    async def note_failure(self, username: str, address: str | None) -> None:
        """Count a log-in that failed; the arguments are those of `find`."""

    @abstractmethod
    async def check_guess(self, username: str, address: str | None, password: str) -> str | None:
        """Return why a user may not give a game's password now, or None.

        Args:
            username: Who.
            address: As for `find`.
            password: What they give; empty for none.
        """

    @abstractmethod
    async def note_wrong_guess(self, username: str, address: str | None) -> None:
        """Count a wrong password of a game."""

    @abstractmethod
    async def replace(self, user: UserRecord, record: str) -> UserRecord:
        """Replace a user's record; their tokens end.

        Args:
            user: The record that is to go.
            record: That of another password, or a stronger one of the same.

        Returns:
            The user as they are now.

        Raises:
            AccountRefusal: The record is not to be replaced: it does not hold any more, it is
                being replaced already, or it is the admin's, which is not saved.
            StorageError: It could not be saved, and the old record holds.
        """

    # What the administrator does

    @abstractmethod
    async def spelling_of(self, username: str) -> str:
        """Return a name as its user has it, from whom it may differ in upper and lower case.

        Returns:
            The user's name; *username* itself where there is no such user.

        Raises:
            TemporaryRefusal: It cannot be found out now.
        """

    @abstractmethod
    async def overview(self) -> AccountsOverview:
        """Return what the administrator is shown."""

    @abstractmethod
    async def add_invite(self, username: str, code: str) -> None:
        """Add an invite code, for one username or (empty) for anybody; on disk afterwards.

        Raises:
            AccountRefusal: That user exists, or could never register.
            StorageError: It could not be saved, and is not valid.
        """

    @abstractmethod
    async def set_registration(self, enabled: bool) -> None:
        """Set whether unknown users may register; on disk afterwards.

        Raises:
            StorageError: It could not be saved, and is as it was.
        """

    @abstractmethod
    def check_deletable(self, username: str) -> None:
        """Check, as far as that takes no look elsewhere, that a user can be deleted.

        Raises:
            AccountRefusal: It is the admin, there is no such user, or they are being deleted.
        """

    @abstractmethod
    def deleting_user(self, username: str) -> AbstractAsyncContextManager[None]:
        """Delete a user; end their session in the block.

        The user cannot log in from the beginning of the block on. After it the deletion is on
        disk.

        Raises:
            AccountRefusal: As for `check_deletable`.
            StorageError: It could not be saved, and the user stays.
        """

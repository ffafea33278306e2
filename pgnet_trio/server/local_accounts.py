"""The accounts of a server that shares them with nobody: in memory, and in its save file."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Literal

import trio

from pgnet_trio.server.account_service import AccountService, AccountsOverview, Seat

if TYPE_CHECKING:
    from pgnet_trio.protocol.events import LogIn
    from pgnet_trio.server.accounts import Accounts
    from pgnet_trio.server.games.archive import Archive
    from pgnet_trio.server.password_checks import PasswordChecks
    from pgnet_trio.storage.interface import TokenRecord, UserRecord

__all__ = ["LocalAccounts"]


class LocalAccounts(AccountService):
    """Accounts that this server alone has; what changes is on disk before it holds.

    Args:
        accounts: The users.
        archive: The save file.
        passwords: Counts failed log-ins.
    """

    def __init__(self, accounts: Accounts, archive: Archive, passwords: PasswordChecks) -> None:
        self._accounts = accounts
        self._archive = archive
        self._passwords = passwords

    @property
    def registration_enabled(self) -> bool:
        """Whether unknown users may register."""
        return self._accounts.registration_enabled

    @property
    def user_count(self) -> int:
        """How many users are registered."""
        return self._accounts.user_count

    @property
    def invite_code_count(self) -> int:
        """How many invite codes are unused."""
        return self._accounts.invite_code_count

    async def find(
        self, log_in: LogIn, *, trusted: bool, address: str | None
    ) -> UserRecord | Literal["trusted", "new"]:
        """Return what the password of a log-in has to fit."""
        await trio.lowlevel.checkpoint()
        self._passwords.check_failures(log_in.username, address)
        return self._accounts.check(log_in, trusted=trusted)

    async def find_by_token(self, log_in: LogIn, now: float) -> tuple[UserRecord, TokenRecord]:
        """Return whose password the token of a log-in stands for, and what is kept of it."""
        await trio.lowlevel.checkpoint()
        return self._accounts.check_token(log_in, now)

    async def register(
        self, log_in: LogIn, record: str, *, address: str | None = None
    ) -> UserRecord:
        """Register a user whose password was hashed since `find`; uses up the invite code.

        `PasswordChecks` has counted the registration.
        """
        await trio.lowlevel.checkpoint()
        with self._accounts.registering(log_in, record) as changes:
            await self._archive.write(changes)
        return self._accounts.registered(log_in.username)

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
        """Make sure that a user who has proved who they are still may log in."""
        # Before the look, and not after it: the caller relies on what is found here.
        await trio.lowlevel.checkpoint()
        if user is not None:
            self._accounts.confirm(user)
        self._passwords.note_success(username, address)
        if not token:
            return Seat(token_stands=False)
        return Seat(self._accounts.give_token(username, token, now, instead_of=instead_of))

    async def note_failure(self, username: str, address: str | None) -> None:
        """Count a log-in that failed."""
        self._passwords.note_failure(username, address)
        await trio.lowlevel.checkpoint()

    async def check_guess(self, username: str, address: str | None, password: str) -> str | None:
        """Return why a user may not give a game's password now, or None."""
        await trio.lowlevel.checkpoint()
        return self._passwords.check_guesses(username, address)

    async def note_wrong_guess(self, username: str, address: str | None) -> None:
        """Count a wrong password of a game."""
        self._passwords.note_wrong_guess(username, address)
        await trio.lowlevel.checkpoint()

    async def replace(self, user: UserRecord, record: str) -> UserRecord:
        """Replace a user's record; their tokens end."""
        await trio.lowlevel.checkpoint()
        with self._accounts.replacing(user, record) as changes:
            await self._archive.write(changes)
        return self._accounts.registered(user.name)

    async def spelling_of(self, username: str) -> str:
        """Return a name as its user has it."""
        await trio.lowlevel.checkpoint()
        return self._accounts.spelling_of(username)

    async def overview(self) -> AccountsOverview:
        """Return what the administrator is shown."""
        await trio.lowlevel.checkpoint()
        accounts = self._accounts
        return AccountsOverview(
            accounts.usernames,
            accounts.registration_enabled,
            accounts.invite_codes,
            accounts.deleting,
        )

    async def add_invite(self, username: str, code: str) -> None:
        """Add an invite code, for one username or (empty) for anybody."""
        await trio.lowlevel.checkpoint()
        with self._accounts.inviting(username, code) as changes:
            await self._archive.write(changes)

    async def set_registration(self, enabled: bool) -> None:
        """Set whether unknown users may register."""
        await trio.lowlevel.checkpoint()
        with self._accounts.switching_registration(enabled) as changes:
            await self._archive.write(changes)

    def check_deletable(self, username: str) -> None:
        """Check that a user can be deleted."""
        self._accounts.check_deletable(username)

    @asynccontextmanager
    async def deleting_user(self, username: str) -> AsyncIterator[None]:
        """Delete a user; the block ends their session."""
        with self._accounts.deleting_user(username) as changes:
            yield
            await self._archive.write(changes)

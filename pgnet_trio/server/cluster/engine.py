"""The engine's face: what its bases have, and accounts, invite codes, tokens, failed log-ins."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

from pgnet_trio.server.cluster.base import BaseEngine
from pgnet_trio.server.cluster.calls import new_operation
from pgnet_trio.server.cluster.community import Community
from pgnet_trio.server.cluster.tables import Tables

if TYPE_CHECKING:
    from pgnet_trio.server.cluster.records import (
        Admission,
        Admitted,
        Lookup,
        NotAdmitted,
        Registration,
        SessionRow,
    )
    from pgnet_trio.storage.interface import TokenRecord, UserRecord

__all__ = ["Engine"]


class Engine(BaseEngine, Community[Tables]):
    """An engine with everything that it does; its bases have the rest of its methods."""

    async def look_up(
        self,
        name: str,
        *,
        code: str = "",
        keys: Mapping[str, float] | None = None,
        registration_enabled: bool = False,
    ) -> Lookup:
        """Return all that a node has to know of whoever logs in.

        Args:
            name: The username.
            code: An invite code; empty for none.
            keys: What to count, each with the seconds for which it counts; see `note_failures`.
            registration_enabled: As for `register_user`.
        """
        wanted = keys or {}
        return await self._read(
            lambda tables: tables.look_up(name, code, wanted, registration_enabled)
        )

    async def admit(
        self, admission: Admission, *, limit: int, operation: bytes = b""
    ) -> Admitted | NotAdmitted:
        """Let a user in who has proved who they are, if that still holds.

        All of it in one transaction, so that a deletion comes before it or after it: before, and
        nobody is let in; after, and it finds the session that is to end.

        Args:
            admission: Who, and what is to be kept of it.
            limit: How many tokens the user may have, as for `add_token`.
            operation: The call's id; see `BaseEngine`.

        Raises:
            LeaseLapsed: A session was to be registered, and the node's lease does not hold.
            LoggedInLater: The user has a session, by a log-in that was certainly asked for later.
        """
        operation = operation or new_operation()
        return await self._change(
            lambda tables: tables.admit(admission, limit, operation), operation
        )

    async def find_user(self, name: str) -> UserRecord | None:
        """Return a registered user; None where there is none."""
        return await self._read(lambda tables: tables.find_user(name))

    async def usernames(self, *, after: str = "", limit: int = 1000) -> list[str]:
        """Return a part of the list of registered users, in order."""
        return await self._read(lambda tables: tables.usernames(after, limit))

    async def register_user(
        self,
        user: UserRecord,
        code: str,
        *,
        registration_enabled: bool,
        counted: Collection[str] = (),
        operation: bytes = b"",
    ) -> Registration:
        """Register a user, and use up an invite code, if it is allowed.

        Args:
            user: The new user.
            code: An invite code; empty for none.
            registration_enabled: Whether it takes no code, as long as the switch was never set.
            counted: Keys for which to count the registration, as `note_failures` does.
            operation: The call's id; see `BaseEngine`.
        """
        operation = operation or new_operation()
        return await self._change(
            lambda tables: tables.register_user(
                user, code, registration_enabled, counted, operation
            ),
            operation,
        )

    async def replace_user(self, old: UserRecord, new: UserRecord) -> bool:
        """Replace a user's record, if it still is the one that the caller knows.

        Returns:
            Whether it is the new one now. The user's tokens are gone then.
        """
        return await self._change(lambda tables: tables.replace_user(old, new))

    async def delete_user(
        self,
        name: str,
        *,
        note: Callable[[SessionRow], bytes] | None = None,
        operation: bytes = b"",
    ) -> bool:
        """Delete a user with all that is kept of them; see `forget_user` for what stays.

        Nobody registers by that name as long as the user has a session at a node that is not
        silent.

        Args:
            name: The username.
            note: Returns the mail for the node where the user has a session; None for no mail. It
                is left in the same transaction, so no deletion goes without.
            operation: The call's id; see `BaseEngine`.

        Returns:
            Whether there was such a user.
        """
        operation = operation or new_operation()
        return await self._change(
            lambda tables: tables.delete_user(name, note, operation), operation
        )

    async def count_accounts(self) -> tuple[int, int]:
        """Return how many users are registered, and how many invite codes are unused.

        It takes the longer the more there are; do not ask for it at each log-in.
        """
        return await self._read(lambda tables: tables.count_accounts())

    async def add_invite(self, code: str, username: str) -> Registration:
        """Add an invite code, for one username or (empty) for anybody.

        Returns:
            ``"done"``, or why that user could never register.
        """
        return await self._change(lambda tables: tables.add_invite(code, username))

    async def invites(self) -> dict[str, str]:
        """Return the unused invite codes, each with the username that it is for."""
        return await self._read(lambda tables: tables.invites())

    async def registration(self) -> bool | None:
        """Return whether anybody may register; None where nobody has said so."""
        return await self._read(lambda tables: tables.registration())

    async def set_registration(self, enabled: bool) -> None:
        """Set whether anybody may register."""
        await self._change(lambda tables: tables.set_registration(enabled))

    async def tokens_of(self, username: str) -> list[TokenRecord]:
        """Return what stands for a user's password, the oldest first, whatever has expired too."""
        return await self._read(lambda tables: tables.tokens_of(username))

    async def add_token(self, token: TokenRecord, *, instead_of: bytes = b"", limit: int) -> None:
        """Let a token stand for a user's password.

        Args:
            token: The token. Where there is no such user, nothing is kept.
            instead_of: The digest of one that is to go.
            limit: How many the user may have; those that end first give way.
        """
        await self._change(lambda tables: tables.add_token(token, instead_of, limit))

    async def note_failures(self, keys: Collection[str]) -> None:
        """Count a failed log-in, once for each key, or twice where an answer is lost."""
        await self._change(lambda tables: tables.note_failures(keys))

    async def count_failures(self, keys: Collection[str], window: float) -> dict[str, int]:
        """Return how many failed log-ins there were for each key, in the last so many seconds."""
        return await self._read(lambda tables: tables.count_failures(keys, window))

"""The engine's face for moderation: bans, roles, codes, profiles, the audit log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgnet_trio.server.cluster.calls import EngineCalls, TablesT, new_operation

if TYPE_CHECKING:
    from pgnet_trio.server.bans import Ban
    from pgnet_trio.server.cluster.moderation_records import AuditEntry, Profile

__all__ = ["Moderation"]


class Moderation(EngineCalls[TablesT]):
    """What is kept to keep users safe; see `EngineCalls` for what every method may raise.

    The engine compares times with those that the callers bring along, in seconds since 1970: its
    own clock may begin anew with the machine.
    """

    # Bans

    async def bans(self) -> list[Ban]:
        """Return all bans in the order of their subjects, those that are over too."""
        return await self._read(lambda tables: tables.bans())

    async def put_ban(self, ban: Ban, *, note: bytes = b"") -> bool:
        """Ban a user or a range of addresses, instead of any ban of the same subject.

        Args:
            ban: The ban. Those that are over when it was made are taken out.
            note: Mail for all nodes that are not silent, left in the same transaction; empty for
                none.

        Returns:
            Whether there was room for it.
        """
        operation = new_operation()
        return await self._change(lambda tables: tables.put_ban(ban, note, operation))

    async def lift_ban(self, subject: str, *, note: bytes = b"") -> None:
        """End a ban, where there is one; the arguments are those of `put_ban`."""
        operation = new_operation()
        await self._change(lambda tables: tables.lift_ban(subject, note, operation))

    # Roles

    async def role(self, username: str) -> str:
        """Return the role that a user was given; empty for none."""
        return await self._read(lambda tables: tables.role(username))

    async def roles(self) -> dict[str, str]:
        """Return the users who were given a role, each with the role."""
        return await self._read(lambda tables: tables.roles())

    async def set_role(self, username: str, role: str) -> bool:
        """Give a user a role, or (empty) take it away; return whether there was room for one."""
        return await self._change(lambda tables: tables.set_role(username, role))

    # Codes that stand for a forgotten password

    async def put_reset_code(self, username: str, digest: bytes, expires: int) -> None:
        """Keep the code with which a user may set a new password, instead of any earlier one.

        Args:
            username: Who.
            digest: What is kept of the code.
            expires: When it ends.
        """
        await self._change(lambda tables: tables.put_reset_code(username, digest, expires))

    async def check_reset_code(self, username: str, digest: bytes, now: float) -> bool:
        """Return whether a code is a user's, and is not over; compared in constant time."""
        return await self._read(lambda tables: tables.check_reset_code(username, digest, now))

    async def use_reset_code(self, username: str, digest: bytes, now: float) -> bool:
        """Use a user's code up, which works once.

        Args:
            username: Who.
            digest: As for `put_reset_code`.
            now: The time.

        Returns:
            Whether it was theirs, and is used up by this call.
        """
        operation = new_operation()
        return await self._change(
            lambda tables: tables.use_reset_code(username, digest, now, operation)
        )

    # Profiles

    async def profile(self, username: str) -> Profile:
        """Return what a user has saved."""
        return await self._read(lambda tables: tables.profile(username))

    async def write_profile(self, username: str, data: str, known: int) -> Profile:
        """Save something for a user, over what they know.

        Args:
            username: Who.
            data: The save, as JSON.
            known: The version that the user has seen, 0 for none; the new one is one higher.

        Returns:
            What is saved now. It is what was given if nobody has saved anything else meanwhile;
            nothing was changed otherwise.
        """
        return await self._change(lambda tables: tables.write_profile(username, data, known))

    # The audit log

    async def note_audit(self, entry: AuditEntry) -> None:
        """Add an entry to the audit log, which gets its number here. The oldest ones go."""
        id = new_operation()
        await self._change(lambda tables: tables.note_audit(entry, id))

    async def audit(self, *, before: int = 0, limit: int = 100) -> list[AuditEntry]:
        """Return a part of the audit log, the latest entry first.

        Args:
            before: The number of the last entry of the part before; 0 for the first part.
            limit: How many entries at most.
        """
        return await self._read(lambda tables: tables.audit(before, limit))

    # Users who are deleted

    async def forget_user(self, username: str) -> None:
        """Take out a user's role, code and profile; a ban stays, whoever has the name next.

        `Engine.delete_user` does so too.
        """
        await self._change(lambda tables: tables.forget_user(username))

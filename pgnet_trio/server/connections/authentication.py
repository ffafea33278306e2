"""Who a client is: its password is checked, or a new user is registered."""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from pgnet_trio.errors import (
    CryptoError,
    Disconnected,
    PGNetError,
    ProtocolError,
    StorageError,
)
from pgnet_trio.foreign_text import one_line
from pgnet_trio.protocol import v2
from pgnet_trio.protocol.events import Goodbye
from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.account_refusals import busy_with_others
from pgnet_trio.server.accounts import AccountRefusal, TemporaryRefusal
from pgnet_trio.server.cluster.errors import EngineError, NotKept
from pgnet_trio.server.moderation.resets import reset_digest
from pgnet_trio.server.password_checks import TooBusy

if TYPE_CHECKING:
    from pgnet_trio.connection import Connection
    from pgnet_trio.protocol import v1
    from pgnet_trio.protocol.events import LogIn, ServerEvent
    from pgnet_trio.server.context import ServerContext
    from pgnet_trio.storage.interface import UserRecord

__all__ = ["Authentication"]

logger = logging.getLogger("pgnet_trio.server")

ResultT = TypeVar("ResultT")


class Authentication:
    """Finds out who the client of one connection is, by what it knows.

    Args:
        context: What the server's tasks share.
        connection: The connection.
        protocol: What is spoken over it.
        address: Where it comes from; None for inside the process.
        trusted: Whether the admin needs no password.
    """

    def __init__(
        self,
        context: ServerContext,
        connection: Connection[ServerEvent],
        protocol: v1.ServerProtocol | v2.ServerProtocol,
        address: str | None,
        *,
        trusted: bool,
    ) -> None:
        self._context = context
        self._connection = connection
        self._protocol = protocol
        self._address = address
        self._trusted = trusted
        # The password, where its record is to be made anew; None where not.
        self._weak_password: str | None = None

    async def run(self, log_in: LogIn) -> UserRecord | None:
        """Check who logs in, by the password; an unknown user is registered where that is allowed.

        Returns:
            The user's record; None where no password is needed.

        Raises:
            AccountRefusal: It is not them, or the user may not be registered.
        """
        context, address = self._context, self._address
        accounts, passwords = context.accounts, context.passwords
        try:
            found = await accounts.find(log_in, trusted=self._trusted, address=address)
            if found == "trusted":
                return None
            if found == "new":
                record = await self._while_connected(
                    passwords.is_quick(log_in.password),
                    passwords.hash_new,
                    log_in.password,
                    address,
                )
                return await accounts.register(log_in, record, address=address)
            if log_in.invite_code and await self._has_reset_code(log_in):
                return await self._reset(log_in, found)
            password = await self._while_connected(
                passwords.is_quick(log_in.password, found),
                passwords.verify,
                log_in,
                found,
                address,
            )
            if password is None:
                raise AccountRefusal("The password is not right.", ReasonCode.WRONG_PASSWORD)
            if passwords.needs_upgrade(found, password):
                self._weak_password = password
            return found
        except TemporaryRefusal:
            raise
        except AccountRefusal:
            await accounts.note_failure(log_in.username, address)
            raise
        except TooBusy:
            raise busy_with_others() from None
        except CryptoError as error:
            raise AccountRefusal(
                f"This log-in cannot be checked: {error}.", ReasonCode.SERVER_ERROR
            ) from None
        except StorageError as error:
            logger.error("A registration could not be saved: %s", one_line(error))
            raise TemporaryRefusal(
                "The server cannot save registrations now; try again later.", ReasonCode.CANNOT_SAVE
            ) from None
        except EngineError as error:
            logger.error("A password could not be reset: %s", one_line(error))
            raise TemporaryRefusal(self._context.not_now, ReasonCode.BUSY) from None

    async def _has_reset_code(self, log_in: LogIn) -> bool:
        """Whether a user who exists gives the code that stands for a forgotten password.

        Another code says nothing: a client gives its invite code at each log-in.

        Raises:
            EngineError: It cannot be found out now.
        """
        now = self._context.options.environment.wall_clock()
        digest = reset_digest(log_in.username, log_in.invite_code)
        try:
            return await self._context.community.check_reset_code(log_in.username, digest, now)
        except NotKept:
            return False

    async def _reset(self, log_in: LogIn, found: UserRecord) -> UserRecord:
        """Make the password of a log-in the user's, for the code that comes with it.

        The code is used up first: where what follows fails, the user needs another one.

        Raises:
            AccountRefusal: The password cannot be theirs, or the code was used just now.
            PGNetError: It cannot be done now.
        """
        context, username = self._context, log_in.username
        if not log_in.password:
            # Or anybody could log in as the user from now on, who has only left it out.
            raise AccountRefusal(
                "This code is for a new password: give one with it.", ReasonCode.PASSWORD_NEEDED
            )
        record = await self._while_connected(
            context.passwords.is_quick(log_in.password),
            functools.partial(context.passwords.hash, address=self._address),
            log_in.password,
        )
        now = context.options.environment.wall_clock()
        digest = reset_digest(username, log_in.invite_code)
        if not await context.community.use_reset_code(username, digest, now):
            raise AccountRefusal(
                "This code was used already, or is over; ask for another one.",
                ReasonCode.INVALID_INVITE,
            )
        try:
            user = await context.accounts.replace(found, record)
        except (StorageError, TemporaryRefusal) as error:
            logger.error("A password could not be reset: %s", one_line(error))
            raise AccountRefusal(
                "The password could not be saved, and the code is used up: ask for another one.",
                ReasonCode.CANNOT_SAVE,
            ) from None
        logger.info("%s has a new password, by a code of the admin", one_line(username))
        return user

    async def _while_connected(
        self, quick: bool, check: Callable[..., Awaitable[ResultT]], *args: Any
    ) -> ResultT:
        """Check a password; do not begin with it if the client has left before.

        Args:
            quick: Whether the check takes no time, so that there is nothing to watch for.
            check: Checks it.
            *args: The arguments of the check.

        Raises:
            Disconnected: The client has left.
            ProtocolError: The client broke the rules.
            PGNetError: What the check raises.
        """
        if quick or not isinstance(self._protocol, v2.ServerProtocol):
            # With protocol 1 nothing can be read before the answer.
            return await check(*args)
        results: list[ResultT] = []
        errors: list[PGNetError] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._note_departure, errors, nursery.cancel_scope)
            try:
                results.append(await check(*args))
            except PGNetError as error:
                errors.append(error)
            nursery.cancel_scope.cancel()
        if errors:
            raise errors[0]
        return results[0]

    async def _note_departure(self, errors: list[PGNetError], scope: trio.CancelScope) -> None:
        """Read until the client leaves; it may say nothing else before it is let in."""
        try:
            while True:
                for event in await self._connection.receive():
                    if isinstance(event, Goodbye):
                        raise Disconnected(f"the client has left: {event.reason}")
        except (Disconnected, ProtocolError) as error:
            errors.append(error)
            scope.cancel()

    @property
    def has_weak_record(self) -> bool:
        """Whether the user's password record is to be replaced by a stronger one."""
        return self._weak_password is not None

    async def upgrade(self, found: UserRecord) -> None:
        """Replace a password record by a stronger one of the same password.

        Where that fails, the old record still works, and the next log-in tries again.
        """
        assert self._weak_password is not None
        context, address = self._context, self._address
        try:
            record = await context.passwords.hash(self._weak_password, address=address)
            await context.accounts.replace(found, record)
        except (AccountRefusal, TooBusy) as error:
            logger.debug(
                "The password record of %s stays as it is: %s", found.name, one_line(error)
            )
        except Exception as error:
            logger.error("A stronger password record could not be saved: %s", one_line(error))
            if not isinstance(error, PGNetError):
                context.options.environment.note_failure(error)

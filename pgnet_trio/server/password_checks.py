"""Hashes and checks passwords: a few at a time, and no more after too many failures."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import trio

from pgnet_trio.errors import PGNetError
from pgnet_trio.server.accounts import AccountRefusal

if TYPE_CHECKING:
    from pgnet_trio.environment import Environment
    from pgnet_trio.protocol.events import LogIn
    from pgnet_trio.server.admission import FailedLogins
    from pgnet_trio.storage.interface import UserRecord

__all__ = ["PasswordChecks", "TooBusy", "TooManyFailures"]

logger = logging.getLogger("pgnet_trio.server")

MAX_WAITING_HASHES = 64
"""How many log-ins may wait for their password to be hashed: one core needs seconds for them."""


class TooBusy(PGNetError):
    """A password cannot be hashed now: too many wait, or there is no thread or memory for it."""


class TooManyFailures(AccountRefusal):
    """A log-in is refused unheard, and so does not count as one more failure."""


class PasswordChecks:
    """Hashes passwords off the event loop, as many at a time as there are cores.

    Cancellation waits for the end of a hash that has begun, which cannot be stopped: the hash
    holds its memory until then, and so has to hold its place among the few.

    Args:
        environment: Has the hasher, and runs it.
        failed_logins: Counts the log-ins that failed.
    """

    def __init__(self, environment: Environment, failed_logins: FailedLogins) -> None:
        self._environment = environment
        self._failed_logins = failed_logins
        self._cores = trio.CapacityLimiter(os.cpu_count() or 1)
        # Not the threads that a game's own calls may all keep busy; `_cores` says how many.
        self._threads = trio.CapacityLimiter(math.inf)

    def check_failures(self, username: str, address: str | None) -> None:
        """Refuse a log-in where too many have failed.

        Args:
            username: Who logs in.
            address: From where; None for inside the process, where nothing is counted.

        Raises:
            TooManyFailures: Too many have failed, to this account or from this address.
        """
        refusal = self._failed_logins.refuse(username, address, trio.current_time())
        if refusal:
            raise TooManyFailures(refusal)

    def note_failure(self, username: str, address: str | None) -> None:
        """Count a log-in that failed; the arguments are those of `check_failures`."""
        self._failed_logins.record(username, address, trio.current_time())

    async def hash(self, password: str) -> str:
        """Return the record of a new password.

        Raises:
            TooBusy: It cannot be hashed now.
        """
        record: str = await self._run(self._environment.password_hasher.hash, password)
        return record

    async def verify(self, log_in: LogIn, record: UserRecord, address: str | None) -> bool:
        """Return whether the password of a log-in fits a user's record.

        Raises:
            CryptoError: The record cannot be checked.
            TooBusy: It cannot be hashed now.
            TooManyFailures: Others have failed while this one waited for its turn.
        """
        right: bool = await self._run(
            self._environment.password_hasher.verify,
            log_in.password,
            record.salt,
            record.password,
            check=lambda: self.check_failures(log_in.username, address),
        )
        return right

    def needs_upgrade(self, record: UserRecord) -> bool:
        """Whether a record is weaker than one that is made today."""
        return bool(record.salt) or self._environment.password_hasher.needs_upgrade(record.password)

    async def _run(
        self, function: Callable[..., Any], *args: str, check: Callable[[], None] = lambda: None
    ) -> Any:
        if self._cores.statistics().tasks_waiting >= MAX_WAITING_HASHES:
            raise TooBusy
        async with self._cores:
            check()
            try:
                return await self._environment.run_blocking(
                    function, *args, abandon_on_cancel=False, limiter=self._threads
                )
            except (RuntimeError, MemoryError) as error:
                # No thread could be started, or there is no memory: that may pass.
                logger.error("A password could not be hashed: %s: %s", type(error).__name__, error)
                raise TooBusy from error

"""Hashes and checks passwords: a few at a time, in turn, and no more after too many failures."""

from __future__ import annotations

import contextlib
import logging
import math
import os
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import attrs
import trio

from pgnet_trio.crypto import normalize_password
from pgnet_trio.errors import PGNetError
from pgnet_trio.foreign_text import one_line
from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.accounts import TemporaryRefusal
from pgnet_trio.server.attempts import Registrations, WrongGuesses
from pgnet_trio.server.hash_queue import HashQueue
from pgnet_trio.server.memory import free_memory

if TYPE_CHECKING:
    from pgnet_trio.environment import Environment
    from pgnet_trio.protocol.events import LogIn
    from pgnet_trio.server.attempts import FailedLogins
    from pgnet_trio.server.limits import Limits
    from pgnet_trio.storage.interface import UserRecord

__all__ = ["PasswordChecks", "TooBusy", "TooMany"]

logger = logging.getLogger("pgnet_trio.server")

MAX_WAITING_HASHES = 64
"""How many log-ins may wait for their password to be hashed: one core needs seconds for them."""

MEMORY_SHARE = 0.5
"""The share of the memory that is left which hashes may take."""

MEMORY_CHECK_INTERVAL = 5.0
"""Seconds after which it is looked anew how much memory is left."""


class TooBusy(PGNetError):
    """A password cannot be hashed now: too many wait, or there is no thread or memory for it."""


class TooMany(TemporaryRefusal):
    """A log-in is refused unheard, and so does not count as one more failure."""


@attrs.define(eq=False)
class _Waiting:
    """A hash that is not begun yet."""

    turn: trio.Event = attrs.field(factory=trio.Event)
    gave_way: bool = False


class PasswordChecks:
    """Hashes passwords off the event loop, as many at a time as cores and memory allow.

    A hash that is cheaper than a thread is made at once.

    The addresses that log-ins come from take turns. Cancellation takes a hash that is not begun
    out of the queue. It waits for the end of one that has begun, which cannot be stopped: the hash
    holds its memory until then, and so has to hold its place among the few.

    Args:
        environment: Has the hasher, and runs it.
        failed_logins: Counts the log-ins that failed.
        limits: Say how many new users and wrong passwords of games are too many.
    """

    def __init__(
        self, environment: Environment, failed_logins: FailedLogins, limits: Limits
    ) -> None:
        self._environment = environment
        self._hasher = environment.password_hasher
        self._failed_logins = failed_logins
        self._guesses = WrongGuesses(
            limits.failed_logins_per_account, limits.failed_logins_per_address
        )
        self._registrations = Registrations(limits.registrations_per_address)
        self._queue: HashQueue[_Waiting] = HashQueue(MAX_WAITING_HASHES)
        self._running = 0
        self._most = 1
        self._next_look = -math.inf
        # How long the last hash took: who has less time left need not begin.
        self._duration = 0.0

        # Not the threads that a game's own calls may all keep busy; `_most` says how many.
        self._threads = trio.CapacityLimiter(math.inf)

    # Who is heard

    def check_failures(self, username: str, address: str | None) -> None:
        """Refuse a log-in where too many have failed.

        Args:
            username: Who logs in.
            address: From where; None for inside the process, where nothing is counted.

        Raises:
            TooMany: Too many have failed, to this account or from this address.
        """
        refusal = self._failed_logins.refuse(username, address, trio.current_time())
        if refusal:
            raise TooMany(refusal, ReasonCode.TOO_MANY_ATTEMPTS)

    def note_failure(self, username: str, address: str | None) -> None:
        """Count a log-in that failed; the arguments are those of `check_failures`."""
        self._failed_logins.record(username, address, trio.current_time())

    def note_success(self, username: str, address: str | None) -> None:
        """Note that a user has logged in; the arguments are those of `check_failures`."""
        self._failed_logins.record_success(username, address)

    def check_guesses(self, username: str, address: str | None) -> str | None:
        """Return why a user is refused to give a game's password, or None."""
        return self._guesses.refuse(username, address, trio.current_time())

    def note_wrong_guess(self, username: str, address: str | None) -> None:
        """Count a wrong password of a game."""
        self._guesses.record(username, address, trio.current_time())

    # Hashes

    def is_quick(self, password: str, record: UserRecord | None = None) -> bool:
        """Whether a password is hashed at once, with no thread and no turn to wait for.

        Args:
            password: The password.
            record: The record that it is checked against; None for a new user.
        """
        kept = None if record is None else record.password
        return self._hasher.is_quick(kept, password=password)

    async def hash(self, password: str, *, address: str | None = None) -> str:
        """Return the record of a new password.

        Args:
            password: The password.
            address: Where it comes from; None for inside the process.

        Raises:
            TooBusy: Too many wait already, or there is no time left for it.
        """
        record: str = await self._run(
            address,
            lambda: None,
            self._hasher.hash,
            normalize_password(password),
            quick=self.is_quick(password),
        )
        return record

    async def hash_new(self, password: str, address: str | None) -> str:
        """Return the record of a new user's password, and count the user.

        Raises:
            TooBusy: Too many wait already, or there is no time left for it.
            TooMany: Too many new users have come from this address.
        """

        def check() -> None:
            refusal = self._registrations.refuse(address, trio.current_time())
            if refusal:
                raise TooMany(refusal, ReasonCode.TOO_MANY_REGISTRATIONS)

        def count() -> None:
            check()
            self._registrations.record(address, trio.current_time())

        check()
        record: str = await self._run(
            address,
            count,
            self._hasher.hash,
            normalize_password(password),
            quick=self.is_quick(password),
        )
        return record

    async def verify(self, log_in: LogIn, record: UserRecord, address: str | None) -> str | None:
        """Check the password of a log-in.

        It is tried in the form that `hash` makes records of, and then as it was typed: the record
        may be older than that.

        Returns:
            The password in the form that fits the user's record; None where none does.

        Raises:
            CryptoError: The record cannot be checked.
            TooBusy: Too many wait already, or there is no time left for it.
            TooMany: Others have failed while this one waited for its turn.
        """
        for password in dict.fromkeys((normalize_password(log_in.password), log_in.password)):
            right: bool = await self._run(
                address,
                lambda: self.check_failures(log_in.username, address),
                self._hasher.verify,
                password,
                record.salt,
                record.password,
                quick=self.is_quick(password, record),
            )
            if right:
                return password
        return None

    def needs_upgrade(self, record: UserRecord, password: str) -> bool:
        """Whether a record is another one than would be made today.

        Args:
            record: A user's record.
            password: The form of the password that fits it.
        """
        return (
            bool(record.salt)
            or password != normalize_password(password)
            or self._hasher.needs_upgrade(record.password)
        )

    async def _run(
        self,
        address: str | None,
        check: Callable[[], None],
        function: Callable[..., Any],
        *args: str,
        quick: bool,
    ) -> Any:
        if quick:
            await trio.lowlevel.checkpoint()
            check()
            return function(*args)
        async with self._turn(address):
            check()
            start = trio.current_time()
            if trio.current_effective_deadline() - start < self._duration:
                # Nobody would be there any more to use it. Half of it, since the last one may have
                # been slow for once, and nobody would ever find out.
                self._duration /= 2
                raise TooBusy
            try:
                return await self._environment.run_blocking(
                    function, *args, abandon_on_cancel=False, limiter=self._threads
                )
            except (RuntimeError, MemoryError) as error:
                # No thread could be started, or there is no memory: that may pass.
                logger.error(
                    "A password could not be hashed: %s: %s",
                    type(error).__name__,
                    one_line(error),
                )
                raise TooBusy from error
            finally:
                self._duration = trio.current_time() - start

    @contextlib.asynccontextmanager
    async def _turn(self, address: str | None) -> AsyncIterator[None]:
        """Wait for one of the few places, and hold it during the block."""
        waiting = _Waiting()
        out = self._queue.put(address, waiting)
        if out is not None:
            out.gave_way = True
            out.turn.set()
        self._wake()
        try:
            await waiting.turn.wait()
            if waiting.gave_way:
                raise TooBusy
            yield
        finally:
            if waiting.turn.is_set() and not waiting.gave_way:
                self._running -= 1
            else:
                self._queue.discard(address, waiting)
            self._wake()

    def _wake(self) -> None:
        self._look_at_memory()
        while len(self._queue) and self._running < self._most:
            self._running += 1
            self._queue.take().turn.set()

    def _look_at_memory(self) -> None:
        now = trio.current_time()
        if now < self._next_look:
            return
        self._next_look = now + MEMORY_CHECK_INTERVAL
        # A hash keeps its core busy all the time, and one core is for the games.
        self._most = max(1, _cores() - 1)
        free = free_memory()
        if free is not None:
            each = self._hasher.memlimit
            room = MEMORY_SHARE * (free + self._running * each)
            self._most = max(1, min(self._most, int(room // each)))


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1

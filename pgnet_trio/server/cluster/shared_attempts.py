"""What is counted of those who try to get in, for all nodes of a cluster together."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import trio

from pgnet_trio.foreign_text import one_line
from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.cluster.errors import EngineError
from pgnet_trio.server.password_checks import TooMany
from pgnet_trio.server.sources import sources

if TYPE_CHECKING:
    from pgnet_trio.server.attempts import Attempts
    from pgnet_trio.server.cluster.digests import Digests
    from pgnet_trio.server.cluster.engine import Engine
    from pgnet_trio.server.cluster.records import Lookup

__all__ = ["SharedAttempts"]

logger = logging.getLogger("pgnet_trio.server")

# What is counted.
FAILURE, REGISTRATION, GUESS = "failed log-in", "registration", "wrong guess"


class SharedAttempts:
    """Counts in the engine, under digests, and at this node too.

    The node's own count is for log-ins that wait for their hash, and for while the engine is away.

    Args:
        engine: What the nodes share.
        digests: Make what stands in the engine for an address, or for what somebody has typed.
        attempts: How many of each are too many.
    """

    def __init__(self, engine: Engine, digests: Digests, attempts: Attempts) -> None:
        self._engine = engine
        self._digests = digests
        self._attempts = attempts

    def windows(self, username: str, address: str | None) -> dict[str, float]:
        """Return what to count for a log-in, each with the seconds for which it counts."""
        if address is None:
            return {}
        failures, registrations = self._attempts.failed_logins, self._attempts.registrations
        limits = failures.limits(username, address, is_known=False)
        return {
            **dict.fromkeys(self._keys(FAILURE, limits), failures.window),
            **dict.fromkeys(self._registration_keys(address), registrations.window),
        }

    def check_failures(self, lookup: Lookup, username: str, address: str | None) -> None:
        """Check that a log-in may be heard.

        Raises:
            TooMany: Too many have failed.
        """
        if address is None:
            return
        failures = self._attempts.failed_logins
        is_known = self.place(username, address) in lookup.places
        if is_known:
            # This node counts too, and must not take whoever is known elsewhere for a stranger.
            failures.record_success(username, address)
        limits = failures.limits(username, address, is_known=is_known)
        here = failures.refuse(username, address, trio.current_time())
        if here is not None or _is_reached(lookup.counts, self._keys(FAILURE, limits)):
            raise TooMany(failures.reason(), ReasonCode.TOO_MANY_ATTEMPTS)

    def check_registrations(self, lookup: Lookup, address: str | None) -> None:
        """Check that one more user may be registered.

        Raises:
            TooMany: Too many have come from this address.
        """
        if _is_reached(lookup.counts, self._registration_keys(address)):
            reason = self._attempts.registrations.reason()
            raise TooMany(reason, ReasonCode.TOO_MANY_REGISTRATIONS)

    def of_registration(self, address: str | None) -> list[str]:
        """Return the keys by which a new user counts; for the change that registers them."""
        return [*self._registration_keys(address)]

    def place(self, username: str, address: str) -> str:
        """Return what stands for the place from which a user is known."""
        return self._digests.of("place", sources(address)[1], username)

    def note_success(self, username: str, address: str | None) -> None:
        """Note that a user has logged in; the engine notes the place."""
        self._attempts.failed_logins.record_success(username, address)

    async def note_failure(self, username: str, address: str | None) -> None:
        """Count a failed log-in; where the engine is away, at this node alone."""
        keys: Collection[str] = ()
        if address is not None:
            failures = self._attempts.failed_logins
            keys = self._keys(FAILURE, failures.current_limits(username, address))
            failures.record(username, address, trio.current_time())
        await self._count(keys)

    async def check_guess(self, username: str, address: str | None, password: str) -> str | None:
        """Return why a user may not give a game's password now; see `AccountService`."""
        guesses = self._attempts.wrong_guesses
        refusal = guesses.refuse(username, address, trio.current_time())
        keys = self._keys(GUESS, guesses.limits(username, address))
        # Most games have none, and who gives none guesses nothing.
        if refusal is not None or not password or not keys:
            await trio.lowlevel.checkpoint()
            return refusal
        try:
            counts = await self._engine.count_failures(list(keys), guesses.window)
        except EngineError as error:
            logger.warning("Wrong passwords of games are not known: %s", one_line(error))
            return None
        return guesses.reason() if _is_reached(counts, keys) else None

    async def note_wrong_guess(self, username: str, address: str | None) -> None:
        """Count a wrong password of a game; where the engine is away, at this node alone."""
        guesses = self._attempts.wrong_guesses
        guesses.record(username, address, trio.current_time())
        await self._count(self._keys(GUESS, guesses.limits(username, address)))

    def _registration_keys(self, address: str | None) -> dict[str, int]:
        return self._keys(REGISTRATION, self._attempts.registrations.limits(address))

    def _keys(self, kind: str, limits: Mapping[tuple[str, ...], int]) -> dict[str, int]:
        """Return the keys in the engine for what is counted, each with how many there may be.

        What is of two kinds is counted apart, though it may be for the same address.
        """
        return {self._digests.of(kind, *key): most for key, most in limits.items()}

    async def _count(self, keys: Collection[str]) -> None:
        if not keys:
            await trio.lowlevel.checkpoint()
            return
        try:
            await self._engine.note_failures(keys)
        except EngineError as error:
            logger.warning("Somebody's failure counts at this node only: %s", one_line(error))


def _is_reached(counts: Mapping[str, int], keys: Mapping[str, int]) -> bool:
    return any(counts[key] >= most for key, most in keys.items())

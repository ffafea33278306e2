"""How the methods of an engine get to its tables: each is one transaction."""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

from pgnet_trio.server.cluster.errors import EngineUnavailable, OutcomeUnknown

if TYPE_CHECKING:
    from pgnet_trio.server.cluster.community_tables import CommunityTables

__all__ = ["EngineCalls", "TablesT", "new_operation"]

T = TypeVar("T")
TablesT = TypeVar("TablesT", bound="CommunityTables")
"""The tables that an engine has: those of a community, or all of a cluster's."""


class EngineCalls(ABC, Generic[TablesT]):
    """What every engine promises of each of its methods.

    Every method is one transaction: all of it happens or nothing. Every method may raise
    `EngineUnavailable` (nothing was changed), and one that changes something `OutcomeUnknown` (it
    may have been). Methods with an *operation* may be called again with the same one, for
    `KEEP_OPERATIONS` seconds: they return what they would have returned the first time.

    A call that is cancelled has changed nothing. Where the cancellation comes too late for that,
    the call returns as if there had been none, and the next checkpoint raises it.
    """

    @abstractmethod
    async def _transact(self, work: Callable[[TablesT], T], *, writes: bool) -> T:
        """Do something with the tables in one transaction; see the class for what may be raised."""

    async def _read(self, work: Callable[[TablesT], T]) -> T:
        return await self._transact(work, writes=False)

    async def _change(self, work: Callable[[TablesT], T], operation: bytes = b"") -> T:
        """Change something; where the answer is lost, ask for it once more."""
        try:
            return await self._transact(work, writes=True)
        except OutcomeUnknown:
            try:
                return await self._transact(work, writes=True)
            except (EngineUnavailable, OutcomeUnknown) as error:
                raise OutcomeUnknown(str(error), operation) from error


def new_operation() -> bytes:
    """Return an id for a call that nobody else uses."""
    return secrets.token_bytes(16)

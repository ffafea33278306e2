"""Knows the bans in memory: nobody slips in between a look at them and a seat."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import trio

from pgnet_trio.foreign_text import one_line
from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.account_refusals import AccountRefusal
from pgnet_trio.server.bans import Ban, BanList
from pgnet_trio.server.cluster.errors import EngineError, NotKept
from pgnet_trio.server.cluster.notes import BansChanged

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from pgnet_trio.server.cluster.community import Community

__all__ = ["BanKeeper"]

logger = logging.getLogger("pgnet_trio.server")

LOOK_INTERVAL = 60.0
"""Seconds after which the bans are read anew, should the mail of another server have been lost."""

ADDED_AT_ONCE = 100
"""How many bans are added to the list before others have a turn: about a millisecond."""

RETRY = 5.0
"""Seconds after which it is tried again to read them."""


class BanKeeper:
    """Has all bans in memory, as they were read last.

    A ban that is made here holds here when `put` returns, and at the other servers of a cluster
    when they have read their mail, or after `LOOK_INTERVAL`.

    Args:
        community: Where the bans are kept.
        wall_clock: Returns the time, in seconds since 1970.
        shared: Whether other servers ban users there too.
    """

    def __init__(
        self, community: Community[Any], wall_clock: Callable[[], float], *, shared: bool
    ) -> None:
        self._community = community
        self._wall_clock = wall_clock
        self._shared = shared
        self._bans = BanList()
        self._changed = trio.Event()
        # So that nothing older than a change is ever taken for the latest.
        self._reading = trio.Lock()

    def holding(self) -> list[Ban]:
        """Return the bans that are not over, in the order of whom they are of."""
        return self._bans.holding(self._wall_clock())

    def find(self, username: str, address: str | None) -> Ban | None:
        """Return the ban that keeps a user out now; see `BanList.find`."""
        return self._bans.find(username, address, self._wall_clock())

    def check(self, username: str, address: str | None) -> None:
        """Refuse whoever is banned.

        Raises:
            AccountRefusal: They are; the message says why, and for how long.
        """
        _refuse(self.find(username, address))

    def check_address(self, username: str, address: str | None) -> None:
        """Refuse whoever comes from a banned address, before they have proved who they are.

        Raises:
            AccountRefusal: They do, and do not say that they are the admin.
        """
        ban = self.find(username, address)
        # Who is banned by name is told so once it is sure that it is them.
        if ban is not None and not ban.is_of_a_user:
            _refuse(ban)

    def note_change(self) -> None:
        """Note that another server has changed something. Never waits."""
        self._changed.set()

    async def put(self, ban: Ban) -> bool:
        """Make a ban, and return whether there was room for it; cancelled, it is made or not.

        Raises:
            EngineError: It could not be made.
        """
        try:
            made = await self._community.put_ban(ban, note=BansChanged().packed())
            await self.look()
        finally:
            # Should this be cancelled, they are read all the same.
            self._changed.set()
        return made

    async def lift(self, subject: str) -> bool:
        """End a ban, and return whether there was one; cancelled, it is ended or not.

        Raises:
            EngineError: It could not be ended.
        """
        bans = await self._community.bans()
        now = self._wall_clock()
        was_there = any(ban.subject == subject and ban.holds(now) for ban in bans)
        try:
            await self._community.lift_ban(subject, note=BansChanged().packed())
            await self.look()
        finally:
            self._changed.set()
        return was_there

    async def look(self) -> None:
        """Read the bans anew.

        Raises:
            EngineError: They could not be read; those of before hold.
        """
        async with self._reading:
            bans = BanList()
            for number, ban in enumerate(await self._community.bans()):
                if number % ADDED_AT_ONCE == 0:
                    await trio.lowlevel.checkpoint()
                bans.add(ban)
            self._bans = bans

    # Ctrl-C here would end the rooms before their last save; whoever runs the server gets it.
    @trio.lowlevel.enable_ki_protection
    async def run(
        self,
        put_out: Callable[[], Awaitable[None]],
        *,
        task_status: trio.TaskStatus[None],
    ) -> None:
        """Read the bans when they have changed, until cancelled; started after the first time.

        Where they cannot be read, those of before hold, and it is tried again.

        Args:
            put_out: Puts out whoever is here and banned, after each time.
            task_status: Is told once the bans are known, as far as they can be.
        """
        pause = await self._look_again()
        task_status.started()
        while pause is not None:
            await put_out()
            with trio.move_on_after(pause):
                await self._changed.wait()
            pause = await self._look_again()

    async def _look_again(self) -> float | None:
        """Read the bans; return after how many seconds to do so again, None for never."""
        self._changed = trio.Event()
        try:
            await self.look()
        except NotKept:
            # There are none, and never will be.
            return None
        except EngineError as error:
            logger.warning("The bans are those of before: %s", one_line(error))
            return RETRY
        return LOOK_INTERVAL if self._shared else math.inf


def _refuse(ban: Ban | None) -> None:
    if ban is not None:
        raise AccountRefusal(ban.text, ReasonCode.BANNED)

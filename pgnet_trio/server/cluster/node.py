"""The life of one node of a cluster: its lease, its mail, and what other nodes hand over to it.

Whoever owns the rooms and sessions is told what becomes of them, by the methods of `NodeOwner`. A
node decides nothing about a game.

It is a little long: what a lapse of the lease does to everything that is under way is only seen
with all of it side by side.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

import attrs
import trio

from pgnet_trio.errors import bare
from pgnet_trio.foreign_text import one_line
from pgnet_trio.server.cluster.calls import new_operation
from pgnet_trio.server.cluster.errors import (
    EngineError,
    EngineUnavailable,
    Fenced,
    LeaseLapsed,
    NameInUse,
    NodeGone,
    OutcomeUnknown,
)
from pgnet_trio.server.cluster.notes import Arrived
from pgnet_trio.server.cluster.records import (
    Arrival,
    Claim,
    Created,
    Found,
    Lease,
    Mail,
    NewRoom,
    Restored,
    RoomSave,
    SessionRow,
    Unsettled,
)
from pgnet_trio.server.cluster.rules import KEEP_OPERATIONS, RENEWALS, is_silent
from pgnet_trio.server.cluster.versions import NodeVersion

if TYPE_CHECKING:
    from pgnet_trio.server.cluster.engine import Engine
    from pgnet_trio.server.cluster.owner import NodeOwner

__all__ = ["LocalNode", "NodeProfile", "until_next_look"]

logger = logging.getLogger("pgnet_trio.server")

RETRY = 0.5
"""Seconds from a call that failed to the next try."""

DRAIN_PATIENCE = 10.0
"""Seconds to wait for a room to leave a node that gives its rooms away, at most. One that is not
saved stays there."""

TIDY_INTERVAL = 60.0
"""Seconds from one tidying of the engine to the next, by each node."""

RESIGN_DEADLINE = 2.0
"""Seconds that a node tries to resign. One that cannot is silent from then on: after a lease, that
comes to the same, but for its mail, which is lost."""

LEAST_WAIT = 0.01
"""Seconds until a silent node is looked at again, at least."""

T = TypeVar("T")


def until_next_look(lease_left: float, lease: float) -> float:
    """Return the seconds to wait until it is worth while to look at a silent node again."""
    return max(LEAST_WAIT, min(lease_left, lease / RENEWALS))


@attrs.frozen
class NodeProfile:
    """What a node says of itself when it registers.

    Attributes:
        name: What its host calls it.
        address: Where clients find it.
        version: Of which version it is, as `NodeVersion.encode` returns it.
        identity: The public key by which clients know it.
        replaces: The number of a node that has ended for certain: whoever has started its process
            has seen the end of that. It is taken out of the cluster, and nobody waits for the end
            of its lease. 0 for none.
    """

    name: str
    address: str
    version: str = ""
    identity: bytes = attrs.field(default=b"", repr=False)
    replaces: int = 0


class LocalNode:
    """This process as a node of a cluster, from its registration to its resignation.

    Args:
        engine: What the nodes share, running.
        profile: What it says of itself.
        registered: Called with its id whenever it has registered; None for nobody.

    Attributes:
        id: Its id; 0 before it is registered, and another one after it was forgotten.
        draining: Whether it is to give its rooms away.
    """

    # There from the beginning of `run` on: the owner's parts need the node first.
    _owner: NodeOwner

    def __init__(
        self,
        engine: Engine,
        profile: NodeProfile,
        registered: Callable[[int], None] | None = None,
    ) -> None:
        self.id = 0
        self.draining = False
        self._engine = engine
        self._profile = profile
        self._registered = registered
        self._deadline = 0.0
        self._renewed = trio.Event()
        self._is_lapsed = False
        # How often rooms may have been lost: an answer to a claim asked before that says nothing.
        self._losses = 0
        # The rooms that came while a renewal was under way, which may not know of them.
        self._just_come: dict[str, int] = {}
        # Mail that was taken, until the engine has said that it keeps it no more.
        self._taken: set[int] = set()
        self._arriving = trio.Lock()
        # There while `run` is.
        self._scope: trio.CancelScope | None = None
        self._ended = trio.Event()

    @property
    def version(self) -> NodeVersion:
        """Of which version it is."""
        return NodeVersion.decode(self._profile.version)

    def holds(self) -> bool:
        """Return whether the lease holds, and what the node says about its rooms is so.

        Cheap, for whoever is about to send something. It is right at once when the machine has
        slept, or the process was stopped, before any task has noticed.
        """
        return self._engine.now() < self._deadline

    async def run(
        self,
        owner: NodeOwner,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Register, and be a node until cancelled, or until `end` is called; then resign.

        A node of the same name or address whose lease is not over yet, as that of a process that
        was killed just now, is waited for; not where it renews that.

        Args:
            owner: Whoever has its rooms.
            task_status: Started when it is registered.

        Raises:
            EngineError: The node cannot be one, or not any more: its name or address is another
                node's, or the others have another key.
        """
        self._owner = owner
        await self._end_others()
        self._begin(await self._register())
        try:
            async with trio.open_nursery() as nursery:
                self._scope = nursery.cancel_scope
                nursery.start_soon(self._keep_lease)
                nursery.start_soon(self._watch_deadline)
                nursery.start_soon(self._look_for_news)
                nursery.start_soon(self._tidy)
                task_status.started()
        except BaseExceptionGroup as group:
            raise bare(group) from None
        finally:
            await self._resign()
            self._ended.set()

    async def end(self) -> None:
        """Have `run` resign and return, and wait for that; do nothing where it is not running.

        The owner has been given all mail then that there ever was for this node. Cancellation does
        not bring it back.
        """
        if self._scope is None:
            await trio.lowlevel.checkpoint()
            return
        self._scope.cancel()
        await self._ended.wait()

    # The lease

    async def _end_others(self) -> None:
        """Take out of the cluster what has ended for certain: nobody waits for those leases."""
        ended = {self._profile.replaces, *self._engine.ended} - {0}
        for node in sorted(ended):
            await self.settled(functools.partial(self._end_other, node))

    async def _end_other(self, node: int, operation: bytes) -> None:
        await self._engine.resign(node, operation=operation)

    async def _register(self) -> Lease:
        profile, engine = self._profile, self._engine
        # Longer than what is left of the lease of a process that was killed.
        patience = engine.now() + 1.5 * engine.lease
        renewed: float | None = None
        while True:
            try:
                return await self.settled(
                    lambda operation: engine.register(
                        profile.name,
                        profile.address,
                        version=profile.version,
                        identity=profile.identity,
                        load=self._owner.load(),
                        operation=operation,
                    )
                )
            except NameInUse as error:
                # Whoever renews a lease is alive.
                if renewed not in (None, error.renewed) or engine.now() > patience:
                    raise
                if renewed is None:
                    logger.info("Waiting for the end of an earlier lease: %s", one_line(error))
                renewed = error.renewed
            await trio.sleep(RETRY)

    def _begin(self, lease: Lease) -> None:
        self.id = lease.node
        if self._registered is not None:
            self._registered(lease.node)
        logger.info(
            "This server is the node %r of its cluster, number %d",
            one_line(self._profile.name),
            lease.node,
        )
        self._note_lease(lease)

    # The only task that renews: two renewals at once could not say which rooms are left.
    async def _keep_lease(self) -> None:
        engine = self._engine
        pause = engine.lease / RENEWALS
        was_told = False
        while True:
            due = trio.current_time() + pause
            await trio.sleep(pause)
            lag = max(0.0, trio.current_time() - due)
            pause = RETRY
            asked = engine.now()
            self._just_come.clear()
            try:
                self._note_lease(await engine.renew(self.id, load=self._owner.load(), lag=lag))
            except (EngineUnavailable, OutcomeUnknown) as error:
                if not was_told and not self.holds():
                    logger.warning("The lease is over, and not renewed: %s", one_line(error))
                    was_told = True
                continue
            except NodeGone as error:
                logger.error("All rooms of this server are given up: %s", one_line(error))
                await self._start_over()
            if was_told:
                logger.info("There is a lease again")
                was_told = False
            pause = max(0.0, asked + engine.lease / RENEWALS - engine.now())

    async def _start_over(self) -> None:
        self._note_lapse()
        self._owner.start_over()
        self._just_come.clear()
        self._taken.clear()
        was_told = False
        while True:
            try:
                self._begin(await self._register())
                return
            except EngineUnavailable as error:
                if not was_told:
                    logger.warning("This server is no node now: %s", one_line(error))
                was_told = True
            await trio.sleep(RETRY)

    # No await in here: what was lost is given up before anything more of it may leave.
    def _note_lease(self, lease: Lease) -> None:
        if self.id and self._deadline and not self.holds():
            self._note_lapse()
        rooms = lease.rooms
        if rooms is not None:
            self._losses += 1
            if not self._is_lapsed:
                rooms = {**rooms, **self._just_come}
        was_lapsed, self._is_lapsed = self._is_lapsed, False
        if was_lapsed or rooms is not None:
            self._owner.go_on(rooms)
        self._deadline = lease.deadline
        renewed, self._renewed = self._renewed, trio.Event()
        renewed.set()
        if lease.draining and not self.draining:
            self.draining = True
            self._owner.drain()

    def _note_lapse(self) -> None:
        if not self._is_lapsed:
            self._is_lapsed = True
            self._losses += 1
            # Also where the machine's clock would say otherwise for a moment.
            self._deadline = 0.0
            logger.warning("The lease of this node is over; its persistent rooms wait")
            self._owner.hold()

    async def _watch_deadline(self) -> None:
        while True:
            left = self._deadline - self._engine.now()
            if left > 0:
                await trio.sleep(left)
                continue
            self._note_lapse()
            await self._renewed.wait()

    async def _resign(self) -> None:
        self._deadline = 0.0
        with trio.CancelScope(shield=True, deadline=trio.current_time() + RESIGN_DEADLINE) as scope:
            operation = new_operation()
            while True:
                try:
                    self._take(await self._engine.resign(self.id, operation=operation))
                    return
                except EngineError as error:
                    logger.debug("This node could not resign: %s", one_line(error))
                await trio.sleep(RETRY)
        if scope.cancelled_caught:
            logger.warning("This node could not resign in time; its lease ends by itself")

    # News

    async def _look_for_news(self) -> None:
        while True:
            try:
                await self._read_mail()
                await self.look()
            except (EngineUnavailable, OutcomeUnknown) as error:
                logger.debug("No news now: %s", one_line(error))
                await trio.sleep(RETRY)
                continue
            await self._engine.wait_for_news(self.id)

    async def _read_mail(self) -> None:
        while True:
            done = frozenset(self._taken)
            mail = await self._engine.read_mail(self.id, done=done)
            # The engine has said so: it does not come again.
            self._taken -= done
            if not self._take(mail):
                return

    def _take(self, mail: Iterable[Mail]) -> bool:
        """Give mail to the owner that it does not have; return whether there was any."""
        new = [each for each in mail if each.id not in self._taken]
        for each in new:
            self._taken.add(each.id)
            self._owner.take_mail(each.body)
        return bool(new)

    async def look(self) -> None:
        """Take the rooms and sessions that other nodes have handed over, one after the other.

        A node does so whenever it is woken; whoever looks for a session that has to be here does
        so too.

        Raises:
            EngineUnavailable: The engine does not answer; some may have been taken.
        """
        async with self._arriving:
            after = 0
            while True:
                arrival = await self._engine.next_arrival(self.id, after=after)
                if arrival is None:
                    break
                await self._take_room(arrival)
                after = arrival.room.epoch
            after = 0
            while rows := await self._engine.passed_sessions(self.id, after=after):
                for row in rows:
                    await self._take_session(row)
                after = rows[-1].epoch

    async def _take_room(self, arrival: Arrival) -> None:
        name, epoch = arrival.name, arrival.room.epoch
        told = Arrived(name, epoch).packed()
        losses = None
        # An answer that is older than a loss says nothing, so it is asked for again.
        while losses != self._losses:
            losses = self._losses
            try:
                await self.settled(
                    lambda operation: self._engine.accept(
                        name, epoch, told=told, operation=operation
                    )
                )
            except Fenced:
                # The other node has taken it back, or a third one has it.
                return
        self._just_come[name] = epoch
        await self._owner.take_room(arrival)

    async def _take_session(self, row: SessionRow) -> None:
        try:
            await self.settled(
                lambda operation: self._engine.accept_session(
                    row.username, row.epoch, operation=operation
                )
            )
        except Fenced:
            return
        await self._owner.take_session(row)

    async def _tidy(self) -> None:
        while True:
            await trio.sleep(TIDY_INTERVAL)
            try:
                await self._engine.tidy()
            except EngineError as error:
                logger.debug("The engine was not tidied: %s", one_line(error))

    # What the owner asks for

    async def settled(self, call: Callable[[bytes], Awaitable[T]]) -> T:
        """Make a change, and repeat it until it is known what became of it.

        Args:
            call: Makes the change; it is given the id of the operation.

        Raises:
            EngineError: What the change raises. `EngineUnavailable` says that nothing was changed,
                and `OutcomeUnknown` that the engine was away for longer than it remembers changes.
        """
        operation = new_operation()
        patience = self._engine.now() + KEEP_OPERATIONS / 2
        unknown: OutcomeUnknown | None = None
        while True:
            try:
                return await call(operation)
            except OutcomeUnknown as error:
                unknown = error
            except EngineUnavailable:
                if unknown is None:
                    raise
            if self._engine.now() > patience:
                raise unknown
            await trio.sleep(RETRY)

    async def begin_drain(self) -> None:
        """Have the others give this node nothing any more, from now on; it takes no new rooms.

        Raises:
            EngineError: They may not know of it; it takes none all the same.
        """
        self.draining = True
        await self._engine.ask_to_drain(self.id)

    async def claim(
        self, name: str, *, password: str | None = None, new: NewRoom | None = None
    ) -> Claim:
        """Find a room, or take it and restore it, or make it; see `Engine.claim`.

        Not twice at once for one name. Where a room's node is silent, this waits until it may be
        taken, or the node is back; where the node is being drained, until the room has left it, but
        not for long.

        Args:
            name: The room's name.
            password: What the joiner gives for one; None to ask for none.
            new: What to make where there is none; None to make none.

        Returns:
            What became of it, but `Unsettled`. What is found at this node is here.

        Raises:
            LeaseLapsed: This node has no lease now.
            EngineUnavailable: The engine does not answer; nothing was changed.
            SaveDamaged: The room would have to be restored, and cannot be.
        """
        engine = self._engine

        async def ask(node: int, operation: bytes) -> Claim:
            return await engine.claim(node, name, password=password, new=new, operation=operation)

        drain_patience = engine.now() + DRAIN_PATIENCE
        while True:
            if not self.holds():
                raise LeaseLapsed("The lease of this node is over; it takes no rooms now.")
            node, losses = self.id, self._losses
            try:
                found = await self.settled(functools.partial(ask, node))
            except Fenced:
                continue
            if losses != self._losses or not self.holds():
                # It may be another node's by now. If it is still here, it is found as one that
                # nobody here knows.
                continue
            if isinstance(found, Unsettled):
                await trio.sleep(min(found.wait, engine.lease / RENEWALS))
            elif isinstance(found, Restored) and found.packed is not None:
                await self.look()
            elif isinstance(found, Found) and found.node.id == node:
                if await self._is_here(name, found.epoch):
                    return found
            elif isinstance(found, Found) and found.node.draining and engine.now() < drain_patience:
                # It takes nobody any more, and gives the room to one that does.
                await trio.sleep(RETRY)
            elif isinstance(found, Found) and is_silent(found.node.lease_left, engine.lease):
                # Whoever is sent there would most likely find nobody.
                await trio.sleep(until_next_look(found.node.lease_left, engine.lease))
            else:
                if isinstance(found, Created | Restored):
                    self._just_come[name] = found.epoch
                return found

    async def _is_here(self, name: str, epoch: int) -> bool:
        """Return whether the owner has a room that the engine knows here; else give it back."""
        if not self._owner.has_room(name, epoch):
            # It may have been handed over just now.
            await self.look()
        if self._owner.has_room(name, epoch):
            return True
        try:
            await self.settled(
                lambda operation: self._engine.give_back(RoomSave(name, epoch), operation=operation)
            )
        except Fenced:
            logger.debug("The room %r is not here any more", name)
        return False

"""The engine's face but for accounts: nodes, rooms, sessions and mail.

It is a little long: all that a node may ask about rooms stands in one place, with what is promised.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, TypeVar

import trio

from pgnet_trio.environment import Environment
from pgnet_trio.server.cluster.calls import EngineCalls, new_operation
from pgnet_trio.server.cluster.records import (
    Arrival,
    Claim,
    Entered,
    HandedOver,
    Lease,
    Listing,
    Mail,
    Moment,
    MovingSession,
    NewRoom,
    Node,
    RoomSave,
    SessionRow,
    Survey,
)
from pgnet_trio.server.cluster.rules import MAX_BODY, OWN_SHARE
from pgnet_trio.server.cluster.tables import Tables
from pgnet_trio.server.cluster.wakeups import Wakeups

if TYPE_CHECKING:
    from pgnet_trio.server.cluster.tables import Renewal

__all__ = ["LEASE", "PATIENCE", "BaseEngine"]

LEASE = 10.0
"""Seconds for which a node has its rooms without asking; much shorter ones lapse on a busy
machine."""

PATIENCE = 5.0
"""Seconds until a call that the engine does not answer fails."""

T = TypeVar("T")


class BaseEngine(EngineCalls[Tables]):
    """What the nodes of a cluster share, all of it in one place that they can all reach.

    See `EngineCalls` for what holds of each method.

    Args:
        lease: Seconds of a lease, the same for all nodes.
        patience: Seconds until a call fails.
        environment: Says for how long the machine has slept.

    Attributes:
        lease: The same.
        ended: Nodes whose processes had ended for certain when this one connected.
    """

    ended: frozenset[int] = frozenset()

    def __init__(
        self,
        *,
        lease: float = LEASE,
        patience: float = PATIENCE,
        environment: Environment | None = None,
    ) -> None:
        self.lease = lease
        self._patience = patience
        self._environment = environment or Environment()
        self._wakeups = Wakeups()
        # Nodes whose last renewal got no answer that was heard.
        self._unheard: set[int] = set()
        # By how many seconds the engine's clock is ahead of the node's: at least, and at most.
        self._ahead: tuple[float, float] | None = None

    def now(self) -> float:
        """Return the time by the node's own clock, which goes on while the machine sleeps."""
        return trio.current_time() + self._environment.slept()

    def when(self, time: float) -> Moment | None:
        """Return when it was by the engine's clock, as known from the last renewal of a lease.

        Args:
            time: The time by Trio's clock.

        Returns:
            The same time; None before there was a lease.
        """
        if self._ahead is None:
            return None
        least, most = self._ahead
        own = time + self._environment.slept()
        return Moment(own + least, own + most)

    @abstractmethod
    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Connect, and stay so until cancelled; start this with ``await nursery.start``.

        Raises:
            EngineError: The engine cannot be used at all; the message says what to change.
        """

    @abstractmethod
    def _transact_here(self, work: Callable[[Tables], T]) -> T:
        """Change something in one transaction, in this thread, which is not Trio's.

        It gives up by itself where the engine does not answer.
        """

    # Nodes

    async def register(
        self,
        name: str,
        address: str,
        *,
        version: str = "",
        identity: bytes = b"",
        load: float = 0.0,
        operation: bytes = b"",
    ) -> Lease:
        """Become a node of the cluster.

        Args:
            name: What its host calls it; free, or that of a node whose lease is over.
            address: Where clients find it; empty for nowhere.
            version: Of which version it is.
            identity: The public key by which clients know it; all nodes have the same.
            load: How much it has to do.
            operation: The call's id; see the class.

        Returns:
            Its first lease. Its id is new, so it has no rooms: those of an earlier run of the same
            server are there to be claimed.

        Raises:
            NameInUse: Another node has the name or the address.
            OtherIdentity: A node whose lease holds has another key.
        """
        operation = operation or new_operation()
        asked = self.now()
        renewal = await self._change(
            lambda tables: tables.register(name, address, version, identity, load, operation),
            operation,
        )
        self._wakeups.watch(renewal[0])
        return self._lease(asked, renewal)

    async def renew(self, node: int, *, load: float = 0.0, lag: float = 0.0) -> Lease:
        """Renew a node's lease, also one that has lapsed; not while another call does so.

        Args:
            node: The node's id.
            load: How much it has to do now.
            lag: By how many seconds its event loop is late.

        Returns:
            The lease. Where it had lapsed, it says which rooms the node still has. So it does
            after a renewal whose answer was not heard, since that one may have said so.

        Raises:
            NodeGone: The lease was over for too long, and the node has nothing any more.
        """
        asked, list_rooms = self.now(), node in self._unheard
        self._unheard.add(node)
        renewal = await self._renew(
            lambda tables: tables.renew(node, load, lag, list_rooms=list_rooms)
        )
        self._unheard.discard(node)
        return self._lease(asked, renewal)

    async def _renew(self, work: Callable[[Tables], Renewal]) -> Renewal:
        return await self._transact(work, writes=True)

    def _lease(self, asked: float, renewal: Renewal) -> Lease:
        node, draining, rooms, time = renewal
        # It was read between the question and the answer.
        self._ahead = time - self.now(), time - asked
        return Lease(node, asked + self.lease * OWN_SHARE, draining, rooms)

    async def resign(self, node: int, *, operation: bytes = b"") -> list[Mail]:
        """Take a node out of the cluster; its rooms may be claimed at once, from their saves.

        Args:
            node: The node's id.
            operation: The call's id; see the class.

        Returns:
            The mail that was left for it and not said to be done, the oldest first. All of it: who
            leaves it more is told that it gets none.
        """
        operation = operation or new_operation()
        mail = await self._change(lambda tables: tables.resign(node, operation), operation)
        self._unheard.discard(node)
        self._wakeups.forget(node)
        return mail

    async def nodes(self) -> list[Node]:
        """Return all nodes in the order of their ids, those that are silent too."""
        return await self._read(lambda tables: tables.nodes())

    async def survey(self) -> Survey:
        """Return all nodes, and count what they have.

        It takes the longer the more there is; do not ask for it at each log-in.
        """
        return await self._read(lambda tables: tables.survey())

    async def ask_to_drain(self, node: int) -> None:
        """Have a node give its rooms away; it is told when it renews its lease.

        Raises:
            NodeGone: There is no such node.
        """
        await self._change(lambda tables: tables.ask_to_drain(node))

    async def tidy(self) -> None:
        """Forget what nobody needs any more; some node has to do this every minute or so."""
        await self._change(lambda tables: tables.tidy())

    # Queues

    async def queue_home(self, queue: str) -> Node | None:
        """Return the node at which those meet who look for a game in a queue.

        Args:
            queue: The queue's name.

        Returns:
            The node; None where there is none, or where it is silent or being drained, so that
            another one is to be claimed.
        """
        return await self._read(lambda tables: tables.queue_home(queue))

    async def claim_queue(self, queue: str, to: int) -> Node:
        """Make a node the home of a queue, if it has none: see `queue_home`.

        However many nodes ask at once, all of them get the same answer. Nothing is fenced by it:
        each user has one session, so whoever waits at another node is in no second match.

        Args:
            queue: The queue's name.
            to: The id of the node; it may be one that is being drained, where there is no other.

        Returns:
            The queue's home, that node or another one.

        Raises:
            NodeUnavailable: That node has gone, or is silent.
        """
        return await self._change(lambda tables: tables.claim_queue(queue, to))

    # Rooms

    async def claim(
        self,
        node: int,
        name: str,
        *,
        password: str | None = None,
        new: NewRoom | None = None,
        operation: bytes = b"",
    ) -> Claim:
        """Find a room, or take it and restore it from its save, or make it, whichever it takes.

        However many nodes ask at once, one of them gets the room, and the others find it there. An
        answer that comes after the node's lease has lapsed meanwhile does not count: the lease says
        which rooms are left.

        Args:
            node: Who asks, with a lease that holds.
            name: The room's name.
            password: What the joiner gives for one; None to ask for none.
            new: What to make where there is no such room; None to make none.
            operation: The call's id; see the class.

        Returns:
            What became of it.

        Raises:
            LeaseLapsed: The lease does not hold.
            SaveDamaged: The room would have to be restored, and cannot be.
            Fenced: The call was repeated, and the room it had claimed has gone to another node.
        """
        operation = operation or new_operation()
        return await self._change(
            lambda tables: tables.claim(node, name, password, new, operation), operation
        )

    async def save(self, saves: Sequence[RoomSave]) -> frozenset[str]:
        """Write what has changed of rooms; durable when this returns.

        Args:
            saves: The rooms, each once.

        Returns:
            The names of those that are not the writer's any more. Nothing was written of these,
            and everything of the others.
        """
        return await self._change(lambda tables: tables.save(saves))

    def save_from_thread(self, saves: Sequence[RoomSave]) -> frozenset[str]:
        """Do as `save`, in a thread of its own while Trio's is blocked, in some seconds at most.

        Raises:
            EngineUnavailable: Nothing was written.
            OutcomeUnknown: Nobody knows.
        """
        return self._transact_here(lambda tables: tables.save(saves))

    async def give_back(self, save: RoomSave, *, operation: bytes = b"") -> None:
        """Save a room, and own it no more: the next claim restores it from there.

        Raises:
            Fenced: It was not the writer's any more.
        """
        operation = operation or new_operation()
        await self._change(lambda tables: tables.give_back(save, operation), operation)

    async def end(self, name: str, epoch: int, *, operation: bytes = b"") -> None:
        """Take out a room whose game is over, and its save.

        Raises:
            Fenced: It was not the caller's any more.
        """
        operation = operation or new_operation()
        await self._change(lambda tables: tables.end(name, epoch, operation), operation)

    async def hand_over(
        self,
        save: RoomSave,
        to: int,
        packed: bytes,
        sessions: Sequence[MovingSession] = (),
        *,
        operation: bytes = b"",
    ) -> HandedOver:
        """Save a room, and give it to another node, with the sessions of its players.

        From here on the room is the other node's, whether or not it knows; it is woken. Until it
        accepts, `take_back` undoes this.

        Args:
            save: The room as it is left.
            to: The id of the node that gets it.
            packed: What that node needs beside the save.
            sessions: The sessions that go along.
            operation: The call's id; see the class.

        Raises:
            Fenced: The room was not the caller's any more.
            NodeUnavailable: The other node has gone, is silent, or is being drained.
        """
        operation = operation or new_operation()
        return await self._change(
            lambda tables: tables.hand_over(save, to, packed, sessions, operation), operation
        )

    async def next_arrival(self, node: int, *, after: int = 0) -> Arrival | None:
        """Return a room that was handed over to a node and that it has not accepted.

        Args:
            node: The node's id.
            after: The epoch of the arrival before; 0 for the first.
        """
        return await self._read(lambda tables: tables.next_arrival(node, after))

    async def accept(
        self, name: str, epoch: int, *, told: bytes = b"", operation: bytes = b""
    ) -> None:
        """Note that a room that was handed over is there, and that its players may come.

        Args:
            name: The room's name.
            epoch: The epoch in which it was handed over.
            told: Mail for the node that has handed it over, at most `MAX_BODY` bytes; empty for
                none. That node gets it under the conditions of `send_mail`.
            operation: The call's id; see the class.

        Raises:
            Fenced: It was taken back.
        """
        operation = operation or new_operation()
        await self._change(lambda tables: tables.accept(name, epoch, told, operation), operation)

    async def take_back(self, node: int, name: str, *, operation: bytes = b"") -> int:
        """Own a room again that was handed over and was not accepted, and its sessions.

        Args:
            node: Who handed it over, with a lease that holds.
            name: The room's name.
            operation: The call's id; see the class.

        Returns:
            The new epoch of the room. What was packed up is out of the engine.

        Raises:
            Fenced: It was accepted, or has gone to a third node.
            LeaseLapsed: The lease does not hold.
        """
        operation = operation or new_operation()
        return await self._change(lambda tables: tables.take_back(node, name, operation), operation)

    async def directory(self, *, after: str = "", limit: int = 1000) -> list[Listing]:
        """Return a part of the list of rooms, in the order of their names.

        Those of silent nodes are in it only where they are saved, as rooms that nobody has.

        Args:
            after: The last name of the part before; empty for the first part.
            limit: How many lines at most.
        """
        return await self._read(lambda tables: tables.directory(after, limit))

    async def is_played(self, name: str) -> bool:
        """Return whether a room is at a node that is not silent."""
        return await self._read(lambda tables: tables.is_played(name))

    # Users who are there, and mail

    async def enter(
        self,
        node: int,
        username: str,
        token: bytes,
        *,
        asked: Moment | None = None,
        operation: bytes = b"",
    ) -> Entered:
        """Register a user's session, in place of any other that they have.

        Do this before the first request of the session: a late row would undo a hand-over.

        Args:
            node: The id of the node that has the session, with a lease that holds.
            username: Whose it is.
            token: What it is known by.
            asked: When the user asked to be let in, from `when`; None to let them in whatever
                others have asked.
            operation: The call's id; see the class.

        Raises:
            LeaseLapsed: The node's lease does not hold.
            LoggedInLater: The user has a session, by a log-in that was certainly asked for later.
        """
        operation = operation or new_operation()
        return await self._change(
            lambda tables: tables.enter(node, username, token, operation, asked), operation
        )

    async def leave(self, username: str, epoch: int) -> None:
        """Take a session out, unless the user has another one by now."""
        await self._change(lambda tables: tables.leave(username, epoch))

    async def pass_session(self, session: MovingSession, to: int, *, operation: bytes = b"") -> int:
        """Give one session to another node, without a room; that node is woken.

        From here on it is the other node's, whether or not that one knows.

        Args:
            session: The session.
            to: The id of the node that gets it.
            operation: The call's id; see the class.

        Returns:
            The new epoch of the session.

        Raises:
            Fenced: The user has logged in elsewhere since.
            NodeUnavailable: The other node has gone, is silent, or is being drained.
        """
        operation = operation or new_operation()
        return await self._change(
            lambda tables: tables.pass_session(session, to, operation), operation
        )

    async def passed_sessions(
        self, node: int, *, after: int = 0, limit: int = 100
    ) -> list[SessionRow]:
        """Return sessions that were given to a node alone, and that it has not accepted.

        Args:
            node: The node's id.
            after: The epoch of the last one before; 0 to begin.
            limit: How many at most.

        Returns:
            The sessions, in the order of their epochs.
        """
        return await self._read(lambda tables: tables.passed_sessions(node, after, limit))

    async def accept_session(self, username: str, epoch: int, *, operation: bytes = b"") -> None:
        """Note that a session that was given to a node alone goes on there.

        Raises:
            Fenced: The user has logged in elsewhere since, or has left.
        """
        operation = operation or new_operation()
        await self._change(
            lambda tables: tables.accept_session(username, epoch, operation), operation
        )

    async def find_session(self, username: str) -> SessionRow | None:
        """Return where a user is; None for nowhere, or at a node that is silent."""
        return await self._read(lambda tables: tables.find_session(username))

    async def online(self, *, after: str = "", limit: int = 1000) -> list[SessionRow]:
        """Return a part of the list of the users who are there, in the order of their names."""
        return await self._read(lambda tables: tables.online(after, limit))

    async def send_mail(
        self, to: Collection[int], body: bytes, *, operation: bytes = b""
    ) -> frozenset[int]:
        """Leave mail for nodes, and wake them.

        Args:
            to: Their ids.
            body: At most `MAX_BODY` bytes.
            operation: The call's id; see the class.

        Returns:
            The ids of those who will get it: who is silent, or has too much mail, gets none. That
            is `MAX_MAIL`, or `MAX_MAIL_SIZE` bytes.
        """
        if len(body) > MAX_BODY:
            raise ValueError(f"expected mail of at most {MAX_BODY:,} bytes, got {len(body):,}")
        operation = operation or new_operation()
        return await self._change(lambda tables: tables.send_mail(to, body, operation), operation)

    async def read_mail(
        self, node: int, *, done: Collection[int] = (), limit: int = 100
    ) -> list[Mail]:
        """Return the oldest mail for a node.

        Mail stays until it is said to be done. Where the answer to that is lost, it comes again,
        so keep in mind which was done. It need not come in the order of its ids.

        Args:
            node: The node's id.
            done: The ids of mail to take out.
            limit: How many mails at most.
        """
        run = self._change if done else self._read
        return await run(lambda tables: tables.read_mail(node, done, limit))

    async def wait_for_news(self, node: int) -> None:
        """Wait until a node is woken, or until it should look by itself, after `LOOK_INTERVAL`.

        To be woken says nothing: look for mail and arrivals, and wait again.
        """
        await self._wakeups.wait(node)

"""The nodes of an engine in memory, and what they have; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from pgnet_trio.server.cluster.errors import (
    LeaseLapsed,
    NameInUse,
    NodeGone,
    NodeUnavailable,
    OtherIdentity,
)
from pgnet_trio.server.cluster.memory_accounts import MemoryAccounts
from pgnet_trio.server.cluster.records import Mail, Node, Survey
from pgnet_trio.server.cluster.rules import (
    FAILURES_KEPT,
    FORGET_NODES_AFTER,
    KEEP_OPERATIONS,
    address_in_use,
    is_alive,
    is_home,
    name_in_use,
    other_identity,
    taken_meanwhile,
    time_until_settled,
    unavailable,
    was_away,
)

if TYPE_CHECKING:
    from pgnet_trio.server.cluster.tables import Renewal
    from pgnet_trio.storage.interface import SavedGame

__all__ = ["MemoryNodes", "NodeRow", "RoomRow", "StoredSession", "holds"]


@attrs.define
class NodeRow:
    """A node, as it is stored."""

    id: int
    name: str
    address: str
    version: str
    identity: bytes
    load: float
    renewed: float
    expires: float
    draining: bool = False
    lag: float | None = None


@attrs.define
class RoomRow:
    """A room that somebody has."""

    node: int
    epoch: int
    password: str
    info: str
    players: int = 0
    came_from: int | None = None
    packed: bytes | None = None


@attrs.define
class StoredSession:
    """A session, as it is stored."""

    node: int
    epoch: int
    token: bytes
    room: str | None = None
    packed: bytes | None = None


class MemoryNodes(MemoryAccounts):
    """The nodes, and the dictionaries of all that they have.

    Args:
        clock: The engine's clock.
        lease: Seconds of a lease.

    Attributes:
        woken: The ids of the nodes that were to be woken; whoever owns the tables empties it.
    """

    def __init__(self, clock: Callable[[], float], lease: float) -> None:
        super().__init__(clock)
        self.woken: set[int] = set()
        self._lease = lease
        self._up_since = clock()
        self._last_number = 0
        self._nodes: dict[int, NodeRow] = {}
        self._rooms: dict[str, RoomRow] = {}
        self._games: dict[str, SavedGame] = {}
        self._sessions: dict[str, StoredSession] = {}
        self._mail: dict[int, tuple[int, bytes]] = {}
        self._queues: dict[str, int] = {}

    def _next(self) -> int:
        self._last_number += 1
        return self._last_number

    # Queues

    def queue_home(self, queue: str) -> Node | None:
        """See `Engine.queue_home`."""
        row = self._nodes.get(self._queues.get(queue, 0))
        if row is None:
            return None
        node = self._shown(row, self._clock())
        return node if is_home(node, self._lease) else None

    def claim_queue(self, queue: str, to: int) -> Node:
        """See `Engine.claim_queue`."""
        home = self.queue_home(queue)
        if home is not None:
            return home
        row, now = self._nodes.get(to), self._clock()
        if row is None or not holds(row, now):
            raise NodeUnavailable(unavailable(to))
        self._queues[queue] = to
        return self._shown(row, now)

    # Nodes

    def register(
        self,
        name: str,
        address: str,
        version: str,
        identity: bytes,
        load: float,
        operation: bytes,
    ) -> Renewal:
        """See `Engine.register`."""
        done = self._done(operation)
        if done is not None:
            (node,) = done
            return self.renew(node, load, 0.0, list_rooms=False)
        now = self._clock()
        rival = self._rival(name, address, now)
        if rival is not None:
            raise rival
        for row in self._nodes.values():
            if row.identity != identity and holds(row, now):
                raise OtherIdentity(other_identity(row.name))
        self._note_renewal(now)
        node = self._next()
        self._nodes[node] = NodeRow(
            node, name, address, version, identity, load, now, now + self._lease
        )
        self._note(operation, node)
        return node, False, None, now

    def renew(self, node: int, load: float, lag: float, *, list_rooms: bool) -> Renewal:
        """See `Engine.renew`."""
        row = self._node(node)
        now = self._clock()
        lapsed = not holds(row, now)
        if lapsed and self._rival(row.name, row.address, now):
            raise NodeGone(taken_meanwhile(row.name))
        self._note_renewal(now)
        row.renewed, row.expires, row.load, row.lag = now, now + self._lease, load, lag
        rooms = {name: room.epoch for name, room in self._rooms.items() if room.node == node}
        return node, row.draining, rooms if lapsed or list_rooms else None, now

    def resign(self, node: int, operation: bytes) -> list[Mail]:
        """See `Engine.resign`."""
        done = self._done(operation)
        if done is not None:
            return list(done)
        mail = self._take_out(node)
        self._note(operation, *mail)
        return mail

    def _take_out(self, node: int) -> list[Mail]:
        """Take out a node with all that it has; return the mail for it."""
        self._nodes.pop(node, None)
        # What was on its way to this node goes with the next claim to whoever claims.
        self._rooms = {
            name: room
            for name, room in self._rooms.items()
            if room.node != node or room.packed is not None
        }
        self._sessions = {
            username: session
            for username, session in self._sessions.items()
            if session.node != node or session.room is not None
        }
        self._queues = {queue: home for queue, home in self._queues.items() if home != node}
        mail = [Mail(number, body) for number, (to, body) in self._mail.items() if to == node]
        self._mail = {number: each for number, each in self._mail.items() if each[0] != node}
        return mail

    def nodes(self) -> list[Node]:
        """See `Engine.nodes`."""
        now = self._clock()
        return [self._shown(row, now) for row in self._nodes.values()]

    def survey(self) -> Survey:
        """See `Engine.survey`."""
        now = self._clock()
        alive = {row.id for row in self._nodes.values() if holds(row, now)}
        had = {name for name, room in self._rooms.items() if room.node in alive}
        return Survey(
            tuple(self.nodes()),
            dict(Counter(room.node for room in self._rooms.values())),
            dict(Counter(session.node for session in self._sessions.values())),
            {row.id: row.lag for row in self._nodes.values() if row.lag is not None},
            sum(name not in had for name in self._games),
        )

    def ask_to_drain(self, node: int) -> None:
        """See `Engine.ask_to_drain`."""
        self._node(node).draining = True
        self.woken.add(node)

    def tidy(self) -> None:
        """See `Engine.tidy`."""
        now = self._clock()
        if self._until_settled(now) == 0:
            for row in list(self._nodes.values()):
                if row.expires + FORGET_NODES_AFTER * self._lease < now:
                    self._rooms = {n: r for n, r in self._rooms.items() if r.node != row.id}
                    self._sessions = {n: s for n, s in self._sessions.items() if s.node != row.id}
                    self._take_out(row.id)
        self._forget_before(now - KEEP_OPERATIONS, now - FAILURES_KEPT)
        self._asked = {
            username: asked
            for username, asked in self._asked.items()
            if asked > now - FAILURES_KEPT
        }

    def _rival(self, name: str, address: str, now: float) -> NameInUse | None:
        """Return what is wrong with a name and an address that another node has; None for nothing.

        A node that has none is found by nobody, so it is in nobody's way.
        """
        for row in self._nodes.values():
            if not holds(row, now):
                continue
            if row.name == name:
                return NameInUse(name_in_use(name), row.renewed)
            if row.address == address != "":
                return NameInUse(address_in_use(row.name, address), row.renewed)
        return None

    def _note_renewal(self, now: float) -> None:
        if was_away(self._last_renewal(now), self._up_since, now, self._lease):
            # As it is stored in SQL, in whole microseconds.
            self._up_since = int(now * 1_000_000) / 1_000_000

    def _last_renewal(self, now: float) -> float | None:
        times = (row.renewed for row in self._nodes.values() if row.renewed <= now)
        return max(times, default=None)

    def _until_settled(self, now: float) -> float:
        return time_until_settled(self._last_renewal(now), self._up_since, now, self._lease)

    def _node(self, node: int) -> NodeRow:
        try:
            return self._nodes[node]
        except KeyError:
            raise NodeGone(
                f"There is no node {node} any more; whoever it was has to register anew."
            ) from None

    def _require_lease(self, node: int, now: float) -> NodeRow:
        row = self._node(node)
        if not holds(row, now):
            raise LeaseLapsed(f"The lease of the node {node} is over; renew it.")
        return row

    def _shown(self, row: NodeRow, now: float) -> Node:
        return Node(
            row.id,
            row.name,
            row.address,
            row.version,
            row.load,
            row.draining,
            holds(row, now),
            row.expires - now,
        )


def holds(row: NodeRow, now: float) -> bool:
    """Whether the lease of a node holds."""
    return is_alive(row.renewed, row.expires, now)

"""Nodes, their leases, and mail for them in SQL."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pgnet_trio.server.cluster.errors import (
    LeaseLapsed,
    NameInUse,
    NodeGone,
    NodeUnavailable,
    OtherIdentity,
)
from pgnet_trio.server.cluster.records import Mail, Node, Survey
from pgnet_trio.server.cluster.rules import (
    FAILURES_KEPT,
    FORGET_NODES_AFTER,
    KEEP_OPERATIONS,
    MAX_FAILURES_KEPT,
    MAX_MAIL,
    MAX_MAIL_SIZE,
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
from pgnet_trio.server.cluster.sql import Row, Transaction, as_bytes, as_text
from pgnet_trio.server.cluster.sql_community import SQLCommunity

if TYPE_CHECKING:
    from pgnet_trio.server.cluster.tables import Renewal

__all__ = ["SQLNodes", "holds", "shown"]

_COLUMNS = "id, name, address, version, load, draining, renewed, expires"
_NODE = f"SELECT {_COLUMNS} FROM nodes"  # noqa: S608 - a constant
_HOME_OF = f"{_NODE} WHERE id = (SELECT node FROM queues WHERE name = %t)"  # noqa: S608 - constants
_MICROSECONDS = 1_000_000
_MAIL_OF = "SELECT COUNT(*), COALESCE(SUM(LENGTH(body)), 0) FROM mail WHERE node = %s"
_LEASE_OF = "SELECT renewed, expires FROM nodes WHERE id = %s"
_COUNT = "SELECT node, COUNT(*) FROM {} GROUP BY node"
_SAVED = """
    SELECT COUNT(*) FROM games WHERE NOT EXISTS (
        SELECT 1 FROM rooms JOIN nodes ON nodes.id = rooms.node
        WHERE rooms.name = games.name AND expires > %s
        AND renewed - (expires - renewed) / 4 <= %s
    )
"""


class SQLNodes(SQLCommunity):
    """The nodes.

    Args:
        transaction: The transaction.
        lease: Seconds of a lease.
    """

    def __init__(self, transaction: Transaction, lease: float) -> None:
        super().__init__(transaction)
        self._lease = lease

    # Queues

    def queue_home(self, queue: str) -> Node | None:
        """See `Engine.queue_home`."""
        rows = self._tx.execute(_HOME_OF, as_bytes(queue))
        if not rows:
            return None
        node = shown(rows[0], self._tx.now())
        return node if is_home(node, self._lease) else None

    def claim_queue(self, queue: str, to: int) -> Node:
        """See `Engine.claim_queue`."""
        # The node before the names, as `renew` does: two would wait for each other otherwise.
        nodes, _ = self._locked_nodes([to])
        # One claim at a time: where there is no row of the queue yet, there is none to lock.
        self._tx.lock_names()
        home = self.queue_home(queue)
        if home is not None:
            return home
        now = self._tx.now()
        if to not in nodes or not holds(nodes[to], now):
            raise NodeUnavailable(unavailable(to))
        self._tx.execute(
            "INSERT INTO queues (name, node) VALUES (%t, %s)"
            " ON CONFLICT (name) DO UPDATE SET node = excluded.node",
            as_bytes(queue),
            to,
        )
        return shown(nodes[to], now)

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
            return self.renew(done[0], load, 0.0, list_rooms=False)
        self._tx.lock_names()
        now = self._tx.now()
        rival = self._rival(name, address, now)
        if rival is not None:
            raise rival
        for row in self._tx.execute(f"{_NODE} WHERE identity <> %s ORDER BY id", identity):
            if holds(row, now):
                raise OtherIdentity(other_identity(as_text(row[1])))
        self._note_renewal(now)
        node = self._tx.next_number()
        self._tx.execute(
            "INSERT INTO nodes"
            " (id, name, address, version, identity, load, renewed, expires, draining, wake)"
            " VALUES (%s, %t, %t, %t, %s, %s, %s, %s, 0, %t)",
            node,
            *map(as_bytes, (name, address, version)),
            identity,
            load,
            now,
            now + self._lease,
            as_bytes(self._tx.wake_address),
        )
        self._note(operation, node)
        return node, False, None, now

    def renew(self, node: int, load: float, lag: float, *, list_rooms: bool) -> Renewal:
        """See `Engine.renew`."""
        if not self._tx.execute("SELECT id FROM nodes WHERE id = %s FOR UPDATE", node):
            raise _gone(node)
        now = self._tx.now()
        (row,) = self._tx.execute(f"{_NODE} WHERE id = %s", node)
        lapsed = not holds(row, now)
        if lapsed:
            self._tx.lock_names()
            now = self._tx.now()
            if self._rival(as_text(row[1]), as_text(row[2]), now):
                raise NodeGone(taken_meanwhile(as_text(row[1])))
        self._note_renewal(now)
        self._tx.execute(
            "UPDATE nodes SET renewed = %s, expires = %s, load = %s WHERE id = %s",
            now,
            now + self._lease,
            load,
            node,
        )
        self._tx.execute(
            "INSERT INTO lags (node, seconds) VALUES (%s, %s)"
            " ON CONFLICT (node) DO UPDATE SET seconds = excluded.seconds",
            node,
            lag,
        )
        if not (lapsed or list_rooms):
            return node, bool(row[5]), None, now
        rooms = self._tx.execute("SELECT name, epoch FROM rooms WHERE node = %s", node)
        return node, bool(row[5]), {as_text(name): epoch for name, epoch in rooms}, now

    def resign(self, node: int, operation: bytes) -> list[Mail]:
        """See `Engine.resign`."""
        done = self._done(operation)
        if done is None:
            self._close_mailbox(node)
            mail = self._take_out(node)
            # Also where there is none: the same call, under way since an answer was lost, had some.
            self._note(operation, *([each.id, each.body.hex()] for each in mail))
            return mail
        return [Mail(number, bytes.fromhex(body)) for number, body in done]

    def _close_mailbox(self, node: int) -> None:
        """Have whoever leaves mail at the same time have done so, or find no such node."""
        # Before the node's row: two that have one of these each would wait for each other.
        self._tx.lock_mailbox(node, closing=True)

    def _take_out(self, node: int) -> list[Mail]:
        """Take out a node whose mailbox is closed, with all that it has; return the mail for it."""
        self._tx.execute("DELETE FROM nodes WHERE id = %s", node)
        # What was on its way to this node goes with the next claim to whoever claims.
        self._tx.execute("DELETE FROM rooms WHERE node = %s AND packed IS NULL", node)
        self._tx.execute("DELETE FROM sessions WHERE node = %s AND room IS NULL", node)
        for table in ("lags", "queues"):
            self._tx.execute(f"DELETE FROM {table} WHERE node = %s", node)  # noqa: S608 - a constant
        mail = self._tx.execute("DELETE FROM mail WHERE node = %s RETURNING id, body", node)
        return [Mail(number, body) for number, body in sorted(mail)]

    def nodes(self) -> list[Node]:
        """See `Engine.nodes`."""
        now = self._tx.now()
        return [shown(row, now) for row in self._tx.execute(f"{_NODE} ORDER BY id")]

    def survey(self) -> Survey:
        """See `Engine.survey`."""
        now = self._tx.now()
        ((saved,),) = self._tx.execute(_SAVED, now, now)
        return Survey(
            tuple(self.nodes()),
            dict(self._tx.execute(_COUNT.format("rooms"))),
            dict(self._tx.execute(_COUNT.format("sessions"))),
            dict(self._tx.execute("SELECT node, seconds FROM lags")),
            saved,
        )

    def ask_to_drain(self, node: int) -> None:
        """See `Engine.ask_to_drain`."""
        statement = "UPDATE nodes SET draining = 1 WHERE id = %s RETURNING id"
        if not self._tx.execute(statement, node):
            raise _gone(node)
        self._tx.woken.add(node)

    def tidy(self) -> None:
        """See `Engine.tidy`."""
        now = self._tx.now()
        if self._until_settled(now) == 0:
            limit = now - FORGET_NODES_AFTER * self._lease
            gone = "SELECT id FROM nodes WHERE expires < %s ORDER BY id"
            for (node,) in self._tx.execute(gone, limit):
                self._close_mailbox(node)
                # It may be back, or out, by now.
                still_gone = "SELECT id FROM nodes WHERE id = %s AND expires < %s FOR UPDATE"
                if self._tx.execute(still_gone, node, limit):
                    self._tx.execute("DELETE FROM rooms WHERE node = %s", node)
                    self._tx.execute("DELETE FROM sessions WHERE node = %s", node)
                    self._take_out(node)
        self._tx.execute("DELETE FROM operations WHERE time <= %s", now - KEEP_OPERATIONS)
        self._tx.execute("DELETE FROM failures WHERE time <= %s", now - FAILURES_KEPT)
        self._tx.execute("DELETE FROM log_ins WHERE asked <= %s", now - FAILURES_KEPT)
        self._tx.execute(
            "DELETE FROM failures WHERE time <="
            " (SELECT time FROM failures ORDER BY time DESC LIMIT 1 OFFSET %s)",
            MAX_FAILURES_KEPT,
        )

    def _rival(self, name: str, address: str, now: float) -> NameInUse | None:
        """Return what is wrong with a name and an address that another node has; None for nothing.

        A node that has none is found by nobody, so it is in nobody's way.
        """
        rows = self._tx.execute(
            f"{_NODE} WHERE name = %t OR (address = %t AND address <> %t) ORDER BY id",
            *map(as_bytes, (name, address, "")),
        )
        for row in rows:
            if holds(row, now):
                other = as_text(row[1])
                text = name_in_use(name) if other == name else address_in_use(other, address)
                return NameInUse(text, row[6])
        return None

    def _note_renewal(self, now: float) -> None:
        if was_away(self._last_renewal(now), self._up_since(now), now, self._lease):
            self._tx.execute(
                "INSERT INTO settings (name, value) VALUES ('up_since', %s)"
                " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                int(now * _MICROSECONDS),
            )

    def _last_renewal(self, now: float) -> float | None:
        (row,) = self._tx.execute("SELECT MAX(renewed) FROM nodes WHERE renewed <= %s", now)
        return None if row[0] is None else float(row[0])

    def _up_since(self, now: float) -> float:
        rows = self._tx.execute("SELECT value FROM settings WHERE name = 'up_since'")
        return rows[0][0] / _MICROSECONDS if rows else now

    def _until_settled(self, now: float) -> float:
        last, up_since = self._last_renewal(now), self._up_since(now)
        return time_until_settled(last, up_since, now, self._lease)

    def _locked_nodes(self, ids: Iterable[int]) -> tuple[dict[int, Row], float]:
        """Return nodes that do not change until the transaction ends, and the time then."""
        rows = {}
        # In one order for all, and for as long as nobody renews a lease that is looked at here.
        for node in sorted(set(ids)):
            for row in self._tx.execute(f"{_NODE} WHERE id = %s FOR SHARE", node):
                rows[node] = row
        return rows, self._tx.now()

    def _alive(self, node: int) -> bool:
        rows = self._tx.execute(_LEASE_OF, node)
        return bool(rows) and holds((None,) * 6 + rows[0], self._tx.now())

    def _leave_mail(self, node: int, body: bytes) -> bool:
        """Leave mail for a node; return whether it will get it."""
        # It stays until this is committed: what is left for it is there when it resigns.
        self._tx.lock_mailbox(node, closing=False)
        if not self._alive(node):
            return False
        ((count, size),) = self._tx.execute(_MAIL_OF, node)
        if count >= MAX_MAIL or size + len(body) > MAX_MAIL_SIZE:
            return False
        self._tx.execute(
            "INSERT INTO mail (id, node, body) VALUES (%s, %s, %s)",
            self._tx.next_number(),
            node,
            body,
        )
        self._tx.woken.add(node)
        return True

    def _require_lease(self, nodes: dict[int, Row], node: int, now: float) -> None:
        if node not in nodes:
            raise _gone(node)
        if not holds(nodes[node], now):
            raise LeaseLapsed(f"The lease of the node {node} is over; renew it.")

    def _require_taker(self, nodes: dict[int, Row], node: int, now: float) -> None:
        if node not in nodes or not holds(nodes[node], now) or shown(nodes[node], now).draining:
            raise NodeUnavailable(unavailable(node))


def _gone(node: int) -> NodeGone:
    return NodeGone(f"There is no node {node} any more; whoever it was has to register anew.")


def holds(row: Row, now: float) -> bool:
    """Whether the lease of a node holds."""
    return is_alive(row[6], row[7], now)


def shown(row: Row, now: float) -> Node:
    """Return a node as others see it."""
    node, name, address, version, load, draining, _, expires = row
    return Node(
        node,
        as_text(name),
        as_text(address),
        as_text(version),
        load,
        bool(draining),
        holds(row, now),
        expires - now,
    )

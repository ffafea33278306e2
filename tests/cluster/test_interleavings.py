"""Calls that arrive in any order, late, twice or never: no room has two owners.

Each call is made at the same time to the tables in memory and to those in SQL, and both have to
answer the same. What a node thinks follows the rules of `BaseEngine`.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable
from typing import Any

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pgnet_trio.server.cluster.errors import EngineError
from pgnet_trio.server.cluster.memory_tables import MemoryTables
from pgnet_trio.server.cluster.records import (
    Admission,
    Arrival,
    Created,
    HandedOver,
    Moment,
    MovingSession,
    NewRoom,
    Restored,
    RoomSave,
    SessionRow,
)
from pgnet_trio.server.cluster.rules import OWN_SHARE
from pgnet_trio.server.cluster.sql import SCHEMA
from pgnet_trio.server.cluster.sql_tables import SQLTables
from pgnet_trio.server.cluster.sqlite_engine import SQLiteTransaction
from pgnet_trio.server.cluster.tables import Tables
from pgnet_trio.storage.interface import TokenRecord, UserRecord
from pgnet_trio.storage.sqlite_schema import make_tables

LEASE = 10.0
SLOTS = st.integers(0, 2)
NAMES = st.sampled_from(["one", "two"])
PICKS = st.integers(0, 1000)
USERS = st.sampled_from(["ann", "ANN", "bob"])

Work = Callable[[Tables], Any]


def token_of(session: SessionRow) -> bytes:
    return session.token


@attrs.define(eq=False)
class Call:
    """A call that a node has made, and whose answer it has not heard."""

    slot: Slot
    life: int
    asked: float
    work: Work
    heard: Callable[[Call, Any], None]
    renews: bool = False
    has_arrived: bool = False
    answer: Any = None


@attrs.define(eq=False)
class Slot:
    """A server, through all of its lives.

    Attributes:
        life: How often it was started, or found its lease lapsed: older answers do not count.
        node: Its id; 0 before it is registered.
        deadline: Its own.
        rooms: What it thinks that it has, by name.
        arrivals: What was handed over to it, as far as it has heard.
        unheard: Whether it has not heard the answer to its last renewal.
    """

    life: int = 0
    node: int = 0
    deadline: float = 0.0
    rooms: dict[str, int] = attrs.field(factory=dict)
    arrivals: dict[str, int] = attrs.field(factory=dict)
    unheard: bool = False


class Cluster(RuleBasedStateMachine):
    """Three nodes, two rooms, and a network without any manners."""

    def __init__(self) -> None:
        super().__init__()
        self.time = 1000.0
        self.offset = 0.0
        self.slots = [Slot() for _ in range(3)]
        self.calls: list[Call] = []
        self.operations = itertools.count(1)
        self.saves: dict[str, str] = {}
        self.memory = MemoryTables(self.clock, LEASE)
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        make_tables(self.connection)
        self.connection.executescript(SCHEMA.replace("BYTEA", "BLOB"))
        self.connection.text_factory = bytes

    def teardown(self) -> None:
        self.connection.close()

    def clock(self) -> float:
        return self.time + self.offset

    def both(self, work: Work) -> Any:
        """Carry out a call on both kinds of tables, and compare what they say."""
        transaction = SQLiteTransaction(self.connection, self.clock, "")
        answers = [
            self.try_to(lambda: work(self.memory)),
            self.try_to(lambda: self.in_sql(lambda: work(SQLTables(transaction, LEASE)))),
        ]
        assert answers[0] == answers[1]
        assert self.memory.woken == transaction.woken
        self.memory.woken = set()
        return answers[0]

    def in_sql(self, work: Callable[[], Any]) -> Any:
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            answer = work()
            self.connection.execute("COMMIT")
            return answer
        finally:
            self.connection.rollback()

    def try_to(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except EngineError as error:
            return type(error), str(error)

    def operation(self) -> bytes:
        return b"%d" % next(self.operations)

    def ask(self, slot: Slot, work: Work, heard: Callable[[Call, Any], None]) -> None:
        self.calls.append(Call(slot, slot.life, self.time, work, heard))

    @initialize()
    def begin(self) -> None:
        """Let all nodes be there, and the first have a room."""
        for number, slot in enumerate(self.slots):
            self.register(number)
            self.do_at_once(0)
            assert slot.node
        self.claim(0, "one", makes=True)
        self.do_at_once(0)
        assert self.slots[0].rooms

    # What the network and the clocks do

    @rule(pick=PICKS)
    @precondition(lambda self: self.calls)
    def arrive(self, pick: int) -> None:
        """Carry out a call, and perhaps once more what was carried out."""
        call = self.calls[pick % len(self.calls)]
        answer = self.both(call.work)
        if not call.has_arrived:
            call.has_arrived, call.answer = True, answer

    @rule(pick=PICKS)
    @precondition(lambda self: self.calls)
    def hear(self, pick: int) -> None:
        call = self.calls[pick % len(self.calls)]
        if call.has_arrived:
            self.calls.remove(call)
            call.heard(call, call.answer)

    @rule(pick=PICKS)
    @precondition(lambda self: self.calls)
    def do_at_once(self, pick: int) -> None:
        """Carry out a call, and let its node hear the answer."""
        self.arrive(pick)
        self.hear(pick)

    @rule(pick=PICKS)
    @precondition(lambda self: self.calls)
    def lose(self, pick: int) -> None:
        self.calls.remove(self.calls[pick % len(self.calls)])

    @rule(seconds=st.sampled_from([0.5, 2.5, 5.0, 9.95, 11.0, 200.0]))
    def wait(self, seconds: float) -> None:
        self.time += seconds

    @rule(leases=st.sampled_from([-100, -1, 1, 100]))
    def jump(self, leases: int) -> None:
        """Set the engine's clock, by far."""
        self.offset += leases * 1.1 * LEASE

    @rule(slot=SLOTS)
    def crash(self, slot: int) -> None:
        self.slots[slot] = Slot()

    # What nodes do

    @rule(slot=SLOTS)
    def register(self, slot: int) -> None:
        me, operation = self.slots[slot], self.operation()

        def heard(call: Call, answer: Any) -> None:
            if isinstance(answer[0], int) and not me.node:
                me.node, me.deadline = answer[0], call.asked + LEASE * OWN_SHARE

        if not me.node:
            self.ask(
                me, lambda tables: tables.register(f"{slot}", "", "", b"key", 0.0, operation), heard
            )

    @rule(slot=SLOTS)
    def renew(self, slot: int) -> None:
        me = self.slots[slot]
        list_rooms, node = me.unheard, me.node

        def heard(call: Call, answer: Any) -> None:
            if not isinstance(answer[0], int):
                return
            me.unheard = False
            rooms = answer[2]
            if rooms is not None:
                me.life += 1
                me.rooms = {name: e for name, e in me.rooms.items() if rooms.get(name) == e}
            me.deadline = max(me.deadline, call.asked + LEASE * OWN_SHARE)

        if node and not any(call.slot is me and call.renews for call in self.calls):
            me.unheard = True
            self.ask(me, lambda tables: tables.renew(node, 0.0, 0.5, list_rooms=list_rooms), heard)
            self.calls[-1].renews = True

    @rule()
    def renew_all(self) -> None:
        """What happens most of the time."""
        for number in range(len(self.slots)):
            before = len(self.calls)
            self.renew(number)
            if len(self.calls) > before:
                call = self.calls.pop()
                call.heard(call, self.both(call.work))

    @rule(slot=SLOTS, name=NAMES, makes=st.booleans())
    def claim(self, slot: int, name: str, makes: bool) -> None:
        me, operation = self.slots[slot], self.operation()
        node, new = me.node, NewRoom("", name) if makes else None

        def heard(call: Call, answer: Any) -> None:
            if isinstance(answer, Created | Restored) and call.life == me.life:
                me.rooms[name] = answer.epoch

        def work(tables: Tables) -> Any:
            answer = tables.claim(node, name, None, new, operation)
            if isinstance(answer, Restored) and answer.packed is None:
                assert answer.data == self.saves.get(name, "")
            return answer

        if node and name not in me.rooms:
            self.ask(me, work, heard)

    @rule(slot=SLOTS, name=NAMES)
    def save(self, slot: int, name: str) -> None:
        me, data = self.slots[slot], f"{next(self.operations)}"
        save = RoomSave(name, me.rooms.get(name, 0), data)

        def work(tables: Tables) -> Any:
            fenced = tables.save([save])
            if not fenced:
                self.saves[name] = data
            return fenced

        def heard(call: Call, answer: Any) -> None:
            if answer:
                me.rooms.pop(name, None)

        if name in me.rooms:
            self.ask(me, work, heard)

    @rule(slot=SLOTS, name=NAMES, ends=st.booleans())
    def let_go(self, slot: int, name: str, ends: bool) -> None:
        me, operation = self.slots[slot], self.operation()
        epoch = me.rooms.pop(name, 0)

        def end(tables: Tables) -> None:
            tables.end(name, epoch, operation)

        def give_back(tables: Tables) -> None:
            tables.give_back(RoomSave(name, epoch), operation)

        if epoch:
            self.ask(me, end if ends else give_back, lambda call, answer: None)

    @rule(slot=SLOTS, to=SLOTS, name=NAMES)
    def hand_over(self, slot: int, to: int, name: str) -> None:
        me, operation = self.slots[slot], self.operation()
        target, epoch = self.slots[to].node, me.rooms.pop(name, 0)
        sessions = [MovingSession("ann", 1, b"a"), MovingSession("bob", epoch, b"b")]

        def work(tables: Tables) -> HandedOver:
            return tables.hand_over(RoomSave(name, epoch), target, b"p", sessions, operation)

        if epoch and target:
            self.ask(me, work, lambda call, answer: None)

    @rule(slot=SLOTS)
    def look(self, slot: int) -> None:
        me = self.slots[slot]
        node = me.node

        def heard(call: Call, answer: Any) -> None:
            if isinstance(answer, Arrival):
                me.arrivals[answer.name] = answer.room.epoch

        self.ask(me, lambda tables: tables.next_arrival(node, 0), heard)

    @rule(slot=SLOTS, name=NAMES)
    def accept(self, slot: int, name: str) -> None:
        me, operation = self.slots[slot], self.operation()
        epoch = me.arrivals.pop(name, 0)

        def heard(call: Call, answer: Any) -> None:
            if answer is None and call.life == me.life:
                me.rooms[name] = epoch

        if epoch:
            self.ask(me, lambda tables: tables.accept(name, epoch, b"", operation), heard)

    @rule(slot=SLOTS, name=NAMES)
    def take_back(self, slot: int, name: str) -> None:
        me, operation = self.slots[slot], self.operation()
        node = me.node

        def heard(call: Call, answer: Any) -> None:
            if isinstance(answer, int) and call.life == me.life:
                me.rooms[name] = answer

        if node:
            self.ask(me, lambda tables: tables.take_back(node, name, operation), heard)

    @rule(slot=SLOTS, username=USERS, ago=st.sampled_from([-1, 0, 1, 2, 9, None]))
    def enter(self, slot: int, username: str, ago: int | None) -> None:
        node, operation = self.slots[slot].node, self.operation()
        asked = None if ago is None else Moment(self.clock() - ago, self.clock() - ago + 1)
        for _ in range(2):
            self.both(lambda tables: tables.enter(node, username, b"t", operation, asked))
        user, token = UserRecord(username, "", "1"), TokenRecord(username, b"\7", 107)
        admission = Admission(username, user, f"{slot}", token, b"\2", node or None, b"t2")
        other = self.operation()
        for _ in range(2):
            self.both(lambda tables: tables.admit(admission, 2, other))

    @rule(to=SLOTS, username=USERS, accepts=st.booleans())
    def pass_session(self, to: int, username: str, accepts: bool) -> None:
        node, operation, accepting = self.slots[to].node, self.operation(), self.operation()
        row = self.both(lambda tables: tables.find_session(username))
        moving = MovingSession(username, row.epoch if row else 1, b"packed")
        for _ in range(2):
            epoch = self.both(lambda tables: tables.pass_session(moving, node, operation))
        if row and isinstance(epoch, int) and accepts:
            for _ in range(2):
                self.both(lambda tables: tables.accept_session(username, epoch, accepting))
        self.both(lambda tables: tables.accept_session(username, moving.epoch, b"late"))

    @rule(slot=SLOTS, body=st.binary(max_size=2))
    def write(self, slot: int, body: bytes) -> None:
        operation = self.operation()
        nodes = [other.node for other in self.slots]
        self.both(lambda tables: tables.send_mail(nodes, body, operation))
        mail = self.both(lambda tables: tables.read_mail(self.slots[slot].node, (), 3))
        done = [one.id for one in mail[:1]]
        self.both(lambda tables: tables.read_mail(self.slots[slot].node, done, 3))

    @rule(slot=SLOTS)
    def administer(self, slot: int) -> None:
        node = self.slots[slot].node
        self.both(lambda tables: tables.tidy())
        self.both(lambda tables: tables.ask_to_drain(node))

    @rule(slot=SLOTS, queue=NAMES)
    def claim_queue(self, slot: int, queue: str) -> None:
        node = self.slots[slot].node
        home = self.both(lambda tables: tables.queue_home(queue))
        for _ in range(2):
            claimed = self.both(lambda tables: tables.claim_queue(queue, node))
        if home is not None:
            # A home stays one: also where it is not known whether the claim was made.
            assert node == 0 or claimed == home

    @rule(slot=SLOTS)
    def resign(self, slot: int) -> None:
        node, operation, late = self.slots[slot].node, self.operation(), self.operation()
        self.slots[slot] = Slot()
        mail = self.both(lambda tables: tables.resign(node, operation))
        # Nothing comes to it any more, and whoever has not heard the answer gets it all again.
        assert self.both(lambda tables: tables.send_mail([node], b"late", late)) == frozenset()
        assert self.both(lambda tables: tables.resign(node, operation)) == mail
        assert self.both(lambda tables: tables.read_mail(node, (), 3)) == []

    @rule(name=USERS, code=st.sampled_from(["", "x"]), number=st.integers(0, 3))
    def manage_accounts(self, name: str, code: str, number: int) -> None:
        user = UserRecord(name, "", f"{number}")
        operation = self.operation()
        token = TokenRecord(name, bytes([number]), 100 + number)
        for work in (
            lambda tables: tables.register_user(user, code, number > 0, [code], operation),
            lambda tables: tables.add_token(token, b"\2", 2),
            lambda tables: tables.tokens_of(name),
            lambda tables: tables.replace_user(user, UserRecord(name, "s", "new")),
            lambda tables: tables.add_invite("x", name if number else ""),
            lambda tables: tables.note_failures([name, code]),
            lambda tables: tables.count_failures([name, code, "?"], 60.0),
            lambda tables: tables.set_registration(number > 1),
            lambda tables: (
                number == 3 and tables.delete_user(name, lambda row: row.token, operation)
            ),
        ):
            self.both(work)

    # What always holds

    @invariant()
    def only_the_owner_thinks_that_it_is(self) -> None:
        holders = [
            (name, epoch)
            for slot in self.slots
            if self.time < slot.deadline
            for name, epoch in slot.rooms.items()
        ]
        assert len({name for name, _ in holders}) == len(holders)
        for name, epoch in holders:
            # What is not fenced is the owner's.
            save = RoomSave(name, epoch, info=name)
            assert self.both(lambda tables: tables.save([save])) == frozenset()  # noqa: B023 - called at once

    @invariant()
    def both_show_the_same(self) -> None:
        for work in (
            lambda tables: tables.nodes(),
            lambda tables: tables.survey(),
            lambda tables: tables.directory("", 10),
            lambda tables: tables.online("", 10),
            lambda tables: tables.find_session("ann"),
            lambda tables: [tables.passed_sessions(slot.node, 0, 2) for slot in self.slots],
            lambda tables: [tables.find_user(name) for name in tables.usernames("", 9)],
            lambda tables: (tables.invites(), tables.registration()),
        ):
            self.both(work)


Cluster.TestCase.settings = settings(max_examples=25, stateful_step_count=40)
TestInterleavings = Cluster.TestCase

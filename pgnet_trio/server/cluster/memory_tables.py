"""The tables of an engine in memory; pure, and as short as it can be said.

It is also what the other engines are compared with.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from pgnet_trio.server.cluster.errors import Fenced, LoggedInLater, NodeUnavailable
from pgnet_trio.server.cluster.memory_nodes import MemoryNodes, RoomRow, StoredSession, holds
from pgnet_trio.server.cluster.records import (
    Absent,
    Arrival,
    Claim,
    Created,
    Entered,
    Found,
    HandedOver,
    Listing,
    Mail,
    Moment,
    MovingSession,
    NewRoom,
    Restored,
    RoomSave,
    SessionRow,
    Unsettled,
    WrongPassword,
)
from pgnet_trio.server.cluster.rules import (
    MAX_MAIL,
    MAX_MAIL_SIZE,
    is_later,
    logged_in_later,
    no_such_session,
    same_password,
    unavailable,
)
from pgnet_trio.storage.interface import SavedGame

__all__ = ["MemoryTables"]


class MemoryTables(MemoryNodes):
    """All that the servers of a cluster share, in dictionaries; see `MemoryNodes`."""

    # Rooms

    def claim(
        self, node: int, name: str, password: str | None, new: NewRoom | None, operation: bytes
    ) -> Claim:
        """See `Engine.claim`."""
        now = self._clock()
        room = self._rooms.get(name)
        owner = None if room is None else self._nodes.get(room.node)
        is_found = owner is not None and holds(owner, now)
        if not is_found or room is None or room.node == node:
            done = self._done(operation)
            if done is not None:
                return self._claimed_before(name, *done)
            self._require_lease(node, now)
        if room is not None and owner is not None:
            if is_found and not same_password(password, room.password):
                return WrongPassword(self._shown(owner, now))
            if is_found:
                return Found(self._shown(owner, now), room.epoch)
            wait = self._until_settled(now)
            if wait:
                return Unsettled(wait)
        game = self._games.get(name)
        if room is not None and room.packed is not None:
            taken = RoomRow(node, 0, room.password, room.info, room.players, packed=room.packed)
        elif game is not None:
            taken = RoomRow(node, 0, game.password, "" if room is None else room.info)
        elif new is None:
            return Absent()
        else:
            taken = self._rooms[name] = RoomRow(node, self._next(), new.password, new.info)
            self._note(operation, "created", taken.epoch)
            return Created(taken.epoch)
        if not same_password(password, taken.password):
            return WrongPassword()
        taken.epoch = self._next()
        self._rooms[name] = taken
        self._move_sessions(name, node)
        self._note(operation, "restored", taken.epoch)
        return self._restored(name, taken)

    def _claimed_before(self, name: str, kind: str, epoch: int) -> Claim:
        room = self._owned(name, epoch)
        return Created(epoch) if kind == "created" else self._restored(name, room)

    def _restored(self, name: str, room: RoomRow) -> Restored:
        game = self._games.get(name)
        return Restored(
            room.epoch,
            room.password,
            "" if game is None else game.data,
            None if game is None else game.empty_since,
            room.packed,
            tuple(
                SessionRow(username, row.node, row.epoch, row.token, row.packed)
                for username, row in sorted(self._sessions.items())
                if row.room == name and row.packed is not None
            ),
        )

    def _move_sessions(self, name: str, node: int) -> None:
        for session in self._sessions.values():
            if session.room == name and session.packed is not None:
                session.node = node

    def _require_taker(self, node: int) -> None:
        row = self._nodes.get(node)
        if row is None or row.draining or not holds(row, self._clock()):
            raise NodeUnavailable(unavailable(node))

    def _owned(self, name: str, epoch: int) -> RoomRow:
        room = self._rooms.get(name)
        if room is None or room.epoch != epoch:
            raise Fenced(f"The room {name!r} is not owned in epoch {epoch} any more; let it go.")
        return room

    def _require_owner(self, room: str, epoch: int) -> None:
        self._owned(room, epoch)

    def save(self, saves: Sequence[RoomSave]) -> frozenset[str]:
        """See `Engine.save`."""
        fenced = set()
        for save in saves:
            try:
                self._save(save)
            except Fenced:
                fenced.add(save.name)
        return frozenset(fenced)

    def _save(self, save: RoomSave) -> RoomRow:
        room = self._owned(save.name, save.epoch)
        room.players, room.info = save.players, save.info
        if save.data == "":
            self._games.pop(save.name, None)
        elif save.data is not None:
            game = SavedGame(save.name, room.password, save.data, save.empty_since)
            self._games[save.name] = game
        return room

    def give_back(self, save: RoomSave, operation: bytes) -> None:
        """See `Engine.give_back`."""
        if self._done(operation) is None:
            self._save(save)
            del self._rooms[save.name]
            self._note(operation)

    def end(self, name: str, epoch: int, operation: bytes) -> None:
        """See `Engine.end`."""
        if self._done(operation) is None:
            self._owned(name, epoch)
            del self._rooms[name]
            self._games.pop(name, None)
            self._note(operation)

    def hand_over(
        self,
        save: RoomSave,
        to: int,
        packed: bytes,
        sessions: Sequence[MovingSession],
        operation: bytes,
    ) -> HandedOver:
        """See `Engine.hand_over`."""
        done = self._done(operation)
        if done is not None:
            epoch, left = done
            return HandedOver(epoch, frozenset(left))
        self._owned(save.name, save.epoch)
        self._require_taker(to)
        room = self._save(save)
        room.came_from, room.node, room.epoch, room.packed = room.node, to, self._next(), packed
        left = []
        for moving in sessions:
            session = self._sessions.get(moving.username)
            if session is None or session.epoch != moving.epoch:
                left.append(moving.username)
            else:
                session.node, session.room, session.packed = to, save.name, moving.packed
        self.woken.add(to)
        self._note(operation, room.epoch, left)
        return HandedOver(room.epoch, frozenset(left))

    def next_arrival(self, node: int, after: int) -> Arrival | None:
        """See `Engine.next_arrival`."""
        waiting = [
            (room.epoch, name)
            for name, room in self._rooms.items()
            if room.node == node and room.packed is not None and room.epoch > after
        ]
        if not waiting:
            return None
        _, name = min(waiting)
        room = self._rooms[name]
        return Arrival(name, self._restored(name, room), room.came_from or 0)

    def accept(self, name: str, epoch: int, told: bytes, operation: bytes) -> None:
        """See `Engine.accept`."""
        if self._done(operation) is None:
            room = self._owned(name, epoch)
            if told and room.came_from is not None:
                self._leave_mail(room.came_from, told)
            self._unpack(name, room)
            self._note(operation)

    def _unpack(self, name: str, room: RoomRow) -> None:
        room.packed = room.came_from = None
        for session in self._sessions.values():
            if session.room == name:
                session.room = session.packed = None

    def take_back(self, node: int, name: str, operation: bytes) -> int:
        """See `Engine.take_back`."""
        done = self._done(operation)
        if done is not None:
            (epoch,) = done
            self._owned(name, epoch)
            return int(epoch)
        self._require_lease(node, self._clock())
        room = self._rooms.get(name)
        if room is None or room.came_from != node:
            raise Fenced(f"The room {name!r} is with another node by now; let it go.")
        room.node, room.epoch = node, self._next()
        self._move_sessions(name, node)
        self._unpack(name, room)
        self._note(operation, room.epoch)
        return room.epoch

    def directory(self, after: str, limit: int) -> list[Listing]:
        """See `Engine.directory`."""
        now = self._clock()
        found = {
            name: Listing(name, None, 0, "", bool(game.password))
            for name, game in self._games.items()
        }
        for name, room in self._rooms.items():
            owner = self._nodes.get(room.node)
            if owner is not None and holds(owner, now):
                locked = bool(room.password)
                found[name] = Listing(name, room.node, room.players, room.info, locked)
        names = sorted(
            (name for name in found if _in_order(name) > _in_order(after)), key=_in_order
        )
        return [found[name] for name in names[:limit]]

    def is_played(self, name: str) -> bool:
        """See `Engine.is_played`."""
        room = self._rooms.get(name)
        owner = None if room is None else self._nodes.get(room.node)
        return owner is not None and holds(owner, self._clock())

    # Users who are there, and mail

    def enter(
        self,
        node: int,
        username: str,
        token: bytes,
        operation: bytes,
        asked: Moment | None = None,
    ) -> Entered:
        """See `Engine.enter`."""
        done = self._done(operation)
        if done is not None:
            epoch, before = done
            return Entered(epoch, before)
        now = self._clock()
        self._require_lease(node, now)
        row = self._sessions.get(username)
        if asked is not None:
            known = self._asked.get(username, -math.inf)
            if row is not None and is_later(known, asked, now):
                raise LoggedInLater(logged_in_later(username))
            self._asked[username] = asked.earliest
        before = None
        if row is not None:
            before = SessionRow(username, row.node, row.epoch, row.token)
        epoch = self._next()
        self._sessions[username] = StoredSession(node, epoch, token)
        self._note(operation, epoch, before)
        return Entered(epoch, before)

    def leave(self, username: str, epoch: int) -> None:
        """See `Engine.leave`."""
        row = self._sessions.get(username)
        if row is not None and row.epoch == epoch:
            del self._sessions[username]

    def pass_session(self, session: MovingSession, to: int, operation: bytes) -> int:
        """See `Engine.pass_session`."""
        done = self._done(operation)
        if done is not None:
            (epoch,) = done
            return int(epoch)
        row = self._session(session.username, session.epoch)
        self._require_taker(to)
        row.node, row.epoch, row.room, row.packed = to, self._next(), None, session.packed
        self.woken.add(to)
        self._note(operation, row.epoch)
        return row.epoch

    def passed_sessions(self, node: int, after: int, limit: int) -> list[SessionRow]:
        """See `Engine.passed_sessions`."""
        passed = [
            SessionRow(username, row.node, row.epoch, row.token, row.packed)
            for username, row in self._sessions.items()
            if row.node == node
            and row.epoch > after
            and row.room is None
            and row.packed is not None
        ]
        return sorted(passed, key=lambda row: row.epoch)[:limit]

    def accept_session(self, username: str, epoch: int, operation: bytes) -> None:
        """See `Engine.accept_session`."""
        if self._done(operation) is None:
            self._session(username, epoch).packed = None
            self._note(operation)

    def _session(self, username: str, epoch: int) -> StoredSession:
        row = self._sessions.get(username)
        if row is None or row.epoch != epoch:
            raise Fenced(no_such_session(username, epoch))
        return row

    def find_session(self, username: str) -> SessionRow | None:
        """See `Engine.find_session`."""
        row = self._sessions.get(username)
        if row is None or not self._is_alive(row.node):
            return None
        return SessionRow(username, row.node, row.epoch, row.token, row.packed)

    def online(self, after: str, limit: int) -> list[SessionRow]:
        """See `Engine.online`."""
        names = sorted(
            (
                name
                for name, row in self._sessions.items()
                if _in_order(name) > _in_order(after) and self._is_alive(row.node)
            ),
            key=_in_order,
        )
        return [
            SessionRow(name, row.node, row.epoch, row.token)
            for name in names[:limit]
            for row in [self._sessions[name]]
        ]

    def _is_alive(self, node: int) -> bool:
        row = self._nodes.get(node)
        return row is not None and holds(row, self._clock())

    def _tell_nodes(self, note: bytes, operation: bytes) -> None:
        alive = [node.id for node in self.nodes() if node.alive]
        self.send_mail(alive, note, operation)

    def send_mail(self, to: Collection[int], body: bytes, operation: bytes) -> frozenset[int]:
        """See `Engine.send_mail`."""
        done = self._done(operation)
        if done is None:
            reached = [node for node in sorted(set(to)) if self._leave_mail(node, body)]
            self._note(operation, reached)
        else:
            (reached,) = done
        return frozenset(reached)

    def _leave_mail(self, node: int, body: bytes) -> bool:
        """Leave mail for a node; return whether it will get it."""
        if not self._is_alive(node) or not self._has_space(node, len(body)):
            return False
        self._mail[self._next()] = node, body
        self.woken.add(node)
        return True

    def _has_space(self, node: int, size: int) -> bool:
        waiting = [len(body) for to, body in self._mail.values() if to == node]
        return len(waiting) < MAX_MAIL and sum(waiting) + size <= MAX_MAIL_SIZE

    def read_mail(self, node: int, done: Collection[int], limit: int) -> list[Mail]:
        """See `Engine.read_mail`."""
        for number in done:
            if number in self._mail and self._mail[number][0] == node:
                del self._mail[number]
        mine = [Mail(number, body) for number, (to, body) in self._mail.items() if to == node]
        return mine[:limit]


def _in_order(text: str) -> bytes:
    """Return what texts are sorted by: their bytes in UTF-8."""
    return text.encode("utf-8", "surrogatepass")

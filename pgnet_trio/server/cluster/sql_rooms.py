"""Rooms in SQL: who owns which, their saves, and those that are on their way."""

from __future__ import annotations

from collections.abc import Sequence

from pgnet_trio.server.cluster.errors import Fenced, SaveDamaged
from pgnet_trio.server.cluster.records import (
    Absent,
    Arrival,
    Claim,
    Created,
    Found,
    HandedOver,
    Listing,
    MovingSession,
    NewRoom,
    Restored,
    RoomSave,
    SessionRow,
    Unsettled,
    WrongPassword,
)
from pgnet_trio.server.cluster.rules import same_password
from pgnet_trio.server.cluster.sql import RepeatTransaction, Row, as_bytes, as_text
from pgnet_trio.server.cluster.sql_nodes import SQLNodes, holds, shown
from pgnet_trio.storage.sqlite_schema import checksum

__all__ = ["SQLRooms"]

_ROOM = "SELECT node, epoch, password, info, players, came_from, packed FROM rooms"
_NODE, _EPOCH, _PASSWORD, _INFO, _PLAYERS, _CAME_FROM, _PACKED = range(7)

# What a save file's own table of games is written with, see `pgnet_trio.storage.sqlite_schema`.
_WRITE_GAME = """
    INSERT INTO games (name, password, data, empty_since, checksum)
    VALUES (%t, %t, %t, %s, %s)
    ON CONFLICT (name) DO UPDATE
    SET password = excluded.password, data = excluded.data, empty_since = excluded.empty_since,
        checksum = excluded.checksum
"""
_DIRECTORY = """
    SELECT rooms.name, node, players, info, password, renewed, expires
    FROM rooms JOIN nodes ON nodes.id = rooms.node WHERE rooms.name > %t
    ORDER BY rooms.name LIMIT %s
"""

_LEASE_OF_ROOM = """
    SELECT renewed, expires FROM rooms JOIN nodes ON nodes.id = rooms.node WHERE rooms.name = %t
"""


class SQLRooms(SQLNodes):
    """The rooms; see `SQLNodes` for the arguments."""

    def claim(
        self, node: int, name: str, password: str | None, new: NewRoom | None, operation: bytes
    ) -> Claim:
        """See `Engine.claim`."""
        seen = self._tx.execute(f"{_ROOM} WHERE name = %t", as_bytes(name))
        found = self._look(node, seen[0], password) if seen else None
        if found is not None:
            return found
        done = self._done(operation)
        if done is not None:
            kind, epoch = done
            row = self._owned(name, epoch)
            return Created(epoch) if kind == "created" else self._restored(name, row)
        # Where there is none, whoever else makes one first has this done anew.
        locked = self._locked(name) if seen else None
        nodes, now = self._locked_nodes([node] if locked is None else [node, locked[_NODE]])
        self._require_lease(nodes, node, now)
        if locked is not None and locked[_NODE] in nodes:
            owner = nodes[locked[_NODE]]
            if holds(owner, now):
                if not same_password(password, as_text(locked[_PASSWORD])):
                    return WrongPassword(shown(owner, now))
                return Found(shown(owner, now), locked[_EPOCH])
            wait = self._until_settled(now)
            if wait:
                return Unsettled(wait)
        return self._take(node, name, locked, password, new, operation)

    def _look(self, node: int, row: Row, password: str | None) -> Claim | None:
        """Find a room that another node has, as is the case for most who join, without a lock."""
        if row[_NODE] == node:
            return None
        owners = self._tx.execute(
            "SELECT id, name, address, version, load, draining, renewed, expires FROM nodes"
            " WHERE id = %s",
            row[_NODE],
        )
        now = self._tx.now()
        if not owners or not holds(owners[0], now):
            return None
        if not same_password(password, as_text(row[_PASSWORD])):
            return WrongPassword(shown(owners[0], now))
        return Found(shown(owners[0], now), row[_EPOCH])

    def _take(
        self,
        node: int,
        name: str,
        row: Row | None,
        password: str | None,
        new: NewRoom | None,
        operation: bytes,
    ) -> Claim:
        """Take a room that nobody has."""
        is_packed = row is not None and row[_PACKED] is not None
        game = self._game(name)
        if row is not None and is_packed:
            right = as_text(row[_PASSWORD])
        elif game is not None:
            right = game[0]
        elif new is None:
            return Absent()
        else:
            epoch = self._own(node, name, row, new.password, new.info)
            self._note(operation, "created", epoch)
            return Created(epoch)
        if not same_password(password, right):
            return WrongPassword()
        info = "" if row is None else as_text(row[_INFO])
        epoch = self._own(node, name, row, right, info, keep=is_packed)
        self._move_sessions(name, node)
        self._note(operation, "restored", epoch)
        return self._restored(name, self._owned(name, epoch))

    def _own(
        self,
        node: int,
        name: str,
        row: Row | None,
        password: str,
        info: str,
        *,
        keep: bool = False,
    ) -> int:
        epoch = self._tx.next_number()
        texts = map(as_bytes, (password, info))
        if row is None:
            statement = (
                "INSERT INTO rooms (name, node, epoch, password, info, players)"
                " VALUES (%t, %s, %s, %t, %t, 0) ON CONFLICT (name) DO NOTHING RETURNING epoch"
            )
            if not self._tx.execute(statement, as_bytes(name), node, epoch, *texts):
                raise RepeatTransaction
            return epoch
        if not keep:
            statement = "UPDATE rooms SET players = 0, packed = NULL WHERE name = %t"
            self._tx.execute(statement, as_bytes(name))
        statement = (
            "UPDATE rooms SET node = %s, epoch = %s, password = %t, info = %t, came_from = NULL"
            " WHERE name = %t"
        )
        self._tx.execute(statement, node, epoch, *texts, as_bytes(name))
        return epoch

    def _locked(self, name: str) -> Row | None:
        rows = self._tx.execute(f"{_ROOM} WHERE name = %t FOR UPDATE", as_bytes(name))
        return rows[0] if rows else None

    def _owned(self, name: str, epoch: int) -> Row:
        row = self._locked(name)
        if row is None or row[_EPOCH] != epoch:
            raise Fenced(f"The room {name!r} is not owned in epoch {epoch} any more; let it go.")
        return row

    def _game(self, name: str) -> tuple[str, str, int | None] | None:
        """Return the password, the save and the emptiness of a saved game."""
        rows = self._tx.execute(
            "SELECT password, data, empty_since, checksum FROM games WHERE name = %t",
            as_bytes(name),
        )
        if not rows:
            return None
        password, data, empty_since, found = rows[0]
        if checksum((as_bytes(name), password, data), empty_since) != found:
            raise SaveDamaged(
                f"The save of the game {name!r} is damaged: its checksum does not fit. It is left "
                "as it is; destroy the game, or restore a backup."
            )
        return as_text(password), as_text(data), empty_since

    def _restored(self, name: str, row: Row) -> Restored:
        game = self._game(name)
        sessions = self._tx.execute(
            "SELECT username, node, epoch, token, packed FROM sessions"
            " WHERE room = %t AND packed IS NOT NULL ORDER BY username",
            as_bytes(name),
        )
        return Restored(
            row[_EPOCH],
            as_text(row[_PASSWORD]),
            "" if game is None else game[1],
            None if game is None else game[2],
            row[_PACKED],
            tuple(SessionRow(as_text(username), *rest) for username, *rest in sessions),
        )

    def _move_sessions(self, name: str, node: int) -> None:
        self._tx.execute(
            "UPDATE sessions SET node = %s WHERE room = %t AND packed IS NOT NULL",
            node,
            as_bytes(name),
        )

    def save(self, saves: Sequence[RoomSave]) -> frozenset[str]:
        """See `Engine.save`."""
        # In one order for all, so that no two wait for each other.
        ordered = sorted(saves, key=lambda save: save.name)
        return frozenset(save.name for save in ordered if not self._save(save))

    def _save(self, save: RoomSave) -> bool:
        rows = self._tx.execute(
            "UPDATE rooms SET players = %s, info = %t WHERE name = %t AND epoch = %s"
            " RETURNING password",
            save.players,
            as_bytes(save.info),
            as_bytes(save.name),
            save.epoch,
        )
        if not rows:
            return False
        if save.data == "":
            self._forget_game(save.name)
        elif save.data is not None:
            texts = as_bytes(save.name), rows[0][0], as_bytes(save.data)
            since = save.empty_since
            self._tx.execute(_WRITE_GAME, *texts, since, checksum(texts, since))
        return True

    def _forget_game(self, name: str) -> None:
        self._tx.execute("DELETE FROM games WHERE name = %t", as_bytes(name))

    def give_back(self, save: RoomSave, operation: bytes) -> None:
        """See `Engine.give_back`."""
        if self._done(operation) is None:
            self._owned(save.name, save.epoch)
            self._save(save)
            self._tx.execute("DELETE FROM rooms WHERE name = %t", as_bytes(save.name))
            self._note(operation)

    def end(self, name: str, epoch: int, operation: bytes) -> None:
        """See `Engine.end`."""
        if self._done(operation) is None:
            self._owned(name, epoch)
            self._tx.execute("DELETE FROM rooms WHERE name = %t", as_bytes(name))
            self._forget_game(name)
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
            return HandedOver(done[0], frozenset(done[1]))
        row = self._owned(save.name, save.epoch)
        nodes, now = self._locked_nodes([to])
        self._require_taker(nodes, to, now)
        self._save(save)
        epoch = self._tx.next_number()
        self._tx.execute(
            "UPDATE rooms SET came_from = %s, node = %s, epoch = %s, packed = %s WHERE name = %t",
            row[_NODE],
            to,
            epoch,
            packed,
            as_bytes(save.name),
        )
        left = [
            moving.username
            for moving in sorted(sessions, key=lambda moving: moving.username)
            if not self._tx.execute(
                "UPDATE sessions SET node = %s, room = %t, packed = %s"
                " WHERE username = %t AND epoch = %s RETURNING epoch",
                to,
                as_bytes(save.name),
                moving.packed,
                as_bytes(moving.username),
                moving.epoch,
            )
        ]
        self._tx.woken.add(to)
        self._note(operation, epoch, left)
        return HandedOver(epoch, frozenset(left))

    def next_arrival(self, node: int, after: int) -> Arrival | None:
        """See `Engine.next_arrival`."""
        rows = self._tx.execute(
            "SELECT name, node, epoch, password, info, players, came_from, packed FROM rooms"
            " WHERE node = %s AND packed IS NOT NULL AND epoch > %s ORDER BY epoch LIMIT 1",
            node,
            after,
        )
        if not rows:
            return None
        name, *row = rows[0]
        restored = self._restored(as_text(name), tuple(row))
        return Arrival(as_text(name), restored, row[_CAME_FROM] or 0)

    def accept(self, name: str, epoch: int, told: bytes, operation: bytes) -> None:
        """See `Engine.accept`."""
        if self._done(operation) is None:
            giver = self._owned(name, epoch)[_CAME_FROM]
            self._unpack(name)
            if told and giver is not None:
                self._leave_mail(giver, told)
            self._note(operation)

    def _unpack(self, name: str) -> None:
        self._tx.execute(
            "UPDATE rooms SET came_from = NULL, packed = NULL WHERE name = %t", as_bytes(name)
        )
        self._tx.execute(
            "UPDATE sessions SET room = NULL, packed = NULL WHERE room = %t", as_bytes(name)
        )

    def take_back(self, node: int, name: str, operation: bytes) -> int:
        """See `Engine.take_back`."""
        done = self._done(operation)
        if done is not None:
            self._owned(name, done[0])
            return int(done[0])
        row = self._locked(name)
        nodes, now = self._locked_nodes([node])
        self._require_lease(nodes, node, now)
        if row is None or row[_CAME_FROM] != node:
            raise Fenced(f"The room {name!r} is with another node by now; let it go.")
        epoch = self._tx.next_number()
        self._tx.execute(
            "UPDATE rooms SET node = %s, epoch = %s WHERE name = %t", node, epoch, as_bytes(name)
        )
        self._move_sessions(name, node)
        self._unpack(name)
        self._note(operation, epoch)
        return epoch

    def is_played(self, name: str) -> bool:
        """See `Engine.is_played`."""
        leases = self._tx.execute(_LEASE_OF_ROOM, as_bytes(name))
        now = self._tx.now()
        return any(holds((None,) * 6 + tuple(lease), now) for lease in leases)

    def directory(self, after: str, limit: int) -> list[Listing]:
        """See `Engine.directory`."""
        now = self._tx.now()
        saved = self._tx.execute(
            "SELECT name, password FROM games WHERE name > %t ORDER BY name LIMIT %s",
            as_bytes(after),
            limit,
        )
        found = {name: Listing(as_text(name), None, 0, "", bool(word)) for name, word in saved}
        last = max(found) if len(found) == limit else None
        start, alive = as_bytes(after), 0
        # Rooms of silent nodes are left out, and may be many.
        while rows := self._tx.execute(_DIRECTORY, start, limit):
            for name, node, players, info, password, *lease in rows:
                if holds((None,) * 6 + tuple(lease), now):
                    alive += 1
                    found[name] = Listing(
                        as_text(name), node, players, as_text(info), bool(password)
                    )
            start = rows[-1][0]
            is_enough = alive >= limit or (last is not None and start >= last)
            if len(rows) < limit or is_enough:
                break
        return [found[name] for name in sorted(found)[:limit]]

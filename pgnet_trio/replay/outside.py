"""Does to a room what came from outside when it was recorded."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
import trio
import trio.testing

from pgnet_trio.errors import PGNetError
from pgnet_trio.messages import Packet, set_time_of
from pgnet_trio.protocol.events import InputReceived
from pgnet_trio.recording import records
from pgnet_trio.replay.players import ReplayPlayer, ReplayRound
from pgnet_trio.replay.telling import describe_record
from pgnet_trio.server.room.player import PacketTurn
from pgnet_trio.server.room.queue import do_nothing

if TYPE_CHECKING:
    from pgnet_trio.replay.tape import ReplayTape
    from pgnet_trio.server.room.room import RoomTask

__all__ = ["Outside", "begins_at_once"]

_NOBODY: Any = None
"""Where answers go: nowhere."""


class Outside:
    """All that is not the room: who plays there, and what they do.

    Args:
        tape: Plays the recording.
        note_state: Called with the name and the state whenever a player is shown one.
    """

    _room: RoomTask
    _nursery: trio.Nursery

    def __init__(self, tape: ReplayTape, note_state: Callable[[str, Any], None]) -> None:
        self._tape = tape
        self._note_state = note_state
        self._inputs: dict[str, dict[str, Any]] = {}
        self._sessions: dict[int, ReplayPlayer] = {}
        self._by_name: dict[str, ReplayPlayer] = {}

    def attach(self, room: RoomTask, nursery: trio.Nursery) -> None:
        """Begin with a room; what has to be waited for is so in *nursery*."""
        self._room, self._nursery = room, nursery

    def session(self, record: records.SessionRecord) -> ReplayPlayer:
        """Return the player of a session, as the session was."""
        player = self._sessions.get(record.number)
        if player is None:
            player = self._sessions[record.number] = ReplayPlayer(record.username, self._note_state)
        player.become(record)
        self._by_name[record.username] = player
        return player

    def player(self, username: str) -> ReplayPlayer:
        """Return the player with a name: whoever is in the game, or who came last."""
        member = self._room.members.get(username) if hasattr(self, "_room") else None
        if member is not None and isinstance(member.player, ReplayPlayer):
            return member.player
        player = self._by_name.get(username)
        if player is None:
            player = self._by_name[username] = ReplayPlayer(username, self._note_state)
        return player

    async def carry_out(self, record: records.Record) -> None:
        """Do what came from outside."""
        tape, room = self._tape, self._room
        match record:
            case records.PacketCame():
                await self._take_packet(record)
            case records.AnswerCame(question=question):
                tape.take()
                room.handle_answer(self._turn(record), question)
            case records.InputCame(player=username, number=number, seen=seen, payload=payload):
                if payload is not None:
                    self._inputs[username] = payload
                given = InputReceived(number, seen, self._inputs.get(username, {}))
                tape.take()
                room.take_input(self.player(username), given, None)
            case records.Joined(sessions=sessions, spectates=spectates, together=together):
                players = [self.session(session) for session in sessions]
                # Until it is in the queue, no turn that came after it may begin.
                if together:
                    self._nursery.start_soon(_unless_refused, room.join_together, players)
                else:
                    join = functools.partial(room.join, players[0], spectate=spectates)
                    self._nursery.start_soon(_unless_refused, join)
                await _settle()
                # Where the game has raised before, its end was reached meanwhile.
                if tape.next is record:
                    tape.take()
            case records.Left(player=username, reason=reason, message=text, session=number):
                player = None
                if number:
                    player = self._sessions.setdefault(
                        number, ReplayPlayer(username, self._note_state)
                    )
                (player or self.player(username)).online = record.online
                tape.take()
                room.leave(username, reason, text, player=player)
            case records.OnlineChanged(player=username, online=online):
                self.player(username).online = online
                tape.take()
                (room.resume if online else room.drop)(username)
            case records.ClientCame(session=session):
                newcomer = self.session(session)
                tape.take()
                room.introduce(newcomer)
            case records.SaveAsked():
                tape.take()
                room.queue.post(room.instance.update_save_string)
            case records.EmptyChecked():
                tape.take()
                room.close_if_empty()
            case records.OtherTurn():
                tape.take()
                room.queue.post(do_nothing)
            case records.Closed(reason=reason, kind=kind, saves=saves):
                tape.take()
                if saves:
                    self._nursery.start_soon(room.finish, kind)
                    await _settle()
                else:
                    room.close(reason, kind)
            case records.CallEnded(number=number):
                # It was asked for by a task of the game's own: its steps are not recorded.
                await self._wake(("call", number), record)
            case records.BotEnded():
                tape.take()
                tape.note_bot_end(record)
                await _settle()
            case records.TimeIsUp(question=question):
                tape.take()
                tape.end_time(question)
                await _settle()
            case records.EmptyChanged(is_empty=is_empty):
                tape.is_empty = is_empty
                tape.take()
            case records.Crashed():
                await _settle()
                if not tape.finished.is_set() and room.runner.nursery.cancel_scope.cancel_called:
                    # It has raised, and what it cancels takes one step more or less by chance.
                    tape.is_free = True
                    tape.open_all_gates()
                    await _settle()
                if not tape.finished.is_set():
                    tape.differ(describe_record(record), self.what_runs())
            case _:
                await self._wake(("none", None), record)

    def what_runs(self) -> str:
        """Return what the game waits for where something else was recorded, for people."""
        lines = "; ".join(self._room.lines())
        return f"nothing: what runs is at {lines}" if lines else "nothing"

    def _turn(self, record: records.PacketCame | records.AnswerCame) -> PacketTurn:
        payload = record.payload
        if isinstance(payload, msgspec.Raw):
            payload = msgspec.msgpack.decode(payload)
        if not isinstance(payload, dict):
            payload = {}
        packet = Packet(record.message, payload, username=record.player)
        set_time_of(packet, record.created_on)
        quiet = isinstance(record, records.PacketCame) and record.quiet
        return PacketTurn(self.player(record.player), _NOBODY, 0, packet, quiet, record.size)

    async def _take_packet(self, record: records.PacketCame) -> None:
        tape, room = self._tape, self._room
        turn = self._turn(record)
        tape.take()
        if not begins_at_once(tape.next):
            room.handle(turn)
            return
        if not room.is_waiting:
            await _settle()
        if not room.is_waiting:
            tape.differ(describe_record(record), "a game that is busy with another turn")
            return
        room.take_now(turn, ReplayRound())  # type: ignore[arg-type]  # no sockets
        if tape.next is not None and room.queue.turns:
            await _settle()

    async def _wake(self, key: tuple[str, object], record: records.Record) -> None:
        tape = self._tape
        position = tape.position
        tape.open_gate(key)
        await _settle()
        if tape.position == position and not tape.finished.is_set():
            tape.differ(describe_record(record), self.what_runs())


def begins_at_once(record: records.Record | None) -> bool:
    """Return whether a record says that the packet before it has its turn at once."""
    return isinstance(record, records.TurnBegan) and record.time is None


async def _settle() -> None:
    """Let everything run that can."""
    await trio.testing.wait_all_tasks_blocked()


async def _unless_refused(function: Callable[..., Any], *args: Any) -> None:
    # Whoever was refused was so in the recording too.
    with contextlib.suppress(PGNetError):
        await function(*args)

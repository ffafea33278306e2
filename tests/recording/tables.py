"""Recorded tables without a server: a room, players who do as they are told, and a writer."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import trio

from pgnet_trio import Game, PGNetError, Recording, Response
from pgnet_trio.recording import StoredRecording, describe_game
from pgnet_trio.replay import Outcome, load_life, replay
from pgnet_trio.server.recording.room import RecordedRoom
from pgnet_trio.server.recording.writer import RecordingWriter
from pgnet_trio.server.room.player import HeldRequest, OpenQuestion, PacketTurn, Player
from pgnet_trio.testing import SimulatedNetwork, simulate
from pgnet_trio.typed import to_packet

if TYPE_CHECKING:
    from pgnet_trio.protocol.events import InputReceived

__all__ = ["Listener", "RecordedTable", "played", "record_table", "recordings_in", "replays"]


@attrs.define(eq=False)
class Listener:
    """A player who notes what they are told."""

    username: str
    online: bool = True
    connection_number: int = 0
    takes_pushes: bool = True
    takes_player_lists: bool = True
    answers: list[Response] = attrs.field(factory=list)
    questions: dict[int, OpenQuestion] = attrs.field(factory=dict)
    states: list[Any] = attrs.field(factory=list)

    def answer(self, turn: PacketTurn, response: Response, /) -> bool:
        self.answers.append(response)
        return not turn.quiet

    def waits_for(self, turn: PacketTurn, /) -> bool:
        return True

    def retake(self, held: HeldRequest, /) -> PacketTurn:
        raise NotImplementedError

    def enter_game(self, name: str, heartbeat_rate: float, time: float, /) -> None: ...

    def exit_game(self, reason: str, message: str, time: float, /) -> None: ...

    def push(self, envelope: bytes, /) -> None: ...

    def show(self, snapshot: Any, /) -> None:
        self.states.append(snapshot.data)

    def mark(self, moment: bytes, /) -> None: ...

    def ask(self, question: OpenQuestion, /) -> None:
        self.questions[question.id] = question

    def withdraw(self, question: OpenQuestion, /) -> None:
        self.questions.pop(question.id, None)

    def flush(self) -> None: ...


class Owner:
    """Keeps a room, and its errors."""

    def __init__(self) -> None:
        self.users: set[str] = set()
        self.errors: list[BaseException] = []
        self.ended = False
        self.saving: Callable[[], None] = lambda: None

    def is_empty(self) -> bool:
        return not self.users

    def user_left(self, username: str, /) -> None:
        self.users.discard(username)

    def room_ended(self, reason: str, /) -> None:
        self.ended = True

    async def save(self) -> None:
        await trio.sleep(0.02)
        self.saving()

    async def report(self, *of: Any) -> Any:
        raise NotImplementedError

    def note_cause(self, error: BaseException, asker: str | None = None, /) -> None: ...

    def note_failure(
        self, error: BaseException, what: str, player: Player | None = None, /
    ) -> None:
        self.errors.append(error)

    async def run_bot(self, bot: Any, /) -> None:
        await trio.sleep_forever()


class Round:
    """A round of reading without sockets."""

    def __init__(self) -> None:
        self.now = trio.current_time()
        self.delay = 0.0
        self.until = math.inf
        self.flushes: dict[Callable[[], None], None] = {}

    def end(self) -> None:
        for flush in self.flushes:
            flush()


class RecordedTable:
    """A room that is recorded, and what may be done with it."""

    def __init__(
        self,
        game: type[Game],
        writer: RecordingWriter,
        nursery: trio.Nursery,
        options: Mapping[str, Any],
        saved: str | None = None,
    ) -> None:
        self.owner = Owner()
        self.players: dict[str, Listener] = {}
        # Those who are out too: the last of each name.
        self.latest: dict[str, Listener] = {}
        self.room = RecordedRoom(
            writer,
            "table 1",
            # A library's: a line of ours would pass for one of the author's.
            functools.partial(game, "table 1"),
            seed=b"a seed",
            owner=self.owner,
            options=options,
            save_string=saved,
            question_ids=itertools.count(1),
        )
        self._nursery = nursery

    async def join(self, username: str, *, spectate: bool = False) -> Listener:
        player = self.players[username] = self.latest[username] = Listener(username)
        self.owner.users.add(username)
        try:
            await self.room.join(player, spectate=spectate)
        except PGNetError:
            self.players.pop(username, None)
            self.owner.users.discard(username)
        return player

    def begin_join(self, username: str, *, spectate: bool = False) -> None:
        async def join() -> None:
            await self.join(username, spectate=spectate)

        self._nursery.start_soon(join)

    def leave(self, username: str) -> None:
        player = self.players.pop(username, None)
        if player is not None:
            self.owner.users.discard(username)
            self.room.leave(username, player=player)

    def set_online(self, username: str, online: bool) -> None:
        player = self.players.get(username)
        if player is not None and player.online != online:
            player.online = online
            (self.room.resume if online else self.room.drop)(username)

    def send(self, username: str, message: object, *, at_once: bool = False) -> None:
        player = self.players.get(username)
        if player is None or self.owner.ended:
            return
        packet = to_packet(message)
        packet.username = username
        turn = PacketTurn(player, None, 1, packet)  # type: ignore[arg-type]  # nothing is sent
        if at_once:
            round = Round()
            self.room.take_now(turn, round)  # type: ignore[arg-type]  # it has no sockets
            round.end()
        else:
            self.room.handle(turn)

    def play(self, username: str, given: InputReceived) -> None:
        player = self.players.get(username)
        if player is not None:
            self.room.take_input(player, given, None)

    def answer(self, username: str, message: object) -> None:
        player = self.players.get(username)
        if player is not None and player.questions:
            id = min(player.questions)
            packet = to_packet(message)
            turn = PacketTurn(player, None, 1, packet)  # type: ignore[arg-type]  # as above
            self.room.handle_answer(turn, id)


def record_table(
    game: type[Game],
    play: Callable[[RecordedTable], Any],
    folder: Path,
    *,
    seed: int | str = 0,
    options: Mapping[str, Any] | None = None,
    saved: str | None = None,
    **of_recording: Any,
) -> RecordedTable:
    """Record a table at which *play* plays, in virtual time."""

    async def main() -> RecordedTable:
        environment = SimulatedNetwork().environment("tests")
        recording = Recording(folder, **of_recording)
        writer = RecordingWriter(recording, environment, describe_game(game, Game))
        await writer.prepare()
        async with trio.open_nursery() as writing:
            await writing.start(_run, writer)
            async with trio.open_nursery() as nursery:
                table = RecordedTable(game, writer, nursery, options or {}, saved)
                await nursery.start(table.room.run)
                await play(table)
                table.room.close("It is over.")
                await table.room.ended.wait()
                nursery.cancel_scope.cancel()
            writing.cancel_scope.cancel()
        return table

    return simulate(main, seed=seed)


async def _run(writer: RecordingWriter, *, task_status: trio.TaskStatus[None]) -> None:
    task_status.started()
    await writer.run()


def recordings_in(folder: Path) -> list[Path]:
    """The files, in the order in which they were begun."""
    return sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)


def replays(folder: Path, game: type[Game], **options: Any) -> list[Outcome]:
    """What comes of each life of a table that is in a folder."""
    return [replay(load_life(path), game, **options) for path in recordings_in(folder)]


def played(folder: Path) -> Sequence[StoredRecording]:
    """What is in each file of a folder."""
    return [load_life(path) for path in recordings_in(folder)]

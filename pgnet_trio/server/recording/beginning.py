"""How a file of a recording begins: with all that a room has at that moment."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import TYPE_CHECKING

import attrs
import msgspec
import trio

from pgnet_trio.codec import pack
from pgnet_trio.messages import wall_clock
from pgnet_trio.recording import FROZEN_VERSION, Head, Member, OpenScript, SessionRecord, hash_seed
from pgnet_trio.server.room.frozen import FrozenMember, FrozenRoom, frozen_question, random_state

if TYPE_CHECKING:
    from random import Random

    from pgnet_trio.recording import Beginning, GameDescription
    from pgnet_trio.server.room.frozen import Thawing
    from pgnet_trio.server.room.kept import Kept
    from pgnet_trio.server.room.player import Player
    from pgnet_trio.server.room.room import RoomTask

__all__ = ["Beginnings", "Life"]


@attrs.define
class Life:
    """What is counted from when a game is made to its end.

    Attributes:
        name: Tells it from others; empty before the first.
        began_at: When it began, as a part of a file's name.
        segments: How many files it has.
        turns: How many turns have begun.
        coroutines: How many coroutines of the game there have been.
        calls: How many saves and reports it has asked for.
        scripts: The names of the coroutines that are under way, by their numbers.
        crashed: Whether the game has raised.
        is_empty: Whether no user is in it.
    """

    name: str = ""
    began_at: str = ""
    segments: int = 0
    turns: int = 0
    coroutines: int = 0
    calls: int = 0
    scripts: dict[int, str] = attrs.field(factory=dict)
    crashed: bool = False
    is_empty: bool = True


class Sessions:
    """Has a number for each session that a room knows."""

    def __init__(self) -> None:
        self._numbers: dict[Player, int] = {}
        self._count = 0

    def record_of(self, player: Player) -> SessionRecord:
        """Return a session as it is written down."""
        number = self._numbers.get(player)
        if number is None:
            self._count += 1
            number = self._numbers[player] = self._count
        return SessionRecord(
            number,
            player.username,
            player.online,
            player.takes_pushes,
            player.takes_player_lists,
        )

    def clear(self) -> None:
        """Forget them all; their numbers are not given again."""
        self._numbers.clear()


class Beginnings:
    """Makes the heads of a room's files.

    Args:
        game: What is said of the game.
        thawing: What the game goes on with that has moved here; None for nothing.
        kept: What an earlier room of it had.
        seed: What the game's randomness is made of.

    Attributes:
        sessions: The sessions that the room knows.
    """

    _room: RoomTask
    _random: Random

    def __init__(
        self, game: GameDescription, thawing: Thawing | None, kept: Kept, seed: bytes
    ) -> None:
        self.sessions = Sessions()
        self._game = game
        self._thawing = thawing
        self._kept = kept
        self._seed = seed

    def attach(self, room: RoomTask, source: Random) -> None:
        """Note the room, and its game's randomness."""
        self._room, self._random = room, source

    def next(self, life: Life) -> Beginning:
        """Return what the room's next game is, before it is made, after that of *life*."""
        is_loaded = self._room.instance.loaded is not None
        if life.name:
            again: Beginning = "reloaded" if is_loaded else "rematch"
            return "restarted" if life.crashed else again
        if self._thawing is not None:
            return "moved"
        return "saved" if is_loaded else "new"

    def head(self, beginning: Beginning, life: Life, waiting: int) -> Head:
        """Return the head of a file that begins now.

        Args:
            beginning: What the game is.
            life: What was counted of it.
            waiting: How many of the turns that follow wait in the queue.
        """
        room, game = self._room, self._game
        instance, members = room.instance, room.members
        is_first = beginning in ("new", "saved")
        return Head(
            package=version("pgnet_trio"),
            python=platform.python_version(),
            game=game.game,
            class_name=self._class_name,
            source=game.source,
            hash_seed=hash_seed(),
            unrepeatable=[*game.unrepeatable],
            table=room.name,
            options=dict(room.options),
            began_at=wall_clock.get()().isoformat(),
            life=life.name,
            segment=life.segments,
            beginning=beginning,
            turn=life.turns,
            time=self._now(),
            seed=self._seed,
            save_string=instance.save_string if beginning == "snapshot" else instance.loaded,
            save_version=instance.save_version,
            kept=(self._kept if is_first else members.kept(moves=True)).plain(),
            begun=room.membership.begun,
            is_empty=life.is_empty,
            members=[
                Member(
                    member.player.username,
                    member.is_spectator,
                    member.player.online,
                    self.sessions.record_of(member.player).number,
                    member.player.takes_pushes,
                    member.player.takes_player_lists,
                )
                for member in members
            ],
            frozen=None if is_first else pack(self._frozen(beginning), FROZEN_VERSION),
            scripts=[OpenScript(number, name) for number, name in life.scripts.items()],
            coroutines=life.coroutines,
            calls=life.calls,
            waiting=waiting,
        )

    def _now(self) -> float:
        return trio.current_time() - self._room.instance.start

    @property
    def _class_name(self) -> str:
        if self._room.instance.made:
            return self._room.instance.class_name
        if self._thawing is not None:
            return self._thawing.room.game_class
        return self._game.class_name

    def _frozen(self, beginning: Beginning) -> FrozenRoom:
        room = self._room
        if beginning == "moved" and self._thawing is not None:
            # What waits follows by itself.
            return msgspec.structs.replace(self._thawing.room, requests=())
        state, gauss = random_state(self._random)
        names = {member.player.username for member in room.members}
        return FrozenRoom(
            game_class=self._class_name,
            time=self._now(),
            locked=room.membership.locked,
            was_entered=room.membership.was_entered,
            random=state,
            gauss=gauss,
            # As online: whoever is away was so before, and the game is not told again.
            members=tuple(
                FrozenMember(member.player.username, member.is_spectator, True)
                for member in room.members
            ),
            questions=tuple(
                frozen_question(question)
                for question in room.questions.pending
                if beginning in ("snapshot", "reloaded") and question.player in names
            ),
            requests=(),
            answers=(),
        )

"""A room as it travels to another server."""

from __future__ import annotations

import random
import struct
from collections.abc import Mapping

import attrs

from pgnet_trio.codec import Packed, decode_msgpack, encode_plain
from pgnet_trio.errors import CodecError
from pgnet_trio.messages import Packet
from pgnet_trio.server.room.player import HeldRequest, OpenQuestion, Player

__all__ = [
    "FrozenMember",
    "FrozenQuestion",
    "FrozenRoom",
    "HeldAnswer",
    "Thawing",
    "frozen_question",
    "question_of",
    "random_state",
    "restored_random",
]

_RANDOM = struct.Struct(">625I")


class FrozenMember(Packed, frozen=True):
    """A user who is in the game.

    Attributes:
        username: Who.
        is_spectator: Whether they only watch.
        online: Whether the game knows them as connected.
    """

    username: str
    is_spectator: bool
    online: bool


class FrozenQuestion(Packed, frozen=True):
    """A question that was open; see `OpenQuestion`.

    Attributes:
        id: Names it to the player.
        player: Who was asked.
        message: The question's message.
        payload: Its payload in msgpack.
        deadline: When the player's time is up, in the room's time; None for no limit.
        time: When it was asked, in the room's time.
    """

    id: int
    player: str
    message: str
    payload: bytes
    deadline: float | None
    time: float


class HeldAnswer(Packed, frozen=True):
    """An answer to a question that was open, which nobody has looked at.

    Attributes:
        question: The question's id.
        request: The answer.
    """

    question: int
    request: HeldRequest


class FrozenRoom(Packed, frozen=True):
    """What of a room travels beside its save string.

    Attributes:
        game_class: The name of the game's class.
        time: The room's time.
        locked: Whether nobody more may join.
        was_entered: Whether anybody has ever been in the game since it was loaded.
        random: The state of the game's randomness.
        gauss: The rest of that state.
        members: The users, in the order of joining.
        questions: The questions that were open.
        requests: The requests that the game has not begun with, in their order.
        answers: The answers to these questions that came already: the room had moved before, and
            its game had not asked them again.
    """

    game_class: str
    time: float
    locked: bool
    was_entered: bool
    random: bytes
    gauss: float | None
    members: tuple[FrozenMember, ...]
    questions: tuple[FrozenQuestion, ...]
    requests: tuple[HeldRequest, ...]
    answers: tuple[HeldAnswer, ...]

    def check(self) -> None:
        """Check that this can be a room.

        Raises:
            CodecError: It cannot; the message says what is wrong.
        """
        names = [member.username for member in self.members]
        players = {member.username for member in self.members if not member.is_spectator}
        asked = [question.player for question in self.questions]
        if len(set(names)) != len(names):
            raise CodecError("expected a packed room with each user once, got one twice")
        if not players.issuperset(asked):
            raise CodecError(
                "expected a packed room that asks its players, got one that asks others"
            )
        if not 0 <= self.time < float("inf"):
            raise CodecError(f"expected a packed room with a time in seconds, got {self.time:g}")
        for question in self.questions:
            question_of(question)
        for request in (*self.requests, *(answer.request for answer in self.answers)):
            if request.player not in names:
                raise CodecError("expected a packed room with requests of its users, got others")
            request.check()
        restored_random(self)


@attrs.frozen
class Thawing:
    """What a room goes on with.

    Attributes:
        room: The room as it was frozen.
        players: The sessions of its users here; who has none is not in the game any more.
    """

    room: FrozenRoom
    players: Mapping[str, Player]


def frozen_question(question: OpenQuestion) -> FrozenQuestion:
    """Return a question as it travels."""
    packet = question.packet
    return FrozenQuestion(
        question.id,
        question.player,
        packet.message,
        encode_plain(packet.payload),
        question.deadline,
        question.time,
    )


def question_of(frozen: FrozenQuestion) -> OpenQuestion:
    """Return a question that has travelled; nobody waits for its answer.

    Raises:
        CodecError: Its payload is none.
    """
    payload = decode_msgpack(frozen.payload, dict)
    return OpenQuestion(
        frozen.id,
        frozen.player,
        Packet(frozen.message, payload),
        frozen.deadline,
        frozen.time,
        object,
        None,
    )


def random_state(source: random.Random) -> tuple[bytes, float | None]:
    """Return the state of a game's randomness, as two fields of `FrozenRoom`."""
    _, words, gauss = source.getstate()
    return _RANDOM.pack(*words), gauss


def restored_random(room: FrozenRoom) -> random.Random:
    """Return a game's randomness as it was.

    Raises:
        CodecError: It can be none.
    """
    source = random.Random()
    try:
        source.setstate((3, _RANDOM.unpack(room.random), room.gauss))
    except (struct.error, ValueError, TypeError) as error:
        raise CodecError(f"expected a packed room with a state of random.Random: {error}") from None
    return source

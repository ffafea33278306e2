"""What an exploration shows: a player to a strategy, and a game at rest to an invariant."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from pgnet_trio.codec import encode_json, from_plain
from pgnet_trio.messages import Response, Status

if TYPE_CHECKING:
    from pgnet_trio.client import Client

__all__ = ["Invariant", "Move", "Seat", "Strategy", "Table", "same_order", "same_state"]

ModelT = TypeVar("ModelT")


@attrs.frozen
class Move:
    """A message that a player sent, or an answer to a question, and what became of it.

    Attributes:
        time: When the game replied, in seconds since the simulation began.
        player: Who sent it.
        message: An attrs model, or a packet.
        response: What the game replied.
    """

    time: float
    player: str
    message: Any
    response: Response

    @property
    def accepted(self) -> bool:
        """Whether the game took it."""
        return self.response.status == Status.OK

    @property
    def outcome(self) -> str:
        """The message and what the game replied, for people."""
        refused = "" if self.accepted else "refused: "
        return f"{self.message!r} -> {refused}{self.response.message}"


class Seat:
    """What a strategy sees: a player, and what that player knows.

    Attributes:
        player: The player's name.
        client: The player's client.
        random: The only randomness that a strategy may use, so that a seed repeats everything.
    """

    def __init__(self, client: Client, random: random.Random) -> None:
        self.player = client.username
        self.client = client
        self.random = random

    @property
    def state(self) -> Any:
        """The state that the player sees, as plain data; None where there is none."""
        try:
            return self.client.get_state(Any)
        except RuntimeError:
            return None

    def read(self, model: type[ModelT]) -> ModelT:
        """Return the state that the player sees, as a model.

        Raises:
            CodecError: The state is no such model.
            RuntimeError: There is no state.
        """
        return self.client.get_state(model)


@attrs.frozen
class Table:
    """What an invariant sees: a game at rest, with every player online.

    Attributes:
        game: The author's object, which the server runs.
        players: Who is in the game.
        moves: All moves so far.
        time: Seconds since the simulation began.
        states: What each player sees, as plain data.
        answers: All answers to questions so far.
        views: What the game's ``view`` returns for each player now, as plain data.
    """

    game: Any
    players: Sequence[str]
    moves: Sequence[Move]
    time: float
    states: Mapping[str, Any]
    answers: Sequence[Move] = ()
    views: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def accepted(self) -> list[Move]:
        """The moves that the game took."""
        return [move for move in self.moves if move.accepted]

    @property
    def accepted_answers(self) -> list[Move]:
        """The answers that the game took."""
        return [answer for answer in self.answers if answer.accepted]

    def read(self, player: str, model: type[ModelT]) -> ModelT:
        """Return the state that a player sees, as a model.

        Raises:
            CodecError: The state is no such model.
        """
        return from_plain(self.states[player], model)


Strategy = Callable[[Seat], object]
"""Returns the next move of a player, an attrs model or a packet; None for no move now."""

Invariant = Callable[[Table], object]
"""Raises, or returns False, where something does not hold."""


def same_state(table: Table) -> None:
    """Check that all players see the same: an invariant for games without secrets."""
    for player in table.players[1:]:
        first = table.players[0]
        assert table.states[player] == table.states[first], (
            f"{player} sees {table.states[player]!r}, and {first} {table.states[first]!r}"
        )


def same_order(table: Table) -> None:
    """Check that all players see maps in the order in which ``view`` returns them.

    An invariant for games whose clients show a map in its order. The order is not sent: whoever
    was there has new keys last, and whoever joins later gets the map as it is then.
    """
    for player, shown in table.views.items():
        seen = table.states[player]
        # Text keeps the order, which an equality of dicts does not look at.
        assert encode_json(seen) == encode_json(shown), (
            f"{player} sees {seen!r}, in another order than view(): {shown!r}. The order of a map "
            "is not sent; show a list where it matters"
        )

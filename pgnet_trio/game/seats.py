"""The seats of a game: the rules of who has which, and what a game sees of them."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from inspect import getattr_static
from typing import TYPE_CHECKING, TypeAlias

from pgnet_trio.errors import Reject

if TYPE_CHECKING:
    from pgnet_trio.game.room import BotPlayer, RoomBackend

__all__ = ["Seat", "SeatPlan", "Seats", "seats_of"]

Seat: TypeAlias = int | str
"""A seat's number, from 0, or its name."""


def seats_of(cls: type) -> tuple[Seat, ...] | None:
    """Return the seats that a game's class declares; None for any number of them.

    What is neither a number nor a tuple of names is an attribute of the author's own.

    Args:
        cls: The class.
    """
    declared = getattr_static(cls, "seats", None)
    if type(declared) is int and declared > 0:
        return tuple(range(declared))
    if isinstance(declared, tuple) and declared and all(isinstance(x, str) for x in declared):
        return tuple(dict.fromkeys(declared))
    most = getattr_static(cls, "max_players", None)
    return tuple(range(most)) if type(most) is int and most > 0 else None


class SeatPlan:
    """Who has which seat, and which bot plays in whose stead.

    A player has one seat at most, and keeps it when they leave the game.

    Attributes:
        holders: Who has each seat that is taken.
        substitutes: The bots that play in seats of others.
    """

    def __init__(self) -> None:
        self.holders: dict[Seat, str] = {}
        self.substitutes: dict[Seat, str] = {}
        self._seats: tuple[Seat, ...] | None = None

    def declare(self, seats: tuple[Seat, ...] | None) -> None:
        """Set which seats there are; whoever has another one has none any more.

        Args:
            seats: The seats in their order; None for any number.
        """
        self._seats = seats
        if seats is not None:
            for seat in self.holders.keys() - set(seats):
                self._free(seat)

    @property
    def order(self) -> tuple[Seat, ...]:
        """All seats in their order; where there is any number of them, those that are taken."""
        if self._seats is not None:
            return self._seats
        return tuple(sorted(self.holders, key=lambda seat: (isinstance(seat, str), seat)))

    def seat_of(self, player: str) -> Seat | None:
        """Return whose seat a player, or a bot in their stead, plays in; None for none."""
        for seats in (self.holders, self.substitutes):
            for seat, name in seats.items():
                if name == player:
                    return seat
        return None

    def player_in(self, seat: Seat, present: Container[str]) -> str | None:
        """Return who plays in a seat now: a substitute before its holder; None for nobody.

        Args:
            seat: The seat.
            present: The players who are in the game.
        """
        for name in (self.substitutes.get(seat), self.holders.get(seat)):
            if name is not None and name in present:
                return name
        return None

    def take(self, player: str, seat: Seat | None = None) -> Seat:
        """Give a player a seat, instead of the one that they have.

        Args:
            player: Who.
            seat: Which; None for the one that they have, or else the first that is free.

        Raises:
            Reject: It is another player's, there is none of that name, or none is free.
        """
        held = self.seat_of(player)
        if seat is None:
            if held is not None:
                return held
            seat = self._first_free()
        elif not self._exists(seat):
            names = ", ".join(map(str, self.order))
            raise Reject(f"There is no seat {str(seat)[:60]}; there are: {names}.")
        holder = self.holders.get(seat)
        if holder not in (None, player):
            raise Reject(f"The seat {seat} is {holder}'s.")
        if held is not None and held != seat:
            self._free(held)
        self.holders[seat] = player
        return seat

    def leave(self, player: str) -> Seat | None:
        """Take a player's seat, and return it; None where they have none."""
        for seat, holder in self.holders.items():
            if holder == player:
                self._free(seat)
                return seat
        return None

    def substitute(self, player: str, bot: str) -> Seat:
        """Have a bot play in a player's seat.

        Raises:
            ValueError: The player has no seat.
        """
        for seat, holder in self.holders.items():
            if holder == player:
                self.substitutes[seat] = bot
                return seat
        raise ValueError(f"expected a player who has a seat, got {player!r}")

    def end_substitution(self, player: str) -> str | None:
        """Let a player play for themselves again; return the bot that has, None for none."""
        for seat, holder in self.holders.items():
            if holder == player:
                return self.substitutes.pop(seat, None)
        return None

    def forget_bots(self) -> None:
        """Forget all substitutes, who are gone with the game that has added them."""
        self.substitutes.clear()

    def has_place_for(self, player: str, players: Iterable[str], most: int) -> bool:
        """Return whether one more player may be in the game.

        A seat is one place, whoever plays in it, and also while nobody does.

        Args:
            player: Who would like to be.
            players: Who is in it.
            most: How many may play.
        """
        if self.seat_of(player) is not None:
            return True
        others = sum(self.seat_of(each) is None for each in players)
        return len(self.holders) + others < most

    def _exists(self, seat: Seat) -> bool:
        if self._seats is None:
            return type(seat) is int and seat >= 0
        # True is 1 for Python, and no seat.
        return type(seat) in (int, str) and seat in self._seats

    def _first_free(self) -> Seat:
        if self._seats is None:
            return next(number for number in range(len(self.holders) + 1) if number not in self.holders)
        for seat in self._seats:
            if seat not in self.holders:
                return seat
        raise Reject("All seats are taken.")

    def _free(self, seat: Seat) -> None:
        self.holders.pop(seat, None)
        self.substitutes.pop(seat, None)


class Seats(Mapping[Seat, str | None]):
    """The seats of a game, each with the name of who has it; ``self.room.seats``.

    A class says how many there are, as in ``seats = 4``, or what they are called, as in
    ``seats = ("north", "east", "south", "west")``. Without that there are as many as `max_players`,
    or any number, and their names are numbers from 0.

    A player has one seat at most, and keeps it until they are kicked or the game takes it: who
    leaves the game and comes back has it again, also after a restart, and is let in where the game
    is full or locked. A seat counts in `max_players` while its holder is away.
    """

    __slots__ = ("_backend",)

    def __init__(self, backend: RoomBackend) -> None:
        self._backend = backend

    def __repr__(self) -> str:
        return f"<Seats {dict(self)!r}>"

    def __getitem__(self, seat: Seat) -> str | None:
        plan = self._backend.seats
        if seat not in plan.order:
            raise KeyError(seat)
        return plan.holders.get(seat)

    def __iter__(self) -> Iterator[Seat]:
        return iter(self._backend.seats.order)

    def __len__(self) -> int:
        return len(self._backend.seats.order)

    @property
    def free(self) -> list[Seat]:
        """The seats that nobody has; none where there is any number of seats."""
        return [seat for seat, holder in self.items() if holder is None]

    def of(self, player: str, /) -> Seat | None:
        """Return which seat somebody has, or plays in as a substitute; None for none."""
        return self._backend.seats.seat_of(player)

    def player(self, seat: Seat, /) -> str | None:
        """Return who plays in a seat now: who has it, or the bot in their stead.

        None where nobody does: they are not in the game.
        """
        return self._backend.seats.player_in(seat, self._backend.players)

    async def wait_player(self, seat: Seat, /) -> str:
        """Wait until somebody plays in a seat, and return who.

        Call this in `Game.run` and in tasks of ``room.nursery`` only. A bot that has just been
        made a substitute, for one, joins after the turn.

        Raises:
            RuntimeError: This was called in a turn, during which nobody can join.
            KeyError: There is no such seat.
        """
        if seat not in self._backend.seats.order:
            raise KeyError(seat)
        return await self._backend.wait_player(seat)

    def take(self, player: str, seat: Seat | None = None, /) -> Seat:
        """Give a player a seat, instead of the one that they have.

        Where a bot plays in their stead, it is kicked after this turn.

        Args:
            player: Who: somebody who is in the game, as a player.
            seat: Which; None for the one that they have, or else the first that is free.

        Returns:
            The seat.

        Raises:
            Reject: It is another player's, there is none of that name, or none is free. In a
                handler or a hook that answers the player.
            ValueError: They are not in the game.
        """
        if player not in self._backend.players:
            raise ValueError(f"expected a player of this game, got {player!r}")
        taken = self._backend.seats.take(player, seat)
        self._backend.end_substitution(player)
        return taken

    def leave(self, player: str, /) -> Seat | None:
        """Free a player's seat; a bot that plays in their stead is kicked after this turn.

        Returns:
            The seat; None where they had none.
        """
        self._backend.end_substitution(player)
        return self._backend.seats.leave(player)

    def substitute(self, player: str, bot: BotPlayer, /) -> None:
        """Have a bot play in a player's seat until they are back.

        It joins as with `Room.add_bot`, and takes no place of its own. It is kicked when the player
        joins again, when a dropped connection of theirs is back, and when they take their seat.

        Args:
            player: Who has the seat, in the game or not.
            bot: The bot.

        Raises:
            ValueError: The player has no seat; or the bot's name could be a user's, or somebody in
                the game has it.
        """
        plan = self._backend.seats
        if player not in plan.holders.values():
            raise ValueError(f"expected a player who has a seat, got {player!r}")
        self._backend.add_bot(bot)
        self._backend.end_substitution(player)
        plan.substitute(player, bot.username)


"""The rules of who has which seat of a game."""

from __future__ import annotations

from collections.abc import Container, Iterable
from inspect import getattr_static
from typing import TypeAlias

from pgnet_trio.errors import Reject

__all__ = ["Seat", "SeatPlan", "seats_of"]

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
            return next(
                number for number in range(len(self.holders) + 1) if number not in self.holders
            )
        for seat in self._seats:
            if seat not in self.holders:
                return seat
        raise Reject("All seats are taken.")

    def _free(self, seat: Seat) -> None:
        self.holders.pop(seat, None)
        self.substitutes.pop(seat, None)

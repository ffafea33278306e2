"""What a game sees of its seats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from pgnet_trio.game.seat_plan import Seat

if TYPE_CHECKING:
    from pgnet_trio.game.backend import BotPlayer, RoomBackend

__all__ = ["Seats"]


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
        import trio

        # Also for a loop over calls that end at once.
        await trio.lowlevel.checkpoint()
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
        self._backend.note_seated(player)
        return taken

    def leave(self, player: str, /) -> Seat | None:
        """Free a player's seat; a bot that plays in their stead is kicked after this turn.

        Returns:
            The seat; None where they had none.
        """
        self._backend.note_seated(player)
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
        self._backend.note_seated(player)
        plan.substitute(player, bot.username)

"""What a game sees of the server around it: `Room`.

It is a little long: each name is documented here, and the work is done elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from pgnet_trio.errors import PlayerLeft
from pgnet_trio.game.asking import (
    NO_DEFAULT,
    NoDefault,
    check_arguments,
    check_count,
    check_player,
    check_players,
)
from pgnet_trio.game.ready import Readiness
from pgnet_trio.game.seats import Seats
from pgnet_trio.standings import Result

if TYPE_CHECKING:
    import random

    import trio

    from pgnet_trio.game.backend import BotPlayer, Nursery, RoomBackend
    from pgnet_trio.netcode import Past
    from pgnet_trio.standings import PlayedGame

__all__ = ["Room"]

AnswerT = TypeVar("AnswerT")
ModelT = TypeVar("ModelT")


class Room:
    """What a game sees of the server around it, as ``self.room``.

    A game that was made outside a server has a detached room: it has no players and nothing saved,
    and raises RuntimeError for everything else.
    """

    __slots__ = ("_backend",)

    def __init__(self, backend: RoomBackend | None) -> None:
        self._backend = backend

    def __repr__(self) -> str:
        if self._backend is None:
            return "<Room, detached>"
        return f"<Room {self._backend.name!r} with {len(self._backend.players)} players>"

    @property
    def name(self) -> str:
        """The game's name in the lobby."""
        return self._attached.name

    @property
    def options(self) -> Mapping[str, Any]:
        """The *options* of ``client.create_game`` that the game was created with."""
        return self._attached.options

    @property
    def players(self) -> list[str]:
        """The players in the order of joining; dropped ones too, spectators not."""
        return [] if self._backend is None else self._backend.players

    @property
    def locked(self) -> bool:
        """Whether nobody more may join. May be assigned at any time."""
        return self._attached.locked

    @locked.setter
    def locked(self, locked: bool) -> None:
        self._attached.locked = locked

    @property
    def unlisted(self) -> bool:
        """Whether the directory of games leaves this one out. May be assigned at any time.

        Whoever has its name, or its code, can join.
        """
        return self._attached.unlisted

    @unlisted.setter
    def unlisted(self, unlisted: bool) -> None:
        if type(unlisted) is not bool:
            raise TypeError(f"room.unlisted: expected True or False, got {unlisted!r}")
        self._attached.unlisted = unlisted

    @property
    def host(self) -> str | None:
        """The player whose table it is: who created the game, at first. May be assigned.

        When the host leaves, it is the player who is connected and has been in the game for
        longest. After a restart of the server it is the same one as before, once they are back; who
        has been here for longest stands in. None where nobody has joined yet, and nobody's program
        has created the game. A bot is never host, and no spectator is.
        """
        return self._attached.host

    @host.setter
    def host(self, name: str) -> None:
        self._attached.host = name

    @property
    def seats(self) -> Seats:
        """The seats, each with who has it; see `Seats`."""
        return Seats(self._attached)

    @property
    def ready(self) -> Readiness:
        """The ready check; see `Readiness`."""
        return Readiness(self._attached)

    @property
    def random(self) -> random.Random:
        """The game's own random numbers, seeded by the server; not for secrets."""
        return self._attached.random

    @property
    def nursery(self) -> Nursery:
        """A nursery whose tasks end with the game. An exception of one crashes this game alone."""
        return self._attached.nursery

    def time(self) -> float:
        """Return the time in seconds since the game was made; clients have the same clock.

        Of a persistent game with `update` it goes on after a restart of the server, from its save.
        """
        return self._attached.time()

    @property
    def tick(self) -> int:
        """The number of the update that runs, or ran last; 0 before the first.

        An update that was skipped, because the one before was late, counts too. So a tick is always
        at the same time of the room, `tick` * `dt`, after a restart of the server as well.
        """
        return self._attached.tick

    @property
    def dt(self) -> float:
        """Seconds from one update to the next, 1 / `Game.update_rate`; 0 without updates."""
        return self._attached.dt

    def next_input(self, player: str, /) -> Any:
        """Return what a player does in this tick: one of their inputs for each tick, in order.

        Call it in `Game.update`, once for each player or more often: in one tick it is always the
        same. Where none has come for this tick, it is the last one again, and `input_repeated`
        says so.

        Args:
            player: Who.

        Returns:
            An object of the model in `Game.inputs`, which is not to be changed. None where the
            player has made none yet, is away, or does not play.

        Raises:
            RuntimeError: The game's class declares no `Game.inputs`, or has no `update`.
        """
        return self._attached.next_input(player)

    def input_repeated(self, player: str, /) -> bool:
        """Return whether a player's input of this tick is the one before, played again.

        Hold what is held then, and do not do again what is done once: a shot, say.
        """
        return self._attached.input_repeated(player)

    def rewind(self, player: str, /) -> Past:
        """Return where things were when a player saw them who made the input of this tick.

        It is what their client has shown, between two ticks too, and nothing has changed in the
        game itself: each thing is a copy. Nobody has seen what is longer ago than half a second.

        Args:
            player: Whose eyes. For one who has made no input it is the latest tick.

        Returns:
            The past: ``room.rewind("ann").ships["bob"].x``, with the names that `Game.rewinds`
            declares.

        Raises:
            RuntimeError: The game's class declares nothing in `Game.rewinds`.
        """
        return self._attached.rewind(player)

    def push(
        self,
        message: object,
        payload: dict[str, Any] | None = None,
        *,
        to: str | Iterable[str] | None = None,
        exclude: str | Iterable[str] = (),
    ) -> None:
        """Send players something unasked. It arrives once and in order, also after a drop.

        It leaves at the end of this turn, after the new state. Players with protocol 1 do not get
        it.

        Args:
            message: An attrs model, a `Push`, a `Packet`, or a text.
            payload: The data, where *message* is a text.
            to: Who gets it: a player, or several; None for everybody, spectators included.
            exclude: Who does not get it: a player, or several.

        Raises:
            TypeError: It cannot travel, and the error says where; or there are two payloads. It is
                too long, over 900 KiB, or this turn has pushed too much to one player.
        """
        self._attached.push(message, payload, to, exclude)

    def kick(self, player: str, reason: str = "") -> None:
        """Remove a player or spectator after this turn; ``user_left`` is called then.

        Args:
            player: Who. Nothing happens where they are not in the game.
            reason: What they are told.
        """
        self._attached.kick(player, reason)

    def close(self, reason: str = "") -> None:
        """End the game after this turn; everybody returns to the lobby.

        Args:
            reason: What everybody is told.
        """
        self._attached.end(reason)

    def rematch(self) -> None:
        """Begin a new game after this turn, with the same people, under the same name.

        The server makes a new object of the class, with the same options and without a save string,
        and calls its ``user_joined`` for each player. Host and seats stay; `locked` and the ready
        check begin anew, and so do bots, which the new object adds again. Tasks of this game are
        cancelled, its questions withdrawn, and packets that wait are refused. Nobody is told that
        they have left: they see the state of the new game in the place of the old one.

        Raises:
            RuntimeError: The game has not begun itself: this was called in ``__init__``, or while
                it is told who is there at its beginning.
        """
        self._attached.rematch()

    def sync(self) -> None:
        """Send what has changed of the state now.

        Only tasks that the game started outside `nursery` have to call this.
        """
        self._attached.sync()

    def saved(self, model: type[ModelT], /) -> ModelT | None:
        """Return the model that ``get_save_string`` returned when the game was last saved.

        Args:
            model: The model's class.

        Returns:
            The model; None for a new game.

        Raises:
            CodecError: The save string is no such model.
        """
        return None if self._backend is None else self._backend.saved(model)

    async def ask(
        self,
        player: str,
        question: object,
        answer: type[AnswerT],
        /,
        *,
        timeout: float | None = None,
        default: AnswerT | NoDefault = NO_DEFAULT,
        check: Callable[[AnswerT], None] | None = None,
    ) -> AnswerT:
        """Ask a player something, and wait for the answer.

        Call this in `Game.run` and in tasks of `nursery` only. The question survives a dropped
        connection. A cancellation, or a deadline around the call, withdraws it; the player sees
        that deadline too.

        Args:
            player: Who is asked.
            question: An attrs model, or a packet.
            answer: The attrs class of the answer.
            timeout: Seconds for the answer; None for any time.
            default: What to return when the time is up: an *answer*, or None.
            check: Called with each answer; it raises `Reject` to refuse one, and returns nothing.
                The player is told why, and may answer again until the deadline.

        Raises:
            CodecError: The question cannot travel, or it is too long, over 900 KiB.
            trio.TooSlowError: The time is up, and there is no default.
            PlayerLeft: The player left the game, or is not in it.
            RuntimeError: This was called in a turn, where the answer could never come.
            TypeError: An argument is of another type, or the check returned something.
            ValueError: The timeout is below 0, or there is a default and no timeout.
        """
        await _checkpoint()
        backend = self._attached
        try:
            check_player(player)
            check_arguments("ask", answer, timeout, default, check)
        except (TypeError, ValueError) as error:
            backend.note_failed_call(error)
            raise
        return await backend.ask(player, question, answer, timeout, default, check)

    async def ask_all(
        self,
        players: Iterable[str],
        question: object,
        answer: type[AnswerT],
        /,
        *,
        timeout: float | None = None,
        default: AnswerT | NoDefault = NO_DEFAULT,
        check: Callable[[AnswerT], None] | None = None,
        leavers: Literal["raise", "default"] = "raise",
    ) -> dict[str, AnswerT]:
        """Ask several players the same thing at the same time, and wait for all answers.

        When `ask` raises for one of the players, all questions are withdrawn, and this raises the
        same.

        Args:
            players: Who are asked, each once.
            question: As in `ask`.
            answer: As in `ask`.
            timeout: As in `ask`.
            default: As in `ask`.
            check: As in `ask`.
            leavers: What becomes of the others when one of the players leaves, or is not in the
                game: ``"raise"`` withdraws their questions, and raises `PlayerLeft`;
                ``"default"`` goes on with the default as the answer of whoever has left.

        Returns:
            The answers by player, in the order of *players*.
        """
        import trio

        await _checkpoint()
        # Check here: the error of `ask` would name a method that the author did not call.
        backend = self._attached
        backend.refuse_in_turn("ask_all")
        try:
            names = check_players(players)
            check_arguments("ask_all", answer, timeout, default, check, leavers)
        except (TypeError, ValueError) as error:
            backend.note_failed_call(error)
            raise
        if not names:
            # It may be right, but a loop that asks nobody again and again waits for nothing.
            backend.note_failed_call(PlayerLeft("room.ask_all was called for no players"))
            return {}
        answers: dict[str, AnswerT] = {}
        errors: list[Exception] = []

        async def ask_one(player: str, scope: trio.CancelScope) -> None:
            try:
                answers[player] = await backend.ask(
                    player, question, answer, timeout, default, check
                )
            except Exception as error:
                if isinstance(error, PlayerLeft) and leavers == "default":
                    answers[player] = cast("AnswerT", default)
                    return
                errors.append(error)
                scope.cancel()

        async with trio.open_nursery() as nursery:
            for player in names:
                nursery.start_soon(ask_one, player, nursery.cancel_scope)
        if errors:
            raise errors[0]
        return {player: answers[player] for player in names}

    async def wait_players(self, count: int, /) -> list[str]:
        """Wait until the game has at least so many players.

        Call this in `Game.run` and in tasks of `nursery` only.

        Returns:
            The players in the order of joining.

        Raises:
            RuntimeError: This was called in a turn, during which nobody can join.
            TypeError: *count* is no int.
        """
        await _checkpoint()
        backend = self._attached
        try:
            check_count(count)
        except TypeError as error:
            backend.note_failed_call(error)
            raise
        return await backend.wait_players(count)

    def add_bot(self, bot: BotPlayer, /) -> None:
        """Let a bot join the game. It plays in a task of its own, and ends with the game.

        It joins after this turn, like a user: ``user_joined`` may refuse it, and it counts for
        `max_players`. A bot does not keep a game alive: the game ends when its last user leaves.

        Args:
            bot: The bot. One object plays in one game at a time.

        Raises:
            ValueError: The bot's name could be a user's, or somebody in the game has it.
        """
        self._attached.add_bot(bot)

    async def save(self) -> None:
        """Save this game now. It is on disk when this returns.

        Raises:
            StorageError: The save could not be written; the next autosave tries again. A handler
                that does not catch this refuses its message with it, and no table crashes by it.
        """
        await _checkpoint()
        await self._attached.save()

    async def report(self, result: Result, /) -> PlayedGame:
        """Count how this game ended: for leaderboards, ratings and the histories of its players.

        It is on disk when this returns, and counts once: a game that is loaded again, or goes on at
        another server, may report the same result again, and gets the same answer. `rematch` begins
        a new game, which has its own result. Bots are in the histories of those they played with,
        on no leaderboard, and have no rating.

        Cancellation counts it or not, as a whole.

        Args:
            result: Who came in which place, and with which score.

        Returns:
            What is kept of it, with how ratings have changed.

        Raises:
            StorageError: It was not counted: this game has reported a result already, or it could
                not be written, or the server's saves have no place for it; the message says which.
                A handler that does not catch this refuses its message with it, and no table
                crashes by it.
            TypeError: *result* is no `Result`.
            ValueError: A name is nobody's who is or was a player of this game, or the game's class
                declares no such leaderboard.
        """
        await _checkpoint()
        if not isinstance(result, Result):
            raise TypeError(f"room.report(): expected a Result, got {result!r}")
        return await self._attached.report(result)

    @property
    def _attached(self) -> RoomBackend:
        if self._backend is None:
            raise RuntimeError(
                "this game has no room: it was made outside a server. Host it with Server or "
                "Client.local, or in a test with pgnet_trio.testing: hosting(...) runs a server, "
                "detached(...) makes one game without a server."
            )
        return self._backend


async def _checkpoint() -> None:
    """Let other tasks run first, so that a loop over calls that fail at once blocks nobody."""
    import trio

    # Outside of Trio, there is no room either, and the error says so.
    if trio.lowlevel.in_trio_task():
        await trio.lowlevel.checkpoint()

"""The task that owns one game, and runs its turns one at a time."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import attrs
import trio

from pgnet_trio.errors import PGNetError, bare
from pgnet_trio.game import Game
from pgnet_trio.messages import Packet, Response, Status

__all__ = ["Player", "Room", "RoomClosed"]

logger = logging.getLogger("pgnet_trio.server")

UPDATE_INTERVAL = 0.1
"""Seconds from one call of a game's ``update`` to the next, as in PGNet."""

TURN_DEADLINE = 2.0
"""Seconds that a turn in progress gets to end, once its room has to close."""

DEFAULT_HEARTBEAT_RATE = 10.0
"""Heartbeats a second, where a game gives none that is above 0."""

GONE = "The game is over."


class RoomClosed(PGNetError):
    """The room ended before it could do what was asked of it; the message says why."""


class Player(Protocol):
    """What a room needs of a user's session."""

    @property
    def username(self) -> str:
        """Who it is."""

    def answer(self, request_id: int, response: Response, /) -> None:
        """Answer one of the player's requests."""


@attrs.frozen
class _PacketTurn:
    player: Player
    request_id: int
    packet: Packet


@attrs.define(eq=False)
class _Errand:
    """A turn that somebody may wait for; `ran` says whether it came to its end."""

    action: Callable[[], Awaitable[None] | None]
    done: trio.Event = attrs.field(factory=trio.Event)
    ran: bool = False


class Room:
    """Owns one game: everything that the game does is done by this room's task.

    The methods of a room are called from other tasks; those that are plain functions never
    wait. What the room learns from its game it publishes in its attributes.

    Args:
        name: The game's name.
        make_game: Makes the game; called once, in the room's task.
        is_empty: Says whether no user is in the game any more.
        dismiss: Called with a username when the game sends that user away, at once.
        on_end: Called once, when the room takes no more turns, with the reason.
        inbox_size: How many turns may wait. Every session has a bounded number of requests, so
            this is never reached where it is their sum.

    Attributes:
        info: What the game says about itself to those who look for one.
        save_string: What the game last gave to be saved; None before it was asked, empty when
            it is not persistent.
        crashed: Whether the game was ended by raising, or by a cancellation, and is not over.
        missed_ticks: How many updates were skipped because the one before was late.
    """

    def __init__(
        self,
        name: str,
        make_game: Callable[[], Game],
        *,
        is_empty: Callable[[], bool],
        dismiss: Callable[[str], None],
        on_end: Callable[[str], None],
        inbox_size: float,
    ) -> None:
        self.name = name
        self.info = ""
        self.save_string: str | None = None
        self.crashed = False
        self.missed_ticks = 0
        self._make_game = make_game
        self._is_empty = is_empty
        self._dismiss = dismiss
        self._on_end = on_end
        self._end_reason: str | None = None
        self._made = False
        self._has_info = False
        self._scope = trio.CancelScope()
        self._inbox, self._turns = trio.open_memory_channel[_PacketTurn | _Errand](inbox_size)
        self._saves_at_end = False
        self.ended = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Make the game, and run it until the room is closed or the game raises.

        Nothing that the game raises comes out, except what ends the whole program
        (``KeyboardInterrupt``, ``SystemExit``). Started once the game was made, or failed to be.
        Cancellation ends the turn in progress.
        """
        try:
            with self._scope:
                await self._play(task_status)
        except* Exception as group:
            self.crashed = True
            logger.error("Game %r raised, and is closed", self.name, exc_info=bare(group))
            self.close("The game crashed.")
        finally:
            if self._end_reason is None:
                # Only a cancellation, or what ends the whole program, ends a room that nobody
                # closed; its game is not over.
                self.crashed = True
            self.close(GONE)
            self._refuse_what_waits()
            self.ended.set()
        if not self._made:
            task_status.started()

    def handle(self, player: Player, request_id: int, packet: Packet) -> None:
        """Have the game answer a packet; the player gets the answer when its turn is over."""
        turn = _PacketTurn(player, request_id, packet)
        if self._end_reason is None:
            self._inbox.send_nowait(turn)
        else:
            self._refuse(turn)

    async def join(self, username: str) -> float:
        """Tell the game that a user has joined, and wait until it took note.

        Cancelling this does not take it back: the game is still told.

        Returns:
            The game's heartbeat rate, in heartbeats a second.

        Raises:
            RoomClosed: The game ended before that.
        """
        rate = 0.0

        async def joined() -> None:
            nonlocal rate
            await _finish(self._game.user_joined(username))
            rate = float(self._game.heartbeat_rate)

        await self._wait_for(self._post(joined))
        # A rate of 0 would have an original client divide by zero.
        return rate if rate > 0 else DEFAULT_HEARTBEAT_RATE

    def leave(self, username: str) -> trio.Event:
        """Tell the game that a user has left; a game that nobody is in any more may end.

        Returns:
            An event that is set when the game took note, or ended.
        """

        async def left() -> None:
            await _finish(self._game.user_left(username))
            if self._is_empty() and not self._game.persistent:
                self.close(GONE)

        return self._post(left).done

    async def save(self) -> None:
        """Have `save_string` brought up to date, and wait for it.

        Raises:
            RoomClosed: The game ended before that.
        """
        await self._wait_for(self._post(self._take_save_string))

    def close(self, reason: str) -> None:
        """Take no more turns: the one in progress gets `TURN_DEADLINE` seconds to end."""
        if self._end_reason is None:
            self._end_reason = reason
            self._scope.deadline = trio.current_time() + TURN_DEADLINE
            self._inbox.close()
            self._on_end(reason)

    async def finish(self) -> None:
        """Close because the server ends: the turn in progress ends, then the game is saved.

        A game that does not get there within `TURN_DEADLINE` seconds is saved as it was when
        `save_string` was last taken. Cancellation leaves the room closing.
        """
        self._saves_at_end = self._end_reason is None
        self.close("The server is shutting down.")
        await self.ended.wait()

    async def _play(self, task_status: trio.TaskStatus[None]) -> None:
        self._game = self._make_game()
        game_class = type(self._game)
        self._has_info = game_class.get_lobby_info is not Game.get_lobby_info
        self._publish()
        self._made = True
        task_status.started()
        async with trio.open_nursery() as nursery:
            if game_class.update is not Game.update:
                nursery.start_soon(self._tick)
            await self._take_turns()
            nursery.cancel_scope.cancel()
        if self._saves_at_end:
            self._take_save_string()

    async def _take_turns(self) -> None:
        async for turn in self._turns:
            if self._end_reason is not None:
                self._refuse(turn)
                continue
            if isinstance(turn, _PacketTurn):
                await self._answer(turn)
            else:
                try:
                    await _finish(turn.action())
                    turn.ran = True
                finally:
                    turn.done.set()
            self._publish()

    async def _answer(self, turn: _PacketTurn) -> None:
        answered = False
        try:
            response = self._game.handle_packet(turn.packet)
            if not isinstance(response, Response):
                response = await _response(response, self._game)
            sent_away = response.disconnecting
            if sent_away:
                response = attrs.evolve(response, disconnecting=False)
                self._dismiss(turn.player.username)
            answered = True
            turn.player.answer(turn.request_id, response)
        finally:
            if not answered:
                self.crashed = True
                self.close("The game crashed.")
                self._refuse(turn)

    # Ctrl-C is for a game that does not come to an end, and not for what is about to wake it.
    @trio.lowlevel.enable_ki_protection
    async def _tick(self) -> None:
        deadline = trio.current_time() + UPDATE_INTERVAL
        errand: _Errand | None = None
        while True:
            await trio.sleep_until(deadline)
            late = int((trio.current_time() - deadline) / UPDATE_INTERVAL)
            deadline += (late + 1) * UPDATE_INTERVAL
            self.missed_ticks += late
            if errand is None or errand.done.is_set():
                errand = self._post(self._game.update)
            else:
                self.missed_ticks += 1

    def _publish(self) -> None:
        if self._has_info:
            info = self._game.get_lobby_info()
            if not isinstance(info, str):
                raise TypeError(f"get_lobby_info() has to return a str; it returned {info!r}.")
            self.info = info

    def _take_save_string(self) -> None:
        if not self._game.persistent:
            self.save_string = ""
            return
        save_string = self._game.get_save_string()
        if not isinstance(save_string, str):
            raise TypeError(
                "get_save_string() has to return a str; "
                f"it returned a {type(save_string).__name__}."
            )
        self.save_string = save_string

    def _post(self, action: Callable[[], Awaitable[None] | None]) -> _Errand:
        errand = _Errand(action)
        if self._end_reason is None:
            self._inbox.send_nowait(errand)
        else:
            self._refuse(errand)
        return errand

    async def _wait_for(self, errand: _Errand) -> None:
        await errand.done.wait()
        if not errand.ran:
            raise RoomClosed(self._end_reason or GONE)

    def _refuse(self, turn: _PacketTurn | _Errand) -> None:
        if isinstance(turn, _PacketTurn):
            response = Response(self._end_reason or GONE, status=Status.UNEXPECTED)
            turn.player.answer(turn.request_id, response)
        else:
            turn.done.set()

    def _refuse_what_waits(self) -> None:
        while True:
            try:
                self._refuse(self._turns.receive_nowait())
            except (trio.WouldBlock, trio.EndOfChannel):
                return


async def _finish(result: Any) -> None:
    if inspect.isawaitable(result):
        await result


async def _response(result: Any, game: Game) -> Response:
    if inspect.isawaitable(result):
        result = await result
    if not isinstance(result, Response):
        raise TypeError(
            f"{type(game).__name__} has to answer a packet with a Response; it returned {result!r}."
        )
    return result

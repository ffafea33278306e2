"""A game that is simulated tick by tick: which tick it is, what players do in it, and the past."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import attrs

from pgnet_trio.codec import from_parsed
from pgnet_trio.errors import CodecError
from pgnet_trio.foreign_text import one_line
from pgnet_trio.netcode import History, InputBuffer, Past
from pgnet_trio.protocol.v2.envelopes import encode_moment, moment_with
from pgnet_trio.typed import Handler

if TYPE_CHECKING:
    from pgnet_trio.protocol.events import InputReceived
    from pgnet_trio.server.room.instance import GameInstance
    from pgnet_trio.server.room.members import Member, Members

__all__ = ["Simulation"]

logger = logging.getLogger("pgnet_trio.server")


@attrs.define(eq=False)
class _Inputs:
    """The inputs of one player.

    Attributes:
        buffer: Those that wait.
        payload: The fields of the last one that came, as the player's client has sent them.
        value: The same as an object of the game's model.
        tick: In which tick one was played last.
    """

    buffer: InputBuffer
    payload: dict[str, Any] | None = None
    value: Any = None
    tick: int = -1


class Simulation:
    """Counts a game's ticks, holds its players' inputs, and remembers where things were.

    Args:
        instance: The game.
        members: Its players.

    Attributes:
        tick: The number of the latest update that has begun, or was skipped; 0 before the first.
            The tick of a number is always at the same time of the room.
        dt: Seconds from one tick to the next; 0 where the game has no ticks.
        is_used: Whether the game has ticks.
        dropped: How many inputs were never played: of those who do not play, of another kind than
            the game takes, too many, from the future, or of a player or a game that is gone.
    """

    def __init__(self, instance: GameInstance, members: Members) -> None:
        self.tick = 0
        self.dt = 0.0
        self.is_used = False
        self._instance = instance
        self._members = members
        # By the reason: of players who are gone, and what the class was told of already.
        self._dropped = Counter[str]()
        self._counted = Counter[str]()
        self._has_told = False
        self._players: dict[str, _Inputs] = {}
        self._history: History | None = None

    def begin(self) -> None:
        """Begin with a game that was just made."""
        instance = self._instance
        self._forget_all()
        # It may be of another class, which takes other inputs.
        self._has_told = False
        self.is_used = instance.has_ticks
        self.dt = 1 / instance.game.update_rate if instance.has_ticks else 0.0
        # A game that goes on, or is made again, has had those of before.
        self.tick = int(self._now() / self.dt) if instance.has_ticks else 0
        self._history = History(instance.rewinds) if instance.rewinds else None
        model = instance.inputs
        if model is not None and model.__name__ not in instance.handlers:
            # A client that does not know inputs sends them as messages.
            handler = Handler(model, lambda _, player, value: self._take_message(player, value))
            instance.handlers = {**instance.handlers, model.__name__: handler}

    @property
    def dropped(self) -> int:
        """How many inputs were never played."""
        return self._all_dropped().total()

    def count_dropped(self) -> None:
        """Count for the game's class what was dropped since the last call."""
        found, before = self._all_dropped(), self._counted
        for reason, count in found.items():
            self._instance.counters.dropped_inputs[reason] += count - before[reason]
        self._counted = found

    @property
    def rate(self) -> float:
        """How many ticks a second there are; 0 for none."""
        return self._instance.game.update_rate if self.is_used else 0.0

    @property
    def time(self) -> float:
        """The room's time that the state is of: that of the tick, however late its update was."""
        return self.tick * self.dt

    # What clients say.

    def take(self, player: str, given: InputReceived) -> bool:
        """Take an input of a player in; whoever does not play is not heard.

        Returns:
            Whether it has to be read with `read` instead, which may run code of the author's.
        """
        inputs = self._players.get(player)
        if inputs is None or given.payload is not inputs.payload:
            return self._may_play(player)
        # Nothing in it has changed, as long as a key is held.
        inputs.buffer.put(given.number, given.seen, inputs.value, self._now())
        return False

    def read(self, player: str, given: InputReceived) -> None:
        """Take in an input whose fields have changed."""
        model, inputs = self._instance.inputs, self._inputs_of(player)
        assert model is not None
        try:
            # A copy, since this changes what it is given.
            inputs.value = from_parsed(dict(given.payload), model)
        except CodecError as error:
            self._drop(player, str(error), "invalid")
            return
        inputs.payload = given.payload
        inputs.buffer.put(given.number, given.seen, inputs.value, self._now())

    def forget_client(self, player: str) -> None:
        """Forget the inputs of a player, who has left, or goes on with another client."""
        inputs = self._players.pop(player, None)
        if inputs is not None:
            self._add_dropped(self._dropped, inputs)
            if inputs.buffer:
                self._dropped["gone"] += len(inputs.buffer)

    # What the game asks for.

    def next_input(self, player: str) -> Any:
        """Return a player's input of this tick; None where there is none, or they are away.

        Raises:
            RuntimeError: The game's class declares no inputs, or it has no ticks.
        """
        inputs = self._players.get(player)
        if inputs is None:
            lack = self._lack()
            if lack:
                raise RuntimeError(f"room.next_input() has nothing to return: {lack}")
            return None
        member = self._members.get(player)
        if member is None or not member.player.online:
            return None
        if inputs.tick == self.tick:
            last = inputs.buffer.last
            return None if last is None else last.value
        inputs.tick = self.tick
        return inputs.buffer.next()

    def is_repeated(self, player: str) -> bool:
        """Return whether a player's input of this tick is the one before, played again."""
        inputs = self._players.get(player)
        return inputs is not None and inputs.buffer.is_repeated

    def rewind(self, player: str) -> Past:
        """Return where things were when a player saw them who made their last input.

        Raises:
            RuntimeError: The game's class declares nothing to rewind.
        """
        if self._history is None:
            raise RuntimeError(
                "room.rewind() needs to know what to remember: declare it in the game's class, as "
                'in rewinds = {"ships": Rewind("x", "y")}'
            )
        inputs = self._players.get(player)
        last = None if inputs is None else inputs.buffer.last
        return self._history.at(self.time if last is None else last.seen)

    # What the room does.

    def begin_tick(self, tick: int) -> None:
        """Note that the update of a tick begins."""
        self.tick = tick

    def end_tick(self) -> None:
        """Remember where things are after an update."""
        if self._history is not None:
            self._history.record(self.time, self._instance.game)

    def mark(self, viewers: Iterable[Member]) -> list[Member]:
        """Tell viewers of which tick their state is, unless they know; return who was told.

        Args:
            viewers: Those whose state has changed; where the game has inputs, all of them, since
                they want to know which input is in the state that has not changed.
        """
        tick = self.tick
        moment = b""
        marked = []
        players = self._players
        for viewer in viewers:
            if viewer.marked == tick:
                continue
            viewer.marked = tick
            moment = moment or encode_moment(tick, self.time)
            inputs = players.get(viewer.seat) if viewer.seat is not None else None
            confirmed = 0 if inputs is None else inputs.buffer.confirmed
            viewer.player.mark(moment_with(moment, confirmed) if confirmed else moment)
            marked.append(viewer)
        return marked

    def _now(self) -> float:
        """Return the room's time, which what players do is compared with."""
        instance = self._instance
        now = instance.time()
        return now if instance.tape is None else instance.tape.time(now)

    def _may_play(self, player: str) -> bool:
        """Return whether this is a player of a game that takes inputs; count it where it is not."""
        member = self._members.get(player)
        is_player = member is not None and member.seat is not None
        lack = self._lack()
        if is_player and not lack:
            return True
        self._drop(player, lack or "they only watch", "no_inputs" if lack else "no_player")
        return False

    def _lack(self) -> str:
        """Return what keeps this game from taking inputs; empty where nothing does."""
        if self._instance.inputs is None:
            return "the game's class declares no inputs, an attrs class, as in inputs = Thrust"
        if not self._instance.has_ticks:
            return "the game has no ticks: it needs an update, and an update_rate above 0"
        return ""

    def _drop(self, username: str, why: str, reason: str) -> None:
        """Count an input that is not played; log why, once for each game.

        Args:
            username: Whose it is.
            why: Why not, for people.
            reason: The same as a word.
        """
        self._dropped[reason] += 1
        if not self._has_told:
            self._has_told = True
            logger.info(
                "An input of %r was not taken by the game %r: %s. The player does not hear of it, "
                "because inputs are not answered",
                username,
                self._instance.name,
                one_line(why, 300),
            )

    def _inputs_of(self, player: str) -> _Inputs:
        inputs = self._players.get(player)
        if inputs is None:
            buffer = InputBuffer(self._instance.game.update_rate)
            inputs = self._players[player] = _Inputs(buffer)
        return inputs

    def _take_message(self, player: str, value: Any) -> None:
        """Take an input that came as a message: it has neither a number nor a time."""
        lack = self._lack()
        if lack:
            self._drop(player, lack, "no_inputs")
            return
        buffer = self._inputs_of(player).buffer
        number = max(buffer.received, buffer.confirmed) + 1
        buffer.put(number, self.time, value, self._now())

    def _all_dropped(self) -> Counter[str]:
        total = self._dropped.copy()
        for inputs in self._players.values():
            self._add_dropped(total, inputs)
        return total

    @staticmethod
    def _add_dropped(total: Counter[str], inputs: _Inputs) -> None:
        counts = inputs.buffer.counts
        if counts.dropped or counts.early:
            total["surplus"] += counts.dropped
            total["early"] += counts.early

    def _forget_all(self) -> None:
        for player in [*self._players]:
            self.forget_client(player)

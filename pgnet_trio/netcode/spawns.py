"""Predicted events and spawns: a shot that appears at once, and is confirmed or withdrawn."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Generic, TypeVar

import attrs

__all__ = ["MAX_SPAWNS", "PredictedSpawns", "SpawnOutcome"]

ThingT = TypeVar("ThingT")

MAX_SPAWNS = 256
"""Things that are predicted at the same time, at most."""


@attrs.frozen
class SpawnOutcome(Generic[ThingT]):
    """What a state of the server's says of predicted things.

    Attributes:
        confirmed: Those that the server has too, as of now.
        withdrawn: Those that are not there: the server made nothing of the input. One that a stall
            of the network has held up may be there later, as the things of others are.
        ended: Those that the server had, and has no more.
    """

    confirmed: dict[str, ThingT]
    withdrawn: dict[str, ThingT]
    ended: dict[str, ThingT]


@attrs.define
class _Entry(Generic[ThingT]):
    number: int
    thing: ThingT
    confirmed: bool = False


class PredictedSpawns(Generic[ThingT]):
    """What a player's inputs bring about before the server says so: shots, or sounds.

    Client and server have to find the same key for the same thing: where an input says how many
    shots the player has fired, ``f"{player}:{shots}"`` is one. A predicted thing is shown until the
    server has it no more, or never had it. The server's own copy is not to be shown beside it: ask
    ``key in spawns``.

    It knows no clock and no network, and never waits.
    """

    def __init__(self) -> None:
        self._entries: dict[str, _Entry[ThingT]] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self._entries)} things>"

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[ThingT]:
        return iter([entry.thing for entry in self._entries.values()])

    def add(self, key: str, number: int, thing: ThingT) -> bool:
        """Show a thing from now on.

        Args:
            key: What it is called, here as in the server's state.
            number: The number of the input that brought it about: `Frame.number`, or what
                `Client.input` returned.
            thing: What is shown, of any kind.

        Returns:
            Whether it was added: not twice, and no more than 256 at the same time.
        """
        if key in self._entries or len(self._entries) >= MAX_SPAWNS:
            return False
        self._entries[key] = _Entry(number, thing)
        return True

    def reconcile(self, confirmed: int | None, present: Collection[str]) -> SpawnOutcome[ThingT]:
        """Take in a state of the server's.

        Args:
            confirmed: The number of the last input that it contains, `Frame.confirmed`; None for
                none.
            present: The keys of what the server has in it.

        Returns:
            What became of the predicted things. The withdrawn and the ended are gone by now.
        """
        outcome: SpawnOutcome[ThingT] = SpawnOutcome({}, {}, {})
        for key, entry in list(self._entries.items()):
            if key in present:
                if not entry.confirmed:
                    entry.confirmed = True
                    outcome.confirmed[key] = entry.thing
            elif entry.confirmed:
                outcome.ended[key] = self._entries.pop(key).thing
            elif confirmed is not None and entry.number <= confirmed:
                outcome.withdrawn[key] = self._entries.pop(key).thing
        return outcome

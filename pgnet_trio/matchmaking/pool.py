"""Who looks for a game in one queue, and which match each of them is offered.

It decides nothing about the time: whoever owns it says what time it is.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import attrs

from pgnet_trio.matchmaking.tickets import Ticket

__all__ = ["Entry", "Offer", "Pool"]


@attrs.define(eq=False)
class Entry:
    """One user in the pool.

    Attributes:
        username: Who it is.
        rating: How well they play.
        properties: What they look for.
        since: Since when they wait.
        is_away: Whether they have no connection now, and so are in no new match.
        offer: The match that they are offered; None while they wait for one.
    """

    username: str
    rating: float
    properties: dict[str, Any]
    since: float
    is_away: bool = False
    offer: Offer | None = None

    def ticket(self, now: float) -> Ticket:
        """Return the user as a rule sees them now."""
        return Ticket(
            username=self.username,
            waited=now - self.since,
            rating=self.rating,
            properties=self.properties,
        )


@attrs.define(eq=False)
class Offer:
    """A match that is not made yet, because not all of its users have confirmed it.

    Attributes:
        id: Its number.
        entries: Its users, as the rule put them.
        deadline: Until when they have to confirm.
        missing: Who has not confirmed yet.
        is_open: Whether it can still be made: nobody of it has gone, and time is not up.
        is_begun: Whether it is being made: the last one has confirmed.
    """

    id: int
    entries: tuple[Entry, ...]
    deadline: float
    missing: set[str]
    is_open: bool = True
    is_begun: bool = False


class Pool:
    """The users who look for a game in one queue; each is in it once.

    A user waits, or is in exactly one open offer. An offer ends as a whole: with `take`, all of its
    users leave the pool, for a game; with `call_off`, those who are to stay wait again, in their
    old places.

    Args:
        first: The number of the first offer.
    """

    def __init__(self, first: int = 1) -> None:
        # In the order of coming, which no offer changes.
        self._entries: dict[str, Entry] = {}
        self._offers: dict[int, Offer] = {}
        self._ids = itertools.count(first)

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._entries.values()))

    @property
    def deadline(self) -> float | None:
        """When the time of the next offer is up, of those that wait for somebody; None for none."""
        return min((each.deadline for each in self._offers.values() if each.missing), default=None)

    def get(self, username: str) -> Entry | None:
        """Return a user's entry, or None."""
        return self._entries.get(username)

    def add(self, username: str, rating: float, properties: dict[str, Any], now: float) -> Entry:
        """Take a user in, behind all others; they must not be in it.

        Args:
            username: Who it is.
            rating: How well they play.
            properties: What they look for; plain data.
            now: The time.
        """
        if username in self._entries:
            raise ValueError(f"{username!r} is in this queue already")
        entry = self._entries[username] = Entry(username, rating, properties, now)
        return entry

    def remove(self, username: str) -> Offer | None:
        """Take a user out; return the offer that cannot be made any more for that reason."""
        entry = self._entries.pop(username, None)
        if entry is None or entry.offer is None:
            return None
        offer = entry.offer
        self.call_off(offer)
        entry.offer = None
        return offer

    def tickets(self, now: float) -> list[Ticket]:
        """Return those who can be put into a match as a rule sees them now, in order of coming."""
        return [
            each.ticket(now)
            for each in self._entries.values()
            if each.offer is None and not each.is_away
        ]

    def propose(self, usernames: Sequence[str], deadline: float) -> Offer | None:
        """Make a match of users, to be confirmed by all of them.

        Args:
            usernames: Who, each once.
            deadline: Until when.

        Returns:
            The offer; None where one of them has gone, or is in another one: nothing changes then.
        """
        entries = tuple(
            entry
            for entry in map(self._entries.get, usernames)
            if entry is not None and entry.offer is None and not entry.is_away
        )
        if len(entries) != len(usernames):
            return None
        offer = Offer(next(self._ids), entries, deadline, set(usernames))
        self._offers[offer.id] = offer
        for entry in entries:
            entry.offer = offer
        return offer

    def confirm(self, username: str, id: int) -> Offer | None:
        """Note that a user is there for a match; return the offer, or None where it is no more."""
        entry = self._entries.get(username)
        if entry is None or entry.offer is None or entry.offer.id != id:
            return None
        entry.offer.missing.discard(username)
        return entry.offer

    def overdue(self, now: float) -> list[Offer]:
        """Return the offers whose time is up, and which somebody has not confirmed."""
        return [each for each in self._offers.values() if each.missing and each.deadline <= now]

    def call_off(self, offer: Offer, out: Collection[str] = ()) -> list[Entry]:
        """End an offer without a game; idempotent.

        Args:
            offer: The offer.
            out: Whom of it to take out; all others wait again, as long as they have already.

        Returns:
            Those who wait again.
        """
        back = self._end(offer)
        for entry in back:
            if entry.username in out:
                del self._entries[entry.username]
        return [entry for entry in back if entry.username not in out]

    def take(self, offer: Offer) -> None:
        """Take all users of an offer out, because their match is made; it has to be open."""
        if not offer.is_open:
            raise ValueError("this match was called off")
        for entry in self._end(offer):
            del self._entries[entry.username]

    def put_back(self, entry: Entry) -> None:
        """Let a user wait in their old place again whose match was made, and came to nothing.

        They must not be in the pool.
        """
        if entry.username in self._entries:
            raise ValueError(f"{entry.username!r} is in this queue already")
        last = next(reversed(self._entries.values()), None)
        if last is None or last.since <= entry.since:
            # So it is when a whole queue comes from another server, in its order.
            self._entries[entry.username] = entry
            return
        entries = [*self._entries.values(), entry]
        # Stable, so that whoever came at the same time stays in the same order.
        self._entries = {each.username: each for each in sorted(entries, key=_since)}

    def _end(self, offer: Offer) -> list[Entry]:
        """Close an offer, and return those of it who are still here."""
        if not offer.is_open:
            return []
        offer.is_open = False
        del self._offers[offer.id]
        for entry in offer.entries:
            entry.offer = None
        return [each for each in offer.entries if self._entries.get(each.username) is each]


def _since(entry: Entry) -> float:
    return entry.since

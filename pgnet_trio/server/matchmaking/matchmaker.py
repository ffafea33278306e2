"""Looks for games for users: one task owns the queues, looks at them, and has matches made.

::

    waiting  ->  found  ->  seated  ->  in a game
        ^          |           |
        +----------+-----------+        somebody did not confirm, has gone, or is refused

A match is made in one step, in which nothing waits: all of its users have confirmed it and are in
no game, and from there on they are in that game, as if each had joined it. Before that step nobody
is in it, and whoever goes calls it off for all others, who wait in their old places again.

The file is a little long: each way in which a search ends is seen beside the others.
"""

from __future__ import annotations

import functools
import logging
import math
from typing import TYPE_CHECKING, Any

import trio

from pgnet_trio.errors import ServerError
from pgnet_trio.foreign_text import one_line
from pgnet_trio.matchmaking import Entry, Pool, play_round, queues_of
from pgnet_trio.protocol.v2.envelopes import SearchEnvelope, encode
from pgnet_trio.protocol.v2.features import MATCHMAKING
from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.games.lobby import LobbyRefusal
from pgnet_trio.server.matchmaking.homes import LOOK_INTERVAL, stay_together, was_sent
from pgnet_trio.server.matchmaking.searches import Line, Search
from pgnet_trio.server.matchmaking.tables import NotHere, note_failure, open_table
from pgnet_trio.server.matchmaking.wishes import check_properties, rating_of
from pgnet_trio.server.refusals import CodedRefusal, JoinRefused, RoomClosed
from pgnet_trio.server.sessions.packed import PackedSearch
from pgnet_trio.standings.rating import check_ratings

if TYPE_CHECKING:
    from pgnet_trio.matchmaking import Offer
    from pgnet_trio.server.cluster.community import Community
    from pgnet_trio.server.games.claims import RoomClaims
    from pgnet_trio.server.games.lobby import GameEntry
    from pgnet_trio.server.games.registry import GameRegistry
    from pgnet_trio.server.options import Options
    from pgnet_trio.server.room.room import RoomTask
    from pgnet_trio.server.sessions.session import Session
    from pgnet_trio.server.shutdown import Shutdown

__all__ = ["Matchmaker"]

logger = logging.getLogger("pgnet_trio.server")

REST = 4.0
"""How many times as long as a look takes, the queue is left alone after it: a look at a long queue
may take no more than a fifth of the server's time."""

LEAST_PAUSE = 0.02
"""Seconds that a queue is left alone at least where nobody has come or gone: times are rounded."""

FEW_AHEAD = 20
"""Places at the front of a queue of which each change is told. Further behind a user is told when
their place is a tenth better."""

STRIDE = 512
"""Users of a queue who are looked at, or told something, from one pause to the next."""


class Matchmaker:
    """Owns the queues of one run of a server.

    The methods but `find` never wait; any task may call them.

    Args:
        games: Makes the tables, and knows who is in a game.
        options: The server's; the games' class declares the queues.
        shutdown: Says whether the server is closing.
        community: Keeps the ratings.
        claims: Says at which server the users of a queue meet, and who makes a table.

    Raises:
        ServerError: A queue has ratings, and nothing here can reckon them.
    """

    def __init__(
        self,
        games: GameRegistry,
        options: Options,
        shutdown: Shutdown,
        community: Community[Any],
        claims: RoomClaims,
    ) -> None:
        queues = queues_of(options.game_class or options.make_game)
        self._lines = {
            name: Line(name, queue, Pool(_first_number(options))) for name, queue in queues.items()
        }
        self._claims = claims
        self._games = games
        self._options = options
        self._shutdown = shutdown
        self._community = community
        self._changed = trio.Event()
        self._nursery: trio.Nursery | None = None
        if any(queue.rating is True for queue in queues.values()):
            _check_ratings()

    def waiting(self) -> dict[str, int]:
        """Return how many users are in each queue."""
        return {name: len(line.searches) for name, line in self._lines.items()}

    @property
    def has_queues(self) -> bool:
        """Whether there is anything to look at."""
        return bool(self._lines)

    # What sessions and requests ask for.

    async def find(
        self, session: Session, id: int, queue: str, properties: dict[str, Any]
    ) -> Search | None:
        """Put a user into a queue. Cancellation puts them into none.

        Args:
            session: The user's session, which is in no game.
            id: What their client calls the search.
            queue: The queue's name.
            properties: What they look for.

        Returns:
            The search; None where the user was sent to the server that the queue is at, with the
            request that is carried out for them now.

        Raises:
            CodedRefusal: They are not let in; the message says why.
        """
        line = self._line(session, queue)
        self._games.lobby.check_free(session.username)
        before = session.search.latest
        if isinstance(before, Search) and before.is_open and before.id == id:
            raise LobbyRefusal(
                f"You look for a game already{_in_queue(before.line.name)}; stop that first.",
                ReasonCode.ALREADY_SEARCHING,
            )
        check_properties(line.queue, properties)
        client = session.client
        if await was_sent(self._claims, line.name, session):
            return None
        rating = await rating_of(
            line.queue,
            session.username,
            properties,
            functools.partial(self._community.rating, line.name),
            self._games.note_failure,
        )
        if session.end_reason is not None or session.client is not client:
            # Nobody waits for the answer any more.
            raise LobbyRefusal("Your client has gone.", ReasonCode.SESSION_GONE)
        self._games.lobby.check_free(session.username)
        if before is not None:
            # The client has given that one up: it has one search at a time.
            before.stop()
        entry = line.pool.add(session.username, rating, properties, trio.current_time())
        search = Search(self, session, id, line, entry)
        session.search.latest = line.searches[session.username] = search
        if not session.online:
            entry.is_away = True
        self._note_change(line)
        return search

    def confirm(self, session: Session, id: int, match: int) -> bool:
        """Note that a user is there for a match, and make it where all of them are.

        Returns:
            Whether they had not said so before.

        Raises:
            LobbyRefusal: They are offered no such match, or not any more.
        """
        search = session.search.latest
        offer, is_news = None, False
        if isinstance(search, Search) and search.id == id and search.state == "in the pool":
            open_offer = search.entry.offer
            is_news = open_offer is not None and session.username in open_offer.missing
            offer = search.line.pool.confirm(session.username, match)
        if offer is None or not isinstance(search, Search):
            raise LobbyRefusal("There is no such match any more.", ReasonCode.NOT_SEARCHING)
        if not (offer.missing or offer.is_begun) and self._nursery is not None:
            offer.is_begun = True
            self._nursery.start_soon(self._make, search.line, offer)
        return is_news

    def position(self, search: Search) -> int:
        """Return which place a user has in their queue; 1 is the first."""
        for place, entry in enumerate(search.line.pool, 1):
            if entry is search.entry:
                return place
        return 0

    def stop(self, search: Search) -> None:
        """End a search; a match that is not made yet is called off for all of its users."""
        if search.state == "in the pool":
            line = search.line
            offer = line.pool.remove(search.session.username)
            line.searches.pop(search.session.username, None)
            if offer is not None:
                self._tell_waiting(line, offer)
            self._note_change(line)
        search.state = "over"

    def note_online(self, search: Search, online: bool) -> None:
        """Put a user who is away into no match, and tell one who is back how things are."""
        if search.state != "in the pool":
            return
        search.entry.is_away = not online
        if online and search.entry.offer is None:
            self._tell_place(search, self.position(search))
            self._note_change(search.line)

    # Searches that go to another server, and those that come.

    def pack(self, search: Search) -> PackedSearch | None:
        """Return a search as it goes to another server; None where it is over.

        A match that is not made yet is called off for all of its users, and this one is in no
        other until `note_online` says that they are here.
        """
        if search.state != "in the pool":
            return None
        line, entry = search.line, search.entry
        entry.is_away = True
        if entry.offer is not None:
            offer = entry.offer
            line.pool.call_off(offer)
            self._tell_waiting(line, offer)
            self._note_change(line)
        waited = trio.current_time() - entry.since
        return PackedSearch(search.id, line.name, waited, entry.rating, entry.properties)

    def take_in(self, session: Session, packed: PackedSearch) -> None:
        """Go on with a search of another server, whose user is on their way here.

        They wait in the place that they have waited for. Where this server has no such queue, it
        is over, and they are told.
        """
        line = self._lines.get(packed.queue)
        if line is None:
            told = SearchEnvelope(
                packed.id,
                "over",
                reason="The server that you are at now has no such queue.",
                code=ReasonCode.UNKNOWN_QUEUE,
            )
            session.tell_search(encode(told))
            return
        since = trio.current_time() - packed.waited
        entry = Entry(session.username, packed.rating, packed.properties, since, is_away=True)
        line.pool.put_back(entry)
        search = Search(self, session, packed.id, line, entry)
        session.search.latest = line.searches[session.username] = search
        self._note_change(line)

    def _put_out_of(self, search: Search, reason: str) -> None:
        """Put a user out who waits, because they cannot go to where the queue is."""
        username = search.session.username
        search.line.pool.remove(username)
        self._put_out(search.line, username, reason, ReasonCode.UNKNOWN_QUEUE)

    # The task.

    # Ctrl-C here would end the rooms before their last save; whoever runs the server gets it.
    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Look at the queues whenever somebody has come or gone, or a window has opened.

        Cancellation ends all searches without a word: the server ends.
        """
        async with trio.open_nursery() as self._nursery:
            if self._options.cluster is not None:
                self._nursery.start_soon(
                    stay_together, self._claims, list(self._lines.values()), self._put_out_of
                )
            while True:
                times = [
                    time
                    for line in self._lines.values()
                    for time in (line.next_look, line.next_report, line.next_deadline)
                ]
                with trio.move_on_at(max(min(times, default=math.inf), trio.current_time())):
                    await self._changed.wait()
                self._changed = trio.Event()
                for line in self._lines.values():
                    self._expire(line)
                    if line.next_look <= trio.current_time():
                        await self._look(line)
                    if line.next_report <= trio.current_time():
                        await self._report(line)

    def _note_change(self, line: Line) -> None:
        line.has_changed = line.has_moved = True
        self._changed.set()

    async def _look(self, line: Line) -> None:
        """Have a queue's rule find matches, and offer them."""
        now = trio.current_time()
        line.has_changed = False
        due = math.inf
        tickets = line.pool.tickets(now)
        if tickets:
            round = play_round(line.queue, tickets)
            try:
                while True:
                    match = next(round)
                    if match is None:
                        await trio.lowlevel.checkpoint()
                    else:
                        self._offer(line, [ticket.username for ticket in match])
            except StopIteration as over:
                due = over.value
            except Exception as error:
                note_failure(self._games, line, error, "rule")
                due = line.queue.every
            finally:
                round.close()
        line.look_at = now + max(due, LEAST_PAUSE)
        end = trio.current_time()
        line.rests_until = end + REST * (end - now)

    def _offer(self, line: Line, usernames: list[str]) -> None:
        """Offer a match to its users, if all of them are still there."""
        offer = line.pool.propose(usernames, trio.current_time() + line.queue.confirm)
        if offer is None:
            line.has_changed = True
            return
        for username in usernames:
            search = line.searches[username]
            search.told = 0
            search.tell("found", match=offer.id, seconds=line.queue.confirm)

    def _expire(self, line: Line) -> None:
        """Put those out who have not confirmed a match in time."""
        for offer in line.pool.overdue(trio.current_time()):
            line.pool.call_off(offer, offer.missing)
            for username in offer.missing:
                self._put_out(
                    line,
                    username,
                    "You did not confirm in time that you are there for a match.",
                    ReasonCode.NOT_CONFIRMED,
                )
            self._tell_waiting(line, offer)
            self._note_change(line)

    def _put_out(self, line: Line, username: str, reason: str, code: str) -> None:
        """End the search of a user who is not in the pool any more, and tell them why."""
        search = line.searches.pop(username, None)
        if search is not None:
            search.end(reason, code)

    def _tell_waiting(self, line: Line, offer: Offer) -> None:
        """Tell those of a match that is called off that they wait again."""
        for entry in offer.entries:
            search = line.searches.get(entry.username)
            if search is not None and search.entry is entry and entry.offer is None:
                self._tell_place(search, self.position(search))

    def _tell_place(self, search: Search, place: int) -> None:
        search.told = place
        waited = trio.current_time() - search.entry.since
        search.tell("waiting", position=place, waited=waited)

    async def _report(self, line: Line) -> None:
        """Tell users which place they have, where it is better than they know."""
        line.reported_at, line.has_moved = trio.current_time(), False
        for place, entry in enumerate(line.pool, 1):
            search = line.searches.get(entry.username)
            if search is None or entry.is_away or entry.offer is not None:
                continue
            if place < search.told and (place <= FEW_AHEAD or place <= 0.9 * search.told):
                self._tell_place(search, place)
            if not place % STRIDE:
                await trio.lowlevel.checkpoint()

    # The making of a match, in a task of its own: code of the author's may take its time.

    @trio.lowlevel.enable_ki_protection
    async def _make(self, line: Line, offer: Offer) -> None:
        """Make the table of a match that all have confirmed, and let them in."""
        try:
            name = f"{line.name or 'match'} {self._options.environment.random_bytes(5).hex()}"
            entry = await open_table(self._games, self._claims, line, offer, name=name)
        except NotHere as error:
            logger.warning("A match waits again: %s", one_line(error))
            line.rests_until = trio.current_time() + LOOK_INTERVAL
            line.pool.call_off(offer)
            self._tell_waiting(line, offer)
            self._note_change(line)
            return
        except CodedRefusal as refusal:
            if not self._shutdown.closing:
                self._end_all(line, offer, str(refusal), refusal.code)
            return
        searches = self._take(line, offer, entry)
        if searches is None:
            entry.room.close("The match was called off.")
            return
        try:
            await entry.room.join_together([search.session for search in searches])
        except JoinRefused as refusal:
            self._undo(line, entry, searches)
            self._take_back(line, searches, refusal)
        except RoomClosed as error:
            self._undo(line, entry, searches)
            for search in searches:
                # Who has left meanwhile may look for another game, in this queue too.
                search.end(str(error), error.code)
        else:
            self._games.note_begin(entry)
            options = dict(entry.room.options)
            for search in searches:
                if search.is_open:
                    search.state = "over"
                    search.tell("joined", options=options)

    def _take(self, line: Line, offer: Offer, entry: GameEntry[RoomTask]) -> list[Search] | None:
        """Put all users of a match into its game, in one step; None if it was called off."""
        if not offer.is_open or entry.room.ended.is_set():
            if line.pool.call_off(offer):
                self._tell_waiting(line, offer)
                self._note_change(line)
            return None
        searches = [line.searches.pop(each.username) for each in offer.entries]
        line.pool.take(offer)
        for search in searches:
            search.state, search.game = "seated", entry.name
            self._games.lobby.seat(search.session.username, entry, spectate=False)
        line.has_moved = True
        return searches

    def _undo(self, line: Line, entry: GameEntry[RoomTask], searches: list[Search]) -> None:
        """Take the users of a match out of its game, which is over."""
        for search in searches:
            username = search.session.username
            search.game = ""
            if self._games.lobby.game_of(username) is entry:
                self._games.lobby.leave(username)
        entry.room.close("The match was called off.")

    def _take_back(self, line: Line, searches: list[Search], refusal: JoinRefused) -> None:
        """Let those wait again whose match came to nothing because the game refuses one of them."""
        for search in searches:
            username = search.session.username
            if not search.is_open or self._games.lobby.game_of(username) is not None:
                search.state = "over"
                continue
            line.searches[username] = search
            if username == refusal.username:
                self._put_out(line, username, str(refusal), refusal.code)
                continue
            search.state = "in the pool"
            search.entry.is_away = not search.session.online
            line.pool.put_back(search.entry)
            self._tell_place(search, self.position(search))
        self._note_change(line)

    def _end_all(self, line: Line, offer: Offer, reason: str, code: str) -> None:
        """Put all users of a match out, because no table can be made for them."""
        line.pool.call_off(offer, [entry.username for entry in offer.entries])
        for entry in offer.entries:
            search = line.searches.get(entry.username)
            if search is not None and search.entry is entry:
                self._put_out(line, entry.username, reason, code)
        self._note_change(line)

    # Checks, and what authors say.

    def _line(self, session: Session, queue: str) -> Line:
        delivery = session.client.delivery
        if delivery is None or MATCHMAKING not in delivery.features:
            raise LobbyRefusal(
                "Your client cannot look for a game: it does not know how the server would tell it "
                "of a match.",
                ReasonCode.UNKNOWN_QUEUE,
            )
        line = self._lines.get(queue)
        if line is None and not queue and len(self._lines) == 1:
            return next(iter(self._lines.values()))
        if line is None:
            names = ", ".join(map(repr, filter(None, self._lines))) or "one without a name"
            known = f"the queues are: {names}" if self._lines else "this game has no queues"
            raise LobbyRefusal(
                f"There is no queue {queue[:60]!r}; {known}.", ReasonCode.UNKNOWN_QUEUE
            )
        return line


def _first_number(options: Options) -> int:
    """Return the number of the first match of a queue.

    Users who come from another server may yet confirm a match that they were offered there.
    """
    if options.cluster is None:
        return 1
    return int.from_bytes(options.environment.random_bytes(4))


def _check_ratings() -> None:
    try:
        check_ratings()
    except ImportError as error:
        raise ServerError(
            "Queue(rating=True) takes a package that is not installed, openskill: "
            "pip install 'pgnet_trio[ratings]'"
        ) from error


def _in_queue(name: str) -> str:
    return f", in the queue {name!r}" if name else ""

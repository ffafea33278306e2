"""A server as a member of its cluster: whose session is where, and what becomes of its rooms."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs
import trio

from pgnet_trio.foreign_text import one_line
from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.cluster.errors import EngineError, EngineUnavailable, OutcomeUnknown
from pgnet_trio.server.cluster.node import RETRY
from pgnet_trio.server.cluster.notes import EndSession
from pgnet_trio.server.cluster.records import SessionRow
from pgnet_trio.server.games.reservations import Reservations
from pgnet_trio.server.node.users import ClusterUsers, NotNow
from pgnet_trio.server.node.watch import NodeWatch
from pgnet_trio.server.refusals import MOVED_ON

if TYPE_CHECKING:
    from pgnet_trio.server.cluster.engine import Engine
    from pgnet_trio.server.cluster.node import LocalNode
    from pgnet_trio.server.cluster.records import Listing
    from pgnet_trio.server.games.registry import GameRegistry
    from pgnet_trio.server.node.games import ClusterGames
    from pgnet_trio.server.sessions.registry import SessionRegistry

__all__ = ["ClusterMember", "NotNow", "Whereabouts"]

logger = logging.getLogger("pgnet_trio.server")

DIRECTORY_PART = 1000
"""Games that are looked up at once for whoever asks for the list."""

TRIES = 20
"""How often it is tried to correct where a user is."""

DEPARTURES_KEPT = 60.0
"""Seconds for which it is known where a session has gone: mail about it may be under way."""

SILENCE_PATIENCE = 4.0
"""Seconds that whoever has a session at a silent node waits for that, at most: a client that tries
to come back does not wait much longer."""

ELSEWHERE = "You have logged in at another server."


@attrs.frozen
class Whereabouts:
    """At which other server a user's session is.

    Attributes:
        address: Where clients find that server.
        row: The session.
    """

    address: str
    row: SessionRow


@attrs.frozen
class _Departure:
    """A session that has gone to another node.

    Attributes:
        before: Its epoch here.
        node: That node.
        epoch: Its epoch there.
        time: When it has gone.
    """

    before: int
    node: int
    epoch: int
    time: float


class ClusterMember:
    """Keeps the sessions and rooms of this server in step with the cluster.

    Args:
        node: The node that this server is.
        engine: What the servers share.
        games: The games of this node, as the engine knows them.
        registry: The games themselves.
        sessions: The sessions.

    Attributes:
        entering: The usernames of which somebody is about to get a seat.
        users: The users of all servers.
    """

    def __init__(
        self,
        node: LocalNode,
        engine: Engine,
        games: ClusterGames,
        registry: GameRegistry,
        sessions: SessionRegistry,
    ) -> None:
        self.entering = Reservations()
        self.users = ClusterUsers(node, engine)
        self._node = node
        self._engine = engine
        self._games = games
        self._registry = registry
        self._sessions = sessions
        self._watch = NodeWatch(engine)
        # In which epoch each session here is its user's.
        self._epochs: dict[str, int] = {}
        # Sessions that have ended, of which the engine has still to hear.
        self._left: dict[str, int] = {}
        # Users of persistent games, while the lease is over.
        self._silent: set[str] = set()
        self._wanted = trio.Event()
        # Sessions that have gone to other nodes lately, by username: their epochs here.
        self._departures: dict[str, _Departure] = {}
        # Sessions whose end was told before they had their seat.
        self._told_to_end: dict[str, EndSession] = {}

    # What log-ins ask for

    async def find(self, username: str) -> Whereabouts | None:
        """Return at which other server a user's session is; None for here, or nowhere.

        Where that server is silent, it may be dead: this waits until that is known, but not for
        long.

        Raises:
            NotNow: That cannot be found out.
        """
        before: SessionRow | None = None
        try:
            while (row := await self._engine.find_session(username)) not in (None, before):
                if row.node == self._node.id:
                    if self._sessions.holder(username) is None:
                        # It may be on its way here, and its client was quicker.
                        await self._node.look()
                    return None
                node = await self._watch.wait_for_life(row.node, SILENCE_PATIENCE)
                if node is not None:
                    return Whereabouts(node.address, row)
                # That server is dead; but the session may have gone on from there.
                before = row
            return None
        except EngineError as error:
            logger.warning("It is not known where a user is: %s", one_line(error))
            raise NotNow from None

    async def correct(self, username: str) -> None:
        """Have the cluster know again where a user is, after a log-in here that came to nothing.

        It may have been noted that they are here, and nobody has said so.
        """
        async with self.entering.holding(username):
            self._told_to_end.pop(username, None)
            for _ in range(TRIES):
                try:
                    await self._correct(username)
                    return
                except EngineError as error:
                    logger.debug("It is corrected later where a user is: %s", one_line(error))
                    await trio.sleep(RETRY)
            logger.warning("A user may be shown as here who is not")

    async def _correct(self, username: str) -> None:
        node = self._node.id
        row = await self._engine.find_session(username)
        # One that has been accepted just now is not among the sessions yet.
        await self._node.look()
        session = self._sessions.holder(username)
        is_ours = row is not None and row.node == node and row.packed is None
        if session is None or session.end_reason is not None:
            if row is not None and is_ours:
                await self._engine.leave(username, row.epoch)
        elif row is not None and is_ours and row.epoch != self._epochs.get(username):
            # Their other program goes on here.
            token = session.client.token
            entered = await self._node.settled(
                lambda operation: self._engine.enter(node, username, token, operation=operation)
            )
            self.note_seat(username, entered.epoch)

    def note_seat(self, username: str, epoch: int) -> None:
        """Note in which epoch a user has the seat. Never waits."""
        self._left.pop(username, None)
        self._epochs[username] = epoch

    def note_end(self, username: str) -> None:
        """Note that a session here has ended. Never waits."""
        epoch = self._epochs.pop(username, None)
        if epoch is not None:
            self._left[username] = epoch
            self._wanted.set()

    def epoch_of(self, username: str) -> int | None:
        """Return in which epoch the session here is its user's; None where there is none."""
        return self._epochs.get(username)

    def forget_session(self, username: str) -> int | None:
        """Note that a session has gone to another server, as the engine knows; return its epoch."""
        return self._epochs.pop(username, None)

    def note_departure(self, username: str, node: int, epoch: int) -> None:
        """Note to which node a session has gone, and its epoch there, as the engine knows."""
        before = self.forget_session(username)
        now = trio.current_time()
        departures = self._departures
        while departures:
            oldest = next(iter(departures))
            if departures[oldest].time + DEPARTURES_KEPT > now:
                break
            del departures[oldest]
        departures.pop(username, None)
        if before is not None:
            departures[username] = _Departure(before, node, epoch, now)

    async def follow(self, note: EndSession) -> bool:
        """Tell the node that has a session now that it is to end; return whether there is one.

        What another node asks for may come when the session has gone from here.

        Raises:
            NotNow: That cannot be found out.
        """
        gone = self._departures.get(note.username)
        if gone is not None and gone.before == note.epoch:
            await self.tell(gone.node, attrs.evolve(note, epoch=gone.epoch).packed())
            return True
        row = await self.users.find(note.username)
        if row is None or row.epoch != note.epoch or row.node == self._node.id:
            return False
        await self.tell(row.node, note.packed())
        return True

    def may_send(self, username: str) -> bool:
        """Return whether something may leave for a user: nothing of a room that may be lost."""
        if self._node.holds():
            return True
        entry = self._registry.lobby.game_of(username)
        if entry is not None and entry.room.is_persistent:
            self._silent.add(username)
        return username not in self._silent

    @property
    def node(self) -> int:
        """The number of this server in the cluster."""
        return self._node.id

    async def directory(self, after: str) -> tuple[list[Listing], bool]:
        """Return the games of all servers after a name, and whether these are all of them.

        Raises:
            NotNow: That cannot be found out.
        """
        try:
            listings = await self._engine.directory(after=after, limit=DIRECTORY_PART)
        except EngineError as error:
            logger.warning("The list of games is not known: %s", one_line(error))
            raise NotNow from None
        return listings, len(listings) < DIRECTORY_PART

    # Tasks of its own

    async def run(self) -> None:
        """Tell the engine of the sessions that have ended, until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted = trio.Event()
            while self._left:
                username, epoch = next(iter(self._left.items()))
                try:
                    await self._engine.leave(username, epoch)
                except (EngineUnavailable, OutcomeUnknown) as error:
                    logger.debug("The end of a session is told later: %s", one_line(error))
                    await trio.sleep(RETRY)
                    continue
                if self._left.get(username) == epoch:
                    del self._left[username]

    async def tell(self, node: int, body: bytes) -> None:
        """Leave mail for another node; a failure is logged."""
        try:
            await self._node.settled(
                lambda operation: self._engine.send_mail([node], body, operation=operation)
            )
        except EngineError as error:
            logger.warning("Another server was not told something: %s", one_line(error))

    async def end_elsewhere(self, node: int, username: str, epoch: int) -> None:
        """Have another node end a session that is not its user's any more."""
        note = EndSession(username, epoch, ELSEWHERE, str(ReasonCode.TAKEN_OVER))
        await self.tell(node, note.packed())

    # What the node asks for, but for what arrives; see `pgnet_trio.server.cluster.owner.NodeOwner`.

    def load(self) -> float:
        """Return how many users are here."""
        return float(len(self._epochs))

    def hold(self) -> None:
        """Note for whom nothing may leave, also where a game ends before the lease is back."""
        for entry in self._registry.lobby:
            if entry.room.is_persistent:
                self._silent.update(entry.users)

    def go_on(self, rooms: Mapping[str, int] | None) -> None:
        """Give up the rooms that others have, and let go what had to wait."""
        if rooms is not None:
            for name, epoch in list(self._games.epochs.items()):
                if rooms.get(name) != epoch:
                    self.give_up(name)
        self._silent.clear()
        # Only once the lease is noted may anything leave.
        trio.lowlevel.current_trio_token().run_sync_soon(self._flush_all)

    def start_over(self) -> None:
        """Give up all rooms, and end all sessions: they are nobody's any more."""
        for name in list(self._games.epochs):
            self.give_up(name)
        for username in self._sessions.usernames:
            self._drop(username)
        self._epochs.clear()
        self._left.clear()
        self._silent.clear()

    def give_up(self, name: str) -> None:
        """End a room that another node has by now, without a word to anybody in it."""
        self._games.forget(name)
        entry = self._registry.lobby.get(name)
        if entry is None:
            return
        logger.warning("The game %r goes on at another server", entry.name)
        for username in list(entry.users):
            self._drop(username)
        entry.room.close(MOVED_ON)

    def _drop(self, username: str) -> None:
        session = self._sessions.holder(username)
        if session is not None:
            session.drop(MOVED_ON)

    def _flush_all(self) -> None:
        for username in self._sessions.usernames:
            session = self._sessions.holder(username)
            if session is not None:
                session.flush()

    def end_session(self, note: EndSession) -> bool:
        """End a session as another node asks; return whether the one of this epoch is known here.

        One that has no seat yet ends as soon as it has.
        """
        username = note.username
        session = self._sessions.holder(username)
        if session is not None and self._epochs.get(username) == note.epoch:
            if note.code == ReasonCode.USER_DELETED:
                # A client that comes back would register anew where it is not told.
                self._sessions.kick(session, note.reason, note.code)
            else:
                session.end(note.reason, note.code)
            return True
        if username in self.entering:
            self._told_to_end[username] = note
            return True
        return False

    def end_as_told(self, username: str) -> None:
        """End a session that has just got its seat, where that was asked for before."""
        note = self._told_to_end.pop(username, None)
        if note is not None:
            self.end_session(note)

    def has_room(self, name: str, epoch: int) -> bool:
        """Return whether a room is here."""
        return self._games.has(name, epoch)

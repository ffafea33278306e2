"""The sessions of one run of a server, and who holds which seat."""

from __future__ import annotations

import contextvars
import inspect
import logging
import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

import attrs
import trio

from pgnet_trio.foreign_text import one_line
from pgnet_trio.protocol.v2.server_delivery import ServerDelivery
from pgnet_trio.protocol.v2.states import WINDOW
from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.causes import error_id
from pgnet_trio.server.log_fields import connection_of_task, user_of_task
from pgnet_trio.server.sessions.announcements import Announcement, Announcements
from pgnet_trio.server.sessions.budget import Budget
from pgnet_trio.server.sessions.mistakes import CauseOf, MistakeSender
from pgnet_trio.server.sessions.sender import LoggedInClient, SenderV2
from pgnet_trio.server.sessions.session import CarryOut, Session
from pgnet_trio.server.stats import SessionStats

if TYPE_CHECKING:
    from pgnet_trio.server.options import Options
    from pgnet_trio.server.room.player import Sender
    from pgnet_trio.server.sessions.handle import ConnectionHandle
    from pgnet_trio.server.sessions.needs import Games
    from pgnet_trio.server.sessions.packed import PackedSession

__all__ = ["SessionRegistry"]

logger = logging.getLogger("pgnet_trio.server")


RememberedT = TypeVar("RememberedT", "Departed", "PutOut")

REMEMBERED_FOR = 60.0
"""Seconds beyond its grace for which a session that has moved is remembered here."""


ANNOUNCED_AT_ONCE = 100
"""How many users are told something before others have a turn."""


@attrs.frozen
class Departed:
    """A session that has moved to another server.

    Attributes:
        address: Where to.
        token: What its client resumes it with.
        superseded_tokens: Those of clients that another one has superseded.
        until: When it is forgotten, on Trio's clock.
    """

    address: str
    token: bytes = attrs.field(repr=False)
    superseded_tokens: tuple[bytes, ...] = attrs.field(repr=False)
    until: float

    def was_taken_over(self, proves: Callable[[bytes], bool]) -> bool:
        """Whether another client has superseded one; see `Session.was_taken_over`."""
        return any(map(proves, self.superseded_tokens))


@attrs.frozen
class PutOut:
    """A session that whoever runs the server has ended; its client may not have heard why.

    Attributes:
        reason: Why, for people.
        code: The same for programs: a `ReasonCode`.
        token: What its client would resume it with.
        until: When it is forgotten, on Trio's clock.
    """

    reason: str
    code: str
    token: bytes = attrs.field(repr=False)
    until: float


class SessionRegistry:
    """Opens and runs sessions. A user who has a session in here holds their seat.

    Args:
        options: The server's.
        games: Knows which game a user is in.
        services: The nursery in which the sessions run.
        note_end: Called with the username of each session that has ended.
        cause_of: Knows what games have raised, for development mode.

    Attributes:
        away: How many sessions wait for their user to come back.
        announcements: The latest announcements.
    """

    def __init__(
        self,
        options: Options,
        games: Games,
        services: trio.Nursery,
        note_end: Callable[[str], None] | None = None,
        cause_of: CauseOf | None = None,
    ) -> None:
        self.away = 0
        self.announcements = Announcements()
        self._note_end = note_end
        self._cause_of = cause_of
        self._options = options
        self._games = games
        self._services = services
        self._sessions: dict[str, Session] = {}
        # In the order in which they are forgotten, more or less.
        self._departed: dict[str, Departed] = {}
        self._put_out: dict[str, PutOut] = {}
        # Of whom `on_connection` has not heard yet.
        self._unannounced: set[Session] = set()
        # For the sessions' tasks, whoever wakes them: a game's own variables are no part of it.
        self._context = contextvars.copy_context()

    @property
    def usernames(self) -> list[str]:
        """Who holds a seat."""
        return list(self._sessions)

    @property
    def count(self) -> int:
        """How many hold a seat."""
        return len(self._sessions)

    def all(self) -> list[Session]:
        """Return the sessions that hold a seat."""
        return list(self._sessions.values())

    def holder(self, username: str) -> Session | None:
        """Return the session that holds a user's seat, or None.

        A session whose grace has run out has ended when this returns it; the seat is free once
        its `ended` is set.
        """
        session = self._sessions.get(username)
        if session is not None:
            session.end_if_late()
        return session

    def open(
        self,
        username: str,
        client: LoggedInClient,
        connection: ConnectionHandle,
        *,
        carry_out: CarryOut,
        requests_per_second: float | None,
    ) -> Session:
        """Make and start a session over a connection; the user holds the seat at once.

        Args:
            username: Who it is; nobody may hold their seat.
            client: The program that the user has logged in with.
            connection: Its connection.
            carry_out: Carries out what is not for a game.
            requests_per_second: How many requests a second are taken; None for any number.
        """
        session = self._make(username, client, carry_out, Budget(requests_per_second))
        # They were for those who were there.
        session.announced = tuple(each.id for each in self.announcements)
        self._sessions[username] = session
        session.attach(connection)
        if self._options.on_connection is not None:
            self._unannounced.add(session)
            session.wake()
        return session

    def _make(
        self,
        username: str,
        client: LoggedInClient,
        carry_out: CarryOut,
        budget: Budget,
    ) -> Session:
        self._departed.pop(username, None)
        self._put_out.pop(username, None)
        return Session(
            username,
            client,
            games=self._games,
            carry_out=carry_out,
            max_in_flight=self._options.limits.max_requests_in_flight or math.inf,
            max_bytes_in_flight=self._options.limits.max_bytes_in_flight or math.inf,
            budget=budget,
            settings=self._options,
            owner=self,
        )

    def with_mistakes(self, sender: Sender, connection: ConnectionHandle) -> Sender:
        """Return a sender that shows the games' mistakes in development mode, and only then."""
        if self._cause_of is None or not self._options.development:
            return sender
        return MistakeSender(sender, self._cause_of, is_local=connection.is_local)

    def make_delivery(self) -> ServerDelivery:
        """Return a new delivery, with the server's limits."""
        limits = self._options.limits
        # Clients rely on a window of at least `WINDOW`.
        most = limits.max_requests_in_flight
        return ServerDelivery(
            max_messages=limits.max_unacknowledged_messages,
            max_bytes=limits.max_unacknowledged_bytes,
            window=None if most is None else max(most, WINDOW),
        )

    def take_in(self, packed: PackedSession, *, carry_out: CarryOut) -> Session:
        """Go on with a session of another server, whose client is on its way here. Never waits.

        The user is in no game yet, and `on_connection` does not hear of it: they were here before.
        The requests that came along wait until `Session.go_on`.

        Args:
            packed: The session; nobody may hold its user's seat.
            carry_out: Carries out what is not for a game.
        """
        delivery = self.make_delivery()
        delivery.adopt(packed.delivery)
        client = LoggedInClient(
            SenderV2(delivery), delivery, packed.token, packed.grace, packed.address
        )
        rate = self._options.limits.requests_per_second if packed.limited else None
        session = self._make(packed.username, client, carry_out, Budget(rate, packed.spent))
        self._sessions[packed.username] = session
        session.hold()
        session.arrive(packed)
        return session

    def send_away(self, session: Session, address: str, reason: str) -> None:
        """End a session here that goes on at another server. Never waits.

        Its client is told so, now or when it comes to resume it.

        Args:
            session: The session, which is packed up.
            address: Where clients find the other server.
            reason: Why, for people.
        """
        now = trio.current_time()
        _forget_until(self._departed, now)
        client = session.client
        session.moved(address, reason)
        if self._sessions.get(session.username) is session:
            del self._sessions[session.username]
        self._departed.pop(session.username, None)
        self._departed[session.username] = Departed(
            address, client.token, session.superseded_tokens, now + client.grace + REMEMBERED_FOR
        )
        session.ended.set()
        logger.info("%s goes on at %s: %s", session.username, one_line(address), one_line(reason))

    def departed(self, username: str) -> Departed | None:
        """Return where the session of a user has moved; None where that is not known."""
        departed = self._departed.get(username)
        return departed if departed and departed.until > trio.current_time() else None

    def kick(self, session: Session, reason: str, code: str = ReasonCode.KICKED) -> None:
        """End a session because whoever runs the server says so. Never waits.

        A client that is away is told why when it comes to resume the session.
        """
        now, client = trio.current_time(), session.client
        session.end(reason, code)
        _forget_until(self._put_out, now)
        if client.token:
            self._put_out.pop(session.username, None)
            until = now + client.grace + REMEMBERED_FOR
            self._put_out[session.username] = PutOut(reason, code, client.token, until)

    def put_out(self, username: str) -> PutOut | None:
        """Return the session of a user that `kick` has ended; None where that is not known."""
        found = self._put_out.get(username)
        return found if found and found.until > trio.current_time() else None

    async def announce(self, announcement: Announcement) -> None:
        """Tell all users who are here something, each once; cancellation leaves some untold."""
        self.announcements.add(announcement)
        for number, session in enumerate(list(self._sessions.values())):
            if number % ANNOUNCED_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
            session.announce(announcement)
        await trio.lowlevel.checkpoint()

    async def end(self, username: str, reason: str, code: str) -> None:
        """End a user's session where there is one, as by `kick`; wait until the seat is free."""
        session = self._sessions.get(username)
        if session is not None:
            self.kick(session, reason, code)
            await session.ended.wait()

    def end_all(self, reason: str, code: str, *, restarting: bool = False) -> None:
        """End all sessions. Never waits.

        Args:
            reason: Why.
            code: The same for programs: a `ReasonCode`.
            restarting: Whether clients are told that the server restarts.
        """
        for session in list(self._sessions.values()):
            session.end(reason, code, restarting=restarting)

    def stats(self, usernames: Iterable[str] | None = None) -> dict[str, SessionStats]:
        """Return the figures of these users' sessions, as far as they have one; or of all."""
        names = self._sessions if usernames is None else usernames
        found = {name: self._sessions.get(name) for name in names}
        return {name: _stats_of(each) for name, each in found.items() if each is not None}

    # What sessions ask for; see `pgnet_trio.server.sessions.session.SessionOwner`.

    def start(self, session: Session) -> None:
        """Have a session's own task run."""
        self._context.run(self._services.start_soon, self._run, session)

    def note_away(self, away: bool) -> None:
        """Count the sessions that wait for their user."""
        self.away += 1 if away else -1

    # Ctrl-C here would end the rooms before their last save; whoever runs the server gets it.
    @trio.lowlevel.enable_ki_protection
    async def _run(self, session: Session) -> None:
        """Have a session do what it has to do; where that was its end, the seat is free."""
        user_of_task.set(session.username)
        # Of whoever has started this task, it may be another one, or none.
        connection_of_task.set(session.connection_number)
        try:
            try:
                if session in self._unannounced:
                    self._unannounced.remove(session)
                    await self._tell(session.username, True)
            finally:
                await session.run()
        except Exception as error:
            logger.exception(
                "The session of %s failed, and has ended, as error %s",
                session.username,
                error_id(error),
                extra={"error_id": error_id(error)},
            )
            self._options.environment.note_failure(error)
        finally:
            # One that has moved is out already, and its user is not.
            if session.end_reason is not None and not session.has_moved:
                logger.info("%s is out: %s", session.username, one_line(session.end_reason))
                if self._sessions.get(session.username) is session:
                    del self._sessions[session.username]
                    if self._note_end is not None:
                        self._note_end(session.username)
                session.ended.set()
                await self._tell(session.username, False)

    async def _tell(self, username: str, connected: bool) -> None:
        on_connection = self._options.on_connection
        if on_connection is None:
            return
        try:
            result = on_connection(username, connected)
            if inspect.isawaitable(result):
                await result
        except trio.Cancelled:
            raise
        except BaseException as error:
            logger.exception("on_connection raised for %s", username)
            self._options.environment.note_failure(error)


def _forget_until(remembered: dict[str, RememberedT], now: float) -> None:
    """Forget the oldest of what is remembered until then."""
    for username, each in list(remembered.items()):
        if each.until > now:
            break
        del remembered[username]


def _stats_of(session: Session) -> SessionStats:
    delivery = session.client.delivery
    client = session.client
    return SessionStats(
        game=session.game,
        online=session.online,
        address=client.address,
        since=client.asked_at if client.asked_at > 0 else None,
        protocol=client.protocol,
        latency=session.latency,
        unanswered=session.unanswered,
        unacknowledged=0 if delivery is None else delivery.unacknowledged,
        unacknowledged_bytes=0 if delivery is None else delivery.unacknowledged_bytes,
        dropped_pushes=0 if delivery is None else delivery.dropped,
        superseded_tokens=len(session.superseded_tokens),
    )

"""The sessions of one run of a server, and who holds which seat."""

from __future__ import annotations

import contextvars
import inspect
import logging
import math
from typing import TYPE_CHECKING

import trio

from pgnet_trio.foreign_text import one_line
from pgnet_trio.server.sessions.session import CarryOut, Session
from pgnet_trio.server.stats import SessionStats

if TYPE_CHECKING:
    from pgnet_trio.server.options import Options
    from pgnet_trio.server.sessions.handle import ConnectionHandle
    from pgnet_trio.server.sessions.needs import Games
    from pgnet_trio.server.sessions.sender import LoggedInClient

__all__ = ["SessionRegistry"]

logger = logging.getLogger("pgnet_trio.server")


class SessionRegistry:
    """Opens and runs sessions. A user who has a session in here holds their seat.

    Args:
        options: The server's.
        games: Knows which game a user is in.
        services: The nursery in which the sessions run.

    Attributes:
        away: How many sessions wait for their user to come back.
    """

    def __init__(self, options: Options, games: Games, services: trio.Nursery) -> None:
        self.away = 0
        self._options = options
        self._games = games
        self._services = services
        self._sessions: dict[str, Session] = {}
        # Of whom `on_connection` has not heard yet.
        self._unannounced: set[Session] = set()
        # For the sessions' tasks, whoever wakes them: a game's own variables are no part of it.
        self._context = contextvars.copy_context()

    @property
    def usernames(self) -> list[str]:
        """Who holds a seat."""
        return list(self._sessions)

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
        session = Session(
            username,
            client,
            games=self._games,
            carry_out=carry_out,
            max_in_flight=self._options.limits.max_requests_in_flight or math.inf,
            max_bytes_in_flight=self._options.limits.max_bytes_in_flight or math.inf,
            requests_per_second=requests_per_second,
            settings=self._options,
            owner=self,
        )
        self._sessions[username] = session
        session.attach(connection)
        if self._options.on_connection is not None:
            self._unannounced.add(session)
            session.wake()
        return session

    async def end(self, username: str, reason: str, code: str) -> None:
        """End a user's session where there is one, and wait until the seat is free."""
        session = self._sessions.get(username)
        if session is not None:
            session.end(reason, code)
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

    def stats(self) -> dict[str, SessionStats]:
        """Return the figures of each session."""
        return {name: _stats_of(session) for name, session in self._sessions.items()}

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
        try:
            try:
                if session in self._unannounced:
                    self._unannounced.remove(session)
                    await self._tell(session.username, True)
            finally:
                await session.run()
        except Exception as error:
            logger.exception("The session of %s failed, and has ended", session.username)
            self._options.environment.note_failure(error)
        finally:
            if session.end_reason is not None:
                logger.info("%s is out: %s", session.username, one_line(session.end_reason))
                if self._sessions.get(session.username) is session:
                    del self._sessions[session.username]
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


def _stats_of(session: Session) -> SessionStats:
    delivery = session.client.delivery
    return SessionStats(
        game=session.game,
        online=session.online,
        unanswered=session.unanswered,
        unacknowledged=0 if delivery is None else delivery.unacknowledged,
        unacknowledged_bytes=0 if delivery is None else delivery.unacknowledged_bytes,
        dropped_pushes=0 if delivery is None else delivery.dropped,
        superseded_tokens=session.superseded_tokens,
    )

"""Who gets a seat: log-in, registration, resume, and one seat for each user."""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING

import trio

from pgnet_trio.errors import Disconnected, ProtocolError
from pgnet_trio.foreign_text import one_line
from pgnet_trio.protocol import v2
from pgnet_trio.protocol.events import Goodbye, LogIn, Resume
from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.accounts import AccountRefusal, TemporaryRefusal, TokenRefused
from pgnet_trio.server.connections.authentication import Authentication
from pgnet_trio.server.connections.entering import (
    AT_ANOTHER_SERVER,
    AtAnotherServer,
    find_elsewhere,
)
from pgnet_trio.server.connections.gate import GatedConnection
from pgnet_trio.server.node.member import NotNow
from pgnet_trio.server.refusals import SHUTTING_DOWN
from pgnet_trio.server.requests import carry_out
from pgnet_trio.server.sessions.sender import LoggedInClient, SenderV1, SenderV2
from pgnet_trio.server.tokens import LIFETIME

if TYPE_CHECKING:
    from pgnet_trio.connection import Connection
    from pgnet_trio.protocol import v1
    from pgnet_trio.protocol.events import ServerEvent
    from pgnet_trio.server.context import ServerContext
    from pgnet_trio.server.sessions.handle import ConnectionHandle
    from pgnet_trio.server.sessions.session import Session
    from pgnet_trio.storage.interface import TokenRecord, UserRecord

__all__ = ["Login"]

logger = logging.getLogger("pgnet_trio.server")

TOO_OLD = "This server speaks protocol 2 and later, and your client does not; update it."
MIN_RECONNECT = 60.0
"""Seconds for which clients are told to try to come back, at least."""

RESTART_TIME = 30.0
"""Seconds beyond the grace for which they are told to: whoever is too late for their session may
find their game, also after a restart."""

SESSION_MOVED = "Your session goes on at another server."
SESSION_OVER = "The server was restarted, or you were away for too long."


class Login:
    """Lets the client of one connection in, or refuses it.

    Args:
        context: What the server's tasks share.
        connection: The connection.
        protocol: What is spoken over it.
        handle: The same connection, for the session that the client gets.
    """

    def __init__(
        self,
        context: ServerContext,
        connection: Connection[ServerEvent],
        protocol: v1.ServerProtocol | v2.ServerProtocol,
        handle: ConnectionHandle,
    ) -> None:
        self._context = context
        self._connection = connection
        self._protocol = protocol
        self._handle = handle
        self._peer = connection.transport.peer
        # The admin needs no password inside the process, and nothing is limited there.
        self._trusted = connection.transport.inside_process
        self._address = None if self._trusted else self._peer
        self._authentication = Authentication(
            context, connection, protocol, self._address, trusted=self._trusted
        )
        # When the client has asked to be let in.
        self._asked_at = 0.0
        # What stood for the password, where something did; None where nothing was taken.
        self._token: TokenRecord | None = None
        self._tried_token = False
        # In a cluster: which of the user's sessions this is to be, and whether it was asked for.
        self._epoch = 0
        self._has_asked_to_enter = False
        # What the client will resume its session with.
        self._resume_token = context.options.environment.random_bytes(v2.TOKEN_BYTES)

    async def run(self) -> Session | None:
        """Wait for the client to log in, or to resume its session.

        Returns:
            The session, which goes on over this connection; None where the client was refused,
            and told so.

        Raises:
            Disconnected: The client has left.
            ProtocolError: The client broke the rules.
        """
        connection, protocol = self._connection, self._protocol
        connection.flush()
        if protocol.version < self._context.options.minimum_protocol:
            # A client that has not sent its first message yet would find the connection closed
            # when it does, and would not read why.
            await connection.transport.receive()
            protocol.refuse(TOO_OLD)
            connection.flush()
            return None
        while True:
            events = await connection.receive()
            # A client that has left again gets no seat, whatever it said before.
            for event in reversed(events):
                if isinstance(event, Goodbye):
                    raise Disconnected(f"the client has left: {event.reason}")
            for event in events:
                if isinstance(event, Resume) and isinstance(protocol, v2.ServerProtocol):
                    await self._wait_in_line(protocol, event)
                    if await self._send_away(protocol, event):
                        return None
                    try:
                        session = self._resume(protocol, event)
                    finally:
                        connection.flush()
                    self._context.counters.note_resume(succeeded=session is not None)
                    if session is not None:
                        logger.info("%s is back from %s", event.username, self._peer)
                        return session
                    if protocol.closing:
                        logger.info(
                            "%s does not go on here from %s: another client took over, the session "
                            "has moved, or was ended by the admin",
                            event.username,
                            self._peer,
                        )
                        return None
                elif isinstance(event, LogIn):
                    try:
                        return await self._seat(event)
                    except AtAnotherServer as found:
                        self._redirect(event.username, found.address, found.login_token)
                        return None
                    except TokenRefused as refusal:
                        self._refuse_token(refusal)
                    except AccountRefusal as refusal:
                        self._refuse(event.username, refusal)
                        return None
                else:
                    raise ProtocolError(f"expected a log-in, got {type(event).__name__}")

    def _refuse(self, username: str, refusal: AccountRefusal) -> None:
        protocol = self._protocol
        self._context.counters.note_refused_login(refusal.code or "other")
        logger.info(
            "Refused a log-in as %.60r from %s: %s", username, self._peer, one_line(refusal)
        )
        if isinstance(refusal, TemporaryRefusal) and protocol.version > 1:
            # A goodbye, and no refusal: the client may come back.
            protocol.goodbye(str(refusal), refusal.code)
        else:
            protocol.refuse(str(refusal), refusal.code)
        self._connection.flush()

    async def _wait_in_line(self, protocol: v2.ServerProtocol, event: Resume) -> None:
        """Wait while a session that a client may resume has cost more than it may."""
        sessions = self._context.sessions
        while (session := sessions.holder(event.username)) is not None:
            # Whoever cannot prove that it is theirs makes nobody wait.
            if not protocol.proves(event.proof, session.client.token):
                break
            delay = session.budget.debt()
            if not delay:
                break
            await trio.sleep(delay)

    def _refuse_token(self, refusal: TokenRefused) -> None:
        """Let the client log in with its password instead, once.

        Raises:
            ProtocolError: It has tried a token before.
        """
        if self._tried_token:
            raise ProtocolError("expected a log-in with the password, got another token")
        self._tried_token = True
        if isinstance(self._protocol, v2.ServerProtocol):
            self._protocol.refuse_resume(str(refusal), refusal.code)
        self._connection.flush()

    # No await in here: no other task may see the session with two connections, or with none.
    def _resume(self, protocol: v2.ServerProtocol, event: Resume) -> Session | None:
        """Take a session back for its client; return None where it cannot have it."""
        context = self._context
        session = context.sessions.holder(event.username)
        departed = context.sessions.departed(event.username) if session is None else None
        put_out = context.sessions.put_out(event.username)
        if put_out is not None and protocol.proves(event.proof, put_out.token):
            # It would log in again otherwise, and its user would not read why.
            protocol.refuse(put_out.reason, put_out.code)
            return None
        ban = context.bans.find(event.username, self._address)
        # That a user is banned is told to them alone.
        if ban is not None and (
            not ban.is_of_a_user
            or (session is not None and protocol.proves(event.proof, session.client.token))
        ):
            protocol.refuse(ban.text, ReasonCode.BANNED)
            return None
        # A cluster knows better where it is by now, and was asked before this.
        is_alone = context.cluster is None
        if is_alone and departed is not None and protocol.proves(event.proof, departed.token):
            protocol.moved(departed.address, SESSION_MOVED)
            return None
        if (
            session is None
            or session.client.delivery is None
            or session.end_reason is not None
            or context.shutdown.closing
            or not protocol.proves(event.proof, session.client.token)
        ):
            known = session or departed
            if known is not None and known.was_taken_over(
                functools.partial(protocol.proves, event.proof)
            ):
                # This client was away during the take-over. Told only that its session is gone,
                # it would log in again, and throw out the client that the user has turned to.
                protocol.refuse(v2.TAKEN_OVER, ReasonCode.TAKEN_OVER)
            else:
                protocol.refuse_resume(SESSION_OVER, ReasonCode.SESSION_GONE)
            return None
        self._guard(event.username)
        protocol.resume(session.client.delivery, event.received)
        session.attach(self._handle)
        session.charge_return()
        return session

    async def _seat(self, log_in: LogIn) -> Session:
        """Check a log-in, and give its user the seat.

        Raises:
            AccountRefusal: The user does not get it; the message is for the user.
        """
        context, username = self._context, log_in.username
        self._asked_at = trio.current_time()
        if context.shutdown.closing:
            raise TemporaryRefusal(SHUTTING_DOWN, ReasonCode.SHUTTING_DOWN)
        # Unheard: nobody guesses passwords from there, nor costs the server a hash.
        context.bans.check_address(username, self._address)
        user: UserRecord | None
        if log_in.token:
            now = context.options.environment.wall_clock()
            user, self._token = await context.accounts.find_by_token(log_in, now)
        else:
            user = await self._authentication.run(log_in)
        if context.cluster is None:
            session, login_token = await self._wait_for_seat(username, user)
            return self._sit(username, user, session, login_token)
        async with context.cluster.entering.holding(username):
            where = await find_elsewhere(context.cluster, username)
            if where is not None:
                login_token = await self._admit(username, user, enters=False)
                raise AtAnotherServer(where.address, login_token)
            try:
                session, login_token = await self._wait_for_seat(username, user)
            except BaseException:
                if self._has_asked_to_enter:
                    context.services.start_soon(context.cluster.correct, username)
                raise
            context.cluster.note_seat(username, self._epoch)
            session = self._sit(username, user, session, login_token)
            context.cluster.end_as_told(username)
            return session

    async def _wait_for_seat(
        self, username: str, user: UserRecord | None
    ) -> tuple[Session | None, bytes]:
        """Wait until a user may have the seat, which they may when this returns.

        Returns:
            The session that the user has already, and a token that stands for the password.

        Raises:
            AccountRefusal: They may not; the message is for the user.
        """
        context = self._context
        login_token: bytes | None = None
        while True:
            session = context.sessions.holder(username)
            if session is not None and session.is_packed:
                await session.wait_settled()
                login_token = None
                continue
            if session is not None and session.end_reason is not None:
                await session.ended.wait()
                # The user may have been deleted meanwhile.
                login_token = None
                continue
            self._check_seat(username, session)
            if login_token is not None:
                return session, login_token
            login_token = await self._admit(username, user)

    # No await in here: exactly one client holds the seat at any time.
    def _sit(
        self, username: str, user: UserRecord | None, session: Session | None, login_token: bytes
    ) -> Session:
        """Give a client the seat, which nobody holds or whoever has the session."""
        context = self._context
        self._guard(username)
        client = self._accept(username, login_token)
        context.counters.note_login(takes_over=session is not None)
        if session is not None:
            logger.info("%s took over from %s", username, self._peer, extra={"user": username})
            session.take_over(self._handle, client)
            session.charge_return()
        else:
            logger.info("%s logged in from %s", username, self._peer, extra={"user": username})
            session = context.sessions.open(
                username,
                client,
                self._handle,
                carry_out=functools.partial(carry_out, context),
                requests_per_second=(
                    None if self._trusted else context.options.limits.requests_per_second
                ),
            )
        if user is not None and self._authentication.has_weak_record:
            # Beside the log-in: a known user does not wait for the save file.
            context.services.start_soon(self._authentication.upgrade, user)
        self._connection.flush()
        return session

    # In a cluster.

    def _guard(self, username: str) -> None:
        """Let nothing leave, from now on, that may not."""
        cluster, connection = self._context.cluster, self._connection
        if cluster is not None and isinstance(connection, GatedConnection):
            connection.guard(username, cluster)

    def _redirect(self, username: str, address: str, login_token: bytes = b"") -> None:
        """Send a client that has proved whose it is to the server that has the session."""
        logger.info("%s goes on at %s, from %s", username, one_line(address), self._peer)
        self._protocol.moved(address, AT_ANOTHER_SERVER, login_token)
        self._connection.flush()

    async def _send_away(self, protocol: v2.ServerProtocol, event: Resume) -> bool:
        """Say where a session is that a client wants to resume here; return whether that is it."""
        context, username = self._context, event.username
        if context.cluster is None or context.sessions.holder(username) is not None:
            return False
        try:
            where = await context.cluster.find(username)
        except NotNow as error:
            protocol.goodbye(str(error), error.code)
            self._connection.flush()
            return True
        # Whoever cannot prove that it is theirs does not learn where it is.
        if where is None or not protocol.proves(event.proof, where.row.token):
            return False
        self._redirect(username, where.address)
        return True

    def _check_seat(self, username: str, session: Session | None) -> None:
        """Check that a client may take a seat, which nobody holds or whoever has the session.

        Raises:
            AccountRefusal: The user is banned, or has got in by a log-in that is later than this.
            TemporaryRefusal: It may not, now.
        """
        context = self._context
        context.bans.check(username, self._address)
        if session is not None and session.client.asked_at > self._asked_at:
            # This one took longer, and most likely nobody waits for it any more.
            raise AccountRefusal(v2.TAKEN_OVER, ReasonCode.TAKEN_OVER)
        if context.shutdown.closing:
            raise TemporaryRefusal(SHUTTING_DOWN, ReasonCode.SHUTTING_DOWN)
        if session is not None and (
            self._protocol.version == 1 or context.options.duplicate_login == "refuse"
        ):
            raise TemporaryRefusal(
                f"The user {username!r} is connected already.", ReasonCode.ALREADY_CONNECTED
            )
        if session is None and context.is_full:
            raise TemporaryRefusal("The server is full.", ReasonCode.SERVER_FULL)

    def _accept(self, username: str, login_token: bytes) -> LoggedInClient:
        """Tell the client that it is in; return what outlives this connection."""
        context, protocol = self._context, self._protocol
        if not isinstance(protocol, v2.ServerProtocol):
            protocol.accept(f"Welcome, {username}.")
            old = context.sessions.with_mistakes(SenderV1(protocol), self._handle)
            return LoggedInClient(old, address=self._address, asked_at=self._asked_at)
        delivery = context.sessions.make_delivery()
        token = self._resume_token
        grace = context.options.resume_grace
        protocol.accept(
            f"Welcome, {username}.",
            token,
            delivery,
            login_token,
            times=(grace, max(MIN_RECONNECT, grace + RESTART_TIME)),
        )
        sender = context.sessions.with_mistakes(SenderV2(delivery), self._handle)
        return LoggedInClient(sender, delivery, token, grace, self._address, self._asked_at)

    async def _admit(self, username: str, user: UserRecord | None, *, enters: bool = True) -> bytes:
        """Make sure that a user still may log in; nothing has changed since when this returns.

        Args:
            username: Who.
            user: What they have proved to be; None for whoever has no record.
            enters: Whether they get the seat here, which the servers of a cluster hear of.

        Returns:
            A new token that stands for the user's password; empty where there is none.

        Raises:
            AccountRefusal: They may not.
        """
        environment, old, token = self._context.options.environment, self._token, b""
        now, protocol = environment.wall_clock(), self._protocol
        # A client that needs none gets none, and one that has a good one keeps it: so it is in the
        # save file already when the server is killed once more.
        has_one = old is not None and old.expires - now > LIFETIME / 2
        takes_tokens = isinstance(protocol, v2.ServerProtocol) and protocol.takes_tokens
        if takes_tokens and not self._trusted and not has_one:
            token = environment.random_bytes(v2.TOKEN_BYTES)
        self._has_asked_to_enter = enters
        seat = await self._context.accounts.admit(
            username,
            user,
            address=self._address,
            token=token,
            now=now,
            instead_of=old,
            session_token=self._resume_token if enters else b"",
            asked_at=self._asked_at,
        )
        cluster = self._context.cluster
        if cluster is not None and seat.epoch:
            self._epoch = seat.epoch
            if seat.replaced is not None and seat.replaced[0] != cluster.node:
                # It has come there after it was looked for. Not awaited: nothing may change now.
                node, epoch = seat.replaced
                self._context.services.start_soon(cluster.end_elsewhere, node, username, epoch)
        return token if seat.token_stands else b""

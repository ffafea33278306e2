"""A user's session: it takes in what they ask, and tells them what comes of it.

It is long: what is done for each message is in one class, without a call from one part of it to
another, and who may call what, and when, is only seen with all of that side by side. What is done
now and then has classes of its own: `Attachment`, `OwnRequests`, `LatestSearch`, `SessionHold`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

import trio

from pgnet_trio.errors import CodecError
from pgnet_trio.foreign_text import one_line
from pgnet_trio.messages import ADMIN_USERNAME, Packet, Request, Response
from pgnet_trio.protocol.events import MAX_REASON
from pgnet_trio.protocol.v2 import TAKEN_OVER
from pgnet_trio.protocol.v2.features import ANNOUNCEMENTS
from pgnet_trio.protocol.v2.server_delivery import DeliveryOverflow, ServerDelivery, Snapshot
from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.refusals import (
    CLOSED,
    GRACE_OVER,
    LEFT,
    RESTARTING,
    departure,
    log_says,
    refused,
)
from pgnet_trio.server.room.player import PacketTurn
from pgnet_trio.server.sessions.announcements import MOST_REMEMBERED
from pgnet_trio.server.sessions.attachment import Attachment, AwayCounter
from pgnet_trio.server.sessions.budget import OWN_REQUEST_COST, RETURN_COST
from pgnet_trio.server.sessions.hold import SessionHold
from pgnet_trio.server.sessions.own_requests import OwnRequests
from pgnet_trio.server.sessions.search import LatestSearch
from pgnet_trio.server.sessions.sender import SenderV2

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pgnet_trio.protocol.events import InputReceived, QuestionAnswered, RequestReceived
    from pgnet_trio.server.room.player import HeldRequest, OpenQuestion
    from pgnet_trio.server.sessions.announcements import Announcement
    from pgnet_trio.server.sessions.budget import Budget
    from pgnet_trio.server.sessions.handle import ConnectionHandle
    from pgnet_trio.server.sessions.needs import Games, Settings
    from pgnet_trio.server.sessions.packed import PackedSession
    from pgnet_trio.server.sessions.sender import LoggedInClient
    from pgnet_trio.transport.rounds import Round

__all__ = ["SILENT", "CarryOut", "Session", "SessionOwner"]

logger = logging.getLogger("pgnet_trio.server")


CarryOut = Callable[["Session", Packet], Awaitable[Response]]
"""Carries out a request that is not for a game."""

MAX_VERBOSE = 10_000
"""Characters of a packet or response in the log, where the admin has all of them logged."""

OWN_REQUESTS = frozenset(Request) - {Request.HEARTBEAT_UPDATE}
"""The messages that no game gets to see."""

MAX_SUPERSEDED_TOKENS = 16
"""How many superseded resume tokens a session remembers. A client whose token is forgotten finds
its session gone, as after a restart."""

NOT_RESUMED = "The connection was lost, and the client did not come back in time."


SILENT = SenderV2(ServerDelivery())
"""The sender of requests to which nobody waits for the answer any more."""


def _do_nothing() -> None:
    """Write nothing: there is no connection."""


class SessionOwner(AwayCounter, Protocol):
    """What a session needs of whoever keeps it. Nothing here waits."""

    @property
    def announcements(self) -> Iterable[Announcement]:
        """The latest announcements: a session that was on its way has not been told."""

    def start(self, session: Session, /) -> None:
        """Have `Session.run` run in a task of its own."""


class Session:
    """One logged-in user: carries out their requests in the order of arrival.

    A request for the user's game goes straight to the game's room; the session's own task
    carries out all others. There is such a task only while there is something for it to do. A
    session outlives its connection where its client can resume it.

    Args:
        username: Who it is.
        client: The program that the user has logged in with.
        games: Knows which game the user is in.
        carry_out: Carries out what is not for a game.
        max_in_flight: How many requests may be unanswered; infinite for any number.
        max_bytes_in_flight: How many bytes of them; infinite for any number.
        budget: What the user may cost the server.
        settings: Say whether to log every packet and response.
        owner: Starts the session's own task.

    Attributes:
        username: Who it is.
        client: The program that the user has logged in with last.
        end_reason: Why the session ended; None while it lasts.
        departure: The word by which the user's game is told why they are gone.
        has_moved: Whether it has ended here because it goes on at another server.
        is_open: Whether it begins with what comes: it is neither over nor packed up.
        budget: What the user may cost the server.
        announced: The ids of the latest announcements that the user was told.
        search: Tells the user's search for a game what becomes of the session.
        flush: Writes what waits, as far as the link has room. The connection's own function: it is
            called for each message.
    """

    def __init__(
        self,
        username: str,
        client: LoggedInClient,
        *,
        games: Games,
        carry_out: CarryOut,
        max_in_flight: float,
        max_bytes_in_flight: float,
        budget: Budget,
        settings: Settings,
        owner: SessionOwner,
    ) -> None:
        self.username = username
        self.client = client
        self.end_reason: str | None = None
        self.departure = LEFT
        self.has_moved = False
        self.is_open = True
        self.budget = budget
        self.announced: tuple[str, ...] = ()
        self.search = LatestSearch()
        self._games = games
        self._carry_out = carry_out
        self._max_in_flight = max_in_flight
        self._max_bytes_in_flight = max_bytes_in_flight
        self._settings = settings
        self._owner = owner
        self._ended: trio.Event | None = None
        self._attachment = Attachment(owner)
        self.flush: Callable[[], None] = _do_nothing
        self._unanswered = 0
        self._unanswered_bytes = 0
        # What tasks wait for that wait for the next answer; None while there is none.
        self._answered: trio.Event | None = None
        self._superseded_tokens: tuple[bytes, ...] = ()
        # Why it begins with none of its own requests: it may move. None while it begins with them.
        self._hold: SessionHold | None = None
        self._own_requests = OwnRequests(max_in_flight)
        # Bound once: this is looked at for each message.
        self._own_turns = self._own_requests.turns

    @property
    def is_admin(self) -> bool:
        """Whether this is the server's admin."""
        return self.username == ADMIN_USERNAME

    @property
    def game(self) -> str | None:
        """The name of the game that the user is in, or None."""
        entry = self._games.game_of(self.username)
        return None if entry is None else entry.name

    @property
    def online(self) -> bool:
        """Whether the user has a connection now, or is on the way here with one."""
        return self._attachment.is_online

    @property
    def arrival(self) -> trio.Event | None:
        """Set once the client is here that is on its way; None where none is."""
        return self._attachment.arrival

    @property
    def ended(self) -> trio.Event:
        """Set when the user is out of their game, and their seat is free."""
        if self._ended is None:
            self._ended = trio.Event()
        return self._ended

    @property
    def takes_pushes(self) -> bool:
        """Whether the user's protocol can carry what the client has not asked for."""
        return self.client.sender.takes_pushes

    @property
    def takes_player_lists(self) -> bool:
        """Whether the user's client takes the players as a list, and not as a map."""
        return self.client.sender.takes_player_lists

    @property
    def unanswered(self) -> int:
        """How many requests are not answered yet."""
        return self._unanswered

    @property
    def connection_number(self) -> int:
        """The number by which the log names the connection; 0 for none."""
        connection = self._attachment.connection
        return 0 if connection is None else connection.number

    @property
    def latency(self) -> float | None:
        """Seconds to the client and back, as the system measures it; None if unknown."""
        connection = self._attachment.connection
        return None if connection is None else connection.round_trip

    @property
    def superseded_tokens(self) -> tuple[bytes, ...]:
        """The resume tokens of earlier clients that the session remembers."""
        return self._superseded_tokens

    # What connections do.

    def end_if_late(self) -> None:
        """End a session whose grace has just run out, though nobody was told so yet."""
        if self._attachment.is_late:
            self._end_away()

    def attach(self, connection: ConnectionHandle) -> None:
        """Go on over this connection; the one before is closed. Never waits.

        The user's game hears of it where the session had no connection.
        """
        before = self._go_online(connection)
        self.client.sender.is_local = connection.is_local
        if before is not None:
            before.end("The user has come back over another connection.", for_good=False)
        entry = self._games.game_of(self.username)
        if entry is not None:
            entry.room.catch_up(self)
        self._tell_return()
        self.search.note_online(True)

    def take_over(self, connection: ConnectionHandle, client: LoggedInClient) -> None:
        """Go on with another client of the user, which is shown everything afresh. Never waits.

        Args:
            connection: The client's connection.
            client: What is to outlive it.
        """
        before = self._go_online(connection)
        if before is not None:
            before.end(TAKEN_OVER, for_good=True, code=ReasonCode.TAKEN_OVER)
        self.search.stop()
        if self.client.token:
            tokens = (*self._superseded_tokens, self.client.token)
            self._superseded_tokens = tokens[-MAX_SUPERSEDED_TOKENS:]
        self.client = client
        entry = self._games.game_of(self.username)
        if entry is not None:
            # Show the game first: the player_resumed turn may have to queue.
            entry.room.introduce(self)
        self._tell_return()

    def was_taken_over(self, proves: Callable[[bytes], bool]) -> bool:
        """Whether another client has superseded one that wants to resume this session.

        Args:
            proves: Says whether that client has proved that it holds a token.
        """
        return self.end_reason is None and any(map(proves, self._superseded_tokens))

    def detach(self, connection: ConnectionHandle, reason: str, *, for_good: bool = False) -> None:
        """Note that a connection is gone; the session ends, or waits for the next one.

        A connection that the session no longer uses changes nothing.

        Args:
            connection: The connection.
            reason: Why it is gone.
            for_good: Whether the session ends with it.
        """
        if self._attachment.connection is not connection:
            return
        self._go_offline()
        if for_good or self.client.grace <= 0:
            self.departure = LEFT if for_good else GRACE_OVER
            self.end(reason)
            return
        self._attachment.wait(self.client.grace, self._end_away)
        self._tell_drop()
        self.search.note_online(False)

    def charge_return(self) -> None:
        """Count what it costs that the user is back: it is told to everybody in their game."""
        entry = self._games.game_of(self.username)
        self.budget.charge(RETURN_COST + (0 if entry is None else entry.room.audience))

    def request(self, asked: RequestReceived, round: Round | None = None) -> None:
        """Take a request in. Never waits.

        Args:
            asked: The request.
            round: The round of reading that it came in: a game that is idle answers it at once.
        """
        if not self.is_open:
            self._keep(asked)
            return
        packet = asked.packet
        packet.username = self.username
        if self._settings.verbose_logging:
            # The payload of a request to the server may hold a password or an invite code.
            shown = repr(packet) if packet.message in OWN_REQUESTS else packet.debug_repr
            logger.info("from %s: %s", self.username, one_line(shown, MAX_VERBOSE))
        self._unanswered += 1
        turn = PacketTurn(self, self.client.sender, asked.id, packet, asked.quiet)
        if asked.size and not self._take_size(turn, asked.size, asked.packed):
            return
        own = packet.message in OWN_REQUESTS
        # Behind a request that the server carries out itself, even a packet for the game waits:
        # that request may be one to join or to leave.
        if not (own or self._own_turns):
            entry = self._games.game_of(self.username)
            if entry is not None:
                if round is None:
                    entry.room.handle(turn)
                else:
                    entry.room.take_now(turn, round)
                return
        if round is not None:
            round.delay = 0.0
        if own:
            self.budget.charge(OWN_REQUEST_COST)
        self._queue(turn)

    def answer_question(self, answered: QuestionAnswered) -> None:
        """Take the answer to a question in. Never waits."""
        if not self.is_open:
            self._keep(answered)
            return
        self._unanswered += 1
        self._unanswered_bytes += answered.size
        turn = PacketTurn(
            self, self.client.sender, answered.id, answered.packet, size=answered.size
        )
        entry = self._games.game_of(self.username)
        if entry is None:
            self.answer(turn, refused("You are in no game.", ReasonCode.NOT_IN_GAME))
            self.flush()
        else:
            entry.room.handle_answer(turn, answered.question)

    def play(self, given: InputReceived, round: Round | None = None) -> None:
        """Take in what the user does in one tick. Never waits.

        While the session may move, nobody hears it: what comes after the move is newer.

        Args:
            given: The input.
            round: The round of reading that it came in.
        """
        entry = self._games.game_of(self.username) if self.is_open else None
        if entry is not None:
            entry.room.take_input(self, given, round)
        elif round is not None:
            round.delay = 0.0

    def room_times(self) -> tuple[float, float] | None:
        """Return what time it is in the user's game, and its ticks a second; None in no game."""
        entry = self._games.game_of(self.username)
        return None if entry is None else entry.room.times()

    async def wait_capacity(self) -> None:
        """Wait until one more request may come in."""
        while (
            self._unanswered >= self._max_in_flight
            or self._unanswered_bytes >= self._max_bytes_in_flight
        ) and self.end_reason is None:
            await self._wait_for_answer()

    # What rooms do; see `pgnet_trio.server.room.player.Player`.

    def answer(self, turn: PacketTurn, response: Response) -> bool:
        """Answer a request; return whether `flush` has something to write.

        That an unanswered request was carried out is told with the next frame, or after many.
        """
        self._unanswered -= 1
        if turn.size:
            self._unanswered_bytes -= turn.size
        if self._answered is not None:
            self._wake_waiting()
        sender = turn.sender
        # As `waits_for`, without a call for each answer.
        if self.end_reason is not None or sender is not self.client.sender:
            return False
        if sender.answers_in_order:
            response.game = self.game
        # Where nobody waits for an answer, only a refusal is worth a line.
        if self._settings.verbose_logging and (response.status or not turn.quiet):
            # What the server answers itself may hold invite codes.
            own = turn.packet.message in OWN_REQUESTS
            shown = f"status {int(response.status)}" if own else response.debug_repr
            logger.info("to %s: %s", self.username, one_line(shown, MAX_VERBOSE))
        try:
            try:
                return sender.respond(turn.request_id, response)
            except CodecError as error:
                logger.error("An answer to %s cannot travel: %s", self.username, one_line(error))
                return sender.respond(
                    turn.request_id,
                    _cannot_travel(error, response.game),
                )
        except DeliveryOverflow as error:
            self._end_slow_reader(error)
            return False

    def enter_game(self, name: str, heartbeat_rate: float, time: float) -> None:
        """Tell the user that they are in a game."""
        self._tell(self.client.sender.enter_game, name, heartbeat_rate, time)

    def exit_game(self, reason: str, message: str, time: float) -> None:
        """Tell the user that they are in no game any more."""
        if reason == RESTARTING:
            if self.client.comes_back:
                # Told so, the client would forget the game that it is to come back to.
                return
            reason = CLOSED
        self._tell(self.client.sender.exit_game, reason, message, time)

    def push(self, envelope: bytes) -> None:
        """Send the user an encoded push."""
        # As `_tell`, without a call for each recipient.
        if self.end_reason is None:
            try:
                self.client.sender.push(envelope)
            except (DeliveryOverflow, CodecError) as error:
                self._end_untold(error)

    def announce(self, announcement: Announcement) -> None:
        """Tell the user what whoever runs the server says, once. Never waits.

        A session that is packed up tells it when it goes on, here or elsewhere.
        """
        delivery = self.client.delivery
        if (
            not self.is_open
            or announcement.id in self.announced
            or announcement.game not in ("", self.game)
        ):
            return
        self.announced = (*self.announced, announcement.id)[-MOST_REMEMBERED:]
        if delivery is not None and ANNOUNCEMENTS in delivery.features:
            self.push(announcement.envelope)
            self.flush()

    def show(self, snapshot: Snapshot) -> None:
        """Have a state sent to the user."""
        self.client.sender.show(snapshot)

    def mark(self, moment: bytes) -> None:
        """Have the user told of which moment the state is."""
        self.client.sender.mark(moment)

    def ask(self, question: OpenQuestion) -> None:
        """Show the user a question."""
        self._tell(self.client.sender.ask, question, question.time)
        self.flush()

    def withdraw(self, question: OpenQuestion) -> None:
        """Tell the user that a question is no longer open."""
        self._tell(self.client.sender.withdraw, question)
        self.flush()

    def tell_search(self, envelope: bytes) -> None:
        """Tell the user how their search for a game goes."""
        self._tell(self.client.sender.tell_search, envelope)
        self.flush()

    # The session's own life.

    def wake(self) -> None:
        """Start the session's own task, unless it runs already."""
        own = self._own_requests
        if not own.is_busy and (not own.is_held or self.end_reason is not None):
            own.begin()
            self._owner.start(self)

    async def run(self) -> None:
        """Carry out the requests that wait; where the session has ended, take the user out.

        For the owner to run, once for each time that the session asks for it. Cancellation ends
        the session.
        """
        try:
            await self._own_requests.run(self._do)
        except BaseException as error:
            why = "." if isinstance(error, trio.Cancelled) else f"; {log_says(error)}"
            self.end(f"The session failed{why}", ReasonCode.SERVER_ERROR)
            raise
        finally:
            self._own_requests.finish()
            self._wake_waiting()
            if self.end_reason is not None:
                self._own_requests.forget()
                entry = self._games.leave(self.username)
                if entry is not None:
                    entry.room.leave(self.username, self.departure, player=self)

    def end(self, reason: str, code: str = "", *, restarting: bool = False) -> None:
        """End the session: nothing more is carried out or answered. Idempotent; never waits.

        The user leaves their game in the session's own task: a turn of that game may be what ends
        the session.

        Args:
            reason: Why.
            code: The same for programs: a `ReasonCode`.
            restarting: Whether the client is told that the server restarts.
        """
        if self.end_reason is not None:
            return
        if code:
            self.departure = departure(code)
        connection = self._finish(reason)
        if connection is not None:
            connection.end(reason, for_good=True, restarting=restarting, code=code)
        self._own_requests.cancel()
        self.wake()

    def drop(self, reason: str) -> None:
        """End the session without a word to its client, of which nothing that waits leaves.

        To the client, the connection is lost. Idempotent; never waits.
        """
        connection = self._attachment.replace(None)
        if connection is not None:
            connection.end(reason, for_good=False)
        self.end(reason)

    def next_answer(self) -> trio.Event:
        """Return what is set when something is answered, or the session's own task has ended."""
        if self._answered is None:
            self._answered = trio.Event()
        return self._answered

    # Moving to another server, and from one; see `pgnet_trio.server.sessions.hold`.

    def hold(self) -> SessionHold:
        """Begin no more of the requests that the session carries out itself; idempotent.

        It ends with `moved` or `go_on`.
        """
        if self._hold is None:
            self._hold = SessionHold(self, self._own_requests, self._attachment)
        return self._hold

    @property
    def held_by(self) -> SessionHold | None:
        """What holds it now; None where nobody wants to move it."""
        return self._hold

    @property
    def is_packed(self) -> bool:
        """Whether it is on its way, and not known yet whether it arrives."""
        return self._hold is not None and self._hold.is_packed

    async def wait_settled(self) -> None:
        """Wait until it is known whether a session that was packed up has moved."""
        if self._hold is None:
            await trio.lowlevel.checkpoint()
        else:
            await self._hold.wait_settled()

    def close(self) -> None:
        """Begin with nothing of what comes, until `go_on`; for `SessionHold`."""
        self.is_open = False
        # What waits in the room is counted anew where it waits next.
        self._unanswered = len(self._own_turns)
        self._unanswered_bytes = sum(turn.size for turn in self._own_turns)

    def go_on(self) -> None:
        """Go on here after all, with all that has come meanwhile. Idempotent."""
        hold, self._hold = self._hold, None
        self.is_open = self.end_reason is None
        if hold is not None:
            hold.release()
            self.search.note_online(self.online)
        for announcement in self._owner.announcements:
            self.announce(announcement)
        if self._own_turns:
            self.wake()

    def moved(self, address: str, reason: str) -> None:
        """End here, because the session goes on at another server.

        The user stays in their game, which moves too, and nobody hears that they are gone.
        """
        self.has_moved = True
        connection = self._finish(reason)
        if connection is not None:
            connection.send_away(address, reason)
        self._own_requests.forget()

    def arrive(self, packed: PackedSession) -> None:
        """Go on with a session of another server: its client will come, or be away for too long.

        Never waits. The session has to be new.
        """
        self._superseded_tokens = packed.superseded_tokens
        self.announced = packed.announcements
        attachment = self._attachment
        if packed.grace_left is None:
            attachment.wait_arrival(packed.grace, self._end_away, self._tell_drop)
        else:
            attachment.wait(packed.grace_left, self._end_away)
        for request in packed.requests:
            self._queue(self.retake(request))

    def waits_for(self, turn: PacketTurn) -> bool:
        """Return whether the user's client has sent this: one that took over since has not."""
        return turn.sender is self.client.sender

    def retake(self, held: HeldRequest) -> PacketTurn:
        """Return a request that waited at another server, so that it waits here."""
        # Nobody waits for the answer to one of a client that was superseded.
        sender = self.client.sender if held.id else SILENT
        turn = held.release(self, sender)
        self._unanswered += 1
        self._unanswered_bytes += turn.size
        return turn

    def _keep(self, asked: RequestReceived | QuestionAnswered) -> None:
        """Keep what comes while it is not known whether the session moves; forget it at the end."""
        if self._hold is not None:
            self._hold.keep(asked)

    def _finish(self, reason: str) -> ConnectionHandle | None:
        """Begin with nothing more; return the connection, which the caller closes."""
        self.end_reason, self.is_open = reason, False
        self.search.stop()
        self._attachment.stop_waiting()
        self._wake_waiting()
        if self._hold is not None:
            self._hold.settle()
        return self._go_offline()

    def _go_online(self, connection: ConnectionHandle) -> ConnectionHandle | None:
        """Go on over this connection; return the one before, which the caller closes."""
        self.flush = connection.flush
        return self._attachment.replace(connection)

    def _go_offline(self) -> ConnectionHandle | None:
        """Go on without a connection; return the one before."""
        self.flush = _do_nothing
        return self._attachment.replace(None)

    def _tell_return(self) -> None:
        """Tell the game that a user is back of whom it has heard that they are away."""
        arrives = self._attachment.is_arrival
        if self._attachment.stop_waiting() and not arrives:
            entry = self._games.game_of(self.username)
            if entry is not None:
                entry.room.resume(self.username)

    def _tell_drop(self) -> None:
        """Tell the game that the user is away."""
        entry = self._games.game_of(self.username)
        if entry is not None:
            entry.room.drop(self.username)

    def _end_away(self) -> None:
        """End the session, because nobody has come back in time."""
        self.departure = GRACE_OVER
        self.end(NOT_RESUMED)

    def _queue(self, turn: PacketTurn) -> None:
        """Leave a turn to the session's own task."""
        if self._own_requests.add(turn):
            self.wake()
        else:
            self.end("Too many requests are under way.", ReasonCode.TOO_MANY_REQUESTS)

    def _take_size(self, turn: PacketTurn, size: int, packed: bytes) -> bool:
        """Let a request of many bytes wait, in little memory, or refuse it."""
        turn.size = size
        self._unanswered_bytes += size
        too_much = self._unanswered_bytes > self._max_bytes_in_flight and self._unanswered > 1
        # Where answers have to leave in order, it cannot be refused now; the reader waits instead.
        if too_much and not turn.sender.answers_in_order:
            text = (
                f"More than {self._max_bytes_in_flight:,} bytes of your requests wait to be "
                "answered; send this again after some of the answers."
            )
            self.answer(turn, refused(text, ReasonCode.BUSY))
            self.flush()
            return False
        entry = self._games.game_of(self.username)
        if self._own_turns or entry is None or not entry.room.is_waiting:
            turn.pack(packed)
        return True

    async def _do(self, turn: PacketTurn) -> None:
        entry = self._games.game_of(self.username)
        if entry is not None and turn.packet.message not in OWN_REQUESTS:
            entry.room.handle(turn)
            return
        turn.unpack()
        # Where answers leave in the order of the requests, the game answers its own first.
        while turn.sender.answers_in_order and self._unanswered > len(self._own_turns):
            await self._wait_for_answer()
        self.answer(turn, await self._carry_out(self, turn.packet))
        self.flush()

    async def _wait_for_answer(self) -> None:
        await self.next_answer().wait()

    def _wake_waiting(self) -> None:
        answered, self._answered = self._answered, None
        if answered is not None:
            answered.set()

    def _tell(self, function: Callable[..., None], *args: Any) -> None:
        if self.end_reason is not None:
            return
        try:
            function(*args)
        except (DeliveryOverflow, CodecError) as error:
            self._end_untold(error)

    def _end_untold(self, error: DeliveryOverflow | CodecError) -> None:
        """End the session, whose client cannot be told something: later ones would leave a gap."""
        if isinstance(error, DeliveryOverflow):
            self._end_slow_reader(error)
        else:
            # The message is longer than this client takes.
            logger.info("%s cannot be told something: %s", self.username, one_line(error))
            self.end(f"Something is too long for this client: {error}", ReasonCode.TOO_LONG)

    def _end_slow_reader(self, error: DeliveryOverflow) -> None:
        logger.info("%s reads too slowly, or is away too long: %s", self.username, one_line(error))
        self.end(str(error), ReasonCode.TOO_SLOW)


def _cannot_travel(error: CodecError, game: str | None) -> Response:
    text = f"The answer cannot travel: {str(error)[:MAX_REASON]}"
    response = refused(text, ReasonCode.CANNOT_TRAVEL)
    response.game = game
    return response

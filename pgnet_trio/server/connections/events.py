"""Hands what a logged-in client, or a bot, asks to its session."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pgnet_trio.errors import ProtocolError
from pgnet_trio.protocol.events import (
    FullStateRequested,
    Goodbye,
    InputReceived,
    QuestionAnswered,
    RequestReceived,
    ServerEvent,
    TimeRequested,
)

if TYPE_CHECKING:
    from pgnet_trio.connection import Connection
    from pgnet_trio.server.sessions.handle import ConnectionHandle
    from pgnet_trio.server.sessions.session import Session
    from pgnet_trio.transport.rounds import Round

__all__ = ["PACKED_PAUSE", "take_events"]

PACKED_PAUSE = 0.1
"""Seconds from one message to the next while a session moves to another server."""


def take_events(
    connection: Connection[ServerEvent],
    handle: ConnectionHandle,
    session: Session,
    events: Sequence[ServerEvent],
    round: Round | None = None,
) -> float:
    """Hand the events of a message to the session; return the seconds until the next is read.

    Args:
        connection: The connection.
        handle: The same for the session.
        session: The session.
        events: The events.
        round: The round of reading that the message came in; None outside of one.
    """
    delay, shows_again = 0.0, False
    time_request: TimeRequested | None = None
    for event in events:
        if type(event) is RequestReceived:
            session.request(event, round)
            delay = session.budget.delay(event.cost)
        elif type(event) is InputReceived:
            session.play(event, round)
            delay = session.budget.delay()
        elif isinstance(event, QuestionAnswered):
            if round is not None:
                round.delay = 0.0
            session.answer_question(event)
            delay = session.budget.delay(event.cost)
        elif isinstance(event, FullStateRequested):
            # Several in one message cost no more than one.
            shows_again = True
        elif isinstance(event, TimeRequested):
            # Only the last of those in one message is answered.
            time_request = event
            delay = session.budget.delay()
        elif isinstance(event, Goodbye):
            session.end("The user has left.")
            return 0.0
        else:
            raise ProtocolError(f"expected a request, got {type(event).__name__}")
    if not session.is_open:
        # What comes is kept until the session has moved, or not; it must not become much.
        delay = max(delay, PACKED_PAUSE)
    if time_request is not None and (times := session.room_times()) is not None:
        handle.tell_time(time_request.id, *times)
        connection.flush()
    if shows_again and (delivery := session.client.delivery) is not None:
        delay = session.budget.delay(1 + delivery.show_again() // 1024)
        connection.flush()
    return delay

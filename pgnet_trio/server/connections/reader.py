"""Reads what a logged-in client, or a bot, asks, and hands it to its session."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from pgnet_trio.errors import ProtocolError
from pgnet_trio.protocol.events import (
    FullStateRequested,
    Goodbye,
    QuestionAnswered,
    RequestReceived,
    ServerEvent,
)

if TYPE_CHECKING:
    from pgnet_trio.connection import Connection
    from pgnet_trio.server.sessions.handle import ConnectionHandle
    from pgnet_trio.server.sessions.session import Session

__all__ = ["read_requests"]


async def read_requests(
    connection: Connection[ServerEvent], handle: ConnectionHandle, session: Session
) -> None:
    """Hand each message to the session, until the client leaves or the session ends it.

    Cancellation loses nothing that the session has counted as received.

    Raises:
        Disconnected: The connection ended.
        ProtocolError: The client broke the rules.
    """
    with handle.reading:
        await _read(connection, session)


async def _read(connection: Connection[ServerEvent], session: Session) -> None:
    while True:
        # No await until the whole message is taken in: the session counts it as received.
        delay, shows_again = 0.0, False
        for event in await connection.receive():
            if isinstance(event, RequestReceived):
                session.request(event)
                delay = session.budget.delay(event.cost)
            elif isinstance(event, QuestionAnswered):
                session.answer_question(event)
                delay = session.budget.delay(event.cost)
            elif isinstance(event, FullStateRequested):
                # Several in one message cost no more than one.
                shows_again = True
            elif isinstance(event, Goodbye):
                session.end("The user has left.")
                return
            else:
                raise ProtocolError(f"expected a request, got {type(event).__name__}")
        # Without this the last request would stay in memory until the next one comes.
        del event
        delivery = session.client.delivery
        if shows_again and delivery is not None:
            delay = session.budget.delay(1 + delivery.show_again() // 1024)
            connection.flush()
        if delay:
            await trio.sleep(delay)
        if session.client.sender.answers_in_order:
            await session.wait_capacity()

"""Reads what a logged-in client, or a bot, asks, and hands it to its session."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import trio

from pgnet_trio.server.connections.events import take_events
from pgnet_trio.server.connections.short_way import begin_short_way

if TYPE_CHECKING:
    from pgnet_trio.connection import Connection
    from pgnet_trio.protocol import v1, v2
    from pgnet_trio.protocol.events import ServerEvent
    from pgnet_trio.server.sessions.handle import ConnectionHandle
    from pgnet_trio.server.sessions.session import Session

__all__ = ["read_requests"]


async def read_requests(
    connection: Connection[ServerEvent],
    protocol: v1.ServerProtocol | v2.ServerProtocol,
    handle: ConnectionHandle,
    session: Session,
) -> None:
    """Hand each message to the session, until the client leaves or the session ends it.

    Cancellation loses nothing that the session has counted as received.

    Raises:
        Disconnected: The connection ended.
        ProtocolError: The client broke the rules.
    """
    # Where answers have to leave in order, there is something to wait for after each message.
    in_order = session.client.sender.answers_in_order
    take = None if in_order else functools.partial(take_events, connection, handle, session)
    with handle.reading, connection.taking_now(take):
        if take is not None:
            begin_short_way(connection, protocol, handle, session)
        while session.end_reason is None:
            # No await until the whole message is taken in: the session counts it as received.
            delay = take_events(connection, handle, session, await connection.receive())
            if delay:
                await trio.sleep(delay)
            if in_order:
                await session.wait_capacity()

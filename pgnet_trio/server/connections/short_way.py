"""The short way of the usual message: from bytes to the room in one piece, and back to bytes.

A round of reading calls `ShortWay.take`, and a room `ShortWay.flush`. For the usual frame they do
what `WebSocketTransport`, `Connection`, `ServerProtocol` and `take_events` do one after the other,
and leave every other frame to those before anything is changed. Nothing is owned here: nonces are
the cipher's, what is counted is the delivery's, and what is unanswered the session's. Tests compare
both ways.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import trio

from pgnet_trio.errors import CodecError, CryptoError, ProtocolError
from pgnet_trio.messages import Packet
from pgnet_trio.protocol import v2
from pgnet_trio.protocol.events import FEW_BYTES, RequestReceived
from pgnet_trio.protocol.v2.envelopes import Acknowledgement, ShallowRequest, read_from_client
from pgnet_trio.protocol.v2.states import OPEN
from pgnet_trio.server.connections.events import PACKED_PAUSE, take_events
from pgnet_trio.transport.frames import FINAL_BINARY, frame
from pgnet_trio.transport.websocket import WebSocketTransport

if TYPE_CHECKING:
    from pgnet_trio.connection import Connection
    from pgnet_trio.crypto.noise import NoiseTransport
    from pgnet_trio.protocol import v1
    from pgnet_trio.protocol.events import ServerEvent
    from pgnet_trio.protocol.v2.server_delivery import ServerDelivery
    from pgnet_trio.server.sessions.handle import ConnectionHandle
    from pgnet_trio.server.sessions.session import Session
    from pgnet_trio.transport.frames import Mask
    from pgnet_trio.transport.rounds import Round

__all__ = ["ShortWay", "begin_short_way"]

# What stands before the payload of a client's frame: two bytes, or four, and the masking key.
_SHORT_HEAD, _MEDIUM_HEAD = 6, 8

# The shortest frame with a head of four bytes, whose payload would not fit behind one of two.
_SHORTEST_MEDIUM = 126 + _MEDIUM_HEAD

_head = struct.Struct("!BB").pack
_medium_head = struct.Struct("!BBH").pack


class ShortWay:
    """Takes in and sends the usual frames of one client that is logged in.

    Args:
        connection: The connection.
        handle: The same for the session.
        protocol: What is spoken over it.
        session: Whose it is, open over this connection.
        transport: The connection's.
        cipher: The protocol's.
        unmask: Takes the mask off the client's frames.
        delivery: The session's.
    """

    __slots__ = (
        "_cipher",
        "_connection",
        "_delivery",
        "_frame_room",
        "_handle",
        "_longest",
        "_protocol",
        "_session",
        "_transport",
        "_unmask",
        "_watch",
    )

    def __init__(
        self,
        connection: Connection[ServerEvent],
        handle: ConnectionHandle,
        protocol: v2.ServerProtocol,
        session: Session,
        *,
        transport: WebSocketTransport,
        cipher: NoiseTransport,
        unmask: Mask,
        delivery: ServerDelivery,
    ) -> None:
        self._connection = connection
        self._handle = handle
        self._protocol = protocol
        self._session = session
        # None of what follows changes while the session is open over this connection.
        self._transport = transport
        self._watch = transport.watch
        self._cipher = cipher
        self._unmask = unmask
        self._delivery = delivery
        self._frame_room = protocol.frame_room
        limit = transport.max_message_size
        self._longest = _MEDIUM_HEAD + (FEW_BYTES if limit is None else min(FEW_BYTES, limit))

    def take(self, data: bytes, round: Round) -> bytes:
        """Take what a round has read; return what the connection's task has to look at."""
        size, start = len(data), 0
        # The second byte says that there is a mask, and how long the payload is, or that two more
        # bytes do.
        if size < _SHORTEST_MEDIUM:
            if size > _SHORT_HEAD and data[1] == size + 122 and data[1] < 254:
                start = _SHORT_HEAD
        elif (
            size <= self._longest
            and data[1] == 254
            and (data[2] << 8 | data[3]) + _MEDIUM_HEAD == size
        ):
            start = _MEDIUM_HEAD
        connection, protocol, transport = self._connection, self._protocol, self._transport
        if (
            not start
            or data[0] != FINAL_BINARY
            or connection.blocked
            or protocol.state is not OPEN
            or transport.late_control
            or not self._watch.between_messages
        ):
            return transport.take_data(data, round)
        transport.last_received = round.now
        session, delivery = self._session, self._delivery
        first: Any
        request: Any
        try:
            try:
                message = self._unmask(data[start:], data[start - 4 : start])
                envelopes = read_from_client(self._cipher.decrypt_frame(message))
                # One request, mostly behind an acknowledgement. An open session takes both of them.
                if len(envelopes) == 2:
                    first, request = envelopes
                    is_usual = type(first) is Acknowledgement and type(request) is ShallowRequest
                else:
                    first, request = None, envelopes[0] if len(envelopes) == 1 else None
                    is_usual = type(request) is ShallowRequest
                if is_usual:
                    if first is not None and delivery.acknowledge(first.received):
                        protocol.owes_flush = True
                    id, quiet = request.id, request.quiet
                    delivery.take_request(id, quiet)
            except CryptoError:
                protocol.detach()
                raise
            except (CodecError, ProtocolError) as error:
                raise protocol.fail(error) from None
            if is_usual:
                packet = Packet(request.message, request.payload, request.created_on)
                session.request(RequestReceived(id, packet, quiet), round)
                # As `take_events`, for what costs as much as one request.
                budget = session.budget
                pause = budget.delay() if budget.limited else 0.0
                if not session.is_open:
                    pause = max(pause, PACKED_PAUSE)
            else:
                pause = self._take_others(protocol.take_in(envelopes, size - start), round)
            if not (pause or protocol.owes_flush):
                return b""
            connection.leave(pause)
        except BaseException as error:
            # For the connection's task: the one that reads the sockets has no part in this.
            connection.leave(error)
        return data

    def flush(self) -> None:
        """Write what waits, as `Connection.flush`."""
        connection, protocol = self._connection, self._protocol
        if connection.blocked or protocol.state is not OPEN or protocol.control:
            connection.flush()
            return
        protocol.owes_flush = False
        plaintext = self._delivery.take_all(self._frame_room)
        if not plaintext:
            if plaintext is not None:
                # What waits is not the usual.
                connection.flush()
            return
        payload = self._cipher.encrypt_frame(plaintext)
        size = len(payload)
        if size < 126:
            data = _head(FINAL_BINARY, size) + payload
        elif size < 65536:
            data = _medium_head(FINAL_BINARY, 126, size) + payload
        else:
            data = frame(FINAL_BINARY, payload)
        try:
            if not self._transport.send_frame(data):
                connection.note_unwritten(None)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            connection.note_unwritten(error)

    def _take_others(self, events: Sequence[ServerEvent], round: Round) -> float:
        """Hand on the events of a message that is not the usual; return the seconds to wait."""
        connection, pause = self._connection, 0.0
        if events:
            pause = take_events(connection, self._handle, self._session, events, round)
        return pause if connection.pace is None else max(pause, connection.pace())


def begin_short_way(
    connection: Connection[ServerEvent],
    protocol: v1.ServerProtocol | v2.ServerProtocol,
    handle: ConnectionHandle,
    session: Session,
) -> None:
    """Let the usual messages of a connection take the short way, where there is one.

    There is none within the process, with protocol 1, and where nobody reads in rounds. It ends
    with `Connection.taking_now`, which has to have begun.
    """
    transport, delivery = connection.transport, session.client.delivery
    if (
        not isinstance(transport, WebSocketTransport)
        or not isinstance(protocol, v2.ServerProtocol)
        or delivery is None
        or protocol.cipher is None
        or transport.unmask is None
        or protocol.state is not OPEN
    ):
        return
    way = ShortWay(
        connection,
        handle,
        protocol,
        session,
        transport=transport,
        cipher=protocol.cipher,
        unmask=transport.unmask,
        delivery=delivery,
    )
    transport.take_first(way.take)
    # The client may have come over another connection meanwhile.
    if session.flush is handle.flush and connection.writes_at_once:
        session.flush = way.flush

"""Servers that look like one, over a simulated network, and do to clients what a test says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
import trio

from pgnet_trio import Client
from pgnet_trio.connection import Connection
from pgnet_trio.crypto import KeyPair
from pgnet_trio.errors import Disconnected, ProtocolError, ServerError
from pgnet_trio.messages import Packet, Push, Response
from pgnet_trio.protocol.events import LogIn, QuestionAnswered, RequestReceived, Resume, ServerEvent
from pgnet_trio.protocol.v2 import SUBPROTOCOLS, ServerProtocol
from pgnet_trio.protocol.v2 import envelopes as wire
from pgnet_trio.protocol.v2.features import FEATURES
from pgnet_trio.protocol.v2.server_delivery import ServerDelivery
from pgnet_trio.testing import SimulatedNetwork
from pgnet_trio.transport import choose
from tests.kit.transports import accept

if TYPE_CHECKING:
    from pgnet_trio.transport import Transport


@attrs.define
class NodeSession:
    """A user's session, wherever it is.

    Attributes:
        taken: The requests that were taken, at whichever node.
        answers: Whether requests are answered at once; those that are not never are.
    """

    username: str
    token: bytes
    delivery: ServerDelivery
    taken: list[Any] = attrs.field(factory=list)
    answered: list[Any] = attrs.field(factory=list)
    answers: bool = True
    unanswered: list[RequestReceived] = attrs.field(factory=list)
    protocol: ServerProtocol | None = None
    connection: Connection[ServerEvent] | None = None

    def flush(self) -> None:
        if self.connection is not None:
            self.connection.flush()

    def push(self, message: str) -> None:
        self.delivery.push(wire.encode_push(Push(message)))
        self.flush()

    def ask(self, id: int, message: str) -> None:
        self.delivery.add(wire.encode_question(id, Packet(message), None, 0.0))
        self.flush()

    def join(self, game: str) -> None:
        self.delivery.change_game(wire.GameEnvelope(game, 0.0, 0.0, "", ""))
        self.flush()

    def respond(self, request: RequestReceived | QuestionAnswered) -> None:
        self.answered.append(request.packet.message)
        self.delivery.respond(request.id, Response("done", {"was": request.packet.message}))
        self.flush()

    def move(self, address: str, login_token: bytes = b"") -> None:
        """Send the client on."""
        assert self.protocol is not None
        self.protocol.moved(address, "The server is emptied.", login_token)
        self.flush()
        self.protocol = self.connection = None

    def end(self, reason: str) -> None:
        assert self.protocol is not None
        self.protocol.goodbye(reason)
        self.flush()


class Node:
    """One of several servers that look like one.

    Attributes:
        is_up: Whether connections can be made.
        is_silent: Whether the node says nothing to new connections.
        sends_to: Where to who logs in or resumes is sent; None where they are let in.
        sends_on: Where to who is let in is sent at once.
        answers_with_move: Where to a client is sent that asks something, instead of an answer.
        says_later: The reason of the "not now" that it says to all; empty for none.
        refuses: The reason why it refuses all; empty for none.
        features: What it names in its hello.
    """

    def __init__(self, nodes: Nodes, address: str, key: KeyPair) -> None:
        self.address = address
        self.key = key
        self.is_up = True
        self.is_silent = False
        self.sends_to: str | None = None
        self.sends_on: str | None = None
        self.answers_with_move: str | None = None
        self.says_later = ""
        self.refuses = ""
        self.features: Collection[str] = FEATURES
        self._nodes = nodes

    def serve_transport(self, transport: Transport) -> None:
        """Serve a client, as `Server.serve_transport` does."""
        if not self.is_up:
            raise ServerError("this node is down")
        self._nodes.nursery.start_soon(self._serve, transport)

    async def listen(self) -> int:
        """Serve clients at a port of this machine too; return it."""
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self._nodes.nursery.start_soon(trio.serve_listeners, self._serve_stream, [listener])
        port: int = listener.socket.getsockname()[1]
        return port

    async def _serve_stream(self, stream: trio.SocketStream) -> None:
        async with accept(choose(None), stream, SUBPROTOCOLS) as transport:
            await self._serve(transport)

    async def _serve(self, transport: Transport) -> None:
        if self.is_silent:
            self._nodes.note(self, "silent")
            await trio.sleep_forever()
        protocol = ServerProtocol(
            self.key if self._nodes.network.encrypted else None,
            self._nodes.random.randbytes,
            offered=transport.offered_subprotocols,
            max_frame_size=64 * 1024,
            subprotocol=transport.subprotocol or "",
            features=self.features,
        )
        connection: Connection[ServerEvent] = Connection(
            transport, protocol, ping_interval=None, keepalive_timeout=None
        )
        async with trio.open_nursery() as helpers, connection.open(helpers):
            connection.flush()
            try:
                while True:
                    for event in await connection.receive():
                        self._take(event, protocol, connection)
                    connection.flush()
            except (Disconnected, ProtocolError):
                pass

    def _take(
        self, event: ServerEvent, protocol: ServerProtocol, connection: Connection[ServerEvent]
    ) -> None:
        if isinstance(event, LogIn | Resume):
            self._let_in(event, protocol, connection)
        elif isinstance(event, RequestReceived | QuestionAnswered):
            session = next(it for it in self._nodes.sessions.values() if it.protocol is protocol)
            session.taken.append(event.packet.message)
            if self.answers_with_move is not None:
                # Whatever is not answered yet is answered there.
                session.move(self.answers_with_move)
                session.respond(event)
            elif session.answers:
                session.respond(event)
            elif isinstance(event, RequestReceived):
                session.unanswered.append(event)

    def _let_in(
        self,
        event: LogIn | Resume,
        protocol: ServerProtocol,
        connection: Connection[ServerEvent],
    ) -> None:
        nodes = self._nodes
        session = nodes.sessions.get(event.username)
        token = event.token if isinstance(event, LogIn) else b""
        how = "resume" if isinstance(event, Resume) else "token" if token else "password"
        nodes.note(self, how)
        if self.refuses:
            protocol.refuse(self.refuses)
        elif self.says_later:
            protocol.goodbye(self.says_later, "busy")
        elif isinstance(event, Resume) and (
            session is None or not protocol.proves(event.proof, session.token)
        ):
            protocol.refuse_resume("gone", "session_gone")
        elif token and token not in nodes.login_tokens:
            protocol.refuse_resume("not taken", "token_not_taken")
        elif self.sends_to is not None:
            protocol.moved(self.sends_to, "You are not here.", nodes.new_login_token())
        else:
            if isinstance(event, Resume):
                assert session is not None
                protocol.resume(session.delivery, event.received)
            else:
                session = NodeSession(event.username, nodes.random.randbytes(32), ServerDelivery())
                nodes.sessions[event.username] = session
                token = nodes.new_login_token() if protocol.takes_tokens else b""
                protocol.accept("Welcome.", session.token, session.delivery, token)
            session.protocol, session.connection = protocol, connection
            if self.sends_on is not None:
                session.move(self.sends_on)
        connection.flush()


class Nodes:
    """Servers that look like one: they share their sessions, and their key.

    Attributes:
        at: The nodes by their addresses.
        log: Who came where, and how: ``"a resume"``.
        times: When that was.
        sessions: The sessions by their users.
    """

    def __init__(self, network: SimulatedNetwork, nursery: trio.Nursery) -> None:
        self.network = network
        self.nursery = nursery
        self.random = network.random("nodes")
        self.key = KeyPair(bytes(range(32)))
        self.at: dict[str, Node] = {}
        self.log: list[str] = []
        self.times: list[float] = []
        self.sessions: dict[str, NodeSession] = {}
        self.login_tokens: set[bytes] = set()
        self._clients = 0

    def add(self, address: str, key: KeyPair | None = None) -> Node:
        """Put a node up at an address of the network."""
        node = self.at[address] = Node(self, address, key or self.key)
        self.network.addresses[address] = node  # type: ignore[assignment]  # a node serves as the network's servers do
        return node

    def note(self, node: Node, how: str) -> None:
        self.log.append(f"{node.address} {how}")
        self.times.append(trio.current_time())

    def new_login_token(self) -> bytes:
        token = self.random.randbytes(32)
        self.login_tokens.add(token)
        return token

    def client(self, *addresses: str, username: str = "ann", **options: Any) -> Client:
        """Return a client that is given these addresses."""
        self._clients += 1
        options.setdefault("environment", self.network.environment(f"client {self._clients}"))
        first, *others = (self.network.connector(each, username) for each in addresses)
        return Client(first, *others, username=username, password="secret", **options)


@asynccontextmanager
async def hosting_nodes(
    *addresses: str, network: SimulatedNetwork | None = None
) -> AsyncIterator[Nodes]:
    """Let nodes run around the block, with those that it wants from the beginning."""
    async with trio.open_nursery() as nursery:
        nodes = Nodes(SimulatedNetwork() if network is None else network, nursery)
        for address in addresses:
            nodes.add(address)
        yield nodes
        nursery.cancel_scope.cancel()

"""A network in memory and in virtual time, whose links do what a test says."""

from __future__ import annotations

import hashlib
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
import trio

from pgnet_trio.client.address import Address, redirected
from pgnet_trio.client.connector import Connector
from pgnet_trio.crypto import PasswordHasher
from pgnet_trio.environment import Environment
from pgnet_trio.errors import ServerError
from pgnet_trio.messages import DEFAULT_PORT
from pgnet_trio.protocol.v2 import SUBPROTOCOLS
from pgnet_trio.testing.links import Conditions, Link

if TYPE_CHECKING:
    from pgnet_trio.server import Server
    from pgnet_trio.transport import Transport

__all__ = ["Record", "SimulatedNetwork"]

_OF_FRAMES = {"send", "receive", "lose", "break"}

MAX_RECORDS = 10_000
"""Records that a network keeps to look at; the hash of the trace covers all of them."""


@attrs.frozen
class Record:
    """Something that happened in a network.

    Attributes:
        time: Seconds since the network was made.
        where: The link and the direction: ``ann#1 ->`` is toward the server.
        what: A word: connect, refuse, send, receive, lose, break, cut, close, stall, partition,
            heal, or set for other conditions.
        size: Bytes of the frame; 0 where there is none.
        digest: The first bytes of the frame's BLAKE2b hash, in hex, or a text.
    """

    time: float
    where: str
    what: str
    size: int
    digest: str

    def __str__(self) -> str:
        size = f" {self.size} B" if self.size else ""
        return f"{self.time:12.6f} {self.where:<14} {self.what}{size} {self.digest}".rstrip()


@attrs.define
class _Place:
    """Where a user connects from.

    Attributes:
        random: The randomness of the links from there.
        conditions: How these links are; None for those of the network.
        reachable: Whether connections can be made from there.
        to_server: Whether frames to the server get there.
        to_client: Whether frames from the server get here.
        count: How many connections there were.
        links: The links that have not ended.
        changed: Wakes those who wait for a change of these.
    """

    random: random.Random
    conditions: Conditions | None = None
    reachable: bool = True
    to_server: bool = True
    to_client: bool = True
    count: int = 0
    links: list[Link] = attrs.field(factory=list)
    changed: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)


class SimulatedNetwork:
    """Connects clients to servers in memory, with the protocols and encryption of a real network.

    Frames arrive in order, or not at all. With a clock that jumps (``trio.testing.MockClock``)
    nothing takes real time; with the same seed, the same calls and `simulate`, everything happens
    again, byte for byte.

    Methods take usernames; without any, they mean every user that there was so far.

    Args:
        seed: What drops, jitter, keys and tokens depend on.
        latency: Seconds from one end of a link to the other.
        jitter: Seconds more, at most, for each frame.
        bandwidth: Bytes a second in each direction of each link; None for any number.
        drop_rate: The share of frames, from 0 to 1, in the middle of which the link breaks, those
            of the handshake included. Clients come back by themselves.
        encrypted: Whether links are encrypted, kept alive and limited as over a real network.
            Otherwise a test can read the frames, as those of ``Client.local``.

    Attributes:
        addresses: The servers by their addresses, for clients that one of them sends to another;
            a test may change it at any time. An address without a server refuses connections.
        conditions: How all links are whose users have no conditions of their own: the four figures
            above, and stalls. A test may assign them at any time, and they hold from the next frame
            on.
        records: The latest things that happened, at most 10,000 of them.
        dropped: How many connections broke or were cut so far.
        on_record: Called with each record and its frame, empty where it has none; for tests that
            read what passes.

    Raises:
        ValueError: A figure makes no sense.
    """

    def __init__(
        self,
        seed: int | str = 0,
        *,
        latency: float = 0.0,
        jitter: float = 0.0,
        bandwidth: float | None = None,
        drop_rate: float = 0.0,
        encrypted: bool = True,
    ) -> None:
        self.seed = seed
        self.encrypted = encrypted
        self.addresses: dict[str, Server] = {}
        self.conditions = Conditions(latency, jitter, bandwidth, drop_rate)
        self.records: deque[Record] = deque(maxlen=MAX_RECORDS)
        self.on_record: Callable[[Record, bytes], None] | None = None
        self.dropped = 0
        self._start: float | None = None
        self._hash = hashlib.blake2b(digest_size=16)
        self._places: dict[str, _Place] = {}

    def __repr__(self) -> str:
        links = sum(len(place.links) for place in self._places.values())
        return f"<{type(self).__name__} with seed {self.seed!r}, {links} links>"

    @property
    def trace_hash(self) -> str:
        """A hash of everything that happened so far, with all bytes and times, in hex."""
        return self._hash.hexdigest()

    @property
    def idle(self) -> bool:
        """Whether nothing is on its way anywhere."""
        return all(link.idle for place in self._places.values() for link in place.links)

    def random(self, purpose: str) -> random.Random:
        """Return a source of randomness that depends on the seed and the purpose alone."""
        return random.Random(f"{self.seed} {purpose}")

    def environment(
        self,
        purpose: str,
        note_failure: Callable[[BaseException], None] | None = None,
    ) -> Environment:
        """Return an environment for a server or client: seeded, cheap, and without threads.

        Args:
            purpose: Whose environment it is; each has randomness of its own.
            note_failure: As in `Environment`.
        """
        more: dict[str, Any] = {} if note_failure is None else {"note_failure": note_failure}
        return Environment(
            random_bytes=self.random(purpose).randbytes,
            password_hasher=PasswordHasher(opslimit=1, memlimit=8192),
            run_blocking=_run_in_loop,
            wall_clock=trio.current_time,
            slept=lambda: 0.0,
            **more,
        )

    def connector(self, server: Server | str, username: str, *, protocol: int = 2) -> Connector:
        """Return a user's way to a server, for ``Client(connector, username=...)``.

        Args:
            server: A server, which need not run yet; or its address, as in `addresses`.
            username: Whose links these will be.
            protocol: The version of the protocol that the client offers.
        """
        return _SimulatedConnector(self, server, username, protocol)

    # What a test does to links.

    def set_conditions(self, conditions: Conditions | None, *usernames: str) -> None:
        """Give users conditions of their own, from the next frame on.

        Args:
            conditions: A copy of these; `NETWORKS` has some. None for those of the network again.
            *usernames: Whose; without any, everybody's, also of those who connect later.
        """
        said = repr(conditions)
        if not usernames and conditions is not None:
            self.conditions, conditions = attrs.evolve(conditions), None
        for name, place in self._select(usernames):
            self._note(name, "set", said)
            place.conditions = None if conditions is None else attrs.evolve(conditions)
            for link in place.links:
                link.conditions = place.conditions or self.conditions

    def drop(self, *usernames: str, share: float = 1.0) -> int:
        """Break the connections that there are now; clients come back by themselves.

        Args:
            *usernames: Whose.
            share: How many of them, from 0 to 1, chosen by the seed.

        Returns:
            How many connections that were.
        """
        count = 0
        for _, place in self._select(usernames):
            for link in list(place.links):
                if share >= 1 or place.random.random() < share:
                    link.cut()
                    count += 1
        return count

    def drop_all_to(self, server: Server) -> None:
        """Break all connections to one server, as its crash would."""
        for place in self._places.values():
            for link in list(place.links):
                if link.target is server:
                    link.cut()

    def cut(self, *usernames: str) -> None:
        """Break connections, and refuse new ones until `heal`."""
        for _, place in self._select(usernames):
            place.reachable = False
            for link in list(place.links):
                link.cut()
            place.changed.unpark_all()

    def stall(self, *usernames: str) -> None:
        """Let clients read nothing until `heal`; what they send arrives."""
        self._block(usernames, "stall", to_server=True, to_client=False)

    def partition(self, *usernames: str) -> None:
        """Let nothing pass in either direction until `heal`; nobody is told."""
        self._block(usernames, "partition", to_server=False, to_client=False)

    def heal(self, *usernames: str) -> None:
        """Let everything pass again; what waited arrives now."""
        for _, place in self._select(usernames):
            place.reachable = True
        self._block(usernames, "heal", to_server=True, to_client=True)

    def _block(
        self, usernames: tuple[str, ...], what: str, *, to_server: bool, to_client: bool
    ) -> None:
        for name, place in self._select(usernames):
            self._note(name, what, "")
            place.to_server, place.to_client = to_server, to_client
            for link in place.links:
                link.block(to_server=not to_server, to_client=not to_client)
            place.changed.unpark_all()

    def _select(self, usernames: tuple[str, ...]) -> Iterator[tuple[str, _Place]]:
        for name in usernames or list(self._places):
            yield name, self._place(name)

    def _place(self, username: str) -> _Place:
        if username not in self._places:
            self._places[username] = _Place(self.random(f"links of {username}"))
        return self._places[username]

    @asynccontextmanager
    async def _connect(
        self, to: Server | str, username: str, protocol: int, max_message_size: int | None
    ) -> AsyncIterator[Transport]:
        place = self._place(username)
        await trio.lowlevel.checkpoint()
        while place.reachable and not (place.to_server and place.to_client):
            await place.changed.park()
        # A connection takes one round trip.
        await trio.sleep(2 * (place.conditions or self.conditions).latency)
        place.count += 1
        name = f"{username}#{place.count}"
        if not place.reachable:
            self._note(name, "refuse", "")
            raise ConnectionRefusedError("the link is cut, until the network is healed")
        server = self.addresses.get(to) if isinstance(to, str) else to
        if server is None:
            self._note(name, "refuse", "")
            raise ConnectionRefusedError("nobody is there")
        self._note(name, "connect", "")
        link = Link(
            name,
            place.conditions or self.conditions,
            target=server,
            peer=f"host of {username}" if self.encrypted else "memory",
            subprotocols=SUBPROTOCOLS if protocol == 2 else (),
            random=place.random,
            note=self._note,
            on_end=place.links.remove,
            inside_process=not self.encrypted,
        )
        place.links.append(link)
        try:
            server.serve_transport(link.server)
        except ServerError:
            link.cut()
            raise ConnectionRefusedError("the server does not run") from None
        link.client.max_message_size = max_message_size
        link.block(to_server=not place.to_server, to_client=not place.to_client)
        try:
            yield link.client
        finally:
            await link.client.aclose()

    def _note(self, where: str, what: str, content: str | bytes) -> None:
        now = trio.current_time()
        if self._start is None:
            self._start = now
        data = content if isinstance(content, bytes) else content.encode()
        size, digest = 0, str(content)
        if what in _OF_FRAMES:
            size, digest = len(data), hashlib.blake2b(data, digest_size=4).hexdigest()
        self.dropped += what in ("break", "cut")
        record = Record(now - self._start, where, what, size, digest)
        self.records.append(record)
        self._hash.update(f"{record.time!r} {where} {what} {len(data)}\n".encode() + data)
        if self.on_record is not None:
            self.on_record(record, data if size else b"")


class _SimulatedConnector(Connector):
    """A user's way to a server over a simulated network."""

    def __init__(
        self, network: SimulatedNetwork, server: Server | str, username: str, protocol: int
    ) -> None:
        self.encrypted = network.encrypted
        self._network = network
        self._server = server
        self._username = username
        self._protocol = protocol

    def __str__(self) -> str:
        return self._server if isinstance(self._server, str) else "a simulated network"

    def connect(self, max_message_size: int | None) -> AbstractAsyncContextManager[Transport]:
        """Return an async context manager around the client's end of a new link."""
        return self._network._connect(
            self._server, self._username, self._protocol, max_message_size
        )

    def redirected(self, address: str) -> Connector:
        """Return the way to another address of the network."""
        # What is no address outside of tests is none here.
        redirected(Address("simulated", DEFAULT_PORT), address, DEFAULT_PORT)
        return _SimulatedConnector(self._network, address, self._username, self._protocol)


async def _run_in_loop(
    function: Callable[..., object],
    *args: object,
    abandon_on_cancel: bool,
    limiter: trio.CapacityLimiter | None = None,
) -> object:
    """Run a blocking function here: while a thread ran it, virtual time would jump on."""
    await trio.lowlevel.checkpoint()
    return function(*args)

"""What goes into an engine, and what comes out of it.

An epoch is a number from one sequence of the engine. Each change of a room's owner takes a new one,
and whoever writes something about a room names the epoch in which it owns the room. None is ever
given out twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

import attrs

from pgnet_trio.storage.interface import TokenRecord, UserRecord

__all__ = [
    "Absent",
    "Admission",
    "Admitted",
    "Arrival",
    "Claim",
    "Created",
    "Entered",
    "Found",
    "HandedOver",
    "Lease",
    "Listing",
    "Lookup",
    "Mail",
    "Moment",
    "MovingSession",
    "NewRoom",
    "Node",
    "NotAdmitted",
    "Registration",
    "Restored",
    "RoomSave",
    "SessionRow",
    "Survey",
    "Unsettled",
    "WrongPassword",
]


@attrs.frozen
class Node:
    """A server of the cluster.

    Attributes:
        id: Its number, which no other node has or will have, nor the same server after a restart.
        name: What its host calls it.
        address: Where clients find it.
        version: Of which version it is; for those who look.
        load: How much it has to do; whoever compares decides what the number means.
        draining: Whether it is to take no rooms any more.
        alive: Whether its lease was not over when this was read.
        lease_left: For how many seconds from then on its lease held; below 0 for how long it was
            over.
    """

    id: int
    name: str
    address: str
    version: str
    load: float
    draining: bool
    alive: bool
    # Two who look one after the other see the same node.
    lease_left: float = attrs.field(default=0.0, eq=False)


@attrs.frozen
class Survey:
    """All nodes with what they have, all of it at one moment.

    Attributes:
        nodes: The nodes, in the order of their ids, those that are silent too.
        rooms: How many rooms each node has, by its id; those that have none are left out.
        users: How many users each node has, likewise.
        lags: By how many seconds the event loop of each node was late, when it renewed its lease
            last, likewise.
        saved: How many rooms are only saved: no node that is not silent has them.
    """

    nodes: tuple[Node, ...]
    rooms: Mapping[int, int]
    users: Mapping[int, int]
    lags: Mapping[int, float]
    saved: int


@attrs.frozen
class Lease:
    """A node's right to its rooms, for some seconds.

    Attributes:
        node: The node's id.
        deadline: When the right ends, by the node's own clock (`Engine.now`). It is counted from
            before the engine was asked, so it never ends later than the engine thinks.
        draining: Whether the node is to give its rooms away.
        rooms: None in the ordinary case. Where the lease may have lapsed before it was renewed: all
            rooms that are still the node's, with their epochs; the others have been taken.
    """

    node: int
    deadline: float
    draining: bool = False
    rooms: Mapping[str, int] | None = None


@attrs.frozen
class NewRoom:
    """A room that is made where there is none.

    Attributes:
        password: What joining it takes; empty for nothing.
        info: What the list of games says of it; the engine does not look into it.
    """

    password: str = attrs.field(default="", repr=False)
    info: str = ""


@attrs.frozen
class RoomSave:
    """What the owner of a room writes about it.

    Attributes:
        name: The room's name.
        epoch: The epoch in which the writer owns it.
        data: The save of its game; None for what was saved last, empty for none any more.
        players: How many users are in it.
        info: As in `NewRoom`.
        empty_since: When its last user left, in seconds since 1970; None where somebody is in it.
    """

    name: str
    epoch: int
    data: str | None = attrs.field(default=None, repr=False)
    players: int = 0
    info: str = ""
    empty_since: int | None = None


@attrs.frozen
class Listing:
    """A line of the list of games.

    Attributes:
        name: The room's name.
        node: The id of the node that has it; None for one that is only saved.
        players: How many users are in it, as last written.
        info: As in `NewRoom`.
        locked: Whether joining takes a password.
    """

    name: str
    node: int | None
    players: int
    info: str
    locked: bool


@attrs.frozen
class SessionRow:
    """Where a user is.

    Attributes:
        username: Who.
        node: The id of the node that has the session.
        epoch: From the sequence: which of the user's log-ins this is.
        token: What the session is known by, as far as the engine has to know it.
        packed: The session on its way to another node; None where it is on none.
    """

    username: str
    node: int
    epoch: int
    token: bytes = attrs.field(repr=False)
    packed: bytes | None = attrs.field(default=None, repr=False)


@attrs.frozen
class MovingSession:
    """A session that goes to another node, with its room or alone.

    Attributes:
        username: Whose.
        epoch: The session's, as in `SessionRow`.
        packed: What the other node needs to go on with it.
    """

    username: str
    epoch: int
    packed: bytes = attrs.field(repr=False)


@attrs.frozen
class Created:
    """The room is new, and belongs to whoever claimed it."""

    epoch: int


@attrs.frozen
class Restored:
    """The room belongs to whoever claimed it, who has to go on from its save.

    Attributes:
        epoch: The epoch of the new owner.
        password: What joining takes.
        data: The save.
        empty_since: As in `RoomSave`.
        packed: What the owner before had packed up for another node that never took it; else None.
        sessions: The sessions that were packed up with it.
    """

    epoch: int
    password: str = attrs.field(repr=False)
    data: str = attrs.field(repr=False)
    empty_since: int | None = None
    packed: bytes | None = attrs.field(default=None, repr=False)
    sessions: tuple[SessionRow, ...] = ()


@attrs.frozen
class Found:
    """Another node has the room, or this one had it already."""

    node: Node
    epoch: int


@attrs.frozen
class Absent:
    """There is no such room, and none was to be made."""


@attrs.frozen
class Unsettled:
    """The room's node is silent, and it is too early to take the room; ask again.

    Attributes:
        wait: After how many seconds it may be taken, unless its node is back by then.
    """

    wait: float


@attrs.frozen
class WrongPassword:
    """Joining takes another password; nothing was changed.

    Attributes:
        node: Which other node has the room; None where none is known to.
    """

    node: Node | None = attrs.field(default=None, eq=False)


Claim: TypeAlias = Created | Restored | Found | Absent | Unsettled | WrongPassword
"""What became of a claim."""


@attrs.frozen
class HandedOver:
    """A room has gone to another node.

    Attributes:
        epoch: The epoch of the other node.
        left: Users whose sessions have not gone along: they have logged in elsewhere since.
    """

    epoch: int
    left: frozenset[str] = frozenset()


@attrs.frozen
class Arrival:
    """A room that another node has handed over, and that nobody has accepted yet.

    Attributes:
        name: The room's name.
        room: The room. Its epoch is the receiver's, who accepts with it.
        giver: The id of the node that has handed it over; 0 where that one is not waited for.
    """

    name: str
    room: Restored
    giver: int = 0


@attrs.frozen
class Entered:
    """A session is registered.

    Attributes:
        epoch: Its epoch.
        before: The user's session before, which is over now; None where there was none.
    """

    epoch: int
    before: SessionRow | None = None


@attrs.frozen
class Mail:
    """A note from one node to another.

    Attributes:
        id: Its number. Of two mails that one node sends one after the other, the first has the
            smaller one.
        body: What it says.
    """

    id: int
    body: bytes = attrs.field(repr=False)


Registration: TypeAlias = Literal[
    "done", "taken", "too similar", "leaving", "bad code", "code needed"
]
"""What became of a registration: another user has the name, or one that differs in upper and lower
case only; somebody of that name was deleted and has a session yet; the invite code is not valid
for it; or there is none, and it takes one."""


@attrs.frozen
class Lookup:
    """What is known of whoever logs in, all of it at one moment.

    Attributes:
        user: The registered user; None where there is none.
        tokens: What stands for the user's password, as `Engine.tokens_of` returns it.
        registration: What would become of a registration by this name, with this code.
        similar: The user whose name is too similar; empty where there is none.
        places: From where the user has logged in, the latest last.
        counts: How often each key was counted.
    """

    user: UserRecord | None
    tokens: tuple[TokenRecord, ...]
    registration: Registration
    similar: str
    places: tuple[str, ...]
    counts: Mapping[str, int]


@attrs.frozen
class Moment:
    """When something was, by the engine's clock, in seconds.

    A node knows that clock only from its calls, so it knows no more than between which two times.

    Attributes:
        earliest: Not before this.
        latest: Not after this.
    """

    earliest: float
    latest: float


@attrs.frozen
class Admission:
    """A user who has proved who they are, and is to be let in.

    Attributes:
        username: Who.
        user: What they have proved to be; None for whoever has no record in the engine.
        place: From where they are known from now on; empty for no place.
        token: What stands for their password from now on; None for nothing new.
        instead_of: The digest of a token that is to go.
        node: The id of the node that has their session; None to register none.
        session_token: What the session is known by.
        asked: When they asked to be let in; None where that is not known.
    """

    username: str
    user: UserRecord | None
    place: str = ""
    token: TokenRecord | None = None
    instead_of: bytes = attrs.field(default=b"", repr=False)
    node: int | None = None
    session_token: bytes = attrs.field(default=b"", repr=False)
    asked: Moment | None = None


@attrs.frozen
class Admitted:
    """A user is let in.

    Attributes:
        entered: Their session; None where none was to be registered.
    """

    entered: Entered | None = None


@attrs.frozen
class NotAdmitted:
    """A user is not what they have proved to be any more; nothing was changed.

    Attributes:
        user: What they are now; None where they were deleted.
    """

    user: UserRecord | None

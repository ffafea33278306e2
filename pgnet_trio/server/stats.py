"""A picture of a running server, in plain figures."""

from __future__ import annotations

import attrs

from pgnet_trio.server.room.stats import RoomStats

__all__ = [
    "ConnectionStats",
    "EndedGame",
    "GameStats",
    "NodeStats",
    "RoomStats",
    "SaveStats",
    "ServerStats",
    "ServerSummary",
    "SessionStats",
    "TaskStats",
]


@attrs.frozen(kw_only=True)
class SessionStats:
    """One user who is logged in, or whose seat is kept while they are away.

    Attributes:
        game: The name of the game that the user is in, or None.
        online: Whether the user has a connection now.
        address: Where the user logged in from; None for inside the process.
        since: When that was, in seconds of ``trio.current_time()``; None where it was at another
            server, or inside the process.
        protocol: What the client speaks: ``"1"``, ``"2"``, or ``"2.1"`` for that with features.
        latency: Seconds to the client and back, as the system measures it on Linux; behind a
            proxy, to that. None if unknown.
        unanswered: How many of the user's requests are not answered yet.
        unacknowledged: How many messages the server keeps since the client may not have them;
            0 with protocol 1, which keeps none.
        unacknowledged_bytes: The size of these messages.
        dropped_pushes: How many pushes were dropped, since too much waited for the client.
        superseded_tokens: How many resume tokens of earlier clients the session remembers.
    """

    game: str | None
    online: bool
    address: str | None
    since: float | None
    protocol: str
    latency: float | None
    unanswered: int
    unacknowledged: int
    unacknowledged_bytes: int
    dropped_pushes: int
    superseded_tokens: int


@attrs.frozen(kw_only=True)
class GameStats:
    """One game.

    Attributes:
        users: How many users the lobby has in the game; bots do not count.
        room: What its room shows.
    """

    users: int
    room: RoomStats


@attrs.frozen
class EndedGame:
    """A game that is over.

    Attributes:
        name: Its name.
        reason: Why, for people.
        crashed: Whether it was ended by an error.
        time: When, in seconds since 1970.
    """

    name: str
    reason: str
    crashed: bool
    time: float


@attrs.frozen(kw_only=True)
class ConnectionStats:
    """The connections over a network; links inside the process are not counted.

    Attributes:
        total: How many there are, without those that ask for pages.
        logging_in: How many of them are not logged in yet.
        http: How many ask for pages.
    """

    total: int
    logging_in: int
    http: int


@attrs.frozen(kw_only=True)
class SaveStats:
    """What is saved, and when that was.

    Attributes:
        enabled: Whether the server has anywhere to save.
        games: How many games the save file holds.
        ended_games: The names of games that have ended, and that the next save takes out.
        last_saved: When the last save succeeded, in seconds of ``trio.current_time()``; None
            before the first.
        last_duration: How long that save took, in seconds; None before the first.
        last_error: Why the latest save failed; empty where it succeeded.
    """

    enabled: bool
    games: int
    ended_games: tuple[str, ...]
    last_saved: float | None
    last_duration: float | None
    last_error: str


@attrs.frozen(kw_only=True)
class TaskStats:
    """The tasks that the server runs at the top of its nursery tree.

    Attributes:
        connections: One for each connection, inside the process too, and those that help them.
        services: One for each game, and for each session that has something to do; the autosave.
    """

    connections: int
    services: int


@attrs.frozen(kw_only=True)
class NodeStats:
    """One of the servers that look like one; a server alone is the only one.

    Attributes:
        name: What its host calls it; empty for a server alone.
        number: Its number in the cluster, another one after each restart; 0 for a server alone.
        address: Where clients find it; empty for a server alone.
        version: Of which version of pgnet_trio it is.
        alive: Whether its lease was not over; if not, nothing else of it need be so any more.
        draining: Whether it is to give its games away, and to end.
        lease_left: For how many seconds its lease held; below 0 for how long it was over, and
            None for a server alone.
        rooms: How many games it has.
        users: How many users are logged in there.
        lag: By how many seconds its event loop was late, when it looked last.
    """

    name: str
    number: int
    address: str
    version: str
    alive: bool
    draining: bool
    lease_left: float | None
    rooms: int
    users: int
    lag: float


@attrs.frozen(kw_only=True)
class ServerSummary:
    """A running server at one moment in a few figures, which cost next to nothing.

    Attributes:
        users: How many users are logged in, those whose connection has dropped too.
        away: How many of them wait for their user to come back.
        games: How many games there are.
        registered: How many users are registered.
        connections: The connections.
        requests: How many requests were answered since the server runs, more or less.
        received: How many bytes came over the network since then.
        sent: How many bytes went out.
        saves: What is saved, and when.
        tasks: The tasks.
        ended: The games that have ended last, the latest last.
        is_ending: Whether the server is about to end.
    """

    users: int
    away: int
    games: int
    registered: int
    connections: ConnectionStats
    requests: int
    received: int
    sent: int
    saves: SaveStats
    tasks: TaskStats
    ended: tuple[EndedGame, ...]
    is_ending: bool


@attrs.frozen(kw_only=True)
class ServerStats:
    """A picture of a running server at one moment.

    Attributes:
        sessions: The sessions by username.
        away: How many of them wait for their user to come back.
        games: The games by name.
        ended: The games that have ended last, the latest last.
        connections: The connections.
        users: How many users are registered.
        invite_codes: How many invite codes are unused.
        saves: What is saved, and when.
        tasks: The tasks.
    """

    sessions: dict[str, SessionStats]
    away: int
    games: dict[str, GameStats]
    ended: tuple[EndedGame, ...]
    connections: ConnectionStats
    users: int
    invite_codes: int
    saves: SaveStats
    tasks: TaskStats

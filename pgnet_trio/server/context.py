"""What the tasks of one run of a server share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import trio

from pgnet_trio.crypto import KeyPair
from pgnet_trio.errors import StorageError
from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.account_service import AccountService
from pgnet_trio.server.admission import ArrivalPace, ConnectionCounts, InvitationPace
from pgnet_trio.server.cluster.community import Community
from pgnet_trio.server.cluster.errors import EngineError
from pgnet_trio.server.counters import Counters
from pgnet_trio.server.games.claims import RoomClaims
from pgnet_trio.server.games.codes import as_code
from pgnet_trio.server.games.registry import GameRegistry
from pgnet_trio.server.games.saves import Saves
from pgnet_trio.server.http.pages import Pages
from pgnet_trio.server.matchmaking.matchmaker import Matchmaker
from pgnet_trio.server.moderation.keeper import BanKeeper
from pgnet_trio.server.node.member import ClusterMember
from pgnet_trio.server.node.users import NOT_NOW
from pgnet_trio.server.options import Options
from pgnet_trio.server.password_checks import PasswordChecks
from pgnet_trio.server.sessions.registry import SessionRegistry
from pgnet_trio.server.shutdown import Shutdown
from pgnet_trio.server.stats import ConnectionStats, ServerStats, ServerSummary, TaskStats
from pgnet_trio.server.workers.passing import Workers

if TYPE_CHECKING:
    from pgnet_trio.server.room.stats import TableView
    from pgnet_trio.server.stats import GameStats, SessionStats

__all__ = ["ServerContext"]

LOOKED_AT_ONCE = 200
"""Users who are looked at before other tasks get their turn."""


@attrs.frozen(eq=False, kw_only=True)
class ServerContext:
    """The parts of a running server, whole before the first client connects.

    Attributes:
        options: What the server was made with.
        key: The server's keys.
        accounts: The users, this server's own or those of a cluster.
        passwords: Hashes and checks passwords.
        saves: What is saved of the games, and when.
        games: The games.
        claims: Says what becomes of a game that is not in the lobby.
        sessions: The sessions.
        community: Keeps what a community needs: the engine of a cluster, or one of a server alone.
        bans: Knows who is banned.
        matchmaker: Looks for games for users.
        arrivals: How often each address connects.
        invitations: Who has invited whom lately.
        counts: The connections that were let in.
        counters: What is counted since the server runs.
        pages: Answers those that ask for pages.
        workers: The processes that look like one server with this one; None where it is alone.
        shutdown: Whether the server is to end, and is closing.
        services: The nursery of rooms and sessions.
        connections: The nursery of connections, within.
        cluster: The server as a member of its cluster; None where it is alone.
    """

    options: Options
    key: KeyPair
    accounts: AccountService
    passwords: PasswordChecks
    saves: Saves
    games: GameRegistry
    claims: RoomClaims
    sessions: SessionRegistry
    community: Community[Any]
    bans: BanKeeper
    matchmaker: Matchmaker
    arrivals: ArrivalPace
    invitations: InvitationPace = attrs.field(factory=InvitationPace)
    counts: ConnectionCounts
    counters: Counters
    pages: Pages
    workers: Workers | None = None
    shutdown: Shutdown
    services: trio.Nursery
    connections: trio.Nursery
    cluster: ClusterMember | None = None

    @property
    def is_full(self) -> bool:
        """Whether there are more connections, and sessions that wait for one, than there may be."""
        most = self.options.limits.max_connections
        return most is not None and self.counts.total + self.sessions.away > most

    @property
    def not_now(self) -> str:
        """What a user reads whose request takes a community that cannot be reached."""
        if self.cluster is not None:
            return NOT_NOW
        return "The server cannot use its save file now; try again later."

    def canonical(self, name: str) -> str:
        """Return the name of the game that somebody means: a code is one however it is written.

        A game that was saved under another spelling keeps it.
        """
        code = as_code(name)
        if code is None or self.games.lobby.get(name) or self.saves.saved_game(name):
            return name
        return code

    async def delete_user(self, username: str) -> None:
        """End a user's session and delete the user; on disk when this returns.

        Raises:
            AccountRefusal: There is no such user, or it is the admin.
            StorageError: It could not be written; the user is out of their session, but is kept,
                with or without what they have reached in games.
        """
        # The user cannot log in again before the deletion is on disk, or has failed.
        async with self.accounts.deleting_user(username):
            self.games.note_deletion(username)
            await self.sessions.end(username, "This user was deleted.", ReasonCode.USER_DELETED)
            # Before the name is free: whoever registers it next has no standing yet, and inherits
            # nothing.
            try:
                await self.community.forget_player(username)
                await self.community.forget_user(username)
            except EngineError as error:
                raise StorageError(str(error)) from error

    def table(self, name: str) -> TableView | None:
        """Return what can be seen at a table, without calling any of its game's code; or None."""
        entry = self.games.lobby.get(self.canonical(name))
        return None if entry is None else entry.room.seen()

    def summary(self) -> ServerSummary:
        """Return a few figures of the server, without looking at each user and game."""
        return ServerSummary(
            users=len(self.sessions.usernames),
            away=self.sessions.away,
            games=len(self.games.lobby),
            registered=self.accounts.user_count,
            connections=self._connections(),
            requests=self.counters.requests,
            received=self.counters.traffic.received,
            sent=self.counters.traffic.sent,
            saves=self.saves.stats(),
            tasks=self._tasks(),
            ended=self.games.ended,
            is_ending=self.shutdown.requested.is_set(),
        )

    async def players_and_games(
        self, *, players: bool, games: bool
    ) -> tuple[dict[str, SessionStats], dict[str, GameStats]]:
        """Return the figures of each user and game, as `stats`; other tasks get their turns.

        Args:
            players: Whether those of the users are wanted.
            games: Whether those of the games are.
        """
        found: dict[str, SessionStats] = {}
        names = self.sessions.usernames if players else []
        for start in range(0, len(names), LOOKED_AT_ONCE):
            found.update(self.sessions.stats(names[start : start + LOOKED_AT_ONCE]))
            await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
        return found, self.games.stats() if games else {}

    def stats(self) -> ServerStats:
        """Return a picture of the server as it is now."""
        return ServerStats(
            sessions=self.sessions.stats(),
            away=self.sessions.away,
            games=self.games.stats(),
            ended=self.games.ended,
            connections=self._connections(),
            users=self.accounts.user_count,
            invite_codes=self.accounts.invite_code_count,
            saves=self.saves.stats(),
            tasks=self._tasks(),
        )

    def _connections(self) -> ConnectionStats:
        counts = self.counts
        return ConnectionStats(total=counts.total, logging_in=counts.logging_in, http=counts.http)

    def _tasks(self) -> TaskStats:
        return TaskStats(
            connections=len(self.connections.child_tasks),
            services=len(self.services.child_tasks),
        )

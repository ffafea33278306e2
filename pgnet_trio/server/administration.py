"""What a program does on its server: with games, users, and all that look like one with it."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from pgnet_trio.codec import plain
from pgnet_trio.errors import ServerError, StorageError
from pgnet_trio.foreign_text import one_line
from pgnet_trio.protocol.events import MAX_REASON
from pgnet_trio.server.accounts import AccountRefusal
from pgnet_trio.server.banning import ban, check_ban, subject_of, unban
from pgnet_trio.server.cluster.errors import EngineError
from pgnet_trio.server.games.codes import as_code
from pgnet_trio.server.games.lobby import LobbyRefusal
from pgnet_trio.server.games.opening import Opening
from pgnet_trio.server.games.reloading import Reloaded, reload_games
from pgnet_trio.server.making import make_game, make_table
from pgnet_trio.server.moderation.audit import noting
from pgnet_trio.server.node.users import NotNow
from pgnet_trio.server.options import check_game
from pgnet_trio.server.room.kept import Kept
from pgnet_trio.server.users import (
    DEFAULT_REASON,
    MAX_ANNOUNCEMENT,
    MOST_LISTED,
    OnlineUser,
    announce,
    kick,
    list_nodes,
    list_users,
    push,
)
from pgnet_trio.typed import check_game_message, to_push

if TYPE_CHECKING:
    from pgnet_trio.game import Game
    from pgnet_trio.server.context import ServerContext
    from pgnet_trio.server.stats import NodeStats

__all__ = ["Administration", "ServerCluster"]

logger = logging.getLogger("pgnet_trio.server")

T = TypeVar("T")


class ServerCluster:
    """The servers that look like one; a server alone is the only one of its cluster.

    Args:
        get_context: Returns what a running server's tasks share; it is told what for.
    """

    def __init__(self, get_context: Callable[[str], ServerContext]) -> None:
        self._get_context = get_context

    async def nodes(self) -> list[NodeStats]:
        """Return the servers with what they have to do, those that are silent too.

        Returns:
            The servers in the order in which they have started, as their database knows them now:
            figures of another server may be a quarter of its lease old.

        Raises:
            ServerError: The server is not running, or the database of the cluster does not answer.
        """
        return await _asked(lambda: list_nodes(self._get_context("its cluster is there")))


class Administration:
    """What `Server` does for its host: open games, push, kick, ban, announce, see who is there."""

    @abstractmethod
    def _context(self, what: str) -> ServerContext:
        """Return what a running server's tasks share; *what* says what is possible then."""

    @abstractmethod
    def _accepting_context(self) -> ServerContext:
        """Return what a running server's tasks share, while it takes connections."""

    @property
    def cluster(self) -> ServerCluster:
        """The servers that look like one with this one; it is there without a cluster too."""
        return ServerCluster(self._context)

    async def open_game(
        self,
        name: str = "",
        /,
        *,
        password: str = "",
        options: Mapping[str, Any] | None = None,
        unlisted: bool = False,
        stays: bool = False,
    ) -> str:
        """Make a game of the server's own, which nobody is in yet; only while the server runs.

        Its host is whoever joins it first. It ends as any other: when its last user has left, say.
        Cancellation leaves no game behind.

        Args:
            name: The game's name; without one, it is called by a code.
            password: What joining takes; empty for nothing.
            options: What the game gets as ``self.room.options``; plain data.
            unlisted: Whether the directory leaves it out.
            stays: Whether it goes on while nobody is in it.

        Returns:
            The game's name.

        Raises:
            ServerError: The server is not running; or the name is taken, or is none.
            PGNetError: The game could not be made, or its ``__init__`` has refused its options.
        """
        await trio.lowlevel.checkpoint()
        context = self._accepting_context()
        opening = Opening(
            name=as_code(name) or name,
            password=password,
            options=plain(dict(options or {}), "options"),
            kept=Kept(unlisted=unlisted),
            stays=stays,
        )
        try:
            if name:
                name = opening.name
                elsewhere = await make_game(context, opening, creator=None)
            else:
                name, elsewhere = await make_table(context, opening, creator=None)
        except LobbyRefusal as refusal:
            raise ServerError(str(refusal)) from None
        if elsewhere is not None:
            raise ServerError(f"This server is about to end; make it at {elsewhere.address}.")
        return name

    async def reload(self, game: Callable[..., Game], /) -> Reloaded:
        """Host games of another class from now on, and have those that run go on with it.

        Each is saved, and made again by the new class; its players stay in it, and see what it is
        now. One that cannot be made, or raises when it is told who is there, goes on as it was,
        and so does one that is not saved. Queues and leaderboards stay as they were declared when
        the server began to run. Cancellation leaves some games as they were.

        Args:
            game: As for `Server`.

        Returns:
            Which games go on with it, and why others do not.

        Raises:
            TypeError: It can make no games; nothing has changed.
            ServerError: The server is not running.
        """
        await trio.lowlevel.checkpoint()
        check_game(game)
        context = self._accepting_context()
        return await reload_games(context.games, context.options, game)

    async def push(
        self, username: str, message: object, payload: dict[str, Any] | None = None, /
    ) -> bool:
        """Push something to a user who is logged in, at whatever server of the cluster.

        Their client gets it as it gets what a game pushes, in a game or not. It arrives once or
        not at all: it is lost when a server dies that has it, and dropped as other pushes are when
        too much waits for the client. A user who moves to another server meanwhile gets it there.

        It takes two calls of the database where the user is at another server, so it is for what
        happens now and then. A game has `room.push` for its players.

        Args:
            username: Who.
            message: An attrs model, a push, a packet, or the text of a message.
            payload: What belongs to a text.

        Returns:
            Whether the user is logged in, with a client that takes pushes, as far as this server
            knows. It does not say that they have got it.

        Raises:
            CodecError: It cannot travel, or takes more than 32 KiB.
            TypeError: It is none of these.
            ValueError: The message is one of the server's own.
            ServerError: The server is not running, or the database of the cluster does not answer.
        """
        try:
            pushed = to_push(message, payload)
            check_game_message(pushed.message)
        except Exception:
            await trio.lowlevel.checkpoint()
            raise
        return await _asked(lambda: push(self._context("it pushes"), username, pushed))

    async def kick(self, username: str, reason: str = "", /) -> bool:
        """End a user's session, at whatever server of the cluster; they may log in again.

        Their client is told why, with the code `ReasonCode.KICKED`, and does not come back by
        itself. One that is away just now is told when it comes back to the same server.

        Args:
            username: Who.
            reason: What they read, at most 200 characters; empty for a sentence that says no more.

        Returns:
            Whether they were logged in.

        Raises:
            ValueError: The reason is too long.
            ServerError: The server is not running, or the database of the cluster does not answer.
        """
        if len(reason) > MAX_REASON:
            await trio.lowlevel.checkpoint()
            raise ValueError(
                f"reason: expected at most {MAX_REASON} characters, got {len(reason):,}"
            )
        why = reason or DEFAULT_REASON
        return await self._noted(
            "it kicks",
            "kick",
            {"username": username, "reason": reason},
            lambda context: kick(context, username, why),
            is_done=bool,
        )

    async def ban(
        self, username: str = "", reason: str = "", /, *, network: str = "", seconds: int = 0
    ) -> None:
        """Ban a user, or all who come from a range of addresses; whoever is there is put out.

        They are told why, with the code `ReasonCode.BANNED`, and let in nowhere until the ban ends:
        at this server from now on, at the others of a cluster within a second, or a minute if the
        database fails meanwhile. Another ban of the same user or range is replaced.

        Args:
            username: Who; names that differ in upper and lower case are one.
            reason: What they read, at most 120 characters.
            network: Instead of a name, a range of addresses such as ``"192.0.2.0/24"``. The admin
                is let in from there.
            seconds: For how long; 0 for ever.

        Raises:
            ValueError: It is no user or range, or both, or something is too long.
            ServerError: The server is not running, there are 10,000 bans already, or they cannot
                be kept: the saves have no place for them, or the database does not answer.
        """
        try:
            subject = subject_of(username, network)
            check_ban(reason, seconds)
        except ValueError:
            await trio.lowlevel.checkpoint()
            raise
        problem = await self._noted(
            "it bans",
            "ban",
            {"username": username, "network": network, "reason": reason, "seconds": seconds},
            lambda context: ban(context, subject, reason=reason, seconds=seconds, by=""),
            is_done=lambda problem: problem is None,
        )
        if problem is not None:
            raise ServerError(problem)

    async def unban(self, username: str = "", /, *, network: str = "") -> bool:
        """End a ban, as it was made; the arguments are those of `ban`.

        Returns:
            Whether there was one.

        Raises:
            ValueError: It is no user or range, or both.
            ServerError: As for `ban`.
        """
        try:
            subject = subject_of(username, network)
        except ValueError:
            await trio.lowlevel.checkpoint()
            raise
        return await self._noted(
            "it bans",
            "unban",
            {"username": username, "network": network},
            lambda context: unban(context, subject),
            is_done=bool,
        )

    async def announce(self, text: str, /, *, game: str = "") -> None:
        """Tell all users something, at all servers of the cluster; or those in one game.

        Clients call `on_announcement`; those without the feature ``announcements`` are not told.
        Each user is told once or not at all: not where their server dies or is silent just then,
        and not who logs in afterwards. Cancellation leaves some untold.

        Args:
            text: What to say, 1 to 1,000 characters.
            game: The name of a game, whose users alone are told; empty for everybody.

        Raises:
            CodecError: The text cannot travel.
            ValueError: It is empty, or too long.
            ServerError: The server is not running, or the database of the cluster does not answer.
        """
        if not 0 < len(text) <= MAX_ANNOUNCEMENT:
            await trio.lowlevel.checkpoint()
            raise ValueError(
                f"text: expected 1 to {MAX_ANNOUNCEMENT:,} characters, got {len(text):,}"
            )
        await self._noted(
            "it announces",
            "announce",
            {"text": text, "game": game},
            lambda context: announce(context, text, game),
            is_done=bool,
        )

    async def _noted(
        self,
        what: str,
        did: str,
        arguments: Mapping[str, Any],
        do: Callable[[ServerContext], Awaitable[T]],
        *,
        is_done: Callable[[T], bool],
    ) -> T:
        """Do something that the audit log is to say; errors are as of `_asked`.

        Args:
            what: As for `_context`.
            did: What is done, as the request of moderators is called that does it.
            arguments: Those of that request.
            do: Does it.
            is_done: Whether it was done, by what that has returned.
        """

        async def do_it() -> T:
            context = self._context(what)
            async with noting(context, "", did, arguments) as deed:
                result = await do(context)
                deed.done = is_done(result)
            return result

        return await _asked(do_it)

    def delete_user(self, username: str) -> None:
        """Disconnect and delete a user; soon after this returns, the name is free again.

        Raises:
            ServerError: The server is not running.
            AccountRefusal: There is no such user, or it is the admin, who stays.
        """
        context = self._context("users can be deleted")
        context.accounts.check_deletable(username)
        context.services.start_soon(_delete_user, context, username)

    async def users(self, *, after: str = "", limit: int = MOST_LISTED) -> list[OnlineUser]:
        """Return a part of the list of users who are logged in, in the order of their names.

        It spans the cluster. Who has just come or gone at another server may be missing, or still
        be there, for a moment; and for a lease, who was at a server that has died.

        Args:
            after: The last name of the part before; empty for the first.
            limit: How many at most, 1 to 1,000.

        Raises:
            ValueError: There is no such limit.
            ServerError: The server is not running, or the database of the cluster does not answer.
        """
        if not 1 <= limit <= MOST_LISTED:
            await trio.lowlevel.checkpoint()
            raise ValueError(f"limit: expected 1 to {MOST_LISTED:,}, got {limit!r}")
        return await _asked(lambda: list_users(self._context("its users are there"), after, limit))


async def _asked(call: Callable[[], Awaitable[T]]) -> T:
    """Wait for something that a running server is asked; every way out is a checkpoint.

    Raises:
        ServerError: The server is not running, or cannot do it now.
    """
    try:
        return await call()
    except (NotNow, EngineError) as error:
        await trio.lowlevel.checkpoint()
        raise ServerError(str(error)) from None
    except Exception:
        await trio.lowlevel.checkpoint()
        raise


async def _delete_user(context: ServerContext, username: str) -> None:
    try:
        async with noting(context, "", "delete_user", {"username": username}) as deed:
            await context.delete_user(username)
            deed.done = True
    except AccountRefusal as error:
        # Somebody else has deleted the user meanwhile.
        logger.info("The user %s was not deleted: %s", one_line(username), one_line(error))
    except StorageError as error:
        logger.error("The user %s could not be deleted: %s", one_line(username), one_line(error))

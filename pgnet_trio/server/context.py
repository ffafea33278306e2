"""What the tasks of one running server share, and the few things they do together."""

from __future__ import annotations

import inspect
import itertools
import logging
import math
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import trio

from pgnet_trio.errors import PGNetError
from pgnet_trio.server.bots import run_bot
from pgnet_trio.server.games.lobby import GameEntry, Lobby
from pgnet_trio.server.games.saves import pack, unpack
from pgnet_trio.server.limits import ConnectionCounts, FailedLogins, Limits
from pgnet_trio.server.refusals import SHUTTING_DOWN, RoomClosed
from pgnet_trio.server.room.room import RoomTask
from pgnet_trio.server.sessions.session import CarryOut, Session
from pgnet_trio.storage.interface import SavedGame

if TYPE_CHECKING:
    from pgnet_trio.crypto import KeyPair
    from pgnet_trio.environment import Environment
    from pgnet_trio.game import BotPlayer, Game
    from pgnet_trio.server.accounts import Accounts
    from pgnet_trio.server.games.archive import Archive
    from pgnet_trio.server.watchdog import Watchdog

__all__ = ["Host", "TooBusy"]

logger = logging.getLogger("pgnet_trio.server")

SAVE_DEADLINE = 5.0
"""Seconds that a game gets to give its save string; a slower one is saved the next time."""

MAX_WAITING_HASHES = 64
"""Log-ins that may wait for their password to be hashed: some seconds' worth on one core."""


class TooBusy(PGNetError):
    """Too many log-ins wait for their passwords to be hashed."""


class Host:
    """The shared state of one server's tasks.

    Attributes:
        lobby: The games, and who is in which.
        sessions: The sessions by username; a user in here holds their seat.
        accounts: The users; there once the save file was loaded.
        archive: The save file.
        games_gone: The names of games that ended in good order since the last save, each with an
            object that stands for this end of it.
        services: The nursery of rooms and sessions; there while the server runs.
        closing: Whether the server is shutting down.
    """

    accounts: Accounts
    archive: Archive
    services: trio.Nursery

    def __init__(
        self,
        make_game: Callable[..., Game],
        *,
        key: KeyPair,
        limits: Limits,
        environment: Environment,
        saves: bool,
        names_unsaved_games: bool,
        verbose_logging: bool,
        on_connection: Callable[[str, bool], Any] | None,
        resume_grace: float,
        duplicate_login: str,
        minimum_protocol: int,
        watchdog: Watchdog,
    ) -> None:
        self.key = key
        self.limits = limits
        self.environment = environment
        self.saves = saves
        self.verbose_logging = verbose_logging
        self.on_connection = on_connection
        self.resume_grace = resume_grace
        self.duplicate_login = duplicate_login
        self.minimum_protocol = minimum_protocol
        self.watchdog = watchdog
        self.lobby: Lobby[RoomTask] = Lobby()
        self.sessions: dict[str, Session] = {}
        self.counts = ConnectionCounts(limits)
        self.failed_logins = FailedLogins(
            limits.failed_logins_per_account, limits.failed_logins_per_address
        )
        self.games_gone: dict[str, object] = {}
        self.closing = False
        self.stopping = trio.Event()
        self.exit_code = 0
        self._make_game = make_game
        self._hashing = trio.CapacityLimiter(os.cpu_count() or 1)
        self._detached = 0
        self._question_ids = itertools.count(1)
        self._names_unsaved_games = names_unsaved_games

    @property
    def is_full(self) -> bool:
        """Whether there are more connections, and sessions that wait for one, than there may be."""
        most = self.limits.max_connections
        return most is not None and self.counts.total + self._detached > most

    def session_of(self, username: str) -> Session | None:
        """Give the session that holds a user's seat; one whose grace has run out has ended."""
        session = self.sessions.get(username)
        if session is not None:
            session.end_if_late()
        return session

    def open_session(
        self,
        username: str,
        carry_out: CarryOut,
        requests_per_second: float | None,
    ) -> Session:
        """Make a session that holds its user's seat; `run_session` has to be started for it."""
        session = Session(
            username,
            lobby=self.lobby,
            carry_out=carry_out,
            max_in_flight=self.limits.max_requests_in_flight or math.inf,
            requests_per_second=requests_per_second,
            settings=self,
            on_presence=self._note_presence,
        )
        self.sessions[username] = session
        return session

    def shut_down(self, exit_code: int) -> None:
        """Have the server shut down; the first call's exit code counts."""
        if not self.stopping.is_set():
            self.exit_code = exit_code
            self.stopping.set()

    async def hash_password(
        self, function: Callable[..., Any], *args: str, check: Callable[[], None] = lambda: None
    ) -> Any:
        """Run a hashing function off the event loop, a few at a time.

        Cancellation waits for the end of a hash that has begun, which cannot be stopped: it
        holds its memory until then, and so has to hold its place among the few.

        Args:
            function: What to run.
            *args: Its arguments.
            check: Called when its turn has come; what it raises comes out instead.

        Raises:
            TooBusy: Too many wait already.
        """
        if self._hashing.statistics().tasks_waiting >= MAX_WAITING_HASHES:
            raise TooBusy
        async with self._hashing:
            check()
            return await self.environment.run_blocking(function, *args, abandon_on_cancel=False)

    async def open_game(
        self,
        name: str,
        password: str,
        save_string: str | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        """Start the room of a new or saved game; nobody is in it yet.

        Raises:
            RoomClosed: The game could not be made; what it raised is logged. Or the server is
                shutting down.
        """
        if self.closing:
            raise RoomClosed(SHUTTING_DOWN)
        owner = _GameOwner(self)
        room = RoomTask(
            name,
            lambda save_string: self._make_game(name, save_string=save_string),
            options=options or {},
            seed=self.environment.random_bytes(16),
            save_string=save_string,
            question_ids=self._question_ids,
            owner=owner,
            watchdog=self.watchdog,
        )
        owner.entry = self.lobby.add(name, password, room)
        try:
            await self.services.start(room.run)
        except BaseException:
            room.close("The game was not started.")
            raise
        if room.crashed:
            raise RoomClosed(f"The game {name!r} could not be made: it raised an error.")
        logger.info("The game %r has begun", name)
        if not room.is_persistent:
            self._note_unsaved_game(name)

    def saved_game(self, name: str) -> SavedGame | None:
        """Give the game of this name as it lies in the save file, if it is not over."""
        return None if name in self.games_gone else self.archive.saved_game(name)

    async def open_saved_game(self, game: SavedGame) -> None:
        """Start the room of a game as it was saved; see `open_game`."""
        save_string, options = unpack(game.data)
        await self.open_game(game.name, game.password, save_string, options)

    async def save(self, *, ask_games: bool = True) -> list[str]:
        """Save every persistent game; what is saved is durable when this returns.

        Args:
            ask_games: Whether to ask games for their save strings first.

        Returns:
            The names of the games that did not give a save string in time.

        Raises:
            StorageError: Nothing could be written.
        """
        if not self.saves:
            return []
        entries = list(self.lobby)
        late: list[str] = []
        if ask_games:
            late = [entry.name for entry in entries]
            with trio.move_on_after(SAVE_DEADLINE):
                async with trio.open_nursery() as nursery:
                    for entry in entries:
                        nursery.start_soon(self._ask_to_save, entry, late)
        await self.write_games(entries)
        await self.archive.sync()
        return late

    async def write_games(
        self, entries: list[GameEntry[RoomTask]], *, abandon_on_cancel: bool = False
    ) -> None:
        """Save games as they last gave their save strings.

        Args:
            entries: The games.
            abandon_on_cancel: As in `Archive.write`.

        Raises:
            StorageError: Nothing could be written.
        """
        if not self.saves:
            return
        ended = dict(self.games_gone)
        gone = set(ended)
        games = {}
        for entry in entries:
            if entry.over:
                continue
            if entry.room.save_string:
                data = pack(entry.room.save_string, entry.room.options)
                games[entry.name] = SavedGame(entry.name, entry.password, data)
            elif entry.room.save_string is not None:
                gone.add(entry.name)
                self._note_unsaved_game(entry.name)
        await self.archive.save_games(
            games,
            gone,
            self.accounts.registration_enabled,
            abandon_on_cancel=abandon_on_cancel,
        )
        for name, end in ended.items():
            # A game of that name may have come and ended meanwhile.
            if self.games_gone.get(name) is end:
                del self.games_gone[name]

    async def delete_user(self, username: str) -> None:
        """End a user's session and delete the user; on disk when this returns.

        Raises:
            AccountRefusal: There is no such user, or it is the admin.
            StorageError: It could not be written; the user is out of their session, but is kept.
        """
        with self.accounts.deleting_user(username) as changes:
            session = self.sessions.get(username)
            if session is not None:
                session.end("This user was deleted.")
                await session.ended.wait()
            await self.archive.write(changes)

    async def run_session(self, session: Session) -> None:
        """Run a session that holds its seat in `sessions`; the seat is free at the end."""
        try:
            await self._tell(session.username, True)
            await session.run()
        except Exception as error:
            logger.exception("The session of %s failed, and has ended", session.username)
            self.environment.note_failure(error)
        finally:
            session.end("The session failed.")
            logger.info("%s is out: %s", session.username, session.end_reason)
            if self.sessions.get(session.username) is session:
                del self.sessions[session.username]
            session.ended.set()
            await self._tell(session.username, False)

    def _note_unsaved_game(self, name: str) -> None:
        if self._names_unsaved_games:
            self._names_unsaved_games = False
            logger.warning(
                "The game %r is not in the save file: a game is saved where its class has "
                "persistent = True, and get_save_string() gives something",
                name,
            )

    def _note_presence(self, online: bool) -> None:
        self._detached += -1 if online else 1

    async def _tell(self, username: str, connected: bool) -> None:
        if self.on_connection is None:
            return
        try:
            result = self.on_connection(username, connected)
            if inspect.isawaitable(result):
                await result
        except Exception as error:
            logger.exception("on_connection raised for %s", username)
            self.environment.note_failure(error)

    async def _ask_to_save(self, entry: GameEntry[RoomTask], late: list[str]) -> None:
        try:
            await entry.room.take_save_string()
        except RoomClosed:
            logger.debug("The game %r ended before it was saved", entry.name)
        late.remove(entry.name)


class _GameOwner:
    """Keeps the room of one game; see `pgnet_trio.server.room.owner.RoomOwner`.

    Attributes:
        entry: The game's place in the lobby.
    """

    entry: GameEntry[RoomTask]

    def __init__(self, host: Host) -> None:
        self._host = host
        self.note_failure = host.environment.note_failure

    def is_empty(self) -> bool:
        """Whether no user is in the game any more; bots do not count."""
        return not self.entry.users

    def user_left(self, username: str) -> None:
        """Take a user out of the lobby whom the game has sent away."""
        if self._host.lobby.game_of(username) is self.entry:
            self._host.lobby.leave(username)

    def room_ended(self, reason: str) -> None:
        """Take the game out of the lobby, and out of the save file where it ended well."""
        host, entry = self._host, self.entry
        logger.info("The game %r has ended: %s", entry.name, reason)
        host.lobby.remove(entry)
        # Without a save file, nothing would ever take them out again.
        if host.saves and not (host.closing or entry.room.crashed):
            entry.over = True
            host.games_gone[entry.name] = object()

    async def save(self) -> None:
        """Put the game's save string on disk."""
        if self._host.saves:
            await self._host.write_games([self.entry])

    async def run_bot(self, bot: BotPlayer) -> None:
        """Have a bot join the game and play."""
        await run_bot(self.entry.room, bot, self.note_failure)

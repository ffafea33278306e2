"""The games of one run of a server: made, loaded, gone on with, ended.

It is a little long: all ways in which a game comes and goes are side by side.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs
import trio

from pgnet_trio.foreign_text import one_line
from pgnet_trio.messages import wall_clock
from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.games.failures import MAX_LOADS, FailedLoads, FailureLog
from pgnet_trio.server.games.lobby import GameEntry, Lobby
from pgnet_trio.server.games.opening import Opening, opening_of
from pgnet_trio.server.games.quotas import check_count, check_quota
from pgnet_trio.server.games.reservations import Reservations
from pgnet_trio.server.games.save_format import too_new
from pgnet_trio.server.games.unended import UnendedRooms
from pgnet_trio.server.refusals import (
    CLOSED,
    RESTARTING,
    SHUTTING_DOWN,
    JoinRefused,
    RoomClosed,
    crash_texts,
    not_made,
)
from pgnet_trio.server.room.frozen import Thawing
from pgnet_trio.server.room.room import RoomTask
from pgnet_trio.server.shutdown import raised_by_signal
from pgnet_trio.server.stats import EndedGame, GameStats

if TYPE_CHECKING:
    from pgnet_trio.game import BotPlayer
    from pgnet_trio.server.games.results import Results
    from pgnet_trio.server.games.saves import Saves
    from pgnet_trio.server.options import Options
    from pgnet_trio.server.room.frozen import FrozenRoom
    from pgnet_trio.server.room.outcome import Outcome
    from pgnet_trio.server.room.owner import RoomOwner
    from pgnet_trio.server.room.player import Player
    from pgnet_trio.server.shutdown import Shutdown
    from pgnet_trio.standings import Leaderboard, PlayedGame, Result
    from pgnet_trio.storage.interface import SavedGame, SavedState

__all__ = ["GameRegistry", "RunBot"]

logger = logging.getLogger("pgnet_trio.server")

MOST_ENDED = 50
"""Games that have ended and are still shown to whoever looks at the server."""

_EXPIRED = "Nobody was in it for too long."

RunBot = Callable[[RoomTask, "BotPlayer", Callable[[BaseException], None]], Awaitable[None]]
"""Has a bot join a game and play; the last argument takes what the bot raises."""


class GameRegistry:
    """Makes games, each with a room of its own, and knows all that there are.

    Args:
        options: The server's.
        make_room: Makes a room: `RoomTask`, with what all rooms of the server share.
        saves: Saves the games.
        services: The nursery in which the rooms run.
        shutdown: Says whether the server is closing.
        run_bot: Plays the bots that a game adds.
        results: Has the results of games counted.

    Attributes:
        lobby: The games, and who is in which.
        reservations: The names of which somebody decides what becomes of them.
        rooms: The games that the server makes itself.
        results: Has the results of games counted.
        unended: The games that are over, and whose code goes on.
    """

    def __init__(
        self,
        options: Options,
        make_room: Callable[..., RoomTask],
        saves: Saves,
        services: trio.Nursery,
        shutdown: Shutdown,
        run_bot: RunBot,
        results: Results,
    ) -> None:
        # Trio's clock goes on steadily, whatever becomes of the system's.
        self._epoch = wall_clock.get()().timestamp() - trio.current_time()
        self.lobby: Lobby[RoomTask] = Lobby(lambda: int(self._now()))
        self.reservations = Reservations()
        self.unended = UnendedRooms()
        self.rooms = options.rooms
        self._options = options
        self._make_room = make_room
        self._saves = saves
        self._services = services
        self._shutdown = shutdown
        self._run_bot = run_bot
        self.results = results
        self._failure_log = FailureLog()
        # The latest only: an error keeps alive what its traceback has.
        self._last_cause: tuple[str, BaseException, str | None] | None = None
        self._failed_loads = FailedLoads()
        self._ended: deque[EndedGame] = deque(maxlen=MOST_ENDED)

    def check_quota(self, username: str, options: dict[str, Any]) -> None:
        """Check that a user may create one more game, with these options.

        Raises:
            LobbyRefusal: They may not; the message says how many there are, or how long those are.
        """
        check_quota(self._options.limits, self.lobby, self._saves.saved_names, username, options)

    def check_count(self) -> None:
        """Check that there may be one more game, whoever's.

        Raises:
            LobbyRefusal: There may not; the message says how many there are.
        """
        check_count(self._options.limits, self.lobby, self._saves.saved_names)

    async def open_game(self, opening: Opening, *, creator: str | None = None) -> None:
        """Start the room of a new or saved game; nobody is in it yet.

        Cancellation leaves no game behind.

        Args:
            opening: What it is opened with. Its name must be free.
            creator: As whose game it counts; None for nobody's.

        Raises:
            RoomClosed: The game could not be made, and the error that it raised is in the log;
                or the server is shutting down.
            JoinRefused: The game's ``__init__`` has refused what it was made with.
        """
        if self._shutdown.closing:
            raise RoomClosed(SHUTTING_DOWN, ReasonCode.SHUTTING_DOWN)
        owner = _GameOwner(self, opening)
        if creator is not None:
            self.lobby.note_creator(opening.name, creator)
        await self.start(owner.entry)
        if opening.save_string is not None:
            logger.info(
                "The game %r goes on from its save",
                one_line(opening.name),
                extra={"table": opening.name},
            )
            self._note_if_unsaved(opening.name, owner.entry.room)

    async def start(self, entry: GameEntry[RoomTask]) -> None:
        """Start the room of a game that is in the lobby; errors are as of `open_game`."""
        room = entry.room
        try:
            await self._services.start(room.run)
        except BaseException:
            room.close("The game was not started.")
            raise
        if room.refusal is not None:
            raise JoinRefused(room.refusal.reason, ReasonCode.REJECTED, room.refusal.payload)
        if room.crashed:
            raise RoomClosed(not_made(entry.name, self._cause(entry.name)), ReasonCode.GAME_FAILED)

    def thaw(
        self,
        opening: Opening,
        room: FrozenRoom,
        players: Mapping[str, Player],
        *,
        creator: str | None,
    ) -> GameEntry[RoomTask]:
        """Put a game that was frozen into the lobby, with its users; `start` it. Never waits.

        Args:
            opening: What it is opened with, but for the room. Its name must be free.
            room: Its room.
            players: The sessions of its users, none of whom is in a game. Who has none is not in
                this game any more.
            creator: As whose game it counts; None for nobody's.
        """
        entry = _GameOwner(self, attrs.evolve(opening, thawing=Thawing(room, players))).entry
        for member in room.members:
            if member.username in players:
                self.lobby.seat(member.username, entry, spectate=member.is_spectator)
        if creator is not None:
            self.lobby.note_creator(opening.name, creator)
        return entry

    def note_deletion(self, username: str) -> None:
        """Note that a user is deleted: whoever is called so next was not invited to any game."""
        for entry in self.lobby:
            entry.room.members.invitations.end(username)

    def note_departure(self, entry: GameEntry[RoomTask]) -> None:
        """Take a game out of the lobby that goes on somewhere else. What is saved of it stays."""
        logger.info("The game %r is on its way to another server", entry.name)
        # Nothing that its code still does may be saved.
        entry.over = True
        self.lobby.remove(entry)
        self.lobby.forget_creator(entry.name)
        self._services.start_soon(self.unended.see_off, entry.room)

    def note_begin(self, entry: GameEntry[RoomTask]) -> None:
        """Note that a new game has let in whoever created it."""
        logger.info("The game %r has begun", entry.name, extra={"table": entry.name})
        self._note_if_unsaved(entry.name, entry.room)

    def _note_if_unsaved(self, name: str, room: RoomTask) -> None:
        if not (room.is_persistent and room.gives_save):
            self._saves.note_unsaved_game(name, room)

    async def open_saved_game(self, game: SavedGame, *, insist: bool = False) -> None:
        """Start the room of a game as it was saved; see `open_game`.

        Args:
            game: The game.
            insist: Whether to load a game, too, that is kept aside.
        """
        if self._failed_loads.is_aside(game) and not insist:
            raise RoomClosed(
                f"The saved game {game.name!r} could not be loaded, and is kept aside; the admin "
                "can join it to try again, or destroy it.",
                ReasonCode.GAME_FAILED,
            )
        problem = too_new(game.name, game.data, self._options.save_version)
        if problem:
            raise RoomClosed(problem, ReasonCode.GAME_FAILED)
        opening = opening_of(game.name, game.password, game.data)
        since = game.empty_since
        if since is not None:
            # A clock that was wrong then must not keep the game for years.
            since = min(since, int(self._now()))
        # Who was ready a moment ago need not be so by now.
        kept = attrs.evolve(opening.kept, ready=())
        await self.open_game(attrs.evolve(opening, kept=kept, empty_since=since))

    async def open_saved_games(self, saved: SavedState) -> None:
        """Start the rooms of all games in the save file; one that cannot be made is logged.

        Those in which nobody was for too long are not started. The others end when it is so far.
        """
        expire_after = self._options.limits.empty_games_expire_after
        for game in saved.games.values():
            if self._saves.saved_game(game.name) is None:
                # It ended in the run before, and that could not be written.
                continue
            if expire_after is not None and self._is_over_age(game.empty_since, expire_after):
                logger.info(
                    "The saved game %r has ended: %s",
                    game.name,
                    _EXPIRED,
                    extra={"table": game.name},
                )
                self._saves.note_end(game.name)
                continue
            try:
                await self.open_saved_game(game)
            except (RoomClosed, JoinRefused) as error:
                logger.error(
                    "A saved game stays in the save file as it is, until it is joined and can be "
                    "made, or destroyed by the admin: %s",
                    one_line(error),
                )

        if expire_after is not None:
            self._services.start_soon(self._end_expired_games, expire_after)

    async def _end_expired_games(self, expire_after: float) -> None:
        """End each game in which nobody is for so many seconds, until cancelled."""
        while True:
            left = [
                entry.empty_since + expire_after - self._now()
                for entry in self.lobby
                if entry.empty_since is not None and not entry.stays
            ]
            # Whichever game becomes empty meanwhile has all of its time before it.
            await trio.sleep(max(0, min(left, default=max(expire_after, 1.0))))
            for entry in self.lobby:
                if not entry.stays and self._is_over_age(entry.empty_since, expire_after):
                    entry.room.close(_EXPIRED)

    def _is_over_age(self, empty_since: int | None, expire_after: float) -> bool:
        return empty_since is not None and empty_since + expire_after <= self._now()

    def _now(self) -> float:
        """Return the time in seconds since 1970."""
        return trio.current_time() + self._epoch

    async def finish_all(self) -> None:
        """Close all games because the server ends, and wait until their rooms are done.

        Cancellation leaves the rooms closing.
        """
        kind = RESTARTING if self._shutdown.restarting else CLOSED
        self._failure_log.finish()
        async with trio.open_nursery() as nursery:
            for entry in self.lobby:
                nursery.start_soon(entry.room.finish, kind)

    # What the owners of the rooms do.

    def new_room(self, owner: RoomOwner, opening: Opening) -> RoomTask:
        """Return the room of a game, not started yet."""
        make_game = self._options.make_game
        return self._make_room(
            opening.name,
            lambda save_string: make_game(opening.name, save_string=save_string),
            options=opening.options,
            seed=self._options.environment.random_bytes(16),
            save_string=opening.save_string,
            save_version=opening.save_version,
            kept=opening.kept,
            thawing=opening.thawing,
            owner=owner,
        )

    def note_end(self, entry: GameEntry[RoomTask], reason: str) -> None:
        """Take a game out of the lobby, and out of the save file where it ended well."""
        # Whoever is refused again and again must not fill the log with games that never began.
        level = logging.INFO if entry.room.has_begun else logging.DEBUG
        about = {"table": entry.name}
        if self._shutdown.closing:
            # What is saved goes on with the next run of the server.
            logger.log(
                level, "The game %r is closed: %s", entry.name, one_line(reason), extra=about
            )
        else:
            logger.log(
                level, "The game %r has ended: %s", entry.name, one_line(reason), extra=about
            )
        if entry.room.has_begun:
            ended = EndedGame(entry.name, reason, entry.room.crashed, self._now())
            self._ended.append(ended)
        self.lobby.remove(entry)
        if not entry.room.crashed or self._saves.saved_game(entry.name) is None:
            self.lobby.forget_creator(entry.name)
        self._services.start_soon(self.unended.see_off, entry.room)
        if self._shutdown.closing:
            return
        if entry.room.crashed:
            self._note_crash(entry)
            self._saves.note_crash(entry.name)
        elif self._saves.enabled:
            entry.over = True
            self._failed_loads.forget(entry.name)
            self._saves.note_end(entry.name)

    def note_cause(self, name: str, error: BaseException, asker: str | None) -> None:
        """Note what a game raised, before anybody is refused because of it."""
        self._last_cause = name, error, asker

    def _cause(self, name: str) -> BaseException | None:
        """Return what a game raised last, if no other one has raised since."""
        cause = self._last_cause
        return cause[1] if cause is not None and cause[0] == name else None

    def cause_of(self, refusal: str, /, *, unasked: bool = False) -> BaseException | None:
        """Return what a game raised last, if that is why somebody is told this.

        Args:
            refusal: What they are told.
            unasked: Whether it is no answer to a request; None is returned then if somebody else
                waits for the answer to the request over which the game raised.
        """
        if self._last_cause is None:
            return None
        name, error, asker = self._last_cause
        if unasked and asker is not None:
            return None
        return error if refusal in crash_texts(name, error) else None

    def forget_failed_loads(self) -> None:
        """Let all saved games be tried again that could not be loaded."""
        self._failed_loads = FailedLoads()

    def note_failure(
        self, error: BaseException, what: str, user: str = "", connection: int = 0
    ) -> None:
        """Log what a game raised; end the server in order where it was for the whole program.

        Args:
            error: The error.
            what: What has come of it.
            user: Whose request it was raised over; empty for nobody's.
            connection: The number of that user's connection; 0 for none.
        """
        self._failure_log.log(error, what, user, connection)
        self._options.environment.note_failure(error)
        if raised_by_signal(error):
            self._shutdown.request_by(error)

    async def save_game(self, entry: GameEntry[RoomTask]) -> None:
        """Put a game's save string on disk; raises StorageError where that fails."""
        await self._saves.write_games([entry])

    async def save_now(self, name: str) -> bool:
        """Put a game on disk as it is now; return whether there is one here that is saved.

        Raises:
            RoomClosed: It has ended before that.
            StorageError: It could not be written.
        """
        entry = self.lobby.get(name)
        if entry is None or not entry.room.is_persistent:
            await trio.lowlevel.checkpoint()
            return False
        await entry.room.update_save_string()
        await self.save_game(entry)
        return True

    async def run_bot(self, room: RoomTask, bot: BotPlayer) -> None:
        """Have a bot join a game and play, until it is out of the game."""

        def note_failure(error: BaseException) -> None:
            what = f"The bot {bot.username!r} raised, and is out of the game {room.name!r}"
            self.note_failure(error, what)

        await self._run_bot(room, bot, note_failure)

    def _note_crash(self, entry: GameEntry[RoomTask]) -> None:
        if entry.room.refusal is not None:
            return
        saved = self._saves.saved_game(entry.name)
        if saved is None or entry.room.was_entered:
            self._failed_loads.forget(entry.name)
        elif self._failed_loads.note(saved):
            logger.error(
                "The saved game %r could not be loaded %d times, and is kept aside until the admin "
                "joins it, or the server starts again: nobody else can join it",
                entry.name,
                MAX_LOADS,
            )

    @property
    def ended(self) -> tuple[EndedGame, ...]:
        """The games that have ended last, the latest last."""
        return tuple(self._ended)

    def stats(self) -> dict[str, GameStats]:
        """Return the figures of each game."""
        return {
            entry.name: GameStats(users=len(entry.users), room=entry.room.stats())
            for entry in self.lobby
        }


class _GameOwner:
    """Keeps the room of one game; see `pgnet_trio.server.room.owner.RoomOwner`.

    Args:
        registry: Knows all games.
        opening: What the game is opened with.

    Attributes:
        entry: The game's place in the lobby.
    """

    def __init__(self, registry: GameRegistry, opening: Opening) -> None:
        self._registry = registry
        room = registry.new_room(self, opening)
        self.entry = registry.lobby.add(
            opening.name, opening.password, room, empty_since=opening.empty_since
        )
        self.entry.stays = opening.stays or opening.name in registry.rooms

    def is_empty(self) -> bool:
        """Whether no user is in the game any more; bots do not count."""
        return not (self.entry.users or self.entry.stays)

    def user_left(self, username: str) -> None:
        """Take a user out of the lobby whom the game has sent away."""
        lobby = self._registry.lobby
        # A bot is in no lobby, and a user may be in another game by now.
        if lobby.game_of(username) is self.entry:
            lobby.leave(username)

    def room_ended(self, reason: str) -> None:
        """Take the game out of the lobby, and out of the save file where it ended well."""
        self._registry.note_end(self.entry, reason)

    async def save(self) -> None:
        """Put the game's save string on disk; raises StorageError where that fails."""
        await self._registry.save_game(self.entry)

    async def report(
        self,
        result: Result,
        outcome: Outcome,
        users: tuple[str, ...],
        leaderboards: Mapping[str, Leaderboard],
    ) -> PlayedGame:
        """Count the game's result; raises ReportRefused where that fails."""
        name = self.entry.name
        return await self._registry.results.report(name, result, outcome, users, leaderboards)

    def note_cause(self, error: BaseException, asker: str | None = None) -> None:
        """Note what the game raised, before anybody is refused because of it."""
        self._registry.note_cause(self.entry.name, error, asker)

    def note_failure(self, error: BaseException, what: str, player: Player | None = None) -> None:
        """Log what the game raised, and note it."""
        if player is None:
            self._registry.note_failure(error, what)
        else:
            self._registry.note_failure(error, what, player.username, player.connection_number)

    async def run_bot(self, bot: BotPlayer) -> None:
        """Have a bot join the game and play, until it is out of the game."""
        await self._registry.run_bot(self.entry.room, bot)

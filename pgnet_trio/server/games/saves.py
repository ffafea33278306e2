"""When a server's games are saved; `save_format` says as what."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

import attrs
import trio

from pgnet_trio.errors import StorageError
from pgnet_trio.foreign_text import one_line
from pgnet_trio.server.games.archive import WRITE_DEADLINE
from pgnet_trio.server.games.save_format import pack
from pgnet_trio.server.refusals import RoomClosed
from pgnet_trio.server.stats import SaveStats
from pgnet_trio.storage.interface import SavedGame

if TYPE_CHECKING:
    from pgnet_trio.server.accounts import Accounts
    from pgnet_trio.server.games.lobby import GameEntry
    from pgnet_trio.server.room.room import RoomTask
    from pgnet_trio.storage.interface import TokenRecord

__all__ = [
    "LAST_WRITE_DEADLINE",
    "GameStore",
    "SaveMemory",
    "Saves",
]

logger = logging.getLogger("pgnet_trio.server")

SAVE_DEADLINE = 5.0
"""Seconds in which a game has to return its save string; a slower one is saved the next time."""

LAST_WRITE_DEADLINE = 30.0
"""Seconds that the last write to the save file may take, all tries together."""

LAST_WRITE_TRIES = 3
LAST_WRITE_PAUSE = 0.5
"""Seconds from one try of the last write to the next: what kept it from a thread or from memory may
pass, now that the games are gone."""
LAST_TRY_BEGINS = 10.0
"""Seconds after the first try in which another one may begin: what took that long, as a file that
another program has locked, takes as long again."""

THREAD_WRITE_TIMEOUT = 10.0
"""Seconds that another write may still take, before the process is ended without it."""


@attrs.define(eq=False, kw_only=True)
class SaveMemory:
    """What `Saves` has to know of the runs of the server before this one.

    Attributes:
        ended: The names of games that ended in good order since the last save, each with an
            object that stands for this end of it.
        names_unsaved_games: Whether the log still has to name the first game that is not saved.
    """

    names_unsaved_games: bool
    ended: dict[str, object] = attrs.field(factory=dict)


class GameStore(Protocol):
    """Where games are saved: a save file, or what the servers of a cluster share."""

    @property
    def has_store(self) -> bool:
        """Whether there is anywhere to save."""

    @property
    def hangs(self) -> bool:
        """Whether a write did not end in time, and has not ended since."""

    @property
    def game_count(self) -> int:
        """How many games are saved."""

    @property
    def game_names(self) -> set[str]:
        """The names of the games that are saved."""

    def saved_game(self, name: str, /) -> SavedGame | None:
        """Return the game of this name as it was last saved; None where it was not."""

    async def save_games(
        self,
        games: dict[str, SavedGame],
        gone: set[str],
        registration: bool,
        tokens: Mapping[bytes, TokenRecord | None],
        *,
        patience: float = ...,
    ) -> None:
        """Save the games that have changed; see `Archive.save_games`."""

    def let_go(self, name: str, /, *, over: bool) -> None:
        """Note that a game is in the lobby no more. Never waits.

        Args:
            name: The game's name.
            over: Whether it is over, and not to be made from its save any more.
        """

    async def sync(self) -> None:
        """Have all that was saved be where it may be copied from."""

    def write_from_thread(
        self, games: dict[str, SavedGame], gone: set[str], timeout: float, /
    ) -> None:
        """Write games from another thread; see `Archive.write_from_thread`."""


class Saves:
    """Decides what is saved of the games, and writes it.

    Args:
        archive: Where to save.
        accounts: Has the registration switch and the tokens, which are saved beside the games.
        memory: What the runs before have left to save.

    Attributes:
        errors: How often the games could not be saved.
    """

    def __init__(self, archive: GameStore, accounts: Accounts, memory: SaveMemory) -> None:
        self._archive = archive
        self._accounts = accounts
        self._memory = memory
        self._autosaving = trio.CancelScope()
        self._last_saved: float | None = None
        self._last_duration: float | None = None
        self._last_error = ""
        self.errors = 0

    @property
    def enabled(self) -> bool:
        """Whether there is anywhere to save."""
        return self._archive.has_store

    @property
    def failing(self) -> bool:
        """Whether the latest save has failed, or the save file does not answer."""
        return self._archive.hangs or self._last_error != ""

    def saved_game(self, name: str) -> SavedGame | None:
        """Return the game of this name as the save file holds it, unless the game is over."""
        return None if name in self._memory.ended else self._archive.saved_game(name)

    @property
    def saved_names(self) -> set[str]:
        """The names of the games that the save file holds and that are not over."""
        return self._archive.game_names - self._memory.ended.keys()

    def note_crash(self, name: str) -> None:
        """Note that a game is in the lobby no more, and that its save stays."""
        self._archive.let_go(name, over=False)

    def note_end(self, name: str) -> None:
        """Have the next save take out a game that is over."""
        self._archive.let_go(name, over=True)
        # Without a save file, nothing would ever take the name out of memory again.
        if self.enabled:
            self._memory.ended[name] = object()

    def note_unsaved_game(self, name: str, room: RoomTask) -> None:
        """Say once in the log that a game is not saved, and how it would be."""
        if self._memory.names_unsaved_games:
            self._memory.names_unsaved_games = False
            # One without the other is an oversight. Neither is a choice: the file is for users too.
            looks_saved = room.is_persistent or room.gives_save
            logger.log(
                logging.WARNING if looks_saved else logging.INFO,
                "The game %r is not in the save file: a game is saved where its class has "
                "persistent = True, and get_save_string() gives something",
                name,
            )

    async def save(
        self, games: Iterable[GameEntry[RoomTask]], *, ask_games: bool = True
    ) -> list[str]:
        """Save every persistent game; what is saved is durable when this returns.

        Args:
            games: The games.
            ask_games: Whether to ask the games for their save strings first.

        Returns:
            The names of the games that did not return a save string in time.

        Raises:
            StorageError: Nothing could be written.
        """
        if not self.enabled:
            return []
        entries = list(games)
        late: list[str] = []
        if ask_games:
            late = [entry.name for entry in entries]
            with trio.move_on_after(SAVE_DEADLINE):
                async with trio.open_nursery() as nursery:
                    for entry in entries:
                        nursery.start_soon(_ask_to_save, entry, late)
        await self.write_games(entries)
        await self._archive.sync()
        return late

    # Ctrl-C here would end the rooms before their last save; whoever runs the server gets it.
    @trio.lowlevel.enable_ki_protection
    async def autosave(self, games: Iterable[GameEntry[RoomTask]], interval: float) -> None:
        """Save what has changed, every *interval* seconds, until cancelled, or the last write.

        A save that fails, whatever it raises, is logged, and the next one makes up for it.

        Args:
            games: The lobby, which is looked at for each save anew.
            interval: Seconds from the end of one save to the next.
        """
        with self._autosaving:
            while True:
                await trio.sleep(interval)
                try:
                    late = await self.save(games)
                except StorageError as error:
                    logger.error(
                        "Saving failed, and is tried again in %g s: %s", interval, one_line(error)
                    )
                    continue
                except Exception:
                    # Whatever it is, a server that saves no more would be worse.
                    logger.exception("Saving failed, and is tried again in %g s", interval)
                    continue
                if late:
                    logger.warning(
                        "These games did not give a save string in time: %s",
                        one_line(", ".join(late)),
                    )

    async def write_last(self, entries: list[GameEntry[RoomTask]]) -> list[str]:
        """Save games at the end of a run, within `LAST_WRITE_DEADLINE`; a failure is logged.

        A write that takes longer is left to end by itself, in its thread.

        Returns:
            The names of the games that could not be saved as they are now.
        """
        # It would only keep the file busy.
        self._autosaving.cancel()
        start = trio.current_time()
        deadline = start + LAST_WRITE_DEADLINE
        problem: Exception | None = None
        for number in range(LAST_WRITE_TRIES):
            if number:
                await trio.sleep(LAST_WRITE_PAUSE)
            try:
                await self.write_games(entries, patience=deadline - trio.current_time())
            except Exception as error:
                problem = error
            else:
                return []
            if trio.current_time() + LAST_WRITE_PAUSE >= start + LAST_TRY_BEGINS:
                break
        unsaved = [
            name
            for name, game in self._collect(entries).items()
            if (saved := self._archive.saved_game(name)) is None or saved.data != game.data
        ]
        why = str(problem).rstrip(".") if isinstance(problem, StorageError) else repr(problem)
        logger.error(
            "The last save failed; the save file is as it was before: %s. Not saved: %s",
            one_line(why),
            one_line(", ".join(map(repr, unsaved)) or "no game"),
        )
        return unsaved

    async def write_games(
        self, entries: list[GameEntry[RoomTask]], *, patience: float = WRITE_DEADLINE
    ) -> None:
        """Save games by the save strings that they returned last.

        Args:
            entries: The games.
            patience: Seconds that it may take.

        Raises:
            StorageError: Nothing could be written.
        """
        if not self.enabled:
            return
        ended = dict(self._memory.ended)
        gone = set(ended)
        games = self._collect(entries)
        for entry in entries:
            if not entry.over and entry.room.save_string == "":
                gone.add(entry.name)
                self.note_unsaved_game(entry.name, entry.room)
        start = trio.current_time()
        try:
            with self._accounts.saving_tokens() as tokens:
                await self._archive.save_games(
                    games,
                    gone,
                    self._accounts.registration_enabled,
                    tokens,
                    patience=patience,
                )
        except StorageError as error:
            self._last_error = str(error)
            self.errors += 1
            raise
        self._last_error = ""
        self._last_saved = trio.current_time()
        self._last_duration = self._last_saved - start
        for name, end in ended.items():
            # Another game of that name may have come and ended during the write.
            if self._memory.ended.get(name) is end:
                del self._memory.ended[name]

    def _collect(self, entries: list[GameEntry[RoomTask]]) -> dict[str, SavedGame]:
        """Return what the save file has to hold of those games that are to be saved."""
        games = {}
        for entry in entries:
            # Read once: another thread may do this while the event loop runs.
            save_string = entry.room.save_string
            if save_string and not entry.over:
                room = entry.room
                kept = room.members.kept(time=room.instance.saved_at)
                data = pack(save_string, room.options, kept, room.save_version)
                games[entry.name] = SavedGame(entry.name, entry.password, data, entry.empty_since)
        return games

    def write_from_thread(self, entries: list[GameEntry[RoomTask]]) -> str:
        """Write games from another thread, as they were last saved, while the loop is blocked.

        Args:
            entries: The games.

        Returns:
            What was saved and what was not, for the log.
        """
        names = [entry.name for entry in entries]
        if not self.enabled:
            return f"There is no save file, so nothing is saved of these games: {_listed(names)}"
        games = self._collect(entries)
        saved = [name for name in names if name in games or self._archive.saved_game(name)]
        unsaved = _listed([name for name in names if name not in saved])
        try:
            self._archive.write_from_thread(games, set(self._memory.ended), THREAD_WRITE_TIMEOUT)
        except StorageError as error:
            return (
                "As in the save file before, since nothing could be written "
                f"({one_line(error)}): {_listed(saved)}. Not saved: {unsaved}"
            )
        return f"Saved, as they were at their last saves: {_listed(saved)}. Not saved: {unsaved}"

    def stats(self) -> SaveStats:
        """Return what is saved, and when that was."""
        return SaveStats(
            enabled=self.enabled,
            games=self._archive.game_count,
            ended_games=tuple(self._memory.ended),
            last_saved=self._last_saved,
            last_duration=self._last_duration,
            last_error=self._last_error,
        )


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names)) or "none"


async def _ask_to_save(entry: GameEntry[RoomTask], late: list[str]) -> None:
    try:
        await entry.room.update_save_string()
    except RoomClosed:
        logger.debug("The game %r ended before it was saved", entry.name)
    late.remove(entry.name)

"""``pgnet-trio serve --dev``: the game's files are watched, and loaded again when they change."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import os
import sys
import threading
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from pgnet_trio.author_lines import LIBRARIES
from pgnet_trio.cli.author_code import AuthorCodeError
from pgnet_trio.cli.game_class import load_game_class
from pgnet_trio.cli.process import say
from pgnet_trio.errors import PGNetError, ServerError
from pgnet_trio.foreign_text import one_line

if TYPE_CHECKING:
    from pgnet_trio.game import Game
    from pgnet_trio.server import Server

__all__ = ["GameFiles", "check_development", "reload_on_change"]

logger = logging.getLogger("pgnet_trio.serve")

_NOT_TOGETHER = ("listen_globally", "workers", "cluster")


def check_development(settings: Mapping[str, Any]) -> None:
    """Check that development mode goes together with the other options.

    Raises:
        PGNetError: It does not; the message names the option.
    """
    for name in _NOT_TOGETHER:
        value = settings.get(name)
        if value is not None and value is not False:
            option = name.replace("_", "-")
            raise PGNetError(
                "--dev shows the game's mistakes to its author, on this machine and in one "
                f"process: it does not go together with --{option}"
            )


class GameFiles:
    """The game's class that the command line names, and the files that it comes from.

    Args:
        name: ``MODULE:CLASS`` or ``path/to/file.py:CLASS``.

    Attributes:
        game: The class, as it was loaded last.

    Raises:
        AuthorCodeError: There is no such class, or it cannot be imported.
    """

    def __init__(self, name: str) -> None:
        # What was compiled a moment ago passes for a file of the same size that has changed since.
        sys.dont_write_bytecode = True
        self._name = name
        self.game: type[Game] = load_game_class(name)
        self._folder = _folder_of(name.rpartition(":")[0])
        self._contents = _read(self.paths)

    @property
    def modules(self) -> dict[str, Path]:
        """The files of the author's modules that were imported, by the names of the modules."""
        found = {}
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            if name == "__main__" or not isinstance(file, str) or not file.endswith(".py"):
                continue
            path = os.path.realpath(file)
            if path.startswith(self._folder) and not path.startswith(LIBRARIES):
                found[name] = Path(path)
        return found

    @property
    def paths(self) -> set[Path]:
        """The files of these modules."""
        return set(self.modules.values())

    def has_changed(self) -> bool:
        """Return whether one of the files is another one than when they were last read."""
        before, self._contents = self._contents, _read(self.paths)
        return before != self._contents

    def reload(self) -> type[Game]:
        """Import all of the author's modules anew, and return the class.

        Raises:
            AuthorCodeError: They cannot be imported, or have no such class; those of before stay.
        """
        before = {name: sys.modules[name] for name in self.modules}
        for name in before:
            del sys.modules[name]
        importlib.invalidate_caches()
        try:
            self.game = load_game_class(self._name)
        except BaseException:
            for name in self.modules:
                del sys.modules[name]
            sys.modules.update(before)
            raise
        self._contents = _read(self.paths)
        return self.game


async def reload_on_change(files: GameFiles, server: Server) -> None:
    """Have a server host what the game's files hold, whenever they change, until cancelled.

    Args:
        files: The game's files.
        server: The server, which need not run yet.
    """
    if importlib.util.find_spec("watchfiles") is None:
        say(
            "Development mode: the game's file is not watched, since the package watchfiles is "
            'not installed; pip install "pgnet_trio[reload]" installs it.'
        )
        await trio.sleep_forever()
    if not files.paths:
        say("Development mode: the game is in no file of yours, so nothing is watched.")
        await trio.sleep_forever()
    names = sorted(path.name for path in files.paths)
    say(f"Development mode: watching {', '.join(names)}; mistakes are shown to players.")
    while True:
        paths = files.paths
        async with contextlib.aclosing(_changes(paths)) as changes:
            async for _ in changes:
                if files.has_changed():
                    await _reload(files, server)
                    if files.paths != paths:
                        break


async def _reload(files: GameFiles, server: Server) -> None:
    try:
        game = files.reload()
        reloaded = await server.reload(game)
    except (AuthorCodeError, TypeError) as error:
        logger.error("Not reloaded, and everything goes on as it was: %s", one_line(error, 2000))
        return
    except ServerError as error:
        # It is about to end, or has not begun.
        logger.info("The game's file has changed: %s", one_line(error))
        return
    logger.info(
        "Reloaded %s; of the games that run, %d go on with it, and %d as before",
        one_line(game.__qualname__),
        len(reloaded.moved),
        len(reloaded.kept),
    )
    for name, why in reloaded.kept.items():
        logger.warning(
            "The game %r goes on as it was: %s",
            one_line(name),
            one_line(why),
            extra={"table": name},
        )


async def _changes(paths: set[Path]) -> AsyncGenerator[None, None]:
    """Yield whenever something has happened to one of these files.

    The library waits in a thread. Its own `awatch` would hold up a cancellation for seconds.
    """
    import watchfiles

    stop = threading.Event()

    def concerns(_: watchfiles.Change, path: str) -> bool:
        return Path(os.path.realpath(path)) in paths

    # Folders: editors put another file in the place of the one that was there.
    watcher = watchfiles.watch(
        *{path.parent for path in paths},
        watch_filter=concerns,
        stop_event=stop,
        recursive=False,
        raise_interrupt=False,
    )
    try:
        while True:
            found = await trio.to_thread.run_sync(next, watcher, None, abandon_on_cancel=True)
            if found is None:
                return
            yield
    finally:
        stop.set()


def _folder_of(place: str) -> str:
    """Return the folder that the author's modules are in, with a separator at its end.

    Args:
        place: The file of one of them, or its name.
    """
    file: str | None = place
    if not place.endswith(".py"):
        # Of a package without a file of its own, only the folder of the module.
        top, module = sys.modules[place.partition(".")[0]], sys.modules[place]
        file = getattr(top, "__file__", None) or module.__file__
    assert file is not None
    return os.path.join(os.path.dirname(os.path.realpath(file)), "")


def _read(paths: set[Path]) -> dict[Path, bytes]:
    contents = {}
    for path in paths:
        # Another one may be about to take its place.
        with contextlib.suppress(OSError):
            # To read from anything else may take for ever.
            if path.is_file():
                contents[path] = path.read_bytes()
    return contents

"""The key of a server that nobody but this machine reaches, kept without being asked for.

`pgnet-trio connect` and `load` remember a server's key, and refuse another one. While an author
tries a game, its server starts again and again, and has no save file to keep a key beside.
"""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_data_path

from pgnet_trio.cli.process import say
from pgnet_trio.crypto import KeyPair
from pgnet_trio.errors import StorageError
from pgnet_trio.storage import DamagedKey, keep_key, key_file_of

__all__ = ["keep_local_key"]


def keep_local_key(game: str) -> Path | None:
    """Make sure that there is a key file for a game, and return it.

    It lies beside the game's file, or where the game is named by its module, in this platform's
    folder for data.

    Args:
        game: ``MODULE:CLASS`` or ``path/to/file.py:CLASS``, as on the command line.

    Returns:
        The file; None where it cannot be made, which the user is told.

    Raises:
        DamagedKey: There is such a file, and it holds no key.
    """
    place = game.rpartition(":")[0]
    path = key_file_of(Path(place))
    try:
        if not place.endswith(".py"):
            folder = user_data_path("pgnet-trio", appauthor=False)
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            path = folder / path.name
        keep_key(path, KeyPair.generate(os.urandom))
    except DamagedKey:
        raise
    except (StorageError, OSError) as error:
        say(f"The key of this server is new each time, since it cannot be kept: {error}")
        return None
    return path

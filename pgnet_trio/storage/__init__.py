"""Save files and key files."""

from __future__ import annotations

from pathlib import Path

from pgnet_trio.storage.interface import Changes, SavedGame, SavedState, Store, UserRecord
from pgnet_trio.storage.key_file import load_key

__all__ = ["Changes", "SavedGame", "SavedState", "Store", "UserRecord", "load_key", "open_store"]


def open_store(path: str | Path) -> Store:
    """Choose the store for a save file by its name; nothing is opened yet.

    Args:
        path: The save file: the original's JSON where the name ends in ``.json``, else SQLite.
    """
    path = Path(path)
    if path.suffix.lower() == ".json":
        from pgnet_trio.storage.json_file import JSONStore

        return JSONStore(path)
    from pgnet_trio.storage.sqlite import SQLiteStore

    return SQLiteStore(path)

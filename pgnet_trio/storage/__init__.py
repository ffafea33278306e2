"""Save files: what they hold, and the kinds of them."""

from __future__ import annotations

from pathlib import Path

from pgnet_trio.storage.interface import (
    Changes,
    SavedGame,
    SavedState,
    Store,
    TokenRecord,
    UserRecord,
)
from pgnet_trio.storage.key_file import (
    DamagedKey,
    discard_key,
    keep_key,
    key_file_of,
    read_key,
    replace_key,
)

__all__ = [
    "Changes",
    "DamagedKey",
    "SavedGame",
    "SavedState",
    "Store",
    "TokenRecord",
    "UserRecord",
    "discard_key",
    "keep_key",
    "key_file_of",
    "open_store",
    "read_key",
    "replace_key",
]


def open_store(path: str | Path) -> Store:
    """Choose the kind of a save file by its name.

    Nothing is opened yet; `Store.load` does that.

    Args:
        path: Where to save. A name that ends in ``.json`` is in the format of the original
            PGNet; any other is an SQLite database.

    Returns:
        The store for this file.
    """
    path = Path(path)
    if path.suffix.lower() == ".json":
        from pgnet_trio.storage.json_file import JSONStore

        return JSONStore(path)
    # SQLite takes longer to import than all of this package, and a server without a save file
    # does not need it.
    from pgnet_trio.storage.sqlite import SQLiteStore

    return SQLiteStore(path)

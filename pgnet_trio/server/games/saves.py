"""What of a game goes into its save string on disk: its own, and its options where it has some.

Neither format of save files has a place for options, and both keep their shape: a game without
options is saved just as PGNet would. One with options is saved as JSON with both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["pack", "unpack"]

_OPTIONS = "__pgnet__.options"
_BEGINNING = f'{{"{_OPTIONS}":'


def pack(save_string: str, options: Mapping[str, Any]) -> str:
    """Give what is saved of a game.

    Args:
        save_string: What the game gave.
        options: What it was created with; plain data.
    """
    if not options and not save_string.startswith(_BEGINNING):
        return save_string
    # Not with the codec: an old save string may hold text that is no valid Unicode.
    content = {_OPTIONS: dict(options), "save_string": save_string}
    return json.dumps(content, separators=(",", ":"))


def unpack(data: str) -> tuple[str, dict[str, Any]]:
    """Give the save string and the options of what `pack` gave, or of what PGNet saved."""
    if data.startswith(_BEGINNING):
        try:
            content = json.loads(data)
            save_string, options = content["save_string"], content[_OPTIONS]
        except (ValueError, KeyError):
            return data, {}
        if isinstance(save_string, str) and isinstance(options, dict):
            return save_string, options
    return data, {}

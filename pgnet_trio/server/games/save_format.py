"""What a save file holds of a game.

A save file holds one text for each game. Neither format of save files has a place for a game's
options, or for what is kept of its room, and both keep their shape: a game with neither is saved
just as PGNet would save it. Another is saved as JSON that holds all of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pgnet_trio.server.room.kept import NOTHING_KEPT, Kept, kept_of

__all__ = ["kept_in", "pack", "too_new", "unpack", "version_of"]

_OPTIONS = "__pgnet__.options"
_VERSION = "save_version"
_KEPT = "room"
_BEGINNING = f'{{"{_OPTIONS}":'


def pack(
    save_string: str, options: Mapping[str, Any], kept: Kept = NOTHING_KEPT, version: int = 0
) -> str:
    """Return what the save file holds of a game.

    Args:
        save_string: The game's own save string.
        options: What the game was created with; plain data.
        kept: What its next room is to have.
        version: The `Game.save_version` of its class.
    """
    room = kept.plain()
    if not (options or room or version) and not save_string.startswith(_BEGINNING):
        return save_string
    # Not with the codec: an old save string may hold text that is no valid Unicode.
    content: dict[str, Any] = {_OPTIONS: dict(options), "save_string": save_string}
    if room:
        content[_KEPT] = room
    if version:
        content[_VERSION] = version
    return json.dumps(content, separators=(",", ":"))


def unpack(data: str) -> tuple[str, dict[str, Any]]:
    """Return the save string and the options of what `pack` returned, or PGNet saved."""
    content = _content(data)
    return (data, {}) if content is None else (content["save_string"], content[_OPTIONS])


def kept_in(data: str) -> Kept:
    """Return what is kept of the room, of what `pack` returned, or PGNet saved."""
    content = _content(data)
    return kept_of(None if content is None else content.get(_KEPT))


def version_of(data: str) -> int:
    """Return the `Game.save_version` of the class that has saved what `pack` returned."""
    content = _content(data)
    version = 0 if content is None else content.get(_VERSION, 0)
    return version if type(version) is int else 0


def too_new(name: str, data: str, known: int | None) -> str:
    """Return why a game cannot be loaded, as its class is too old; empty where it can.

    Args:
        name: The game's name.
        data: What the save file holds of it.
        known: The `Game.save_version` of the class here; None where nobody knows.
    """
    version = version_of(data)
    if known is None or version <= known:
        return ""
    return (
        f"The game {name!r} was saved by a newer version of its rules, with save_version "
        f"{version}, and this server knows {known}."
    )


def _content(data: str) -> dict[str, Any] | None:
    """Return what `pack` has put beside a save string; None where the data is one alone."""
    if not data.startswith(_BEGINNING):
        return None
    try:
        content = json.loads(data)
        save_string, options = content["save_string"], content[_OPTIONS]
    except (ValueError, KeyError):
        return None
    return content if isinstance(save_string, str) and isinstance(options, dict) else None

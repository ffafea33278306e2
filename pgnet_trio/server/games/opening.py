"""What a game is opened with: a new one, one from its save, or one that has moved here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from pgnet_trio.server.games.save_format import kept_in, unpack, version_of
from pgnet_trio.server.room.frozen import Thawing
from pgnet_trio.server.room.kept import NOTHING_KEPT, Kept

__all__ = ["Opening", "opening_of"]


@attrs.frozen(kw_only=True)
class Opening:
    """What a game is opened with.

    Attributes:
        name: The game's name.
        password: What joining takes; empty for nothing.
        save_string: What the game was last saved as; None for a new game.
        save_version: The version of that save.
        options: What it is, or was, created with.
        kept: What an earlier room of it had; for a new game, who creates it.
        empty_since: When a saved game's last user left, in seconds since 1970; None for now.
        thawing: What it goes on with that was frozen; None for nothing.
        stays: Whether it goes on while nobody is in it, although it is not persistent.
    """

    name: str
    password: str = attrs.field(default="", repr=False)
    save_string: str | None = attrs.field(default=None, repr=False)
    save_version: int = 0
    options: Mapping[str, Any] = attrs.field(factory=dict)
    kept: Kept = NOTHING_KEPT
    empty_since: int | None = None
    thawing: Thawing | None = None
    stays: bool = False


def opening_of(name: str, password: str, data: str) -> Opening:
    """Return what a game is opened with that was saved.

    Args:
        name: The game's name.
        password: What joining takes.
        data: What the save file holds of it.
    """
    save_string, options = unpack(data)
    return Opening(
        name=name,
        password=password,
        save_string=save_string,
        save_version=version_of(data),
        options=options,
        kept=kept_in(data),
    )

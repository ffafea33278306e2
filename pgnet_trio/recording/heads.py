"""How a recording begins: which game it is of, and what the table had at that moment."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

__all__ = ["FROZEN_VERSION", "VERSION", "Beginning", "Head", "Member", "OpenScript", "encode_head"]

VERSION = 2
"""The version of what is in a file. A reader takes this one, and no newer one."""

FROZEN_VERSION = 1
"""The version of a `FrozenRoom` in a head."""

Beginning: TypeAlias = Literal[
    "new", "saved", "moved", "restarted", "rematch", "reloaded", "snapshot", "cut"
]
"""What the table was when the recording began.

A new game; one from its save; one that had moved here; one that had crashed, and was made again;
the next one of the same people; one that goes on with a changed class; one in the middle of its
life, with the save string of that moment; or one in the middle of which nothing is kept that it
could go on from.
"""


class Member(msgspec.Struct, frozen=True):
    """Who was in the game.

    Attributes:
        username: Who.
        is_spectator: Whether they only watched.
        online: Whether they had a connection.
        number: Their session's number.
        takes_pushes: As of `pgnet_trio.server.room.player.Player`.
        takes_player_lists: The same.
    """

    username: str
    is_spectator: bool
    online: bool
    number: int = 0
    takes_pushes: bool = True
    takes_player_lists: bool = True


class OpenScript(msgspec.Struct, frozen=True):
    """A coroutine of the game that was under way."""

    number: int
    name: str


class Head(msgspec.Struct, kw_only=True):
    """The first thing in a recording.

    Attributes:
        package: The version of pgnet_trio that wrote it.
        python: The version of Python.
        game: How the command line names the class: ``game.py:MyGame``, or ``module:MyGame``.
        class_name: The class's name.
        source: A digest of the file that the class is in; empty where there is none.
        hash_seed: The PYTHONHASHSEED of the process; None where hashes of text were by chance.
        unrepeatable: What the class makes use of that a replay cannot repeat, for people.
        table: The game's name.
        options: What it was created with.
        began_at: When the recording began, as an ISO 8601 time.
        life: Names one life of a table, from when its game was made to its end.
        segment: Which file of that life this is, from 1 on.
        beginning: What the table was.
        turn: How many turns of that life there were before.
        time: The room's time.
        seed: What the game's randomness was made of, for a game that *frozen* is not there for.
        save_string: What the game is made from; None for a new game.
        save_version: The version of that.
        kept: What is saved beside it; see `pgnet_trio.server.room.kept`.
        begun: Whether it had let anybody in.
        is_empty: Whether no user was in the game.
        members: Who was in it.
        frozen: The rest of what the room had; see `pgnet_trio.server.room.frozen`. None for a new
            game, and for one from its save.
        scripts: The coroutines that were under way.
        coroutines: How many coroutines of the game there had been.
        calls: How many saves and reports it had asked for.
        waiting: How many of the records that follow are of turns that waited in the queue.
    """

    package: str
    python: str
    game: str
    class_name: str
    table: str
    began_at: str
    life: str
    beginning: Beginning
    source: str = ""
    hash_seed: str | None = None
    unrepeatable: list[str] = []
    options: dict[str, Any] = {}
    segment: int = 1
    turn: int = 0
    time: float = 0.0
    seed: bytes = b""
    save_string: str | None = None
    save_version: int = 0
    kept: dict[str, Any] = {}
    begun: bool = False
    is_empty: bool = True
    members: list[Member] = []
    frozen: bytes | None = None
    scripts: list[OpenScript] = []
    coroutines: int = 0
    calls: int = 0
    waiting: int = 0


encode_head = msgspec.msgpack.Encoder().encode
"""Returns a head as bytes; raises what msgspec raises."""

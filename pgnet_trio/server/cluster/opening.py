"""Which engine a text stands for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pgnet_trio.server.cluster.base import LEASE
from pgnet_trio.server.cluster.errors import EngineError

if TYPE_CHECKING:
    from pgnet_trio.environment import Environment
    from pgnet_trio.server.cluster.engine import Engine

__all__ = ["is_file", "open_engine", "shown"]

_POSTGRES = ("postgresql://", "postgres://")
_SQLITE = "sqlite:"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")


def open_engine(
    url: str, *, lease: float = LEASE, environment: Environment | None = None
) -> Engine:
    """Return the engine that a text stands for; nothing is opened before it runs.

    Args:
        url: ``postgresql://user:password@host:port/database``, or a save file that the servers of
            one machine share, as ``sqlite:PATH`` or the path alone.
        lease: Seconds of a lease.
        environment: What the engine gets of the outside world.

    Raises:
        EngineError: It stands for none, or what the engine needs is not installed. The message
            shows no password.
    """
    path = is_file(url)
    if path is not None:
        from pgnet_trio.server.cluster.sqlite_engine import SQLiteEngine

        return SQLiteEngine(path, lease=lease, environment=environment)
    try:
        from pgnet_trio.server.cluster.postgres_engine import PostgresEngine
    except ImportError as error:
        raise EngineError(
            f"PostgreSQL takes a library that is not installed ({error.name}): "
            "pip install 'pgnet_trio[postgres]'"
        ) from error
    return PostgresEngine(url, lease=lease, environment=environment)


def is_file(url: str) -> Path | None:
    """Return the save file that a text stands for; None where it is a database.

    Raises:
        EngineError: It is neither.
    """
    if url.startswith(_POSTGRES):
        return None
    text = url.removeprefix(_SQLITE)
    # A letter and a colon is a drive.
    if not text or (text == url and _SCHEME.match(url)):
        scheme = _SCHEME.match(url)
        what = f"one that begins with {scheme[0]!r}" if scheme and text else "an empty text"
        raise EngineError(
            "expected postgresql://user:password@host:port/database, or the path of a save file "
            f"such as sqlite:game.sqlite; got {what}"
        )
    path = Path(text)
    if path.suffix.lower() == ".json":
        raise EngineError(
            "expected a save file of SQLite, which several servers can use, such as game.sqlite; "
            "got one of JSON"
        )
    return path


def shown(url: str) -> str:
    """Return the text as others may see it: without a password, and without options."""
    if not url.startswith(_POSTGRES):
        return url
    try:
        parts = urlsplit(url)
        where = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "postgresql://…"
    return f"postgresql://{where}{parts.path}"

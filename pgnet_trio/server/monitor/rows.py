"""Rows of a table that many look at: what has changed since somebody looked last. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from pgnet_trio.foreign_text import printable

__all__ = ["Rows", "encode_json"]

MOST_GONE = 5_000
"""Rows that are gone and remembered; whoever has not looked for longer gets all rows anew."""


def encode_json(value: Any) -> bytes:
    """Return a value as JSON. Games may show what has no place in it: then as text."""
    try:
        return msgspec.json.encode(value, enc_hook=repr)
    except UnicodeEncodeError:
        # The names of files and tasks may have halves of characters.
        return msgspec.json.encode(_made_fit(msgspec.to_builtins(value, enc_hook=repr)))


def _made_fit(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {_made_fit(key): _made_fit(each) for key, each in value.items()}
    return [_made_fit(each) for each in value] if isinstance(value, list | tuple) else value


class Rows:
    """Rows by name, each encoded once for all who look.

    Attributes:
        version: Goes up whenever something has changed.
    """

    def __init__(self) -> None:
        self.version = 0
        self._rows: dict[str, tuple[Mapping[str, Any], bytes, int]] = {}
        self._gone: deque[tuple[str, int]] = deque(maxlen=MOST_GONE)
        # From which version on all that are gone are remembered.
        self._known_from = 0

    def __len__(self) -> int:
        return len(self._rows)

    def put(self, rows: Mapping[str, Mapping[str, Any]]) -> None:
        """Have these rows, and no others."""
        version, known = self.version + 1, self._rows
        for name, row in rows.items():
            before = known.get(name)
            if before is None or (before[0] is not row and before[0] != row):
                known[name] = row, encode_json(row), version
                self.version = version
        if len(known) == len(rows):
            return
        self.version = version
        for name in known.keys() - rows.keys():
            del known[name]
            if len(self._gone) == MOST_GONE:
                self._known_from = self._gone[0][1]
            self._gone.append((name, version))

    def changes(self, since: int, at_once: int) -> Iterator[bytes]:
        """Yield what has changed as JSON objects, in parts of so many rows.

        The first part of all rows says ``"all": true``: what was known before is not there any
        more. Nothing is yielded where nothing has changed.

        Args:
            since: The version that is known; 0 for none.
            at_once: How many rows go into one part.
        """
        everything = since == 0 or since < self._known_from
        since = 0 if everything else since
        rows = [row for _, row, version in self._rows.values() if version > since]
        gone = [] if everything else [name for name, version in self._gone if version > since]
        gone = [name for name in gone if name not in self._rows]
        if not (everything or rows or gone):
            return
        for start in range(0, max(len(rows), 1), at_once):
            first = b'"all":true,' if everything and not start else b""
            left = encode_json(gone) if not start else b"[]"
            part = b",".join(rows[start : start + at_once])
            yield b'{%b"rows":[%b],"gone":%b}' % (first, part, left)

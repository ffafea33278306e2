"""The latest records of the log, for whoever follows it. Bounded in number and in bytes."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pgnet_trio.foreign_text import printable
from pgnet_trio.server.log_fields import FIELDS, LogFields
from pgnet_trio.server.monitor.rows import encode_json

__all__ = ["LogRing"]

MOST_RECORDS = 2_000
MOST_BYTES = 2 * 1024 * 1024

LONGEST = 16_000
"""Characters of one record, its traceback included."""

_FORMATTER = logging.Formatter()


class LogRing(logging.Handler):
    """Keeps the latest records of all loggers, from whatever thread they come.

    Attributes:
        last: The number of the latest record; 0 for none.
    """

    def __init__(self) -> None:
        super().__init__()
        self.addFilter(LogFields())
        self.last = 0
        self._records: deque[tuple[int, int, bytes]] = deque()
        self._size = 0

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Keep what is logged during the block."""
        root = logging.getLogger()
        root.addHandler(self)
        try:
            yield
        finally:
            root.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record; called with the handler's lock held."""
        try:
            entry = self._entry(record)
        except Exception:
            self.handleError(record)
            return
        self._records.append((self.last, record.levelno, entry))
        self._size += len(entry)
        while len(self._records) > MOST_RECORDS or self._size > MOST_BYTES:
            self._size -= len(self._records.popleft()[2])

    def since(self, number: int, level: int, most: int) -> tuple[int, list[bytes]]:
        """Return the records after one, as JSON objects.

        Args:
            number: The number of the one before; 0 for all that are kept.
            level: The lowest level of those that are returned.
            most: How many at most: the latest.

        Returns:
            The number of the latest record that was looked at, and the records.
        """
        self.acquire()
        try:
            found = [
                entry for at, levelno, entry in self._records if at > number and levelno >= level
            ]
            return self.last, found[-most:]
        finally:
            self.release()

    def _entry(self, record: logging.LogRecord) -> bytes:
        text = record.getMessage()
        if record.exc_info and not record.exc_text:
            record.exc_text = _FORMATTER.formatException(record.exc_info)
        self.last += 1
        entry: dict[str, Any] = {
            "number": self.last,
            "time": record.created,
            "level": record.levelname,
            "logger": record.name,
            "text": printable(text)[:LONGEST],
        }
        more = record.exc_text or record.stack_info
        if more:
            entry["traceback"] = printable(more)[-LONGEST:]
        for name in FIELDS:
            value = getattr(record, name, None)
            if value:
                entry[name] = printable(str(value))[:200]
        return encode_json(entry)

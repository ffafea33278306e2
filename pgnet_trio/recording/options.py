"""Where a server records its tables, and how much of them it keeps."""

from __future__ import annotations

from pathlib import Path

import attrs

__all__ = ["Recording"]

LEAST_TABLE = 64 * 1024
"""Bytes; of a table that has less than that to itself, hardly a minute would be left."""


def _as_path(value: object) -> Path:
    if isinstance(value, str | Path) and str(value):
        return Path(value)
    raise TypeError(f"Recording: expected the path of a folder, got {value!r}.")


def _check_table_bytes(_: object, __: object, value: object) -> None:
    if type(value) is not int or value < LEAST_TABLE:
        raise ValueError(
            f"Recording.table_bytes: expected a whole number of at least {LEAST_TABLE:,} bytes, "
            f"got {value!r}."
        )


@attrs.frozen
class Recording:
    """Has a server record its tables; see ``Server(record=Recording("recordings"))``.

    A recording has all that came into a table: who joined and left, each message and answer with
    its content, what was chatted, and the fields of saves that no player sees. It is personal data.
    The folder and its files are for the user alone that the server runs as.

    Args:
        folder: Where the recordings lie; it is made if it is not there.
        table_bytes: How much of one table is kept; of one that has more, the latest.
        total_bytes: How much is kept of all tables together; the oldest goes first, and what
            crashed goes last.

    Raises:
        TypeError: The folder is no path.
        ValueError: A number of bytes makes no sense.
    """

    folder: Path = attrs.field(converter=_as_path)
    table_bytes: int = attrs.field(default=8 * 1024 * 1024, validator=_check_table_bytes)
    total_bytes: int = attrs.field(default=1024 * 1024 * 1024)

    @total_bytes.validator
    def _check_total_bytes(self, _: object, value: object) -> None:
        if type(value) is not int or value < self.table_bytes:
            raise ValueError(
                "Recording.total_bytes: expected a whole number of bytes, at least as many as "
                f"table_bytes ({self.table_bytes:,}), got {value!r}."
            )

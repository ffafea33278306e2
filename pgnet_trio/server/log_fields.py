"""Whom an entry of the log is about: its user, its table, its connection, as fields of the record.

Tasks carry them in their context, so that whoever logs need not know. Put a `LogFields` on a
handler to have them on the records that it writes.
"""

from __future__ import annotations

import itertools
import logging
from contextvars import ContextVar

from pgnet_trio.server.watchdog import game_of_task

__all__ = [
    "FIELDS",
    "LogFields",
    "belong_to_table",
    "connection_of_task",
    "new_connection",
    "user_of_task",
]

user_of_task: ContextVar[str] = ContextVar("user_of_task", default="")
"""The user whose connection, or session, a task belongs to."""

connection_of_task: ContextVar[int] = ContextVar("connection_of_task", default=0)
"""The number of the connection that a task belongs to, from 1 on; 0 for none."""

FIELDS = ("user", "table", "connection", "error_id")
"""The attributes of a record; each is empty, or 0, where it is about none."""

_numbers = itertools.count(1)


def new_connection() -> int:
    """Give the task's connection a number that no other of this process has, and return it."""
    number = next(_numbers)
    connection_of_task.set(number)
    return number


def belong_to_table(name: str) -> None:
    """Say that the task is a table's, and no user's, though one has it started."""
    game_of_task.set(name)
    user_of_task.set("")
    connection_of_task.set(0)


class LogFields(logging.Filter):
    """Gives each record the fields of the task that logs; what it has already stays."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record through."""
        found = {
            "user": user_of_task.get(),
            "table": game_of_task.get(""),
            "connection": connection_of_task.get(),
            "error_id": "",
        }
        for name, value in found.items():
            if not hasattr(record, name):
                setattr(record, name, value)
        return True

"""What Linux says of a process: its CPU time and its memory."""

from __future__ import annotations

import os
from pathlib import Path

import attrs

__all__ = ["CPUTime", "cpu_time", "resident_memory"]

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")


@attrs.frozen
class CPUTime:
    """CPU time of a process in seconds; what the kernel did for it apart."""

    user: float
    system: float

    def __sub__(self, earlier: CPUTime) -> CPUTime:
        return CPUTime(self.user - earlier.user, self.system - earlier.system)


def cpu_time(process: int) -> CPUTime:
    """The CPU time that a process has had until now, all of its threads together."""
    text = Path(f"/proc/{process}/stat").read_text("ascii")
    # The program's name, in parentheses, may hold spaces.
    fields = text.rpartition(")")[2].split()
    return CPUTime(int(fields[11]) / _TICKS_PER_SECOND, int(fields[12]) / _TICKS_PER_SECOND)


def resident_memory(process: int) -> int:
    """The bytes of memory that a process holds."""
    return int(Path(f"/proc/{process}/statm").read_text("ascii").split()[1]) * _PAGE_SIZE

"""How much memory a process may still take, as far as the system says."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

__all__ = ["free_memory"]


def free_memory(root: Path = Path("/")) -> int | None:
    """Return the bytes that are left of the cgroups' limits, or of the machine's memory if less.

    What the system would give back by itself, such as files that it has read, counts as left.

    Args:
        root: Where the file systems of the system are; another folder in tests.

    Returns:
        The bytes; None where the system does not say.
    """
    found = [*_left_in_cgroups(root), *_available(root)]
    return min(found) if found else None


def _available(root: Path) -> list[int]:
    for line in _lines(root / "proc/meminfo"):
        name, _, rest = line.partition(":")
        if name == "MemAvailable":
            return [number * 1024 for number in _numbers(rest.split()[:1])]
    return []


def _left_in_cgroups(root: Path) -> list[int]:
    left = []
    for line in _lines(root / "proc/self/cgroup"):
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            # Version 2. Where both are there, this one may have no memory in it.
            top = root / "sys/fs/cgroup"
            names = ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            top = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        # The limits of those around hold too. In a container the path may be that outside of it.
        inner = PurePosixPath(path.lstrip("/"))
        for folder in (inner, *inner.parents) if path != "/" else (PurePosixPath(),):
            if ".." not in folder.parts:
                left += _left(top / folder, *names)
    return left


def _left(folder: Path, limit: str, used: str, given_back: str) -> list[int]:
    most, now = _numbers(_lines(folder / limit)), _numbers(_lines(folder / used))
    if not most or not now:
        # There is no limit ("max"), or no such folder.
        return []
    spare = [
        int(line.split()[1])
        for line in _lines(folder / "memory.stat")
        if line.split()[:1] == [given_back] and _numbers(line.split()[1:])
    ]
    return [max(0, most[0] - max(0, now[0] - sum(spare)))]


def _numbers(texts: list[str]) -> list[int]:
    return [int(text) for text in texts[:1] if text.isdecimal()]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("ascii", "replace").splitlines()
    except OSError:
        return []

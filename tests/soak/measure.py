"""What `tests.soak` measures, and how it tells growth from noise."""

from __future__ import annotations

import gc
import logging
import os
import statistics
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

__all__ = ["Complaints", "census", "growing", "process_figures", "rise"]

MAX_COMPLAINTS = 50


class Complaints(logging.Handler):
    """Keeps what is logged as a warning or worse; what a game raised as planned is only counted.

    Args:
        planned: What games raise because they are told to.
    """

    def __init__(self, planned: type[BaseException]) -> None:
        super().__init__(logging.WARNING)
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        self.planned_count = 0
        self._planned = planned
        self._harmless = (
            # The server tells the same cause once a minute, and counts the rest.
            f"{planned.__name__} at ",
            # Said once: most games of a soak are not persistent, and that is as wanted.
            "is not in the save file",
            # What a client says whose connection a soak cuts.
            "of `send` were sent",
            # A busy machine is no fault of the server's.
            "updates were skipped",
        )
        self._texts: list[str] = []

    def install(self, *, alone: bool = False) -> None:
        """Hear of everything that is logged in this process.

        Args:
            alone: Whether nobody else hears of what the library logs. Who keeps a record keeps
                its exception too, and with it all that its frames saw.
        """
        logging.getLogger().addHandler(self)
        if alone:
            logging.getLogger("pgnet_trio").addHandler(self)
            logging.getLogger("pgnet_trio").propagate = False

    def remove(self) -> None:
        """Hear of nothing more."""
        logging.getLogger().removeHandler(self)
        logging.getLogger("pgnet_trio").removeHandler(self)
        logging.getLogger("pgnet_trio").propagate = True

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        text = record.getMessage()
        if isinstance(error, self._planned):
            self.planned_count += 1
        elif any(harmless in text for harmless in self._harmless):
            return
        elif len(self._texts) < MAX_COMPLAINTS:
            self._texts.append(self.format(record))

    def take(self) -> list[str]:
        """Return the complaints since the last call."""
        texts, self._texts = self._texts, []
        return texts


def process_figures(files: Iterable[str] = ()) -> dict[str, float]:
    """What this process holds; only the size of the files where there is no /proc."""
    figures: dict[str, float] = {
        "allocated_blocks": sys.getallocatedblocks(),
        "file_bytes": sum(os.stat(name).st_size for name in files if Path(name).exists()),
    }
    try:
        status = Path("/proc/self/statm").read_text("ascii")
        figures["resident_bytes"] = int(status.split()[1]) * os.sysconf("SC_PAGE_SIZE")
        names = os.listdir("/proc/self/fd")
    except OSError:
        return figures
    sockets = 0
    for name in names:
        try:
            sockets += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
        except OSError:
            # The one that the directory was listed with.
            continue
    figures["open_files"] = len(names)
    figures["sockets"] = sockets
    return figures


def census() -> dict[str, int]:
    """How many objects of each type the garbage collector knows, after a collection."""
    gc.collect()
    counts = Counter(type(each) for each in gc.get_objects())
    return {f"{kind.__module__}.{kind.__qualname__}": n for kind, n in counts.items() if n >= 10}


def rise(values: Sequence[float], *, share: float) -> float:
    """By how much of itself a measure grew in the second half; 0.0 where that is within noise.

    Compared are the medians of the third and the fourth quarter.

    Args:
        values: In the order of time.
        share: What is within noise.
    """
    quarter = len(values) // 4
    if not quarter:
        return 0.0
    third = statistics.median(values[2 * quarter : 3 * quarter])
    fourth = statistics.median(values[3 * quarter :])
    growth = fourth / third - 1 if third else float(fourth > 0)
    return growth if growth > share else 0.0


def growing(
    records: Sequence[Mapping[str, float]], *, least: float, share: float
) -> dict[str, list[float]]:
    """Find what grows all the time, of measures that were taken when nothing was going on.

    Something that leaks has always more in the last third than it ever had in the first, and at
    least about half of that growth comes in the second half. The first record is left out: what
    is made once is there only after it.

    Args:
        records: Measures by name, in the order of time.
        least: A growth up to this is noise.
        share: And so is one up to this share.

    Returns:
        What grew, with its values.
    """
    steady = records[1:]
    third = len(steady) // 3
    if third < 1:
        return {}
    found = {}
    for name in {name for record in steady for name in record}:
        values = [record.get(name, 0) for record in steady]
        before, after = max(values[:third]), min(values[-third:])
        middle = values[len(values) // 2]
        growth = after - before
        late = values[-1] - middle
        if growth > max(least, share * before) and late > 0.25 * growth:
            found[name] = values
    return found

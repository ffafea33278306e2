"""How long a program waits for `import pgnet_trio`."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Callable

from tests.benchmarks.report import Report, Verdict

__all__ = ["import_time"]

PROGRAM = """
import time
start = time.perf_counter()
import trio
between = time.perf_counter()
import pgnet_trio
print(between - start, time.perf_counter() - between)
"""


def import_time(*, rounds: int, progress: Callable[[str], None]) -> Report:
    """Measure `import pgnet_trio` after `import trio`, in fresh processes."""

    def run() -> list[float]:
        output = subprocess.run(
            [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True, check=True
        ).stdout
        return [float(number) for number in output.split()]

    progress(f"{rounds} imports")
    # The first one may compile.
    run()
    measured = [run() for _ in range(rounds)]
    trios, ours = (statistics.median(times) * 1e3 for times in zip(*measured, strict=True))
    return Report(
        title="`import pgnet_trio`",
        command=f"python -m tests.benchmarks import --rounds {rounds}",
        head=["import", "ms"],
        rows=[["trio", f"{trios:.0f}"], ["pgnet_trio beyond trio", f"{ours:.0f}"]],
        notes=[f"Medians of {rounds} fresh processes, compiled files in the cache."],
        measured=measured,
        verdicts=[Verdict("`import pgnet_trio` beyond `import trio`", 150, ours, "ms")],
    )

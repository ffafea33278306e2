"""The server of this tree beside that of an earlier revision: is anything slower than it was?

Machines are busy now and idle then, so a number of yesterday says little about one of today. Both
servers are therefore measured in turn, each in processes of its own, and only neighbours are
divided. The load is that of this tree for both, so that nothing but the servers differs.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import attrs

from tests.benchmarks.processes import ROOT, SERVER_TREE
from tests.benchmarks.report import Report

__all__ = ["BENCHMARKS", "Comparable", "checkout", "compare", "measure_tree", "median_interval"]

COVERAGE = 0.95
"""How often, at least, an interval is to hold what the median would be after endless pairs."""

TIMEOUT = 600.0
"""Seconds after which a benchmark that does not end is given up."""

_LONGEST_ERRORS = 4000
"""Characters of what a benchmark says on standard error that are told, where it fails."""


@attrs.frozen
class Comparable:
    """A benchmark that is short enough to be run again and again.

    Attributes:
        options: Those of its command line.
        figures: Finds in its measurements what is to be compared, by name. Less is better.
        timed: Whether it takes ``--seconds``.
    """

    options: str
    figures: Callable[[Any], dict[str, float]]
    timed: bool = True


def _roundtrip(measured: Any) -> dict[str, float]:
    return {
        f"CPU of a request, {each['server']}, {each['in_flight']} in flight": (
            each["rounds"][0]["user"] + each["rounds"][0]["system"]
        )
        for each in measured
    }


def _push(measured: Any) -> dict[str, float]:
    return {
        f"CPU of a push, {each['transport']}": (
            each["rounds"][0]["cpu_seconds"] / each["rounds"][0]["count"]
        )
        for each in measured["push"]
    }


def _sync(measured: Any) -> dict[str, float]:
    return {
        f"{what} of `sync`, {each['system']}": each["rounds"][0][key]
        for each in measured
        if each["system"].startswith("pgnet_trio")
        for what, key in (("CPU", "cpu_seconds"), ("bytes", "bytes_per_client_second"))
    }


def _reconnect(measured: Any) -> dict[str, float]:
    return {
        f"CPU of a {what}, {each['transport']}": each[key]["cpu"]
        for each in measured
        for what, key in (("handshake", "handshake"), ("return", "resume"), ("mass return", "mass"))
    }


def _idle(measured: Any) -> dict[str, float]:
    return {
        f"memory of a connection, {each['transport']}, protocol {each['protocol']}": each[
            "per_connection"
        ]
        for each in measured
    }


BENCHMARKS: Mapping[str, Comparable] = {
    "roundtrip": Comparable(
        "--rounds 1 --clients 32 --in-flight 1 16 --servers pgnet-websockets pgnet2-websockets",
        _roundtrip,
    ),
    "push": Comparable("--rounds 1 --recipients 100", _push),
    "sync": Comparable("--rounds 1 --players 100", _sync),
    "reconnect": Comparable("--rounds 1 --connections 500 --clients 500", _reconnect, timed=False),
    "idle": Comparable("--connections 500", _idle, timed=False),
}


def _git(repository: Path, *arguments: str) -> bytes:
    run = subprocess.run(["git", *arguments], cwd=repository, capture_output=True, check=False)
    if run.returncode:
        raise RuntimeError(run.stderr.decode(errors="replace").strip())
    return run.stdout


def checkout(repository: Path, revision: str, folder: Path | None = None) -> Path:
    """Lay out a revision of a repository, or find it where that was done before.

    Args:
        repository: The repository.
        revision: A commit, branch or tag of it.
        folder: Where to put it; by default a folder for temporary files that is this user's own.

    Raises:
        RuntimeError: There is no such revision, or the folder for it belongs to somebody else.
    """
    name = ["--verify", "--end-of-options", f"{revision}^{{commit}}"]
    try:
        commit = _git(repository, "rev-parse", *name).decode().split()[-1]
    except RuntimeError as error:
        raise RuntimeError(
            f"expected a commit, branch or tag of {repository}, got {revision!r}"
        ) from error
    if folder is None:
        folder = Path(tempfile.gettempdir()) / f"pgnet-benchmarks-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    # What lies here is run: nobody else may have put it there.
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise RuntimeError(f"{folder} belongs to somebody else; set TMPDIR to another folder")
    tree = folder / commit
    if not tree.exists():
        with tempfile.TemporaryDirectory(dir=folder) as unfinished:
            with tarfile.open(fileobj=BytesIO(_git(repository, "archive", commit))) as archive:
                archive.extractall(Path(unfinished) / "tree", filter="data")
            (Path(unfinished) / "tree").rename(tree)
    return tree


def _run(folder: Path, tree: Path, *arguments: str) -> str:
    """Run Python in a folder, with the servers of a tree."""
    with subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, SERVER_TREE: str(tree)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, errors = process.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            raise RuntimeError(
                f"{' '.join(arguments)} in {tree} did not end within {TIMEOUT:g} s"
            ) from None
        finally:
            # With it go the servers that it has started, if it could not end them itself.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        # What a server had to say comes first, what its benchmark made of that last.
        if len(errors) > _LONGEST_ERRORS:
            half = _LONGEST_ERRORS // 2
            errors = f"{errors[:half]}\n[…]\n{errors[-half:]}"
        raise RuntimeError(f"{' '.join(arguments)} in {tree} failed:\n{errors}")
    return output


def measure_tree(tree: Path, name: str, seconds: float) -> dict[str, float]:
    """Run one of `BENCHMARKS` with the servers of a tree.

    Raises:
        RuntimeError: It failed, or would have measured another tree.
    """
    benchmark = BENCHMARKS[name]
    program = "import pgnet_trio; print(pgnet_trio.__file__)"
    package = Path(_run(tree, tree, "-c", program).strip())
    if not package.resolve().is_relative_to(tree.resolve()):
        raise RuntimeError(f"{tree}: expected its own package, got that of {package.parent}")
    with tempfile.TemporaryDirectory() as folder:
        numbers = Path(folder) / "numbers.json"
        timing = ["--seconds", f"{seconds:g}"] if benchmark.timed else []
        options = [*benchmark.options.split(), *timing, "--json", str(numbers)]
        _run(ROOT, tree, "-m", "tests.benchmarks", name, *options)
        (report,) = json.loads(numbers.read_text("utf-8"))["reports"]
    return benchmark.figures(report["measured"])


def median_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Find between which two of some values the median lies, whatever their distribution.

    Returns:
        The two values, and how often such an interval holds the median: `COVERAGE` or more where
        there are six values or more; else the lowest and the highest of them.
    """
    ordered = sorted(values)
    count = len(ordered)
    outside = 0
    covered = 1 - 2 / 2**count
    cut = 0
    # Of `count` values, `cut` or fewer lie below the median as often as coins show heads.
    while cut < (count - 1) // 2:
        outside += math.comb(count, cut)
        wider = 1 - 2 * (outside + math.comb(count, cut + 1)) / 2**count
        if wider < COVERAGE:
            break
        covered = wider
        cut += 1
    return ordered[cut], ordered[count - 1 - cut], covered


def _judgement(ratios: Sequence[float], tolerance: float) -> str:
    low, high, covered = median_interval(ratios)
    if covered < COVERAGE:
        return "too few pairs"
    if low > 1 + tolerance:
        return "slower"
    return "within" if high <= 1 + tolerance else "not certain"


def compare(
    revision: str,
    *,
    benchmarks: Sequence[str],
    pairs: int,
    seconds: float,
    tolerance: float,
    progress: Callable[[str], None],
    measure: Callable[[Path, str, float], dict[str, float]] = measure_tree,
    trees: tuple[Path, Path] | None = None,
) -> Report:
    """Measure an earlier revision and this tree in turn.

    Args:
        revision: What this tree is compared with.
        benchmarks: Names in `BENCHMARKS`.
        pairs: How often each is measured in both trees.
        seconds: How long each measurement takes, of those that are timed.
        tolerance: Which part more is no loss: 0.03 for 3 %.
        progress: Called with a line of text before each measurement.
        measure: Measures a tree.
        trees: The earlier tree and this one, where they are there already.
    """
    old_tree, new_tree = trees or (checkout(ROOT, revision), ROOT)
    found: dict[str, list[tuple[float, float]]] = {}
    for name in benchmarks:
        for number in range(pairs):
            both: dict[Path, dict[str, float]] = {}
            # Whoever comes second may find the machine warmer, so each is second half the time.
            for tree in (old_tree, new_tree) if number % 2 == 0 else (new_tree, old_tree):
                which = revision if tree is old_tree else "this tree"
                progress(f"pair {number + 1} of {pairs}: {name}, {which}")
                both[tree] = measure(tree, name, seconds)
            old, new = both[old_tree], both[new_tree]
            for figure in old:
                # A figure that one of them does not have is not compared.
                if figure in new:
                    found.setdefault(figure, []).append((old[figure], new[figure]))
    rows, judgements = [], {}
    for figure, values in found.items():
        ratios = [new / old for old, new in values]
        low, high, _ = median_interval(ratios)
        judgements[figure] = _judgement(ratios, tolerance)
        rows.append(
            [
                figure,
                f"{statistics.median(old for old, _ in values):.4g}",
                f"{statistics.median(new for _, new in values):.4g}",
                f"{statistics.median(ratios):.3f}",
                f"{low:.3f} to {high:.3f}",
                judgements[figure],
            ]
        )
    covered = median_interval([0.0] * pairs)[2]
    return Report(
        title=f"This tree beside {revision}",
        command=f"python -m tests.benchmarks compare {revision} {' '.join(benchmarks)} "
        f"--pairs {pairs} --seconds {seconds:g} --tolerance {tolerance * 100:g}",
        head=["what", "before", "now", "ratio", "interval", f"at most {tolerance * 100:g} % more"],
        rows=rows,
        notes=[
            f"CPU in seconds, memory in bytes, `sync` for a measurement of {seconds:g} s. Both "
            f"trees were measured in turn, {pairs} times each. `ratio` is the median of the ratios "
            f"of neighbours, and its interval holds the true median in {covered * 100:.0f} % of "
            "such comparisons. Where that is not certain, more pairs tell."
        ],
        measured=[
            {"figure": figure, "pairs": values, "judgement": judgements[figure]}
            for figure, values in found.items()
        ],
    )

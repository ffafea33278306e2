"""Lead a cluster through chaos for half an hour, and look whether anything is lost, twice or stuck.

`python -m tests.cluster_chaos --minutes 30 --engine postgres --seed 1` runs four nodes as processes
over loopback, behind proxies, with players who count. Nodes are killed, stopped for shorter and
longer than their lease, drained, and cut off; so are clients; the engine is restarted or held up.
In the end every player has to be back, every account there, and every game has to have what was
answered, once. What a node had answered and not saved when it died is counted and named.

The exit status is 0 when nothing was wrong. Ctrl-C and SIGTERM leave no process behind.
"""

from __future__ import annotations

import argparse
import functools
import json
import secrets
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import attrs
import trio

from tests.cluster import postgres
from tests.cluster_chaos.chaos import LEASE, NODES, PLAYERS, Outcome, chaos
from tests.cluster_chaos.processes import ENGINES

__all__ = ["main"]

MOST_MINUTES = 24 * 60
MOST_PLAYERS = 500
MOST_DRAINS = 10_000
SHOWN = 12


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.cluster_chaos", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--minutes", type=float, default=30.0, help="(%(default)g)")
    parser.add_argument("--engine", choices=ENGINES, default="sqlite", help="(%(default)s)")
    parser.add_argument("--seed", type=int, help="(another one each time)")
    parser.add_argument("--players", type=int, default=PLAYERS, help="(%(default)s)")
    parser.add_argument("--nodes", type=int, choices=(3, 4), default=NODES, help="(%(default)s)")
    parser.add_argument(
        "--drains", type=int, default=0, help="drain nodes so often, one at a time, and do no more"
    )
    parser.add_argument("--lease", type=float, default=LEASE, help="in seconds (%(default)g)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what came of it there too")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="an empty folder for the logs")
    found = parser.parse_args(arguments)
    if not 0 < found.minutes <= MOST_MINUTES:
        parser.error(f"--minutes: expected more than 0 and at most {MOST_MINUTES}")
    if not 0 <= found.drains <= MOST_DRAINS:
        parser.error(f"--drains: expected 0 to {MOST_DRAINS}")
    if not 2 <= found.players <= MOST_PLAYERS:
        parser.error(f"--players: expected 2 to {MOST_PLAYERS}")
    if not 1 <= found.lease <= 60:
        parser.error("--lease: expected 1 to 60")
    if found.engine == "postgres" and postgres.missing():
        parser.error(postgres.missing())
    if found.seed is None:
        found.seed = secrets.randbelow(10**6)
    return found


async def _run(options: argparse.Namespace, folder: Path) -> Outcome | None:
    """Do it, unless a signal comes first."""
    outcome: Outcome | None = None
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def obey() -> None:
                async for _ in signals:
                    nursery.cancel_scope.cancel()

            nursery.start_soon(obey)
            outcome = await chaos(
                folder,
                engine=options.engine,
                seconds=60 * options.minutes,
                seed=options.seed,
                players=options.players,
                nodes=options.nodes,
                lease=options.lease,
                plan=["drain"] * options.drains,
                progress=functools.partial(print, file=sys.stderr, flush=True),
            )
            nursery.cancel_scope.cancel()
    return outcome


def report(outcome: Outcome) -> str:
    """Return what to print of a run."""
    lines = [f"seed {outcome.seed}, {outcome.engine}, {outcome.seconds:.0f} s"]
    lines += [f"  {count:>8,} {what}" for what, count in outcome.counts.items()]
    lines += [f"  {seconds:>8.2f} s at most: {what}" for what, seconds in outcome.longest.items()]
    if outcome.losses:
        causes = ", ".join(f"{count} {cause}" for cause, count in outcome.lost_by.items())
        lines.append(f"  answered and not saved by a node in trouble: {causes}")
        lines += [f"    {loss}" for loss in outcome.losses[:SHOWN]]
    lines.append("  nodes said:")
    lines += [f"  {count:>8,} {text}" for text, count in list(outcome.said.items())[:SHOWN]]
    lines += [f"  TRACEBACK {text}" for text in outcome.tracebacks]
    lines += [f"  PROBLEM {problem}" for problem in outcome.problems]
    lines.append(
        "  " + (f"{len(outcome.problems)} PROBLEMS" if outcome.problems else "all is well")
    )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do as the command line says; return the exit status."""
    options = parse(arguments)
    with tempfile.TemporaryDirectory(prefix="chaos-") as temporary:
        folder = Path(temporary)
        if options.keep is not None:
            folder = options.keep
            folder.mkdir(parents=True, exist_ok=True)
        outcome = trio.run(_run, options, folder)
    if outcome is None:
        print("interrupted", file=sys.stderr)
        return 1
    print(report(outcome))
    if options.json is not None:
        options.json.write_text(json.dumps(attrs.asdict(outcome), indent=1))
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    sys.exit(main())

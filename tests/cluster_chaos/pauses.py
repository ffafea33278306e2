"""Stop a node for longer than its lease, again and again: never do two answer for one room.

`python -m tests.cluster_chaos.pauses --pauses 100 --engine postgres` runs two nodes as processes.
Players count at one table. The node that has it is stopped, and somebody asks the other one until
that answers for the table. Then the first one goes on with what it had in its hands. Whatever it
says from then on as the owner of the table is an answer too many.
"""

from __future__ import annotations

import argparse
import functools
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import attrs
import trio

from pgnet_trio import Client, RequestFailed, SessionLost
from tests.cluster import postgres
from tests.cluster_chaos.game import Count, Counted
from tests.cluster_chaos.processes import ENGINES, Node, open_engine
from tests.soak.proxy import FaultyProxy

__all__ = ["Pauses", "Told", "pause_again_and_again"]

TABLE = "table"
NAMES = ("a", "b")
PLAYERS = 4
PACE = 0.02
PATIENCE = 60.0
"""Seconds until somebody has to answer for the table, on a busy machine."""

AFTERWARDS = 0.5
"""Seconds for which a node is watched that goes on."""


@attrs.frozen
class Told:
    """An answer, and when it came."""

    counted: Counted
    received: float


@attrs.define
class Pauses:
    """What came of it.

    Attributes:
        pauses: How often a node was stopped.
        answers: How many answers there were.
        shortest: The shortest pause, in seconds.
        longest_gap: The longest time in which nobody answered for the table, in seconds.
        in_flight: How many answers were written only when a node went on, which it had given
            before it was stopped: it was stopped between the look at its lease and the write.
        problems: What was wrong.
    """

    lease: float
    pauses: int = 0
    answers: int = 0
    shortest: float = float("inf")
    longest_gap: float = 0.0
    in_flight: int = 0
    problems: list[str] = attrs.field(factory=list)


def too_late(answers: list[Told], went_on: float) -> list[Told]:
    """Return which answers came after a node went on, and are of an older epoch than another.

    Args:
        answers: All of them, in any order.
        went_on: When a node went on after a pause in which another one took the room.
    """
    newest = max((each.counted.epoch for each in answers if each.received <= went_on), default=0)
    return [each for each in answers if each.received > went_on and each.counted.epoch < newest]


async def count_for_ever(client: Client, answers: list[Told]) -> None:
    """Count, join again whenever it takes that, and keep the answers."""
    serial = 0
    async with client:
        while True:
            try:
                if client.game is None:
                    await client.join_game(TABLE)
                serial += 1
                counted = await client.call(Count(serial), Counted)
                answers.append(Told(counted, time.monotonic()))
            except (SessionLost, RequestFailed):
                pass
            await trio.sleep(PACE)


async def pause_again_and_again(
    folder: Path,
    *,
    engine: str,
    pauses: int,
    lease: float = 2.0,
    progress: Callable[[str], None] = lambda _: None,
) -> Pauses:
    """Stop the node that has the table, so many times.

    Args:
        folder: An empty folder to work in.
        engine: One of `ENGINES`.
        pauses: How often.
        lease: Seconds of a lease.
        progress: Called with a line of text after each pause.
    """
    found = Pauses(lease)
    answers: list[Told] = []
    async with AsyncExitStack() as stack:
        shared = await stack.enter_async_context(open_engine(engine, folder, list(NAMES), "1"))
        nursery = await stack.enter_async_context(trio.open_nursery())
        nodes: dict[str, Node] = {}
        for name in NAMES:
            proxy = FaultyProxy(name)
            await nursery.start(proxy.run)
            nodes[name] = Node(name, proxy, shared, folder, lease)
            stack.push_async_callback(nodes[name].aclose)
            await nodes[name].start(PATIENCE)
        for number in range(PLAYERS):
            addresses = [node.address for node in nodes.values()]
            client = Client.remote(
                address=",".join(addresses), username=f"player{number}", reconnect_for=None
            )
            nursery.start_soon(count_for_ever, client, answers)
        for _ in range(pauses):
            await _pause_once(nodes, answers, found)
            progress(
                f"{found.pauses} pauses, {found.answers} answers, {len(found.problems)} problems"
            )
            if found.problems:
                break
        nursery.cancel_scope.cancel()
    return found


async def _pause_once(nodes: dict[str, Node], answers: list[Told], found: Pauses) -> None:
    """Stop whoever has the table until the other one answers, and watch it go on."""
    answers.clear()
    with trio.fail_after(PATIENCE):
        while not answers:  # noqa: ASYNC110 - answers come all the time
            await trio.sleep(PACE)
    owner = answers[-1].counted.place.partition(".")[0]
    # Until the other node may take rooms: not before an engine has been up for a lease.
    await trio.sleep(found.lease / 2)
    start = time.monotonic()
    await nodes[owner].stop(PATIENCE)
    stopped = time.monotonic()
    (other,) = [node for name, node in nodes.items() if name != owner]
    try:
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                # Whoever plays at the one that is stopped finds out about it only later.
                visitor = Client.remote(
                    address=other.address, username="visitor", reconnect_for=None
                )
                nursery.start_soon(count_for_ever, visitor, answers)
                while not any(  # noqa: ASYNC110 - the same
                    _is_of_other(each, owner) for each in answers
                ):
                    await trio.sleep(PACE / 2)
                await trio.sleep(max(0.0, stopped + found.lease - time.monotonic()))
                nursery.cancel_scope.cancel()
    except trio.TooSlowError:
        found.problems.append(f"nobody answered for the table within {PATIENCE:g} s")
    finally:
        went_on = time.monotonic()
        nodes[owner].go_on()
    await trio.sleep(AFTERWARDS)
    others = [each.received for each in answers if _is_of_other(each, owner)]
    found.pauses += 1
    found.answers += len(answers)
    found.shortest = min(found.shortest, went_on - stopped)
    found.longest_gap = max(found.longest_gap, min(others, default=start) - start)
    late = too_late(answers, went_on)
    # One write for each connection can have been under way.
    in_flight = [each for each in late if each.counted.when < stopped][:PLAYERS]
    found.in_flight += len(in_flight)
    found.problems += [
        f"{each.counted.place} answered for epoch {each.counted.epoch} "
        f"{each.received - went_on:.3f} s after it went on, and has counted "
        f"{each.counted.when - stopped:.3f} s after it was stopped"
        for each in late
        if each not in in_flight
    ]


def _is_of_other(told: Told, owner: str) -> bool:
    return told.counted.place.partition(".")[0] != owner


def main() -> int:
    """Do as the command line says; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.cluster_chaos.pauses",
        description=(__doc__ or "").partition("\n")[0],
    )
    parser.add_argument("--pauses", type=int, default=100, help="(%(default)s)")
    parser.add_argument("--engine", choices=ENGINES, default="sqlite", help="(%(default)s)")
    parser.add_argument("--lease", type=float, default=2.0, help="in seconds (%(default)g)")
    arguments = parser.parse_args()
    if arguments.engine == "postgres" and postgres.missing():
        parser.error(postgres.missing())
    with tempfile.TemporaryDirectory(prefix="pauses-") as folder:
        found = trio.run(
            functools.partial(
                pause_again_and_again,
                Path(folder),
                engine=arguments.engine,
                pauses=arguments.pauses,
                lease=arguments.lease,
                progress=functools.partial(print, file=sys.stderr, flush=True),
            )
        )
    print(
        f"{arguments.engine}, lease {found.lease:g} s: {found.pauses} pauses of at least "
        f"{found.shortest:.2f} s, {found.answers} answers, at most {found.longest_gap:.2f} s "
        f"without one, {found.in_flight} in flight"
    )
    for problem in found.problems:
        print(f"  PROBLEM {problem}")
    return 1 if found.problems else 0


if __name__ == "__main__":
    sys.exit(main())

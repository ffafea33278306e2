"""What may keep a server from being one of a cluster: its database, and the way to the others."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import trio

from pgnet_trio.cli.cluster_options import CLUSTER_VARIABLE
from pgnet_trio.cli.finding import Finding
from pgnet_trio.client.address import parse_address
from pgnet_trio.errors import AddressError, first_error
from pgnet_trio.foreign_text import one_line
from pgnet_trio.messages import DEFAULT_PORT
from pgnet_trio.server.cluster.errors import EngineError
from pgnet_trio.server.cluster.opening import is_file, open_engine, shown

if TYPE_CHECKING:
    from pgnet_trio.server.cluster.records import Node

__all__ = ["look_at_cluster"]

LONGEST_ANSWER = 10.0
"""Seconds that the database may take."""

LONGEST_WAY = 3.0
"""Seconds that another server may take to accept a connection."""


def look_at_cluster(settings: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what was found of the cluster; nothing for a server that is to be in none.

    That there is nothing in the variable, where the option says that it is there, is a mistake in
    the options, which is found with them.
    """
    url = "cluster" in settings and (settings["cluster"] or os.environ.get(CLUSTER_VARIABLE))
    if not url:
        return
    path = is_file(url)
    if path is not None and not path.exists():
        # To look must not make one.
        yield Finding("ok", f"{path} is not there yet; the first server of the cluster makes it")
        return
    yield from trio.run(_look, url, settings.get("node_address", ""))


async def _look(url: str, own: str) -> list[Finding]:
    nodes, problem = None, f"it does not answer within {LONGEST_ANSWER:g} s"
    try:
        nodes = await _ask(url)
    except* EngineError as group:
        problem = one_line(first_error(group))
    if nodes is None:
        return [
            Finding(
                "bad",
                f"the cluster's database {shown(url)}: {problem.rstrip('.')}; see that --cluster "
                "names it, that it runs, and that no firewall keeps this machine from it",
            )
        ]
    there = [node for node in nodes if node.alive]
    found = [Finding("ok", f"the cluster's database answers; servers there now: {len(there)}")]
    others = [node for node in there if node.address != own]
    problems: dict[int, str] = {}
    async with trio.open_nursery() as nursery:
        for node in others:
            nursery.start_soon(_reach, node, problems)
    for node in others:
        name = f"the server {one_line(node.name)} at {one_line(node.address)}"
        if node.id in problems:
            found.append(
                Finding(
                    "warn",
                    f"{name} cannot be reached from here, and players are sent there: "
                    f"{one_line(problems[node.id])}; look at its --node-address and firewall",
                )
            )
        elif not node.address.startswith("/"):
            found.append(Finding("ok", f"{name} can be reached"))
    return found


async def _ask(url: str) -> list[Node] | None:
    """Return the servers of a cluster; None where its database does not answer in time."""
    engine = open_engine(url)
    nodes = None
    with trio.move_on_after(LONGEST_ANSWER):
        async with trio.open_nursery() as nursery:
            await nursery.start(engine.run)
            nodes = await engine.nodes()
            nursery.cancel_scope.cancel()
    return nodes


async def _reach(node: Node, problems: dict[int, str]) -> None:
    """Note why a server cannot be reached, if it cannot."""
    # A path is behind the same proxy.
    if node.address.startswith("/"):
        await trio.lowlevel.checkpoint()
        return
    try:
        address = parse_address(node.address, DEFAULT_PORT)
        with trio.fail_after(LONGEST_WAY):
            stream = await trio.open_tcp_stream(address.host, address.port)
            await stream.aclose()
    except trio.TooSlowError:
        problems[node.id] = f"it does not answer within {LONGEST_WAY:g} s"
    except (OSError, AddressError) as error:
        problems[node.id] = str(error)

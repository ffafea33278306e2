"""``pgnet-trio cluster``: which servers make up a cluster, and have one give its games away."""

from __future__ import annotations

import argparse
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import trio

from pgnet_trio.errors import PGNetError
from pgnet_trio.foreign_text import printable
from pgnet_trio.server.cluster.opening import is_file, open_engine, shown
from pgnet_trio.server.cluster.versions import NodeVersion

if TYPE_CHECKING:
    from pgnet_trio.server.cluster.engine import Engine
    from pgnet_trio.server.cluster.records import Node, Survey

__all__ = ["run", "set_up"]

VARIABLE = "PGNET_CLUSTER"
"""The environment variable with the database's address: arguments are for all users to see."""

EXAMPLES = f"""\
examples:
  pgnet-trio cluster status game.sqlite
  export {VARIABLE}=postgresql://game:secret@db.example/game
  pgnet-trio cluster status
  pgnet-trio cluster drain a.example:38929

Other users of this machine see the arguments of a program. A password belongs in the environment
variable {VARIABLE}, or in a file that PGPASSFILE names.
"""

_HEADINGS = (
    *("NODE", "NUMBER", "ADDRESS", "VERSION", "GAME", "STATE"),
    *("LEASE", "ROOMS", "PLAYERS", "LOAD", "LAG"),
)
_NUMBERS = frozenset({"NUMBER", "LEASE", "ROOMS", "PLAYERS", "LOAD", "LAG"})

T = TypeVar("T")


def set_up(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command, and what runs it."""
    parser.description = "Look at the servers of a cluster, or have one give its games to others."
    parser.epilog = EXAMPLES
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    for name, (summary, action) in _ACTIONS.items():
        command = actions.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            epilog=EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.set_defaults(parser=command, action=action, run=run)
        if action is _drain:
            command.add_argument("node", metavar="NODE", help="its name, address or number")
        command.add_argument(
            "url",
            metavar="URL",
            nargs="?",
            help="the database, as postgresql://user@host/database, or the save file; otherwise "
            f"what is in the environment variable {VARIABLE}",
        )


def run(options: argparse.Namespace) -> int:
    """Do what the command says.

    Returns:
        0.

    Raises:
        PGNetError: The database cannot be used, or there is no such server.
    """
    action: Callable[[argparse.Namespace], int] = options.action
    return action(options)


def _status(options: argparse.Namespace) -> int:
    url = _url(options)
    survey = _ask(url, lambda engine: engine.survey())
    print(f"The cluster of {printable(shown(url))}")
    if survey.nodes:
        print(_table(survey))
    else:
        print("No server is there.")
    saved = survey.saved
    if saved:
        print(f"Saved, and at no server now: {saved:,} {'room' if saved == 1 else 'rooms'}")
    return 0


def _drain(options: argparse.Namespace) -> int:
    async def drain(engine: Engine) -> tuple[Node, bool]:
        nodes = await engine.nodes()
        node = _find(nodes, options.node)
        await engine.ask_to_drain(node.id)
        return node, any(_is_ready(each) and each.id != node.id for each in nodes)

    node, others = _ask(_url(options), drain)
    print(f"The server {printable(node.name)} is to give its games to the others, and to end.")
    if not others:
        print("There is no other one: its games are saved, and go on when a server starts.")
    return 0


def _find(nodes: Sequence[Node], text: str) -> Node:
    found = [node for node in nodes if text in (node.name, node.address, str(node.id))]
    # After a restart, the one before may still be in the list.
    alive = [node for node in found if node.alive] or found
    if len(alive) == 1:
        return alive[0]
    names = ", ".join(sorted({printable(node.name) for node in nodes if node.alive})) or "none"
    if not alive:
        raise PGNetError(f"There is no server {text!r}; those that are there: {names}.")
    raise PGNetError(f"{text!r} may be one of {len(alive)} servers; give its number.")


def _is_ready(node: Node) -> bool:
    return node.alive and not node.draining


def _url(options: argparse.Namespace) -> str:
    url: str = options.url or os.environ.get(VARIABLE, "")
    if not url:
        raise PGNetError(
            f"expected the cluster's database as an argument, or in the environment variable "
            f"{VARIABLE}"
        )
    path = is_file(url)
    if path is not None and not path.exists():
        # To look must not make one.
        raise PGNetError(f"there is no save file {path}")
    return url


def _ask(url: str, question: Callable[[Engine], Awaitable[T]]) -> T:
    async def main() -> T:
        engine = open_engine(url)
        async with trio.open_nursery() as nursery:
            await nursery.start(engine.run)
            answer = await question(engine)
            nursery.cancel_scope.cancel()
        return answer

    return trio.run(main)


def _table(survey: Survey) -> str:
    rows = [_HEADINGS, *(_row(node, survey) for node in survey.nodes)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if heading in _NUMBERS else cell.ljust(width)
            for cell, width, heading in zip(row, widths, _HEADINGS, strict=True)
        ).rstrip()
        for row in rows
    )


def _row(node: Node, survey: Survey) -> tuple[str, ...]:
    version = NodeVersion.decode(node.version)
    # The version of its saves, where the game says one.
    game = f"{version.game} {version.saves}" if version.saves else version.game
    state = "silent" if not node.alive else "draining" if node.draining else "ready"
    return (
        printable(node.name),
        str(node.id),
        printable(node.address) or "-",
        printable(version.package) or "-",
        printable(game) or "-",
        state,
        f"{node.lease_left:.1f} s" if node.alive else "over",
        f"{survey.rooms.get(node.id, 0):,}",
        f"{survey.users.get(node.id, 0):,}",
        f"{node.load:g}",
        f"{survey.lags.get(node.id, 0.0) * 1000:.0f} ms" if node.alive else "-",
    )


_ACTIONS = {
    "status": ("show the servers, their leases, rooms and players", _status),
    "drain": ("have a server give its games away, and end", _drain),
}

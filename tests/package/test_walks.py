"""The walks of docs/design/walks.md lead through files and functions that exist.

Each hop of a walk is an item of a numbered list that begins with ``path.py: Class.function``, as
code; the path is one below pgnet_trio/.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import attrs
import pytest

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "design" / "walks.md"
MOST_HOPS = 10

ITEM = re.compile(r"^\d+\. (.*)$", re.MULTILINE)
HOP = re.compile(r"`([\w/]+\.py): ([\w.]+)`")


@attrs.frozen
class Hop:
    path: str
    function: str


def walks_of(page: str) -> dict[str, list[Hop | None]]:
    """Return the hops below each heading; None for an item that does not begin with one."""
    walks: dict[str, list[Hop | None]] = {}
    for section in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        matches = [HOP.match(item) for item in ITEM.findall(section)]
        if matches:
            heading = section.partition("\n")[0]
            walks[heading] = [Hop(match[1], match[2]) if match else None for match in matches]
    return walks


def functions_of(source: str) -> set[str]:
    """Return the functions of a module, and the methods of its classes as ``Class.method``."""
    module = ast.parse(source)
    functions = {
        node.name
        for node in module.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    for owner in module.body:
        if isinstance(owner, ast.ClassDef):
            functions |= {
                f"{owner.name}.{node.name}"
                for node in owner.body
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            }
    return functions


def misses_of(hops: list[Hop | None]) -> list[str]:
    """Return what of a walk does not exist."""
    misses = []
    for number, hop in enumerate(hops, 1):
        if hop is None:
            misses.append(f"hop {number} names no file and function")
            continue
        file = ROOT / "pgnet_trio" / hop.path
        if not file.is_file():
            misses.append(f"there is no file {hop.path}")
        elif hop.function not in functions_of(file.read_text("utf-8")):
            misses.append(f"there is no {hop.function} in {hop.path}")
    return misses


WALKS = walks_of(PAGE.read_text("utf-8"))


def test_the_walks_are_there() -> None:
    assert len(WALKS) >= 5


@pytest.mark.parametrize("walk", WALKS)
def test_what_a_walk_names_exists(walk: str) -> None:
    assert misses_of(WALKS[walk]) == []


@pytest.mark.parametrize("walk", WALKS)
def test_a_walk_is_short(walk: str) -> None:
    assert len(WALKS[walk]) <= MOST_HOPS


# The reading of the page itself.


def test_a_hop_that_does_not_exist_is_found() -> None:
    page = (
        "# Walks\n\n## A walk\n\n"
        "1. `connection.py: Connection.receive` reads.\n"
        "2. `connection.py: Connection.none` is not there.\n"
        "3. `none.py: receive` is not there.\n"
        "4. Something happens.\n"
    )
    (hops,) = walks_of(page).values()
    assert misses_of(hops) == [
        "there is no Connection.none in connection.py",
        "there is no file none.py",
        "hop 4 names no file and function",
    ]

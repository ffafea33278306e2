"""What holds in every file: each exception from a rule says why, and so does each long file."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
FOLDERS = ("pgnet_trio", "tests", "examples")

MOST_LINES = 450

# In a comment, not in a text such as those of this test.
IGNORED = re.compile(r"[^\"']#\s(?:noqa|type: ignore)\b[^\"']*$")
# The reason stands behind the last of them.
EXPLAINED = re.compile(r"# (?:noqa: [A-Z]+\d+ - |type: ignore\[[a-z, -]+\]  # (?!noqa))\S[^#]*$")


def unexplained(source: str) -> list[int]:
    """The numbers of the lines with an exception from a rule that do not say why."""
    return [
        number
        for number, line in enumerate(source.splitlines(), 1)
        if IGNORED.search(line) and not EXPLAINED.search(line)
    ]


def is_long_for_no_reason(source: str) -> bool:
    """Whether a module has more lines than can be read at once, and does not say why."""
    docstring = ast.get_docstring(ast.parse(source)) or ""
    return len(source.splitlines()) > MOST_LINES and not re.search(r"\blong\b", docstring)


# Where others' packages are installed, which git ignores.
OTHERS = {"node_modules", ".packages"}


def sources(*folders: str) -> dict[str, str]:
    return {
        str(path.relative_to(ROOT)): path.read_text("utf-8")
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
        if OTHERS.isdisjoint(path.parts)
    }


def test_every_exception_from_a_rule_says_why() -> None:
    found = [
        f"{name}, line {number}"
        for name, source in sources(*FOLDERS).items()
        for number in unexplained(source)
    ]
    assert not found, f"write the reason behind it: {found}"


def test_every_long_module_says_why_it_is_long() -> None:
    found = [
        name for name, source in sources("pgnet_trio").items() if is_long_for_no_reason(source)
    ]
    assert not found, f"split it where it has two ideas, or say in its docstring why not: {found}"


@pytest.mark.parametrize(
    ("line", "is_found"),
    [
        ("x = 1", False),
        ("x = 1  # noqa", True),
        ("x = 1  # noqa: S608", True),
        ("x = 1  # noqa: S608 - a constant", False),
        ("x = 1  # type: ignore[misc]", True),
        ("x = 1  # type: ignore[misc, arg-type]  # wrong on purpose", False),
        ("x = 1  # type: ignore[misc]  # noqa: S608", True),
        ("x = 1  # type: ignore[misc]  # noqa: S608 - a constant", False),
        ('x = "# noqa: S608"', False),
    ],
)
def test_an_exception_without_a_reason_is_found(line: str, is_found: bool) -> None:
    assert bool(unexplained(f"y = 0\n{line}\n")) == is_found


def test_a_long_module_without_a_reason_is_found() -> None:
    body = "x = 1\n" * MOST_LINES
    assert is_long_for_no_reason(f'"""What this is."""\n{body}')
    assert not is_long_for_no_reason(
        f'"""What this is.\n\nIt is a little long: all belongs.\n"""\n{body}'
    )
    assert not is_long_for_no_reason('"""What this is."""\n')

"""The programs in README.md and docs/ work, and the reference leaves no public name out.

Every fenced ```` ```python ```` block has to compile. A block that is a whole program, which
shows in a ``trio.run(`` in it, is run too, as a file of its own in an empty folder; it has to end
by itself within `TIME_LIMIT`, with exit status 0. An author says otherwise in a comment on the
line before the block (an empty line between does no harm):

- ``<!-- run -->``: run this block although it has no ``trio.run(``.
- ``<!-- do not run -->``: only compile it; for a server that would serve for ever, or an address
  that is not there.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import attrs
import pytest

import pgnet_trio
from pgnet_trio.server.limits import Limits

ROOT = Path(__file__).parent.parent.parent
TIME_LIMIT = 30.0  # seconds; a program takes less than one, but a busy machine may need more

BLOCK = re.compile(
    r"(?P<comment>^[ ]*<!--[ ]*(?P<word>[^\n]*?)[ ]*-->[ ]*\n\s*?)?"
    r"^(?P<indent>[ ]*)(?P<fence>`{3,}|~{3,})(?:python|py|\{code-block\}[ ]+python)[ ]*\n"
    r"(?P<options>(?:[ ]*:[a-z-]+:[^\n]*\n)*)"
    r"(?P<text>.*?)"
    r"^(?P=indent)(?P=fence)[ ]*$",
    re.MULTILINE | re.DOTALL,
)


@attrs.frozen
class Block:
    """A block of Python in a page; `line` is that of its first line of code."""

    page: str
    line: int
    text: str
    word: str

    @property
    def is_program(self) -> bool:
        return self.word == "run" or ("trio.run(" in self.text and self.word != "do not run")

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: str, text: str) -> list[Block]:
    return [
        Block(
            page,
            text.count("\n", 0, match.start("text")) + 1,
            textwrap.dedent(match["text"]),
            match["word"] or "",
        )
        for match in BLOCK.finditer(text)
    ]


def all_pages() -> list[Path]:
    pages = (ROOT / "docs").rglob("*.md")
    return [ROOT / "README.md", *sorted(page for page in pages if "_build" not in page.parts)]


def all_blocks() -> list[Block]:
    return [
        block
        for page in all_pages()
        for block in blocks_of(page.relative_to(ROOT).as_posix(), page.read_text("utf-8"))
    ]


def run_program(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", str(path)],
        cwd=path.parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=TIME_LIMIT,
        check=False,
    )


@pytest.mark.parametrize("block", all_blocks(), ids=str)
def test_a_block_of_python_compiles(block: Block) -> None:
    # Empty lines before it, so that a complaint names the line of the page. An excerpt may await.
    text = "\n" * (block.line - 1) + block.text
    compile(text, block.page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("block", [it for it in all_blocks() if it.is_program], ids=str)
@pytest.mark.no_cover
def test_a_whole_program_runs(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text(block.text, "utf-8")
    run = run_program(path)
    assert run.returncode == 0, f"the program at {block} failed:\n{run.stdout}"


def test_the_first_page_shows_a_whole_program() -> None:
    assert any(block.page == "README.md" and block.is_program for block in all_blocks())


def test_the_figures_of_the_first_page_are_in_the_tables() -> None:
    page = (ROOT / "README.md").read_text("utf-8")
    figures = page.partition("<!-- figures: begin -->")[2].partition("<!-- figures: end -->")[0]
    tables = (ROOT / "docs" / "comparison.md").read_text("utf-8")
    cells = {cell.strip() for cell in re.findall(r"\|([^|\n]*)(?=\|)", tables)}
    measured = [row.split("|")[2] for row in figures.splitlines() if row.startswith("| ")][2:]
    numbers = [number for row in measured for number in re.findall(r"\d+\.\d+|\d+(?= ms)", row)]
    assert len(numbers) >= len(measured) > 0
    # A cell has the number alone, or with its unit.
    assert not set(numbers) - {cell.partition(" ")[0] for cell in cells}


def test_every_public_name_is_in_the_reference() -> None:
    pages = (ROOT / "docs" / "reference").rglob("*.md")
    words = set(re.findall(r"\w+", "\n".join(page.read_text("utf-8") for page in pages)))
    assert not set(pgnet_trio.__all__) - words


def test_every_limit_is_in_the_reference() -> None:
    page = (ROOT / "docs" / "reference" / "server.md").read_text("utf-8")
    assert not {option.name for option in attrs.fields(Limits)} - set(re.findall(r"\w+", page))


# The reading of pages itself.


@pytest.mark.parametrize(
    ("page", "line", "is_program"),
    [
        ("Text.\n\n```python\nx = 1\n```\n", 4, False),
        ("```python\ntrio.run(main)\n```\n", 2, True),
        ("<!-- run -->\n```python\nx = 1\n```\n", 3, True),
        ("<!-- run -->\n\n```python\nx = 1\n```\n", 4, True),
        ("<!-- do not run -->\n```python\ntrio.run(main)\n```\n", 3, False),
        ("<!-- run -->\nText.\n```python\nx = 1\n```\n", 4, False),
        ("- item\n\n  ~~~py\n  trio.run(main)\n  ~~~\n", 4, True),
        ("```{code-block} python\n:caption: A file\ntrio.run(main)\n```\n", 3, True),
        ("````python\ntrio.run(main)\n````\n", 2, True),
    ],
)
def test_a_block_is_found(page: str, line: int, is_program: bool) -> None:
    (block,) = blocks_of("page.md", page)
    assert (block.line, block.is_program) == (line, is_program)
    compile(block.text, "page.md", "exec")


@pytest.mark.parametrize("page", ["```console\n$ ls\n```\n", "`python`\n", "```toml\nx = 1\n```\n"])
def test_other_blocks_are_left_alone(page: str) -> None:
    assert blocks_of("page.md", page) == []


def test_a_program_that_fails_says_why(tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text("raise SystemExit('out of cheese')", "utf-8")
    run = run_program(path)
    assert (run.returncode, run.stdout.strip()) == (1, "out of cheese")

"""The pages read well where they are stored, their programs work, the reference is complete.

Most people meet README.md and docs/ as plain Markdown, on the page of a Git host. So every link
has a text and a target there, what only Sphinx understands stays inside fences, and a reference
page says in plain Markdown what its directives then show in full.

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
import contextlib
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import attrs
import pytest

import pgnet_trio
from pgnet_trio import Bot, Client, Game, Question, Room, Server
from pgnet_trio.cli import _make_parser as make_parser
from pgnet_trio.server.limits import Limits
from tests.kit.needed import NODE
from tests.kit.subprocesses import CHEAP_PASSWORDS

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
        [sys.executable, "-W", "error", *CHEAP_PASSWORDS, str(path)],
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


def test_each_program_shows_the_mistakes_that_its_reader_makes() -> None:
    """Whoever changes the rules of a program, and slips, is not left with "the game crashed"."""
    running = re.compile(r"^\s*(sys\.exit\()?trio\.run", re.MULTILINE)
    programs = [block for block in all_blocks() if running.search(block.text)]
    assert len(programs) > 15
    silent = [str(block) for block in programs if "enable_logging(" not in block.text]
    assert silent == []


# Blocks to paste one after the other are tested where the tutorial is: in test_examples.py.
WHOLE = re.compile(
    r"(?:\b(?:is|are) (?:a|the) whole\b|^#+ A whole\b[^\n]*\n\n)(?:(?!\n\n).)*\n\n"
    r"```python\n(.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


def test_a_block_that_is_said_to_be_whole_is_run() -> None:
    """Whoever reads "This is a whole program" pastes the block that follows, and runs it."""
    claimed = [text for page in all_pages() for text in WHOLE.findall(page.read_text("utf-8"))]
    assert len(claimed) >= 3
    programs = {block.text for block in all_blocks() if block.is_program}
    assert [text for text in claimed if text not in programs] == []


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


# Commands.

NOTHING = contextlib.nullcontext()
CONSOLE = re.compile(r"^([ ]*)```console\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


def command_of(line: str) -> list[str] | None:
    """Return the arguments of `pgnet-trio` in a line for a shell; None where it is another one."""
    words = shlex.split(line, comments=True)
    if "pgnet-trio" not in words[:3]:
        return None
    words = words[words.index("pgnet-trio") + 1 :]
    # What comes after a pipe or goes into a file is not for the program.
    ends = [words.index(each) for each in ("|", ">", "<", "&&", "&") if each in words]
    return words[: min(ends, default=len(words))]


def commands_of(page: Path) -> list[list[str]]:
    blocks = "\n".join(text for _, text in CONSOLE.findall(page.read_text("utf-8")))
    lines = re.findall(r"^ *\$ (.*)$", blocks.replace("\\\n", " "), re.MULTILINE)
    return [words for line in lines if (words := command_of(line)) is not None]


COMMANDS = [
    pytest.param(words, id=f"{page.relative_to(ROOT).as_posix()} {' '.join(words)}")
    for page in all_pages()
    for words in commands_of(page)
]


@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_of_a_page_is_one_that_the_program_takes(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The folders that the pages speak of.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "index.html").touch()
    unknown: list[str] = []
    # Where it shows its version or its help, and ends.
    with contextlib.suppress(SystemExit) if {"--version", "--help"} & set(words) else NOTHING:
        _, unknown = make_parser(words).parse_known_args(words)
    assert unknown == []


def test_the_commands_of_the_pages_are_found() -> None:
    assert len(COMMANDS) > 30


# Links, and what a reader without Sphinx sees.

FENCED = re.compile(r"^([ ]*)(`{3,}|~{3,}).*?^\1\2[ ]*$\n?", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)", re.DOTALL)
LINK = re.compile(r"\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^()\s]*)\)")
HEADING = re.compile(r"^#{1,6}[ ]+(.*?)[ ]*$", re.MULTILINE)
ONLY_FOR_SPHINX = re.compile(r"^\([\w-]+\)=$|\{[\w:-]+\}`|^:[ ]", re.MULTILINE)


def prose_of(text: str) -> str:
    """Return a page without its fenced blocks and comments."""
    return FENCED.sub("", re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL))


def anchors_of(text: str) -> list[str]:
    """Return the anchors that a Git host makes of the headings, as MyST does."""
    anchors: list[str] = []
    for heading in HEADING.findall(prose_of(text)):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        while anchor in anchors:
            anchor += "-1"
        anchors.append(anchor)
    return anchors


def links_of(text: str) -> list[tuple[str, str]]:
    """Return text and target of each link and picture, outside code."""
    return LINK.findall(CODE.sub("code", prose_of(text)))


def faults_of(page: Path, text: str) -> list[str]:
    """Return the links of a page that nobody can read or follow."""
    faults = []
    for words, target in links_of(text):
        link = f"[{words}]({target})"
        if not words.strip():
            faults.append(f"{link} has no text")
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path
        if path and not file.exists():
            faults.append(f"{link} leads to no file")
        elif anchor and anchor not in anchors_of(file.read_text("utf-8") if path else text):
            faults.append(f"{link} leads to no heading")
    return faults


@pytest.mark.parametrize("page", all_pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_of_a_page_has_a_text_and_a_target(page: Path) -> None:
    assert faults_of(page, page.read_text("utf-8")) == []


@pytest.mark.parametrize("page", all_pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_reads_as_plain_markdown(page: Path) -> None:
    """No label, role or definition list, which a Git host shows as they are written."""
    prose = prose_of(page.read_text("utf-8"))
    assert [match.group() for match in ONLY_FOR_SPHINX.finditer(prose)] == []


def test_no_two_pages_have_one_title() -> None:
    """The sidebar has nothing else to tell them apart by."""
    titles = [page.read_text("utf-8").partition("\n")[0] for page in all_pages()[1:]]
    assert sorted(titles) == sorted(set(titles))


# The reference: a summary to read, and then the directives.

REFERENCE = sorted((ROOT / "docs" / "reference").rglob("*.md"))


@pytest.mark.parametrize("page", REFERENCE, ids=lambda page: page.stem)
def test_a_reference_page_says_what_its_directives_show(page: Path) -> None:
    """Each name of a directive stands in the plain text before the first of them."""
    text = page.read_text("utf-8")
    summary, _, details = text.partition("```{eval-rst}")
    names = re.findall(r"^\.\. (?:auto\w+|py:data):: pgnet_trio\.([\w.]+)", details, re.MULTILINE)
    missing = {name for name in names if name != "errors"} - set(in_code(summary))
    assert not {name for name in missing if name.rpartition(".")[2] not in in_code(summary)}


def in_code(text: str) -> set[str]:
    """Return the names that a page shows as code, those in calls too."""
    return {name for code in re.findall(r"`([^`\n]+)`", text) for name in re.findall(r"\w+", code)}


def public_names_of(owner: type) -> set[str]:
    """Return what a class and its bases of ours offer users; of a `Bot`, what a client lacks."""
    bases = {base for base in owner.__mro__ if base.__module__.startswith("pgnet_trio")}
    if owner is not Client:
        bases -= set(Client.__mro__)
    names = {
        name for base in bases for name in (*vars(base), *vars(base).get("__annotations__", {}))
    }
    return {name for name in names if not name.startswith("_")}


@pytest.mark.parametrize(
    ("owner", "page"),
    [
        (Client, "client.md"),
        (Question, "client.md"),
        (Server, "server.md"),
        (Game, "game.md"),
        (Room, "game.md"),
        (Bot, "game.md"),
    ],
    ids=lambda it: it.__name__ if isinstance(it, type) else "",
)
def test_every_method_is_in_the_summary(owner: type, page: str) -> None:
    text = (ROOT / "docs" / "reference" / page).read_text("utf-8")
    names = public_names_of(owner) - {"take_seat"}  # called by the server alone
    assert not names - in_code(text.partition("```{eval-rst}")[0])


# The reading of pages itself.


def test_a_link_that_cannot_be_followed_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# Two words, and `code`\n\n```\n# none\n```\n", "utf-8")
    page = tmp_path / "page.md"
    good = "[a](other.md#two-words-and-code) [b](https://example.org/#x) `[](c)` ![d](other.md)\n"
    assert faults_of(page, good) == []
    bad = "[](other.md) [a](gone.md) [b](other.md#none) [two\nlines](#here) ![](gone.png)"
    assert [fault.partition(") ")[2] for fault in faults_of(page, bad)] == [
        "has no text",
        "leads to no file",
        "leads to no heading",
        "leads to no heading",
        "has no text",
        "leads to no file",
    ]


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


# Pages and scripts for browsers.

SCRIPT = re.compile(
    r"(?:^<!-- file: (?P<file>\S+) -->\n)?^```(?P<kind>js|html)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


def all_scripts() -> list[tuple[str, re.Match[str]]]:
    """Return each block with the place where it stands."""
    found = []
    for page in all_pages():
        text = page.read_text("utf-8")
        for match in SCRIPT.finditer(text):
            line = text.count("\n", 0, match.start("text")) + 1
            found.append((f"{page.relative_to(ROOT).as_posix()}:{line}", match))
    return found


@pytest.mark.parametrize(("place", "block"), all_scripts())
def test_a_block_for_browsers_is_what_its_file_has(place: str, block: re.Match[str]) -> None:
    if block["file"] is not None:
        assert block["text"] == (ROOT / block["file"]).read_text("utf-8")


@pytest.mark.needs(NODE)
def test_each_block_of_javascript_parses(tmp_path: Path) -> None:
    scripts = [(place, block["text"]) for place, block in all_scripts() if block["kind"] == "js"]
    assert len(scripts) > 5
    faults = []
    for number, (place, text) in enumerate(scripts):
        path = tmp_path / f"{number}.mjs"
        path.write_text(text, "utf-8")
        run = subprocess.run(["node", "--check", path], stderr=subprocess.PIPE, check=False)
        if run.returncode:
            faults.append(f"{place}: {run.stderr.decode()}")
    assert faults == []


def test_the_first_page_shows_a_whole_script() -> None:
    assert any(place.startswith("README") and block["file"] for place, block in all_scripts())

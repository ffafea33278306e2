"""The pages on the wire name each feature, with what a client without it sees, and each code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import pgnet_trio
from pgnet_trio.protocol.v2.features import FEATURES
from pgnet_trio.reason_codes import MAX_REASON_CODE, ReasonCode

CODES_PAGES = {"protocol.md": "`{}`", "reference/errors.md": "`{.name}`"}

DOCS = Path(__file__).parent.parent.parent / "docs"


@pytest.mark.parametrize("page", ["protocol.md", "design/protocol-1.md", "design/public-names.md"])
def test_each_feature_is_in_the_tables(page: str) -> None:
    rows = [
        line.split("|")[1] for line in (DOCS / page).read_text("utf-8").splitlines() if "|" in line
    ]
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    assert named >= FEATURES


def test_each_code_is_in_the_tables() -> None:
    for page, form in CODES_PAGES.items():
        tables = [
            line.split("|")[1]
            for line in (DOCS / page).read_text("utf-8").splitlines()
            if line.startswith("| `")
        ]
        named = "".join(tables)
        missing = [code for code in ReasonCode if form.format(code) not in named]
        # A program never sees this one: the client logs in with its password then.
        unseen = [ReasonCode.TOKEN_NOT_TAKEN] if page == "reference/errors.md" else []
        assert missing == unseen, page


def test_codes_are_short_words_of_ascii() -> None:
    for code in ReasonCode:
        assert re.fullmatch("[a-z]+(_[a-z]+)*", code)
        assert code == code.name.lower()
        assert len(code) <= MAX_REASON_CODE


def test_each_code_is_said_somewhere() -> None:
    package = Path(pgnet_trio.__file__).parent
    source = "".join(path.read_text("utf-8") for path in package.rglob("*.py"))
    assert [code.name for code in ReasonCode if f"ReasonCode.{code.name}" not in source] == []

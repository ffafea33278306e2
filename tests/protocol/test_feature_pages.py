"""The pages on the wire name each feature: what it adds, and what a client without it sees."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pgnet_trio.protocol.v2.features import FEATURES

DOCS = Path(__file__).parent.parent.parent / "docs"


@pytest.mark.parametrize("page", ["protocol.md", "design/protocol-1.md", "design/public-names.md"])
def test_each_feature_is_in_the_tables(page: str) -> None:
    rows = [
        line.split("|")[1] for line in (DOCS / page).read_text("utf-8").splitlines() if "|" in line
    ]
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    assert named >= FEATURES

"""The pages on the wire name each feature, with what a client without it sees, and each code."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

import pgnet_trio
from pgnet_trio.messages import PLAYERS, Push, Response, Status, note_code
from pgnet_trio.protocol.v2 import envelopes as wire
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


def shown_envelopes() -> list[list[Any]]:
    """Return the envelopes that the page shows with all features in use."""
    text = (DOCS / "protocol.md").read_text("utf-8")
    _, begun, text = text.partition("<!-- The envelopes with features begin. -->")
    text, ended, _ = text.partition("<!-- The envelopes with features end. -->")
    assert begun
    assert ended
    lines = [line for line in text.splitlines() if line.startswith("[")]
    found = [json.loads(re.sub("<([0-9a-f]*)>", r'{"bytes": "\1"}', line)) for line in lines]
    return [
        [bytes.fromhex(it["bytes"]) if isinstance(it, dict) and "bytes" in it else it for it in one]
        for one in found
    ]


def test_the_envelopes_with_features_are_those_that_a_server_sends() -> None:
    shown = map(msgspec.msgpack.encode, shown_envelopes())
    hello, welcome, players, response, goodbye, moved = shown
    token = bytes(range(0x60, 0x80))
    refused = Response("That square is taken.", status=Status.UNEXPECTED)
    pushed = {"players": [["ann", True]], "all": True}
    assert hello == wire.encode_hello(65536, FEATURES)
    assert welcome == wire.encode_welcome("Welcome, ann.", token, b"", (30.0, 60.0))
    assert players == wire.encode_push(Push(PLAYERS, pushed))
    assert response == wire.encode_response(2, note_code(refused, ReasonCode.REJECTED), FEATURES)
    assert goodbye == wire.encode_goodbye("taken over", ReasonCode.TAKEN_OVER)
    assert moved == wire.encode_moved("/node-2", "Your game goes on there.")

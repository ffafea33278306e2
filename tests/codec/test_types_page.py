"""What the page on the wire says of typed messages holds: each example travels, or is refused."""

from __future__ import annotations

import json
import re
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import attrs
import pytest

from pgnet_trio.codec import check_model, from_plain, to_plain
from pgnet_trio.errors import CodecError

PAGE = Path(__file__).parent.parent.parent / "docs" / "protocol.md"


def section() -> tuple[list[list[str]], str]:
    """Return the cells of the table's rows, and the classes that stand below it."""
    text = PAGE.read_text("utf-8")
    _, begun, text = text.partition("<!-- The types begin. -->")
    table, ended, text = text.partition("<!-- The types end. -->")
    assert begun
    assert ended
    _, header, *rows = [
        re.split(r"(?<!\\)\|", line)[1:4] for line in table.splitlines() if line.startswith("|")
    ]
    assert [cell.strip() for cell in header] == ["---"] * 3
    classes = text.partition("```python\n")[2].partition("```")[0]
    return [[cell.replace("\\|", "|").strip() for cell in row] for row in rows], classes


def examples(cell: str) -> list[Any]:
    """Return the values of JSON in a cell, which are in backticks."""
    found = [json.loads(text) for text in re.findall("`([^`]*)`", cell)]
    assert re.sub("`[^`]*`(, )?", "", cell) == "", "there is something between the examples"
    return found


ROWS, CLASSES = section()
NAMES: dict[str, Any] = {
    "attrs": attrs, "Enum": Enum, "Literal": Literal, "Any": Any, "datetime": datetime,
}  # fmt: skip
exec(compile(CLASSES, str(PAGE), "exec", dont_inherit=True), NAMES)  # noqa: S102 - the page's own code


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_the_table_of_types_holds(row: list[str]) -> None:
    kind = eval(row[0].strip("`"), NAMES)  # noqa: S307 - the page's own code
    model = attrs.make_class("Model", {"field": attrs.field(type=kind)})
    check_model(model)
    taken, refused = map(examples, row[1:])
    assert taken
    for value in taken:
        read: Any = from_plain({"field": value}, model)
        sent = to_plain(read)["field"]
        if isinstance(value, dict):
            # A game leaves out nothing, also where a client may.
            assert sent.items() >= value.items()
        elif kind is datetime:
            assert datetime.fromisoformat(sent) == datetime.fromisoformat(value)
        else:
            assert sent == value
    for value in refused:
        with pytest.raises(CodecError):
            from_plain({"field": value}, model)


def test_the_table_names_each_kind_of_type() -> None:
    named = " ".join(row[0] for row in ROWS)
    for kind in ("int", "float", "str", "bool", "None", "list", "tuple", "dict", "datetime"):
        assert kind in named

"""Python and JavaScript show the same: both are held to one file."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.netcode.vectors import FILE, played, read_vectors
from tests.netcode.wild import make_wild_vectors
from tests.web.node import command_of, needs_node

VECTORS = read_vectors()


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
def test_python_shows_what_the_vectors_say(vector: dict[str, Any]) -> None:
    results = json.loads(json.dumps(played(vector)))
    for (call, expected), result in zip(vector["calls"], results, strict=True):
        # As texts: 0.0 and -0.0 are not the same.
        if vector["exact"]:
            assert json.dumps(result) == json.dumps(expected), call
        else:
            assert_close(result, expected)


def assert_close(value: Any, expected: Any) -> None:
    if isinstance(expected, dict):
        assert value.keys() == expected.keys()
        for key, item in expected.items():
            assert_close(value[key], item)
    elif isinstance(expected, list):
        for one, other in zip(value, expected, strict=True):
            assert_close(one, other)
    elif isinstance(expected, float):
        assert value == pytest.approx(expected, rel=0, abs=1e-9)
    else:
        assert value == expected


@needs_node
def test_both_show_the_same_whatever_comes(tmp_path: Path) -> None:
    file = tmp_path / "vectors.json"
    vectors = make_wild_vectors(4)
    file.write_text(json.dumps(vectors), "utf-8")
    done = subprocess.run(
        [*command_of("netcode.mjs"), str(file)], capture_output=True, encoding="utf-8", check=False
    )
    assert done.stderr == ""
    answer = json.loads(done.stdout)
    assert answer["wrong"] == []
    assert answer["compared"] == sum(len(vector["calls"]) for vector in vectors) > 500


@needs_node
def test_javascript_shows_what_the_vectors_say() -> None:
    done = subprocess.run(
        [*command_of("netcode.mjs"), str(FILE)], capture_output=True, encoding="utf-8", check=False
    )
    assert done.stderr == ""
    answer = json.loads(done.stdout)
    assert answer["wrong"] == []
    assert answer["compared"] == sum(len(vector["calls"]) for vector in VECTORS)

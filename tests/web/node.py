"""Node.js for tests of the client for browsers, and whether this machine has what they need."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.kit.needed import NODE, PACKAGES, node_version

__all__ = ["PROGRAMS", "WEB", "Oracle", "command_of", "needs_node", "needs_packages", "oracle"]

WEB = Path(__file__).parent.parent.parent / "pgnet_trio" / "web"
PROGRAMS = Path(__file__).parent / "programs"


needs_node = pytest.mark.needs(NODE)
needs_packages = pytest.mark.needs(NODE, PACKAGES)


def command_of(program: str, *arguments: str) -> Sequence[str]:
    """The command that runs a program; WebSockets are an experiment of Node.js before 22."""
    flags = ["--experimental-websocket"] if node_version() < 22 else []
    return ["node", "--no-warnings", *flags, str(PROGRAMS / program), *arguments]


class Oracle:
    """A program that answers one line of JSON with another: thousands of cases in one process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, what: str, /, **arguments: Any) -> Any:
        """Return what the program says; bytes travel as hex."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        texts = {
            key: value.hex() if isinstance(value, bytes) else value
            for key, value in arguments.items()
        }
        self._process.stdin.write(json.dumps({"ask": what, **texts}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the program has ended"
        return json.loads(line)


def oracle(program: str) -> Iterator[Oracle]:
    """Run a program for as long as a fixture lives."""
    environment = {key: value for key, value in os.environ.items() if key != "NODE_OPTIONS"}
    with subprocess.Popen(
        command_of(program),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env=environment,
    ) as process:
        try:
            yield Oracle(process)
        finally:
            process.kill()

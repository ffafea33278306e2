"""A client and a server of 0.1, as they were released, with those of this tree: both ways.

The environment with the old release is not part of this tree: ``.ci/run`` builds its wheel from the
commit that was released, and names its Python in ``PGNET_TRIO_0_1``.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import trio

import pgnet_trio
from tests.kit.subprocesses import Program, start_program
from tests.soak.proxy import FaultyProxy

SCENARIO = Path(__file__).with_name("scenario.py")
PACKAGE = Path(pgnet_trio.__file__)
OLD = os.environ.get("PGNET_TRIO_0_1", "")
NEW = sys.executable

PAIRS = [
    pytest.param(NEW, NEW, id="new client, new server"),
    *(
        pytest.param(
            *pair,
            id=f"{one} client, {other} server",
            marks=pytest.mark.skipif(
                not OLD,
                reason="PGNET_TRIO_0_1 names no Python with release 0.1, as in .ci/run",
            ),
        )
        for one, other, pair in [
            ("0.1", "new", (OLD, NEW)),
            ("new", "0.1", (NEW, OLD)),
        ]
    ),
]


@pytest.mark.parametrize(("client", "server"), PAIRS)
async def test_two_releases_play_a_game_with_each_other(client: str, server: str) -> None:
    hosted, played = await play(client, server)
    for python, package in ((server, hosted), (client, played.pop("package"))):
        assert (Path(package) == PACKAGE) is (python == NEW), "another release was run than named"
    assert played == {
        "protocol": 2,
        "directory": ["adding up"],
        "refused answer": "There are two sides.",
        "chosen": "left",
        "answers": True,
        "pushes": True,
        "refused": ["Only what is 0 or more can be added.", {"least": 0}],
        "state": {"total": 80, "you": "ann"},
        "players": {"ann": True},
        "left": "left",
        "drops": 1,
        "end": "disconnected by this client",
    }


async def play(client: str, server: str) -> tuple[str, dict[str, Any]]:
    """Play the scenario with the two given Pythons; the connection drops half way.

    Returns:
        Where the server's package lies, and what the client saw.
    """
    proxy = FaultyProxy("one drop")
    async with start(server, "server") as host, trio.open_nursery() as nursery:
        hosted = json.loads((await host.out.wait_for(r"\{.*\}\n"))[0])
        await nursery.start(proxy.run)
        proxy.target = hosted["port"]
        async with start(client, "client", str(proxy.port), hosted["key"]) as player:
            await player.out.wait_for('"drop"\n')
            proxy.drop()
            played = json.loads((await player.out.wait_for(r"\{.*\}\n"))[0])
            assert await player.exit_status() == 0, player.err.text
        nursery.cancel_scope.cancel()
    return hosted["package"], played


def start(python: str, *arguments: str) -> AbstractAsyncContextManager[Program]:
    # What lies on the path of whoever runs the tests must not come before the old release.
    env = {} if python == NEW else {"PYTHONPATH": None}
    return start_program(*arguments, command=(python, str(SCENARIO)), env=env)

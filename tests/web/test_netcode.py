"""A page in real time: its own ship moves at once, and is where the server has it."""

from __future__ import annotations

import json

import trio

from pgnet_trio import Server
from tests.kit.hosting import cheap_environment
from tests.netcode.course import Course
from tests.web.node import command_of, needs_packages

pytestmark = needs_packages


async def test_a_page_predicts_its_ship_and_sees_the_others_late() -> None:
    async with trio.open_nursery() as nursery:
        server = Server(Course, port=0, environment=cheap_environment())
        port = await nursery.start(server.serve)
        program = command_of("netcode_player.mjs", str(port), "40", "2")
        done = await trio.run_process(program, capture_stdout=True, check=False)
        nursery.cancel_scope.cancel()
    answer = json.loads(done.stdout)
    assert answer["sameFrame"] is True
    # A machine with much to do makes inputs late, and lets frames take longer.
    assert answer["frames"] >= 10
    assert answer["error"] <= 60
    assert answer["x"] > 50
    assert 1 <= answer["pending"] <= 30
    assert answer["roundTrip"] >= 0.08
    assert answer["late"] > 0.04

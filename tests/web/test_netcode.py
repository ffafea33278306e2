"""A page in real time: its own ship moves at once, and is where the server has it."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path

import attrs
import trio

from examples.arena import Runner, Steer, step
from pgnet_trio import Server
from tests.kit.hosting import cheap_environment
from tests.netcode.course import Course
from tests.web.node import command_of, needs_packages

pytestmark = needs_packages

RULES = Path(__file__).parent.parent.parent / "examples" / "web" / "arena" / "rules.js"


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


def test_the_page_of_the_arena_moves_runners_as_the_game_does() -> None:
    """The one rule that stands in two languages: the same to the last bit."""
    chance = random.Random(1)
    runner = Runner(400.0, 300.0, "red")
    steers = [Steer(chance.uniform(-2, 2), chance.uniform(-2, 2)) for _ in range(500)]
    places = []
    for steer in steers:
        step(runner, steer, 1 / 20)
        places.append([runner.x, runner.y])
    script = (
        f'import {{ step }} from "{RULES.as_uri()}";'
        f"const steers = {json.dumps([attrs.asdict(steer) for steer in steers])};"
        "const runner = { x: 400, y: 300 };"
        "const places = steers.map((steer) => (step(runner, steer, 1 / 20), [runner.x, runner.y]));"
        "console.log(JSON.stringify(places));"
    )
    command = ["node", "--no-warnings", "--input-type=module", "--eval", script]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    assert json.loads(done.stdout) == places
    assert len({x for x, _ in places}) > 400

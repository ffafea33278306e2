"""A page in real time: its own ship moves at once, and is where the server has it."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from examples.arena import Runner, Steer, step
from pgnet_trio import Server
from tests.kit.hosting import cheap_environment
from tests.netcode.course import Course
from tests.web.node import command_of, needs_packages

pytestmark = needs_packages

WEB = Path(__file__).parent.parent.parent / "pgnet_trio" / "web"
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
    assert evaluated(script) == places
    assert len({x for x, _ in places}) > 400


def host(script: str) -> Any:
    """Run a script beside a `Netcode` that has joined a game at 5 s, and return what it returns."""
    return evaluated(f"""
        import {{ Netcode }} from "{(WEB / "netcode.js").as_uri()}";
        const [INPUT, TIME, MOMENT] = [27, 29, 30];
        let [now, plays] = [5, true];
        const step = (ship, wish, dt) => {{ ship.x += wish.x * dt; }};
        const netcode = new Netcode({{ step, at: "ships", fields: ["x"] }});
        const sent = [];
        const encode = (kind, ...fields) => sent.push([kind, ...fields]);
        netcode.begin({{
          username: "ann", now: () => now, slept: () => 0, isOpen: () => true, plays: () => plays,
          flush: () => {{}},
        }});
        const leave = () => {{
          netcode.envelopes(encode);
          return sent.splice(0).filter(([kind]) => kind === INPUT);
        }};
        const tellRate = (id, rate) => {{
          netcode.envelopes(encode);
          netcode.take(TIME, [id, now, rate]);
        }};
        const state = {{ ships: {{ ann: {{ x: 1 }} }} }};
        netcode.connected();
        netcode.entered(5);
        netcode.frame();
        tellRate(1, 20);
        const run = () => {{ {script} }};
        console.log(JSON.stringify(run()));
    """)


def evaluated(script: str) -> Any:
    """Run a script, and return what it prints as JSON."""
    command = ["node", "--no-warnings", "--input-type=module", "--eval", script]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    return json.loads(done.stdout)


def test_of_several_inputs_only_the_last_one_leaves() -> None:
    left = host(
        """
        netcode.take(MOMENT, [1, 5, 0], state);
        netcode.frame({ x: 1 });
        now += 0.05; netcode.frame({ x: 1 });
        now += 0.05; netcode.frame({ x: 2 });
        return leave();
        """
    )
    assert [(number, changes) for _, number, _, changes in left] == [(2, {"x": 2})]


def test_times_in_which_nobody_can_count_are_not_heard() -> None:
    assert host(
        """
        now += 1; netcode.frame();
        tellRate(2, 1e300);
        const { dt } = netcode.play;
        netcode.take(MOMENT, [1, 1e300, 0], state);
        netcode.frame();
        return [dt, netcode.serverTime, netcode.play.interpolator.time];
        """
    ) == [0, 6, None]


def test_a_field_that_is_left_out_is_there_no_more() -> None:
    """A page may say of a key only that it is held."""
    left = host(
        """
        netcode.take(MOMENT, [1, 5, 0], state);
        netcode.frame();
        const all = [{ x: 1 }, { x: 1, jump: true }, { x: 1 }, { x: 1, jump: undefined }, {}];
        return all.map((wish) => { now += 0.06; netcode.frame(wish); return leave()[0].slice(3); });
        """
    )
    assert left == [[{"x": 1}], [{"jump": True}], [{"x": 1}, True], [], [{}, True]]


def test_a_game_without_ticks_makes_no_numbers_that_are_none() -> None:
    """A game that was made anew may have none, and may have others than the one before."""
    answer = host(
        """
        netcode.take(MOMENT, [1, 5, 0], state);
        netcode.frame({ x: 1 });
        now += 0.05; netcode.frame({ x: 1 });
        leave();
        now += 1.5; netcode.frame();
        tellRate(2, 0);
        now += 1.5; netcode.frame({ x: 1 });
        const without = leave();
        netcode.entered(5);
        netcode.take(MOMENT, [1, 5, 0], state);
        const { dt, predictor } = netcode.play;
        return { without, dt, predictor };
        """
    )
    assert answer == {"without": [], "dt": 0, "predictor": None}


def test_the_same_object_may_say_something_else_in_each_frame() -> None:
    assert host(
        """
        netcode.take(MOMENT, [1, 5, 0], state);
        netcode.frame();
        const wish = { x: 1 };
        netcode.frame(wish);
        now += 0.05;
        wish.x = 10; netcode.frame(wish);
        netcode.take(MOMENT, [2, 5.05, 0], state);
        return netcode.play.predictor.state.x;
        """
    ) == pytest.approx(1 + 0.05 + 0.5)


def test_a_mistake_in_a_rule_is_an_error_of_the_frame() -> None:
    """And not of what reads the socket, which would lose what else has come."""
    assert host(
        """
        netcode.take(MOMENT, [1, 5, 0], state);
        netcode.frame();
        const broken = { get x() { throw new Error("broken"); } };
        netcode.frame({ x: 1 });
        netcode.take(MOMENT, [2, 5.05, 0], { ships: { ann: broken } });
        try {
          netcode.frame();
        } catch (error) {
          netcode.take(MOMENT, [3, 5.1, 0], state);
          return [error.message, netcode.frame().me.x];
        }
        """
    ) == ["broken", pytest.approx(1.05)]


def test_the_longest_delay_is_kept_whatever_the_rate() -> None:
    module = (WEB / "interpolation.js").as_uri()
    assert evaluated(
        f"""
        import {{ Interpolator }} from "{module}";
        const interpolator = new Interpolator({{ fields: "x", delay: 5 }});
        for (let now = 0; now < 7; now += 1 / 200) {{
          interpolator.push(now, {{ ann: {{ x: now }} }}, now);
        }}
        console.log(JSON.stringify(interpolator.show(7).ann.x));
        """
    ) == pytest.approx(2)


def test_the_moment_of_a_state_that_has_not_come_says_nothing() -> None:
    assert host(
        """
        netcode.take(MOMENT, [1, 5, 0], state);
        netcode.take(MOMENT, [2, 6, 1], undefined);
        return netcode.serverTime;
        """
    ) == pytest.approx(5)
    module = (WEB / "view.js").as_uri()
    assert evaluated(
        f"""
        import {{ GameView }} from "{module}";
        const [STATE, PATCH] = [10, 11];
        const owner = {{ emit: () => {{}}, requestFullState: () => {{}} }};
        const view = new GameView({{ now: () => 0, slept: () => 0 }}, owner);
        const states = [[view.sureState ?? null, view.state ?? null]];
        const take = (envelope) => {{
          view.take(envelope, 10);
          states.push([view.sureState ?? null, view.state ?? null]);
        }};
        take({{ kind: STATE, version: 1, data: 1 }});
        take({{ kind: PATCH, base: 7, version: 8, patch: 8 }});
        take({{ kind: STATE, version: 9, data: 9 }});
        console.log(JSON.stringify(states));
        """
    ) == [[None, None], [1, 1], [None, 1], [9, 9]]


def test_a_player_without_an_object_is_heard_and_who_watches_is_not() -> None:
    """Whoever has crashed says with an input that they begin anew; what was under way counts."""
    gone, back, me, watched = host(
        """
        const bob = { bob: { x: 9 } };
        netcode.take(MOMENT, [1, 5, 0], { ships: bob });
        netcode.frame();
        for (let tick = 0; tick < 3; tick++) { now += 0.05; netcode.frame({ x: 1 }); }
        const gone = leave();
        netcode.take(MOMENT, [2, 5.05, 1], { ships: { ...bob, ann: { x: 1 } } });
        const { pending, state: { x } } = netcode.play.predictor;
        plays = false;
        now += 0.05; netcode.frame({ x: 2 });
        return [gone, pending, x, leave()];
        """
    )
    assert [number for _, number, *_ in gone] == [3]
    assert back == 2
    assert me == pytest.approx(1.1)
    assert watched == []


def test_an_input_may_be_one_object_that_the_page_changes() -> None:
    x = host(
        """
        netcode.take(MOMENT, [1, 5, 0], state);
        const wish = { x: 1 };
        netcode.frame(wish);
        for (let tick = 0; tick < 4; tick++) { now += 0.05; netcode.frame(wish); }
        wish.x = 0;
        now += 0.05; netcode.frame(wish);
        netcode.take(MOMENT, [2, 5.05, 1], { ships: { ann: { x: 1.05 } } });
        return netcode.play.predictor.state.x;
        """
    )
    assert x > 1.15


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ("{ fields: ['x'] }", "step: expected a function"),
        ("{ step }", "fields: expected the names"),
        ("{ step, fields: ['x'], dely: 0 }", 'smooth, delay, snap, got "dely"'),
        ("{ step, fields: ['x'], delay: 100 }", 'delay: expected 0 to 5 s, or "auto"; got 100'),
        ("{ step, fields: ['x'], smooth: 150 }", "smooth: expected 0 to 5 s, got 150"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: str, complaint: str) -> None:
    refused = f"try {{ new Netcode({options}); }} catch (error) {{ return error.message; }}"
    assert complaint in host(refused)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ("at: 'ship'", 'with objects in its field "ship", got the fields ships'),
        ("at: 'ships', angle: 'z'", 'a number in the field "z", got the fields x'),
        ("at: 'ships', angle: 'x'", None),
    ],
)
def test_a_state_without_such_objects_is_an_error_of_the_frame(
    options: str, complaint: str | None
) -> None:
    told = host(f"""
        const other = new Netcode({{ step, fields: "x", {options} }});
        const clocks = {{ now: () => now, slept: () => 0 }};
        other.begin({{ username: "ann", ...clocks, isOpen: () => false, flush: () => {{}} }});
        other.entered(5);
        other.take(MOMENT, [1, 5, 0], state);
        try {{ other.frame(); }} catch (error) {{ return error.message; }}
        return null;
    """)
    assert complaint in told if complaint else told is None

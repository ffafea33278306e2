"""The arena of the examples, played from far away: 250 ms there and back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from examples.arena import (
    FAR,
    FRAMES,
    SPEED,
    Arena,
    Field,
    Runner,
    Shot,
    Steer,
    is_hit,
    run_bot,
    shoot,
    step,
)
from pgnet_trio.netcode import PredictedSpawns
from pgnet_trio.testing import FrameRecorder, SimulatedNetwork, hosting, playing, simulate

if TYPE_CHECKING:
    from pgnet_trio.client import GamePlay
    from pgnet_trio.netcode import Frame

BOTS = ("bot0", "bot1", "bot2", "bot3")


def test_the_arena_is_played_from_far_away_as_if_it_were_near() -> None:
    async def main() -> None:
        network = SimulatedNetwork(seed=1)
        recorder = FrameRecorder("x", "y")
        async with hosting(Arena, network=network) as server, trio.open_nursery() as nursery:
            async with playing(server, "ann", game="arena") as ann:
                for bot in BOTS:
                    nursery.start_soon(run_bot, server.client(bot))
                network.set_conditions(FAR, "ann")
                play: GamePlay[Runner, Steer] = ann.play(Runner, step=step, at="runners")
                pressed = 0.0
                for frame in range(6 * FRAMES):
                    # Half of the time there is a key held, each time another one.
                    way = [(1, 0), (0, 1), (-1, 0), (0, -1)][frame // 60 % 4]
                    steer = Steer(*way) if frame % 60 >= 30 and frame >= 120 else Steer(0, 0)
                    if frame == 150:
                        pressed = trio.current_time()
                    shown = play.frame(steer)
                    if frame >= 120:
                        exact = {} if shown.predicted is None else {"ann": shown.predicted}
                        recorder.show(trio.current_time(), shown.things, exact=exact)
                    await trio.sleep(1 / FRAMES)
                assert play.play.predictor is not None
                assert play.play.predictor.pending >= 4, "it is not far away"
                # The network became slower while inputs were under way: one came late.
                assert play.play.predictor.corrections <= 2
                nursery.cancel_scope.cancel()
        assert recorder.frames_until_moved("ann", pressed) == 0
        assert recorder.jumps(2 * SPEED / FRAMES, "ann") == []
        assert recorder.jumps(4 * SPEED / FRAMES, *BOTS) == []

    simulate(main)


def test_a_shot_shows_at_once_and_is_confirmed_or_withdrawn() -> None:
    async def main() -> None:
        network = SimulatedNetwork(seed=1)
        async with hosting(Arena, network=network) as server:
            async with playing(server, "ann", "bob", game="arena") as (ann, _):
                network.set_conditions(FAR, "ann")
                game = server.games["arena"]
                game.runners = {
                    "ann": Runner(100, 300, "red"),
                    "bob": Runner(400, 300, "blue", gems=1),
                }
                play: GamePlay[Runner, Steer] = ann.play(Runner, step=step, at="runners")
                spawns: PredictedSpawns[Shot] = PredictedSpawns()

                def look(steer: Steer) -> Frame[Runner]:
                    frame = play.frame(steer)
                    spawns.reconcile(frame.confirmed, ann.get_state(Field).shots)
                    return frame

                async def show(seconds: float, steer: Steer) -> int:
                    for _ in range(round(seconds * FRAMES)):
                        await trio.sleep(1 / FRAMES)
                        look(steer)
                    return len(spawns)

                def fire(steer: Steer) -> int:
                    frame = look(steer)
                    assert frame.me is not None
                    assert frame.number is not None
                    shot = shoot(frame.me, steer, ann.server_time)
                    spawns.add(f"ann:{steer.shots}", frame.number, shot)
                    return len(spawns)

                await show(1.0, Steer(0, 0))
                right, left = Steer(0, 0, 1, 1.0, 0.0), Steer(0, 0, 2, -1.0, 0.0)
                assert fire(right) == 1
                assert await show(0.2, right) == 1
                # The server does not know that it was too soon, before it comes there.
                assert fire(left) == 2
                assert await show(0.2, left) == 2
                assert [*game.shots] == ["ann:1"]
                assert await show(1.0, left) == 0
                assert (game.runners["ann"].gems, game.runners["bob"].gems) == (1, 0)

    simulate(main)


def test_a_shot_hits_also_between_two_ticks_that_are_far_apart() -> None:
    shot = shoot(Runner(100, 300, "red"), Steer(0, 0, 1, 2.0, 0.0), 5.0)
    bob = Runner(300, 310, "blue")
    assert is_hit(shot, 5.0, 5.8, bob)
    assert is_hit(shot, 5.4, 5.4, bob)
    assert not is_hit(shot, 5.0, 5.3, bob)
    assert not is_hit(shot, 5.5, 5.8, bob)
    assert not is_hit(shot, 5.0, 5.8, Runner(300, 330, "blue"))


def test_the_plumbing_of_the_arena_is_under_15_lines() -> None:
    """What its author writes for the network: not the rules, nor what draws."""
    source = (Path(__file__).parent.parent.parent / "examples" / "arena.py").read_text("utf-8")
    written = source[: source.index("    def draw(")]
    of_netcode = re.compile(
        r"inputs = |rewinds = |next_input|room\.dt|room\.rewind|\.play\(|interpolator"
        r"|spawns|get_state|play\.frame|frame\.(number|confirmed)|server_time"
    )
    lines = [line for line in written.splitlines() if of_netcode.search(line)]
    assert 8 <= len(lines) < 15, lines

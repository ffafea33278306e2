"""The arena of the examples, played from far away: 250 ms there and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from examples.arena import FAR, FRAMES, SPEED, Arena, Runner, Steer, run_bot, step
from pgnet_trio.testing import FrameRecorder, SimulatedNetwork, hosting, playing, simulate

if TYPE_CHECKING:
    from pgnet_trio.client import GamePlay

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

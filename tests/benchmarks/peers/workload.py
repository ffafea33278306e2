"""What is simulated in the `sync` benchmark, the same for everybody."""

from __future__ import annotations

from typing import Any

import attrs

__all__ = ["WORKLOAD", "Workload", "World"]


@attrs.frozen
class Workload:
    """The numbers of the benchmark.

    Player *n* steers entity *n* modulo `entities`. The first player of an entity numbers inputs
    from 1 and finds the last number seen in the state; players past the last entity send 0, which
    steers but is not shown, so that nobody's number hides another's.

    Attributes:
        entities: How many move; all move in each tick.
        world: Positions are whole numbers below this, and wrap around.
    """

    entities: int = 100
    ticks_per_second: int = 20
    inputs_per_second: int = 10
    world: int = 10_000

    def velocity(self, number: int) -> tuple[int, int]:
        """What an input says: different each time, and never 0, so that x and y always change."""
        return 1 + number % 9, 1 + number % 7


WORKLOAD = Workload()


class World:
    """The entities. `server.mjs` has the same in JavaScript.

    Args:
        workload: The numbers.
        seen: What the field is called that has the last input's number.
    """

    def __init__(self, workload: Workload = WORKLOAD, seen: str = "seen") -> None:
        self.workload = workload
        self.seen = seen
        self.bodies: list[dict[str, Any]] = [
            {"x": number * 97 % workload.world, "y": number * 61 % workload.world, seen: 0}
            for number in range(workload.entities)
        ]
        self.velocities = [(1 + number % 7, 1 + number % 5) for number in range(workload.entities)]

    def steer(self, body: int, number: int, dx: int, dy: int) -> None:
        """Take an input."""
        self.velocities[body] = (dx, dy)
        if number:
            self.bodies[body][self.seen] = number

    def tick(self) -> None:
        """Move everything."""
        world = self.workload.world
        for body, (dx, dy) in zip(self.bodies, self.velocities, strict=True):
            body["x"] = (body["x"] + dx) % world
            body["y"] = (body["y"] + dy) % world

"""Sixty cuts: each request is carried out once, and each push arrives once, in order."""

from __future__ import annotations

import random

import pytest
import trio

from pgnet_trio import Game, Packet, Response
from tests.soak.exactly_once import CuttingProxy
from tests.web.hosting import serving
from tests.web.node import needs_packages
from tests.web.page import open_page

pytestmark = [needs_packages, pytest.mark.no_cover]

CUTS = 60


class Ledger(Game):
    """Notes what it is asked, and pushes it."""

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.asked: list[int] = []

    def handle_game_packet(self, packet: Packet, /) -> Response:
        number = packet.payload["number"]
        self.asked.append(number)
        self.room.push("asked", {"number": number})
        return Response("x" * 300, {"number": number})

    def view(self, player: str | None = None) -> dict[str, object]:
        return {"count": len(self.asked), "last": self.asked[-1:], "noise": self.asked[-20:]}


async def test_sixty_cuts() -> None:
    made: list[Ledger] = []

    def make(name: str, save_string: str | None = None) -> Ledger:
        made.append(Ledger(name))
        return made[-1]

    limits = {"max_connections_per_address": None, "max_logins_per_address": None}
    async with serving(make, resume_grace=600.0, **limits) as server:
        assert server.port is not None
        proxy = CuttingProxy(server.port, random.Random(7), 9000)
        # Sixty pauses before it tries again take a tenth of their time.
        async with trio.open_nursery() as nursery, open_page(deadline=100, speed=10) as page:
            await nursery.start(proxy.serve)
            await page.log_in(proxy.port, "ann", reconnectFor=6000)
            await page("joinGame", "table 1")
            await page("loop", "pushes")
            proxy.cutting = True
            count = 0
            while proxy.drops < CUTS:
                count += 200
                answers = await page("flood", count - 200, 200)
                assert answers == [*range(count - 200, count)]
            proxy.cutting = False
            pushes = await page("wait", "pushes", 2 * count)
            assert [push["payload"]["number"] for push in pushes] == made[0].asked
            assert sorted(made[0].asked) == sorted([*range(count), *range(-count, 0)])
            # Of each kind, in the order of asking.
            assert [number for number in made[0].asked if number >= 0] == [*range(count)]
            # The state of a quiet message may be held back, and that of a loud one never is.
            await page("call", "loud", {"number": count})
            state = await page("get", "state")
            assert state["count"] == 2 * count + 1
            assert len(made) == 1
            nursery.cancel_scope.cancel()

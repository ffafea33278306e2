"""Players may have networks of their own: what they are like, and that they are the same again."""

from __future__ import annotations

import math
import statistics
from typing import Any

import pytest
import trio

from pgnet_trio import Client, Game, Packet, Response
from pgnet_trio.testing import (
    NETWORKS,
    Conditions,
    SimulatedNetwork,
    hosting,
    playing,
    simulate,
)


class Echo(Game):
    def __init__(self, name: str, save_string: str | None = None) -> None:
        pass

    def handle_game_packet(self, packet: Packet) -> Response:
        return Response("heard")


async def round_trip(client: Client) -> float:
    before = trio.current_time()
    await client.request(Packet("hello"))
    return trio.current_time() - before


def test_a_player_may_have_conditions_of_their_own() -> None:
    async def main() -> None:
        network = SimulatedNetwork(latency=0.1)
        async with hosting(Echo, network=network) as server:
            async with playing(server, "ann", "bob", game="table 1") as (ann, bob):
                network.set_conditions(Conditions(latency=0.5), "ann")
                assert await round_trip(ann) == pytest.approx(1.0)
                assert await round_trip(bob) == pytest.approx(0.2)
                # Also those of the next connection.
                network.drop("ann")
                await ann.request(Packet("hello"))
                assert await round_trip(ann) == pytest.approx(1.0)
                network.set_conditions(None, "ann")
                assert await round_trip(ann) == pytest.approx(0.2)
                network.set_conditions(Conditions())
                assert await round_trip(ann) == await round_trip(bob) == 0
            # Without names they are those of everybody who comes, too.
            network.set_conditions(Conditions(latency=0.3))
            async with playing(server, "cid", game="table 1") as cid:
                assert await round_trip(cid) == pytest.approx(0.6)

    simulate(main)


def test_a_table_of_networks_is_not_changed_by_a_test() -> None:
    async def main() -> None:
        network = SimulatedNetwork()
        async with hosting(Echo, network=network) as server, playing(server, "ann") as ann:
            network.set_conditions(NETWORKS["DSL"], "ann")
            await ann.request(Packet("hello"))
        assert NETWORKS["DSL"] == Conditions(0.015, 0.01, 125_000, 0.0, 0.0005, 0.2)

    simulate(main)


@pytest.mark.parametrize(
    ("figure", "value", "expected"),
    [
        ("latency", -1, "0 s or more, got -1"),
        ("jitter", math.nan, "0 s or more, got nan"),
        ("stall", math.inf, "0 s or more, got inf"),
        ("bandwidth", 0, "bytes a second, or None; got 0"),
        ("drop_rate", 1.0, "from 0 to below 1, got 1.0"),
        ("stall_rate", 1.5, "from 0 to below 1, got 1.5"),
    ],
)
def test_a_figure_that_makes_no_sense_is_refused_where_it_is_given(
    figure: str, value: float, expected: str
) -> None:
    conditions: Any = Conditions()
    with pytest.raises(ValueError, match=f"{figure}: expected {expected}"):
        Conditions(**{figure: value})
    with pytest.raises(ValueError, match=f"{figure}: expected {expected}"):
        setattr(conditions, figure, value)


def test_a_stall_holds_up_what_comes_behind_it() -> None:
    async def main() -> list[float]:
        network = SimulatedNetwork(seed=5)
        async with hosting(Echo, network=network) as server:
            async with playing(server, "ann", game="table 1") as ann:
                network.set_conditions(Conditions(stall_rate=0.1, stall=0.2), "ann")
                return [await round_trip(ann) for _ in range(200)]

    trips = simulate(main)
    assert {round(trip, 6) for trip in trips} <= {0, 0.2, 0.4}
    stalls = sum(trip > 0.1 for trip in trips)
    assert 20 <= stalls <= 60
    assert simulate(main) == trips, "the same seed, and another result"


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("LAN", 0.0, 0.002),
        ("DSL", 0.03, 0.06),
        ("4G", 0.04, 0.07),
        ("train", 0.08, 0.25),
        ("bad café", 0.05, 0.15),
    ],
)
def test_each_network_deserves_its_name(name: str, least: float, most: float) -> None:
    async def main() -> float:
        network = SimulatedNetwork(seed=name)
        async with hosting(Echo, network=network) as server:
            async with playing(server, "ann", game="table 1") as ann:
                network.set_conditions(NETWORKS[name], "ann")
                return statistics.median([await round_trip(ann) for _ in range(200)])

    assert least < simulate(main) < most

"""Whatever happens to connections, requests and pushes arrive once, and in order.

The short forms; ``python -m tests.soak.exactly_once`` runs the full ones.
"""

from __future__ import annotations

import pytest

from tests.kit.seeds import seeds
from tests.soak.exactly_once import run_over_sockets, run_simulated


@pytest.mark.parametrize("seed", seeds(2))
@pytest.mark.no_cover
def test_requests_and_pushes_arrive_once_and_in_order(seed: int) -> None:
    report = run_simulated(12, 500, seed=seed, drop_rate=0.1)
    assert report.drops > 100
    assert report.early_drops > 20


@pytest.mark.no_cover
def test_the_same_seed_gives_the_same_trace() -> None:
    one, again, other = (run_simulated(5, 60, seed=seed, drop_rate=0.1) for seed in (3, 3, 4))
    assert one.trace == again.trace
    assert one.trace != other.trace


@pytest.mark.no_cover
async def test_they_do_over_real_sockets_too() -> None:
    report = await run_over_sockets(10, 1000, seed=1, mean=6000)
    assert report.drops > 30

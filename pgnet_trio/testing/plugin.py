"""The pytest plugin of pgnet_trio.

Every run of pytest loads this plugin, whether or not it tests a game. So it does not import
pytest-trio: where that is missing, nothing else may break.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from pgnet_trio.testing import SimulatedNetwork, seeded_scheduler
from pgnet_trio.testing.hosting import Kit

SEED = pytest.StashKey[int]()

# pytest sets a fixture up once for all examples of a test. Where a fixture awaits something,
# pytest-trio hands the object of the example before to each one, after it was torn down.
IN_HYPOTHESIS = (
    "The fixtures of pgnet_trio serve one run of a test, and Hypothesis runs this one for many "
    "examples. Make the test a plain function without them: detached(MyGame, players=[...]) is a "
    "game without a server, and simulate(main) runs an async function in which hosting(MyGame) "
    "and playing(server, ...) are a server and its clients. All four are in pgnet_trio.testing."
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that repeats a failed test."""
    parser.getgroup("pgnet_trio").addoption(
        "--pgnet-seed",
        type=int,
        metavar="SEED",
        help="repeat simulated networks with this seed, as a failed test printed it",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Pass the seed to `pgnet_trio.testing.explore`, which knows nothing of pytest."""
    seed = config.getoption("--pgnet-seed")
    if seed is not None:
        patch = pytest.MonkeyPatch()
        patch.setenv("PGNET_SEED", str(seed))
        config.add_cleanup(patch.undo)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Say how to repeat a test that failed."""
    outcome: Any = yield
    report = outcome.get_result()
    seed = item.stash.get(SEED, None)
    if report.failed and seed is not None:
        report.sections.append(("pgnet_trio", f"Repeat this with --pgnet-seed={seed}"))


@pytest.fixture
def pgnet_seed(request: pytest.FixtureRequest) -> Iterator[int]:
    """Yield a new seed for each test; the order of Trio's tasks depends on it too."""
    if hasattr(request.function, "hypothesis"):
        pytest.fail(IN_HYPOTHESIS, pytrace=False)
    seed = request.config.getoption("--pgnet-seed")
    if seed is None:
        seed = random.SystemRandom().randrange(2**32)
    request.node.stash[SEED] = seed
    with seeded_scheduler(seed):
        yield seed


@pytest.fixture
def pgnet_network(pgnet_seed: int) -> SimulatedNetwork:
    """Return the network that connects the clients and servers of this test."""
    return SimulatedNetwork(pgnet_seed)


@pytest.fixture
async def _pgnet_kit(pgnet_network: SimulatedNetwork) -> AsyncIterator[Kit]:
    async with Kit(pgnet_network) as kit:
        yield kit


@pytest.fixture
def pgnet_server(_pgnet_kit: Kit) -> Callable[..., Any]:
    """Return what starts a server.

    ``server = await pgnet_server(MyGame, **options)``; see `pgnet_trio.testing.Kit.host`.
    """
    return _pgnet_kit.host


@pytest.fixture
def pgnet_client(_pgnet_kit: Kit) -> Callable[..., Any]:
    """Return what starts a client.

    ``ann = await pgnet_client("ann", game="table 1")``; see `pgnet_trio.testing.Kit.play`.
    """
    return _pgnet_kit.play

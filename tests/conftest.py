"""Rules that hold for every test: nothing leaves this machine. And how much time they lived."""

from __future__ import annotations

import gc
import ipaddress
import os
import signal
import sys
from collections.abc import Generator, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, is_hypothesis_test, settings
from trio.testing import MockClock

from tests.kit.needed import skip_without

pytest_plugins = ["pgnet_trio.testing.plugin"]

# Beside addresses that are loopback by their number: names of this machine, no name at all
# (which is this machine too), and the wildcard addresses, on which a connection ends here.
_LOCAL_NAMES = {None, "", "localhost", "0.0.0.0", "::"}


def _is_local(host: object) -> bool:
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if host in _LOCAL_NAMES:
        return True
    try:
        return ipaddress.ip_address(str(host).partition("%")[0]).is_loopback
    except ValueError:
        return False


def _refuse_the_network(event: str, arguments: tuple[object, ...]) -> None:
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event in {"socket.connect", "socket.sendto"}:
        address = arguments[1]
        # Anything but a tuple is no internet address: a Unix socket, say.
        host = address[0] if isinstance(address, tuple) else None
    else:
        return
    if not _is_local(host):
        raise RuntimeError(f"tests stay on this machine: {event} for {host!r} was refused")


# An audit hook sees every socket of the process, whichever library opened it.
sys.addaudithook(_refuse_the_network)

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what runs in the background without Ctrl-C, and what tests start inherits that.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is no failure. Each property has a hundred examples, and thousands for a night:
# `--hypothesis-profile=thorough`.
settings.register_profile(
    "unhurried",
    settings.default,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("thorough", settings.get_profile("unhurried"), max_examples=2000)
settings.load_profile("unhurried")

VIRTUAL_SECONDS = pytest.StashKey[list[float]]()


def pytest_configure(config: pytest.Config) -> None:
    """Know our marker, and that of pytest-cov where that is not loaded too."""
    config.addinivalue_line("markers", "no_cover: do not measure what this test runs.")
    config.addinivalue_line("markers", "needs(*names): skip where the machine lacks one of these.")
    keep_what_is_compiled(config)


def keep_what_is_compiled(config: pytest.Config) -> None:
    """Have hundreds of programs not compile every module again where Python is to leave no traces.

    All processes of this run share a folder of pytest's cache, which lies beside no module.
    """
    if sys.dont_write_bytecode and config.pluginmanager.has_plugin("cacheprovider"):
        assert config.cache is not None
        folder = str(config.cache.mkdir("pycache"))
        sys.dont_write_bytecode = False
        sys.pycache_prefix = os.environ["PYTHONPYCACHEPREFIX"] = folder
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.hookimpl(optionalhook=True, wrapper=True)
def pytest_xdist_auto_num_workers() -> Generator[None, int, int]:
    """Run one process more than pytest-xdist would: some wait for programs, or for time to pass."""
    return (yield) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave what Hypothesis calls a hundred times out of what is measured.

    Measuring makes it several times slower, and the examples that other tests name reach the
    same lines.
    """
    for item in items:
        if isinstance(item, pytest.Function) and is_hypothesis_test(item.obj):
            item.add_marker(pytest.mark.no_cover)


def pytest_collection_finish() -> None:
    """Take thousands of collected tests, and all modules, out of what the collector looks at.

    They stay until the end, and every full collection walks through them; tests that count
    objects count those of their own only.
    """
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests of what this machine has not."""
    for marker in item.iter_markers("needs"):
        skip_without(*marker.args)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Have programs that a test starts not measured where the test is not."""
    with pytest.MonkeyPatch.context() as patch:
        if item.get_closest_marker("no_cover") is not None:
            patch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        return (yield)


@pytest.fixture
def socket_clock() -> MockClock:
    """A clock that jumps as ``autojump_clock`` does, for tests over real sockets.

    There, all tasks may be blocked while the system carries bytes from one end to the other. A
    clock that jumped at once would let 20 s of silence pass in that moment, and end connections.
    """
    return MockClock(autojump_threshold=0.05)


@pytest.fixture(autouse=True)
def _count_virtual_time(request: pytest.FixtureRequest) -> Iterator[None]:
    """Add up the time that went by on clocks that jump."""
    clock = None
    for name in ("autojump_clock", "socket_clock"):
        if name in request.fixturenames:
            clock = request.getfixturevalue(name)
    yield
    if clock is not None:
        seconds = request.config.stash.setdefault(VIRTUAL_SECONDS, [])
        seconds.append(clock.current_time())


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand the time on to the process that started this one, where pytest-xdist did."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["virtual seconds"] = session.config.stash.get(VIRTUAL_SECONDS, [])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take it over; a process that crashed has left nothing."""
    seconds = getattr(node, "workeroutput", {}).get("virtual seconds", [])
    node.config.stash.setdefault(VIRTUAL_SECONDS, []).extend(seconds)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say how much virtual time the tests lived through."""
    seconds = config.stash.get(VIRTUAL_SECONDS, [])
    if seconds:
        terminalreporter.write_line(
            f"{len(seconds)} tests in virtual time lived {sum(seconds) / 3600:,.1f} hours"
        )

"""What a server or a client needs of the outside world: randomness, hashing, blocking calls.

All of it is in one object, so that the test kit can replace it in one place.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import trio

from pgnet_trio.crypto import PasswordHasher

__all__ = ["Environment", "require_trio"]


def require_trio() -> None:
    """Check that the caller runs under Trio.

    Raises:
        RuntimeError: The caller is no task of Trio; the message says how to start one.
    """
    if not trio.lowlevel.in_trio_task():
        raise RuntimeError(
            "pgnet_trio runs on Trio, and this is no task of Trio: start the program with "
            "trio.run(main), and not with asyncio.run(main())."
        )


def _ignore(error: BaseException) -> None:
    """Do nothing: the error is in the log."""


async def _run_in_thread(
    function: Callable[..., Any],
    *args: Any,
    abandon_on_cancel: bool,
    limiter: trio.CapacityLimiter | None = None,
) -> Any:
    return await trio.to_thread.run_sync(
        function, *args, abandon_on_cancel=abandon_on_cancel, limiter=limiter
    )


def _count_sleep() -> float:
    """Return for how many seconds this machine has slept, with Trio's clock standing still.

    On Windows that clock goes on meanwhile. So it may elsewhere, where there are no two clocks to
    compare.
    """
    for with_sleep, without in (
        ("CLOCK_BOOTTIME", "CLOCK_MONOTONIC"),  # Linux
        ("CLOCK_MONOTONIC_RAW", "CLOCK_UPTIME_RAW"),  # macOS
    ):
        if hasattr(time, with_sleep) and hasattr(time, without):
            awake = time.clock_gettime(getattr(time, without))
            return time.clock_gettime(getattr(time, with_sleep)) - awake
    return 0.0


@attrs.frozen(kw_only=True)
class Environment:
    """What a server or a client gets from outside itself.

    Args:
        random_bytes: Returns so many random bytes; keys, nonces and invite codes come from it.
        password_hasher: Hashes and checks passwords.
        run_blocking: Runs a blocking function outside the event loop, and returns what it returns.
            On ``abandon_on_cancel=True`` a cancellation abandons the function, which then runs to
            its end unobserved. ``limiter`` is the `trio.CapacityLimiter` of the threads that it may
            use; None for the one that all of the program shares.
        wall_clock: Returns the time in seconds since 1970; whatever outlives a run ends by it.
        slept: Returns for how many seconds this machine has slept while Trio's clock stood still.
        note_failure: Called with each unforeseen error of a game, a connection, a session or a
            hook, after the error was logged and contained. The test kit makes tests fail with it.
        end_process: Ends the process at once, with an exit code: called where a server has ended
            in order, and a game goes on that does not let itself be cancelled. None: the server
            waits for that game, for ever perhaps.
    """

    random_bytes: Callable[[int], bytes] = secrets.token_bytes
    password_hasher: PasswordHasher = attrs.field(factory=PasswordHasher)
    run_blocking: Callable[..., Awaitable[Any]] = _run_in_thread
    wall_clock: Callable[[], float] = time.time
    slept: Callable[[], float] = _count_sleep
    note_failure: Callable[[BaseException], None] = _ignore
    end_process: Callable[[int], object] | None = None

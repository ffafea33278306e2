"""What a server or a client takes from the outside world: randomness, hashing, blocking calls.

One object, so that the test kit replaces all of it in one place.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import trio

from pgnet_trio.crypto import PasswordHasher

__all__ = ["Environment", "require_trio"]


def require_trio() -> None:
    """Check that the caller runs under Trio.

    Raises:
        RuntimeError: It does not; the message says how to.
    """
    if not trio.lowlevel.in_trio_task():
        raise RuntimeError(
            "pgnet_trio runs on Trio, and this is no task of Trio: start the program with "
            "trio.run(main), and not with asyncio.run(main())."
        )


def _ignore(error: BaseException) -> None:
    """What went wrong is in the log."""


async def _run_in_thread(function: Callable[..., Any], *args: Any, abandon_on_cancel: bool) -> Any:
    return await trio.to_thread.run_sync(function, *args, abandon_on_cancel=abandon_on_cancel)


@attrs.frozen(kw_only=True)
class Environment:
    """Where a server or a client gets what is not in its own hands.

    Args:
        random_bytes: Gives that many random bytes; keys, nonces and invite codes come from it.
        password_hasher: Hashes and checks passwords.
        run_blocking: Runs a blocking function somewhere else than on the event loop, and
            returns what it returns. Where it abandons the function on cancellation, the
            function goes on to its end unobserved.
        note_failure: Called with each error that was not foreseen, logged, and kept from doing
            harm elsewhere: of a game, a connection, a session or a hook. Tests fail by it.
    """

    random_bytes: Callable[[int], bytes] = secrets.token_bytes
    password_hasher: PasswordHasher = attrs.field(factory=PasswordHasher)
    run_blocking: Callable[..., Awaitable[Any]] = _run_in_thread
    note_failure: Callable[[BaseException], None] = _ignore

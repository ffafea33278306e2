"""Runs an author's coroutine, and does something before and after each of its steps."""

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

__all__ = ["stepped"]

T = TypeVar("T")


@types.coroutine
def stepped(
    coroutine: Coroutine[Any, Any, T],
    before_step: Callable[[], None],
    after_step: Callable[[], None],
) -> Generator[Any, Any, T]:
    """Await a coroutine step by step: each time that it yields to the event loop ends a step.

    Neither *before_step* nor *after_step* may raise: the coroutine waits for something then, which
    would wake it though it is gone.

    Args:
        coroutine: What to await.
        before_step: Called before each step.
        after_step: Called while the coroutine waits, and at its end.
    """
    resume: Callable[[Any], Any] = coroutine.send
    value: Any = None
    try:
        while True:
            before_step()
            request = resume(value)
            after_step()
            try:
                value = yield request
            except BaseException as error:
                resume, value = coroutine.throw, error
            else:
                resume = coroutine.send
    except StopIteration as stop:
        result: T = stop.value
    finally:
        coroutine.close()
    after_step()
    return result

"""Where errors are found, and the two rules by which one is taken from a group."""

from __future__ import annotations

import pytest
import trio

import pgnet_trio
from pgnet_trio import errors
from pgnet_trio.errors import bare, first_error


async def cancelled() -> trio.Cancelled:
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled as error:
            return error
    raise AssertionError("it was not cancelled")


async def test_the_first_error_is_the_first_that_is_no_cancellation() -> None:
    cancellation, one, two = await cancelled(), ValueError("one"), KeyError("two")
    inner = BaseExceptionGroup("inner", [cancellation, BaseExceptionGroup("deep", [one, two])])
    assert first_error(BaseExceptionGroup("outer", [cancellation, inner])) is one
    assert first_error(one) is one
    assert first_error(BaseExceptionGroup("outer", [cancellation])) is cancellation
    for end in (KeyboardInterrupt(), SystemExit()):
        assert first_error(BaseExceptionGroup("outer", [cancellation, end, one])) is end


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_who_is_alone_is_bare(depth: int) -> None:
    one = error = ValueError("one")
    group: BaseException = error
    for _ in range(depth):
        group = BaseExceptionGroup("a group", [group])
    assert bare(group) is one
    several = ExceptionGroup("several", [one, KeyError("two")])
    assert bare(ExceptionGroup("outer", [several])) is several


def test_each_error_is_found_among_the_errors_and_at_the_root() -> None:
    # `RequestFailed` stands beside the response that it carries, and was among the errors in 0.1.
    for name in errors.__all__:
        found = getattr(errors, name)
        if isinstance(found, type):
            assert issubclass(found, errors.PGNetError)
            assert getattr(pgnet_trio, name) is found

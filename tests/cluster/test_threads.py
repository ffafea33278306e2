"""A transaction in a thread is cancelled before its commit, or not at all."""

from __future__ import annotations

import threading

import pytest
import trio

from pgnet_trio.server.cluster import threads
from pgnet_trio.server.cluster.errors import EngineUnavailable, OutcomeUnknown
from pgnet_trio.server.cluster.threads import Abandoned, ThreadCall

Call = ThreadCall[threading.Event, str]


class Work:
    """A transaction that waits where the test says, until its connection is interrupted."""

    def __init__(self, *, waits_in_commit: bool, ends: bool = True) -> None:
        self.connection = threading.Event()
        self.began = trio.Event()
        self.outcome = ""
        self.ended = threading.Event()
        self._waits_in_commit = waits_in_commit
        self._ends = ends
        self._token = trio.lowlevel.current_trio_token()
        self.call = Call(self._run, self._interrupt)

    def _interrupt(self, connection: threading.Event) -> None:
        if self._ends:
            connection.set()

    def _run(self, call: Call) -> str:
        try:
            call.use(self.connection)
            try:
                if not self._waits_in_commit:
                    self._wait()
                call.begin_commit()
                self.outcome = "committed"
                if self._waits_in_commit:
                    self._wait()
                return self.outcome
            finally:
                call.use(None)
        except Abandoned:
            self.outcome = "rolled back"
            raise
        finally:
            self.ended.set()

    def _wait(self) -> None:
        self._token.run_sync_soon(self.began.set)
        assert self.connection.wait(30)


async def ended(work: Work) -> None:
    assert await trio.to_thread.run_sync(work.ended.wait, 30)


async def test_a_call_that_is_cancelled_before_its_commit_is_rolled_back(
    nursery: trio.Nursery,
) -> None:
    limiter, work = trio.CapacityLimiter(1), Work(waits_in_commit=False)

    with trio.CancelScope() as scope:
        nursery.start_soon(_cancel_when, work.began, scope)
        await work.call.run(limiter, 30)
    assert scope.cancelled_caught
    await ended(work)
    assert work.outcome == "rolled back"
    # Its place is free again once the thread is done.
    with trio.fail_after(30):
        async with limiter:
            pass


async def test_a_call_that_is_cancelled_during_its_commit_returns_the_result(
    nursery: trio.Nursery,
) -> None:
    limiter, work = trio.CapacityLimiter(1), Work(waits_in_commit=True)

    async def cancel_and_let_go_on() -> None:
        await work.began.wait()
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        work.connection.set()

    with trio.CancelScope() as scope:
        nursery.start_soon(cancel_and_let_go_on)
        assert await work.call.run(limiter, 30) == "committed"
        await trio.lowlevel.checkpoint()
        raise AssertionError("the checkpoint was to raise the cancellation")
    assert scope.cancelled_caught


async def test_a_call_that_takes_too_long_fails_and_frees_its_thread() -> None:
    limiter, work = trio.CapacityLimiter(1), Work(waits_in_commit=False)
    with pytest.raises(EngineUnavailable, match=r"within 0\.05 s"):
        await work.call.run(limiter, 0.05)
    await ended(work)
    assert work.outcome == "rolled back"


async def test_a_call_waits_for_a_thread_no_longer_than_for_an_answer() -> None:
    limiter = trio.CapacityLimiter(1)
    async with limiter:
        work = Work(waits_in_commit=False)
        with pytest.raises(EngineUnavailable):
            await work.call.run(limiter, 0.05)
        assert not work.began.is_set()


async def test_a_commit_that_hangs_is_cut_and_one_that_hangs_on_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threads, "COMMIT_GRACE", 0.05)
    limiter = trio.CapacityLimiter(2)
    cut = Work(waits_in_commit=True)
    assert await cut.call.run(limiter, 0.05) == "committed"
    left = Work(waits_in_commit=True, ends=False)
    with pytest.raises(OutcomeUnknown):
        await left.call.run(limiter, 0.05)
    assert limiter.borrowed_tokens == 1
    left.connection.set()
    await ended(left)


async def test_an_error_of_the_thread_is_the_calls() -> None:
    def fail(call: Call) -> str:
        raise KeyError("x")

    with pytest.raises(KeyError):
        await Call(fail, threading.Event.set).run(trio.CapacityLimiter(1), 30)


async def test_a_call_is_a_checkpoint_that_starts_no_thread_where_it_is_cancelled() -> None:
    work = Work(waits_in_commit=False)
    with trio.CancelScope() as scope:
        scope.cancel()
        await work.call.run(trio.CapacityLimiter(1), 30)
    assert scope.cancelled_caught
    assert not work.ended.is_set()


async def _cancel_when(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()

"""Runs the author's code: notes what runs now, and publishes what each step has changed."""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

from pgnet_trio.author_lines import LIBRARIES, PACKAGE
from pgnet_trio.messages import Response
from pgnet_trio.server.counters import TIMED
from pgnet_trio.server.room.deferred import Deferred
from pgnet_trio.server.room.queue import do_nothing
from pgnet_trio.server.room.snapshots import UNWATCHABLE
from pgnet_trio.typed import finish

if TYPE_CHECKING:
    import trio

    from pgnet_trio.server.room.instance import GameInstance
    from pgnet_trio.server.room.publisher import Publisher
    from pgnet_trio.server.room.queue import TurnQueue
    from pgnet_trio.server.watchdog import Watchdog

__all__ = ["MeasuredRunner", "Runner", "Running", "stepped"]

T = TypeVar("T")
U = TypeVar("U")

MAX_FAILED_CALLS = 1_000
"""Calls of room methods in a row that may fail at once before the game is ended as crashed."""


class Running:
    """What of one game's code runs now, as the watchdog sees it.

    One object for all turns and steps, so that to note one costs no allocation.

    Args:
        name: The game's name.

    Attributes:
        name: The game's name.
        busy: What runs, another object each time; None while no code of the game does.
        outer: What was `busy` outside of each ``with`` block that has begun.
    """

    __slots__ = ("busy", "name", "outer")

    def __init__(self, name: str) -> None:
        self.name = name
        self.busy: object = None
        self.outer: list[object] = []

    def __enter__(self) -> None:
        """Nothing is left to do: `Runner.running` has noted it."""

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self.busy = self.outer.pop()


class Runner:
    """Runs a game's hooks, and publishes what they have changed.

    A step of a coroutine ends each time that it yields to the event loop. What it has changed is
    published then, so that players see it while the game waits.

    Args:
        instance: The game.
        queue: The turns that wait for it.
        publisher: Publishes what has changed.
        watchdog: Is told what runs.

    Attributes:
        instance: The game, for the parts above.
        queue: Its turns, for the parts above.
        publisher: Its publisher, for the parts above.
        deferred: The kicks, and the end of the game, that the loop will carry out.
        failure: What the game raised outside of its turns, until the room takes it.
        failed_calls: How many calls of room methods in a row failed at once, while no turn began.
        coroutines: The async hooks, handlers and scripts that have not ended.
        nursery: The nursery of everything that ends with the game.
    """

    nursery: trio.Nursery
    _scripts_scope: trio.CancelScope

    def __init__(
        self, instance: GameInstance, queue: TurnQueue, publisher: Publisher, watchdog: Watchdog
    ) -> None:
        self.instance = instance
        self.queue = queue
        self.publisher = publisher
        self._running = Running(instance.name)
        self._watchdog = watchdog
        self.deferred = Deferred()
        self.failure: BaseException | None = None
        self.failed_calls = 0
        self.coroutines: set[Coroutine[Any, Any, Any]] = set()

    def begin(self, nursery: trio.Nursery) -> None:
        """Begin with a game that is about to be made, and whose tasks will run in *nursery*."""
        self.nursery = nursery
        if self.instance.tape is not None:
            self.instance.tape.begin()

    def begin_scripts(self, scope: trio.CancelScope) -> None:
        """Note the scope that the game's scripts run under."""
        self._scripts_scope = scope

    @property
    def busy(self) -> object:
        """What of the game's code runs now, another object each time; None for nothing."""
        return self._running.busy

    def running(self, what: object) -> Running:
        """Note what of the game's code runs: ``with runner.running(what): ...``.

        Such blocks may be nested. Inside one, await only through `steps_of`: it sets `busy` to
        None for the wait. So the block of another task opens and closes within one wait.
        """
        running = self._running
        running.outer.append(running.busy)
        running.busy = what
        self._watchdog.room = running
        return running

    def call(self, function: Callable[[T], U], what: T) -> U:
        """Call a function with what runs: ``with running(what)``, in one call for each packet."""
        running = self._running
        outer, running.busy = running.busy, what
        self._watchdog.room = running
        try:
            return function(what)
        finally:
            running.busy = outer

    def stop_watching(self) -> None:
        """Let the watchdog forget this game, which would otherwise stay in memory after its end."""
        if self._watchdog.room is self._running:
            self._watchdog.room = None

    async def hook(self, result: Any) -> Any:
        """Wait for what a hook returned, if it is async, and publish each of its steps."""
        return await self.steps_of(result) if inspect.isawaitable(result) else result

    async def steps_of(self, awaitable: Awaitable[T], *, delayable: bool = False) -> T:
        """Wait for what an async hook or handler returned, and publish each of its steps.

        Args:
            awaitable: What it returned.
            delayable: Whether what it changes of the state may be sent later.
        """
        coroutine = awaitable if inspect.iscoroutine(awaitable) else finish(awaitable)
        running = self._running
        after_step = partial(self.after_step, delayable=True) if delayable else self.after_step
        # The turn goes on, but its code runs only within the steps.
        running.busy = None
        self.queue.note_blocked_by(coroutine)
        try:
            return await stepped(coroutine, self, after_step)
        finally:
            self.queue.note_unblocked()
            running.busy = coroutine

    def count(self, what: object) -> int:
        """Return the place of a coroutine, or of what makes one, in the order of coroutines."""
        tape = self.instance.tape
        if tape is None:
            return 0
        return tape.count_coroutine(getattr(what, "__qualname__", type(what).__qualname__))

    def is_in_play(self) -> bool:
        """Return whether the game is made, and neither over nor about to end by an error."""
        return self.failure is None and self.queue.end_reason is None and self.instance.made

    def publish(self, *, delayable: bool = False) -> None:
        """Make known what has changed: the lobby information, then the state, then pushes.

        It is written by the publisher's next flush.

        Args:
            delayable: Whether the state is delayed if it was sent a moment ago.
        """
        publisher, instance = self.publisher, self.instance
        if instance.has_info or not (
            publisher.views is None or (delayable and publisher.state_is_delayed)
        ):
            # While it runs, pushes only queue: they leave after the state.
            with self.running(object()):
                publisher.refresh(delayable=delayable)
            if publisher.unseeing:
                unseeing, publisher.unseeing = publisher.unseeing, []
                for member in unseeing:
                    self.defer_kick(member.player.username, UNWATCHABLE)
        # After the state, since pushes may be about it.
        if publisher.pushes:
            publisher.send_pushes()

    def sync(self) -> None:
        """Make known what has changed, and write it, unless the game is over or not made yet."""
        if self.queue.end_reason is None and self.instance.made:
            self.publish()
            self.publisher.flush()

    def after_step(self, *, delayable: bool = False) -> None:
        """Publish what a step has changed. What this raises ends the game, and never comes out."""
        if self.is_in_play():
            try:
                self.publish(delayable=delayable)
                self.publisher.flush()
            except BaseException as error:
                # Never raise into a suspended coroutine: what it awaits would later reschedule a
                # dead task.
                self.fail(error)

    def defer_kick(self, username: str, reason: str) -> None:
        """Ask the loop to kick a member after this turn or step."""
        self.deferred.kick(username, reason)
        self.ensure_turn()

    def defer_end(self, reason: str = "") -> None:
        """Ask the loop to end the game after this turn or step."""
        if self.deferred.end(reason):
            self.ensure_turn()

    def defer_rematch(self) -> None:
        """Ask the loop to let a new game begin after this turn or step."""
        self.deferred.rematch()
        self.ensure_turn()

    def ensure_turn(self) -> None:
        """Have the after-turn work done: queue an empty turn, unless game code runs anyway."""
        if not self._running.busy:
            self.queue.post(do_nothing)

    def fail(self, error: BaseException) -> None:
        """End the game as if a turn had raised *error*; for code of the game in other tasks."""
        if self.failure is None:
            self.failure = error
            self.nursery.cancel_scope.cancel()

    def note_failed_call(self, error: Exception) -> None:
        """Count a call of a room method that failed at once; end a game that does nothing else."""
        self.failed_calls += 1
        if self.failed_calls < MAX_FAILED_CALLS:
            return
        self.failed_calls = 0
        where = _author_line() or " or ".join(self.lines())
        spinning = RuntimeError(
            f"{MAX_FAILED_CALLS:,} calls of room methods in a row failed at once, the last of them "
            f"at {where}; a loop that goes on after an error has to wait for something, such as "
            "self.room.wait_players()."
        )
        spinning.__cause__ = error
        self.fail(spinning)

    def note_call(self) -> None:
        """Note that a call of a room method succeeded, or had to wait."""
        self.failed_calls = 0

    def lines(self) -> list[str]:
        """Return where code of the game waits, each as a file, a line and a function."""
        nursery = getattr(self, "nursery", None)
        # Bots, and what tasks have started in nurseries of their own, take their steps themselves.
        others = () if nursery is None else (task.coro for task in _tasks_in(nursery))
        return sorted({*map(_waiting_line, (*self.coroutines, *others))} - {""})

    def cancel_scripts(self) -> None:
        """Cancel the game's scripts; its turns go on."""
        self._scripts_scope.cancel()

    def take_failure(self) -> BaseException | None:
        """Return the error that `fail` was called with, if any, and forget it."""
        failure, self.failure = self.failure, None
        return failure


class MeasuredRunner(Runner):
    """Times one in `TIMED` packets, too."""

    _left = TIMED

    def call(self, function: Callable[[T], U], what: T) -> U:
        """As `Runner.call`; without a call of that one for each packet."""
        running = self._running
        outer, running.busy = running.busy, what
        self._watchdog.room = running
        self._left = left = self._left - 1
        try:
            return function(what) if left else self._time(function, what)
        finally:
            running.busy = outer

    def _time(self, function: Callable[[T], U], what: T) -> U:
        self._left = TIMED
        began = perf_counter()
        result = function(what)
        # What has to be waited for is timed as a whole.
        if isinstance(result, Response):
            self.instance.turns.add(perf_counter() - began)
        return result


@types.coroutine
def stepped(
    coroutine: Coroutine[Any, Any, T],
    runner: Runner,
    after_step: Callable[[], None],
    number: int | None = None,
) -> Generator[Any, Any, T]:
    """Await a coroutine step by step: each time that it yields to the event loop ends a step.

    Args:
        coroutine: What to await.
        runner: Notes each step, as an object of its own.
        after_step: Called after each step, while the coroutine waits, and at its end. It must
            not raise: what the coroutine awaits would later reschedule a dead task.
        number: Its place in the order of coroutines; None to take the next one.
    """
    running, tape = runner.running, runner.instance.tape
    resume: Callable[[Any], Any] = coroutine.send
    value: Any = None
    if number is None:
        number = runner.count(coroutine)
    runner.coroutines.add(coroutine)
    try:
        while True:
            if tape is not None:
                waiting = tape.step(number, raised=resume != coroutine.send)
                if waiting is not None:
                    yield from waiting.__await__()
            with running(object()):
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
        runner.coroutines.discard(coroutine)
        coroutine.close()
        if tape is not None:
            tape.forget_coroutine(number)
    after_step()
    return result


def _author_line() -> str:
    """Return the file, line and function that called this package; empty where none did."""
    frame = sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(PACKAGE):
        frame = frame.f_back
    if frame.f_code.co_filename.startswith(LIBRARIES):
        # A task within `ask_all`, which has no other caller than Trio.
        return ""
    return f"{frame.f_code.co_filename}:{frame.f_lineno}, in {frame.f_code.co_qualname}"


def _tasks_in(nursery: trio.Nursery) -> Iterator[trio.lowlevel.Task]:
    """Yield the tasks in a nursery, and those in their own nurseries."""
    waiting = [nursery]
    while waiting:
        for task in waiting.pop().child_tasks:
            yield task
            waiting.extend(task.child_nurseries)


def _waiting_line(coroutine: Any) -> str:
    """Return the innermost line outside of libraries where a coroutine waits; empty for none."""
    found = ""
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is not None and not frame.f_code.co_filename.startswith(LIBRARIES):
            code = frame.f_code
            found = f"{code.co_filename}:{frame.f_lineno}, in {code.co_qualname}"
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    return found

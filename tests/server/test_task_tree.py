"""The live tree of tasks: what a host sees of it, also when the event loop is stuck."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import trio
from trio.testing import wait_all_tasks_blocked

from pgnet_trio import Game
from pgnet_trio.server.monitor.rows import encode_json
from pgnet_trio.server.monitor.tasks import TaskNode, TaskTimes, TaskTree
from pgnet_trio.testing import hosting


class Waiting(Game):
    async def run(self) -> None:
        await self.room.wait_players(2)


async def nap(seconds: float) -> None:
    await trio.sleep(seconds)


def tree(times: TaskTimes | None = None) -> TaskTree:
    root = trio.lowlevel.current_root_task()
    assert root is not None
    return TaskTree(root, threading.get_ident(), times)


def nodes(node: TaskNode) -> Iterator[TaskNode]:
    yield node
    for nursery in node.nurseries:
        for child in nursery.tasks:
            yield from nodes(child)


def find(node: TaskNode, name: str) -> TaskNode:
    [found] = [each for each in nodes(node) if each.name.endswith(name)]
    return found


class Unbound:
    """Stands for another object, as those of some libraries do, while there is none."""

    @property  # type: ignore[misc]  # as such an object does
    def __class__(self) -> Any:
        raise RuntimeError("there is no object")


def test_what_stands_for_another_object_is_not_asked_for_it() -> None:
    async def hold(held: object) -> None:
        await trio.sleep_forever()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hold, Unbound(), name="a name with half a character: \ud800")
            await wait_all_tasks_blocked()
            picture = tree().snapshot()
            assert rb"half a character: \\ud800" in encode_json(picture)
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_a_script_shows_what_of_the_authors_it_waits_for() -> None:
    async def main() -> None:
        async with hosting(Waiting) as server, server.client("ann") as ann:
            await ann.create_game("table 1")
            await wait_all_tasks_blocked()
            picture = tree()
            script = find(picture.snapshot(), "._run_script")
            assert script.game == "table 1"
            assert "in Waiting.run" in script.where
            # Who created it is no owner of it.
            assert script.user == ""
            assert find(picture.snapshot(), "serving.handle_transport").user == "ann"
            stack = picture.stack(script.id)
            assert stack is not None
            assert [line.function for line in stack if line.is_authors] == ["Waiting.run"]
            assert picture.stack("no task") is None
            host = find(picture.snapshot(), "Run._host")
            names = [nursery.name for nursery in host.nurseries]
            assert names == ["ending", "services", "connections", "accept"]

    trio.run(main)


async def test_what_a_task_waits_for_is_said_in_words() -> None:
    send, receive = trio.open_memory_channel[int](0)
    waits: dict[str, tuple[Callable[[], Awaitable[object]], str]] = {
        "sleeper": (trio.Event().wait, "an event"),
        "reader": (receive.receive, "something from a channel"),
        "napper": (trio.sleep_forever, "its cancellation"),
    }
    async with trio.open_nursery() as people:
        for name, (function, _) in waits.items():
            people.start_soon(function, name=name)
        people.start_soon(nap, 1e9, name="clock")
        await wait_all_tasks_blocked()
        picture = tree().snapshot()
        for name, (_, words) in waits.items():
            assert find(picture, name).waits_for == words
        assert find(picture, "clock").waits_for == "the clock"
        assert "in nap" in find(picture, "clock").where
        people.cancel_scope.cancel()
    send.close()


async def test_who_is_one_of_many_is_counted(autojump_clock: trio.testing.MockClock) -> None:
    times = TaskTimes()
    async with trio.open_nursery() as people:
        for _ in range(500):
            people.start_soon(nap, 1e9)
        with times.watching():
            await trio.sleep(1)
            since = trio.current_time() - 1
            picture = tree(times)
            snapshot = picture.snapshot(most=3)
            shown = [each for each in nodes(snapshot) if each.name.endswith(".nap")]
            assert len(shown) == 3
            assert {each.since for each in shown} == {since}
            left_out = [
                nursery.left_out
                for each in nodes(snapshot)
                for nursery in each.nurseries
                if nursery.name == "people"
            ]
            assert left_out == [{f"{nap.__module__}.nap": 497}]
            assert "and 499 more like it" in picture.dump()
        assert {each.since for each in nodes(picture.snapshot())} == {None}
        people.cancel_scope.cancel()


async def test_another_thread_sees_it_while_the_loop_is_stuck() -> None:
    picture = tree()
    dumps: list[str] = []

    def stuck() -> None:
        thread = threading.Thread(target=lambda: dumps.append(picture.dump()))
        thread.start()
        thread.join()

    async with trio.open_nursery() as people:
        people.start_soon(nap, 1e9)
        await wait_all_tasks_blocked()
        stuck()
        people.cancel_scope.cancel()
    [dump] = dumps
    running, _, tasks = dump.partition("The tasks:")
    assert "in test_another_thread_sees_it_while_the_loop_is_stuck.<locals>.stuck" in running
    assert "waits for the clock" in tasks
    assert "waits for nothing: it runs" in tasks
    # What a task that runs does is not in what it awaits, but the thread shows it.
    assert ".<locals>.stuck" in tasks

"""A recorded table is played again as it was: to the same states, and to the same error."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trio
from hypothesis import given
from hypothesis import strategies as st

from pgnet_trio.errors import first_error
from pgnet_trio.recording.records import Crashed
from pgnet_trio.replay import TurnView, replay
from pgnet_trio.server.refusals import RoomClosed
from tests.recording.games import Add, Answer, Busy, Cards, Fail, Slow
from tests.recording.tables import RecordedTable, played, record_table, replays

NAMES = st.sampled_from(["ann", "bob", "cat", "zoe"])
PAUSES = st.sampled_from([0.0, 0.0, 0.001, 0.01, 0.1, 0.2, 0.3, 0.31])
MESSAGES = st.one_of(st.integers(0, 9).map(Add), st.sampled_from([0.0, 0.001, 0.2, 0.4]).map(Slow))
EVENTS = st.one_of(
    st.tuples(st.just("join"), NAMES),
    st.tuples(st.just("join"), NAMES),
    st.tuples(st.just("watch"), NAMES),
    st.tuples(st.just("leave"), NAMES),
    st.tuples(st.just("drop"), NAMES),
    st.tuples(st.just("resume"), NAMES),
    st.tuples(st.just("send"), NAMES, MESSAGES),
    st.tuples(st.just("at once"), NAMES, MESSAGES),
    st.tuples(st.just("at once"), NAMES, MESSAGES),
    st.tuples(st.just("answer"), NAMES, st.integers(0, 5).map(Answer)),
    st.tuples(st.just("save")),
    st.tuples(st.just("introduce"), NAMES),
)


@contextmanager
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp())
    try:
        yield path / "recordings"
    finally:
        shutil.rmtree(path)


async def carry_out(table: RecordedTable, event: tuple[Any, ...]) -> None:
    match event:
        case "join" | "watch" as how, name:
            if name not in table.owner.users:
                table.begin_join(name, spectate=how == "watch")
        case "leave", name:
            table.leave(name)
        case "drop" | "resume" as how, name:
            table.set_online(name, how == "resume")
        case "send" | "at once" as how, name, message:
            table.send(name, message, at_once=how == "at once")
        case "answer", name, message:
            table.answer(name, message)
        case ("save",):
            with contextlib.suppress(RoomClosed):
                await table.room.update_save_string()
        case "introduce", name:
            if name in table.players:
                table.room.introduce(table.players[name])


@given(
    st.lists(st.tuples(PAUSES, EVENTS), max_size=30),
    st.booleans(),
    st.integers(0, 2**16),
)
def test_any_run_is_played_again_to_the_same_states_and_the_same_error(
    events: list[tuple[float, tuple[Any, ...]]], fails: bool, seed: int
) -> None:
    async def play(table: RecordedTable) -> None:
        await table.join("ann")
        for pause, event in events:
            await trio.sleep(pause)
            await carry_out(table, event)
        await trio.sleep(0.5)
        if fails:
            await table.join("dan")
            table.send("dan", Fail("a fault of this game"), at_once=True)
            await trio.sleep(0.5)

    seen: dict[str, list[Any]] = {}

    def watch(view: TurnView) -> None:
        for name, state in view.states.items():
            seen.setdefault(name, []).append(state)

    with folder() as recordings:
        table = record_table(Busy, play, recordings, seed=seed)
        (outcome,) = replays(recordings, Busy, watch=watch)
    assert outcome.difference is None
    errors = [] if outcome.error is None else [outcome.error]
    assert [repr(first_error(each)) for each in errors] == [
        repr(first_error(each)) for each in table.owner.errors
    ]
    for name, player in table.latest.items():
        assert seen.get(name, [])[-1:] == player.states[-1:]


@given(st.lists(st.tuples(PAUSES, EVENTS), max_size=12), st.integers(0, 2**16))
def test_each_life_of_a_game_that_is_made_again_is_played_again(
    events: list[tuple[float, tuple[Any, ...]]], seed: int
) -> None:
    async def play(table: RecordedTable) -> None:
        await table.join("ann")
        for text in ("a first fault", "again", "a second fault"):
            for pause, event in events:
                await trio.sleep(pause)
                await carry_out(table, event)
            if not table.players:
                await table.join("dan")
            name = next(iter(table.players))
            # Whoever comes in the same moment finds the game that is made again.
            table.send(name, Fail(text), at_once=True)
            table.begin_join("eve")
            table.send(name, Add(3))
            await trio.sleep(0.1)
            table.leave("eve")

    with folder() as recordings:
        record_table(Cards, play, recordings, seed=seed)
        for life in played(recordings):
            outcome = replay(life, Cards)
            assert outcome.difference is None, life.head.beginning
            crashes = [record for record in life.records if isinstance(record, Crashed)]
            assert bool(crashes) == (outcome.error is not None)

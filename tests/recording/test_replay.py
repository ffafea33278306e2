"""A recorded table is played again as it was: to the same states, and to the same error."""

from __future__ import annotations

import contextlib
import functools
import math
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import msgspec
import pytest
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pgnet_trio import Game, Packet, Response, StorageError, on
from pgnet_trio.errors import first_error
from pgnet_trio.protocol.events import InputReceived
from pgnet_trio.recording import (
    Record,
    RecordingError,
    StoredRecording,
    encode_head,
    frame_of,
    preamble,
    read_recording,
)
from pgnet_trio.recording.records import Crashed, TurnBegan
from pgnet_trio.replay import TurnView, load_life, replay
from pgnet_trio.server.refusals import RoomClosed
from tests.recording.games import Add, Answer, Busy, Cards, Fail, Saved, Slow, Space, Told
from tests.recording.tables import (
    Listener,
    RecordedTable,
    played,
    record_table,
    recordings_in,
    replays,
)

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
        if player.states:
            assert seen[name][-1] == player.states[-1]


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


INPUTS: st.SearchStrategy[tuple[float, str, int, float, dict[str, Any] | None]] = st.tuples(
    st.sampled_from([0.0, 0.01, 0.03, 0.05, 0.12]),
    st.sampled_from(["ann", "bob"]),
    st.integers(0, 3),
    st.floats(-0.3, 0.05),
    st.none() | st.builds(dict, x=st.floats(-9, 9), fire=st.booleans()),
)


@given(st.lists(INPUTS, max_size=40), st.integers(0, 2**16))
def test_inputs_are_played_again_in_the_ticks_in_which_they_were(
    inputs: list[tuple[float, str, int, float, dict[str, Any] | None]], seed: int
) -> None:
    async def play(table: RecordedTable) -> None:
        await table.join("ann")
        await table.join("bob")
        numbers = {"ann": 0, "bob": 0}
        last: dict[str, dict[str, Any]] = {}
        for pause, name, step, ago, payload in inputs:
            await trio.sleep(pause)
            numbers[name] += step
            if payload is not None:
                last[name] = payload
            seen = table.room.instance.time() + ago
            table.play(name, InputReceived(numbers[name], seen, last.get(name, {})))
        await trio.sleep(0.3)

    seen: list[Any] = []

    def watch(view: TurnView) -> None:
        seen.extend(view.states.values())

    with folder() as recordings:
        table = record_table(Space, play, recordings, seed=seed)
        (outcome,) = replays(recordings, Space, watch=watch)
    assert outcome.difference is None
    assert seen[-1] == table.latest["ann"].states[-1]


# What is told where something differs, and where a replay is to stop.


def moves(*numbers: int) -> Any:
    async def play(table: RecordedTable) -> None:
        await table.join("ann")
        for number in numbers:
            await trio.sleep(0.3)
            table.send("ann", Add(number), at_once=True)

    return play


class Honest(Game):
    """Shows a number, which it adds up."""

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.total = 0

    def view(self) -> int:
        return self.total

    @on(Add)
    def add(self, player: str, message: Add) -> Told | None:
        self.total += message.number
        if message.number == 4:
            self.room.push(Told("four"))
        return Told(str(self.total)) if message.number == 3 else None


class Begins(Honest):
    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.total = 10


class Answers(Honest):
    @on(Add)
    def add(self, player: str, message: Add) -> Told | None:
        self.total += message.number
        return Told("another answer") if message.number == 3 else None


class Shows(Honest):
    def view(self) -> int:
        return self.total + (self.total > 2)


class Pushes(Honest):
    @on(Add)
    def add(self, player: str, message: Add) -> Told | None:
        self.room.push(Told("news"))
        return super().add(player, message)


class Silent(Honest):
    @on(Add)
    def add(self, player: str, message: Add) -> Told | None:
        self.total += message.number
        return Told(str(self.total)) if message.number == 3 else None


class Raises(Honest):
    @on(Add)
    def add(self, player: str, message: Add) -> Told | None:
        if message.number == 2:
            raise ValueError("two is too much")
        return super().add(player, message)


class Waits(Honest):
    @on(Add)
    async def add(self, player: str, message: Add) -> None:  # type: ignore[override]  # on purpose
        await trio.sleep_forever()


class Reads(Honest):
    @on(Add)
    def add(self, player: str, message: Add) -> Told | None:
        self.room.time()
        return super().add(player, message)


class Ends(Honest):
    @on(Add)
    def add(self, player: str, message: Add) -> Told | None:
        self.room.close("enough")
        return super().add(player, message)


@pytest.mark.parametrize(
    ("game", "turn", "words"),
    [
        (Begins, 1, ["expected a state with the digest", "got a state with the digest"]),
        (Answers, 4, ["expected an answer, 'Told': {'text': '6'}", "got an answer, 'Told'"]),
        (Shows, 3, ["expected a state with the digest", "got a state with the digest"]),
        (Pushes, 2, ["expected a state", "got a push", "'news'", "to ann"]),
        (Silent, 5, ["expected a push", "'four'", "got a state"]),
        (Raises, 3, ["expected a state", "got an error, ValueError: two is too much"]),
        (Waits, 2, ["expected a state", "got nothing: what runs is at", "Waits.add"]),
        (Reads, 2, ["expected a state", "got a reading of room.time()"]),
        (Ends, 2, ["got the end: enough"]),
    ],
)
def test_the_first_turn_that_differs_is_told_with_what_differs(
    tmp_path: Path, game: type[Game], turn: int, words: list[str]
) -> None:
    recordings = tmp_path / "recordings"
    record_table(Honest, moves(1, 2, 3, 4), recordings)
    (life,) = played(recordings)
    assert replay(life, Honest).difference is None
    # As a file that was changed: the class has its old name.
    game = type("Honest", (game,), {"__module__": __name__})
    outcome = replay(life, game)
    assert outcome.difference is not None
    assert outcome.difference.turn == turn
    for word in words:
        assert word in str(outcome.difference)


class Refuses(Game):
    def handle_packet(self, packet: Packet) -> Response:
        raise KeyError("a fault of this game")


def test_what_a_player_could_quote_of_a_mistake_makes_no_difference(tmp_path: Path) -> None:
    async def play(table: RecordedTable) -> None:
        ann = await table.join("ann")
        table.send("ann", Fail(""))
        await trio.sleep(1)
        assert ", as error " in ann.answers[0].message

    record_table(Refuses, play, tmp_path / "recordings")
    (outcome,) = replays(tmp_path / "recordings", Refuses)
    assert outcome.difference is None


@pytest.mark.parametrize("until", [0, 1, 3, 7])
def test_a_replay_stops_after_the_turn_that_it_is_to_stop_after(tmp_path: Path, until: int) -> None:
    record_table(Busy, moves(1, 2, 3, 4), tmp_path / "recordings")
    (life,) = played(tmp_path / "recordings")
    views: list[TurnView] = []
    outcome = replay(life, Busy, until=until, watch=views.append)
    assert outcome.turns == until
    assert outcome.end == f"it stops after turn {until}"
    assert [view.is_last for view in views] == [False] * (len(views) - 1) + [True]
    assert max(view.turn for view in views) == until


def test_a_recording_of_another_class_is_refused(tmp_path: Path) -> None:
    record_table(Honest, moves(1), tmp_path / "recordings")
    (life,) = played(tmp_path / "recordings")
    with pytest.raises(RecordingError, match="is a recording of Honest, and Busy is another class"):
        replay(life, Busy)


def test_an_error_in_another_place_differs_where_the_file_is_the_same(tmp_path: Path) -> None:
    class Here(Honest):
        @on(Fail)
        def fail(self, player: str, message: Fail) -> None:
            raise ValueError("somewhere")

    class There(Honest):
        @on(Fail)
        def fail(self, player: str, message: Fail) -> None:
            raise ValueError("somewhere")

    async def play(table: RecordedTable) -> None:
        await table.join("ann")
        table.send("ann", Fail(""))
        await trio.sleep(1)

    record_table(Here, play, tmp_path / "recordings")
    (life,) = played(tmp_path / "recordings")
    assert replay(life, Here).difference is None
    There.__name__ = "Here"
    outcome = replay(life, There)
    assert "expected ValueError: somewhere at test_replay.py" in str(outcome.difference)


def test_a_cut_recording_is_played_as_far_as_it_goes(tmp_path: Path) -> None:
    record_table(Busy, moves(1, 2, 3, 4, 5, 6), tmp_path / "recordings")
    (path,) = recordings_in(tmp_path / "recordings")
    whole = path.read_bytes()
    # One frame is written each second.
    path.write_bytes(whole[:-10])
    life = load_life(path)
    turns = sum(isinstance(record, TurnBegan) for record in life.records)
    outcome = replay(life, Busy)
    assert outcome.difference is None
    assert 0 < outcome.turns == turns
    assert "the recording ends here: it ends in the middle of a frame" in outcome.end


# One of each kind of which fields are.
FOREIGN = st.fixed_dictionaries(
    {
        int: st.integers(-(2**63), 2**63 - 1),
        float: st.floats(),
        str: st.sampled_from(["", "ann", "zoe", "tick"]),
        bool: st.booleans(),
    }
)
FOREIGN_HEADS = st.fixed_dictionaries(
    {}, optional={"waiting": st.integers(-(2**63), 2**63), "time": st.floats()}
)


@settings(max_examples=40)
@given(
    FOREIGN_HEADS,
    st.lists(st.tuples(st.integers(0, 99), st.integers(1, 9), FOREIGN), max_size=3),
)
@example({"waiting": 2**63}, [])
@example({"time": math.inf}, [])
@example({}, [(14, 5, {float: -1e18})])
@example({}, [(14, 1, {float: math.nan})])
@example({}, [(14, 1, {float: 1e18})])
def test_whatever_a_recording_says_it_is_played_or_refused(
    head: dict[str, Any], changes: list[tuple[int, int, dict[type, Any]]]
) -> None:
    life = a_recording()
    records = msgspec.msgpack.decode(msgspec.msgpack.encode(life.records))
    for at, field, foreign in changes:
        record = records[at % len(records)]
        if field < len(record):
            record[field] = foreign.get(type(record[field]), record[field])
    life = attrs.evolve(
        life,
        head=msgspec.structs.replace(life.head, **head),
        records=msgspec.msgpack.decode(msgspec.msgpack.encode(records), type=list[Record]),
    )
    with contextlib.suppress(RecordingError):
        assert replay(life, Busy).end


@functools.cache
def a_recording() -> StoredRecording:
    with folder() as recordings:
        record_table(Busy, moves(1, 2, 3), recordings)
        (life,) = played(recordings)
    return life


def test_a_recording_that_says_it_comes_after_itself_is_played_alone(tmp_path: Path) -> None:
    record_table(Busy, moves(1), tmp_path)
    (path,) = recordings_in(tmp_path)
    stored = read_recording(path)
    body = encode_head(msgspec.structs.replace(stored.head, segment=2))
    rest = path.read_bytes()[len(preamble() + frame_of(encode_head(stored.head))) :]
    path.write_bytes(preamble() + frame_of(body) + rest)
    assert load_life(path).records == stored.records


def test_whoever_watches_may_end_a_replay(tmp_path: Path) -> None:
    class Enough(Exception):
        pass

    def watch(view: TurnView) -> None:
        raise Enough

    record_table(Busy, moves(1, 2), tmp_path)
    (life,) = played(tmp_path)
    with pytest.raises(Enough):
        replay(life, Busy, watch=watch)


# Saves, reports, bots, and games that go on in another file.


class Keeps(Game):
    """Saves itself after each move, and notes what came of that."""

    persistent = True

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.moves = save_string or ""
        self.asked = trio.Event()

    def get_save_string(self) -> str:
        return self.moves

    def view(self) -> str:
        return self.moves

    @on(Add)
    def add(self, player: str, message: Add) -> None:
        self.moves += str(message.number)
        self.asked.set()

    async def run(self) -> None:
        while True:
            await self.asked.wait()
            self.asked = trio.Event()
            try:
                await self.room.save()
                self.moves += "s"
            except StorageError as error:
                self.moves += f"({error})"


def test_what_came_of_saves_is_played_again(tmp_path: Path) -> None:
    def fail() -> None:
        raise StorageError("the disk is full")

    async def play(table: RecordedTable) -> None:
        await moves(1, 2)(table)
        await trio.sleep(1)
        table.owner.saving = fail
        table.send("ann", Add(3), at_once=True)
        await trio.sleep(1)
        table.send("ann", Fail(""), at_once=True)

    table = record_table(Keeps, play, tmp_path / "recordings", saved="0")
    states: list[Any] = []
    watch = lambda view: states.extend(view.states.values())  # noqa: E731 - one line says it
    (outcome,) = replays(tmp_path / "recordings", Keeps, watch=watch)
    assert outcome.difference is None
    assert states[-1] == table.latest["ann"].states[-1]
    assert states[-1].startswith("01s2s3(")
    assert "the disk is full" in states[-1]


def test_a_saved_game_goes_on_in_another_file_from_its_save_string(tmp_path: Path) -> None:
    recordings = tmp_path / "recordings"

    async def play(table: RecordedTable) -> None:
        await table.join("ann")
        for number in range(1500):
            table.send("ann", Add(number % 10), at_once=True)
            await trio.sleep(0.005)
            if number == 700:
                table.begin_join("bob")
        table.send("bob", Fail("at last"), at_once=True)
        await trio.sleep(1)

    record_table(Saved, play, recordings, table_bytes=64 * 1024)
    found = recordings_in(recordings)
    heads = [load_life(path).head for path in found]
    # Only the last two are kept.
    assert len(found) == 2
    assert sum(path.stat().st_size for path in found) < 80 * 1024
    assert {head.beginning for head in heads} == {"snapshot"}
    assert heads[0].turn > 100
    outcome = replay(load_life(found[-1]), Saved)
    assert outcome.difference is None
    assert str(first_error(outcome.error)).startswith("at last ") if outcome.error else False
    assert outcome.turns > 1500
    # The last of them can also be played by itself.
    found[0].unlink()
    alone = replay(load_life(found[-1]), Saved)
    assert (alone.difference, repr(alone.error)) == (None, repr(outcome.error))


class Doubled(Saved):
    """The same class after its author has changed it, while tables of it were played."""

    @on(Add)
    def add(self, player: str, message: Add) -> Told | None:
        self.total += 2 * message.number
        return Told(str(self.total))


Doubled.__name__ = Saved.__name__


def test_a_table_that_went_on_with_a_changed_class_is_played_again_with_that(
    tmp_path: Path,
) -> None:
    async def play(table: RecordedTable) -> None:
        await moves(1, 2)(table)
        await table.room.reload(functools.partial(Doubled, "table 1"))
        table.send("ann", Add(7), at_once=True)
        await trio.sleep(1)
        table.send("ann", Fail("at last"), at_once=True)
        await trio.sleep(1)

    table = record_table(Saved, play, tmp_path / "recordings")
    before, after = map(load_life, recordings_in(tmp_path / "recordings"))
    assert [before.head.beginning, after.head.beginning] == ["new", "reloaded"]
    outcome = replay(before, Saved)
    assert (outcome.difference, outcome.error) == (None, None)
    watched: list[Any] = []
    outcome = replay(after, Doubled, watch=lambda view: watched.extend(view.states.values()))
    assert outcome.difference is None
    assert watched[-1] == table.latest["ann"].states[-1]
    assert "at last" in str(outcome.error and first_error(outcome.error))
    # As it was before, it does not do what the table did.
    assert replay(after, Saved).difference is not None


def test_a_game_that_is_not_saved_is_cut_and_says_so(tmp_path: Path) -> None:
    recordings = tmp_path / "recordings"

    async def play(table: RecordedTable) -> None:
        await table.join("ann")
        for number in range(3000):
            table.send("ann", Add(number % 10), at_once=True)
            await trio.sleep(0.005)

    record_table(Honest, play, recordings, table_bytes=64 * 1024)
    found = recordings_in(recordings)
    assert len(found) == 2
    with pytest.raises(RecordingError, match=r"begins in the middle of a game that is not saved"):
        replay(load_life(found[-1]), Honest)


@attrs.define
class Sleeper:
    username: str

    async def take_seat(self, transport: Any, /) -> None:
        raise AssertionError("nobody plays a bot again")


class Botty(Game):
    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.room.add_bot(Sleeper("bot 1"))

    def view(self) -> list[str]:
        return [*self.room.players, str(self.room.host)]

    @on(Add)
    def add(self, player: str, message: Add) -> None:
        self.room.kick("bot 1")


def test_bots_are_not_run_again_but_what_they_did_is(tmp_path: Path) -> None:
    async def play(table: RecordedTable) -> None:
        await table.join("ann")
        bot = Listener("bot 1")
        await table.room.join(bot)
        await trio.sleep(1)
        table.send("ann", Add(1), at_once=True)
        await trio.sleep(1)

    table = record_table(Botty, play, tmp_path / "recordings")
    states: list[Any] = []
    watch = lambda view: states.extend(view.states.values())  # noqa: E731 - as above
    (outcome,) = replays(tmp_path / "recordings", Botty, watch=watch)
    assert outcome.difference is None
    assert table.latest["ann"].states[-1] == states[-1] == ["ann", "ann"]
    assert ["ann", "bot 1", "ann"] in states

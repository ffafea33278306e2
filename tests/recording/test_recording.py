"""A server records its tables: what is in the files, how many there are, and what goes wrong."""

from __future__ import annotations

import errno
import logging
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

from pgnet_trio import Game, Packet, Recording, Response, Server, StorageError, on
from pgnet_trio.errors import first_error
from pgnet_trio.recording import describe_game, read_recording
from pgnet_trio.recording.records import Crashed, Ended, Gap, Joined, Left, PacketCame
from pgnet_trio.replay import Outcome, load_life, replay
from pgnet_trio.server.recording import segments, writer
from pgnet_trio.server.recording.writer import RecordingWriter
from pgnet_trio.testing import HostedServer, SimulatedNetwork, hosting, playing
from tests.recording.games import Add, Busy, Cards, Fail, Saved
from tests.recording.tables import RecordedTable, record_table, recordings_in
from tests.recording.test_files import HEAD

if TYPE_CHECKING:
    from trio.testing import MockClock


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "recordings"


def files_in(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def replayed(path: Path, game: type[Game]) -> Outcome:
    """Play a recording again; in another thread, because there is a run of Trio in this one."""
    return await trio.to_thread.run_sync(replay, load_life(path), game)


class Secrets(Game):
    """Has what nobody sees."""

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.hidden = f"deck {self.room.random.random()}"

    @on(Fail)
    def fail(self, player: str, message: Fail) -> None:
        raise ValueError(f"{message.text} {self.hidden}")


# What is in the files.


async def test_a_server_records_each_table_until_it_crashes_and_says_how_to_see_it_again(
    folder: Path, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    async with hosting(Secrets, record=Recording(folder)) as server:
        with server.expecting(ValueError) as errors:
            async with playing(server, "ann", game="table 1") as ann:
                ann.send(Fail("oh"))
                await trio.sleep(2)
    (path,) = files_in(folder)
    assert re.fullmatch(r"table_1-\d{14}-[0-9a-f]{8}\.1\.crash\.rec", path.name)
    found = read_recording(path)
    kinds = [type(record) for record in found.records]
    assert kinds[0] is Joined
    assert kinds[-1] is Crashed
    crash = found.records[-1]
    assert isinstance(crash, Crashed)
    assert crash.text == str(errors[0])
    assert "in Secrets.fail" in crash.place[-1]
    assert "Traceback" in crash.traceback
    outcome = await replayed(path, Secrets)
    assert (outcome.difference, repr(outcome.error)) == (None, repr(errors[0]))
    (said,) = (each for each in caplog.records if "pgnet-trio replay" in each.message)
    assert said.getMessage() == (
        f"The game 'table 1' was recorded until it raised; this plays it again: "
        f"pgnet-trio replay {path} tests.recording.test_recording:Secrets"
    )
    assert vars(said)["table"] == "table 1"


async def test_a_recording_holds_neither_passwords_nor_tokens(
    folder: Path, autojump_clock: MockClock
) -> None:
    passwords = "the users password", "the tables password"
    async with hosting(Busy, record=Recording(folder)) as server:
        ann = server.client("ann", passwords[0])
        async with ann:
            await ann.create_game("table 1", password=passwords[1])
            await ann.call(Add(1))
            sessions = server._run.context.sessions  # type: ignore[union-attr]  # it runs
            session = sessions.holder("ann")
            assert session is not None
            token = session.client.token
            await trio.sleep(2)
    data = b"".join(path.read_bytes() for path in files_in(folder))
    assert b"table 1" in data
    for secret in (*(each.encode() for each in passwords), token):
        assert secret not in data


@pytest.mark.skipif(os.name != "posix", reason="modes are those of POSIX")
async def test_recordings_are_for_this_user_alone(folder: Path, autojump_clock: MockClock) -> None:
    async with (
        hosting(Busy, record=Recording(folder)) as server,
        playing(server, "ann", game="table 1"),
    ):
        await trio.sleep(2)
    (path,) = files_in(folder)
    assert mode_of(folder) == 0o700
    assert mode_of(path) == 0o600


async def test_a_table_that_ends_well_is_there_to_be_watched_again(
    folder: Path, autojump_clock: MockClock
) -> None:
    async with (
        hosting(Busy, record=Recording(folder)) as server,
        playing(server, "ann", game="table 1") as ann,
    ):
        await ann.call(Add(3))
        await trio.sleep(1)
        await ann.leave_game()
        await trio.sleep(2)
        (path,) = files_in(folder)
        records = read_recording(path).records
    assert any(isinstance(each, Ended) for each in records)
    assert any(isinstance(each, Left) for each in records)
    assert [each.payload for each in records if isinstance(each, PacketCame)] == [{"number": 3}]
    assert (await replayed(path, Busy)).difference is None


async def test_nothing_is_recorded_unless_it_is_asked_for(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with hosting(Busy) as server, playing(server, "ann", game="table 1"):
        room = server._run.context.games.lobby.get("table 1").room  # type: ignore[union-attr]  # it runs
        assert room.instance.tape is None
        await trio.sleep(2)
    assert files_in(tmp_path) == []


async def test_a_game_that_refuses_to_be_made_leaves_no_recording(
    folder: Path, autojump_clock: MockClock
) -> None:
    from pgnet_trio import Reject, RequestFailed

    class Refuses(Game):
        def __init__(self, name: str, save_string: str | None = None) -> None:
            raise Reject("not today")

    async with hosting(Refuses, record=Recording(folder)) as server:
        async with playing(server, "ann") as ann:
            with pytest.raises(RequestFailed, match="not today"):
                await ann.create_game("table 1")
            await trio.sleep(2)
    assert files_in(folder) == []


async def test_a_game_that_moves_has_a_recording_of_its_own_where_it_goes_on(
    folder: Path, autojump_clock: MockClock
) -> None:
    from pgnet_trio.testing import cluster

    async with cluster(Cards, nodes=2, record=Recording(folder)) as servers:
        ann = await servers.play("ann", game="table 1")
        await ann.call(Add(2))
        await trio.sleep(2)
        where = next(name for name, node in servers.nodes.items() if node.games)
        await servers.stop(where)
        await ann.call(Add(3))
        await trio.sleep(2)
    heads = {read_recording(path).head.beginning for path in files_in(folder)}
    assert heads == {"new", "moved"}
    for path in files_in(folder):
        assert (await replayed(path, Cards)).difference is None


# What a server says of them at its start.


async def test_a_server_names_what_does_not_replay(
    folder: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: MockClock,
) -> None:
    import time

    class Clocks(Game):
        def update(self) -> None:
            time.monotonic()

    caplog.set_level(logging.INFO)
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    async with hosting(Clocks, record=Recording(folder)):
        pass
    text = caplog.text
    assert f"Tables are recorded in {folder}" in text
    assert "Clocks uses what a replay of a recording cannot repeat: the module time" not in text
    # A name of the function around is no global: only what shows is said.
    caplog.clear()
    monkeypatch.setenv("PYTHONHASHSEED", "random")
    async with hosting(Busy, record=Recording(folder)):
        pass
    assert "Busy uses what a replay of a recording cannot repeat: the order of sets" in caplog.text


async def test_a_folder_that_cannot_be_used_ends_the_start(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for folder, why in ((file, "it is a file"), (file / "folder", "Not a directory")):
        with pytest.raises(StorageError, match=f"recordings, .*, cannot be used: {why}; choose"):
            async with hosting(Busy, record=Recording(folder)):
                raise AssertionError


@pytest.mark.skipif(os.name != "posix", reason="modes are those of POSIX")
async def test_a_folder_that_others_may_look_into_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    os.chmod(tmp_path, 0o755)
    async with hosting(Busy, record=Recording(tmp_path)):
        pass
    assert "Others may look into" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"folder": 3}, "expected the path of a folder, got 3"),
        ({"folder": ""}, "expected the path of a folder, got ''"),
        ({"table_bytes": 10}, "table_bytes: expected a whole number of at least 65,536 bytes"),
        ({"table_bytes": True}, "table_bytes: expected a whole number"),
        ({"total_bytes": 1024}, "total_bytes: expected a whole number of bytes, at least as many"),
    ],
)
def test_a_recording_that_makes_no_sense_is_refused(
    arguments: dict[str, Any], complaint: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=complaint):
        Recording(**{"folder": "recordings", **arguments})


def test_only_a_recording_is_taken_for_one() -> None:
    with pytest.raises(TypeError, match=r"record: expected a Recording such as Recording\("):
        Server(Busy, record="recordings")  # type: ignore[arg-type]  # on purpose


# How much of them there is.


async def visit(table: RecordedTable) -> None:
    await table.join("ann")
    table.send("ann", Add(1))
    await trio.sleep(2)


def test_all_together_are_no_more_than_they_may_be_and_crashes_go_last(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def crash(table: RecordedTable) -> None:
        await table.join("ann")
        table.send("ann", Fail("oh"))
        await trio.sleep(2)

    # No other process writes here.
    monkeypatch.setattr(writer, "IN_USE", -1.0)
    most = 10 * writer.LEAST_FILE
    sizes: dict[str, Any] = {
        "table_bytes": segments_least(),
        "total_bytes": max(most, segments_least()),
    }
    for number in range(20):
        record_table(Busy, crash if number == 3 else visit, folder, **sizes)
        os.utime(recordings_in(folder)[-1], (number, number))
    found = [path.name for path in files_in(folder)]
    assert len(found) <= sizes["total_bytes"] // writer.LEAST_FILE
    assert sum(name.endswith(".crash.rec") for name in found) == 1


def test_many_tables_at_once_are_no_more_than_all_may_be(folder: Path) -> None:
    environment = SimulatedNetwork().environment("tests")
    recording = Recording(folder, total_bytes=8 * 1024 * 1024)
    writing = RecordingWriter(recording, environment, describe_game(Busy, Game))

    def begin(number: int) -> segments.Segment:
        segment = segments.Segment(
            f"table_{number}.1", HEAD, recording.table_bytes // 2, writing, lambda: None
        )
        writing.add(segment)
        segment.size = 300 * 1024
        segment.look()
        return segment

    assert not begin(0).is_full
    # Of each of them, one as large may be there from before.
    assert [begin(number) for number in range(1, 20)][-1].is_full


def segments_least() -> int:
    from pgnet_trio.recording import options

    return options.LEAST_TABLE


def test_what_another_process_writes_is_left_alone(folder: Path) -> None:
    folder.mkdir()
    others = folder / "other-20260101000000-00000000.1.rec"
    others.write_bytes(bytes(200 * 1024))
    record_table(Busy, visit, folder, table_bytes=64 * 1024, total_bytes=64 * 1024)
    assert others.exists()
    os.utime(others, (0, 0))
    record_table(Busy, visit, folder, table_bytes=64 * 1024, total_bytes=64 * 1024)
    assert not others.exists()


# A disk that is full, and one that is slow.


def test_a_full_disk_makes_a_gap_and_is_told_once(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    is_full = [False]
    append = writer._append

    def fill(path: Path, data: bytes, begins: bool) -> None:
        if is_full[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        append(path, data, begins)

    monkeypatch.setattr(writer, "_append", fill)

    async def play(table: RecordedTable) -> None:
        ann = await table.join("ann")
        await trio.sleep(2)
        is_full[0] = True
        for _ in range(5):
            table.send("ann", Add(2))
            await trio.sleep(1.5)
        is_full[0] = False
        table.send("ann", Add(2))
        await trio.sleep(3)
        # The table has noticed nothing.
        assert len(ann.answers) == 6

    record_table(Busy, play, folder)
    gaps = [
        record.why
        for path in files_in(folder)
        for record in read_recording(path).records
        if isinstance(record, Gap)
    ]
    assert gaps == ["it could not be written: No space left on device"]
    # After it, what comes is recorded again, in one other file.
    beginnings = [read_recording(path).head.beginning for path in files_in(folder)]
    assert sorted(beginnings) == ["cut", "new"]
    said = [each.getMessage() for each in caplog.records if "have gaps" in each.getMessage()]
    assert len(said) == 1
    assert "No space left on device" in said[0]


async def test_where_every_other_file_fails_that_is_told_once(
    folder: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: MockClock,
) -> None:
    caplog.set_level(logging.INFO)

    def fail(path: Path, data: bytes, begins: bool) -> None:
        if path.name[0] in "13579":
            raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(writer, "_append", fail)
    environment = SimulatedNetwork().environment("tests")
    writing = RecordingWriter(Recording(folder), environment, describe_game(Busy, Game))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writing.run)
        for number in range(10):
            writing.add(segments.Segment(f"{number}.1", HEAD, 100_000, writing, lambda: None))
        await trio.sleep(2)
        nursery.cancel_scope.cancel()
    assert len(caplog.records) == 1


def test_a_table_whose_file_was_removed_goes_on_in_another_one(folder: Path) -> None:
    async def play(table: RecordedTable) -> None:
        await table.join("ann")
        table.send("ann", Add(1))
        await trio.sleep(2)
        for path in files_in(folder):
            path.unlink()
        for number in range(5):
            table.send("ann", Add(number))
            await trio.sleep(1)
        table.send("ann", Fail("oh"))
        await trio.sleep(1)

    record_table(Saved, play, folder)
    (path,) = files_in(folder)
    outcome = replay(load_life(path), Saved)
    assert outcome.difference is None
    assert "oh" in str(first_error(outcome.error)) if outcome.error else False


def test_half_a_frame_is_not_left_behind(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    path = folder / "file.rec"
    path.write_bytes(b"whole")

    class Disk:
        """Has room for three bytes more."""

        def __init__(self, file: Any) -> None:
            self.file = file

        def __enter__(self) -> Disk:
            return self

        def __exit__(self, *of: object) -> None:
            self.file.close()

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

        def write(self, data: memoryview) -> int:
            if self.file.tell() >= 8:
                raise OSError(errno.ENOSPC, "full")
            return int(self.file.write(data[:3]))

    monkeypatch.setattr(writer, "open", lambda *of, **more: Disk(open(*of, **more)), raising=False)  # noqa: SIM115 - the disk closes it
    with pytest.raises(OSError, match="full"):
        writer._append(path, b"a frame that is cut", creates=False)
    assert path.read_bytes() == b"whole"


def test_a_slow_disk_holds_up_no_table_and_fills_no_memory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "MOST_PENDING", 100_000)
    most: list[int] = []

    async def play(table: RecordedTable) -> None:
        ann = await table.join("ann")
        await trio.sleep(2)
        # It hangs for a minute.
        writing = table.room._tape._writer
        blocked = trio.Event()

        async def hang(function: Any, *args: Any, abandon_on_cancel: bool) -> Any:
            await blocked.wait()
            return function(*args)

        environment = writing._environment
        writing._environment = attrs.evolve(environment, run_blocking=hang)
        for _ in range(60):
            for _ in range(100):
                table.send("ann", Add(1))
            await trio.sleep(1)
            segment = table.room._tape._segment
            assert segment is not None
            most.append(sum(map(len, segment.pending)))
        assert len(ann.answers) == 6000
        blocked.set()
        await trio.sleep(5)

    record_table(Busy, play, folder)
    assert max(most) < 200_000
    gaps = [
        record.why
        for path in files_in(folder)
        for record in read_recording(path).records
        if isinstance(record, Gap)
    ]
    assert "the disk was too slow" in gaps


async def test_a_disk_that_hangs_at_the_end_is_not_waited_for(
    folder: Path, autojump_clock: MockClock
) -> None:
    async def hang(*of: Any, abandon_on_cancel: bool) -> Any:
        if hangs:
            await trio.sleep_forever()
        return of[0](*of[1:])

    hangs = False
    environment = attrs.evolve(SimulatedNetwork().environment("tests"), run_blocking=hang)
    recordings = RecordingWriter(Recording(folder), environment, describe_game(Busy, Game))
    await recordings.prepare()
    hangs = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(recordings.run)
        await trio.sleep(1)
        before = trio.current_time()
        nursery.cancel_scope.cancel()
    assert trio.current_time() - before <= writer.LAST_WRITE


# Where the log would grow by what players do.


async def test_a_table_that_crashes_again_and_again_is_told_once_a_minute(
    folder: Path, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    class Breaks(Game):
        def handle_game_packet(self, packet: Packet) -> Response:
            raise SystemError("never")

        @on(Fail)
        def fail(self, player: str, message: Fail) -> None:
            raise ValueError("again")

    async with hosting(Breaks, record=Recording(folder)) as server:
        await crash_often(server, 5)
    said = [each for each in caplog.records if "pgnet-trio replay" in each.getMessage()]
    assert len(said) == 1
    assert len(files_in(folder)) == 5


async def crash_often(server: HostedServer, count: int) -> None:
    with server.expecting(ValueError):
        async with playing(server, "ann") as ann:
            for _ in range(count):
                await ann.create_game("table 1")
                ann.send(Fail(""))
                await trio.sleep(3)

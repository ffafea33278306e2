"""Disks that fail or hang, and threads that there are not: what becomes of games and of users."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
import trio.testing

from pgnet_trio import (
    ConnectFailed,
    Game,
    LoginRefused,
    Packet,
    RequestFailed,
    Response,
    StorageError,
    on,
)
from pgnet_trio.crypto import PasswordHasher
from pgnet_trio.environment import Environment
from pgnet_trio.server.games.archive import WRITE_DEADLINE
from pgnet_trio.server.games.saves import LAST_WRITE_DEADLINE
from pgnet_trio.storage.interface import UserRecord
from pgnet_trio.testing import HostedServer, MemoryStore, hosting, playing
from tests.kit.hosting import SLOWER_HASHER, cheap_environment

if TYPE_CHECKING:
    from trio.testing import MockClock

    from pgnet_trio.storage import Changes


@attrs.frozen
class Add:
    by: int
    then: str = ""


@attrs.frozen
class Total:
    total: int


class Counter(Game):
    """Adds up, and saves as its players tell it to."""

    persistent = True

    def __init__(self, name: str, save_string: str | None = None) -> None:
        saved = self.room.saved(Total)
        self.total = 0 if saved is None else saved.total

    @on(Add)
    async def add(self, player: str, add: Add) -> Total:
        self.total += add.by
        if add.then == "save":
            await self.room.save()
        elif add.then == "save, or not":
            try:
                await self.room.save()
            except StorageError as error:
                self.room.push(str(error))
        elif add.then == "save in a task":
            self.room.nursery.start_soon(self.room.save)
        elif add.then == "end":
            self.room.close()
        return Total(self.total)

    async def handle_game_packet(self, packet: Packet, /) -> Response:
        self.total += 1
        await self.room.save()
        return Response("saved")

    def get_save_string(self) -> Total:
        return Total(self.total)


def total_in(store: MemoryStore, name: str = "table 1") -> str:
    return store.games[name]


# Threads.


@contextlib.contextmanager
def all_threads_busy(nursery: trio.Nursery) -> Iterator[None]:
    """Keep all of Trio's own threads busy, as games may, during the block."""
    release = threading.Event()

    def wait() -> None:
        release.wait()

    limiter = trio.to_thread.current_default_thread_limiter()
    for _ in range(int(limiter.total_tokens) + 5):
        nursery.start_soon(trio.to_thread.run_sync, wait)
    try:
        yield
    finally:
        release.set()


async def test_with_all_threads_kept_busy_by_games_people_log_in_and_games_are_saved() -> None:
    store = MemoryStore()
    environment = Environment(password_hasher=PasswordHasher(opslimit=1, memlimit=8192))
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            server = HostedServer(Counter, store=store, environment=environment)
            with all_threads_busy(nursery):
                await trio.testing.wait_all_tasks_blocked()
                async with server.running():
                    async with playing(server, "ann", game="table 1") as ann:
                        await ann.call(Add(2, "save"))
                        assert total_in(store) == '{"total":2}'
                        await ann.call(Add(3))
                    async with playing(server, "ann"):
                        pass
                assert total_in(store) == '{"total":5}'


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), MemoryError()])
async def test_without_a_thread_a_log_in_is_refused_for_now(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    fails = False

    async def run(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        await trio.lowlevel.checkpoint()
        if fails:
            raise error
        return function(*args)

    environment = attrs.evolve(cheap_environment(), run_blocking=run, password_hasher=SLOWER_HASHER)
    async with hosting(Counter, environment=environment) as server:
        fails = True
        with pytest.raises(Exception, match="busy with other log-ins") as caught:
            async with server.client("ann"):
                pass
        # Not a refusal that ends a client's coming back.
        assert not isinstance(caught.value, LoginRefused)
        fails = False
        async with server.client("ann"):
            pass
    assert "A password could not be hashed" in caplog.text


class Failing(MemoryStore):
    """Raises what a test wants, so many times."""

    def __init__(self, *errors: BaseException) -> None:
        super().__init__()
        self.errors = list(errors)

    def write(self, changes: Changes) -> None:
        if changes.games and self.errors:
            raise self.errors.pop(0)
        super().write(changes)


ODD_ERRORS = (
    StorageError("the disk is full"),
    RuntimeError("can't start new thread"),
    MemoryError(),
    SystemExit(3),
    GeneratorExit(),
)


@pytest.mark.parametrize("error", ODD_ERRORS, ids=repr)
async def test_autosave_outlives_whatever_a_save_raises(
    error: BaseException, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    store = Failing(error)
    async with hosting(Counter, store=store) as server, playing(server, "ann", game="table 1"):
        await trio.sleep(11)
        assert "table 1" not in store.games
        assert "Saving failed, and is tried again in 10 s" in caplog.text
        await trio.sleep(11)
        assert total_in(store) == '{"total":0}'


async def test_autosave_outlives_what_no_thread_could_be_started_for(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    fails = False

    async def run(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        await trio.lowlevel.checkpoint()
        if fails:
            raise RuntimeError("can't start new thread")
        return function(*args)

    store = MemoryStore()
    environment = attrs.evolve(cheap_environment(), run_blocking=run)
    async with (
        hosting(Counter, store=store, environment=environment) as server,
        playing(server, "ann", game="table 1"),
    ):
        fails = True
        await trio.sleep(25)
        assert caplog.text.count("can't start new thread") >= 2
        fails = False
        await trio.sleep(11)
        assert total_in(store) == '{"total":0}'


@pytest.mark.parametrize("error", ODD_ERRORS, ids=repr)
async def test_the_last_save_is_tried_again(
    error: BaseException, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    store = Failing(error, error)
    async with (
        hosting(Counter, store=store, autosave_interval=1e6) as server,
        playing(server, "ann", game="table 1"),
    ):
        pass
    assert total_in(store) == '{"total":0}'
    assert "The last save failed" not in caplog.text


async def test_a_last_save_that_fails_names_what_is_not_saved(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    store = Failing()
    async with (
        hosting(Counter, store=store, autosave_interval=1) as server,
        playing(server, "ann", game="saved") as ann,
        playing(server, "bob", game="table 1") as bob,
    ):
        await ann.call(Add(1))
        await trio.sleep(2)
        await bob.call(Add(1))
        store.errors = [StorageError("the disk is full")] * 9
    assert "The last save failed" in caplog.text
    assert "the disk is full. Not saved: 'table 1'" in caplog.text


# A game that wants to be saved, and cannot be.


@asynccontextmanager
async def full_disk(
    game: type[Game] = Counter, **options: Any
) -> AsyncIterator[tuple[HostedServer, Any]]:
    """Play at a table whose server's disk is full."""
    async with (
        hosting(game, **options) as server,
        playing(server, "ann", game="table 1") as ann,
    ):
        server.store.full = True
        yield server, ann


async def test_a_handler_that_does_not_catch_a_refused_save_refuses_its_message(
    autojump_clock: MockClock,
) -> None:
    async with full_disk() as (server, ann):
        with pytest.raises(RequestFailed, match="cannot be saved now"):
            await ann.call(Add(2, "save"))
        response = await ann.request(Packet("anything"))
        assert "cannot be saved now" in response.message
        # The table is still there, with what was done before the save, and is saved once it can be.
        assert await ann.call(Add(1), Total) == Total(4)
        server.store.full = False
        await trio.sleep(11)
        assert total_in(server.store) == '{"total":4}'


async def test_an_author_can_catch_a_refused_save(autojump_clock: MockClock) -> None:
    async with full_disk() as (server, ann):
        assert await ann.call(Add(2, "save, or not"), Total) == Total(2)
        async for push in ann.pushes():
            assert "could not be saved" in push.message
            assert "full" in push.message
            break
        server.store.full = False
        await ann.call(Add(2, "save"))
        assert total_in(server.store) == '{"total":4}'


async def test_a_task_that_does_not_catch_a_refused_save_is_over_and_not_its_game(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with full_disk() as (_, ann):
        await ann.call(Add(2, "save in a task"))
        await trio.sleep(1)
        assert await ann.call(Add(1), Total) == Total(3)
    assert "A task of the game 'table 1' has ended: The game could not be saved" in caplog.text


class Ticking(Counter):
    update_rate = 1.0

    async def update(self) -> None:
        self.total += 1
        await self.room.save()


async def test_a_tick_that_does_not_catch_a_refused_save_is_not_the_last(
    autojump_clock: MockClock,
) -> None:
    async with full_disk(Ticking) as (server, ann):
        before = (await ann.call(Add(0), Total)).total
        await trio.sleep(5)
        assert (await ann.call(Add(0), Total)).total >= before + 4
        server.store.full = False


class Scripted(Counter):
    async def run(self) -> None:
        while True:
            await trio.sleep(1)
            self.total += 1
            if self.total == 3:
                await self.room.save()


async def test_a_script_that_does_not_catch_a_refused_save_begins_again_from_it(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with full_disk(Scripted) as (server, ann):
        with server.expecting(StorageError):
            await trio.sleep(10)
            assert ann.game == "table 1"
            assert (await ann.call(Add(0), Total)).total > 3
        server.store.full = False
    assert "is restarted from its last save" in caplog.text


# A write that hangs, in a thread that nobody can stop.


class Hanging(MemoryStore):
    """A disk that is there, and does not answer while a test wants it."""

    def __init__(self) -> None:
        super().__init__()
        self.hangs = False
        self.entered = threading.Event()
        self.released = threading.Event()
        self.thread: threading.Thread | None = None
        self.closed = 0

    def write(self, changes: Changes) -> None:
        if self.hangs:
            self.entered.set()
            self.released.wait()
        super().write(changes)

    def close(self) -> None:
        self.closed += 1
        super().close()

    async def run(
        self,
        function: Callable[..., Any],
        *args: Any,
        abandon_on_cancel: bool,
        limiter: trio.CapacityLimiter | None = None,
    ) -> Any:
        """Run a blocking call: in virtual time, but in a thread where it would hang."""
        await trio.lowlevel.checkpoint()
        is_store_call = not isinstance(getattr(function, "__self__", None), PasswordHasher)
        if not (self.hangs and is_store_call):
            return function(*args)
        done = trio.Event()
        token = trio.lowlevel.current_trio_token()
        errors: list[BaseException] = []

        def call() -> None:
            try:
                function(*args)
            except BaseException as error:
                errors.append(error)
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(done.set)

        self.thread = threading.Thread(target=call, daemon=True)
        self.thread.start()
        assert self.entered.wait(10)
        with trio.CancelScope(shield=not abandon_on_cancel):
            await done.wait()
        if errors:
            raise errors[0]
        return None

    async def go_on(self) -> None:
        """Let the disk answer again."""
        self.hangs = False
        self.released.set()
        assert self.thread is not None
        self.thread.join(10)
        await trio.lowlevel.checkpoint()


@pytest.fixture
def disk() -> Iterator[Hanging]:
    store = Hanging()
    yield store
    store.released.set()


@asynccontextmanager
async def on_disk(disk: Hanging, **options: Any) -> AsyncIterator[HostedServer]:
    environment = attrs.evolve(cheap_environment(), run_blocking=disk.run)
    options = {"autosave_interval": 1.0, "store": disk, "environment": environment, **options}
    async with hosting(Counter, **options) as server:
        yield server


SALT = "salt"
OLD_RECORD = UserRecord("old", SALT, hashlib.sha256(f"{SALT}secret".encode()).hexdigest())


async def test_known_users_log_in_while_a_write_hangs(
    disk: Hanging, autojump_clock: MockClock
) -> None:
    disk.state.users["old"] = OLD_RECORD
    async with on_disk(disk) as server:
        async with playing(server, "ann", game="table 1"):
            pass
        disk.hangs = True
        async with playing(server, "ann", game="table 1") as ann:
            await ann.call(Add(1))
            # Until the autosave hangs.
            await trio.sleep(2)
            assert disk.entered.is_set()
            with trio.fail_after(1):
                # Their record is one to be replaced by a stronger one.
                async with server.client("old", "secret") as old:
                    # Nothing in the games waits for the disk either.
                    await old.join_game("table 1")
                    assert await old.call(Add(1), Total) == Total(2)
        await disk.go_on()


async def test_who_registers_while_a_write_hangs_is_refused_in_time(
    disk: Hanging, autojump_clock: MockClock
) -> None:
    async with on_disk(disk) as server:
        disk.hangs = True
        start = trio.current_time()
        with pytest.raises(ConnectFailed, match="cannot save registrations now"):
            async with server.client("ann"):
                pass
        assert trio.current_time() - start <= WRITE_DEADLINE + 0.5
        with pytest.raises(ConnectFailed, match="cannot save registrations now"):
            async with server.client("bob"):
                pass
        await disk.go_on()
        for name in "ann", "bob":
            async with playing(server, name, game="table 1"):
                pass
        assert sorted(disk.state.users) == ["ann", "bob"]


async def test_a_game_that_asks_to_be_saved_while_a_write_hangs_is_refused_in_time(
    disk: Hanging, autojump_clock: MockClock
) -> None:
    async with (
        on_disk(disk, autosave_interval=1e6) as server,
        playing(server, "ann", game="table 1") as ann,
    ):
        disk.hangs = True
        with trio.fail_after(WRITE_DEADLINE + 1), pytest.raises(RequestFailed, match="saved now"):
            await ann.call(Add(2, "save"))
        assert await ann.call(Add(2), Total) == Total(4)
        await disk.go_on()
        await ann.call(Add(0, "save"))
        assert total_in(disk) == '{"total":4}'


async def test_once_the_disk_answers_again_games_are_saved_as_they_are(
    disk: Hanging, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with on_disk(disk) as server:
        async with playing(server, "ann", game="table 1") as ann:
            disk.hangs = True
            await ann.call(Add(1))
            await trio.sleep(60)
            # One thread hangs, and not one for each autosave.
            assert server.stats().saves.last_error
            hung = disk.thread
            await ann.call(Add(1, "end"))
            await trio.sleep(60)
            assert disk.thread is hung
        async with playing(server, "ann", game="table 2"):
            await disk.go_on()
            await trio.sleep(11)
            # The write that hung has saved a game that was over when it went on.
            assert list(disk.games) == ["table 2"]
    assert "does not answer" in caplog.text
    assert "The save file answers again" in caplog.text


class Held(MemoryStore):
    """A file that another program has locked, for which each write waits in vain."""

    def __init__(self, clock: MockClock) -> None:
        super().__init__()
        self.clock = clock
        self.is_held = False
        self.tries = 0

    def write(self, changes: Changes) -> None:
        if self.is_held:
            self.tries += 1
            self.clock.jump(6)
            raise StorageError("cannot write: the file is locked")
        super().write(changes)


async def test_a_file_that_stays_locked_is_not_tried_again_for_long(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    store = Held(autojump_clock)
    async with hosting(Counter, store=store, environment=cheap_environment()) as server:
        async with playing(server, "ann", game="table 1") as ann:
            await ann.call(Add(1))
            store.is_held = True
        server.shutdown()
        await server.stopped.wait()
    assert store.tries == 2
    assert "The last save failed" in caplog.text


async def test_a_write_that_hangs_does_not_keep_the_server_from_its_end(
    disk: Hanging, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    start = 0.0
    with pytest.raises(StorageError, match="not saved: 'table 1'"):
        async with on_disk(disk) as server, playing(server, "ann", game="table 1") as ann:
            await ann.call(Add(1))
            disk.hangs = True
            await trio.sleep(2)
            start = trio.current_time()
            server.shutdown()
            await server.stopped.wait()
    # Two deadlines come before the one of the last save.
    assert trio.current_time() - start <= LAST_WRITE_DEADLINE + 10
    assert "The last save failed" in caplog.text
    # The thread gives the file back where it goes on after all.
    assert disk.closed == 0
    await disk.go_on()
    assert disk.closed == 1


async def test_who_cancels_a_server_whose_disk_hangs_is_told_so_too(
    disk: Hanging, autojump_clock: MockClock
) -> None:
    environment = attrs.evolve(cheap_environment(), run_blocking=disk.run)
    server = HostedServer(Counter, store=disk, environment=environment)
    with pytest.raises(BaseExceptionGroup) as caught:
        async with trio.open_nursery() as nursery:
            await nursery.start(server.serve)
            async with server.client("ann") as ann:
                await ann.create_game("table 1")
                disk.hangs = True
                nursery.cancel_scope.cancel()
    assert caught.group_contains(StorageError, match="not saved: 'table 1'")

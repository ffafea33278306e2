"""What becomes of a running server's save file: it can be copied, deleted, and its disk fill up."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import trio
import trio.testing

from pgnet_trio import Game, Packet
from pgnet_trio.messages import Request
from pgnet_trio.storage import Changes, SavedState, Store
from pgnet_trio.testing import MemoryStore, hosting
from tests.kit.hosting import in_the_clear
from tests.storage.test_storage import load


class Table(Game):
    """Is saved as it is."""

    persistent = True

    def get_save_string(self) -> str:
        return "as it is"


@pytest.fixture(params=["save.sqlite", "save.json"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / str(request.param)


def state_of_a_copy(path: Path) -> SavedState:
    copy = path.with_name(f"copy-{path.name}")
    shutil.copyfile(path, copy)
    return load(copy)


def delete(path: Path) -> None:
    path.unlink()


async def test_after_an_autosave_a_copy_of_the_file_holds_everything(
    path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with (
        hosting(Table, network=in_the_clear(), save_file=path) as server,
        server.client("ann") as ann,
    ):
        await ann.create_game("table 1")
        await trio.sleep(11)
        saved = state_of_a_copy(path)
        assert list(saved.users) == ["ann"]
        assert saved.games["table 1"].data == "as it is"
        # It is ready to be copied too where no game has changed.
        async with server.client("bob"):
            await trio.sleep(11)
        assert list(state_of_a_copy(path).users) == ["ann", "bob"]


async def test_after_the_admin_has_saved_a_copy_of_the_file_holds_everything(path: Path) -> None:
    async with (
        hosting(Table, network=in_the_clear(), save_file=path, autosave_interval=1e6) as server,
        server.client("ann") as ann,
        server.client("admin") as admin,
    ):
        await ann.create_game("table 1")
        await admin.request(Packet(Request.SAVE))
        assert list(state_of_a_copy(path).games) == ["table 1"]


async def test_who_registers_after_the_file_was_deleted_is_registered(path: Path) -> None:
    async with hosting(
        Table, network=in_the_clear(), save_file=path, autosave_interval=1e6
    ) as server:
        async with server.client("ann"):
            delete(path)
        async with server.client("bob"):
            pass
        assert "ann" in state_of_a_copy(path).users
    assert list(load(path).users) == ["ann", "bob"]


class Unready(MemoryStore):
    """Saves, and cannot get its file ready to be copied."""

    def sync(self) -> None:
        raise OSError("the disk is full")


async def test_what_is_saved_counts_even_if_the_file_cannot_be_got_ready(
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = Unready()
    async with (
        hosting(Table, network=in_the_clear(), save_file=store) as server,
        server.client("ann") as ann,
        server.client("admin") as admin,
    ):
        await ann.create_game("table 1")
        assert (await admin.request(Packet(Request.SAVE))).message == "Everything is saved."
        assert list(store.games) == ["table 1"]
        assert "not ready to be copied: OSError: the disk is full" in caplog.text
        await trio.sleep(21)
        async with server.client("bob"):
            pass


class OfAnAuthor(Store):
    """A store that was written before there was `Store.sync`."""

    def load(self) -> SavedState:
        return SavedState()

    def write(self, changes: Changes) -> None:
        pass

    def close(self) -> None:
        pass


async def test_a_store_of_an_author_need_not_sync(caplog: pytest.LogCaptureFixture) -> None:
    async with (
        hosting(Table, network=in_the_clear(), save_file=OfAnAuthor()) as server,
        server.client("admin") as admin,
    ):
        assert (await admin.request(Packet(Request.SAVE))).message == "Everything is saved."
    assert "not ready" not in caplog.text

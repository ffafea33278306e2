"""`Server.stats`: one picture of a running server, which tests and monitors read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pgnet_trio import Bot, Game, Packet, Request, Response, Server, ServerError, StorageError
from pgnet_trio.testing import MemoryStore, SimulatedNetwork, hosting, playing
from tests.kit.hosting import in_the_clear

if TYPE_CHECKING:
    from pgnet_trio.storage import Changes


class Shop(Game):
    persistent = True

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.gate = trio.Event()

    def get_save_string(self) -> str:
        return "bread"

    async def handle_game_packet(self, packet: Packet, /) -> Response:
        if packet.message == "wait":
            await self.gate.wait()
        if packet.message == "say":
            self.room.push("said", {"text": "x" * 100})
        if packet.message == "ask":
            self.room.nursery.start_soon(self.ask, packet.username)
        if packet.message == "add a bot":
            self.room.add_bot(Idler("bot 1"))
        return Response("done")

    async def ask(self, player: str) -> None:
        await self.room.ask(player, Packet("how many?"), Amount)


@attrs.frozen
class Amount:
    loaves: int


class Idler(Bot):
    """Does nothing."""


async def test_a_server_that_does_not_run_has_no_figures() -> None:
    server = Server(Shop, port=None)
    with pytest.raises(ServerError, match="not running; its figures are there while it is"):
        server.stats()
    async with hosting(Shop) as hosted:
        hosted.stats()
    with pytest.raises(ServerError):
        hosted.stats()


async def test_users_and_their_games(autojump_clock: MockClock) -> None:
    async with hosting(Shop) as server, playing(server, "ann", "bob", game="table 1") as (ann, _):
        stats = server.stats()
        assert list(stats.sessions) == ["ann", "bob"]
        assert stats.users == 2
        assert stats.sessions["ann"].game == "table 1"
        assert stats.sessions["ann"].online
        assert list(stats.games) == ["table 1"]
        assert stats.games["table 1"].users == 2
        assert stats.games["table 1"].room.players == ("ann", "bob")
        await ann.leave_game()
        assert server.stats().sessions["ann"].game is None
        assert server.stats().games["table 1"].users == 1
        # The picture that was taken before has not changed.
        assert stats.sessions["ann"].game == "table 1"
        assert stats.games["table 1"].users == 2


async def test_a_bot_is_a_member_and_no_user() -> None:
    async with hosting(Shop) as server, playing(server, "ann", game="table 1") as ann:
        await ann.request(Packet("add a bot"))
        await wait_all_tasks_blocked()
        stats = server.stats()
        assert stats.games["table 1"].users == 1
        assert stats.games["table 1"].room.players == ("ann", "bot 1")
        assert (stats.users, list(stats.sessions)) == (1, ["ann"])


async def test_who_is_away_is_counted_until_they_are_back_or_gone(
    autojump_clock: MockClock,
) -> None:
    async with (
        hosting(Shop, resume_grace=10) as server,
        playing(server, "ann", "bob", reconnect_for=None) as (ann, _),
    ):
        server.network.cut("ann", "bob")
        await trio.sleep(1)
        assert server.stats().away == 2
        assert not server.stats().sessions["ann"].online
        server.network.heal("ann")
        await trio.sleep(6)
        assert ann.online
        assert server.stats().away == 1
        await trio.sleep(6)
        assert server.stats().away == 0
        assert list(server.stats().sessions) == ["ann"]


async def test_what_waits_for_a_client_and_for_a_game(autojump_clock: MockClock) -> None:
    async with (
        hosting(Shop) as server,
        playing(server, "ann", "bob", game="table 1") as (_, bob),
    ):
        await bob.request(Packet("ask"))
        await wait_all_tasks_blocked()
        assert server.stats().games["table 1"].room.open_questions == 1
        server.network.stall("ann")
        before = server.stats().sessions["ann"]
        for _ in range(10):
            await bob.request(Packet("say"))
        after = server.stats().sessions["ann"]
        assert after.unacknowledged - before.unacknowledged == 10
        assert after.unacknowledged_bytes - before.unacknowledged_bytes > 1000
        for _ in range(3):
            bob.send(Packet("wait"), print)
        await wait_all_tasks_blocked()
        # One of the three has its turn, and the others wait behind it.
        assert server.stats().sessions["bob"].unanswered == 3
        assert server.stats().games["table 1"].room.waiting_turns == 2
        server.games["table 1"].gate.set()
        await wait_all_tasks_blocked()
        assert server.stats().sessions["bob"].unanswered == 0


async def test_connections_are_counted_from_the_handshake_on(autojump_clock: MockClock) -> None:
    async with hosting(Shop, network=SimulatedNetwork(latency=1)) as server:
        assert server.stats().connections.total == 0
        assert server.stats().tasks.connections == 0
        ann = server.client("ann")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ann.run)
            await trio.sleep(2.5)
            assert server.stats().connections.total == 1
            assert server.stats().connections.logging_in == 1
            await trio.sleep(60)
            assert server.stats().connections.total == 1
            assert server.stats().connections.logging_in == 0
            assert server.stats().tasks.connections == 1
            ann.disconnect()


async def test_links_inside_the_process_are_tasks_and_not_counted() -> None:
    async with hosting(Shop, network=in_the_clear()) as server, playing(server, "ann"):
        assert server.stats().connections.total == 0
        assert server.stats().tasks.connections == 1


async def test_a_session_has_a_task_only_while_there_is_something_to_do(
    autojump_clock: MockClock,
) -> None:
    async with hosting(Shop, network=in_the_clear(), on_connection=print) as server:
        before = server.stats().tasks.services
        async with playing(server, "ann", "bob", game="table 1") as (ann, bob):
            await wait_all_tasks_blocked()
            # The room's own, and no other.
            room = server.stats().tasks.services - before
            await ann.request(Packet("hello"))
            await bob.get_game_dir()
            await wait_all_tasks_blocked()
            assert server.stats().tasks.services == before + room
            ann.send(Packet("wait"), print)
            # The game is busy, so that nobody can leave it yet.
            bob.send(Packet(Request.LEAVE_GAME), print)
            await wait_all_tasks_blocked()
            assert server.stats().tasks.services == before + room + 1
            server.games["table 1"].gate.set()
            await wait_all_tasks_blocked()
            assert server.stats().tasks.services == before + room
            for session in server.stats().sessions.values():
                assert session.unanswered == 0


async def test_what_is_saved_and_when(autojump_clock: MockClock) -> None:
    async with (
        hosting(Shop, network=in_the_clear(), autosave_interval=1000) as server,
        playing(server, "admin", game="table 1") as admin,
    ):
        saves = server.stats().saves
        assert saves.enabled
        assert (saves.games, saves.last_saved, saves.last_duration) == (0, None, None)
        await trio.sleep(5)
        await admin.request(Packet(Request.SAVE))
        saves = server.stats().saves
        assert (saves.games, saves.last_saved) == (1, trio.current_time())
        assert (saves.last_duration, saves.last_error) == (0, "")
        await admin.request(Packet(Request.CREATE_INVITE))
        assert server.stats().invite_codes == 1


async def test_a_save_that_fails_says_why_until_one_succeeds(autojump_clock: MockClock) -> None:
    class Flaky(MemoryStore):
        full = False

        def write(self, changes: Changes) -> None:
            if self.full:
                raise StorageError("the disk is full")
            super().write(changes)

    store = Flaky()
    async with (
        hosting(Shop, store=store, autosave_interval=10) as server,
        playing(server, "ann", game="table 1"),
    ):
        store.full = True
        await trio.sleep(15)
        assert server.stats().saves.last_error == "the disk is full"
        assert server.stats().saves.last_saved is None
        store.full = False
        await trio.sleep(10)
        assert server.stats().saves.last_error == ""
        assert server.stats().saves.last_saved is not None


async def test_a_game_that_is_over_is_named_until_a_save_has_taken_it_out(
    autojump_clock: MockClock,
) -> None:
    async with (
        hosting(Shop, network=in_the_clear(), autosave_interval=10) as server,
        playing(server, "admin", game="table 1") as admin,
    ):
        await trio.sleep(15)
        assert server.stats().saves.games == 1
        await admin.leave_game()
        server.games["table 1"].room.close("sold out")
        await wait_all_tasks_blocked()
        assert server.stats().games == {}
        assert server.stats().saves.ended_games == ("table 1",)
        await trio.sleep(10)
        assert server.stats().saves.ended_games == ()
        assert server.stats().saves.games == 0


async def test_without_a_save_file_nothing_is_saved() -> None:
    async with hosting(Shop, save_file=None) as server, playing(server, "ann", game="table 1"):
        assert not server.stats().saves.enabled
        assert server.stats().saves.last_saved is None


async def test_nobody_can_change_the_picture() -> None:
    async with hosting(Shop) as server:
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            server.stats().users = 7  # type: ignore[misc]  # frozen, which is what is tested

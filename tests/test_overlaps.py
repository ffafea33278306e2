"""What ends while something else is under way: nothing comes back, nobody is left half in."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pgnet_trio import Client, Disconnected, Game, Packet, Request, RequestFailed, Response, Server
from pgnet_trio.client.outbox import MAX_QUEUED
from pgnet_trio.storage import Changes, SavedState, Store
from pgnet_trio.testing import SimulatedNetwork, hosting, playing


class Saved(Game):
    persistent = True

    def __init__(self, name: str, save_string: str | None = None) -> None:
        pass

    def get_save_string(self) -> str:
        return "something"

    async def handle_game_packet(self, packet: Packet) -> Response:
        match packet.message:
            case "wait":
                await trio.sleep(2)
            case "save":
                await trio.sleep(1)
                await self.room.save()
            case "close":
                self.room.close("It is over.")
        return Response("done")


async def test_a_user_who_is_deleted_twice_is_gone_once() -> None:
    async with hosting(Saved) as server:
        async with server.client("ann"), server.client("bob") as bob:
            server.delete_user("ann")
            server.delete_user("ann")
            await wait_all_tasks_blocked()
            await bob.join_game("table 1")
        assert "ann" not in server.store.state.users


async def test_a_shutdown_while_the_server_starts_is_kept() -> None:
    loading, loaded = trio.Event(), threading.Event()
    token = trio.lowlevel.current_trio_token()

    class Slow(Store):
        def load(self) -> SavedState:
            token.run_sync_soon(loading.set)
            loaded.wait(5)
            return SavedState()

        def write(self, changes: Changes) -> None:
            pass

        def close(self) -> None:
            pass

    server = Server(Saved, port=None, save_file=Slow())
    codes: list[int] = []

    async def serve() -> None:
        codes.append(await server.serve())

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            await loading.wait()
            server.shutdown(3)
            loaded.set()
    assert codes == [3]


async def test_a_game_that_ends_while_a_save_asks_another_stays_ended(
    autojump_clock: MockClock,
) -> None:
    async with hosting(Saved, autosave_interval=10) as server:
        async with (
            playing(server, "ann", game="table 1") as ann,
            playing(server, "bob", game="table 2") as bob,
            trio.open_nursery() as nursery,
        ):
            await trio.sleep_until(11)
            assert set(server.store.state.games) == {"table 1", "table 2"}
            # The save at 20 s waits for the one, and the other ends.
            await trio.sleep_until(19.9)
            nursery.start_soon(ann.request, Packet("wait"))
            await trio.sleep_until(20.5)
            await bob.request(Packet("close"))
            await trio.sleep(60)
            assert set(server.store.state.games) == {"table 1"}


async def test_a_game_that_saves_after_its_end_stays_ended(autojump_clock: MockClock) -> None:
    network = SimulatedNetwork(encrypted=False)
    async with hosting(Saved, network=network) as server:
        async with (
            playing(server, "ann", game="table 1") as ann,
            playing(server, "admin") as admin,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(ann.request, Packet("save"))
            await trio.sleep(0.5)
            await admin.request(Packet(Request.DESTROY_GAME, {"name": "table 1"}))
            await trio.sleep(60)
            assert not server.store.state.games


async def test_who_is_kicked_while_the_game_lets_them_in_is_out(
    autojump_clock: MockClock,
) -> None:
    class Hesitant(Game):
        async def user_joined(self, username: str) -> None:
            if username == "bob":
                self.room.nursery.start_soon(self.change_its_mind)
                await trio.sleep(1)

        async def change_its_mind(self) -> None:
            await trio.sleep(0.5)
            self.room.kick("bob", "No.")

    async with hosting(Hesitant) as server:
        async with playing(server, "ann", game="table 1") as ann, playing(server, "bob") as bob:
            with pytest.raises(RequestFailed, match="sent you away"):
                await bob.join_game("table 1")
            await trio.sleep(5)
            assert bob.game is None
            assert list(ann.players) == ["ann"]


async def test_an_answer_behind_the_end_of_its_session_is_nothing(
    autojump_clock: MockClock,
) -> None:
    class Talker(Game):
        def handle_game_packet(self, packet: Packet) -> Response:
            for _ in range(packet.payload["pushes"]):
                self.room.push("p")
            return Response("done")

    async def slow(_: Any) -> None:
        await trio.sleep(5)

    async with hosting(Talker) as server:
        client = server.client("ann")
        client.on_push = slow
        async with client:
            await client.join_game("table 1")
            await client.request(Packet("x", {"pushes": MAX_QUEUED - 10}))
            async with trio.open_nursery() as nursery:
                for _ in range(60):
                    nursery.start_soon(_ask_until_the_end, client)
        assert "calls of events wait" in (client.close_reason or "")


async def _ask_until_the_end(client: Client) -> None:
    try:
        await client.request(Packet("x", {"pushes": 1}))
    except Disconnected:
        return


class Beating(Game):
    def handle_heartbeat(self, packet: Packet) -> Response:
        return Response("beat")


class Slowly(Beating):
    heartbeat_rate = 0.01


def beating(name: str, save_string: str | None = None) -> Game:
    return Slowly(name, save_string) if name == "slow" else Beating(name, save_string)


async def test_heartbeats_go_on_after_two_losses_in_a_row(autojump_clock: MockClock) -> None:
    network = SimulatedNetwork(latency=0.3)
    beats: list[Response] = []
    logged_in = trio.Event()

    def note_connection(connected: bool) -> None:
        if connected:
            logged_in.set()

    async with hosting(Beating, network=network, resume_grace=1) as server:
        async with playing(server, "bob", game="table 1"), server.client("ann") as ann:
            ann.on_heartbeat, ann.on_connection = beats.append, note_connection
            await ann.join_game("table 1")
            for pause in (0.2, 10):
                logged_in = trio.Event()
                network.cut("ann")
                await trio.sleep(10)
                network.heal("ann")
                await logged_in.wait()
                # After the first one, before the answer to joining again.
                await trio.sleep(pause)
            beats.clear()
            await trio.sleep(10)
            assert len(beats) > 5


async def test_heartbeats_take_the_rate_of_the_game_at_once(autojump_clock: MockClock) -> None:
    beats: list[Response] = []
    async with hosting(beating) as server, server.client("ann") as ann:
        ann.on_heartbeat = beats.append
        await ann.join_game("slow")
        await trio.sleep(1)
        await ann.leave_game()
        await ann.join_game("fast")
        await trio.sleep(1)
        assert len(beats) > 5

"""What ends while something else is under way: nothing comes back, nobody is left half in."""

from __future__ import annotations

import threading
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pgnet_trio import (
    Client,
    Disconnected,
    Game,
    Packet,
    Reject,
    Request,
    RequestFailed,
    Response,
    Server,
    Status,
    on,
)
from pgnet_trio.client.limits import MAX_CALLS
from pgnet_trio.storage import Changes, SavedState, Store
from pgnet_trio.testing import SimulatedNetwork, hosting, playing
from tests.kit.hosting import Raise, in_the_clear
from tests.kit.subprocesses import DEADLINE


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


class Nowhere(Store):
    """Keeps nothing."""

    def load(self) -> SavedState:
        return SavedState()

    def write(self, changes: Changes) -> None:
        pass

    def close(self) -> None:
        pass


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

    class Slow(Nowhere):
        def load(self) -> SavedState:
            token.run_sync_soon(loading.set)
            loaded.wait(5)
            return super().load()

    server = Server(Saved, port=None, save_file=Slow())
    codes: list[int] = []

    async def serve() -> None:
        codes.append(await server.serve())

    with trio.fail_after(DEADLINE):
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
            for count in (MAX_CALLS // 2, MAX_CALLS // 2 - 10):
                await client.request(Packet("x", {"pushes": count}))
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


@attrs.frozen
class Ask:
    what: str


@attrs.frozen
class Told:
    number: int


class Asking(Game):
    async def run(self) -> None:
        (player,) = await self.room.wait_players(1)
        await self.room.ask(player, Ask(self.room.name), Told)
        await trio.sleep_forever()


async def test_a_late_answer_is_none_to_the_question_of_another_game() -> None:
    async with hosting(Asking) as server, playing(server, "ann") as ann:
        await ann.create_game("before")
        old = await anext(ann.questions(Ask))
        await ann.leave_game()
        await ann.create_game("now")
        new = await anext(ann.questions(Ask))
        assert "no longer open" in (await old.answer(Told(1))).message
        assert new.is_open
        await new.answer(Told(2))


async def test_no_game_is_made_during_the_shutdown(autojump_clock: MockClock) -> None:
    async with hosting(Saved) as server:
        async with (
            playing(server, "ann", game="table 1") as ann,
            playing(server, "bob") as bob,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(ann.request, Packet("wait"))
            await trio.sleep(0.5)
            server.shutdown()
            await trio.sleep(0.5)
            with pytest.raises(RequestFailed, match="shutting down"):
                await bob.join_game("table 2")
        assert set(server.store.state.games) == {"table 1"}


async def test_a_store_that_raises_what_it_likes_costs_no_game(autojump_clock: MockClock) -> None:
    class Away(Nowhere):
        def write(self, changes: Changes) -> None:
            raise ConnectionError("the database is away")

    async with (
        hosting(Saved, network=in_the_clear(), save_file=Away()) as server,
        playing(server, "admin", game="table 1") as admin,
    ):
        response = await admin.request(Packet(Request.SAVE))
        assert response.status == Status.UNEXPECTED
        assert response.message == "ConnectionError: the database is away"
        assert "the database is away" in server.stats().saves.last_error
        assert server.stats().games["table 1"].users == 1
        assert (await admin.request(Packet("hello"))).message == "done"


async def test_a_game_made_again_is_open_and_hears_only_of_its_own(
    autojump_clock: MockClock,
) -> None:
    heard: list[str] = []

    class Fragile(Game):
        on_crash = "restart"

        def user_joined(self, username: str) -> None:
            heard.append(f"{username} joined")

        def user_left(self, username: str) -> None:
            heard.append(f"{username} left")

        async def handle_game_packet(self, packet: Packet) -> Response:
            await trio.sleep(0.5)
            self.room.locked = True
            self.room.kick("bob")
            return Response("done")

        @on(Raise)
        def fail(self, player: str, message: Raise) -> None:
            heard.clear()
            raise ValueError("planned")

    async with hosting(Fragile) as server:
        async with (
            playing(server, "ann", game="table 1") as ann,
            playing(server, "bob", game="table 1"),
        ):
            with server.expecting(ValueError):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(ann.request, Packet("kick"))
                    await trio.sleep(0.1)
                    await ann.request(Packet("Raise"))
            await trio.sleep(1)
            assert heard == ["ann joined"]
            async with playing(server, "cid", game="table 1"):
                assert heard == ["ann joined", "cid joined"]


async def test_a_refused_return_to_a_game_takes_none_from_who_is_in_another(
    autojump_clock: MockClock,
) -> None:
    doors = {"open": True}

    class Door(Game):
        def user_joined(self, username: str) -> None:
            if self.room.name == "table 1" and not doors["open"]:
                raise Reject("No more.")

    network = SimulatedNetwork(latency=0.05)
    async with hosting(Door, network=network, resume_grace=5) as server:
        async with server.client("ann") as ann, server.client("bob") as bob:
            await bob.join_game("table 1")
            await ann.join_game("table 1")

            async def go_elsewhere(connected: bool) -> None:
                if connected:
                    await ann.join_game("table 2")

            ann.on_connection = go_elsewhere
            network.cut("ann")
            await trio.sleep(10)
            doors["open"] = False
            network.heal("ann")
            await trio.sleep(10)
            assert ann.game == "table 2"


async def test_a_resume_whose_time_is_up_in_the_very_step_is_tried_again(
    autojump_clock: MockClock,
) -> None:
    network = SimulatedNetwork(latency=0)
    answers = 0

    def jump(record: Any, _: object) -> None:
        nonlocal answers
        if record.where.startswith("ann#2 <-") and record.what == "send":
            answers += 1
            if answers == 2:
                # What says that the session goes on.
                autojump_clock.jump(6)

    network.on_record = jump
    async with hosting(Saved, network=network) as server:
        with trio.fail_after(100):
            async with server.client("ann") as ann:
                await ann.join_game("table 1")
                network.drop("ann")
                await trio.sleep(60)
                assert ann.online
                assert ann.close_reason == ""
    assert answers >= 2

"""A planned restart: clients are told that the server will be back, and come back by themselves."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

from pgnet_trio import Client, Disconnected, Game, Packet, RequestFailed, SessionLost, on
from pgnet_trio.messages import Request
from pgnet_trio.protocol.v2 import ClientProtocol
from pgnet_trio.testing import HostedServer, hosting, playing
from tests.kit.hosting import hosting_faults, in_the_clear

if TYPE_CHECKING:
    from trio.testing import MockClock

RESTARTS = "The server restarts; coming back..."
SHUTS_DOWN = "The server is shutting down."


@attrs.frozen
class Add:
    by: int


@attrs.frozen
class Total:
    total: int


class Counter(Game):
    """Adds up, and keeps it over a restart."""

    persistent = True

    def __init__(self, name: str, save_string: str | None = None) -> None:
        saved = self.room.saved(Total)
        self.total = 0 if saved is None else saved.total

    @on(Add)
    async def add(self, player: str, add: Add) -> Total:
        if not add.by:
            await trio.sleep_forever()
        self.total += add.by
        return Total(self.total)

    def view(self) -> Total:
        return Total(self.total)

    def get_save_string(self) -> Total:
        return Total(self.total)


class Watched:
    """What a client's program is told, in order."""

    def __init__(self, client: Client) -> None:
        self.calls: list[object] = []
        client.on_status = self.calls.append
        client.on_online = lambda online: self.calls.append(("online", online))
        client.on_game = lambda game: self.calls.append(("game", game))
        client.on_connection = lambda connected: self.calls.append(("connected", connected))


async def test_after_a_planned_restart_everybody_is_back_in_their_game(
    autojump_clock: MockClock,
) -> None:
    async with (
        hosting(Counter, autosave_interval=1e6) as server,
        playing(server, "ann", "bob", game="table 1") as (ann, bob),
        playing(server, "eve") as eve,
    ):
        await eve.join_game("table 1", spectate=True)
        watched = Watched(ann)
        await ann.call(Add(2))
        await server.restart()
        await trio.sleep(10)
        for client in (ann, bob, eve):
            assert (client.connected, client.online, client.game) == (True, True, "table 1")
            assert client.get_state(Total) == Total(2)
        assert await ann.call(Add(3), Total) == Total(5)
        # What the client can show while it waits, and what it hears: as after a kill -9.
        assert watched.calls[:2] == [("online", False), RESTARTS]
        heard = [call for call in watched.calls if isinstance(call, tuple)]
        assert heard == [
            ("online", False),
            ("connected", False),
            ("connected", True),
            ("online", True),
        ]


async def test_a_client_waits_as_long_as_it_is_told_to(autojump_clock: MockClock) -> None:
    server = HostedServer(Counter)
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve)
        async with (
            server.client("ann", reconnect_for=None) as ann,
            server.client("bob", reconnect_for=20) as bob,
            server.client("eve", reconnect_for=0) as eve,
        ):
            await ann.create_game("table 1")
            server.shutdown(restarting=True)
            await trio.sleep(3600)
            assert ann.connected
            assert [bob.connected, eve.connected] == [False, False]
            assert SHUTS_DOWN in eve.close_reason
            await nursery.start(server.serve)
            await trio.sleep(10)
            assert (ann.online, ann.game) == (True, "table 1")
            ann.disconnect()
        server.shutdown()


async def test_who_was_away_at_the_restart_comes_back_as_well(autojump_clock: MockClock) -> None:
    async with hosting(Counter) as server, playing(server, "ann", game="table 1") as ann:
        server.network.cut("ann")
        await trio.sleep(5)
        await server.restart()
        server.network.heal("ann")
        await trio.sleep(20)
        assert (ann.online, ann.game) == (True, "table 1")


async def test_what_was_under_way_is_lost_as_after_a_crash(autojump_clock: MockClock) -> None:
    async with hosting(Counter) as server, playing(server, "ann", game="table 1") as ann:
        outcomes: dict[str, BaseException] = {}

        async def wait(name: str, function: Any, *args: Any) -> None:
            with pytest.raises((Disconnected, RequestFailed)) as caught:
                await function(*args)
            outcomes[name] = caught.value

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, "turn", ann.call, Add(0))
            waiting = functools.partial(ann.wait_state, raise_session_lost=True)
            nursery.start_soon(wait, "state", waiting, Total, lambda total: total.total > 99)
            await trio.sleep(1)
            await server.restart()
        # The turn that did not end in time is answered before the server goes.
        assert isinstance(outcomes["turn"], RequestFailed)
        assert isinstance(outcomes["state"], SessionLost)
        await trio.sleep(10)
        assert await ann.call(Add(1), Total) == Total(1)


@pytest.mark.parametrize("way", ["shutdown()", "the admin"])
async def test_a_shutdown_is_for_good(way: str, autojump_clock: MockClock) -> None:
    async with (
        hosting(Counter, network=in_the_clear()) as server,
        playing(server, "ann", "admin") as (ann, admin),
    ):
        await ann.create_game("table 1")
        if way == "the admin":
            await admin.request(Packet(Request.SHUTDOWN))
        else:
            server.shutdown()
        await server.stopped.wait()
        await trio.sleep(0.1)
        assert not ann.connected
        assert ann.close_reason == SHUTS_DOWN


async def test_a_reboot_is_a_restart(autojump_clock: MockClock) -> None:
    server = HostedServer(Counter)
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve)
        async with server.client("ann") as ann:
            await ann.create_game("table 1")
            server.shutdown(-1)
            await trio.sleep(10)
            assert (ann.connected, ann.online) == (True, False)
            assert ann.status.startswith("Not back yet: ")
            await nursery.start(server.serve)
            await trio.sleep(10)
            assert (ann.online, ann.game) == (True, "table 1")
        server.shutdown()


@pytest.mark.parametrize("protocol", [1, 2])
async def test_a_client_without_the_feature_hears_goodbye(
    protocol: int, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ClientProtocol.__init__.__kwdefaults__
    assert options is not None
    monkeypatch.setitem(options, "features", frozenset())

    class Plain(Counter):
        view = Game.view

    async with (
        hosting(Plain) as server,
        playing(server, "ann", game="table 1", protocol=protocol) as ann,
    ):
        watched = Watched(ann)
        server.shutdown(restarting=True)
        await server.stopped.wait()
        await trio.sleep(1)
        assert not ann.connected
        assert RESTARTS not in watched.calls
        if protocol == 2:
            assert ann.close_reason == SHUTS_DOWN
            # It is told that it is out of the game, as ever.
            assert watched.calls.index(("game", None)) < watched.calls.index(("connected", False))


async def test_a_game_that_is_over_when_the_server_restarts_is_not_come_back_to(
    autojump_clock: MockClock,
) -> None:
    class Ending(Counter):
        @on(Add)
        async def add(self, player: str, add: Add) -> Total:
            self.room.close("You have won.")
            return Total(0)

    async with hosting(Ending) as server, playing(server, "ann", game="table 1") as ann:
        await ann.call(Add(1))
        await server.restart()
        await trio.sleep(10)
        assert (ann.online, ann.game) == (True, None)


async def test_whether_it_restarts_is_yes_or_no() -> None:
    async with hosting(Counter) as server:
        with pytest.raises(TypeError, match="restarting"):
            server.shutdown(restarting="yes")  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize("asks_all", [False, True])
async def test_a_script_that_asks_before_anybody_is_back_keeps_its_save(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock, *, asks_all: bool
) -> None:
    class Hasty(Counter):
        async def run(self) -> None:
            if not self.total:
                await self.room.wait_players(1)
            self.total += 5
            await self.room.save()
            if asks_all:
                await self.room.ask_all(["ann"], Packet("How many?"), Add)
            else:
                await self.room.ask("ann", Packet("How many?"), Add)

    async with hosting_faults(Hasty) as server, playing(server, "ann", game="table 1") as ann:
        await ann.wait_state(Total, lambda state: state.total == 5)
        await server.restart()
        with trio.fail_after(60):
            await ann.wait_state(Total, lambda state: state.total > 5)
    assert "Hasty.run asked a player before anybody was back in the game" in caplog.text
    assert "self.room.wait_players" in caplog.text

"""A script that goes on after each error blocks nobody, and is ended where it does nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest
import trio

from pgnet_trio import Game, Packet, PlayerLeft, RequestFailed, Response
from pgnet_trio.testing import hosting
from tests.kit.hosting import hosting_faults

if TYPE_CHECKING:
    from trio.testing import MockClock


@attrs.define
class Ask:
    pass


class Spinning(Game):
    """Calls what fails at once, in a loop, from the first packet on."""

    way = "ask"

    async def handle_game_packet(self, packet: Packet, /) -> Response:
        if packet.message == "look":
            return Response("ok")
        self.way = packet.message
        if self.way == "ask in a turn":
            while True:
                try:
                    await self.room.ask("nobody", Ask(), Ask)
                except Exception:
                    continue
        self.room.nursery.start_soon(self.spin)
        return Response("spinning")

    async def spin(self) -> None:
        while True:
            try:
                match self.way:
                    case "ask":
                        await self.room.ask("nobody", Ask(), Ask)
                    case "ask all":
                        await self.room.ask_all(["nobody"], Ask(), Ask)
                    case "ask what cannot be asked":
                        await self.room.ask("ann", object(), Ask)
                    case "ask for no time":
                        await self.room.ask("ann", Ask(), Ask, timeout=0)
                    case "ask for no time, with a default":
                        await self.room.ask("ann", Ask(), Ask, timeout=0, default=Ask())
                    case "ask with a wrong default":
                        await self.room.ask("ann", Ask(), Ask, default=Ask())
                    case "ask all of one name":
                        await self.room.ask_all("ann", Ask(), Ask)
                    case "ask all of nobody":
                        await self.room.ask_all([], Ask(), Ask)
                    case "ask all who have left":
                        await self.room.ask_all(
                            ["nobody"], Ask(), Ask, default=Ask(), leavers="default"
                        )
                    case "wait for no number":
                        await self.room.wait_players(None)  # type: ignore[arg-type]  # the mistake
                    case "save":
                        await self.room.save()
            except (Exception, trio.TooSlowError):
                continue

    persistent = True

    def get_save_string(self) -> str:
        if self.way == "save":
            raise ValueError("no save string")
        return ""


WAYS = [
    "ask",
    "ask all",
    "ask what cannot be asked",
    "ask for no time",
    "ask for no time, with a default",
    "ask with a wrong default",
    "ask all of one name",
    "ask all of nobody",
    "ask all who have left",
    "wait for no number",
    "save",
    "ask in a turn",
]


@pytest.mark.parametrize("way", WAYS)
async def test_a_loop_over_calls_that_fail_at_once_is_ended_as_a_crash_of_its_game(
    way: str, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    with trio.fail_after(20):
        async with (
            hosting_faults(Spinning, RuntimeError) as server,
            server.client("ann") as ann,
            server.client("bob") as bob,
        ):
            await bob.create_game("table 2")
            await ann.create_game("table 1")
            request = Packet(way)
            await ann.request(request)
            while ann.game is not None:
                # Others are served meanwhile.
                await bob.call(Packet("look"))
            assert ann.left is not None
            assert ann.left.reason == "crashed"
            assert list(await bob.get_game_dir()) == ["table 2"]
    assert "1,000 calls of room methods in a row failed at once, the last of them at" in caplog.text
    assert f"{__file__}:" in caplog.text
    assert "in Spinning." in caplog.text


@pytest.mark.no_cover
async def test_a_script_that_waits_in_between_goes_on(autojump_clock: MockClock) -> None:
    rounds = 0

    class Polling(Game):
        async def run(self) -> None:
            nonlocal rounds
            await self.room.wait_players(1)
            while True:
                rounds += 1
                for player in ("nobody", "nobody else", "ann"):
                    try:
                        await self.room.ask(player, Ask(), Ask, timeout=0.05)
                    except (PlayerLeft, trio.TooSlowError):
                        continue

    async with hosting(Polling) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        await trio.sleep(60)
        assert ann.game == "table 1"
    assert rounds >= 1_000


async def test_what_a_game_receives_in_between_counts(autojump_clock: MockClock) -> None:
    class Ticking(Game):
        update_rate = 10

        def update(self) -> None:
            pass

        async def run(self) -> None:
            await self.room.wait_players(1)
            while True:
                for _ in range(600):
                    with pytest.raises(PlayerLeft):
                        await self.room.ask("nobody", Ask(), Ask)
                await trio.sleep(0.15)

    async with hosting(Ticking) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        await trio.sleep(2)
        assert ann.game == "table 1"


async def test_a_game_that_spins_may_come_back(caplog: pytest.LogCaptureFixture) -> None:
    class Phoenix(Spinning):
        on_crash = "restart"

    async with hosting_faults(Phoenix, RuntimeError) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        with pytest.raises(RequestFailed, match="crashed"):
            await ann.call(Packet("ask in a turn"))
        assert (await ann.call(Packet("look"))).message == "ok"
        assert ann.game == "table 1"

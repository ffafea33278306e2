"""Whatever happens in the middle of requests about results and bans, each is carried out once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

from pgnet_trio import Client, Disconnected, Packet, Request
from pgnet_trio.testing import HostedServer, SimulatedNetwork
from pgnet_trio.testing.hosting import Kit
from tests.kit.moments import Cancelling
from tests.server.test_results import NAME, Duel, Over

if TYPE_CHECKING:
    from trio.testing import MockClock

    from pgnet_trio.testing.network import Record

PASSWORD = "secret"
LATENCY = 0.05


async def ask(client: Client, message: Request, **payload: Any) -> dict[str, Any]:
    return (await client.request(Packet(message, payload))).raise_for_status().payload


async def banned(admin: Client) -> list[str]:
    return [ban["whom"] for ban in (await ask(admin, Request.BANS))["bans"]]


async def deeds(admin: Client) -> list[str]:
    """Return what the audit log says, in order; with a question mark where nobody knows."""
    entries = (await ask(admin, Request.AUDIT))["entries"]
    return [
        entry["did"] + "?" * ("outcome=unknown" in entry["details"]) for entry in reversed(entries)
    ]


@attrs.frozen
class Community:
    """Bob has beaten ann once, and has gone; the admin moderates, and cleo only reads."""

    server: HostedServer
    admin: Client
    ann: Client
    cleo: Client

    async def read(self) -> None:
        """Let ann read what there is about the one result."""
        page = await self.ann.leaderboard("points", around="ann")
        assert [(entry.username, entry.score) for entry in page.entries] == [("bob", 3), ("ann", 1)]
        (played,) = await self.ann.history()
        assert played.ranks == [["bob"], ["ann"]]

    async def moderate(self) -> None:
        """Have the admin ban bob, look at it, and let him in again."""
        await ask(self.admin, Request.BAN, username="bob", reason="Insults")
        assert await banned(self.admin) == ["bob"]
        assert await deeds(self.admin) == ["ban"]
        await ask(self.admin, Request.UNBAN, username="bob")
        assert await banned(self.admin) == []
        assert await deeds(self.admin) == ["ban", "unban"]

    async def check_on(self, did: list[str], *, crashed: bool = False) -> None:
        """Check that sessions go on, and what was done: nothing twice, and nothing by halves."""
        await self.read()
        done = await deeds(self.admin)
        if crashed and done and done[-1].endswith("?"):
            done[-1] = done[-1][:-1]
            assert await banned(self.admin) in (["bob"], [])
        else:
            assert await banned(self.admin) == (["bob"] if done == ["ban"] else [])
        assert done == did[: len(done)]

    @asynccontextmanager
    async def nobody_waits(self) -> AsyncIterator[None]:
        """Have cleo read all the time, who gets each answer at once."""

        async def read_on() -> None:
            while True:
                with trio.fail_after(2 * LATENCY + 0.01):
                    await self.cleo.leaderboard("points")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_on)
            yield
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def community(network: SimulatedNetwork) -> AsyncIterator[Community]:
    async with Kit(network) as kit:
        server = await kit.host(Duel, admin_password=PASSWORD)
        ann, bob = [await kit.play(name, game=NAME) for name in ("ann", "bob")]
        await ann.call(Over("bob", "ann"))
        bob.disconnect()
        admin = await kit.play("admin", PASSWORD)
        yield Community(server, admin, ann, await kit.play("cleo"))


Doing = Callable[[Community], Awaitable[None]]
DOINGS = pytest.mark.parametrize("doing", [Community.read, Community.moderate])


class _AtRecord:
    """Says when this many messages of some users have been on their way."""

    def __init__(self, network: SimulatedNetwork, number: int, *users: str) -> None:
        self.left = number
        self.users = users
        self.reached = trio.Event()
        network.on_record = self._note

    def _note(self, record: Record, frame: bytes) -> None:
        if frame and any(user in record.where for user in self.users):
            self.left -= 1
            if not self.left:
                self.reached.set()


async def drop_at(number: int, doing: Doing) -> bool:
    """Drop the connections of those who ask at one message; return whether there was such a one."""
    network = SimulatedNetwork(number, latency=LATENCY)
    async with community(network) as people:
        record = _AtRecord(network, number, "ann", "admin")

        async def drop() -> None:
            await record.reached.wait()
            network.drop("ann", "admin")

        async with people.nobody_waits(), trio.open_nursery() as nursery:
            nursery.start_soon(drop)
            with trio.fail_after(30):
                # They come back, and get each answer after all.
                await doing(people)
            nursery.cancel_scope.cancel()
        network.on_record = None
        await people.check_on(["ban", "unban"] if doing is Community.moderate else [])
    return record.reached.is_set()


@DOINGS
async def test_a_connection_may_drop_at_each_message_of_a_request(
    autojump_clock: MockClock, doing: Doing
) -> None:
    number = 1
    while await drop_at(number, doing):
        number += 1
    assert number > 2


async def crash_at(number: int, doing: Doing) -> bool:
    """Crash the server at one message; return whether there was such a one."""
    network = SimulatedNetwork(number, latency=LATENCY)
    async with community(network) as people:
        record = _AtRecord(network, number, "ann", "admin")

        async def crash() -> None:
            await record.reached.wait()
            with trio.CancelScope(shield=True):
                await people.server.restart(crash=True)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(crash)
            with trio.fail_after(30), suppress(Disconnected):
                await doing(people)
            nursery.cancel_scope.cancel()
        network.on_record = None
        await trio.sleep(5)
        await people.check_on(["ban", "unban"], crashed=True)
    return record.reached.is_set()


@DOINGS
async def test_the_server_may_crash_at_each_message_of_a_request(
    autojump_clock: MockClock, doing: Doing
) -> None:
    number = 1
    while await crash_at(number, doing):
        number += 1
    assert number > 2


async def cancel_at(number: int, doing: Doing, *, message: bool) -> bool:
    """Give up at one step of the task, or at one message; return whether there was such a one."""
    network = SimulatedNetwork(number, latency=LATENCY)
    async with community(network) as people:
        cancelling = Cancelling(0 if message else number)

        async def cancel() -> None:
            await _AtRecord(network, number, "ann", "admin").reached.wait()
            cancelling.scope.cancel()

        async with people.nobody_waits(), trio.open_nursery() as nursery:
            if message:
                nursery.start_soon(cancel)
            trio.lowlevel.add_instrument(cancelling)
            cancelling.task = trio.lowlevel.current_task()
            with cancelling.scope:
                await doing(people)
            cancelling.task = None
            trio.lowlevel.remove_instrument(cancelling)
            nursery.cancel_scope.cancel()
        network.on_record = None
        # What was on its way is carried out.
        await trio.sleep(1)
        await people.check_on(["ban", "unban"] if doing is Community.moderate else [])
    return cancelling.scope.cancel_called


@DOINGS
@pytest.mark.parametrize("message", [False, True])
async def test_a_request_can_be_cancelled_at_each_await_and_message(
    autojump_clock: MockClock, doing: Doing, message: bool
) -> None:
    number = 1
    while await cancel_at(number, doing, message=message):
        number += 1
    assert number > 2

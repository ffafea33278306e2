"""A user changes their password: the old one asked, and nobody else stays logged in with it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest
import trio

from pgnet_trio import (
    Client,
    Disconnected,
    Game,
    LoginRefused,
    Packet,
    ReasonCode,
    Request,
    RequestFailed,
)
from pgnet_trio.cli.prompt import is_confidential
from pgnet_trio.lines import describe_packet, parse_packet
from pgnet_trio.server.cluster.shared_accounts import SharedAccounts
from pgnet_trio.server.local_accounts import LocalAccounts
from pgnet_trio.server.requests import _entries
from pgnet_trio.testing import HostedServer, MemoryStore, SimulatedNetwork
from pgnet_trio.testing.clusters import cluster
from pgnet_trio.testing.hosting import Kit

if TYPE_CHECKING:
    from trio.testing import MockClock

    from pgnet_trio.server.account_service import AccountService
    from pgnet_trio.storage.interface import UserRecord

OLD, NEW = "correct horse", "battery staple"


async def log_in(server: HostedServer, password: str, username: str = "ann") -> None:
    async with server.client(username, password):
        pass


async def test_the_new_password_holds_and_the_old_one_does_not(autojump_clock: MockClock) -> None:
    async with Kit(SimulatedNetwork()) as table:
        store = MemoryStore()
        server = await table.host(Game, store=store)
        ann = await table.play("ann", OLD)
        await ann.change_password(OLD, NEW)
        # Who has changed it goes on, also where the connection is lost.
        table.network.drop("ann")
        await trio.sleep(5)
        assert ann.online
        ann.disconnect()
        await trio.sleep(1)
        with pytest.raises(LoginRefused) as caught:
            await log_in(server, OLD)
        assert caught.value.code == ReasonCode.WRONG_PASSWORD
        await log_in(server, NEW)
        # Also after a restart.
        await log_in(await table.host(Game, store=store.copy()), NEW)


async def test_a_wrong_old_password_changes_nothing_and_counts_as_at_a_log_in(
    autojump_clock: MockClock,
) -> None:
    async with Kit(SimulatedNetwork()) as table:
        server = await table.host(Game, failed_logins_per_account=3)
        ann = await table.play("ann", OLD)
        for _ in range(3):
            with pytest.raises(RequestFailed) as caught:
                await ann.change_password("a guess", NEW)
            assert caught.value.code == ReasonCode.WRONG_PASSWORD
        # Unheard now, right or wrong.
        with pytest.raises(RequestFailed) as caught:
            await ann.change_password(OLD, NEW)
        assert caught.value.code == ReasonCode.TOO_MANY_ATTEMPTS
        await trio.sleep(61)
        await log_in(server, OLD)


async def test_the_client_itself_logs_in_with_the_new_one_when_it_has_to(
    autojump_clock: MockClock,
) -> None:
    async with Kit(SimulatedNetwork()) as table:
        await table.host(Game)
        ann = await table.play("ann", OLD)
        # As the prompt asks for it.
        payload = {"old_password": OLD, "new_password": NEW}
        (await ann.request(Packet(Request.CHANGE_PASSWORD, payload))).raise_for_status()
        ann.disconnect()
        await trio.sleep(1)
        async with ann:
            assert ann.connected


class SlowAccounts:
    """Holds changes of records until they are let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, kind: type[Any]) -> None:
        self.reached, self.go = trio.Event(), trio.Event()
        replace = kind.replace

        async def slow(accounts: AccountService, user: UserRecord, record: str) -> Any:
            self.reached.set()
            await self.go.wait()
            return await replace(accounts, user, record)

        monkeypatch.setattr(kind, "replace", slow)


async def test_who_came_in_with_the_old_one_meanwhile_is_put_out(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Kit(SimulatedNetwork()) as table, trio.open_nursery() as nursery:
        await table.host(Game)
        slow = SlowAccounts(monkeypatch, LocalAccounts)
        ann = await table.play("ann", OLD)

        async def change() -> None:
            with pytest.raises(Disconnected):
                await ann.change_password(OLD, NEW)

        nursery.start_soon(change)
        await slow.reached.wait()
        thief = await table.play("ann", OLD)
        await trio.sleep(1)
        slow.go.set()
        await trio.sleep(1)
        assert not thief.connected
        assert thief.close_code == ReasonCode.PASSWORD_CHANGED


async def test_a_full_disk_changes_nothing_and_puts_nobody_out(autojump_clock: MockClock) -> None:
    async with Kit(SimulatedNetwork()) as table:
        store = MemoryStore()
        server = await table.host(Game, store=store)
        ann = await table.play("ann", OLD)
        store.full = True
        with pytest.raises(RequestFailed) as caught:
            await ann.change_password(OLD, NEW)
        assert caught.value.code == ReasonCode.CANNOT_SAVE
        assert ann.connected
        store.full = False
        await log_in(server, OLD)


@pytest.mark.parametrize("required", [False, True])
async def test_the_admin_and_an_empty_password_are_refused(
    autojump_clock: MockClock, required: bool
) -> None:
    async with Kit(SimulatedNetwork()) as table:
        await table.host(Game, admin_password="secret", require_user_password=required)
        admin = await table.play("admin", "secret")
        with pytest.raises(RequestFailed, match="started with"):
            await admin.change_password("secret", NEW)
        ann = await table.play("ann", OLD)
        with pytest.raises(RequestFailed) as caught:
            await ann.change_password(OLD, "")
        assert caught.value.code == ReasonCode.PASSWORD_NEEDED


async def test_a_lost_answer_comes_after_all(autojump_clock: MockClock) -> None:
    async with Kit(SimulatedNetwork(latency=0.1)) as table, trio.open_nursery() as nursery:
        server = await table.host(Game)
        ann = await table.play("ann", OLD)
        nursery.start_soon(ann.change_password, OLD, NEW)
        await trio.sleep(0.15)
        table.network.drop("ann")
        await trio.sleep(10)
        ann.disconnect()
        await trio.sleep(1)
        await log_in(server, NEW)


@pytest.mark.parametrize("moment", [number / 100 for number in range(1, 30, 3)])
async def test_given_up_at_any_moment_it_is_the_old_one_or_the_new_one(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, moment: float
) -> None:
    replace = LocalAccounts.replace

    async def slow(accounts: LocalAccounts, user: UserRecord, record: str) -> UserRecord:
        await trio.sleep(0.1)
        changed = await replace(accounts, user, record)
        await trio.sleep(0.1)
        return changed

    monkeypatch.setattr(LocalAccounts, "replace", slow)
    async with Kit(SimulatedNetwork(latency=0.01)) as table:
        server = await table.host(Game)
        ann = await table.play("ann", OLD)
        with trio.move_on_after(moment):
            await ann.change_password(OLD, NEW)
        # The server carries out no more of it.
        ann.disconnect()
        await trio.sleep(1)
        holds = []
        for password in (OLD, NEW):
            with contextlib.suppress(LoginRefused):
                await log_in(server, password)
                holds.append(password)
        assert holds == [NEW if moment > 0.1 else OLD]


async def test_it_holds_at_all_servers_of_a_cluster(autojump_clock: MockClock) -> None:
    async with cluster(Game) as servers:
        ann = await servers.play("ann", OLD, node="a")
        await ann.change_password(OLD, NEW)
        await trio.sleep(2)
        assert ann.connected
        ann.disconnect()
        await trio.sleep(2)
        with pytest.raises(LoginRefused):
            async with servers.client("ann", OLD, node="b"):
                pass
        async with servers.client("ann", NEW, node="c"):
            pass


async def test_who_came_in_with_the_old_one_meanwhile_is_put_out_in_a_cluster_too(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with cluster(Game) as servers, trio.open_nursery() as nursery:
        slow = SlowAccounts(monkeypatch, SharedAccounts)
        ann = await servers.play("ann", OLD, node="a")

        async def change() -> None:
            with pytest.raises(Disconnected):
                await ann.change_password(OLD, NEW)

        nursery.start_soon(change)
        await slow.reached.wait()
        thief = await servers.play("ann", OLD, node="b")
        slow.go.set()
        await trio.sleep(3)
        assert not thief.connected
        assert thief.close_code == ReasonCode.PASSWORD_CHANGED


def test_the_prompt_shows_no_password() -> None:
    # What it shows of a request, it has from here.
    packet = parse_packet(f".change_password;old_password={OLD};new_password={NEW}")
    arguments = _entries[Request.CHANGE_PASSWORD].arguments
    assert packet.payload.keys() == arguments.keys()
    shown = describe_packet(packet)
    assert OLD not in shown
    assert NEW not in shown
    assert is_confidential(f"{packet.message};old_password=x", {packet.message: {}})


async def test_no_log_shows_a_password(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "pgnet_trio")
    async with Kit(SimulatedNetwork()) as table:
        server = await table.host(Game)
        server.verbose_logging = True
        ann: Client = await table.play("ann", OLD)
        await ann.change_password(OLD, NEW)
    assert OLD not in caplog.text
    assert NEW not in caplog.text
    assert NEW not in repr(ann._credentials)

"""What moderators and the admin do: bans, roles, the audit log, codes for forgotten passwords."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

from pgnet_trio import (
    Client,
    ConnectFailed,
    Disconnected,
    Game,
    LoginRefused,
    Packet,
    Queue,
    ReasonCode,
    Request,
    RequestFailed,
    Response,
    ServerError,
    StorageError,
)
from pgnet_trio.server.accounts import AccountRefusal
from pgnet_trio.server.cluster.errors import EngineUnavailable
from pgnet_trio.server.cluster.memory_engine import MemoryEngine
from pgnet_trio.server.local_accounts import LocalAccounts
from pgnet_trio.server.moderation import resets
from pgnet_trio.server.requests import _entries
from pgnet_trio.server.roles import Role
from pgnet_trio.testing import HostedServer, SimulatedNetwork, network
from pgnet_trio.testing.hosting import Kit
from pgnet_trio.testing.links import Link

if TYPE_CHECKING:
    from trio.testing import MockClock

PASSWORD = "secret"
BANNED = "You are banned: Insults"


class Table(Game):
    matchmaking = Queue(wait=30, confirm=10)

    def __init__(self, name: str, *, save_string: str | None = None) -> None:
        super().__init__(name, save_string=save_string)
        self.gone: list[tuple[str, str]] = []

    def user_left(self, player: str, reason: str) -> None:
        self.gone.append((player, reason))


async def ask(client: Client, message: Request, **payload: Any) -> Response:
    return (await client.request(Packet(message, payload))).raise_for_status()


async def refusal(client: Client, message: Request, **payload: Any) -> str:
    response = await client.request(Packet(message, payload))
    with pytest.raises(RequestFailed):
        response.raise_for_status()
    return response.code


async def host(table: Kit, *users: str, **options: Any) -> tuple[HostedServer, list[Client]]:
    """Start a server that saves nothing, with its admin and some users, who have a password."""
    defaults = {"admin_password": PASSWORD, "save_file": None}
    server = await table.host(Table, **{**defaults, **options})
    return server, [await table.play(name, PASSWORD) for name in ("admin", *users)]


def slow_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each transaction of an engine take time, before it is done and after."""
    transact = MemoryEngine._transact

    async def slow(engine: MemoryEngine, work: Callable[[Any], Any], *, writes: bool) -> Any:
        await trio.sleep(0.05)
        result = await transact(engine, work, writes=writes)
        await trio.sleep(0.05)
        return result

    monkeypatch.setattr(MemoryEngine, "_transact", slow)


async def is_let_in(server: HostedServer, username: str, password: str = PASSWORD) -> bool:
    client = server.client(username, password)
    try:
        async with client:
            return True
    except LoginRefused:
        return False


# Bans


async def test_a_banned_user_is_put_out_and_kept_out_until_the_ban_ends(
    autojump_clock: MockClock,
) -> None:
    async with Kit(SimulatedNetwork()) as table:
        server, (admin, ann) = await host(table, "ann")
        await ask(admin, Request.BAN, username="ann", reason="Insults", seconds=3600)
        await trio.sleep(1)
        assert not ann.connected
        assert ann.close_code == ReasonCode.BANNED
        assert ann.close_reason.startswith("You are banned until 1970-01-01 01:00 UTC: Insults")
        with pytest.raises(LoginRefused, match="Insults") as caught:
            async with server.client("ann", PASSWORD):
                pass
        assert caught.value.code == ReasonCode.BANNED
        await trio.sleep(3600)
        assert await is_let_in(server, "ann")


async def test_a_name_that_differs_in_case_is_the_same_user(autojump_clock: MockClock) -> None:
    async with Kit(SimulatedNetwork()) as table:
        server, (admin, ann) = await host(table, "Ann")
        await ask(admin, Request.BAN, username="aNN")
        await trio.sleep(1)
        assert not ann.connected
        assert not await is_let_in(server, "Ann")
        assert [ban["whom"] for ban in (await ask(admin, Request.BANS)).payload["bans"]] == ["ann"]
        await ask(admin, Request.UNBAN, username="ANN")
        assert await is_let_in(server, "Ann")
        assert await refusal(admin, Request.UNBAN, username="ann") == ReasonCode.UNKNOWN_USER


async def test_who_does_not_know_the_password_is_not_told_of_a_ban(
    autojump_clock: MockClock,
) -> None:
    async with Kit(SimulatedNetwork()) as table:
        server, (admin, _) = await host(table, "ann")
        await ask(admin, Request.BAN, username="ann")
        with pytest.raises(LoginRefused) as caught:
            async with server.client("ann", "a guess"):
                pass
        assert caught.value.code == ReasonCode.WRONG_PASSWORD


async def test_a_game_hears_that_a_player_was_banned(autojump_clock: MockClock) -> None:
    async with Kit(SimulatedNetwork()) as table:
        server, (admin, ann, bob) = await host(table, "ann", "bob")
        await ann.join_game("one")
        await bob.join_game("one")
        await ask(admin, Request.BAN, username="ann", reason="Insults")
        await trio.sleep(1)
        assert server.games["one"].gone == [("ann", "banned")]
        assert sorted(bob.players) == ["bob"]


async def test_a_banned_user_is_in_no_queue_any_more(autojump_clock: MockClock) -> None:
    async with Kit(SimulatedNetwork()) as table, trio.open_nursery() as nursery:
        _, (admin, ann, bob) = await host(table, "ann", "bob")

        async def look(client: Client) -> None:
            with contextlib.suppress(Exception):
                async with client.find_game():
                    pass

        nursery.start_soon(look, ann)
        await trio.sleep(1)
        await ask(admin, Request.BAN, username="ann")
        await trio.sleep(1)
        nursery.start_soon(look, bob)
        await trio.sleep(5)
        assert bob.game is None
        nursery.cancel_scope.cancel()


async def test_a_user_who_is_away_reads_it_when_they_come_back(autojump_clock: MockClock) -> None:
    async with Kit(SimulatedNetwork()) as table:
        server, (admin, ann) = await host(table, "ann")
        await ann.join_game("one")
        table.network.partition("ann")
        table.network.drop("ann")
        await trio.sleep(1)
        await ask(admin, Request.BAN, username="ann", reason="Insults")
        await trio.sleep(1)
        assert server.games["one"].gone == [("ann", "banned")]
        table.network.heal("ann")
        await trio.sleep(30)
        assert not ann.connected
        assert (ann.close_reason, ann.close_code) == (BANNED, ReasonCode.BANNED)


async def test_a_log_in_that_is_under_way_does_not_slip_in(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Kit(SimulatedNetwork()) as table, trio.open_nursery() as nursery:
        server, (admin, ann) = await host(table, "ann")
        ann.disconnect()
        await trio.sleep(1)
        accounts = server._run.context.accounts  # type: ignore[union-attr]  # it runs
        admit, go = accounts.admit, trio.Event()

        async def slow(*args: Any, **kwargs: Any) -> Any:
            seat = await admit(*args, **kwargs)
            await go.wait()
            return seat

        monkeypatch.setattr(accounts, "admit", slow)
        outcomes: list[bool] = []

        async def log_in() -> None:
            outcomes.append(await is_let_in(server, "ann"))

        nursery.start_soon(log_in)
        await trio.sleep(1)
        await ask(admin, Request.BAN, username="ann")
        go.set()
        await trio.sleep(1)
        assert outcomes == [False]


async def test_whoever_took_over_is_put_out_and_so_is_the_first_client(
    autojump_clock: MockClock,
) -> None:
    async with Kit(SimulatedNetwork()) as table:
        _, (admin, first) = await host(table, "ann")
        second = await table.play("ann", PASSWORD)
        await ask(admin, Request.BAN, username="ann")
        await trio.sleep(1)
        assert (first.close_code, second.close_code) == (ReasonCode.TAKEN_OVER, ReasonCode.BANNED)


async def test_a_ban_of_a_misspelt_name_says_that_it_is_nobodys(
    autojump_clock: MockClock,
) -> None:
    async with Kit(SimulatedNetwork()) as table:
        _, (admin, _ann) = await host(table, "ann")
        misspelt = await ask(admin, Request.BAN, username="anne")
        assert misspelt.message == "'anne' is banned. There is no user of that name now."
        assert (await ask(admin, Request.BAN, username="ANN")).message == "'ANN' is banned."
        network = await ask(admin, Request.BAN, network="203.0.113.0/24")
        assert network.message == "'203.0.113.0/24' is banned."


class Addresses:
    """Gives users addresses, where the network has only names.

    Attributes:
        of: The address of each.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.of: dict[str, str] = {}

        def with_address(name: str, *args: Any, peer: str, **options: Any) -> Link:
            address = self.of.get(name.partition("#")[0], "192.0.2.1")
            return Link(name, *args, peer=address, **options)

        monkeypatch.setattr(network, "Link", with_address)


async def test_a_range_of_addresses_is_kept_out_but_for_the_admin(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses = Addresses(monkeypatch)
    addresses.of |= {"ann": "203.0.113.7", "eve": "203.0.113.8", "bob": "2001:db8::1"}
    addresses.of |= {"admin": "203.0.113.9"}
    async with Kit(SimulatedNetwork()) as table:
        server, (admin, ann, bob) = await host(table, "ann", "bob")
        await ask(admin, Request.BAN, network="203.0.113.0/24", reason="Floods")
        await trio.sleep(1)
        assert (ann.connected, bob.connected, admin.connected) == (False, True, True)
        assert ann.close_reason == "Your address is banned: Floods"
        for name, password in (("ann", PASSWORD), ("ann", "a guess"), ("eve", "new")):
            with pytest.raises(LoginRefused) as caught:
                async with server.client(name, password):
                    pass
            assert caught.value.code == ReasonCode.BANNED
        addresses.of["ann"] = "203.0.112.7"
        assert await is_let_in(server, "ann")
        await ask(admin, Request.BAN, network="203.0.113.9")
        await ask(admin, Request.UNBAN, network="203.0.113.77/24")
        assert await is_let_in(server, "eve")
        assert await is_let_in(server, "admin")


async def test_a_session_is_not_resumed_from_a_banned_address(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses = Addresses(monkeypatch)
    async with Kit(SimulatedNetwork()) as table:
        _, (admin, ann) = await host(table, "ann")
        await ask(admin, Request.BAN, network="203.0.113.0/24")
        addresses.of["ann"] = "203.0.113.7"
        table.network.drop("ann")
        await trio.sleep(10)
        assert not ann.connected
        assert ann.close_code == ReasonCode.BANNED


async def test_a_ban_holds_after_a_restart(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with Kit(SimulatedNetwork()) as table:
        path = tmp_path / "save.sqlite"
        server, (admin, _) = await host(table, "ann", save_file=path)
        await ask(admin, Request.BAN, username="ann")
        server.let_players_go()
        server.shutdown()
        await server.stopped.wait()
        server = await table.host(Table, save_file=path)
        assert not await is_let_in(server, "ann")


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"username": "ann", "network": "192.0.2.1"},
        {"network": "0.0.0.0/0"},
        {"network": "ann"},
        {"username": "x" * 61},
        {"username": "ann", "seconds": -1},
        {"username": "ann", "seconds": 2**62},
        {"username": "ann", "reason": "x" * 121},
        {"username": "admin"},
        {"username": "ADMIN"},
    ],
)
async def test_what_is_no_ban_is_refused(
    autojump_clock: MockClock, payload: dict[str, Any]
) -> None:
    async with Kit(SimulatedNetwork()) as table:
        _, (admin,) = await host(table)
        assert await refusal(admin, Request.BAN, **payload) == ReasonCode.INVALID_ARGUMENT
        assert (await ask(admin, Request.BANS)).payload == {"bans": [], "more": False}


async def test_a_program_bans_users_of_its_server(autojump_clock: MockClock) -> None:
    async with Kit(SimulatedNetwork()) as table:
        server, (admin, ann) = await host(table, "ann")
        await server.ban("ANN", "Insults", seconds=10)
        await trio.sleep(1)
        assert ann.close_code == ReasonCode.BANNED
        assert not await is_let_in(server, "ann")
        (ban,) = (await ask(admin, Request.BANS)).payload["bans"]
        assert ban == {
            "whom": "ann",
            "reason": "Insults",
            "by": "",
            "made": "1970-01-01T00:00:00+00:00",
            "ends": "1970-01-01T00:00:10+00:00",
        }
        assert await server.unban("ann")
        assert not await server.unban("ann")
        await server.ban(network="192.0.2.0/24")
        assert await server.unban(network="192.0.2.7/24")
        for names, network in (([], ""), (["ann"], "::1"), (["ann", "x" * 121], "")):
            with pytest.raises(ValueError, match="expected"):
                await server.ban(*names, network=network)


async def test_a_program_hears_why_there_are_no_bans(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with Kit(SimulatedNetwork()) as table:
        server = await table.host(Table, save_file=tmp_path / "save.json")
        with pytest.raises(ServerError, match="SQLite"):
            await server.ban("ann")


async def test_the_bans_have_pages(autojump_clock: MockClock) -> None:
    async with Kit(SimulatedNetwork()) as table:
        _, (admin,) = await host(table)
        for name in ("eve", "ann", "bob"):
            await ask(admin, Request.BAN, username=name, seconds=10)
        page = (await ask(admin, Request.BANS, limit=2)).payload
        assert [ban["whom"] for ban in page["bans"]] == ["ann", "bob"]
        assert page["more"] is True
        page = (await ask(admin, Request.BANS, after="bob")).payload
        assert [(ban["whom"], ban["by"]) for ban in page["bans"]] == [("eve", "admin")]
        assert page["more"] is False
        await trio.sleep(11)
        assert (await ask(admin, Request.BANS)).payload["bans"] == []


class FullDisk:
    """Lets writes of what a community needs fail, as on a full disk, while it is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = False
        transact = MemoryEngine._transact

        async def failing(engine: MemoryEngine, work: Callable[[Any], Any], *, writes: bool) -> Any:
            if writes and self.full:
                await trio.lowlevel.checkpoint()
                raise EngineUnavailable("the disk is full")
            return await transact(engine, work, writes=writes)

        monkeypatch.setattr(MemoryEngine, "_transact", failing)


async def test_a_full_disk_is_a_clear_refusal_and_changes_nothing(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FullDisk(monkeypatch)
    async with Kit(SimulatedNetwork()) as table:
        _, (admin, ann, bob) = await host(table, "ann", "bob")
        disk.full = True
        assert await refusal(admin, Request.BAN, username="ann") == ReasonCode.BUSY
        assert await refusal(admin, Request.SET_ROLE, username="ann", role="moderator") == "busy"
        assert await refusal(admin, Request.RESET_PASSWORD, username="ann") == ReasonCode.BUSY
        with pytest.raises(RequestFailed) as caught:
            await ann.profile.write({"a": 1}, version=0)
        assert caught.value.code == ReasonCode.BUSY
        assert str(caught.value) == "The server cannot use its save file now; try again later."
        # What needs no place is done all the same, though it cannot be noted.
        await ask(admin, Request.KICK, username="bob")
        await trio.sleep(1)
        assert (ann.connected, bob.connected) == (True, False)
        disk.full = False
        assert (await ask(admin, Request.AUDIT)).payload["entries"] == []
        await ask(admin, Request.BAN, username="ann")


@pytest.mark.parametrize("moment", range(0, 40, 4))
async def test_a_ban_that_is_given_up_is_made_or_not(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    async with Kit(SimulatedNetwork()) as table:
        server, (admin, ann) = await host(table, "ann")
        slow_down(monkeypatch)
        with trio.move_on_after(0.001 + moment / 100):
            await ask(admin, Request.BAN, username="ann")
        # The server carries out no more of it.
        admin.disconnect()
        await trio.sleep(5)
        admin = await table.play("admin", PASSWORD)
        is_made = bool((await ask(admin, Request.BANS)).payload["bans"])
        assert ann.connected is not is_made
        assert await is_let_in(server, "ann") is not is_made


# Roles


async def test_the_table_of_who_may_what(autojump_clock: MockClock) -> None:
    async with Kit(SimulatedNetwork()) as table:
        _, (admin, ann, mod) = await host(table, "ann", "mod")
        await ask(admin, Request.SET_ROLE, username="mod", role="moderator")
        assert (await ask(admin, Request.ROLES)).payload["roles"] == {"mod": "moderator"}
        for message, entry in _entries.items():
            if entry.role is Role.USER:
                continue
            packet = Packet(message, {"nobody knows": "this argument"})
            needs_admin = entry.role is Role.ADMIN
            codes = [(await client.request(packet)).code for client in (ann, mod, admin)]
            assert codes == [
                ReasonCode.ADMIN_ONLY if needs_admin else ReasonCode.MODERATORS_ONLY,
                ReasonCode.ADMIN_ONLY if needs_admin else ReasonCode.INVALID_ARGUMENT,
                ReasonCode.INVALID_ARGUMENT,
            ]


async def test_help_lists_what_somebody_may_request(autojump_clock: MockClock) -> None:
    async with Kit(SimulatedNetwork()) as table:
        _, (admin, ann, mod) = await host(table, "ann", "mod")
        await ask(admin, Request.SET_ROLE, username="mod", role="moderator")
        helps = [(await ask(client, Request.HELP)).payload for client in (ann, mod, admin)]
        assert [Request.BAN in each for each in helps] == [False, True, True]
        assert [Request.AUDIT in each for each in helps] == [False, False, True]


async def test_a_moderator_puts_out_users_and_nobody_else(autojump_clock: MockClock) -> None:
    async with Kit(SimulatedNetwork()) as table:
        _, (admin, ann, mod, other) = await host(table, "ann", "mod", "Other")
        for name in ("mod", "Other"):
            await ask(admin, Request.SET_ROLE, username=name, role="moderator")
        for name in ("admin", "Admin", "Other", "OTHER", "mod"):
            for message in (Request.KICK, Request.BAN):
                assert await refusal(mod, message, username=name) == ReasonCode.MODERATORS_ONLY
        # A whole town is for the admin.
        assert await refusal(mod, Request.BAN, network="192.0.2.1") == ReasonCode.ADMIN_ONLY
        await ask(mod, Request.KICK, username="ann")
        await ask(mod, Request.BAN, username="ann", reason="Insults")
        await trio.sleep(1)
        assert (ann.connected, other.connected) == (False, True)
        await ask(mod, Request.ANNOUNCE, text="hello")
        await ask(mod, Request.USERS)
        await ask(mod, Request.UNBAN, username="ann")
        await ask(admin, Request.BAN, username="Other")
        await trio.sleep(1)
        assert other.close_code == ReasonCode.BANNED


async def test_a_table_is_meant_by_its_code_however_it_is_written(
    autojump_clock: MockClock,
) -> None:
    async with Kit(SimulatedNetwork()) as table:
        _, (admin, ann) = await host(table, "ann")
        told: list[str] = []
        ann.on_announcement = told.append
        await ann.create_game()
        code = ann.game
        assert code is not None
        await ask(admin, Request.ANNOUNCE, text="hello", game=code.lower())
        await ask(admin, Request.DESTROY_GAME, name=code.lower())
        await trio.sleep(1)
        assert (told, ann.game) == (["hello"], None)


async def test_a_role_that_was_taken_away_is_gone_at_once(autojump_clock: MockClock) -> None:
    async with Kit(SimulatedNetwork()) as table:
        _, (admin, mod) = await host(table, "mod")
        await ask(admin, Request.SET_ROLE, username="mod", role="moderator")
        await ask(mod, Request.BANS)
        await ask(admin, Request.SET_ROLE, username="mod", role="user")
        assert await refusal(mod, Request.BANS) == ReasonCode.MODERATORS_ONLY


async def test_nobody_inherits_a_role_with_a_name(autojump_clock: MockClock) -> None:
    async with Kit(SimulatedNetwork()) as table:
        _, (admin, mod) = await host(table, "mod")
        await ask(admin, Request.SET_ROLE, username="mod", role="moderator")
        await mod.profile.write({"a": 1}, version=0)
        await ask(admin, Request.DELETE_USER, username="mod")
        await trio.sleep(1)
        namesake = await table.play("mod", "another")
        assert await refusal(namesake, Request.BANS) == ReasonCode.MODERATORS_ONLY
        assert (await namesake.profile.read()).data == {}


@pytest.mark.parametrize(
    ("username", "role", "code"),
    [
        ("nobody", "moderator", ReasonCode.UNKNOWN_USER),
        ("", "moderator", ReasonCode.UNKNOWN_USER),
        ("Ann", "user", ReasonCode.UNKNOWN_USER),
        ("nobody", "user", ReasonCode.UNKNOWN_USER),
        ("admin", "moderator", ReasonCode.INVALID_ARGUMENT),
        ("ann", "admin", ReasonCode.INVALID_ARGUMENT),
        ("ann", "", ReasonCode.INVALID_ARGUMENT),
    ],
)
async def test_what_is_no_role_or_no_user_is_refused(
    autojump_clock: MockClock, username: str, role: str, code: str
) -> None:
    async with Kit(SimulatedNetwork()) as table:
        _, (admin, _) = await host(table, "ann")
        assert await refusal(admin, Request.SET_ROLE, username=username, role=role) == code


# The audit log


async def test_what_was_done_is_noted_with_who_did_it_and_no_secret(
    autojump_clock: MockClock,
) -> None:
    async with Kit(SimulatedNetwork()) as table:
        _, (admin, _, mod) = await host(table, "ann", "mod")
        await ask(admin, Request.SET_ROLE, username="mod", role="moderator")
        code = (await ask(admin, Request.RESET_PASSWORD, username="ann")).payload["code"]
        invite = (await ask(admin, Request.CREATE_INVITE, username="eve")).payload["code"]
        await ask(mod, Request.KICK, username="ann", reason="No\ninsults")
        await refusal(mod, Request.KICK, username="ann")
        await ask(mod, Request.USERS)
        entries = (await ask(admin, Request.AUDIT)).payload["entries"]
        assert [(each["by"], each["did"], each["details"]) for each in entries] == [
            ("mod", "kick", "username=ann; reason=No\\ninsults"),
            ("admin", "create_invite", "username=eve"),
            ("admin", "reset_password", "username=ann"),
            ("admin", "set_role", "username=mod; role=moderator"),
        ]
        assert entries[0]["time"] == "1970-01-01T00:00:00+00:00"
        assert code not in str(entries)
        assert invite not in str(entries)
        page = (await ask(admin, Request.AUDIT, limit=2)).payload
        assert page["more"] is True
        assert page["entries"] == entries[:2]
        before = page["entries"][-1]["number"]
        assert (await ask(admin, Request.AUDIT, before=before)).payload["entries"] == entries[2:]


async def test_what_the_program_did_is_noted_as_by_nobody(autojump_clock: MockClock) -> None:
    async with Kit(SimulatedNetwork()) as table:
        server, (admin, ann, _) = await host(table, "ann", "bob")
        await server.announce("We close at ten.")
        await server.kick("ann", "Out.")
        await server.ban("ann", "Insults", seconds=60)
        await server.unban("ann")
        server.delete_user("bob")
        server.registration_enabled = False
        await trio.sleep(1)
        # What came to nothing is not noted, as for requests.
        assert not await server.kick("ann")
        assert not await server.unban("ann")
        with pytest.raises(AccountRefusal):
            server.delete_user("zoe")
        entries = (await ask(admin, Request.AUDIT)).payload["entries"]
        assert [(each["by"], each["did"], each["details"]) for each in entries[::-1]] == [
            ("", "announce", "text=We close at ten."),
            ("", "kick", "username=ann; reason=Out."),
            ("", "ban", "username=ann; reason=Insults; seconds=60"),
            ("", "unban", "username=ann"),
            ("", "set_registration", "set_as=False"),
            ("", "delete_user", "username=bob"),
        ]
        assert not ann.connected


async def test_what_the_program_gave_up_is_noted(autojump_clock: MockClock) -> None:
    async with Kit(SimulatedNetwork()) as table:
        server, (admin, _) = await host(table, "ann")
        engine = server.store.community
        engine.request_delay = engine.answer_delay = 1.0
        with trio.move_on_after(0.5):
            await server.ban("ann")
        entries = (await ask(admin, Request.AUDIT)).payload["entries"]
        assert [each["details"] for each in entries] == ["username=ann; seconds=0"]
        assert (await ask(admin, Request.BANS)).payload["bans"]


async def test_a_shutdown_is_noted(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with Kit(SimulatedNetwork()) as table:
        path = tmp_path / "save.sqlite"
        server, (admin,) = await host(table, save_file=path)
        server.let_players_go()
        await ask(admin, Request.SHUTDOWN)
        await server.stopped.wait()
        await table.host(Table, save_file=path, admin_password=PASSWORD)
        admin = await table.play("admin", PASSWORD)
        assert [each["did"] for each in (await ask(admin, Request.AUDIT)).payload["entries"]] == [
            "shutdown"
        ]


@pytest.mark.parametrize("moment", [5.0, 7.5, 9.0])
async def test_what_a_moderator_did_who_is_put_out_meanwhile_is_noted(
    autojump_clock: MockClock, moment: float
) -> None:
    async with Kit(SimulatedNetwork()) as table, trio.open_nursery() as nursery:
        server = await table.host(Table, admin_password=PASSWORD)
        admin, mod, _ = [await table.play(name, PASSWORD) for name in ("admin", "mod", "ann")]
        await ask(admin, Request.SET_ROLE, username="mod", role="moderator")
        engine = server.store.community
        engine.request_delay = engine.answer_delay = 1.0

        async def ban() -> None:
            with pytest.raises(Disconnected):
                await ask(mod, Request.BAN, username="ann")

        nursery.start_soon(ban)
        await trio.sleep(moment)
        await server.kick("mod")
        await trio.sleep(20)
        entries = (await ask(admin, Request.AUDIT)).payload["entries"]
        bans = (await ask(admin, Request.BANS)).payload["bans"]
        noted = [each["details"] for each in entries if each["did"] == "ban"]
        assert noted == ["username=ann; seconds=0; outcome=unknown"]
        assert len(bans) == int(moment > 7)


# Forgotten passwords


async def test_a_code_sets_a_new_password_once(autojump_clock: MockClock) -> None:
    async with Kit(SimulatedNetwork()) as table:
        server, (admin, ann) = await host(table, "ann")
        code = (await ask(admin, Request.RESET_PASSWORD, username="ann")).payload["code"]
        # Until it is used, nothing has changed.
        assert ann.connected
        reset = await table.play("ann", "new", invite_code=code)
        await trio.sleep(1)
        assert ann.close_code == ReasonCode.TAKEN_OVER
        reset.disconnect()
        await trio.sleep(1)
        assert not await is_let_in(server, "ann", PASSWORD)
        assert await is_let_in(server, "ann", "new")
        # The client gives its code each time; it is no password.
        async with reset:
            pass
        with pytest.raises(LoginRefused) as caught:
            async with server.client("ann", "newer", invite_code=code):
                pass
        assert caught.value.code == ReasonCode.WRONG_PASSWORD


async def test_a_code_ends_and_is_for_its_user_alone(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resets, "RESET_LIFETIME", 100)
    async with Kit(SimulatedNetwork()) as table:
        server, (admin, _, _) = await host(table, "ann", "bob")
        code = (await ask(admin, Request.RESET_PASSWORD, username="ann")).payload["code"]
        for name, seconds in (("bob", 0), ("ann", 100)):
            await trio.sleep(seconds)
            with pytest.raises(LoginRefused):
                async with server.client(name, "new", invite_code=code):
                    pass


async def test_wrong_codes_are_limited_as_log_ins_are(autojump_clock: MockClock) -> None:
    async with Kit(SimulatedNetwork()) as table:
        server, (admin, _) = await host(table, "ann", failed_logins_per_account=3)
        code = (await ask(admin, Request.RESET_PASSWORD, username="ann")).payload["code"]
        codes = []
        for given in ("a" * 32, "b" * 32, "c" * 32, code):
            with pytest.raises(ConnectFailed) as caught:
                async with server.client("ann", "new", invite_code=given):
                    pass
            codes.append(caught.value.code)
        assert codes == [ReasonCode.WRONG_PASSWORD] * 3 + [ReasonCode.TOO_MANY_ATTEMPTS]


@pytest.mark.parametrize("required", [False, True])
async def test_a_code_needs_a_user_and_a_password(
    autojump_clock: MockClock, required: bool
) -> None:
    async with Kit(SimulatedNetwork()) as table:
        server, (admin, _) = await host(table, "ann", require_user_password=required)
        for name, code in (
            ("nobody", ReasonCode.UNKNOWN_USER),
            ("", ReasonCode.UNKNOWN_USER),
            ("admin", ReasonCode.INVALID_ARGUMENT),
        ):
            assert await refusal(admin, Request.RESET_PASSWORD, username=name) == code
        given = (await ask(admin, Request.RESET_PASSWORD, username="ann")).payload["code"]
        with pytest.raises(LoginRefused) as caught:
            async with server.client("ann", "", invite_code=given):
                pass
        assert caught.value.code == ReasonCode.PASSWORD_NEEDED
        # It was not used up by that.
        async with server.client("ann", "new", invite_code=given):
            pass


async def test_a_full_disk_says_whether_a_code_is_used_up(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FullDisk(monkeypatch)
    async with Kit(SimulatedNetwork()) as table:
        server, (admin, _) = await host(table, "ann")
        code = (await ask(admin, Request.RESET_PASSWORD, username="ann")).payload["code"]
        disk.full = True
        with pytest.raises(ConnectFailed) as caught:
            async with server.client("ann", "new", invite_code=code):
                pass
        assert caught.value.code == ReasonCode.BUSY
        disk.full = False
        replace = LocalAccounts.replace

        async def failing(*args: Any) -> None:
            await trio.lowlevel.checkpoint()
            raise StorageError("the disk is full")

        monkeypatch.setattr(LocalAccounts, "replace", failing)
        with pytest.raises(LoginRefused, match="ask for another one") as refused:
            async with server.client("ann", "new", invite_code=code):
                pass
        assert refused.value.code == ReasonCode.CANNOT_SAVE
        monkeypatch.setattr(LocalAccounts, "replace", replace)
        assert await is_let_in(server, "ann")


@pytest.mark.parametrize("moment", range(1, 40, 3))
async def test_a_reset_that_is_given_up_leaves_one_password_and_no_code_twice(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    async with Kit(SimulatedNetwork()) as table:
        server, (admin, ann) = await host(table, "ann")
        code = (await ask(admin, Request.RESET_PASSWORD, username="ann")).payload["code"]
        ann.disconnect()
        await trio.sleep(1)
        slow_down(monkeypatch)
        with trio.move_on_after(moment / 100):
            async with server.client("ann", "new", invite_code=code):
                pass
        await trio.sleep(5)
        is_new = await is_let_in(server, "ann", "new")
        assert await is_let_in(server, "ann") is not is_new
        # It is used up, or it works once.
        outcomes = []
        for password in ("newer", "newest"):
            with contextlib.suppress(LoginRefused):
                async with server.client("ann", password, invite_code=code):
                    outcomes.append(password)
        assert outcomes in ([], ["newer"])
        assert not (is_new and outcomes)


async def test_a_banned_user_with_a_code_stays_out(autojump_clock: MockClock) -> None:
    async with Kit(SimulatedNetwork()) as table:
        server, (admin, _) = await host(table, "ann")
        code = (await ask(admin, Request.RESET_PASSWORD, username="ann")).payload["code"]
        await ask(admin, Request.BAN, username="ann")
        with pytest.raises(LoginRefused) as caught:
            async with server.client("ann", "new", invite_code=code):
                pass
        assert caught.value.code == ReasonCode.BANNED


# Servers without a place for it


async def test_a_server_with_json_saves_says_so_in_one_sentence(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with Kit(SimulatedNetwork()) as table:
        _, (admin, ann) = await host(table, "ann", save_file=tmp_path / "save.json")
        for message, payload in (
            (Request.BAN, {"username": "ann"}),
            (Request.UNBAN, {"username": "ann"}),
            (Request.BANS, {}),
            (Request.SET_ROLE, {"username": "ann", "role": "moderator"}),
            (Request.ROLES, {}),
            (Request.AUDIT, {}),
            (Request.RESET_PASSWORD, {"username": "ann"}),
        ):
            response = await admin.request(Packet(message, payload))
            assert response.code == ReasonCode.NOT_KEPT, message
            assert "SQLite" in response.message
        with pytest.raises(RequestFailed) as caught:
            await ann.profile.read()
        assert caught.value.code == ReasonCode.NOT_KEPT
        # All the rest goes on.
        await ask(admin, Request.ANNOUNCE, text="hello")
        assert await refusal(ann, Request.USERS) == ReasonCode.MODERATORS_ONLY
        await ask(ann, Request.HELP)
        await ask(admin, Request.KICK, username="ann")
        await ask(admin, Request.DELETE_USER, username="ann")


@pytest.fixture(autouse=True)
def no_secret_in_a_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level("DEBUG", "pgnet_trio")
    yield
    assert f"password={PASSWORD}" not in caplog.text

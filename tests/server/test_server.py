"""What users and admins rely on: requests, accounts, games that end, and the server's end."""

from __future__ import annotations

import logging
import re
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from pgnet_trio import (
    Client,
    ConnectFailed,
    Disconnected,
    Game,
    LoginRefused,
    Packet,
    Request,
    RequestFailed,
    Response,
    Server,
    ServerError,
    Status,
    StorageError,
    enable_logging,
)
from pgnet_trio.server.accounts import AccountRefusal
from pgnet_trio.testing import HostedServer, hosting
from tests.kit.hosting import (
    SLOWER_HASHER,
    Recorder,
    cheap_environment,
    hosting_faults,
    in_the_clear,
    socket_client,
    without_error_id,
)

if TYPE_CHECKING:
    from pathlib import Path

ADMIN_REQUESTS = [
    Request.SHUTDOWN,
    Request.SET_REGISTRATION,
    Request.CREATE_INVITE,
    Request.DELETE_USER,
    Request.DESTROY_GAME,
    Request.SAVE,
    Request.SET_VERBOSE,
    Request.DEBUG,
    Request.SLEEP,
]


async def ask(client: Client, message: str, **payload: Any) -> Response:
    return await client.request(Packet(message, payload))


class Lasting(Recorder):
    """A game that is saved, and says how often it is talked to."""

    persistent = True

    def get_save_string(self) -> str:
        return f"{self.name} after {len(self.calls)} calls"

    def get_lobby_info(self) -> str:
        return f"{len(self.calls)} calls"


async def test_two_players_share_a_game() -> None:
    async with (
        hosting(Recorder) as server,
        server.client("ann") as ann,
        server.client("bob") as bob,
    ):
        created = await ann.create_game("table 1")
        assert created.payload == {"heartbeat_rate": 10.0, "name": "table 1"}
        await bob.join_game("table 1")
        answer = await ask(bob, "hello", x=[1, {"y": None}])
        assert (answer.message, answer.payload, answer.status, answer.game) == (
            "bob: hello",
            {"x": [1, {"y": None}]},
            7,
            "table 1",
        )
        assert (await ask(ann, "calls")).payload["calls"] == ["ann joined", "bob joined"]


async def test_the_directory_tells_about_games() -> None:
    async with hosting(Lasting) as server, server.client("ann") as ann:
        await ann.create_game("secret", password="pw")
        games = await ann.get_game_dir()
        assert list(games) == ["secret"]
        info = games["secret"]
        assert (info.users, info.password_protected, info.info) == (1, True, "1 calls")


async def test_a_password_protected_game_takes_the_right_password_only() -> None:
    async with (
        hosting(Recorder) as server,
        server.client("ann") as ann,
        server.client("bob") as bob,
    ):
        await ann.create_game("secret", password="pw")
        for wrong in ({}, {"password": "x"}):
            refused = await ask(bob, Request.JOIN_GAME, name="secret", **wrong)
            assert (refused.status, refused.game) == (Status.UNEXPECTED, None)
        assert (await bob.join_game("secret", password="pw")).game == "secret"


@pytest.mark.parametrize(
    ("message", "payload"),
    [
        (Request.CREATE_GAME, {"name": "ab"}),
        (Request.CREATE_GAME, {"name": "an Admin game"}),
        (Request.CREATE_GAME, {"name": 5}),
        (Request.CREATE_GAME, {"name": "table 1", "unknown": ""}),
        (Request.JOIN_GAME, {}),
        (Request.LEAVE_GAME, {}),
        (Request.GAME_DIR, {"x": 1}),
        ("move", {}),
        ("__pgnet__.unheard_of", {}),
    ],
)
async def test_senseless_requests_change_nothing(message: str, payload: dict[str, Any]) -> None:
    async with hosting(Recorder) as server, server.client("ann") as ann:
        answer = await ann.request(Packet(message, payload))
        assert answer.status == Status.UNEXPECTED
        assert answer.game is None
        assert await ann.get_game_dir() == {}


async def test_a_request_that_nobody_takes_lists_those_that_there_are() -> None:
    async with (
        hosting(Recorder, network=in_the_clear()) as server,
        server.client("ann") as ann,
        server.client("admin") as admin,
    ):
        arguments = (await ask(ann, Request.HELP)).payload
        assert arguments[Request.CREATE_GAME] == {
            "name": "str",
            "password": "str",
            "options": "dict",
            "unlisted": "bool",
        }
        assert Request.HEARTBEAT_UPDATE not in arguments
        assert Request.SHUTDOWN not in arguments
        answer = await ask(ann, "move")
        assert answer.status == Status.UNEXPECTED
        assert answer.payload == {"commands": list(arguments)}
        assert (await ask(admin, Request.HELP)).payload[Request.SLEEP] == {"seconds": "float"}


async def test_a_user_is_in_one_game_at_a_time() -> None:
    async with hosting(Recorder) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        for message in (Request.CREATE_GAME, Request.JOIN_GAME):
            answer = await ask(ann, message, name="table 2")
            assert (answer.status, answer.game) == (Status.UNEXPECTED, "table 1")
        assert list(await ann.get_game_dir()) == ["table 1"]


async def test_a_game_ends_with_its_last_user_unless_it_is_persistent() -> None:
    for game, left in ((Recorder, []), (Lasting, ["table 1"])):
        async with hosting(game) as server, server.client("ann") as ann:
            await ann.create_game("table 1")
            await ann.leave_game()
            assert list(await ann.get_game_dir()) == left


async def test_a_lost_connection_leaves_the_game() -> None:
    async with hosting(Recorder) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        async with server.client("bob") as bob:
            await bob.join_game("table 1")
        await wait_all_tasks_blocked()
        assert (await ask(ann, "calls")).payload["calls"][-1] == "bob left"


async def test_a_game_may_send_a_user_away() -> None:
    async with hosting(Recorder) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        answer = await ask(ann, "out")
        assert (answer.message, answer.disconnecting, answer.game) == ("bye", False, None)
        assert ann.game is None
        await wait_all_tasks_blocked()
        assert await ann.get_game_dir() == {}


async def test_a_game_that_raises_loses_only_itself(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    async with (
        hosting_faults(Recorder) as server,
        server.client("ann") as ann,
        server.client("bob") as bob,
    ):
        async with server.client("eve") as eve:
            await ann.create_game("good")
            await bob.create_game("bad")
            await eve.join_game("bad")
            answer = await ask(bob, "Raise")
            assert (answer.status, answer.game) == (Status.UNEXPECTED, None)
            assert list(await ann.get_game_dir()) == ["good"]
            assert (await ask(eve, Request.HELP)).game is None
            assert (await ask(ann, "hello")).message == "ann: hello"
            await eve.join_game("bad")
            assert (await ask(eve, "calls")).payload["calls"] == ["eve joined"]
    assert "'bad' raised" in caplog.text


class Faulty(Game):
    """Raises in the hook that its name says, once the game is up."""

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.name = name
        self._raise("init")

    @property
    def persistent(self) -> bool:
        self._raise("persistent")
        return False

    @property
    def heartbeat_rate(self) -> float:
        self._raise("rate")
        return 10.0

    async def user_joined(self, username: str, /) -> None:
        await trio.lowlevel.checkpoint()
        self._raise("joined")

    def user_left(self, username: str, /) -> None:
        self._raise("left")

    def update(self) -> None:
        self._raise("update")

    def get_lobby_info(self) -> str:
        self._raise("info")
        return ""

    def handle_heartbeat(self, packet: Packet, /) -> Response:
        self._raise("heartbeat")
        return Response("")

    def _raise(self, place: str) -> None:
        if self.name == place:
            raise ExceptionGroup("faults", [ValueError(place)])


@pytest.mark.parametrize(
    "place", ["init", "rate", "joined", "left", "update", "info", "persistent", "heartbeat"]
)
async def test_a_fault_in_any_hook_stays_in_its_game(
    place: str, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        hosting_faults(Faulty) as server,
        server.client("ann") as ann,
        server.client("bob") as bob,
    ):
        await ann.create_game("good")
        response = await ask(bob, Request.CREATE_GAME, name=place)
        if response.status == Status.OK:
            await trio.sleep(1)
            if bob.game is not None:
                await ask(bob, Request.LEAVE_GAME)
            await trio.sleep(1)
        assert (await ask(bob, Request.HELP)).game is None
        assert list(await ann.get_game_dir()) == ["good"]
        assert ann.game == "good"
    assert f"'{place}' raised" in caplog.text


async def test_an_answer_that_cannot_travel_is_told_to_the_sender() -> None:
    async with hosting(Recorder) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        answer = await ask(ann, "cannot travel")
        assert answer.status == Status.UNEXPECTED
        assert "what" in answer.message
        assert (await ask(ann, "hello")).message == "ann: hello"


class Slow(Recorder):
    """Takes ten seconds for each packet."""

    async def handle_packet(self, packet: Packet, /) -> Response:
        await trio.sleep(10)
        return Response("done")


async def test_a_slow_game_holds_up_nobody_else(autojump_clock: trio.testing.MockClock) -> None:
    async with hosting(Slow) as server, server.client("ann") as ann, server.client("bob") as bob:
        await ann.create_game("slow")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, ann, "think")
            await wait_all_tasks_blocked()
            start = trio.current_time()
            assert list(await bob.get_game_dir()) == ["slow"]
            assert trio.current_time() == start
        assert trio.current_time() >= start + 10


async def test_updates_come_ten_times_a_second(autojump_clock: trio.testing.MockClock) -> None:
    times: list[float] = []

    class Ticking(Game):
        def update(self) -> None:
            times.append(trio.current_time())

    async with hosting(Ticking) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        start = trio.current_time()
        await trio.sleep(1.05)
        assert [round(time - start, 3) for time in times] == [
            round(0.1 * n, 3) for n in range(1, 11)
        ]


@pytest.mark.parametrize("message", ADMIN_REQUESTS)
async def test_admin_requests_are_for_the_admin(message: str) -> None:
    async with hosting(Recorder) as server, server.client("ann") as ann:
        answer = await ask(ann, message)
        assert answer.status == Status.UNEXPECTED
        assert "admin" in answer.message


async def test_the_admin_sees_the_server() -> None:
    async with (
        hosting(Recorder, network=in_the_clear()) as server,
        server.client("admin") as admin,
        server.client("ann") as ann,
    ):
        await ann.create_game("table 1")
        code = (await ask(admin, Request.CREATE_INVITE, username="bob")).payload["code"]
        await ask(admin, Request.SET_VERBOSE, set_as=True)
        payload = (await ask(admin, Request.DEBUG)).payload
        assert payload["pubkey"] == server.pubkey
        assert payload["games"] == ["table 1"]
        assert payload["connected_users"] == ["admin", "ann"]
        assert payload["all_users"] == ["ann"]
        assert payload["invite_codes"] == {code: "bob"}
        assert (payload["registration"], payload["verbose"]) == (True, True)
        assert server.verbose_logging


async def test_invites_work_once_and_for_whom_they_are() -> None:
    async with (
        hosting(Recorder, network=in_the_clear(), registration_enabled=False) as server,
        server.client("admin") as admin,
    ):
        code = (await ask(admin, Request.CREATE_INVITE, username="ann")).message
        for name, given in (("ann", ""), ("ann", "wrong"), ("bob", code)):
            with pytest.raises(LoginRefused):
                await _log_in(server, name, given)
        await _log_in(server, "ann", code)
        await _log_in(server, "ann", "")
        with pytest.raises(LoginRefused):
            await _log_in(server, "bob", code)


async def _log_in(server: HostedServer, name: str, code: str) -> None:
    async with server.client(name, invite_code=code):
        pass
    await wait_all_tasks_blocked()


@pytest.mark.parametrize("name", ["", "ab", "a" * 21, "an nn", "ünn", "Administrator"])
async def test_names_that_are_not_allowed_cannot_register(name: str) -> None:
    async with hosting(Recorder) as server:
        with pytest.raises(LoginRefused):
            async with server.client(name):
                pass


async def test_registration_is_switched_and_passwords_can_be_required() -> None:
    async with (
        hosting(Recorder, network=in_the_clear(), require_user_password=True) as server,
        server.client("admin") as admin,
    ):
        with pytest.raises(LoginRefused, match="password"):
            await _log_in(server, "ann", "")
        await ask(admin, Request.SET_REGISTRATION, set_as=False)
        assert not server.registration_enabled
        server.registration_enabled = True
        async with server.client("ann", "pw"):
            pass


async def test_a_wrong_password_is_refused_and_too_many_unheard() -> None:
    async with hosting(Recorder, port=0) as server:
        async with socket_client(server, "ann", "right"):
            pass
        for _ in range(5):
            with pytest.raises(LoginRefused, match="not right"):
                async with socket_client(server, "ann", "wrong"):
                    pass
        with pytest.raises(ConnectFailed, match="Too many"):
            async with socket_client(server, "ann", "right"):
                pass


async def test_the_admin_needs_a_password_over_the_network() -> None:
    async with hosting(Recorder, port=0) as server:
        with pytest.raises(LoginRefused, match="off"):
            async with socket_client(server, "admin", "admin"):
                pass
    async with hosting(Recorder, port=0, admin_password="pw") as server:
        with pytest.raises(LoginRefused, match="not right"):
            async with socket_client(server, "admin", "admin"):
                pass
        async with socket_client(server, "admin", "pw") as admin:
            assert (await ask(admin, Request.SAVE)).status == Status.OK


async def test_of_two_log_ins_at_once_one_gets_in() -> None:
    results: list[str] = []

    async def try_once() -> None:
        try:
            async with socket_client(server, "ann", "pw"):
                results.append("in")
                await outcome.wait()
        except ConnectFailed:
            results.append("refused")
            outcome.set()

    async with hosting(Recorder, port=0) as server:
        outcome = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(try_once)
            nursery.start_soon(try_once)
    assert sorted(results) == ["in", "refused"]


async def test_a_deleted_user_is_gone_and_the_name_free() -> None:
    async with (
        hosting(Recorder, network=in_the_clear()) as server,
        server.client("admin") as admin,
        server.client("ann") as ann,
    ):
        answer = await ask(admin, Request.DELETE_USER, username="ann")
        assert answer.status == Status.OK
        with pytest.raises(Disconnected):
            await ask(ann, Request.HELP)
        async with server.client("ann"):
            assert (await ask(admin, Request.DEBUG)).payload["all_users"] == ["ann"]
        for name in ("admin", "nobody"):
            refused = await ask(admin, Request.DELETE_USER, username=name)
            assert refused.status == Status.UNEXPECTED
        server.delete_user("ann")
        with pytest.raises(AccountRefusal):
            server.delete_user("admin")
        await wait_all_tasks_blocked()
        assert (await ask(admin, Request.DEBUG)).payload["all_users"] == []


async def test_a_destroyed_game_is_gone_with_its_users_in_the_lobby(tmp_path: Path) -> None:
    save_file = tmp_path / "save.db"
    async with hosting(Lasting, network=in_the_clear(), save_file=save_file) as server:
        async with server.client("admin") as admin, server.client("ann") as ann:
            await ann.create_game("table 1")
            await ask(admin, Request.SAVE)
            assert (await ask(admin, Request.DESTROY_GAME, name="table 1")).status == Status.OK
            assert (await ask(ann, Request.HELP)).game is None
            missing = await ask(admin, Request.DESTROY_GAME, name="table 1")
            assert missing.status == Status.UNEXPECTED
    async with (
        hosting(Lasting, network=in_the_clear(), save_file=save_file) as server,
        server.client("ann") as ann,
    ):
        assert await ann.get_game_dir() == {}


async def test_sleep_delays_only_the_admin(autojump_clock: trio.testing.MockClock) -> None:
    async with hosting(Recorder, network=in_the_clear()) as server, server.client("admin") as admin:
        start = trio.current_time()
        await ask(admin, Request.SLEEP, seconds=1000.0)
        assert trio.current_time() == start + 5
        assert (await ask(admin, Request.SLEEP, seconds=1)).status == Status.UNEXPECTED


async def test_the_hook_for_connections_hears_of_both_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    heard: list[tuple[str, bool]] = []

    async def on_connection(username: str, connected: bool) -> None:
        heard.append((username, connected))
        raise ValueError("the hook fails")

    async with hosting_faults(Recorder, on_connection=on_connection) as server:
        async with server.client("ann"):
            pass
        await wait_all_tasks_blocked()
        assert heard == [("ann", True), ("ann", False)]
    assert "the hook fails" in caplog.text


@pytest.mark.parametrize("name", ["save.db", "save.json"])
async def test_games_and_users_are_there_after_a_restart(tmp_path: Path, name: str) -> None:
    save_file = tmp_path / name
    async with hosting(Lasting, network=in_the_clear(), save_file=save_file) as server:
        pubkey = server.pubkey
        async with server.client("ann", "pw") as ann, server.client("admin") as admin:
            await ann.create_game("table 1", password="x")
            await ask(admin, Request.SET_REGISTRATION, set_as=False)
            server.shutdown()
            # Whoever is still there when the server ends has not left the game.
            await wait_all_tasks_blocked()
    async with hosting(Lasting, network=in_the_clear(), save_file=save_file) as server:
        assert server.pubkey == pubkey
        assert not server.registration_enabled
        with pytest.raises(LoginRefused):
            async with server.client("ann", "wrong"):
                pass
        async with server.client("ann", "pw") as ann:
            await ann.join_game("table 1", password="x")
            calls = (await ask(ann, "calls")).payload["calls"]
            assert calls == ["loaded table 1 after 1 calls", "ann joined"]


class Unmade(Lasting):
    """Cannot be made from what was saved."""

    def __init__(self, name: str, save_string: str | None = None) -> None:
        super().__init__(name, save_string)
        if save_string is not None:
            raise ValueError("a save of another version")


@pytest.mark.parametrize("name", ["save.db", "save.json"])
async def test_a_saved_game_that_cannot_be_made_is_kept_for_a_version_that_can(
    tmp_path: Path, name: str
) -> None:
    save_file = tmp_path / name
    async with hosting(Lasting, save_file=save_file) as server, server.client("ann") as ann:
        await ann.create_game("table 1", password="x")
        server.shutdown()
        await wait_all_tasks_blocked()
    async with (
        hosting_faults(Unmade, ValueError, save_file=save_file) as server,
        server.client("bob") as bob,
    ):
        assert await bob.get_game_dir() == {}
        with pytest.raises(RequestFailed, match="There is a saved game 'table 1'"):
            await bob.create_game("table 1")
        # Nobody has it made who may not join it.
        with pytest.raises(RequestFailed, match="'table 1' has a password, and none was given"):
            await bob.join_game("table 1")
        with pytest.raises(RequestFailed, match="could not be made"):
            await bob.join_game("table 1", password="x")
        assert bob.game is None
        server.shutdown()
        await wait_all_tasks_blocked()
    async with hosting(Lasting, save_file=save_file) as server, server.client("ann") as ann:
        with pytest.raises(RequestFailed, match="password"):
            await ann.join_game("table 1")
        await ann.join_game("table 1", password="x")
        calls = (await ask(ann, "calls")).payload["calls"]
        assert calls == ["loaded table 1 after 1 calls", "ann joined"]


async def test_the_admin_can_destroy_a_saved_game_that_cannot_be_made(tmp_path: Path) -> None:
    save_file = tmp_path / "save.json"
    async with hosting(Lasting, save_file=save_file) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        server.shutdown()
        await wait_all_tasks_blocked()
    async with (
        hosting_faults(Unmade, ValueError, network=in_the_clear(), save_file=save_file) as server,
        server.client("admin") as admin,
    ):
        answer = await ask(admin, Request.DESTROY_GAME, name="table 1")
        assert answer.message == "The game 'table 1' is destroyed."
        assert "table 1" not in save_file.read_text()
        await admin.create_game("table 1")
        assert (await ask(admin, "calls")).payload == {"calls": ["admin joined"]}


async def test_a_game_that_crashed_goes_on_from_its_save_when_it_is_joined(tmp_path: Path) -> None:
    async with (
        hosting_faults(
            Lasting, ValueError, network=in_the_clear(), save_file=tmp_path / "save.json"
        ) as server,
        server.client("ann") as ann,
        server.client("admin") as admin,
    ):
        await ann.create_game("table 1", password="x")
        await ask(admin, Request.SAVE)
        answer = await ask(ann, "Raise")
        assert without_error_id(answer.message).endswith("crashed; the server's log says why.")
        await wait_all_tasks_blocked()
        with pytest.raises(RequestFailed, match="password"):
            await ann.join_game("table 1")
        await ann.join_game("table 1", password="x")
        calls = (await ask(ann, "calls")).payload["calls"]
        assert calls == ["loaded table 1 after 1 calls", "ann joined"]


async def test_a_game_that_is_over_does_not_come_back_with_another_of_its_name(
    tmp_path: Path,
) -> None:
    class Once(Lasting):
        def handle_game_packet(self, packet: Packet, /) -> Response:
            self.persistent = packet.message != "over"
            return super().handle_game_packet(packet)

    async with (
        hosting_faults(
            Once, ValueError, network=in_the_clear(), save_file=tmp_path / "save.json"
        ) as server,
        server.client("ann") as ann,
        server.client("admin") as admin,
    ):
        await ann.create_game("table 1")
        await ask(admin, Request.SAVE)
        await ask(ann, "over")
        await ann.leave_game()
        await wait_all_tasks_blocked()
        await ann.create_game("table 1")
        answer = await ask(ann, "Raise")
        assert without_error_id(answer.message).endswith("crashed; the server's log says why.")
        await wait_all_tasks_blocked()
        await ann.join_game("table 1")
        assert (await ask(ann, "calls")).payload == {"calls": ["ann joined"]}


async def test_a_game_that_is_not_saved_is_named_once_where_there_is_a_save_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "pgnet_trio")
    for save_file, times in ((None, 0), (tmp_path / "save.json", 1)):
        caplog.clear()
        async with hosting(Recorder, save_file=save_file) as server, server.client("ann") as ann:
            for game in "table 1", "table 2":
                await ann.create_game(game)
                await ann.leave_game()
            server.shutdown()
            await wait_all_tasks_blocked()
        assert caplog.text.count("is not in the save file") == times


async def test_an_empty_admin_password_lets_nobody_in() -> None:
    async with hosting(Recorder, admin_password="") as server:
        with pytest.raises(LoginRefused):
            async with server.client("admin", ""):
                pass


async def test_games_are_saved_every_so_often(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    server = HostedServer(Lasting, save_file=tmp_path / "save.json", autosave_interval=3)
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve)
        async with server.client("ann") as ann:
            await ann.create_game("table 1")
            await trio.sleep(4)
            assert "after 1 calls" in (tmp_path / "save.json").read_text()
        server.shutdown()


async def test_a_full_disk_stops_no_game(
    tmp_path: Path,
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with hosting(Lasting, save_file=tmp_path / "save.json") as server:
        async with server.client("ann") as ann:
            await ann.create_game("table 1")
            full = True

            def write(self: object, changes: object) -> None:
                if full:
                    raise StorageError("the disk is full")

            monkeypatch.setattr("pgnet_trio.storage.json_file.JSONStore.write", write)
            await trio.sleep(15)
            assert "the disk is full" in caplog.text
            with pytest.raises(ConnectFailed, match="cannot save"):
                async with server.client("bob"):
                    pass
            assert (await ask(ann, "hello")).message == "ann: hello"
            full = False
            async with server.client("bob"):
                pass


async def test_shutdown_gives_its_code_and_closes_everybody() -> None:
    server = HostedServer(Recorder)
    codes = []

    async def serve(task_status: trio.TaskStatus[int | None]) -> None:
        codes.append(await server.serve(task_status=task_status))

    async with trio.open_nursery() as nursery:
        await nursery.start(serve)
        async with server.client("ann") as ann:
            await ann.create_game("table 1")
            server.shutdown(3)
            with pytest.raises(Disconnected):
                while True:
                    await ask(ann, "hello")
    assert codes == [3]
    assert "The server is shutting down" in ann.close_reason


@pytest.mark.parametrize("where", ["a connection", "a game"])
async def test_ctrl_c_in_any_task_loses_no_saved_game(where: str, tmp_path: Path) -> None:
    class Interrupted(Lasting):
        def handle_game_packet(self, packet: Packet, /) -> Response:
            signal.raise_signal(signal.SIGINT)
            raise AssertionError

    async def interrupted(function: Any, *args: Any, **options: Any) -> Any:
        await trio.lowlevel.checkpoint()
        if "interrupt" in args:
            raise KeyboardInterrupt
        return function(*args)

    environment = attrs.evolve(
        cheap_environment(), run_blocking=interrupted, password_hasher=SLOWER_HASHER
    )
    save_file = tmp_path / "save.json"
    server = HostedServer(
        Interrupted, network=in_the_clear(), save_file=save_file, environment=environment
    )
    with pytest.raises(BaseExceptionGroup) as caught:
        async with trio.open_nursery() as nursery:
            await nursery.start(server.serve)
            async with server.client("admin") as admin, server.client("ann") as ann:
                await ann.create_game("table 1")
                await ask(admin, Request.SAVE)
                if where == "a game":
                    await ask(ann, "interrupt")
                await admin.create_game("table 2")
                await server.client("bob", "interrupt").run()
    assert caught.value.split(KeyboardInterrupt)[0] is not None
    saved = save_file.read_text()
    assert "table 1 after" in saved
    assert ("table 2 after" in saved) == (where == "a connection")


PROGRAM = """
import sys, trio, pgnet_trio
from tests.server.test_server import Lasting
pgnet_trio.enable_logging()
trio.run(pgnet_trio.Server(Lasting, port=0, save_file=sys.argv[1]).serve)
"""


def test_ctrl_c_in_a_program_of_the_server_alone_saves(tmp_path: Path) -> None:
    save_file = tmp_path / "save.json"
    save_file.write_text(
        '{"users": [], "registration": true, "invite_codes": {},'
        ' "games": [{"name": "table 1", "password": "", "data": "old"}]}'
    )
    command = [sys.executable, "-c", PROGRAM, str(save_file)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "Serving" in line:
                break
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert "KeyboardInterrupt" in rest.splitlines()
    assert "Group" not in rest
    assert "table 1 after 1 calls" in save_file.read_text()


def test_logging_shows_what_goes_wrong_without_what_goes_well() -> None:
    logger = logging.getLogger("pgnet_trio")
    try:
        enable_logging(level="WARNING")
        assert logger.isEnabledFor(logging.WARNING)
        assert not logger.isEnabledFor(logging.INFO)
        enable_logging(enable=True)
        assert logger.isEnabledFor(logging.INFO)
    finally:
        enable_logging(False)


async def test_the_admin_can_shut_down() -> None:
    server = HostedServer(Recorder, network=in_the_clear())
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve)
        async with server.client("admin") as admin:
            assert (await ask(admin, Request.SHUTDOWN)).status == Status.OK


async def test_a_cancelled_server_saves_all_the_same(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    class Stuck(Lasting):
        async def handle_packet(self, packet: Packet, /) -> Response:
            await trio.sleep_forever()
            raise AssertionError

    server = HostedServer(Stuck, network=in_the_clear(), save_file=tmp_path / "save.json")
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve)
        async with server.client("admin") as admin, server.client("ann") as ann:
            await ann.create_game("stuck")
            await admin.create_game("other")
            nursery.start_soon(_ignore_end, ann)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    # Whether the admin's client gets to say goodbye is left to chance.
    assert re.search("other after [12] calls", (tmp_path / "save.json").read_text())


async def _ignore_end(client: Client) -> None:
    with pytest.raises(Disconnected):
        await ask(client, "think")


async def test_a_cancelled_shutdown_does_not_wait_for_a_game(
    autojump_clock: trio.testing.MockClock,
) -> None:
    server = HostedServer(Slow)
    async with trio.open_nursery() as players:
        async with trio.open_nursery() as nursery:
            await nursery.start(server.serve)
            ann = await players.start(server.client("ann").run)
            await ann.create_game("slow")
            players.start_soon(_ignore_end, ann)
            await wait_all_tasks_blocked()
            server.shutdown()
            await wait_all_tasks_blocked()
            start = trio.current_time()
            nursery.cancel_scope.cancel()
        assert trio.current_time() - start < 0.1


async def test_one_run_at_a_time_and_one_server_a_port() -> None:
    async with hosting(Recorder, port=0) as server:
        with pytest.raises(ServerError, match="running already"):
            await server.serve()
        other = Server(Recorder, port=server.port, environment=cheap_environment())
        with pytest.raises(ServerError, match="in use"):
            await other.serve()
    assert server.port is None
    with pytest.raises(ServerError, match="not running"):
        server.connect_in_memory()
    with pytest.raises(ServerError, match="not running"):
        server.delete_user("ann")


async def test_a_server_may_run_again_and_keeps_its_users() -> None:
    server = HostedServer(Recorder, registration_enabled=True)
    for registration in (True, False):
        async with trio.open_nursery() as nursery:
            await nursery.start(server.serve)
            server.registration_enabled = registration
            # The second time she could not register.
            async with server.client("ann", "pw") as ann:
                assert ann.connected
            server.shutdown()


def has_address(family: socket.AddressFamily, address: str) -> bool:
    try:
        with socket.socket(family) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_port_0_is_the_same_on_all_families_that_there_are(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    async with hosting(Recorder, port=0) as server:
        client = Client.remote(address=address, port=server.port or 0, username="ann")
        if has_address(family, address):
            async with client:
                assert client.connected
            await wait_all_tasks_blocked(0.01)
        else:
            with pytest.raises(ConnectFailed):
                async with client:
                    pytest.fail("the machine has no such address")


def test_options_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="no option 'max_conections'"):
        Server(Recorder, max_conections=5)
    with pytest.raises(ValueError, match="max_connections"):
        Server(Recorder, max_connections=0)
    with pytest.raises(ValueError, match="autosave_interval"):
        Server(Recorder, autosave_interval=0)
    with pytest.raises(ValueError, match="transport"):
        Server(Recorder, transport="carrier pigeon")
    (tmp_path / "save.db.key").write_text("no key")
    with pytest.raises(StorageError, match=r"save\.db\.key"):
        Server(Recorder, save_file=tmp_path / "save.db")


@pytest.mark.parametrize(
    ("option", "value", "error", "says"),
    [
        ("port", 99999, ValueError, r"from 0 to 65535, or None for no port; got 99999$"),
        ("port", -1, ValueError, "got -1$"),
        ("port", "38929", TypeError, "got '38929'$"),
        ("port", True, TypeError, "got True$"),
        ("admin_password", 5, TypeError, r"expected a str or None, got an object of int\.$"),
        ("registration_enabled", "no", TypeError, "expected True or False, got 'no'"),
        ("require_user_password", None, TypeError, "expected True or False"),
        ("listen_globally", "127.0.0.1", TypeError, "expected True or False"),
        ("verbose_logging", 1, TypeError, "expected True or False"),
        ("on_connection", "print", TypeError, "expected something to call"),
        ("max_message_size", 10, ValueError, "at least 1,024"),
    ],
)
def test_an_option_of_another_kind_is_refused_at_once(
    option: str, value: Any, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=f"^{option}: .*{says}"):
        Server(Recorder, **{option: value})


async def test_what_is_assigned_or_given_to_one_run_is_looked_at_too() -> None:
    server = Server(Recorder, port=None)
    with pytest.raises(TypeError, match=r"^registration_enabled: expected True or False"):
        server.registration_enabled = "no"  # type: ignore[assignment]  # what is tested
    with pytest.raises(TypeError, match=r"^verbose_logging: expected True or False"):
        server.verbose_logging = "no"  # type: ignore[assignment]  # what is tested
    with pytest.raises(ValueError, match=r"^port: expected "):
        await server.serve(port=99999)


@pytest.mark.parametrize("game", ["notagame", None, 5, int, Recorder("table 1")])
def test_a_server_hosts_games(game: Any) -> None:
    with pytest.raises(TypeError, match=r"a subclass of pgnet_trio\.Game; got "):
        Server(game)


async def test_a_damaged_save_file_is_left_as_it_is(tmp_path: Path) -> None:
    for name in ("save.json", "save.db"):
        path = tmp_path / name
        path.write_bytes(b'{"users": [')
        with pytest.raises(StorageError, match=name):
            await HostedServer(Recorder, save_file=path).serve()
        assert path.read_bytes() == b'{"users": ['


async def test_verbose_logging_shows_packets_but_no_secrets(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    async with hosting(
        Recorder, verbose_logging=True, port=0, admin_password="swordfish2"
    ) as server:
        async with socket_client(server, "ann", "hunter2") as ann:
            await ann.create_game("table 1", password="swordfish")
            with pytest.raises(RequestFailed):
                await ann.create_game("table 2")
            await ann.request(Packet("hello", {"where": "over here"}))
            async with socket_client(server, "admin", "swordfish2") as admin:
                code = (await ask(admin, Request.CREATE_INVITE)).message
    assert "over here" in caplog.text
    for secret in ("hunter2", "swordfish", code):
        assert secret not in caplog.text


async def test_verbose_logging_names_no_answers_that_nobody_gets(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Takes(Game):
        def handle_game_packet(self, packet: Packet, /) -> Response:
            return Response(packet.message, status=2 if packet.message == "refused" else 0)

    caplog.set_level(logging.DEBUG)
    async with (
        hosting(Takes, verbose_logging=True, port=0) as server,
        socket_client(server, "ann") as ann,
    ):
        await ann.create_game("table 1")
        caplog.clear()
        ann.send(Packet("taken"))
        ann.send(Packet("refused"))
        await ann.request(Packet("answered"))
    heard = [line for line in caplog.messages if line.startswith("to ann")]
    assert ["refused" in heard[0], "answered" in heard[1]] == [True, True]
    assert len(heard) == 2

"""What programs are told by a code, so that they need not compare texts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pgnet_trio import (
    Client,
    ConnectFailed,
    Disconnected,
    Game,
    LoginRefused,
    Packet,
    ReasonCode,
    Reject,
    RequestFailed,
    Response,
    SessionLost,
    Status,
    on,
    testing,
)
from pgnet_trio.protocol import v2
from pgnet_trio.protocol.v2.features import CODES, FEATURES
from pgnet_trio.server.refusals import SaveRefused
from pgnet_trio.testing import SimulatedNetwork, hosting, playing


@attrs.frozen
class Move:
    square: int


@attrs.frozen
class Which:
    pass


@attrs.frozen
class Answer:
    side: str


class Table(Game):
    """Refuses in each way that a game can."""

    persistent = True
    spectators = True
    max_request_size = 2000
    max_players = 2

    def __init__(self, name: str, save_string: str | None = None) -> None:
        if self.room.options.get("refused"):
            raise Reject("Not with these options.")

    def user_joined(self, username: str, /) -> None:
        if username == "eve":
            raise Reject("Not you.", {"list": "black"})
        if username == "moth":
            self.room.kick(username)

    def view(self, player: str | None) -> dict[str, Any]:
        return {}

    @on(Move)
    def move(self, player: str, move: Move) -> Response | None:
        if move.square == 1:
            raise Reject("That square is taken.")
        if move.square == 2:
            return Response("I say so.", status=Status.UNEXPECTED)
        if move.square == 3:
            raise ZeroDivisionError
        if move.square == 4:
            return Response("", {"much": "x" * 10**6})
        if move.square == 5:
            raise SaveRefused("the disk is full")
        return None

    def handle_packet(self, packet: Packet) -> Any:
        if packet.message == "wait":
            return self.never()
        if packet.message == "ask":
            self.room.nursery.start_soon(self.ask, packet.username)
            return Response("")
        if packet.message == "raise":
            raise ZeroDivisionError
        return super().handle_packet(packet)

    async def never(self) -> Response:
        await trio.sleep_forever()

    async def ask(self, player: str) -> None:
        def check(answer: Answer) -> None:
            if answer.side == "up":
                raise Reject("There are two sides.")

        await self.room.ask(player, Which(), Answer, check=check)

    def get_save_string(self) -> str:
        return "x"


async def code_of(function: Callable[..., Awaitable[object]], *args: Any, **options: Any) -> str:
    """Return the code with which a request is refused."""
    with pytest.raises(RequestFailed) as caught:
        await function(*args, **options)
    assert caught.value.code == caught.value.response.code
    return caught.value.code


async def log_in_code(
    server: testing.HostedServer, *who: str, kind: type[ConnectFailed] = LoginRefused, **more: Any
) -> str:
    """Return the code with which a log-in is refused."""
    with pytest.raises(ConnectFailed) as caught:
        async with server.client(*who, **more):
            pass
    assert type(caught.value) is kind
    return caught.value.code


async def test_a_refused_log_in_has_a_code() -> None:
    async with (
        hosting(Table, require_user_password=True, failed_logins_per_account=3) as server,
        server.client("ann", "pw"),
    ):
        assert await log_in_code(server, "ann", "other") == ReasonCode.WRONG_PASSWORD
        assert await log_in_code(server, "ANN", "pw") == ReasonCode.NAME_TAKEN
        assert await log_in_code(server, "x", "pw") == ReasonCode.NAME_NOT_ALLOWED
        assert await log_in_code(server, "", "pw") == ReasonCode.NAME_NOT_ALLOWED
        assert await log_in_code(server, "bob") == ReasonCode.PASSWORD_NEEDED
        assert await log_in_code(server, "bob", "pw", invite_code="x") == ReasonCode.INVALID_INVITE
        assert await log_in_code(server, "admin", "pw") == ReasonCode.ADMIN_OFF
        for _ in range(2):
            await log_in_code(server, "ann", "other")
        code = await log_in_code(server, "ann", "other", kind=ConnectFailed)
        assert code == ReasonCode.TOO_MANY_ATTEMPTS


async def test_a_server_without_registration_says_so_by_a_code() -> None:
    async with hosting(Table, registration_enabled=False) as server:
        assert await log_in_code(server, "bob") == ReasonCode.UNKNOWN_USER


async def test_a_full_server_says_so_by_a_code(autojump_clock: MockClock) -> None:
    async with hosting(Table, max_connections=1) as server, server.client("ann") as ann:
        server.network.cut("ann")
        await trio.sleep(1)
        assert await log_in_code(server, "bob", kind=ConnectFailed) == ReasonCode.SERVER_FULL
        server.network.heal("ann")
        await trio.sleep(5)
        assert ann.online


async def test_too_many_new_users_are_told_so_by_a_code() -> None:
    network = SimulatedNetwork()
    async with hosting(Table, network=network, registrations_per_address=1) as server:
        async with Client(network.connector(server, "a cafe"), username="ann"):
            pass
        with pytest.raises(ConnectFailed) as caught:
            await Client(network.connector(server, "a cafe"), username="bob").run()
        assert caught.value.code == ReasonCode.TOO_MANY_REGISTRATIONS


async def test_a_second_log_in_is_refused_with_a_code() -> None:
    async with hosting(Table, duplicate_login="refuse") as server, server.client("ann"):
        code = await log_in_code(server, "ann", kind=ConnectFailed)
        assert code == ReasonCode.ALREADY_CONNECTED


async def test_the_end_of_a_session_has_a_code(autojump_clock: MockClock) -> None:
    async with hosting(Table, admin_password="pw") as server, trio.open_nursery() as nursery:
        ann, bob, admin = server.client("ann"), server.client("bob"), server.client("admin", "pw")
        for client in (ann, bob, admin):
            await nursery.start(client.run)
            assert client.close_code == ""
        async with server.client("ann"):
            await ann._run.ended.wait()
        assert (ann.close_code, ann.close_reason) == (ReasonCode.TAKEN_OVER, "taken over")
        with pytest.raises(Disconnected) as caught:
            await ann.request(Packet("hello"))
        assert caught.value.code == ReasonCode.TAKEN_OVER
        await admin.request(Packet("__pgnet__.delete_user", {"username": "bob"}))
        await bob._run.ended.wait()
        assert bob.close_code == ReasonCode.USER_DELETED
        server.shutdown()
        await admin._run.ended.wait()
        assert admin.close_code == ReasonCode.SHUTTING_DOWN


async def test_a_client_that_was_away_at_a_take_over_hears_its_code(
    autojump_clock: MockClock,
) -> None:
    async with hosting(Table) as server, trio.open_nursery() as nursery:
        ann = server.client("ann")
        await nursery.start(ann.run)
        server.network.cut("ann")
        await wait_all_tasks_blocked()
        async with Client(server.network.connector(server, "elsewhere"), username="ann"):
            server.network.heal("ann")
            await ann._run.ended.wait()
            assert ann.close_code == ReasonCode.TAKEN_OVER


async def test_a_lost_session_has_a_code(autojump_clock: MockClock) -> None:
    async with (
        hosting(Table, resume_grace=1) as server,
        playing(server, "ann", game="table 1") as ann,
    ):
        server.network.cut("ann")
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                with pytest.raises(SessionLost) as caught:
                    await ann.request(Packet("hello"))
                assert caught.value.code == ReasonCode.SESSION_GONE

            nursery.start_soon(ask)
            await trio.sleep(10)
            server.network.heal("ann")


async def test_a_refused_request_has_a_code() -> None:
    async with (
        hosting(Table, max_games_per_user=2, admin_password="pw") as server,
        playing(server, "ann", "bob", "cid", "eve", "moth") as (ann, bob, cid, eve, moth),
        playing(server, "admin", password="pw") as admin,
    ):
        assert (await ann.request(Packet("hello"))).code == ReasonCode.NOT_IN_GAME
        assert (await ann.request(Packet("__pgnet__.save"))).code == ReasonCode.ADMIN_ONLY
        packet = Packet("__pgnet__.game_dir", {"x": 1})
        assert (await ann.request(packet)).code == ReasonCode.INVALID_ARGUMENT
        packet = Packet("__pgnet__.game_dir", {"limit": -1})
        assert (await ann.request(packet)).code == ReasonCode.INVALID_ARGUMENT
        assert await code_of(ann.leave_game) == ReasonCode.NOT_IN_GAME
        assert await code_of(ann.create_game, "x") == ReasonCode.NAME_NOT_ALLOWED
        assert await code_of(ann.join_game, "QQQQ") == ReasonCode.UNKNOWN_GAME
        too_long = {"text": "x" * 20_000}
        assert await code_of(ann.create_game, "table 1", options=too_long) == ReasonCode.TOO_LONG
        options = {"refused": True}
        assert await code_of(ann.create_game, "table 1", options=options) == ReasonCode.REJECTED
        await ann.create_game("table 1", password="pw")
        assert await code_of(ann.create_game, "table 2") == ReasonCode.ALREADY_IN_GAME
        assert await code_of(bob.create_game, "table 1") == ReasonCode.NAME_TAKEN
        assert await code_of(bob.join_game, "table 1") == ReasonCode.WRONG_PASSWORD
        assert await code_of(eve.join_game, "table 1", password="pw") == ReasonCode.REJECTED
        assert await code_of(moth.join_game, "table 1", password="pw") == ReasonCode.SENT_AWAY
        await bob.join_game("table 1", password="pw")
        assert await code_of(cid.join_game, "table 1", password="pw") == ReasonCode.GAME_FULL
        await cid.join_game("table 1", password="pw", spectate=True)
        assert (await cid.request(Packet("Move", {"square": 9}))).code == ReasonCode.SPECTATOR
        server.games["table 1"].room.locked = True
        assert await code_of(eve.join_game, "table 1", password="pw") == ReasonCode.GAME_LOCKED
        assert (await admin.request(Packet("__pgnet__.destroy_game", {"name": "x"}))).code == (
            ReasonCode.UNKNOWN_GAME
        )
        packet = Packet("__pgnet__.delete_user", {"username": "nobody"})
        assert (await admin.request(packet)).code == ReasonCode.UNKNOWN_USER


async def test_what_a_game_refuses_has_a_code(autojump_clock: MockClock) -> None:
    async with hosting(Table) as server, playing(server, "ann", "bob", game="table 1") as (ann, _):
        assert await code_of(ann.call, Move(1)) == ReasonCode.REJECTED
        assert await code_of(ann.call, Move(2)) == ""
        assert await code_of(ann.call, Move(4)) == ReasonCode.CANNOT_TRAVEL
        assert await code_of(ann.call, Move(5)) == ReasonCode.CANNOT_SAVE
        assert (await ann.request(Packet("Move", {}))).code == ReasonCode.INVALID_ARGUMENT
        assert (await ann.request(Packet("dance"))).code == ReasonCode.UNKNOWN_REQUEST
        packet = Packet("Move", {"square": 9, "why": "x" * 3000})
        assert (await ann.request(packet)).code == ReasonCode.TOO_LONG
        assert (await ann.call(Move(9))).code == ""
        await ann.request(Packet("ask"))
        async for question in ann.questions(Which):
            assert await code_of(question.answer, Answer("up")) == ReasonCode.REJECTED
            assert await code_of(question.answer, Move(1)) == ReasonCode.INVALID_ARGUMENT
            assert (await question.answer(Answer("left"))).code == ""
            assert (await question.answer(Answer("left"))).code == ReasonCode.QUESTION_CLOSED
            break


async def test_the_end_of_a_game_has_a_code(autojump_clock: MockClock) -> None:
    async with (
        hosting(Table, admin_password="pw") as server,
        playing(server, "ann", "bob", game="table 1") as (ann, bob),
        server.client("admin", "pw") as admin,
        trio.open_nursery() as nursery,
    ):

        async def ask(client: Client, message: str) -> None:
            assert (await client.request(Packet(message))).code == ReasonCode.GAME_OVER

        nursery.start_soon(ask, ann, "wait")
        await wait_all_tasks_blocked()
        nursery.start_soon(ask, bob, "hello")
        await wait_all_tasks_blocked()
        await admin.request(Packet("__pgnet__.destroy_game", {"name": "table 1"}))
        assert await code_of(ann.wait_state, dict, lambda state: False) == ReasonCode.GAME_OVER


async def test_what_a_game_raises_over_has_a_code() -> None:
    async with (
        hosting(Table) as server,
        playing(server, "ann", game="table 1") as ann,
    ):
        with server.expecting(ZeroDivisionError):
            assert (await ann.request(Packet("raise"))).code == ReasonCode.GAME_FAILED
        with server.expecting(ZeroDivisionError):
            assert await code_of(ann.call, Move(3)) == ReasonCode.GAME_FAILED


async def test_who_knows_no_codes_is_told_none(monkeypatch: pytest.MonkeyPatch) -> None:
    options = v2.ClientProtocol.__init__.__kwdefaults__
    assert options is not None
    monkeypatch.setitem(options, "features", FEATURES - {CODES})
    async with hosting(Table) as server, server.client("ann", "pw") as ann:
        assert await code_of(ann.leave_game) == ""
        assert await log_in_code(server, "ann", "other") == ""
    assert isinstance(ann, Client)


async def test_protocol_1_carries_no_codes() -> None:
    async with hosting(Table) as server, server.client("ann", "pw", protocol=1) as ann:
        assert await code_of(ann.leave_game) == ""
        assert await log_in_code(server, "ann", "other", protocol=1) == ""

"""The client for browsers, in Node.js, plays with a real server as the client in Python does."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from pgnet_trio import Client, Game, Packet
from pgnet_trio.messages import Response
from tests.kit.hosting import CountingHasher, cheap_environment
from tests.web.hosting import Table, gated, serving
from tests.web.node import needs_packages
from tests.web.page import Page, PageError, open_page

pytestmark = needs_packages

BOARD = [0] * 9


async def games(page: Page) -> list[str]:
    return [game["name"] for game in await page("getGameDir")]


async def test_a_player_plays() -> None:
    async with serving() as server, open_page() as page:
        await page.log_in(server.port)
        assert (await page("joinGame", "table 1"))["message"] == "You are in the game 'table 1'."
        assert await page("get", "game") == "table 1"
        await page("loop", "states")
        await page("loop", "pushes", "Said")
        answer = await page("call", "Move", {"square": 3})
        assert answer == {"message": "", "payload": {}, "status": 0, "createdOn": None, "code": ""}
        board = [*BOARD[:3], 1, *BOARD[4:]]
        assert (await page("get", "state"))["board"] == board
        assert await page("isFrozen")
        assert await page("wait", "pushes Said", 1) == [
            {"message": "Said", "payload": {"text": "ann takes 3"}}
        ]
        assert await page("get", "players") == [["ann", True]]
        assert (await page("leaveGame"))["status"] == 0
        states = await page("wait", "states", 3)
        assert [each if each == "end" else each["board"] for each in states] == [
            BOARD,
            board,
            "end",
        ]
        assert (await page("get", "left"))["reason"] == "left"
        assert await page("get", "game") is None


async def test_a_refusal_is_an_error_that_says_why() -> None:
    async with serving() as server, open_page() as page:
        await page.log_in(server.port)
        with pytest.raises(PageError, match="game") as caught:
            await page("call", "Move", {"square": 3})
        assert (caught.value.name, caught.value.code) == ("Rejected", "not_in_game")
        await page("joinGame", "table 1")
        await page("call", "Move", {"square": 3})
        with pytest.raises(PageError, match=r"^that square is not free$") as caught:
            await page("call", "Move", {"square": 3})
        assert caught.value.payload == {"square": 3}
        with pytest.raises(PageError, match="expected an int, got"):
            await page("call", "Move", {"square": "3"})
        assert (await page("request", "Move", {"square": 3}))["status"] == 2
        with pytest.raises(PageError, match="payload: expected an object, got an array"):
            await page("call", "Move", [3])


@pytest.mark.parametrize(
    ("deed", "given", "expected"),
    [
        ("on", ["pushes"], r"on: expected one of the events connection, .*, got pushes"),
        ("joinGame", ["table 1", {"spectator": True}], "joinGame: expected only .*, got spectator"),
        ("joinGame", ["table 1", True], "joinGame: expected an object of options, got a boolean"),
        ("joinGame", [{"name": "table 1"}], "expected the name of a game, got an object"),
        ("createGame", ["table 1", {"max": 2}], "createGame: expected only .*, got max"),
        ("new", [{"username": "ann", "adress": "::1"}], "new Client: expected only .*, got adress"),
    ],
)
async def test_a_slip_is_an_error_at_once(deed: str, given: list[Any], expected: str) -> None:
    async with serving() as server, open_page() as page:
        await page.log_in(server.port)
        with pytest.raises(PageError, match=expected) as caught:
            await page(deed, *given)
        assert caught.value.name == "CodecError"
        assert await page("get", "game") is None


async def test_what_the_server_says_ends_a_status_with_one_full_stop() -> None:
    async with serving() as server, open_page() as page:
        with pytest.raises(PageError) as caught:
            await page.log_in(server.port, "a b")
        assert str(caught.value).endswith(".")
        assert await page("get", "status") == f"Disconnected: {caught.value}"


async def test_patches_and_columns_make_the_state_that_the_game_has() -> None:
    async with serving() as server, open_page() as page:
        await page.log_in(server.port)
        await page("joinGame", "table 1")
        async with Client.remote(address=f"localhost:{server.port}", username="bob") as bob:
            await bob.join_game("table 1")
            for square in range(9):
                await page("call", "Move", {"square": square})
                state = await page("get", "state")
                assert state["table"]["ann"] == {"x": square + 1, "y": square + 1.5}
                assert state["board"] == [1] * (square + 1) + [0] * (8 - square)
                assert [*state["table"]] == ["ann", "bob"]


async def test_keys_are_made_while_the_browser_connects() -> None:
    async with serving() as server, open_page() as page:
        await page.log_in(server.port)
        connecting = 0
        assert await page("keysMade") == [connecting]


async def test_the_status_says_who_only_watches() -> None:
    async with serving() as server, open_page() as page:
        await page.log_in(server.port, "ann", "status")
        await page("joinGame", "table 1", {"spectate": True})
        await page("wait", "status", 4)
        await page("leaveGame")
        await page("joinGame", "table 1")
        assert (await page("wait", "status", 6))[2:] == [
            "In the game table 1.",
            "Watching the game table 1.",
            "In no game.",
            "In the game table 1.",
        ]


async def test_a_quiet_message_is_carried_out() -> None:
    async with serving() as server, open_page() as page:
        await page.log_in(server.port)
        await page("joinGame", "table 1")
        await page("loop", "pushes")
        for number in range(100):
            await page("tell", "Say", {"text": str(number)})
        said = [push["payload"]["text"] for push in await page("wait", "pushes", 100)]
        assert said == [str(number) for number in range(100)]


async def test_the_directory_has_all_games_in_the_order_of_their_names() -> None:
    async with serving(max_games_per_user=None, max_games=None) as server, open_page() as page:
        await page.log_in(server.port)
        names = [f"table {number}" for number in range(3)] + ["111", "abc"]
        for name in names:
            await page("createGame", name, {"options": {"size": 3}, "password": "p"})
            await page("leaveGame")
        directory = await page("getGameDir")
        assert [game["name"] for game in directory] == sorted(names)
        assert directory[0]["passwordProtected"] is True
        with pytest.raises(PageError, match="password"):
            await page("joinGame", "abc", {"password": "other"})
        await page("joinGame", "abc", {"password": "p", "spectate": True})


class Big(Game):
    """A game whose answers are as long as one likes."""

    persistent = True

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.name = name

    def handle_game_packet(self, packet: Packet, /) -> Response:
        return Response("x" * int(packet.message))

    def get_save_string(self) -> str:
        return ""


async def test_a_long_directory_comes_in_parts() -> None:
    options = {"text": "x" * 15_000}
    async with serving(Big, max_games_per_user=None, max_options_size=20_000) as server:
        async with open_page() as page:
            await page.log_in(server.port)
            names = [f"table {number:02}" for number in range(20)]
            for name in names:
                await page("createGame", name, {"options": options})
                await page("leaveGame")
            assert await games(page) == names


async def test_messages_of_many_pieces_travel() -> None:
    async with serving(Big) as server, open_page() as page:
        await page.log_in(server.port)
        await page("createGame", "table 1")
        for size in (65_480, 65_500, 65_520, 131_050, 400_000):
            assert len((await page("request", str(size)))["message"]) == size
        with pytest.raises(PageError, match="expected a request of at most") as caught:
            await page("request", "5", {"text": "x" * 70_000})
        assert caught.value.code == "codec"


# Questions.


async def test_a_question_is_answered() -> None:
    async with serving() as server, open_page() as page:
        await page.log_in(server.port)
        await page("joinGame", "table 1")
        await page("loop", "questions", "Choose")
        await page("call", "Ask")
        [question] = await page("wait", "questions Choose", 1)
        assert question["payload"] == {"options": ["rock", "paper"]}
        assert question["secondsLeft"] == "Infinity"
        await page("on", "question")
        assert [each["id"] for each in await page("wait", "question", 1)] == [question["id"]]
        with pytest.raises(PageError, match=r"^well is none of them$"):
            await page("answer", question["id"], "Throw", {"what": "well"})
        assert (await page("question", question["id"]))["isOpen"] is True
        assert (await page("answer", question["id"], "Throw", {"what": "rock"}))["status"] == 0
        assert (await page("question", question["id"]))["isOpen"] is False
        late = await page("answer", question["id"], "Throw", {"what": "rock"})
        assert late["status"] == 2


async def test_a_question_ends_with_its_time() -> None:
    async with serving() as server, open_page() as page:
        await page.log_in(server.port)
        await page("joinGame", "table 1")
        await page("on", "question")
        await page("call", "Ask", {"seconds": 0.3})
        [question] = await page("wait", "question", 1)
        assert 0 < question["secondsLeft"] <= 0.3
        await page("closed", question["id"])
        assert (await page("question", question["id"]))["secondsLeft"] == 0


async def test_questions_end_with_the_game() -> None:
    async with serving() as server, open_page() as page:
        await page.log_in(server.port)
        await page("joinGame", "table 1")
        await page("loop", "questions")
        await page("call", "Ask")
        [question] = await page("wait", "questions", 1)
        await page("leaveGame")
        assert (await page("question", question["id"]))["isOpen"] is False
        assert (await page("wait", "questions", 2))[1] == "end"


# Listeners and loops.


async def test_players_stay_in_the_order_of_joining() -> None:
    async with serving() as server, open_page() as page:
        for name in ("zoe", "222", "111"):
            await page.log_in(server.port, name, name=name)
            await page("joinGame", "table 1")
        await page("use", "222")
        await page("on", "players")
        assert (await page("get", "players")) == [["zoe", True], ["222", True], ["111", True]]
        await page("use", "zoe")
        await page("disconnect")
        await page("use", "222")
        assert (await page("wait", "players", 2))[1] == [["222", True], ["111", True]]


async def test_a_listener_that_is_late_is_told_what_it_has_missed() -> None:
    async with serving() as server, open_page() as page:
        await page.log_in(server.port)
        await page("joinGame", "table 1")
        await page("call", "Say", {"text": "one"})
        await page("call", "Say", {"text": "two"})
        await page("on", "push", "first")
        await page("on", "state")
        await page("on", "players")
        assert [push["payload"]["text"] for push in await page("wait", "first", 2)] == [
            "one",
            "two",
        ]
        assert [state["board"] for state in await page("wait", "state", 1)] == [BOARD]
        assert await page("wait", "players", 1) == [[["ann", True]]]
        await page("on", "push", "second")
        await page("call", "Say", {"text": "three"})
        assert [push["payload"]["text"] for push in await page("list", "second")] == ["three"]
        await page("stop")
        await page("call", "Say", {"text": "four"})
        assert len(await page("list", "second")) == 1
        assert len(await page("list", "first")) == 4


async def test_a_listener_that_another_one_adds_is_told_everything_in_order() -> None:
    async with serving() as server, open_page() as page:
        await page.log_in(server.port)
        await page("joinGame", "table 1")
        await page("call", "Say", {"text": "one"})
        # The state comes before the push, in the same frame.
        await page("listen_at", "state", "push")
        await page("call", "Move", {"square": 0})
        said = [push["payload"]["text"] for push in await page("wait", "push", 2)]
        assert said == ["one", "ann takes 0"]


async def test_whoever_draws_what_is_so_is_told_of_every_change() -> None:
    events = {"connected": "connection", "game": "game", "players": "players"}
    async with serving() as server, gated(server) as gate, open_page() as page:
        await page("new", {"username": "ann", "address": f"127.0.0.1:{gate.port}"})
        for event in [*events.values(), "online", "status", "end"]:
            await page("on", event)

        async def check() -> None:
            for name, event in events.items():
                assert (await page("list", event))[-1] == await page("get", name), name
            assert (await page("list", "status"))[-1] == await page("get", "status")

        await page("connect")
        await page("joinGame", "table 1")
        await page("wait", "players", 1)
        await gate.reset()
        await page("wait", "online", 2)
        await check()
        await page("disconnect")
        assert await page("get", "game") is None
        await check()
        assert len(await page("list", "end")) == 1


async def test_a_session_that_a_listener_ends_says_no_more_that_it_is_logged_in() -> None:
    async with serving() as server, open_page() as page:
        await page("new", {"username": "ann", "address": f"127.0.0.1:{server.port}"})
        await page("end_at", "connection")
        await page("on", "status")
        with pytest.raises(PageError, match="disconnected by this page"):
            await page("connect")
        assert (await page("list", "status"))[-1].startswith("Disconnected")
        assert await page("get", "status") == (await page("list", "status"))[-1]


@pytest.mark.parametrize("event", ["status", "connection", "online"])
async def test_a_listener_may_end_the_session(event: str) -> None:
    async with serving() as server, gated(server) as gate, open_page() as page:
        address = f"127.0.0.1:{gate.port}"
        await page("new", {"username": "ann", "address": address})
        if event == "online":
            await page("connect")
            await page("end_at", event)
            await gate.reset()
        else:
            await page("end_at", event)
            with pytest.raises(PageError, match="disconnected by this page"):
                await page("connect")
        await page("on", "end")
        while (await page("get", "endError")) is None:
            await trio.lowlevel.checkpoint()
        assert not await page("get", "connected")
        assert not await page("get", "online")
        assert await page("sockets") == (0 if event == "status" else 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"username": None}, "username: expected a text, got null"),
        ({"username": "\ud800"}, "lone surrogate"),
        ({"serverKey": "x"}, "serverKey: expected the base64"),
        ({"reconnectFor": -1}, "reconnectFor: expected seconds"),
        ({"address": "http://example.org"}, "is no address of a server"),
    ],
)
async def test_options_that_cannot_be_used_are_refused_at_once(
    options: dict[str, Any], message: str
) -> None:
    async with open_page() as page:
        with pytest.raises(PageError, match=message):
            await page("new", {"username": "ann", "address": "localhost", **options})


async def test_a_listener_that_throws_is_reported_and_harms_nobody() -> None:
    async with serving() as server, open_page() as page:
        await page.log_in(server.port)
        await page("fail", "state")
        await page("on", "state")
        await page("joinGame", "table 1")
        await page("wait", "state", 1)
        assert await page("reported") == ["Error: a listener of state"]


async def test_a_loop_that_was_left_goes_on_in_the_next_one() -> None:
    async with serving() as server, open_page() as page:
        await page.log_in(server.port)
        await page("joinGame", "table 1")
        for text in ("one", "two", "three"):
            await page("call", "Say", {"text": text})
        first = await page("take", 2, "pushes", "Said")
        second = await page("take", 1, "pushes")
        texts = [push["payload"]["text"] for push in [*first, *second]]
        assert texts == ["one", "two", "three"]


async def test_a_game_that_puts_its_player_out_says_why_and_can_be_read_to_its_end() -> None:
    class Bouncer(Table):
        def handle_game_packet(self, packet: Packet, /) -> Response:
            self.room.push("last words")
            assert packet.username is not None
            self.room.kick(packet.username, "out with you")
            return Response("bye")

    async with serving(Bouncer) as server, open_page() as page:
        await page.log_in(server.port)
        await page("on", "left")
        await page("joinGame", "table 1")
        await page("call", "x")
        left = {"game": "table 1", "reason": "kicked", "message": "out with you"}
        assert await page("wait", "left", 1) == [left]
        await page("loop", "pushes")
        assert [push["message"] for push in (await page("wait", "pushes", 2))[:1]] == ["last words"]


# The session.


@pytest.mark.parametrize(
    ("options", "name", "code", "message"),
    [
        ({"password": "wrong"}, "LoginRefused", "wrong_password", "password"),
        ({"serverKey": "A" * 43 + "="}, "ServerKeyMismatch", "server_key_mismatch", "expected AAA"),
        ({"username": "x y"}, "LoginRefused", "name_not_allowed", "x y"),
    ],
)
async def test_who_is_not_let_in_is_told_why(
    options: dict[str, str], name: str, code: str, message: str
) -> None:
    async with serving() as server, open_page() as page:
        await page.log_in(server.port, password="right", name="first")
        await page("disconnect")
        with pytest.raises(PageError, match=message) as caught:
            await page.log_in(server.port, **options)
        assert (caught.value.name, caught.value.code) == (name, code)
        with pytest.raises(PageError, match=message):
            await page("call", "Move")


async def test_a_pinned_key_lets_its_server_in() -> None:
    async with serving() as server, open_page() as page:
        await page.log_in(server.port, serverKey=server.pubkey)
        assert await page("get", "serverKey") == server.pubkey


async def test_a_server_that_is_not_there_is_an_error() -> None:
    async with serving() as server, open_page() as page:
        port = server.port
    async with open_page() as page:
        with pytest.raises(PageError, match="connection was lost") as caught:
            await page.log_in(port)
        assert (caught.value.name, caught.value.code) == ("ConnectFailed", "connect_failed")


async def test_a_client_that_is_not_connected_says_so() -> None:
    async with serving() as server, open_page() as page:
        await page("new", {"username": "ann", "address": f"127.0.0.1:{server.port}"})
        with pytest.raises(PageError, match="await connect") as caught:
            await page("call", "Move")
        assert caught.value.code == "not_connected"
        with pytest.raises(PageError, match="await connect"):
            await page("tell", "Move")
        await page("connect")
        with pytest.raises(PageError, match="is connected"):
            await page("connect")
        await page("disconnect")
        with pytest.raises(PageError, match="disconnected by this page"):
            await page("call", "Move")
        await page("connect")
        assert await page("get", "connected")


async def test_a_dropped_connection_comes_back_and_nothing_is_lost() -> None:
    async with serving() as server, gated(server) as proxy, open_page() as page:
        await page.log_in(proxy.port)
        await page("joinGame", "table 1")
        await page("on", "online")
        await page("on", "status")
        await page("loop", "pushes")
        async with Client.remote(address=f"localhost:{server.port}", username="bob") as bob:
            await bob.join_game("table 1")
            for number in range(3):
                await proxy.connections[-1].reset()
                await bob.request(Packet("Say", {"text": f"while {number}"}))
                await page("call", "Say", {"text": f"after {number}"})
                await page("wait", "online", 2 * number + 2)
        said = [push["payload"]["text"] for push in await page("list", "pushes")]
        assert sorted(said) == sorted(
            f"{when} {n}" for n in range(3) for when in ("while", "after")
        )
        assert await page("list", "online") == [False, True] * 3
        assert await page("get", "connected")
        await page("call", "Move", {"square": 1})
        assert (await page("get", "state"))["board"][1] == 1
        # The same session: nobody has joined anew.
        assert (await page("get", "state"))["table"]["ann"]["x"] == 1


async def test_requests_that_wait_for_a_connection_keep_their_order() -> None:
    async with serving() as server, gated(server) as gate, open_page() as page:
        await page.log_in(gate.port)
        await page("joinGame", "table 1")
        await page("on", "online")
        await gate.close()
        await page("wait", "online", 1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(page.__call__, "leaveGame")
            # The page has the first before the second is written.
            await wait_all_tasks_blocked()
            nursery.start_soon(page.__call__, "joinGame", "table 2")
            await wait_all_tasks_blocked()
            gate.open()
        assert await page("get", "game") == "table 2"


async def test_a_question_stays_open_over_a_drop() -> None:
    async with serving() as server, gated(server) as proxy, open_page() as page:
        await page.log_in(proxy.port)
        await page("joinGame", "table 1")
        await page("on", "question")
        await page("call", "Ask", {"seconds": 60})
        [question] = await page("wait", "question", 1)
        await proxy.reset()
        answer = await page("answer", question["id"], "Throw", {"what": "paper"})
        assert answer["status"] == 0


async def test_a_session_that_was_forgotten_begins_anew_in_its_game() -> None:
    async with (
        serving(resume_grace=0.0) as server,
        gated(server) as proxy,
        open_page() as page,
    ):
        await page.log_in(proxy.port)
        await page("joinGame", "table 1", {"options": {"size": 3}})
        await page("on", "connection")
        await page("on", "game")
        await page("loop", "states")
        await page("wait", "states", 1)
        await proxy.reset()
        await page("wait", "connection", 2)
        # It waits, and goes to the game.
        await page("call", "Move", {"square": 0})
        assert await page("list", "connection") == [False, True]
        assert await page("list", "game") == []
        assert await page("get", "game") == "table 1"
        state = await page("get", "state")
        assert (state["board"][0], state["options"]) == (1, {"size": 3})
        assert "end" not in await page("list", "states")


async def test_who_is_not_let_in_again_is_in_no_game() -> None:
    class Table1(Table):
        def handle_game_packet(self, packet: Packet, /) -> Response:
            self.room.locked = True
            return Response("locked")

    async with serving(Table1, resume_grace=0.0) as server, open_page() as page:
        async with Client.remote(address=f"localhost:{server.port}", username="bob") as bob:
            await bob.create_game("table 1")
            async with gated(server) as proxy:
                await page.log_in(proxy.port, netcode=True)
                await page("joinGame", "table 1")
                await page("call", "lock")
                await page("on", "left")
                await proxy.reset()
                [left] = await page("wait", "left", 1)
                assert (left["game"], left["reason"]) == ("table 1", "closed")
                assert await page("get", "game") is None
                # What shows the game knows it too, and plays on at no other's table.
                assert (await page("list", "entered"))[-1] is None


async def test_a_call_of_a_forgotten_session_says_that_nobody_knows() -> None:
    started = trio.Event()

    class Slow(Table):
        async def handle_game_packet(self, packet: Packet, /) -> Response:
            started.set()
            await trio.sleep_forever()
            raise AssertionError

    async with (
        serving(Slow, resume_grace=0.0) as server,
        gated(server) as proxy,
        open_page() as page,
    ):
        await page.log_in(proxy.port)
        await page("joinGame", "table 1")

        async def call() -> None:
            with pytest.raises(PageError) as caught:
                await page("call", "slow")
            assert (caught.value.name, caught.value.code) == ("SessionLost", "session_gone")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            await started.wait()
            await proxy.reset()


async def test_a_restarted_server_is_joined_again_without_hashing_the_password(
    tmp_path: object,
) -> None:
    hasher = CountingHasher()
    environment = attrs.evolve(cheap_environment(), password_hasher=hasher)
    options: dict[str, Any] = {"save_file": f"{tmp_path}/games.sqlite", "environment": environment}
    async with open_page() as page, gated(None) as gate:
        async with serving(**options) as server:
            gate.open(server)
            await page.log_in(gate.port, password="secret")
            await page("joinGame", "table 1", {"options": {"size": 4}})
            await page("call", "Move", {"square": 2})
            await page("on", "status")
            await page("on", "online")
            gate.is_closed = True
            server.shutdown(restarting=True)
            await page("wait", "online", 1)
        hashed = hasher.verified
        async with serving(**options) as again:
            gate.open(again)
            await page("wait", "online", 2)
            await page("call", "Move", {"square": 3})
            assert (await page("get", "state"))["board"][2:4] == [1, 1]
            assert hasher.verified == hashed
        assert "The server restarts; coming back..." in await page("list", "status")


async def test_a_table_is_found_by_its_code_and_is_there_again_after_a_restart(
    tmp_path: object,
) -> None:
    options: dict[str, Any] = {"key_file": f"{tmp_path}/key"}
    async with open_page() as page, gated(None) as gate:
        async with serving(**options) as server:
            gate.open(server)
            await page.log_in(gate.port)
            answer = await page("createGame", "", {"unlisted": True, "options": {"size": 4}})
            code = await page("get", "game")
            assert (len(code), answer["payload"]["name"]) == (4, code)
            assert await games(page) == []
            await page("leaveGame")
            with pytest.raises(PageError, match="no table with the code"):
                await page("joinGame", "QQQQ" if code != "QQQQ" else "QQQW")
            await page("joinGame", code.lower())
            assert await page("get", "game") == code
            await page("on", "online")
            gate.is_closed = True
            server.shutdown(restarting=True)
            await page("wait", "online", 1)
        async with serving(**options) as again:
            gate.open(again)
            await page("wait", "online", 2)
            await page("call", "Move", {"square": 3})
            assert await page("get", "game") == code
            assert await games(page) == []


async def test_whoever_logs_in_elsewhere_takes_over() -> None:
    async with serving() as server, open_page() as page:
        await page.log_in(server.port, name="old")
        await page("joinGame", "table 1")
        await page("on", "end")
        await page("loop", "states")
        await page.log_in(server.port, name="new")
        assert await page("get", "game") == "table 1"
        assert (await page("get", "state"))["board"] == BOARD
        [end] = await page("wait", "end", 1)
        assert (end["name"], end["code"]) == ("TakenOver", "taken_over")
        *_, last = await page("wait", "states", 2)
        assert (last["name"], last["code"]) == ("TakenOver", "taken_over")
        await page("use", "old")
        assert not await page("get", "connected")
        assert await page("sockets") == 2


async def test_whoever_was_away_when_taken_over_hears_of_it() -> None:
    async with serving() as server, gated(server) as proxy, open_page() as page:
        await page.log_in(proxy.port, name="old")
        await page("on", "end")
        await proxy.close()
        await page.log_in(server.port, name="new")
        proxy.open()
        [end] = await page("wait", "end", 1)
        assert end["code"] == "taken_over"


async def test_a_server_that_ends_for_good_ends_the_session() -> None:
    async with serving() as server, open_page() as page:
        await page.log_in(server.port)
        await page("on", "end")
        await page("loop", "pushes")
        server.shutdown()
        [end] = await page("wait", "end", 1)
        assert end["code"] == "shutting_down"
        [last] = await page("wait", "pushes", 1)
        assert last["name"] == "Disconnected"

"""A server that does its worst: a page says what is wrong, holds no more than it should, and hangs
nowhere."""

from __future__ import annotations

import os
from typing import Any

import pytest
import trio

from pgnet_trio.crypto import KeyPair
from tests.web.node import needs_packages
from tests.web.page import Page, PageError, open_page
from tests.web.scripted import HELLO, WELCOME, Link, Script, scripted

pytestmark = needs_packages

GAME = [16, "table 1", 0.0, 0.0, "", ""]


async def end_of(page: Page) -> dict[str, Any]:
    """Wait until the session has ended; return why."""
    [end] = await page("wait", "end", 1)
    assert isinstance(end, dict)
    return end


def saying(*envelopes: list[Any]) -> Script:
    """Let everybody in, and then say this."""

    async def script(link: Link, number: int) -> None:
        await link.receive(1)
        await link.send(WELCOME, GAME)
        await link.send(*envelopes)
        await trio.sleep_forever()

    return script


@pytest.mark.parametrize(
    ("envelope", "message"),
    [
        ([27], "kind 27"),
        ([25, "a b", "why"], "expected an address"),
        ([25, "", "why"], "expected an address"),
        ([25, "/b", "why", bytes(31)], "expected a token of 32 bytes"),
        ([7, 1, "request", {}], "kind 7"),
        ([9, "push"], "envelope 9: expected 2 fields, got 1"),
        ([9, "push", {"x": float("nan")}], "expected a finite number"),
        ([9, "push", {"x": 2**63}], "at most 64 bits"),
        ([8, 5, 0, "answer", {}], "no request that waits"),
        ([17, 5], "the server has request 5"),
        ([3, "welcome", bytes(32)], "envelope 3 came while the conversation is open"),
        ([0, None], "envelope 0 came"),
        ([23, 0], "expected 1 push lost or more"),
        ([9, "__pgnet__.players", {"players": 5, "all": True}], "players: expected"),
        ([9, "__pgnet__.players", {"players": [5], "all": True}], "players: expected"),
    ],
)
async def test_a_broken_rule_ends_the_session_and_both_sides_hear_of_it(
    envelope: list[Any], message: str
) -> None:
    heard = trio.Event()

    async def script(link: Link, number: int) -> None:
        await link.receive(1)
        await link.send(WELCOME, GAME)
        await link.send(envelope)
        assert message in (await link.receive(21))[1]
        heard.set()

    async with scripted(script) as server, open_page() as page:
        await page.log_in(server.port, "ann", "end")
        end = await end_of(page)
        assert (end["name"], end["code"]) == ("ProtocolError", "protocol_error")
        assert message in end["message"]
        await heard.wait()
        assert server.connections == 1


async def test_a_text_breaks_the_rules() -> None:
    async def script(link: Link, number: int) -> None:
        await link.receive(1)
        await link.send(WELCOME)
        await link.socket.send_message("hello")
        assert "got a text" in (await link.receive(21))[1]

    async with scripted(script) as server, open_page() as page:
        await page.log_in(server.port, "ann", "end")
        assert (await end_of(page))["code"] == "protocol_error"


@pytest.mark.parametrize("message", [bytes(40), bytes(5), b"", bytes(1024 * 1024 + 1)], ids=len)
async def test_what_does_not_decrypt_is_a_drop_and_the_session_goes_on(message: bytes) -> None:
    async def script(link: Link, number: int) -> None:
        if not number:
            await link.receive(1)
            await link.send(WELCOME)
            await link.socket.send_message(message)
        else:
            await link.receive(2)
            await link.send([4, 0])
        await trio.sleep_forever()

    async with scripted(script) as server, open_page() as page:
        await page.log_in(server.port, "ann", "online")
        assert await page("wait", "online", 2) == [False, True]
        assert server.connections == 2


async def test_a_server_that_closes_every_connection_is_given_up() -> None:
    async def script(link: Link, number: int) -> None:
        if not number:
            await link.receive(1)
            await link.send(WELCOME)

    async with scripted(script) as server, open_page() as page:
        await page.log_in(server.port, "ann", "end", reconnectFor=1)
        end = await end_of(page)
        assert (end["name"], end["code"]) == ("Disconnected", "connect_failed")
        # The pauses grow.
        assert 2 < server.connections < 30
        assert not await page("get", "connected")


async def test_a_server_that_says_nothing_is_not_waited_for_for_ever() -> None:
    async def script(link: Link, number: int) -> None:
        await trio.sleep_forever()

    async with scripted(script) as server, open_page(speed=10) as page:
        with pytest.raises(PageError, match="did not answer within") as caught:
            await page.log_in(server.port)
        assert caught.value.code == "timeout"


async def test_a_silent_server_is_pinged_and_then_left() -> None:
    pinged = trio.Event()

    async def script(link: Link, number: int) -> None:
        if not number:
            await link.receive(1)
            await link.send(WELCOME)
            await link.receive(19)
            pinged.set()
        else:
            await link.receive(2)
            await link.send([4, 0])
        await trio.sleep_forever()

    async with scripted(script) as server, open_page(speed=5) as page:
        await page.log_in(server.port, "ann", "online")
        assert await page("wait", "online", 2) == [False, True]
        assert pinged.is_set()


async def test_not_now_is_asked_again() -> None:
    async def script(link: Link, number: int) -> None:
        await link.receive(1)
        if number < 3:
            await link.send([21, "too many at once"])
        else:
            await link.send(WELCOME)
            await trio.sleep_forever()

    async with scripted(script) as server, open_page(speed=10) as page:
        await page.log_in(server.port, "ann", "status")
        assert server.connections == 4
        said = "Not in yet: the server cannot let this client in now: too many at once."
        assert (await page("list", "status")).count(said) == 3


async def test_not_now_for_too_long_is_an_error() -> None:
    async def script(link: Link, number: int) -> None:
        await link.receive(1)
        await link.send([21, "too many at once"])

    async with scripted(script) as server, open_page() as page:
        with pytest.raises(PageError, match="too many at once") as caught:
            await page.log_in(server.port, reconnectFor=0.5)
        assert (caught.value.name, caught.value.code) == ("ConnectFailed", "not_now")


async def test_not_now_in_the_place_of_the_session_does_not_end_it() -> None:
    async def script(link: Link, number: int) -> None:
        if not number:
            await link.receive(1)
            await link.send(WELCOME)
        elif number == 1:
            await link.receive(2)
            await link.send([21, "not now"])
        else:
            await link.receive(2)
            await link.send([4, 0])
            await trio.sleep_forever()

    async with scripted(script) as server, open_page() as page:
        await page.log_in(server.port, "ann", "online")
        assert await page("wait", "online", 2) == [False, True]


async def test_another_key_is_not_trusted_and_nothing_is_told_to_it() -> None:
    keys = [KeyPair.generate(os.urandom) for _ in range(2)]
    told = []

    async def script(link: Link, number: int) -> None:
        if not number:
            await link.receive(1)
            await link.send(WELCOME)
        else:
            told.append(await link.receive(2))

    async with scripted(script, *keys) as server, open_page(speed=10) as page:
        await page.log_in(server.port, "ann", "end")
        end = await end_of(page)
        assert (end["name"], end["code"]) == ("ServerKeyMismatch", "server_key_mismatch")
        assert server.connections > 2
        assert told == []


async def test_a_server_that_selects_no_subprotocol_is_left() -> None:
    import trio_websocket

    async def serve(request: trio_websocket.WebSocketRequest) -> None:
        socket = await request.accept()
        await socket.aclose()

    async with trio.open_nursery() as nursery, open_page() as page:
        listening = await nursery.start(trio_websocket.serve_websocket, serve, "127.0.0.1", 0, None)
        with pytest.raises(PageError) as caught:
            await page.log_in(listening.port)
        assert caught.value.name == "ConnectFailed"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("hello", [[0, 10], [0, None, ["x"] * 65], [0, None, ["x" * 41]]], ids=str)
async def test_an_odd_hello_is_refused(hello: list[Any]) -> None:
    async def script(link: Link, number: int) -> None:
        await trio.sleep_forever()

    async with scripted(script, hello=hello) as server, open_page() as page:
        with pytest.raises(PageError) as caught:
            await page.log_in(server.port)
        assert (caught.value.name, caught.value.code) == ("ConnectFailed", "protocol_error")


async def test_without_features_nothing_of_them_is_taken() -> None:
    async with scripted(saying([22, "restart"]), hello=[0, None]) as server, open_page() as page:
        await page.log_in(server.port, "ann", "end")
        assert (await end_of(page))["code"] == "protocol_error"


# Bounds.

LONG = "x" * (256 * 1024)


async def test_unread_pushes_are_bounded_and_the_loop_is_told() -> None:
    async def script(link: Link, number: int) -> None:
        await link.receive(1)
        await link.send(WELCOME, GAME)
        for each in range(40):
            await link.send([9, "long", {"number": each, "text": LONG}])
        await link.send([9, "last", {}])
        await trio.sleep_forever()

    async with scripted(script) as server, open_page() as page:
        await page.log_in(server.port)
        await page("take", 1, "pushes", "last")
        await page("loop", "pushes", "long")
        [lost] = await page("wait", "pushes long", 1)
        assert (lost["name"], lost["code"]) == ("ItemsLost", "items_lost")
        assert "pushes came while nobody read them" in lost["message"]
        first, *_ = await page("take", 7, "pushes", "long")
        assert first["payload"]["number"] == 33


async def test_open_questions_are_bounded() -> None:
    questions: list[list[Any]] = [[13, number, "q", {}, None, 0.0] for number in range(1025)]
    async with scripted(saying(*questions)) as server, open_page() as page:
        await page.log_in(server.port, "ann", "end")
        assert "open questions: expected at most 1024" in (await end_of(page))["message"]


async def test_the_state_is_bounded_also_where_patches_make_it() -> None:
    async def script(link: Link, number: int) -> None:
        await link.receive(1)
        await link.send(WELCOME, GAME, [10, 1, {}])
        for base in range(1, 7):
            await link.send([11, base, base + 1, {f"key {base}": LONG}])
        await trio.sleep_forever()

    async with scripted(script) as server, open_page() as page:
        await page.log_in(server.port, "ann", "end")
        assert "bytes of a state: expected at most" in (await end_of(page))["message"]


async def test_patches_that_replace_each_other_are_no_larger_state() -> None:
    async def script(link: Link, number: int) -> None:
        await link.receive(1)
        await link.send(WELCOME, GAME, [10, 1, {}])
        for _ in range(4):
            for base, version in ((1, 2), (2, 3), (3, 1)):
                await link.send([11, base, version, {"key": LONG}])
        await link.send([9, "done", {}])
        await trio.sleep_forever()

    async with scripted(script) as server, open_page() as page:
        await page.log_in(server.port)
        await page("take", 1, "pushes", "done")
        assert await page("get", "connected")


async def test_players_are_bounded() -> None:
    players = [[f"player {number}", True] for number in range(40_000)]
    push = [9, "__pgnet__.players", {"players": players, "all": True}]
    async with scripted(saying(push)) as server, open_page() as page:
        await page.log_in(server.port, "ann", "end")
        assert "bytes of a game's players" in (await end_of(page))["message"]


async def test_a_patch_that_does_not_fit_is_made_good_by_the_whole_state() -> None:
    async def script(link: Link, number: int) -> None:
        await link.receive(1)
        await link.send(WELCOME, GAME, [10, 1, {"a": 1}], [11, 1, 2, {"b": {"c": 1}}])
        await link.receive(18)
        # What comes before the whole state is of no use.
        await link.send([11, 2, 3, {"a": 5}], [10, 4, {"a": 7}], [11, 4, 5, {"a": 8}])
        await trio.sleep_forever()

    async with scripted(script) as server, open_page() as page:
        await page.log_in(server.port, "ann", "state")
        assert await page("wait", "state", 3) == [{"a": 1}, {"a": 7}, {"a": 8}]


async def test_a_last_state_that_is_there_already_is_not_shown_again() -> None:
    envelopes: list[list[Any]] = [
        [10, 1, {"a": 1}],
        [12, 1, {"a": 1}],
        [16, None, 0.0, 0.0, "closed", "over"],
    ]
    async with scripted(saying(*envelopes)) as server, open_page() as page:
        await page.log_in(server.port, "ann", "state", "left")
        left = {"game": "table 1", "reason": "closed", "message": "over"}
        assert await page("wait", "left", 1) == [left]
        assert await page("list", "state") == [{"a": 1}]


async def test_a_question_that_nobody_has_read_is_gone_with_its_game() -> None:
    script = saying([13, 1, "q", {}, None, 0.0], [16, None, 0.0, 0.0, "kicked", "out"])
    async with scripted(script) as server, open_page() as page:
        await page.log_in(server.port, "ann", "left", "question")
        await page("wait", "left", 1)
        await page("loop", "questions")
        assert await page("wait", "questions", 1) == ["end"]
        assert (await page("question", 1))["isOpen"] is False


async def test_lost_pushes_are_counted() -> None:
    async with scripted(saying([9, "a", {}], [23, 7], [23, 2])) as server, open_page() as page:
        await page.log_in(server.port, "ann", "lostPushes")
        assert await page("wait", "lostPushes", 2) == [7, 2]
        assert await page("get", "lostPushes") == 9


async def test_announcements_are_told_and_unknown_pushes_of_the_server_are_ignored() -> None:
    script = saying(
        [9, "__pgnet__.announcement", {"text": "hello"}],
        [9, "__pgnet__.tomorrow", {}],
        [9, "a", {}],
    )
    async with scripted(script) as server, open_page() as page:
        await page.log_in(server.port, "ann", "announcement", "push")
        assert await page("wait", "push", 1) == [{"message": "a", "payload": {}}]
        assert await page("list", "announcement") == ["hello"]


async def test_too_much_that_waits_to_be_sent_is_refused() -> None:
    async with scripted(saying()) as server, open_page() as page:
        await page.log_in(server.port)
        with pytest.raises(PageError, match="wait for the server") as caught:
            for _ in range(2000):
                await page("tell", "x")
        assert (caught.value.name, caught.value.code) == ("QueueFull", "queue_full")


async def test_how_long_to_try_is_what_the_server_says() -> None:
    async def script(link: Link, number: int) -> None:
        if not number:
            await link.receive(1)
            await link.send([*WELCOME, b"", 1.0, 5.0])

    async with scripted(script, hello=HELLO) as server, open_page(speed=10) as page:
        await page.log_in(server.port, "ann", "end")
        began = trio.current_time()
        await end_of(page)
        assert trio.current_time() - began < 3

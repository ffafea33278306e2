"""A page that a server sends to another address, and one that has several addresses."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from pgnet_trio.crypto import KeyPair
from pgnet_trio.protocol.v2 import prove
from pgnet_trio.protocol.v2.features import FEATURES
from tests.web.node import needs_packages
from tests.web.page import PageError, open_page
from tests.web.scripted import HELLO, WELCOME, Link, Script, scripted

pytestmark = needs_packages

KEY, OTHER_KEY = KeyPair(bytes(range(32))), KeyPair(bytes(range(1, 33)))
TOKEN = bytes(32)
LOGIN_TOKEN = bytes(range(32))
GAME = [16, "table 1", 0.0, 0.0, "", ""]
QUESTION = [13, 7, "choose", {}, None, 0.0]
NOWHERE = "127.0.0.1:1"


def address_of(server: Any) -> str:
    return f"127.0.0.1:{server.port}"


async def resumed(link: Link, last_request: int) -> list[Any]:
    """Take a resume, and go on with the session; return what was said."""
    resume = await link.receive(2)
    assert resume[2] == prove(TOKEN, link.cipher.handshake_hash)
    await link.send([4, last_request])
    return resume


class Receiver:
    """Takes the session up, and answers what comes from then on.

    Args:
        last_request: What it says that it has.
    """

    def __init__(self, last_request: int = 0) -> None:
        self.last_request = last_request
        self.asked: list[str] = []
        self.resumes = 0
        self.paths: list[str] = []

    async def __call__(self, link: Link, number: int) -> None:
        self.paths.append(link.path)
        await resumed(link, self.last_request)
        self.resumes += 1
        if self.last_request:
            await link.send([8, self.last_request, 0, "done", {}])
        while True:
            request = await link.receive(7)
            self.asked.append(request[2])
            await link.send([8, request[1], 0, "done", {}])


def moving(to: str, *, takes: int = 0, then: Script | None = None) -> Script:
    """Let a page in and, after so many requests that have no answer, send it to an address."""

    async def script(link: Link, number: int) -> None:
        if number and then is not None:
            await then(link, number)
            return
        await link.receive(1)
        await link.send(WELCOME, GAME, QUESTION)
        for _ in range(takes):
            await link.receive(7)
        await link.send([25, to, "why"])

    return script


@pytest.mark.parametrize("taken", [False, True])
async def test_a_page_goes_where_its_session_goes_and_nobody_notices(taken: bool) -> None:
    receiver = Receiver(last_request=int(taken))
    async with (
        scripted(receiver, KEY) as there,
        scripted(moving(address_of(there), takes=1), KEY) as here,
        open_page() as page,
    ):
        await page("new", {"address": address_of(here), "username": "ann"})
        for event in ("online", "connection", "status", "question"):
            await page("on", event)
        await page("connect")
        # It is done once: here, or where it is sent again.
        assert (await page("call", "ask", {}))["message"] == "done"
        assert receiver.asked == ([] if taken else ["ask"])
        assert (await page("call", "more", {}))["message"] == "done"
        assert await page("list", "online") == []
        assert await page("list", "connection") == [True]
        assert (await page("question", 7))["isOpen"]
        assert await page("get", "game") == "table 1"
        assert f"Goes on at ws://{address_of(there)}/." in await page("list", "status")
        assert await page("sockets") == 2


async def test_a_page_that_never_comes_back_after_a_drop_goes_where_it_is_sent() -> None:
    receiver = Receiver()
    async with (
        scripted(receiver, KEY) as there,
        scripted(moving(address_of(there)), KEY) as here,
        open_page() as page,
    ):
        await page.log_in(here.port, "ann", "online", reconnectFor=0)
        await page("call", "ask", {})
        assert await page("list", "online") == []


async def test_a_page_is_sent_to_another_path_of_its_own_server() -> None:
    receiver = Receiver()
    async with scripted(moving("/node-3?x=1", then=receiver), KEY) as server, open_page() as page:
        await page.log_in(server.port)
        await page("call", "ask", {})
        assert receiver.paths == ["/node-3?x=1"]


@pytest.mark.parametrize("target", [NOWHERE, "//b", "ftp://b.example", "other"])
async def test_a_page_that_is_not_let_in_where_it_is_sent_goes_back(target: str) -> None:
    receiver = Receiver()
    impostor = Receiver()
    async with scripted(impostor, OTHER_KEY) as other:
        to = address_of(other) if target == "other" else target
        async with scripted(moving(to, then=receiver), KEY) as server, open_page() as page:
            await page.log_in(server.port, "ann", "online")
            await page("call", "ask", {})
            assert await page("list", "online") == [False, True]
            assert receiver.resumes == 1
            assert impostor.resumes == 0


async def test_servers_that_pass_a_page_on_without_an_end_are_not_followed_without_a_pause() -> (
    None
):
    times: list[float] = []

    async def passing_on(link: Link, number: int) -> None:
        times.append(trio.current_time())
        await resumed(link, 0)
        if number < 14:
            await link.send([25, "/other", "why"])
        else:
            await trio.sleep_forever()

    async with scripted(moving("/other", then=passing_on), KEY) as server, open_page() as page:
        await page.log_in(server.port, "ann", "online")
        assert await page("wait", "online", 2) == [False, True]
        # The 9th is taken for a drop.
        assert len(times) >= 9


async def test_a_page_that_is_left_while_it_is_moved_comes_back_there() -> None:
    reached = trio.Event()
    receiver = Receiver()

    async def there(link: Link, number: int) -> None:
        if not number:
            reached.set()
            await trio.sleep_forever()
        await receiver(link, number)

    async with (
        scripted(there, KEY) as server,
        scripted(moving(address_of(server)), KEY) as here,
        open_page() as page,
    ):
        await page.log_in(here.port, "ann", "status")
        await reached.wait()
        await page("tell_page", "hide")
        await page("tell_page", "show")
        await page("call", "ask", {})
        assert f"Goes on at ws://{address_of(server)}/." in await page("list", "status")
        assert server.connections == 2


# At a log-in


def sending_on(to: str, *more: bytes) -> Script:
    async def script(link: Link, number: int) -> None:
        await link.receive(1)
        await link.send([25, to, "why", *more])

    return script


async def test_a_log_in_at_the_wrong_server_leads_to_the_right_one() -> None:
    log_ins: list[list[Any]] = []

    async def letting_in(link: Link, number: int) -> None:
        log_ins.append(await link.receive(1))
        await link.send(WELCOME)
        await trio.sleep_forever()

    async with (
        scripted(letting_in, KEY) as there,
        scripted(sending_on(address_of(there), LOGIN_TOKEN), KEY) as here,
        open_page() as page,
    ):
        await page.log_in(here.port, password="secret")
        # The password goes to one server alone.
        assert log_ins == [[1, "ann", "", "", LOGIN_TOKEN]]


async def test_log_ins_that_are_sent_around_end() -> None:
    async with scripted(sending_on("/"), KEY) as server, open_page() as page:
        with pytest.raises(PageError, match="from one address to the next 8 times") as caught:
            await page.log_in(server.port, reconnectFor=0)
        assert caught.value.name == "ConnectFailed"
        assert server.connections == 9


async def test_a_page_that_is_sent_to_a_server_that_is_gone_asks_again_where_it_belongs() -> None:
    async def script(link: Link, number: int) -> None:
        log_in = await link.receive(1)
        if number < 3:
            await link.send([25, NOWHERE, "why", LOGIN_TOKEN])
        else:
            assert log_in == [1, "ann", "", "", LOGIN_TOKEN]
            await link.send(WELCOME)
            await trio.sleep_forever()

    async with scripted(script, KEY) as server, open_page() as page:
        await page.log_in(server.port, "ann", "status")
        assert "Not in yet: the connection was lost." in await page("list", "status")
        assert server.connections == 4


async def test_only_the_key_that_sent_a_page_away_is_taken_there() -> None:
    async def never(link: Link, number: int) -> None:
        await link.receive(1)
        raise AssertionError("the password went to another server")

    async with (
        scripted(never, OTHER_KEY) as there,
        scripted(sending_on(address_of(there)), KEY) as here,
        open_page() as page,
    ):
        with pytest.raises(PageError, match=r"the server's key is .*, expected") as caught:
            await page.log_in(here.port)
        assert caught.value.code == "server_key_mismatch"


async def test_a_move_that_is_not_in_use_breaks_the_rules() -> None:
    for without, more in (("moved", ()), ("token", (LOGIN_TOKEN,))):
        hello = [*HELLO[:2], sorted(FEATURES - {without})]
        script = sending_on("/b", *more)
        async with scripted(script, KEY, hello=hello) as server, open_page() as page:
            with pytest.raises(PageError):
                await page.log_in(server.port)
            assert server.connections == 1


# Several addresses


async def letting_in(link: Link, number: int) -> None:
    await link.receive(1)
    await link.send(WELCOME)
    await trio.sleep_forever()


async def test_a_page_gets_in_where_it_can() -> None:
    async def refusing(link: Link, number: int) -> None:
        await link.receive(1)
        await link.send([21, "later", "busy"])

    async with scripted(refusing, KEY) as busy, scripted(letting_in, KEY) as server:
        addresses = f"{NOWHERE},{address_of(busy)},{address_of(server)}"
        for _ in range(6):
            async with open_page() as page:
                await page("new", {"address": addresses, "username": "ann"})
                await page("connect")
        assert server.connections == 6


async def test_addresses_are_tried_in_random_order() -> None:
    async with scripted(letting_in, KEY) as one, scripted(letting_in, KEY) as other:
        async with open_page() as page:
            for number in range(30):
                name = f"ann{number}"
                address = f"{address_of(one)},{address_of(other)}"
                await page("new", {"address": address, "username": "ann", "name": name})
                await page("connect")
        assert one.connections > 2
        assert other.connections > 2


async def test_where_nobody_answers_the_error_names_what_went_wrong() -> None:
    async with open_page() as page:
        await page("new", {"address": f"{NOWHERE},127.0.0.1:2", "username": "ann"})
        with pytest.raises(PageError, match="the connection was lost; the connection was lost"):
            await page("connect")
        assert await page("sockets") == 2


async def test_who_is_refused_at_one_address_is_refused() -> None:
    async def refusing(link: Link, number: int) -> None:
        await link.receive(1)
        await link.send([6, "You are banned."])

    async with scripted(refusing, KEY) as one, scripted(refusing, KEY) as other:
        async with open_page() as page:
            address = f"{address_of(one)},{address_of(other)}"
            await page("new", {"address": address, "username": "ann"})
            with pytest.raises(PageError, match=r"You are banned\."):
                await page("connect")
        assert one.connections + other.connections == 1


async def test_a_page_comes_back_at_another_of_its_addresses() -> None:
    dead: list[str] = []
    resumes: list[str] = []

    def node(name: str) -> Script:
        async def script(link: Link, number: int) -> None:
            if name in dead:
                return
            if (await link.receive(1, 2))[0] == 1:
                dead.append(name)
                await link.send(WELCOME)
                return
            resumes.append(name)
            await link.send([4, 0])
            await trio.sleep_forever()

        return script

    async with scripted(node("one"), KEY) as one, scripted(node("other"), KEY) as other:
        async with open_page() as page:
            address = f"{address_of(one)},{NOWHERE},{address_of(other)}"
            await page("new", {"address": address, "username": "ann"})
            await page("on", "online")
            await page("connect")
            assert await page("wait", "online", 2) == [False, True]
            assert {*dead, *resumes} == {"one", "other"}


async def test_a_page_comes_back_at_an_address_that_it_was_moved_to() -> None:
    async def last(link: Link, number: int) -> None:
        if not number:
            await resumed(link, 0)

    async with scripted(last, KEY) as third:

        async def middle(link: Link, number: int) -> None:
            await resumed(link, 0)
            if number:
                await trio.sleep_forever()
            await link.send([25, address_of(third), "why"])

        async def nothing(link: Link, number: int) -> None:
            return

        async with (
            scripted(middle, KEY) as second,
            scripted(moving(address_of(second), then=nothing), KEY) as first,
            open_page() as page,
        ):
            await page("new", {"address": address_of(first), "username": "ann"})
            await page("on", "online")
            await page("connect")
            assert await page("wait", "online", 2) == [False, True]
            assert second.connections == 2


async def test_an_address_at_which_nobody_is_costs_no_pause_as_long_as_there_are_others() -> None:
    async def script(link: Link, number: int) -> None:
        kind, *_ = await link.receive(1, 2)
        if number != 1:
            await link.send(WELCOME if kind == 1 else [4, 0])
        if number == 2:
            await trio.sleep_forever()

    async with scripted(script, KEY) as server, open_page() as page:
        nobody = ",".join(f"127.0.0.{number}:1" for number in range(2, 42))
        await page("new", {"address": f"{nobody},{address_of(server)}", "username": "ann"})
        await page("on", "online")
        await page("connect")
        # With a pause after each of them, this would most likely take a minute.
        with trio.fail_after(10):
            assert await page("wait", "online", 2) == [False, True]


async def test_an_address_to_which_the_page_may_not_connect_is_one_that_does_not_answer() -> None:
    for _ in range(6):
        receiver = Receiver()

        async def script(link: Link, number: int, receiver: Receiver = receiver) -> None:
            if number == 0:
                await link.receive(1)
                await link.send(WELCOME)
            elif number > 1:
                await receiver(link, number)

        async with scripted(script, KEY) as server, open_page(blocked="b.example") as page:
            address = f"{address_of(server)},wss://b.example"
            await page("new", {"address": address, "username": "ann"})
            await page("connect")
            await page("call", "ask", {})
            assert receiver.asked == ["ask"]


async def test_an_address_that_is_silent_does_not_take_long() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    with listener.socket:
        silent = f"127.0.0.1:{listener.socket.getsockname()[1]}"
        async with scripted(letting_in, KEY) as server, open_page(speed=5) as page:
            told = f"Not in yet: ws://{silent}/ did not answer within 5 s."
            statuses: list[str] = []
            # Which one is tried first is left to chance.
            while told not in statuses:
                address = f"{silent},{address_of(server)}"
                await page("new", {"address": address, "username": "ann"})
                await page("on", "status")
                await page("connect")
                statuses = await page("list", "status")

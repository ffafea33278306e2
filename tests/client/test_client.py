"""What authors of clients rely on: requests, callbacks, ordered events, bare errors."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import traceback
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from pgnet_trio import (
    AddressError,
    Bot,
    Client,
    CodecError,
    ConnectFailed,
    CryptoError,
    Disconnected,
    Entered,
    Game,
    GameInfo,
    Left,
    LoginRefused,
    Packet,
    PGNetError,
    Request,
    RequestFailed,
    Response,
    SendQueueFull,
    Server,
    ServerKeyMismatch,
    on,
)
from pgnet_trio.client.address import Address, parse_address
from pgnet_trio.client.connector import RemoteConnector, unreached
from pgnet_trio.client.outbox import MAX_QUEUED
from pgnet_trio.client.server_key import fetch_server_key
from pgnet_trio.protocol.v2.states import WINDOW
from pgnet_trio.server.limits import Limits
from pgnet_trio.testing import HostedServer, SimulatedNetwork, hosting
from pgnet_trio.transport import choose
from tests.kit.hosting import Recorder, cheap_environment, hosting_faults, socket_client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def at_table(game: type[Game] = Recorder, *, protocol: int = 2) -> AsyncIterator[Client]:
    async with hosting(game) as server, server.client("ann", protocol=protocol) as ann:
        await ann.create_game("table 1")
        yield ann


class Gate(Recorder):
    """Answers "wait" only when its gate is open."""

    gate: trio.Event

    async def handle_packet(self, packet: Packet, /) -> Response:
        if packet.message == "wait":
            await self.gate.wait()
        return self.handle_game_packet(packet)


def gated() -> type[Gate]:
    return type("OpenableGate", (Gate,), {"gate": trio.Event()})


async def test_many_tasks_may_ask_at_the_same_time() -> None:
    answers: dict[int, Any] = {}

    async def ask(n: int) -> None:
        answers[n] = (await ann.request(Packet("n", {"n": n}))).payload["n"]

    async with at_table() as ann, trio.open_nursery() as nursery:
        for n in range(50):
            nursery.start_soon(ask, n)
    assert answers == {n: n for n in range(50)}


async def test_callbacks_get_their_answers_in_order_and_may_ask_themselves() -> None:
    got: list[str] = []
    done = trio.Event()

    async def callback(response: Response) -> None:
        got.append(response.message)
        got.append((await ann.request(Packet("inner"))).message)
        done.set()

    async with at_table() as ann:
        ann.send(Packet("one"), lambda response: got.append(response.message))
        ann.send(Packet("two"))
        ann.send(Packet("three"), callback)
        await done.wait()
    assert got == ["ann: one", "ann: three", "ann: inner"]


async def test_do_next_goes_before_what_waits() -> None:
    got: list[str] = []
    done = trio.Event()

    def note(response: Response) -> None:
        got.append(response.message)
        if len(got) == 4:
            done.set()

    game = gated()
    async with at_table(game, protocol=1) as ann:
        for message in ("wait", "first", "second"):
            ann.send(Packet(message), note)
        ann.send(Packet("urgent"), note, do_next=True)
        game.gate.set()
        await done.wait()
    assert got == ["ann: wait", "ann: urgent", "ann: first", "ann: second"]


async def test_those_that_are_done_next_keep_their_order() -> None:
    got: list[str] = []
    done = trio.Event()

    def note(response: Response) -> None:
        got.append(response.message)
        if len(got) == 5:
            done.set()

    game = gated()
    async with at_table(game, protocol=1) as ann, trio.open_nursery() as nursery:
        ann.send(Packet("wait"), note)
        ann.send(Packet("last"), note)
        # Of these, the second is withdrawn before it is sent.
        ann.send(Packet("urgent 1"), note, do_next=True)
        with trio.CancelScope() as scope:
            scope.cancel()
            await ann._run.request(Packet("withdrawn"), do_next=True)
        for number in (2, 3):
            ann.send(Packet(f"urgent {number}"), note, do_next=True)
        nursery.start_soon(done.wait)
        game.gate.set()
    assert got == [f"ann: {text}" for text in ("wait", "urgent 1", "urgent 2", "urgent 3", "last")]


async def test_flushing_forgets_what_was_not_sent() -> None:
    got: list[str] = []
    game = gated()
    async with (
        at_table(game, protocol=1) as ann,
        trio.open_nursery() as nursery,
    ):
        ann.send(Packet("wait"), lambda response: got.append(response.message))
        ann.send(Packet("never sent"), lambda response: got.append(response.message))
        nursery.start_soon(ann.request, Packet("waited for"))
        await wait_all_tasks_blocked()
        ann.flush_queue()
        game.gate.set()
        await ann.request(Packet("last"))
        await wait_all_tasks_blocked()
    assert got == ["ann: wait"]


async def test_a_cancelled_request_shifts_no_answer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    game = gated()
    async with at_table(game) as ann, trio.open_nursery() as nursery:
        for message in ("wait", "in the queue"):
            nursery.start_soon(ann.request, Packet(message))
            await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    async with at_table(game) as ann:
        with trio.move_on_after(0):
            await ann.request(Packet("wait"))
        game.gate.set()
        assert (await ann.request(Packet("next"))).message == "ann: next"


async def test_events_come_in_the_order_of_the_original() -> None:
    calls: list[tuple[str, Any]] = []
    async with hosting(Recorder) as server:
        ann = server.client("ann")
        ann.on_connection = lambda connected: calls.append(("on_connection", connected))
        ann.on_status = lambda status: calls.append(("on_status", status))
        ann.on_game = lambda game: calls.append(("on_game", game))
        async with ann:
            await wait_all_tasks_blocked()
            calls.clear()
            ann.create_game("table 1", callback=lambda r: calls.append(("callback", r.game)))
            await wait_all_tasks_blocked()
            assert calls == [
                ("on_status", "In the game 'table 1'."),
                ("on_game", "table 1"),
                ("callback", "table 1"),
            ]
            calls.clear()
        assert calls == [
            ("on_connection", False),
            ("on_status", "Disconnected: disconnected by this client"),
        ]
        assert (ann.connected, ann.game, ann.close_reason) == (
            False,
            None,
            "disconnected by this client",
        )


class Shown(Recorder):
    """Has something to watch."""

    def view(self) -> dict[str, int]:
        return {"round": 1}


async def test_the_status_says_who_only_watches() -> None:
    seen: list[str] = []
    async with hosting(Shown) as server, server.client("ann") as ann, server.client("eve") as eve:
        await ann.create_game("table 1")
        eve.on_status = seen.append
        await eve.join_game("table 1", spectate=True)
        await wait_all_tasks_blocked()
        await eve.leave_game()
        await eve.join_game("table 1")
        await wait_all_tasks_blocked()
    assert seen[:4] == [
        "In the game 'table 1'.",
        "Watching the game 'table 1'.",
        "In no game.",
        "In the game 'table 1'.",
    ]


async def test_queued_forms_of_the_four_requests() -> None:
    got: list[Response] = []
    async with hosting(Recorder) as server, server.client("ann") as ann:
        ann.join_game("table 1", password="x", callback=got.append)
        await wait_all_tasks_blocked()
        ann.get_game_dir(got.append)
        await wait_all_tasks_blocked()
        ann.leave_game(callback=None)
        await wait_all_tasks_blocked()
        assert ann.game is None
        assert await ann.get_game_dir() == {}
    assert got[0].game == "table 1"
    assert got[1].payload["games"]["table 1"]["password_protected"] is True


async def test_refusals_raise_with_the_response() -> None:
    async with hosting(Recorder) as server, server.client("ann") as ann:
        for asked in (ann.leave_game(), ann.create_game("x"), ann.join_game("")):
            with pytest.raises(RequestFailed) as caught:
                await asked
            assert caught.value.response.status == 2
        await ann.create_game("table 1")
        assert await ann.get_game_dir() == {"table 1": GameInfo("table 1", 1, False, "")}


async def test_what_cannot_travel_fails_where_it_was_asked() -> None:
    game = gated()
    async with at_table(game) as ann, trio.open_nursery() as nursery:
        with pytest.raises(CodecError, match="x"):
            await ann.request(Packet("move", {"x": object()}))
        nursery.start_soon(ann.request, Packet("wait"))
        await wait_all_tasks_blocked()
        with pytest.raises(CodecError, match="x"):
            ann.send(Packet("move", {"x": float("nan")}))
        game.gate.set()


async def test_sending_without_a_connection_warns_and_asking_raises(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ann = Client.local(game=Recorder, username="ann")
    ann.send(Packet("hello"))
    ann.flush_queue()
    ann.disconnect()
    assert "dropped" in caplog.text
    with pytest.raises(Disconnected):
        await ann.request(Packet("hello"))


async def test_the_queue_is_bounded(autojump_clock: trio.testing.MockClock) -> None:
    game = gated()
    async with at_table(game) as ann:
        with pytest.raises(SendQueueFull):
            # Some have left already, as far as the window allows.
            for _ in range(MAX_QUEUED + WINDOW + 1):
                ann.send(Packet("wait"))
        game.gate.set()


async def test_whoever_waits_hears_that_the_connection_ended(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with hosting(gated()) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        async with trio.open_nursery() as waiting:
            waiting.start_soon(_expect_disconnected, ann, "wait")
            await wait_all_tasks_blocked()
            waiting.start_soon(_expect_disconnected, ann, "in the queue")
            await wait_all_tasks_blocked()
            ann.disconnect()
        assert not ann.connected


async def _expect_disconnected(client: Client, message: str) -> None:
    with pytest.raises(Disconnected):
        await client.request(Packet(message))


async def test_the_end_of_a_connection_does_not_cancel_the_body() -> None:
    async with hosting(Recorder) as server, server.client("ann") as ann:
        ann.disconnect()
        await trio.lowlevel.checkpoint()
        assert not ann.connected
        with pytest.raises(Disconnected):
            await ann.request(Packet("hello"))


async def test_the_body_keeps_its_own_errors() -> None:
    async with hosting(Recorder) as server:
        for error in (KeyError("x"), ExceptionGroup("mine", [ValueError("y")])):
            with pytest.raises(type(error)) as caught:
                async with server.client("ann"):
                    raise error
            assert caught.value is error
            await wait_all_tasks_blocked()


async def test_a_callback_that_raises_ends_the_client_with_its_error() -> None:
    def callback(response: Response) -> None:
        raise ZeroDivisionError

    async with hosting(Recorder) as server:
        ann = server.client("ann")
        with pytest.raises(ZeroDivisionError):
            async with ann:
                ann.send(Packet("hello"), callback)
                await trio.sleep_forever()
        assert not ann.connected
        ann.on_status = callback
        await wait_all_tasks_blocked()
        with pytest.raises(ZeroDivisionError):
            await ann.run()


async def test_run_is_the_same_in_the_background_and_may_be_repeated() -> None:
    async with hosting(Recorder) as server:
        ann = server.client("ann")
        for _ in range(2):
            async with trio.open_nursery() as nursery:
                assert await nursery.start(ann.run) is ann
                assert ann.connected
                with pytest.raises(RuntimeError, match="in use"):
                    await ann.run()
                ann.disconnect()
            await wait_all_tasks_blocked()
        assert ann.close_reason == "disconnected by this client"


async def test_heartbeats_come_at_the_games_rate(autojump_clock: trio.testing.MockClock) -> None:
    beats: list[Response] = []

    class Beating(Game):
        heartbeat_rate = 4

        def handle_heartbeat(self, packet: Packet, /) -> Response:
            return Response("beat", packet.payload)

    class Listener(Client):
        def on_heartbeat(self, response: Response) -> None:
            beats.append(response)

        def heartbeat_payload(self) -> dict[str, Any]:
            return {"count": len(beats)}

    def cheap_server(game: type[Game], **options: Any) -> Server:
        return Server(game, environment=cheap_environment(), **options)

    ann = Listener.local(game=Beating, username="ann", server_factory=cheap_server)
    async with ann:
        await trio.sleep(2)
        assert beats == []
        await ann.create_game("table 1")
        await trio.sleep(1.1)
        assert [beat.payload["count"] for beat in beats] == [0, 1, 2, 3]
        await ann.leave_game()
        await trio.sleep(2)
        assert len(beats) == 4


async def test_a_local_client_may_be_quiet(autojump_clock: trio.testing.MockClock) -> None:
    def cheap_server(game: type[Game], **options: Any) -> Server:
        return Server(game, environment=cheap_environment(), **options)

    async with Client.local(game=Recorder, username="ann", server_factory=cheap_server) as ann:
        await trio.sleep(3600)
        assert ann.connected
        await ann.create_game("table 1")


async def test_a_local_client_opens_a_port_for_others_if_asked() -> None:
    servers: list[Server] = []

    def factory(game: type[Game], **options: Any) -> Server:
        assert options == {
            "listen_globally": False,
            "registration_enabled": True,
            "require_user_password": False,
        }
        servers.append(Server(game, environment=cheap_environment(), **options))
        return servers[0]

    ann = Client.local(game=Recorder, username="ann", port=0, server_factory=factory)
    async with ann:
        await ann.create_game("table 1")
        async with socket_client(servers[0], "bob") as bob:
            await bob.join_game("table 1")
            assert (await bob.get_game_dir())["table 1"].users == 2
    assert servers[0].port is None


@pytest.mark.parametrize("transport", ["websockets", "trio-websocket"])
async def test_remote_clients_over_real_sockets(transport: str) -> None:
    async with hosting(Recorder, port=0, transport=transport) as server:
        ann = Client.remote(
            address=f"127.0.0.1:{server.port}",
            username="ann",
            password="pw",
            verify_server_pubkey=server.pubkey,
            transport=transport,
        )
        async with ann:
            await ann.create_game("table 1")
            answer = await ann.request(Packet("hello", {"n": -(2**63)}))
            assert answer.payload == {"n": -(2**63)}
        assert "pw" not in repr(ann)


async def test_a_server_with_another_key_is_told_nothing() -> None:
    async with hosting(Recorder, port=0) as server:
        ann = Client.remote(
            address="localhost",
            port=server.port or 0,
            username="ann",
            verify_server_pubkey=HostedServer(Recorder, network=SimulatedNetwork(1)).pubkey,
        )
        with pytest.raises(ServerKeyMismatch):
            async with ann:
                pass
        assert not ann.connected
        async with server.client("ann"):
            pass


@pytest.mark.parametrize(
    ("key", "hint"),
    [("SHA256:vjU4bgo5WoyKHmHsA1c2p06HEGIIMcq3w/lLa7sD3M0", "this is a fingerprint"), ("mg8", "")],
)
def test_what_is_no_key_is_refused_before_anybody_connects(key: str, hint: str) -> None:
    with pytest.raises(CryptoError, match=f"expected a public key, 32 bytes.*{hint}"):
        Client.remote(address="localhost", username="ann", verify_server_pubkey=key)


async def test_a_subclass_may_have_names_of_its_own() -> None:
    class Screen(Client):
        """Has for its own what the inside of a client is about."""

        set_status = session_opened = session_lost = session_ended = "text"
        online_changed = take_event = None

    async with hosting(Recorder) as server:
        ann = server.client("ann", client_class=Screen)
        async with ann:
            await ann.create_game("table 1")
            assert (await ann.request(Packet("hello"))).message == "ann: hello"
            server.network.drop("ann")
            assert (await ann.request(Packet("hello"))).message == "ann: hello"
        assert ann.status.startswith("Disconnected")


IMPLEMENTATIONS = ["websockets", "trio-websocket"]


async def test_nobody_there() -> None:
    with trio.socket.socket() as taken:
        await taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        told = (
            f"No server was reached at 127.0.0.1:{port}: connection refused. Is a server running "
            "there?"
        )
        for transport in IMPLEMENTATIONS:
            client = Client.remote(
                address="127.0.0.1", port=port, username="ann", transport=transport
            )
            with pytest.raises(ConnectFailed) as caught:
                await client.run()
            assert str(caught.value) == told
            assert client.status.startswith("Disconnected")
            with pytest.raises(ConnectFailed) as caught:
                await fetch_server_key("127.0.0.1", port=port, transport=transport)
            assert str(caught.value) == told
            # Two tracebacks, of which the second says where the program is.
            shown = "".join(traceback.format_exception(caught.value))
            assert shown.count("Traceback") == 2
            assert isinstance(caught.value.__cause__, ConnectionRefusedError)


def several(*errors: OSError) -> OSError:
    """Make the error of Trio where a name has several addresses."""
    failed = OSError("all attempts to connect failed")
    failed.__cause__ = ExceptionGroup("all attempts to connect failed", errors)
    return failed


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.EHOSTUNREACH, "Error connecting to 10.0.0.1"), "no route to host."),
        (
            socket.gaierror(-2, "Name or service not known"),
            "name or service not known. Is the name right?",
        ),
        (ssl.SSLError(1, "[SSL] wrong version number."), "[SSL] wrong version number."),
        (trio.BrokenResourceError("HTTP 404"), "HTTP 404."),
        (
            several(
                ConnectionRefusedError(errno.ECONNREFUSED, "Error connecting to ::1"),
                ConnectionRefusedError(errno.ECONNREFUSED, "Error connecting to 127.0.0.1"),
                OSError(errno.ENETUNREACH, "Error connecting to 10.0.0.1"),
            ),
            "connection refused; network is unreachable. Is a server running there?",
        ),
    ],
)
def test_why_no_server_was_reached(error: Exception, told: str) -> None:
    failure = unreached(RemoteConnector(parse_address("example.org:5", 1), choose(None)), error)
    assert str(failure) == f"No server was reached at example.org:5: {told}"


async def test_somebody_silent_there(socket_clock: trio.testing.MockClock) -> None:
    with trio.socket.socket() as silent:
        await silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        client = Client.remote(address="127.0.0.1", port=port, username="ann")
        with pytest.raises(ConnectFailed, match="did not answer"):
            await client.run()


async def test_refused_log_ins_come_out_bare() -> None:
    async with hosting(Recorder, registration_enabled=False) as server:
        with pytest.raises(LoginRefused, match="invite"):
            await server.client("ann").run()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("example.org", Address("example.org", 38929)),
        ("example.org:5", Address("example.org", 5)),
        ("[::1]:5", Address("::1", 5)),
        ("::1", Address("::1", 38929)),
        ("fe80::1%eth0", Address("fe80::1%eth0", 38929)),
        ("[fe80::1%eth0]:5", Address("fe80::1%eth0", 5)),
        ("fe80::1%25", Address("fe80::1%25", 38929)),
        # In a URL the percent sign is encoded (RFC 6874), and not everybody does that.
        ("ws://[fe80::1%25eth0]", Address("fe80::1%eth0", 80)),
        ("ws://[fe80::1%eth0]:5", Address("fe80::1%eth0", 5)),
        ("ws://[fe80::1%25]:5", Address("fe80::1%25", 5)),
        ("ws://[fe80::1%2525]:5", Address("fe80::1%25", 5)),
        ("ws://example.org", Address("example.org", 80)),
        ("wss://example.org/game?x=1", Address("example.org", 443, "/game?x=1", tls=True)),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert parse_address(text, 38929) == address


@pytest.mark.parametrize(
    "text", ["", ":5", "a:b", "a:99999", "http://x", "x/y", "ws://me@x", "[::1", "a b://"]
)
def test_what_is_no_address(text: str) -> None:
    for kind in (ValueError, PGNetError, AddressError):
        with pytest.raises(kind, match="is no address"):
            Client.remote(address=text, username="ann")


def test_under_asyncio_it_says_how_to_start() -> None:
    ann = Client.local(game=Game, username="ann")

    async def enter() -> None:
        async with ann:
            pass

    for start in (enter, ann.run, Server(Game).serve, lambda: fetch_server_key("localhost")):
        with pytest.raises(RuntimeError, match=r"start the program with trio\.run\(main\)"):
            asyncio.run(start())
    # It has done no harm.
    trio.run(enter)


@pytest.mark.parametrize(
    ("port", "error"), [(0, ValueError), (-1, ValueError), (99999, ValueError), ("80", TypeError)]
)
def test_what_is_no_port_to_connect_to(port: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"^port: expected a whole number from 1 to 65535; got "):
        Client.remote(address="localhost", username="ann", port=port)


def test_what_is_no_port_of_a_local_server() -> None:
    with pytest.raises(ValueError, match=r"^port: expected .* from 0 to 65535, or None"):
        Client.local(game=Game, username="ann", port=99999)


async def test_how_one_got_out_of_a_game_as_far_as_protocol_1_tells() -> None:
    class Inn(Recorder):
        persistent = True

        def handle_game_packet(self, packet: Packet, /) -> Response:
            if packet.message == "kick bob":
                self.room.kick("bob")
            return super().handle_game_packet(packet)

    reasons: list[str] = []

    def note(game: str | None) -> None:
        if game is None:
            assert bob.left is not None
            reasons.append(bob.left.reason)

    async with (
        hosting(Inn) as server,
        server.client("ann", protocol=1) as ann,
        server.client("bob", protocol=1) as bob,
    ):
        bob.on_game = note
        events = bob.events()
        await ann.join_game("table 1")
        await bob.join_game("table 1")
        await bob.leave_game()
        assert bob.left == Left("table 1", "left", "")
        # The game's answer says why.
        await bob.join_game("table 1")
        await bob.request(Packet("out"))
        assert bob.left == Left("table 1", "kicked", "bye")
        # The server's answer to the next message does not, whatever that is.
        for packet in (Packet("move"), Packet(Request.GAME_DIR)):
            await bob.join_game("table 1")
            await ann.request(Packet("kick bob"))
            await bob.request(packet)
            assert bob.left == Left("table 1", "kicked", "")
            assert bob.game is None
        await bob.join_game("table 1")
        await ann.request(Packet("kick bob"))
        await bob.join_game("table 2")
        assert bob.left == Left("table 1", "kicked", "")
        assert bob.game == "table 2"
        bob.disconnect()
        assert [event async for event in events] == [
            Entered("table 1"),
            Left("table 1", "left", ""),
            Entered("table 1"),
            Left("table 1", "kicked", "bye"),
            *(2 * [Entered("table 1"), Left("table 1", "kicked", "")]),
            Entered("table 1"),
            Left("table 1", "kicked", ""),
            Entered("table 2"),
        ]
    assert reasons == ["left", *(3 * ["kicked"])]


async def test_requests_named_by_the_enumeration_are_text() -> None:
    async with at_table() as ann:
        assert (await ann.request(Packet("__pgnet__.help"))).payload.keys() == (
            await ann.request(Packet(Request.HELP))
        ).payload.keys()


@pytest.mark.parametrize(
    ("name", "meant"),
    [("on_pushes", "on_push"), ("on_states", "on_state"), ("on_connected", "on_connection")],
)
def test_an_event_that_is_misspelt_is_told_at_once(name: str, meant: str) -> None:
    told = rf"\.{name}: a client has no such event; did you mean {meant}\?"
    client = Client.remote(address="localhost", username="ann")
    with pytest.raises(AttributeError, match=f"^Client{told}"):
        setattr(client, name, print)
    for kind in Client, Bot:
        with pytest.raises(TypeError, match=f"^Screen{told}"):
            type("Screen", (kind,), {name: lambda self, item: None})


def test_a_client_may_have_attributes_of_its_own() -> None:
    class Screen(Client):
        on_pushes: Any = None

        def show(self) -> Any:
            return self.on_pushes

        on_closing_time = print

    client = Screen.remote(address="localhost", username="ann")
    client.on_pushes = client.on_done = client.nickname = print
    assert client.show() is print


class NameOnly(Game):
    def __init__(self, name: str) -> None: ...


class WithDeck(Game):
    def __init__(self, name: str, save_string: str | None, deck: int) -> None: ...


def test_a_game_that_the_server_could_not_make_is_refused_with_the_server() -> None:
    for game in NameOnly, WithDeck:
        with pytest.raises(TypeError, match=r"__init__ has to take \(self, name, save_string=None"):
            Client.local(game=game, username="ann")
        with pytest.raises(TypeError, match=r"__init__ has to take"):
            HostedServer(game)
    with pytest.raises(TypeError, match=r"has to take \(name, save_string=None\)"):
        Server(partial(NameOnly))
    Server(lambda name, save_string: NameOnly(name))
    Server(partial(WithDeck, deck=52))
    Server(Recorder)


def test_a_misspelt_option_or_attribute_of_a_server_is_told_with_the_right_one() -> None:
    with pytest.raises(
        TypeError, match=r"^Server\(\) has no option 'max_conections' \(did you mean"
    ):
        Server(Recorder, max_conections=5)
    with pytest.raises(TypeError, match=r"no option 'sve_file' \(did you mean 'save_file'\?\)"):
        Server(Recorder, sve_file="a")
    # Limits are options of the server, each by its name.
    with pytest.raises(TypeError, match=r"no option 'limits'$"):
        Server(Recorder, limits=Limits())
    server = Server(Recorder)
    with pytest.raises(AttributeError, match="did you mean registration_enabled"):
        server.registration_enable = False
    server.of_my_own = 5
    server.registration_enabled = False


@attrs.frozen
class Do:
    what: str


class Slip(Game):
    """Has the same mistake in whatever its options name."""

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.slip("init")

    def slip(self, place: str) -> None:
        if place == self.room.options.get("place"):
            self.missing += 1  # type: ignore[attr-defined]  # the mistake

    def user_joined(self, username: str, /) -> None:
        self.slip("join")

    def view(self) -> dict[str, Any]:
        self.slip("view")
        return {}

    @on(Do)
    def do(self, player: str, message: Do) -> None:
        self.slip("handler")

    def handle_game_packet(self, packet: Packet, /) -> Response:
        self.slip("packet")
        return Response("")

    async def run(self) -> None:
        players = await self.room.wait_players(1)
        with suppress(AttributeError):
            await self.room.ask(players[0], Do("it"), Do, check=lambda answer: self.slip("check"))
        await trio.sleep_forever()


async def play_slip(client: Client, place: str) -> None:
    await client.create_game("table 1", options={"place": place})
    await client.call(Do("it"))
    (await client.request(Packet("it"))).raise_for_status()
    await (await anext(client.questions())).answer(Do("it"))


@pytest.mark.parametrize("place", ["init", "join", "view", "handler", "packet", "check"])
async def test_a_mistake_in_a_game_of_the_same_process_is_the_cause_of_the_refusal(
    place: str,
) -> None:
    def cheap_server(game: type[Game], **options: Any) -> Server:
        return Server(game, environment=cheap_environment(), **options)

    async with Client.local(game=Slip, username="ann", server_factory=cheap_server) as ann:
        with pytest.raises(RequestFailed, match="The game") as caught:
            await play_slip(ann, place)
        cause = caught.value.__cause__
        assert isinstance(cause, AttributeError)
        assert "self.missing += 1" in "".join(traceback.format_exception(cause))
        # What is refused for another reason has no such cause.
        with pytest.raises(RequestFailed) as caught:
            await ann.join_game("nobody has such a long name for a game, since it is refused")
        assert caught.value.__cause__ is None


@pytest.mark.parametrize("place", ["init", "join", "handler", "packet"])
async def test_whoever_plays_elsewhere_is_told_where_to_look(place: str) -> None:
    async with hosting_faults(Slip, AttributeError) as server, server.client("ann") as ann:
        with pytest.raises(RequestFailed, match="the server's log says why") as caught:
            await play_slip(ann, place)
        assert caught.value.__cause__ is None

"""What others wrote reaches a log as one short printable line, whoever they are."""

from __future__ import annotations

import ast
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from pgnet_trio import Client, ConnectFailed, Game, Packet, Request, RequestFailed, Response, on
from pgnet_trio.foreign_text import MAX_SHOWN, make_tracebacks_printable, one_line, printable
from pgnet_trio.protocol import v1, v2
from pgnet_trio.protocol.events import Goodbye, LoginRefusal
from pgnet_trio.protocol.v2.client_delivery import ClientDelivery
from pgnet_trio.server.sessions.session import MAX_VERBOSE
from pgnet_trio.testing import HostedServer, hosting
from tests.kit.hosting import Recorder, hosting_faults
from tests.kit.protocol_pair import Session

if TYPE_CHECKING:
    from collections.abc import Iterator

    import trio

    from pgnet_trio.transport import Transport

PACKAGE = Path(__file__).parent.parent.parent / "pgnet_trio"

HOSTILE = (
    "x\r\n2026-01-01 00:00:00 INFO admin logged in from 127.0.0.1\x1b[2J\x1b]0;mine\x07"
    "\x9b1m\u202egnp\u2066\u200b\u2028\ttab\x00\x7f"
)
FORGED = "\n2026-01-01"

# Longer than any line that a game or the package itself writes.
LONGEST_LINE = 2 * MAX_SHOWN + 1000
LONGEST_VERBOSE_LINE = MAX_VERBOSE + 100

# What log lines show that is ours: by its source, and why it needs no care.
OURS = {
    # Numbers, constants, and words that this package chose.
    "len(games)": "a number",
    "level": "a level",
    "_EXPIRED": "our words",
    "type(error).__name__": "the name of a class",
    "error_id(error)": "letters and digits",
    "error_id(group)": "letters and digits",
    "view": "the name of an author's method",
    "SCHEMA_VERSION": "a number",
    "version": "a number",
    "dropped": "a number",
    "unsent": "a number",
    "told.unsaid": "a number",
    "trio.current_time() - since": "a number",
    "MAX_LOADS": "a number",
    "EXIT_STATUS": "a number",
    "interval": "a number",
    "seconds": "a number",
    "waited": "a number",
    "lease.node": "a number",
    "drain_wait": "a number",
    "turns.longest": "a number",
    "ticks.missed": "a number",
    "ticks.due": "a number",
    "ticks.longest": "a number",
    "rate": "a number",
    "more": "our words, and a number",
    "advice": "our words",
    "tree.dump()": "lines that were made fit one by one",
    "error.strerror": "words of the operating system",
    "context.options.resume_grace": "a number",
    "len(self._saved.users)": "a number",
    "len(reloaded.moved)": "a number",
    "len(reloaded.kept)": "a number",
    "self.shutdown.exit_code": "a number",
    "logging.INFO if again else logging.WARNING": "a level",
    "logging.WARNING if looks_saved else logging.INFO": "a level",
    "logging.DEBUG if connection.closed_by_peer else logging.INFO": "a level",
    "self._route.current.status_level": "a level",
    "_switch(saved.registration)": "on or off",
    "'deleted' if aside is None else 'replaced by another file'": "our words",
    "self": "a server, whose repr has no foreign part",
    # Where a connection comes from, as the operating system says it.
    "self._peer": "an address",
    "transport.peer": "an address",
    # Or as a trusted proxy says it; then it was read, and written anew.
    "place.peer": "an address",
    # Names that were checked before anything was made under them.
    "bot.username": "the name of a bot, which the author chose",
    "session.username": "the name of a user who is logged in",
    "self.username": "the name of a user who is logged in",
    "username": "the name of a user who is logged in",
    "event.username": "the name of a session's user, which the proof confirmed",
    "saved": "the checked names of games, and an error that was made fit",
    "turn.player.username": "the name of a user who is logged in",
    "room.name": "the checked name of a game",
    "self.name": "the checked name of a game",
    "self._game_name": "the checked name of a game",
    "self._instance.name": "the checked name of a game",
    "entry.name": "the checked name of a game",
    "found.name": "the name of a user who is logged in",
    "game.name": "the checked name of a game",
    "name": "the checked name of a game",
    # As `%.60r` and `%.300r`, which escape and cut by themselves.
    "message": "a bounded repr",
    "response.message": "a bounded repr",
    # The client's own program and user.
    "self._username": "who this program is, made fit before",
    "where": "the address that this program was given, or a line of an author's file",
    "packet": "the packet of this program, as a bounded repr without its payload",
    # An author's code.
    "getattr(hook, '__qualname__', 'a hook')": "the name of an author's function",
    "where.f_code.co_filename": "an author's file",
    "where.f_lineno": "a number",
    "where.f_code.co_qualname": "the name of an author's function",
    # The host's own files.
    "path": "a path that the host chose",
    "self._path": "a path that the host chose",
    "self._path.name": "a path that the host chose",
    "self._path.with_suffix('.sqlite').name": "a path that the host chose",
    "self._certificate": "a path that the host chose",
    "self._key": "a path that the host chose",
    "self._log_path": "a path that the host chose",
    "aside.name": "a path that this package chose",
    "old.name": "a path that this package chose",
    "'' if aside is None else f'; the other file is now {aside.name}'": "such a path",
}
STACK = "''.join(traceback.format_list("

LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
LOGGERS = {"logger", "_logger", "_log", "log", "LOG"}


def log_calls() -> Iterator[tuple[str, ast.Call]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in LEVELS
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id in LOGGERS
            ):
                yield f"{path.relative_to(PACKAGE)}:{node.lineno}", node


def unfit(call: ast.Call, used: set[str]) -> Iterator[str]:
    assert isinstance(call.func, ast.Attribute)
    args = list(call.args)
    if call.func.attr == "log":
        level = ast.unparse(args.pop(0))
        used.add(level)
        if level not in OURS:
            yield level
    if not isinstance(args[0], ast.Constant):
        yield f"a text that is not constant: {ast.unparse(args[0])}"
    for arg in args[1:]:
        source = ast.unparse(arg)
        used.add(source)
        is_fit = isinstance(arg, ast.Call) and ast.unparse(arg.func) == "one_line"
        if not (is_fit or isinstance(arg, ast.Constant) or source in OURS):
            if source.startswith(STACK):
                continue
            yield source


def test_every_log_line_shows_what_is_ours_or_what_was_made_fit() -> None:
    used: set[str] = set()
    found = {where: list(unfit(call, used)) for where, call in log_calls()}
    assert len(found) > 40
    assert not {where: sources for where, sources in found.items() if sources}
    # A line that is gone must not leave a hole behind for another one.
    assert OURS.keys() - used == set()


@given(st.text())
def test_one_line_is_printable_and_short_and_leaves_what_is_harmless(text: str) -> None:
    line = one_line(text)
    assert line.isprintable()
    assert len(line) <= MAX_SHOWN
    if text.isprintable() and len(text) <= MAX_SHOWN:
        assert line == text
    assert one_line(text, 20) == line or len(one_line(text, 20)) <= 20


def test_what_is_cut_says_so() -> None:
    assert one_line("a" * MAX_SHOWN) == "a" * MAX_SHOWN
    assert one_line("a" * 1_000_000) == "a" * (MAX_SHOWN - 3) + "..."
    assert one_line("\n" * 100, 50) == "\\n" * 23 + "\\..."
    assert one_line("ü 漢 \ud800\u202e") == "ü 漢 \\ud800\\u202e"


def test_an_error_without_a_text_is_no_second_error() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise ValueError("no text")

    assert one_line(Mute()) == "<Mute without a text>"


def test_a_terminal_keeps_its_lines() -> None:
    assert printable("a\n\tb\x1b[2J") == "a\n\tb\\x1b[2J"


def test_a_refusal_is_an_error_that_can_be_printed_and_keeps_the_message() -> None:
    response = Response(HOSTILE, status=2)
    error = RequestFailed(response)
    assert "\x1b" not in str(error)
    assert "\u202e" not in str(error)
    assert error.response.message == HOSTILE


def fit(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Check every line that was logged, as a handler writes it; return the records of ours."""
    ours = [record for record in caplog.records if record.name.startswith("pgnet_trio")]
    for record in ours:
        assert record.getMessage().isprintable(), record
        written = logging.Formatter("%(levelname)s %(message)s").format(record)
        assert FORGED not in written
        for line in written.split("\n"):
            assert line.isprintable()
            is_verbose = record.getMessage().startswith(("from ", "to "))
            assert len(line) <= (LONGEST_VERBOSE_LINE if is_verbose else LONGEST_LINE)
    return ours


def mentioning(records: list[logging.LogRecord], text: str) -> list[logging.LogRecord]:
    return [record for record in records if text in record.getMessage()]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, "pgnet_trio")
    return caplog


async def flush(transport: Transport, protocol: v1.ClientProtocol | v2.ClientProtocol) -> None:
    while (message := protocol.next_message()) is not None:
        if not transport.send_nowait(message):
            await transport.drain()


async def converse(server: HostedServer, username: str, reason: str, *, log_in: bool) -> None:
    """Connect by protocol 2, and say goodbye with a reason, before or after a log-in."""
    async with server.network.connector(server, username).connect(None) as transport:
        protocol = v2.ClientProtocol(
            username=username,
            password="hunter22",
            invite_code="",
            encrypted=True,
            random_bytes=lambda count: bytes(range(1, count + 1)),
            offered=transport.offered_subprotocols,
            subprotocol=transport.subprotocol or "",
            max_frame_size=None,
            delivery=ClientDelivery(lambda: None),
        )
        await flush(transport, protocol)
        protocol.receive(await transport.receive())
        if log_in:
            await flush(transport, protocol)
            protocol.receive(await transport.receive())
        else:
            # The log-in would follow the hello in one frame.
            protocol.control = protocol.control[:1]
        protocol.goodbye(reason)
        await flush(transport, protocol)
        await wait_all_tasks_blocked()


@pytest.mark.parametrize("times", [1, 1000])
@pytest.mark.parametrize("log_in", [False, True])
async def test_the_reason_of_a_goodbye_is_logged_as_one_line(
    log_in: bool, times: int, log: pytest.LogCaptureFixture, autojump_clock: trio.testing.MockClock
) -> None:
    async with hosting(Recorder) as server:
        await converse(server, "mallory", HOSTILE * times, log_in=log_in)
        await wait_all_tasks_blocked()
    # Of somebody who was logged in, only that they have left is told.
    assert mentioning(fit(log), "mallory is out" if log_in else "x\\r\\n2026")


@pytest.mark.parametrize("protocol", [1, 2])
@pytest.mark.parametrize("username", [HOSTILE, HOSTILE * 100], ids=["short", "long"])
async def test_a_username_is_logged_as_one_line_before_anybody_checked_it(
    username: str,
    protocol: int,
    log: pytest.LogCaptureFixture,
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with hosting(Recorder) as server:
        connector = server.network.connector(server, "mallory", protocol=protocol)
        with pytest.raises(ConnectFailed) as refused:
            async with Client(connector, username=username, password="hunter22"):
                pytest.fail("that is no username")
    assert str(refused.value).isprintable()
    assert mentioning(fit(log), "Refused a log-in") or mentioning(fit(log), "did not log in")


@pytest.mark.parametrize("protocol", [1, 2])
async def test_messages_names_and_games_are_logged_as_one_line(
    protocol: int, log: pytest.LogCaptureFixture, autojump_clock: trio.testing.MockClock
) -> None:
    async with hosting(Refuser, admin_password="hunter22") as server:
        async with (
            server.client("ann", protocol=protocol) as ann,
            server.client("admin", "hunter22") as admin,
        ):
            await admin.request(Packet(Request.SET_VERBOSE, {"set_as": True}))
            for name in (HOSTILE, HOSTILE * 100):
                with pytest.raises(RequestFailed):
                    await ann.create_game(name)
                with pytest.raises(RequestFailed):
                    await ann.join_game(name, password=HOSTILE)
                with pytest.raises(RequestFailed):
                    await admin.call(Packet(Request.DESTROY_GAME, {"name": name}))
                with pytest.raises(RequestFailed):
                    await admin.call(Packet(Request.DELETE_USER, {"username": name}))
            await ann.create_game("table 1", options={HOSTILE: HOSTILE})
            for message in (HOSTILE, HOSTILE * 100):
                await ann.request(Packet(message, {message: [message]}))
                ann.send(Packet(message, {"text": message}))
            await ann.get_game_dir()
            await ann.request(Packet("kick me"))
    lines = fit(log)
    assert mentioning(lines, "from ann")
    assert mentioning(lines, "was not taken") or protocol == 1


@attrs.frozen
class Crash:
    text: str


class Refuser(Game):
    def get_lobby_info(self) -> str:
        return HOSTILE

    def handle_game_packet(self, packet: Packet, /) -> Response:
        if packet.message == "kick me":
            self.room.kick("ann", HOSTILE * 100)
        if packet.message == "crash":
            raise ValueError(packet.payload["text"])
        return Response(packet.message, packet.payload, status=2)

    @on(Crash)
    def crash(self, player: str, message: Crash) -> None:
        raise ValueError(message.text)


@pytest.mark.parametrize(
    ("message", "says", "where"),
    [
        ("crash", "raised over a packet, and goes on", "in handle_game_packet"),
        ("Crash", "raised, and is closed", "in crash"),
    ],
)
async def test_a_game_that_quotes_a_player_when_it_raises(
    message: str,
    says: str,
    where: str,
    log: pytest.LogCaptureFixture,
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with hosting_faults(Refuser, ValueError) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        await ann.request(Packet(message, {"text": HOSTILE * 100}))
    (raised,) = mentioning(fit(log), says)
    assert raised.exc_info is not None
    written = logging.Formatter("%(message)s").format(raised)
    assert where in written
    assert "ValueError: x\\r\\n2026" in written


def test_a_traceback_is_as_python_writes_it_where_nothing_is_foreign(
    caplog: pytest.LogCaptureFixture,
) -> None:
    logger = logging.getLogger("pgnet_trio.server")

    def nested() -> None:
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise ExceptionGroup("several", [ValueError("one"), OSError(2, "two")]) from error

    other = logging.getLogger("tests.foreign_text")
    texts = []
    for each in (logger, other):
        try:
            nested()
        except ExceptionGroup:
            each.exception("it failed")
        texts.append(logging.Formatter("%(message)s").format(caplog.records[-1]))
    assert texts[0] == texts[1]
    make_tracebacks_printable(other)
    other.info("none here", exc_info=(None, None, None))


@pytest.mark.parametrize("times", [1, 100])
def test_a_clients_protocol_hands_reasons_on_as_one_line(times: int) -> None:
    reason = HOSTILE * times
    for say in (v2.ServerProtocol.refuse, v2.ServerProtocol.goodbye):
        conversation = Session()
        conversation.exchange()
        say(conversation.server, reason)
        (event,) = conversation.exchange()
        assert isinstance(event, LoginRefusal | Goodbye)
        assert event.reason.isprintable()
        assert event.reason.startswith("x\\r\\n2026")
    client = v1.ClientProtocol(
        username="ann", password="", invite_code="", key=None, random_bytes=bytes
    )
    (refusal,) = client.receive(Response(reason, status=1).serialize())
    assert isinstance(refusal, LoginRefusal)
    assert refusal.reason.isprintable()
    assert len(refusal.reason) <= MAX_SHOWN

"""`pgnet-trio load`: what is counted, what is shown, thresholds, and how it ends."""

from __future__ import annotations

import json
import math
import re
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from pgnet_trio.cli import main
from pgnet_trio.cli.arguments import duration
from pgnet_trio.cli.load_report import Progress, Threshold, describe_seconds
from pgnet_trio.cli.load_run import Bot, LoadClient, LoadRun
from pgnet_trio.cli.measuring import MAX_KINDS, Latencies, Tally, describe_error
from pgnet_trio.errors import Disconnected, Reject
from pgnet_trio.game import Game
from pgnet_trio.messages import Packet, RequestFailed, Response, Status
from pgnet_trio.testing import HostedServer, SimulatedNetwork, hosting
from tests.kit.hosting import ForwardingConnector, Recorder
from tests.kit.subprocesses import WITHOUT_EXTRAS, run_program, start_in_terminal, start_program

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pgnet_trio.client import Client
    from pgnet_trio.transport import Transport

BOTS = """\
import trio

from pgnet_trio import Packet


async def short(client, number):
    await client.join_game(f"table {number // 2}")
    for _ in range(5):
        await client.request(Packet("move", {"x": number}))


async def endless(client, number):
    await short(client, number)
    print("plays", flush=True)
    await trio.sleep_forever()


async def stubborn(client, number):
    print("plays", flush=True)
    with trio.CancelScope(shield=True):
        await trio.sleep_forever()


async def buggy(client, number):
    return {}["out of cheese"]


def no_async(client, number):
    pass


async def one(client):
    pass


a_number = 5
"""


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("PGNET_PASSWORD", raising=False)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "its_bots.py").write_text(BOTS, "utf-8")
    monkeypatch.delitem(sys.modules, "its_bots", raising=False)
    return tmp_path


# Measuring.


@given(st.lists(st.floats(1e-6, 1e4), min_size=1), st.sampled_from([1, 50, 90, 99, 100]))
def test_percentiles_are_right_to_a_percent(values: list[float], percent: int) -> None:
    latencies = Latencies()
    for value in values:
        latencies.add(value)
    exact = sorted(values)[math.ceil(len(values) * percent / 100) - 1]
    measured = latencies.percentile(percent)
    assert measured is not None
    assert measured == pytest.approx(exact, rel=0.0101)
    assert measured <= latencies.longest == max(values)
    assert latencies.count == len(values)


def test_without_a_request_there_is_no_percentile() -> None:
    assert Latencies().percentile(99) is None


def test_requests_that_take_no_time_are_counted() -> None:
    latencies = Latencies()
    latencies.add(0.0)
    assert latencies.percentile(50) == 0.0


def test_the_busiest_second_is_found() -> None:
    tally = Tally()
    for now in (0.1, 1.0, 1.5, 1.9, 2.0, 7.0):
        tally.answered(0.01, Status.OK, now)
    tally.answered(0.01, Status.UNEXPECTED, 8.0)
    tally.answered(0.01, 7, 9.0)
    assert tally.busiest == 3
    assert tally.not_ok == {"UNEXPECTED": 1, "another status": 1}


def test_kinds_of_errors_are_bounded() -> None:
    tally = Tally()
    for number in range(1000):
        tally.failed(ValueError(f"number {number}"), "ann", "")
    assert tally.error_count == 1000
    assert len(tally.errors) == MAX_KINDS + 1
    assert tally.errors["ValueError"] == 1000 - MAX_KINDS
    for number in range(1000):
        tally.failed(type(f"Error{number}", (Exception,), {})(), "ann", "")
    assert len(tally.errors) == 2 * MAX_KINDS + 1


def test_an_error_is_of_one_kind_for_all_users() -> None:
    kinds = {
        describe_error(Disconnected(f"{name} was\nkicked by {name}"), name, "") for name in "abc"
    }
    assert kinds == {"Disconnected: USER was kicked by USER"}
    assert describe_error(ExceptionGroup("", [KeyError("x")]), "ann", "") == "KeyError: 'x'"
    assert describe_error(ValueError(), "ann", "") == "ValueError"
    assert len(describe_error(ValueError("x" * 1000), "ann", "")) == 160


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("50ms", 0.05), ("10s", 10.0), ("2m", 120.0), ("1h", 3600.0), ("1.5", 1.5), ("0", 0.0)],
)
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "none"),
        (0.00001234, "0.0123 ms"),
        (0.0501, "50.1 ms"),
        (0.9991, "999 ms"),
        (0.9999, "1.0 s"),
        (61.23, "61.2 s"),
    ],
)
def test_a_time_is_shown(seconds: float | None, text: str) -> None:
    assert describe_seconds(seconds) == text


@pytest.mark.parametrize(
    ("threshold", "met", "text"),
    [
        (Threshold("p99", 0.05, 0.05), True, "at most 50 ms: met, 50 ms"),
        (Threshold("p99", 0.05, 0.051), False, "at most 50 ms: missed, 51 ms"),
        (Threshold("p99", 0.05, None), False, "at most 50 ms: missed, none"),
        (Threshold("errors", 0, 0), True, "at most 0: met, 0"),
        (Threshold("errors", 1000, 2000), False, "at most 1,000: missed, 2,000"),
    ],
)
def test_a_threshold(threshold: Threshold, met: bool, text: str) -> None:
    assert threshold.met is met
    assert str(threshold) == text


# Clients, in memory and in virtual time.


async def load(
    server: HostedServer, bot: Bot, *, clients: int = 4, protocol: int = 2, **options: Any
) -> LoadRun:
    def make_client(*, username: str) -> LoadClient:
        return server.client(username, client_class=LoadClient, protocol=protocol)

    settings = {"ramp": 1.0, "seconds": None, "file": __file__, **options}
    run = LoadRun(bot, make_client, prefix="bot", clients=clients, **settings)
    await run.run(Progress(clients))
    assert run.tally.now == 0
    return run


async def test_clients_start_one_after_the_other(autojump_clock: trio.testing.MockClock) -> None:
    started: list[tuple[int, float]] = []
    at_once = 0

    async def bot(client: Client, number: int) -> None:
        started.append((number, round(trio.current_time() - beginning, 3)))
        assert client.username == f"bot{number}"
        await trio.sleep(25)

    async with hosting(Recorder) as server:
        beginning = trio.current_time()
        run = await load(server, bot, clients=5, ramp=40.0)
        at_once = run.tally.most
    assert started == [(0, 0.0), (1, 10.0), (2, 20.0), (3, 30.0), (4, 40.0)]
    assert (run.tally.connected, at_once, run.tally.ended) == (5, 3, 5)
    assert run.elapsed == pytest.approx(65, abs=1)


async def test_what_is_timed(autojump_clock: trio.testing.MockClock) -> None:
    arrived: list[Response] = []

    async def bot(client: Client, number: int) -> None:
        await client.create_game(f"table {number}")
        await client.get_game_dir()
        response = await client.request(Packet("calls"))
        assert response.message == "calls"
        await client.request(Packet("hello"))
        client.send(Packet("quiet"))
        done = trio.Event()

        def take(response: Response) -> None:
            arrived.append(response)
            done.set()

        client.send(Packet("calls"), take)
        await done.wait()
        with pytest.raises(RequestFailed):
            await client.join_game("table 1")
        await client.leave_game()
        assert client.leave_game(callback=None) is None

    async with hosting(Recorder) as server:
        run = await load(server, bot, clients=1)
    tally = run.tally
    assert [response.message for response in arrived] == ["calls"]
    # What nobody waits for is answered too, and what is quiet is taken.
    assert (tally.latencies.count, tally.sends, tally.answers) == (8, 1, 0)
    # A status of the game's; the second join, and the second leaving.
    assert tally.not_ok == {"another status": 1, "UNEXPECTED": 2}
    assert tally.error_count == 0


@attrs.frozen
class Ask:
    pass


@attrs.frozen
class Pick:
    number: int


class Quiz(Game):
    """Asks its player a hundred times."""

    async def run(self) -> None:
        [player] = await self.room.wait_players(1)
        for _ in range(100):
            await self.room.ask(player, Ask(), Pick, check=self.check)
        await trio.sleep_forever()

    def check(self, pick: Pick) -> None:
        if pick.number > 99:
            raise Reject("too much")


async def test_answers_to_questions_are_counted(autojump_clock: trio.testing.MockClock) -> None:
    async def bot(client: Client, number: int) -> None:
        await client.join_game(f"table {number}")
        count = 0
        async for question in client.questions(Ask):
            with pytest.raises(RequestFailed):
                await question.answer(Pick(100))
            await question.answer(Pick(count))
            count += 1
            if count == 50:
                return

    network = SimulatedNetwork(latency=0.5)
    async with hosting(Quiz, network=network) as server:
        run = await load(server, bot, clients=2)
    tally = run.tally
    assert (tally.answers, tally.latencies.count) == (200, 202)
    assert tally.not_ok == {"UNEXPECTED": 100}
    assert tally.latencies.percentile(50) == pytest.approx(1.0, rel=0.02)
    assert (tally.ended, tally.error_count) == (2, 0)


class Steps(Game):
    steps = 0

    def handle_game_packet(self, packet: Packet, /) -> Response:
        self.steps += 1
        return Response("done")

    def handle_heartbeat(self, packet: Packet, /) -> Response:
        return Response("news")

    def view(self) -> dict[str, int]:
        return {"steps": self.steps}


@pytest.mark.parametrize(("protocol", "latency"), [(1, 0.01), (2, 0.5)])
async def test_sends_are_timed_until_the_server_has_taken_them(
    autojump_clock: trio.testing.MockClock, protocol: int, latency: float
) -> None:
    async def bot(client: Client, number: int) -> None:
        await client.join_game(f"table {number}")
        for _ in range(40):
            client.send(Packet("step"))
            await trio.sleep(0.1)
        client.send(Packet("maybe dropped"))
        client.flush_queue()
        with trio.move_on_after(0.1):
            await client.request(Packet("too late for its answer"))

    network = SimulatedNetwork(latency=latency)
    async with hosting(Steps, network=network) as server:
        run = await load(server, bot, clients=3, protocol=protocol)
    tally = run.tally
    assert tally.error_count == 0
    # With protocol 1, the last one may wait behind a heartbeat, and is dropped then.
    assert 120 <= tally.sends <= 123
    # The latest were under way when the bots ended.
    assert 80 < tally.taken.count <= 123
    median = tally.taken.percentile(50)
    assert median == pytest.approx(2 * latency, abs=0.05)
    assert tally.slowest(99) == tally.taken.percentile(99)


class Clock(Game):
    update_rate = 10
    ticks = 0

    def update(self) -> None:
        self.ticks += 1

    def view(self) -> dict[str, int]:
        return {"ticks": self.ticks}


async def test_states_are_counted_with_their_age(autojump_clock: trio.testing.MockClock) -> None:
    async def bot(client: Client, number: int) -> None:
        for name in ("one", "two"):
            await client.join_game(f"{name} {number}")
            await client.wait_state(dict, lambda state: state["ticks"] == 100)
            await client.leave_game()
            await trio.sleep(60)

    async with hosting(Clock) as server:
        run = await load(server, bot, clients=3)
    tally = run.tally
    assert 590 < tally.states < 620
    assert tally.ages.percentile(99) == pytest.approx(0.1, rel=0.02)
    assert tally.ages.longest < 1


async def test_errors_are_counted_once_each(autojump_clock: trio.testing.MockClock) -> None:
    async def bot(client: Client, number: int) -> None:
        await client.join_game(f"table {number}")
        match number:
            case 0:
                raise KeyError("x")
            case 1:
                server.delete_user(client.username)
                while True:
                    await client.request(Packet("calls"))
                    await trio.sleep(1)
            case 2:
                async with trio.open_nursery():
                    raise ValueError("in a group")

    async with hosting(Recorder) as server:
        run = await load(server, bot, clients=4)
    tally = run.tally
    assert (tally.connected, tally.ended, tally.broken, tally.not_in) == (4, 1, 3, 0)
    kinds = sorted(re.sub(r"line \d+", "line N", kind) for kind in tally.errors)
    assert kinds[0].startswith("Disconnected: ")
    assert kinds[1:] == ["KeyError: 'x' (line N)", "ValueError: in a group (line N)"]
    assert tally.error_count == 3


async def test_who_is_not_let_in_is_counted(autojump_clock: trio.testing.MockClock) -> None:
    async def bot(client: Client, number: int) -> None:
        await trio.sleep(10)

    async with hosting(Recorder, registration_enabled=False) as server:
        run = await load(server, bot, clients=5)
    assert (run.tally.connected, run.tally.not_in) == (0, 5)
    ((kind, count),) = run.tally.errors.items()
    assert kind.startswith("LoginRefused: ")
    assert count == 5


async def test_only_so_many_log_in_at_the_same_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    at_once: list[int] = []
    logging_in = 0

    class Slow(ForwardingConnector):
        @asynccontextmanager
        async def _connect(self, max_message_size: int | None) -> AsyncIterator[Transport]:
            nonlocal logging_in
            logging_in += 1
            at_once.append(logging_in)
            turn = len(at_once)
            await trio.sleep(1)
            logging_in -= 1
            if turn == 3:
                raise OSError("nobody is there")
            async with super()._connect(max_message_size) as link:
                yield link

    async def bot(client: Client, number: int) -> None:
        await trio.sleep(100)

    async with hosting(Recorder) as server:
        run = LoadRun(
            bot,
            lambda *, username: LoadClient(Slow(server, username), username=username),
            prefix="bot",
            clients=10,
            ramp=0.0,
            seconds=None,
            logins_at_once=2,
        )
        await run.run(Progress(10))
    assert max(at_once) == 2
    assert (run.tally.connected, run.tally.not_in, run.tally.most) == (9, 1, 9)


async def test_time_is_up(autojump_clock: trio.testing.MockClock) -> None:
    async def bot(client: Client, number: int) -> None:
        await trio.sleep_forever()

    async with hosting(Recorder) as server:
        run = await load(server, bot, clients=10, ramp=100.0, seconds=50.0)
        # They logged out, and nobody keeps a place for them.
        assert not server.stats().sessions
    assert run.elapsed == pytest.approx(50, abs=1)
    assert (run.tally.connected, run.tally.ended, run.tally.error_count) == (5, 0, 0)


# The command.


async def test_a_whole_run(folder: Path) -> None:
    async with hosting(Recorder, port=0) as server:
        arguments = ["load", f"localhost:{server.port}", "--bot", "its_bots.py:short"]
        arguments += ["--clients", "6", "--ramp", "100ms", "--verify-server-pubkey", server.pubkey]
        arguments += ["--json", "result.json", "--p99", "1m", "--max-errors", "0"]
        status, out, err = await run_program(*arguments, cwd=folder)
    assert (status, err) == (0, "")
    assert re.search(r"^connected +6 of 6 clients, at most \d+ at once, protocol 2$", out, re.M)
    assert re.search(r"^requests +36, ", out, re.M)
    assert re.search(r"^errors threshold +at most 0: met, 0$", out, re.M)
    result = json.loads(read(folder / "result.json"))
    assert result["passed"] is True
    assert (result["connected"], result["requests"], result["ended"]) == (6, 36, 6)
    assert 0 < result["latencies"]["p50"] <= result["latencies"]["p99"]
    assert [each["name"] for each in result["thresholds"]] == ["p99", "errors"]


async def test_the_result_on_standard_output_is_alone_there(folder: Path) -> None:
    async with hosting(Recorder, port=0) as server:
        arguments = ["load", f"localhost:{server.port}", "--bot", "its_bots.py:short"]
        arguments += ["--clients", "2", "--ramp", "0", "--verify-server-pubkey", server.pubkey]
        for option in (["--json"], ["--json", "-"]):
            status, out, err = await run_program(*arguments, *option, cwd=folder)
            assert status == 0
            assert json.loads(out)["connected"] == 2
            assert re.search(r"^connected +2 of 2 clients", err, re.M)
    assert not exists(folder / "-")


def read(path: Path) -> str:
    return path.read_text("utf-8")


def exists(path: Path) -> bool:
    return path.exists()


async def test_a_threshold_that_is_missed_shows_in_the_exit_status(folder: Path) -> None:
    async with hosting(Recorder, port=0) as server:
        arguments = ["load", f"localhost:{server.port}", "--clients", "2", "--ramp", "0"]
        arguments += ["--verify-server-pubkey", server.pubkey, "--bot"]
        missed = ["its_bots.py:short", "--p99", "0.001ms", "--json", "result.json"]
        status, out, _ = await run_program(*arguments, *missed, cwd=folder)
        assert status == 1
        assert "at most 0.001 ms: missed, " in out
        assert json.loads(read(folder / "result.json"))["passed"] is False
        # No bot ran without an error.
        status, out, _ = await run_program(*arguments, "its_bots.py:buggy", cwd=folder)
        assert status == 1
        assert "2 times KeyError: 'out of cheese' (line " in out


async def test_a_server_that_does_not_take_so_many_is_explained(folder: Path) -> None:
    async with hosting(Recorder, port=0, max_connections_per_address=2) as server:
        arguments = ["load", f"localhost:{server.port}", "--bot", "its_bots.py:endless"]
        arguments += ["--clients", "4", "--ramp", "0", "--seconds", "0.5", "--max-errors", "1"]
        arguments += ["--verify-server-pubkey", server.pubkey]
        status, out, _ = await run_program(*arguments, cwd=folder)
    assert status == 1
    assert "--max-connections-per-address none" in out
    assert "at most 1: missed, 2" in out


async def test_the_first_ctrl_c_ends_it_with_the_table(folder: Path) -> None:
    async with hosting(Recorder, port=0) as server:
        arguments = ["load", f"localhost:{server.port}", "--bot", "its_bots.py:endless"]
        arguments += ["--clients", "1", "--ramp", "0", "--verify-server-pubkey", server.pubkey]
        async with start_program(*arguments, cwd=folder) as program:
            await program.out.wait_for("plays")
            program.process.send_signal(signal.SIGINT)
            await program.err.wait_for("once more to stop at once")
            assert await program.exit_status() == 0
    assert "0 came to their end, 1 still played" in program.out.text
    assert "Traceback" not in program.err.text


async def test_the_second_ctrl_c_ends_it_at_once(folder: Path) -> None:
    async with hosting(Recorder, port=0) as server:
        arguments = ["load", f"localhost:{server.port}", "--bot", "its_bots.py:stubborn"]
        arguments += ["--clients", "1", "--ramp", "0", "--verify-server-pubkey", server.pubkey]
        async with start_program(*arguments, cwd=folder) as program:
            await program.out.wait_for("plays")
            program.process.send_signal(signal.SIGINT)
            await program.err.wait_for("once more to stop at once")
            program.process.send_signal(signal.SIGINT)
            assert await program.exit_status() == -signal.SIGINT
    assert "connected" not in program.out.text


@pytest.mark.parametrize("command", [None, WITHOUT_EXTRAS], ids=["rich", "plain"])
async def test_progress_and_table_in_a_terminal(folder: Path, command: Any) -> None:
    pytest.importorskip("pty")
    async with hosting(Recorder, port=0) as server:
        arguments = ["load", f"localhost:{server.port}", "--bot", "its_bots.py:endless"]
        arguments += ["--clients", "2", "--ramp", "0", "--verify-server-pubkey", server.pubkey]
        options = {} if command is None else {"command": command}
        env = {"TERM": "xterm-256color", "COLUMNS": "200"}
        async with start_in_terminal(*arguments, cwd=folder, env=env, **options) as program:
            await program.out.wait_for(r"connected 2 of 2 +requests a second")
            program.process.send_signal(signal.SIGTERM)
            await program.out.wait_for("2 still played")
            assert await program.exit_status() == 0
    assert ("\x1b[36m" in program.out.text) == (command is None)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("x", "required: --bot"),
        ("x --bot its_bots.py:short --clients 0", "expected a number from 1 to 10,000"),
        ("x --bot its_bots.py:short --clients 10001", "expected a number from 1 to 10,000"),
        ("x --bot its_bots.py:short --clients many", "expected a whole number, got 'many'"),
        ("x --bot its_bots.py:short --ramp soon", "expected a duration such as 50ms"),
        ("x --bot its_bots.py:short --p99 -1ms", "expected"),
        ("x --bot its_bots.py:short --max-errors 1.5", "expected a whole number, got '1.5'"),
        ("a:b:c:d --bot its_bots.py:short", "is no address of a server"),
        ("x --bot its_bots.py:short --prefix admin", "'admin9' is no username"),
        ("x --bot its_bots.py:short --prefix _", "'_9' is no username"),
        (f"x --bot its_bots.py:short --prefix {'x' * 20}", "is no username"),
    ],
)
def test_arguments_that_make_no_sense(
    capsys: pytest.CaptureFixture[str], arguments: str, problem: str
) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["load", *arguments.split()])
    assert raised.value.code == 2
    assert problem in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("bot", "problem"),
    [
        ("short", "expected MODULE:FUNC or path/to/file.py:FUNC, got 'short'"),
        ("nowhere.py:short", "there is no file 'nowhere.py'"),
        ("its_nowhere:short", "path/to/file.py:FUNC"),
        (
            "its_bots.py:missing",
            "has no 'missing'; its async functions: short, endless, stubborn,",
        ),
        ("its_bots.py:no_async", "its_bots.py:no_async is no async function"),
        ("its_bots.py:a_number", "its_bots.py:a_number is no async function"),
        ("its_bots.py:one", "write async def one(client, number)"),
    ],
)
def test_a_bot_that_cannot_be_used(
    capsys: pytest.CaptureFixture[str], bot: str, problem: str
) -> None:
    assert main(["load", "localhost:1", "--bot", bot]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert problem in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (["--json", "no/folder/x.json"], "cannot write 'no/folder/x.json': No such file"),
        (["--password-file", "missing"], "cannot read 'missing'"),
        ([], "No server was reached at localhost:1"),
    ],
)
def test_what_cannot_be_used_is_said_before_anything_is_sent(
    capsys: pytest.CaptureFixture[str], more: list[str], problem: str
) -> None:
    assert main(["load", "localhost:1", "--bot", "its_bots.py:short", *more]) == 1
    assert problem in capsys.readouterr().err

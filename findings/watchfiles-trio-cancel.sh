#!/usr/bin/env bash
# A development server under Trio watches the game's files with watchfiles 1.3.0, whose `awatch`
# runs on any of AnyIO's event loops, and its nursery is cancelled. One expects the watch to end
# at once: its source sets the event that stops the thread as soon as it sees the cancellation.
# Under Trio it never sees one, since AnyIO shields the wait for a thread: everything stands still
# until the thread looks up by itself, which takes up to five seconds, and during which Ctrl-C
# seems to do nothing. The same code ends at once where asyncio cancels the task; a scope of
# AnyIO's takes as long there as under Trio. (`rust_timeout=100` keeps it short.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    watchfiles==1.3.0 anyio==4.16.0 trio==0.35.0
mkdir watched
cat >check.py <<'PY'
import asyncio
import importlib.metadata
import sys
import time

import anyio
from watchfiles import awatch

for name in ("watchfiles", "anyio", "trio"):
    print(name, importlib.metadata.version(name))


async def watch(**options):
    async for _ in awatch("watched", **options):
        pass


async def in_a_scope(options):
    with anyio.move_on_after(0.3):
        await watch(**options)


async def as_a_task():
    task = asyncio.create_task(watch())
    await asyncio.sleep(0.3)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def measure(name, run):
    begin = time.monotonic()
    run()
    seconds = time.monotonic() - begin
    print(f"{name}: over after {seconds:.1f} s of 0.3")
    return seconds


trio_scope = measure("Trio", lambda: anyio.run(in_a_scope, {}, backend="trio"))
asyncio_scope = measure("asyncio, AnyIO's scope", lambda: anyio.run(in_a_scope, {}))
asyncio_task = measure("asyncio, a task cancelled", lambda: asyncio.run(as_a_task()))
short = measure(
    "Trio, rust_timeout=100", lambda: anyio.run(in_a_scope, {"rust_timeout": 100}, backend="trio")
)
if not (trio_scope > 4 and asyncio_scope > 4 and asyncio_task < 2 and short < 2):
    print("CHANGED: this is not what the top of this script says")
    sys.exit(1)
print("AS STATED: a cancelled watch stays for five seconds")
PY
timeout 60 venv/bin/python check.py

#!/usr/bin/env bash
# anyio-ext 0.2.0 has a `cached` for asynchronous functions, on Trio as on asyncio: a server loads
# the chunks of a world by their coordinates through it. One expects, as with functools, that
# different arguments have different results. The cache knows its arguments by their hash alone,
# and never compares them, and in Python -1 and -2 have the same hash: whoever comes to chunk -2 is
# shown chunk -1, if that was loaded first. Every other pair of small whole numbers is told apart,
# so a world without negative coordinates works, and one with them has one row and one column
# twice.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    anyio-ext==0.2.0 anyio==4.16.0 trio==0.35.0
cat >check.py <<'PY'
import functools
import importlib.metadata
import sys

import trio
from anyio_ext import cached

for name in ("anyio-ext", "anyio", "trio"):
    print(name, importlib.metadata.version(name))
SIDE = range(-20, 21)


@cached
async def chunk(x, y):
    return x, y


@functools.cache
def chunk_of_functools(x, y):
    return x, y


async def walk():
    """The chunks that are not what was asked for."""
    wrong = {}
    for x in reversed(SIDE):
        for y in reversed(SIDE):
            found = await chunk(x, y)
            if found != (x, y):
                wrong[x, y] = found
            assert chunk_of_functools(x, y) == (x, y)
    return wrong


wrong = trio.run(walk)
print(f"of {len(SIDE) ** 2} chunks, {len(wrong)} are those of a neighbour:")
for asked in [(-2, 7), (7, -2), (-2, -2)]:
    print(f"    asked for {asked}, got {wrong.get(asked, 'the right one')}")
row_and_column = {(x, y) for x in SIDE for y in SIDE if -2 in (x, y)}
nearer = {(x, y): (x + (x == -2), y + (y == -2)) for x, y in row_and_column}
if wrong != nearer:
    sys.exit("CHANGED: not the row and the column of -2 are wrong")
print("AS STATED: at -2 one is shown what lies at -1")
PY
timeout 60 venv/bin/python check.py

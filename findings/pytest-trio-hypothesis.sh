#!/usr/bin/env bash
# A test under Hypothesis 6.170.17 takes an asynchronous fixture of pytest-trio 0.8.0. Hypothesis
# warns that one fixture serves all examples (its health check is switched off here, as it says);
# pytest-trio in fact sets the fixture up anew for each example. One expects one or the other.
# From the second example on the test does not wait for its own fixture, if that takes a moment:
# it begins with the object of the example before, which has been torn down. So each example plays
# in the closed room of the last one, and what a failing example shows is what another example
# did.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    pytest==9.2.0 pytest-trio==0.8.0 hypothesis==6.170.17 trio==0.35.0
cat >test_room.py <<'PY'
import json

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

rooms, seen = [], []


class Room:
    def __init__(self):
        rooms.append(self)
        self.number = len(rooms)
        self.closed = False


@pytest.fixture
async def room():
    await trio.sleep(0.2)  # as long as it takes to start something
    opened = Room()
    yield opened
    opened.closed = True


@settings(
    max_examples=5,
    database=None,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(move=st.integers(0, 100))
@pytest.mark.trio
async def test_room(room, move):
    seen.append((len(rooms), room.number, room.closed))


def test_write_what_was_seen():
    with open("seen.json", "w") as file:
        json.dump(seen, file)
PY
cat >check.py <<'PY'
import importlib.metadata
import json
import subprocess
import sys

for name in ("pytest", "pytest-trio", "hypothesis", "trio"):
    print(name, importlib.metadata.version(name))
run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_room.py"]
result = subprocess.run(run, capture_output=True, text=True, timeout=50)
if result.returncode:
    sys.exit(f"CHANGED: the test does not pass\n{result.stdout}")
with open("seen.json") as file:
    seen = json.load(file)
for example, (made, played, closed) in enumerate(seen, 1):
    print(f"example {example}: rooms made {made}, played in room {played}, closed: {closed}")
if seen != [[1, 1, False], [1, 1, True], [2, 2, True], [3, 3, True], [4, 4, True]]:
    sys.exit("CHANGED: this is not what the top of this script says")
print("AS STATED: each example but the first plays in the closed room of the one before")
PY
timeout 60 venv/bin/python check.py

#!/usr/bin/env bash
# A server on trio-websocket 0.12.2 gives a slow reader a second, `with trio.move_on_after(1):
# await websocket.send_message(state)`, and goes on with the next state. One expects the first
# message to be gone, or the connection to be ended. Neither: the part of the frame that had left
# has left, the connection counts as open, and the next message is sent as if nothing had been.
# The reader takes it for the rest of the first: what arrives is one message of the right length,
# without an error, that begins with one state and ends with another, a frame's header in the
# midst. A player who was slow for a second is shown a state that nobody sent.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    trio-websocket==0.12.2 trio==0.35.0 wsproto==1.3.2
cat >check.py <<'PY'
import importlib.metadata
import sys

import trio
from trio_websocket import open_websocket_url, serve_websocket

for name in ("trio-websocket", "trio", "wsproto"):
    print(name, importlib.metadata.version(name))
SIZE = 16 * 1024 * 1024
# So many messages wait in the reader's queue before it stops to read from the network.
QUEUED = 3


async def main():
    cancelled, closed = [], []
    may_read = trio.Event()

    async def handler(request):
        websocket = await request.accept()
        for _ in range(QUEUED):
            await websocket.send_message(b"small")
        with trio.move_on_after(1) as timeout:
            await websocket.send_message(b"a" * SIZE)
        cancelled.append(timeout.cancelled_caught)
        closed.append(websocket.closed)
        may_read.set()
        await websocket.send_message(b"b" * SIZE)

    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_websocket, handler, "127.0.0.1", 0, None)
        address = f"ws://127.0.0.1:{server.port}"
        with trio.move_on_after(40):
            async with open_websocket_url(address, max_message_size=2 * SIZE) as websocket:
                await may_read.wait()
                for _ in range(QUEUED):
                    await websocket.get_message()
                message = await websocket.get_message()
                nursery.cancel_scope.cancel()
    return cancelled, closed, message


cancelled, closed, message = trio.run(main)
first, second = message.count(b"a"), message.count(b"b")
print(f"the first send was cancelled: {cancelled}; the connection is closed: {closed}")
print(f"a message of {len(message)} bytes came: {first} of the first and {second} of the second")
whole = len(message) == SIZE and message.startswith(b"a") and message.endswith(b"b")
if cancelled != [True] or closed != [None] or not whole:
    sys.exit("CHANGED: this is not what the top of this script says")
print("AS STATED: the end of a cancelled message is made of the next one")
PY
timeout 60 venv/bin/python check.py

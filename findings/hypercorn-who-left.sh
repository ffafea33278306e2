#!/usr/bin/env bash
# A Starlette 1.10.0 application plays over WebSockets on the Trio worker of Hypercorn 0.18.0. A
# player leaves with a close code, 1000 or one of the game's own, or the connection is cut. One
# expects the application to be told which, as ASGI has it, and that sending to somebody who has
# left raises an error. It is told 1006 without a reason, "cut", in each case; and what it sends
# afterwards is taken without an error: a task that only sends, the usual one for states, is never
# told to end. Who resigned and who lost the network look the same.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    hypercorn==0.18.0 starlette==1.10.0 trio==0.35.0 trio-websocket==0.12.2
cat >check.py <<'PY'
import importlib.metadata
import sys
from functools import partial

import hypercorn.config
import hypercorn.trio
import trio
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocketDisconnect
from trio_websocket import open_websocket_url, wrap_client_stream

for name in ("hypercorn", "starlette", "trio", "trio-websocket"):
    print(name, importlib.metadata.version(name))


async def play(codes):
    told, sent, raised = [], 0, []

    async def game(websocket):
        nonlocal sent
        await websocket.accept()
        try:
            while True:
                await websocket.receive_text()
        except WebSocketDisconnect as gone:
            told.append((gone.code, gone.reason))
        try:
            for _ in range(1000):
                await websocket.send_text("state")
                sent += 1
        except Exception as error:
            raised.append(type(error).__name__)
        left.set()

    config = hypercorn.config.Config()
    config.bind = ["127.0.0.1:0"]
    config.accesslog = config.errorlog = None
    application = Starlette(routes=[WebSocketRoute("/", game)])
    async with trio.open_nursery() as nursery:
        addresses = await nursery.start(partial(hypercorn.trio.serve, application, config))
        address = addresses[0].replace("http", "ws")
        for code in codes:
            left = trio.Event()
            if code is None:
                port = int(address.rpartition(":")[2])
                stream = await trio.open_tcp_stream("127.0.0.1", port)
                async with trio.open_nursery() as connecting:
                    await wrap_client_stream(connecting, stream, "127.0.0.1", "/")
                    await stream.aclose()
                    connecting.cancel_scope.cancel()
            else:
                async with open_websocket_url(address) as websocket:
                    await websocket.aclose(code, "resigned")
            with trio.fail_after(10):
                await left.wait()
        nursery.cancel_scope.cancel()
    return told, sent, raised


CODES = [1000, 4005, None]
told, sent, raised = trio.run(play, CODES)
for code, what in zip(CODES, told, strict=True):
    print(f"left with {code or 'a cut'}: the application is told {what}")
print(f"sent to who has left: {sent} messages, errors: {raised}")
if told != [(1006, "")] * 3 or sent != 3000 or raised:
    sys.exit("CHANGED: this is not what the top of this script says")
print("AS STATED: each way of leaving is a cut, and nobody says that there is nobody")
PY
timeout 60 venv/bin/python check.py

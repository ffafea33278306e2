#!/usr/bin/env bash
# A page follows a server by server-sent events: sse-starlette 3.7.0, which is written with AnyIO,
# on the Trio worker of Hypercorn 0.18.0. Other servers than uvicorn are told to set
# `AppStatus.should_exit` when they shut down; one expects every stream to end within the half
# second after which it is looked at, and `shutdown_event` to be set before, so that a generator
# can say goodbye. On asyncio that happens. Under Trio nobody looks: what would is started as a
# task of asyncio, the error that there is no such loop is swallowed, and the streams go on for as
# long as their clients like. The shutdown waits for the server's own time-out, and cuts them off.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    sse-starlette==3.7.0 starlette==1.10.0 hypercorn==0.18.0 httpx==0.28.1 anyio==4.16.0 \
    trio==0.35.0
cat >check.py <<'PY'
import importlib
import importlib.metadata
import sys
from functools import partial

import anyio
import httpx
from hypercorn.config import Config, Sockets
from sse_starlette.sse import AppStatus, EventSourceResponse
from starlette.applications import Starlette
from starlette.routing import Route

for name in ("sse-starlette", "starlette", "hypercorn", "anyio", "trio"):
    print(name, importlib.metadata.version(name))


class OwnSocket(Config):
    """Tells which port the system chose."""

    def create_sockets(self) -> Sockets:
        sockets = super().create_sockets()
        self.port = sockets.insecure_sockets[0].getsockname()[1]
        return sockets


async def main(backend):
    AppStatus.should_exit = False
    goodbyes = []

    async def events(request):
        shutdown = anyio.Event()

        async def rows():
            with anyio.move_on_after(60):
                while not shutdown.is_set():
                    yield {"data": "state"}
                    await anyio.sleep(0.1)
            goodbyes.append(backend)

        return EventSourceResponse(rows(), shutdown_event=shutdown, shutdown_grace_period=2)

    app = Starlette(routes=[Route("/", events)])
    serve = importlib.import_module(f"hypercorn.{backend}").serve
    config = OwnSocket()
    config.bind = ["127.0.0.1:0"]
    config.loglevel = "CRITICAL"
    stop = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(partial(serve, app, config, shutdown_trigger=stop.wait))
        with anyio.fail_after(10):
            while not hasattr(config, "port"):
                await anyio.sleep(0.05)
        address = f"http://127.0.0.1:{config.port}/"
        async with httpx.AsyncClient() as client, client.stream("GET", address) as response:
            with anyio.move_on_after(5) as watching:
                async for line in response.aiter_lines():
                    if line:
                        AppStatus.should_exit = True
        stop.set()
    ended = not watching.cancelled_caught
    print(f"{backend}: the stream ended within 5 s: {ended}; said goodbye: {bool(goodbyes)}")
    return ended


asyncio_ended = anyio.run(main, "asyncio", backend="asyncio")
trio_ended = anyio.run(main, "trio", backend="trio")
if (asyncio_ended, trio_ended) != (True, False):
    print("CHANGED: this is not what the top of this script says")
    sys.exit(1)
print("AS STATED: under Trio the streams are never told of the shutdown")
PY
timeout 60 venv/bin/python check.py

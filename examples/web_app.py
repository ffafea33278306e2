"""A game inside a web application: Starlette, on hypercorn's Trio worker.

For those who have a web application already. One program, and one port, has the application's own
pages and the game, and each may look at the other.

python examples/web_app.py                   then open http://127.0.0.1:8000 in two windows
pgnet-trio connect ws://127.0.0.1:8000/game  plays too: game.join_game;name=table 1, and: Click
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib.resources
import signal
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import attrs
import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, JSONResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles

from pgnet_trio import Game, Server, enable_logging, on
from pgnet_trio.asgi import ASGIApp

if TYPE_CHECKING:
    from starlette.requests import Request

PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Clicks</title>
<link rel="icon" href="data:,">
<button disabled>Click</button>
<pre></pre>
<script type="module">
  import { Client, guest } from "/pgnet/client.js";

  const address = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/game`;
  const client = new Client({ ...guest({ storage: sessionStorage }), address });
  client.on("state", ({ clicks }) => {
    document.querySelector("pre").textContent = JSON.stringify(clicks, null, 2);
  });
  const button = document.querySelector("button");
  button.onclick = () => client.call("Click");
  await client.connect();
  await client.joinGame("table 1");
  button.disabled = false;
</script>
"""


@attrs.frozen
class Click:
    pass


@attrs.frozen
class Table:
    clicks: dict[str, int]


class Clicks(Game):
    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.clicks: dict[str, int] = {}

    def view(self) -> Table:
        return Table(self.clicks)

    @on(Click)
    def click(self, player: str, click: Click) -> None:
        self.clicks[player] = self.clicks.get(player, 0) + 1


def make_app(server: Server) -> Starlette:
    @contextlib.asynccontextmanager
    async def run_server(app: Starlette) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            await nursery.start(functools.partial(server.serve, port=None))
            yield
            server.shutdown()

    async def page(request: Request) -> HTMLResponse:
        return HTMLResponse(PAGE)

    async def tables(request: Request) -> JSONResponse:
        games = server.stats().games
        return JSONResponse({name: game.room.players for name, game in games.items()})

    client = importlib.resources.files("pgnet_trio") / "web" / "bundle"
    routes = [
        Route("/", page),
        Route("/tables", tables),
        WebSocketRoute("/game", ASGIApp(server)),
        Mount("/pgnet", StaticFiles(directory=str(client), check_dir=False)),
    ]
    return Starlette(routes=routes, lifespan=run_server)


async def main(port: int) -> None:
    # With the same key after a restart, the players' programs need not be told of it.
    server = Server(Clicks, key_file="web_app.key")
    app: Any = make_app(server)  # hypercorn's own types are narrower than Starlette's
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]

    async def stopped() -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            await anext(signals)
            server.shutdown()  # first of all: players are told

    async with trio.open_nursery() as nursery:
        run = functools.partial(serve, app, config, shutdown_trigger=stopped)
        [address] = await nursery.start(run)
        print(f"Open {address}. Ctrl-C ends it.", flush=True)


if __name__ == "__main__":
    enable_logging(level="WARNING")  # a mistake in the rules shows, with its traceback
    parser = argparse.ArgumentParser(description="A game inside a web application.")
    parser.add_argument("--port", type=int, default=8000)
    trio.run(main, parser.parse_args().port)

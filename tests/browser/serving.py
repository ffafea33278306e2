"""The examples with their pages, on a real port."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from pgnet_trio import Game, Server, Site
from tests.kit.hosting import cheap_environment
from tests.kit.proxy import InterceptingProxy, intercepting

__all__ = ["PAGES", "make_server", "serving", "serving_behind_proxy"]

PAGES = Path(__file__).parents[2] / "examples" / "web"


def make_server(game: type[Game], site: Site | Path, **options: Any) -> Server:
    site = site if isinstance(site, Site) else Site(site)
    return Server(game, port=0, site=site, environment=cheap_environment(), **options)


@asynccontextmanager
async def serving(game: type[Game], site: Site | Path, **options: Any) -> AsyncIterator[int]:
    """Serve a game and its pages for a block; yield the port."""
    async with trio.open_nursery() as nursery:
        yield await nursery.start(make_server(game, site, **options).serve)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def serving_behind_proxy(
    game: type[Game], site: Path, **options: Any
) -> AsyncIterator[InterceptingProxy]:
    """The same, with a network in between that the test can cut."""
    async with serving(game, site, **options) as port, intercepting(port) as proxy:
        yield proxy

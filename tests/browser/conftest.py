"""Real browsers for the tests of this folder, each started once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from tests.kit.bidi import Browser, Link, Tab, connected, started

OpenPage = Callable[..., Awaitable[Tab]]

PHONE = (390, 700)


@pytest.fixture(scope="package", params=["chromium", "firefox"])
def browser(request: pytest.FixtureRequest) -> Iterator[Browser]:
    with started(request.param) as running:
        yield running


@pytest.fixture
async def link(browser: Browser) -> AsyncIterator[Link]:
    """A connection to the browser, whose pages must not fail."""
    async with connected(browser) as connection:
        yield connection
        # A connection that cannot be made is none of their faults.
        assert [line for line in connection.logged if "ws://" not in line] == []


@pytest.fixture
async def open_page(link: Link) -> AsyncIterator[OpenPage]:
    """Opens a page in a window of its own, which is as large as a phone."""
    free = await link.windows()

    async def open_page(url: str, *, new: bool = False) -> Tab:
        window = free.pop() if free and not new else await link.open_window()
        await window.resize(*PHONE)
        await window.open(url)
        return window

    yield open_page
    for window in await link.windows():
        await window.open("about:blank")

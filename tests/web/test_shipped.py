"""The bundle that ships: what is in it, how large it is, and that it plays."""

from __future__ import annotations

import gzip
import re
import shutil
from pathlib import Path

import pytest

from tests.kit.needed import BUNDLED
from tests.kit.typescript import compile_strictly
from tests.web.hosting import serving
from tests.web.node import WEB, needs_packages
from tests.web.page import open_page

pytestmark = [needs_packages, pytest.mark.needs(BUNDLED)]

BUNDLE = WEB / "bundle"


@pytest.mark.parametrize(("name", "kibibytes"), [("client", 28), ("netcode", 5), ("community", 2)])
def test_the_bundle_is_small(name: str, kibibytes: int) -> None:
    data = (BUNDLE / f"{name}.js").read_bytes()
    assert len(gzip.compress(data, 9)) <= kibibytes * 1024
    # What a file beside the client needs of it, it has from there: a page has each class once.
    beside = re.escape(b'}from"./client.js";') if name == "community" else b"$^"
    assert b"import" not in re.sub(rb"import\.meta|^import\{[^}]*" + beside, b"", data, flags=re.M)


def test_the_types_of_the_bundle_are_those_that_a_page_relies_on(
    tmp_path: Path,
) -> None:
    for name in ("client", "community"):
        shutil.copy(BUNDLE / f"{name}.d.ts", tmp_path / f"{name}.d.ts")
    shutil.copy(Path(__file__).parent / "typed.ts", tmp_path / "typed.ts")
    assert compile_strictly(tmp_path / "typed.ts") == ""


async def test_the_bundle_plays() -> None:
    async with serving() as server:
        async with open_page(str(BUNDLE / "client.js")) as page:
            await page.log_in(server.port)
            await page("joinGame", "table 1")
            await page("loop", "states")
            await page("call", "Move", {"square": 3})
            assert (await page("get", "state"))["board"][3] == 1
            assert (await page("guest", {}, {}, ""))[0]["username"].startswith("guest")

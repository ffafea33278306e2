"""What tests of pages need, and not every machine has: ``@pytest.mark.needs(NODE)``.

All of them say the same when they are skipped, whatever they miss, and from one place. So pytest
says it in one line.
"""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pgnet_trio.web import bundling

__all__ = ["BROWSERS", "BUNDLED", "NODE", "PACKAGES", "node_version", "skip_without"]

NODE = "node, version 20 or later"
PACKAGES = "`npm ci --ignore-scripts` in pgnet_trio/web"
BROWSERS = ("chromium", "chromedriver", "firefox-esr")
BUNDLED = "`python pgnet_trio/web/bundling.py` after each change there"

WEB = Path(__file__).parents[2] / "pgnet_trio" / "web"


@functools.cache
def node_version() -> int:
    """Return the main version of Node.js; 0 where there is none."""
    node = shutil.which("node")
    if node is None:
        return 0
    run = subprocess.run([node, "--version"], capture_output=True, encoding="utf-8", check=False)
    match = re.match(r"v(\d+)", run.stdout)
    return int(match[1]) if match else 0


@functools.cache
def missing() -> tuple[str, ...]:
    """Return what this machine would have to have for all tests."""
    found = {name: shutil.which(name) is not None for name in BROWSERS}
    found |= {NODE: node_version() >= 20, PACKAGES: (WEB / "node_modules").is_dir()}
    found |= {BUNDLED: bundling.is_current(WEB)}
    return tuple(name for name, is_here in found.items() if not is_here)


def skip_without(*names: str) -> None:
    """Skip the test where one of these is missing."""
    if set(names) & set(missing()):
        pytest.skip(f"tests of pages need {'; '.join(missing())}. .ci/run installs all of it")

"""Puts the rivals where git does not see them."""

from __future__ import annotations

import shutil
import subprocess
import sys

from tests.benchmarks.peers.rivals import HERE, NODE, NODE_MODULES, PACKAGES

__all__ = ["install"]


def install() -> None:
    """Install all rivals afresh; without npm, those in Python only.

    Raises:
        subprocess.CalledProcessError: pip or npm failed, and has said why.
    """
    shutil.rmtree(PACKAGES, ignore_errors=True)
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--quiet"),
            # Exactly what the file lists, so that nothing comes in by itself.
            *("--no-deps", "--target", str(PACKAGES)),
            *("--requirement", str(HERE / "requirements.txt")),
        ],
        check=True,
    )
    npm = shutil.which("npm")
    if npm is None:
        print("Colyseus needs Node and npm, which are not installed.", file=sys.stderr)
        return
    shutil.rmtree(NODE_MODULES, ignore_errors=True)
    subprocess.run(
        [
            *(npm, "install", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund"),
            # Colyseus asks for Node 22 and runs on 20 too; that warning would only worry.
            "--loglevel=error",
        ],
        cwd=NODE,
        check=True,
    )

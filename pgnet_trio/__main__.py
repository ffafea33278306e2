"""``python -m pgnet_trio``: the same as the command ``pgnet-trio``."""

from __future__ import annotations

import sys

from pgnet_trio.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())

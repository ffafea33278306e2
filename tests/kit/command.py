"""``pgnet-trio`` with passwords that cost next to nothing: ``python -m tests.kit.command``.

A password costs as much as a quarter of a program's start, and no test of a program is about that.
"""

from __future__ import annotations

import sys

from pgnet_trio.cli import main
from pgnet_trio.crypto import PasswordHasher

if __name__ == "__main__":
    PasswordHasher.__init__.__defaults__ = (1, 8192)
    sys.exit(main())

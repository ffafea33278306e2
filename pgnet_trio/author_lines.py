"""Which lines of a traceback are the author's, and not of a library."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

__all__ = ["LIBRARIES", "PACKAGE"]

PACKAGE = str(Path(__file__).parent) + os.sep
"""How the names of this package's files begin."""

LIBRARIES = (
    PACKAGE,
    *{sysconfig.get_path(name) + os.sep for name in ("stdlib", "purelib", "platlib")},
)
"""How the names of files begin that are not the author's."""

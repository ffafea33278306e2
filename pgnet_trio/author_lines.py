"""Which lines of a traceback are the author's, and not of a library."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

__all__ = ["LIBRARIES", "PACKAGE"]

PACKAGE = str(Path(__file__).parent) + os.sep
"""How the names of this package's files begin."""

LIBRARIES = (PACKAGE, *{sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")})
"""How the names of files begin that are not the author's."""

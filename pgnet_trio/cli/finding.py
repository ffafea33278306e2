"""What ``pgnet-trio doctor`` has found, and how it reads the options of a server."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

__all__ = ["Finding", "path_of"]


@attrs.frozen
class Finding:
    """Something that was looked at.

    Attributes:
        level: ``ok``, ``warn`` or ``bad``.
        text: How it is, and what to do about it.
    """

    level: str
    text: str


def path_of(settings: Mapping[str, Any], name: str) -> Path | None:
    """Return the file that an option names; None where it was not given."""
    value = settings.get(name)
    return Path(value) if value else None

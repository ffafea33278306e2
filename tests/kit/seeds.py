"""Seeds of what is played by chance: a few each time, and many for a night."""

from __future__ import annotations

from hypothesis import settings


def seeds(count: int) -> range:
    """Return so many seeds, and more in proportion where Hypothesis has more examples."""
    return range(count * settings().max_examples // 100)

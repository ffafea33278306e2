"""The last hour in figures, for small charts: rings of a fixed size. Pure."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from typing import Any

__all__ = ["POINTS", "STEP", "History"]

STEP = 5.0
"""Seconds from one point to the next."""

POINTS = 720
"""An hour of them."""


class History:
    """Has the last points of several series.

    Args:
        names: What the series are called.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self._series = {name: array("d", [math.nan]) * POINTS for name in names}
        self.count = 0

    def add(self, point: Mapping[str, float]) -> None:
        """Add a point; a series that is left out has a gap there."""
        at = self.count % POINTS
        for name, series in self._series.items():
            series[at] = point.get(name, math.nan)
        self.count += 1

    def latest(self) -> dict[str, float | None]:
        """Return the latest point as plain data; None for gaps."""
        at = (self.count - 1) % POINTS
        return {name: _short(series[at]) for name, series in self._series.items()}

    def as_data(self) -> dict[str, Any]:
        """Return all points, the oldest first, as plain data; None for gaps."""
        begin = self.count % POINTS
        return {
            "step": STEP,
            "points": POINTS,
            "series": {
                name: [_short(value) for value in (*series[begin:], *series[:begin])]
                for name, series in self._series.items()
            },
        }


def _short(value: float) -> float | None:
    # Three digits more than a chart shows.
    return None if math.isnan(value) else float(f"{value:.4g}")

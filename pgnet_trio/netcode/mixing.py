"""What is between two values: the one arithmetic of what is shown, and of hits in the past."""

from __future__ import annotations

__all__ = ["mix", "mix_angles"]

# As in `pgnet_trio/web/netcode.js`, to the bit: only + - * / and comparisons.
HALF_TURN = 3.141592653589793
TURN = 6.283185307179586


def mix(before: float, after: float, share: float) -> float:
    """Return what is between two numbers: *before* at a share of 0, *after* at 1."""
    return before + (after - before) * share


def mix_angles(before: float, after: float, share: float) -> float:
    """Return what is between two angles in radians, the short way round.

    The result is within a turn of *before*, and not brought into any range.
    """
    way = after - before
    if not -HALF_TURN <= way <= HALF_TURN:
        turns = way / TURN
        whole = float(int(turns + 0.5 if turns >= 0 else turns - 0.5))
        way = way - whole * TURN
    return before + way * share

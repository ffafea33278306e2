"""Of which moment of a game a state is."""

from __future__ import annotations

import attrs

__all__ = ["NO_MOMENT", "Moment"]


@attrs.frozen
class Moment:
    """Of which moment of its game a state is, as the server says it.

    Attributes:
        tick: The number of the latest update that is in it; 0 for none, and for a game that has
            no `update`. An update that was skipped counts too, so ticks are apart by `Room.dt`.
        time: The room's time in seconds. In a game with updates it is that of the tick, so two
            states are as far apart as their ticks, however late one of them was.
        confirmed: The number of the last input of this player that is in it; 0 for none.
    """

    tick: int = 0
    time: float = 0.0
    confirmed: int = 0


NO_MOMENT = Moment()
"""Where there is no state yet."""

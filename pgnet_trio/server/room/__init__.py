"""One game at one table: its turns, its members, and what they are told.

The modules form a stack, and each knows only those below it:

- `room`: a game's life. `backend`: what the author's game sees of it.
- `freezing`: a game goes to another server, and comes from one. `frozen`: what travels.
- `reloading`: a game goes on with another class.
- `loop`: one turn after the other. `scripts`, `ticker`, `bots`: what runs beside it.
- `membership`: who joins and leaves. `presence`: who is told who is there.
- `restarts`: games that raise, and are made again.
- `dispatch`: a packet's way to its handler. `runner`: the game's code, step by step.
- `publisher`: pushes, and when the state is looked at. `snapshots`: each encoded once for many.
- `simulation`: the ticks of a game, the inputs of its players, and the past.
- `queue`, `instance`, `members`, `questions`, `deferred`: one piece of state each.
- `player`, `owner`: what a room needs of sessions, and of whoever keeps it.
"""

from __future__ import annotations

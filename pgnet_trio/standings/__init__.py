"""How games ended: results, leaderboards, and what a player has played.

Nothing here knows a clock, a task or a socket. The server keeps what is reported in an engine
(`pgnet_trio.server.cluster`), and says who may see it.
"""

from __future__ import annotations

from pgnet_trio.standings.leaderboard import Keep, Leaderboard, leaderboards_of
from pgnet_trio.standings.records import (
    LeaderboardEntry,
    LeaderboardPage,
    PlayedGame,
    RatingChange,
)
from pgnet_trio.standings.result import MAX_SCORE, Result

__all__ = [
    "MAX_SCORE",
    "Keep",
    "Leaderboard",
    "LeaderboardEntry",
    "LeaderboardPage",
    "PlayedGame",
    "RatingChange",
    "Result",
    "leaderboards_of",
]

"""Results of games, from their rooms to where they are kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pgnet_trio.messages import wall_clock
from pgnet_trio.server.cluster.errors import EngineError, EngineUnavailable, Fenced, OutcomeUnknown
from pgnet_trio.server.cluster.standing_records import BoardScores, Report
from pgnet_trio.server.refusals import ReportRefused
from pgnet_trio.standings import PlayedGame

if TYPE_CHECKING:
    from pgnet_trio.server.cluster.community import Community
    from pgnet_trio.server.room.outcome import Outcome
    from pgnet_trio.standings import Leaderboard, Result

__all__ = ["Results"]


class Results:
    """Has the results of games counted.

    Args:
        community: Keeps them.
        epochs: In which epoch each game is this server's; None for a server alone.
    """

    def __init__(self, community: Community[Any], epochs: Mapping[str, int] | None) -> None:
        self._community = community
        self._epochs = epochs

    async def report(
        self,
        name: str,
        result: Result,
        outcome: Outcome,
        users: tuple[str, ...],
        leaderboards: Mapping[str, Leaderboard],
    ) -> PlayedGame:
        """Count the result of a game; see `RoomOwner.report`. *name* is the game's."""
        epoch = None
        if self._epochs is not None:
            epoch = self._epochs.get(name)
            if epoch is None:
                raise ReportRefused("another server has this game by now")
        played = PlayedGame(
            name=name,
            ended_at=wall_clock.get()(),
            ranks=[list(group) for group in result.ranks],
            scores=dict(result.scores),
            boards={name: dict(scores) for name, scores in result.boards.items()},
        )
        boards = []
        for board_name, board in leaderboards.items():
            if board.rating is not None:
                if board.rating == outcome.queue:
                    boards.append(BoardScores(board_name, board, {}))
                continue
            scores = result.boards.get(board_name, result.scores)
            # A bot is on no leaderboard.
            mine = {player: score for player, score in scores.items() if player in users}
            if mine:
                boards.append(BoardScores(board_name, board, mine))
        report = Report(
            id=outcome.id,
            played=played,
            users=users,
            boards=tuple(boards),
            queue=outcome.queue,
            epoch=epoch,
            began=outcome.began,
        )
        try:
            return await self._community.report(report)
        except EngineUnavailable as error:
            raise ReportRefused(f"{error}; report it again later") from error
        except OutcomeUnknown as error:
            raise ReportRefused(
                f"nobody knows whether it was: {error}; report it again, it counts once"
            ) from error
        except Fenced as error:
            raise ReportRefused("another server has this game by now") from error
        except EngineError as error:
            raise ReportRefused(str(error)) from error

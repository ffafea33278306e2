"""Players, tables, bans and servers as the rows of the monitor's page. Pure.

What changes all the time without being worth a look is rounded here: a row that is the same as
before is not sent again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgnet_trio.server.cluster.versions import NodeVersion

if TYPE_CHECKING:
    from pgnet_trio.server.bans import Ban
    from pgnet_trio.server.cluster.records import Listing, Node, Survey
    from pgnet_trio.server.stats import GameStats, SessionStats

__all__ = ["describe_ban", "describe_listing", "describe_node", "describe_player", "describe_table"]


def describe_player(name: str, stats: SessionStats, epoch: float) -> dict[str, Any]:
    """Return the row of a user who is logged in.

    Args:
        name: The user's name.
        stats: Their session.
        epoch: When the clock of its times was 0, in seconds since 1970.
    """
    return {
        "name": name,
        "game": stats.game,
        "online": stats.online,
        "address": stats.address,
        "since": None if stats.since is None else round(stats.since + epoch),
        "protocol": stats.protocol,
        "latency": None if stats.latency is None else round(stats.latency, 3),
        "unanswered": stats.unanswered,
        "unacknowledged": stats.unacknowledged,
        "unacknowledged_bytes": stats.unacknowledged_bytes,
        "dropped": stats.dropped_pushes,
    }


def describe_table(name: str, stats: GameStats) -> dict[str, Any]:
    """Return the row of a table."""
    room = stats.room
    return {
        "name": name,
        "class": room.game_class,
        "options": dict(room.options),
        "players": room.players,
        "spectators": room.spectators,
        "bots": room.bots,
        "persistent": room.is_persistent,
        "locked": room.locked,
        "state_size": room.state_size,
        "questions": room.open_questions,
        "waiting": room.waiting_turns,
        "missed_ticks": room.missed_ticks,
        "long_turns": room.long_turns,
        "turn_time": _two_digits(room.turn_time),
        "longest_turn": _two_digits(room.longest_turn),
        "waits_for": room.waits_for,
        "is_over": room.is_over,
    }


def describe_ban(ban: Ban) -> dict[str, Any]:
    """Return the row of a ban."""
    return {
        "name": ban.subject,
        "whom": ban.whom,
        "is_of_a_user": ban.is_of_a_user,
        "reason": ban.reason,
        "by": ban.by,
        "made": ban.made,
        "ends": ban.ends,
    }


def describe_node(node: Node, survey: Survey, own: int) -> dict[str, Any]:
    """Return the row of a server.

    Args:
        node: The server.
        survey: Has what it has.
        own: The number of the server whose monitor this is.
    """
    version = NodeVersion.decode(node.version)
    return {
        "name": str(node.id),
        "label": node.name,
        "address": node.address,
        "version": version.package,
        "game": version.game,
        "state": "silent" if not node.alive else "draining" if node.draining else "ready",
        "tables": survey.rooms.get(node.id, 0),
        "players": survey.users.get(node.id, 0),
        "load": _two_digits(node.load),
        "lag": round(survey.lags.get(node.id, 0.0), 3),
        "is_own": node.id == own,
    }


def describe_listing(listing: Listing, servers: dict[int, str], own: int) -> dict[str, Any]:
    """Return the row of a table anywhere in the cluster.

    Args:
        listing: The table.
        servers: The names of the servers, by their numbers.
        own: The number of the server whose monitor this is.
    """
    where = None if listing.node is None else servers.get(listing.node, f"number {listing.node}")
    return {
        "name": listing.name,
        "server": where,
        "is_own": listing.node == own,
        "players": listing.players,
        "locked": listing.locked,
    }


def _two_digits(figure: float) -> float:
    return float(f"{figure:.2g}")

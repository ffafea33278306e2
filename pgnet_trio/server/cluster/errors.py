"""What an engine raises on purpose.

::

    PGNetError
    └── EngineError
        ├── EngineUnavailable           it does not answer, or takes no writes; nothing was changed
        ├── OutcomeUnknown              the answer to a change was lost: it may have happened
        ├── Fenced                      somebody else owns the room now, or it is gone
        ├── LeaseLapsed                 the node's lease is over: renew it first
        ├── NodeGone                    the node is not registered any more: register anew
        ├── NodeUnavailable             the other node has gone, or is being drained
        ├── LoggedInLater               the user has a session by a later log-in
        ├── NameInUse                   another node has that name or address
        ├── OtherIdentity               the other nodes have another key
        ├── SaveDamaged                 the checksum of a save does not fit
        ├── NotKept                     this kind of save file keeps no such thing
        ├── ReportedBefore              the game has reported another result
        └── BoardTurned                 the leaderboard is kept in the other order
"""

from __future__ import annotations

from pgnet_trio.errors import PGNetError

__all__ = [
    "BoardTurned",
    "EngineError",
    "EngineUnavailable",
    "Fenced",
    "LeaseLapsed",
    "LoggedInLater",
    "NameInUse",
    "NodeGone",
    "NodeUnavailable",
    "NotKept",
    "OtherIdentity",
    "OutcomeUnknown",
    "ReportedBefore",
    "SaveDamaged",
]


class EngineError(PGNetError):
    """The engine refused something, or could not do it; the message says why."""


class EngineUnavailable(EngineError):
    """The engine does not answer, or takes no writes. Nothing was changed; try again."""


class OutcomeUnknown(EngineError):
    """The answer to a change was lost, so the change may have happened, or may yet happen.

    Args:
        message: What went wrong.
        operation: The change's id. The same call with the same id returns what the first one
            would have returned, or makes the change now; never twice.
    """

    def __init__(self, message: str, operation: bytes = b"") -> None:
        super().__init__(message)
        self.operation = operation


class Fenced(EngineError):
    """The room is not this node's any more: nothing was written, and the node has to let it go."""


class LeaseLapsed(EngineError):
    """The node's lease is over by the engine's clock; renew it, and see which rooms are left."""


class NodeGone(EngineError):
    """The engine knows no such node any more; whoever it was has to register anew."""


class NodeUnavailable(EngineError):
    """The node that was to take something over has gone, or is being drained; choose another."""


class NameInUse(EngineError):
    """A node of that name, or with that address, is registered, and its lease is not over.

    Args:
        message: Which one, and what to do.
        renewed: When its lease was renewed last, by the engine's clock.
    """

    def __init__(self, message: str, renewed: float) -> None:
        super().__init__(message)
        self.renewed = renewed


class LoggedInLater(EngineError):
    """Another log-in of the user was asked for later than this one, and has the session."""


class OtherIdentity(EngineError):
    """The other nodes of the cluster prove with another key who they are."""


class SaveDamaged(EngineError):
    """The checksum of a saved game does not fit; it is left as it is."""


class NotKept(EngineError):
    """Where this server saves, there is no place for it; the message says what to use instead."""


class ReportedBefore(EngineError):
    """A game reports another result than before: only its first one counts."""


class BoardTurned(EngineError):
    """The best scores of a leaderboard are at its other end."""

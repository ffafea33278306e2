"""What nodes write to each other about users; pure."""

from __future__ import annotations

import json

import attrs

__all__ = ["EndSession", "read_note"]

_END_SESSION = "end_session"


@attrs.frozen
class EndSession:
    """A node is to end the session of a user, unless it has ended by itself.

    Attributes:
        username: Whose.
        epoch: Which one, as in `SessionRow`. A later one of the same name may be somebody else's.
        reason: What the user is told.
        code: The same for programs: a `ReasonCode`.
    """

    username: str = attrs.field(validator=attrs.validators.instance_of(str))
    epoch: int = attrs.field(validator=attrs.validators.instance_of(int))
    reason: str = attrs.field(validator=attrs.validators.instance_of(str))
    code: str = attrs.field(validator=attrs.validators.instance_of(str))

    def packed(self) -> bytes:
        """Return the note as mail."""
        # Not with the codec: the name of an older user may be no valid Unicode.
        return json.dumps({_END_SESSION: attrs.asdict(self)}).encode()


def read_note(body: bytes) -> EndSession | None:
    """Return what a mail says; None for what this version does not know."""
    try:
        return EndSession(**json.loads(body)[_END_SESSION])
    except (ValueError, LookupError, TypeError):
        return None

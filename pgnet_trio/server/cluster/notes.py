"""What nodes write to each other about users and games; pure."""

from __future__ import annotations

import base64
import json
from typing import Any, TypeAlias

import attrs

from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.cluster.rules import MAX_BODY

__all__ = [
    "MAX_HOPS",
    "MAX_PUSH",
    "Announce",
    "Arrived",
    "BansChanged",
    "EndSession",
    "KickUser",
    "Note",
    "PushToUser",
    "Welcomed",
    "read_note",
]

MAX_HOPS = 5
"""How often a note goes after a user who moves: nobody moves that often in a moment."""

MAX_PUSH = 32 * 1024
"""Bytes of a push that has to fit into mail, encoded."""

_is_text = attrs.validators.instance_of(str)
_is_number = attrs.validators.instance_of(int)


def _check_push(note: PushToUser, attribute: attrs.Attribute[bytes], envelope: object) -> None:
    if not isinstance(envelope, bytes) or len(envelope) > MAX_PUSH:
        raise ValueError(f"expected a push of at most {MAX_PUSH:,} bytes")


@attrs.frozen
class EndSession:
    """A node is to end the session of a user, unless it has ended by itself.

    Attributes:
        username: Whose.
        epoch: Which one, as in `SessionRow`. A later one of the same name may be somebody else's.
        reason: What the user is told.
        code: The same for programs: a `ReasonCode`.
    """

    username: str = attrs.field(validator=_is_text)
    epoch: int = attrs.field(validator=_is_number)
    reason: str = attrs.field(validator=_is_text)
    code: str = attrs.field(validator=_is_text)

    def packed(self) -> bytes:
        """Return the note as mail."""
        return _packed(self)


@attrs.frozen
class PushToUser:
    """A node is to push something to a user; it goes after a user who has moved.

    Attributes:
        username: To whom.
        envelope: The push, encoded.
        hops: How often the note has gone on already.
        feature: The feature without which a client is not told; empty for all clients.
    """

    username: str = attrs.field(validator=_is_text)
    envelope: bytes = attrs.field(validator=_check_push, repr=False)
    hops: int = attrs.field(default=0, validator=_is_number)
    feature: str = attrs.field(default="", validator=_is_text)

    def packed(self) -> bytes:
        """Return the note as mail."""
        return _packed(self)


@attrs.frozen
class KickUser:
    """A node is to end whatever session a user has; it goes after a user who has moved.

    Attributes:
        username: Whose.
        reason: What the user is told.
        hops: How often the note has gone on already.
        code: The reason for programs: a `ReasonCode`.
    """

    username: str = attrs.field(validator=_is_text)
    reason: str = attrs.field(validator=_is_text)
    hops: int = attrs.field(default=0, validator=_is_number)
    code: str = attrs.field(default=str(ReasonCode.KICKED), validator=_is_text)

    def packed(self) -> bytes:
        """Return the note as mail."""
        return _packed(self)


@attrs.frozen
class Announce:
    """A node is to tell something to all users that are there.

    Attributes:
        id: Which announcement, for all nodes: nobody is told one twice.
        text: What it says.
        game: The name of the game whose users it is for; empty for everybody.
    """

    id: str = attrs.field(validator=_is_text)
    text: str = attrs.field(validator=_is_text)
    game: str = attrs.field(default="", validator=_is_text)

    def packed(self) -> bytes:
        """Return the note as mail."""
        return _packed(self)


@attrs.frozen
class Arrived:
    """A node has a room that another one has handed over, and its users may be sent there.

    Attributes:
        name: The room's name.
        epoch: In which epoch it was handed over.
    """

    name: str = attrs.field(validator=_is_text)
    epoch: int = attrs.field(validator=_is_number)

    def packed(self) -> bytes:
        """Return the note as mail."""
        return _packed(self)


@attrs.frozen
class BansChanged:
    """A node is to read the bans anew."""

    def packed(self) -> bytes:
        """Return the note as mail."""
        return _packed(self)


@attrs.frozen
class Welcomed:
    """Users who were sent to a node along with their rooms are there: it has time for others.

    Attributes:
        node: The node's id.
        users: How many of them.
    """

    node: int = attrs.field(validator=_is_number)
    users: int = attrs.field(validator=_is_number)

    def packed(self) -> bytes:
        """Return the note as mail."""
        return _packed(self)


Note: TypeAlias = EndSession | PushToUser | KickUser | Announce | BansChanged | Arrived | Welcomed

_KINDS: dict[str, type[Note]] = {
    "end_session": EndSession,
    "push": PushToUser,
    "kick": KickUser,
    "announce": Announce,
    "bans_changed": BansChanged,
    "arrived": Arrived,
    "welcomed": Welcomed,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


def _packed(note: Note) -> bytes:
    # Not with the codec: the name of an older user may be no valid Unicode.
    fields: dict[str, Any] = attrs.asdict(note)
    if isinstance(note, PushToUser):
        fields["envelope"] = base64.b64encode(note.envelope).decode()
        if not note.feature:
            # Nodes of earlier versions know no such field.
            del fields["feature"]
    body = json.dumps({_NAMES[type(note)]: fields}).encode()
    assert len(body) <= MAX_BODY
    return body


def read_note(body: bytes) -> Note | None:
    """Return what a mail says; None for what this version does not know."""
    try:
        ((name, fields),) = json.loads(body).items()
        if name == "push":
            fields["envelope"] = base64.b64decode(fields["envelope"], validate=True)
        return _KINDS[name](**fields)
    except (ValueError, LookupError, TypeError, AttributeError):
        return None

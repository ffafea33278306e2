"""The rules of protocol 2: which envelope may come in which state, and the protocol's numbers."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping, Sequence

from pgnet_trio.protocol.v2 import envelopes as wire
from pgnet_trio.protocol.v2.features import (
    COLUMNS,
    LOST,
    MATCHMAKING,
    MOVED,
    NETCODE,
    RESTART,
)

__all__ = [
    "ACKNOWLEDGE_AFTER",
    "CLIENT_TRANSITIONS",
    "CLOSED",
    "COUNTED",
    "FEATURE_OF",
    "FRAME_OVERHEAD",
    "HANDSHAKE",
    "MAX_ADDRESS",
    "MAX_ENVELOPE_SIZE",
    "MAX_FRAME_SIZE",
    "MIN_FRAME_SIZE",
    "OPEN",
    "SERVER_TRANSITIONS",
    "SUBPROTOCOL",
    "SUBPROTOCOLS",
    "SUBPROTOCOL_2_1",
    "TAKEN_OVER",
    "TOKEN_BYTES",
    "WINDOW",
    "State",
    "Transitions",
    "is_moved_address",
    "prologue",
    "prove",
]

SUBPROTOCOL = "pgnet.2"
"""What release 0.1 speaks; its hello names no features."""

SUBPROTOCOL_2_1 = "pgnet.2.1"
"""The same, with features; see `pgnet_trio.protocol.v2.features`."""

SUBPROTOCOLS = (SUBPROTOCOL_2_1, SUBPROTOCOL)
"""What this release offers and takes, the best first."""

TAKEN_OVER = "taken over"
"""The reason that a client is given when another client of its user has taken the session over."""

TOKEN_BYTES = 32
"""Bytes of the token that resumes a session, the longest key that BLAKE2s takes; and of the one
that stands for the password."""

WINDOW = 64
"""How far a request's id may be beyond that of the oldest request that is not settled."""

ACKNOWLEDGE_AFTER = 32
"""Counted envelopes, or quiet requests, after which an acknowledgement gets a frame of its own.

That is half a window, so that nobody has to wait for it. Any other frame takes one along earlier.
"""

MAX_FRAME_SIZE = 32 * 1024
"""Bytes of a frame that gathers several envelopes.

While a client reads slowly, the server holds the envelopes twice: in the delivery and in the frame
that waits to be written. So frames stay short.
"""

MAX_ENVELOPE_SIZE = 900 * 1024
"""Bytes of the longest state, push, question or response that a server sends.

Clients take 1 MiB as one message. The limit is the same for all of them, so that an author meets it
at once, and not when somebody comes with another client.
"""

MAX_ADDRESS = 500
"""Characters of the address that a session moves to: it fits into the shortest frame."""

MIN_FRAME_SIZE = 1024
"""The lowest limit that a side may announce: a refusal and a goodbye fit into it."""

FRAME_OVERHEAD = 5 + 11
"""Bytes of a frame that do not count towards its size: the array's head, an acknowledgement."""


class State(enum.Enum):
    """How far a conversation is, as one side sees it."""

    HANDSHAKE = "waits for the other side's half of the handshake"
    HELLO = "waits for the other side's hello"
    LOG_IN = "waits for the client to log in, or to resume its session"
    VERDICT = "waits for the server to let the client in"
    RETURN = "waits for the server to give the client its session back"
    RECOGNITION = "waits for the server to take the client's token for its password"
    OPEN = "carries requests, answers and pushes"
    CLOSED = "has ended"

    __hash__ = object.__hash__


# Every frame compares with these, and looking up a member of an enum is slow.
HANDSHAKE, OPEN, CLOSED = State.HANDSHAKE, State.OPEN, State.CLOSED

Transitions = Mapping[State, Mapping[type, State]]

# For each state: the kinds of envelope that may come, and the state after each. A message of the
# handshake, which is no envelope, counts as `bytes`.
SERVER_TRANSITIONS: Transitions = {
    State.HANDSHAKE: {bytes: State.HELLO},
    State.HELLO: {wire.Hello: State.LOG_IN},
    State.LOG_IN: {
        wire.LogInEnvelope: State.VERDICT,
        wire.ResumeEnvelope: State.VERDICT,
        wire.Ping: State.LOG_IN,
        wire.Pong: State.LOG_IN,
        wire.GoodbyeEnvelope: State.CLOSED,
    },
    State.VERDICT: {
        wire.Ping: State.VERDICT,
        wire.Pong: State.VERDICT,
        wire.GoodbyeEnvelope: State.CLOSED,
    },
    State.OPEN: {
        wire.RequestEnvelope: State.OPEN,
        wire.AnswerEnvelope: State.OPEN,
        wire.Acknowledgement: State.OPEN,
        wire.FullStateRequestEnvelope: State.OPEN,
        wire.InputEnvelope: State.OPEN,
        wire.TimeRequestEnvelope: State.OPEN,
        wire.Ping: State.OPEN,
        wire.Pong: State.OPEN,
        wire.GoodbyeEnvelope: State.CLOSED,
    },
    State.CLOSED: {},
}

CLIENT_TRANSITIONS: Transitions = {
    State.HANDSHAKE: {bytes: State.HELLO},
    # The state is RETURN instead of VERDICT where the client resumes its session, and RECOGNITION
    # where it logs in with a token.
    State.HELLO: {wire.Hello: State.VERDICT, wire.Refusal: State.CLOSED},
    State.VERDICT: {
        wire.Welcome: State.OPEN,
        wire.Refusal: State.CLOSED,
        wire.Ping: State.VERDICT,
        wire.Pong: State.VERDICT,
        wire.GoodbyeEnvelope: State.CLOSED,
        wire.MovedEnvelope: State.CLOSED,
    },
    State.RETURN: {
        wire.ResumedEnvelope: State.OPEN,
        wire.SessionGone: State.LOG_IN,
        wire.Refusal: State.CLOSED,
        wire.Ping: State.RETURN,
        wire.Pong: State.RETURN,
        wire.GoodbyeEnvelope: State.CLOSED,
        wire.MovedEnvelope: State.CLOSED,
    },
    State.RECOGNITION: {
        wire.Welcome: State.OPEN,
        wire.SessionGone: State.LOG_IN,
        wire.Refusal: State.CLOSED,
        wire.Ping: State.RECOGNITION,
        wire.Pong: State.RECOGNITION,
        wire.GoodbyeEnvelope: State.CLOSED,
        wire.MovedEnvelope: State.CLOSED,
    },
    State.LOG_IN: {
        wire.Ping: State.LOG_IN,
        wire.Pong: State.LOG_IN,
        wire.GoodbyeEnvelope: State.CLOSED,
    },
    State.OPEN: {
        wire.ResponseEnvelope: State.OPEN,
        wire.PushEnvelope: State.OPEN,
        wire.StateEnvelope: State.OPEN,
        wire.PatchEnvelope: State.OPEN,
        wire.ColumnPatchEnvelope: State.OPEN,
        wire.LastState: State.OPEN,
        wire.QuestionEnvelope: State.OPEN,
        wire.WithdrawalEnvelope: State.OPEN,
        wire.GameEnvelope: State.OPEN,
        wire.Acknowledgement: State.OPEN,
        wire.Ping: State.OPEN,
        wire.Pong: State.OPEN,
        wire.GoodbyeEnvelope: State.CLOSED,
        wire.RestartEnvelope: State.CLOSED,
        wire.MovedEnvelope: State.CLOSED,
        wire.LostEnvelope: State.OPEN,
        wire.SearchEnvelope: State.OPEN,
        wire.TimeEnvelope: State.OPEN,
        wire.MomentEnvelope: State.OPEN,
    },
    State.CLOSED: {},
}

# Of which feature a kind of envelope is; the others belong to every release.
FEATURE_OF: Mapping[type, str] = {
    wire.RestartEnvelope: RESTART,
    wire.LostEnvelope: LOST,
    wire.ColumnPatchEnvelope: COLUMNS,
    wire.MovedEnvelope: MOVED,
    wire.SearchEnvelope: MATCHMAKING,
    wire.InputEnvelope: NETCODE,
    wire.TimeRequestEnvelope: NETCODE,
    wire.TimeEnvelope: NETCODE,
    wire.MomentEnvelope: NETCODE,
}

# The client counts and acknowledges these; until then, the server keeps them.
COUNTED = (
    wire.ResponseEnvelope,
    wire.PushEnvelope,
    wire.LastState,
    wire.QuestionEnvelope,
    wire.WithdrawalEnvelope,
    wire.GameEnvelope,
    wire.LostEnvelope,
    wire.SearchEnvelope,
)


def is_moved_address(address: str) -> bool:
    """Return whether a text can be the address in a `MovedEnvelope`; who connects reads it."""
    return (
        0 < len(address) <= MAX_ADDRESS
        and address.isascii()
        and address.isprintable()
        and " " not in address
    )


def prologue(offered: Sequence[str], selected: str = SUBPROTOCOL) -> bytes:
    """Return what both sides mix into the handshake.

    Whoever changes the offer or the selection on the way makes the handshake fail.

    Args:
        offered: The subprotocols as the client offers them, in its order.
        selected: The one that the server selects.
    """
    return b"\0".join([selected.encode(), *(name.encode() for name in offered)])


def prove(token: bytes, handshake_hash: bytes) -> bytes:
    """Return the proof of holding a session's token, valid for one connection alone.

    It is a keyed BLAKE2s (RFC 7693).
    """
    return hashlib.blake2s(handshake_hash, key=token).digest()

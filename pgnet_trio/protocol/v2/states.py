"""The rules of protocol 2: what may come when, and the numbers in it."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping, Sequence

from pgnet_trio.protocol.v2 import envelopes as wire

__all__ = [
    "CLIENT_STEPS",
    "CLOSED",
    "COUNTED",
    "FRAME_OVERHEAD",
    "HANDSHAKE",
    "MAX_FRAME_SIZE",
    "MIN_FRAME_SIZE",
    "OPEN",
    "PIECE_BYTES",
    "SERVER_STEPS",
    "SUBPROTOCOL",
    "TAG_BYTES",
    "TAKEN_OVER",
    "TOKEN_BYTES",
    "State",
    "Steps",
    "prologue",
    "prove",
]

SUBPROTOCOL = "pgnet.2"

TAKEN_OVER = "taken over"
"""The reason that a client is given in whose place another one of the user has come."""

TOKEN_BYTES = 32
"""Bytes of the token that resumes a session: as many as the key of BLAKE2s takes."""

MAX_FRAME_SIZE = 32 * 1024
"""Bytes of a frame that gathers envelopes; a longer one would keep a slow client's memory twice,
in the envelopes and in the frame that waits to be written."""

MIN_FRAME_SIZE = 1024
"""The shortest limit that a side may announce: a refusal and a goodbye fit into it."""

FRAME_OVERHEAD = 5 + 11
"""Bytes that a frame may have beside what is counted: the array's head, an acknowledgement."""

TAG_BYTES = 16
"""Bytes that encryption adds to each Noise message."""

PIECE_BYTES = 65_519
"""Plaintext bytes of one Noise message."""


class State(enum.Enum):
    """How far a conversation is, as one side sees it."""

    HANDSHAKE = "waits for the other side's half of the handshake"
    HELLO = "waits for the other side's hello"
    LOG_IN = "waits for the client to log in, or to resume its session"
    VERDICT = "waits for the server to let the client in"
    RETURN = "waits for the server to give the client its session back"
    OPEN = "carries requests, answers and pushes"
    CLOSED = "has ended"

    __hash__ = object.__hash__


# Those that are looked at for each frame: it takes long to find an attribute of an enum.
HANDSHAKE, OPEN, CLOSED = State.HANDSHAKE, State.OPEN, State.CLOSED

Steps = Mapping[State, Mapping[type, State]]

# What may come, and the state after it.
SERVER_STEPS: Steps = {
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
        wire.StateWantedEnvelope: State.OPEN,
        wire.Ping: State.OPEN,
        wire.Pong: State.OPEN,
        wire.GoodbyeEnvelope: State.CLOSED,
    },
    State.CLOSED: {},
}

CLIENT_STEPS: Steps = {
    State.HANDSHAKE: {bytes: State.HELLO},
    # Or RETURN, where the client has asked for its session instead of logging in.
    State.HELLO: {wire.Hello: State.VERDICT, wire.Refusal: State.CLOSED},
    State.VERDICT: {
        wire.Welcome: State.OPEN,
        wire.Refusal: State.CLOSED,
        wire.Ping: State.VERDICT,
        wire.Pong: State.VERDICT,
        wire.GoodbyeEnvelope: State.CLOSED,
    },
    State.RETURN: {
        wire.ResumedEnvelope: State.OPEN,
        wire.SessionGone: State.LOG_IN,
        wire.Refusal: State.CLOSED,
        wire.Ping: State.RETURN,
        wire.Pong: State.RETURN,
        wire.GoodbyeEnvelope: State.CLOSED,
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
        wire.LastState: State.OPEN,
        wire.QuestionEnvelope: State.OPEN,
        wire.WithdrawalEnvelope: State.OPEN,
        wire.GameEnvelope: State.OPEN,
        wire.Acknowledgement: State.OPEN,
        wire.Ping: State.OPEN,
        wire.Pong: State.OPEN,
        wire.GoodbyeEnvelope: State.CLOSED,
    },
    State.CLOSED: {},
}

# What the client counts, so that the server may forget it.
COUNTED = (
    wire.ResponseEnvelope,
    wire.PushEnvelope,
    wire.LastState,
    wire.QuestionEnvelope,
    wire.WithdrawalEnvelope,
    wire.GameEnvelope,
)


def prologue(offered: Sequence[str]) -> bytes:
    """What both sides mix into the handshake: the protocol, and the subprotocols as offered.

    Who strips one of these on the way makes the handshake fail.
    """
    return b"\0".join([SUBPROTOCOL.encode(), *(name.encode() for name in offered)])


def prove(token: bytes, handshake_hash: bytes) -> bytes:
    """Prove to hold a session's token, over one connection alone (keyed BLAKE2s, RFC 7693)."""
    return hashlib.blake2s(handshake_hash, key=token).digest()

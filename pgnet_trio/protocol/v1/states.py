"""The rules of protocol 1: which message may come in which state."""

from __future__ import annotations

import enum
from collections.abc import Mapping

__all__ = [
    "ANSWER",
    "CLIENT_TRANSITIONS",
    "CLOSED",
    "OPEN",
    "REQUEST",
    "SERVER_TRANSITIONS",
    "MessageKind",
    "State",
    "Transitions",
]


class State(enum.Enum):
    """How far a conversation is, as one side sees it."""

    KEY_TRADE = "waits for the other side's public key"
    LOG_IN = "waits for the client to log in"
    VERDICT = "waits for the server to accept or refuse the log-in"
    OPEN = "carries requests and answers"
    CLOSED = "has ended"

    # Members are compared by identity; the hash of Enum costs more than the rest of a lookup here.
    __hash__ = object.__hash__


class MessageKind(enum.Enum):
    """What a message is, whoever sends it."""

    KEY = "a public key"
    LOG_IN = "a log-in"
    ACCEPTANCE = "the acceptance of a log-in"
    REFUSAL = "a refusal"
    REQUEST = "a request"
    ANSWER = "an answer"
    LAST_ANSWER = "an answer before the server closes"

    __hash__ = object.__hash__


# Every message compares with these, and looking up a member of an enum is slow.
OPEN, CLOSED = State.OPEN, State.CLOSED
REQUEST, ANSWER = MessageKind.REQUEST, MessageKind.ANSWER

Transitions = Mapping[State, Mapping[MessageKind, State]]

# For each state: the messages that may come or be sent, and the state after each.
SERVER_TRANSITIONS: Transitions = {
    State.KEY_TRADE: {MessageKind.KEY: State.LOG_IN, MessageKind.REFUSAL: State.CLOSED},
    State.LOG_IN: {MessageKind.LOG_IN: State.VERDICT, MessageKind.REFUSAL: State.CLOSED},
    State.VERDICT: {MessageKind.ACCEPTANCE: State.OPEN, MessageKind.REFUSAL: State.CLOSED},
    State.OPEN: {
        MessageKind.REQUEST: State.OPEN,
        MessageKind.ANSWER: State.OPEN,
        MessageKind.LAST_ANSWER: State.CLOSED,
    },
    State.CLOSED: {},
}

# There is no LOG_IN: the client logs in as soon as it has the server's key.
CLIENT_TRANSITIONS: Transitions = {
    State.KEY_TRADE: {MessageKind.KEY: State.VERDICT, MessageKind.REFUSAL: State.CLOSED},
    State.VERDICT: {MessageKind.ACCEPTANCE: State.OPEN, MessageKind.REFUSAL: State.CLOSED},
    State.OPEN: {
        MessageKind.REQUEST: State.OPEN,
        MessageKind.ANSWER: State.OPEN,
        MessageKind.LAST_ANSWER: State.CLOSED,
    },
    State.CLOSED: {},
}

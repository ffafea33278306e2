"""What the two endpoints of protocol 1 have in common."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

import attrs

from pgnet_trio.errors import CodecError, ProtocolError
from pgnet_trio.messages import Packet, Response, encode_message
from pgnet_trio.protocol.v1.states import CLOSED, MessageKind, State, Transitions

if TYPE_CHECKING:
    from pgnet_trio.crypto import Box, KeyPair

__all__ = ["HANDSHAKE", "KEY_TRADE", "Endpoint", "KeyTrade"]

# The messages of the first two packets.
KEY_TRADE = "key_trade"
HANDSHAKE = "handshake"


@attrs.frozen
class KeyTrade:
    """The payload of the packet and of the response that trade keys."""

    pubkey: str


class Endpoint:
    """What both sides have: the state, the box, and the texts that wait to be written."""

    __slots__ = ("_box", "_key", "_outbox", "_random_bytes", "_state")

    transitions: ClassVar[Transitions]
    version: ClassVar[int] = 1

    def __init__(
        self, state: State, key: KeyPair | None, random_bytes: Callable[[int], bytes]
    ) -> None:
        self._state = state
        self._key = key
        self._random_bytes = random_bytes
        self._box: Box | None = None
        # Each text has its box or None: what was queued before the keys were traded must leave
        # in the clear, even if it is written later.
        self._outbox: deque[tuple[str | bytes, Box | None]] = deque()

    @property
    def state(self) -> State:
        """How far the conversation is."""
        return self._state

    @property
    def closing(self) -> bool:
        """Whether the connection is to be closed once everything that waits is written."""
        return self._state is CLOSED

    @property
    def waiting(self) -> bool:
        """Whether there is something to send, or the connection is to be closed."""
        return bool(self._outbox) or self._state is CLOSED

    @property
    def emptied(self) -> bool:
        """False: `waiting` is as cheap to ask."""
        return False

    @property
    def owes_flush(self) -> bool:
        """False: this protocol says nothing beside answers."""
        return False

    @property
    def private(self) -> bool:
        """False: this protocol can say why it ends in the WebSocket close alone."""
        return False

    def ping(self) -> bool:
        """Return False: this protocol has no ping, so the transport has to send one."""
        return False

    def goodbye(self, reason: str, code: str = "") -> None:
        """Do nothing: this protocol has no goodbye, and the caller closes the connection."""

    def restart(self, reason: str) -> None:
        """Do nothing: to a client of this protocol, a restart is as good as an end."""

    def moved(self, address: str, reason: str, login_token: bytes = b"") -> None:
        """Do nothing: a client of this protocol goes nowhere else, and is disconnected."""

    def detach(self) -> None:
        """Do nothing: there is no session to detach from, and the caller closes the connection."""

    def next_message(self) -> str | bytes | None:
        """Return the next message to write, encrypted now; None when nothing waits."""
        if not self._outbox:
            return None
        text, box = self._outbox.popleft()
        return text if box is None else box.encrypt(text)

    def _advance(self, kind: MessageKind) -> None:
        self._state = self._state_after(kind)

    def _queue(
        self, kind: MessageKind, message: Packet | Response, max_size: float = math.inf
    ) -> None:
        # Encode before the state changes: a message that cannot travel changes nothing.
        state = self._state_after(kind)
        text = encode_message(message)
        if len(text) > max_size:
            raise CodecError(f"expected at most {max_size:,} bytes of text, got {len(text):,}")
        self._outbox.append((text.decode() if self._box is None else text, self._box))
        self._state = state

    def _state_after(self, kind: MessageKind) -> State:
        state = self.transitions[self._state].get(kind)
        if state is None:
            raise RuntimeError(
                f"this is no time for {kind.value}: the conversation {self._state.value}"
            )
        return state

    def _text(self, message: str | bytes) -> str:
        if self._state is CLOSED:
            raise self._out_of_turn()
        if not isinstance(message, str):
            raise ProtocolError("expected a text message, got a binary one")
        return message if self._box is None else self._box.decrypt(message)

    def _out_of_turn(self) -> ProtocolError:
        return ProtocolError(f"a message came while the conversation {self._state.value}")

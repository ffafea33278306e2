"""How many bytes have come and gone, counted where they do."""

from __future__ import annotations

__all__ = ["Traffic"]


class Traffic:
    """Counts the bytes of one connection, or of many.

    Attributes:
        received: How many bytes came.
        sent: How many bytes went out.
    """

    __slots__ = ("received", "sent")

    def __init__(self) -> None:
        self.received = 0
        self.sent = 0

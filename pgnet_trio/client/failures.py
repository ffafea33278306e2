"""Why a try to connect came to nothing, and the words for that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgnet_trio.errors import ConnectFailed, Disconnected, ServerKeyMismatch

if TYPE_CHECKING:
    from pgnet_trio.protocol.events import Moved

__all__ = ["SentElsewhere", "ServerRestarts", "all_of", "sentence"]


class ServerRestarts(Disconnected):
    """The server has said that it will be back."""


class SentElsewhere(ConnectFailed):
    """A server sends this client to another address, instead of letting it in.

    Args:
        moved: Where to.
    """

    def __init__(self, moved: Moved) -> None:
        super().__init__(moved.reason)
        self.moved = moved


def all_of(failures: list[ConnectFailed]) -> ConnectFailed:
    """Return one error for a client that was let in at none of its addresses."""
    for failure in failures:
        # The worst of them: a program must not take it for a server that is away.
        if isinstance(failure, ServerKeyMismatch):
            return failure
    if len(failures) == 1:
        return failures[0]
    codes = [failure.code for failure in failures if failure.code]
    texts = dict.fromkeys(map(sentence, failures))
    return ConnectFailed(" ".join(texts), code=codes[-1] if codes else "")


def sentence(text: object) -> str:
    """End a text with a full stop, where it has none."""
    return f"{str(text).rstrip('.')}."

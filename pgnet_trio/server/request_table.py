"""Requests that the server answers itself: their arguments, and what carries them out."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from pgnet_trio.messages import Request, Response

__all__ = ["Handler", "RequestEntry", "RequestTable"]

Handler = Callable[..., "Coroutine[Any, Any, Response]"]
"""Carries out a request: called with the context, the session, and the payload's keys."""


@attrs.frozen
class RequestEntry:
    """A request.

    Attributes:
        handler: Carries it out.
        arguments: The keys of the payload, with their defaults.
        admin: Whether it is for the admin alone.
    """

    handler: Handler
    arguments: dict[str, Any]
    admin: bool


class RequestTable:
    """Some of the requests.

    Args:
        admin: Whether they are for the admin alone.

    Attributes:
        entries: The requests by their messages.
    """

    def __init__(self, *, admin: bool = False) -> None:
        self.entries: dict[str, RequestEntry] = {}
        self._admin = admin

    def request(self, name: Request, /, **arguments: Any) -> Callable[[Handler], Handler]:
        """Register the function below, which carries out a request.

        Args:
            name: The request.
            **arguments: The keys of the payload, with their defaults.
        """

        def enter(handler: Handler) -> Handler:
            self.entries[name] = RequestEntry(handler, arguments, self._admin)
            return handler

        return enter

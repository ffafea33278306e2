"""Requests that the server answers itself: their arguments, and what carries them out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import attrs

from pgnet_trio.server.node.users import TakesNobody
from pgnet_trio.server.roles import Role

if TYPE_CHECKING:
    from pgnet_trio.messages import Request, Response
    from pgnet_trio.server.context import ServerContext
    from pgnet_trio.server.sessions.session import Session

__all__ = ["NOTED", "Handler", "RequestEntry", "RequestTable"]

TRIES = 3
"""How often a request is carried out whose user is to be sent to a server that takes nobody."""

NOTED = True
"""Says of a request that the audit log notes it."""

Handler = Callable[..., "Coroutine[Any, Any, Response]"]
"""Carries out a request: called with the context, the session, and the payload's keys."""


@attrs.frozen
class RequestEntry:
    """A request.

    Attributes:
        handler: Carries it out.
        arguments: The keys of the payload, with their defaults.
        role: Whom it is for; whoever has more rights may make it too.
        noted: Whether the audit log says that it was carried out, with its arguments.
    """

    handler: Handler
    arguments: dict[str, Any]
    role: Role
    noted: bool

    async def carry_out(
        self, context: ServerContext, session: Session, arguments: dict[str, Any]
    ) -> Response:
        """Carry it out; anew where the server that its user is to go to takes nobody any more."""
        for _ in range(TRIES - 1):
            with contextlib.suppress(TakesNobody):
                return await self.handler(context, session, **arguments)
        return await self.handler(context, session, **arguments)


class RequestTable:
    """Some of the requests.

    Args:
        role: Whom they are for.

    Attributes:
        entries: The requests by their messages.
    """

    def __init__(self, role: Role = Role.USER) -> None:
        self.entries: dict[str, RequestEntry] = {}
        self._role = role

    def request(
        self, name: Request, noted: bool = False, /, **arguments: Any
    ) -> Callable[[Handler], Handler]:
        """Register the function below, which carries out a request.

        Args:
            name: The request.
            noted: Whether the audit log says that it was carried out, with its arguments: they
                hold no secret then.
            **arguments: The keys of the payload, with their defaults.
        """

        def enter(handler: Handler) -> Handler:
            self.entries[name] = RequestEntry(handler, arguments, self._role, noted)
            return handler

        return enter

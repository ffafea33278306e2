"""What a log-in asks a cluster: where the user is already, and that they are here from now on."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.accounts import TemporaryRefusal
from pgnet_trio.server.node.member import NotNow

if TYPE_CHECKING:
    from pgnet_trio.server.context import ServerContext
    from pgnet_trio.server.node.member import ClusterMember, Whereabouts

__all__ = ["AT_ANOTHER_SERVER", "AtAnotherServer", "enter", "find_elsewhere", "undo_entry"]

AT_ANOTHER_SERVER = "Your session is at another server."


class AtAnotherServer(Exception):
    """The user has a session at another server.

    Args:
        address: Where clients find that server.
        login_token: What stands for the password there; empty for nothing new.
    """

    def __init__(self, address: str, login_token: bytes) -> None:
        super().__init__(address)
        self.address = address
        self.login_token = login_token


async def find_elsewhere(cluster: ClusterMember, username: str) -> Whereabouts | None:
    """Return at which other server a user is; see `ClusterMember.find`.

    Raises:
        TemporaryRefusal: That cannot be found out.
    """
    try:
        return await cluster.find(username)
    except NotNow as error:
        raise TemporaryRefusal(str(error), ReasonCode.BUSY) from None


async def enter(cluster: ClusterMember, username: str, token: bytes) -> int:
    """Note that a user is here from now on; see `ClusterMember.enter`.

    Raises:
        TemporaryRefusal: It could not be noted.
    """
    try:
        return await cluster.enter(username, token)
    except NotNow as error:
        raise TemporaryRefusal(str(error), ReasonCode.BUSY) from None


async def undo_entry(context: ServerContext, username: str, epoch: int) -> None:
    """Have the cluster know again what it knew before a log-in that came to nothing."""
    cluster, session = context.cluster, context.sessions.holder(username)
    assert cluster is not None
    if session is not None and session.end_reason is None:
        with contextlib.suppress(NotNow):
            cluster.note_seat(username, await cluster.enter(username, session.client.token))
            return
    cluster.note_seat(username, epoch)
    cluster.note_end(username)

"""What a log-in asks a cluster: where the user is already."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.accounts import TemporaryRefusal
from pgnet_trio.server.node.member import NotNow

if TYPE_CHECKING:
    from pgnet_trio.server.node.member import ClusterMember, Whereabouts

__all__ = ["AT_ANOTHER_SERVER", "AtAnotherServer", "find_elsewhere"]

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

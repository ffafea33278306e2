"""What a user asks of a server about their own account."""

from __future__ import annotations

from pgnet_trio.client.profile import UserProfile
from pgnet_trio.messages import Packet, Request, Response

__all__ = ["AccountRequests"]


class AccountRequests:
    """What `Client` can ask about the user's account.

    It is no `abc.ABC`, for the reason that `LobbyRequests` has.
    """

    async def request(self, packet: Packet) -> Response:
        """Send a packet and wait for the answer."""
        raise NotImplementedError

    @property
    def profile(self) -> UserProfile:
        """What the user has saved on the server: ``await client.profile.read()``."""
        return UserProfile(self.request)

    async def change_password(self, old: str, new: str, /) -> None:
        """Change the user's password, for this client and for all later log-ins.

        Whoever else is logged in as this user is put out, and what other programs have kept to log
        in without the password is worth nothing any more. This client goes on.

        Cancellation leaves the password changed or not, and so do `Disconnected` and its kinds.
        Log in with the new one then, and with the old one if that is refused.

        Args:
            old: The password until now.
            new: The password from now on.

        Raises:
            RequestFailed: The old password is not right, too many wrong ones were tried, or the
                server cannot change it now; `code` says which. Nothing has changed.
            Disconnected: There is no connection, or it ended before the answer came.
        """
        payload = {"old_password": old, "new_password": new}
        packet = Packet(Request.CHANGE_PASSWORD, payload)
        (await self.request(packet)).raise_for_status()

"""What a user has saved on a server: settings, say, or how far they have come."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs

from pgnet_trio.messages import Packet, Request, RequestFailed, Response
from pgnet_trio.reason_codes import ReasonCode

__all__ = ["Profile", "ProfileConflict", "UserProfile"]


@attrs.frozen
class Profile:
    """A user's save, as it was read or written.

    Attributes:
        data: The save, as plain data; empty where nothing was saved.
        version: Which save it is; 0 where nothing was saved.
    """

    data: dict[str, Any]
    version: int = 0


class ProfileConflict(RequestFailed):
    """Another program of the user has saved something newer; nothing was written over it.

    Attributes:
        newer: What that is: put the two together, and write it as the next version.
    """

    def __init__(self, response: Response) -> None:
        super().__init__(response)
        self.newer = _profile(response)


class UserProfile:
    """A save of the user's own, up to 16 KiB, which only they can read and write.

    Args:
        request: Sends a packet, and returns its answer.
    """

    def __init__(self, request: Callable[[Packet], Awaitable[Response]]) -> None:
        self._request = request

    async def read(self) -> Profile:
        """Return what is saved now.

        Raises:
            RequestFailed: The server has no place for it, or cannot read it now.
            Disconnected: There is no connection, or it ended before the answer came.
        """
        response = await self._request(Packet(Request.READ_PROFILE))
        return _profile(response.raise_for_status())

    async def write(self, data: dict[str, Any], /, *, version: int) -> Profile:
        """Save something over what the program knows.

        Cancellation leaves it saved or not, and so do `Disconnected` and its kinds: read it then.

        Args:
            data: Plain data, at most 16 KiB as JSON.
            version: The version that was read or written last, 0 where nothing was saved.

        Returns:
            What is saved now, of the next version.

        Raises:
            ProfileConflict: Something newer is saved, which the error has; nothing was changed.
            RequestFailed: It is too long, or the server cannot save it.
            CodecError: It cannot travel.
            Disconnected: There is no connection, or it ended before the answer came.
        """
        payload = {"data": data, "version": version}
        response = await self._request(Packet(Request.WRITE_PROFILE, payload))
        if response.code == ReasonCode.NEWER_PROFILE:
            raise ProfileConflict(response)
        response.raise_for_status()
        return Profile(data, response.payload["version"])


def _profile(response: Response) -> Profile:
    return Profile(response.payload["data"], response.payload["version"])

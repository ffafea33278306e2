"""What each side of a connection may say next, without any input or output.

The versions of the protocol are modules of their own, `v1` for one; what they report is the same.
"""

from __future__ import annotations

from pgnet_trio.protocol import v1
from pgnet_trio.protocol.events import (
    Answer,
    ClientEvent,
    LoggedIn,
    LogIn,
    LoginRefusal,
    Request,
    ServerEvent,
)

__all__ = [
    "Answer",
    "ClientEvent",
    "LogIn",
    "LoggedIn",
    "LoginRefusal",
    "Request",
    "ServerEvent",
    "v1",
]

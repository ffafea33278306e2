"""What arrives over a protocol, whichever version speaks it."""

from __future__ import annotations

import attrs

from pgnet_trio.messages import Packet, Response

__all__ = ["Answer", "ClientEvent", "LogIn", "LoggedIn", "LoginRefusal", "Request", "ServerEvent"]


@attrs.frozen
class LogIn:
    """Server side: the client names its user and proves who it is."""

    username: str
    password: str = attrs.field(repr=False)
    invite_code: str = attrs.field(repr=False)


@attrs.frozen
class Request:
    """Server side: a logged-in client asks something; ids count up from 1."""

    id: int
    packet: Packet


@attrs.frozen
class LoggedIn:
    """Client side: the server let this client in."""

    message: str


@attrs.frozen
class LoginRefusal:
    """Client side: the server did not let this client in, and closes."""

    reason: str


@attrs.frozen
class Answer:
    """Client side: the server's answer to the request with this id."""

    id: int
    response: Response


ServerEvent = LogIn | Request
ClientEvent = LoggedIn | LoginRefusal | Answer

"""Our own server as it is measured: limits off, cheap passwords, a game that echoes."""

from __future__ import annotations

import nacl.pwhash

from pgnet_trio import Game, Packet, Response, Server
from pgnet_trio.crypto import PasswordHasher
from pgnet_trio.environment import Environment

__all__ = ["EchoGame", "open_server"]


class EchoGame(Game):
    """Answers each packet with its payload."""

    def handle_game_packet(self, packet: Packet, /) -> Response:
        return Response("echo", packet.payload)


def open_server(*, transport: str) -> Server:
    """A server with all limits off.

    Args:
        transport: Which WebSocket transport it uses.
    """
    # 2,000 registrations at 60 ms each would say nothing about idle connections.
    hasher = PasswordHasher(
        opslimit=nacl.pwhash.argon2id.OPSLIMIT_MIN, memlimit=nacl.pwhash.argon2id.MEMLIMIT_MIN
    )
    return Server(
        EchoGame,
        port=0,
        transport=transport,
        environment=Environment(password_hasher=hasher),
        max_message_size=None,
        max_login_message_size=None,
        login_timeout=None,
        ping_interval=None,
        keepalive_timeout=None,
        max_connections=None,
        max_connections_per_address=None,
        max_logins_per_address=None,
        failed_logins_per_account=None,
        failed_logins_per_address=None,
        requests_per_second=None,
        max_requests_in_flight=None,
        max_unacknowledged_messages=None,
        max_unacknowledged_bytes=None,
    )

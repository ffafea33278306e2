"""The client's side of the protocol that a server speaks, made for one transport."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from pgnet_trio.client.connector import MAX_MESSAGE_SIZE
from pgnet_trio.crypto import KeyPair
from pgnet_trio.protocol import v1, v2

if TYPE_CHECKING:
    from pgnet_trio.protocol.v2.client_delivery import ClientDelivery
    from pgnet_trio.transport import Transport

__all__ = ["ClientEndpoint", "Credentials", "make_endpoint"]

ClientEndpoint = v1.ClientProtocol | v2.ClientProtocol


@attrs.frozen
class Credentials:
    """Who logs in, and the only server key that they trust, where they know it."""

    username: str
    password: str = attrs.field(repr=False)
    invite_code: str = attrs.field(repr=False)
    verify_server_pubkey: str


def make_endpoint(
    transport: Transport,
    credentials: Credentials,
    delivery: ClientDelivery,
    *,
    encrypted: bool,
    random_bytes: Callable[[int], bytes],
    token: bytes = b"",
    login_token: bytes = b"",
) -> ClientEndpoint:
    """Return the client's side of protocol 2, or of 1 where the server took no subprotocol.

    Args:
        transport: What it will speak over.
        credentials: Who logs in. Protocol 1 verifies no key.
        delivery: What outlives the connection; protocol 1 has no use for it.
        encrypted: Whether to encrypt.
        random_bytes: Randomness.
        token: What to resume a session with; empty to log in.
        login_token: What to log in with instead of the password, if the server takes it.
    """
    username, password = credentials.username, credentials.password
    if transport.subprotocol in v2.SUBPROTOCOLS:
        return v2.ClientProtocol(
            username=username,
            password=password,
            invite_code=credentials.invite_code,
            encrypted=encrypted,
            random_bytes=random_bytes,
            offered=transport.offered_subprotocols,
            subprotocol=transport.subprotocol,
            max_frame_size=MAX_MESSAGE_SIZE,
            delivery=delivery,
            token=token,
            login_token=login_token,
            verify_server_pubkey=credentials.verify_server_pubkey,
        )
    return v1.ClientProtocol(
        username=username,
        password=password,
        invite_code=credentials.invite_code,
        key=KeyPair.generate(random_bytes) if encrypted else None,
        random_bytes=random_bytes,
    )

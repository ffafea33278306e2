"""Asking a server for its public key, before anybody says who they are.

A key that came from the server itself proves nothing. Compare it with a key that is known already,
or with what the host says by another way.
"""

from __future__ import annotations

import hashlib
from binascii import b2a_base64
from typing import TYPE_CHECKING

import attrs
import trio

from pgnet_trio.client.address import parse_addresses
from pgnet_trio.client.backoff import CONNECT_TIMEOUT
from pgnet_trio.client.connector import (
    MAX_MESSAGE_SIZE,
    Connector,
    RemoteConnector,
    unreached,
)
from pgnet_trio.client.endpoint import Credentials, make_endpoint
from pgnet_trio.client.route import Route
from pgnet_trio.crypto import decode_public_key
from pgnet_trio.environment import Environment, require_trio
from pgnet_trio.errors import ConnectFailed, LoginRefused, PGNetError, first_error
from pgnet_trio.messages import DEFAULT_PORT
from pgnet_trio.protocol.events import LoginRefusal
from pgnet_trio.protocol.v2.client_delivery import ClientDelivery
from pgnet_trio.transport import choose

if TYPE_CHECKING:
    from pgnet_trio.transport import Transport

__all__ = ["ServerKey", "fetch_server_key", "fingerprint"]


def fingerprint(pubkey: str, /) -> str:
    """Return the fingerprint of a public key, which is easier to compare than the key.

    It is SHA-256 over the key's 32 bytes, written as OpenSSH writes it: ``SHA256:`` and base64
    without ``=``.

    Args:
        pubkey: The public key in base64, as in `Server.pubkey`.

    Raises:
        CryptoError: *pubkey* is no public key.
    """
    digest = hashlib.sha256(decode_public_key(pubkey)).digest()
    return f"SHA256:{b2a_base64(digest, newline=False).decode('ascii').rstrip('=')}"


@attrs.frozen
class ServerKey:
    """What a server shows to anybody who connects.

    Attributes:
        pubkey: The public key in base64.
        protocol: The version of the protocol that it speaks with this client.
    """

    pubkey: str
    protocol: int

    @property
    def fingerprint(self) -> str:
        """The key's fingerprint; see `fingerprint`."""
        return fingerprint(self.pubkey)


async def fetch_server_key(
    address: str,
    *,
    port: int = DEFAULT_PORT,
    transport: str | None = None,
    environment: Environment | None = None,
) -> ServerKey:
    """Ask a server for its public key: connect, do the handshake, and close.

    The server learns nothing by this, not even a username.

    Args:
        address: As for `Client.remote`; of several, the first is asked that answers.
        port: The port, where the address names none.
        transport: The WebSocket library, as for `Client.remote`.
        environment: Randomness, to replace in tests.

    Raises:
        ConnectFailed: The server was not reached, or did not shake hands.
        AddressError: *address* is no address; the error is a ValueError too.
        ValueError: There is no such transport.
        RuntimeError: Trio does not run.
    """
    require_trio()
    implementation = choose(transport)
    ways = [RemoteConnector(each, implementation) for each in parse_addresses(address, port)]
    environment = environment or Environment()
    route = Route(ways, environment.random_bytes)
    while True:
        try:
            return await _fetch(route.current, environment)
        except LoginRefused:
            raise
        except ConnectFailed:
            if not route.has_others:
                raise
            route.go_back()


async def _fetch(connector: Connector, environment: Environment) -> ServerKey:
    with trio.move_on_after(CONNECT_TIMEOUT):
        try:
            async with connector.connect(MAX_MESSAGE_SIZE) as opened:
                return await _shake_hands(opened, connector, environment)
        except Exception as error:
            bare = first_error(error)
            if isinstance(bare, (OSError, trio.BrokenResourceError)):
                failure = unreached(connector, bare)
                raise failure from failure.__cause__
            if isinstance(bare, trio.EndOfChannel):
                raise ConnectFailed(f"{connector} did not show a key: {bare}.") from bare
            if isinstance(bare, PGNetError) and not isinstance(bare, ConnectFailed):
                raise ConnectFailed(f"{connector} did not show a key: {bare}.") from bare
            raise bare from bare.__cause__
    raise ConnectFailed(f"{connector} did not answer within {CONNECT_TIMEOUT:g} s.")


async def _shake_hands(
    transport: Transport, connector: Connector, environment: Environment
) -> ServerKey:
    # The empty log-in is never sent: it would be in the second message.
    endpoint = make_endpoint(
        transport,
        Credentials("", "", "", ""),
        ClientDelivery(lambda: None),
        encrypted=True,
        random_bytes=environment.random_bytes,
    )
    message = endpoint.next_message()
    assert message is not None
    await transport.send(message)
    for event in endpoint.receive(await transport.receive()):
        if isinstance(event, LoginRefusal):
            raise LoginRefused(event.reason)
    if endpoint.server_pubkey is None:
        raise ConnectFailed(f"{connector} did not show a key.")
    return ServerKey(endpoint.server_pubkey, endpoint.version)

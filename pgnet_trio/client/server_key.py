"""Asking a server for its public key, before anybody says who they are.

A key that was asked of the server proves nothing by itself: it is for comparing, with what is
known already, or with what the host tells by another way.
"""

from __future__ import annotations

import hashlib
from binascii import a2b_base64, b2a_base64
from typing import TYPE_CHECKING

import attrs
import trio

from pgnet_trio.client.address import parse_address
from pgnet_trio.client.connector import Connector, RemoteConnector, unreached
from pgnet_trio.client.session import CONNECT_TIMEOUT, MAX_MESSAGE_SIZE
from pgnet_trio.crypto import KeyPair
from pgnet_trio.environment import Environment, require_trio
from pgnet_trio.errors import ConnectFailed, CryptoError, LoginRefused, PGNetError, first_error
from pgnet_trio.messages import DEFAULT_PORT
from pgnet_trio.protocol import v1, v2
from pgnet_trio.protocol.events import LoginRefusal
from pgnet_trio.protocol.v2.server_delivery import ClientDelivery
from pgnet_trio.transport import choose

if TYPE_CHECKING:
    from pgnet_trio.transport import Transport

__all__ = ["ServerKey", "fetch_server_key", "fingerprint"]

KEY_BYTES = 32


def fingerprint(pubkey: str, /) -> str:
    """Give the fingerprint of a public key, which is easier to compare than the key.

    It is SHA-256 over the key's 32 bytes, written as OpenSSH writes it: ``SHA256:`` and base64
    without ``=``.

    Args:
        pubkey: The public key in base64, as `Server.pubkey` gives it.

    Raises:
        CryptoError: It is no public key.
    """
    try:
        public = a2b_base64(pubkey, strict_mode=True)
    except ValueError:
        public = b""
    if len(public) != KEY_BYTES:
        raise CryptoError(f"expected a public key, {KEY_BYTES} bytes in base64, got {pubkey!r}")
    digest = hashlib.sha256(public).digest()
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

    The server learns nothing from it, not even a username.

    Args:
        address: As for `Client.remote`.
        port: The port, where the address names none.
        transport: The WebSocket library, as for `Client.remote`.
        environment: Randomness, to replace in tests.

    Raises:
        ConnectFailed: The server was not reached, or did not shake hands.
        AddressError: The address is none; it is a ValueError too.
        ValueError: There is no such transport.
        RuntimeError: Trio does not run.
    """
    require_trio()
    connector = RemoteConnector(parse_address(address, port), choose(transport))
    environment = environment or Environment()
    with trio.move_on_after(CONNECT_TIMEOUT):
        try:
            async with connector.connect(MAX_MESSAGE_SIZE) as link:
                return await _shake_hands(link, connector, environment)
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
    link: Transport, connector: Connector, environment: Environment
) -> ServerKey:
    # The log-in of nobody stays here: it would leave with the second message.
    random_bytes = environment.random_bytes
    speaker: v1.ClientProtocol | v2.ClientProtocol
    if link.subprotocol == v2.SUBPROTOCOL:
        speaker = v2.ClientProtocol(
            username="",
            password="",
            invite_code="",
            encrypted=True,
            random_bytes=random_bytes,
            offered=link.offered_subprotocols,
            max_frame_size=MAX_MESSAGE_SIZE,
            delivery=ClientDelivery(lambda: None),
        )
    else:
        speaker = v1.ClientProtocol(
            username="",
            password="",
            invite_code="",
            key=KeyPair.generate(random_bytes),
            random_bytes=random_bytes,
        )
    message = speaker.next_message()
    assert message is not None
    await link.send(message)
    for event in speaker.receive(await link.receive()):
        if isinstance(event, LoginRefusal):
            raise LoginRefused(event.reason)
    if speaker.server_pubkey is None:
        raise ConnectFailed(f"{connector} did not show a key.")
    return ServerKey(speaker.server_pubkey, speaker.version)

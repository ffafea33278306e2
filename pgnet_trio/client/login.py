"""How a client logs in, or resumes its session: what it proves, and what it has been told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import attrs
import trio

from pgnet_trio.client.backoff import CONNECT_TIMEOUT
from pgnet_trio.client.endpoint import ClientEndpoint, Credentials, make_endpoint
from pgnet_trio.client.failures import SentElsewhere, sentence
from pgnet_trio.errors import ConnectFailed, Disconnected, LoginRefused, ProtocolError
from pgnet_trio.protocol import v2
from pgnet_trio.protocol.events import (
    ClientEvent,
    Goodbye,
    LoggedIn,
    LoginRefusal,
    Moved,
    Restarting,
    ResumeRefusal,
)
from pgnet_trio.protocol.v2.client_delivery import ClientDelivery

if TYPE_CHECKING:
    from pgnet_trio.client.outbox import Outbox
    from pgnet_trio.connection import Connection
    from pgnet_trio.environment import Environment
    from pgnet_trio.transport import Transport

__all__ = ["LogIn", "LogInOwner"]


class LogInOwner(Protocol):
    """What a log-in tells. Neither of these calls waits."""

    def set_status(self, status: str, /) -> None:
        """Note how things are, in words for people."""

    def session_lost(self, reason: str, code: str, /) -> None:
        """Note that the server forgot the session; the client is about to log in anew."""


class LogIn:
    """Logs a user in over one connection after the other, and resumes what they had.

    Args:
        credentials: Who logs in.
        environment: Randomness.
        outbox: What waits to be sent.
        owner: Whom it tells what happens.
        minimum_protocol: 2 to refuse servers that speak protocol 1 only.

    Attributes:
        username: Who logs in.
        delivery: What was sent and received in the session, whatever becomes of its connections.
        protocol: The version of the protocol; None before there was a connection.
        server_pubkey: The server's public key in base64; None where it has none, or before.
    """

    def __init__(
        self,
        credentials: Credentials,
        environment: Environment,
        outbox: Outbox,
        owner: LogInOwner,
        *,
        minimum_protocol: int,
    ) -> None:
        self.username = credentials.username
        self.protocol: int | None = None
        self.server_pubkey: str | None = None
        self.delivery = ClientDelivery(outbox.next_request, outbox.inputs.take)
        self._credentials = credentials
        self._environment = environment
        self._outbox = outbox
        self._owner = owner
        self._minimum_protocol = minimum_protocol
        # Whether the server forgot the session, and nobody was told yet that there is a new one.
        self._has_lost = False
        self._token = b""
        # Stands for the password, so that a server that was restarted need not hash it.
        self._login_token = b""
        # The only key that any of the servers may have; empty where it is not known yet.
        self._known_key = credentials.verify_server_pubkey

    @property
    def may_resume(self) -> bool:
        """Whether there is a session to resume."""
        return bool(self._token)

    def take_login_token(self, token: bytes) -> None:
        """Log in with this from now on, where it is one; for a client that is sent elsewhere."""
        self._login_token = token or self._login_token

    def use_password(self, password: str) -> None:
        """Log in with another password from now on."""
        self._credentials = attrs.evolve(self._credentials, password=password)

    def note_told(self) -> bool:
        """Note that the owner is told that the user is in; return whether a session was lost."""
        has_lost, self._has_lost = self._has_lost, False
        return has_lost

    def make_endpoint(self, transport: Transport, where: str, *, encrypted: bool) -> ClientEndpoint:
        """Return the client's side of the protocol that a server speaks.

        Args:
            transport: What it will speak over.
            where: The server, for people.
            encrypted: Whether to encrypt.

        Raises:
            ConnectFailed: The server speaks one that will not do.
        """
        if transport.subprotocol not in v2.SUBPROTOCOLS and (
            self._minimum_protocol > 1 or self.protocol is not None or self._known_key
        ):
            raise ConnectFailed(
                f"The server at {where} does not speak protocol 2, or somebody between "
                "hides it. Protocol 1 is only spoken at a first contact, with no key to verify "
                "and without minimum_protocol=2."
            )
        return make_endpoint(
            transport,
            attrs.evolve(self._credentials, verify_server_pubkey=self._known_key),
            self.delivery,
            encrypted=encrypted,
            random_bytes=self._environment.random_bytes,
            token=self._token,
            login_token=self._login_token,
        )

    async def run(
        self,
        connection: Connection[ClientEvent],
        endpoint: ClientEndpoint,
        scope: trio.CancelScope,
        deadline: float,
    ) -> list[ClientEvent]:
        """Log in, or resume; return the server's consent, and what came in the same message.

        Where the server has forgotten the session, log in anew, with the token that stands for
        the password, and with the password where the server does not take that. Cancellation
        leaves everything as it is.

        Args:
            connection: The connection.
            endpoint: What `make_endpoint` returned for it.
            scope: The scope around this; it gets the time for each of these.
            deadline: When to give up at the latest.

        Raises:
            ConnectFailed: The user was not logged in.
        """
        if not self.may_resume:
            self._owner.set_status("Logging in...")
        connection.flush()
        while True:
            try:
                first, *more = await connection.receive()
            except (Disconnected, ProtocolError) as error:
                raise ConnectFailed(
                    f"The server did not log this client in: {sentence(error)}"
                ) from error
            finally:
                # Whoever shows a key hears the password, or a proof: no other one will do now.
                self._known_key = endpoint.server_pubkey or self._known_key
            if isinstance(first, LoginRefusal):
                raise LoginRefused(first.reason, code=first.code)
            if isinstance(first, Goodbye | Restarting):
                code = first.code if isinstance(first, Goodbye) else ""
                raise ConnectFailed(
                    f"The server did not log this client in: {sentence(first.reason)}", code=code
                )
            if isinstance(first, Moved):
                raise SentElsewhere(first)
            if isinstance(first, ResumeRefusal) and isinstance(endpoint, v2.ClientProtocol):
                if self.may_resume:
                    self._lose_session(first)
                else:
                    self._login_token = b""
                endpoint.log_in(self.delivery)
                scope.deadline = min(trio.current_time() + CONNECT_TIMEOUT, deadline)
                connection.flush()
                continue
            break
        self.protocol = endpoint.version
        self.server_pubkey = endpoint.server_pubkey
        self._outbox.adapt(
            endpoint.version,
            endpoint.max_envelope_size if isinstance(endpoint, v2.ClientProtocol) else None,
        )
        if isinstance(first, LoggedIn):
            self._token = first.token
            self.take_login_token(first.login_token)
        return [first, *more]

    def _lose_session(self, refusal: ResumeRefusal) -> None:
        self._token = b""
        self._has_lost = True
        self.delivery = ClientDelivery(self._outbox.next_request, self._outbox.inputs.take)
        self._owner.session_lost(refusal.reason, refusal.code)

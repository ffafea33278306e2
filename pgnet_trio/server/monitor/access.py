"""Who may look at a server, and who may do something. Pure.

A program sends its token with each request. A browser sends it once, in a form, and gets a cookie
for it, which only this listener can have signed.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import attrs

from pgnet_trio.server.http.origins import OriginRule

if TYPE_CHECKING:
    from pgnet_trio.server.attempts import FailedLogins
    from pgnet_trio.server.monitor_settings import Monitor

__all__ = ["Access", "Asked", "Refusal", "Role"]

COOKIE_SECONDS = 12 * 3600
"""For how long a browser that was let in need not ask for the token again."""

ACCOUNT = "monitor"
"""What failed log-ins are counted under: there is one account."""

_BEARER = "bearer "


class Role(enum.Enum):
    """What somebody may do."""

    READ = "read"
    WRITE = "write"


@attrs.frozen(kw_only=True)
class Asked:
    """What decides on a request.

    Attributes:
        method: Its method.
        address: Where it comes from.
        host: What it says in ``Host``; None for nothing.
        origin: What it says in ``Origin``; None for nothing.
        authorization: What it says in ``Authorization``; empty for nothing.
        cookie: The cookie of this listener; empty for none.
        is_forwarded: Whether a proxy says that it passes it on.
    """

    method: str
    address: str
    host: str | None
    origin: str | None
    authorization: str
    cookie: str
    is_forwarded: bool

    @property
    def reads(self) -> bool:
        """Whether it changes nothing."""
        return self.method in ("GET", "HEAD")


@attrs.frozen
class Refusal:
    """Why a request is refused.

    Attributes:
        status: The HTTP status.
        text: A sentence for whoever reads the answer.
        headers: Headers of the answer.
    """

    status: int
    text: str
    headers: Mapping[str, str] = MappingProxyType({})


class Access:
    """Decides on requests to a monitor.

    Args:
        settings: Has the tokens.
        failed: Counts wrong tokens.
        key: Signs the cookies: 32 random bytes.
        own_name: The machine's own name.
    """

    def __init__(
        self, settings: Monitor, failed: FailedLogins, key: bytes, *, own_name: str = ""
    ) -> None:
        self._token = settings.token
        self._write_token = settings.write_token
        self._origins = OriginRule((), settings.allowed_hosts, own_name=own_name)
        self._failed = failed
        self._key = key

    @property
    def has_tokens(self) -> bool:
        """Whether anybody has to know one."""
        return self._token is not None or self._write_token is not None

    def check_source(self, asked: Asked) -> Refusal | None:
        """Return why a request is refused whoever has sent it; None where it is not.

        A page of somebody else may have the browser send one, or let its own name lead here.
        """
        refusal = self._origins.refuse_host(asked.host)
        if refusal is not None:
            return Refusal(421, refusal)
        if self._origins.refuse_handshake(asked.host, asked.origin) is not None:
            return Refusal(403, "pages of this origin may not speak to the monitor")
        if not asked.reads and asked.origin is None and not self._has_bearer(asked):
            return Refusal(403, "expected an Origin header, or a token in Authorization")
        return None

    def identify(self, asked: Asked, now: float) -> Role | Refusal:
        """Return what whoever has sent a request may do, or why they may do nothing.

        Args:
            asked: The request, whose source is checked already.
            now: The time, in seconds of any clock.
        """
        if self._has_bearer(asked):
            return self.log_in(asked.authorization[len(_BEARER) :].strip(), asked.address, now)
        if asked.cookie:
            role = self._role_of(asked.cookie, now)
            if role is not None:
                return role
        if self._token is None and not asked.is_forwarded:
            return Role.READ
        return _unknown("this monitor takes a token: Authorization: Bearer TOKEN, or /login")

    def log_in(self, token: str, address: str, now: float) -> Role | Refusal:
        """Return what whoever knows a token may do, or why they may do nothing.

        Args:
            token: The token, right or wrong.
            address: Where it comes from.
            now: The time.
        """
        reason = self._failed.refuse(ACCOUNT, address, now)
        if reason is not None:
            return Refusal(429, reason, {"Retry-After": f"{self._failed.window:.0f}"})
        for right, role in ((self._write_token, Role.WRITE), (self._token, Role.READ)):
            if right is not None and _equal(token, right):
                self._failed.record_success(ACCOUNT, address)
                return role
        self._failed.record(ACCOUNT, address, now)
        return _unknown("expected a token of this monitor, got another one")

    def make_cookie(self, role: Role, now: float) -> str:
        """Return what a browser proves later with that it was let in."""
        return self._signed(f"{role.value}-{int(now + COOKIE_SECONDS)}")

    def _role_of(self, cookie: str, now: float) -> Role | None:
        text = cookie.rpartition("-")[0]
        if not _equal(cookie, self._signed(text)):
            return None
        role, _, end = text.partition("-")
        return Role(role) if int(end) > now else None

    def _signed(self, text: str) -> str:
        return f"{text}-{hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()}"

    @staticmethod
    def _has_bearer(asked: Asked) -> bool:
        return asked.authorization.lower().startswith(_BEARER)


def _unknown(text: str) -> Refusal:
    return Refusal(401, text, {"WWW-Authenticate": 'Bearer realm="pgnet_trio monitor"'})


def _equal(one: str, other: str) -> bool:
    # Headers may have letters that this refuses in texts.
    return hmac.compare_digest(one.encode(), other.encode())

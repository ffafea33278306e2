"""The certificate with which a server speaks TLS, read anew when its files change."""

from __future__ import annotations

import contextlib
import logging
import ssl
import stat
import sys
from pathlib import Path
from typing import NoReturn

from pgnet_trio.errors import ServerError
from pgnet_trio.foreign_text import one_line

__all__ = ["Certificate"]

logger = logging.getLogger("pgnet_trio.server")

REST = 1.0
"""Seconds for which the files are not looked at again."""

_NOT_YET_VALID, _EXPIRED = 9, 10
"""What OpenSSL finds wrong with the time of a certificate, by its numbers."""


class Certificate:
    """The certificate of a server, and its private key: two files of PEM, or one that has both.

    Args:
        certificate: The file with the certificate, and those of its authorities after it.
        key: The file with the private key; None where that is in the same file.

    Attributes:
        problem: What is wrong with the time of the certificate, for which clients refuse it; None
            where nothing is.
        expires: When it ends, in seconds since 1970; None where that is not known.

    Raises:
        ServerError: They cannot be used; the message says which file, and why.
    """

    def __init__(self, certificate: Path, key: Path | None = None) -> None:
        self._certificate = certificate
        self._key = key or certificate
        self._seen = self._look()
        self._looked_at: float | None = None
        self.problem: str | None = None
        self.expires: float | None = None
        self._context = self._load()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {str(self._certificate)!r}>"

    def context(self, now: float) -> ssl.SSLContext:
        """Return what speaks TLS with the newest certificate that can be used.

        This blocks for as long as the files take to be looked at, which it does once a second at
        most. Where new files cannot be used, the log says why, and the old certificate stays.

        Args:
            now: The time in seconds, of any clock.
        """
        if self._looked_at is not None and now < self._looked_at + REST:
            return self._context
        self._looked_at = now
        seen = self._look()
        if seen != self._seen:
            self._seen = seen
            try:
                self._context = self._load()
            except ServerError as error:
                logger.error("The certificate is the old one: %s", one_line(error))
            else:
                logger.info("New connections get the certificate that is in the file now")
        return self._context

    def _look(self) -> tuple[tuple[int, ...], ...]:
        """Return what changes when somebody writes or replaces one of the files."""
        found = []
        for path in (self._certificate, self._key):
            status = None
            with contextlib.suppress(OSError):
                status = path.stat()
            found.append(() if status is None else (status.st_mtime_ns, status.st_ino))
        return tuple(found)

    def _load(self) -> ssl.SSLContext:
        chain = _read("tls_certificate", self._certificate)
        key = _read("tls_key", self._key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # Browsers offer HTTP/2 too, which has other WebSockets.
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self._certificate, self._key, password=self._refuse_password)
        except (ssl.SSLError, OSError) as error:
            raise ServerError(self._explain(error, chain, key)) from None
        self._warn_of_readers()
        self.problem, self.expires = _time_of(context, chain)
        self._warn_of_time()
        return context

    def _refuse_password(self) -> NoReturn:
        raise ServerError(
            f"tls_key: {self._key} is encrypted with a password, which nobody could type when the "
            "server starts again; write it without, as openssl pkey does, and let only the "
            "server's user read it"
        )

    def _explain(self, error: OSError, chain: str, key: str) -> str:
        if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
            return (
                f"tls_key: {self._key} holds another key than that of the certificate in "
                f"{self._certificate}; give the two that were made together"
            )
        if "-----BEGIN CERTIFICATE-----" not in chain:
            return f"tls_certificate: expected a certificate in PEM in {self._certificate}"
        if "PRIVATE KEY-----" not in key:
            hint = "; name its file as tls_key too" if self._key == self._certificate else ""
            return f"tls_key: expected a private key in PEM in {self._key}{hint}"
        return f"tls_certificate: {self._certificate} and {self._key} cannot be used: {error}"

    def _warn_of_readers(self) -> None:
        # A group may read it: that of the programs that share a certificate.
        with contextlib.suppress(OSError):
            if sys.platform != "win32" and self._key.stat().st_mode & stat.S_IROTH:
                logger.warning(
                    "Others can read the private key of the certificate: run chmod o= %s", self._key
                )

    def _warn_of_time(self) -> None:
        if self.problem is not None:
            logger.warning(
                "Browsers and other clients will refuse the certificate in %s: %s",
                self._certificate,
                one_line(self.problem),
            )


def _read(option: str, path: Path) -> str:
    try:
        return path.read_text("ascii", "replace")
    except OSError as error:
        raise ServerError(f"{option}: {path} cannot be read: {error.strerror}") from error


def _time_of(context: ssl.SSLContext, chain: str) -> tuple[str | None, float | None]:
    """Return what is wrong with the time of a certificate, and when it ends.

    A handshake in memory finds out.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.load_verify_locations(cadata=chain)
    # The certificate itself is trusted, whoever has signed it.
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(to_client, to_server)
    far = context.wrap_bio(to_server, to_client, server_side=True)
    try:
        for end in (near, far, near):
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
    except ssl.SSLCertVerificationError as error:
        if error.verify_code in (_EXPIRED, _NOT_YET_VALID):
            return error.verify_message, None
    except ssl.SSLError:
        # It says nothing of the time.
        return None, None
    ends = str((near.getpeercert() or {}).get("notAfter", ""))
    return None, ssl.cert_time_to_seconds(ends) if ends else None

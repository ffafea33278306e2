"""What may be wrong with the time: the machine's clock, and the end of a certificate."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pgnet_trio.cli.clock import is_synchronised
from pgnet_trio.cli.finding import Finding, path_of
from pgnet_trio.server.certificate import Certificate

__all__ = ["look_at_certificate", "look_at_clock"]

DAY = 24 * 3600

RENEWAL = 14 * DAY
"""Seconds before the end of a certificate by which it should have been renewed."""


def look_at_certificate(settings: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what was found of the certificate, its key and its end; nothing without one."""
    path = path_of(settings, "tls_certificate")
    if path is None:
        return
    certificate = Certificate(path, path_of(settings, "tls_key"))
    if certificate.problem is not None:
        yield Finding(
            "bad",
            f"browsers and other clients refuse the certificate in {path}: {certificate.problem}; "
            "have it renewed, as by `certbot renew`, or set the clock",
        )
    elif certificate.expires is None:
        yield Finding("ok", f"{path} can be used for TLS")
    else:
        until = time.strftime("%Y-%m-%d", time.localtime(certificate.expires))
        is_soon = certificate.expires < time.time() + RENEWAL
        more = ", which is soon: have it renewed; a server that runs takes the new files"
        yield Finding(
            "warn" if is_soon else "ok",
            f"{path} can be used for TLS until {until}{more if is_soon else ''}",
        )


def look_at_clock(settings: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what was found of the clock."""
    now = time.time()
    known = [Path(__file__)]
    known += [path for name in ("save_file", "key_file") if (path := path_of(settings, name))]
    late = [path for path in known if path.exists() and path.stat().st_mtime > now + DAY]
    when = time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(now))
    if late:
        yield Finding(
            "bad",
            f"the clock says {when}, and {late[0]} was written later than that: set it, "
            "`timedatectl set-ntp true`",
        )
    else:
        yield Finding("ok", f"the clock says {when}")
    if is_synchronised() is False:
        yield Finding(
            "warn",
            "nothing keeps the clock right: `timedatectl set-ntp true`, or run a service such as "
            "chrony",
        )

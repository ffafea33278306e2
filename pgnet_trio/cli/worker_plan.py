"""What ``pgnet-trio serve --workers`` is to start: how many, and where clients find each."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any

import attrs

from pgnet_trio.errors import PGNetError
from pgnet_trio.messages import DEFAULT_PORT
from pgnet_trio.server.monitor_settings import monitor_address
from pgnet_trio.server.workers.passing import CAN_PASS, node_path

__all__ = ["WorkerPlan", "make_plan"]

MOST_WORKERS = 512

_PLACE = re.compile(
    r"(?P<scheme>wss?://)?(?P<host>\[[0-9A-Fa-f:.%]+\]|[^\s/:\[\]]+)(?::(?P<port>[0-9]{1,5}))?/?"
)


@attrs.frozen(kw_only=True)
class WorkerPlan:
    """What to start.

    Attributes:
        count: How many processes.
        own_ports: Whether each has a port of its own; otherwise they share one, and pass
            connections on to each other.
        is_alone: Whether they are the whole cluster, whose engine is then their save file.
        base: Where clients find all of them, as ``--node-address`` says; empty for the address that
            they have asked.
        has_tls: Whether they speak TLS.
    """

    count: int
    own_ports: bool = False
    is_alone: bool = True
    base: str = ""
    has_tls: bool = False

    def address(self, number: int, port: int) -> str:
        """Return where clients find a process.

        Args:
            number: Which one, from 1 on.
            port: The port that it listens on.
        """
        if self.own_ports:
            place = _PLACE.fullmatch(self.base or "localhost")
            assert place is not None
            scheme = place["scheme"] or ("wss://" if self.has_tls else "")
            outside = int(place["port"]) + number - 1 if place["port"] else port
            return f"{scheme}{place['host']}:{outside}"
        if not self.base:
            return node_path(number)
        scheme = "" if self.base.startswith(("/", "ws://", "wss://")) else "ws://"
        return f"{scheme}{self.base.rstrip('/')}{node_path(number)}"

    def name(self, number: int, called: str) -> str:
        """Return what a process is called as a node.

        Args:
            number: Which one, from 1 on.
            called: What all of them are called; empty for nothing.
        """
        return f"{called} worker {number}".lstrip()


def make_plan(count: int, settings: Mapping[str, Any]) -> WorkerPlan:
    """Check what several processes need.

    Args:
        count: How many there are to be.
        settings: The options that were given, ``--cluster`` and what belongs to it as text.

    Raises:
        PGNetError: Something is missing, or does not go together; the message says what to do.
    """
    if not 1 <= count <= MOST_WORKERS:
        raise PGNetError(f"--workers: expected 1 to {MOST_WORKERS} processes, got {count}")
    if sys.platform == "win32":
        raise PGNetError(
            "--workers needs a system whose processes inherit open ports, such as Linux; here, "
            "start servers with --cluster postgresql://…, each with a port of its own"
        )
    if settings.get("minimum_protocol") == 1:
        raise PGNetError(
            "--workers does not go together with --minimum-protocol 1: clients of PGNet cannot be "
            "sent from one process to another"
        )
    is_alone = "cluster" not in settings
    if is_alone and sys.platform != "linux":
        raise PGNetError(
            "--workers needs Linux, where several processes can lock one save file; elsewhere let "
            "them share a database: --cluster postgresql://…"
        )
    if is_alone:
        _check_save_file(settings.get("save_file"))
    base = str(settings.get("node_address", ""))
    own_ports = bool(settings.get("worker_ports")) or not CAN_PASS
    has_tls = bool(settings.get("tls_certificate"))
    if own_ports:
        _check_own_ports(base, settings, count)
    elif has_tls:
        raise PGNetError(
            "--workers with --tls-certificate needs --worker-ports: an encrypted connection cannot "
            "be passed to another process, so each needs a port of its own; or let a proxy speak "
            "TLS, and name it by --trusted-proxies"
        )
    elif not (base or is_alone):
        raise PGNetError(
            "--workers with --cluster needs to know where clients find this machine, such as "
            "--node-address a.example:38929"
        )
    elif base and is_alone:
        raise PGNetError(
            "--node-address is for --worker-ports, and for --cluster: these processes are found by "
            "the address that a client has asked"
        )
    return WorkerPlan(
        count=count, own_ports=own_ports, is_alone=is_alone, base=base, has_tls=has_tls
    )


def _check_save_file(save_file: object) -> None:
    if save_file is None or str(save_file).endswith(".json"):
        raise PGNetError(
            "--workers needs a save file of SQLite, which the processes share, such as "
            f"--save-file game.sqlite; got {'none' if save_file is None else 'one of JSON'}"
        )


def _check_own_ports(base: str, settings: Mapping[str, Any], count: int) -> None:
    if "site" in settings:
        raise PGNetError(
            "--worker-ports does not go together with --site: a page speaks to the port only that "
            "it came from; leave --worker-ports out, and let a proxy speak TLS"
        )
    if base and _PLACE.fullmatch(base) is None:
        raise PGNetError(
            "--worker-ports: expected --node-address as host, host:port or wss://host:port, "
            f"without a path; got {base!r}"
        )
    if not base and settings.get("listen_globally"):
        raise PGNetError(
            "--worker-ports with --listen-globally needs the name by which clients find this "
            "machine, such as --node-address play.example.org"
        )
    first = settings.get("port", DEFAULT_PORT)
    monitor = monitor_address(settings["monitor"])[1] if settings.get("monitor") else 0
    if first and monitor and abs(monitor - first) < count:
        raise PGNetError(
            f"--worker-ports takes the ports {first} to {first + count - 1}, and --monitor as many "
            f"from {monitor} on: let it begin elsewhere, such as --monitor 127.0.0.1:{first + 1000}"
        )

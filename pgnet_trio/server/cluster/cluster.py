"""`Cluster`: how a server finds the others, checked at once."""

from __future__ import annotations

import math
import re
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from pgnet_trio.protocol.v2.states import MAX_ADDRESS, is_moved_address
from pgnet_trio.server.cluster.base import LEASE
from pgnet_trio.server.cluster.engine import Engine
from pgnet_trio.server.cluster.errors import EngineError
from pgnet_trio.server.cluster.opening import is_file, open_engine, shown

if TYPE_CHECKING:
    from pgnet_trio.environment import Environment

__all__ = ["Cluster"]

_ADDRESS = re.compile(
    r"(?:wss?://[^\s/]+(?:/\S*)?|/\S*|(?:\[[0-9A-Fa-f:.%]+\]|[^\s/:\[\]]+):(?P<port>[0-9]{1,5}))"
)
_MOST_NAME = 100


def _check_engine(url: Any) -> str | Engine:
    if isinstance(url, Engine):
        return url
    if isinstance(url, PathLike):
        url = fspath(url)
    if not isinstance(url, str):
        raise TypeError(
            "Cluster: expected postgresql://… or the path of a save file, got an object of "
            f"{type(url).__name__}."
        )
    try:
        is_file(url)
    except EngineError as error:
        raise ValueError(f"Cluster: {error}.") from None
    return url


def _check_address(cluster: Cluster, attribute: attrs.Attribute[str], address: object) -> None:
    if not isinstance(address, str):
        raise TypeError(f"node_address: expected a str, got an object of {type(address).__name__}.")
    found = _ADDRESS.fullmatch(address)
    port = found["port"] if found else None
    if found is None or (port is not None and not 0 < int(port) < 65536):
        raise ValueError(
            "node_address: expected where clients find this server, as host:port, ws://host:port, "
            f"wss://host/path, or /path for one behind a proxy; got {address[:200]!r}."
        )
    if not is_moved_address(address):
        raise ValueError(
            f"node_address: expected at most {MAX_ADDRESS} characters of ASCII, as clients "
            f"are told it (write a name in other letters as xn--…); got {address[:200]!r}."
        )


def _check_name(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"name: expected a str, got an object of {type(name).__name__}.")
    if not name or len(name) > _MOST_NAME or not name.isprintable():
        raise ValueError(
            f"name: expected 1 to {_MOST_NAME} characters that can be printed, got {name[:200]!r}."
        )
    return name


def _check_seconds(cluster: Cluster, attribute: attrs.Attribute[float], value: object) -> None:
    name, least = attribute.name, 1.0 if attribute.name == "lease" else 0.0
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name}: expected seconds, got {value!r}.")
    if not least <= value < math.inf:
        raise ValueError(f"{name}: expected {least:g} s or more, got {value!r}.")


@attrs.frozen(repr=False)
class Cluster:
    """Makes a server one of several that look like one: ``Server(MyGame, cluster=Cluster(…))``.

    Args:
        engine: What all of them share: ``postgresql://user:password@host:port/database`` for many
            machines, or the path of a save file for several processes of one machine. It has the
            accounts and the saves too, so that the server takes no ``save_file``.
        node_address: Where clients find this server, as the others tell them: ``host:port``,
            ``ws://host:port``, ``wss://host/path``, or ``/path`` where all servers are behind one
            proxy.
        name: What the server is called in lists and in the log; no two may have one name. Empty:
            its address.
        drain_wait: Seconds that games which are not persistent may go on when the server is to
            give its games to the others.
        lease: Seconds until the others take the games of a server that is silent; the same for all
            of them.

    Raises:
        TypeError: An argument is of another type.
        ValueError: An argument makes no sense; the message shows no password.
    """

    engine: str | Engine = attrs.field(converter=_check_engine)
    node_address: str = attrs.field(validator=_check_address, kw_only=True)
    name: str = attrs.field(default="", kw_only=True)
    drain_wait: float = attrs.field(default=0.0, validator=_check_seconds, kw_only=True)
    lease: float = attrs.field(default=LEASE, validator=_check_seconds, kw_only=True)

    def __attrs_post_init__(self) -> None:
        # Frozen, but for this: attrs does the same to set what it was given.
        object.__setattr__(self, "name", _check_name(self.name or self.node_address))

    def __repr__(self) -> str:
        where = shown(self.engine) if isinstance(self.engine, str) else type(self.engine).__name__
        return f"Cluster({where!r}, node_address={self.node_address!r}, name={self.name!r})"

    @property
    def save_file(self) -> Path | None:
        """The save file that the servers of one machine share; None for a database."""
        return is_file(self.engine) if isinstance(self.engine, str) else None

    def open(self, environment: Environment) -> Engine:
        """Return the engine, which is to run.

        Raises:
            EngineError: What it needs is not installed.
        """
        if isinstance(self.engine, Engine):
            return self.engine
        return open_engine(self.engine, lease=self.lease, environment=environment)

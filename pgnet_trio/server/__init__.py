"""The server's side: hosting games for users."""

from __future__ import annotations

from pgnet_trio.server.cluster.cluster import Cluster
from pgnet_trio.server.http.files import Site
from pgnet_trio.server.monitor_settings import Monitor
from pgnet_trio.server.server import Server

__all__ = ["Cluster", "Monitor", "Server", "Site"]

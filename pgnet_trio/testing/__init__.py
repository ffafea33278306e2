"""Tests of games without ports and without sleeps: a whole network in memory and virtual time."""

from __future__ import annotations

from pgnet_trio.testing.clusters import HostedCluster, HostedNode, cluster
from pgnet_trio.testing.detached import detached
from pgnet_trio.testing.exploring import explore
from pgnet_trio.testing.frames import FrameRecorder, Hitch
from pgnet_trio.testing.hosting import HostedServer, Kit, hosting, playing
from pgnet_trio.testing.links import Conditions
from pgnet_trio.testing.network import Record, SimulatedNetwork
from pgnet_trio.testing.networks import NETWORKS
from pgnet_trio.testing.plans import Exploration, Faults
from pgnet_trio.testing.scheduling import seeded_scheduler
from pgnet_trio.testing.secrecy import Secret, assert_hidden
from pgnet_trio.testing.simulation import simulate
from pgnet_trio.testing.store import MemoryStore
from pgnet_trio.testing.tables import Move, Seat, Table, same_order, same_state

__all__ = [
    "NETWORKS",
    "Conditions",
    "Exploration",
    "Faults",
    "FrameRecorder",
    "Hitch",
    "HostedCluster",
    "HostedNode",
    "HostedServer",
    "Kit",
    "MemoryStore",
    "Move",
    "Record",
    "Seat",
    "Secret",
    "SimulatedNetwork",
    "Table",
    "assert_hidden",
    "cluster",
    "detached",
    "explore",
    "hosting",
    "playing",
    "same_order",
    "same_state",
    "seeded_scheduler",
    "simulate",
]

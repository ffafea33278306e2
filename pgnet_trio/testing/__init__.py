"""Tests of games without ports and without sleeps: a whole network in memory and virtual time."""

from __future__ import annotations

from pgnet_trio.testing.hosting import HostedServer, Kit, hosting, playing
from pgnet_trio.testing.network import Record, SimulatedNetwork
from pgnet_trio.testing.scheduling import seeded_scheduler
from pgnet_trio.testing.simulation import simulate
from pgnet_trio.testing.store import MemoryStore

__all__ = [
    "HostedServer",
    "Kit",
    "MemoryStore",
    "Record",
    "SimulatedNetwork",
    "hosting",
    "playing",
    "seeded_scheduler",
    "simulate",
]

"""Networks that players have: `NETWORKS`, for tests and for a look."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pgnet_trio.testing.links import Conditions

__all__ = ["NETWORKS"]

RETRANSMISSION = 0.2
"""Seconds that a lost packet costs at least under Linux, whose TCP waits for so long
(``TCP_RTO_MIN``); all that was sent after it waits too."""

# Round trips are twice the latency and, on average, the jitter. Measured are the round trips over
# 4G and Wi-Fi, and the retransmission; how often packets are lost differs from place to place, and
# is chosen so that the names are deserved.
NETWORKS: Mapping[str, Conditions] = MappingProxyType(
    {
        "LAN": Conditions(latency=0.0003, jitter=0.0004),
        "DSL": Conditions(
            latency=0.015,
            jitter=0.01,
            bandwidth=125_000,
            stall_rate=0.0005,
            stall=RETRANSMISSION,
        ),
        # Round trips of 53 ms: Ofcom, Measuring mobile broadband performance in the UK, April 2015.
        "4G": Conditions(
            latency=0.018,
            jitter=0.017,
            bandwidth=500_000,
            stall_rate=0.002,
            stall=RETRANSMISSION,
        ),
        # Worse, and of large variance, with outages at each change of the cell: Xiao et al., TCP
        # Performance over Mobile Networks in High-speed Mobility Scenarios, ICNP 2014; Wang et al.,
        # An Active-Passive Measurement Study of TCP Performance over LTE on High-speed Rails,
        # MobiCom 2019.
        "train": Conditions(
            latency=0.04,
            jitter=0.06,
            bandwidth=125_000,
            stall_rate=0.01,
            stall=0.5,
        ),
        # The hop over Wi-Fi alone takes more than 20 ms for half of all packets, and more than
        # 100 ms for a tenth: Pei et al., WiFi Can Be the Weakest Link of Round Trip Network Latency
        # in the Wild, INFOCOM 2016.
        "bad café": Conditions(
            latency=0.025,
            jitter=0.05,
            bandwidth=60_000,
            stall_rate=0.03,
            stall=RETRANSMISSION,
        ),
    }
)
"""Networks by name, from good to bad: LAN, DSL, 4G, train, bad café.

``SimulatedNetwork.set_conditions(NETWORKS["4G"], "ann")`` gives one to a player. With the same
seed, everything happens again in the same way.
"""

"""What makes a game in real time feel at hand, though the server is far: time, inputs, the past.

Nothing here knows a clock, a task or a socket: whoever uses it says what time it is. The client
(`pgnet_trio.client`) and the room (`pgnet_trio.server.room`) carry what is here over the wire.
"""

from __future__ import annotations

from pgnet_trio.netcode.clock import Latency, ServerClock
from pgnet_trio.netcode.history import History, Past, Rewind
from pgnet_trio.netcode.inputs import InputBuffer, InputCounts, InputQueue, QueuedInput
from pgnet_trio.netcode.interpolator import Interpolator
from pgnet_trio.netcode.moment import NO_MOMENT, Moment
from pgnet_trio.netcode.play import Frame, Play, PlayRules
from pgnet_trio.netcode.predictor import Predictor
from pgnet_trio.netcode.spawns import PredictedSpawns, SpawnOutcome

__all__ = [
    "NO_MOMENT",
    "Frame",
    "History",
    "InputBuffer",
    "InputCounts",
    "InputQueue",
    "Interpolator",
    "Latency",
    "Moment",
    "Past",
    "Play",
    "PlayRules",
    "PredictedSpawns",
    "Predictor",
    "QueuedInput",
    "Rewind",
    "ServerClock",
    "SpawnOutcome",
]

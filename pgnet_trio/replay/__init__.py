"""Plays a recorded table again, in virtual time, and tells where it differs."""

from __future__ import annotations

from pgnet_trio.recording import RecordingError
from pgnet_trio.replay.loading import load_life
from pgnet_trio.replay.outcomes import Difference, Outcome, TurnView
from pgnet_trio.replay.replaying import replay
from pgnet_trio.replay.telling import describe_record, summary_of

__all__ = [
    "Difference",
    "Outcome",
    "RecordingError",
    "TurnView",
    "describe_record",
    "load_life",
    "replay",
    "summary_of",
]

"""Recordings of tables: what is in them, how they lie in files, and what cannot be repeated.

Nothing in here runs a game, or waits: `pgnet_trio.server.recording` writes recordings while games
are played, and `pgnet_trio.replay` plays them again.
"""

from __future__ import annotations

from pgnet_trio.recording.crashes import crash_of
from pgnet_trio.recording.files import (
    RecordingError,
    StoredRecording,
    frame_of,
    preamble,
    read_recording,
)
from pgnet_trio.recording.heads import (
    FROZEN_VERSION,
    VERSION,
    Beginning,
    Head,
    Member,
    OpenScript,
    encode_head,
)
from pgnet_trio.recording.options import Recording
from pgnet_trio.recording.records import Record, SessionRecord, digest_of, encode_record
from pgnet_trio.recording.unrepeatable import (
    HASH_SEED_VARIABLE,
    GameDescription,
    describe_game,
    hash_seed,
    is_hash_seed,
    unrepeatable_in,
)

__all__ = [
    "FROZEN_VERSION",
    "HASH_SEED_VARIABLE",
    "VERSION",
    "Beginning",
    "GameDescription",
    "Head",
    "Member",
    "OpenScript",
    "Record",
    "Recording",
    "RecordingError",
    "SessionRecord",
    "StoredRecording",
    "crash_of",
    "describe_game",
    "digest_of",
    "encode_head",
    "encode_record",
    "frame_of",
    "hash_seed",
    "is_hash_seed",
    "preamble",
    "read_recording",
    "unrepeatable_in",
]

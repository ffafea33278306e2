"""Records tables while they are played: what comes into a room, and the files that it goes to."""

from __future__ import annotations

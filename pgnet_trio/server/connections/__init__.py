"""Taking connections: listening, logging in, reading what clients ask."""

from __future__ import annotations

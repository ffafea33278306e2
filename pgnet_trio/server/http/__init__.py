"""HTTP on the game's port: who may open a WebSocket, and the pages beside the game."""

from __future__ import annotations

"""Connections of clients: listening, logging in, reading what the clients ask."""

from __future__ import annotations

"""Logged-in users: what a session does, what it tells its client, and who holds a seat."""

from __future__ import annotations

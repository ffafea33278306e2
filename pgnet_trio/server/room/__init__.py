"""One game at one table: its turns, its members, and what they are told."""

from __future__ import annotations

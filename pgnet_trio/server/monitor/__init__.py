"""What the host of a server sees of it, on a listener of its own."""

from __future__ import annotations

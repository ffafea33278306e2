"""The games of a server: the lobby, the running rooms, and what is saved of them."""

from __future__ import annotations

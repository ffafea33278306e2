"""The processes of one machine that look like one server."""

from __future__ import annotations

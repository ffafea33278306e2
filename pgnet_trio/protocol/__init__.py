"""What each side of a connection may say next, without any input or output.

The versions of the protocol are modules of their own, `v1` and `v2`; what they report is the same.
"""

from __future__ import annotations

"""What each side of a connection may say next, without any input or output.

Each version of the protocol has a module or package of its own, `v1` and `v2`. Both report the same
`events`.
"""

from __future__ import annotations

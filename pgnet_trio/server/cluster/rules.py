"""What counts as alive, and when a silent node's rooms may be taken; pure.

All times are the engine's, in seconds.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pgnet_trio.server.cluster.records import Moment, Node

__all__ = [
    "FAILURES_KEPT",
    "FORGET_NODES_AFTER",
    "KEEP_OPERATIONS",
    "MAX_BODY",
    "MAX_FAILURES_KEPT",
    "MAX_MAIL",
    "MAX_MAIL_SIZE",
    "OWN_SHARE",
    "RENEWALS",
    "address_in_use",
    "is_alive",
    "is_home",
    "is_later",
    "is_silent",
    "logged_in_later",
    "name_in_use",
    "no_such_session",
    "other_identity",
    "same_password",
    "taken_meanwhile",
    "time_until_settled",
    "unavailable",
    "was_away",
]

RENEWALS = 4
"""How often a lease is renewed while it lasts."""

LATE_SHARE = 0.15
"""Which part of a lease a renewal may be late by, before its node counts as silent."""

OWN_SHARE = 0.99
"""Which part of a lease a node takes for its own, should the two clocks not run equally fast."""

FORGET_NODES_AFTER = 10
"""How many leases after the end of its own a node is forgotten, with its mail and its sessions."""

KEEP_OPERATIONS = 600.0
"""Seconds for which a change is remembered: so long its call may be repeated."""

FAILURES_KEPT = 3600.0
"""Seconds for which failed log-ins are counted, whatever the window of whoever asks."""

MAX_FAILURES_KEPT = 200_000
"""How many failed log-ins are kept when the engine is tidied; the oldest go."""

MAX_MAIL = 10_000
"""How many mails may wait for one node; it is not sent more until it has read some."""

MAX_MAIL_SIZE = 16 * 1024 * 1024
"""Bytes of the mails that may wait for one node."""

MAX_BODY = 65_536
"""Bytes of one mail."""


def is_alive(renewed: float, expires: float, now: float) -> bool:
    """Whether a lease holds.

    Args:
        renewed: When it was renewed last.
        expires: When it ends.
        now: The time. Well before *renewed*, the engine's clock has been set back since, and
            nobody knows how old the lease is.
    """
    return renewed - (expires - renewed) / 4 <= now < expires


def is_silent(lease_left: float, lease: float) -> bool:
    """Whether a node should have renewed its lease by now: it may well be dead.

    Args:
        lease_left: For how many seconds its lease still holds.
        lease: Seconds of a lease.
    """
    return lease_left < lease * (1 - 1 / RENEWALS - LATE_SHARE)


def is_home(node: Node, lease: float) -> bool:
    """Whether users of a queue are to meet at a node that is the queue's home.

    Args:
        node: The node.
        lease: Seconds of a lease. A node that is silent is left at once: nothing is lost where it
            is only late.
    """
    return node.alive and not node.draining and not is_silent(node.lease_left, lease)


def is_later(other: float, asked: Moment, now: float) -> bool:
    """Whether another log-in was certainly asked for later than one.

    Args:
        other: When the other one was asked for, at the earliest.
        asked: When this one was.
        now: The time. What is still to come was noted before the engine's clock was set back, and
            says nothing.
    """
    return asked.latest < other <= now


def logged_in_later(username: str) -> str:
    """Return why a user is not let in who has asked before another log-in."""
    return f"{username!r} has a session by a later log-in."


def unavailable(node: int) -> str:
    """Return what is wrong with a node that is to take something over."""
    return f"The node {node} takes nothing over now; choose another."


def no_such_session(username: str, epoch: int) -> str:
    """Return what is wrong with the session of a user that is not there any more."""
    return f"The session {epoch} of {username!r} is over, or has moved; let it go."


def name_in_use(name: str) -> str:
    """Return why no other node may have this name."""
    return (
        f"There is a node {name!r} already: stop that one, or give this one another name "
        "(--node-name) or another address (--node-address)."
    )


def address_in_use(name: str, address: str) -> str:
    """Return why no other node may have the address of the node of this name."""
    return (
        f"There is a node {name!r} already that clients find at {address!r}: stop that one, or "
        "give this one another address (--node-address). Clients find only one server at an "
        "address."
    )


def taken_meanwhile(name: str) -> str:
    """Return why a node whose lease was over is none any more."""
    return f"Another node has the name or the address of {name!r} by now; register anew."


def other_identity(name: str) -> str:
    """Return what is wrong with a node whose key is not that of the node of this name."""
    return (
        f"The node {name!r} has another key, and clients know all nodes of a cluster by one: copy "
        "its key file to this machine, and give it as key_file (--key-file)."
    )


def time_until_settled(last: float | None, up_since: float, now: float, lease: float) -> float:
    """Return after how many seconds the rooms of silent nodes may be taken; 0 for now.

    An engine that was away, or whose clock has jumped, makes all leases look lapsed. So the nodes
    first get one lease to renew theirs. One that was away for less than half a lease has let none
    lapse: each is renewed when a quarter of it is over.

    Args:
        last: When any node has renewed its lease last, not later than now; None for never.
        up_since: Since when the engine has been there, as `was_away` found out.
        now: The time.
        lease: Seconds.
    """
    if was_away(last, up_since, now, lease):
        return lease
    return max(0.0, up_since + lease - now)


def was_away(last: float | None, up_since: float, now: float, lease: float) -> bool:
    """Whether no node has renewed its lease for so long that the engine must have been away.

    Or its clock has been set back; whoever renews a lease then notes that it is there since now.
    """
    return last is None or now - last > lease / 2 or up_since > now


def same_password(given: str | None, password: str) -> bool:
    """Whether a password fits, in a time that does not depend on it; None fits always."""
    if given is None:
        return True
    return hmac.compare_digest(
        given.encode("utf-8", "surrogatepass"), password.encode("utf-8", "surrogatepass")
    )

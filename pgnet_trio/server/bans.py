"""Who is banned: users by their names, and addresses by ranges; pure.

Times are in seconds since 1970.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TypeAlias

import attrs

from pgnet_trio.messages import ADMIN_USERNAME

__all__ = [
    "MAX_BANS",
    "MAX_BAN_REASON",
    "Ban",
    "BanList",
    "network_subject",
    "user_subject",
]

MAX_BANS = 10_000
"""How many bans there may be; each server of a cluster has all of them in memory, a few MiB."""

MAX_BAN_REASON = 120
"""Characters of the reason of a ban: with what is said around it, it fits into a goodbye."""

LEAST_BITS = {4: 8, 6: 16}
"""How many bits of an address a range has at least: a shorter one is a slip of the finger."""

_USER = "user:"
_LAST_SECOND = 253_402_300_799

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


@attrs.frozen
class Ban:
    """A ban.

    Attributes:
        subject: Who is banned, from `user_subject` or `network_subject`.
        reason: Why, for whoever is banned; empty for no reason.
        by: Who has banned them.
        made: When.
        ends: When it ends; None for never.
    """

    subject: str
    reason: str
    by: str
    made: int
    ends: int | None = None

    @property
    def is_of_a_user(self) -> bool:
        """Whether a user is banned, and not a range of addresses."""
        return self.subject.startswith(_USER)

    @property
    def whom(self) -> str:
        """The username in lower case, or the range of addresses."""
        return self.subject.removeprefix(_USER)

    def holds(self, now: float) -> bool:
        """Whether the ban is not over."""
        return self.ends is None or now < self.ends

    @property
    def text(self) -> str:
        """What whoever is banned reads."""
        who = "You are banned" if self.is_of_a_user else "Your address is banned"
        until = "" if self.ends is None else f" until {_shown(self.ends)}"
        return f"{who}{until}: {self.reason}" if self.reason else f"{who}{until}."


class BanList:
    """Finds the ban of whoever logs in, in a time that does not grow with the number of bans.

    Args:
        bans: The bans, those that are over too.
    """

    def __init__(self, bans: Iterable[Ban] = ()) -> None:
        self._users: dict[str, Ban] = {}
        # By the kind of address and the length of the prefix, and then by the prefix.
        self._networks: dict[tuple[int, int], dict[int, Ban]] = {}
        for ban in bans:
            self.add(ban)

    def add(self, ban: Ban) -> None:
        """Add a ban, instead of one of the same subject."""
        if ban.is_of_a_user:
            self._users[ban.subject] = ban
        else:
            network = ipaddress.ip_network(ban.subject)
            group = self._networks.setdefault((network.version, network.prefixlen), {})
            group[int(network.network_address)] = ban

    def holding(self, now: float) -> list[Ban]:
        """Return the bans that are not over, in the order of whom they are of."""
        networks = (ban for group in self._networks.values() for ban in group.values())
        found = [ban for ban in (*self._users.values(), *networks) if ban.holds(now)]
        return sorted(found, key=lambda ban: ban.whom)

    def find(self, username: str, address: str | None, now: float) -> Ban | None:
        """Return the ban that keeps a user out; None where none does.

        Nothing keeps the admin out, who could not lift it otherwise.

        Args:
            username: Who, in whatever spelling.
            address: Where they are; None for inside the process, or where that is not known.
            now: The time.
        """
        if username == ADMIN_USERNAME:
            return None
        ban = self._users.get(user_subject(username))
        if ban is not None and ban.holds(now):
            return ban
        return self.find_network(address, now)

    def find_network(self, address: str | None, now: float) -> Ban | None:
        """Return the ban of a range that an address is in, of several the one that lasts longest.

        Args:
            address: The address.
            now: The time.
        """
        # To parse an address takes longer than all else in here.
        where = _read(address) if self._networks and address is not None else None
        if where is None:
            return None
        number, bits = int(where), where.max_prefixlen
        found = [
            ban
            for (version, length), group in self._networks.items()
            if version == where.version
            for ban in [group.get(number >> (bits - length) << (bits - length))]
            if ban is not None and ban.holds(now)
        ]
        return max(found, key=_end_of, default=None)


def user_subject(username: str) -> str:
    """Return what stands for a user in a ban: names that differ in case only are one."""
    return _USER + username.lower()


def network_subject(text: str) -> str:
    """Return what stands for a range of addresses in a ban, however it is written.

    Args:
        text: An address, or a range as ``192.0.2.0/24``, of IPv4 or of IPv6.

    Raises:
        ValueError: It is neither, or the range is so wide that it must be a mistake.
    """
    address, slash, prefix = text.strip().partition("/")
    # Without the interface of an address of a link, which is no part of whom it keeps out.
    address = address.partition("%")[0]
    try:
        network: Network = ipaddress.ip_network(address + slash + prefix, strict=False)
    except ValueError:
        raise ValueError(
            "expected an address or a range of addresses such as '192.0.2.0/24' or "
            f"'2001:db8::/48', got {text[:60]!r}"
        ) from None
    mapped = _mapped(ipaddress.ip_address(address))
    if mapped is not None:
        if network.prefixlen < 96:
            raise ValueError(
                f"expected a range of IPv4 as one of IPv4, such as '{mapped}/24', got {text[:60]!r}"
            )
        network = ipaddress.IPv4Network((mapped, network.prefixlen - 96), strict=False)
    least = LEAST_BITS[network.version]
    if network.prefixlen < least:
        raise ValueError(f"expected a range of /{least} or narrower, got {text[:60]!r}")
    return str(network)


def _read(address: str) -> Address | None:
    try:
        found: Address = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        # Of a pipe, say.
        return None
    return _mapped(found) or found


def _mapped(address: Address) -> ipaddress.IPv4Address | None:
    """Return the address of IPv4 that one of IPv6 stands for; None where it stands for none."""
    return address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None


def _end_of(ban: Ban) -> int:
    return _LAST_SECOND if ban.ends is None else ban.ends


def _shown(time: int) -> str:
    moment = datetime.fromtimestamp(min(time, _LAST_SECOND), UTC)
    return f"{moment:%Y-%m-%d %H:%M} UTC"

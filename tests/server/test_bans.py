"""Whom a ban keeps out: users however they spell their names, and addresses by ranges."""

from __future__ import annotations

import ipaddress

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from pgnet_trio.protocol.events import MAX_REASON
from pgnet_trio.server.bans import (
    LEAST_BITS,
    MAX_BAN_REASON,
    Ban,
    BanList,
    network_subject,
    user_subject,
)
from pgnet_trio.server.cluster.memory_engine import MemoryEngine
from pgnet_trio.server.moderation.keeper import BanKeeper
from pgnet_trio.server.roles import Role, may_act_on

NOW = 1_000_000


def user_ban(name: str, *, ends: int | None = None, reason: str = "") -> Ban:
    return Ban(user_subject(name), reason, "admin", NOW, ends)


def network_ban(network: str, *, ends: int | None = None, reason: str = "") -> Ban:
    return Ban(network_subject(network), reason, "admin", NOW, ends)


def test_a_user_is_banned_however_the_name_is_spelt() -> None:
    bans = BanList([user_ban("Ann")])
    for name in ("ann", "ANN", "Ann"):
        assert bans.find(name, None, NOW) is not None
    assert bans.find("anna", "192.0.2.1", NOW) is None


def test_nothing_keeps_the_admin_out() -> None:
    bans = BanList([user_ban("admin"), network_ban("192.0.2.0/24")])
    assert bans.find("admin", "192.0.2.1", NOW) is None
    assert bans.find("ann", "192.0.2.1", NOW) is not None


def test_a_ban_ends() -> None:
    bans = BanList([user_ban("ann", ends=NOW + 10), network_ban("192.0.2.1", ends=NOW + 5)])
    found = bans.find("ann", "192.0.2.1", NOW + 9.9)
    assert found is not None
    assert found.is_of_a_user
    assert bans.find("bob", "192.0.2.1", NOW + 4.9) is not None
    assert bans.find("ann", "192.0.2.1", NOW + 10) is None


def test_of_several_ranges_the_one_that_lasts_longest_is_told() -> None:
    wide, narrow = network_ban("10.0.0.0/8", ends=NOW + 100), network_ban("10.1.0.0/16", ends=None)
    assert BanList([wide, narrow]).find("ann", "10.1.2.3", NOW) == narrow
    assert BanList([wide, narrow]).find("ann", "10.2.2.3", NOW) == wide


@pytest.mark.parametrize(
    ("address", "is_banned"),
    [
        ("192.0.2.255", True),
        ("::ffff:192.0.2.7", True),
        ("192.0.3.0", False),
        ("2001:db8:0:1::7", True),
        ("2001:db8:0:1::7%eth0", True),
        ("2001:db8:0:2::7", False),
        ("pipe", False),
        ("", False),
        (None, False),
    ],
)
def test_an_address_is_in_a_range(address: str | None, is_banned: bool) -> None:
    bans = BanList([network_ban("192.0.2.0/24"), network_ban("2001:db8:0:1::/64")])
    assert (bans.find("ann", address, NOW) is not None) is is_banned


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        ("192.0.2.7", "192.0.2.7/32"),
        (" 192.0.2.7/24 ", "192.0.2.0/24"),
        ("2001:DB8::1/64", "2001:db8::/64"),
        ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
        ("fe80::1%eth0", "fe80::1/128"),
    ],
)
def test_a_range_is_one_however_it_is_written(text: str, subject: str) -> None:
    assert network_subject(text) == subject


@pytest.mark.parametrize(
    "text", ["", "ann", "192.0.2", "192.0.2.0/", "0.0.0.0/0", "::/0", "10.0.0.0/7", "a/8"]
)
def test_what_is_no_range_or_nearly_all_addresses_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        network_subject(text)


@pytest.mark.parametrize("text", ["::ffff:192.0.2.0/24", "::ffff:192.0.2.0/95"])
def test_a_range_of_ipv4_with_a_prefix_for_ipv6_is_refused(text: str) -> None:
    # It would be of other addresses than those that were meant: ::/24 has those of this machine.
    with pytest.raises(ValueError, match=r"as one of IPv4, such as '192\.0\.2\.0/24'"):
        network_subject(text)


@given(
    st.lists(
        st.one_of(
            st.ip_addresses(v=4),
            # Without those that stand for one of IPv4, which have other bounds.
            st.ip_addresses(network="2000::/3"),
        ).flatmap(
            lambda address: st.integers(LEAST_BITS[address.version], address.max_prefixlen).map(
                lambda bits: (
                    str(ipaddress.ip_network((int(address), bits), strict=False))
                    if address.version == 4
                    else str(ipaddress.IPv6Network((int(address), bits), strict=False))
                )
            )
        ),
        max_size=8,
    ),
    st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)),
    st.booleans(),
)
def test_it_is_found_as_by_looking_at_each(
    networks: list[str], address: ipaddress.IPv4Address | ipaddress.IPv6Address, inside: bool
) -> None:
    if inside and networks:
        address = ipaddress.ip_network(networks[0]).broadcast_address
    bans = BanList([network_ban(network) for network in networks])
    where = address
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        where = address.ipv4_mapped
    each = [ipaddress.ip_network(network_subject(network)) for network in networks]
    expected = any(where.version == network.version and where in network for network in each)
    assert (bans.find("ann", str(address), NOW) is not None) is expected


class ManyBans(MemoryEngine):
    async def bans(self) -> list[Ban]:
        await trio.lowlevel.checkpoint()
        return [network_ban(f"10.{number // 250}.{number % 250}.0/24") for number in range(1000)]


async def test_many_bans_are_taken_in_while_others_have_their_turns() -> None:
    keeper = BanKeeper(ManyBans(), lambda: NOW, shared=False)
    turns = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.look)
        while keeper.find("ann", "10.3.249.1") is None:
            turns += 1
            await trio.lowlevel.checkpoint()
    assert turns >= 10


def test_whoever_is_banned_reads_why_and_for_how_long() -> None:
    assert user_ban("ann").text == "You are banned."
    assert user_ban("ann", reason="Insults").text == "You are banned: Insults"
    assert (
        network_ban("192.0.2.1", ends=0, reason="Floods").text
        == "Your address is banned until 1970-01-01 00:00 UTC: Floods"
    )
    longest = network_ban("192.0.2.1", ends=2**40, reason="x" * MAX_BAN_REASON)
    assert len(longest.text) <= MAX_REASON


def test_roles_have_an_order() -> None:
    assert [Role.ADMIN.may(role) for role in Role] == [True, True, True]
    assert [Role.MODERATOR.may(role) for role in Role] == [True, True, False]
    assert [Role.USER.may(role) for role in Role] == [True, False, False]


def test_nobody_puts_out_their_equals() -> None:
    allowed = {(role, other) for role in Role for other in Role if may_act_on(role, other)}
    assert allowed == {
        (Role.MODERATOR, Role.USER),
        (Role.ADMIN, Role.USER),
        (Role.ADMIN, Role.MODERATOR),
    }

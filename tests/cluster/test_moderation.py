"""What every engine promises about bans, roles, codes, profiles and the audit log."""

from __future__ import annotations

import contextlib
import functools
import sqlite3
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from pgnet_trio.server.bans import Ban, network_subject, user_subject
from pgnet_trio.server.cluster import memory_moderation, moderation_tables, sql_moderation
from pgnet_trio.server.cluster.memory_community import MemoryCommunity
from pgnet_trio.server.cluster.moderation_records import MAX_PROFILE, AuditEntry, Profile
from pgnet_trio.server.cluster.sql_community import SQLCommunity
from pgnet_trio.server.cluster.sqlite_engine import SQLiteTransaction
from pgnet_trio.storage.interface import UserRecord
from pgnet_trio.storage.sqlite_schema import make_tables
from tests.cluster.test_contract import ODD_TEXTS, two_nodes

if TYPE_CHECKING:
    from pgnet_trio.server.cluster.community import Community
    from tests.cluster.conftest import Bench

NOW = 1_000_000_000


def ban(name: str, *, made: int = NOW, ends: int | None = None, reason: str = "") -> Ban:
    return Ban(user_subject(name), reason, "mod", made, ends)


def entry(details: str) -> AuditEntry:
    return AuditEntry(NOW, "mod", "kick", details)


# Bans


async def test_bans_are_kept_as_they_were_made(community: Community[Any]) -> None:
    made = [Ban(network_subject("10.0.0.0/8"), "Floods", "admin", NOW, NOW + 60)]
    made += [ban("ann", reason=text) for text in ODD_TEXTS[-1:]]
    for each in made:
        assert await community.put_ban(each)
    assert await community.bans() == made


async def test_a_ban_replaces_the_one_of_the_same_subject(community: Community[Any]) -> None:
    assert await community.put_ban(ban("ann", reason="first"))
    assert await community.put_ban(ban("Ann", ends=NOW + 1, reason="second"))
    assert [each.reason for each in await community.bans()] == ["second"]
    await community.lift_ban(user_subject("ANN"))
    assert await community.bans() == []
    # It is not there any more, and that is no mistake.
    await community.lift_ban(user_subject("ANN"))


async def test_there_are_only_so_many_bans_and_those_that_are_over_make_room(
    community: Community[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moderation_tables, "MAX_BANS", 2)
    assert await community.put_ban(ban("ann", ends=NOW + 10))
    assert await community.put_ban(ban("bob"))
    assert not await community.put_ban(ban("cleo"))
    assert await community.put_ban(ban("bob", reason="again"))
    assert await community.put_ban(ban("cleo", made=NOW + 10))
    assert [each.whom for each in await community.bans()] == ["bob", "cleo"]


async def test_of_many_bans_at_once_no_more_are_made_than_there_may_be(
    community: Community[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moderation_tables, "MAX_BANS", 3)
    made: list[bool] = []

    async def make(number: int) -> None:
        made.append(await community.put_ban(ban(f"user{number}")))

    async with trio.open_nursery() as nursery:
        for number in range(6):
            nursery.start_soon(make, number)
    assert sorted(made) == [False] * 3 + [True] * 3
    assert len(await community.bans()) == 3


async def test_a_ban_leaves_mail_for_all_nodes_in_the_same_transaction(bench: Bench) -> None:
    first, second = await two_nodes(bench)
    await bench.first.put_ban(ban("ann"), note=b"look")
    await bench.first.lift_ban(user_subject("ann"), note=b"look again")
    for engine, node in ((bench.first, first), (bench.second, second)):
        mails = await engine.read_mail(node)
        assert [mail.body for mail in mails] == [b"look", b"look again"]


# Roles


async def test_a_role_is_given_and_taken_away(community: Community[Any]) -> None:
    assert await community.role("ann") == ""
    assert await community.set_role("ann", "moderator")
    assert await community.set_role("ann", "moderator")
    assert await community.role("ann") == "moderator"
    assert await community.role("Ann") == ""
    assert await community.roles() == {"ann": "moderator"}
    assert await community.set_role("ann", "")
    assert await community.roles() == {}


async def test_only_so_many_users_have_a_role(
    community: Community[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moderation_tables, "MAX_ROLES", 1)
    assert await community.set_role("ann", "moderator")
    assert not await community.set_role("bob", "moderator")
    assert await community.set_role("ann", "moderator")


# Codes


async def test_a_code_works_once_for_its_user_and_until_it_ends(community: Community[Any]) -> None:
    await community.put_reset_code("ann", b"digest", NOW + 10)
    for name, digest, now in (
        ("bob", b"digest", NOW),
        ("ann", b"another", NOW),
        ("ann", b"", NOW),
        ("ann", b"digest", NOW + 10),
    ):
        assert not await community.check_reset_code(name, digest, now)
        assert not await community.use_reset_code(name, digest, now)
    assert await community.check_reset_code("ann", b"digest", NOW)
    assert await community.use_reset_code("ann", b"digest", NOW)
    assert not await community.check_reset_code("ann", b"digest", NOW)
    assert not await community.use_reset_code("ann", b"digest", NOW)


async def test_a_new_code_replaces_the_one_before(community: Community[Any]) -> None:
    await community.put_reset_code("ann", b"first", NOW + 10)
    await community.put_reset_code("ann", b"second", NOW + 10)
    assert not await community.use_reset_code("ann", b"first", NOW)
    assert await community.use_reset_code("ann", b"second", NOW)


async def test_of_several_who_use_a_code_at_once_one_has_used_it(community: Community[Any]) -> None:
    used: list[str] = []

    async def use(name: str) -> None:
        if await community.use_reset_code(name, b"digest", NOW):
            used.append(name)

    names = [f"user{number:02}" for number in range(20)]
    for name in names:
        await community.put_reset_code(name, b"digest", NOW + 10)
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(use, name)
    assert used == names


# Profiles


@pytest.mark.parametrize("data", [*ODD_TEXTS, "x" * MAX_PROFILE])
async def test_a_profile_is_kept_as_it_was_written(community: Community[Any], data: str) -> None:
    assert await community.profile("ann") == Profile()
    assert await community.write_profile("ann", data, 0) == Profile(1, data)
    assert await community.profile("ann") == Profile(1, data)
    assert await community.profile("Ann") == Profile()


async def test_nothing_newer_is_written_over(community: Community[Any]) -> None:
    await community.write_profile("ann", "first", 0)
    await community.write_profile("ann", "second", 1)
    for known in (0, 1, 3):
        assert await community.write_profile("ann", "late", known) == Profile(2, "second")
    assert await community.write_profile("ann", "third", 2) == Profile(3, "third")
    assert await community.write_profile("bob", "too early", 5) == Profile()


async def test_of_several_who_write_at_once_one_has_written(community: Community[Any]) -> None:
    saved: list[Profile] = []

    async def write(number: int) -> None:
        saved.append(await community.write_profile("ann", f"{number}", 0))

    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(write, number)
    assert saved == [await community.profile("ann")] * 5


# The audit log


async def test_the_audit_log_has_pages_the_latest_first(community: Community[Any]) -> None:
    for number in range(5):
        await community.note_audit(entry(f"{number}"))
    latest = await community.audit(limit=2)
    assert [each.details for each in latest] == ["4", "3"]
    assert (latest[0].time, latest[0].by, latest[0].did) == (NOW, "mod", "kick")
    rest = await community.audit(before=latest[-1].number, limit=10)
    assert [each.details for each in rest] == ["2", "1", "0"]
    assert await community.audit(before=rest[-1].number) == []


async def test_the_oldest_entries_go(
    community: Community[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (memory_moderation, sql_moderation):
        monkeypatch.setattr(module, "MAX_AUDIT", 3)
    for number in range(7):
        await community.note_audit(entry(f"{number}"))
    assert [each.details for each in await community.audit()] == ["6", "5", "4"]


# Users who are deleted


async def fill(community: Community[Any], name: str) -> None:
    await community.set_role(name, "moderator")
    await community.put_reset_code(name, b"digest", NOW + 10)
    await community.write_profile(name, "data", 0)
    await community.put_ban(ban(name))


async def check_forgotten(community: Community[Any], name: str) -> None:
    assert await community.role(name) == ""
    assert not await community.check_reset_code(name, b"digest", NOW)
    assert await community.profile(name) == Profile()
    # Whoever has the name next is banned too: it is not known to be somebody else.
    assert [each.whom for each in await community.bans()] == [name]


async def test_a_user_is_forgotten_but_for_a_ban(community: Community[Any]) -> None:
    await fill(community, "ann")
    await community.write_profile("bob", "data", 0)
    await community.forget_user("ann")
    await check_forgotten(community, "ann")
    assert (await community.profile("bob")).version == 1


async def test_a_deletion_forgets_the_user_too(bench: Bench) -> None:
    await bench.first.register_user(UserRecord("ann", "", "record"), "", registration_enabled=True)
    await fill(bench.first, "ann")
    await bench.second.delete_user("ann")
    await check_forgotten(bench.first, "ann")


# In SQL as in memory

NAMES = st.sampled_from(["ann", "Ann", "bob", "ü\0", ""])
TIMES = st.integers(NOW - 2, NOW + 2)
NONE = (b"", b"operation")
FORGET = st.tuples(st.just("forget_user"), NAMES)
CALLS = {
    "bans": st.one_of(
        st.tuples(
            st.just("put_ban"),
            st.builds(
                Ban, NAMES.map(user_subject), NAMES, NAMES, TIMES, st.one_of(st.none(), TIMES)
            ),
            *map(st.just, NONE),
        ),
        st.tuples(st.just("lift_ban"), NAMES.map(user_subject), *map(st.just, NONE)),
        st.tuples(st.just("bans")),
        FORGET,
    ),
    "roles": st.one_of(
        st.tuples(st.just("set_role"), NAMES, st.sampled_from(["", "moderator"])),
        st.tuples(st.just("role"), NAMES),
        st.tuples(st.just("roles")),
        FORGET,
    ),
    "codes": st.one_of(
        st.tuples(st.just("put_reset_code"), NAMES, st.sampled_from([b"one", b"two"]), TIMES),
        st.tuples(
            st.just("use_reset_code"),
            NAMES,
            st.sampled_from([b"one", b"two", b""]),
            TIMES,
            st.sampled_from([b"first", b"second"]),
        ),
        st.tuples(st.just("check_reset_code"), NAMES, st.sampled_from([b"one", b"two"]), TIMES),
        FORGET,
    ),
    "profiles": st.one_of(
        st.tuples(st.just("write_profile"), NAMES, NAMES, st.integers(0, 3)),
        st.tuples(st.just("profile"), NAMES),
        FORGET,
    ),
    "the audit log": st.one_of(
        st.tuples(
            st.just("note_audit"),
            st.builds(AuditEntry, TIMES, NAMES, NAMES, NAMES),
            st.sampled_from([b"1", b"2", b"3", b"4", b"5"]),
        ),
        st.tuples(st.just("audit"), st.just(0), st.integers(1, 4)),
    ),
}


@pytest.mark.parametrize("what", CALLS)
@settings(max_examples=30)
@given(data=st.data())
def test_sql_answers_as_memory_does(what: str, data: st.DataObject) -> None:
    calls = data.draw(st.lists(CALLS[what], min_size=10, max_size=40))
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection,
    ):
        for name in ("MAX_BANS", "MAX_ROLES"):
            patch.setattr(moderation_tables, name, 3)
        for module in (memory_moderation, sql_moderation):
            patch.setattr(module, "MAX_AUDIT", 3)
        make_tables(connection)
        connection.text_factory = bytes
        memory, sql = MemoryCommunity(), SQLCommunity(SQLiteTransaction(connection))
        for name, *arguments in calls:
            answers = [getattr(tables, name)(*arguments) for tables in (memory, sql)]
            if name == "audit":
                # Only their order counts.
                answers = [[attrs.evolve(each, number=0) for each in found] for found in answers]
            assert answers[0] == answers[1], name


# Lost answers


@pytest.mark.parametrize("name", ["put_ban", "use_reset_code", "write_profile", "note_audit"])
async def test_what_is_done_again_since_an_answer_was_lost_is_done_once(
    community: Community[Any], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    await community.put_reset_code("ann", b"digest", NOW + 10)
    transact = community._transact

    async def twice(work: Any, *, writes: bool) -> Any:
        # The first answer is lost.
        if writes:
            await transact(work, writes=writes)
        return await transact(work, writes=writes)

    monkeypatch.setattr(community, "_transact", twice)
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "put_ban": functools.partial(community.put_ban, ban("ann")),
        "use_reset_code": functools.partial(community.use_reset_code, "ann", b"digest", NOW),
        "write_profile": functools.partial(community.write_profile, "ann", "data", 0),
        "note_audit": functools.partial(community.note_audit, entry("once")),
    }
    result = await calls[name]()
    assert result in (True, None, Profile(1, "data"))
    assert len(await community.audit()) == (1 if name == "note_audit" else 0)

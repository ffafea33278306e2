"""What every engine promises of log-ins: one look, one admission, one deletion."""

from __future__ import annotations

import pytest
import trio

from pgnet_trio.server.attempts import MAX_KNOWN_ADDRESSES
from pgnet_trio.server.cluster import memory_accounts, sql_nodes
from pgnet_trio.server.cluster.errors import LeaseLapsed, NodeGone
from pgnet_trio.server.cluster.notes import EndSession, read_note
from pgnet_trio.server.cluster.records import (
    Admission,
    Admitted,
    Lookup,
    NotAdmitted,
    SessionRow,
)
from pgnet_trio.storage.interface import TokenRecord, UserRecord
from tests.cluster.conftest import LEASE, Bench
from tests.cluster.test_contract import ANN, ODD_TEXTS, lapse, register, two_nodes

TOKEN = TokenRecord("ann", b"digest", 99)


async def add_ann(bench: Bench) -> None:
    assert await bench.first.register_user(ANN, "", registration_enabled=True) == "done"


def note(session: SessionRow) -> bytes:
    return EndSession(session.username, session.epoch, "out", "user_deleted").packed()


async def test_one_look_says_all_about_a_log_in(bench: Bench) -> None:
    await add_ann(bench)
    first, _ = await two_nodes(bench)
    admission = Admission("ann", ANN, "home", TOKEN, node=first, session_token=b"resume")
    admitted = await bench.first.admit(admission, limit=4)
    assert isinstance(admitted, Admitted)
    assert admitted.entered is not None
    await bench.first.note_failures(["key"])
    look = await bench.second.look_up("ann", keys={"key": 60.0, "other": 60.0})
    assert (look.user, look.tokens, look.places) == (ANN, (TOKEN,), ("home",))
    assert look.registration == "taken"
    assert look.counts == {"key": 1, "other": 0}
    session = await bench.second.find_session("ann")
    assert session == SessionRow("ann", first, admitted.entered.epoch, b"resume")
    nobody = Lookup(None, (), "code needed", "", (), {})
    assert await bench.second.look_up("bob") == nobody


@pytest.mark.parametrize("enabled", [True, False])
async def test_a_look_says_what_would_become_of_a_registration(bench: Bench, enabled: bool) -> None:
    await add_ann(bench)
    await bench.first.add_invite("code", "")
    await bench.first.add_invite("bobs", "bob")
    for name, code in (
        ("ann", ""),
        ("ANN", ""),
        ("ANN", "code"),
        ("bob", ""),
        ("bob", "bobs"),
        ("cleo", "code"),
        ("cleo", "bobs"),
        ("dora", "guess"),
    ):
        look = await bench.second.look_up(name, code=code, registration_enabled=enabled)
        assert look.similar == ("ann" if name == "ANN" else "")
        assert look.registration == await register(bench.first, name, code, enabled=enabled)


@pytest.mark.parametrize("text", ODD_TEXTS)
async def test_anybody_may_be_looked_up_and_anything_counted(bench: Bench, text: str) -> None:
    look = await bench.first.look_up(text, code=text, keys={text: 60.0})
    assert (look.user, look.counts) == (None, {text: 0})
    await bench.first.note_failures([text])
    user = UserRecord(text, text, text)
    await bench.first.register_user(user, "", registration_enabled=True)
    admission = Admission(text, user, text or "somewhere")
    assert await bench.first.admit(admission, limit=4) == Admitted()
    look = await bench.second.look_up(text, keys={text: 60.0})
    assert (look.user, look.counts) == (user, {text: 1})
    assert look.places == (text or "somewhere",)


async def test_a_session_of_a_silent_node_is_not_found(bench: Bench) -> None:
    await add_ann(bench)
    first, second = await two_nodes(bench)
    await bench.second.admit(Admission("ann", ANN, node=second), limit=4)
    await lapse(bench, renewing=first)
    assert await bench.first.find_session("ann") is None


async def test_only_who_still_is_what_they_have_proved_to_be_is_admitted(bench: Bench) -> None:
    await add_ann(bench)
    first, _ = await two_nodes(bench)
    newer = UserRecord("ann", "", "hash 2")
    await bench.second.replace_user(ANN, newer)
    admission = Admission("ann", ANN, "home", TOKEN, node=first)
    assert await bench.first.admit(admission, limit=4) == NotAdmitted(newer)
    await bench.second.delete_user("ann")
    assert await bench.first.admit(admission, limit=4) == NotAdmitted(None)
    look = await bench.first.look_up("ann", registration_enabled=True)
    assert look == Lookup(None, (), "done", "", (), {})


async def test_an_admission_that_is_repeated_is_made_once(bench: Bench) -> None:
    await add_ann(bench)
    first, second = await two_nodes(bench)
    admission = Admission("ann", ANN, "home", TOKEN, node=first, session_token=b"1")
    once = await bench.first.admit(admission, limit=4, operation=b"in")
    later = await bench.second.admit(Admission("ann", ANN, node=second), limit=4)
    # Also where the record has changed since: it was let in then.
    await bench.second.replace_user(ANN, UserRecord("ann", "", "hash 2"))
    assert await bench.first.admit(admission, limit=4, operation=b"in") == once
    assert isinstance(once, Admitted)
    assert isinstance(later, Admitted)
    assert once.entered is not None
    assert later.entered is not None
    # The later one has its place, and knows of the one before.
    assert later.entered.before == SessionRow("ann", first, once.entered.epoch, b"1")
    row = await bench.first.find_session("ann")
    assert row is not None
    assert (row.node, row.epoch) == (second, later.entered.epoch)


async def test_without_a_lease_nobody_is_admitted(bench: Bench) -> None:
    await add_ann(bench)
    first, second = await two_nodes(bench)
    await bench.advance(LEASE + 1)
    admission = Admission("ann", ANN, "home", TOKEN, node=first)
    with pytest.raises(LeaseLapsed):
        await bench.first.admit(admission, limit=4)
    with pytest.raises(NodeGone):
        gone = Admission("ann", ANN, "home", TOKEN, node=first + second + 1000)
        await bench.first.admit(gone, limit=4)
    look = await bench.first.look_up("ann")
    assert (look.tokens, look.places) == ((), ())
    assert await bench.first.find_session("ann") is None


async def test_a_user_is_known_from_a_few_places_the_latest_last(bench: Bench) -> None:
    await add_ann(bench)
    places = [f"place {number}" for number in range(MAX_KNOWN_ADDRESSES + 1)]
    for place in (*places, places[2], places[2]):
        await bench.first.admit(Admission("ann", ANN, place), limit=4)
    look = await bench.second.look_up("ann")
    others = [place for place in places[1:] if place != places[2]]
    assert look.places == (*others, places[2])
    await bench.second.delete_user("ann")
    assert (await bench.first.look_up("ann")).places == ()


async def test_a_deletion_tells_the_node_that_has_the_session(bench: Bench) -> None:
    await add_ann(bench)
    first, second = await two_nodes(bench)
    admitted = await bench.second.admit(Admission("ann", ANN, node=second), limit=4)
    assert isinstance(admitted, Admitted)
    assert admitted.entered is not None
    for _ in range(2):
        assert await bench.first.delete_user("ann", note=note, operation=b"away")
    assert await bench.first.read_mail(first) == []
    (mail,) = await bench.second.read_mail(second)
    epoch = admitted.entered.epoch
    assert read_note(mail.body) == EndSession("ann", epoch, "out", "user_deleted")
    # Nobody else is called so until they have left.
    assert await register(bench.first, "ann") == "leaving"
    assert (await bench.first.look_up("ann", registration_enabled=True)).registration == "leaving"
    # An invite is for later.
    assert await bench.first.add_invite("code", "ann") == "done"
    await bench.second.leave("ann", epoch)
    assert await register(bench.first, "ann", "code") == "done"
    assert not await bench.first.delete_user("bob", note=note)


async def test_a_name_is_free_when_the_node_that_has_the_session_is_silent(bench: Bench) -> None:
    await add_ann(bench)
    first, second = await two_nodes(bench)
    await bench.second.admit(Admission("ann", ANN, node=second), limit=4)
    assert await bench.first.delete_user("ann", note=note)
    await lapse(bench, renewing=first)
    assert await register(bench.first, "ann") == "done"


async def test_a_deletion_and_a_log_in_at_once_leave_no_session_without_mail(
    bench: Bench,
) -> None:
    first, second = await two_nodes(bench)
    for number in range(20):
        await add_ann(bench)
        results: list[Admitted | NotAdmitted] = []

        async def let_in(into: list[Admitted | NotAdmitted]) -> None:
            admission = Admission("ann", ANN, node=second)
            into.append(await bench.second.admit(admission, limit=4))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(let_in, results)
            nursery.start_soon(lambda: bench.first.delete_user("ann", note=note))
        mail = await bench.second.read_mail(second)
        row = await bench.first.find_session("ann")
        (result,) = results
        if isinstance(result, Admitted):
            assert row is not None
            assert [read_note(each.body) for each in mail] == [read_note(note(row))]
            await bench.second.leave("ann", row.epoch)
        else:
            assert (mail, row) == ([], None)
        await bench.second.read_mail(second, done=[each.id for each in mail])
        await bench.first.renew(first)
        await bench.second.renew(second)
        assert await bench.first.find_user("ann") is None, number


async def test_a_registration_is_counted_with_it_or_not_at_all(bench: Bench) -> None:
    for _ in range(2):
        await bench.first.register_user(
            ANN, "", registration_enabled=True, counted=["home"], operation=b"in"
        )
    await bench.second.register_user(ANN, "", registration_enabled=True, counted=["home"])
    assert await bench.first.count_failures(["home"], 60) == {"home": 1}


async def test_the_accounts_are_counted(bench: Bench) -> None:
    assert await bench.first.count_accounts() == (0, 0)
    await add_ann(bench)
    await bench.first.add_invite("code", "")
    await bench.first.add_invite("other", "")
    assert await bench.second.count_accounts() == (1, 2)


async def test_failures_do_not_count_that_are_still_to_come(bench: Bench) -> None:
    # As after a restart of a machine whose clock counts from its start.
    await bench.first.note_failures(["key"])
    await bench.advance(-1000)
    assert await bench.first.count_failures(["key"], 60) == {"key": 0}
    look = await bench.first.look_up("ann", keys={"key": 60.0})
    assert look.counts == {"key": 0}


async def test_so_many_failures_are_kept_and_the_oldest_go(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (memory_accounts, sql_nodes):
        monkeypatch.setattr(module, "MAX_FAILURES_KEPT", 3)
    for number in range(5):
        await bench.first.note_failures([f"{number}"])
        await bench.advance(1)
    await bench.first.tidy()
    keys = [f"{number}" for number in range(5)]
    counts = await bench.second.count_failures(keys, 60)
    assert list(counts.values()) == [0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    "body",
    [b"", b"\xff", b"[]", b"{}", b'{"end_session": 1}', b'{"end_session": {"username": "ann"}}'],
)
def test_a_note_that_this_version_does_not_know_is_none(body: bytes) -> None:
    assert read_note(body) is None


def test_a_note_takes_any_name() -> None:
    for text in ODD_TEXTS:
        asked = EndSession(text, 1, text, text)
        assert read_note(asked.packed()) == asked

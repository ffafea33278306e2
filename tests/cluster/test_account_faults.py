"""Accounts of a cluster whose engine is away, late, or loses its answers; in virtual time."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import attrs
import pytest
import trio

from pgnet_trio.crypto import KeyPair
from pgnet_trio.server.account_refusals import AccountRefusal, TemporaryRefusal
from pgnet_trio.server.account_service import AccountRules, Seat
from pgnet_trio.server.attempts import Attempts, FailedLogins, Registrations, WrongGuesses
from pgnet_trio.server.cluster.base import PATIENCE
from pgnet_trio.server.cluster.digests import Digests
from pgnet_trio.server.cluster.records import Admission
from pgnet_trio.server.cluster.shared_accounts import READ_BACK_PAUSE, SharedAccounts
from pgnet_trio.server.password_checks import TooMany
from pgnet_trio.server.tokens import token_record
from pgnet_trio.storage import UserRecord
from pgnet_trio.testing.engine import SimulatedDatabase, SimulatedEngine
from tests.cluster.test_accounts import (
    ADMIN,
    HOME,
    KEY,
    NOW,
    PER_ACCOUNT,
    PER_ADDRESS,
    TOKEN,
    admit,
    delete,
    fail,
    find,
    is_good,
    log_in,
    register,
)

if TYPE_CHECKING:
    from trio.testing import MockClock

RECORD = "$argon2id$very-secret-record"


@attrs.frozen
class Node:
    """One node of the simulated cluster."""

    engine: SimulatedEngine
    accounts: SharedAccounts


def node_of(
    database: SimulatedDatabase,
    key: KeyPair = KEY,
    *,
    node: Callable[[], int | None] = lambda: None,
) -> Node:
    engine = SimulatedEngine(database)
    accounts = SharedAccounts(
        engine,
        AccountRules(registration_enabled=True, require_user_password=False, admin=ADMIN),
        key,
        Attempts(
            FailedLogins(PER_ACCOUNT, PER_ADDRESS),
            Registrations(2),
            WrongGuesses(PER_ACCOUNT, PER_ADDRESS),
        ),
        node,
    )
    return Node(engine, accounts)


@pytest.fixture
async def database() -> SimulatedDatabase:
    return SimulatedDatabase()


@pytest.fixture
async def here(database: SimulatedDatabase) -> Node:
    return node_of(database)


@pytest.fixture
async def there(database: SimulatedDatabase) -> Node:
    return node_of(database)


def calls_of(accounts: SharedAccounts, ann: UserRecord) -> list[Callable[[], Awaitable[object]]]:
    """All that takes the engine, and one that may go on without it."""
    return [
        lambda: find(accounts, "ann"),
        lambda: is_good(accounts, "ann", TOKEN),
        lambda: accounts.register(log_in("bob"), RECORD, address=HOME),
        lambda: admit(accounts, ann, token=TOKEN),
        lambda: accounts.replace(ann, RECORD),
        accounts.overview,
        lambda: accounts.add_invite("", "code"),
        lambda: accounts.set_registration(False),
        lambda: delete(accounts, "ann"),
    ]


async def test_where_the_engine_is_away_the_player_is_told_to_come_back(
    autojump_clock: MockClock, database: SimulatedDatabase, here: Node, there: Node
) -> None:
    ann = await register(here.accounts, "ann")
    faults: list[Callable[[], None]] = [
        database.stop,
        here.engine.pause,
        lambda: setattr(here.engine, "cut", True),
    ]
    for fault in faults:
        fault()
        for call in calls_of(here.accounts, ann):
            start = trio.current_time()
            with pytest.raises(TemporaryRefusal, match="cannot be reached now; try again") as told:
                await call()
            assert told.value.code == "busy"
            assert trio.current_time() - start <= PATIENCE
        # The admin at the machine gets in, to see what is wrong.
        inside = await here.accounts.find(log_in("admin"), trusted=True, address=None)
        assert inside == "trusted"
        database.start()
        here.engine.resume()
        here.engine.cut = False
    overview = await there.accounts.overview()
    assert (overview.usernames, overview.invite_codes) == (["ann"], {})
    assert await find(there.accounts, "ann") == ann
    assert not await is_good(there.accounts, "ann", TOKEN)


async def test_where_the_engine_takes_no_writes_guesses_still_count(
    autojump_clock: MockClock, database: SimulatedDatabase, here: Node, there: Node
) -> None:
    ann = await register(here.accounts, "ann")
    database.read_only = True
    await fail(here.accounts, "ann", HOME, PER_ACCOUNT)
    with pytest.raises(TooMany):
        await find(here.accounts, "ann")
    # Only here: what was not written counts nowhere else.
    assert await find(there.accounts, "ann") == ann
    with pytest.raises(TemporaryRefusal, match="cannot be reached now"):
        await admit(there.accounts, ann)


@pytest.mark.parametrize("lost", [1, 2, 3])
async def test_a_change_whose_answer_is_lost_is_read_back_and_made_once(
    autojump_clock: MockClock, here: Node, there: Node, lost: int
) -> None:
    def lose() -> None:
        here.engine.lost_answers = lost

    accounts = here.accounts
    await accounts.add_invite("", "code")
    lose()
    ann = await accounts.register(log_in("ann", invite_code="code"), RECORD, address=HOME)
    assert await find(there.accounts, "ann") == ann
    lose()
    assert await admit(accounts, ann, token=TOKEN)
    assert await is_good(there.accounts, "ann", TOKEN)
    lose()
    await accounts.add_invite("", "second")
    lose()
    await accounts.set_registration(False)
    lose()
    await delete(accounts, "ann")
    overview = await there.accounts.overview()
    assert (overview.usernames, overview.invite_codes) == ([], {"second": ""})
    assert not overview.registration_enabled


async def test_what_is_never_answered_is_no_half_account(
    autojump_clock: MockClock, here: Node, there: Node
) -> None:
    here.engine.lost_answers = 4
    with pytest.raises(TemporaryRefusal, match="has not said what became of this"):
        await here.accounts.register(log_in("ann"), RECORD)
    # A client that comes back finds out, with the password that it had.
    found = await find(here.accounts, "ann")
    assert found == UserRecord("ann", "", RECORD)
    here.engine.lost_answers = 4
    with pytest.raises(TemporaryRefusal, match="has not said what became of this"):
        await delete(here.accounts, "ann")
    assert await find(there.accounts, "ann") == "new"


async def test_where_the_engine_goes_away_after_a_lost_answer_the_outcome_stays_unknown(
    autojump_clock: MockClock, database: SimulatedDatabase, here: Node
) -> None:
    here.engine.lost_answers = 2
    async with trio.open_nursery() as nursery:

        async def stop_soon() -> None:
            await trio.sleep(READ_BACK_PAUSE / 2)
            database.stop()

        nursery.start_soon(stop_soon)
        with pytest.raises(TemporaryRefusal, match="has not said what became of this"):
            await here.accounts.register(log_in("ann"), RECORD)
    database.start()
    assert isinstance(await find(here.accounts, "ann"), UserRecord)


async def test_an_answer_that_is_late_is_waited_for(
    autojump_clock: MockClock, here: Node, there: Node
) -> None:
    here.engine.request_delay, here.engine.answer_delay = 1.0, 2.0
    ann = await here.accounts.register(log_in("ann"), RECORD)
    assert await admit(here.accounts, ann, token=TOKEN)
    assert await is_good(there.accounts, "ann", TOKEN)


@pytest.mark.parametrize("number", range(9))
async def test_a_call_that_is_cancelled_at_any_moment_is_whole_or_was_not_made(
    autojump_clock: MockClock, number: int
) -> None:
    tenths = 0
    while True:
        database = SimulatedDatabase()
        here, there = node_of(database), node_of(database)
        ann = await register(here.accounts, "ann")
        await there.accounts.add_invite("", "bobs")
        here.engine.request_delay = here.engine.answer_delay = 0.35
        here.engine.lost_answers = 1
        call = calls_of(here.accounts, ann)[number]
        with trio.move_on_after(tenths / 10) as scope:
            await call()
        overview = await there.accounts.overview()
        # Everybody who is there can log in, and is there for whoever else asks.
        assert set(overview.usernames) <= {"ann", "bob"}
        for name in overview.usernames:
            user = await find(there.accounts, name, address=None)
            assert isinstance(user, UserRecord)
            await admit(there.accounts, user)
        for name in {"ann", "bob"} - set(overview.usernames):
            await there.accounts.set_registration(True)
            assert await find(there.accounts, name, address=None) == "new"
        if not scope.cancelled_caught:
            break
        tenths += 1
    assert tenths > 3


async def test_new_users_are_counted_at_all_nodes(
    autojump_clock: MockClock, here: Node, there: Node
) -> None:
    for node, name in ((here, "ann"), (there, "bob")):
        assert await find(node.accounts, name) == "new"
        await node.accounts.register(log_in(name), RECORD, address=HOME)
    for node in (here, there):
        with pytest.raises(TooMany, match="Too many new users"):
            await find(node.accounts, "cleo")
        assert await find(node.accounts, "cleo", address="192.0.2.99") == "new"
        assert isinstance(await find(node.accounts, "ann"), UserRecord)
    await trio.sleep(3601)
    assert await find(there.accounts, "cleo") == "new"


async def test_a_session_at_another_node_is_told_of_the_deletion(
    autojump_clock: MockClock, here: Node, there: Node
) -> None:
    ann = await register(here.accounts, "ann")
    node = (await there.engine.register("south", "")).node
    await there.engine.admit(Admission("ann", ann, node=node), limit=4)
    start = trio.current_time()
    await delete(here.accounts, "ann")
    await there.engine.wait_for_news(node)
    assert trio.current_time() == start
    assert len(await there.engine.read_mail(node)) == 1
    with pytest.raises(TemporaryRefusal, match="was deleted just now, and has not left yet"):
        await find(here.accounts, "ann")


async def test_a_user_who_is_called_admin_in_the_tables_is_not_the_admin(
    autojump_clock: MockClock, here: Node
) -> None:
    planted = UserRecord("admin", "", "$argon2id$planted")
    await here.engine.register_user(planted, "", registration_enabled=True)
    assert await find(here.accounts, "admin") == ADMIN
    record = token_record(planted, TOKEN, KEY.public, NOW)
    await here.engine.add_token(record, limit=4)
    assert not await is_good(here.accounts, "admin", TOKEN)


async def test_a_token_is_bound_to_the_servers_key(
    autojump_clock: MockClock, database: SimulatedDatabase, here: Node
) -> None:
    ann = await register(here.accounts, "ann")
    await admit(here.accounts, ann, token=TOKEN)
    other = node_of(database, KeyPair(bytes(range(1, 33))))
    assert not await is_good(other.accounts, "ann", TOKEN)


async def test_nothing_secret_is_in_the_log_and_no_address_in_the_tables(
    autojump_clock: MockClock,
    database: SimulatedDatabase,
    here: Node,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    user = await here.accounts.register(log_in("ann", "pass word"), RECORD, address=HOME)
    await admit(here.accounts, user, token=TOKEN)
    await fail(here.accounts, "ann", HOME)
    database.stop()
    for call in calls_of(here.accounts, user):
        with pytest.raises(AccountRefusal):
            await call()
    await here.accounts.note_failure("ann", HOME)
    await here.accounts.refresh()
    database.start()
    assert "secret-record" not in caplog.text
    assert "pass word" not in caplog.text
    look = await here.engine.look_up("ann")
    assert look.places
    assert look.tokens
    tables = database._tables
    for shown in (repr(look), repr(Admission("ann", user, session_token=TOKEN)), str(vars(tables))):
        assert HOME not in shown
        assert "secret-record" not in shown
        assert repr(TOKEN)[2:10] not in shown


async def test_the_figures_are_those_of_the_last_count(
    autojump_clock: MockClock, here: Node, there: Node
) -> None:
    accounts = here.accounts
    await register(accounts, "ann")
    await there.accounts.add_invite("", "code")
    await there.accounts.set_registration(False)
    assert (accounts.user_count, accounts.invite_code_count) == (0, 0)
    await accounts.refresh()
    assert (accounts.user_count, accounts.invite_code_count) == (1, 1)
    assert not accounts.registration_enabled
    here.engine.cut = True
    await accounts.refresh()
    assert accounts.user_count == 1


async def test_a_session_is_registered_with_the_log_in_and_found_at_other_nodes(
    autojump_clock: MockClock, database: SimulatedDatabase, there: Node
) -> None:
    lease = await there.engine.register("north", "n.example:1")
    here = node_of(database, node=lambda: lease.node)
    ann = await register(here.accounts, "ann")
    assert await there.engine.find_session("ann") is None

    async def enter(name: str, user: UserRecord | None, session_token: bytes = TOKEN) -> Seat:
        return await here.accounts.admit(
            name,
            user,
            address=HOME,
            token=b"",
            now=NOW,
            instead_of=None,
            session_token=session_token,
        )

    seat = await enter("ann", ann)
    found = await there.engine.find_session("ann")
    assert found is not None
    assert (found.node, found.epoch, found.token) == (lease.node, seat.epoch, TOKEN)
    assert seat.replaced is None
    # The admin has no account, and a session all the same.
    assert (await enter("admin", None)).epoch > seat.epoch
    later = await enter("ann", ann)
    assert later.replaced == (lease.node, seat.epoch)
    # Who is sent elsewhere gets none here.
    assert (await enter("ann", ann, b"")).epoch == 0
    found = await there.engine.find_session("ann")
    assert found is not None
    assert found.epoch == later.epoch


async def test_a_node_whose_lease_is_over_lets_nobody_in(
    autojump_clock: MockClock, database: SimulatedDatabase, there: Node
) -> None:
    lease = await there.engine.register("north", "n.example:1")
    here = node_of(database, node=lambda: lease.node)
    ann = await register(here.accounts, "ann")
    await trio.sleep(11)
    with pytest.raises(TemporaryRefusal, match="cannot be reached now"):
        await here.accounts.admit(
            "ann",
            ann,
            address=HOME,
            token=TOKEN,
            now=NOW,
            instead_of=None,
            session_token=TOKEN,
        )
    assert not await is_good(there.accounts, "ann", TOKEN)


def test_a_digest_tells_texts_and_keys_apart() -> None:
    digests = Digests(KEY.private)
    made = {
        digests.of("a", "bc"),
        digests.of("ab", "c"),
        digests.of("abc"),
        digests.of("abc", ""),
        digests.of("\ud800"),
        Digests(bytes(32)).of("abc"),
    }
    assert len(made) == 6
    assert digests.of("a", "bc") == Digests(KEY.private).of("a", "bc")

"""What is promised of accounts, tried where a server has its own and where a cluster shares them.

`first` and `second` are two nodes; a server with accounts of its own is both.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest
import trio

from pgnet_trio.crypto import KeyPair
from pgnet_trio.environment import Environment
from pgnet_trio.protocol.events import LogIn
from pgnet_trio.server.account_refusals import AccountRefusal, TemporaryRefusal, TokenRefused
from pgnet_trio.server.account_service import AccountRules, AccountService
from pgnet_trio.server.accounts import Accounts
from pgnet_trio.server.attempts import (
    STRANGERS,
    Attempts,
    FailedLogins,
    Registrations,
    WrongGuesses,
)
from pgnet_trio.server.cluster.shared_accounts import SharedAccounts
from pgnet_trio.server.games.archive import Archive
from pgnet_trio.server.limits import Limits
from pgnet_trio.server.local_accounts import LocalAccounts
from pgnet_trio.server.password_checks import PasswordChecks, TooMany
from pgnet_trio.server.tokens import LIFETIME, MAX_TOKENS, LoginTokens
from pgnet_trio.storage import UserRecord
from pgnet_trio.testing import MemoryStore
from tests.cluster.conftest import ENGINES, Bench, memory_bench, postgres_bench, sqlite_bench

if TYPE_CHECKING:
    from trio.testing import MockClock

    from tests.cluster.postgres import Postgres

KEY = KeyPair(bytes(range(32)))
ADMIN = UserRecord("admin", "", "$argon2id$admin")
TOKEN, OTHER_TOKEN = b"t" * 32, b"u" * 32
NOW = 1_000_000_000.0
HOME, CAFE = "192.0.2.1", "198.51.100.7"
PER_ACCOUNT, PER_ADDRESS = 5, 20


@attrs.frozen
class Nodes:
    """Two ways to the same accounts.

    Attributes:
        first: One node's.
        second: Another one's; the same where a server has its own.
        advance: Lets so many seconds pass; a test that does so names `mock_clock` too.
        make: Makes one more way, with other rules.
    """

    first: AccountService
    second: AccountService
    advance: Callable[[float], Awaitable[None]]
    make: Callable[[AccountRules], AccountService]


def rules(
    *,
    registration_enabled: bool = True,
    require_user_password: bool = False,
    admin: UserRecord | None = ADMIN,
) -> AccountRules:
    return AccountRules(registration_enabled, require_user_password, admin)


@pytest.fixture(params=["local", *ENGINES])
async def nodes(
    request: pytest.FixtureRequest, tmp_path: Path, mock_clock: MockClock
) -> AsyncIterator[Nodes]:
    if request.param == "local":
        yield await local_nodes(mock_clock)
        return
    how: AbstractAsyncContextManager[Bench]
    if request.param == "memory":
        how = memory_bench()
    elif request.param == "sqlite":
        how = sqlite_bench(tmp_path / "save.sqlite")
    else:
        server: Postgres = request.getfixturevalue("shared_postgres")
        how = postgres_bench(server)
    async with how as bench:

        async def advance(seconds: float) -> None:
            mock_clock.jump(seconds)
            # The engine in memory goes by Trio's clock.
            if request.param != "memory":
                await bench.advance(seconds)

        yield Nodes(
            shared(bench, rules()), shared(bench, rules()), advance, lambda its: shared(bench, its)
        )


async def local_nodes(clock: MockClock) -> Nodes:
    store = MemoryStore()
    archive = Archive(store, Environment())
    await archive.load()

    def make(its: AccountRules) -> LocalAccounts:
        # As another run of the server does.
        saved = store.state
        accounts = Accounts(
            saved,
            registration_enabled=its.registration_enabled,
            require_user_password=its.require_user_password,
            admin=its.admin,
            tokens=LoginTokens(saved.tokens.values(), KEY.public, NOW),
        )
        failed_logins = FailedLogins(PER_ACCOUNT, PER_ADDRESS)
        limits = Limits(
            failed_logins_per_account=PER_ACCOUNT, failed_logins_per_address=PER_ADDRESS
        )
        return LocalAccounts(
            accounts, archive, PasswordChecks(Environment(), failed_logins, limits)
        )

    async def advance(seconds: float) -> None:
        clock.jump(seconds)
        await trio.lowlevel.checkpoint()

    accounts = make(rules())
    return Nodes(accounts, accounts, advance, make)


def shared(bench: Bench, its: AccountRules) -> SharedAccounts:
    attempts = Attempts(
        FailedLogins(PER_ACCOUNT, PER_ADDRESS),
        Registrations(PER_ADDRESS),
        WrongGuesses(PER_ACCOUNT, PER_ADDRESS),
    )
    return SharedAccounts(bench.first, its, KEY, attempts)


def log_in(
    username: str, password: str = "secret", invite_code: str = "", token: bytes = b""
) -> LogIn:
    return LogIn(username, password, invite_code, token)


async def find(
    accounts: AccountService, name: str, *, code: str = "", address: str | None = HOME
) -> UserRecord | str:
    return await accounts.find(log_in(name, invite_code=code), trusted=False, address=address)


async def register(accounts: AccountService, name: str, *, code: str = "") -> UserRecord:
    attempt = log_in(name, invite_code=code)
    assert await accounts.find(attempt, trusted=False, address=None) == "new"
    return await accounts.register(attempt, f"$argon2id${name}")


async def admit(
    accounts: AccountService,
    user: UserRecord,
    *,
    address: str | None = HOME,
    token: bytes = b"",
    now: float = NOW,
) -> bool:
    seat = await accounts.admit(
        user.name, user, address=address, token=token, now=now, instead_of=None
    )
    return seat.token_stands


async def is_good(accounts: AccountService, name: str, token: bytes, now: float = NOW) -> bool:
    try:
        await accounts.find_by_token(log_in(name, "", token=token), now)
    except TokenRefused:
        return False
    return True


async def fail(accounts: AccountService, name: str, address: str, times: int = 1) -> None:
    for _ in range(times):
        await find(accounts, name, address=address)
        await accounts.note_failure(name, address)


async def delete(accounts: AccountService, name: str) -> None:
    async with accounts.deleting_user(name):
        await trio.lowlevel.checkpoint()


# Users


async def test_who_has_registered_at_one_node_is_known_at_all(nodes: Nodes) -> None:
    user = await register(nodes.first, "ann")
    assert user == UserRecord("ann", "", "$argon2id$ann")
    assert await find(nodes.second, "ann") == user
    await admit(nodes.second, user)
    assert (await nodes.second.overview()).usernames == ["ann"]


@pytest.mark.parametrize(
    "name", ["", "ab", "x" * 21, "a b", "x_é", "theadmin1", "a\0b", "\ud800ab"]
)
async def test_a_name_that_no_new_user_may_have_is_refused(nodes: Nodes, name: str) -> None:
    with pytest.raises(AccountRefusal) as caught:
        await find(nodes.first, name)
    assert caught.value.code == "name_not_allowed"


async def test_nobody_registers_by_a_name_that_differs_only_in_case(nodes: Nodes) -> None:
    await register(nodes.first, "ann")
    with pytest.raises(AccountRefusal, match="'ann' already, and 'ANN' would look like them"):
        await find(nodes.second, "ANN")
    with pytest.raises(AccountRefusal, match="'ann' already, and 'Ann' would look like them"):
        await nodes.second.register(log_in("Ann"), "$argon2id$Ann")
    await delete(nodes.first, "ann")
    await register(nodes.second, "ANN")


async def test_a_new_user_may_have_to_have_a_password(nodes: Nodes) -> None:
    strict = nodes.make(rules(require_user_password=True))
    with pytest.raises(AccountRefusal, match="needs a password"):
        await strict.find(log_in("cleo", ""), trusted=False, address=HOME)
    assert await find(strict, "cleo") == "new"
    empty = await nodes.first.find(log_in("cleo", ""), trusted=False, address=HOME)
    assert empty == "new"


async def test_of_two_who_register_by_one_name_at_once_one_wins_and_the_other_hears_why(
    nodes: Nodes,
) -> None:
    await nodes.first.add_invite("", "code")
    for node, name, code in ((nodes.first, "ann", ""), (nodes.second, "ann", "code")):
        assert await find(node, name, code=code, address=None) == "new"
    outcomes: list[UserRecord | AccountRefusal] = []

    async def try_to(accounts: AccountService, attempt: LogIn, record: str) -> None:
        try:
            outcomes.append(await accounts.register(attempt, record))
        except AccountRefusal as refusal:
            outcomes.append(refusal)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(try_to, nodes.first, log_in("ann"), "$argon2id$one")
        nursery.start_soon(try_to, nodes.second, log_in("ann", invite_code="code"), "$argon2id$two")
    (won,) = (one for one in outcomes if isinstance(one, UserRecord))
    (lost,) = (one for one in outcomes if isinstance(one, AccountRefusal))
    assert str(lost) == "Somebody else has just registered as 'ann'."
    # Their client may come back, as somebody who is known by then, or is not.
    assert isinstance(lost, TemporaryRefusal)
    assert await find(nodes.first, "ann") == await find(nodes.second, "ann") == won
    codes = (await nodes.first.overview()).invite_codes
    assert codes == ({} if won.password == "$argon2id$two" else {"code": ""})


# Who may register


async def test_the_switch_holds_at_all_nodes_and_over_what_the_host_has_said(nodes: Nodes) -> None:
    await nodes.first.set_registration(False)
    for accounts in (nodes.second, nodes.make(rules(registration_enabled=True))):
        with pytest.raises(AccountRefusal, match="new users need an invite code"):
            await find(accounts, "ann")
        assert not (await accounts.overview()).registration_enabled
    # Also for somebody who was to be registered already.
    with pytest.raises(AccountRefusal, match="new users need an invite code"):
        await nodes.second.register(log_in("ann"), "$argon2id$ann")
    await nodes.second.set_registration(True)
    assert await find(nodes.first, "ann") == "new"


async def test_what_the_host_has_said_holds_until_somebody_sets_the_switch(nodes: Nodes) -> None:
    closed = nodes.make(rules(registration_enabled=False))
    with pytest.raises(AccountRefusal, match="new users need an invite code"):
        await find(closed, "ann")
    assert not (await closed.overview()).registration_enabled


async def test_an_invite_code_lets_one_user_in_where_nobody_may_register(nodes: Nodes) -> None:
    await nodes.first.set_registration(False)
    await nodes.first.add_invite("", "code")
    await nodes.first.add_invite("bob", "bobs")
    assert (await nodes.second.overview()).invite_codes == {"code": "", "bobs": "bob"}
    with pytest.raises(AccountRefusal, match="not valid, or was used already"):
        await find(nodes.second, "ann", code="bobs")
    await register(nodes.second, "ann", code="code")
    for accounts in (nodes.first, nodes.second):
        with pytest.raises(AccountRefusal, match="not valid, or was used already"):
            await find(accounts, "cleo", code="code")
    await register(nodes.first, "bob", code="bobs")
    assert (await nodes.first.overview()).invite_codes == {}
    # A client still has the code that its user came with.
    assert isinstance(await find(nodes.second, "bob", code="bobs"), UserRecord)


async def test_a_wrong_code_is_refused_while_anybody_may_register(nodes: Nodes) -> None:
    with pytest.raises(AccountRefusal, match="not valid"):
        await find(nodes.first, "ann", code="guess")
    with pytest.raises(AccountRefusal, match="not valid"):
        await nodes.first.register(log_in("ann", invite_code="guess"), "$argon2id$ann")
    await nodes.first.add_invite("", "code")
    await register(nodes.second, "ann")
    assert (await nodes.first.overview()).invite_codes == {"code": ""}


async def test_of_two_who_have_one_code_one_uses_it(nodes: Nodes) -> None:
    await nodes.first.add_invite("", "code")
    outcomes: list[str] = []

    async def try_to(accounts: AccountService, name: str) -> None:
        try:
            await accounts.register(log_in(name, invite_code="code"), "$argon2id$")
        except AccountRefusal as refusal:
            outcomes.append(refusal.code)
        else:
            outcomes.append("in")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(try_to, nodes.first, "ann")
        nursery.start_soon(try_to, nodes.second, "bob")
    assert sorted(outcomes) == ["in", "invalid_invite"]
    assert len((await nodes.first.overview()).usernames) == 1


@pytest.mark.parametrize("name", ["ann", "ANN", "admin", "x", "no way"])
async def test_nobody_is_invited_who_could_never_register(nodes: Nodes, name: str) -> None:
    await register(nodes.first, "ann")
    with pytest.raises(AccountRefusal):
        await nodes.second.add_invite(name, "code")
    assert (await nodes.second.overview()).invite_codes == {}


# The administrator


async def test_the_admin_needs_a_password_but_inside_the_process(nodes: Nodes) -> None:
    assert await find(nodes.first, "admin") == ADMIN
    off = nodes.make(rules(admin=None))
    with pytest.raises(AccountRefusal, match="Admin log-in is off"):
        await find(off, "admin")
    inside = await off.find(log_in("admin", ""), trusted=True, address=None)
    assert inside == "trusted"
    seat = await off.admit("admin", None, address=None, token=b"", now=NOW, instead_of=None)
    assert not seat.token_stands


async def test_the_admin_gets_no_token_and_is_not_saved(nodes: Nodes) -> None:
    assert not await admit(nodes.first, ADMIN, token=TOKEN)
    assert not await is_good(nodes.second, "admin", TOKEN)
    with pytest.raises(AccountRefusal, match="cannot be replaced"):
        await nodes.first.replace(ADMIN, "$argon2id$stronger")
    with pytest.raises(AccountRefusal, match="cannot be deleted"):
        nodes.first.check_deletable("admin")
    with pytest.raises(AccountRefusal, match="cannot be deleted"):
        await delete(nodes.first, "admin")
    assert (await nodes.first.overview()).usernames == []


# Tokens


async def test_a_token_stands_for_its_users_password_at_all_nodes(nodes: Nodes) -> None:
    ann, bob = await register(nodes.first, "ann"), await register(nodes.first, "bob")
    assert await admit(nodes.first, ann, token=TOKEN)
    user, record = await nodes.second.find_by_token(log_in("ann", "", token=TOKEN), NOW)
    assert user == ann
    assert record.expires == NOW + LIFETIME
    for name, token in (("ann", OTHER_TOKEN), ("bob", TOKEN), ("cleo", TOKEN)):
        assert not await is_good(nodes.second, name, token)
    # A token lets in as a password does, and is kept.
    await admit(nodes.second, user)
    assert await is_good(nodes.first, "ann", TOKEN)
    assert bob.name == "bob"


async def test_a_token_ends_after_thirty_days(nodes: Nodes) -> None:
    await admit(nodes.first, await register(nodes.first, "ann"), token=TOKEN)
    assert await is_good(nodes.second, "ann", TOKEN, NOW + LIFETIME - 1)
    assert not await is_good(nodes.second, "ann", TOKEN, NOW + LIFETIME)


async def test_a_user_has_a_few_tokens_and_the_oldest_gives_way(nodes: Nodes) -> None:
    ann = await register(nodes.first, "ann")
    tokens = [bytes([number]) * 32 for number in range(MAX_TOKENS + 2)]
    for number, token in enumerate(tokens):
        await admit(nodes.first, ann, token=token, now=NOW + number)
    good = [await is_good(nodes.second, "ann", token) for token in tokens]
    assert good == [False, False] + [True] * MAX_TOKENS


async def test_a_token_takes_the_place_of_the_one_that_was_used(nodes: Nodes) -> None:
    ann = await register(nodes.first, "ann")
    await admit(nodes.first, ann, token=TOKEN)
    _, old = await nodes.second.find_by_token(log_in("ann", "", token=TOKEN), NOW)
    seat = await nodes.second.admit(
        "ann", ann, address=HOME, token=OTHER_TOKEN, now=NOW, instead_of=old
    )
    assert seat.token_stands
    assert not await is_good(nodes.first, "ann", TOKEN)
    assert await is_good(nodes.first, "ann", OTHER_TOKEN)


async def test_tokens_end_with_the_password_record(nodes: Nodes) -> None:
    ann = await register(nodes.first, "ann")
    await admit(nodes.first, ann, token=TOKEN)
    await nodes.second.replace(ann, "$argon2id$stronger")
    assert not await is_good(nodes.first, "ann", TOKEN)
    stronger = await find(nodes.first, "ann")
    assert stronger == UserRecord("ann", "", "$argon2id$stronger")
    # Whoever has proved to be what the record was before is asked again, and so is an upgrade.
    with pytest.raises(TemporaryRefusal, match="'ann' has just changed; log in again"):
        await admit(nodes.first, ann, token=OTHER_TOKEN)
    with pytest.raises(AccountRefusal):
        await nodes.second.replace(ann, "$argon2id$third")
    assert await find(nodes.first, "ann") == stronger


# Deletions


async def test_a_deleted_user_is_gone_at_all_nodes_and_the_name_is_free(nodes: Nodes) -> None:
    ann = await register(nodes.first, "ann")
    await admit(nodes.first, ann, token=TOKEN)
    async with nodes.second.deleting_user("ann"):
        with pytest.raises(AccountRefusal):
            await admit(nodes.first, ann)
        with pytest.raises(AccountRefusal):
            await nodes.second.replace(ann, "$argon2id$stronger")
        assert not await is_good(nodes.first, "ann", TOKEN)
    with pytest.raises(AccountRefusal, match="was deleted") as caught:
        await admit(nodes.first, ann)
    assert caught.value.code == "user_deleted"
    assert not await is_good(nodes.first, "ann", TOKEN)
    namesake = await nodes.first.register(log_in("ann"), "$argon2id$other")
    # Whoever has proved to be the old one is not the new one.
    with pytest.raises(AccountRefusal):
        await admit(nodes.second, ann)
    await admit(nodes.second, namesake)
    assert not await is_good(nodes.first, "ann", TOKEN)


@pytest.mark.parametrize("name", ["cleo", "", "x" * 10_000, "a\0b"])
async def test_nobody_is_deleted_who_is_not_there(nodes: Nodes, name: str) -> None:
    await register(nodes.first, "ann")
    with pytest.raises(AccountRefusal, match="There is no user") as caught:
        await delete(nodes.first, name)
    assert len(str(caught.value)) < 300


async def test_of_two_deletions_at_once_one_says_that_there_is_no_such_user_any_more(
    nodes: Nodes,
) -> None:
    await register(nodes.first, "ann")
    outcomes: list[str] = []

    async def try_to(accounts: AccountService) -> None:
        try:
            await delete(accounts, "ann")
        except AccountRefusal as refusal:
            outcomes.append(refusal.code)
        else:
            outcomes.append("gone")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(try_to, nodes.first)
        nursery.start_soon(try_to, nodes.second)
    assert outcomes.count("gone") == 1
    assert outcomes.count("unknown_user") + outcomes.count("user_deleted") == 1


# Guessed passwords


async def test_whoever_guesses_is_refused_unheard_at_all_nodes_and_the_owner_is_not(
    nodes: Nodes, mock_clock: MockClock
) -> None:
    ann = await register(nodes.first, "ann")
    await fail(nodes.first, "ann", CAFE, PER_ACCOUNT)
    for accounts in (nodes.first, nodes.second):
        with pytest.raises(TooMany, match="try again in 60 seconds"):
            await find(accounts, "ann", address=CAFE)
        assert await find(accounts, "ann", address=HOME) == ann
        # Somebody else may log in from there.
        assert await find(accounts, "bob", address=CAFE) == "new"
    await nodes.advance(61)
    assert await find(nodes.second, "ann", address=CAFE) == ann


async def test_failures_count_wherever_they_were(nodes: Nodes) -> None:
    await register(nodes.first, "ann")
    await fail(nodes.first, "ann", CAFE, PER_ACCOUNT - 1)
    await fail(nodes.second, "ann", CAFE)
    for accounts in (nodes.first, nodes.second):
        with pytest.raises(TooMany):
            await find(accounts, "ann", address=CAFE)


async def test_who_was_here_keeps_their_place_at_all_nodes_whoever_guesses(nodes: Nodes) -> None:
    ann = await register(nodes.first, "ann")
    await admit(nodes.first, ann, address=HOME)
    for number in range(STRANGERS):
        await fail(nodes.second, "ann", f"203.0.113.{number}", PER_ACCOUNT)
    # All new addresses together have used up what they may.
    with pytest.raises(TooMany):
        await find(nodes.second, "ann", address=CAFE)
    for accounts in (nodes.second, nodes.first):
        assert await find(accounts, "ann", address=HOME) == ann
    # Also where somebody guesses from behind the same router.
    for number in range(PER_ADDRESS // PER_ACCOUNT):
        await fail(nodes.second, f"bob{number}", HOME, PER_ACCOUNT)
    with pytest.raises(TooMany):
        await find(nodes.first, "cleo", address=HOME)
    for accounts in (nodes.second, nodes.first):
        assert await find(accounts, "ann", address=HOME) == ann


async def test_failures_from_an_address_count_for_a_minute(
    nodes: Nodes, mock_clock: MockClock
) -> None:
    """And not for the hour for which new users count."""
    for number in range(PER_ADDRESS):
        await fail(nodes.first, f"bob{number}", CAFE)
    with pytest.raises(TooMany, match="60 seconds"):
        await find(nodes.second, "cleo", address=CAFE)
    await nodes.advance(61)
    assert await find(nodes.second, "cleo", address=CAFE) == "new"


async def test_new_users_are_no_failures(nodes: Nodes) -> None:
    for number in range(PER_ADDRESS - 1):
        await nodes.first.register(log_in(f"ann{number}"), "$argon2id$", address=CAFE)
    await fail(nodes.first, "bob", CAFE)
    assert await find(nodes.second, "cleo", address=CAFE) == "new"


async def test_whoever_guesses_the_password_of_a_game_is_refused_at_all_nodes(
    nodes: Nodes, mock_clock: MockClock
) -> None:
    for _ in range(PER_ACCOUNT):
        assert await nodes.first.check_guess("ann", CAFE, "guess") is None
        await nodes.first.note_wrong_guess("ann", CAFE)
    for accounts in (nodes.first, nodes.second):
        refusal = await accounts.check_guess("ann", CAFE, "guess")
        assert refusal == "Too many wrong passwords or codes; try again in 60 seconds."
        # Somebody else may, and so may the same user log in.
        assert await accounts.check_guess("bob", CAFE, "guess") is None
        assert await find(accounts, "ann", address=CAFE) == "new"
    await nodes.advance(61)
    assert await nodes.second.check_guess("ann", CAFE, "guess") is None


async def test_nothing_counts_inside_the_process(nodes: Nodes) -> None:
    for _ in range(2 * PER_ADDRESS):
        await nodes.first.note_failure("ann", None)
        await nodes.first.note_wrong_guess("ann", None)
    assert await nodes.first.check_guess("ann", None, "guess") is None
    assert await find(nodes.first, "ann", address=None) == "new"


# Cancellation


async def test_every_call_is_a_checkpoint_and_changes_nothing_where_it_is_cancelled(
    nodes: Nodes,
) -> None:
    ann = await register(nodes.first, "ann")
    await admit(nodes.first, ann, token=TOKEN)
    accounts = nodes.first
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: find(accounts, "ann"),
        lambda: find(accounts, ""),
        lambda: accounts.find(log_in("admin"), trusted=True, address=None),
        lambda: is_good(accounts, "ann", TOKEN),
        lambda: accounts.register(log_in("bob"), "$argon2id$bob"),
        lambda: accounts.register(log_in("ann"), "$argon2id$ann"),
        lambda: admit(accounts, ann, token=OTHER_TOKEN),
        lambda: accounts.note_failure("ann", HOME),
        lambda: accounts.note_failure("ann", None),
        lambda: accounts.check_guess("ann", HOME, "guess"),
        lambda: accounts.check_guess("ann", HOME, ""),
        lambda: accounts.note_wrong_guess("ann", HOME),
        lambda: accounts.note_wrong_guess("ann", None),
        lambda: accounts.replace(ann, "$argon2id$stronger"),
        lambda: accounts.replace(ADMIN, "$argon2id$stronger"),
        accounts.overview,
        lambda: accounts.add_invite("", "code"),
        lambda: accounts.set_registration(False),
        lambda: delete(accounts, "ann"),
    ]
    for call in calls:
        with trio.CancelScope() as scope:
            scope.cancel()
            await call()
        assert scope.cancelled_caught
    assert await find(nodes.second, "ann") == ann
    assert await is_good(nodes.second, "ann", TOKEN)
    assert not await is_good(nodes.second, "ann", OTHER_TOKEN)
    overview = await nodes.second.overview()
    assert (overview.usernames, overview.invite_codes) == (["ann"], {})
    assert overview.registration_enabled

"""Accounts: who may log in, register and be deleted, whatever happens at the same time."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pgnet_trio.protocol.events import LogIn
from pgnet_trio.server.accounts import AccountRefusal, Accounts
from pgnet_trio.storage import Changes, SavedState, UserRecord

ANN = UserRecord("ann", "", "$argon2id$ann")
BOB = UserRecord("bob", "5a17", "c0ffee")
ADMIN = UserRecord("admin", "", "$argon2id$admin")


def accounts(
    saved: SavedState | None = None,
    *,
    registration_enabled: bool = True,
    require_user_password: bool = False,
    admin: UserRecord | None = None,
) -> Accounts:
    return Accounts(
        saved or SavedState(users={"ann": ANN, "bob": BOB}),
        registration_enabled=registration_enabled,
        require_user_password=require_user_password,
        admin=admin,
    )


def log_in(username: str, password: str = "secret", invite_code: str = "") -> LogIn:
    return LogIn(username, password, invite_code)


class DiskFullError(Exception):
    """What a write raises in these tests."""


def carry_out(change: AbstractContextManager[Changes]) -> Changes:
    with change as changes:
        return changes


def fail(change: AbstractContextManager[Changes]) -> None:
    with contextlib.suppress(DiskFullError), change:
        raise DiskFullError


# Logging in


def test_a_known_user_has_to_prove_it() -> None:
    assert accounts().check(log_in("ann"), trusted=False) is ANN
    assert accounts().check(log_in("bob"), trusted=True) is BOB


def test_a_known_user_may_log_in_whatever_the_rules_for_new_ones() -> None:
    # The original allowed other names.
    odd = UserRecord("x_é", "5a17", "c0ffee")
    saved = SavedState(users={"x_é": odd}, registration=False)
    closed = accounts(saved, require_user_password=True)
    assert closed.check(log_in("x_é", ""), trusted=False) is odd
    # Their client still has the code that they came with.
    assert closed.check(log_in("x_é", "", "used"), trusted=False) is odd


def test_an_unknown_user_is_to_be_registered() -> None:
    assert accounts().check(log_in("cleo"), trusted=False) == "new"


@pytest.mark.parametrize(
    "name", ["", "ab", "x" * 21, "a b", "x_é", "Admin", "theadmin1", "ADMIN", "a\0b", "x" * 10_000]
)
def test_a_name_that_no_new_user_may_have_is_refused(name: str) -> None:
    with pytest.raises(AccountRefusal) as caught:
        accounts().check(log_in(name), trusted=True)
    assert len(str(caught.value)) < 300
    assert "secret" not in str(caught.value)


def test_registration_can_be_closed_and_the_saved_switch_wins() -> None:
    for closed in (
        accounts(registration_enabled=False),
        accounts(SavedState(registration=False), registration_enabled=True),
    ):
        with pytest.raises(AccountRefusal, match="new users need an invite code"):
            closed.check(log_in("cleo"), trusted=False)
    reopened = accounts(SavedState(registration=True), registration_enabled=False)
    assert reopened.check(log_in("cleo"), trusted=False) == "new"


def test_a_new_user_may_have_to_have_a_password() -> None:
    strict = accounts(require_user_password=True)
    with pytest.raises(AccountRefusal, match="needs a password"):
        strict.check(log_in("cleo", ""), trusted=False)
    assert strict.check(log_in("cleo", "x"), trusted=False) == "new"
    assert accounts().check(log_in("cleo", ""), trusted=False) == "new"


def test_the_admin_needs_a_configured_password_except_inside_the_process() -> None:
    with pytest.raises(AccountRefusal, match="Admin log-in is off"):
        accounts().check(log_in("admin", "admin"), trusted=False)
    assert accounts(admin=ADMIN).check(log_in("admin"), trusted=False) is ADMIN
    assert accounts().check(log_in("admin"), trusted=True) == "trusted"
    assert accounts(admin=ADMIN).check(log_in("admin"), trusted=True) == "trusted"


def test_a_saved_user_called_admin_is_not_the_admin() -> None:
    planted = UserRecord("admin", "", "$argon2id$planted")
    saved = SavedState(users={"admin": planted})
    with pytest.raises(AccountRefusal, match="Admin log-in is off"):
        accounts(saved).check(log_in("admin"), trusted=False)
    assert accounts(saved, admin=ADMIN).check(log_in("admin"), trusted=False) is ADMIN
    assert accounts(saved).usernames == []
    with pytest.raises(AccountRefusal):
        accounts(saved).confirm(planted)


# Invite codes


@pytest.fixture
def invited() -> Accounts:
    codes = {"for-anybody": "", "for-cleo": "cleo", "\ud800": ""}
    return accounts(SavedState(invite_codes=codes, registration=False))


def test_an_invite_code_lets_one_user_register(invited: Accounts) -> None:
    with_code = log_in("dora", invite_code="for-anybody")
    assert invited.check(with_code, trusted=False) == "new"
    changes = carry_out(invited.registering(with_code, "$argon2id$dora"))
    dora = UserRecord("dora", "", "$argon2id$dora")
    assert changes == Changes(users={"dora": dora}, invite_codes={"for-anybody": None})
    assert invited.check(log_in("dora"), trusted=False) == dora
    assert "for-anybody" not in invited.invite_codes
    with pytest.raises(AccountRefusal, match="not valid, or was used"):
        invited.check(log_in("eve", invite_code="for-anybody"), trusted=False)


def test_a_code_for_somebody_is_for_nobody_else(invited: Accounts) -> None:
    with pytest.raises(AccountRefusal, match="not valid"):
        invited.check(log_in("eve", invite_code="for-cleo"), trusted=False)
    assert invited.check(log_in("cleo", invite_code="for-cleo"), trusted=False) == "new"


@pytest.mark.parametrize("code", ["wrong", "FOR-ANYBODY", "for-anybody ", "é", "\udfff", "?"])
def test_a_wrong_code_is_refused_even_while_registration_is_open(
    invited: Accounts, code: str
) -> None:
    invited.registration_enabled = True
    assert invited.check(log_in("cleo"), trusted=False) == "new"
    with pytest.raises(AccountRefusal, match="not valid"):
        invited.check(log_in("cleo", invite_code=code), trusted=False)


def test_an_open_registration_uses_no_code_that_was_not_given() -> None:
    open_to_all = accounts(SavedState(invite_codes={"for-anybody": ""}))
    changes = carry_out(open_to_all.registering(log_in("cleo"), "$argon2id$cleo"))
    assert changes.invite_codes == {}
    assert open_to_all.invite_codes == {"for-anybody": ""}


def test_an_invite_is_good_once_it_is_saved() -> None:
    closed = accounts(registration_enabled=False)
    with closed.inviting("cleo", "code") as changes:
        assert changes == Changes(invite_codes={"code": "cleo"})
        with pytest.raises(AccountRefusal):
            closed.check(log_in("cleo", invite_code="code"), trusted=False)
    assert closed.check(log_in("cleo", invite_code="code"), trusted=False) == "new"
    fail(closed.inviting("", "lost"))
    assert closed.invite_codes == {"code": "cleo"}


@pytest.mark.parametrize("name", ["ann", "admin", "ab", "a b", "theadmin"])
def test_nobody_is_invited_who_could_never_register(name: str) -> None:
    with pytest.raises(AccountRefusal), accounts().inviting(name, "code"):
        raise AssertionError("an invite was made")


# Two at once, and writes that fail


def test_nobody_registers_with_a_name_that_differs_only_in_case() -> None:
    some = accounts(SavedState(users={"Nova": UserRecord("Nova", "", "$argon2id$nova")}))
    with pytest.raises(AccountRefusal, match="There is a user 'Nova' already"):
        some.check(log_in("nova"), trusted=False)
    with pytest.raises(AccountRefusal, match="There is a user 'Nova' already"):
        carry_out(some.inviting("NOVA", "code"))
    assert some.check(log_in("nova2"), trusted=False) == "new"
    with some.registering(log_in("Cleo"), "$argon2id$cleo"):
        with pytest.raises(AccountRefusal, match="There is a user 'Cleo' already"):
            some.check(log_in("cleo"), trusted=False)
    with pytest.raises(AccountRefusal, match="There is a user 'Cleo' already"):
        some.check(log_in("cLEO"), trusted=False)
    fail(some.registering(log_in("Dora"), "$argon2id$dora"))
    assert some.check(log_in("dora"), trusted=False) == "new"
    carry_out(some.deleting_user("Nova"))
    assert some.check(log_in("nova"), trusted=False) == "new"


def test_users_of_before_whose_names_differ_only_in_case_go_on() -> None:
    records = {name: UserRecord(name, "", f"$argon2id${name}") for name in ("Nova", "nova")}
    some = accounts(SavedState(users=records))
    for name, record in records.items():
        assert some.check(log_in(name), trusted=False) is record
    carry_out(some.deleting_user("nova"))
    with pytest.raises(AccountRefusal, match="There is a user 'Nova' already"):
        some.check(log_in("nova"), trusted=False)
    carry_out(some.deleting_user("Nova"))
    assert some.check(log_in("nova"), trusted=False) == "new"


def test_two_who_want_one_name_do_not_both_get_it() -> None:
    both = accounts()
    with both.registering(log_in("cleo"), "$argon2id$first"):
        for _ in range(2):
            with pytest.raises(AccountRefusal, match="Somebody else"):
                carry_out(both.registering(log_in("cleo"), "$argon2id$second"))
        with pytest.raises(AccountRefusal, match="Somebody else"):
            both.check(log_in("cleo"), trusted=False)
    with pytest.raises(AccountRefusal, match="Somebody else"):
        carry_out(both.registering(log_in("cleo"), "$argon2id$second"))
    first = UserRecord("cleo", "", "$argon2id$first")
    assert both.check(log_in("cleo"), trusted=False) == first


def test_two_who_have_one_code_do_not_both_use_it(invited: Accounts) -> None:
    with invited.registering(log_in("dora", invite_code="for-anybody"), "$argon2id$dora"):
        with pytest.raises(AccountRefusal, match="not valid, or was used"):
            carry_out(invited.registering(log_in("eve", invite_code="for-anybody"), "x"))
    assert invited.usernames == ["dora"]


def test_a_registration_that_cannot_be_saved_did_not_happen(invited: Accounts) -> None:
    with_code = log_in("dora", invite_code="for-anybody")
    fail(invited.registering(with_code, "$argon2id$dora"))
    assert invited.usernames == []
    # Name and code are free again.
    carry_out(invited.registering(with_code, "$argon2id$dora"))
    assert invited.usernames == ["dora"]


def test_registration_closed_meanwhile_is_closed() -> None:
    closing = accounts()
    assert closing.check(log_in("cleo"), trusted=False) == "new"
    assert carry_out(closing.switching_registration(False)) == Changes(registration=False)
    with pytest.raises(AccountRefusal, match="invite code"):
        carry_out(closing.registering(log_in("cleo"), "$argon2id$cleo"))


def test_a_switch_that_cannot_be_saved_stays() -> None:
    switch = accounts()
    fail(switch.switching_registration(False))
    assert switch.registration_enabled is True


# Stronger records


def test_a_record_is_replaced_by_a_stronger_one() -> None:
    upgraded = accounts()
    changes = carry_out(upgraded.replacing(BOB, "$argon2id$bob"))
    stronger = UserRecord("bob", "", "$argon2id$bob")
    assert changes == Changes(users={"bob": stronger})
    assert upgraded.check(log_in("bob"), trusted=False) == stronger
    upgraded.confirm(changes.users["bob"] or BOB)


def test_an_upgrade_that_cannot_be_saved_leaves_the_old_record() -> None:
    upgraded = accounts()
    fail(upgraded.replacing(BOB, "$argon2id$bob"))
    assert upgraded.check(log_in("bob"), trusted=False) is BOB
    upgraded.confirm(BOB)
    carry_out(upgraded.replacing(BOB, "$argon2id$bob"))


def test_a_record_is_replaced_once() -> None:
    upgraded = accounts()
    with upgraded.replacing(BOB, "$argon2id$first"):
        with pytest.raises(AccountRefusal, match="cannot be replaced now"):
            carry_out(upgraded.replacing(BOB, "$argon2id$second"))
    with pytest.raises(AccountRefusal, match="has just changed"):
        carry_out(upgraded.replacing(BOB, "$argon2id$second"))


def test_a_deleted_user_does_not_come_back_through_an_upgrade() -> None:
    deleted = accounts()
    carry_out(deleted.deleting_user("bob"))
    with pytest.raises(AccountRefusal, match="was deleted"):
        carry_out(deleted.replacing(BOB, "$argon2id$bob"))
    deleted = accounts()
    with deleted.replacing(BOB, "$argon2id$bob"):
        carry_out(deleted.deleting_user("bob"))
    assert deleted.usernames == ["ann"]


def test_the_admin_does_not_get_into_the_save_file() -> None:
    with pytest.raises(AccountRefusal):
        carry_out(accounts(admin=ADMIN).replacing(ADMIN, "$argon2id$stronger"))


# Deleting


def test_a_deleted_user_is_gone_and_the_name_is_free() -> None:
    deleted = accounts()
    with deleted.deleting_user("ann") as changes:
        assert changes == Changes(users={"ann": None})
        assert deleted.deleting == ["ann"]
        for attempt in (
            lambda: deleted.check(log_in("ann"), trusted=False),
            lambda: deleted.confirm(ANN),
            lambda: carry_out(deleted.replacing(ANN, "$argon2id$stronger")),
            lambda: deleted.check_deletable("ann"),
        ):
            with pytest.raises(AccountRefusal, match="being deleted"):
                attempt()
        with pytest.raises(AccountRefusal):
            carry_out(deleted.registering(log_in("ann"), "$argon2id$new"))
    assert deleted.deleting == []
    assert deleted.usernames == ["bob"]
    assert deleted.check(log_in("ann"), trusted=False) == "new"
    carry_out(deleted.registering(log_in("ann"), "$argon2id$new"))
    # Whoever proved to be the old one is not the new one.
    with pytest.raises(AccountRefusal, match="has just changed"):
        deleted.confirm(ANN)


@pytest.mark.parametrize("name", ["admin", "cleo", "", "x" * 10_000])
def test_nobody_else_is_deleted(name: str) -> None:
    with pytest.raises(AccountRefusal) as caught:
        carry_out(accounts(admin=ADMIN).deleting_user(name))
    assert len(str(caught.value)) < 300


def test_a_user_whose_deletion_cannot_be_saved_stays() -> None:
    kept = accounts()
    fail(kept.deleting_user("ann"))
    assert kept.deleting == []
    assert kept.check(log_in("ann"), trusted=False) is ANN
    kept.confirm(ANN)


def test_the_lists_are_copies() -> None:
    shown = accounts(SavedState(users={"ann": ANN}, invite_codes={"code": ""}))
    shown.usernames.clear()
    shown.invite_codes.clear()
    assert shown.usernames == ["ann"]
    assert shown.invite_codes == {"code": ""}


NAMES = st.sampled_from(["ann", "bob", "cleo", "admin", "no"])
CODES = st.sampled_from(["", "one", "two"])


class AccountsMachine(RuleBasedStateMachine):
    """Any interleaving of changes, each written or failed: memory and disk stay the same."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = SavedState(users={"ann": ANN, "bob": BOB}, invite_codes={"one": ""})
        self.accounts = Accounts(
            self.disk, registration_enabled=True, require_user_password=False, admin=None
        )
        self.pending: list[tuple[AbstractContextManager[Changes], Changes]] = []
        self.seen: list[UserRecord] = []
        self.used_codes: set[str] = set()
        self.number = 0

    def begin(self, change: AbstractContextManager[Changes]) -> bool:
        try:
            changes = change.__enter__()
        except AccountRefusal:
            return False
        self.pending.append((change, changes))
        return True

    def new_password(self) -> str:
        self.number += 1
        return f"$argon2id${self.number}"

    @rule(name=NAMES, code=CODES)
    def check(self, name: str, code: str) -> None:
        with contextlib.suppress(AccountRefusal):
            found = self.accounts.check(log_in(name, invite_code=code), trusted=False)
            if isinstance(found, UserRecord):
                assert self.disk.users[name] == found
                self.seen.append(found)
            else:
                assert name not in self.disk.users

    @rule(name=NAMES, code=CODES)
    def register(self, name: str, code: str) -> None:
        begun = self.begin(
            self.accounts.registering(log_in(name, invite_code=code), self.new_password())
        )
        if begun:
            assert name not in self.disk.users
            taken = [changes.users for _, changes in self.pending[:-1]]
            assert not any(changed.get(name) for changed in taken)
            codes = [code for _, changes in self.pending[:-1] for code in changes.invite_codes]
            assert code == "" or (code in self.disk.invite_codes and code not in codes)

    @rule(data=st.data())
    def upgrade(self, data: st.DataObject) -> None:
        if self.seen:
            record = data.draw(st.sampled_from(self.seen))
            self.begin(self.accounts.replacing(record, self.new_password()))

    @rule(data=st.data())
    def confirm(self, data: st.DataObject) -> None:
        if self.seen:
            record = data.draw(st.sampled_from(self.seen))
            with contextlib.suppress(AccountRefusal):
                self.accounts.confirm(record)
                assert self.disk.users[record.name] is record

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        self.begin(self.accounts.deleting_user(name))

    @rule(enabled=st.booleans())
    def switch(self, enabled: bool) -> None:
        self.begin(self.accounts.switching_registration(enabled))

    @rule(name=st.sampled_from(["", "cleo"]))
    def invite(self, name: str) -> None:
        self.number += 1
        self.begin(self.accounts.inviting(name, f"code{self.number}"))

    @rule(written=st.booleans())
    def settle(self, written: bool) -> None:
        # In the order in which they were made, as the archive writes them.
        if self.pending:
            change, changes = self.pending.pop(0)
            if written:
                write(self.disk, changes)
                change.__exit__(None, None, None)
            else:
                error = DiskFullError()
                assert not change.__exit__(DiskFullError, error, None)

    def teardown(self) -> None:
        while self.pending:
            self.settle(written=True)
        self.memory_is_what_is_on_disk()
        assert self.accounts.deleting == []
        for name in self.accounts.usernames:
            self.accounts.check(log_in(name), trusted=False)

    @invariant()
    def memory_is_what_is_on_disk(self) -> None:
        assert set(self.accounts.usernames) == set(self.disk.users)
        assert self.accounts.invite_codes == self.disk.invite_codes
        assert self.accounts.registration_enabled == (self.disk.registration is not False)


def write(disk: SavedState, changes: Changes) -> None:
    for name, user in changes.users.items():
        if user is None:
            del disk.users[name]
        else:
            disk.users[name] = user
    for code, username in changes.invite_codes.items():
        if username is None:
            del disk.invite_codes[code]
        else:
            disk.invite_codes[code] = username
    if changes.registration is not None:
        disk.registration = changes.registration


TestAccountsMachine = AccountsMachine.TestCase
TestAccountsMachine.settings = settings(max_examples=60, stateful_step_count=30)

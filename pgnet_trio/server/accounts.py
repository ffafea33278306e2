"""Who may log in: users, invite codes, and the switch for new registrations."""

from __future__ import annotations

import contextlib
import hmac
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Literal

from pgnet_trio.messages import ADMIN_USERNAME
from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.account_refusals import (
    AccountRefusal,
    TemporaryRefusal,
    TokenRefused,
    bad_code,
    changed,
    check_invitable,
    check_new,
    check_not_admin,
    check_special,
    code_needed,
    just_taken,
    no_such_user,
    not_replaced,
    too_similar,
)
from pgnet_trio.storage.interface import Changes, SavedState, TokenRecord, UserRecord

if TYPE_CHECKING:
    from pgnet_trio.protocol.events import LogIn
    from pgnet_trio.server.tokens import LoginTokens

__all__ = ["AccountRefusal", "Accounts", "TemporaryRefusal", "TokenRefused"]


class Accounts:
    """Owns users, invite codes and the registration switch.

    A change takes two steps, so that it is on disk before anybody relies on it. The methods with
    an *-ing* in their names are context managers: each yields the `Changes` to write, and holds
    the name and the invite code in question meanwhile. The change takes effect when the block
    ends without an error; otherwise everything is as before. Write `Changes` in the order in
    which the methods yielded them.

    A log-in goes through `check`. Then its password is hashed, which takes time, and so the
    log-in goes through `registering` or `confirm` afterwards.

    Args:
        saved: What the save file held.
        registration_enabled: Whether unknown users may register; a saved switch overrides it.
        require_user_password: Whether an empty password is refused at registration.
        admin: The admin's record; None where admin log-in is off.
        tokens: What stands for the users' passwords; None where nothing does.

    Attributes:
        tokens: The same.
    """

    def __init__(
        self,
        saved: SavedState,
        *,
        registration_enabled: bool,
        require_user_password: bool,
        admin: UserRecord | None,
        tokens: LoginTokens | None = None,
    ) -> None:
        self.registration_enabled = (
            registration_enabled if saved.registration is None else saved.registration
        )
        self._require_user_password = require_user_password
        self._admin = admin
        self._users = dict(saved.users)
        # Nobody would ever look at a saved record of that name.
        self._users.pop(ADMIN_USERNAME, None)
        # Names that differ only in case stand for two users in older save files alone.
        self._spellings = {name.lower(): name for name in self._users}
        self._invite_codes = dict(saved.invite_codes)
        self._held: set[str] = set()
        self._held_codes: set[str] = set()
        self._deleting: set[str] = set()
        self.tokens = tokens
        if tokens is not None:
            tokens.keep_only(self._users)

    @property
    def user_count(self) -> int:
        """How many users are registered."""
        return len(self._users)

    @property
    def invite_code_count(self) -> int:
        """How many invite codes are unused."""
        return len(self._invite_codes)

    @property
    def usernames(self) -> list[str]:
        """The registered users' names."""
        return list(self._users)

    @property
    def invite_codes(self) -> dict[str, str]:
        """The unused invite codes, each with the username that it is for, or an empty one."""
        return dict(self._invite_codes)

    @property
    def deleting(self) -> list[str]:
        """The users who are being deleted."""
        return sorted(self._deleting)

    def check(self, log_in: LogIn, *, trusted: bool) -> UserRecord | Literal["trusted", "new"]:
        """Return what the password of a log-in has to fit.

        Args:
            log_in: The log-in.
            trusted: Whether it comes from inside this process, where the admin needs no password.

        Returns:
            The user's record; ``"trusted"`` where no password is needed; ``"new"`` where the
            user is to be registered.

        Raises:
            AccountRefusal: The log-in is refused whatever the password.
        """
        name = log_in.username
        if not name or name == ADMIN_USERNAME:
            return check_special(log_in, self._admin, trusted=trusted)
        if name in self._deleting:
            raise AccountRefusal("This user is being deleted.", ReasonCode.USER_DELETED)
        if name in self._users:
            return self._users[name]
        self._check_new(log_in)
        return "new"

    def check_token(self, log_in: LogIn, now: float) -> tuple[UserRecord, TokenRecord]:
        """Return for whose password the token of a log-in stands, and what is kept of it.

        Raises:
            TokenRefused: It does not; neither does any for the admin's.
        """
        name = log_in.username
        # The admin is not among the users.
        user = None if name in self._deleting else self._users.get(name)
        record = None
        if self.tokens is not None and user is not None:
            record = self.tokens.find(user, log_in.token, now)
        if user is None or record is None:
            raise TokenRefused
        return user, record

    def give_token(
        self, username: str, token: bytes, now: float, *, instead_of: TokenRecord | None
    ) -> bool:
        """Let a new token stand for a user's password.

        Args:
            username: Who has just logged in.
            token: The token.
            now: The time, in seconds since 1970.
            instead_of: The token that the new one replaces; None for none.

        Returns:
            Whether it does: there are no tokens for the admin, nor where none are kept.
        """
        user = self._users.get(username)
        if self.tokens is None or user is None:
            return False
        self.tokens.add(user, token, now, instead_of=instead_of)
        return True

    def saving_tokens(self) -> AbstractContextManager[Mapping[bytes, TokenRecord | None]]:
        """Return a context manager that yields which tokens to save; see `LoginTokens.saving`."""
        return contextlib.nullcontext({}) if self.tokens is None else self.tokens.saving()

    @contextlib.contextmanager
    def registering(self, log_in: LogIn, record: str) -> Iterator[Changes]:
        """Register a user whose password was hashed since `check`; uses up the invite code.

        Raises:
            AccountRefusal: Somebody else took the name or the code meanwhile.
        """
        name = log_in.username
        code = self._check_new(log_in)
        user = UserRecord(name, "", record)
        self._held.add(name)
        self._held_codes |= {code} if code else set()
        try:
            yield Changes(users={name: user}, invite_codes={code: None} if code else {})
            self._users[name] = user
            self._spellings[name.lower()] = name
            self._invite_codes.pop(code, None)
        finally:
            self._held.discard(name)
            self._held_codes.discard(code)

    def registered(self, username: str) -> UserRecord:
        """Return the record of a user who is registered."""
        return self._users[username]

    def confirm(self, record: UserRecord) -> None:
        """Check that a record from `check` still holds, now that its password was verified.

        Raises:
            AccountRefusal: The user was deleted meanwhile, or is being deleted, or another
                log-in changed the record.
        """
        name = record.name
        if name in self._deleting:
            raise AccountRefusal("This user is being deleted.", ReasonCode.USER_DELETED)
        now = self._admin if name == ADMIN_USERNAME else self._users.get(name)
        if now is not record:
            raise changed(name, now)

    @contextlib.contextmanager
    def replacing(self, record: UserRecord, password: str) -> Iterator[Changes]:
        """Replace a user's record by that of another password, or a stronger one of the same.

        Raises:
            AccountRefusal: The record is not to be replaced: it does not hold any more, it is
                being replaced already, or it is the admin's, which is not saved.
        """
        name = record.name
        self.confirm(record)
        if name in self._held or name == ADMIN_USERNAME:
            raise not_replaced(name)
        user = UserRecord(name, "", password)
        self._held.add(name)
        try:
            yield Changes(users={name: user})
            if self._users.get(name) is record:
                self._users[name] = user
                self._revoke_tokens(name)
        finally:
            self._held.discard(name)

    @contextlib.contextmanager
    def inviting(self, username: str, code: str) -> Iterator[Changes]:
        """Add an invite code, for one username or (empty) for anybody.

        Raises:
            AccountRefusal: That user exists, or could never register.
        """
        check_invitable(username, is_taken=username in self._users)
        self._check_spelling(username)
        yield Changes(invite_codes={code: username})
        self._invite_codes[code] = username

    @contextlib.contextmanager
    def switching_registration(self, enabled: bool) -> Iterator[Changes]:
        """Set whether unknown users may register."""
        yield Changes(registration=enabled)
        self.registration_enabled = enabled

    def check_deletable(self, username: str) -> None:
        """Check that a user can be deleted.

        Raises:
            AccountRefusal: It is the admin, there is no such user, or they are being deleted.
        """
        check_not_admin(username)
        if username not in self._users:
            raise no_such_user(username)
        if username in self._deleting:
            raise AccountRefusal(
                f"The user {username!r} is being deleted already.", ReasonCode.USER_DELETED
            )

    @contextlib.contextmanager
    def deleting_user(self, username: str) -> Iterator[Changes]:
        """Delete a user, who cannot log in meanwhile; the name is free afterwards.

        Raises:
            AccountRefusal: It is the admin, there is no such user, or they are being deleted.
        """
        self.check_deletable(username)
        self._deleting.add(username)
        try:
            yield Changes(users={username: None})
            del self._users[username]
            self._forget_spelling(username)
            self._revoke_tokens(username)
        finally:
            self._deleting.discard(username)

    def _revoke_tokens(self, username: str) -> None:
        # They are bound to the record that is gone, and would only be in the way.
        if self.tokens is not None:
            self.tokens.revoke(username)

    def _check_new(self, log_in: LogIn) -> str:
        name = log_in.username
        if name in self._users or name in self._held:
            raise just_taken(name)
        self._check_spelling(name)
        code = self._find_code(log_in) if log_in.invite_code else ""
        if not code and not self.registration_enabled:
            raise code_needed(name)
        check_new(log_in, require_password=self._require_user_password)
        return code

    def spelling_of(self, name: str) -> str:
        """Return a name as its user has it; the name itself where there is no such user."""
        return name if name in self._users else self._spellings.get(name.lower(), name)

    def _check_spelling(self, name: str) -> None:
        """Check that a new name differs from all others in more than upper and lower case.

        Raises:
            AccountRefusal: It does not.
        """
        lower = name.lower()
        held = (other for other in self._held if other != name and other.lower() == lower)
        other = self._spellings.get(lower) or next(held, None)
        if other is not None:
            raise too_similar(name, other)

    def _forget_spelling(self, name: str) -> None:
        lower = name.lower()
        self._spellings.pop(lower, None)
        for other in self._users:
            if other.lower() == lower:
                self._spellings[lower] = other

    def _find_code(self, log_in: LogIn) -> str:
        given = log_in.invite_code.encode("utf-8", "surrogatepass")
        for code, username in self._invite_codes.items():
            if (
                hmac.compare_digest(code.encode("utf-8", "surrogatepass"), given)
                and username in ("", log_in.username)
                and code not in self._held_codes
            ):
                return code
        raise bad_code()

"""What is checked of a log-in, and said of a refusal, wherever the accounts are; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pgnet_trio.messages import ADMIN_USERNAME, is_username_allowed
from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.refusals import CodedRefusal

if TYPE_CHECKING:
    from pgnet_trio.protocol.events import LogIn
    from pgnet_trio.storage.interface import UserRecord

__all__ = [
    "AccountRefusal",
    "TemporaryRefusal",
    "TokenRefused",
    "bad_code",
    "busy_with_others",
    "changed",
    "check_invitable",
    "check_new",
    "check_not_admin",
    "check_special",
    "code_needed",
    "just_taken",
    "no_such_user",
    "not_replaced",
    "too_similar",
]


class AccountRefusal(CodedRefusal):
    """A log-in or a change of an account is refused; the message is for the user."""


class TemporaryRefusal(AccountRefusal):
    """A refusal that will pass; a client that comes back may retry."""


class TokenRefused(AccountRefusal):
    """A token does not stand for the user's password, which may be tried instead."""

    def __init__(self) -> None:
        super().__init__(
            "The token is not valid any more; log in with the password.",
            ReasonCode.TOKEN_NOT_TAKEN,
        )


def check_special(
    log_in: LogIn, admin: UserRecord | None, *, trusted: bool
) -> UserRecord | Literal["trusted"]:
    """Return what the password of the admin's log-in has to fit, as `Accounts.check` does.

    Args:
        log_in: The admin's, or one without a name.
        admin: The admin's record; None where admin log-in is off.
        trusted: Whether it comes from inside this process.

    Raises:
        AccountRefusal: Nobody may log in so.
    """
    if not log_in.username:
        raise AccountRefusal("A username is needed to log in.", ReasonCode.NAME_NOT_ALLOWED)
    if trusted:
        return "trusted"
    if admin is None:
        raise AccountRefusal(
            "Admin log-in is off: this server has no admin password.", ReasonCode.ADMIN_OFF
        )
    return admin


def check_new(log_in: LogIn, *, require_password: bool) -> None:
    """Check the name and the password of a new user.

    Raises:
        AccountRefusal: The password is empty and may not be, or nobody may be named so.
    """
    if require_password and not log_in.password:
        raise AccountRefusal(
            "This server needs a password for each user.", ReasonCode.PASSWORD_NEEDED
        )
    if not is_username_allowed(log_in.username):
        raise AccountRefusal(_name_rule(log_in.username), ReasonCode.NAME_NOT_ALLOWED)


def check_invitable(username: str, *, is_taken: bool) -> None:
    """Check that somebody of a name could register; an empty name stands for anybody.

    Raises:
        AccountRefusal: They could not.
    """
    if is_taken or username == ADMIN_USERNAME:
        raise AccountRefusal(f"There is a user {username!r} already.", ReasonCode.NAME_TAKEN)
    if username and not is_username_allowed(username):
        raise AccountRefusal(_name_rule(username), ReasonCode.NAME_NOT_ALLOWED)


def check_not_admin(username: str) -> None:
    """Check that a user to delete is not the admin.

    Raises:
        AccountRefusal: They are.
    """
    if username == ADMIN_USERNAME:
        raise AccountRefusal("The admin cannot be deleted.", ReasonCode.INVALID_ARGUMENT)


def no_such_user(username: str) -> AccountRefusal:
    """Return the refusal to delete a user who is not there."""
    return AccountRefusal(f"There is no user {username[:60]!r}.", ReasonCode.UNKNOWN_USER)


def changed(name: str, now: UserRecord | None) -> AccountRefusal:
    """Return the refusal of a user whose record is not what they have proved to be any more.

    Args:
        name: Who.
        now: What the record is now; None where they were deleted.
    """
    if now is None:
        return AccountRefusal("This user was deleted.", ReasonCode.USER_DELETED)
    return TemporaryRefusal(f"The user {name!r} has just changed; log in again.", ReasonCode.BUSY)


def not_replaced(name: str) -> AccountRefusal:
    """Return the refusal to replace a record."""
    return AccountRefusal(f"The record of {name!r} cannot be replaced now.", ReasonCode.BUSY)


def just_taken(name: str) -> TemporaryRefusal:
    """Return the refusal of a name that somebody else got first."""
    return TemporaryRefusal(
        f"Somebody else has just registered as {name!r}.", ReasonCode.NAME_TAKEN
    )


def too_similar(name: str, other: str) -> AccountRefusal:
    """Return the refusal of a name that differs from another one only in case."""
    return AccountRefusal(
        f"There is a user {other[:60]!r} already, and {name[:60]!r} would look like them; "
        "log in with that spelling, or choose another name.",
        ReasonCode.NAME_TAKEN,
    )


def code_needed(name: str) -> AccountRefusal:
    """Return the refusal of a new user without an invite code."""
    return AccountRefusal(
        f"There is no user {name[:60]!r}, and new users need an invite code.",
        ReasonCode.UNKNOWN_USER,
    )


def busy_with_others() -> TemporaryRefusal:
    """Return that too many passwords wait to be hashed."""
    return TemporaryRefusal(
        "The server is busy with other log-ins; try again soon.", ReasonCode.BUSY
    )


def bad_code() -> AccountRefusal:
    """Return the refusal of an invite code."""
    return AccountRefusal(
        "The invite code is not valid, or was used already.", ReasonCode.INVALID_INVITE
    )


def _name_rule(name: str) -> str:
    return (
        f"A user cannot be named {name[:60]!r}: names have 3 to 20 letters or digits, and no "
        "'admin' in them."
    )

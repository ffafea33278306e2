"""The accounts of a cluster: each look and each change goes to the engine, at whatever node."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Literal, TypeVar

import trio

from pgnet_trio.foreign_text import one_line
from pgnet_trio.messages import ADMIN_USERNAME
from pgnet_trio.protocol.v2 import TAKEN_OVER
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
from pgnet_trio.server.account_service import AccountRules, AccountService, AccountsOverview, Seat
from pgnet_trio.server.cluster.calls import new_operation
from pgnet_trio.server.cluster.digests import Digests
from pgnet_trio.server.cluster.errors import EngineError, LoggedInLater, OutcomeUnknown
from pgnet_trio.server.cluster.notes import EndSession
from pgnet_trio.server.cluster.records import (
    Admission,
    NotAdmitted,
    Registration,
    SessionRow,
)
from pgnet_trio.server.cluster.shared_attempts import SharedAttempts
from pgnet_trio.server.tokens import MAX_TOKENS, find_token, token_record
from pgnet_trio.storage.interface import UserRecord

if TYPE_CHECKING:
    from pgnet_trio.crypto import KeyPair
    from pgnet_trio.protocol.events import LogIn
    from pgnet_trio.server.attempts import Attempts
    from pgnet_trio.server.cluster.engine import Engine
    from pgnet_trio.server.cluster.records import Lookup
    from pgnet_trio.storage.interface import TokenRecord

__all__ = ["SharedAccounts"]

logger = logging.getLogger("pgnet_trio.server")

UNREACHABLE = "The servers' database cannot be reached now; try again in a moment."
UNKNOWN_OUTCOME = "The servers' database has not said what became of this; look, and try again."
LEAVING = "A user of this name was deleted just now, and has not left yet; try again."
DELETED = "This user was deleted."

READ_BACK_PAUSE = 1.0
"""Seconds after which a change whose answer was lost is asked for once more."""

COUNT_INTERVAL = 60.0
"""Seconds after which a node counts the users again, for its figures."""

MOST_SHOWN = 1000
"""How many users the administrator is shown."""

T = TypeVar("T")


def _no_node() -> None:
    """Return no node: sessions are this server's own."""


class SharedAccounts(AccountService):
    """Accounts that all nodes of a cluster have together.

    Nothing is kept here that another node could change, so a change holds everywhere as soon as it
    is committed. Addresses, and the names under which failures are counted, get to the engine as
    keyed digests alone.

    Args:
        engine: What the nodes share, running.
        rules: What the host has said.
        key: The servers' key, the same at all nodes.
        attempts: How many failures, new users and wrong passwords of games are too many. They count
            those of this node too: for log-ins that wait for their hash, and where the engine is
            away.
        node: Returns the id of this node, whose sessions are registered; None where they are not.

    """

    def __init__(
        self,
        engine: Engine,
        rules: AccountRules,
        key: KeyPair,
        attempts: Attempts,
        node: Callable[[], int | None] = _no_node,
    ) -> None:
        self._registration_enabled = rules.registration_enabled
        self._engine = engine
        self._rules = rules
        self._public_key = key.public
        self._attempts = SharedAttempts(engine, Digests(key.private), attempts)
        self._node = node
        self._user_count = 0
        self._invite_code_count = 0

    @property
    def registration_enabled(self) -> bool:
        """What the switch was when this node looked last."""
        return self._registration_enabled

    @property
    def user_count(self) -> int:
        """How many users there were when this node counted last."""
        return self._user_count

    @property
    def invite_code_count(self) -> int:
        """How many unused invite codes there were when this node counted last."""
        return self._invite_code_count

    # Ctrl-C here would end the rooms before their last save; whoever runs the server gets it.
    @trio.lowlevel.enable_ki_protection
    async def keep_count(self) -> None:
        """Count every `COUNT_INTERVAL` seconds, until cancelled."""
        while True:
            await self.refresh()
            await trio.sleep(COUNT_INTERVAL)

    async def refresh(self) -> None:
        """Count the users and the codes, and look at the switch; a failure is logged.

        Not often: with many users it takes a while.
        """
        try:
            self._user_count, self._invite_code_count = await self._engine.count_accounts()
            self._note_switch(await self._engine.registration())
        except EngineError as error:
            logger.debug("The accounts were not counted: %s", one_line(error))

    # Logging in

    async def find(
        self, log_in: LogIn, *, trusted: bool, address: str | None
    ) -> UserRecord | Literal["trusted", "new"]:
        """Return what the password of a log-in has to fit."""
        name, rules = log_in.username, self._rules
        if trusted and name == ADMIN_USERNAME:
            # Also where the engine is away: it is needed to see why.
            await trio.lowlevel.checkpoint()
            return "trusted"
        lookup = await self._look_up(log_in, address)
        self._attempts.check_failures(lookup, name, address)
        if not name or name == ADMIN_USERNAME:
            return check_special(log_in, rules.admin, trusted=trusted)
        if lookup.user is not None:
            return lookup.user
        refusal = self._refusal(log_in, lookup.registration, lookup.similar)
        if refusal is not None:
            raise refusal
        check_new(log_in, require_password=rules.require_user_password)
        self._attempts.check_registrations(lookup, address)
        return "new"

    async def _look_up(self, log_in: LogIn, address: str | None) -> Lookup:
        return await self._asked(
            self._engine.look_up(
                log_in.username,
                code=log_in.invite_code,
                keys=self._attempts.windows(log_in.username, address),
                registration_enabled=self._rules.registration_enabled,
            )
        )

    def _refusal(self, log_in: LogIn, found: Registration, other: str) -> AccountRefusal | None:
        name = log_in.username
        if found == "taken":
            return just_taken(name)
        if found == "too similar":
            return too_similar(name, other)
        if found == "leaving":
            return TemporaryRefusal(LEAVING, ReasonCode.NAME_TAKEN)
        if found == "bad code":
            return bad_code()
        return code_needed(name) if found == "code needed" else None

    async def find_by_token(self, log_in: LogIn, now: float) -> tuple[UserRecord, TokenRecord]:
        """Return whose password the token of a log-in stands for, and what is kept of it."""
        lookup = await self._asked(self._engine.look_up(log_in.username))
        user = lookup.user
        # The admin is not among the users, whatever the tables hold.
        if user is not None and user.name != ADMIN_USERNAME:
            fresh = (token for token in lookup.tokens if token.expires > now)
            record = find_token(fresh, user, log_in.token, self._public_key)
            if record is not None:
                return user, record
        raise TokenRefused

    async def register(
        self, log_in: LogIn, record: str, *, address: str | None = None
    ) -> UserRecord:
        """Register a user whose password was hashed since `find`; uses up the invite code."""
        user = UserRecord(log_in.username, "", record)
        counted = self._attempts.of_registration(address)
        found = await self._settled(
            lambda operation: self._engine.register_user(
                user,
                log_in.invite_code,
                registration_enabled=self._rules.registration_enabled,
                counted=counted,
                operation=operation,
            )
        )
        other = ""
        if found == "too similar":
            other = (await self._asked(self._engine.look_up(log_in.username))).similar
        refusal = self._refusal(log_in, found, other)
        if refusal is not None:
            raise refusal
        return user

    async def admit(
        self,
        username: str,
        user: UserRecord | None,
        *,
        address: str | None,
        token: bytes,
        now: float,
        instead_of: TokenRecord | None,
        session_token: bytes = b"",
        asked_at: float = -math.inf,
    ) -> Seat:
        """Make sure that a user who has proved who they are still may log in.

        Where this server is a node, the user's session is registered too, before its first request;
        whoever is given the seat has to note its epoch, and that it has ended. A user who is
        deleted from then on is put out by mail, which may be here before this returns.
        """
        is_user = user is not None and username != ADMIN_USERNAME
        place = "" if address is None else self._attempts.place(username, address)
        record = None
        if is_user and user is not None and token:
            record = token_record(user, token, self._public_key, now)
        admission = Admission(
            username,
            user if is_user else None,
            place=place,
            token=record,
            instead_of=b"" if instead_of is None else instead_of.digest,
            node=self._node() if session_token else None,
            session_token=session_token,
            asked=self._engine.when(asked_at) if math.isfinite(asked_at) else None,
        )
        result = await self._settled(
            lambda operation: self._engine.admit(admission, limit=MAX_TOKENS, operation=operation)
        )
        if isinstance(result, NotAdmitted):
            raise changed(username, result.user)
        self._attempts.note_success(username, address)
        entered = result.entered
        if entered is None:
            return Seat(record is not None)
        before = entered.before
        replaced = None if before is None else (before.node, before.epoch)
        return Seat(record is not None, entered.epoch, replaced)

    async def note_failure(self, username: str, address: str | None) -> None:
        """Count a log-in that failed; where the engine is away, it counts at this node."""
        await self._attempts.note_failure(username, address)

    async def check_guess(self, username: str, address: str | None, password: str) -> str | None:
        """Return why a user may not give a game's password now, or None.

        Where the engine is away, that is said by what this node has counted.
        """
        return await self._attempts.check_guess(username, address, password)

    async def note_wrong_guess(self, username: str, address: str | None) -> None:
        """Count a wrong password of a game; where the engine is away, it counts at this node."""
        await self._attempts.note_wrong_guess(username, address)

    async def replace(self, user: UserRecord, record: str) -> UserRecord:
        """Replace a user's record; their tokens end."""
        if user.name == ADMIN_USERNAME:
            await trio.lowlevel.checkpoint()
            raise not_replaced(user.name)
        new = UserRecord(user.name, "", record)
        if not await self._settled(lambda _: self._engine.replace_user(user, new)):
            raise not_replaced(user.name)
        return new

    # What the administrator does

    async def spelling_of(self, username: str) -> str:
        """Return a name as its user has it."""
        lookup = await self._asked(self._engine.look_up(username))
        return username if lookup.user is not None else lookup.similar or username

    async def overview(self) -> AccountsOverview:
        """Return what the administrator is shown."""
        engine = self._engine
        usernames = await self._asked(engine.usernames(limit=MOST_SHOWN))
        self._note_switch(await self._asked(engine.registration()))
        codes = await self._asked(engine.invites())
        return AccountsOverview(usernames, self.registration_enabled, codes, [])

    async def add_invite(self, username: str, code: str) -> None:
        """Add an invite code, for one username or (empty) for anybody."""
        check_invitable(username, is_taken=False)
        found = await self._settled(lambda _: self._engine.add_invite(code, username))
        if found == "too similar":
            lookup = await self._asked(self._engine.look_up(username))
            raise too_similar(username, lookup.similar)
        check_invitable(username, is_taken=found == "taken")

    async def set_registration(self, enabled: bool) -> None:
        """Set whether unknown users may register."""
        await self._settled(lambda _: self._engine.set_registration(enabled))
        self._registration_enabled = enabled

    def _note_switch(self, enabled: bool | None) -> None:
        default = self._rules.registration_enabled
        self._registration_enabled = default if enabled is None else enabled

    def check_deletable(self, username: str) -> None:
        """Check that a user is not the admin; whether there is such a user takes a look."""
        check_not_admin(username)

    @asynccontextmanager
    async def deleting_user(self, username: str) -> AsyncIterator[None]:
        """Delete a user; the block ends their session here.

        The deletion is committed before the block. A node elsewhere that has the user's session
        gets mail, and puts them out; nobody registers by that name until then.
        """
        check_not_admin(username)

        def note(session: SessionRow) -> bytes:
            return EndSession(
                username, session.epoch, DELETED, str(ReasonCode.USER_DELETED)
            ).packed()

        was_there = await self._settled(
            lambda operation: self._engine.delete_user(username, note=note, operation=operation)
        )
        if not was_there:
            raise no_such_user(username)
        yield

    # The way to the engine

    async def _asked(self, call: Awaitable[T]) -> T:
        """Wait for a call.

        Raises:
            TemporaryRefusal: The engine cannot be reached, or has lost the answer.
        """
        with _translated():
            return await call

    async def _settled(self, call: Callable[[bytes], Awaitable[T]]) -> T:
        """Make a change; where its outcome is unknown, read it back.

        Raises:
            TemporaryRefusal: The engine cannot be reached, or does not say what became of it.
        """
        operation = new_operation()
        with _translated():
            try:
                return await call(operation)
            except OutcomeUnknown:
                await trio.sleep(READ_BACK_PAUSE)
            try:
                return await call(operation)
            except EngineError as error:
                # Not what came of the second call: the first may have changed something.
                raise OutcomeUnknown(str(error), operation) from error
        raise AssertionError


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except LoggedInLater:
        # This one took longer, and most likely nobody waits for it any more.
        raise AccountRefusal(TAKEN_OVER, ReasonCode.TAKEN_OVER) from None
    except EngineError as error:
        logger.warning("The accounts cannot be used now: %s", one_line(error))
        is_unknown = isinstance(error, OutcomeUnknown)
        reason = UNKNOWN_OUTCOME if is_unknown else UNREACHABLE
        raise TemporaryRefusal(reason, ReasonCode.BUSY) from error

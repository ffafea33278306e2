"""What a run of a server has before it hosts anything: users, keys, and the tie to a cluster."""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import trio

from pgnet_trio.crypto import KeyPair
from pgnet_trio.messages import ADMIN_USERNAME
from pgnet_trio.server.account_service import AccountRules, AccountService
from pgnet_trio.server.accounts import Accounts
from pgnet_trio.server.attempts import Attempts, FailedLogins, Registrations, WrongGuesses
from pgnet_trio.server.cluster.community import Community
from pgnet_trio.server.cluster.engine import Engine
from pgnet_trio.server.cluster.errors import EngineError
from pgnet_trio.server.cluster.memory_engine import MemoryEngine
from pgnet_trio.server.cluster.shared_accounts import SharedAccounts
from pgnet_trio.server.cluster.versions import NodeVersion
from pgnet_trio.server.community import community_of
from pgnet_trio.server.games.archive import Archive
from pgnet_trio.server.games.results import Results
from pgnet_trio.server.games.saves import SaveMemory
from pgnet_trio.server.local_accounts import LocalAccounts
from pgnet_trio.server.moving import VERSION as GAME_FORMAT
from pgnet_trio.server.node.link import ClusterLink
from pgnet_trio.server.password_checks import PasswordChecks
from pgnet_trio.server.room.player import question_ids
from pgnet_trio.server.sessions.packed import VERSION as SESSION_FORMAT
from pgnet_trio.server.tokens import LoginTokens
from pgnet_trio.storage import discard_key, keep_key
from pgnet_trio.storage.interface import SavedState, UserRecord

if TYPE_CHECKING:
    from pgnet_trio.server.options import Options
    from pgnet_trio.server.workers.passing import Workers

__all__ = ["Carryover", "Prepared", "key_file", "prepare"]

logger = logging.getLogger("pgnet_trio.server")

T = TypeVar("T")

FORMATS = f"{SESSION_FORMAT}.{GAME_FORMAT}"
"""The versions of what servers pack up for each other."""


@attrs.define(eq=False, kw_only=True)
class Carryover:
    """What a server keeps from one run to the next.

    Attributes:
        key: The server's keys.
        key_is_new: Whether the key file has still to be written.
        failed_logins: Counts the log-ins that failed.
        saves: What is left to save.
        question_ids: Yields the ids of all questions of all games: a late answer to a game of an
            earlier run fits no question of this one.
        accounts: The users; None before the first run. A save file replaces them at each run.
        engine: What the servers of a cluster share, running, whose users count instead; None for a
            server alone.
        memory: What a server without a save file keeps of its community.
    """

    key: KeyPair
    key_is_new: bool
    failed_logins: FailedLogins
    saves: SaveMemory
    question_ids: Iterator[int] = attrs.field(factory=question_ids)
    accounts: Accounts | None = None
    engine: Engine | None = None
    memory: MemoryEngine = attrs.field(factory=MemoryEngine)


@attrs.frozen(eq=False)
class Prepared:
    """What a run has before it hosts anything."""

    archive: Archive
    saved: SavedState
    accounts: Accounts
    service: AccountService
    passwords: PasswordChecks
    link: ClusterLink | None
    community: Community[Any]

    def results(self) -> Results:
        """Return what has the results of games counted."""
        return Results(self.community, None if self.link is None else self.link.games.epochs)


@asynccontextmanager
async def key_file(
    options: Options, carryover: Carryover, is_known: Callable[[], bool]
) -> AsyncIterator[None]:
    """Have a new key of the server in its file around the block, and stay there.

    Where the block raises that the server is no part of its cluster, before anybody could know it
    by that key, the file goes again: the next start would find it instead of the key of the others.

    Args:
        options: What the server was made with.
        carryover: What the runs before have left; its key is that of the file from then on.
        is_known: Returns whether clients may know the server by its key.

    Raises:
        StorageError: The file cannot be written.
    """
    path = options.key_file if carryover.key_is_new else None
    if path is None:
        await trio.lowlevel.checkpoint()
        yield
        return
    made = carryover.key
    carryover.key = await _in_thread(options, keep_key, path, made)
    carryover.key_is_new = False
    try:
        yield
    except EngineError:
        carryover.key_is_new = carryover.key == made and not is_known()
        if carryover.key_is_new:
            await _in_thread(options, discard_key, path, made)
        raise


async def _in_thread(
    options: Options, function: Callable[[Path, KeyPair], T], path: Path, key: KeyPair
) -> T:
    limiter = trio.CapacityLimiter(1)
    result: T = await options.environment.run_blocking(
        function, path, key, abandon_on_cancel=False, limiter=limiter
    )
    return result


async def prepare(
    options: Options,
    carryover: Carryover,
    archive: Archive,
    saved: SavedState,
    workers: Workers | None,
) -> Prepared:
    """Have ready what a run needs beside its games.

    Args:
        options: What the server was made with.
        carryover: What the runs before have left; gets the users of the save file.
        archive: The save file.
        saved: What was in there.
        workers: The processes that look like one server with this one; None where it is alone.

    Raises:
        EngineError: The address of the cluster stands for no engine.
    """
    await trio.lowlevel.checkpoint()
    if saved.registration not in (None, options.registration_enabled):
        logger.info("Registration is %s, as it was saved", _switch(saved.registration))
    passwords = PasswordChecks(options.environment, carryover.failed_logins, options.limits)
    admin = None
    if options.admin_password is not None:
        admin = UserRecord(ADMIN_USERNAME, "", await passwords.hash(options.admin_password))
    if carryover.accounts is None or archive.has_store:
        carryover.accounts = Accounts(
            saved,
            registration_enabled=options.registration_enabled,
            require_user_password=options.require_user_password,
            admin=admin,
            tokens=_load_tokens(options, carryover, saved) if archive.keeps_tokens else None,
        )
    link = None
    engine = carryover.engine
    if options.cluster is not None:
        engine = options.cluster.open(options.environment)
        link = ClusterLink(
            options.cluster, engine, carryover.key, version=_version(options), workers=workers
        )
    service: AccountService
    if engine is None:
        service = LocalAccounts(carryover.accounts, archive, passwords)
    else:
        service = _share_accounts(options, carryover, engine, admin, link)
    community = community_of(archive, carryover.memory) if engine is None else engine
    return Prepared(archive, saved, carryover.accounts, service, passwords, link, community)


def _version(options: Options) -> NodeVersion:
    game = options.game_class
    return NodeVersion(
        importlib.metadata.version("pgnet_trio"),
        FORMATS,
        "" if game is None else game.__name__,
        options.save_version,
    )


def _share_accounts(
    options: Options,
    carryover: Carryover,
    engine: Engine,
    admin: UserRecord | None,
    link: ClusterLink | None,
) -> SharedAccounts:
    rules = AccountRules(
        options.registration_enabled,
        require_user_password=options.require_user_password,
        admin=admin,
    )
    limits = options.limits
    attempts = Attempts(
        carryover.failed_logins,
        Registrations(limits.registrations_per_address),
        WrongGuesses(limits.failed_logins_per_account, limits.failed_logins_per_address),
    )

    def node() -> int | None:
        return None if link is None else link.node.id

    return SharedAccounts(engine, rules, carryover.key, attempts, node)


def _load_tokens(options: Options, carryover: Carryover, saved: SavedState) -> LoginTokens:
    now = options.environment.wall_clock()
    return LoginTokens(saved.tokens.values(), carryover.key.public, now)


def _switch(enabled: bool | None) -> str:
    return "on" if enabled else "off"

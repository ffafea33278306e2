"""The requests that only the admin may make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import trio

from pgnet_trio.messages import ADMIN_USERNAME, Request, Response
from pgnet_trio.protocol.events import LogIn
from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.account_refusals import AccountRefusal, TemporaryRefusal, no_such_user
from pgnet_trio.server.cluster.moderation_records import MAX_ROLES, AuditEntry
from pgnet_trio.server.moderation.audit import as_date, note_deed
from pgnet_trio.server.moderation.resets import RESET_LIFETIME, new_reset_code
from pgnet_trio.server.refusals import SHUTTING_DOWN, refused
from pgnet_trio.server.request_table import NOTED, RequestTable
from pgnet_trio.server.roles import Role
from pgnet_trio.server.users import MOST_LISTED, list_nodes, list_users
from pgnet_trio.storage.interface import UserRecord

if TYPE_CHECKING:
    from pgnet_trio.server.context import ServerContext
    from pgnet_trio.server.sessions.session import Session

__all__ = ["ADMIN_REQUESTS", "destroy_game"]

ADMIN_REQUESTS = RequestTable(Role.ADMIN)
"""The requests, for whoever carries out requests."""

MAX_SLEEP = 5.0
"""Seconds that the ``sleep`` request takes at most."""

AUDIT_PAGE = 100
"""How many entries of the audit log are listed at once, if not another number is asked for."""

MAX_NUMBER = 2**53
"""No number of an entry is higher."""

INVITE_CODE_BYTES = 16
"""Random bytes in an invite code: nobody guesses 128 bits."""


@ADMIN_REQUESTS.request(Request.SHUTDOWN)
async def _shutdown(context: ServerContext, session: Session) -> Response:
    # Before it, as nothing may be noted later.
    now = context.options.environment.wall_clock()
    await note_deed(context.community, session.username, "shutdown", {}, now)
    context.shutdown.request(0)
    return Response(SHUTTING_DOWN)


@ADMIN_REQUESTS.request(Request.SET_REGISTRATION, NOTED, set_as=False)
async def _set_registration(context: ServerContext, session: Session, set_as: bool) -> Response:
    await context.accounts.set_registration(set_as)
    return Response(f"Registration of new users is {'on' if set_as else 'off'}.")


@ADMIN_REQUESTS.request(Request.CREATE_INVITE, NOTED, username="")
async def _create_invite(context: ServerContext, session: Session, username: str) -> Response:
    code = context.options.environment.random_bytes(INVITE_CODE_BYTES).hex()
    await context.accounts.add_invite(username, code)
    return Response(code, {"code": code})


@ADMIN_REQUESTS.request(Request.DELETE_USER, NOTED, username="")
async def _delete_user(context: ServerContext, session: Session, username: str) -> Response:
    await context.delete_user(username)
    return Response(f"The user {username!r} is deleted.")


@ADMIN_REQUESTS.request(Request.RESET_PASSWORD, NOTED, username="")
async def _reset_password(context: ServerContext, session: Session, username: str) -> Response:
    """Make a code with which a user sets a new password at a log-in, once."""
    await _check_registered(context, username)
    environment = context.options.environment
    code, kept = new_reset_code(username, environment.random_bytes, environment.wall_clock())
    await context.community.put_reset_code(username, kept.digest, kept.expires)
    return Response(code, {"code": code, "seconds": RESET_LIFETIME})


async def _check_registered(context: ServerContext, username: str) -> None:
    """Check that there is a user, whose password or role may be set.

    Raises:
        AccountRefusal: There is none, or it is the admin.
    """
    if username == ADMIN_USERNAME:
        raise AccountRefusal(
            "The admin's password and rights are those that the server was started with.",
            ReasonCode.INVALID_ARGUMENT,
        )
    log_in = LogIn(username, "", "")
    try:
        found = await context.accounts.find(log_in, trusted=False, address=None)
    except TemporaryRefusal:
        raise
    except AccountRefusal:
        # Why nobody could register by this name is of no interest here.
        raise no_such_user(username) from None
    if not isinstance(found, UserRecord):
        raise no_such_user(username)


@ADMIN_REQUESTS.request(Request.SET_ROLE, NOTED, username="", role="")
async def _set_role(context: ServerContext, session: Session, username: str, role: str) -> Response:
    if role not in (Role.MODERATOR, Role.USER):
        return refused(
            f"The argument 'role' has to be 'moderator', or 'user' for no more; it came as "
            f"{role[:60]!r}.",
            ReasonCode.INVALID_ARGUMENT,
        )
    # Who has no role, and is nobody, was misspelt: somebody else keeps theirs.
    if role == Role.MODERATOR or username not in await context.community.roles():
        await _check_registered(context, username)
    if not await context.community.set_role(username, "" if role == Role.USER else role):
        return refused(
            f"There are {MAX_ROLES:,} users with a role already.", ReasonCode.INVALID_ARGUMENT
        )
    return Response(f"{username!r} is a {role} now.")


@ADMIN_REQUESTS.request(Request.ROLES)
async def _roles(context: ServerContext, session: Session) -> Response:
    roles = await context.community.roles()
    return Response(f"{len(roles):,} users have a role.", {"roles": roles})


@ADMIN_REQUESTS.request(Request.AUDIT, before=0, limit=0)
async def _audit(context: ServerContext, session: Session, before: int, limit: int) -> Response:
    if not (0 <= limit <= MOST_LISTED and 0 <= before <= MAX_NUMBER):
        return refused(
            f"The argument 'limit' has to be 0 (for {AUDIT_PAGE}) to {MOST_LISTED:,}, and 'before' "
            "the number of an entry, or 0.",
            ReasonCode.INVALID_ARGUMENT,
        )
    most = limit or AUDIT_PAGE
    found = await context.community.audit(before=before, limit=most + 1)
    payload = {
        "entries": [_shown(entry) for entry in found[:most]],
        "more": len(found) > most,
    }
    return Response(f"{len(found[:most]):,} entries, the latest first.", payload)


def _shown(entry: AuditEntry) -> dict[str, Any]:
    return {**attrs.asdict(entry), "time": as_date(entry.time)}


@ADMIN_REQUESTS.request(Request.DESTROY_GAME, NOTED, name="")
async def _destroy_game(context: ServerContext, session: Session, name: str) -> Response:
    name = context.canonical(name)
    if not await destroy_game(context, name, "The game was destroyed by the admin."):
        return refused(f"There is no game {name[:60]!r}.", ReasonCode.UNKNOWN_GAME)
    return Response(f"The game {name!r} is destroyed.")


async def destroy_game(context: ServerContext, name: str, reason: str) -> bool:
    """End a game, and forget what is saved of it.

    Args:
        context: What the server's tasks share.
        name: The game's name.
        reason: What its users are told.

    Returns:
        Whether there was one, here or in the save file.

    Raises:
        StorageError: It has ended, and that could not be written yet.
    """
    name = context.canonical(name)
    # Not while it is on its way somewhere: what is in no lobby could not be ended.
    async with context.games.reservations.holding(name):
        entry = context.games.lobby.get(name)
        if entry is not None:
            entry.room.close(reason, "destroyed")
        elif context.saves.saved_game(name) is None:
            return False
        context.saves.note_end(name)
        context.games.lobby.forget_creator(name)
    await context.saves.save(context.games.lobby, ask_games=False)
    return True


@ADMIN_REQUESTS.request(Request.SAVE)
async def _save(context: ServerContext, session: Session) -> Response:
    await context.saves.save(context.games.lobby)
    enabled = context.saves.enabled
    return Response("Everything is saved." if enabled else "This server has no save file.")


@ADMIN_REQUESTS.request(Request.NODES)
async def _nodes(context: ServerContext, session: Session) -> Response:
    nodes = await list_nodes(context)
    return Response(
        "The servers that look like one.", {"nodes": [attrs.asdict(node) for node in nodes]}
    )


@ADMIN_REQUESTS.request(Request.SET_VERBOSE, NOTED, set_as=False)
async def _set_verbose(context: ServerContext, session: Session, set_as: bool) -> Response:
    context.options.verbose_logging = set_as
    return Response(f"Verbose logging is {'on' if set_as else 'off'}.")


@ADMIN_REQUESTS.request(Request.DEBUG)
async def _debug(context: ServerContext, session: Session) -> Response:
    accounts = await context.accounts.overview()
    online = await list_users(context, "", MOST_LISTED)
    return Response(
        "The state of the server.",
        {
            "packet": f"{Request.DEBUG} from {session.username}",
            "pubkey": context.key.pubkey,
            "games": [entry.name for entry in context.games.lobby],
            "connected_users": [user.username for user in online],
            "all_users": list(accounts.usernames),
            "registration": accounts.registration_enabled,
            "invite_codes": dict(accounts.invite_codes),
            "deleted_users": list(accounts.deleting),
            "verbose": context.options.verbose_logging,
        },
    )


@ADMIN_REQUESTS.request(Request.SLEEP, seconds=1.0)
async def _sleep(context: ServerContext, session: Session, seconds: float) -> Response:
    seconds = min(max(seconds, 0.0), MAX_SLEEP)
    await trio.sleep(seconds)
    return Response(f"Slept for {seconds:g} seconds.")

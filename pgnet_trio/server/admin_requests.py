"""The requests that only the admin may make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import trio

from pgnet_trio.messages import ADMIN_USERNAME, Request, Response
from pgnet_trio.protocol.events import MAX_REASON
from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.refusals import SHUTTING_DOWN, refused
from pgnet_trio.server.request_table import RequestTable
from pgnet_trio.server.users import (
    DEFAULT_REASON,
    MAX_ANNOUNCEMENT,
    MOST_LISTED,
    announce,
    kick,
    list_nodes,
    list_users,
)

if TYPE_CHECKING:
    from pgnet_trio.server.context import ServerContext
    from pgnet_trio.server.sessions.session import Session

__all__ = ["ADMIN_REQUESTS"]

ADMIN_REQUESTS = RequestTable(admin=True)
"""The requests, for whoever carries out requests."""

MAX_SLEEP = 5.0
"""Seconds that the ``sleep`` request takes at most."""

INVITE_CODE_BYTES = 16
"""Random bytes in an invite code: nobody guesses 128 bits."""


@ADMIN_REQUESTS.request(Request.SHUTDOWN)
async def _shutdown(context: ServerContext, session: Session) -> Response:
    context.shutdown.request(0)
    return Response(SHUTTING_DOWN)


@ADMIN_REQUESTS.request(Request.SET_REGISTRATION, set_as=False)
async def _set_registration(context: ServerContext, session: Session, set_as: bool) -> Response:
    await context.accounts.set_registration(set_as)
    return Response(f"Registration of new users is {'on' if set_as else 'off'}.")


@ADMIN_REQUESTS.request(Request.CREATE_INVITE, username="")
async def _create_invite(context: ServerContext, session: Session, username: str) -> Response:
    code = context.options.environment.random_bytes(INVITE_CODE_BYTES).hex()
    await context.accounts.add_invite(username, code)
    return Response(code, {"code": code})


@ADMIN_REQUESTS.request(Request.DELETE_USER, username="")
async def _delete_user(context: ServerContext, session: Session, username: str) -> Response:
    await context.delete_user(username)
    return Response(f"The user {username!r} is deleted.")


@ADMIN_REQUESTS.request(Request.DESTROY_GAME, name="")
async def _destroy_game(context: ServerContext, session: Session, name: str) -> Response:
    # Not while it is on its way somewhere: what is in no lobby could not be ended.
    async with context.games.reservations.holding(name):
        entry = context.games.lobby.get(name)
        if entry is not None:
            entry.room.close("The game was destroyed by the admin.", "destroyed")
        elif context.saves.saved_game(name) is None:
            return refused(f"There is no game {name[:60]!r}.", ReasonCode.UNKNOWN_GAME)
        context.saves.note_end(name)
        context.games.lobby.forget_creator(name)
    await context.saves.save(context.games.lobby, ask_games=False)
    return Response(f"The game {name!r} is destroyed.")


@ADMIN_REQUESTS.request(Request.SAVE)
async def _save(context: ServerContext, session: Session) -> Response:
    await context.saves.save(context.games.lobby)
    enabled = context.saves.enabled
    return Response("Everything is saved." if enabled else "This server has no save file.")


@ADMIN_REQUESTS.request(Request.USERS, after="", limit=0)
async def _users(context: ServerContext, session: Session, after: str, limit: int) -> Response:
    if not 0 <= limit <= MOST_LISTED:
        return refused(
            f"The argument 'limit' has to be 0 (for {MOST_LISTED:,}) to {MOST_LISTED:,}, "
            f"not {limit}.",
            ReasonCode.INVALID_ARGUMENT,
        )
    # One more, to see whether there are more.
    most = limit or MOST_LISTED
    found = await list_users(context, after, most + 1)
    users = {user.username: user.node for user in found[:most]}
    payload: dict[str, Any] = {"users": users, "more": len(found) > most}
    if len(found) <= most:
        return Response(f"{len(users):,} users are logged in.", payload)
    return Response(
        f"{len(users):,} users. There are more after {found[most - 1].username!r}: ask for them "
        "with 'after'.",
        payload,
    )


@ADMIN_REQUESTS.request(Request.NODES)
async def _nodes(context: ServerContext, session: Session) -> Response:
    nodes = await list_nodes(context)
    return Response(
        "The servers that look like one.", {"nodes": [attrs.asdict(node) for node in nodes]}
    )


@ADMIN_REQUESTS.request(Request.ANNOUNCE, text="", game="")
async def _announce(context: ServerContext, session: Session, text: str, game: str) -> Response:
    if not 0 < len(text) <= MAX_ANNOUNCEMENT:
        return refused(
            f"The argument 'text' has to have 1 to {MAX_ANNOUNCEMENT:,} characters; it came with "
            f"{len(text):,}.",
            ReasonCode.INVALID_ARGUMENT,
        )
    servers = await announce(context, text, game)
    whom = f"in the game {game[:60]!r}" if game else "who are logged in"
    return Response(f"The users {whom} are told.", {"servers": servers})


@ADMIN_REQUESTS.request(Request.KICK, username="", reason="")
async def _kick(context: ServerContext, session: Session, username: str, reason: str) -> Response:
    if username == ADMIN_USERNAME:
        return refused("The admin cannot be kicked.", ReasonCode.INVALID_ARGUMENT)
    if len(reason) > MAX_REASON:
        return refused(
            f"The argument 'reason' has to have at most {MAX_REASON} characters; it came with "
            f"{len(reason):,}.",
            ReasonCode.INVALID_ARGUMENT,
        )
    if not await kick(context, username, reason or DEFAULT_REASON):
        return refused(f"{username[:60]!r} is not logged in.", ReasonCode.UNKNOWN_USER)
    return Response(f"The user {username!r} is kicked.")


@ADMIN_REQUESTS.request(Request.SET_VERBOSE, set_as=False)
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

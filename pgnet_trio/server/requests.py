"""The requests that the server answers itself; those of the admin are in `admin_requests`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import trio

from pgnet_trio.errors import StorageError
from pgnet_trio.foreign_text import one_line
from pgnet_trio.messages import SERVER_PREFIX, Packet, Request, Response, Status, note_code
from pgnet_trio.protocol.v2.features import REJOIN, TABLES
from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.account_requests import ACCOUNT_REQUESTS
from pgnet_trio.server.admin_requests import ADMIN_REQUESTS
from pgnet_trio.server.cluster.errors import EngineError, NotKept
from pgnet_trio.server.counters import outcome_of
from pgnet_trio.server.directory import list_games, uses
from pgnet_trio.server.games.claiming import claiming
from pgnet_trio.server.games.claims import Elsewhere, Here, Nowhere, Restore, WrongPasswordElsewhere
from pgnet_trio.server.games.codes import as_code
from pgnet_trio.server.games.lobby import LobbyRefusal, WrongPassword
from pgnet_trio.server.games.opening import Opening
from pgnet_trio.server.guesses import check_codes, check_password, note_if_code
from pgnet_trio.server.invitation_requests import INVITATION_REQUESTS
from pgnet_trio.server.making import make_game, make_table
from pgnet_trio.server.moderation.audit import noting, role_of
from pgnet_trio.server.moderator_requests import MODERATOR_REQUESTS
from pgnet_trio.server.queue_requests import QUEUE_REQUESTS, stop_searching
from pgnet_trio.server.refusals import (
    CannotMove,
    CodedRefusal,
    JoinRefused,
    RoomClosed,
    refused,
)
from pgnet_trio.server.request_table import RequestEntry, RequestTable
from pgnet_trio.server.roles import Role
from pgnet_trio.server.room.kept import Kept
from pgnet_trio.server.standing_requests import STANDING_REQUESTS

if TYPE_CHECKING:
    from pgnet_trio.server.context import ServerContext
    from pgnet_trio.server.games.lobby import GameEntry
    from pgnet_trio.server.room.room import RoomTask
    from pgnet_trio.server.sessions.session import Session

__all__ = ["carry_out"]

logger = logging.getLogger("pgnet_trio.server")

LONGEST_END = 1.0
"""Seconds that a game which refused its creator may take to end, before they hear of it."""

_lobby = RequestTable()
_no_options: dict[str, Any] = {}


async def carry_out(context: ServerContext, session: Session, packet: Packet) -> Response:
    """Carry out a request that no game takes, and return the answer.

    Cancellation leaves a change that was under way either whole or not made at all.
    """
    response = await _carry_out(context, session, packet)
    context.counters.answers[outcome_of(response.status)] += 1
    return response


async def _carry_out(context: ServerContext, session: Session, packet: Packet) -> Response:
    message = packet.message
    entry = _entries.get(message)
    if entry is None:
        return refused(
            f"{packet.message[:60]!r} is no request to the server, and you are in no game.",
            ReasonCode.NOT_IN_GAME,
            {"commands": list(_help(Role.ADMIN if session.is_admin else Role.USER))},
        )
    try:
        await _check_role(context, session, entry, message)
        wrong = _wrong_argument(packet.payload, entry.arguments)
        if wrong:
            return refused(wrong, ReasonCode.INVALID_ARGUMENT)
        arguments = {**entry.arguments, **packet.payload}
        if not entry.noted:
            return await entry.carry_out(context, session, arguments)
        did = message.removeprefix(SERVER_PREFIX)
        async with noting(context, session.username, did, arguments) as deed:
            response = await entry.carry_out(context, session, arguments)
            deed.done = response.status == Status.OK
        return response
    except JoinRefused as refusal:
        return _response(refusal, refusal.payload)
    except CodedRefusal as refusal:
        return _response(refusal)
    except CannotMove as error:
        return refused(str(error), ReasonCode.BUSY)
    except StorageError as error:
        return refused(str(error), ReasonCode.CANNOT_SAVE)
    except NotKept as error:
        return refused(str(error), ReasonCode.NOT_KEPT)
    except EngineError as error:
        logger.warning("A request of %s: %s", one_line(session.username), one_line(error))
        return refused(context.not_now, ReasonCode.BUSY)


async def _check_role(
    context: ServerContext, session: Session, entry: RequestEntry, message: str
) -> None:
    """Check that a user may make a request.

    Raises:
        CodedRefusal: They may not.
        EngineError: It cannot be found out now.
    """
    if entry.role is Role.USER or session.is_admin:
        return
    if entry.role is Role.ADMIN:
        raise CodedRefusal(f"Only the admin may request {message!r}.", ReasonCode.ADMIN_ONLY)
    if not (await role_of(context.community, session.username)).may(entry.role):
        raise CodedRefusal(
            f"Only moderators and the admin may request {message!r}.", ReasonCode.MODERATORS_ONLY
        )


def _response(refusal: CodedRefusal, payload: dict[str, Any] | None = None) -> Response:
    return note_code(Response(str(refusal), payload, Status.UNEXPECTED), refusal.code)


def _wrong_argument(payload: dict[str, Any], arguments: dict[str, Any]) -> str | None:
    for key, value in payload.items():
        if key not in arguments:
            known = ", ".join(arguments) or "none"
            return f"Unexpected argument {key[:60]!r}; this request takes: {known}."
        expected = type(arguments[key])
        if type(value) is not expected:
            return (
                f"The argument {key!r} has to be of type {expected.__name__}; "
                f"it came as {type(value).__name__}."
            )
    return None


def _help(role: Role) -> dict[str, dict[str, str]]:
    return {
        name: {key: type(value).__name__ for key, value in entry.arguments.items()}
        for name, entry in _entries.items()
        if role.may(entry.role)
    }


@_lobby.request(Request.HELP)
async def _send_help(context: ServerContext, session: Session) -> Response:
    role = await role_of(context.community, session.username)
    return Response("The requests, and the arguments that they take.", _help(role))


@_lobby.request(Request.GAME_DIR, after="", limit=0)
async def _game_dir(context: ServerContext, session: Session, after: str, limit: int) -> Response:
    return await list_games(context, session, after, limit)


@_lobby.request(Request.CREATE_GAME, name="", password="", options=_no_options, unlisted=False)
async def _create_game(
    context: ServerContext,
    session: Session,
    name: str,
    password: str,
    options: dict[str, Any],
    unlisted: bool,
) -> Response:
    username = session.username
    context.games.lobby.check_free(username)
    stop_searching(session)
    _check_may_create(context, session)
    name = context.canonical(name)
    opening = Opening(
        name=name,
        password=password,
        options=options,
        kept=Kept(host=username, unlisted=unlisted),
    )
    sent: Elsewhere | None
    if not name and uses(session, TABLES):
        name, sent = await make_table(context, opening, creator=username)
    else:
        await check_codes(context, session, name)
        try:
            sent = await make_game(context, opening, creator=username)
        except LobbyRefusal as refusal:
            if refusal.code == ReasonCode.NAME_TAKEN:
                await note_if_code(context, session, name)
            raise
    if sent is not None:
        return await _send_away(session, name, sent)
    return await _begin(context, session, name, password)


def _check_may_create(context: ServerContext, session: Session) -> None:
    if not (context.options.players_create or session.is_admin):
        raise LobbyRefusal(
            "Players create no games here; join one of the list.", ReasonCode.CREATION_OFF
        )


@_lobby.request(
    Request.JOIN_GAME,
    name="",
    password="",
    spectate=False,
    options=_no_options,
    unlisted=False,
    rejoin=False,
    invited=False,
)
async def _join_game(
    context: ServerContext,
    session: Session,
    name: str,
    password: str,
    spectate: bool,
    options: dict[str, Any],
    unlisted: bool,
    rejoin: bool,
    invited: bool,
) -> Response:
    name = context.canonical(name)
    there = context.games.lobby.game_of(session.username)
    if (
        session.takes_pushes
        and there is not None
        and there.name == name
        and spectate == (session.username in there.spectators)
    ):
        # The client asks for what it has: it took over from one that was joining, and learned of
        # the game only after it had asked.
        return _joined(session, there, {}, spectate=spectate)
    context.games.lobby.check_free(session.username)
    stop_searching(session)
    await check_codes(context, session, name)
    if context.games.lobby.get(name) is None:
        async with claiming(context.games, context.claims, name):
            # Another user may have made it while this one waited.
            if context.games.lobby.get(name) is None:
                opening = _opening_for(context, session, name, password, options, unlisted)
                is_new = await _open(context, session, opening, rejoin=rejoin, invited=invited)
                if isinstance(is_new, Response):
                    return is_new
                if is_new:
                    return await _begin(context, session, name, password, spectate=spectate)
    entry = context.games.lobby.get(name)
    if entry is not None and entry.room.members.invitations.holds(
        session.username, trio.current_time()
    ):
        # Whoever was invited need not know it.
        password = entry.password
        context.invitations.forget(session.username)
    elif entry is not None and entry.password:
        await check_password(context, session, name, entry.password, password)
        if context.games.lobby.get(name) is not entry:
            # It has ended meanwhile, or gone to another server.
            return await _join_game(
                context, session, name, password, spectate, options, unlisted, rejoin, invited
            )
    return await _join(context, session, name, password, spectate=spectate)


def _opening_for(
    context: ServerContext,
    session: Session,
    name: str,
    password: str,
    options: dict[str, Any],
    unlisted: bool,
) -> Opening:
    """Return what a game is opened with that a user joins, where there is none of that name."""
    room = context.options.rooms.get(name)
    if room is not None:
        return Opening(name=name, options=room, stays=True)
    kept = Kept(host=session.username, unlisted=unlisted)
    return Opening(name=name, password=password, options=options, kept=kept)


async def _open(
    context: ServerContext, session: Session, opening: Opening, *, rejoin: bool, invited: bool
) -> bool | Response:
    """Make a game that is not in the lobby, or go on with its save.

    Returns:
        Whether it is new; the response where the user was sent to the server that has it.
    """
    name, password = opening.name, opening.password
    username, address = session.username, session.client.address
    is_code = as_code(name) is not None
    may_create = context.options.players_create or session.is_admin
    # A code is of a table that is there, but for those who had one before the server restarted; and
    # so is the table that somebody was invited to.
    make = opening.stays or (may_create and (rejoin or not (is_code or invited)))
    unheard = await context.accounts.check_guess(username, address, password)
    try:
        claim = await context.claims.claim(
            name,
            None if unheard else password,
            make=make,
            password=password,
            unlisted=opening.kept.unlisted,
        )
    except WrongPassword as wrong:
        if invited and isinstance(wrong, WrongPasswordElsewhere):
            # That server knows whether they were.
            return await _send_away(session, name, wrong.claim)
        if unheard:
            raise LobbyRefusal(unheard, ReasonCode.TOO_MANY_ATTEMPTS) from None
        await context.accounts.note_wrong_guess(username, address)
        raise
    if isinstance(claim, Here):
        return False
    if isinstance(claim, Restore):
        # The game crashed, or could not be made when the server started.
        await context.games.open_saved_game(claim.game, insist=session.is_admin)
        return False
    if isinstance(claim, Elsewhere):
        return await _send_away(session, name, claim)
    if is_code and not opening.stays:
        await context.accounts.note_wrong_guess(username, address)
    if isinstance(claim, Nowhere):
        if make:
            # A cluster claims no game that nobody could make; say why.
            context.games.lobby.check_new(name)
        what = "There is no table with the code" if is_code else "There is no game"
        raise LobbyRefusal(f"{what} {name[:60]!r}.", ReasonCode.UNKNOWN_GAME)
    games = context.games
    games.lobby.check_new(name)
    if opening.stays:
        await games.open_game(opening)
    else:
        games.check_quota(username, dict(opening.options))
        # No await between the check and the game's place in the lobby.
        await games.open_game(opening, creator=username)
    return True


async def _send_away(session: Session, name: str, claim: Elsewhere) -> Response:
    """Send a user to another server, which begins anew with what is carried out for them now."""
    if claim.send is None or not session.client.may_move:
        text = f"The game {name!r} is at {claim.address}, and your client cannot be sent there."
        raise LobbyRefusal(text, ReasonCode.UNKNOWN_GAME)
    await claim.send(session.username)
    # Nobody gets this: the session goes on there.
    return Response("")


async def _begin(
    context: ServerContext, session: Session, name: str, password: str, *, spectate: bool = False
) -> Response:
    """Let a user into the game that was just made for them."""
    games = context.games
    entry = games.lobby.get(name)
    try:
        response = await _join(context, session, name, password, spectate=spectate)
    except (JoinRefused, RoomClosed):
        if entry is not None and not entry.room.has_begun:
            # Whoever hears of the refusal finds no such game any more, and may make another one.
            with trio.move_on_after(LONGEST_END):
                await entry.room.ended.wait()
        raise
    entry = games.lobby.get(name)
    if entry is not None:
        games.note_begin(entry)
    return response


async def _join(
    context: ServerContext, session: Session, name: str, password: str, *, spectate: bool = False
) -> Response:
    entry = context.games.lobby.join(session.username, name, password, spectate=spectate)
    try:
        heartbeat_rate = await entry.room.join(session, spectate=spectate)
    except (JoinRefused, RoomClosed):
        # Undo the join. The game may go on without the user: it may have been restarted, or others
        # are in it. One that was made for them, and lets nobody in, ends.
        if context.games.lobby.game_of(session.username) is entry:
            context.games.lobby.leave(session.username)
        entry.room.close_if_empty()
        raise
    session.budget.charge(entry.room.audience)
    return _joined(session, entry, {"heartbeat_rate": heartbeat_rate}, spectate=spectate)


def _joined(
    session: Session, entry: GameEntry[RoomTask], payload: dict[str, Any], *, spectate: bool
) -> Response:
    options = entry.room.lobby_extras.get("options")
    if options and uses(session, REJOIN):
        payload["options"] = options
    name = entry.name
    if uses(session, TABLES):
        # What joins it again: it may have been asked for without a name, or in small letters.
        payload["name"] = name
        if entry.room.members.unlisted:
            payload["unlisted"] = True
    text = f"You watch the game {name!r}." if spectate else f"You are in the game {name!r}."
    return Response(text, payload)


@_lobby.request(Request.LEAVE_GAME)
async def _leave_game(context: ServerContext, session: Session) -> Response:
    entry = context.games.lobby.leave(session.username)
    if entry is None:
        return refused("You are in no game.", ReasonCode.NOT_IN_GAME)
    session.budget.charge(entry.room.audience)
    await entry.room.leave(session.username, awaited=True).wait()
    return Response(f"You left the game {entry.name!r}.")


_entries = {
    **_lobby.entries,
    **INVITATION_REQUESTS.entries,
    **QUEUE_REQUESTS.entries,
    **ACCOUNT_REQUESTS.entries,
    **MODERATOR_REQUESTS.entries,
    **STANDING_REQUESTS.entries,
    **ADMIN_REQUESTS.entries,
}

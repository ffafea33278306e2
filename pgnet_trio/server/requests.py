"""The requests that the server answers itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import attrs
import trio

from pgnet_trio.codec import encode_msgpack
from pgnet_trio.errors import CodecError, StorageError
from pgnet_trio.messages import Packet, Request, Response, Status, note_code
from pgnet_trio.protocol.v2.features import DIRECTORY, REJOIN
from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.games.claims import Elsewhere, Make, Restore
from pgnet_trio.server.games.lobby import LobbyRefusal, WrongPassword, check_password
from pgnet_trio.server.refusals import (
    SHUTTING_DOWN,
    CannotMove,
    CodedRefusal,
    JoinRefused,
    RoomClosed,
    refused,
)

if TYPE_CHECKING:
    from pgnet_trio.server.context import ServerContext
    from pgnet_trio.server.games.lobby import GameEntry
    from pgnet_trio.server.room.room import RoomTask
    from pgnet_trio.server.sessions.session import Session

__all__ = ["carry_out"]

MAX_SLEEP = 5.0
"""Seconds that the ``sleep`` request takes at most."""

LONGEST_END = 1.0
"""Seconds that a game which refused its creator may take to end, before they hear of it."""

MAX_DIRECTORY_SIZE = 256 * 1024
"""Bytes of the games in one answer; `max_unacknowledged_bytes` has room for several of these."""

MIN_DIRECTORY_SIZE = 512
"""Bytes of the games without which there is no answer: one game fits, without what it says."""

DIRECTORY_OVERHEAD = 300
"""Bytes of that answer around its games: the message, and the heads of the envelope."""

INVITE_CODE_BYTES = 16
"""Random bytes in an invite code: nobody guesses 128 bits."""

_Handler = Callable[..., Coroutine[Any, Any, Response]]


@attrs.frozen
class _Entry:
    handler: _Handler
    arguments: dict[str, Any]
    admin: bool


_handlers: dict[str, _Entry] = {}
_no_options: dict[str, Any] = {}


def _request(name: Request, /, *, admin: bool = False, **arguments: Any) -> Callable[..., _Handler]:
    """Register a handler; *arguments* are the keys of the payload, with their defaults."""

    def enter(handler: _Handler) -> _Handler:
        _handlers[name] = _Entry(handler, arguments, admin)
        return handler

    return enter


async def carry_out(context: ServerContext, session: Session, packet: Packet) -> Response:
    """Carry out a request that no game takes, and return the answer.

    Cancellation leaves a change that was under way either whole or not made at all.
    """
    entry = _handlers.get(packet.message)
    if entry is None:
        return refused(
            f"{packet.message[:60]!r} is no request to the server, and you are in no game.",
            ReasonCode.NOT_IN_GAME,
            {"commands": list(_help(session))},
        )
    if entry.admin and not session.is_admin:
        return refused(f"Only the admin may request {packet.message!r}.", ReasonCode.ADMIN_ONLY)
    wrong = _wrong_argument(packet.payload, entry.arguments)
    if wrong:
        return refused(wrong, ReasonCode.INVALID_ARGUMENT)
    try:
        return await entry.handler(context, session, **{**entry.arguments, **packet.payload})
    except JoinRefused as refusal:
        return _response(refusal, refusal.payload)
    except CodedRefusal as refusal:
        return _response(refusal)
    except CannotMove as error:
        return refused(str(error), ReasonCode.BUSY)
    except StorageError as error:
        return refused(str(error), ReasonCode.CANNOT_SAVE)


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


def _help(session: Session) -> dict[str, dict[str, str]]:
    return {
        name: {key: type(value).__name__ for key, value in entry.arguments.items()}
        for name, entry in _handlers.items()
        if session.is_admin or not entry.admin
    }


@_request(Request.HELP)
async def _send_help(context: ServerContext, session: Session) -> Response:
    return Response("The requests, and the arguments that they take.", _help(session))


@_request(Request.GAME_DIR, after="", limit=0)
async def _game_dir(context: ServerContext, session: Session, after: str, limit: int) -> Response:
    if limit < 0:
        return refused(
            f"The argument 'limit' has to be 0 (for no limit) or more, not {limit}.",
            ReasonCode.INVALID_ARGUMENT,
        )
    most = left = _directory_size(context, session)
    if most < MIN_DIRECTORY_SIZE:
        return refused(
            "Too much waits until you have acknowledged it; ask again after that.", ReasonCode.BUSY
        )
    games: dict[str, Any] = {}
    for entry in context.games.lobby.after(after):
        game, size = _describe(entry, most)
        if game is None:
            continue
        if size > left or (limit and len(games) == limit):
            break
        games[entry.name] = game
        left -= size
    else:
        session.budget.charge(len(games) / 10)
        return Response("The games on this server.", {"games": games})
    session.budget.charge(len(games) / 10)
    payload: dict[str, Any] = {"games": games}
    if _uses(session, DIRECTORY):
        payload["more"] = True
    return Response(
        f"{len(games):,} of the {len(context.games.lobby):,} games on this server. There are more "
        f"after {next(reversed(games), after)!r}: ask for them with 'after'.",
        payload,
    )


def _uses(session: Session, feature: str) -> bool:
    """Return whether a feature is in use with a session's client."""
    delivery = session.client.delivery
    return delivery is not None and feature in delivery.features


def _directory_size(context: ServerContext, session: Session) -> float:
    """Return how many bytes of games an answer to this session may have."""
    most: float = MAX_DIRECTORY_SIZE
    waiting = context.options.limits.max_unacknowledged_bytes
    if waiting is not None:
        most = min(most, waiting / 4)
    delivery = session.client.delivery
    if delivery is not None:
        if delivery.max_envelope_size is not None:
            most = min(most, delivery.max_envelope_size - DIRECTORY_OVERHEAD)
        if waiting is not None:
            # A client may ask again before it has acknowledged an answer, and lose nothing by it.
            most = min(most, (waiting - delivery.unacknowledged_bytes) / 2)
    return most


def _describe(entry: GameEntry[RoomTask], most: float) -> tuple[dict[str, Any] | None, float]:
    """Return a game as the directory shows it, and its size in bytes; None if it cannot travel.

    A game of more than *most* bytes, or that cannot travel whole, is shown without what it says of
    itself.
    """
    game = {
        "name": entry.name,
        "users": entry.player_count,
        "password_protected": bool(entry.password),
        "info": entry.room.info,
        **entry.room.lobby_extras,
    }
    # Encoding takes longer than comparing, and most games have not changed.
    if entry.described is None or entry.described[0] != game:
        entry.described = (game, _size_of(entry.name, game))
    if entry.described[1] <= most:
        return entry.described
    plainly = {key: game[key] for key in ("name", "users", "password_protected")}
    plainly["info"] = ""
    size = _size_of(entry.name, plainly)
    return (plainly, size) if size <= most else (None, 0)


def _size_of(name: str, game: dict[str, Any]) -> float:
    """Return the bytes that a game takes in the directory; infinite if it cannot travel."""
    try:
        return len(encode_msgpack({name: game}))
    except CodecError:
        return math.inf


@_request(Request.CREATE_GAME, name="", password="", options=_no_options)
async def _create_game(
    context: ServerContext, session: Session, name: str, password: str, options: dict[str, Any]
) -> Response:
    lobby = context.games.lobby
    lobby.check_free(session.username)
    lobby.check_new(name)
    async with context.games.reservations.holding(name):
        # Another user may have made it while this one waited.
        lobby.check_new(name)
        try:
            claim = await context.claims.claim(name, None, make=True)
        except WrongPassword:
            claim = None
        if isinstance(claim, Elsewhere):
            raise LobbyRefusal(
                f"There is a game {name!r} already; join it, or take another name.",
                ReasonCode.NAME_TAKEN,
            )
        if not isinstance(claim, Make):
            raise LobbyRefusal(
                f"There is a saved game {name!r}; join it, or take another name.",
                ReasonCode.NAME_TAKEN,
            )
        await _make(context, session, name, password, options)
    return await _begin(context, session, name, password)


@_request(Request.JOIN_GAME, name="", password="", spectate=False, options=_no_options)
async def _join_game(
    context: ServerContext,
    session: Session,
    name: str,
    password: str,
    spectate: bool,
    options: dict[str, Any],
) -> Response:
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
    if context.games.lobby.get(name) is None:
        async with context.games.reservations.holding(name):
            # Another user may have made it while this one waited.
            if context.games.lobby.get(name) is None:
                is_new = await _open(context, session, name, password, options)
                if is_new is None:
                    # Nobody gets this: the session goes on where the game is.
                    return Response("")
                if is_new:
                    return await _begin(context, session, name, password, spectate=spectate)
    entry = context.games.lobby.get(name)
    if entry is not None:
        _check_password(context, session, name, entry.password, password)
    return await _join(context, session, name, password, spectate=spectate)


async def _open(
    context: ServerContext, session: Session, name: str, password: str, options: dict[str, Any]
) -> bool | None:
    """Make a game that is not in the lobby, or go on with its save.

    Returns:
        Whether it is new; None where the user was sent to the server that has it.
    """
    username, address = session.username, session.client.address
    unheard = context.passwords.check_guesses(username, address)
    try:
        claim = await context.claims.claim(name, None if unheard else password, make=True)
    except WrongPassword:
        if unheard:
            raise LobbyRefusal(unheard, ReasonCode.TOO_MANY_ATTEMPTS) from None
        context.passwords.note_wrong_guess(username, address)
        raise
    if isinstance(claim, Restore):
        # The game crashed, or could not be made when the server started.
        await context.games.open_saved_game(claim.game, insist=session.is_admin)
        return False
    if isinstance(claim, Elsewhere):
        if claim.send is None or not session.may_move:
            text = f"The game {name!r} is at {claim.address}, and your client cannot be sent there."
            raise LobbyRefusal(text, ReasonCode.UNKNOWN_GAME)
        await claim.send(username)
        return None
    context.games.lobby.check_new(name)
    await _make(context, session, name, password, options)
    return True


async def _make(
    context: ServerContext, session: Session, name: str, password: str, options: dict[str, Any]
) -> None:
    """Make a new game, whose name this holds."""
    games = context.games
    games.check_quota(session.username, options)
    # No await between the check and the game's place in the lobby.
    await games.open_game(name, password, options=options, creator=session.username)


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
    if options and _uses(session, REJOIN):
        payload["options"] = options
    name = entry.name
    text = f"You watch the game {name!r}." if spectate else f"You are in the game {name!r}."
    return Response(text, payload)


def _check_password(
    context: ServerContext, session: Session, name: str, password: str, given: str
) -> None:
    """Check what a user gives as a game's password, unheard after too many wrong ones."""
    username, address = session.username, session.client.address
    refusal = context.passwords.check_guesses(username, address) if password else None
    if refusal:
        raise LobbyRefusal(refusal, ReasonCode.TOO_MANY_ATTEMPTS)
    try:
        check_password(name, password, given)
    except WrongPassword:
        context.passwords.note_wrong_guess(username, address)
        raise


@_request(Request.LEAVE_GAME)
async def _leave_game(context: ServerContext, session: Session) -> Response:
    entry = context.games.lobby.leave(session.username)
    if entry is None:
        return refused("You are in no game.", ReasonCode.NOT_IN_GAME)
    session.budget.charge(entry.room.audience)
    await entry.room.leave(session.username, awaited=True).wait()
    return Response(f"You left the game {entry.name!r}.")


@_request(Request.SHUTDOWN, admin=True)
async def _shutdown(context: ServerContext, session: Session) -> Response:
    context.shutdown.request(0)
    return Response(SHUTTING_DOWN)


@_request(Request.SET_REGISTRATION, admin=True, set_as=False)
async def _set_registration(context: ServerContext, session: Session, set_as: bool) -> Response:
    await context.accounts.set_registration(set_as)
    return Response(f"Registration of new users is {'on' if set_as else 'off'}.")


@_request(Request.CREATE_INVITE, admin=True, username="")
async def _create_invite(context: ServerContext, session: Session, username: str) -> Response:
    code = context.options.environment.random_bytes(INVITE_CODE_BYTES).hex()
    await context.accounts.add_invite(username, code)
    return Response(code, {"code": code})


@_request(Request.DELETE_USER, admin=True, username="")
async def _delete_user(context: ServerContext, session: Session, username: str) -> Response:
    await context.delete_user(username)
    return Response(f"The user {username!r} is deleted.")


@_request(Request.DESTROY_GAME, admin=True, name="")
async def _destroy_game(context: ServerContext, session: Session, name: str) -> Response:
    entry = context.games.lobby.get(name)
    if entry is not None:
        entry.room.close("The game was destroyed by the admin.", "destroyed")
    elif context.saves.saved_game(name) is None:
        return refused(f"There is no game {name[:60]!r}.", ReasonCode.UNKNOWN_GAME)
    context.saves.note_end(name)
    context.games.lobby.forget_creator(name)
    await context.saves.save(context.games.lobby, ask_games=False)
    return Response(f"The game {name!r} is destroyed.")


@_request(Request.SAVE, admin=True)
async def _save(context: ServerContext, session: Session) -> Response:
    await context.saves.save(context.games.lobby)
    enabled = context.saves.enabled
    return Response("Everything is saved." if enabled else "This server has no save file.")


@_request(Request.SET_VERBOSE, admin=True, set_as=False)
async def _set_verbose(context: ServerContext, session: Session, set_as: bool) -> Response:
    context.options.verbose_logging = set_as
    return Response(f"Verbose logging is {'on' if set_as else 'off'}.")


@_request(Request.DEBUG, admin=True)
async def _debug(context: ServerContext, session: Session) -> Response:
    accounts = await context.accounts.overview()
    return Response(
        "The state of the server.",
        {
            "packet": f"{Request.DEBUG} from {session.username}",
            "pubkey": context.key.pubkey,
            "games": [entry.name for entry in context.games.lobby],
            "connected_users": sorted(context.sessions.usernames),
            "all_users": list(accounts.usernames),
            "registration": accounts.registration_enabled,
            "invite_codes": dict(accounts.invite_codes),
            "deleted_users": list(accounts.deleting),
            "verbose": context.options.verbose_logging,
        },
    )


@_request(Request.SLEEP, admin=True, seconds=1.0)
async def _sleep(context: ServerContext, session: Session, seconds: float) -> Response:
    seconds = min(max(seconds, 0.0), MAX_SLEEP)
    await trio.sleep(seconds)
    return Response(f"Slept for {seconds:g} seconds.")

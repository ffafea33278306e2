"""The request with which a player invites a user to their game."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from pgnet_trio.messages import INVITATION, Push, Request, Response
from pgnet_trio.protocol.v2.features import INVITATIONS
from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.node.users import NotNow
from pgnet_trio.server.refusals import CodedRefusal
from pgnet_trio.server.request_table import RequestTable
from pgnet_trio.server.users import push

if TYPE_CHECKING:
    from pgnet_trio.server.context import ServerContext
    from pgnet_trio.server.games.lobby import GameEntry
    from pgnet_trio.server.room.room import RoomTask
    from pgnet_trio.server.sessions.session import Session

__all__ = ["INVITATION_REQUESTS"]

INVITATION_REQUESTS = RequestTable()
"""The request, for whoever carries out requests."""


@INVITATION_REQUESTS.request(Request.INVITE, username="")
async def _invite(context: ServerContext, session: Session, username: str) -> Response:
    await trio.lowlevel.checkpoint()
    entry = _game_to_invite_to(context, session)
    _check_may_be_invited(context, session, entry, username)
    invitations, now = entry.room.members.invitations, trio.current_time()
    had_one = invitations.holds(username, now)
    pace = context.invitations
    if invitations.was_just_told(username, now) or not pace.may_tell(
        username, session.username, now
    ):
        raise CodedRefusal(
            f"{username!r} was invited a moment ago; wait before you do it again.",
            ReasonCode.TOO_MANY_INVITATIONS,
        )
    # Before they are told: they may join at once.
    if not invitations.add(username, now):
        raise CodedRefusal(
            f"{len(invitations.names)} users are invited to {entry.name!r} already; wait until "
            "some of them have joined.",
            ReasonCode.TOO_MANY_INVITATIONS,
        )
    payload = {
        "inviter": session.username,
        "game": entry.name,
        "game_class": entry.room.instance.class_name,
    }
    try:
        is_told = await push(context, username, Push(INVITATION, payload), feature=INVITATIONS)
    except NotNow:
        if not had_one:
            invitations.end(username)
        raise
    if not is_told:
        if not had_one:
            invitations.end(username)
        raise CodedRefusal(
            f"{username[:60]!r} is not logged in, or their client takes no invitations.",
            ReasonCode.UNKNOWN_USER,
        )
    pace.note(username, session.username, now)
    return Response(f"{username!r} is invited to the game {entry.name!r}.")


def _game_to_invite_to(context: ServerContext, session: Session) -> GameEntry[RoomTask]:
    """Return the game of a user who may invite others to it.

    Raises:
        CodedRefusal: They are in none, or only watch, or its class does not allow it.
    """
    entry = context.games.lobby.game_of(session.username)
    if entry is None:
        raise CodedRefusal(
            "You are in no game; join the one that you invite to.", ReasonCode.NOT_IN_GAME
        )
    if session.username in entry.spectators:
        raise CodedRefusal(
            f"You only watch the game {entry.name!r}; its players invite.", ReasonCode.SPECTATOR
        )
    if not entry.room.instance.players_invite:
        raise CodedRefusal(
            f"The game {entry.name!r} lets nobody invite others.", ReasonCode.REJECTED
        )
    return entry


def _check_may_be_invited(
    context: ServerContext, session: Session, entry: GameEntry[RoomTask], username: str
) -> None:
    """Check that it makes sense to invite a user to a game.

    Raises:
        CodedRefusal: It does not.
    """
    if not username:
        raise CodedRefusal(
            "Whom do you invite? Give the name as 'username'.", ReasonCode.INVALID_ARGUMENT
        )
    if username == session.username:
        raise CodedRefusal("You cannot invite yourself.", ReasonCode.INVALID_ARGUMENT)
    if username in entry.users:
        raise CodedRefusal(
            f"{username!r} is in the game {entry.name!r} already.", ReasonCode.ALREADY_IN_GAME
        )
    if context.bans.find(username, None) is not None:
        raise CodedRefusal(f"{username[:60]!r} is banned.", ReasonCode.BANNED)

"""The codes of tables and passwords of games that users guess, of which few may be wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.games.codes import as_code
from pgnet_trio.server.games.lobby import LobbyRefusal, WrongPassword
from pgnet_trio.server.games.lobby import check_password as compare

if TYPE_CHECKING:
    from pgnet_trio.server.context import ServerContext
    from pgnet_trio.server.sessions.session import Session

__all__ = ["check_codes", "check_password", "note_if_code"]


async def check_codes(context: ServerContext, session: Session, name: str) -> None:
    """Refuse a code unheard, right or wrong, after too many wrong ones."""
    if as_code(name) is None:
        return
    refusal = await context.accounts.check_guess(session.username, session.client.address, name)
    if refusal:
        raise LobbyRefusal(refusal, ReasonCode.TOO_MANY_ATTEMPTS)


async def note_if_code(context: ServerContext, session: Session, name: str) -> None:
    """Count a name that tells whether there is a table, if it is a code."""
    if as_code(name) is not None:
        await context.accounts.note_wrong_guess(session.username, session.client.address)


async def check_password(
    context: ServerContext, session: Session, name: str, password: str, given: str
) -> None:
    """Check what a user gives as a game's password, unheard after too many wrong ones."""
    username, address = session.username, session.client.address
    refusal = await context.accounts.check_guess(username, address, given)
    if refusal:
        raise LobbyRefusal(refusal, ReasonCode.TOO_MANY_ATTEMPTS)
    try:
        compare(name, password, given)
    except WrongPassword:
        await context.accounts.note_wrong_guess(username, address)
        raise

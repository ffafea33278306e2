"""The requests of users about their own accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgnet_trio.errors import CryptoError
from pgnet_trio.messages import Request, Response
from pgnet_trio.protocol.events import LogIn
from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.account_refusals import AccountRefusal, TemporaryRefusal, changed
from pgnet_trio.server.password_checks import TooBusy
from pgnet_trio.server.request_table import RequestTable
from pgnet_trio.server.users import put_others_out
from pgnet_trio.storage.interface import UserRecord

if TYPE_CHECKING:
    from pgnet_trio.server.context import ServerContext
    from pgnet_trio.server.sessions.session import Session

__all__ = ["ACCOUNT_REQUESTS"]

ACCOUNT_REQUESTS = RequestTable()
"""The requests, for whoever carries out requests."""


@ACCOUNT_REQUESTS.request(Request.CHANGE_PASSWORD, old="", new="")
async def _change_password(
    context: ServerContext, session: Session, old: str, new: str
) -> Response:
    """Replace a user's password, if they know the old one; all others are put out."""
    client, may_be_changed = session.client, False
    try:
        user = await _check_old(context, session, old)
        if context.options.require_user_password and not new:
            raise AccountRefusal(
                "This server needs a password for each user.", ReasonCode.PASSWORD_NEEDED
            )
        record = await context.passwords.hash(new, address=client.address)
        may_be_changed = True
        await context.accounts.replace(user, record)
    except TooBusy:
        raise TemporaryRefusal(
            "The server is busy with other log-ins; try again soon.", ReasonCode.BUSY
        ) from None
    except CryptoError as error:
        raise AccountRefusal(
            f"This password cannot be used: {error}.", ReasonCode.INVALID_ARGUMENT
        ) from None
    except Exception:
        may_be_changed = False
        raise
    finally:
        # Also where this is cancelled: the change may be made by then.
        if may_be_changed:
            context.services.start_soon(put_others_out, context, session, client)
    return Response("The password is changed.")


async def _check_old(context: ServerContext, session: Session, old: str) -> UserRecord:
    """Return the record of a user who knows their password; a wrong one counts as at a log-in.

    Raises:
        AccountRefusal: They do not, or they have no password here.
        CryptoError: It cannot be checked.
        TooBusy: It cannot be checked now.
    """
    name, address = session.username, session.client.address
    log_in = LogIn(username=name, password=old, invite_code="")
    if session.is_admin:
        raise AccountRefusal(
            "The admin's password is the one that the server was started with; start it with "
            "another one.",
            ReasonCode.INVALID_ARGUMENT,
        )
    user = await context.accounts.find(log_in, trusted=False, address=address)
    if not isinstance(user, UserRecord):
        raise changed(name, None)
    if await context.passwords.verify(log_in, user, address) is None:
        await context.accounts.note_failure(name, address)
        raise AccountRefusal("The old password is not right.", ReasonCode.WRONG_PASSWORD)
    return user

"""The requests of users about their own accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from pgnet_trio.codec import decode_json, encode_json
from pgnet_trio.errors import CryptoError
from pgnet_trio.messages import Request, Response
from pgnet_trio.protocol.events import LogIn
from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.account_refusals import (
    AccountRefusal,
    busy_with_others,
    changed,
)
from pgnet_trio.server.cluster.moderation_records import MAX_PROFILE, Profile
from pgnet_trio.server.password_checks import TooBusy
from pgnet_trio.server.refusals import refused
from pgnet_trio.server.request_table import RequestTable
from pgnet_trio.server.users import put_others_out
from pgnet_trio.storage.interface import UserRecord

if TYPE_CHECKING:
    from pgnet_trio.server.context import ServerContext
    from pgnet_trio.server.sessions.session import Session

__all__ = ["ACCOUNT_REQUESTS"]

ACCOUNT_REQUESTS = RequestTable()
"""The requests, for whoever carries out requests."""

MAX_VERSION = 2**53
"""No profile is saved that often."""

_no_data: dict[str, Any] = {}


@ACCOUNT_REQUESTS.request(Request.CHANGE_PASSWORD, old_password="", new_password="")
async def _change_password(
    context: ServerContext, session: Session, old_password: str, new_password: str
) -> Response:
    """Replace a user's password, if they know the old one; all others are put out."""
    client, may_be_changed = session.client, False
    try:
        user = await _check_old(context, session, old_password)
        if not new_password:
            # It is more likely to have been left out than to be meant.
            raise AccountRefusal(
                "Give a new password: without one, anybody could log in as you.",
                ReasonCode.PASSWORD_NEEDED,
            )
        record = await context.passwords.hash(new_password, address=client.address)
        may_be_changed = True
        await context.accounts.replace(user, record)
    except TooBusy:
        raise busy_with_others() from None
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


@ACCOUNT_REQUESTS.request(Request.READ_PROFILE)
async def _read_profile(context: ServerContext, session: Session) -> Response:
    profile = await context.community.profile(session.username)
    return Response("Your profile.", _shown(profile))


@ACCOUNT_REQUESTS.request(Request.WRITE_PROFILE, data=_no_data, version=0)
async def _write_profile(
    context: ServerContext, session: Session, data: dict[str, Any], version: int
) -> Response:
    """Save a user's profile, if nobody has saved a newer one than they know."""
    text = encode_json(data)
    size = len(text.encode())
    if size > MAX_PROFILE or not 0 <= version < MAX_VERSION:
        await trio.lowlevel.checkpoint()
        return refused(
            f"A profile takes at most {MAX_PROFILE:,} bytes as JSON, and this one {size:,}."
            if size > MAX_PROFILE
            else f"The argument 'version' has to be one that was read, or 0; it came as {version}.",
            ReasonCode.INVALID_ARGUMENT,
        )
    saved = await context.community.write_profile(session.username, text, version)
    if saved != Profile(version + 1, text):
        return refused(
            f"Your profile was saved by another program meanwhile: it is of version "
            f"{saved.version}, and not {version}.",
            ReasonCode.NEWER_PROFILE,
            _shown(saved),
        )
    return Response("Your profile is saved.", {"version": saved.version})


def _shown(profile: Profile) -> dict[str, Any]:
    data = decode_json(profile.data, dict) if profile.data else {}
    return {"version": profile.version, "data": data}


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

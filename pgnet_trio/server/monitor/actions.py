"""What whoever runs a server can do from its monitor. Each stands in the audit log and in the log.

An action is a POST of JSON by somebody who knows the token for doing something; see `access`.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import trio

from pgnet_trio.codec import decode_json
from pgnet_trio.errors import CodecError, PGNetError, StorageError
from pgnet_trio.foreign_text import one_line
from pgnet_trio.protocol.events import MAX_REASON
from pgnet_trio.server.admin_requests import destroy_game
from pgnet_trio.server.banning import ban, check_ban, subject_of, unban
from pgnet_trio.server.cluster.errors import EngineError
from pgnet_trio.server.moderation.audit import noting
from pgnet_trio.server.node.users import NotNow
from pgnet_trio.server.refusals import RoomClosed
from pgnet_trio.server.users import DEFAULT_REASON, MAX_ANNOUNCEMENT, announce, kick

if TYPE_CHECKING:
    from pgnet_trio.server.context import ServerContext

__all__ = ["ACTIONS", "ActionRefused", "Done", "carry_out"]

logger = logging.getLogger("pgnet_trio.server")

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")

ModelT = TypeVar("ModelT")

Carry = Callable[["ServerContext", Any], Awaitable["str | Done"]]

ACTIONS: dict[str, tuple[type, Carry]] = {}
"""The actions by name: what comes with them, and what carries them out."""


@attrs.frozen
class Done:
    """What was done.

    Attributes:
        text: What, as a sentence.
        then: What is done as soon as the page has been told; None for nothing.
    """

    text: str
    then: Callable[[], None] | None = None


class ActionRefused(PGNetError):
    """An action was not carried out; the message says why."""


def _action(
    name: str, model: type[ModelT]
) -> Callable[[Callable[[ServerContext, ModelT], Awaitable[str | Done]]], object]:
    def note(function: Callable[[ServerContext, ModelT], Awaitable[str | Done]]) -> object:
        ACTIONS[name] = model, function
        return function

    return note


async def carry_out(context: ServerContext, name: str, body: bytes, address: str) -> Done:
    """Carry out an action, and note it in the audit log.

    Args:
        context: What the server's tasks share.
        name: One of `ACTIONS`.
        body: What came with it, as JSON.
        address: Where it came from.

    Returns:
        What was done.

    Raises:
        ActionRefused: It was not carried out.
    """
    await trio.lowlevel.checkpoint()
    if name not in ACTIONS:
        raise ActionRefused(f"there is no action {name[:60]!r}; there are: {', '.join(ACTIONS)}")
    model, function = ACTIONS[name]
    asked: Any
    try:
        asked = decode_json(body.decode(), model)
    except (CodecError, UnicodeDecodeError) as error:
        raise ActionRefused(str(error)) from None
    try:
        async with noting(context, f"monitor {address}", name, attrs.asdict(asked)) as deed:
            outcome = await function(context, asked)
            done = Done(outcome) if isinstance(outcome, str) else outcome
            logger.info("By the monitor, from %s: %s", one_line(address), one_line(done.text))
            deed.done = True
    except (NotNow, EngineError, StorageError, RoomClosed, ValueError, CodecError) as error:
        raise ActionRefused(str(error)) from None
    return done


@attrs.frozen
class Kick:
    """Puts a user out, who may come back."""

    username: str
    reason: str = ""


@_action("kick", Kick)
async def _kick(context: ServerContext, asked: Kick) -> str:
    _check_length("reason", asked.reason, MAX_REASON)
    if not await kick(context, asked.username, asked.reason or DEFAULT_REASON):
        raise ActionRefused(f"{asked.username[:60]!r} is not logged in.")
    return f"{asked.username} is kicked."


@attrs.frozen
class Ban:
    """Puts a user out, who may not come back for so many seconds; 0 for ever."""

    username: str
    reason: str = ""
    seconds: int = 0


@_action("ban", Ban)
async def _ban(context: ServerContext, asked: Ban) -> str:
    check_ban(asked.reason, asked.seconds)
    subject = subject_of(asked.username, "")
    by = "monitor"
    problem = await ban(context, subject, reason=asked.reason, seconds=asked.seconds, by=by)
    if problem is not None:
        raise ActionRefused(problem)
    return f"{asked.username} is banned."


@attrs.frozen
class Unban:
    """Ends the ban of a user, or of a range of addresses."""

    username: str = ""
    network: str = ""


@_action("unban", Unban)
async def _unban(context: ServerContext, asked: Unban) -> str:
    subject = subject_of(asked.username, asked.network)
    whom = asked.username or asked.network
    if not await unban(context, subject):
        raise ActionRefused(f"{whom[:60]!r} is not banned.")
    return f"{whom} is not banned any more."


@attrs.frozen
class Announce:
    """Tells all users something, or those at one table."""

    text: str
    table: str = ""


@_action("announce", Announce)
async def _announce(context: ServerContext, asked: Announce) -> str:
    if not asked.text.strip():
        raise ActionRefused("text: expected what to say, got nothing")
    _check_length("text", asked.text, MAX_ANNOUNCEMENT)
    if asked.table and context.table(asked.table) is None:
        raise ActionRefused(f"There is no table {asked.table[:60]!r} here.")
    await announce(context, asked.text, asked.table)
    return f"Announced{f' at {asked.table}' if asked.table else ''}: {asked.text}"


@attrs.frozen
class Table:
    """A table."""

    table: str


@_action("close", Table)
async def _close(context: ServerContext, asked: Table) -> str:
    if not await destroy_game(context, asked.table, "The game was closed by the host."):
        raise ActionRefused(f"There is no table {asked.table[:60]!r} here.")
    return f"The table {asked.table!r} is closed."


@_action("save", Table)
async def _save(context: ServerContext, asked: Table) -> str:
    if not context.saves.enabled:
        raise ActionRefused("This server has no save file.")
    if not await context.games.save_now(context.canonical(asked.table)):
        raise ActionRefused(f"There is no table {asked.table[:60]!r} here that is saved.")
    return f"The table {asked.table!r} is saved."


@attrs.frozen
class Level:
    """What is logged."""

    level: str


@_action("log-level", Level)
async def _log_level(context: ServerContext, asked: Level) -> str:
    await trio.lowlevel.checkpoint()
    if asked.level not in LEVELS:
        raise ActionRefused(f"level: expected one of {', '.join(LEVELS)}, got {asked.level[:20]!r}")
    logging.getLogger("pgnet_trio").setLevel(asked.level)
    return f"The log has {asked.level} and above."


@attrs.frozen
class Nothing:
    """Nothing comes with it."""


@_action("drain", Nothing)
async def _drain(context: ServerContext, asked: Nothing) -> Done:
    await trio.lowlevel.checkpoint()
    request = functools.partial(context.shutdown.request, 0, restarting=True)
    if context.cluster is None:
        return Done("The server saves its games and ends; clients wait until it is back.", request)
    return Done("The server gives its games to the others, and ends.", request)


@_action("shutdown", Nothing)
async def _shutdown(context: ServerContext, asked: Nothing) -> Done:
    await trio.lowlevel.checkpoint()
    return Done("The server shuts down.", functools.partial(context.shutdown.request, 0))


def _check_length(name: str, text: str, most: int) -> None:
    if len(text) > most:
        raise ActionRefused(f"{name}: expected at most {most:,} characters, got {len(text):,}")

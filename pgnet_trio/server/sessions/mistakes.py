"""In development mode, a game's mistake is shown in full to the client that caused it."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Protocol

from pgnet_trio.author_lines import LIBRARIES
from pgnet_trio.errors import bare
from pgnet_trio.foreign_text import printable

if TYPE_CHECKING:
    from pgnet_trio.messages import Response
    from pgnet_trio.server.room.player import Sender

__all__ = ["MAX_TRACEBACK", "CauseOf", "MistakeSender", "describe"]

MAX_TRACEBACK = 16_000
"""Characters of a traceback that a client is shown."""

_CUT = "\n[...]\n"


class CauseOf(Protocol):
    """Knows what games have raised."""

    def __call__(self, refusal: str, /, *, unasked: bool = False) -> BaseException | None:
        """Return the error behind what a user is told.

        Args:
            refusal: What they are told.
            unasked: Whether it is not the answer to a request of theirs.
        """


class MistakeSender:
    """Sends as another sender does, with the traceback of what the game has raised.

    Args:
        sender: The other one.
        cause_of: Knows what games have raised.
        is_local: Whether the client is a program on this machine, with nobody in between.

    Attributes:
        answers_in_order: As of the other one.
        takes_pushes: As of the other one.
        is_local: As the argument; another connection of the client may be another one.
    """

    def __init__(self, sender: Sender, cause_of: CauseOf, *, is_local: bool) -> None:
        self._sender = sender
        self._cause_of = cause_of
        self.is_local = is_local
        self.answers_in_order = sender.answers_in_order
        self.takes_pushes = sender.takes_pushes
        # What has nothing to do with mistakes.
        self.enter_game = sender.enter_game
        self.push = sender.push
        self.show = sender.show
        self.mark = sender.mark
        self.ask = sender.ask
        self.withdraw = sender.withdraw
        self.tell_search = sender.tell_search

    @property
    def takes_player_lists(self) -> bool:
        """Whether the client takes the players as a list, and not as a map."""
        return self._sender.takes_player_lists

    def respond(self, request_id: int, response: Response) -> bool:
        """Answer a request; return whether there is something to write now."""
        if response.status:
            response.message = self._explain(response.message, unasked=False)
        return self._sender.respond(request_id, response)

    def exit_game(self, reason: str, message: str, time: float) -> None:
        """Tell the client that its user is in no game any more."""
        self._sender.exit_game(reason, self._explain(message, unasked=True), time)

    def _explain(self, text: str, *, unasked: bool) -> str:
        error = self._cause_of(text, unasked=unasked) if self.is_local else None
        return text if error is None else f"{text}\n\n{describe(error)}"


def describe(error: BaseException) -> str:
    """Return an error with its traceback, from the first line of the author's on."""
    error = bare(error)
    where = error.__traceback__
    while where is not None and where.tb_frame.f_code.co_filename.startswith(LIBRARIES):
        where = where.tb_next
    lines = traceback.format_exception(type(error), error, where or error.__traceback__)
    text = printable("".join(lines)).rstrip()
    if len(text) <= MAX_TRACEBACK:
        return text
    half = (MAX_TRACEBACK - len(_CUT)) // 2
    return f"{text[:half]}{_CUT}{text[-half:]}"

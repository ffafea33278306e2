"""A session that begins with nothing, because it may go to another server.

First it is held: what it has begun with comes to its end, and the rest waits. Once it is at rest it
is packed up, in one step, and what its client says from then on is kept. It ends with
`Session.moved` where the session is another server's, and with `Session.go_on` where it is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import trio

from pgnet_trio.protocol.events import QuestionAnswered
from pgnet_trio.server.sessions.packed import PackedSession

if TYPE_CHECKING:
    from pgnet_trio.protocol.events import RequestReceived
    from pgnet_trio.server.sessions.attachment import Attachment
    from pgnet_trio.server.sessions.budget import Budget
    from pgnet_trio.server.sessions.own_requests import OwnRequests
    from pgnet_trio.server.sessions.search import LatestSearch
    from pgnet_trio.server.sessions.sender import LoggedInClient

__all__ = ["HeldSession", "SessionHold"]


class HeldSession(Protocol):
    """What a hold needs of its session. Nothing here waits."""

    username: str
    client: LoggedInClient
    budget: Budget
    announced: tuple[str, ...]
    search: LatestSearch

    @property
    def unanswered(self) -> int:
        """How many requests are not answered yet."""

    @property
    def superseded_tokens(self) -> tuple[bytes, ...]:
        """The resume tokens of earlier clients that it remembers."""

    def close(self) -> None:
        """Begin with nothing of what comes, and count only what the session itself has."""

    def request(self, asked: RequestReceived, /) -> None:
        """Take a request in."""

    def answer_question(self, answered: QuestionAnswered, /) -> None:
        """Take the answer to a question in."""


class SessionHold:
    """Holds one session, and packs it up.

    Args:
        session: The session.
        own_requests: The requests that it carries out itself; this holds them.
        attachment: Its connection, or its wait for one.
    """

    def __init__(
        self, session: HeldSession, own_requests: OwnRequests, attachment: Attachment
    ) -> None:
        self._session = session
        self._own_requests = own_requests
        self._attachment = attachment
        own_requests.is_held = True
        # What has come since it was packed up; None before, and after it is known what became of
        # it.
        self._came: list[RequestReceived | QuestionAnswered] | None = None
        self._settled = trio.Event()

    @property
    def is_packed(self) -> bool:
        """Whether it is on its way, and not known yet whether it arrives."""
        return self._came is not None

    def may_be_packed(self, *, in_own_task: bool) -> bool:
        """Return whether nothing is under way of a user who is in no game.

        Args:
            in_own_task: Whether the session's own task asks: what it has begun with is begun with
                anew at the other server.
        """
        own = self._own_requests
        return self._session.unanswered == len(own.turns) and (in_own_task or not own.is_busy)

    def is_at_rest(self, waiting: int) -> bool:
        """Return whether all requests that are not answered wait.

        Args:
            waiting: How many wait in the room of the user's game.
        """
        own = self._own_requests
        return not own.is_busy and self._session.unanswered == len(own.turns) + waiting

    def pack(self) -> PackedSession:
        """Return what another server needs to go on; what comes from now on is kept, and waits.

        Only for the session of a client that `may_move`. A request that the session's own task
        carries out now is begun with anew at the other server.
        """
        session = self._session
        client = session.client
        delivery = client.delivery
        assert delivery is not None
        # First: it may have something to say to the client, which goes along.
        search = session.search.pack()
        packed = PackedSession(
            session.username,
            client.token,
            session.superseded_tokens,
            client.grace,
            self._attachment.grace_left(client.grace),
            client.address,
            session.budget.limited,
            delivery.export(),
            tuple(turn.hold() for turn in self._own_requests.turns),
            session.announced,
            session.budget.spent,
            search,
        )
        self.stop()
        return packed

    def stop(self) -> None:
        """Keep what comes from now on, and let it wait, as `pack` does."""
        self._came = []
        self._session.close()

    def keep(self, asked: RequestReceived | QuestionAnswered) -> None:
        """Keep what comes while it is not known what becomes of the session; forget it later."""
        if self._came is not None:
            self._came.append(asked)

    def settle(self) -> None:
        """Note that it is known what becomes of the session; forget what has come meanwhile."""
        self._came = None
        self._settled.set()

    async def wait_settled(self) -> None:
        """Wait until it is known whether a session that was packed up has moved."""
        if self.is_packed:
            await self._settled.wait()
        else:
            await trio.lowlevel.checkpoint()

    def release(self) -> None:
        """Let the session go on, with what has come meanwhile: it takes things in again."""
        came = self._came
        self._own_requests.is_held = False
        self.settle()
        for each in came or ():
            if isinstance(each, QuestionAnswered):
                self._session.answer_question(each)
            else:
                self._session.request(each)

"""What a client knows of the game that its user is in: pushes, questions, states, players.

It is a little long: whatever is told of one game ends with that game, which is only seen with all
of it side by side.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import trio

from pgnet_trio import patch
from pgnet_trio.client.feeds import ALL_KINDS, Feed, StateReader
from pgnet_trio.client.game_items import (
    Entered,
    Event,
    GameFeeds,
    Left,
    LostPushes,
    Place,
    StateChanged,
    as_event,
    as_model,
    as_question,
    as_state,
    explained,
    itself,
    one_kind,
)
from pgnet_trio.client.invitations import Invitation, read_invitation
from pgnet_trio.client.limits import (
    MAX_OPEN_QUESTIONS,
    MAX_OPEN_QUESTIONS_SIZE,
    MAX_PLAYERS_SIZE,
    MAX_STATE_SIZE,
    check,
)
from pgnet_trio.client.players import players_size, read_players
from pgnet_trio.client.questions import OpenQuestion, Question
from pgnet_trio.codec import plain
from pgnet_trio.errors import CodecError, PGNetError, ProtocolError
from pgnet_trio.foreign_text import one_line
from pgnet_trio.messages import (
    ANNOUNCEMENT,
    INVITATION,
    PLAYERS,
    SERVER_PREFIX,
    Packet,
    Push,
    Response,
)
from pgnet_trio.protocol.events import (
    ClientEvent,
    GameChanged,
    MomentTold,
    Patched,
    Pushed,
    PushesMissing,
    QuestionAsked,
    StateShown,
    TimeTold,
    Withdrawn,
)
from pgnet_trio.protocol.v2 import features
from pgnet_trio.protocol.v2.envelopes import encode
from pgnet_trio.typed import models_by_name

if TYPE_CHECKING:
    from pgnet_trio.client.callbacks import Hooks
    from pgnet_trio.client.timing import Timing

__all__ = ["GameView", "GameViewOwner"]

logger = logging.getLogger("pgnet_trio.client")

ModelT = TypeVar("ModelT")


class GameViewOwner(Protocol):
    """What a game view needs of the run that it belongs to."""

    @property
    def features(self) -> frozenset[str]:
        """The features of the protocol that are in use."""

    @property
    def last_input(self) -> int:
        """The number of the last input that was made."""

    def call_hook(self, hook: Callable[..., Any] | None, argument: Any, size: int = 0) -> None:
        """Queue the call of an event about so many bytes; None is nothing to call. Never waits."""

    def call_once(self, function: Callable[[], Any]) -> None:
        """Queue the call of a function, unless the same call waits already. Never waits."""

    def request_full_state(self) -> None:
        """Ask for the whole state, since a patch does not fit. Never waits."""

    async def request(self, packet: Packet) -> Response:
        """Send a packet, and return the response."""

    async def answer_question(self, question: int, packet: Packet) -> Response:
        """Answer a question, and return what the game says of it.

        Raises:
            RequestFailed: The game refuses the answer to a question that is open.
        """


class GameView:
    """Takes in what the server tells of a game, and keeps it for those who read it.

    Args:
        hooks: The events to call.
        owner: Makes the calls, and asks the server.
        timing: The time in the game's room.

    Attributes:
        players: The players in the order of joining, and whether each is connected.
        left: How the user got out of the last game; None before that.
        lost_pushes: How many pushes of the game the server has dropped.
        clock: The time in the game's room.
        timing: The same, and of which moment the state is.
        invitations: Those to other games, until somebody reads them.
    """

    def __init__(
        self,
        hooks: Hooks,
        owner: GameViewOwner,
        timing: Timing,
    ) -> None:
        self.players: dict[str, bool] = {}
        self.left: Left | None = None
        self.lost_pushes = 0
        self.timing = timing
        self.clock = timing.clock
        self.invitations: Feed[Invitation] = Feed("invitations", lambda invitation: "")
        self._hooks = hooks
        self._owner = owner
        self._name: str | None = None
        self._last_state: Any = None
        self._events: Feed[Event] | None = None
        self._start_anew()

    @property
    def open_questions(self) -> list[Question[Any]]:
        """The questions that are not answered yet."""
        return [each.question for each in self._open_questions.values()]

    # What the client's program reads.

    # Each iterator raises `SessionLost` when the session is lost; the next one goes on.

    def pushes(self, models: Sequence[type[Any]]) -> AsyncIterator[Any]:
        """Iterate over pushes; see `Client.pushes`."""
        return self._read(models, lambda feeds: feeds.pushes, as_model)

    def questions(self, models: Sequence[type[Any]]) -> AsyncIterator[Question[Any]]:
        """Iterate over questions; see `Client.questions`."""
        return self._read(models, lambda feeds: feeds.questions, as_question)

    def states(self, model: type[ModelT]) -> AsyncIterator[ModelT]:
        """Iterate over states; see `Client.states`."""
        feeds = self._to_read(lambda feeds: feeds.states.end_seen)
        return StateReader(feeds.states, partial(as_state, feeds.place, model))

    def get_state(self, model: type[ModelT]) -> ModelT:
        """Return the latest state; see `Client.get_state`."""
        if not self._now.states.count:
            raise RuntimeError("there is no state: join a game that has a view first")
        return as_state(self._now.place, model, self._now.states.data)

    def explain(self, error: CodecError, what: str, model: Any) -> CodecError:
        """Return an error that says which game sent something that is no such model."""
        return explained(error, what, self._now.place, model)

    async def wait_state(
        self, model: type[ModelT], predicate: Callable[[ModelT], bool] | None
    ) -> tuple[ModelT] | None:
        """Wait until the state is as wanted; return None where it will change no more.

        Raises:
            SessionLost: The session was lost first; the next call waits for what comes after.
        """
        feeds = self._over or self._now
        feed, place, count = feeds.states, feeds.place, 0
        await trio.lowlevel.checkpoint()
        while await feed.next_after(count):
            count = feed.count
            state = as_state(place, model, feed.data)
            if predicate is None or predicate(state):
                return (state,)
        return None

    def events(self, models: Sequence[type[Any]], over: PGNetError | None) -> AsyncIterator[Any]:
        """Iterate over what nobody has read yet, and what happens from now on; see `Client.events`.

        Args:
            models: The models of pushes and questions.
            over: Why nothing more will happen; None where something may.
        """
        by_name = models_by_name(models)
        if self._events is None:
            self._events = Feed("events", one_kind)
            for event, size in (self._over or self._now).unread():
                self._put_event(event, size)
            if self._over is not None and self.left is not None:
                self._put_event(self.left)
            if over is not None:
                self._events.end(over)
        return self._events.read(ALL_KINDS, partial(as_event, Place(self._name), by_name))

    # What the run tells.

    def take(self, event: ClientEvent) -> None:
        """Take in something that the server sent."""
        if self._open_questions:
            self.note_sleep()
        match event:
            case StateShown():
                self._take_state(event.version, event.data, event.size)
            case Patched():
                self._take_patch(event)
            case MomentTold():
                self._take_moment(event)
            case TimeTold():
                if self.timing.take_time(event):
                    self._set_deadlines()
            case Pushed():
                self._take_push(event.push, event.size)
            case PushesMissing():
                self.lost_pushes += event.count
                self._put_event(LostPushes(event.count))
                self._owner.call_hook(self._hooks.on_lost_pushes, event.count)
            case GameChanged():
                self._take_game(event)
            case QuestionAsked():
                self._take_question(event)
            case Withdrawn():
                self.close_question(event.id)

    def tell_current(self, hook: str) -> None:
        """Call an event that the program has only now assigned with what it has missed.

        Args:
            hook: The name of the event.
        """
        if hook == "on_state":
            if self._now.states.count:
                self._owner.call_once(self._show_state)
        elif hook == "on_players":
            if self.players:
                self._show_players()
        elif hook == "on_push":
            for feeds in filter(None, (self._over, self._now)):
                for push, size in feeds.pushes.unread_after(feeds.pushes_told):
                    self._tell_push(feeds, push, size)
        elif hook == "on_question":
            for each in self._open_questions.values():
                if not each.is_told:
                    self._tell_question(each)

    def lose(self, error: PGNetError) -> None:
        """End all readers with an error, and start anew: the server forgot the session."""
        self._leave(error)
        self.timing.end()
        if self._events is not None:
            self._events.end(error)
            self._events = Feed("events", one_kind)

    def end(self, error: PGNetError | None) -> None:
        """Let readers read what is there, and then stop, or raise *error*: the session ended."""
        # The questions stay open: whoever answers hears that the session ended.
        self._end_game(error)
        self.invitations.end(error)
        if self._events is not None:
            self._events.end(error)
        self.players = {}
        self._name = None

    def is_open(self, id: int) -> bool:
        """Return whether the game waits for an answer to this question, as far as it has said."""
        return id in self._open_questions

    # What questions ask for: see `QuestionOwner`.

    def is_withdrawn(self, question: Question[Any]) -> bool:
        """Return whether a question is no longer open, whatever the time is."""
        opened = self._open_questions.get(question.id)
        return opened is None or opened.question is not question

    def note_sleep(self) -> None:
        """Look whether this machine has slept, and so whether deadlines are nearer than before."""
        if self.clock.note_sleep():
            self._set_deadlines()

    def look_at_time(self) -> None:
        """The same, and ask the server what time it is, unless it was asked a few times."""
        self.note_sleep()
        self.timing.look(often=False)

    async def answer_question(self, question: int, packet: Packet) -> Response:
        """Answer a question, and return what the game says of it."""
        return await self._owner.answer_question(question, packet)

    def _set_deadlines(self) -> None:
        for each in self._open_questions.values():
            each.question.scope.deadline = self.clock.local(each.deadline)

    def close_question(self, id: int) -> None:
        """Close a question that is no longer open: nobody reads it, and its scope is cancelled."""
        closed = self._open_questions.pop(id, None)
        if closed is not None:
            self._open_size -= closed.size
            closed.question.scope.cancel()
            self._now.questions.remove(closed.question)

    def _start_anew(self) -> None:
        # Those of a game that has put the user out, until the next game: a program that has not
        # read them to the end yet begins there.
        self._over: GameFeeds | None = None
        self._now = GameFeeds()
        self._open_questions: dict[int, OpenQuestion] = {}
        self._open_size = 0
        self.lost_pushes = 0
        self._state_version = 0
        self._state_size = 0
        self._state_wanted = False
        self.players = {}

    def _to_read(self, is_read: Callable[[GameFeeds], bool]) -> GameFeeds:
        """Return the feeds that a new reader begins with, by whether another has read the end."""
        over = self._over
        return self._now if over is None or is_read(over) else over

    def _read(
        self,
        models: Sequence[type[Any]],
        feed_of: Callable[[GameFeeds], Feed[Any]],
        as_one_of: Callable[[Place, Mapping[str, type[Any]], Any], Any],
    ) -> AsyncIterator[Any]:
        """Return an iterator over a feed, with each item as one of the models, if there are any."""
        by_name = models_by_name(models)
        kinds = frozenset(by_name) or ALL_KINDS
        feeds = self._to_read(lambda feeds: kinds <= feed_of(feeds).end_seen)
        read = partial(as_one_of, feeds.place, by_name) if models else itself
        return feed_of(feeds).read(kinds, read)

    def _end_game(self, error: PGNetError | None) -> None:
        self._now.end(error)
        for each in self._open_questions.values():
            each.question.scope.cancel()

    def _leave(self, error: PGNetError | None) -> None:
        self._end_game(error)
        had_players = bool(self.players)
        self._start_anew()
        if had_players:
            self._owner.call_hook(self._hooks.on_players, {})

    def _be_put_out(self) -> None:
        """Leave a game that the user did not leave: it may be over before anything was read."""
        for id in [*self._open_questions]:
            self.close_question(id)
        over = self._now
        self._leave(None)
        self._over = over

    def _take_game(self, event: GameChanged) -> None:
        if event.name is None:
            self.timing.end()
            if self._name is not None:
                self.left = Left(self._name, event.reason, event.message)
                self._put_event(self.left, event.size)
            if self._name is None or event.reason == "left":
                self._leave(None)
            else:
                self._be_put_out()
        else:
            self.timing.begin(event.time)
            self._over = None
            self._now.place.game = event.name
            self._put_event(Entered(event.name), event.size)
        self._name = event.name

    def _take_state(self, version: int, data: Any, size: int) -> None:
        if size > MAX_STATE_SIZE:
            # Patches may replace each other: their sizes only say when to measure.
            size = len(encode(data))
            check("bytes of a state", size, MAX_STATE_SIZE)
        self._state_size = size
        self._state_version = version
        self._state_wanted = False
        self._now.states.put(data)
        # Kept apart from the feed: when `on_state` is called, the game may be over.
        self._last_state = data
        self.timing.note_state()
        self._put_event(StateChanged())
        if self._hooks.on_state is not None:
            self._owner.call_once(self._show_state)

    def _show_state(self) -> Any:
        hook = self._hooks.on_state
        return None if hook is None else hook(plain(self._last_state))

    def _take_patch(self, event: Patched) -> None:
        if event.base == self._state_version and self._now.states.count:
            size = self._state_size + event.size
            try:
                if event.columns:
                    data = patch.apply_columns(self._now.states.data, event.patch)
                    size += patch.growth(event.patch)
                else:
                    data = patch.apply(self._now.states.data, event.patch)
            except CodecError as error:
                logger.warning("A patch of the state does not fit: %s", one_line(error))
            else:
                self._take_state(event.version, data, size)
                return
        if not self._state_wanted:
            self._state_wanted = True
            self._owner.request_full_state()

    def _take_moment(self, event: MomentTold) -> None:
        states = self._now.states
        # Of a state that did not come, because a patch did not fit, it says nothing.
        if states.count and not self._state_wanted:
            made = self._owner.last_input
            if self.timing.take_moment(event, made, states.data):
                self._set_deadlines()

    def _take_push(self, push: Push, size: int) -> None:
        if push.message.startswith(SERVER_PREFIX):
            self._take_reserved(push, size)
            return
        self._now.pushes.put(push, size)
        self._put_event(push, size)
        if self._hooks.on_push is not None:
            self._tell_push(self._now, push, size)

    def _take_reserved(self, push: Push, size: int) -> None:
        """Take in a push of the server's own; one that is not known means nothing."""
        if push.message == PLAYERS:
            self._take_players(push.payload)
        elif push.message == ANNOUNCEMENT:
            text = push.payload.get("text")
            if not isinstance(text, str):
                raise ProtocolError("an announcement has to have a text")
            self._owner.call_hook(self._hooks.on_announcement, text, size)
        elif push.message == INVITATION:
            invitation = read_invitation(push.payload, self._owner.request)
            self.invitations.put(invitation, size)
            self._owner.call_hook(self._hooks.on_invitation, invitation, size)

    def _tell_push(self, feeds: GameFeeds, push: Push, size: int) -> None:
        feeds.pushes_told = feeds.pushes.count
        self._owner.call_hook(self._hooks.on_push, push, size)

    def _take_players(self, payload: dict[str, Any]) -> None:
        players = {} if payload.get("all") else dict(self.players)
        changes = read_players(payload, as_list=features.PLAYERS in self._owner.features)
        for name, online in changes.items():
            if online is None:
                players.pop(name, None)
            else:
                players[name] = online is True
        if [*players.items()] == [*self.players.items()]:
            # Nothing changed: whoever joined while this client was away has left again.
            return
        check("bytes of a game's players", players_size(players), MAX_PLAYERS_SIZE)
        self.players = players
        self._show_players()

    def _show_players(self) -> None:
        players = dict(self.players)
        self._owner.call_hook(self._hooks.on_players, players, players_size(players))

    def _take_question(self, event: QuestionAsked) -> None:
        deadline = math.inf if event.deadline is None else event.deadline
        is_changed = self.clock.learn(event.time)
        if self.clock.local(deadline) <= trio.current_time() and deadline > event.time:
            # The time would be up before the question came: the room's clock has stood still.
            self.clock.begin(event.time)
            is_changed = True
        if is_changed:
            self._set_deadlines()
        scope = trio.CancelScope(deadline=self.clock.local(deadline))
        question = Question(event.id, event.packet, event.packet, scope, self)
        self.close_question(event.id)
        self._open_questions[event.id] = opened = OpenQuestion(question, deadline, event.size)
        self._open_size += event.size
        check("open questions", len(self._open_questions), MAX_OPEN_QUESTIONS)
        check("bytes of open questions", self._open_size, MAX_OPEN_QUESTIONS_SIZE)
        self._now.questions.put(question, event.size)
        self._put_event(question, event.size)
        if self._hooks.on_question is not None:
            self._tell_question(opened)

    def _tell_question(self, opened: OpenQuestion) -> None:
        opened.is_told = True
        self._owner.call_hook(self._hooks.on_question, opened.question, opened.size)

    def _put_event(self, event: Event, size: int = 0) -> None:
        if self._events is not None:
            self._events.put(event, size)

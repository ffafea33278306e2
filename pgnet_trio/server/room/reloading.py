"""How a game goes on with another class while it is played: from its save, with the same users.

It goes the way of a game that is restarted, in the same room: nobody leaves it, and nobody hears of
it. Until the new class has loaded the save, and has been told who is there, what it raises does no
harm: the game is made again as it was. In a cluster a game moves in another way: see `freezing`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs
import trio

from pgnet_trio.server.refusals import CannotReload

if TYPE_CHECKING:
    from pgnet_trio.game import Game
    from pgnet_trio.server.room.loop import Loop
    from pgnet_trio.server.room.membership import Membership
    from pgnet_trio.server.room.questions import Questions
    from pgnet_trio.server.room.runner import Runner

__all__ = ["Reloader"]

MakeGame = Callable[[str | None], "Game"]


@attrs.define(eq=False)
class Reload:
    """One try to go on with another class.

    Attributes:
        make_game: Makes the game from then on.
        before: Made it until then.
        save_string: What the game was saved as.
        done: Set once it is known what came of it.
        error: Why the game goes on as it was; None where it does not.
    """

    make_game: MakeGame
    before: MakeGame
    save_string: str = ""
    done: trio.Event = attrs.field(factory=trio.Event)
    error: BaseException | None = None


class Reloader:
    """Has a game go on with another class, or as it was.

    Args:
        runner: Has the game and its turns.
        questions: The open questions, which the game is expected to ask again.
        membership: Tells the game who is in it.
        loop: Stops for the game that is made anew.
    """

    def __init__(
        self, runner: Runner, questions: Questions, membership: Membership, loop: Loop
    ) -> None:
        self._runner = runner
        self._instance = runner.instance
        self._queue = runner.queue
        self._questions = questions
        self._membership = membership
        self._loop = loop
        # From the end of the turn in which the game was saved until it is known what came of it.
        self._reload: Reload | None = None

    async def reload(self, make_game: MakeGame) -> None:
        """Go on with what *make_game* makes of the game's save, between two turns.

        Cancellation leaves the game as it is, or comes after all of it.

        Args:
            make_game: Makes the game, from a save string; as it will be made from now on.

        Raises:
            CannotReload: The game goes on as it was; its cause is what the game raised.
            RoomClosed: The game ended before that.
        """
        reload = Reload(make_game, self._instance.make_game)
        given_up = False

        def begin() -> None:
            if not given_up:
                self._begin(reload)

        try:
            await self._queue.wait_for(self._queue.post(begin))
        finally:
            given_up = True
        with trio.CancelScope(shield=True):
            await reload.done.wait()
        if reload.error is not None:
            if isinstance(reload.error, CannotReload):
                raise reload.error
            raise CannotReload(f"it raised {type(reload.error).__name__}") from reload.error

    # What the room does.

    def take_over(self) -> bool:
        """Have the new class make the game, which has stopped; return whether that is to be."""
        reload = self._reload
        if reload is None or reload.done.is_set():
            return False
        self._prepare(reload, reload.make_game)
        return True

    def note_success(self) -> None:
        """Note that the game has been made, and has been told who is there."""
        self._settle()

    def take_back(self, error: BaseException) -> bool:
        """Have the game made as it was, if it has raised too early; return whether that is so."""
        reload = self._reload
        if reload is None or not isinstance(error, Exception):
            return False
        reload.error = error
        self._settle()
        self._loop.take_rematch()
        self._prepare(reload, reload.before)
        return True

    def end(self) -> None:
        """Note that the room has ended."""
        if self._reload is not None:
            self._reload.error = CannotReload("it has ended meanwhile")
            self._settle()

    def _begin(self, reload: Reload) -> None:
        """Save the game, and stop it after this turn."""
        try:
            self._instance.update_save_string()
        except Exception as error:
            reload.error = error
            reload.done.set()
            return
        reload.save_string = self._instance.save_string or ""
        if not reload.save_string:
            reload.error = CannotReload("it is not saved, since it is not persistent")
            reload.done.set()
            return
        self._reload = reload
        # Before the scripts are cancelled, who would withdraw them.
        self._questions.expect_again()
        self._loop.stop_for_rematch()

    def _prepare(self, reload: Reload, make_game: MakeGame) -> None:
        runner, locked = self._runner, self._membership.locked
        runner.publisher.pushes.clear()
        runner.deferred.clear()
        self._membership.forget_game()
        self._membership.locked = locked
        self._instance.make_game = make_game
        self._instance.save_string = reload.save_string

    def _settle(self) -> None:
        reload, self._reload = self._reload, None
        if reload is not None:
            reload.done.set()

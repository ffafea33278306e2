"""The directory of games: which there are, and who is in which."""

from __future__ import annotations

import hmac
import time
from bisect import bisect_right, insort
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import attrs

from pgnet_trio.crypto import normalize_password
from pgnet_trio.messages import is_gamename_allowed
from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.refusals import CodedRefusal

__all__ = [
    "GameEntry",
    "Lobby",
    "LobbyRefusal",
    "WrongPassword",
    "check_password",
    "why_not_let_in",
]

RoomT = TypeVar("RoomT")


class LobbyRefusal(CodedRefusal):
    """A game cannot be created or joined; the message is for the user."""


class WrongPassword(LobbyRefusal):
    """A game has another password than the one that was given."""


@attrs.define(eq=False)
class GameEntry(Generic[RoomT]):
    """One game in the lobby.

    Attributes:
        name: The game's name.
        password: What joining takes; empty for nothing.
        room: Who runs the game.
        users: Who is in it, spectators too, in the order of joining.
        spectators: Which of them only watch.
        stays: Whether it goes on while nobody is in it, although it is not persistent.
        over: Whether it has ended in good order, so that it is saved no more.
        empty_since: When its last user left, or it was made, in seconds since 1970; None while
            somebody is in it.
        described: What the directory showed of it last, and the bytes that this takes.
    """

    name: str
    password: str = attrs.field(repr=False)
    room: RoomT
    users: list[str] = attrs.field(factory=list)
    spectators: set[str] = attrs.field(factory=set)
    stays: bool = False
    over: bool = False
    empty_since: int | None = None
    described: tuple[dict[str, Any], float] | None = None

    @property
    def player_count(self) -> int:
        """How many of the users play."""
        return len(self.users) - len(self.spectators)


class Lobby(Generic[RoomT]):
    """Owns the games' names, who is in which game, and who has created which.

    A user is in one game at most.

    Args:
        now: Returns the time in whole seconds since 1970.
    """

    def __init__(self, now: Callable[[], int] = lambda: int(time.time())) -> None:
        self._now = now
        self._games: dict[str, GameEntry[RoomT]] = {}
        self._game_of: dict[str, GameEntry[RoomT]] = {}
        # In order, so that the directory can be read in parts.
        self._names: list[str] = []
        self._creators: dict[str, str] = {}
        self._created: dict[str, int] = {}

    def __iter__(self) -> Iterator[GameEntry[RoomT]]:
        return iter(list(self._games.values()))

    def __len__(self) -> int:
        return len(self._games)

    def after(self, name: str) -> Iterator[GameEntry[RoomT]]:
        """Iterate over the games by name, from the one after *name*; nothing may await meanwhile.

        Args:
            name: A game's name, or any text; empty for all games.
        """
        names = self._names
        for place in range(bisect_right(names, name), len(names)):
            yield self._games[names[place]]

    def get(self, name: str) -> GameEntry[RoomT] | None:
        """Return the game of this name, or None."""
        return self._games.get(name)

    def game_of(self, username: str) -> GameEntry[RoomT] | None:
        """Return the game that a user is in, or None."""
        return self._game_of.get(username)

    def check_new(self, name: str) -> None:
        """Check that a game of this name can be created.

        Raises:
            LobbyRefusal: The name is not allowed, or taken.
        """
        if not name:
            raise LobbyRefusal(
                "A game needs a name; give one as 'name'.", ReasonCode.NAME_NOT_ALLOWED
            )
        if name in self._games:
            raise LobbyRefusal(
                f"There is a game {name!r} already; join it, or take another name.",
                ReasonCode.NAME_TAKEN,
            )
        if not is_gamename_allowed(name):
            raise LobbyRefusal(
                f"A game cannot be named {name[:60]!r}: names have 3 to 50 letters, digits or "
                "inner spaces, and no 'admin' in them.",
                ReasonCode.NAME_NOT_ALLOWED,
            )

    def check_free(self, username: str) -> None:
        """Check that a user is in no game.

        Raises:
            LobbyRefusal: They are in one.
        """
        entry = self._game_of.get(username)
        if entry is not None:
            raise LobbyRefusal(
                f"You are in the game {entry.name!r}; leave it first.", ReasonCode.ALREADY_IN_GAME
            )

    def add(
        self, name: str, password: str, room: RoomT, *, empty_since: int | None = None
    ) -> GameEntry[RoomT]:
        """Put a game in the directory; its name must be free.

        Args:
            name: The game's name.
            password: What joining takes.
            room: Who runs it.
            empty_since: When its last user left, in seconds since 1970; None for now.
        """
        if name in self._games:
            raise ValueError(f"there is a game {name!r} already")
        since = self._now() if empty_since is None else empty_since
        entry = self._games[name] = GameEntry(name, password, room, empty_since=since)
        insort(self._names, name)
        return entry

    def created_by(self, username: str) -> int:
        """Return how many games a user has created that are not over."""
        return self._created.get(username, 0)

    def creator_of(self, name: str) -> str | None:
        """Return as whose game one counts; None for nobody's."""
        return self._creators.get(name)

    def note_creator(self, name: str, username: str) -> None:
        """Let a game count as one of a user's, until `forget_creator`."""
        self._creators[name] = username
        self._created[username] = self.created_by(username) + 1

    def forget_creator(self, name: str) -> None:
        """Let a game that is over count as nobody's. Idempotent."""
        username = self._creators.pop(name, None)
        if username is not None:
            self._created[username] -= 1
            if not self._created[username]:
                del self._created[username]

    def join(
        self, username: str, name: str, password: str, *, spectate: bool = False
    ) -> GameEntry[RoomT]:
        """Put a user into a game.

        Args:
            username: Who.
            name: The game's name.
            password: What they give as its password.
            spectate: Whether they only watch.

        Raises:
            LobbyRefusal: They are in a game, or there is no such game.
            WrongPassword: The password is wrong.
        """
        self.check_free(username)
        entry = self._games.get(name)
        if entry is None:
            raise LobbyRefusal(f"There is no game {name[:60]!r}.", ReasonCode.UNKNOWN_GAME)
        check_password(name, entry.password, password)
        self.seat(username, entry, spectate=spectate)
        return entry

    def seat(self, username: str, entry: GameEntry[RoomT], *, spectate: bool) -> None:
        """Put a user who is in no game into one, without a question."""
        entry.users.append(username)
        entry.empty_since = None
        if spectate:
            entry.spectators.add(username)
        self._game_of[username] = entry

    def leave(self, username: str) -> GameEntry[RoomT] | None:
        """Take a user out of their game, and return that game; None where they were in none."""
        entry = self._game_of.pop(username, None)
        if entry is not None:
            entry.users.remove(username)
            entry.spectators.discard(username)
            if not entry.users:
                entry.empty_since = self._now()
        return entry

    def remove(self, entry: GameEntry[RoomT]) -> list[str]:
        """Take a game out of the directory, and return the users who were in it. Idempotent."""
        if self._games.get(entry.name) is entry:
            del self._games[entry.name]
            del self._names[bisect_right(self._names, entry.name) - 1]
        users, entry.users = entry.users, []
        entry.spectators.clear()
        for username in users:
            del self._game_of[username]
        return users


def check_password(name: str, password: str, given: str) -> None:
    """Check what a user gives as a game's password, in constant time.

    Characters that may be written in two ways are the same in both.

    Raises:
        WrongPassword: It is another one.
    """
    # An old save file may hold text that is no valid Unicode.
    one, other = (
        normalize_password(text).encode("utf-8", "surrogatepass") for text in (password, given)
    )
    if not hmac.compare_digest(one, other):
        raise WrongPassword(why_not_let_in(name, given), ReasonCode.WRONG_PASSWORD)


def why_not_let_in(name: str, given: str | None) -> str:
    """Return what a user reads who has not given the password of a game; None is unheard."""
    if given == "":
        return f"The game {name!r} has a password, and none was given."
    return f"The password for the game {name!r} is not right."

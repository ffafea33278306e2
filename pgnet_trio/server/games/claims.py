"""Who may make, restore or find a game here: where one server becomes one of many."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol, TypeAlias

import attrs
import trio

from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.games.lobby import WrongPassword, check_password
from pgnet_trio.storage.interface import SavedGame

if TYPE_CHECKING:
    from pgnet_trio.server.games.saves import Saves

__all__ = [
    "Claim",
    "Elsewhere",
    "Here",
    "LocalClaims",
    "Make",
    "Nowhere",
    "Restore",
    "RoomClaims",
    "WrongPasswordElsewhere",
]


@attrs.frozen
class Make:
    """There is no such game: it is the claimer's to make."""


@attrs.frozen
class Restore:
    """The game is saved: it is the claimer's to go on with.

    Attributes:
        game: The save.
    """

    game: SavedGame


@attrs.frozen
class Elsewhere:
    """Another server has the game, or decides what becomes of it.

    Attributes:
        address: Where clients find that server.
        send: Sends a user there, with the request that is carried out for them now; see
            `pgnet_trio.server.moving_session.moving_session`. What it raises, the user is refused
            with. None where nobody can be sent.
        is_there: Whether the game is known to be there. Where it is not, this server takes no
            games any more, and that one makes it where there is none.
        give: Sends a user there of whom no request is carried out now, like *send*.
    """

    address: str
    send: Callable[[str], Awaitable[None]] | None = None
    is_there: bool = True
    give: Callable[[str], Awaitable[None]] | None = None


@attrs.frozen
class Here:
    """The game has come here meanwhile, and is in the lobby."""


@attrs.frozen
class Nowhere:
    """There is no such game, and none was to be made."""


Claim: TypeAlias = Make | Restore | Elsewhere | Here | Nowhere
"""What became of a claim."""


class WrongPasswordElsewhere(WrongPassword):
    """A game at another server has another password than the one that was given.

    Args:
        text: What the user reads.
        claim: Where the game is, for a user who was invited there and needs no password.
    """

    def __init__(self, text: str, claim: Elsewhere) -> None:
        super().__init__(text, ReasonCode.WRONG_PASSWORD)
        self.claim = claim


class RoomClaims(Protocol):
    """Says of a game that is not in the lobby what is to become of it."""

    async def claim(
        self,
        name: str,
        guess: str | None,
        *,
        make: bool,
        password: str = "",
        unlisted: bool = False,
    ) -> Claim:
        """Claim a game; whoever asks holds its name (see `Reservations`).

        Cancellation claims nothing.

        Args:
            name: The game's name.
            guess: What the user gives as its password; None for a user who is not heard any more.
            make: Whether to make it where there is none.
            password: What joining takes then.
            unlisted: Whether the directory leaves it out then.

        Raises:
            CodedRefusal: It cannot be found out now what becomes of the game.
            WrongPassword: The game has another one; nothing was claimed.
        """

    async def release(self, name: str) -> None:
        """Give up a claim of which no game in the lobby came; idempotent."""

    async def claim_queue(self, queue: str) -> Elsewhere | None:
        """Return at which other server those meet who look for a game in a queue; None for here.

        Raises:
            CodedRefusal: It cannot be found out now.
        """


class LocalClaims:
    """The claims of a server that shares its games with no other: what is saved is its own.

    Args:
        saves: Knows the saved games.
    """

    def __init__(self, saves: Saves) -> None:
        self._saves = saves

    async def claim(
        self,
        name: str,
        guess: str | None,
        *,
        make: bool,
        password: str = "",
        unlisted: bool = False,
    ) -> Claim:
        """Claim a game; see `RoomClaims.claim`."""
        await trio.lowlevel.checkpoint()
        saved = self._saves.saved_game(name)
        if saved is None:
            return Make() if make else Nowhere()
        # Nobody has a game loaded who may not join it.
        if guess is not None:
            check_password(name, saved.password, guess)
        elif saved.password:
            raise WrongPassword(f"The game {name!r} has a password.", ReasonCode.WRONG_PASSWORD)
        return Restore(saved)

    async def release(self, name: str) -> None:
        """Do nothing: nobody else would get the game."""
        await trio.lowlevel.checkpoint()

    async def claim_queue(self, queue: str) -> Elsewhere | None:
        """Return None: there is no other server."""
        await trio.lowlevel.checkpoint()
        return None

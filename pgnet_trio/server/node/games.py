"""The games of one node as the engine knows them: claimed, saved, and let go of.

To the parts of a server that save games it is the save file, and to those that make games it says
what becomes of a name. Every write names the epoch in which the game is the node's.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs
import trio

from pgnet_trio.crypto import normalize_password
from pgnet_trio.errors import StorageError
from pgnet_trio.foreign_text import one_line
from pgnet_trio.messages import is_gamename_allowed
from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.cluster.errors import (
    EngineError,
    EngineUnavailable,
    Fenced,
    OutcomeUnknown,
    SaveDamaged,
)
from pgnet_trio.server.cluster.node import RETRY, LocalNode
from pgnet_trio.server.cluster.records import (
    Absent,
    Created,
    Found,
    NewRoom,
    Node,
    Restored,
    RoomSave,
)
from pgnet_trio.server.cluster.records import WrongPassword as OtherPassword
from pgnet_trio.server.cluster.versions import NodeVersion
from pgnet_trio.server.games.claims import (
    Claim,
    Elsewhere,
    Here,
    Make,
    Nowhere,
    Restore,
    WrongPasswordElsewhere,
)
from pgnet_trio.server.games.lobby import LobbyRefusal, WrongPassword, why_not_let_in
from pgnet_trio.server.games.save_format import too_new, version_of
from pgnet_trio.server.node.shares import takers
from pgnet_trio.server.refusals import RoomClosed
from pgnet_trio.storage.interface import SavedGame

if TYPE_CHECKING:
    from pgnet_trio.server.cluster.engine import Engine
    from pgnet_trio.server.cluster.records import Node

__all__ = ["UNLISTED", "ClusterGames", "Described", "SendUser", "info_of", "shown_info"]

logger = logging.getLogger("pgnet_trio.server")

NOT_NOW = "The servers cannot agree on this game now; try again in a moment."
NO_QUEUE = "The servers cannot agree on this queue now; try again in a moment."

ENDS = "The server of this game is about to end; try again in a moment."

OTHER_VERSION = (
    "This game is at a server of another version; the servers are being upgraded. Try again later."
)
UNLISTED = '{"unlisted":true}'
"""What the others are shown of a game that is in no list; see `info_of`."""

Described = tuple[int, str]
"""How many users are in a game, and what the list of games says of it, from `info_of`."""


SendUser = Callable[[str, int, str, bool], Awaitable[None]]
"""Sends a user to another node, by its number and address. The last argument says whether this is
the task of the user's session, which carries out a request: that one goes along."""


@attrs.define(eq=False)
class _Leaving:
    """A game that is not here any more, of which the engine has still to hear."""

    epoch: int
    is_over: bool
    done: trio.Event = attrs.field(factory=trio.Event)


class ClusterGames:
    """Claims, saves and ends the games of a node.

    Args:
        node: The node.
        engine: What it shares.
        describe: Returns what others are shown of a game; None where it is not here.
        give_up: Ends a game here that another node has by now.
        send: Sends a user to another node.
    """

    has_store = True
    hangs = False
    keeps_tokens = True

    def __init__(
        self,
        node: LocalNode,
        engine: Engine,
        describe: Callable[[str], Described | None],
        give_up: Callable[[str], None],
        send: SendUser,
    ) -> None:
        self._node = node
        self._engine = engine
        self._describe = describe
        self._give_up = give_up
        self._send = send
        self._epochs: dict[str, int] = {}
        self._saved: dict[str, SavedGame] = {}
        self._shown: dict[str, tuple[Described, int | None]] = {}
        self._leaving: dict[str, _Leaving] = {}
        self._wanted = trio.Event()

    @property
    def epochs(self) -> Mapping[str, int]:
        """The epochs of the games that are here."""
        return self._epochs

    def has(self, name: str, epoch: int) -> bool:
        """Return whether a game of this epoch is here, or on its way out."""
        leaving = self._leaving.get(name)
        return self._epochs.get(name) == epoch or (leaving is not None and leaving.epoch == epoch)

    def info(self, name: str) -> str:
        """Return what others were last shown of a game beside its users."""
        shown = self._shown.get(name)
        return "" if shown is None else shown[0][1]

    def take(self, name: str, epoch: int, saved: SavedGame | None = None) -> None:
        """Note that a game is here."""
        self._epochs[name] = epoch
        if saved is not None:
            self._saved[name] = saved

    def forget(self, name: str) -> int | None:
        """Note that a game is not here any more, as the engine knows; return its epoch."""
        self._saved.pop(name, None)
        self._shown.pop(name, None)
        return self._epochs.pop(name, None)

    # What becomes of a name; see `pgnet_trio.server.games.claims.RoomClaims`.

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
        while (leaving := self._leaving.get(name)) is not None:
            await leaving.done.wait()
        if make and self._node.draining and (other := await self._find_taker()) is not None:
            # It would have to go there soon in any case.
            return self._elsewhere(other, is_there=False)
        new = None
        if make and is_gamename_allowed(name):
            new = NewRoom(normalize_password(password), UNLISTED if unlisted else "")
        # Nobody guesses this one, so it fits those games only that have none.
        given = "" if guess is None else normalize_password(guess)
        try:
            found = await self._node.claim(name, password=given, new=new)
        except SaveDamaged as error:
            logger.error("A game is not restored: %s", one_line(error))
            raise RoomClosed(str(error), ReasonCode.GAME_FAILED) from None
        except EngineError as error:
            logger.warning("The game %r was not claimed: %s", one_line(name), one_line(error))
            raise LobbyRefusal(NOT_NOW, ReasonCode.BUSY) from None
        if isinstance(found, Created):
            self.take(name, found.epoch)
            return Make()
        if isinstance(found, Restored):
            game = SavedGame(name, found.password, found.data, found.empty_since)
            self.take(name, found.epoch, game)
            problem = too_new(name, found.data, self._node.version.saves)
            return await self._pass_by(name, found.data, problem) if problem else Restore(game)
        if isinstance(found, OtherPassword):
            text = why_not_let_in(name, guess)
            node = found.node
            if node is None or node.id == self._node.id or node.draining:
                raise WrongPassword(text, ReasonCode.WRONG_PASSWORD)
            raise WrongPasswordElsewhere(text, self._elsewhere(node))
        if isinstance(found, Found) and found.node.id == self._node.id:
            return Here()
        if isinstance(found, Found) and found.node.draining:
            raise LobbyRefusal(ENDS, ReasonCode.BUSY)
        if isinstance(found, Found):
            return self._elsewhere(found.node)
        assert isinstance(found, Absent)
        return Nowhere()

    def _elsewhere(self, node: Node, *, is_there: bool = True) -> Elsewhere:
        if not NodeVersion.decode(node.version).reads(self._node.version):
            raise LobbyRefusal(OTHER_VERSION, ReasonCode.BUSY)
        number, address = node.id, node.address
        return Elsewhere(
            address,
            lambda username: self._send(username, number, address, True),
            is_there,
            lambda username: self._send(username, number, address, False),
        )

    async def claim_queue(self, queue: str) -> Elsewhere | None:
        """Return where those meet who look for a game in a queue; see `RoomClaims.claim_queue`."""
        engine, own = self._engine, self._node.id
        try:
            home = await engine.queue_home(queue)
            if home is None:
                taker = await self._find_taker() if self._node.draining else None
                home = await engine.claim_queue(queue, own if taker is None else taker.id)
        except EngineError as error:
            logger.warning("It is not known where a queue is: %s", one_line(error))
            raise LobbyRefusal(NO_QUEUE, ReasonCode.BUSY) from None
        return None if home.id == own else self._elsewhere(home)

    async def _find_taker(self, version: int = 0) -> Node | None:
        """Return the node with the least to do; None where there is none, or that is not known.

        Args:
            version: The version of a save that it has to load.
        """
        try:
            nodes = takers(await self._engine.nodes(), self._node.id, self._engine.lease)
        except EngineError as error:
            logger.warning("The other servers are not known: %s", one_line(error))
            return None
        for node in nodes:
            other = NodeVersion.decode(node.version)
            if other.reads(self._node.version) and other.loads(version):
                return node
        return None

    async def _pass_by(self, name: str, data: str, problem: str) -> Elsewhere:
        """Leave a game to a node that can load it.

        Raises:
            LobbyRefusal: There is none now.
        """
        self.let_go(name, over=False)
        # Until then that node would find it here.
        await self._leaving[name].done.wait()
        taker = await self._find_taker(version_of(data))
        if taker is None:
            logger.error("%s No other server is there that does", one_line(problem))
            raise LobbyRefusal(problem, ReasonCode.GAME_FAILED)
        return self._elsewhere(taker)

    async def release(self, name: str) -> None:
        """Give up a claim of which no game came; see `RoomClaims.release`."""
        await trio.lowlevel.checkpoint()
        self.let_go(name, over=False)

    def let_go(self, name: str, *, over: bool) -> None:
        """Have the engine hear that a game is not here any more. Never waits.

        Args:
            name: The game's name.
            over: Whether its save goes too; otherwise whoever joins it restores it.
        """
        has_save = name in self._saved
        epoch = self.forget(name)
        if epoch is not None:
            self._leaving[name] = _Leaving(epoch, over or not has_save)
            self._wanted.set()

    async def run(self) -> None:
        """Tell the engine of the games that have ended, until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted = trio.Event()
            while self._leaving:
                name, leaving = next(iter(self._leaving.items()))
                try:
                    await self._leave(name, leaving)
                except (EngineUnavailable, OutcomeUnknown) as error:
                    logger.debug("The end of a game is told later: %s", one_line(error))
                    await trio.sleep(RETRY)
                    continue
                del self._leaving[name]
                leaving.done.set()

    async def wait_told(self) -> None:
        """Wait until the engine has heard of all games that are not here any more."""
        await trio.lowlevel.checkpoint()
        for leaving in list(self._leaving.values()):
            await leaving.done.wait()

    async def _leave(self, name: str, leaving: _Leaving) -> None:
        engine, epoch = self._engine, leaving.epoch
        try:
            if leaving.is_over:
                await self._node.settled(
                    lambda operation: engine.end(name, epoch, operation=operation)
                )
            else:
                save = RoomSave(name, epoch)
                await self._node.settled(
                    lambda operation: engine.give_back(save, operation=operation)
                )
        except Fenced:
            logger.debug("The game %r has been taken meanwhile", one_line(name))

    # What is saved; see `pgnet_trio.server.games.saves.GameStore`.

    @property
    def game_count(self) -> int:
        """How many games of this node are saved."""
        return len(self._saved)

    @property
    def game_names(self) -> set[str]:
        """The names of the games of this node that are saved."""
        return set(self._saved)

    def saved_game(self, name: str) -> SavedGame | None:
        """Return the game of this name as it was last saved here; None where it was not."""
        return self._saved.get(name)

    async def save_games(
        self,
        games: dict[str, SavedGame],
        gone: set[str],
        registration: bool,
        tokens: Mapping[bytes, Any],
        *,
        patience: float = 0.0,
    ) -> None:
        """Save the games that have changed, and what others are shown of all of them.

        Args:
            games: The games as they are now; one of them that is not among them stays as it is.
            gone: The names of games that are not saved any more.
            registration: Not for here: the engine has it.
            tokens: The same.
            patience: The same; the engine has its own.

        Raises:
            StorageError: Nothing is known to be written.
        """
        saves = self._saves_of(games, gone)
        if not saves:
            await trio.lowlevel.checkpoint()
            return
        try:
            fenced = await self._engine.save(saves)
        except EngineError as error:
            raise StorageError(f"The database of the cluster takes no saves: {error}") from error
        for save in saves:
            if save.name in fenced:
                if self._epochs.get(save.name) == save.epoch:
                    logger.error("The game %r is at another node by now", one_line(save.name))
                    self._give_up(save.name)
            elif self._epochs.get(save.name) == save.epoch:
                self._shown[save.name] = (save.players, save.info), save.empty_since
                if save.data == "":
                    self._saved.pop(save.name, None)
                elif save.data is not None:
                    self._saved[save.name] = games[save.name]

    def _saves_of(self, games: dict[str, SavedGame], gone: set[str]) -> list[RoomSave]:
        return [
            save
            for name, epoch in list(self._epochs.items())
            for save in [self._save_of(name, epoch, games.get(name), gone)]
            if save is not None
        ]

    def _save_of(
        self, name: str, epoch: int, game: SavedGame | None, gone: set[str]
    ) -> RoomSave | None:
        """Return what is new of a game; None for nothing."""
        described = self._describe(name)
        if described is None and game is None:
            return None
        before, since = self._shown.get(name, ((0, ""), None))
        players, info = described or before
        data = None
        if game is not None and self._saved.get(name) != game:
            data, since = game.data, game.empty_since
        elif game is None and name in gone and name in self._saved:
            data = ""
        if data is None and (players, info) == before:
            return None
        return RoomSave(name, epoch, data, players, info, since)

    async def sync(self) -> None:
        """Do nothing: what the engine has is there for all."""
        await trio.lowlevel.checkpoint()

    def write_from_thread(
        self, games: dict[str, SavedGame], gone: set[str], timeout: float
    ) -> None:
        """Save games from another thread; the engine has a patience of its own.

        Raises:
            StorageError: They may not be written, or some are another node's by now.
        """
        saves = self._saves_of(games, gone)
        try:
            fenced = self._engine.save_from_thread(saves) if saves else frozenset()
        except EngineError as error:
            raise StorageError(f"The database of the cluster takes no saves: {error}") from error
        if fenced:
            names = ", ".join(map(repr, sorted(fenced)))
            raise StorageError(f"Other servers have some of these games by now: {names}")


def info_of(shown: Mapping[str, Any]) -> str:
    """Return what the list of games says of a game beside its name and users, as a text."""
    try:
        return json.dumps(dict(shown), separators=(",", ":"))
    except (TypeError, ValueError, RecursionError):
        # Options may hold bytes.
        return json.dumps({"info": shown.get("info", "")})


def shown_info(info: str) -> dict[str, Any]:
    """Return what `info_of` was given."""
    try:
        shown = json.loads(info) if info else {}
    except (ValueError, RecursionError):
        shown = {}
    return {"info": "", **shown} if isinstance(shown, dict) else {"info": ""}

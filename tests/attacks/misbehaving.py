"""Games that misbehave, one kind for each way and place; only the public API is used.

`Games` is what the server hosts: a game whose name begins with "bad" is of the kind that the
environment variable `ATTACKS_KIND` names, and any other is a `Table`. Whatever holds up the server
ends by itself after `LONGEST` seconds, so that nothing burns on where nobody ends the process.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from typing import Any

import attrs
import trio

from pgnet_trio import Game, Packet, PlayerLeft, Reject, Response, Status, StorageError, on

__all__ = ["KINDS", "SAVED", "Games", "Kind", "Table"]

LONGEST = 60.0
"""Seconds after which what never ends does."""

SHORT = 0.4
"""Seconds for which a game holds up all others at a time, where it ends."""

SAVED = " moves at this table"
"""What stands behind the number in a table's save string, so that it is found in a file."""

ABSENT = "nobody"
LONE_SURROGATE = "\ud800"


class Table(Game):
    """A game that behaves: it counts, and shows a state of some KiB.

    It may save before it answers, and mind or not mind that this fails.
    """

    persistent = True

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.total = int(save_string.removesuffix(SAVED)) if save_string else 0

    async def handle_game_packet(self, packet: Packet, /) -> Response:
        if packet.message.startswith("add"):
            self.total += 1
        if packet.message == "add and save":
            await self.room.save()
        elif packet.message == "add and save, or not":
            try:
                await self.room.save()
            except StorageError as error:
                self.total -= 1
                return Response(str(error), status=Status.UNEXPECTED)
        return Response("", {"total": self.total})

    def view(self) -> dict[str, Any]:
        board = [[row * column for row in range(30)] for column in range(30)]
        return {"total": self.total, "board": board}

    def get_save_string(self) -> str:
        return f"{self.total}{SAVED}"

    def get_lobby_info(self) -> str:
        return "A table."


class Bad(Game):
    """What the kinds have in common."""

    persistent = True

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.loaded = bool(save_string)

    def get_save_string(self) -> str:
        return "saved"


Way = Callable[[Any], Any]


@attrs.frozen
class Act:
    """A typed message to a game that misbehaves."""

    number: int = 0


@attrs.frozen
class Kind:
    """One way to misbehave at one place.

    Attributes:
        name: What it does.
        game: The class.
        item: The number of the rule that it is about; 0 for none.
        options: What the game is created with.
        blocks: Whether others have to wait for it, whatever a server does.
        asks: Whether whoever joins is asked something.
        tables: How many such tables somebody makes.
    """

    name: str
    game: type[Game]
    item: int = 0
    options: dict[str, Any] = attrs.field(factory=dict)
    blocks: bool = False
    asks: bool = False
    tables: int = 1


# Ways.


def raises(error: type[BaseException]) -> Way:
    def act(game: Any) -> Any:
        raise error("on purpose")

    return act


def returns(value: Any) -> Way:
    return lambda game: value


def computes(seconds: float) -> Way:
    def act(game: Any) -> str:
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            pass
        return ""

    return act


def blocks(seconds: float) -> Way:
    def act(game: Any) -> str:
        time.sleep(seconds)
        return ""

    return act


async def waits(game: Any) -> None:
    await trio.sleep(LONGEST)


async def waits_shielded(game: Any) -> None:
    with trio.CancelScope(shield=True):
        await trio.sleep(LONGEST)


async def swallows_cancellation(game: Any) -> None:
    until = trio.current_time() + LONGEST
    while trio.current_time() < until:
        try:
            await trio.sleep(LONGEST)
        except trio.Cancelled:
            # Waits again, and would for ever.
            with trio.CancelScope(shield=True):
                await trio.sleep(0.01)


async def occupies_threads(game: Any) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(40):
            nursery.start_soon(trio.to_thread.run_sync, time.sleep, 45.0)


def spins(call: Callable[[Any], Any], error: type[Exception]) -> Way:
    """Calls again and again what is refused at once."""

    async def act(game: Any) -> None:
        until = time.perf_counter() + LONGEST
        while time.perf_counter() < until:
            try:
                await call(game)
            except error:
                continue

    return act


def pushes(count: int, size: int) -> Way:
    def act(game: Any) -> str:
        for number in range(count):
            game.room.push("news", {"number": number, "text": "x" * size})
        return ""

    return act


# Places.


def at(hook: str, way: Way, **attributes: Any) -> type[Game]:
    """A class that does this in that hook, and behaves otherwise."""

    def act(self: Any, *args: Any) -> Any:
        return way(self)

    async def act_async(self: Any) -> None:
        result = way(self)
        if result is not None:
            await result

    def init(self: Any, name: str, save_string: str | None = None) -> None:
        self.loaded = bool(save_string)
        way(self)

    def handle(self: Any, packet: Packet, /) -> Any:
        result = way(self) if packet.message == "act" else ""
        return Response("") if result == "" else result

    def typed(self: Any, player: str, message: Act, /) -> Any:
        return way(self)

    async def run_with_task(self: Any) -> None:
        async def task() -> None:
            await act_async(self)

        await self.room.wait_players(1)
        self.room.nursery.start_soon(task)
        await trio.sleep_forever()

    def joined(self: Any, username: str) -> Any:
        # A check of answers is asked for by a question.
        self.room.nursery.start_soon(ask_with_check, self, username)

    async def ask_with_check(self: Any, username: str) -> None:
        await self.room.ask(username, Act(), Act, check=lambda answer: way(self))

    methods: dict[str, Any]
    match hook:
        case "__init__":
            methods = {hook: init}
        case "__init__ at load":
            methods = {"__init__": lambda self, name, save_string=None: save_string and way(self)}
        case "run":
            methods = {hook: act_async}
        case "nursery":
            methods = {"run": run_with_task}
        case "handler":
            methods = {"handle_game_packet": handle}
        case "typed handler":
            methods = {"typed": on(Act)(typed)}
        case "check":
            methods = {"user_joined": joined}
        case "max_players" | "persistent" | "heartbeat_rate" | "sync_rate" | "update_rate":
            methods = {hook: property(act)}
        case _:
            methods = {hook: act}
    return type("Bad", (Bad,), {**methods, **attributes})


# Kinds.

# Each hook that raises an exception.
_HOOKS = {
    "__init__": 0,
    "__init__ at load": 3,
    "user_joined": 10,
    "user_left": 0,
    "player_dropped": 0,
    "player_resumed": 0,
    "handler": 0,
    "typed handler": 0,
    "update": 0,
    "run": 0,
    "nursery": 0,
    "check": 0,
    "view": 10,
    "get_lobby_info": 0,
    "get_save_string": 0,
    "max_players": 0,
    "persistent": 0,
}


async def _over_at_load(game: Any) -> None:
    if not game.loaded:
        await trio.sleep_forever()


async def _asks_in_turn(game: Any) -> Any:
    return await spins(lambda game: game.room.ask(ABSENT, Act(), Act), RuntimeError)(game)


def _rejects(game: Any) -> None:
    raise Reject("not you")


def _kicks(game: Any) -> None:
    for player in game.room.players:
        game.room.kick(player)


def _locks(game: Any) -> None:
    game.room.locked = True


class _HidesFromSpectators(Bad):
    def view(self, player: str | None) -> dict[str, Any]:
        # A spectator, who is None, is in no such list.
        return {"seat": self.room.players.index(player or "")}


def _kinds() -> dict[str, Kind]:
    found: list[Kind] = [
        Kind(f"{hook} raises ValueError", at(hook, raises(ValueError)), item, asks=hook == "check")
        for hook, item in _HOOKS.items()
    ]

    def add(name: str, game: type[Game], item: int = 0, **rest: Any) -> None:
        found.append(Kind(name, game, item, **rest))

    # What is no Exception.
    for hook, error in [
        ("handler", SystemExit),
        ("handler", GeneratorExit),
        ("handler", asyncio.CancelledError),
        ("handler", KeyboardInterrupt),
        ("run", SystemExit),
        ("update", asyncio.CancelledError),
        ("nursery", SystemExit),
        ("view", SystemExit),
        ("get_save_string", SystemExit),
        ("max_players", SystemExit),
        ("__init__", SystemExit),
        ("__init__ at load", SystemExit),
    ]:
        add(f"{hook} raises {error.__name__}", at(hook, raises(error)), 3)
    # Another type, or what cannot travel.
    add("handler returns None", at("handler", returns(None)))
    add("handler returns an object", at("handler", lambda _: Response("", {"it": object()})))
    add("handler returns 2 MB", at("handler", lambda _: Response("", {"it": "x" * 2_000_000})))
    add("view returns an object", at("view", returns(object())), 10)
    add("view returns 2 MB", at("view", returns("x" * 2_000_000)), 10)
    add("get_lobby_info returns bytes", at("get_lobby_info", returns(b"info")))
    add("get_lobby_info cannot travel", at("get_lobby_info", returns(LONE_SURROGATE)), 8)
    add("get_lobby_info returns 2 MB", at("get_lobby_info", returns("x" * 2_000_000)), 8)
    add("get_save_string returns an int", at("get_save_string", returns(5)))
    add("get_save_string cannot travel", at("get_save_string", returns(LONE_SURROGATE)))
    add("max_players is a text", at("max_players", returns("two")), 8)
    add("max_players is over 64 bits", at("max_players", returns(2**70)), 8)
    options = {"text": "x" * 60_000}
    add("20 tables with 60 kB of options", Bad, 9, options=options, tables=20)
    # Loops that do not await, and calls that block.
    add("update computes 0.4 s", at("update", computes(SHORT), update_rate=1), blocks=True)
    add("handler computes for ever", at("handler", computes(LONGEST)), 2, blocks=True)
    add("handler blocks 0.4 s", at("handler", blocks(SHORT)), blocks=True)
    add("40 threads block", at("handler", occupies_threads), 4)
    # Waits that have no end.
    add("handler never returns", at("handler", waits))
    add("user_joined never returns", at("user_joined", waits))
    add("handler waits, shielded", at("handler", waits_shielded), 2)
    add("run waits, shielded", at("run", waits_shielded), 2)
    add("run swallows its cancellation", at("run", swallows_cancellation), 2)
    # Spins.
    absent = spins(lambda game: game.room.ask(ABSENT, Act(), Act), PlayerLeft)
    add("run asks who is absent, for ever", at("run", absent), 1)
    add("handler asks in a turn, for ever", at("handler", _asks_in_turn), 1)
    # Too much.
    add("handler pushes 2 MB", at("handler", pushes(1, 2_000_000)), 8)
    add("handler pushes 10,000 times", at("handler", pushes(10_000, 10)), 8)
    # Ends, and saves that are over.
    add("script over in its save", at("run", _over_at_load), 6)
    add("user_joined rejects", at("user_joined", _rejects), 10)
    add("user_joined kicks", at("user_joined", _kicks), 10)
    add("view raises for spectators", _HidesFromSpectators, 10)
    add("__init__ rejects", at("__init__", _rejects), 10)
    add("__init__ locks", at("__init__", _locks), 10)
    return {kind.name: kind for kind in found}


KINDS = _kinds()


class Games(Game):
    """What the server is told to host; makes a `Table`, or a game of the kind to be tried."""

    def __new__(cls, name: str, save_string: str | None = None) -> Any:
        game: type[Game] = Table
        if name.startswith("bad"):
            game = KINDS[os.environ["ATTACKS_KIND"]].game
        return game(name, save_string)

"""A test that a player gets to know nothing of a secret."""

from __future__ import annotations

import difflib
import pickle
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import msgspec
import trio
import trio.testing

from pgnet_trio.game import Game
from pgnet_trio.testing.hosting import Kit
from pgnet_trio.testing.names import check_names
from pgnet_trio.testing.network import Record, SimulatedNetwork
from pgnet_trio.testing.simulation import simulate

if TYPE_CHECKING:
    from pgnet_trio.client import Client

__all__ = ["Secret", "assert_hidden"]

TABLE = "the table"

MAX_FRAMES = 100_000
"""Frames to compare; a game that causes more is too long for this."""

Secret = Mapping[str, Any] | Callable[[Any], object]
"""What sets up a game: attributes with their values, or a function that takes the game."""


@attrs.frozen
class _Frame:
    time: float
    data: bytes

    def __str__(self) -> str:
        return f"at {self.time:.3f} s: {msgspec.msgpack.decode(self.data)!r}"


def assert_hidden(
    game: Callable[..., Game],
    /,
    *,
    secrets: Sequence[Secret],
    player: str,
    players: Sequence[str] = ("ann", "bob"),
    play: Callable[[dict[str, Client]], Awaitable[object]] | None = None,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    **server_options: Any,
) -> int:
    """Play a game several times, each with another secret, and check that a player cannot tell.

    It compares every byte that the player's client gets, and the time at which it comes: the state
    and its patches, answers, pushes, the directory of games. It runs its own event loop: call it
    from a plain test function.

    Args:
        game: The class of the game.
        secrets: Two or more ways to set up the game, right after it was made: attributes that it
            has, with their values, or functions that take the game. No two may be the same. What
            *player* may know has to be the same in all of them.
        player: Who must not find out.
        players: Who plays; all join in this order.
        play: Plays the game, given the clients by name. It does the same each time, so it must
            not act on a secret. None: all only join.
        options: What the game is created with.
        seed: The seed of everything else that is random.
        **server_options: As for `Server`.

    Returns:
        How many bytes were compared.

    Raises:
        AssertionError: The player can tell; the message shows the first difference.
        TypeError: A secret is no mapping and no function, or *players* are no names.
        ValueError: There is nothing to compare: too few secrets, two that are equal or that set
            up the same game, or an attribute that the game has not got, or one that it sets
            itself when players join.
    """
    names = check_names("players", players)
    if len(secrets) < 2:
        raise ValueError("secrets: expected two or more, so that there is something to compare")
    _check_different(secrets)
    if player not in names:
        raise ValueError(f"player: expected one of {', '.join(names)}, got {player!r}")
    for secret in secrets:
        if not (callable(secret) or isinstance(secret, Mapping)):
            raise TypeError(f"secrets: expected mappings or functions, got {secret!r}")
    setups = [_Setup(f"secrets[{number}]", secret) for number, secret in enumerate(secrets)]
    runs = [
        simulate(_play, game, setup, player, names, play, options, seed, server_options)
        for setup in setups
    ]
    _check_different([setup.game_set_up or object() for setup in setups])
    _check_different(
        [setup.game_joined or object() for setup in setups],
        "leave the same game once all have joined: the game sets itself what they set. Let a "
        "secret seed game.room.random, say, or replace the method that deals",
    )
    if not runs[0]:
        raise ValueError(f"{player!r} got nothing at all, so there is nothing to compare")
    for number, run in enumerate(runs[1:], start=1):
        for index in range(max(len(runs[0]), len(run))):
            one = runs[0][index] if index < len(runs[0]) else None
            other = run[index] if index < len(run) else None
            if one != other:
                raise AssertionError(
                    f"{player} can tell secret 0 from secret {number}, by frame {index}:\n"
                    f"    secret 0 gives {one or 'nothing more'}\n"
                    f"    secret {number} gives {other or 'nothing more'}"
                )
    return sum(len(frame.data) for frame in runs[0])


def _check_different(
    secrets: Sequence[object],
    what: str = "set up the same game, so there is nothing to tell apart",
) -> None:
    for number, secret in enumerate(secrets):
        for earlier in range(number):
            if secrets[earlier] == secret:
                raise ValueError(
                    f"secrets: expected all to differ, and secrets {earlier} and {number} {what}"
                )


@attrs.define(eq=False)
class _Setup:
    """A secret, and what it made of the game.

    Attributes:
        where: What errors call the secret.
        secret: The secret.
        game_set_up: The game's attributes once it was set up, in bytes; None where it has some of
            which there are no bytes. Two games with the same bytes are the same.
        game_joined: The same once all players have joined.
    """

    where: str
    secret: Secret
    game_set_up: bytes | None = None
    game_joined: bytes | None = None
    _game: Game | None = attrs.field(default=None, init=False)

    def apply(self, game: Game) -> None:
        """Set up a game."""
        self._game = game
        if callable(self.secret):
            self.secret(game)
        else:
            for attribute, value in self.secret.items():
                if not hasattr(game, attribute):
                    near = difflib.get_close_matches(attribute, dir(game), 1)
                    raise ValueError(
                        f"{self.where}: {type(game).__name__} has no attribute {attribute!r} once "
                        f"it is made{f'; did you mean {near[0]!r}?' if near else ''}"
                    )
                setattr(game, attribute, value)
        self.game_set_up = _bytes_of(game)

    def note_joined(self) -> None:
        """Note what has become of the game now that all players have joined."""
        if self._game is not None:
            self.game_joined = _bytes_of(self._game)


def _bytes_of(game: Game) -> bytes | None:
    """Return a game's attributes in bytes; None where there are none of some."""
    slots = (slot for kind in type(game).__mro__ for slot in getattr(kind, "__slots__", ()))
    names = {*vars(game), *slots} - {"_room", "__dict__", "__weakref__"}
    attributes = {name: getattr(game, name, None) for name in sorted(names)}
    try:
        return pickle.dumps((attributes, game.room.random.getstate()))
    except Exception:
        # A lock or a function, say: then nobody can tell whether it is the same.
        return None


async def _play(
    game: Callable[..., Game],
    setup: _Setup,
    player: str,
    players: Sequence[str],
    play: Callable[[dict[str, Client]], Awaitable[object]] | None,
    options: Mapping[str, Any] | None,
    seed: int,
    server_options: dict[str, Any],
) -> list[_Frame]:
    frames: list[_Frame] = []
    # Without encryption: a difference between ciphertexts would show nothing.
    network = SimulatedNetwork(seed, encrypted=False)

    def note(record: Record, frame: bytes) -> None:
        is_for_player = record.where.startswith(f"{player}#") and record.where.endswith("<-")
        if record.what == "receive" and is_for_player:
            if len(frames) >= MAX_FRAMES:
                raise RuntimeError(f"{player} got more than {MAX_FRAMES} frames; play less")
            frames.append(_Frame(record.time, frame))

    def make_game(name: str, save_string: str | None = None) -> Game:
        made = game(name, save_string=save_string)
        setup.apply(made)
        return made

    network.on_record = note
    async with Kit(network) as kit:
        await kit.host(make_game, **server_options)
        clients: dict[str, Client] = {}
        for name in players:
            client = clients[name] = await kit.play(name)
            if len(clients) == 1:
                await client.create_game(TABLE, options=dict(options or {}))
            else:
                await client.join_game(TABLE)
        await trio.testing.wait_all_tasks_blocked()
        setup.note_joined()
        if play is not None:
            await play(clients)
        await clients[player].get_game_dir()
        await trio.testing.wait_all_tasks_blocked()
        network.on_record = None
    return frames

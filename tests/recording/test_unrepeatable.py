"""What a class of games uses that does not replay is found in its code."""

from __future__ import annotations

import random
import threading
import time
from datetime import UTC, datetime
from random import shuffle
from secrets import token_hex

import pytest
import trio

from pgnet_trio import Game
from pgnet_trio.recording import describe_game, hash_seed, unrepeatable_in

START = time.monotonic()


def roll() -> int:
    return random.randrange(6)


class Sound(Game):
    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.generator = random.Random(1)
        self.deck = [1, 2]

    def update(self) -> None:
        # The room's, whose name is that of a module here.
        self.room.time()
        self.room.random.shuffle(self.deck)

    async def run(self) -> None:
        time.sleep(0)  # noqa: ASYNC251 - nobody runs it
        self.room.nursery.start_soon(trio.sleep, 1)
        await trio.sleep(1)


class Rolls(Game):
    def update(self) -> None:
        roll()


class Shuffles(Game):
    def update(self) -> None:
        shuffle([])


class Hides(Game):
    def update(self) -> None:
        def inner() -> str:
            return token_hex()

        inner()


class Threads(Game):
    async def run(self) -> None:
        await trio.to_thread.run_sync(threading.Lock)


class ReadsTime(Game):
    @property
    def age(self) -> float:
        return time.time() - START


class ReadsDate(Game):
    def update(self) -> None:
        datetime.now(UTC)


class Nurseries(Game):
    async def run(self) -> None:
        async with trio.open_nursery():
            trio.current_time()


class Inherits(Rolls):
    pass


@pytest.mark.parametrize(
    ("game", "found"),
    [
        (Sound, []),
        (Rolls, ["module random"]),
        (Inherits, ["module random"]),
        (Shuffles, ["module random"]),
        (Hides, ["module secrets"]),
        (Threads, ["to_thread", "threads"]),
        (ReadsTime, ["module time"]),
        (ReadsDate, ["module datetime"]),
        (Nurseries, ["nurseries", "current_time"]),
    ],
)
def test_what_does_not_replay_is_named(game: type[Game], found: list[str]) -> None:
    named = unrepeatable_in(game, Game)
    assert len(named) == len(found), named
    for word, text in zip(found, named, strict=True):
        assert word in text


def test_a_class_is_named_as_the_command_line_takes_it() -> None:
    described = describe_game(Rolls, Game)
    assert described.game == "tests.recording.test_unrepeatable:Rolls"
    assert described.class_name == "Rolls"
    assert len(described.source) == 64
    assert describe_game(None, Game).class_name == ""


def test_the_hash_seed_is_that_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "12")
    assert hash_seed() == "12"
    monkeypatch.setenv("PYTHONHASHSEED", "random")
    assert hash_seed() is None

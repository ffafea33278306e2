"""What a host reads in the log: who was refused, and nothing about what goes as it should."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from trio.testing import wait_all_tasks_blocked

from pgnet_trio import Bot, Game, LoginRefused, Packet, Response
from pgnet_trio.client.server_key import fetch_server_key
from pgnet_trio.testing import hosting
from tests.kit.hosting import Recorder, hosting_faults

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """The log at the level at which `pgnet-trio serve` writes it."""
    caplog.set_level(logging.INFO, "pgnet_trio")
    return caplog


@pytest.mark.parametrize("protocol", [1, 2])
async def test_a_refused_log_in_is_logged_with_its_username(
    protocol: int, log: pytest.LogCaptureFixture, autojump_clock: trio.testing.MockClock
) -> None:
    async with hosting(Recorder) as server:
        async with server.client("ann", "secret"):
            pass
        with pytest.raises(LoginRefused):
            await server.client("ann", "guess", protocol=protocol).run()
        with pytest.raises(LoginRefused):
            await server.client("x' from 10.0.0.1: ok\n", protocol=protocol).run()
    refusals = [line for line in log.messages if line.startswith("Refused")]
    assert len(refusals) == 2
    assert refusals[0].startswith("Refused a log-in as 'ann' from ")
    assert refusals[0].endswith(": The password is not right.")
    assert refusals[1].startswith("""Refused a log-in as "x' from 10.0.0.1: ok\\n" from """)
    assert "guess" not in log.text


async def test_whoever_only_asks_for_the_key_is_not_worth_a_line(
    log: pytest.LogCaptureFixture,
) -> None:
    async with hosting(Recorder, port=0) as server:
        log.clear()
        key = await fetch_server_key(f"127.0.0.1:{server.port}")
        assert key.pubkey == server.pubkey
        await wait_all_tasks_blocked(0.01)
        assert log.messages == []
        # Nor is a connection that a browser opens in case it needs one; somebody who is cut off is.
        for first in (b"", b"GET / HT"):
            stream = await trio.open_tcp_stream("127.0.0.1", server.port or 0)
            if first:
                await stream.send_all(first)
                await wait_all_tasks_blocked(0.01)
            await trio.aclose_forcefully(stream)
        await wait_all_tasks_blocked(0.01)
        assert len(log.messages) == 1


class Patient(Bot):
    async def play(self) -> None:
        await trio.sleep(5)


class WithBots(Game):
    def user_joined(self, username: str, /) -> None:
        if username == "ann":
            for number in 1, 2, 3:
                self.room.add_bot(Patient(f"bot {number}"))


async def test_a_bot_is_one_line(
    log: pytest.LogCaptureFixture, autojump_clock: trio.testing.MockClock
) -> None:
    async with hosting(WithBots) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        await trio.sleep(10)
    assert sorted(line for line in log.messages if "bot" in line) == [
        f"The bot 'bot {number}' plays in the game 'table 1'" for number in (1, 2, 3)
    ]


class Neither(Game):
    pass


class OnlyPersistent(Game):
    persistent = True


class OnlyGives(Game):
    def get_save_string(self) -> str:
        return "x"


class Both(OnlyGives):
    persistent = True


@pytest.mark.parametrize(
    ("game", "levels"),
    [
        (Neither, [logging.INFO]),
        (OnlyPersistent, [logging.WARNING]),
        (OnlyGives, [logging.WARNING]),
        (Both, []),
    ],
)
async def test_a_game_that_is_not_saved_is_a_warning_only_where_it_looks_like_an_oversight(
    game: Any,
    levels: list[int],
    log: pytest.LogCaptureFixture,
    tmp_path: Path,
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with (
        hosting(game, save_file=tmp_path / "games.sqlite") as server,
        server.client("ann") as ann,
    ):
        for number in 1, 2:
            await ann.create_game(f"table {number}")
            await ann.leave_game()
    said = [each for each in log.records if "is not in the save file" in each.getMessage()]
    assert [record.levelno for record in said] == levels


class Crashes(Game):
    def handle_game_packet(self, packet: Packet, /) -> Response:
        if packet.message == "one":
            raise KeyError("one")
        raise KeyError("other")


async def test_what_a_player_quotes_is_in_the_log(log: pytest.LogCaptureFixture) -> None:
    async with hosting_faults(Crashes) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        told = [(await ann.request(Packet(message))).message for message in ("one", "other", "one")]
    ids = [re.findall("as error ([0-9A-F]{6})", text) for text in told]
    assert ids[0] == ids[2] != ids[1]
    for [id], quoted in zip(ids, ("one", "other", "one"), strict=True):
        (entry,) = [record for record in log.records if f"as error {id}" in record.getMessage()]
        assert vars(entry)["error_id"] == id
        assert f"KeyError: '{quoted}'" in (entry.exc_text or "")

"""What a host reads in the log: who was refused, and nothing about what goes as it should."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
import trio.testing
from trio.testing import wait_all_tasks_blocked

from pgnet_trio import (
    Bot,
    Disconnected,
    Game,
    LoginRefused,
    Packet,
    ReasonCode,
    RequestFailed,
    Response,
    on,
)
from pgnet_trio.client.server_key import fetch_server_key
from pgnet_trio.server.log_fields import LogFields
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


@attrs.frozen
class Fall:
    pass


class Crashes(Game):
    def handle_game_packet(self, packet: Packet, /) -> Response:
        if packet.message == "one":
            raise KeyError("one")
        raise KeyError("other")

    @on(Fall)
    def fall(self, player: str, message: Fall) -> None:
        raise KeyError("fallen")


class Logs(Game):
    update_rate = 2

    def update(self) -> None:
        logging.getLogger("author").error("a tick")


async def test_what_a_table_logs_by_itself_is_no_users(
    log: pytest.LogCaptureFixture, autojump_clock: trio.testing.MockClock
) -> None:
    log.handler.addFilter(LogFields())
    async with hosting(Logs) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        await trio.sleep(1)
    entry = next(vars(record) for record in log.records if record.name == "author")
    assert (entry["user"], entry["table"], entry["connection"]) == ("", "table 1", 0)


async def test_a_player_whose_session_fails_can_quote_why(
    log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        await trio.lowlevel.checkpoint()
        raise KeyError("a fault of the server")

    log.handler.addFilter(LogFields())
    async with hosting_faults(Game, KeyError) as server:
        with pytest.raises(Disconnected) as told:
            async with server.client("ann") as ann:
                monkeypatch.setattr("pgnet_trio.server.requests._check_role", fail)
                await ann.create_game("table 1")
    assert ann.close_code == ReasonCode.SERVER_ERROR
    id = quoted_id(str(told.value))
    (entry,) = [vars(record) for record in log.records if vars(record)["error_id"] == id]
    assert "KeyError: 'a fault of the server'" in entry["exc_text"]
    assert entry["user"] == "ann"
    assert entry["connection"] > 0


def quoted_id(text: str) -> str:
    """Return the id that a player reads."""
    (id,) = re.findall("the server's log says why, as error ([0-9A-F]{6}-[0-9A-F]{6})", text)
    return str(id)


async def test_what_a_player_quotes_leads_to_one_line_with_their_name_and_connection(
    log: pytest.LogCaptureFixture,
) -> None:
    log.handler.addFilter(LogFields())
    async with hosting_faults(Crashes) as server:
        async with server.client("ann") as ann, server.client("bob") as bob:
            await ann.create_game("table 1")
            await bob.join_game("table 1")
            asked = ((ann, "one"), (bob, "other"), (bob, "one"), (bob, "one"))
            told = [(who, (await who.request(Packet(what))).message) for who, what in asked]
            with pytest.raises(RequestFailed) as failed:
                await bob.call(Fall())
            told.append((bob, str(failed.value)))
            await wait_all_tasks_blocked()
            # The others at the table read the same one.
            assert ann.left is not None
            assert quoted_id(ann.left.message) == quoted_id(told[-1][1])
    ids = [quoted_id(text) for _, text in told]
    assert len(set(ids)) == len(ids)
    assert ids[0][:6] == ids[2][:6] == ids[3][:6] != ids[1][:6]
    connections: dict[str, int] = {}
    for id, (who, _) in zip(ids, told, strict=True):
        (entry,) = [vars(record) for record in log.records if vars(record)["error_id"] == id]
        assert f"as error {id}, over what {who.username} sent" in entry["message"]
        assert (entry["user"], entry["table"]) == (who.username, "table 1")
        assert connections.setdefault(who.username, entry["connection"]) == entry["connection"]
    assert len(set(connections.values())) == 2

"""The short form of `python -m tests.attacks`: what one player, game or disk must not do to all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from tests.attacks.__main__ import parse
from tests.attacks.comeback import address, come_back
from tests.attacks.disk import CASES, try_disk
from tests.attacks.flooder import FLOODS
from tests.attacks.floods import flood
from tests.attacks.games import try_game, user
from tests.attacks.misbehaving import KINDS
from tests.attacks.peer import Peer, Refused, SessionOver
from tests.attacks.processes import Place, StartFailed, place, running_server
from tests.kit.subprocesses import CHEAP_PASSWORDS

pytestmark = pytest.mark.no_cover


@pytest.fixture
def where() -> Iterator[Place]:
    with place(command=(*CHEAP_PASSWORDS, "-m", "pgnet_trio")) as found:
        yield found


@pytest.mark.parametrize(
    "name",
    [
        "handler raises ValueError",
        "handler raises SystemExit",
        "run asks who is absent, for ever",
        "script over in its save",
        "get_lobby_info cannot travel",
        "user_joined rejects",
    ],
)
async def test_a_game_that_misbehaves_costs_nobody_else_anything(where: Place, name: str) -> None:
    row = await try_game(
        where,
        KINDS[name],
        seconds=0.3,
        save_file=where.folder / "save.sqlite",
        insist=False,
    )
    assert row.well, row


@pytest.mark.parametrize("name", ["deep request", "ping before log-in", "pages"])
async def test_a_flood_leaves_others_their_turn(where: Place, name: str) -> None:
    async with running_server(where, save_file=where.folder / "control.sqlite") as control:
        row = await flood(where, name, seconds=0.5, control=control, accounts=2)
    assert row.lived
    # Far more than the goal, since a machine that tests have others on is no place to measure;
    # far less than what this flood made of it. Where others leave next to nothing of the machine,
    # the time counts that the server had, and who is not flooded waits for it too.
    played, alone = row.played.p50, row.control.p50
    assert played < 250 or (played * row.cpu < 250 and played < 30 * alone), row


@pytest.mark.parametrize(
    "name",
    [
        "full disk, the author does not",
        "lock file deleted, a second server started",
        "one byte of a save flipped",
    ],
)
async def test_what_was_acknowledged_survives_what_happens_to_its_file(
    where: Place, name: str
) -> None:
    (row,) = [row async for row in try_disk(where, [name])]
    assert row.well, row


async def test_everybody_is_back_after_a_kill(where: Place) -> None:
    row = await come_back(where, clients=4, seconds=20)
    assert row.back == 4, row


async def test_a_stranger_who_fails_after_a_kill_keeps_nobody_out(where: Place) -> None:
    save_file = where.folder / "stranger.sqlite"
    ann = Peer(0, "ann", source="127.0.0.2")
    async with running_server(where, save_file=save_file, cheap=True) as server:
        ann.port = server.port
        await ann.log_in()
        # Before there is a token in the save file: the password has to do.
        await server.kill()
    async with running_server(where, save_file=save_file) as server:
        stranger = Peer(server.port, "ann", "a guess", source="127.0.0.3")
        for _ in range(5):
            with pytest.raises(Refused, match="not right"):
                await stranger.log_in()
        with pytest.raises(SessionOver, match="Too many failed log-ins"):
            await stranger.log_in()
        ann.port = server.port
        await ann.come_back()
        ann.drop()
        stranger.drop()


async def test_a_request_that_was_cancelled_before_it_left_is_given_up(where: Place) -> None:
    async with running_server(where, save_file=where.folder / "lost.sqlite", cheap=True) as server:
        async with user(server.port, "ann") as ann:
            await ann.request("__pgnet__.game_dir")
            ann.next_request("__pgnet__.game_dir")
            assert await ann.resume()
            assert (await ann.request("__pgnet__.game_dir")).status == 0


async def test_a_server_that_does_not_start_is_no_row_of_a_table(where: Place) -> None:
    with pytest.raises(StartFailed, match="no folder"):
        async with running_server(where, save_file=Path("/nowhere/at/all/save.sqlite")):
            pass


def test_all_kinds_of_games_floods_and_cases_have_their_place() -> None:
    assert len(KINDS) == 61
    assert len(FLOODS) == 13
    assert len(CASES) >= 20
    # One case of each place where a game's code runs, at least.
    assert len({name.partition(" ")[0] for name in KINDS}) >= 15


async def test_who_is_honest_logs_in_again_while_the_server_is_busy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reasons = iter(["The server is busy with other log-ins; try again soon.", ""])

    async def log_in(self: Peer) -> None:
        await trio.lowlevel.checkpoint()
        if reason := next(reasons, "The server is full."):
            raise SessionOver(reason)

    monkeypatch.setattr(Peer, "log_in", log_in)
    async with user(0, "ann"):
        pass
    with pytest.raises(SessionOver, match="full"):
        async with user(0, "bob"):
            pass


def test_servers_read_in_rounds_or_not_as_this_process_is_told(
    where: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGNET_SHORT_WAY", "0")
    monkeypatch.setenv("PGNET_PORT", "1")
    environment = where.environment({})
    assert environment["PGNET_SHORT_WAY"] == "0"
    assert "PGNET_PORT" not in environment


def test_each_client_comes_from_an_address_of_its_own_on_loopback() -> None:
    addresses = {address(number) for number in range(5_000)}
    assert len(addresses) == 5_000
    assert all(each.startswith("127.") for each in addresses)


def test_the_command_line_takes_single_cases_only_where_there_are_some() -> None:
    assert parse(["games", "--only", "handler raises ValueError"]).only
    with pytest.raises(SystemExit):
        parse(["kills", "--only", "handler raises ValueError"])

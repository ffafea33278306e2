"""The directory of games: what each table shows of itself, and how much of it one answer takes."""

from __future__ import annotations

from typing import Any

import pytest
from trio.testing import MockClock, wait_all_tasks_blocked

from pgnet_trio import Client, Game, Packet, Request, Response, Status
from pgnet_trio.codec import encode_msgpack
from pgnet_trio.messages import GameInfo
from pgnet_trio.protocol.v2 import ClientProtocol
from pgnet_trio.protocol.v2.features import DIRECTORY, FEATURES
from pgnet_trio.server.directory import MAX_DIRECTORY_SIZE
from pgnet_trio.server.games.save_format import pack
from pgnet_trio.storage.interface import SavedGame
from pgnet_trio.testing import MemoryStore, hosting
from tests.kit.hosting import hosting_faults


class Table(Game):
    persistent = True

    def get_lobby_info(self) -> str:
        return f"{self.room.name} " * 50

    def get_save_string(self) -> str:
        return "a table"


def full_store(count: int, options: dict[str, Any] | None = None) -> MemoryStore:
    store = MemoryStore()
    for number in range(count):
        name = f"table {number:04}"
        store.state.games[name] = SavedGame(name, "", pack("a table", options or {}))
    return store


async def ask(client: Client, **arguments: Any) -> Response:
    return await client.request(Packet(Request.GAME_DIR, arguments))


async def test_a_client_reads_the_whole_directory_page_by_page() -> None:
    store = full_store(900)
    async with hosting(Table, store=store) as server, server.client("ann") as ann:
        games = await ann.get_game_dir()
        assert list(games) == sorted(store.state.games)
        assert all(isinstance(game, GameInfo) for game in games.values())
        # More than one answer took.
        whole = sum(len(game.info) for game in games.values())
        assert whole > MAX_DIRECTORY_SIZE
        first = await ask(ann)
        assert len(encode_msgpack(first.payload["games"])) <= MAX_DIRECTORY_SIZE


@pytest.mark.parametrize("protocol", [1, 2])
async def test_an_answer_that_is_cut_says_so(
    protocol: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A client of a release that does not know the feature.
    class Older(ClientProtocol):
        def __init__(self, **options: Any) -> None:
            super().__init__(features=FEATURES - {DIRECTORY}, **options)

    monkeypatch.setattr("pgnet_trio.protocol.v2.ClientProtocol", Older)
    async with (
        hosting(Table, store=full_store(900)) as server,
        server.client("ann", protocol=protocol) as ann,
    ):
        answer = await ask(ann)
        assert answer.status == Status.OK
        shown = len(answer.payload["games"])
        assert 100 < shown < 900
        assert f"{shown} of the 900 games" in answer.message
        # No false game in the list, and nothing else that such a client does not know.
        assert set(answer.payload) == {"games"}
        assert all(name == game["name"] for name, game in answer.payload["games"].items())


async def test_the_arguments_of_the_directory() -> None:
    async with hosting(Table, store=full_store(10)) as server, server.client("ann") as ann:
        answer = await ask(ann, limit=3)
        assert list(answer.payload["games"]) == ["table 0000", "table 0001", "table 0002"]
        assert answer.payload["more"] is True
        answer = await ask(ann, after="table 0002", limit=3)
        assert list(answer.payload["games"]) == ["table 0003", "table 0004", "table 0005"]
        answer = await ask(ann, after="table 0006", limit=3)
        assert list(answer.payload["games"]) == ["table 0007", "table 0008", "table 0009"]
        assert "more" not in answer.payload
        # It need not be the name of a game.
        answer = await ask(ann, after="table 00075")
        assert list(answer.payload["games"]) == ["table 0008", "table 0009"]
        assert (await ask(ann, after="z")).payload["games"] == {}
        for wrong in ({"limit": -1}, {"limit": "3"}, {"after": 5}):
            assert (await ask(ann, **wrong)).status == Status.UNEXPECTED


async def test_looking_again_and_again_at_much_ends_no_session(autojump_clock: MockClock) -> None:
    # As a release without quotas may have saved them.
    store = full_store(20, {"text": "x" * 60_000})
    async with hosting(Table, store=store) as server, server.client("ann") as ann:
        statuses: list[int] = []
        for _ in range(60):
            ann.get_game_dir(lambda response: statuses.append(response.status))
        await ann.request(Packet(Request.HELP))
        await wait_all_tasks_blocked()
        # None of these had to wait for an acknowledgement.
        assert Status.OK in statuses
        assert set(statuses) <= {Status.OK, Status.UNEXPECTED}
        assert len(await ann.get_game_dir()) == 20


async def test_a_game_that_takes_all_of_an_answer_is_shown_without_what_it_says() -> None:
    store = full_store(1)
    large = pack("a table", {"text": "x" * 300_000})
    store.state.games["large table"] = SavedGame("large table", "", large)
    async with hosting(Table, store=store) as server, server.client("ann") as ann:
        games = await ann.get_game_dir()
        assert list(games) == ["large table", "table 0000"]
        assert (games["large table"].info, games["large table"].options) == ("", {})
        assert games["table 0000"].info


async def test_a_saved_game_that_cannot_be_described_spoils_nothing() -> None:
    store = full_store(1)
    # An old save file may hold text that is no valid Unicode, and numbers that nothing else takes.
    store.state.games["\ud800"] = SavedGame("\ud800", "", "a table")
    odd: dict[str, dict[str, Any]] = {
        "odd text": {"text": "\ud800"},
        "odd number": {"number": 2**64},
    }
    for name, options in odd.items():
        store.state.games[name] = SavedGame(name, "", pack("a table", options))

    class Plain(Table):
        def get_lobby_info(self) -> str:
            return "plain"

    async with hosting(Plain, store=store) as server, server.client("ann") as ann:
        games = await ann.get_game_dir()
        assert list(games) == ["odd number", "odd text", "table 0000"]
        assert [game.options for game in games.values()] == [{}, {}, {}]
        assert [game.info for game in games.values()] == ["", "", "plain"]


class Says(Game):
    """What it says of itself is wrong where its name is not "table 1"."""

    what: Any = "fine"
    most: Any = None

    def get_lobby_info(self) -> Any:
        return self.what if self.room.name == "bad" else "fine"

    @property
    def max_players(self) -> Any:  # type: ignore[override]  # a property where the other is a value
        return self.most if self.room.name == "bad" and self.room.players else None


@pytest.mark.parametrize(
    ("what", "says"),
    [
        (b"info", "Says.get_lobby_info() has to return a str; it returned b'info'"),
        ("\ud800", "Says.get_lobby_info() returned a text that cannot travel"),
        ("x" * 1025, "Says.get_lobby_info() returned 1,025 bytes; the lobby takes at most 1,024"),
        ("ä" * 513, "Says.get_lobby_info() returned 1,026 bytes"),
    ],
)
async def test_lobby_information_that_cannot_travel_ends_its_own_table(
    what: Any, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Wrong(Says):
        def user_joined(self, username: str, /) -> None:
            self.what = what

    Wrong.__name__ = "Says"
    async with (
        hosting_faults(Wrong) as server,
        server.client("ann") as ann,
        server.client("bob") as bob,
    ):
        await bob.create_game("table 1")
        await ann.request(Packet(Request.CREATE_GAME, {"name": "bad"}))
        games = await bob.get_game_dir()
        assert {name: game.info for name, game in games.items()} == {"table 1": "fine"}
        assert ann.game is None
        assert ann.connected
    assert says in caplog.text


@pytest.mark.parametrize("most", ["two", 0, -1, True, 2**63, 2.0])
async def test_a_number_of_players_that_cannot_travel_ends_its_own_table(
    most: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class Wrong(Says):
        def user_joined(self, username: str, /) -> None:
            self.most = most

    async with (
        hosting_faults(Wrong) as server,
        server.client("ann") as ann,
        server.client("bob") as bob,
    ):
        await bob.create_game("table 1")
        await ann.create_game("bad")
        await bob.get_game_dir()
        assert list(await bob.get_game_dir()) == ["table 1"]
        assert ann.connected
    assert "Wrong.max_players has to be None, or an int over 0 of at most 64 bits" in caplog.text


@pytest.mark.parametrize("rate", ["ten", float("inf"), None])
async def test_a_heartbeat_rate_that_cannot_travel_ends_its_own_table(
    rate: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class Wrong(Game):
        heartbeat_rate = rate

        def handle_heartbeat(self, packet: Packet, /) -> Response:
            return Response("")

    async with hosting_faults(Wrong) as server, server.client("ann") as ann:
        await ann.request(Packet(Request.CREATE_GAME, {"name": "bad"}))
        assert await ann.get_game_dir() == {}
        assert ann.connected
    assert "Wrong.heartbeat_rate has to be a number of times a second" in caplog.text


async def test_a_directory_without_end_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    class Endless(Client):
        asked = 0

        async def _request_next(self, packet: Packet) -> Response:
            self.asked += 1
            name = f"table {self.asked:09}"
            game = {"name": name, "users": 0, "password_protected": False, "info": ""}
            return Response("", {"games": {name: game}, "more": True})

    client = Endless.remote(address="localhost", username="ann")
    assert len(await client.get_game_dir()) == client.asked == 100
    assert "has no end" in caplog.text

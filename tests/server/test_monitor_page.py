"""The monitor's page: what it is sent live, and what can be done from it."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import attrs
import h11
import pytest
import trio

from pgnet_trio import Game, Monitor, on
from pgnet_trio.errors import Disconnected, LoginRefused, RequestFailed
from pgnet_trio.server.monitor import events as events_module
from pgnet_trio.server.monitor.history import POINTS, History
from pgnet_trio.server.monitor.log_ring import LONGEST, MOST_BYTES, MOST_RECORDS, LogRing
from pgnet_trio.server.monitor.pages import FOLDER
from pgnet_trio.server.monitor.rows import Rows, encode_json
from pgnet_trio.testing import HostedServer, MemoryStore, playing
from pgnet_trio.testing.clusters import cluster
from tests.kit.monitoring import READ, WRITE, look, monitored

if TYPE_CHECKING:
    from trio.testing import MockClock

    from tests.kit.http_client import Reply

# Rows, of which those are sent that have changed.


def changes(rows: Rows, since: int, at_once: int = 100) -> list[dict[str, Any]]:
    return [json.loads(part) for part in rows.changes(since, at_once)]


def test_only_rows_that_have_changed_are_sent() -> None:
    rows = Rows()
    rows.put({"a": {"n": 1}, "b": {"n": 2}})
    assert changes(rows, 0) == [{"all": True, "rows": [{"n": 1}, {"n": 2}], "gone": []}]
    seen = rows.version
    rows.put({"a": {"n": 1}, "b": {"n": 2}})
    assert (rows.version, changes(rows, seen)) == (seen, [])
    rows.put({"a": {"n": 1}, "b": {"n": 3}, "c": {"n": 4}})
    assert changes(rows, seen) == [{"rows": [{"n": 3}, {"n": 4}], "gone": []}]
    seen = rows.version
    rows.put({"b": {"n": 3}})
    (part,) = changes(rows, seen)
    assert part["rows"] == []
    assert sorted(part["gone"]) == ["a", "c"]


def test_a_row_that_is_back_is_not_gone() -> None:
    rows = Rows()
    rows.put({"a": {"n": 1}})
    seen = rows.version
    rows.put({})
    rows.put({"a": {"n": 1}})
    assert changes(rows, seen) == [{"rows": [{"n": 1}], "gone": []}]


def test_many_rows_come_in_parts_of_which_the_first_says_that_it_is_all() -> None:
    rows = Rows()
    rows.put({str(number): {"n": number} for number in range(5)})
    parts = changes(rows, 0, 2)
    assert [len(part["rows"]) for part in parts] == [2, 2, 1]
    assert ["all" in part for part in parts] == [True, False, False]


def test_whoever_has_not_looked_for_long_gets_all_rows_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pgnet_trio.server.monitor.rows.MOST_GONE", 3)
    rows = Rows()
    for number in range(10):
        rows.put({str(number): {"n": number}})
    assert "all" in changes(rows, 1)[0]
    assert "all" not in changes(rows, rows.version - 1)[0]


def test_what_json_has_no_place_for_is_shown_as_text() -> None:
    assert json.loads(encode_json({"a": 1.5, "b": [object, float("nan")]}))["b"] == [
        "<class 'object'>",
        None,
    ]


# The last hour.


def test_the_history_has_the_latest_points_and_gaps() -> None:
    history = History(("users", "lag"))
    for number in range(POINTS + 3):
        history.add({"users": number, "lag": 0.123456} if number % 2 else {"users": number})
    series = history.as_data()["series"]
    assert len(series["users"]) == POINTS
    assert series["users"][0] == 3
    assert series["users"][-2:] == [721, 722]
    assert series["lag"][-2:] == [0.1235, None]
    assert history.latest() == {"users": 722, "lag": None}


# The log.


def record(text: str, level: int = logging.INFO, **more: Any) -> logging.LogRecord:
    made = logging.LogRecord("game", level, "file.py", 1, text, (), None)
    made.__dict__.update(more)
    return made


def records(ring: LogRing, since: int = 0, level: int = 0, most: int = 10) -> list[dict[str, Any]]:
    return [json.loads(each) for each in ring.since(since, level, most)[1]]


def test_the_log_is_kept_up_to_a_number_and_a_size() -> None:
    ring = LogRing()
    for number in range(MOST_RECORDS + 5):
        ring.handle(record(f"line {number}"))
    last, found = ring.since(0, 0, MOST_RECORDS * 2)
    assert (last, len(found)) == (MOST_RECORDS + 5, MOST_RECORDS)
    for _ in range(300):
        ring.handle(record("x" * 2 * LONGEST))
    found = ring.since(0, 0, MOST_RECORDS)[1]
    assert sum(map(len, found)) <= MOST_BYTES
    assert len(records(ring, most=1)[0]["text"]) == LONGEST


def test_records_have_their_level_their_fields_and_their_traceback() -> None:
    ring = LogRing()
    ring.handle(record("one", logging.DEBUG))
    try:
        raise ValueError("\x1b[2J")
    except ValueError as error:
        info = type(error), error, error.__traceback__
    ring.handle(record("two", logging.ERROR, exc_info=info, user="ann", table="", error_id="x1"))
    (found,) = records(ring, level=logging.WARNING)
    assert (found["text"], found["level"], found["user"]) == ("two", "ERROR", "ann")
    assert found["error_id"] == "x1"
    assert "table" not in found
    assert found["traceback"].endswith("ValueError: \\x1b[2J")
    assert records(ring, since=found["number"]) == []


def test_other_threads_may_log_and_a_record_that_cannot_be_shown_harms_nobody(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ring = LogRing()
    with ring.listening():
        thread = threading.Thread(target=logging.getLogger("game").warning, args=("from afar",))
        thread.start()
        thread.join()
        ring.handle(record("%d", args=("x",)))
    logging.getLogger("game").warning("after the end")
    assert [each["text"] for each in records(ring)] == ["from afar"]
    assert "TypeError" in capsys.readouterr().err


# Over the monitor's listener.


@attrs.frozen
class Set:
    value: int


@attrs.frozen
class Ask:
    text: str


@attrs.frozen
class Yes:
    pass


@attrs.frozen
class Hand:
    total: int
    secret: str


class Cards(Game):
    persistent = True

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.total = 0

    @on(Set)
    def set(self, player: str, message: Set) -> None:
        self.total = message.value

    def view(self, player: str | None) -> Hand:
        return Hand(self.total, f"for {player}")

    def get_save_string(self) -> str:
        return str(self.total)

    async def run(self) -> None:
        (player,) = await self.room.wait_players(1)
        await self.room.ask(player, Ask("<b>well?</b>"), Yes)
        await trio.sleep_forever()


class Events:
    """A stream of server-sent events."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._http = h11.Connection(h11.CLIENT)
        self._text = ""
        self.status = 0
        self.came: list[str] = []

    async def begin(self, path: str, token: str) -> None:
        headers = [("Host", "localhost"), ("Authorization", f"Bearer {token}")]
        request = h11.Request(method="GET", target=path, headers=headers)
        await self._stream.send_all(self._http.send(request) or b"")
        await self._stream.send_all(self._http.send(h11.EndOfMessage()) or b"")
        response = await self._next()
        assert isinstance(response, h11.Response)
        self.status = response.status_code

    async def wait_for(self, name: str) -> Any:
        """Return the data of the next event of a name."""
        while True:
            while "\n\n" not in self._text:
                data = await self._next()
                assert isinstance(data, h11.Data), data
                self._text += data.data.decode()
            block, _, self._text = self._text.partition("\n\n")
            lines = dict(line.split(": ", 1) for line in block.split("\n"))
            self.came.append(lines.get("event", ""))
            if self.came[-1] == name:
                return json.loads(lines["data"])

    async def _next(self) -> object:
        with trio.fail_after(30):
            while (found := self._http.next_event()) is h11.NEED_DATA:
                self._http.receive_data(await self._stream.receive_some())
        return found


@asynccontextmanager
async def following(server: HostedServer, view: str, **query: str) -> AsyncIterator[Events]:
    async with await trio.open_tcp_stream("127.0.0.1", server.monitor_port or 0) as stream:
        events = Events(stream)
        await events.begin(f"/events?{urlencode({'view': view, **query})}", READ)
        yield events


async def act(server: HostedServer, action: str, token: str = WRITE, **values: Any) -> Reply:
    return await look(
        server,
        f"/actions/{action}",
        "Content-Type: application/json",
        token=token,
        method="POST",
        body=json.dumps(values),
    )


async def test_the_page_and_its_files_are_there(socket_clock: MockClock) -> None:
    async with monitored(Cards) as server:
        page = await look(server, "/", token=READ)
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "script-src" in page.headers["content-security-policy"] or (
            "default-src 'self'" in page.headers["content-security-policy"]
        )
        for path in FOLDER.iterdir():
            # Nobody needs a token for what is in the package anyway.
            reply = await look(server, f"/page/{path.name}")
            assert (reply.status, reply.body) == (200, path.read_bytes())
        tag = reply.headers["etag"]
        assert (await look(server, f"/page/{path.name}", f"If-None-Match: {tag}")).status == 304
        assert (await look(server, "/page/..%2Fapp.py")).status == 404
        assert (await look(server, "/")).status == 401


def test_no_script_or_style_stands_in_the_page() -> None:
    for path in FOLDER.glob("*.html"):
        text = path.read_text("utf-8")
        assert "<style" not in text
        assert " style=" not in text
        assert " on" not in text.replace(" one", "").replace(" only", "")
    for path in FOLDER.glob("*.js"):
        assert "innerHTML" not in path.read_text("utf-8"), path


async def test_the_overview_has_figures_and_the_last_hour(socket_clock: MockClock) -> None:
    async with monitored(Cards) as server, playing(server, "ann", game="one"):
        async with following(server, "overview") as events:
            hello = await events.wait_for("hello")
            assert (hello["role"], hello["game"]) == ("read", "Cards")
            now = await events.wait_for("now")
            assert (now["users"], now["games"], now["is_ending"]) == (1, 1, False)
            history = await events.wait_for("history")
            assert len(history["series"]["users"]) == POINTS
            point = await events.wait_for("point")
            assert point["users"] == 1


async def test_tables_and_players_come_once_and_then_what_changes(socket_clock: MockClock) -> None:
    async with monitored(Cards) as server, playing(server, "ann", game="one") as ann:
        async with following(server, "tables") as tables, following(server, "players") as players:
            first = await tables.wait_for("tables")
            (row,) = first["rows"]
            assert (first["all"], row["name"], row["players"]) == (True, "one", ["ann"])
            assert row["waits_for"][0].endswith("in Cards.run")
            (player,) = (await players.wait_for("players"))["rows"]
            assert (player["name"], player["game"], player["protocol"]) == ("ann", "one", "2.1")
            async with playing(server, "bob", game="two"):
                assert [row["name"] for row in (await tables.wait_for("tables"))["rows"]] == ["two"]
                assert (await players.wait_for("players"))["rows"][0]["name"] == "bob"
            while (await players.wait_for("players"))["gone"] != ["bob"]:
                pass
            await ann.leave_game()
            while (changed := await players.wait_for("players"))["rows"] == []:
                pass
            assert changed["rows"][0]["game"] is None


async def test_a_table_is_shown_as_its_players_see_it(socket_clock: MockClock) -> None:
    async with monitored(Cards) as server, playing(server, "ann", "bob", game="one") as (_, bob):
        async with following(server, "table", table="one") as events:
            table = await events.wait_for("table")
            assert table["is_there"]
            assert {each["seat"]: each["state"]["secret"] for each in table["states"]} == {
                "ann": "for ann",
                "bob": "for bob",
            }
            assert table["questions"][0]["payload"] == {"text": "<b>well?</b>"}
            for _ in range(3):
                await events.wait_for("now")
            assert events.came.count("table") == 1
            await bob.call(Set(7))
            table = await events.wait_for("table")
            assert [each["state"]["total"] for each in table["states"]] == [7, 7]
            await bob.leave_game()
            while len(table["seats"]) == 2:
                table = await events.wait_for("table")
            assert table["seats"] == ["ann"]
        async with following(server, "table", table="nowhere") as events:
            assert not (await events.wait_for("table"))["is_there"]


async def test_a_state_that_is_too_long_is_not_sent(
    socket_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_module, "LONGEST_STATE", 10)
    async with monitored(Cards) as server, playing(server, "ann", game="one"):
        async with following(server, "table", table="one") as events:
            (state,) = (await events.wait_for("table"))["states"]
            assert (state["too_long"], state["state"]) == (True, None)


async def test_the_servers_of_a_cluster_are_shown_with_all_tables(
    socket_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgnet_trio.server.monitor.servers.ASK_EVERY", 0.0)
    monkeypatch.setattr("pgnet_trio.server.monitor.servers.LONGEST_WAIT", 0.1)
    async with cluster(Cards, nodes=2, monitor=Monitor("127.0.0.1:0", token=READ)) as servers:
        for name, node in (("ann", "a"), ("bob", "b")):
            await servers.play(name, node=node, game=f"table of {name}")
        async with following(servers.nodes["a"], "servers") as events:
            assert (await events.wait_for("hello"))["in_cluster"]
            rows = {row["label"]: row for row in (await events.wait_for("servers"))["rows"]}
            assert [(row["state"], row["players"], row["tables"]) for row in rows.values()] == [
                ("ready", 1, 1),
                ("ready", 1, 1),
            ]
            assert [rows[name]["is_own"] for name in "ab"] == [True, False]
            tables = (await events.wait_for("elsewhere"))["rows"]
            assert [(row["name"], row["server"]) for row in tables] == [
                ("table of ann", "a"),
                ("table of bob", "b"),
            ]
            assert await events.wait_for("cluster") == {"saved": 0, "is_all": True, "problem": ""}
            servers.nodes["a"].engine.cut = True
            assert "known last" in (await events.wait_for("cluster"))["problem"]
            # Whoever looks at this server alone is not kept waiting.
            async with following(servers.nodes["a"], "tables") as own:
                assert [row["name"] for row in (await own.wait_for("tables"))["rows"]] == [
                    "table of ann"
                ]
            servers.nodes["a"].engine.cut = False


async def test_tasks_are_shown_with_their_stacks(socket_clock: MockClock) -> None:
    async with monitored(Cards) as server, playing(server, "ann", game="one"):
        async with following(server, "tasks") as events:
            await events.wait_for("tasks")
            tree = await events.wait_for("tasks")
            found = [tree["root"]]
            for task in found:
                found += [each for nursery in task["nurseries"] for each in nursery["tasks"]]
            (script,) = [each for each in found if each["name"].endswith("_run_script")]
            assert (script["game"], script["waits_for"]) == ("one", "an event")
            assert "Cards.run" in script["where"]
            reply = await look(server, f"/stack?task={script['id']}", token=READ)
            assert any("Cards.run" in each["function"] for each in json.loads(reply.body)["lines"])
        assert (await look(server, "/stack?task=x", token=READ)).status == 404


async def test_the_log_is_followed_from_a_level_on(socket_clock: MockClock) -> None:
    async with monitored(Cards) as server:
        logging.getLogger("pgnet_trio.server").warning("before")
        async with following(server, "log", level="WARNING") as events:
            assert [each["text"] for each in await events.wait_for("log")] == ["before"]
            logging.getLogger("pgnet_trio.server").info("quiet")
            logging.getLogger("of.the.author").error("after")
            assert [each["text"] for each in await events.wait_for("log")] == ["after"]


async def test_there_are_only_so_many_streams_and_players_do_not_notice(
    socket_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_module, "MOST_STREAMS", 3)
    async with monitored(Cards) as server, playing(server, "ann", game="one") as ann:
        async with (
            following(server, "tables"),
            following(server, "tables"),
            following(server, "tables"),
        ):
            # None of them reads.
            async with following(server, "tables") as one_more:
                assert one_more.status == 503
            await ann.call(Set(3))
        with trio.fail_after(20):
            while True:
                async with following(server, "tables") as events:
                    if events.status == 200:
                        break
                await trio.sleep(0.1)
        assert (await look(server, "/events?view=nothing", token=READ)).status == 400


# What can be done.


async def test_a_user_is_kicked_and_told_why(socket_clock: MockClock) -> None:
    async with monitored(Cards) as server, playing(server, "ann") as ann:
        reply = await act(server, "kick", username="ann", reason="too loud")
        assert (reply.status, json.loads(reply.body)["text"]) == (200, "ann is kicked.")
        with pytest.raises(Disconnected):
            await ann.call(Set(1))
        assert ann.close_reason == "too loud"
        reply = await act(server, "kick", username="ann")
        assert (reply.status, "not logged in" in reply.body.decode()) == (400, True)


async def test_a_ban_an_announcement_and_a_save(socket_clock: MockClock) -> None:
    store = MemoryStore()
    async with monitored(Cards, store=store) as server, playing(server, "ann", game="one") as ann:
        told: list[str] = []
        ann.on_announcement = told.append
        assert (await act(server, "announce", text="Soon.", table="one")).status == 200
        await ann.call(Set(5))
        assert told == ["Soon."]
        assert (await act(server, "save", table="one")).status == 200
        assert "5" in store.state.games["one"].data
        assert (await act(server, "ban", username="bob", seconds=60)).status == 200
        audit = await store.community.audit(before=0, limit=10)
        assert [(each.by, each.did) for each in audit] == [
            ("monitor 127.0.0.1", "ban"),
            ("monitor 127.0.0.1", "save"),
            ("monitor 127.0.0.1", "announce"),
        ]


async def test_a_ban_is_shown_until_it_is_ended(socket_clock: MockClock) -> None:
    store = MemoryStore()
    async with monitored(Cards, store=store) as server:
        assert (await act(server, "ban", username="Bob", reason="rude")).status == 200
        async with following(server, "bans") as events:
            (row,) = (await events.wait_for("bans"))["rows"]
            assert (row["whom"], row["reason"], row["by"]) == ("bob", "rude", "monitor")
            assert (row["is_of_a_user"], row["ends"]) == (True, None)
            with pytest.raises(LoginRefused, match="banned: rude"):
                await server.client("bob").run()
            assert (await act(server, "unban", token=READ, username="bob")).status == 403
            reply = await act(server, "unban", username="bob")
            assert json.loads(reply.body)["text"] == "bob is not banned any more."
            assert (await events.wait_for("bans"))["gone"] == [row["name"]]
            async with playing(server, "bob"):
                pass
        for wrong in {"username": "bob"}, {}, {"username": "bob", "network": "10.0.0.0/8"}:
            assert (await act(server, "unban", **wrong)).status == 400
        (latest, _) = await store.community.audit(before=0, limit=10)
        assert (latest.did, latest.details) == ("unban", "username=bob")


async def test_a_table_is_closed(socket_clock: MockClock) -> None:
    async with monitored(Cards) as server, playing(server, "ann", game="one") as ann:
        assert (await act(server, "close", table="one")).status == 200
        with pytest.raises(RequestFailed):
            await ann.call(Set(1))
        assert ann.game is None
        assert (await act(server, "close", table="one")).status == 400


async def test_the_level_of_the_log_is_set(socket_clock: MockClock) -> None:
    logger = logging.getLogger("pgnet_trio")
    before = logger.level
    try:
        async with monitored(Cards) as server:
            assert (await act(server, "log-level", level="WARNING")).status == 200
            assert logger.level == logging.WARNING
            assert (await act(server, "log-level", level="loud")).status == 400
    finally:
        logger.setLevel(before)


@pytest.mark.parametrize(("action", "restarting"), [("shutdown", False), ("drain", True)])
async def test_the_server_is_told_to_end(
    socket_clock: MockClock, action: str, restarting: bool
) -> None:
    async with monitored(Cards) as server:
        assert (await act(server, action)).status == 200
        await server.stopped.wait()


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"token": READ}, 403),
        ({"token": ""}, 403),
        ({"headers": ["Content-Type: text/plain"]}, 415),
        ({"headers": ["Content-Type: application/json", "Origin: http://evil.example"]}, 403),
        ({"headers": ["Content-Type: application/json", "Host: evil.example"]}, 421),
        ({"body": "{}"}, 400),
        ({"body": '{"username": 3}'}, 400),
        ({"body": '{"username": "ann", "more": 1}'}, 400),
        ({"body": "no json"}, 400),
        ({"body": json.dumps({"username": "ann", "reason": "x" * 201})}, 400),
        ({"body": " " * 20_000}, 413),
        ({"path": "/actions/explode"}, 400),
        ({"method": "GET"}, 405),
    ],
)
async def test_whoever_may_not_or_says_it_wrong_changes_nothing(
    socket_clock: MockClock, changes: dict[str, Any], status: int
) -> None:
    asked = {
        "path": "/actions/kick",
        "headers": ["Content-Type: application/json"],
        "token": WRITE,
        "method": "POST",
        "body": '{"username": "ann"}',
        **changes,
    }
    if asked["method"] == "GET":
        asked["body"] = ""
    async with monitored(Cards) as server, playing(server, "ann") as ann:
        path, headers = asked.pop("path"), asked.pop("headers")
        assert (await look(server, path, *headers, **asked)).status == status
        assert ann.online

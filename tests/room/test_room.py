"""The room around a game: what an author gets from it, and who gets in."""

from __future__ import annotations

import contextlib
import json
import logging
import re
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pgnet_trio import (
    Client,
    CodecError,
    ExampleGame,
    Game,
    Packet,
    PlayerLeft,
    Reject,
    Request,
    RequestFailed,
    Response,
    Room,
    Status,
    on,
)
from pgnet_trio.server.games.save_format import pack, unpack
from pgnet_trio.testing import hosting, playing
from pgnet_trio.typed import to_packet
from tests.kit.hosting import cheap_environment, hosting_faults, without_error_id


async def tell(client: Client, message: str, **payload: Any) -> Response:
    return await client.request(Packet(message, payload))


@attrs.define
class Board:
    cells: list[int]
    turn: str | None = None


@attrs.define
class Said:
    text: str


@attrs.define
class Do:
    """Has the game do something with its room."""

    what: str
    whom: str = ""


class Lounge(Game):
    """Does what it is told with its room, and notes what happens."""

    max_players = 3

    def __init__(self, name: str, save_string: str | None = None) -> None:
        # No call of `super().__init__`, as in many an old game.
        self.notes: list[Any] = [self.room.name, dict(self.room.options), list(self.room.players)]

    def view(self) -> Any:
        return {"notes": len(self.notes)}

    def user_joined(self, username: str, /) -> None:
        self.notes.append(("joined", username, list(self.room.players)))

    def user_left(self, username: str, /) -> None:
        self.notes.append(("left", username, list(self.room.players)))

    async def player_dropped(self, username: str, /) -> None:
        self.notes.append(("dropped", username, list(self.room.players)))

    def player_resumed(self, username: str, /) -> None:
        self.notes.append(("resumed", username, list(self.room.players)))

    @on(Do)
    async def do(self, player: str, message: Do) -> Response:
        room = self.room
        match message.what:
            case "lock":
                room.locked = True
            case "unlock":
                room.locked = False
            case "kick":
                room.kick(message.whom, "too loud")
            case "close":
                room.close("closing time")
                room.push(Said("last orders"))
            case "close in a task":
                room.nursery.start_soon(self._close)
            case "push":
                room.push(Said("hello"), exclude=player)
            case "push to":
                room.push(Said("psst"), to=message.whom)
            case "random":
                return Response("", {"numbers": [room.random.random() for _ in range(3)]})
            case "time":
                return Response("", {"time": room.time()})
            case "notes":
                return Response("", {"notes": self.notes})
        await trio.lowlevel.checkpoint()
        return Response(f"{player} in {len(room.players)}")

    async def _close(self) -> None:
        await trio.sleep(1)
        self.room.close("from a task")
        await trio.sleep(1)
        raise AssertionError("the room has ended")


async def notes(client: Client) -> list[Any]:
    found: list[Any] = (await client.call(Do("notes"))).payload["notes"]
    return found


async def test_the_room_is_there_already_in_init() -> None:
    async with (
        hosting(Lounge) as server,
        server.client("ann") as ann,
        server.client("bob") as bob,
    ):
        await ann.create_game("table 1", options={"size": 3})
        await bob.join_game("table 1")
        assert await notes(ann) == [
            "table 1",
            {"size": 3},
            [],
            ["joined", "ann", ["ann"]],
            ["joined", "bob", ["ann", "bob"]],
        ]
        await bob.leave_game()
        assert (await notes(ann))[-1] == ["left", "bob", ["ann"]]


def test_a_detached_room_says_so() -> None:
    class Plain(Game):
        pass

    game = Plain("table 1")
    assert game.room.players == []
    assert game.room.saved(Board) is None
    assert repr(game.room) == "<Room, detached>"
    for use in (
        lambda: game.room.name,
        lambda: game.room.push("x"),
        game.room.time,
        lambda: game.room.nursery,
        lambda: game.room.random,
        game.room.close,
    ):
        with pytest.raises(RuntimeError, match="made outside a server"):
            use()


@pytest.mark.parametrize("protocol", [1, 2])
async def test_full_and_locked_games_refuse(protocol: int) -> None:
    class Small(Game):
        max_players = 2

        def handle_game_packet(self, packet: Packet, /) -> Response:
            self.room.locked = packet.message == "lock"
            return Response("")

    async with (
        hosting(Small) as server,
        server.client("ann") as ann,
        server.client("bob", protocol=protocol) as bob,
        server.client("eve", protocol=protocol) as eve,
    ):
        await ann.create_game("table 1", options={"size": 3})
        info = (await eve.get_game_dir())["table 1"]
        assert (info.users, info.max_players, info.locked) == (1, 2, False)
        assert info.options == {"size": 3}
        await tell(ann, "lock")
        with pytest.raises(RequestFailed, match="takes nobody more"):
            await bob.join_game("table 1")
        assert (await eve.get_game_dir())["table 1"].locked
        await tell(ann, "unlock")
        await bob.join_game("table 1")
        with pytest.raises(RequestFailed, match="is full"):
            await eve.join_game("table 1")
        assert eve.game is None
        await bob.leave_game()
        await eve.join_game("table 1")


async def test_a_kick_comes_after_the_answer_and_the_last_state() -> None:
    async with (
        hosting(Lounge) as server,
        server.client("ann") as ann,
        server.client("bob") as bob,
    ):
        await ann.create_game("table 1")
        await bob.join_game("table 1")
        order: list[str] = []
        bob.on_state = lambda state: order.append(f"state {state['notes']}")
        bob.on_game = lambda game: order.append(f"game {game}")
        await wait_all_tasks_blocked()
        order.clear()
        answer = await bob.call(Do("kick", "bob"))
        # The answer was sent first, from within the game.
        assert answer.message == "bob in 2"
        await wait_all_tasks_blocked()
        assert bob.left is not None
        assert (bob.left.game, bob.left.reason, bob.left.message) == (
            "table 1",
            "kicked",
            "too loud",
        )
        assert order == ["game None"]
        assert (await notes(ann))[-1] == ["left", "bob", ["ann"]]
        assert ann.players == {"ann": True}
        await bob.join_game("table 1")
        await ann.call(Do("kick", "nobody"))
        assert list(ann.players) == ["ann", "bob"]


async def test_who_is_kicked_by_a_tick_sees_what_it_changed(autojump_clock: MockClock) -> None:
    class Ticking(Game):
        update_rate = 10
        sync_rate = 1
        ticks = 0

        def view(self) -> int:
            return self.ticks

        def update(self) -> None:
            self.ticks += 1
            if self.ticks == 25:
                self.room.kick("ann")

    async with hosting(Ticking) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        seen: list[Any] = []
        ann.on_state = seen.append
        ann.on_game = seen.append
        await trio.sleep(3)
        assert seen[-2:] == [25, None]


async def test_a_room_closes_after_the_turn_and_says_why() -> None:
    async with (
        hosting(Lounge) as server,
        server.client("ann") as ann,
        server.client("bob") as bob,
    ):
        await ann.create_game("table 1")
        await bob.join_game("table 1")
        pushes = bob.pushes(Said)
        assert (await ann.call(Do("close"))).message == "ann in 2"
        assert [said.text async for said in pushes] == ["last orders"]
        for client in (ann, bob):
            assert client.game is None
            assert client.left is not None
            assert (client.left.reason, client.left.message) == ("closed", "closing time")
        assert await ann.get_game_dir() == {}
        await bob.create_game("table 1")


async def test_a_task_of_the_room_closes_it_though_a_turn_hangs(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Hanging(Game):
        def user_joined(self, username: str, /) -> None:
            self.room.nursery.start_soon(self.end_in_time, username)

        async def end_in_time(self, username: str) -> None:
            await trio.sleep(10)
            if username == "bob":
                self.room.kick(username, "too slow")
            else:
                self.room.close("time is up")

        @on(Do)
        async def do(self, player: str, message: Do) -> None:
            if message.what == "kick":
                self.room.kick(player, "by yourself")
                await trio.sleep(20)
            await trio.sleep_forever()

    async with (
        # Without a save file, since such a game gives no save string.
        hosting(Hanging, save_file=None) as server,
        server.client("ann") as ann,
        server.client("bob") as bob,
    ):
        await bob.create_game("table 1")
        await trio.sleep(5)
        await ann.join_game("table 1")
        answer = await bob.request(Packet("Do", {"what": "hang"}))
        assert trio.current_time() < 20
        assert bob.left is not None
        assert (bob.left.reason, bob.left.message) == ("kicked", "too slow")
        assert answer.status == Status.UNEXPECTED
        assert ann.left is not None
        assert (ann.left.reason, ann.left.message) == ("closed", "time is up")
        assert await ann.get_game_dir() == {}
        # What a turn asks for comes after it, however long that takes, and whatever runs beside.
        await bob.create_game("table 2")
        with trio.move_on_after(5):
            await bob.request(Packet("Do", {"what": "kick"}))
        assert bob.game == "table 2"
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_task_of_the_room_closes_it_and_ends_with_it(autojump_clock: MockClock) -> None:
    async with hosting(Lounge) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        await ann.call(Do("close in a task"))
        await trio.sleep(0.5)
        assert ann.game == "table 1"
        await trio.sleep(5)
        assert ann.left is not None
        assert ann.left.message == "from a task"


async def test_a_game_that_ends_as_somebody_joins_refuses_them() -> None:
    class Fleeting(Game):
        def user_joined(self, username: str, /) -> None:
            if username == "ann":
                self.room.close("not today")
            else:
                self.room.kick(username, "not you")

    async with (
        hosting(Fleeting) as server,
        server.client("ann") as ann,
        server.client("bob") as bob,
    ):
        with pytest.raises(RequestFailed, match="not today"):
            await ann.create_game("table 1")
        assert ann.game is None
        with pytest.raises(RequestFailed):
            await bob.create_game("table 1")
        assert bob.game is None
        assert bob.left is not None
        assert (bob.left.reason, bob.left.message) == ("kicked", "not you")
        await wait_all_tasks_blocked()
        assert await ann.get_game_dir() == {}


async def test_pushes_reach_those_they_are_for_and_no_one_else() -> None:
    async with (
        hosting(Lounge) as server,
        server.client("ann") as ann,
        server.client("bob") as bob,
        server.client("eve") as eve,
    ):
        await ann.create_game("table 1")
        await bob.join_game("table 1")
        await eve.join_game("table 1", spectate=True)
        readers = {client.username: client.pushes(Said) for client in (ann, bob, eve)}
        await ann.call(Do("push"))
        await ann.call(Do("push to", "bob"))
        await ann.call(Do("close"))
        heard = {name: [said.text async for said in reader] for name, reader in readers.items()}
        assert heard == {
            "ann": ["last orders"],
            "bob": ["hello", "psst", "last orders"],
            "eve": ["hello", "last orders"],
        }


async def test_spectators_watch_and_cannot_play() -> None:
    async with (
        hosting(Lounge) as server,
        server.client("ann") as ann,
        server.client("bob") as bob,
    ):
        await ann.create_game("table 1")
        answer = await bob.join_game("table 1", spectate=True)
        assert "watch" in answer.message
        assert bob.get_state(dict) == {"notes": 4}
        assert bob.players == ann.players == {"ann": True}
        for attempt in (Packet("move"), Packet("Do", {"what": "lock"})):
            refused = await bob.request(attempt)
            assert (refused.status, refused.message) == (
                Status.UNEXPECTED,
                "You only watch this game.",
            )
        await ann.call(Do("lock"))
        await bob.leave_game()
        await bob.join_game("table 1", spectate=True)
        await ann.call(Do("kick", "bob"))
        await wait_all_tasks_blocked()
        assert bob.game is None
        # The game never heard of them.
        assert all(note[1] != "bob" for note in (await notes(ann))[3:])


async def test_a_spectator_keeps_no_seat_but_a_game_alive() -> None:
    class One(Game):
        max_players = 1

    async with hosting(One) as server, server.client("ann") as ann, server.client("bob") as bob:
        await ann.join_game("table 1", spectate=True)
        await bob.join_game("table 1")
        # Full, and no more than that.
        info = (await bob.get_game_dir())["table 1"]
        assert (info.users, info.max_players) == (1, 1)
        await bob.leave_game()
        assert (await bob.get_game_dir())["table 1"].users == 0
        await ann.leave_game()
        await wait_all_tasks_blocked()
        assert await bob.get_game_dir() == {}


async def test_randomness_comes_from_the_environment() -> None:
    def numbered(number: int) -> Any:
        return attrs.evolve(cheap_environment(), random_bytes=lambda count: bytes([number]) * count)

    found = []
    for number in (1, 1, 2):
        async with hosting(Lounge, environment=numbered(number)) as server:
            async with server.client("ann") as ann:
                await ann.create_game("table 1")
                found.append((await ann.call(Do("random"))).payload["numbers"])
    assert found[0] == found[1] != found[2]


async def test_clients_know_the_time_of_the_room(autojump_clock: MockClock) -> None:
    async with (
        hosting(Lounge) as server,
        server.client("ann") as ann,
        server.client("bob") as bob,
    ):
        await ann.create_game("table 1")
        await trio.sleep(3)
        await bob.join_game("table 1")
        await trio.sleep(2)
        time = (await ann.call(Do("time"))).payload["time"]
        assert time == pytest.approx(5, abs=0.01)
        assert ann.time() == pytest.approx(time, abs=0.01)
        assert bob.time() == pytest.approx(time, abs=0.01)


async def test_a_game_hears_of_drops_and_returns(autojump_clock: MockClock) -> None:
    async with hosting(Lounge, resume_grace=30) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        bob = server.client("bob")
        async with bob:
            await bob.join_game("table 1")
            server.network.cut("bob")
            await trio.sleep(1)
            assert ann.players == {"ann": True, "bob": False}
            assert (await notes(ann))[-1] == ["dropped", "bob", ["ann", "bob"]]
            server.network.heal("bob")
            await trio.sleep(10)
            assert ann.players == {"ann": True, "bob": True}
            assert (await notes(ann))[-1] == ["resumed", "bob", ["ann", "bob"]]
            server.network.cut("bob")
            await trio.sleep(40)
            assert ann.players == {"ann": True}
            assert [note[0] for note in (await notes(ann))[-2:]] == ["dropped", "left"]


# Saving.


class Saved(Game):
    """A script over saved state."""

    persistent = True

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.board = self.room.saved(Board) or Board([])
        self.given = save_string

    def view(self) -> Board:
        return self.board

    def get_save_string(self) -> Board:
        return self.board

    async def run(self) -> None:
        while True:
            self.board.turn = f"round {len(self.board.cells)} of {self.room.options.get('size')}"
            (player, *_) = await self.room.wait_players(1)
            answer = await self.room.ask(player, Said("next"), Do)
            self.board.cells.append(len(answer.what))
            await self.room.save()


@pytest.mark.parametrize("name", ["save.db", "save.json"])
async def test_after_a_restart_run_starts_again_over_what_was_saved(
    tmp_path: Path, name: str
) -> None:
    save_file = tmp_path / name
    async with hosting(Saved, save_file=save_file, autosave_interval=1e6) as server:
        async with server.client("ann") as ann:
            await ann.create_game("table 1", options={"size": 3}, password="pw")
            questions = ann.questions(Said)
            await (await anext(questions)).answer(Do("four"))
            await anext(questions)
            assert ann.get_state(Board) == Board([4], "round 1 of 3")
            # With the question open: that loses nothing, and is no fault.
            server.shutdown()
            await wait_all_tasks_blocked()
    async with hosting(Saved, save_file=save_file) as server, server.client("bob") as bob:
        info = (await bob.get_game_dir())["table 1"]
        assert (info.options, info.password_protected) == ({"size": 3}, True)
        with pytest.raises(RequestFailed, match="password"):
            await bob.join_game("table 1")
        await bob.join_game("table 1", password="pw")
        assert await bob.wait_state(Board) == Board([4], "round 1 of 3")
        question = await anext(bob.questions(Said))
        await question.answer(Do("seven"))
        await bob.wait_state(Board, lambda board: board.cells == [4, 5])


async def test_save_is_on_disk_when_it_returns(tmp_path: Path) -> None:
    class Careful(Saved):
        @on(Do)
        async def do(self, player: str, message: Do) -> Response:
            self.board.cells = [7, 7]
            await self.room.save()
            return Response(save_file.read_text())

    save_file = tmp_path / "save.json"
    async with hosting(Careful, save_file=save_file, autosave_interval=1e6) as server:
        async with server.client("ann") as ann:
            await ann.create_game("table 1")
            saved = json.loads((await ann.call(Do("save"))).message)
            (game,) = saved["games"]
            # The shape is PGNet's.
            assert game.keys() == {"name", "password", "data"}
            assert json.loads(game["data"])["cells"] == [7, 7]


async def test_a_shutdown_saves_a_game_that_waits_for_an_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_file = tmp_path / "save.json"
    async with hosting(Saved, save_file=save_file, autosave_interval=1e6) as server:
        async with server.client("ann") as ann:
            await ann.create_game("table 1")
            await anext(ann.questions())
            server.shutdown()
            await wait_all_tasks_blocked()
    assert "round 0" in save_file.read_text()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_what_was_saved_has_to_be_the_model(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_file = tmp_path / "save.json"
    text = (
        '{"users": [], "registration": true, "invite_codes": {},'
        ' "games": [{"name": "table 1", "password": "", "data": "{}"}]}'
    )
    save_file.write_text(text)
    async with hosting_faults(Saved, save_file=save_file) as server, server.client("ann") as ann:
        assert await ann.get_game_dir() == {}
    assert "cells" in caplog.text
    assert CodecError.__name__ in caplog.text
    assert json.loads(save_file.read_text())["games"] == json.loads(text)["games"]


async def test_a_save_file_without_persistent_games_gets_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    caplog.set_level("INFO", "pgnet_trio")
    async with hosting(Lounge, save_file=tmp_path / "save.db") as server:
        async with server.client("ann") as ann, server.client("bob") as bob:
            await ann.create_game("table 1")
            await bob.create_game("table 2")
            await trio.sleep(60)
    (line,) = [record for record in caplog.records if "persistent" in record.getMessage()]
    assert "table" in line.getMessage()


@pytest.mark.parametrize("options", [{}, {"size": 3, "deep": {"x": [None, "\udc80"]}}])
@pytest.mark.parametrize(
    "save_string", ["", "text", "\udc80", '{"__pgnet__.options":{},"save_string":"x"}', "{}"]
)
def test_options_are_saved_beside_the_save_string(
    save_string: str, options: dict[str, Any]
) -> None:
    data = pack(save_string, options)
    assert unpack(data) == (save_string, options)
    if not options and not save_string.startswith('{"__pgnet__'):
        assert data == save_string


@pytest.mark.parametrize("data", ['{"__pgnet__.options":', '{"__pgnet__.options":5}'])
def test_what_only_looks_like_options_is_a_save_string(data: str) -> None:
    assert unpack(data) == (data, {})


# Names.


def test_a_name_of_ours_used_otherwise_raises_when_the_class_is_made() -> None:
    def define(**names: Any) -> type[Game]:
        return type("Old", (Game,), names)

    for name, value, says in (
        ("room", "hall", "room"),
        ("_room", None, "_room"),
        ("run", lambda self: None, "async def"),
        ("run", None, "use another name"),
        ("view", {"a": 1}, "use another name for dict"),
        ("view", lambda self, player, depth: None, r"\(self\) or \(self, player\)"),
        ("update", lambda self, seconds: None, r"has to take \(self\)"),
        ("player_dropped", lambda self: None, r"has to take \(self, player\)"),
        ("handle_packet", lambda self: None, r"has to take \(self, packet\)"),
        ("max_players", "two", "None or an int over 0"),
        ("max_players", 0, "None or an int over 0"),
        ("on_crash", "explode", "'close' or 'restart'"),
        ("sync_rate", "fast", "a number of times a second"),
        ("input_delay", 0.006, "seconds from 0 to 0.005"),
        ("input_delay", -1, "seconds from 0 to 0.005"),
        ("update_rate", float("inf"), "a number of times a second"),
    ):
        with pytest.raises(TypeError, match=says):
            define(**{name: value})

    async def later(self: Game) -> str:
        return ""

    for name in ("view", "get_save_string", "get_lobby_info"):
        with pytest.raises(TypeError, match="plain def"):
            define(**{name: later})

    class Mixin:
        def run(self) -> None: ...

    with pytest.raises(TypeError, match="async def"):
        type("Mixed", (Mixin, Game), {})

    async def run_something(self: Game) -> None: ...

    class Right(Game):
        view = staticmethod(lambda player: None)

        async def run(self, *extra: int) -> None: ...

    assert issubclass(Right, Game)


def method(self: Any, *arguments: Any) -> None: ...


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("user_join", method, "user_joined"),
        ("on_user_joined", method, "user_joined"),
        ("player_joined", method, "user_joined"),
        ("user_leave", method, "user_left"),
        ("player_left", method, "user_left"),
        ("user_dropped", method, "player_dropped"),
        ("player_resume", method, "player_resumed"),
        ("handle_packets", method, "handle_packet"),
        ("get_lobby_infos", staticmethod(method), "get_lobby_info"),
        ("udpate", method, "update"),
        ("persistant", True, "persistent"),
        ("max_player", property(method), "max_players"),
        ("heartbeats_rate", 5, "heartbeat_rate"),
    ],
)
def test_nearly_a_name_of_ours_that_nothing_uses_raises_when_the_class_is_made(
    name: str, value: Any, meant: str
) -> None:
    with pytest.raises(TypeError, match=rf"^Cards\.{name}: .* did you mean {meant}\?"):
        type("Cards", (Game,), {name: value})


def test_a_name_that_is_like_one_of_ours_may_be_used() -> None:
    class Cards(Game):
        """Uses each of its own names, in ways of its own."""

        max_player = 3

        def user_join(self) -> Any:
            return self.max_player, getattr(self, "player_left", None)

        def player_left(self) -> list[str]:
            return []

        def user_joined(self, username: str, /) -> None:
            self.user_join()

        @on(Do)
        def player_drops(self, player: str, message: Do) -> None: ...

    class More(Cards):
        def user_join(self) -> Any:
            return None

        def views(self) -> None: ...

        def review(self) -> None: ...

        save_string: str | None = None

    assert issubclass(More, Game)


@attrs.define
class Seats:
    taken: set[str]


@attrs.define
class Later:
    seats: list[NotThereYet]  # type: ignore[name-defined]  # noqa: F821 - there is none, which is what is tested


def define_saved(function: Any) -> type[Game]:
    return type("Cards", (Game,), {"get_save_string": function})


def test_what_can_never_be_saved_raises_when_the_class_is_made() -> None:
    def annotated(self: Any) -> dict[str, int]:
        return self.counts  # type: ignore[no-any-return]  # its annotation is what is tested

    def model(self: Any) -> Seats:
        return self.seats  # type: ignore[no-any-return]  # its annotation is what is tested

    def either(self: Any) -> str | Seats:
        return ""

    def display(self: Any):  # type: ignore[no-untyped-def]  # as authors write it
        if self.over:
            return ""
        return {"counts": self.counts}

    def call(self: Any):  # type: ignore[no-untyped-def]  # as authors write it
        return list(self.counts)

    def made(self: Any):  # type: ignore[no-untyped-def]  # as authors write it
        return Seats(set(self.room.players))

    for function, says in (
        (annotated, "is annotated to return dict; a game is saved as a str or an attrs model"),
        (model, r"cannot be saved: Seats\.taken: set\[str\] cannot travel; declare list\[str\]"),
        (either, r"cannot be saved: Seats\.taken: set\[str\] cannot travel"),
        (display, r"returns a dict in line \d+; a game is saved as a str or an attrs model"),
        (call, r"returns a list in line \d+;"),
        (made, r"cannot be saved: Seats\.taken"),
    ):
        with pytest.raises(TypeError, match=rf"^Cards\.get_save_string .*{says}"):
            define_saved(function)


def test_what_may_be_saved_is_left_alone() -> None:
    def text(self: Any) -> str:
        def inner() -> dict[str, int]:
            return {}

        return json.dumps(inner())

    def early(self: Any) -> Later:
        return Later([])

    def unknown(self: Any) -> NowhereAtAll:  # type: ignore[name-defined]  # noqa: F821 - there is none, which is what is tested
        return NowhereAtAll()  # type: ignore[name-defined]  # noqa: F821 - there is none, which is what is tested

    def anything(self: Any, dict: Any = str):  # type: ignore[no-untyped-def]  # as authors write it
        return dict(self.counts)

    for function in text, early, unknown, anything, lambda self: "":
        define_saved(function)
    # Of a class that is made by a program there is no source.
    code = compile("lambda self: {}", "<made>", "eval")
    define_saved(eval(code))  # noqa: S307 - a text of this test


async def test_a_room_that_is_assigned_is_a_clear_fault(caplog: pytest.LogCaptureFixture) -> None:
    class Old(Game):
        def __init__(self, name: str, save_string: str | None = None) -> None:
            self.room = "hall"  # type: ignore[assignment, misc]  # the fault that is tested

    async with hosting_faults(Old) as server, server.client("ann") as ann:
        with pytest.raises(RequestFailed, match="could not be made"):
            await ann.create_game("table 1")
    assert "Old.room: the server's room around the game has this name" in caplog.text


@attrs.define
class Slotted(Game):
    name: str
    save_string: str | None = None
    count: int = 0

    @on(Do)
    def do(self, player: str, message: Do) -> Said:
        self.count += 1
        return Said(f"{self.name} {self.count} {self.room.name}")


async def test_a_game_may_be_an_attrs_class() -> None:
    async with hosting(Slotted) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        assert await ann.call(Do("x"), Said) == Said("table 1 1 table 1")


@pytest.mark.parametrize("protocol", [1, 2])
async def test_a_game_with_the_original_hooks_only_runs_unchanged(
    protocol: int, autojump_clock: MockClock
) -> None:
    heartbeats: list[Any] = []
    async with hosting(ExampleGame) as server, server.client("ann", protocol=protocol) as ann:
        ann.on_heartbeat = lambda response: heartbeats.append(response.payload["log"])
        await ann.create_game("table 1")
        await tell(ann, "hello")
        await trio.sleep(1)
        assert heartbeats[-1] == ["Game started", "Joined: ann", "ann says: 'hello'"]
        info = (await ann.get_game_dir())["table 1"]
        assert (info.info, info.max_players, info.options) == ("3 entries in the log", None, {})
        await ann.leave_game()
        await ann.join_game("table 1")
        assert (await tell(ann, Request.GAME_DIR)).payload["games"]["table 1"].keys() == {
            "name",
            "users",
            "password_protected",
            "info",
        }


@pytest.mark.parametrize("what", ["view", "push", "nested"])
async def test_what_protocol_1_cannot_carry_refuses_its_players(what: str) -> None:
    class Shows(Game):
        def view(self) -> int:
            return 1

    class Pushes(Game):
        def user_joined(self, username: str, /) -> None:
            self.room.push("hello")

    class Nested(Game):
        async def run(self) -> None:
            async def ask_all() -> None:
                await self.room.ask_all([], Said(""), Said)

            await self.room.wait_players(2)
            await ask_all()

    game = {"view": Shows, "push": Pushes, "nested": Nested}[what]
    async with hosting(game) as server, server.client("ann", protocol=1) as ann:
        with pytest.raises(RequestFailed, match="protocol 2"):
            await ann.create_game("table 1")

    class Both(game):  # type: ignore[valid-type, misc]  # one class or the other
        def handle_heartbeat(self, packet: Packet, /) -> Response:
            return Response("")

    async with hosting(Both) as server, server.client("ann", protocol=1) as ann:
        await ann.create_game("table 1")


def tell_all(room: Room) -> None:
    room.push("hello")


async def ask_first(room: Room) -> None:
    with contextlib.suppress(PlayerLeft):
        await room.ask(room.players[0], Said("?"), Said)


@pytest.mark.parametrize("what", ["push", "ask"])
async def test_a_need_of_protocol_2_that_shows_late_is_told_once(
    what: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Helped(Game):
        def handle_game_packet(self, packet: Packet, /) -> Response:
            if what == "push":
                tell_all(self.room)
            else:
                self.room.nursery.start_soon(ask_first, self.room)
            return Response("")

    async with (
        hosting(Helped) as server,
        server.client("ann", protocol=1) as ann,
        server.client("bob", protocol=1) as bob,
    ):
        await ann.create_game("table 1")
        for _ in range(2):
            await ann.request(Packet("go"))
        await wait_all_tasks_blocked()
        (warning,) = [record.getMessage() for record in caplog.records]
        assert "The game 'table 1' pushes or asks" in warning
        assert "do not get it: ann. " in warning
        assert "Server(minimum_protocol=2)" in warning
        with pytest.raises(RequestFailed, match="protocol 2"):
            await bob.join_game("table 1")


async def test_a_refused_player_never_left() -> None:
    class Picky(Game):
        def __init__(self, name: str, save_string: str | None = None) -> None:
            self.seen: list[str] = []

        async def user_joined(self, username: str, /) -> None:
            await trio.lowlevel.checkpoint()
            if username != "ann":
                raise Reject("no")

        def user_left(self, username: str, /) -> None:
            self.seen.append(username)

        def handle_game_packet(self, packet: Packet, /) -> Response:
            return Response("", {"left": self.seen, "players": self.room.players})

    async with hosting(Picky) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        async with server.client("bob") as bob:
            with pytest.raises(RequestFailed):
                await bob.join_game("table 1")
        await wait_all_tasks_blocked()
        assert (await tell(ann, "look")).payload == {"left": [], "players": ["ann"]}


async def test_who_takes_over_during_a_turn_is_shown_the_game_at_once(
    autojump_clock: MockClock,
) -> None:
    class Slow(Game):
        count = 0

        def view(self) -> int:
            return self.count

        async def handle_game_packet(self, packet: Packet, /) -> Response:
            await trio.sleep(5)
            self.count += 1
            return Response("")

    async with hosting(Slow) as server, server.client("ann") as old:
        await old.create_game("table 1")
        old.send(Packet("think"))
        await trio.sleep(1)
        async with server.client("ann") as new:
            assert (new.game, new.get_state(int)) == ("table 1", 0)
            assert await new.wait_state(int, lambda count: count == 1) == 1
            assert new.game == "table 1"
            assert new.players == {"ann": True}


async def test_a_turn_that_keeps_others_waiting_is_named_once(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Stuck(Game):
        async def handle_game_packet(self, packet: Packet, /) -> Response:
            await trio.sleep(3600)
            return Response("")

    async with hosting(Stuck) as server, playing(server, "ann", "bob", game="hall") as (ann, bob):
        ann.send(Packet("think"))
        await trio.sleep(4)
        bob.send(Packet("hello"))
        await trio.sleep(4)
        assert "takes no other turn" not in caplog.text
        bob.send(Packet("hello"))
        bob.send(Packet("hello"))
        await trio.sleep(4)
    (line,) = [each for each in caplog.messages if "takes no other turn" in each]
    assert re.search(
        r"The game 'hall' .*Stuck\.handle_game_packet waits, for 8 s now, at .*:\d", line
    )


async def test_a_player_whom_the_check_sends_away_is_out_at_once() -> None:
    class Strict(Game):
        async def run(self) -> None:
            names = await self.room.wait_players(2)
            await self.room.ask(names[1], Said("why?"), Do, check=self.check)

        def check(self, answer: Do) -> None:
            self.room.push(Said(answer.what))
            self.room.kick("bob", "wrong answer")
            raise Reject("wrong")

    async with (
        hosting(Strict) as server,
        server.client("ann") as ann,
        server.client("bob") as bob,
    ):
        await ann.create_game("table 1")
        await bob.join_game("table 1")
        pushes = ann.pushes(Said)
        question = await anext(bob.questions())
        with pytest.raises(RequestFailed, match="wrong"):
            await question.answer(Do("because"))
        await wait_all_tasks_blocked()
        assert bob.left is not None
        assert (bob.left.reason, bob.left.message) == ("kicked", "wrong answer")
        assert await anext(pushes) == Said("because")


async def test_who_is_kicked_while_joining_is_told_so() -> None:
    class Bouncer(Game):
        def user_joined(self, username: str, /) -> None:
            if username == "bob":
                self.room.kick(username, "not tonight")

    async with (
        hosting(Bouncer) as server,
        server.client("ann") as ann,
        server.client("bob") as bob,
    ):
        await ann.create_game("table 1")
        with pytest.raises(RequestFailed, match="sent you away"):
            await bob.join_game("table 1")
        assert bob.left is not None
        assert bob.left.message == "not tonight"
        assert ann.players == {"ann": True}


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("push", "messages that begin so are the server's own"),
        ("info", "get_lobby_info() has to return a str; it returned 5"),
        ("save", "get_save_string() has to return a str or an attrs model; it returned a int"),
        ("answer", "go returned what cannot be an answer"),
    ],
)
async def test_wrong_values_of_hooks_are_named(
    what: str, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Wrong(Game):
        persistent = True
        wrong = False

        def get_lobby_info(self) -> str:
            return 5 if self.wrong and what == "info" else ""  # type: ignore[return-value]  # wrong on purpose

        def get_save_string(self) -> Any:
            return 5

        @on(Do)
        async def go(self, player: str, message: Do) -> Any:
            self.wrong = True
            if what == "push":
                self.room.push("__pgnet__.players", {})
            elif what == "save":
                await self.room.save()
            return Response("") if what != "answer" else 5

    async with hosting_faults(Wrong) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        answer = await ann.request(to_packet(Do("go")))
        assert without_error_id(answer.message).endswith("crashed; the server's log says why.")
        assert ann.left is not None
        assert ann.left.reason == "crashed"
    assert says in caplog.text


async def test_an_update_that_is_late_is_skipped(autojump_clock: MockClock) -> None:
    times: list[float] = []

    class Late(Game):
        update_rate = 10

        async def update(self) -> None:
            times.append(self.room.time())
            if len(times) == 3:
                await trio.sleep(0.55)

    async with hosting(Late) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        await trio.sleep(1.25)
        # On time again, and never twice for what was missed.
        assert times == pytest.approx([0.1, 0.2, 0.3, 0.9, 1.0, 1.1, 1.2], abs=0.06)
        assert server.stats().games["table 1"].room.missed_ticks == 5

"""State that syncs itself: what arrives, in which order, how often, and what never does."""

from __future__ import annotations

import itertools
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pgnet_trio import (
    Client,
    CodecError,
    Disconnected,
    Game,
    Packet,
    RequestFailed,
    Response,
    on,
)
from pgnet_trio.client.connector import Connector
from pgnet_trio.client.route import Route
from pgnet_trio.client.run import ClientRun
from pgnet_trio.codec import encode_plain
from pgnet_trio.messages import wall_clock
from pgnet_trio.patch import diff, diff_columns
from pgnet_trio.protocol.events import (
    ClientEvent,
    GameChanged,
    Patched,
    Pushed,
    ResponseReceived,
    StateShown,
)
from pgnet_trio.protocol.v2 import ClientProtocol
from pgnet_trio.protocol.v2.envelopes import encode_patch
from pgnet_trio.protocol.v2.features import COLUMNS, FEATURES
from pgnet_trio.server.room.snapshots import Snapshot
from pgnet_trio.testing import HostedServer, hosting
from tests.kit.hosting import hosting_faults

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pgnet_trio.transport import Transport


@attrs.define
class Add:
    number: int


@attrs.define
class Added:
    number: int


@attrs.define
class Start:
    """Starts a task of the room."""

    how: str = ""


@attrs.define
class Numbers:
    numbers: list[int] = attrs.field(factory=list)
    players: list[str] = attrs.field(factory=list)


class Adding(Game):
    """All see the same: numbers that players add."""

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.state = Numbers()

    def view(self) -> Numbers:
        return self.state

    async def user_joined(self, username: str, /) -> None:
        await trio.lowlevel.checkpoint()
        self.state.players.append(username)
        self.room.push("welcome", {"to": username})

    def user_left(self, username: str, /) -> None:
        self.state.players.remove(username)

    @on(Add)
    def add(self, player: str, message: Add) -> Added:
        self.room.push(Added(message.number))
        self.state.numbers.append(message.number)
        return Added(len(self.state.numbers))


class WatchingRun(ClientRun):
    """Notes what comes, in the order of arrival."""

    def __init__(self, *parts: Any, **options: Any) -> None:
        super().__init__(*parts, **options)
        self.seen: list[str] = []

    def take_event(self, event: ClientEvent) -> None:
        match event:
            case StateShown():
                self.seen.append(f"state {event.data}")
            case Patched():
                self.seen.append("patch")
            case ResponseReceived():
                self.seen.append(f"answer {event.response.message}")
            case Pushed():
                self.seen.append(f"push {event.push.message}")
            case GameChanged():
                self.seen.append(f"game {event.name}")
        super().take_event(event)


class Watching(Client):
    """Shows what came in its run."""

    def _make_run(self, status: str) -> ClientRun:
        return WatchingRun(
            self,
            Route(self._connectors, self._environment.random_bytes),
            self._credentials,
            self._environment,
            status=status,
            minimum_protocol=self._minimum_protocol,
            reconnect_for=self._reconnect_for,
        )

    @property
    def seen(self) -> list[str]:
        assert isinstance(self._run, WatchingRun)
        return self._run.seen


def watching(server: HostedServer, username: str) -> Watching:
    return server.client(username, client_class=Watching)


async def test_state_comes_before_pushes_and_the_answer() -> None:
    async with hosting(Adding) as server, watching(server, "ann") as ann:
        await ann.create_game("table 1")
        assert ann.seen == [
            "game table 1",
            "state {'numbers': [], 'players': ['ann']}",
            "push __pgnet__.players",
            "push welcome",
            "answer You are in the game 'table 1'.",
        ]
        ann.seen.clear()
        async with watching(server, "bob") as bob:
            await bob.join_game("table 1")
            assert bob.get_state(Numbers) == Numbers([], ["ann", "bob"])
            await wait_all_tasks_blocked()
            # Ann sees what the joining of bob has changed.
            assert ann.seen == ["patch", "push welcome", "push __pgnet__.players"]
            assert ann.get_state(Numbers) == bob.get_state(Numbers)
            ann.seen.clear()
            bob.seen.clear()
            await ann.call(Add(5))
            await wait_all_tasks_blocked()
            assert ann.seen == ["patch", "push Added", "answer Added"]
            assert bob.seen == ["patch", "push Added"]
        await wait_all_tasks_blocked()
        assert ann.get_state(Numbers) == Numbers([5], ["ann"])
        ann.seen.clear()
        await ann.leave_game()
        assert ann.seen[0] == "game None"


async def test_nothing_is_sent_where_nothing_changed() -> None:
    class Same(Adding):
        @on(Start)
        def start(self, player: str, message: Start) -> None:
            self.state = Numbers(list(self.state.numbers), list(self.state.players))

    async with hosting(Same) as server, watching(server, "ann") as ann:
        await ann.create_game("table 1")
        ann.seen.clear()
        await ann.call(Start())
        assert ann.seen == ["answer "]


async def test_each_step_of_a_task_is_found(autojump_clock: MockClock) -> None:
    class Scripted(Adding):
        async def run(self) -> None:
            for number in range(2):
                await trio.sleep(10)
                self.state.numbers.append(number)
            await trio.sleep_forever()

        @on(Start)
        def start(self, player: str, message: Start) -> None:
            if message.how == "own nursery":
                self.room.nursery.start_soon(self.own_nursery)
            else:
                self.room.nursery.start_soon(self.count)

        async def count(self) -> None:
            for number in range(10, 13):
                self.state.numbers.append(number)
                self.room.push(f"count {number}")
                await trio.lowlevel.checkpoint()
            self.state.numbers.append(13)

        async def own_nursery(self) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.sync_by_itself)

        async def sync_by_itself(self) -> None:
            await trio.sleep(1)
            self.state.numbers.append(50)
            self.room.sync()
            await trio.sleep(1)
            self.state.numbers.append(51)
            self.room.push("by itself")
            await trio.sleep(1)

    async with hosting(Scripted) as server, watching(server, "ann") as ann:
        await ann.create_game("table 1")
        ann.seen.clear()
        await trio.sleep(11)
        assert ann.seen == ["patch"]
        assert ann.get_state(Numbers).numbers == [0]
        await trio.sleep(10)
        assert ann.seen == ["patch", "patch"]
        ann.seen.clear()
        await ann.call(Start())
        await wait_all_tasks_blocked()
        assert [event for event in ann.seen if not event.startswith("answer")] == [
            "patch",
            "push count 10",
            "patch",
            "push count 11",
            "patch",
            "push count 12",
            "patch",
        ]
        assert ann.get_state(Numbers).numbers == [0, 1, 10, 11, 12, 13]
        await ann.call(Start("own nursery"))
        ann.seen.clear()
        await trio.sleep(1.5)
        assert ann.seen == ["patch"]
        await trio.sleep(1)
        assert ann.seen == ["patch", "patch", "push by itself"]


@pytest.mark.parametrize("is_async", [False, True])
async def test_ticks_send_no_more_than_the_sync_rate(
    is_async: bool, autojump_clock: MockClock
) -> None:
    class Ticking(Adding):
        update_rate = 20
        sync_rate = 4
        ticks = 0

        def tick(self) -> None:
            self.ticks += 1
            if self.ticks <= 30:
                self.state.numbers.append(self.ticks)

        async def tick_later(self) -> None:
            self.tick()
            await trio.lowlevel.checkpoint()

        update = tick_later if is_async else tick

    async with hosting(Ticking) as server, watching(server, "ann") as ann:
        await ann.create_game("table 1")
        ann.seen.clear()
        await trio.sleep(1.01)
        assert 3 <= len(ann.seen) <= 5
        # An answer does not wait for it, and brings the state along.
        ann.seen.clear()
        await ann.call(Add(100))
        assert ann.seen == ["patch", "push Added", "answer Added"]
        assert 100 in ann.get_state(Numbers).numbers
        # The last change is not lost, though nothing comes after it.
        await trio.sleep(5)
        assert ann.get_state(Numbers).numbers[-1] == 30
        ann.seen.clear()
        await trio.sleep(5)
        assert ann.seen == []


@pytest.mark.parametrize("rate", [3.0, 7.0, 0.3, 1e-9])
async def test_any_sync_rate_lets_time_go_on(rate: float, autojump_clock: MockClock) -> None:
    class Ticking(Adding):
        update_rate = 13
        sync_rate = rate

        def update(self) -> None:
            self.state.numbers.append(0)

    async with hosting(Ticking) as server, watching(server, "ann") as ann:
        await ann.create_game("table 1")
        start = trio.current_time()
        ann.seen.clear()
        await trio.sleep(30)
        assert trio.current_time() == start + 30
        assert 30 * rate - 2 <= len(ann.seen) <= 30 * rate + 2


@pytest.mark.parametrize("is_async", [False, True])
async def test_sends_that_nobody_waits_for_are_limited_too(
    is_async: bool, autojump_clock: MockClock
) -> None:
    class Later(Adding):
        @on(Add)
        async def add(self, player: str, message: Add) -> Added:  # type: ignore[override]  # async where the other is not
            added = Adding.add(self, player, message)
            await trio.lowlevel.checkpoint()
            return added

    async with hosting(Later if is_async else Adding) as server, watching(server, "ann") as ann:
        await ann.create_game("table 1")
        await trio.sleep(1)
        ann.seen.clear()
        for number in range(50):
            ann.send(Add(number))
            await wait_all_tasks_blocked()
        patches = ann.seen.count("patch")
        assert patches <= 2
        assert ann.seen.count("push Added") == 50
        await trio.sleep(0.1)
        assert ann.seen.count("patch") <= 3
        assert ann.get_state(Numbers).numbers == list(range(50))


async def test_a_resumed_session_gets_all_of_the_state(autojump_clock: MockClock) -> None:
    async with hosting(Adding) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        bob = server.client("bob")
        async with bob:
            await bob.join_game("table 1")
            server.network.cut("bob")
            for number in range(5):
                await ann.call(Add(number))
            bob_seen: list[Any] = []
            bob.on_state = lambda state: bob_seen.append(state["numbers"])
            server.network.heal("bob")
            await bob.wait_state(Numbers, lambda state: len(state.numbers) == 5)
            await wait_all_tasks_blocked()
            assert bob_seen == [[], [0, 1, 2, 3, 4]]
            await ann.call(Add(5))
            await wait_all_tasks_blocked()
            assert bob.get_state(Numbers) == ann.get_state(Numbers)
        async with server.client("ann") as other:
            assert other.get_state(Numbers) == Numbers([0, 1, 2, 3, 4, 5], ["ann"])


class Gated(Connector):
    """A way that reads nothing while the gate is closed, and holds next to nothing meanwhile."""

    encrypted = False

    def __init__(self, server: HostedServer) -> None:
        self._server = server
        self.gate = trio.Event()
        self.gate.set()
        self.frames: list[str | bytes] = []

    def __str__(self) -> str:
        return "memory"

    def connect(self, max_message_size: int | None) -> AbstractAsyncContextManager[Transport]:
        return self._connect()

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[Transport]:
        async with aclosing(self._server.connect_in_memory()) as transport:
            receive = transport.receive

            async def receive_when_open() -> str | bytes:
                await self.gate.wait()
                frame = await receive()
                await self.gate.wait()
                self.frames.append(frame)
                return frame

            transport.receive = receive_when_open  # type: ignore[method-assign]  # replaced for this test
            yield transport


async def test_who_is_slow_gets_fewer_and_larger_steps() -> None:
    async with hosting(Adding) as server, server.client("ann") as ann:
        way = Gated(server)
        async with Watching(way, username="bob") as bob:
            await ann.create_game("table 1")
            await bob.join_game("table 1", spectate=True)
            await wait_all_tasks_blocked()
            bob.seen.clear()
            way.gate = trio.Event()
            for number in range(500):
                await ann.call(Add(number))
            gate, way.gate = way.gate, trio.Event()
            way.gate.set()
            gate.set()
            await bob.wait_state(Numbers, lambda state: len(state.numbers) == 500)
            await wait_all_tasks_blocked()
            assert bob.seen.count("patch") < 100
            assert bob.seen.count("push Added") == 500
            assert bob.get_state(Numbers) == ann.get_state(Numbers)


async def test_a_wrong_base_heals_by_a_full_state() -> None:
    async with hosting(Adding) as server, watching(server, "ann") as ann:
        await ann.create_game("table 1")
        ann._run.view._state_version += 7
        ann.seen.clear()
        await ann.call(Add(5))
        await ann.wait_state(Numbers, lambda state: state.numbers == [5])
        assert ann.seen[0] == "patch"
        assert ann.seen[-1] == "state {'numbers': [5], 'players': ['ann']}"
        ann.seen.clear()
        await ann.call(Add(6))
        assert ann.seen[0] == "patch"
        assert ann.get_state(Numbers).numbers == [5, 6]


class Hands(Game):
    """Everybody sees their own hand, and how many cards the others have."""

    secrets: tuple[int, ...] = (1, 2)

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.hands: dict[str, list[int]] = {}

    def user_joined(self, username: str, /) -> None:
        self.hands[username] = [] if username == "ann" else list(self.secrets)

    def view(self, player: str | None) -> dict[str, Any]:
        return {
            "hand": self.hands.get(player or ""),
            "cards": {name: len(hand) for name, hand in self.hands.items()},
        }

    @on(Add)
    def add(self, player: str, message: Add) -> None:
        self.hands[player].append(message.number)
        self.room.push(Added(message.number), to=player)


async def test_everybody_sees_their_own_view() -> None:
    async with (
        hosting(Hands) as server,
        server.client("ann") as ann,
        server.client("bob") as bob,
        server.client("eve") as eve,
    ):
        await ann.create_game("table 1")
        await bob.join_game("table 1")
        await eve.join_game("table 1", spectate=True)
        await ann.call(Add(9))
        await wait_all_tasks_blocked()
        cards = {"ann": 1, "bob": 2}
        assert ann.get_state(dict) == {"hand": [9], "cards": cards}
        assert bob.get_state(dict) == {"hand": [1, 2], "cards": cards}
        assert eve.get_state(dict) == {"hand": None, "cards": cards}


async def test_what_a_player_may_not_see_is_never_sent(autojump_clock: MockClock) -> None:
    async def frames_of_ann(secrets_of_bob: tuple[int, ...]) -> list[str | bytes]:
        class Secret(Hands):
            secrets = secrets_of_bob

        token = wall_clock.set(lambda: datetime(2026, 1, 1, tzinfo=UTC))
        try:
            async with hosting(Secret) as server:
                ways = {name: Gated(server) for name in ("ann", "eve")}
                async with (
                    Client(ways["ann"], username="ann") as ann,
                    Client(ways["eve"], username="eve") as eve,
                    server.client("bob") as bob,
                ):
                    await ann.create_game("table 1")
                    await eve.join_game("table 1", spectate=True)
                    await bob.join_game("table 1")
                    await ann.get_game_dir()
                    await bob.call(Add(secrets_of_bob[0]))
                    await ann.call(Add(7))
                    await wait_all_tasks_blocked()
                    for client in (ann, eve):
                        state = client.get_state(dict)
                        assert state["cards"]["bob"] == 3
        finally:
            wall_clock.reset(token)
        # After the welcome, which holds a random token.
        return [*ways["ann"].frames[2:], b"eve", *ways["eve"].frames[2:]]

    one = await frames_of_ann((41, 42))
    other = await frames_of_ann((81, 82))
    assert len(one) > 6
    assert one == other


class InRows(Adding):
    """The same as a table: its patches have columns."""

    def view(self) -> Any:
        total = sum(self.state.numbers)
        return {"numbers": self.state.numbers, "rows": [{"x": total}] * 10}


@pytest.mark.parametrize(
    ("game", "older", "forms"), [(Adding, 0, 1), (Adding, 4, 1), (InRows, 0, 1), (InRows, 4, 2)]
)
async def test_what_all_see_is_encoded_once_in_each_form(
    game: type[Adding], older: int, forms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {"encode": 0, "diff": 0, "diff_columns": 0}

    def counting(name: str, function: Any) -> Any:
        def count(*args: Any) -> Any:
            counts[name] += 1
            return function(*args)

        return count

    for name, function in (
        ("encode", encode_plain),
        ("diff", diff),
        ("diff_columns", diff_columns),
    ):
        monkeypatch.setattr(
            f"pgnet_trio.server.room.snapshots.{function.__name__}", counting(name, function)
        )

    options = ClientProtocol.__init__.__kwdefaults__
    assert options is not None
    async with hosting(game) as server, trio.open_nursery() as nursery:
        clients = [server.client(f"user{number}") for number in range(10)]
        for number, client in enumerate(clients):
            if number == 10 - older:
                monkeypatch.setitem(options, "features", FEATURES - {COLUMNS})
            await nursery.start(client.run)
            await client.join_game("table 1")
        await wait_all_tasks_blocked()
        counts.update(encode=0, diff=0, diff_columns=0)
        await clients[0].call(Add(5))
        await wait_all_tasks_blocked()
        # A patch that has no columns is for older clients too.
        assert counts == {"encode": forms, "diff": forms - 1, "diff_columns": 1}
        assert all(client.get_state(dict)["numbers"] == [5] for client in clients)
        for client in clients:
            client.disconnect()


async def test_who_came_at_different_times_gets_the_same_envelopes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[tuple[int, int]] = []

    def note(base: int, version: int, patch: bytes, *, columns: bool) -> bytes:
        made.append((base, version))
        return encode_patch(base, version, patch, columns=columns)

    monkeypatch.setattr("pgnet_trio.server.room.snapshots.encode_patch", note)
    async with hosting(Adding) as server, trio.open_nursery() as nursery:
        clients = [server.client(f"user{number}") for number in range(5)]
        for number, client in enumerate(clients):
            await nursery.start(client.run)
            if number == 4:
                # The versions of this one are ahead of the game's, and stay so.
                await client.join_game("table 2")
                for _ in range(20):
                    await client.call(Add(1))
                await client.leave_game()
            await client.join_game("table 1")
            await clients[0].call(Add(number))
        await wait_all_tasks_blocked()
        made.clear()
        await clients[0].call(Add(5))
        await wait_all_tasks_blocked()
        assert sorted(made) == [(10, 11), (23, 24)]
        assert all(client.get_state(dict)["numbers"] == [*range(6)] for client in clients)
        for client in clients:
            client.disconnect()


def test_a_snapshot_is_never_longer_than_it_says() -> None:
    # Differences of one byte make numbers of three bytes numbers of five, and five numbers of nine.
    states = [
        {f"ship {number}": {"x": x, "y": y} for number in range(50)}
        for x, y in [(65_530, 2**32 - 5), (65_540, 2**32 + 5), (65_541, -1), (-(2**40), 2**62)]
    ]
    snapshot = Snapshot(states[0])
    assert snapshot.largest_size == len(snapshot.encoded)
    for earlier, later in itertools.pairwise(states):
        snapshot = Snapshot(later, snapshot, diff_columns(earlier, later))
        assert len(snapshot.encoded) <= snapshot.largest_size < 20_000


async def test_a_view_of_nothing_is_no_state() -> None:
    class Shy(Adding):
        def view(self) -> Any:
            return self.state if self.state.numbers not in ([], [1, 2]) else None

    async with hosting(Shy) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        with pytest.raises(RuntimeError, match="no state"):
            ann.get_state(Numbers)
        await ann.call(Add(1))
        assert ann.get_state(Numbers).numbers == [1]
        await ann.call(Add(2))
        assert ann.get_state(Numbers | None) is None  # type: ignore[arg-type]  # a union is no class
        await ann.call(Add(3))
        assert ann.get_state(Numbers).numbers == [1, 2, 3]


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ({"a": [1, object()]}, "Showing.view returned something that cannot travel: a[1]"),
        (
            Numbers([1, "x"]),  # type: ignore[list-item]  # wrong on purpose
            "Showing.view returned something that cannot travel: Numbers.numbers[1]",
        ),
        (datetime(2026, 1, 1), "Showing.view returned something that cannot travel"),  # noqa: DTZ001 - naive on purpose
        ("x" * 2_000_000, "Showing.view returned a state of 2000005 bytes"),
    ],
)
async def test_a_view_that_cannot_travel_names_the_place(
    state: Any, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Showing(Game):
        def view(self) -> Any:
            return state if self.room.players else None

    games: list[str | None] = []
    async with hosting_faults(Showing) as server, server.client("ann") as ann:
        ann.on_game = games.append
        with pytest.raises(RequestFailed, match="crashed") as failed:
            await ann.create_game("table 1")
        # As where `user_joined` raises: they never were in.
        assert failed.value.response.game is ann.game is None
        await wait_all_tasks_blocked()
        assert games == []
        assert ann.left is None
    assert says in caplog.text


async def test_who_cannot_be_shown_the_game_is_not_in_it_when_it_is_made_again() -> None:
    made: list[list[str]] = []

    class Showing(Game):
        on_crash = "restart"

        def __init__(self, name: str, save_string: str | None = None) -> None:
            self.joined: list[str] = []
            made.append(self.joined)

        def user_joined(self, username: str, /) -> None:
            self.joined.append(username)

        def view(self, player: str | None) -> Any:
            return object() if player == "bob" else self.room.players

    async with hosting_faults(Showing) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        async with server.client("bob") as bob:
            with pytest.raises(RequestFailed, match="crashed"):
                await bob.join_game("table 1")
            await wait_all_tasks_blocked()
            assert made == [["ann", "bob"], ["ann"]]
            assert ann.get_state(list) == ["ann"]
            assert bob.game is None


async def test_a_state_that_grows_too_large_is_found_out(caplog: pytest.LogCaptureFixture) -> None:
    class Growing(Game):
        def __init__(self, name: str, save_string: str | None = None) -> None:
            self.texts: dict[str, str] = {}

        def view(self) -> dict[str, str]:
            return self.texts

        @on(Add)
        def add(self, player: str, message: Add) -> None:
            self.texts[str(message.number)] = "x" * 50_000

    async with hosting_faults(Growing) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        for number in range(30):
            if ann.game is None:
                break
            # What is there already does not count twice.
            for _ in range(2):
                await ann.request(Packet("Add", {"number": number}))
        assert 15 < number < 20
    assert "Growing.view returned a state of 9" in caplog.text


async def test_a_state_that_changes_without_growing_is_no_trouble() -> None:
    class Changing(Game):
        text = ""

        def view(self) -> list[str]:
            return [self.text, "x" * 500_000]

        @on(Add)
        def add(self, player: str, message: Add) -> None:
            self.text = chr(ord("a") + message.number % 2) * 200_000

    async with hosting(Changing) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        for number in range(10):
            await ann.call(Add(number))
        assert ann.get_state(list)[0][0] == "b"


async def test_a_push_within_a_view_is_sent_after_it() -> None:
    class Chatty(Adding):
        def view(self) -> Numbers:
            if len(self.state.numbers) == 1:
                self.room.push("in view")
            return self.state

    async with hosting(Chatty) as server, watching(server, "ann") as ann:
        await ann.create_game("table 1")
        ann.seen.clear()
        await ann.call(Add(1))
        assert ann.seen[:2] == ["patch", "push Added"]
        assert "push in view" in ann.seen


async def test_a_push_within_the_lobby_information_is_sent_after_it() -> None:
    class Chatty(Adding):
        def get_lobby_info(self) -> str:
            if len(self.state.numbers) == 1:
                self.room.push("in info")
            return ""

    async with hosting(Chatty) as server, watching(server, "ann") as ann:
        await ann.create_game("table 1")
        ann.seen.clear()
        await ann.call(Add(1))
        assert ann.seen[:2] == ["patch", "push Added"]
        assert "push in info" in ann.seen


# The client's side.


async def test_states_are_read_at_the_readers_own_pace() -> None:
    async with hosting(Adding) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        states = ann.states(Numbers)
        assert (await anext(states)).numbers == []
        for number in range(10):
            await ann.call(Add(number))
        # The latest only.
        assert (await anext(states)).numbers == list(range(10))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_end_of, states)
            await wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError):
                await anext(ann.states(Numbers))
            await ann.leave_game()
        await ann.create_game("table 2")
        told = r"^The state of 'table 2' is no Added: .*numbers.*in the same version"
        with pytest.raises(CodecError, match=told):
            await anext(ann.states(Added))
        with pytest.raises(CodecError, match=told):
            ann.get_state(Added)
        with pytest.raises(CodecError, match=told):
            await ann.wait_state(Added)
        async for state in ann.states(Numbers):
            assert state == Numbers([], ["ann"])
            break
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_lose, ann.states(Numbers))
            await wait_all_tasks_blocked()
            server.delete_user("ann")


async def _end_of(states: Any) -> None:
    assert [state async for state in states] == []


async def _lose(states: Any) -> None:
    with pytest.raises(Disconnected):
        async for _ in states:
            pass


async def test_wait_state_waits_for_what_is_wanted() -> None:
    async with (
        hosting(Adding) as server,
        server.client("ann") as ann,
        server.client("bob") as bob,
    ):
        await ann.create_game("table 1")
        await bob.join_game("table 1")
        assert await bob.wait_state(Numbers) == Numbers([], ["ann", "bob"])
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                state = await bob.wait_state(Numbers, lambda state: 3 in state.numbers)
                assert state.numbers == [1, 2, 3]

            nursery.start_soon(wait)
            for number in range(1, 4):
                await wait_all_tasks_blocked()
                await ann.call(Add(number))
        async with trio.open_nursery() as nursery:

            async def wait_in_vain() -> None:
                with pytest.raises(RequestFailed, match="out of the game"):
                    await bob.wait_state(Numbers, lambda state: False)

            nursery.start_soon(wait_in_vain)
            await wait_all_tasks_blocked()
            await bob.leave_game()


async def test_on_state_gets_the_latest(autojump_clock: MockClock) -> None:
    shown: list[list[int]] = []

    async def on_state(state: dict[str, Any]) -> None:
        shown.append(list(state["numbers"]))
        # What it does to its copy is its own affair.
        state["numbers"].append(99)
        await trio.sleep(1)

    async with hosting(Adding) as server, server.client("ann") as ann:
        ann.on_state = on_state
        await ann.create_game("table 1")
        for number in range(5):
            await ann.call(Add(number))
        await trio.sleep(5)
        assert len(shown) <= 3
        assert shown[-1] == [0, 1, 2, 3, 4]
        assert ann.get_state(Numbers).numbers == [0, 1, 2, 3, 4]


async def test_a_state_that_somebody_changes_is_not_the_games(
    autojump_clock: MockClock,
) -> None:
    class Plain(Game):
        def __init__(self, name: str, save_string: str | None = None) -> None:
            self.data: dict[str, Any] = {"x": [1]}

        def view(self) -> dict[str, Any]:
            return self.data

        def handle_game_packet(self, packet: Packet, /) -> Response:
            # In place: the game need not copy anything.
            self.data["x"].append(2)
            return Response("")

    async with hosting(Plain) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        ann.get_state(dict)["x"].append(99)
        await ann.request(Packet("go"))
        assert ann.get_state(dict) == {"x": [1, 2]}


async def test_the_last_state_comes_before_the_end_of_the_game() -> None:
    class Ending(Adding):
        @on(Start)
        def start(self, player: str, message: Start) -> None:
            self.state.numbers = [100]
            self.room.close()

    async with (
        hosting(Ending) as server,
        server.client("ann") as ann,
        server.client("bob") as bob,
    ):
        shown: list[Any] = []
        bob.on_state = lambda state: shown.append(state["numbers"])
        bob.on_game = shown.append
        await ann.create_game("table 1")
        await bob.join_game("table 1")
        await ann.call(Start())
        await wait_all_tasks_blocked()
        assert shown in (["table 1", [], [100], None], ["table 1", [100], None])

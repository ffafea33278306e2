"""The test kit for authors: fixtures, context managers, and that errors do not go unnoticed."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

import pgnet_trio.testing
from pgnet_trio import (
    Bot,
    Client,
    CodecError,
    ConnectFailed,
    Disconnected,
    Game,
    Packet,
    Push,
    Reject,
    RequestFailed,
    SessionLost,
    StorageError,
    on,
)
from pgnet_trio.testing import (
    HostedServer,
    Kit,
    MemoryStore,
    SimulatedNetwork,
    detached,
    hosting,
    playing,
    simulate,
)
from tests.kit.subprocesses import DEADLINE, environment
from tests.package.test_documentation import ROOT, blocks_of

HOUR = 3600.0


@attrs.frozen
class Add:
    by: int


@attrs.frozen
class Total:
    total: int
    away: list[str] = attrs.field(factory=list)


@attrs.frozen
class Choose:
    pass


@attrs.frozen
class Choice:
    number: int


class Counter(Game):
    persistent = True

    def __init__(self, name: str, save_string: str | None = None) -> None:
        saved = self.room.saved(Total)
        self.total = 0 if saved is None else saved.total
        self.away: list[str] = []

    @on(Add)
    def add(self, player: str, add: Add) -> Total:
        if not add.by:
            raise ZeroDivisionError("nothing to add")
        self.total += add.by
        return Total(self.total)

    def player_dropped(self, username: str, /) -> None:
        self.away.append(username)

    def player_resumed(self, username: str, /) -> None:
        self.away.remove(username)

    def view(self) -> Total:
        return Total(self.total, self.away)

    def get_save_string(self) -> Total:
        return Total(self.total)


class Slow(Game):
    """Asks its first player, for an hour."""

    async def run(self) -> None:
        [player] = await self.room.wait_players(1)
        choice = await self.room.ask(player, Choose(), Choice, timeout=HOUR, default=Choice(0))
        self.room.push("chosen", {"number": choice.number})
        await trio.sleep(1)


Start = Callable[..., Any]

# What an author wants first; each has to stay this short.


async def test_two_players_move(
    pgnet_server: Start, pgnet_client: Start, autojump_clock: Any
) -> None:
    await pgnet_server(Counter)
    ann: Client = await pgnet_client("ann", game="table")
    bob: Client = await pgnet_client("bob", game="table")
    assert await ann.call(Add(2), Total) == Total(2)
    assert await bob.call(Add(3), Total) == Total(5)
    assert ann.get_state(Total) == Total(5)


async def test_a_turn_times_out_after_an_hour(
    pgnet_server: Start, pgnet_client: Start, autojump_clock: Any
) -> None:
    await pgnet_server(Slow)
    ann: Client = await pgnet_client("ann", game="table")
    push: Push = await anext(aiter(ann.pushes()))
    assert push.payload == {"number": 0}
    assert trio.current_time() == pytest.approx(HOUR)


async def test_a_player_drops_and_comes_back(
    pgnet_server: Start,
    pgnet_client: Start,
    pgnet_network: SimulatedNetwork,
    autojump_clock: Any,
) -> None:
    await pgnet_server(Counter)
    ann: Client = await pgnet_client("ann", game="table")
    bob: Client = await pgnet_client("bob", game="table")
    pgnet_network.cut("ann")
    await bob.wait_state(Total, lambda total: total.away == ["ann"])
    pgnet_network.heal("ann")
    assert await ann.call(Add(2), Total) == Total(2)


async def test_a_server_restarts_from_its_save(
    pgnet_server: Start, pgnet_client: Start, autojump_clock: Any
) -> None:
    server: HostedServer = await pgnet_server(Counter)
    ann: Client = await pgnet_client("ann", game="table")
    await ann.call(Add(2))
    await server.restart()
    ann = await pgnet_client("ann", game="table")
    assert await ann.call(Add(3), Total) == Total(5)


# Servers.


async def test_servers_have_addresses_in_a_network(autojump_clock: Any) -> None:
    network = SimulatedNetwork()
    async with hosting(Counter, network=network) as server:
        network.addresses["a.example"] = server
        ways = [network.connector(address, "ann") for address in ("b.example", "a.example")]
        async with Client(*ways, username="ann", environment=network.environment("ann")) as ann:
            assert ann.status == "Logged in as ann at a.example, protocol 2."
        del network.addresses["a.example"]
        with pytest.raises(ConnectFailed, match=r"reached at b\.example: nobody is there"):
            async with Client(*ways, username="ann"):
                pass


async def test_who_waits_during_a_crash_is_told(autojump_clock: Any) -> None:
    async with hosting(Counter) as server, playing(server, "ann", game="table") as ann:
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                with pytest.raises(SessionLost):
                    await ann.wait_state(
                        Total, lambda total: total.total == 99, raise_session_lost=True
                    )

            nursery.start_soon(wait)
            await trio.sleep(1)
            await server.restart(crash=True)


async def test_clients_come_back_after_a_crash(autojump_clock: Any) -> None:
    async with hosting(Counter) as server, playing(server, "ann", game="table") as ann:
        await ann.call(Add(2))
        await trio.sleep(11)
        await ann.call(Add(3))
        await server.restart(crash=True)
        await trio.sleep(10)
        assert ann.get_state(Total) == Total(2)
        assert await ann.call(Add(5), Total) == Total(7)


async def test_a_save_goes_from_one_server_to_another(autojump_clock: Any) -> None:
    store = MemoryStore()
    async with hosting(Counter, store=store) as server:
        async with playing(server, "ann", game="table", password="secret") as ann:
            await ann.call(Add(2))
        with pytest.raises(StorageError, match="in use"):
            async with hosting(Counter, store=store):
                pass
    assert store.games == {"table": '{"total":2,"away":[]}'}
    async with hosting(Counter, store=store.copy()) as server:
        async with playing(server, "ann", game="table", password="secret") as ann:
            assert ann.get_state(Total) == Total(2)


async def test_a_real_file_may_be_saved_to(autojump_clock: Any, tmp_path: Path) -> None:
    for total in (2, 4):
        async with hosting(Counter, save_file=tmp_path / "saves.json") as server:
            async with playing(server, "ann", game="table") as ann:
                assert await ann.call(Add(2), Total) == Total(total)


async def test_a_full_store_is_not_the_end(autojump_clock: Any) -> None:
    async with hosting(Counter, autosave_interval=1.0) as server:
        async with playing(server, "ann", game="table") as ann:
            server.store.full = True
            await ann.call(Add(2))
            await trio.sleep(10)
            assert server.store.games == {}
            server.store.full = False
            await trio.sleep(2)
            assert server.store.games == {"table": '{"total":2,"away":[]}'}


async def test_a_server_that_does_not_run_cannot_be_restarted() -> None:
    with pytest.raises(RuntimeError, match="not running"):
        await HostedServer(Counter).restart()


# Errors.


async def test_a_game_that_raises_fails_the_test(autojump_clock: Any) -> None:
    with pytest.raises(ZeroDivisionError, match="nothing to add") as caught:
        async with hosting(Counter) as server, playing(server, "ann", game="table") as ann:
            with pytest.raises(RequestFailed):
                await ann.call(Add(0))
            await trio.sleep_forever()
    assert "expecting" in caught.value.__notes__[0]


async def test_it_does_before_what_the_test_stumbles_over(autojump_clock: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        async with hosting(Counter) as server, playing(server, "ann", game="table") as ann:
            await ann.call(Add(0))
            raise AssertionError("never reached")


async def test_it_does_too_in_a_kit(autojump_clock: Any) -> None:
    with pytest.raises(ZeroDivisionError, match="nothing to add"):
        async with Kit(SimulatedNetwork()) as kit:
            await kit.host(Counter)
            ann = await kit.play("ann", game="table")
            await ann.call(Add(0))


async def test_an_error_that_is_expected_does_not(autojump_clock: Any) -> None:
    async with hosting(Counter) as server, playing(server, "ann", game="table") as ann:
        with server.expecting(ZeroDivisionError) as errors, pytest.raises(RequestFailed):
            await ann.call(Add(0))
        assert [str(error) for error in errors] == ["nothing to add"]
        assert ann.left is not None
        assert ann.left.reason == "crashed"


async def test_blocks_within_each_other_expect_each_for_itself(autojump_clock: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        async with hosting(Counter) as server, playing(server, "ann", game="table") as ann:
            outer, inner = server.expecting(KeyError), server.expecting(KeyError)
            with outer as first:
                with inner as second:
                    # As after one error each.
                    assert first == second
                server._note_failure(KeyError("ann"))
                assert second == []
                assert [type(error) for error in first] == [KeyError]
                await ann.request(Packet("Add", {"by": 0}))


async def test_another_one_than_expected_does(autojump_clock: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        async with hosting(Counter) as server, playing(server, "ann", game="table") as ann:
            with server.expecting(KeyError):
                await ann.request(Packet("Add", {"by": 0}))


async def test_a_hook_that_raises_fails_the_test(autojump_clock: Any) -> None:
    def fail(username: str, connected: bool) -> None:
        raise KeyError(username)

    with pytest.raises(KeyError, match="ann"):
        async with hosting(Counter, on_connection=fail) as server, playing(server, "ann"):
            await trio.sleep_forever()


async def test_a_callback_that_raises_fails_the_test(autojump_clock: Any) -> None:
    def fail(response: object) -> None:
        raise KeyError("a callback")

    with pytest.raises(KeyError, match="a callback"):
        async with hosting(Counter) as server, playing(server, "ann", game="table") as ann:
            ann.send(Add(1), fail)
            await trio.sleep_forever()


async def test_a_game_may_miss_players_at_the_end(autojump_clock: Any) -> None:
    async with hosting(Slow) as server, playing(server, "ann", game="table"):
        await trio.sleep(1)


async def test_the_error_of_the_test_comes_out(autojump_clock: Any) -> None:
    with pytest.raises(LookupError, match="of the test"):
        async with hosting(Counter) as server, playing(server, "ann", "bob", game="table"):
            raise LookupError("of the test")


# Games without a server.


@attrs.frozen
class Draw:
    pass


class Deck(Game):
    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.left: list[str] = []
        self.room.random.shuffle(cards := list(range(52)))
        self.label = f"{self.room.name} {self.room.options.get('level', 1)} {self.room.time()}"
        self.hands: dict[str, int] = {}
        self.cards = cards

    def user_joined(self, username: str, /) -> None:
        assert self.room.players[-1] == username
        if username == "eve":
            raise Reject("not you")
        self.hands[username] = self.cards.pop()

    async def user_left(self, username: str, /) -> None:
        assert username not in self.room.players
        self.left.append(username)

    @on(Draw)
    def draw(self, player: str, draw: Draw) -> None:
        self.room.push("drawn", {"by": player})
        self.hands[player] = self.cards.pop()

    def view(self, player: str | None) -> Any:
        return {"card": self.hands.get(player or "")}


def test_a_game_needs_no_server_to_be_made() -> None:
    deck = detached(Deck, players=["ann", "bob"], seed=1, options={"level": 3})
    assert deck.room.players == ["ann", "bob"]
    assert deck.label == "table 1 3 0.0"
    assert deck.hands == detached(Deck, players=["ann", "bob"], seed=1).hands
    assert deck.hands != detached(Deck, players=["ann", "bob"], seed=2).hands
    card = deck.hands["ann"]
    deck.draw("ann", Draw())
    assert deck.view("ann") != {"card": card}
    assert detached(Deck, name="another").label == "another 1 0.0"


def test_it_may_lock_kick_and_close_there() -> None:
    deck = detached(Deck, players=["ann", "bob"])
    deck.room.kick("ann", "enough")
    deck.room.kick("nobody")
    assert (deck.room.players, deck.left) == (["bob"], ["ann"])
    deck.room.locked = True
    deck.room.sync()
    deck.room.close("over")
    assert deck.room.locked


def test_it_is_made_from_its_save_there() -> None:
    counter = detached(Counter, players=["ann"])
    counter.add("ann", Add(3))
    for saved in (counter.get_save_string(), '{"total": 3}'):
        assert detached(Counter, saved=saved).total == 3
    assert detached(Counter, saved="").total == 0


async def test_its_time_goes_on_in_a_trio_test(autojump_clock: Any) -> None:
    deck = detached(Deck)
    await trio.sleep(5)
    assert deck.room.time() == 5


def test_what_a_game_refuses_or_cannot_send_shows_there() -> None:
    with pytest.raises(Reject, match="not you"):
        detached(Deck, players=["ann", "eve"])
    with pytest.raises(ValueError, match="each name once, got 'ann' again"):
        detached(Deck, players=["ann", "ann"])
    for names in ("ann", 3, ["ann", 3]):
        with pytest.raises(TypeError, match="players: expected"):
            detached(Deck, players=names)  # type: ignore[arg-type]  # the mistake
    with pytest.raises(CodecError, match="options"):
        detached(Deck, options={"what": {1, 2}})
    deck = detached(Deck, players=["ann"])
    with pytest.raises(CodecError, match="64 bits"):
        deck.room.push("big", {"number": 2**64})
    with pytest.raises(CodecError, match="expected at most"):
        deck.room.push("long", {"text": "x" * 1_000_000})
    with pytest.raises(TypeError, match="not iterable"):
        deck.room.push("whom", to=5)  # type: ignore[arg-type]  # the mistake
    with pytest.raises(ValueError, match="the server's own"):
        deck.room.push("__pgnet__.mine")


def test_what_needs_a_server_says_so() -> None:
    async def ask(game: Game) -> None:
        await game.room.ask("ann", Choose(), Choice)

    async def ask_all(game: Game) -> None:
        await game.room.ask_all(["ann"], Choose(), Choice)

    async def wait(game: Game) -> None:
        await game.room.wait_players(1)

    async def save(game: Game) -> None:
        await game.room.save()

    async def start(game: Game) -> None:
        game.room.nursery.start_soon(trio.sleep, 1)

    async def add_bot(game: Game) -> None:
        game.room.add_bot(Bot("a bot"))

    deck = detached(Deck, players=["ann"])
    for use in (ask, ask_all, wait, save, start, add_bot):
        with pytest.raises(RuntimeError, match=r"needs a server.*pgnet_trio\.testing\.hosting"):
            trio.run(use, deck)


def test_a_hook_that_waits_does_too() -> None:
    class Waiting(Game):
        async def user_joined(self, username: str, /) -> None:
            await trio.sleep(1)

    async def main() -> None:
        detached(Waiting, players=["ann"])

    with pytest.raises(RuntimeError, match="user_joined waits for something"):
        trio.run(main)


# Clients.


async def test_a_client_may_be_of_a_class_of_the_author(
    pgnet_server: Start, pgnet_client: Start, autojump_clock: Any
) -> None:
    class Mine(Client):
        pass

    await pgnet_server(Counter)
    client = await pgnet_client("ann", client_class=Mine, reconnect_for=5.0)
    assert type(client) is Mine


async def test_two_servers_in_one_test(
    pgnet_server: Start, pgnet_client: Start, autojump_clock: Any
) -> None:
    first: HostedServer = await pgnet_server(Counter)
    await pgnet_server(Slow)
    await pgnet_client("ann", server=first, game="table")
    await pgnet_client("ann", game="table")
    assert isinstance(first.games["table"], Counter)


async def test_a_client_without_a_server_is_told(pgnet_client: Start) -> None:
    with pytest.raises(RuntimeError, match="pgnet_server"):
        await pgnet_client("ann")


async def test_clients_are_told_goodbye_at_the_end(autojump_clock: Any) -> None:
    async with Kit(SimulatedNetwork()) as kit:
        await kit.host(Counter)
        ann = await kit.play("ann")
    assert ann.close_reason == "The server is shutting down."
    with pytest.raises(Disconnected):
        await ann.get_game_dir()


def test_it_works_without_pytest_too() -> None:
    async def main() -> int:
        async with hosting(Counter) as server:
            async with playing(server, "ann", "bob", game="table") as (ann, bob):
                await ann.call(Add(2))
                await trio.sleep(HOUR)
                return (await bob.call(Add(3), Total)).total

    assert simulate(main) == 5


# The plugin.

GAME = textwrap.dedent(
    """
    import pytest, trio
    from pgnet_trio import Game, Packet, Response

    class Divider(Game):
        def handle_game_packet(self, packet):
            return Response("done", {"result": 1 / packet.payload["by"]})
    """
)


CRASH = """
    @pytest.mark.trio
    async def test_crash(pgnet_server, pgnet_client, autojump_clock):
        await pgnet_server(Divider)
        ann = await pgnet_client("ann", game="table")
        await ann.request(Packet("divide", {"by": 0}))
        await trio.sleep_forever()
"""

OTHERS = """
    import os, sys
    from pgnet_trio.testing import explore

    def test_seed(pgnet_seed, pgnet_network):
        assert pgnet_seed == pgnet_network.seed == 17
        assert os.environ["PGNET_SEED"] == "17"
        assert explore(Divider, moves=lambda seat: None, seeds=range(3)).seeds == 1

    def test_presence():
        assert "pgnet_trio.testing.plugin" in sys.modules
"""

PLAY = """
    async def test_play(pgnet_server, pgnet_client, pgnet_network, autojump_clock):
        await pgnet_server(Divider)
        ann = await pgnet_client("ann", game="table")
        pgnet_network.drop()
        response = await ann.request(Packet("divide", {"by": 2}))
        assert response.payload == {"result": 0.5}
"""


def run_pytest(folder: Path, *options: str, **texts: str) -> dict[str, str]:
    """Run tests in a pytest of their own; return the outcome of each, and what was printed."""
    for name, text in texts.items():
        path = folder / f"test_{name}.py"
        path.write_text(GAME + textwrap.dedent(text), "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rA", "-Werror", *options],
        cwd=folder,
        env=environment({"PYTEST_ADDOPTS": None}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        # It starts Python anew and plays whole games, beside whatever else this machine does.
        timeout=4 * DEADLINE,
        check=False,
    )
    lines = re.findall(r"^([A-Z]+) \S+::(\w+)", done.stdout, re.MULTILINE)
    return {"printed": done.stdout, **{name: outcome for outcome, name in lines}}


@pytest.fixture(scope="module")
def without_trio_mode(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What became of all these; one run, since to start one takes longer than the tests."""
    texts = {"crash": CRASH, "others": OTHERS, "play": f"    @pytest.mark.trio{PLAY}"}
    return run_pytest(tmp_path_factory.mktemp("plugin"), "--pgnet-seed=17", **texts)


def test_a_crash_fails_the_test_and_prints_its_seed(without_trio_mode: dict[str, str]) -> None:
    assert without_trio_mode["test_crash"] == "FAILED"
    assert "ZeroDivisionError" in without_trio_mode["printed"]
    assert "Repeat this with --pgnet-seed=17\n" in without_trio_mode["printed"]


def test_the_seed_is_the_one_that_was_given(without_trio_mode: dict[str, str]) -> None:
    assert without_trio_mode["test_seed"] == "PASSED"


def test_it_is_there_without_being_asked_for(without_trio_mode: dict[str, str]) -> None:
    assert without_trio_mode["test_presence"] == "PASSED"


def test_it_works_without_trio_mode(without_trio_mode: dict[str, str]) -> None:
    assert without_trio_mode["test_play"] == "PASSED"


def test_it_is_harmless_without_pytest_trio(tmp_path: Path) -> None:
    text = """
        import sys

        def test_seed(pgnet_seed):
            assert "pytest_trio" not in sys.modules

        def test_another():
            assert 2 + 2 == 4
    """
    outcomes = run_pytest(tmp_path, "-p", "no:trio", it=text)
    assert (outcomes["test_seed"], outcomes["test_another"]) == ("PASSED", "PASSED")


def test_its_fixtures_refuse_hypothesis_and_say_what_to_use(tmp_path: Path) -> None:
    text = """
        from hypothesis import HealthCheck, given, settings
        from hypothesis import strategies as st

        many = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])

        @many
        @given(st.integers())
        def test_seed(pgnet_seed, number):
            pass

        @many
        @given(st.integers())
        @pytest.mark.trio
        async def test_server(pgnet_server, number):
            pass
    """
    outcomes = run_pytest(tmp_path, it=text)
    assert (outcomes["test_seed"], outcomes["test_server"]) == ("ERROR", "ERROR")
    assert "a plain function without them: detached(MyGame" in outcomes["printed"]


# The guides.


FEW_EXAMPLES = """
from hypothesis import settings

settings.register_profile("few", max_examples=10, deadline=None, database=None)
settings.load_profile("few")
"""


@pytest.mark.parametrize(("name", "count"), [("testing", 9), ("properties", 5)])
@pytest.mark.no_cover
def test_the_tests_of_the_guides_pass_in_trio_mode(tmp_path: Path, name: str, count: int) -> None:
    page = (ROOT / "docs" / "how-to" / f"{name}.md").read_text("utf-8")
    blocks = [block.text for block in blocks_of(f"{name}.md", page)]
    names = []
    (tmp_path / "conftest.py").write_text(FEW_EXAMPLES, "utf-8")
    for number, block in enumerate(blocks):
        game = re.match(r"# (\w+\.py)\n", block)
        (tmp_path / (game[1] if game else f"test_{number}.py")).write_text(block, "utf-8")
        names += re.findall(r"^(?:async )?def (test_\w+)", block, re.MULTILINE)
        # A state machine of Hypothesis.
        names += ["runTest"] * len(re.findall(r"^Test\w+ = ", block, re.MULTILINE))
    outcomes = run_pytest(tmp_path, "--override-ini=trio_mode=true")
    printed = outcomes.pop("printed")
    assert outcomes == dict.fromkeys(names, "PASSED"), printed
    assert len(names) >= count


def test_every_public_name_is_in_the_reference() -> None:
    page = (ROOT / "docs" / "reference" / "testing.md").read_text("utf-8")
    assert not set(pgnet_trio.testing.__all__) - set(re.findall(r"\w+", page))


def test_a_test_in_the_guide_is_short() -> None:
    page = (ROOT / "docs" / "how-to" / "testing.md").read_text("utf-8")
    for block in blocks_of("testing.md", page):
        for node in ast.walk(ast.parse(block.text)):
            if isinstance(node, ast.AsyncFunctionDef) and node.name.startswith("test_"):
                assert len(node.body) < 10, node.name

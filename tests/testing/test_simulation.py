"""The simulated network, `explore` and `assert_hidden`, which find the bugs that are planted."""

from __future__ import annotations

import itertools
import math
import os
import random
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
import trio.testing

from pgnet_trio import (
    Client,
    ConnectFailed,
    Game,
    Packet,
    Reject,
    Response,
    on,
)
from pgnet_trio.testing import (
    Faults,
    Seat,
    SimulatedNetwork,
    Table,
    assert_hidden,
    exploration,
    explore,
    hosting,
    playing,
    same_order,
    same_state,
    seeded_scheduler,
    simulate,
)
from pgnet_trio.testing.links import BUFFER_SIZE, Conditions, Link, LinkEnd

if TYPE_CHECKING:
    from pgnet_trio.client import Question

# Links.


def make_link(
    *, latency: float = 0.0, jitter: float = 0.0, bandwidth: float | None = None
) -> tuple[LinkEnd, LinkEnd, Link, Conditions]:
    conditions = Conditions(latency, jitter, bandwidth)
    link = Link(
        "ann#1",
        conditions,
        target=None,
        peer="host of ann",
        subprotocols=("pgnet.2",),
        random=random.Random(1),
        note=lambda where, what, content: None,
        on_end=lambda link: None,
    )
    return link.client, link.server, link, conditions


async def test_frames_take_their_time_and_stay_in_order(autojump_clock: Any) -> None:
    client, server, _, _ = make_link(latency=0.5, jitter=0.5)
    for number in range(20):
        assert client.send_nowait(b"%d" % number)
    assert [await server.receive() for _ in range(20)] == [b"%d" % number for number in range(20)]
    assert 0.5 < trio.current_time() <= 1.0
    assert server.last_received == trio.current_time()


async def test_bandwidth_spaces_frames(autojump_clock: Any) -> None:
    client, server, _, _ = make_link(bandwidth=1000)
    for _ in range(3):
        client.send_nowait(bytes(500))
    times = []
    for _ in range(3):
        await server.receive()
        times.append(trio.current_time())
    assert times == [0.5, 1.0, 1.5]


async def test_a_sender_waits_for_a_reader_that_stalls(autojump_clock: Any) -> None:
    client, server, link, _ = make_link()
    link.block(to_server=True, to_client=False)
    assert client.send_nowait(bytes(BUFFER_SIZE))
    assert not client.send_nowait(b"more")
    with pytest.raises(trio.BusyResourceError):
        client.send_nowait(b"even more")

    async def heal() -> None:
        await trio.sleep(7)
        link.block(to_server=False, to_client=False)
        assert len(await server.receive()) == BUFFER_SIZE

    async with trio.open_nursery() as nursery:
        nursery.start_soon(heal)
        await client.drain()
        assert trio.current_time() == 7
    assert await server.receive() == b"more"


async def test_a_cut_loses_what_has_not_arrived(autojump_clock: Any) -> None:
    client, server, link, _ = make_link(latency=1)
    client.send_nowait(b"one")
    await trio.sleep(1)
    client.send_nowait(b"two")
    link.cut()
    assert await server.receive() == b"one"
    for end in (server, client):
        with pytest.raises(trio.BrokenResourceError, match="was cut"):
            await end.receive()
        with pytest.raises(trio.BrokenResourceError, match="was cut"):
            end.send_nowait(b"three")
        await end.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await end.receive()


@pytest.mark.parametrize("told", ["both", "sender", "receiver"])
async def test_a_break_loses_its_frame_and_keeps_those_before(
    autojump_clock: Any, told: str
) -> None:
    client, server, link, conditions = make_link(latency=1)
    link.random = random.Random()
    link.random.random = lambda: {"sender": 0.05, "receiver": 0.15, "both": 0.5}[told]  # type: ignore[method-assign]  # replaced for this test
    client.send_nowait(b"one")
    server.send_nowait(b"lost on its way")
    conditions.drop_rate = 0.9
    client.send_nowait(b"two")
    assert await server.receive() == b"one"
    with trio.move_on_after(60) as server_waits, pytest.raises(trio.BrokenResourceError):
        await server.receive()
    with trio.move_on_after(60) as client_waits, pytest.raises(trio.BrokenResourceError):
        await client.receive()
    assert server_waits.cancelled_caught == (told == "sender")
    assert client_waits.cancelled_caught == (told == "receiver")
    end, sent = (server if told == "sender" else client), 0
    if told != "both":
        # Nobody reads this, and the sender's buffer fills.
        while end.send_nowait(bytes(1000)):
            sent += 1000
        assert BUFFER_SIZE - 2000 < sent <= BUFFER_SIZE


async def test_a_close_comes_after_what_was_sent(autojump_clock: Any) -> None:
    client, server, _, _ = make_link(latency=1)
    client.send_nowait(b"goodbye")
    await client.aclose(1001, "tired")
    await client.aclose()
    server.send_nowait(b"too late")
    assert await server.receive() == b"goodbye"
    with pytest.raises(trio.EndOfChannel, match="1001: tired"):
        await server.receive()
    with pytest.raises(trio.BrokenResourceError, match="1001: tired"):
        server.send_nowait(b"much too late")


async def test_a_drain_that_is_cancelled_breaks_the_link(autojump_clock: Any) -> None:
    client, server, _, _ = make_link()
    client.send_nowait(bytes(BUFFER_SIZE))
    client.send_nowait(b"held")
    with trio.move_on_after(1):
        await client.drain()
    with pytest.raises(trio.ClosedResourceError):
        client.send_nowait(b"more")
    await server.receive()
    with pytest.raises(trio.BrokenResourceError):
        await server.receive()


async def test_a_message_over_the_limit_closes_the_link(autojump_clock: Any) -> None:
    client, server, _, _ = make_link()
    server.max_message_size = 10
    client.send_nowait("ö" * 6)
    with pytest.raises(trio.BrokenResourceError, match="limit of 10 bytes"):
        await server.receive()
    with pytest.raises(trio.EndOfChannel, match="1009"):
        await client.receive()


# Networks.


class Counter(Game):
    persistent = True

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.total = int(save_string or 0)

    def handle_game_packet(self, packet: Packet, /) -> Response:
        self.total += 1
        return Response("added", {"total": self.total})

    def view(self) -> dict[str, int]:
        return {"total": self.total}

    def get_save_string(self) -> str:
        return str(self.total)


async def test_what_is_sent_is_encrypted_unless_it_should_not_be(autojump_clock: Any) -> None:
    for encrypted in (True, False):
        network = SimulatedNetwork(encrypted=encrypted)
        frames = []
        network.on_record = lambda record, frame: frames.append(frame)  # noqa: B023 - called in this round of the loop
        async with hosting(Counter, network=network) as server:
            async with playing(server, "ann") as ann:
                assert ann.server_pubkey == (server.pubkey if encrypted else None)
        assert (b"ann" in b"".join(frames)) is not encrypted


async def test_keepalive_finds_out_about_a_partition(autojump_clock: Any) -> None:
    network = SimulatedNetwork(latency=0.1)
    async with hosting(Counter, network=network) as server, playing(server, "ann") as ann:
        online: list[Any] = []
        ann.on_online = lambda now: online.append((now, trio.current_time()))
        network.partition("ann")
        await trio.sleep(25)
        network.heal("ann")
        await ann.get_game_dir()
        (gone, gone_at), (back, _) = online
        assert (gone, back) == (False, True)
        assert 15 < gone_at < 25


async def test_a_stalled_reader_catches_up(autojump_clock: Any) -> None:
    network = SimulatedNetwork()
    async with hosting(Counter, network=network) as server:
        async with playing(server, "ann", "bob", game="table") as (ann, bob):
            network.stall("ann")
            for _ in range(10):
                await bob.request(Packet("add"))
            assert ann.get_state(dict) == {"total": 0}
            network.heal("ann")
            await ann.wait_state(dict, lambda state: state["total"] == 10)
            assert network.dropped == 0


async def test_a_cut_lasts_until_it_is_healed(autojump_clock: Any) -> None:
    network = SimulatedNetwork()
    async with hosting(Counter, network=network) as server, playing(server, "ann") as ann:
        network.cut()
        with trio.move_on_after(20) as waiting:
            await ann.get_game_dir()
        assert waiting.cancelled_caught
        assert ann.connected
        network.heal()
        await ann.get_game_dir()
        network.cut("bob")
        with pytest.raises(ConnectFailed, match="cut, until"):
            async with playing(server, "bob"):
                pass


async def test_a_client_comes_back_over_a_slow_network(autojump_clock: Any) -> None:
    network = SimulatedNetwork(latency=1.5)
    async with hosting(Counter, network=network) as server:
        async with playing(server, "ann", game="table") as ann:
            await ann.request(Packet("add"))
            network.drop()
            with trio.fail_after(40):
                response = await ann.request(Packet("add"))
            assert response.payload == {"total": 2}


async def test_a_share_of_the_links_is_dropped(autojump_clock: Any) -> None:
    network = SimulatedNetwork(3)
    names = [f"player{number}" for number in range(20)]
    async with hosting(Counter, network=network) as server, playing(server, *names):
        assert 5 <= network.drop(share=0.5) <= 15
        await trio.sleep(10)
        assert network.drop() == 20
        assert network.drop("nobody") == 0


async def test_clients_of_protocol_1_play_over_it_too(autojump_clock: Any) -> None:
    async with hosting(Counter) as server:
        async with playing(server, "ann", protocol=1) as ann:
            assert ann.protocol == 1
            assert (await ann.get_game_dir()) == {}


@pytest.mark.parametrize(
    "wrong",
    [{"latency": -1}, {"jitter": math.nan}, {"bandwidth": 0}, {"drop_rate": 1}],
)
def test_figures_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SimulatedNetwork(**wrong)


# Repeating.


async def busy_hour(seed: int) -> tuple[str, str]:
    network = SimulatedNetwork(seed, latency=0.1, jitter=0.2, bandwidth=50_000, drop_rate=0.1)
    records = []
    async with hosting(Counter, network=network, resume_grace=3600.0) as server:
        drop_rate, network.conditions.drop_rate = network.conditions.drop_rate, 0.0
        names = [f"player{number}" for number in range(5)]
        async with playing(server, *names, game="table", reconnect_for=None) as players:
            network.conditions.drop_rate = drop_rate

            async def play(client: Client) -> None:
                for _ in range(20):
                    await client.request(Packet("add"))

            async with trio.open_nursery() as nursery:
                for client in players:
                    nursery.start_soon(play, client)
            network.conditions.drop_rate = 0.0
            assert server.games["table"].total == 100
    records = [str(record) for record in network.records]
    return network.trace_hash, "\n".join(records)


@pytest.mark.no_cover
def test_the_same_seed_repeats_everything_to_the_byte() -> None:
    one, again, other = (simulate(busy_hour, seed, seed=seed) for seed in (1, 1, 2))
    assert one == again
    assert one[0] != other[0]


@pytest.mark.no_cover
def test_it_does_in_another_process() -> None:
    program = (
        "from tests.testing.test_simulation import busy_hour, simulate\n"
        "print(simulate(busy_hour, 1, seed=1)[0])"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2")
    }
    assert hashes == {simulate(busy_hour, 1, seed=1)[0].encode() + b"\n"}


def test_a_simulation_that_fails_names_its_seed() -> None:
    async def fail() -> None:
        await trio.sleep(10)
        raise KeyError("a fault")

    with pytest.raises(KeyError) as caught:
        simulate(fail, seed=17)
    assert "seed 17" in caught.value.__notes__[0]


def test_the_scheduler_is_as_before_afterwards() -> None:
    source: random.Random = trio._core._run._r
    before = source.getstate()
    with seeded_scheduler(1) as done:
        assert done
        first = source.random()
    assert source.getstate() == before
    with seeded_scheduler(1):
        assert source.random() == first


def test_a_trio_without_that_name_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("trio._core._run._r")
    with seeded_scheduler(1) as done:
        assert not done


# Planted bugs, and the same games without them.


@attrs.frozen
class Pay:
    to: str
    amount: int


class Bank(Game):
    """Players pay each other."""

    loses_updates = False

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.money: dict[str, int] = {}

    def user_joined(self, username: str, /) -> None:
        self.money.setdefault(username, 100)

    @on(Pay)
    def pay(self, player: str, pay: Pay) -> None:
        if pay.amount > self.money[player]:
            raise Reject("you have not got that much")
        self.money[player] -= pay.amount
        if self.loses_updates:
            self.room.nursery.start_soon(self.transfer, pay)
        else:
            self.money[pay.to] += pay.amount

    async def transfer(self, pay: Pay) -> None:
        before = self.money[pay.to]
        await trio.sleep(0.3)
        self.money[pay.to] = before + pay.amount

    def view(self) -> dict[str, int]:
        return self.money


class LossyBank(Bank):
    loses_updates = True


def pay_anybody(seat: Seat) -> object:
    others = [name for name in seat.state if name != seat.player]
    return Pay(seat.random.choice(others), seat.random.randint(1, 30)) if others else None


def money_is_conserved(table: Table) -> None:
    total, due = sum(table.game.money.values()), 100 * len(table.game.money)
    assert total == due, f"there is {total}, and should be {due}"


def explore_bank(game: type[Game], **more: Any) -> Any:
    return explore(
        game,
        players=3,
        moves=pay_anybody,
        invariants=[money_is_conserved, same_state],
        rest=1.0,
        **more,
    )


def test_a_bank_without_a_bug_holds() -> None:
    done = explore_bank(Bank, seeds=range(4))
    assert done.seeds == 4
    assert 100 < done.accepted <= done.moves
    assert done.drops > 10


def test_a_lost_update_is_found() -> None:
    with pytest.raises(AssertionError) as caught:
        explore_bank(LossyBank)
    text = str(caught.value)
    assert "LossyBank failed with seed" in text
    assert "money_is_conserved" in text
    assert "ann: Pay(to=" in text
    assert "fault: " in text
    assert "--pgnet-seed=" in text


def test_the_seed_that_failed_fails_again_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = []
    for _ in range(2):
        with pytest.raises(AssertionError) as caught:
            explore_bank(LossyBank)
        texts.append(str(caught.value))
        seed = texts[0].partition("--pgnet-seed=")[2].partition(",")[0]
        monkeypatch.setenv("PGNET_SEED", seed)
    assert texts[0] == texts[1]


@attrs.frozen
class Draw:
    pass


class Turns(Game):
    """Whoever does not draw within a minute loses the turn."""

    timer_dies = False

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.turn = 0
        self.since = 0.0
        self.timer = trio.CancelScope()

    def user_joined(self, username: str, /) -> None:
        if len(self.room.players) == 2:
            self.begin_turn()

    def begin_turn(self) -> None:
        self.turn += 1
        self.since = trio.current_time()
        self.timer.cancel()
        self.timer = trio.CancelScope()
        self.room.nursery.start_soon(self.wait, self.timer)

    async def wait(self, timer: trio.CancelScope) -> None:
        with timer:
            await trio.sleep(60)
            self.timer = trio.CancelScope()
            self.begin_turn()

    def player_dropped(self, username: str, /) -> None:
        if self.timer_dies:
            self.timer.cancel()

    @on(Draw)
    def draw(self, player: str, draw: Draw) -> None:
        if self.room.players[self.turn % 2] != player:
            raise Reject("it is not your turn")
        self.begin_turn()

    def view(self) -> dict[str, int]:
        return {"turn": self.turn}


class DeadTimer(Turns):
    timer_dies = True


def no_turn_lasts_for_ever(table: Table) -> None:
    assert table.time - table.game.since <= 60


def explore_turns(game: type[Game], **more: Any) -> Any:
    return explore(
        game,
        moves=lambda seat: Draw(),
        invariants=[no_turn_lasts_for_ever],
        rest=200.0,
        **more,
    )


def test_a_timer_that_lives_on_holds() -> None:
    explore_turns(Turns, seeds=range(4))


def test_a_timer_that_dies_with_a_drop_is_found() -> None:
    with pytest.raises(AssertionError, match="no_turn_lasts_for_ever"):
        explore_turns(DeadTimer)


@attrs.frozen
class Score:
    points: dict[str, int]
    rounds: int = 0


class Saved(Game):
    """Counts points and rounds, and saves both, or not."""

    persistent = True
    forgets = False

    def __init__(self, name: str, save_string: str | None = None) -> None:
        saved = self.room.saved(Score) or Score({})
        self.points, self.rounds = dict(saved.points), saved.rounds

    @on(Draw)
    def draw(self, player: str, draw: Draw) -> None:
        self.points[player] = self.points.get(player, 0) + 1
        self.rounds += 1

    def view(self) -> Score:
        return Score(self.points, self.rounds)

    def get_save_string(self) -> Score:
        return Score(self.points, 0 if self.forgets else self.rounds)


class Forgetful(Saved):
    forgets = True


def test_a_save_with_everything_holds() -> None:
    explore(Saved, moves=lambda seat: Draw(), faults=Faults(restart_every=1), seeds=range(3))


def test_a_save_that_misses_a_field_is_found() -> None:
    with pytest.raises(AssertionError, match="not in the save") as caught:
        explore(Forgetful, moves=lambda seat: Draw(), faults=Faults(restart_every=2))
    assert "the server restarts from its save" in str(caught.value)


class Raising(Bank):
    def player_dropped(self, username: str, /) -> None:
        raise ZeroDivisionError("a planted fault")


def test_a_game_that_raises_after_a_drop_is_found() -> None:
    with pytest.raises(AssertionError, match="ZeroDivisionError: a planted fault"):
        explore_bank(Raising)


def test_an_invariant_that_returns_false_fails() -> None:
    with pytest.raises(AssertionError, match="it returned False"):
        explore(Bank, moves=pay_anybody, invariants=[lambda table: len(table.moves) < 3])


class Stuck(Bank):
    async def handle_game_packet(self, packet: Packet, /) -> Response:
        await trio.Event().wait()
        return Response("never")


def test_a_game_that_does_not_answer_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exploration, "MAX_TIME", 720.0)
    with pytest.raises(AssertionError, match=r"did not come to its end in 0\.2 hours"):
        explore(Stuck, moves=lambda seat: Packet("wait"))


class Leaving(Counter):
    """Sends away who asks for it; they may come back."""

    def handle_game_packet(self, packet: Packet, /) -> Response:
        assert packet.username is not None
        self.room.locked = packet.message == "lock"
        self.room.kick(packet.username)
        return Response("gone")


def test_players_who_are_out_join_again() -> None:
    done = explore(Leaving, moves=lambda seat: Packet("leave"), seeds=[0], checks=2)
    assert done.accepted == 40
    explore(Leaving, moves=lambda seat: Packet("lock"), seeds=[0], checks=2, faults=Faults())


@attrs.frozen
class Choose:
    what: str


@attrs.frozen
class Throw:
    shape: str


class Asking(Game):
    """A script that asks both players, round after round."""

    answers: list[dict[str, Throw]]

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.answers = []

    async def run(self) -> None:
        players = await self.room.wait_players(2)
        while True:
            self.answers.append(
                await self.room.ask_all(
                    players, Choose("throw"), Throw, timeout=30, default=Throw("rock")
                )
            )

    def view(self) -> Any:
        return {"rounds": len(self.answers)}


def throw(seat: Seat, question: Question[Any]) -> object:
    return Throw(seat.random.choice(["rock", "paper", "scissors"]))


def explore_asking(game: type[Game] = Asking, **more: Any) -> Any:
    return explore(game, moves=lambda seat: None, answers=throw, seeds=range(2), pace=3, **more)


def test_questions_are_answered_from_the_first_check_to_the_last() -> None:
    rounds: list[int] = []

    def answers_count_once(table: Table) -> None:
        rounds.append(len(table.game.answers))
        thrown = [answer.message for answer in table.accepted_answers]
        got = [throw for each in table.game.answers for throw in each.values()]
        # What is left over was taken, and waits for the other player's.
        assert len(thrown) - len(got) in (0, 1)

    done = explore_asking(invariants=[answers_count_once], faults=Faults(drop_rate=0.0))
    assert rounds == sorted(rounds[:5]) + sorted(rounds[5:])
    assert all(later - earlier >= 3 for earlier, later in itertools.pairwise(rounds[:5]))
    assert 60 < done.accepted_answers <= done.answers


def test_questions_are_asked_anew_after_a_restart() -> None:
    class Surviving(Asking):
        persistent = True

        def get_save_string(self) -> str:
            return "any"

        def view(self) -> Any:
            return None

    done = explore_asking(Surviving, faults=Faults(restart_every=1))
    assert done.restarts == 8
    assert done.accepted_answers > 60


def test_an_answer_that_is_refused_is_counted_as_such() -> None:
    class Strict(Asking):
        async def run(self) -> None:
            [player, *_] = await self.room.wait_players(2)
            while True:
                await self.room.ask(player, Choose("throw"), Throw, check=self.refuse)

        def refuse(self, throw: Throw) -> None:
            raise Reject("never")

    done = explore_asking(Strict)
    assert done.answers > 0
    assert done.accepted_answers == 0


def test_a_player_may_leave_a_question_open() -> None:
    done = explore(
        Asking, moves=lambda seat: None, answers=lambda seat, question: None, seeds=[0], checks=2
    )
    assert done.answers == 0


def test_a_failure_at_the_shutdown_is_no_check_s() -> None:
    class Last(Counter):
        def user_left(self, username: str, /) -> None:
            raise ZeroDivisionError("at the end")

    with pytest.raises(AssertionError, match="in the shutdown: ZeroDivisionError: at the end"):
        explore(Last, moves=lambda seat: Packet("add"), invariants=[same_state], seeds=[0])


class Members(Saved):
    """Knows who is in the game, and forgets those who leave."""

    def user_joined(self, username: str, /) -> None:
        if username in self.points:
            raise ZeroDivisionError("a known player joins")
        self.points[username] = 0

    def user_left(self, username: str, /) -> None:
        del self.points[username]


def test_a_game_that_does_not_know_its_players_after_a_restart_is_found() -> None:
    with pytest.raises(AssertionError, match="a known player joins"):
        explore(Members, moves=lambda seat: Draw(), faults=Faults(restart_every=1), seeds=[0])
    explore(Members, moves=lambda seat: Draw(), seeds=[0])


class Round(Game):
    """A turn for each player, which passes on when somebody leaves, or not."""

    keeps_turn = False

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.turn = ""

    def user_joined(self, username: str, /) -> None:
        self.turn = self.turn or username

    def user_left(self, username: str, /) -> None:
        if self.turn == username and not self.keeps_turn:
            self.turn = next(iter(self.room.players), "")

    @on(Draw)
    def draw(self, player: str, draw: Draw) -> None:
        players = self.room.players
        self.turn = players[(players.index(player) + 1) % len(players)]

    def view(self, player: str | None) -> Any:
        return {"turn": self.turn, "mine": self.turn == player}


class KeptTurn(Round):
    keeps_turn = True


def turn_is_somebody_s(table: Table) -> None:
    assert table.game.turn in table.players


def explore_leaving(game: type[Game], faults: Faults, **more: Any) -> Any:
    return explore(
        game,
        players=3,
        moves=lambda seat: Draw() if seat.state["mine"] else None,
        invariants=[turn_is_somebody_s],
        faults=faults,
        seeds=range(4),
        **more,
    )


@pytest.mark.parametrize(
    "faults", [Faults(leave_every=5.0), Faults(quit_every=15.0)], ids=["leave", "quit"]
)
def test_a_game_that_waits_for_who_has_left_is_found(faults: Faults) -> None:
    done = explore_leaving(Round, faults)
    assert done.departures >= 4
    with pytest.raises(AssertionError, match="turn_is_somebody_s") as caught:
        explore_leaving(KeptTurn, faults)
    assert " leaves" in str(caught.value)


def test_who_leaves_joins_again_and_who_quits_does_not() -> None:
    sizes: set[int] = set()

    def note(table: Table) -> None:
        sizes.add(len(table.players))

    explore(
        Round,
        moves=lambda seat: None,
        invariants=[note],
        faults=Faults(leave_every=3.0, lasting=1.0),
        seeds=[1],
        checks=10,
    )
    assert sizes == {1, 2}
    after: list[int] = []
    explore(
        Round,
        players=3,
        moves=lambda seat: None,
        invariants=[lambda table: after.append(len(table.players))],
        faults=Faults(quit_every=2.0, restart_every=None),
        seeds=[1],
    )
    assert after == sorted(after, reverse=True)
    assert after[-1] == 1


class Watched(Round):
    """Shows spectators what is not so, or nothing at all."""

    fault = ""

    def view(self, player: str | None) -> Any:
        if player is None and self.fault == "raises" and self.turn == "bob":
            raise ZeroDivisionError("not for spectators")
        return {"turn": self.turn, "mine": self.turn == player}


def test_spectators_are_shown_what_the_view_returns() -> None:
    done = explore_leaving(Watched, Faults(leave_every=5.0), spectators=2)
    assert done.departures > 0
    game = type("Raises", (Watched,), {"fault": "raises"})
    with pytest.raises(AssertionError, match="ZeroDivisionError: not for spectators"):
        explore_leaving(game, Faults(), spectators=1)


@pytest.mark.parametrize(
    ("more", "error", "says"),
    [
        ({"players": 9}, ValueError, "players: expected 1 to 8, or names, got 9"),
        ({"players": 0}, ValueError, "players: expected 1 to 8"),
        ({"players": []}, ValueError, "players: expected one or more"),
        ({"players": "ann"}, TypeError, "players: expected a list of names, got 'ann'"),
        ({"players": ["ann", "ann"]}, ValueError, "players: .* got 'ann' again"),
        ({"spectators": 21}, ValueError, "spectators: expected 0 to 20, got 21"),
        ({"spectators": -1}, ValueError, "spectators: expected 0 to 20"),
        ({"spectators": None}, TypeError, "spectators: expected how many"),
        ({"spectators": ["eve"]}, TypeError, "spectators: expected how many"),
        ({"players": ["watcher1"], "spectators": 20}, ValueError, "spectators: expected 0 to 19"),
    ],
)
def test_who_cannot_play_or_watch_is_refused(
    more: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        explore(Round, moves=lambda seat: None, **more)


@pytest.mark.parametrize(
    "wrong",
    [
        {"latency": -1},
        {"drop_rate": 1},
        {"cut_every": 0},
        {"leave_every": -1},
        {"quit_every": math.nan},
        {"stall_every": "often"},
        {"lasting": 0},
        {"restart_every": 0},
        {"restart_every": 1.5},
    ],
)
def test_faults_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Faults(**wrong)


# Views.


class Impure(Round):
    """Shows what only one look can see, or what depends on chance."""

    fault = ""
    looks = 0

    def __init__(self, name: str, save_string: str | None = None) -> None:
        super().__init__(name, save_string)
        self.news: list[str] = []

    @on(Draw)
    def draw(self, player: str, draw: Draw) -> None:
        self.news.append(player)

    def view(self, player: str | None) -> Any:
        state = {"turn": self.turn, "mine": self.turn == player}
        if self.fault == "empties":
            news, self.news = self.news, []
            return {**state, "news": news}
        if self.fault == "counts":
            self.looks += 1
            return {**state, "looks": self.looks}
        if self.fault == "chance":
            return {**state, "number": self.room.random.random()}
        return state


@pytest.mark.parametrize("fault", ["empties", "counts", "chance", ""])
def test_a_view_that_changes_the_game_is_found(fault: str) -> None:
    game = type("Impure", (Impure,), {"fault": fault})
    if not fault:
        explore_leaving(game, Faults())
        return
    with pytest.raises(AssertionError, match=r"view\('ann'\) returned .*must not change the game"):
        explore_leaving(game, Faults())


class Ranking(Game):
    """Shows the points of the players as a map, the best first, or as a list."""

    as_list = False

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.points: dict[str, int] = {}

    def user_joined(self, username: str, /) -> None:
        self.points[username] = 0

    @on(Draw)
    def draw(self, player: str, draw: Draw) -> None:
        self.points[player] += self.room.random.randint(0, 9)

    def view(self) -> Any:
        ranking = sorted(self.points.items(), key=lambda pair: -pair[1])
        return [[*pair] for pair in ranking] if self.as_list else dict(ranking)


def explore_ranking(*, as_list: bool) -> None:
    explore(
        type("Ranking", (Ranking,), {"as_list": as_list}),
        players=3,
        moves=lambda seat: Draw(),
        invariants=[same_state, same_order],
        seeds=range(3),
    )


def test_a_map_whose_order_matters_is_found() -> None:
    explore_ranking(as_list=True)
    with pytest.raises(AssertionError, match=r"same_order.*in another order than view\(\)"):
        explore_ranking(as_list=False)


# Secrets.


class Poker(Game):
    """Each player holds a card; the higher one wins when both have shown theirs."""

    leak = ""

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.cards = {"ann": 7, "bob": 7}
        self.shown: list[str] = []

    def handle_game_packet(self, packet: Packet, /) -> Response:
        assert packet.username is not None
        self.shown.append(packet.username)
        if self.leak == "push":
            self.room.push("shown", {"card": self.cards[packet.username]})
        return Response("shown")

    def get_lobby_info(self) -> str:
        return f"{self.cards['bob'] % 2}" if self.leak == "lobby" else ""

    def view(self, player: str | None) -> Any:
        if self.leak == "view":
            return {"cards": self.cards, "shown": self.shown}
        if self.leak == "order":
            strongest = max(self.cards, key=lambda name: self.cards[name])
            return {"players": [strongest, *self.shown]}
        return {"card": self.cards.get(player or ""), "shown": self.shown}


async def show(clients: dict[str, Client]) -> None:
    await clients["bob"].request(Packet("show"))
    await clients["ann"].get_game_dir()


SECRETS: list[Any] = [{"cards": {"ann": 7, "bob": 3}}, {"cards": {"ann": 7, "bob": 12}}]


def test_a_game_that_keeps_its_secrets_passes() -> None:
    assert assert_hidden(Poker, secrets=SECRETS, player="ann", play=show) > 100


@pytest.mark.parametrize("leak", ["view", "push", "lobby", "order"])
def test_a_leaked_card_is_found(leak: str) -> None:
    game = type("Leaky", (Poker,), {"leak": leak})
    with pytest.raises(AssertionError, match="ann can tell secret 0 from secret 1") as caught:
        assert_hidden(game, secrets=SECRETS, player="ann", play=show)
    assert "secret 1 gives at " in str(caught.value)


def test_a_player_may_see_their_own() -> None:
    with pytest.raises(AssertionError, match="bob can tell"):
        assert_hidden(Poker, secrets=SECRETS, player="bob", play=show)


def test_a_secret_may_be_a_function() -> None:
    def deal(card: int) -> Callable[[Poker], None]:
        def set_up(game: Poker) -> None:
            game.cards["bob"] = card

        return set_up

    assert assert_hidden(Poker, secrets=[deal(1), deal(2), deal(3)], player="ann")


def test_a_secret_of_one_is_none() -> None:
    with pytest.raises(ValueError, match="two or more"):
        assert_hidden(Poker, secrets=SECRETS[:1], player="ann")
    with pytest.raises(ValueError, match="expected one of ann, bob"):
        assert_hidden(Poker, secrets=SECRETS, player="cid")


def test_a_secret_that_the_game_does_not_know_is_refused() -> None:
    secrets = [{"crads": cards["cards"]} for cards in SECRETS]
    with pytest.raises(ValueError, match=r"has no attribute 'crads' .*did you mean 'cards'"):
        assert_hidden(Poker, secrets=secrets, player="ann", play=show)


def test_secrets_that_are_the_same_are_refused() -> None:
    same = [{"cards": {"ann": 7, "bob": 3}} for _ in range(2)]
    with pytest.raises(ValueError, match="secrets 0 and 1 set up the same game"):
        assert_hidden(Poker, secrets=same, player="ann")

    def deal(card: int) -> Callable[[Poker], None]:
        def set_up(game: Poker) -> None:
            game.cards["bob"] = card

        return set_up

    with pytest.raises(ValueError, match="secrets 1 and 2 set up the same game"):
        assert_hidden(Poker, secrets=[deal(1), deal(2), deal(2)], player="ann")


def test_secrets_that_the_game_sets_anew_when_players_join_are_refused() -> None:
    class Dealing(Poker):
        def user_joined(self, username: str, /) -> None:
            self.cards = {"ann": 7, "bob": 3}

    secrets = [{"cards": {"bob": card}} for card in (3, 12)]
    with pytest.raises(ValueError, match=r"leave the same game once all have joined"):
        assert_hidden(Dealing, secrets=secrets, player="ann", play=show)


def test_what_is_no_secret_is_refused() -> None:
    with pytest.raises(TypeError, match="secrets: expected mappings or functions, got 1"):
        assert_hidden(Poker, secrets=[1, 2], player="ann")  # type: ignore[list-item]  # wrong on purpose
    with pytest.raises(TypeError, match="players: expected a list of names"):
        assert_hidden(Poker, secrets=SECRETS, player="ann", players="ann")


def test_secrets_may_differ_by_chance_alone() -> None:
    def seeded(seed: int) -> Callable[[Poker], None]:
        return lambda game: game.room.random.seed(seed)

    assert assert_hidden(Poker, secrets=[seeded(1), seeded(2)], player="ann")


def test_a_secret_may_be_in_a_slot() -> None:
    @attrs.define
    class Slotted(Game):
        name: str
        save_string: str | None = None
        card: int = 0

    assert assert_hidden(Slotted, secrets=[{"card": 1}, {"card": 2}], player="ann")


def test_a_game_of_which_there_are_no_bytes_is_compared_all_the_same() -> None:
    class Locked(Poker):
        def __init__(self, name: str, save_string: str | None = None) -> None:
            super().__init__(name, save_string)
            self.rule = lambda: None

    assert assert_hidden(Locked, secrets=SECRETS, player="ann", play=show)

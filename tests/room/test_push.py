"""What games send unasked: to whom, in which order, once, and what becomes of what nobody reads."""

from __future__ import annotations

import contextlib
import functools
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pgnet_trio import (
    Client,
    CodecError,
    Disconnected,
    Entered,
    Game,
    Left,
    Packet,
    PlayerLeft,
    Push,
    PushesLost,
    Question,
    Response,
    StateChanged,
    on,
)
from pgnet_trio.client.limits import MAX_CALLS, MAX_UNREAD
from pgnet_trio.testing import HostedServer, SimulatedNetwork, hosting, playing
from tests.kit.seeds import seeds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@attrs.define
class Said:
    who: str
    text: str


@attrs.define
class Tick:
    number: int


@attrs.define
class Choice:
    text: str


@attrs.define
class Say:
    """Has the game say something; the other fields are those of `Room.push`."""

    text: str
    to: list[str] | None = None
    exclude: list[str] = attrs.field(factory=list)
    times: int = 1


@attrs.define
class Hall:
    said: int


class Square(Game):
    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.said = 0

    def view(self) -> Hall:
        return Hall(self.said)

    @on(Say)
    def say(self, player: str, say: Say) -> None:
        for _ in range(say.times):
            self.said += 1
            self.room.push(Said(player, say.text), to=say.to, exclude=say.exclude)

    def handle_game_packet(self, packet: Packet, /) -> Response:
        match packet.message:
            case "ticks":
                for number in range(packet.payload["count"]):
                    self.room.push(Tick(number), to=packet.payload["to"])
            case "raw":
                self.room.push("raw", packet.payload)
            case "packet" | "push":
                kind = {"packet": Packet, "push": Push}[packet.message]
                self.room.push(kind("raw", packet.payload))
            case "response":
                self.room.push(Response("raw", packet.payload))
            case "twice":
                self.room.push(Packet("raw"), {"n": 1})
            case "odd":
                self.room.push("Said", {"who": 5})
            case "kick":
                self.said += 1
                self.room.push(Said("the game", "farewell"))
                self.room.kick(packet.payload["who"], "enough")
            case "close":
                self.said += 1
                self.room.push(Said("the game", "the end"))
                self.room.close("over")
            case "own":
                self.room.push("__pgnet__.players", {})
            case "nonsense":
                self.room.push("x", {"x": object()})
        return Response(packet.message)


@asynccontextmanager
async def square(*names: str, **options: Any) -> AsyncIterator[tuple[HostedServer, list[Client]]]:
    with trio.fail_after(10_000):
        async with hosting(Square, **options) as server, playing(server, *names) as players:
            clients: list[Client] = [players] if isinstance(players, Client) else [*players]
            for client in clients:
                await client.join_game("square")
            yield server, clients


async def heard_by(client: Client) -> list[str]:
    """Return what was pushed to a client and not read yet."""
    await wait_all_tasks_blocked()
    texts = []
    with trio.move_on_after(0.01):
        async for said in client.pushes(Said):
            texts.append(said.text)  # noqa: PERF401 - a comprehension that is cancelled gives nothing
    return texts


async def test_pushes_go_to_whom_they_are_for(autojump_clock: MockClock) -> None:
    async with square("ann", "bob", "eve") as (_, (ann, bob, eve)):
        await ann.call(Say("all"))
        await ann.call(Say("bob only", to=["bob"]))
        await ann.call(Say("some", to=["eve", "bob", "eve", "nobody"]))
        await ann.call(Say("not ann", exclude=["ann"]))
        await ann.call(Say("nobody", to=[]))
        await ann.call(Say("not even bob", to=["bob"], exclude=["bob"]))
        assert await heard_by(ann) == ["all"]
        assert await heard_by(bob) == ["all", "bob only", "some", "not ann"]
        assert await heard_by(eve) == ["all", "some", "not ann"]


async def test_spectators_hear_what_all_hear(autojump_clock: MockClock) -> None:
    async with square("ann") as (server, (ann,)), server.client("bob") as bob:
        await bob.join_game("square", spectate=True)
        await ann.call(Say("all"))
        await ann.call(Say("players", to=["ann"]))
        assert await heard_by(bob) == ["all"]


async def test_the_state_of_a_turn_comes_before_its_pushes_and_these_before_its_answer(
    autojump_clock: MockClock,
) -> None:
    order: list[str] = []
    async with square("ann") as (_, (ann,)):
        await wait_all_tasks_blocked()
        ann.on_state = lambda state: order.append(f"state {state['said']}")
        ann.on_push = lambda push: order.append("push")
        ann.send(Say("x", times=2), lambda response: order.append("answer"))
        await wait_all_tasks_blocked()
        assert order == ["state 0", "state 2", "push", "push", "answer"]


@pytest.mark.parametrize("how", ["raw", "packet", "push"])
async def test_untyped_pushes_arrive_as_they_are(how: str, autojump_clock: MockClock) -> None:
    async with square("ann") as (_, (ann,)):
        await ann.request(Packet(how, {"n": [1, None]}))
        assert await anext(ann.pushes()) == Push("raw", {"n": [1, None]})


@pytest.mark.parametrize("message", ["own", "nonsense", "response", "twice"])
async def test_what_cannot_be_pushed_fails_in_the_game(
    message: str, autojump_clock: MockClock
) -> None:
    async with square("ann") as (server, (ann,)):
        with server.expecting(TypeError, ValueError) as errors:
            await ann.request(Packet(message))
            assert len(errors) == 1


async def test_a_kind_is_read_past_the_others(autojump_clock: MockClock) -> None:
    async with square("ann") as (_, (ann,)):
        await ann.request(Packet("ticks", {"count": 3, "to": None}))
        await ann.call(Say("hello"))
        assert await anext(ann.pushes(Said)) == Said("ann", "hello")
        assert [(await anext(ann.pushes(Tick))).number for _ in range(3)] == [0, 1, 2]


async def test_who_reads_one_kind_loses_nothing_by_another(autojump_clock: MockClock) -> None:
    async with square("ann", "bob") as (_, (ann, bob)):
        for _ in range(3):
            for _ in range(2):
                await bob.request(Packet("ticks", {"count": MAX_UNREAD // 2, "to": "ann"}))
                await wait_all_tasks_blocked()
            await bob.call(Say("hello", to=["ann"]))
            assert await anext(ann.pushes(Said)) == Said("bob", "hello")
        with pytest.raises(PushesLost, match=f"{2 * MAX_UNREAD + 1} "):
            await anext(ann.pushes(Tick))


async def test_a_push_that_is_no_such_model_is_told_once(autojump_clock: MockClock) -> None:
    async with square("ann") as (_, (ann,)):
        await ann.request(Packet("odd"))
        await ann.call(Say("hello"))
        pushes = ann.pushes(Said)
        told = r"^A push of 'square' is no Said: Said\.who: expected .* same version\?$"
        with pytest.raises(CodecError, match=told):
            await anext(pushes)
        assert await anext(pushes) == Said("ann", "hello")


async def test_pushes_are_lost_once_and_then_it_goes_on(autojump_clock: MockClock) -> None:
    async with square("ann") as (_, (ann,)):
        count = MAX_UNREAD // 4
        for _ in range(5):
            await ann.request(Packet("ticks", {"count": count, "to": None}))
        pushes = ann.pushes()
        with pytest.raises(PushesLost, match=f"{count} pushes"):
            await anext(pushes)
        numbers = [(await anext(pushes)).payload["number"] for _ in range(MAX_UNREAD)]
        assert numbers == [*range(count)] * 4
        await ann.request(Packet("ticks", {"count": 1, "to": None}))
        assert (await anext(pushes)).payload == {"number": 0}


async def test_each_kind_has_one_consumer(autojump_clock: MockClock) -> None:
    async with square("ann") as (_, (ann,)), trio.open_nursery() as nursery:
        await wait_all_tasks_blocked()
        states = ann.states(Hall)
        assert await anext(states) == Hall(0)
        assert await anext(ann.events()) == StateChanged()
        for first, second in (
            (ann.pushes(), ann.pushes()),
            (ann.pushes(Said), ann.pushes(Said)),
            (ann.questions(), ann.questions()),
            (states, ann.states(Hall)),
            (ann.events(), ann.events()),
        ):
            nursery.start_soon(anext, first)
            await wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError):
                await anext(second)
        nursery.cancel_scope.cancel()


async def test_cancelling_and_breaking_out_leave_nothing_behind(autojump_clock: MockClock) -> None:
    async with square("ann") as (_, (ann,)):
        await wait_all_tasks_blocked()
        for _ in range(3):
            for iterator in (ann.pushes(Said), ann.questions(), ann.events()):
                with trio.move_on_after(1):
                    await anext(iterator)
        await ann.call(Say("one", times=3))
        async for _ in ann.pushes():
            break
        async for said in ann.pushes(Said):
            assert said.text == "one"
            break
        assert await heard_by(ann) == ["one"]


async def test_a_push_is_not_lost_by_a_cancellation_at_the_same_moment(
    autojump_clock: MockClock,
) -> None:
    async with square("ann") as (_, (ann,)):
        heard = 0

        def cancel(scope: trio.CancelScope, response: Response) -> None:
            scope.cancel()

        for _ in range(50):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:

                    async def read() -> None:
                        nonlocal heard
                        async for _ in ann.pushes():
                            heard += 1

                    nursery.start_soon(read)
                    ann.send(Say("x"), functools.partial(cancel, scope))
                    await trio.sleep_forever()
        heard += len(await heard_by(ann))
        assert heard == 50


@pytest.mark.parametrize("how", ["kick", "close", "leave"])
async def test_iterators_end_with_the_game_after_the_last_that_there_was(
    how: str, autojump_clock: MockClock
) -> None:
    order: list[str] = []
    async with square("bob", "ann") as (_, (bob, ann)):
        await wait_all_tasks_blocked()
        ann.on_state = lambda state: order.append(f"state {state['said']}")
        ann.on_push = lambda push: order.append(push.payload["text"])
        ann.on_game = lambda game: order.append(str(game))
        ended: list[str] = []

        async def read(name: str, iterator: Any) -> None:
            async for _ in iterator:
                pass
            ended.append(name)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, "pushes", ann.pushes(Said))
            nursery.start_soon(read, "questions", ann.questions())
            nursery.start_soon(read, "states", ann.states(Hall))
            await wait_all_tasks_blocked()
            if how == "leave":
                await ann.leave_game()
            else:
                await bob.request(Packet(how, {"who": "ann"}))
        await wait_all_tasks_blocked()
        last = [] if how == "leave" else ["state 1", {"kick": "farewell", "close": "the end"}[how]]
        assert order == ["state 0", *last, "None"]
        assert sorted(ended) == ["pushes", "questions", "states"]
        assert (
            ann.left
            == {
                "kick": Left("square", "kicked", "enough"),
                "close": Left("square", "closed", "over"),
                "leave": Left("square", "left", ""),
            }[how]
        )
        # The next game begins with nothing of this one.
        await ann.join_game("another")
        assert await heard_by(ann) == []
        assert ann.get_state(Hall) == Hall(0)


async def test_the_program_ends_its_iterators_by_disconnecting(autojump_clock: MockClock) -> None:
    async with square("bob") as (server, _):
        async with server.client("ann") as ann, trio.open_nursery() as nursery:

            async def read(iterator: Any) -> None:
                async for _ in iterator:
                    pass

            async def expect_disconnected() -> None:
                with pytest.raises(Disconnected, match="disconnected by this client"):
                    await ann.wait_state(Hall, lambda hall: hall.said > 5)

            await ann.join_game("square")
            for iterator in (ann.pushes(), ann.questions(), ann.states(Hall), ann.events()):
                nursery.start_soon(read, iterator)
            nursery.start_soon(expect_disconnected)
            await wait_all_tasks_blocked()
            ann.disconnect()
        await read(ann.pushes())


async def test_who_reads_without_a_connection_does_not_wait(autojump_clock: MockClock) -> None:
    async with square("bob") as (server, _):
        ann = server.client("ann")
        for iterator in (ann.pushes(), ann.questions(), ann.states(Hall), ann.events()):
            with pytest.raises(Disconnected, match="not connected"):
                await anext(iterator)
        async with ann:
            ann.on_push = None
            await ann.join_game("square")
            await ann.call(Say("x"))
            assert await heard_by(ann) == ["x"]


async def test_events_come_in_the_order_of_arrival_and_over_games(
    autojump_clock: MockClock,
) -> None:
    class Asking(Square):
        async def run(self) -> None:
            await self.room.wait_players(1)
            with contextlib.suppress(PlayerLeft):
                await self.room.ask(self.room.players[0], Choice("which?"), Choice)

    async with hosting(Asking) as server, playing(server, "ann") as ann:
        events = ann.events()
        await ann.create_game("one")
        await ann.call(Say("x"))
        await wait_all_tasks_blocked()
        await ann.leave_game()
        seen = []
        with trio.move_on_after(0.01):
            async for event in events:
                seen.append(event)  # noqa: PERF401 - as above
        kinds = [type(event) for event in seen]
        assert kinds[0] is Entered
        assert kinds[-1] is Left
        assert sorted(kind.__name__ for kind in kinds[1:-1]) == sorted(
            ["StateChanged", "Question", "StateChanged", "Push"]
        )
        assert kinds.index(Push) > kinds.index(StateChanged)
        assert isinstance(seen[0], Entered)
        assert Question in kinds


@pytest.mark.parametrize("seed", seeds(2))
async def test_pushes_survive_drops_once_and_in_order(seed: int, autojump_clock: MockClock) -> None:
    network = SimulatedNetwork(seed, latency=0.01, jitter=0.02)
    async with square("ann", "bob", network=network) as (_, (ann, bob)):
        for number in range(60):
            await bob.call(Say(str(number)))
            if number % 3 == 0:
                network.drop("ann")
            await trio.sleep(0.05)
        await trio.sleep(30)
        assert await heard_by(ann) == await heard_by(bob) == [str(n) for n in range(60)]


async def test_on_push_is_called_in_order_and_may_ask(autojump_clock: MockClock) -> None:
    heard: list[str] = []

    async def on_push(push: Push) -> None:
        if push.payload["text"] != "echo":
            await ann.call(Say("echo"))
        heard.append(push.payload["text"])

    async with square("ann", "bob") as (_, (ann, bob)):
        ann.on_push = on_push
        for text in ("one", "two"):
            await bob.call(Say(text))
        await wait_all_tasks_blocked()
        assert sorted(heard) == ["echo", "echo", "one", "two"]
        assert heard[0] == "one"


async def test_a_slow_on_push_ends_the_client_and_says_so(autojump_clock: MockClock) -> None:
    presence: list[bool] = []

    async def on_push(push: Push) -> None:
        await trio.sleep(1)

    async with square("bob") as (server, (bob,)):
        ann = server.client("ann")
        ann.on_push = on_push
        ann.on_connection = presence.append
        async with trio.open_nursery() as nursery:
            await nursery.start(ann.run)
            await ann.join_game("square")
            for _ in range(MAX_CALLS // 256 + 1):
                await bob.call(Say("x", times=256))
                await wait_all_tasks_blocked()
            assert not ann.connected
            assert "take longer than new ones come" in ann.close_reason
        # It hears of everything that there was until then, and of the end.
        assert presence == [True, False]


async def test_a_server_that_changes_the_game_without_end_ends_the_client(
    autojump_clock: MockClock,
) -> None:
    from pgnet_trio.protocol.events import GameChanged

    async with square("ann") as (_, (ann,)):
        gate = trio.Event()
        presence: list[bool] = []
        await wait_all_tasks_blocked()

        async def wait(game: str | None) -> None:
            await gate.wait()

        ann.on_game = wait
        ann.on_connection = presence.append
        for n in range(10_000):
            ann._run.take_event(GameChanged(f"game {n}"))
        assert not ann.connected
        gate.set()
        await wait_all_tasks_blocked()
        assert presence == [False]


async def test_states_are_not_kept_for_who_is_slow(autojump_clock: MockClock) -> None:
    async with square("ann", "bob") as (_, (ann, bob)):
        states = ann.states(Hall)
        assert await anext(states) == Hall(0)
        for _ in range(5):
            await bob.call(Say("x"))
        await wait_all_tasks_blocked()
        assert await anext(states) == Hall(5)


async def test_a_patch_that_does_not_fit_is_healed_by_one_whole_state(
    autojump_clock: MockClock,
) -> None:
    async with square("ann", "bob") as (server, (ann, bob)):
        await wait_all_tasks_blocked()
        wanted = []
        run = ann._run
        ask = run.request_full_state
        run.request_full_state = lambda: (wanted.append(1), ask())  # type: ignore[assignment, func-returns-value, method-assign]  # replaced for this test
        run.view._state_version = -1
        server.network.stall("ann")
        for _ in range(3):
            await bob.call(Say("x"))
            await wait_all_tasks_blocked()
        server.network.heal("ann")
        await wait_all_tasks_blocked()
        assert ann.get_state(Hall) == Hall(3)
        assert wanted == [1]
        await bob.call(Say("x"))
        await wait_all_tasks_blocked()
        assert ann.get_state(Hall) == Hall(4)

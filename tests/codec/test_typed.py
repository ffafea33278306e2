"""Typed messages: what an author declares is what arrives, or the sender is told which field."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Sequence
from datetime import UTC, datetime
from enum import Enum
from typing import Annotated, Any, Literal, NewType, NoReturn, Optional, Protocol, TypeVar

import attrs
import pytest
import trio

from pgnet_trio import (
    CodecError,
    Game,
    Packet,
    Push,
    Question,
    Reject,
    RequestFailed,
    Response,
    Status,
    on,
)
from pgnet_trio.testing import hosting
from tests.kit.hosting import hosting_faults


class Suit(Enum):
    HEARTS = "hearts"
    SPADES = "spades"


@attrs.define
class Card:
    suit: Suit
    rank: int


@attrs.define
class Play:
    cards: list[Card]
    kind: Literal["play"] = "play"


@attrs.define
class Pass:
    reason: str
    kind: Literal["pass"] = "pass"


@attrs.define
class Move:
    """All that a message may be made of."""

    action: Play | Pass
    at: datetime
    blob: bytes
    bid: int | None = None
    counts: dict[str, int] = attrs.field(factory=dict)
    pair: tuple[int, str] = (0, "")


@attrs.define
class Echo:
    move: Move
    player: str


@attrs.define
class Wait:
    pass


Skip = Pass


@attrs.define
class Break:
    how: str


class Typed(Game):
    """Answers in every way that a handler can."""

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.moves: list[Move] = []

    def user_joined(self, username: str, /) -> None:
        if username == "eve":
            raise Reject("not you", {"why": "no reason"})

    @on(Move)
    def move(self, player: str, move: Move) -> Echo:
        assert isinstance(move.action, (Play, Pass))
        self.moves.append(move)
        return Echo(move, player)

    @on(Wait)
    async def wait(self, player: str, message: Wait) -> None:
        await trio.sleep(1)

    @on(Break)
    def break_(self, player: str, message: Break) -> Response | Break | None:
        match message.how:
            case "response":
                return Response("look", {"x": 1}, 7)
            case "reject":
                raise Reject("you may not", {"rule": 5})
            case "junk":
                return 5  # type: ignore[return-value]  # the fault that is tested
            case "wrong model":
                return Break(5)  # type: ignore[arg-type]  # the fault that is tested
        return None

    def handle_game_packet(self, packet: Packet, /) -> Response:
        return Response(f"untyped {packet.message}", {"moves": len(self.moves)})


MOVE = Move(
    Play([Card(Suit.HEARTS, 3), Card(Suit.SPADES, 12)]),
    datetime(2026, 3, 1, 12, 30, tzinfo=UTC),
    b"\0\xff",
    None,
    {"a": 1},
    (4, "x"),
)


async def test_models_arrive_as_they_were_sent() -> None:
    async with hosting(Typed) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        assert await ann.call(MOVE, Echo) == Echo(MOVE, "ann")
        other = attrs.evolve(MOVE, action=Pass("tired"), bid=5)
        echo = await ann.call(other, Echo)
        assert isinstance(echo.move.action, Pass)
        assert echo.move == other


async def test_a_handler_answers_with_a_model_a_response_or_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with hosting(Typed) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        start = trio.current_time()
        empty = await ann.call(Wait())
        assert trio.current_time() >= start + 1
        assert (empty.message, empty.payload, empty.status) == ("", {}, Status.OK)
        response = await ann.request(Packet("Break", {"how": "response"}))
        assert (response.message, response.payload, response.status) == ("look", {"x": 1}, 7)
        answers: list[Response] = []
        done = trio.Event()

        def take(response: Response) -> None:
            answers.append(response)
            done.set()

        ann.send(MOVE, take)
        await done.wait()
        assert answers[0].message == "Echo"


@pytest.mark.parametrize("protocol", [1, 2])
async def test_untyped_clients_play_typed_games(protocol: int) -> None:
    async with hosting(Typed) as server, server.client("ann", protocol=protocol) as ann:
        await ann.create_game("table 1")
        payload = {
            "action": {"kind": "pass", "reason": "tired"},
            "at": "2026-03-01T12:30:00+00:00",
            "blob": "AP8=",
        }
        answer = await ann.request(Packet("Move", payload))
        assert (answer.message, answer.status) == ("Echo", Status.OK)
        assert answer.payload["player"] == "ann"
        assert answer.payload["move"]["action"]["reason"] == "tired"
        assert (await ann.request(Packet("look"))).message == "untyped look"


class Untyped(Game):
    def handle_game_packet(self, packet: Packet, /) -> Response:
        return Response("Pass", {"reason": packet.message + str(packet.payload), "kind": "pass"})


async def test_typed_clients_play_untyped_games() -> None:
    async with hosting(Untyped) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        assert await ann.call(Break("x"), Pass) == Pass("Break{'how': 'x'}")
        told = "^The answer to Break of 'table 1' is no Echo: .*expected Echo, got 'Pass'.*version"
        with pytest.raises(CodecError, match=told):
            await ann.call(Break("x"), Echo)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"bid": "5"}, "bid: expected int or None, got str"),
        ({"action": {"kind": "play", "cards": [{"suit": "cups", "rank": 1}]}}, "cards[0].suit"),
        ({"action": {"kind": "steal"}}, "action"),
        ({"at": "yesterday"}, "at: expected an ISO 8601 time"),
        ({"blob": "?"}, "blob: expected bytes as base64"),
        ({"counts": {"a": 1.5}}, "counts.a: expected an int"),
        ({"pair": [1]}, "pair: expected a list of 2"),
        ({"colour": "red"}, "colour"),
        ({"at": None}, "at"),
    ],
)
async def test_the_sender_is_told_which_field_is_wrong(change: dict[str, Any], says: str) -> None:
    payload = {
        "action": {"kind": "pass", "reason": "x"},
        "at": "2026-03-01T12:30:00+00:00",
        "blob": "",
        **change,
    }
    async with hosting(Typed) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        answer = await ann.request(Packet("Move", payload))
        assert answer.status == Status.UNEXPECTED
        assert answer.message.startswith(("Move.", "Move: "))
        assert says in answer.message
        # The author's code has not run.
        assert (await ann.request(Packet("look"))).payload == {"moves": 0}


@pytest.mark.parametrize(
    ("message", "got"),
    [
        (Wait(), "Wait"),
        (Wait, r"the class Wait: give an instance, such as Wait\(\.\.\.\)"),
        ("wait", r"the text 'wait': write Packet\('wait', \{\.\.\.\}\)"),
        (Response("wait"), "Response"),
        (Push("wait"), "Push"),
        (None, "NoneType"),
    ],
)
async def test_what_is_no_message_is_told_where_it_is_written(message: Any, got: str) -> None:
    async with hosting(Typed) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        with pytest.raises(TypeError, match=rf"^request\(\) takes a Packet, got {got}; use"):
            await ann.request(message)
        if isinstance(message, Wait):
            return
        for call in (ann.call, ann.send):
            with pytest.raises(TypeError, match=f"^expected a Packet or .* model, got {got}$"):
                result = call(message)
                if result is not None:
                    await result


class Strict(Game):
    """Takes one message, and no other."""

    @on(Pass)
    def skip(self, player: str, message: Pass) -> None: ...


async def test_what_is_sent_and_refused_leaves_a_trace_and_no_flood(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "pgnet_trio")

    def told(*, by: str, about: str) -> list[str]:
        return [
            record.getMessage()
            for record in caplog.records
            if record.name == f"pgnet_trio.{by}" and about in record.getMessage()
        ]

    async with hosting(Strict) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        for _ in range(3):
            ann.send(Packet("Mvoe\nERROR", {"row": "secret"}))
            ann.send(Packet("Pass", {"kind": 5}))
            ann.send(Pass("taken"))
        # Whoever gets the answer needs no line.
        ann.send(Packet("Skipp"), lambda response: None)
        await ann.request(Packet("Skippp"))
        misspelled = told(by="server", about="Mvoe")
        assert len(misspelled) == 1
        assert misspelled[0].startswith(
            r"'Mvoe\nERROR' from ann was not taken by the game 'table 1'"
        )
        assert "Strict does not handle" in misspelled[0]
        assert "\n" not in misspelled[0]
        assert "secret" not in caplog.text
        assert len(told(by="server", about="was not taken")) == 2
        assert not told(by="server", about="Skipp")
        assert len(told(by="client", about="Packet(message='Mvoe")) == 3
        for n in range(100):
            ann.send(Packet(f"flood {n}"))
        await ann.request(Packet("Askip"))
        assert len(told(by="server", about="was not taken")) == 20


async def test_what_cannot_travel_fails_at_the_sender() -> None:
    async with hosting(Typed) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        wrong = attrs.evolve(MOVE, bid=2**70)
        for call in (ann.call, ann.send):
            with pytest.raises(CodecError, match="bid"):
                result = call(wrong)
                if result is not None:
                    await result
        with pytest.raises(TypeError, match="a Packet or an attrs model, got int"):
            ann.send(5)


async def test_reject_tells_why_and_the_game_goes_on() -> None:
    async with hosting(Typed) as server, server.client("ann") as ann, server.client("eve") as eve:
        await ann.create_game("table 1")
        with pytest.raises(RequestFailed, match="you may not") as caught:
            await ann.call(Break("reject"))
        response = caught.value.response
        assert (response.status, response.payload) == (Status.UNEXPECTED, {"rule": 5})
        with pytest.raises(RequestFailed, match="not you") as caught:
            await eve.join_game("table 1")
        assert caught.value.response.payload == {"why": "no reason"}
        assert eve.game is None
        assert (await ann.get_game_dir())["table 1"].users == 1
        # A game whose founder is not let in is no more.
        with pytest.raises(RequestFailed, match="not you"):
            await eve.create_game("table 2")
        assert list(await ann.get_game_dir()) == ["table 1"]


@pytest.mark.parametrize(("how", "says"), [("junk", "got int"), ("wrong model", "how: expected")])
async def test_a_wrong_answer_is_a_fault_of_the_game(
    how: str, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with hosting_faults(Typed) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        answer = await ann.request(Packet("Break", {"how": how}))
        assert (answer.status, answer.game) == (Status.UNEXPECTED, None)
    assert "Typed.break_ returned what cannot be an answer" in caplog.text
    assert says in caplog.text


@attrs.define
class Raise:
    by: int


@attrs.define
class Score:
    points: float


class Growing(Game):
    """Adds up what players say, and bounds nothing."""

    points: float = 0

    @on(Raise)
    def raise_(self, player: str, message: Raise) -> Score | Response:
        self.points += message.by
        return Score(self.points) if message.by % 2 else Response("", {"points": self.points})


class GrowingLater(Growing):
    @on(Raise)
    async def raise_(  # type: ignore[override]  # async where the other is not
        self, player: str, message: Raise
    ) -> Score | Response:
        await trio.lowlevel.checkpoint()
        return super().raise_(player, message)


@pytest.mark.parametrize("game", [Growing, GrowingLater])
@pytest.mark.parametrize("points", [2**63 - 1, float("inf")])
async def test_a_number_that_grew_too_large_is_an_error_of_its_sender(
    game: type[Game], points: float, caplog: pytest.LogCaptureFixture
) -> None:
    async with hosting(game) as server, server.client("ann") as ann, server.client("bob") as bob:
        await ann.create_game("table 1")
        await bob.join_game("table 1")
        server.games["table 1"].points = points
        for by in (1, 2):
            with pytest.raises(RequestFailed, match=r"answer cannot travel: .*points: expected"):
                await ann.call(Raise(by))
        assert bob.game == "table 1"
        server.games["table 1"].points = 0
        assert await bob.call(Raise(1), Score) == Score(1)
    assert "The answer of raise_ in the game 'table 1' cannot travel" in caplog.text


# What is wrong is said when the class is made.


@attrs.define
class Socket:
    socket: trio.SocketStream


def test_a_model_that_cannot_travel_has_no_handler() -> None:
    with pytest.raises(TypeError, match=r"Socket\.socket"):
        on(Socket)
    for junk in (5, int, "Move"):
        with pytest.raises(TypeError, match="takes an attrs class"):
            on(junk)  # type: ignore[arg-type]  # the fault that is tested


def test_one_model_has_one_handler() -> None:
    with pytest.raises(TypeError, match="Both: both one and two handle Pass"):

        class Both(Game):
            @on(Pass)
            def one(self, player: str, message: Pass) -> None: ...

            @on(Pass)
            def two(self, player: str, message: Pass) -> None: ...

    with pytest.raises(TypeError, match="both move and other handle Move"):

        class Below(Typed):
            @on(Move)
            def other(self, player: str, message: Move) -> None: ...

    with pytest.raises(TypeError, match=r"^Twice\.one handles a model already"):

        class Twice(Game):
            @on(Pass)
            @on(Wait)
            def one(self, player: str, message: Any) -> None: ...


def test_a_handler_has_the_right_signature() -> None:
    with pytest.raises(TypeError, match=r"^Wrong\.one handles Pass, but its parameter"):

        class Wrong(Game):
            @on(Pass)
            def one(self, player: str, message: Wait) -> None: ...

    with pytest.raises(TypeError, match=r"^Short\.one has to take \(self, player, message\)"):

        class Short(Game):
            @on(Pass)
            def one(self, message: Pass) -> None: ...

    class Right(Game):
        @on(Pass)
        def one(self, player: str, message: Skip) -> None: ...

        @on(Wait)
        def two(self, player, message): ...  # type: ignore[no-untyped-def]  # that is allowed

        @on(Break)
        def three(self, player: str, message: Any) -> None: ...

        @on(Move)
        def four(self, player: str, message: Move | Pass) -> None: ...

    assert set(Right._handlers) == {"Pass", "Wait", "Break", "Move"}


AnyT = TypeVar("AnyT")
Username = NewType("Username", str)


class Nickname(str):
    __slots__ = ()


class Speaks(Protocol):
    volume: int


class Base:
    """What models of the author's have in common, no model itself."""


@pytest.mark.parametrize("annotation", [int, bytes, Pass, list[str], None, int | None, Game])
def test_a_player_is_a_text(annotation: Any) -> None:
    def one(self, player, message): ...  # type: ignore[no-untyped-def]  # as authors write it

    one.__annotations__["player"] = annotation
    with pytest.raises(TypeError, match=r"a str, as 'player', which is annotated with "):
        on(Pass)(one)


@pytest.mark.parametrize("annotation", [int, list[Pass], type[Pass], Wait | None, str, Pass | None])
def test_a_message_is_of_its_model(annotation: Any) -> None:
    def one(self, player, message): ...  # type: ignore[no-untyped-def]  # as authors write it

    one.__annotations__["message"] = annotation
    if annotation == Pass | None:
        on(Pass)(one)
        return
    with pytest.raises(TypeError, match=r"one handles Pass, but its parameter 'message' is annot"):
        on(Pass)(one)


@pytest.mark.parametrize(
    "annotation",
    [int, str, bool, dict[str, Any], list[Pass], tuple[()], int | str, Packet, Push, type[Pass]],
)
def test_an_answer_is_a_model_or_a_response(annotation: Any) -> None:
    def one(self, player, message): ...  # type: ignore[no-untyped-def]  # as authors write it

    one.__annotations__["return"] = annotation
    with pytest.raises(
        TypeError, match=r"one is annotated to return .*; a handler answers with an"
    ):
        on(Pass)(one)


@pytest.mark.parametrize("which", ["player", "message", "return"])
@pytest.mark.parametrize(
    "annotation",
    [
        Any,
        object,
        AnyT,
        Speaks,
        NoReturn,
        "not_there.Pass",
        Annotated[Any, "x"],
        int | Any,
        NewType("X", int),
    ],
)
def test_an_annotation_may_say_little(which: str, annotation: Any) -> None:
    def one(self, player, message): ...  # type: ignore[no-untyped-def]  # as authors write it

    one.__annotations__[which] = annotation
    on(Pass)(one)


@pytest.mark.parametrize(
    "annotation", [str, Username, Nickname, str | None, Sequence[str], Hashable]
)
def test_what_a_player_may_be_annotated_with(annotation: Any) -> None:
    def one(self, player, message): ...  # type: ignore[no-untyped-def]  # as authors write it

    one.__annotations__["player"] = annotation
    on(Pass)(one)


@pytest.mark.parametrize("annotation", [None, Pass, Response, Base, int | Pass, Optional[Pass]])  # noqa: UP045 - the spelling of older programs
def test_what_an_answer_may_be_annotated_with(annotation: Any) -> None:
    def one(self, player, message): ...  # type: ignore[no-untyped-def]  # as authors write it

    one.__annotations__["return"] = annotation
    on(Pass)(one)


class Cheerful(Typed):
    def break_(self, player: str, message: Break) -> Response | Break | None:
        return Break("cheerfully")


async def test_a_method_that_overrides_a_handler_is_one() -> None:
    async with hosting(Cheerful) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        assert await ann.call(Break("x"), Break) == Break("cheerfully")
        assert await ann.call(MOVE, Echo) == Echo(MOVE, "ann")


class Loud(Game):
    """Says typed things unasked."""

    @on(Wait)
    def wait(self, player: str, message: Wait) -> None:
        self.room.push(Pass("one"))
        self.room.push("Pass", {"kind": "pass"})
        self.room.push("Break", {"how": "untyped"})
        self.room.push(Push("Pass", {"kind": "pass", "reason": "two"}))


async def test_typed_pushes_and_what_is_wrong_with_them() -> None:
    async with hosting(Loud) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        await ann.call(Wait())
        passes = ann.pushes(Pass)
        assert await anext(passes) == Pass("one")
        with pytest.raises(CodecError, match="reason"):
            await anext(passes)
        assert await anext(passes) == Pass("two")
        assert [push.message async for push in _first(1, ann.pushes())] == ["Break"]


async def _first(count: int, items: Any) -> Any:
    for _ in range(count):
        yield await anext(items)


# What a type checker has to understand without a cast: mypy reads this file, and nothing below
# is called.


class Overrides(Game):
    persistent = True
    heartbeat_rate = 5
    max_players = 2
    on_crash = "restart"

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.persistent = False
        self.state = self.room.saved(Pass) or Pass("new")

    async def user_joined(self, username: str, /) -> None: ...
    def user_left(self, username: str, /) -> None: ...
    async def player_dropped(self, username: str, /) -> None: ...
    def player_resumed(self, username: str, /) -> None: ...
    async def update(self) -> None: ...
    def view(self) -> Pass: ...  # type: ignore[empty-body]  # its annotations are what is tested
    def get_save_string(self) -> Pass:
        return self.state

    async def handle_game_packet(self, packet: Packet, /) -> Response:
        return Response("")

    async def run(self) -> None:
        first, *_ = await self.room.wait_players(2)
        answer: Pass = await self.room.ask(first, Wait(), Pass, timeout=5, default=Pass("late"))
        answers: dict[str, Pass] = await self.room.ask_all([first], Wait(), Pass)
        self.state = answers.get(first, answer)


class OtherOverrides(Game):
    @property
    def persistent(self) -> bool:
        return True

    @property
    def heartbeat_rate(self) -> float:
        return 1.5

    def view(self, player: str | None) -> dict[str, int] | None:
        return None


async def use_a_client() -> None:
    async with hosting(Typed) as server, server.client("ann") as client:
        echo: Echo = await client.call(MOVE, Echo)
        response: Response = await client.call(MOVE)
        state: Pass = client.get_state(Pass)
        state = await client.wait_state(Pass, lambda it: it.reason == echo.player)
        async for each in client.states(Pass):
            state = each
        async for push in client.pushes(Pass):
            state = push
        async for any_push in client.pushes():
            print(any_push.message, response, state)
        async for question in client.questions(Pass):
            state = question.prompt
            typed: Question[Pass] = question
            await typed.answer(state)
        async for untyped in client.questions():
            packet: Packet = untyped.prompt
            print(packet)

        async def ask(question: Question[Any]) -> None: ...

        def on_game(name: str | None) -> None: ...

        client.on_question = ask
        client.on_game = on_game
        client.on_push = lambda push: None

"""What a class declares that its games push and ask: its shape, and that it holds."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

from pgnet_trio import Game, Packet, Push, Question, RequestFailed, on
from pgnet_trio.testing import detached, hosting
from tests.kit.hosting import hosting_faults

if TYPE_CHECKING:
    from trio.testing import MockClock


@attrs.frozen
class Said:
    text: str


@attrs.frozen
class Dealt:
    cards: list[int]


@attrs.frozen
class Choose:
    news: str


@attrs.frozen
class Throw:
    hand: str


@attrs.frozen
class Do:
    """Has the game do something that a test has put into `DEEDS`."""

    what: str


class Talks(Game):
    pushes = (Said, Dealt)
    asks = {Choose: Throw}  # noqa: RUF012 - as an author writes it

    @on(Do)
    def do(self, player: str, do: Do) -> None:
        PUSHES[do.what](self)

    async def run(self) -> None:
        ann, *_ = await self.room.wait_players(1)
        await ASKS[self.room.options.get("asks", "declared")](self, ann)
        await self.room.wait_players(2)


NAMESAKE = attrs.make_class("Said", ["text"])

PUSHES: dict[str, Callable[[Game], None]] = {
    "a model": lambda game: game.room.push(Said("hi")),
    "a text": lambda game: game.room.push("Said", {"text": "hi"}),
    "a push": lambda game: game.room.push(Push("Dealt", {"cards": [1]})),
    "a packet": lambda game: game.room.push(Packet("Said", {"text": "hi"})),
    "another model": lambda game: game.room.push(Throw("rock")),
    "another text": lambda game: game.room.push("shouted", {"text": "hi"}),
    "to nobody": lambda game: game.room.push(Throw("rock"), to=[]),
    "a wrong field": lambda game: game.room.push("Said", {"text": 1}),
    "a namesake": lambda game: game.room.push(NAMESAKE("hi")),
}

ASKS: dict[str, Callable[[Game, str], Any]] = {
    "declared": lambda game, ann: game.room.ask(ann, Choose("now"), Throw),
    "a packet": lambda game, ann: game.room.ask(ann, Packet("Choose", {"news": "now"}), Throw),
    "all": lambda game, ann: game.room.ask_all([ann], Choose("now"), Throw),
    "another question": lambda game, ann: game.room.ask(ann, Said("now"), Throw),
    "another packet": lambda game, ann: game.room.ask(ann, Packet("Bid"), Throw),
    "another answer": lambda game, ann: game.room.ask(ann, Choose("now"), Said),
    "all of another": lambda game, ann: game.room.ask_all([ann], Said("now"), Throw),
    "a wrong field": lambda game, ann: game.room.ask(ann, Packet("Choose", {}), Throw),
    "no message": lambda game, ann: game.room.ask(ann, 5, Throw),
}


async def throw(question: Question[Any]) -> None:
    await question.answer(Throw("rock"))


@pytest.mark.parametrize("what", ["a model", "a text", "a push", "a packet"])
async def test_what_is_declared_is_pushed(what: str, autojump_clock: MockClock) -> None:
    async with hosting(Talks) as server, server.client("ann") as ann:
        await ann.join_game("table 1")
        await ann.call(Do(what))
        assert isinstance(await anext(ann.pushes(Said, Dealt)), Said | Dealt)


@pytest.mark.parametrize(
    ("what", "says"),
    [
        (
            "another model",
            "room.push: expected one of Said, Dealt, which Talks.pushes declares, got 'Throw'; "
            "declare it there too",
        ),
        ("another text", "expected one of Said, Dealt, which Talks.pushes declares, got 'shouted'"),
        ("to nobody", "expected one of Said, Dealt, which Talks.pushes declares, got 'Throw'"),
        ("a wrong field", "what Talks.pushes declares as Said: Said.text: expected a str, got int"),
        ("a namesake", "room.push: expected the Said that Talks.pushes declares"),
    ],
)
async def test_another_push_is_the_games_error(
    what: str, says: str, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with hosting_faults(Talks, TypeError) as server, server.client("ann") as ann:
        await ann.join_game("table 1")
        with pytest.raises(RequestFailed):
            await ann.call(Do(what))
    assert says in caplog.text
    with pytest.raises(TypeError) as raised:
        PUSHES[what](detached(Talks))
    assert says in str(raised.value)


@pytest.mark.parametrize("what", ["declared", "a packet", "all"])
async def test_what_is_declared_is_asked(what: str, autojump_clock: MockClock) -> None:
    async with hosting(Talks) as server, server.client("ann") as ann:
        await ann.create_game("table 1", options={"asks": what})
        async for question in ann.questions(Choose):
            assert question.prompt == Choose("now")
            await throw(question)
            break


@pytest.mark.parametrize(
    ("what", "says"),
    [
        (
            "another question",
            "room.ask: expected one of Choose, which Talks.asks declares, got 'Said'; declare it "
            "there too",
        ),
        ("another packet", "expected one of Choose, which Talks.asks declares, got 'Bid'"),
        (
            "another answer",
            "room.ask: expected the answer Throw, which Talks.asks declares for Choose, got Said; "
            "ask for that one, or declare this one",
        ),
        ("all of another", "expected one of Choose, which Talks.asks declares, got 'Said'"),
        ("a wrong field", "what Talks.asks declares as Choose: Choose.news: expected a value"),
        ("no message", "expected a Packet or an attrs model, got int"),
    ],
)
async def test_another_question_is_the_games_error(
    what: str, says: str, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with hosting_faults(Talks, TypeError) as server, server.client("ann") as ann:
        await ann.create_game("table 1", options={"asks": what})
        with trio.fail_after(60):
            assert [question async for question in ann.questions()] == []
    assert says in caplog.text


class Quiet(Game):
    """Declares nothing."""

    @on(Do)
    def do(self, player: str, do: Do) -> None:
        PUSHES[do.what](self)


async def test_where_nothing_is_declared_anything_is_pushed(autojump_clock: MockClock) -> None:
    async with hosting(Quiet) as server, server.client("ann") as ann:
        await ann.join_game("table 1")
        for what in "a model", "another model", "another text", "a wrong field", "a namesake":
            await ann.call(Do(what))
        pushes = ann.pushes()
        names = [(await anext(pushes)).message for _ in range(5)]
        assert names == ["Said", "Throw", "shouted", "Said", "Said"]


class Inherits(Talks):
    pass


class TakesBack(Talks):
    pushes: Any = ()


@pytest.mark.parametrize("game", [Inherits, functools.partial(Inherits)])
def test_a_declaration_is_inherited(game: Callable[..., Game]) -> None:
    with pytest.raises(TypeError, match=r"Inherits\.pushes"):
        PUSHES["another model"](detached(game))
    PUSHES["another model"](detached(TakesBack))


class PushesEarly(Talks):
    pushes: Any = (Said, Dealt)

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.room.push(Said("nobody hears it"))
        self.pushes = 3  # an attribute of the game itself is the author's


def test_a_game_may_push_before_it_is_made() -> None:
    game = detached(PushesEarly)
    assert game.pushes == 3
    with pytest.raises(TypeError, match=r"PushesEarly\.pushes"):
        PUSHES["another model"](game)


def named(**names: Any) -> type[Game]:
    return type("Named", (Game,), names)


@pytest.mark.parametrize(
    "value",
    [(), [], {}, 5, "Said", None, ("Said", "Dealt"), {"ann": 3}, property(lambda self: 5), int],
)
@pytest.mark.parametrize("name", ["pushes", "asks"])
async def test_an_attribute_of_that_name_and_another_type_is_the_authors(
    name: str, value: Any, autojump_clock: MockClock
) -> None:
    game = named(**{name: value}, view=lambda self: {"it is": 5})
    async with hosting(game) as server, server.client("eve") as eve:
        await eve.join_game("table 1")
        PUSHES["another model"](detached(game))


def test_methods_of_these_names_are_the_authors() -> None:
    class Counts(Game):
        def pushes(self) -> int:
            return 5

        def asks(self) -> int:
            return 6

    game = detached(Counts)
    assert (game.pushes(), game.asks()) == (5, 6)
    game.room.push(Throw("rock"))


@attrs.frozen
class Thread:
    of: set[int]


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ({"pushes": Said}, "Named.pushes: expected a tuple of attrs classes, as in pushes = (Said"),
        ({"pushes": [Said]}, "Named.pushes: expected a tuple of attrs classes"),
        ({"pushes": {Said: Throw}}, "Named.pushes: expected a tuple of attrs classes"),
        ({"pushes": (Said, "Dealt")}, "Named.pushes: expected attrs classes, such as Said; got 'D"),
        ({"pushes": (Said, int)}, "Named.pushes: expected attrs classes"),
        ({"pushes": (Thread,)}, "Named.pushes: Thread.of: set[int] cannot travel"),
        (
            {"pushes": (Said, NAMESAKE)},
            "Named.pushes: two models have the name 'Said'",
        ),
        ({"asks": (Choose, Throw)}, "Named.asks: expected a dict from each question to its answer"),
        ({"asks": {Choose: str}}, "Named.asks: expected attrs classes, such as Said; got <class '"),
        ({"asks": {Choose: (Throw,), Said: Said}}, "Named.asks: expected attrs classes"),
        ({"asks": {"Choose": Throw}}, "Named.asks: expected attrs classes, such as Said; got 'Ch"),
        ({"asks": {Choose: Thread}}, "Named.asks: Thread.of: set[int] cannot travel"),
        (
            {"asks": {attrs.make_class("__pgnet__.ask", ["x"]): Throw}},
            "Named.asks: '__pgnet__.ask': messages that begin so are the server's own",
        ),
    ],
)
def test_a_slip_in_a_declaration_shows_with_the_class(names: dict[str, Any], says: str) -> None:
    with pytest.raises(TypeError) as raised:
        named(**names)
    assert says in str(raised.value)


def test_a_mapping_that_cannot_be_changed_is_a_declaration_too() -> None:
    class Fixed(Game):
        asks = MappingProxyType({Choose: Throw})

    assert detached(Fixed).asks == {Choose: Throw}

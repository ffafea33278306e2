"""Games that refuse who creates or watches them, and what becomes of the table then."""

from __future__ import annotations

import logging
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pgnet_trio import (
    Client,
    CodecError,
    Game,
    Packet,
    Reject,
    Request,
    RequestFailed,
    Response,
    Status,
    on,
)
from pgnet_trio.testing import HostedServer, MemoryStore, hosting
from pgnet_trio.typed import to_packet
from tests.kit.hosting import hosting_faults, without_error_id


class Persistent(Game):
    persistent = True
    update_rate = 10
    ticks = 0

    def get_save_string(self) -> str:
        return "saved"

    def update(self) -> None:
        type(self).ticks += 1


class Rejects(Persistent):
    def user_joined(self, username: str, /) -> None:
        if username != "bob":
            raise Reject("Not you.", {"why": "a reason"})


class RejectsLater(Persistent):
    async def user_joined(self, username: str, /) -> None:
        await trio.sleep(0.01)
        raise Reject("Not you.")


class Kicks(Persistent):
    def user_joined(self, username: str, /) -> None:
        self.room.kick(username, "Not you.")


class Locked(Persistent):
    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.room.locked = True


class Unwatchable(Persistent):
    spectators = False


REFUSING: dict[type[Game], str] = {
    Rejects: "Not you.",
    RejectsLater: "Not you.",
    Kicks: "sent you away",
    Locked: "takes nobody more",
}


@pytest.mark.parametrize("game", REFUSING, ids=lambda game: game.__name__)
@pytest.mark.parametrize("message", [Request.CREATE_GAME, Request.JOIN_GAME])
async def test_a_refused_creation_is_taken_back(
    game: type[Game], message: Request, autojump_clock: MockClock
) -> None:
    async with hosting(game, max_games_per_user=1) as server, server.client("ann") as ann:
        for number in range(20):
            answer = await ann.request(Packet(message, {"name": f"table {number}"}))
            assert answer.status == Status.UNEXPECTED
            assert REFUSING[game] in answer.message
        assert await ann.get_game_dir() == {}
        assert server.stats().games == {}
        # Nothing ticks any more, nothing is saved, and nothing counts for the quota.
        before = vars(game).get("ticks", 0)
        await trio.sleep(30)
        assert vars(game).get("ticks", 0) == before
        assert server.store.games == {}
        assert server.stats().saves.ended_games == ()


class RaisesOverPlayers(Persistent):
    def user_joined(self, username: str, /) -> None:
        raise ArithmeticError


class RaisesInView(Persistent):
    def view(self, player: str | None) -> Any:
        raise ArithmeticError


class RaisesAtTheDoor(Persistent):
    @property
    def max_players(self) -> int:  # type: ignore[override]  # a property where the other is a value
        raise ArithmeticError


@pytest.mark.parametrize("game", [RaisesOverPlayers, RaisesInView, RaisesAtTheDoor])
async def test_who_hears_that_a_creation_failed_finds_no_table(game: type[Game]) -> None:
    async with hosting_faults(game, ArithmeticError) as server, server.client("ann") as ann:
        for _ in range(3):
            answers: list[Response] = []
            # Both leave at once, so that nothing comes between the refusal and the next request.
            ann.create_game("table 1", callback=answers.append)
            games = await ann.get_game_dir()
            assert [answer.status for answer in answers] == [Status.UNEXPECTED]
            assert games == {}


async def test_watching_a_game_that_nobody_may_watch_makes_none() -> None:
    async with hosting(Unwatchable) as server, server.client("ann") as ann:
        with pytest.raises(RequestFailed, match="cannot be watched"):
            await ann.join_game("table 1", spectate=True)
        assert await ann.get_game_dir() == {}


async def test_a_creation_that_ends_in_the_middle_is_taken_back(
    autojump_clock: MockClock,
) -> None:
    async with hosting(RejectsLater, resume_grace=0) as server:
        async with server.client("ann") as ann:
            ann.create_game("table 1", callback=None)
            await wait_all_tasks_blocked()
        await trio.sleep(30)
        assert server.stats().games == {}
        assert server.store.games == {}


async def test_who_is_refused_first_costs_others_nothing(autojump_clock: MockClock) -> None:
    async with (
        hosting(Rejects) as server,
        server.client("ann") as ann,
        server.client("bob") as bob,
    ):
        await bob.create_game("table 1")
        with pytest.raises(RequestFailed, match="Not you"):
            await ann.join_game("table 1")
        assert bob.game == "table 1"
        # It has begun with bob, so it stays, whoever is refused.
        await bob.leave_game()
        with pytest.raises(RequestFailed, match="Not you"):
            await ann.join_game("table 1")
        assert list(await ann.get_game_dir()) == ["table 1"]


async def test_a_saved_game_stays_whoever_is_refused(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    async with hosting(Persistent, store=store) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
    async with hosting(Rejects, store=store) as server, server.client("ann") as ann:
        with pytest.raises(RequestFailed, match="Not you"):
            await ann.join_game("table 1")
        await trio.sleep(30)
        assert list(await ann.get_game_dir()) == ["table 1"]
        assert list(store.games) == ["table 1"]


class RejectsInInit(Persistent):
    def __init__(self, name: str, save_string: str | None = None) -> None:
        if save_string or not self.room.options.get("size"):
            raise Reject("Give it a size.", {"sizes": [3, 5]})


async def test_a_game_may_refuse_to_be_made(caplog: pytest.LogCaptureFixture) -> None:
    async with hosting(RejectsInInit) as server, server.client("ann") as ann:
        for request in (Request.CREATE_GAME, Request.JOIN_GAME):
            answer = await ann.request(Packet(request, {"name": "table 1"}))
            assert (answer.status, answer.message) == (Status.UNEXPECTED, "Give it a size.")
            assert answer.payload == {"sizes": [3, 5]}
        assert await ann.get_game_dir() == {}
        await ann.create_game("table 1", options={"size": 3})
        assert ann.game == "table 1"
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_saved_game_that_refuses_to_be_loaded_is_kept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = MemoryStore()
    async with hosting(Persistent, store=store) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
    async with hosting(RejectsInInit, store=store) as server, server.client("ann") as ann:
        assert "stays in the save file" in caplog.text
        assert await ann.get_game_dir() == {}
        with pytest.raises(RequestFailed, match="Give it a size"):
            await ann.join_game("table 1")
    assert list(store.games) == ["table 1"]


# Watching.


class Shows(Game):
    """Shows each player a seat, of which a spectator has none."""

    over = False

    def view(self, player: str | None) -> Any:
        if self.over and player is not None:
            return "over"
        return {"seat": self.room.players.index(player or "")}

    def handle_game_packet(self, packet: Packet, /) -> Response:
        self.over = packet.message == "end"
        return Response("")


class SaysItMay(Shows):
    spectators = True


class TooMuchForSpectators(Shows):
    def view(self, player: str | None) -> Any:
        return "x" * 2_000_000 if player is None else "few"


class NoPlainData(Shows):
    def view(self, player: str | None) -> Any:
        return object() if player is None else "few"


@pytest.mark.parametrize("game", [Shows, SaysItMay, TooMuchForSpectators, NoPlainData])
async def test_a_stranger_does_not_end_a_game_by_watching_it(
    game: type[Game], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pgnet_trio")
    async with (
        hosting_faults(game, ValueError) as server,
        server.client("ann") as ann,
        server.client("eve") as eve,
    ):
        await ann.create_game("table 1")
        for _ in range(5):
            with pytest.raises(RequestFailed, match="'table 1' cannot be watched"):
                await eve.join_game("table 1", spectate=True)
        assert eve.game is None
        assert (await ann.request(Packet("go"))).status == Status.OK
        assert ann.game == "table 1"
    # An error of the author's only where the class says that it may be watched; once each time.
    said = [record for record in caplog.records if "be watched" in record.getMessage()]
    assert [record.levelno for record in said] == [
        logging.ERROR if game is SaysItMay else logging.INFO
    ]


class ShowsForAWhile(Game):
    """Shows something to spectators until somebody moves."""

    secret = False

    def view(self, player: str | None) -> Any:
        if player is None and self.secret:
            raise ValueError("a fault of this game")
        return "all"

    def handle_game_packet(self, packet: Packet, /) -> Response:
        self.secret = packet.message == "hide"
        return Response("")


async def test_spectators_to_whom_nothing_can_be_shown_any_more_are_sent_away(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with (
        hosting(ShowsForAWhile) as server,
        server.client("ann") as ann,
        server.client("eve") as eve,
        server.client("tom") as tom,
    ):
        await ann.create_game("table 1")
        for _ in range(2):
            for client in (eve, tom):
                await client.join_game("table 1", spectate=True)
            await ann.request(Packet("hide"))
            await wait_all_tasks_blocked()
            assert (eve.game, tom.game) == (None, None)
            assert eve.left is not None
            assert eve.left.message == "This game can be watched no longer."
            assert (await ann.request(Packet("show"))).status == Status.OK
        assert server.stats().games["table 1"].room.waiting_turns == 0
    assert caplog.text.count("goes on without its spectators") == 1


async def test_a_spectator_who_comes_with_another_client_ends_nothing() -> None:
    class Hidden(ShowsForAWhile):
        hidden = False

        def view(self, player: str | None) -> Any:
            if player is None and HIDDEN:
                raise ValueError("a fault of this game")
            return "all"

    async with (
        hosting_faults(Hidden, ValueError) as server,
        server.client("ann") as ann,
        server.client("eve") as eve,
    ):
        await ann.create_game("table 1")
        await eve.join_game("table 1", spectate=True)
        HIDDEN.append(True)
        async with server.client("eve") as again:
            await wait_all_tasks_blocked()
            assert again.game is None
        assert (await ann.request(Packet("go"))).status == Status.OK
        assert ann.game == "table 1"


HIDDEN: list[bool] = []


@pytest.fixture(autouse=True)
def show_again() -> None:
    HIDDEN.clear()


def with_spectators(value: Any) -> type[Game]:
    return type("Named", (Game,), {"spectators": value})


@pytest.mark.parametrize("value", [True, None, [], "yes", 0, property(lambda self: False)])
async def test_an_attribute_of_that_name_and_another_type_is_the_authors(value: Any) -> None:
    async with hosting(with_spectators(value)) as server, server.client("eve") as eve:
        await eve.join_game("table 1", spectate=True)
        assert eve.game == "table 1"


async def test_an_attribute_of_the_game_itself_is_the_authors() -> None:
    class Counts(Game):
        def __init__(self, name: str, save_string: str | None = None) -> None:
            self.spectators = False

    async with hosting(Counts) as server, server.client("eve") as eve:
        await eve.join_game("table 1", spectate=True)


# Too much at once.


@attrs.frozen
class Talk:
    what: str


class Talks(Game):
    @on(Talk)
    def talk(self, player: str, message: Talk) -> Response:
        return self.handle_game_packet(Packet(message.what))

    def handle_game_packet(self, packet: Packet, /) -> Response:
        match packet.message:
            case "large":
                try:
                    self.room.push("news", {"text": "x" * 2_000_000})
                except TypeError as error:
                    return Response(str(error))
            case "many":
                for number in range(10_000):
                    self.room.push("news", {"number": number})
            case "many to many":
                for number in range(10_000):
                    self.room.push("news", {"number": number}, to=self.room.players[number % 4])
            case "much":
                for _ in range(10):
                    self.room.push("news", {"text": "x" * 200_000})
            case "just enough":
                self.room.push("news", {"text": "x" * (900 * 1024 - 20)})
        return Response("done")


async def seats(server: HostedServer, *clients: Client) -> None:
    for client in clients:
        await client.join_game("table 1")


async def test_a_push_that_is_too_long_is_the_authors_error() -> None:
    async with hosting(Talks) as server, server.client("ann") as ann:
        await seats(server, ann)
        answer = await ann.request(Packet("large"))
        assert "room.push: expected at most 921,600 bytes" in answer.message
        assert (await ann.request(Packet("just enough"))).message == "done"
        assert len((await anext(ann.pushes())).payload["text"]) > 900_000


@pytest.mark.parametrize("what", ["many", "much"])
async def test_too_many_pushes_in_one_turn_end_the_game_and_no_session(
    what: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with hosting_faults(Talks) as server, server.client("ann") as ann:
        await seats(server, ann)
        answer = await ann.request(to_packet(Talk(what)))
        assert without_error_id(answer.message).endswith("crashed; the server's log says why.")
        assert ann.connected
        assert ann.left is not None
        assert ann.left.reason == "crashed"
    assert "room.push: expected at most 3,000 messages to one player in one turn" in caplog.text


async def test_what_is_much_for_one_player_is_not_much_for_many() -> None:
    async with (
        hosting(Talks) as server,
        server.client("ann") as ann,
        server.client("bob") as bob,
        server.client("eve") as eve,
        server.client("tom") as tom,
    ):
        await seats(server, ann, bob, eve, tom)
        assert (await ann.request(Packet("many to many"))).message == "done"
        await wait_all_tasks_blocked()
        assert all(client.connected for client in (ann, bob, eve, tom))


@pytest.mark.parametrize("protocol", [1, 2])
async def test_an_answer_that_is_too_long_ends_no_session(
    protocol: int, caplog: pytest.LogCaptureFixture
) -> None:
    class Answers(Game):
        def handle_game_packet(self, packet: Packet, /) -> Response:
            long = packet.message == "answer"
            return Response("done", {"text": "x" * 2_000_000} if long else {})

    async with (
        hosting(Answers) as server,
        server.client("ann", protocol=protocol) as ann,
    ):
        await seats(server, ann)
        answer = await ann.request(Packet("answer"))
        assert answer.status == Status.UNEXPECTED
        assert "cannot travel" in answer.message
        assert (await ann.request(Packet("hello"))).message == "done"
    assert "An answer to ann cannot travel" in caplog.text


async def test_a_question_that_is_too_long_is_the_authors_error() -> None:
    @attrs.define
    class Long:
        text: str

    @attrs.define
    class Short:
        text: str = ""

    raised: list[Exception] = []

    class Asks(Game):
        async def run(self) -> None:
            (player,) = await self.room.wait_players(1)
            try:
                await self.room.ask(player, Long("x" * 2_000_000), Short)
            except CodecError as error:
                raised.append(error)
            await trio.sleep_forever()

    async with hosting(Asks) as server, server.client("ann") as ann:
        await seats(server, ann)
        await wait_all_tasks_blocked()
        assert ann.connected
        assert ann.game == "table 1"
    assert "room.ask: expected a question of at most 921,600 bytes" in str(raised[0])

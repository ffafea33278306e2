"""Users look for a game, and are put into one: all of a match, or nobody."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

from pgnet_trio import (
    Client,
    Disconnected,
    Game,
    Packet,
    Queue,
    ReasonCode,
    Reject,
    Request,
    RequestFailed,
    Search,
    Ticket,
)
from pgnet_trio.matchmaking import queues_of
from pgnet_trio.testing import hosting, playing

if TYPE_CHECKING:
    from trio.testing import MockClock


class Duel(Game):
    matchmaking = Queue(wait=30, confirm=10)
    max_players = 2

    def view(self) -> dict[str, Any]:
        return {"players": self.room.players, "options": dict(self.room.options)}


LEVELS = {"ann": 1000.0, "bob": 1050.0, "eve": 1900.0, "joe": 1800.0}


class Ranked(Game):
    matchmaking = {  # noqa: RUF012 - as an author writes it
        "ranked": Queue(rating=lambda username: LEVELS[username], within=100, wait=30),
        "four": Queue(size=4, min_size=3, wait=20),
        "said": Queue(rating="level", within=100, wait=30),
    }


async def find(client: Client, *queue: str, **options: Any) -> str:
    with trio.fail_after(1000):
        async with client.find_game(*queue, **options) as search:
            assert isinstance(search, Search)
    assert client.game is not None
    assert search.game == client.game
    return client.game


async def wait_until(search: Search, *, position: int | None = None, found: bool = False) -> None:
    """Until the search is there."""
    with trio.fail_after(1000):
        while search.is_found != found or (position is not None and search.position != position):
            await search.__anext__()


async def test_two_who_look_for_a_game_are_in_one(autojump_clock: MockClock) -> None:
    async with (
        hosting(Duel) as server,
        playing(server, "ann") as ann,
        playing(server, "bob") as bob,
    ):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(find, ann)
            nursery.start_soon(find, bob)
        assert ann.game == bob.game
        assert sorted(ann.get_state(dict)["players"]) == ["ann", "bob"]
        assert ann.get_state(dict)["options"] == {"queue": ""}
        assert sorted(ann.players) == sorted(bob.players) == ["ann", "bob"]
        # Nobody else gets into it.
        async with playing(server, "eve") as eve:
            assert ann.game is not None
            with pytest.raises(RequestFailed, match="takes nobody more"):
                await eve.join_game(ann.game)


async def test_a_search_says_which_place_the_user_has_and_for_how_long_they_wait(
    autojump_clock: MockClock,
) -> None:
    class Large(Game):
        matchmaking = Queue(size=4)

    async with hosting(Large) as server, playing(server, "ann", "bob", "eve") as (ann, bob, eve):
        seen: list[tuple[int | None, float]] = []

        async def watch() -> None:
            async with eve.find_game() as search:
                seen.append((search.position, search.waited))
                async for change in search:
                    assert change is search
                    seen.append((search.position, round(search.waited)))

        async with trio.open_nursery() as nursery:
            async with ann.find_game() as first, bob.find_game() as second:
                assert (first.position, second.position) == (1, 2)
                nursery.start_soon(watch)
                await trio.sleep(5)
                assert first.waited == pytest.approx(5)
                first.cancel()
                assert await first.joined() is None
                await trio.sleep(2)
                assert second.position == 1
                second.cancel()
                await trio.sleep(2)
            nursery.cancel_scope.cancel()
        assert [position for position, _ in seen] == [3, 3, 2, 1]
        assert [waited for _, waited in seen] == [0, 0, 5, 7]
        assert eve.game is None


async def test_ratings_decide_at_first_and_later_anybody_will_do(autojump_clock: MockClock) -> None:
    async with hosting(Ranked) as server, playing(server, "ann", "bob", "eve") as table:
        ann, bob, eve = table
        async with trio.open_nursery() as nursery:
            nursery.start_soon(find, eve, "ranked")
            await trio.sleep(1)
            began = trio.current_time()
            nursery.start_soon(find, ann, "ranked")
            await trio.sleep(1)
            assert (eve.game, ann.game) == (None, None)
            await find(bob, "ranked")
            # It is made around eve, who has waited longest, and has nobody in her window.
            assert ann.game == bob.game
            assert trio.current_time() - began < 2
            async with playing(server, "joe") as joe:
                await find(joe, "ranked")
                assert joe.game == eve.game


async def test_whoever_has_waited_long_enough_takes_anybody(autojump_clock: MockClock) -> None:
    async with hosting(Ranked) as server, playing(server, "ann", "eve") as table:
        ann, eve = table
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(find, eve, "ranked")
            nursery.start_soon(find, ann, "ranked")
        # The window of 100 reaches 900 after eight ninths of the wait.
        assert trio.current_time() - began == pytest.approx(30 * 8 / 9, abs=0.1)


async def test_fewer_are_enough_after_a_while(autojump_clock: MockClock) -> None:
    async with hosting(Ranked) as server, playing(server, "ann", "bob", "eve") as table:
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for client in table:
                nursery.start_soon(find, client, "four")
        assert trio.current_time() - began == pytest.approx(20, abs=0.1)
        assert len({client.game for client in table}) == 1


async def test_only_those_meet_who_look_for_the_same(autojump_clock: MockClock) -> None:
    async with hosting(Duel) as server, playing(server, "ann", "bob", "eve") as table:
        ann, bob, eve = table
        blitz = {"mode": "blitz"}
        with trio.move_on_after(100):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: find(ann, properties=blitz))
                nursery.start_soon(lambda: find(bob, properties={"mode": "rapid"}))
                await trio.sleep(50)
                await find(eve, properties=blitz)
        assert eve.game == ann.game is not None
        assert bob.game is None


async def test_a_rating_may_be_a_property(autojump_clock: MockClock) -> None:
    async with hosting(Ranked) as server, playing(server, "ann", "bob") as (ann, bob):
        with pytest.raises(RequestFailed, match="needs a property 'level', a number"):
            await find(ann, "said")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: find(ann, "said", properties={"level": 3}))
            nursery.start_soon(lambda: find(bob, "said", properties={"level": 4.5}))
        assert ann.game == bob.game


# What is refused.


@attrs.frozen
class Wanted:
    mode: str


class Picky(Game):
    matchmaking = Queue(properties=Wanted)


@pytest.mark.parametrize(
    ("game", "queue", "properties", "code", "text"),
    [
        (
            Ranked,
            "other",
            {},
            "unknown_queue",
            "no queue 'other'; the queues are: 'ranked', 'four'",
        ),
        (Ranked, "", {}, "unknown_queue", "no queue ''"),
        (Game, "ranked", {}, "unknown_queue", "this game has no queues"),
        (Picky, "", {"mode": 3}, "invalid_argument", r"properties: Wanted.mode: expected"),
        (Duel, "", {"x": "y" * 2000}, "too_long", "1,024 are allowed"),
    ],
)
async def test_a_search_that_makes_no_sense_is_refused(
    game: type[Game],
    queue: str,
    properties: dict[str, Any],
    code: str,
    text: str,
    autojump_clock: MockClock,
) -> None:
    async with hosting(game) as server, playing(server, "ann") as ann:
        with pytest.raises(RequestFailed, match=text) as caught:
            await find(ann, queue, properties=properties)
        assert caught.value.code == code


async def test_whoever_is_in_a_game_looks_for_no_other(autojump_clock: MockClock) -> None:
    async with hosting(Duel) as server, playing(server, "ann") as ann:
        await ann.create_game("table")
        with pytest.raises(RequestFailed, match="leave it first"):
            await find(ann)
        await ann.leave_game()
        async with ann.find_game() as search:
            with pytest.raises(RuntimeError, match="one search at a time"):
                async with ann.find_game():
                    pass
            search.cancel()


async def test_a_client_of_the_original_cannot_look_for_a_game(autojump_clock: MockClock) -> None:
    async with hosting(Duel) as server:
        async with server.client("ann", protocol=1) as ann:
            with pytest.raises(RequestFailed, match="has no matchmaking"):
                await find(ann)
            answer = await ann.request(Packet(Request.FIND_GAME))
            assert "Your client cannot look for a game" in answer.message


async def test_joining_a_game_ends_the_search(autojump_clock: MockClock) -> None:
    async with hosting(Duel) as server, playing(server, "ann", "bob") as (ann, bob):
        with pytest.raises(RequestFailed, match="joined a game yourself") as caught:
            with trio.fail_after(1000):
                async with ann.find_game():
                    await ann.create_game("table")
        assert caught.value.code == ReasonCode.ALREADY_IN_GAME
        assert ann.game == "table"
        with trio.move_on_after(60) as scope:
            await find(bob)
        assert scope.cancelled_caught


# Giving up, dropping, and coming back.


async def test_whoever_cancels_is_out_of_the_queue(autojump_clock: MockClock) -> None:
    async with hosting(Duel) as server, playing(server, "ann", "bob", "eve") as table:
        ann, bob, eve = table
        with trio.move_on_after(5) as scope:
            await find(ann)
        assert scope.cancelled_caught
        async with trio.open_nursery() as nursery:
            async with bob.find_game() as search:
                assert search.position == 1
                await trio.sleep(5)
                nursery.start_soon(find, eve)
        assert bob.game == eve.game is not None
        assert ann.game is None


async def test_whoever_does_not_confirm_is_out_and_the_others_keep_their_places(
    autojump_clock: MockClock,
) -> None:
    async with hosting(Duel) as server, playing(server, "ann", "bob", "eve") as table:
        ann, bob, eve = table
        began = trio.current_time()
        async with ann.find_game(accept=False) as first:
            with pytest.raises(RequestFailed, match="did not confirm in time") as caught:
                async with bob.find_game(accept=False) as second:
                    await wait_until(first, found=True)
                    assert first.seconds_left == pytest.approx(10)
                    await first.accept()
                    await second.joined()
            assert caught.value.code == ReasonCode.NOT_CONFIRMED
            assert trio.current_time() - began == pytest.approx(10, abs=0.1)
            await wait_until(first, position=1)
            assert first.waited == pytest.approx(10, abs=0.1)
            async with eve.find_game():
                await wait_until(first, found=True)
                await first.accept()
        assert ann.game == eve.game is not None
        assert bob.game is None


async def test_a_match_is_called_off_when_one_of_it_goes(autojump_clock: MockClock) -> None:
    async with hosting(Duel) as server, playing(server, "ann", "bob") as (ann, bob):
        async with ann.find_game() as first:
            async with bob.find_game(accept=False) as second:
                await wait_until(second, found=True)
                second.cancel()
            await wait_until(first, found=False, position=1)
            first.cancel()
        assert server.games == {}
        with pytest.raises(RequestFailed, match="no such match"):
            await second.accept()


async def test_a_dropped_connection_keeps_the_place_and_is_in_no_match(
    autojump_clock: MockClock,
) -> None:
    async with hosting(Duel) as server, playing(server, "ann", "bob", "eve") as table:
        ann, bob, eve = table
        async with trio.open_nursery() as nursery:
            nursery.start_soon(find, ann)
            await trio.sleep(3)
            server.network.cut("ann")
            await trio.sleep(1)
            async with bob.find_game() as search:
                await trio.sleep(3)
                assert not search.is_found
                server.network.heal()
        assert ann.game == bob.game
        assert eve.game is None


async def test_the_end_of_a_session_ends_its_search(autojump_clock: MockClock) -> None:
    async with hosting(Duel) as server, playing(server, "bob") as bob:
        async with playing(server, "ann") as ann:
            with pytest.raises(Disconnected):
                async with ann.find_game():
                    ann.disconnect()
        with trio.move_on_after(60) as scope:
            await find(bob)
        assert scope.cancelled_caught


async def test_another_client_of_the_user_takes_the_seat_and_the_search_is_over(
    autojump_clock: MockClock,
) -> None:
    async with hosting(Duel) as server, playing(server, "bob") as bob:
        async with server.client("ann", "secret") as ann:
            async with trio.open_nursery() as nursery:

                async def look() -> None:
                    with pytest.raises(Disconnected, match="taken over"):
                        await find(ann)

                nursery.start_soon(look)
                await trio.sleep(1)
                async with server.client("ann", "secret") as other:
                    async with bob.find_game() as search:
                        assert search.position == 1
                        await trio.sleep(20)
                        search.cancel()
                    async with trio.open_nursery() as both:
                        both.start_soon(find, bob)
                        both.start_soon(find, other)
                    assert other.game == bob.game


async def test_a_search_goes_on_at_a_server_that_has_started_anew(
    autojump_clock: MockClock,
) -> None:
    async with hosting(Duel) as server, playing(server, "ann", "bob") as (ann, bob):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(find, ann)
            await trio.sleep(3)
            await server.restart(crash=True)
            await trio.sleep(3)
            nursery.start_soon(find, bob)
        assert ann.game == bob.game is not None


async def test_whoever_loses_the_session_in_the_game_of_a_match_is_in_it_again(
    autojump_clock: MockClock,
) -> None:
    class Kept(Duel):
        persistent = True

        def get_save_string(self) -> str:
            return "kept"

    async with hosting(Kept) as server, playing(server, "ann", "bob") as (ann, bob):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(find, ann)
            nursery.start_soon(find, bob)
        game = ann.game
        await server.restart()
        await trio.sleep(5)
        assert ann.game == bob.game == game
        assert ann.get_state(dict)["options"] == {"queue": ""}


# What games and authors do.


async def test_a_game_that_refuses_one_of_a_match_is_over_and_the_others_wait_again(
    autojump_clock: MockClock,
) -> None:
    class Choosy(Duel):
        def user_joined(self, username: str) -> None:
            if username == "bob":
                raise Reject("Not you, bob.")

    async with hosting(Choosy) as server, playing(server, "ann", "bob", "eve") as table:
        ann, bob, eve = table
        async with trio.open_nursery() as nursery:

            async def look() -> None:
                with pytest.raises(RequestFailed, match="Not you, bob") as caught:
                    await find(bob)
                assert caught.value.code == ReasonCode.REJECTED

            games: list[str | None] = []
            ann.on_game = games.append
            async with ann.find_game() as search:
                await trio.sleep(1)
                await look()
                await wait_until(search, position=1)
                assert search.waited == pytest.approx(1, abs=0.1)
                nursery.start_soon(find, eve)
        assert ann.game == eve.game is not None
        # She never was in the game that was called off.
        assert games == [ann.game]


async def test_a_table_that_cannot_be_made_puts_all_of_its_match_out(
    autojump_clock: MockClock,
) -> None:
    class Broken(Duel):
        def __init__(self, name: str, save_string: str | None = None) -> None:
            raise ZeroDivisionError

    async with hosting(Broken) as server, playing(server, "ann", "bob") as table:
        with server.expecting(ZeroDivisionError):
            async with trio.open_nursery() as nursery:
                for client in table:

                    async def look(client: Client = client) -> None:
                        with pytest.raises(RequestFailed, match="could not be made") as caught:
                            await find(client)
                        assert caught.value.code == ReasonCode.GAME_FAILED

                    nursery.start_soon(look)


async def test_a_game_that_raises_when_a_match_joins_puts_all_of_it_out(
    autojump_clock: MockClock,
) -> None:
    class Broken(Duel):
        def user_joined(self, username: str) -> None:
            if username == "bob":
                raise ZeroDivisionError

    async with hosting(Broken) as server, playing(server, "ann", "bob") as table:
        with server.expecting(ZeroDivisionError):
            async with trio.open_nursery() as nursery:
                for client in table:

                    async def look(client: Client = client) -> None:
                        with pytest.raises(RequestFailed, match="crashed"):
                            await find(client)

                    nursery.start_soon(look)
        assert [client.game for client in table] == [None, None]
        await table[0].create_game("table of ann")


async def test_whoever_leaves_a_match_that_crashes_meanwhile_may_look_again(
    autojump_clock: MockClock,
) -> None:
    class Slow(Duel):
        async def user_joined(self, username: str) -> None:
            if username == "bob":
                await trio.sleep(5)
                raise ZeroDivisionError

    async def bob_looks(bob: Client) -> None:
        with pytest.raises(RequestFailed, match="crashed"):
            await find(bob)

    async with hosting(Slow) as server, playing(server, "bob", "eve") as (bob, eve):
        with server.expecting(ZeroDivisionError):
            async with trio.open_nursery() as nursery:
                async with server.client("ann") as ann:
                    nursery.start_soon(bob_looks, bob)
                    with trio.move_on_after(2):
                        await find(ann)
                    ann.disconnect()
                async with server.client("ann") as ann:
                    nursery.start_soon(find, ann)
                    await trio.sleep(10)
                    await find(eve)
                    assert ann.game == eve.game is not None


async def test_an_author_says_what_makes_a_match_and_with_which_options(
    autojump_clock: MockClock,
) -> None:
    asked = []

    def rule(tickets: Sequence[Ticket]) -> Iterable[Sequence[Ticket]]:
        asked.append(sorted((each.username, each.waited) for each in tickets))
        if tickets[0].waited >= 3:
            yield tickets

    def options(tickets: Sequence[Ticket]) -> dict[str, Any]:
        return {"levels": {each.username: each.rating for each in tickets}}

    async def rating(username: str) -> float:
        await trio.lowlevel.checkpoint()
        return LEVELS[username]

    class Own(Game):
        matchmaking = Queue(rule=rule, every=1.5, options=options, rating=rating)

        def view(self) -> dict[str, Any]:
            return dict(self.room.options)

    async with hosting(Own) as server, playing(server, "ann", "bob", "eve") as table:
        async with trio.open_nursery() as nursery:
            for client in table:
                nursery.start_soon(find, client)
        assert len({client.game for client in table}) == 1
        levels = {name: LEVELS[name] for name in ("ann", "bob", "eve")}
        assert table[0].get_state(dict) == {"levels": levels}
    # When they came, and then every 1.5 s: nothing looks in between.
    assert [[round(waited, 1) for _, waited in each] for each in asked[-2:]] == [
        [1.5, 1.5, 1.5],
        [3.0, 3.0, 3.0],
    ]
    assert len(asked) <= 5


@pytest.mark.parametrize("what", ["rule", "rating", "options"])
async def test_an_author_function_that_raises_costs_no_other_queue(
    what: str, autojump_clock: MockClock
) -> None:
    def broken(argument: Any) -> Any:
        raise ZeroDivisionError

    arguments: dict[str, Any] = {what: broken}

    class Own(Game):
        matchmaking = {"broken": Queue(**arguments), "good": Queue()}  # noqa: RUF012 - as an author writes it

    async with hosting(Own) as server, playing(server, "ann", "bob") as table:
        with server.expecting(ZeroDivisionError):
            with trio.move_on_after(5):
                async with trio.open_nursery() as nursery:
                    for client in table:

                        async def look(client: Client = client) -> None:
                            with pytest.raises(RequestFailed, match=r"the server's log|an error"):
                                await find(client, "broken")

                        nursery.start_soon(look)
            async with trio.open_nursery() as nursery:
                for client in table:
                    nursery.start_soon(find, client, "good")
        assert table[0].game == table[1].game is not None


async def test_a_full_server_makes_no_table(autojump_clock: MockClock) -> None:
    async with hosting(Duel, max_games=1) as server:
        async with playing(server, "ann", "bob", "eve") as (ann, bob, eve):
            await eve.create_game("table")
            async with trio.open_nursery() as nursery:
                for client in (ann, bob):

                    async def look(client: Client = client) -> None:
                        with pytest.raises(RequestFailed, match="takes no more"):
                            await find(client)

                    nursery.start_soon(look)


def test_a_queue_that_no_table_has_room_for_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Crowd.matchmaking\['all'\]: .*at most 2 users"):
        type("Crowd", (Game,), {"max_players": 2, "matchmaking": {"all": Queue(size=3)}})


def test_an_attribute_of_another_type_is_the_authors_own() -> None:
    class Own(Game):
        matchmaking = "ours"

    assert queues_of(Own) == {}
    assert Own.matchmaking == "ours"

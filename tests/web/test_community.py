"""What pages ask beside their games: queues, leaderboards, profiles, invitations."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import attrs
import pytest

from pgnet_trio import Game, Leaderboard, Queue, Reject, Result, Server, on
from tests.kit.needed import BUNDLED
from tests.web.hosting import gated, serving
from tests.web.node import WEB, needs_packages
from tests.web.page import Page, PageError, open_page

pytestmark = needs_packages


@attrs.define
class Win:
    """A player has won."""


class Duel(Game):
    leaderboards = Leaderboard("sum")
    matchmaking = Queue(wait=30, confirm=10)
    persistent = True

    def get_save_string(self) -> str:
        return "played"

    def view(self) -> dict[str, Any]:
        return dict(self.room.options)

    def user_joined(self, username: str) -> None:
        if self.room.options.get("closed"):
            raise Reject("closed")

    @on(Win)
    async def win(self, player: str, message: Win) -> None:
        loser = next(name for name in self.room.players if name != player)
        await self.room.report(Result([player, loser], {player: 3, loser: 1}))


@asynccontextmanager
async def pages(server: Server, *names: str, client: str = "") -> AsyncIterator[list[Page]]:
    """Open pages whose users are logged in."""
    async with AsyncExitStack() as stack:
        opened = []
        for name in names:
            where = (client,) if client else ()
            page = await stack.enter_async_context(open_page(*where))
            await page.log_in(server.port, name)
            opened.append(page)
        yield opened


async def found(page: Page, name: str) -> str:
    """Wait until a search is over, and return the game."""
    return str(await page("search", name, "joined"))


@pytest.mark.parametrize(
    "client",
    ["", pytest.param(str(WEB / "bundle" / "client.js"), marks=pytest.mark.needs(BUNDLED))],
)
async def test_two_pages_find_each_other_and_see_who_is_better(client: str) -> None:
    async with serving(Duel) as server, pages(server, "ann", "bob", client=client) as (ann, bob):
        await ann("find", "search", {})
        assert (await ann("wait", "search", 1))[0] == {"position": 1, "isFound": False}
        assert await ann("search", "search", "waited") >= 0
        assert await ann("search", "search", "secondsLeft") == "Infinity"
        await bob("find", "search", {})
        game = await found(ann, "search")
        assert game == await found(bob, "search") == await ann("get", "game")
        assert await ann("search", "search", "isOver")
        await ann("call", "Win")
        assert await bob("community", "leaderboard") == {
            "name": "",
            "total": 2,
            "entries": [
                {"rank": 1, "username": "ann", "score": 3},
                {"rank": 2, "username": "bob", "score": 1},
            ],
        }
        part = await bob("community", "leaderboard", "", {"around": "bob", "limit": 1})
        assert [entry["username"] for entry in part["entries"]] == ["bob"]
        [played] = await bob("community", "history")
        assert played["ranks"] == [["ann"], ["bob"]]
        assert played["endedAt"].endswith("Z")
        assert await bob("community", "history", {"before": played["number"]}) == []
        with pytest.raises(PageError, match="There is no leaderboard 'x'"):
            await bob("community", "leaderboard", "x")


async def test_a_page_may_ask_the_user_and_give_up() -> None:
    async with serving(Duel) as server, pages(server, "ann", "bob") as (ann, bob):
        await ann("find", "search", {"accept": False})
        await bob("find", "search", {"accept": False})
        await ann("until", "search", "isFound", True)
        assert 0 < await ann("search", "search", "secondsLeft") <= 10
        await ann("search", "search", "accept")
        await bob("search", "search", "cancel")
        # Called off: ann waits again, and bob is in no queue and no game.
        await ann("until", "search", "isFound", False)
        assert await bob("search", "search", "joined") is None
        assert await ann("search", "search", "position") == 1
        await bob("find", "again", {})
        await ann("until", "search", "isFound", True)
        await ann("search", "search", "accept")
        assert await found(bob, "again") == await found(ann, "search")


async def test_what_makes_no_sense_is_refused() -> None:
    async with serving(Duel) as server, pages(server, "ann") as (ann,):
        with pytest.raises(PageError, match="expected only queue, properties and accept, got que"):
            await ann("find", "search", {"que": "x"})
        await ann("find", "search", {"queue": "x"})
        [error] = await ann("wait", "search", 1)
        assert (error["name"], error["code"]) == ("Rejected", "unknown_queue")
        await ann("find", "second", {})
        with pytest.raises(PageError, match="looks for a game already"):
            await ann("find", "third", {})
        await ann("joinGame", "table 1")
        *_, error = await ann("wait", "second", 2)
        assert (error["name"], error["code"]) == ("Rejected", "already_in_game")
        await ann("find", "fourth", {})
        [error] = await ann("wait", "fourth", 1)
        assert error["code"] == "already_in_game"


async def test_a_search_outlives_the_server(tmp_path: Any) -> None:
    path = tmp_path / "save.sqlite"
    async with gated(None) as gate, open_page() as ann, open_page() as bob:
        async with serving(Duel, save_file=path) as first:
            gate.open(first)
            await ann.log_in(gate.port, reconnectFor=30)
            await ann("find", "search", {})
            await ann("wait", "search", 1)
            await gate.close()
        async with serving(Duel, save_file=path) as second:
            gate.open(second)
            await bob.log_in(second.port, "bob")
            await bob("find", "search", {})
            game = await found(ann, "search")
            assert game == await found(bob, "search")
            await ann("on", "state")
            await ann("wait", "state", 1)
            await gate.close()
        # Whoever loses the session in the game of a match is in it again.
        async with serving(Duel, save_file=path) as third:
            gate.open(third)
            assert await ann("wait", "state", 2) == [{"queue": ""}, {"queue": ""}]
            assert await ann("get", "game") == game


async def test_a_search_ends_with_the_session() -> None:
    async with serving(Duel) as server, pages(server, "ann") as (ann,):
        await ann("find", "search", {})
        await ann("wait", "search", 1)
        await ann("disconnect")
        *_, error = await ann("wait", "search", 2)
        assert error["name"] == "Disconnected"
        await ann("connect")
        await ann("find", "search", {})
        assert (await ann("wait", "search", 1))[0]["position"] == 1


async def test_a_profile_is_not_written_over_something_newer() -> None:
    async with serving(Duel) as server, pages(server, "ann") as (ann,):
        assert await ann("community", "readProfile") == {"version": 0, "data": {}}
        saved = await ann("community", "writeProfile", {"hat": "red"}, 0)
        assert saved == {"version": 1, "data": {"hat": "red"}}
        with pytest.raises(PageError) as refused:
            await ann("community", "writeProfile", {"hat": "blue"}, 0)
        assert (refused.value.name, refused.value.code) == ("Rejected", "newer_profile")
        assert refused.value.payload == {"version": 1, "data": {"hat": "red"}}
        assert await ann("community", "readProfile") == saved


async def test_an_invited_page_joins_without_the_password() -> None:
    async with serving(Duel) as server, pages(server, "ann", "bob") as (ann, bob):
        await bob("invitations")
        await ann("createGame", "", {"password": "secret", "unlisted": True})
        await ann("community", "invite", "bob")
        [invitation] = await bob("wait", "invitations", 1)
        game = await ann("get", "game")
        assert invitation == {"inviter": "ann", "game": game, "gameClass": "Duel"}
        await bob("accept")
        assert await bob("get", "game") == game
        with pytest.raises(PageError, match="is not logged in"):
            await ann("community", "invite", "zoe")
        await bob("leaveGame")
        await bob("stop")
        await ann("community", "invite", "bob")
        # Whoever listens no more hears of no more.
        await bob("getGameDir")
        assert len(await bob("list", "invitations")) == 1

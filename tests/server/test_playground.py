"""The playground of the monitor: forms made of models, and made-up players in development mode."""

from __future__ import annotations

import dataclasses
import enum
from typing import TYPE_CHECKING, Any, Literal, NewType

import attrs
import pytest
import trio

from pgnet_trio import Client, Game, Monitor, on
from pgnet_trio.errors import ConnectFailed, RequestFailed
from pgnet_trio.server.monitor.forms import form_of
from pgnet_trio.testing import HostedServer, playing
from tests.kit.monitoring import READ, look, monitored
from tests.server.test_monitor_page import following

if TYPE_CHECKING:
    from trio.testing import MockClock


class Suit(enum.Enum):
    HEARTS = "hearts"
    SPADES = "spades"


Price = NewType("Price", float)


@attrs.frozen
class Everything:
    text: str
    count: int
    price: Price
    suit: Suit
    side: Literal["left", "right"] = "left"
    sure: bool = True
    note: str | None = None
    cards: list[str] = attrs.field(factory=list)
    either: int | str = 3
    suit_again: Suit = Suit.SPADES
    hidden: int = attrs.field(init=False, default=0)


@dataclasses.dataclass
class Plain:
    count: int
    more: list[int] = dataclasses.field(default_factory=list)


def test_a_form_has_a_field_for_each_field_of_the_model() -> None:
    form = form_of("Everything", Everything)
    assert form.message == "Everything"
    kinds = {each.name: each.kind for each in form.fields}
    assert kinds == {
        "text": "text",
        "count": "int",
        "price": "float",
        "suit": "choice",
        "side": "choice",
        "sure": "bool",
        "note": "text",
        "cards": "json",
        "either": "json",
        "suit_again": "choice",
    }
    fields = {each.name: each for each in form.fields}
    assert fields["suit"].choices == ("hearts", "spades")
    assert [name for name, each in fields.items() if each.required] == [
        "text",
        "count",
        "price",
        "suit",
    ]
    assert [name for name, each in fields.items() if each.nullable] == ["note"]
    assert (fields["side"].default, fields["sure"].default) == ("left", True)
    assert (fields["cards"].default, fields["suit_again"].default) == (None, "spades")
    assert fields["cards"].hint == "list[str]"


def test_a_dataclass_is_a_model_too() -> None:
    count, more = form_of("Plain", Plain).fields
    assert (count.kind, count.required) == ("int", True)
    assert (more.kind, more.required, more.default) == ("json", False, None)


@attrs.frozen
class Divide:
    by: int


@attrs.frozen
class Ask:
    pass


class Table(Game):
    @on(Divide)
    def divide(self, player: str, message: Divide) -> None:
        1 // message.by

    async def run(self) -> None:
        (player,) = await self.room.wait_players(1)
        await self.room.ask(player, Ask(), Divide)
        await trio.sleep_forever()


OPEN = Monitor("127.0.0.1:0")


def made_up(server: HostedServer, username: str = "ada") -> Client:
    address = f"ws://127.0.0.1:{server.monitor_port}/playground/socket"
    return Client.remote(address=address, username=username, reconnect_for=0)


async def test_a_made_up_player_plays_with_others_and_is_shown_mistakes(
    socket_clock: MockClock,
) -> None:
    async with monitored(Table, monitor=OPEN, development=True) as server:
        with server.expecting(ZeroDivisionError):
            async with playing(server, "bob", game="one") as bob, made_up(server) as ada:
                await ada.join_game("one")
                assert list(bob.players) == ["bob", "ada"]
                with pytest.raises(RequestFailed, match="ZeroDivisionError"):
                    await ada.call(Divide(0))


async def test_the_forms_of_a_table_are_sent(socket_clock: MockClock) -> None:
    async with (
        monitored(Table, development=True) as server,
        playing(server, "bob", game="one"),
        following(server, "playground", table="one") as events,
    ):
        forms = await events.wait_for("forms")
        (message,) = forms["messages"]
        assert (message["message"], message["fields"][0]["name"]) == ("Divide", "by")
        (answer,) = forms["answers"]
        assert (answer["player"], answer["message"]) == ("bob", "Ask")
        assert answer["form"]["message"] == "Divide"
        assert (await events.wait_for("table"))["is_there"]


async def test_without_development_mode_there_is_no_playground(socket_clock: MockClock) -> None:
    async with monitored(Table, monitor=OPEN) as server:
        with pytest.raises(ConnectFailed):
            await made_up(server).run()
        assert (await look(server, "/playground/client.js")).status == 404
        assert server.stats().sessions == {}


@pytest.mark.parametrize(
    ("monitor", "headers"),
    [
        (Monitor("127.0.0.1:0", token=READ), []),
        (OPEN, ["Origin: http://evil.example"]),
        (OPEN, ["Host: evil.example"]),
        (OPEN, ["X-Forwarded-For: 203.0.113.7"]),
    ],
)
async def test_whoever_is_not_let_in_opens_no_socket(
    socket_clock: MockClock, monitor: Monitor, headers: list[str]
) -> None:
    handshake: list[Any] = [
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: pgnet.2.1",
    ]
    async with monitored(Table, monitor=monitor, development=True) as server:
        assert (await look(server, "/playground/socket", *handshake, *headers)).status == 403

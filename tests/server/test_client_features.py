"""What a client learns by the features of the protocol, and what one without them sees."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pgnet_trio import Client, Game, Packet, Response
from pgnet_trio.messages import PLAYERS as PLAYERS_PUSH
from pgnet_trio.protocol import v2
from pgnet_trio.protocol.v2.features import FEATURES, GRACE, PLAYERS
from pgnet_trio.testing import hosting, playing

if TYPE_CHECKING:
    from pgnet_trio.protocol.events import ClientEvent


class Echo(Game):
    """Says what it is told."""

    def handle_game_packet(self, packet: Packet) -> Response:
        self.room.push(packet.message, {})
        return Response("said")


def name_features(monkeypatch: pytest.MonkeyPatch, features: Collection[str]) -> None:
    """Have the clients that connect from here on name these features."""
    options = v2.ClientProtocol.__init__.__kwdefaults__
    assert options is not None
    monkeypatch.setitem(options, "features", features)


def watch_players(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return where the players will be noted, as they come over the wire."""
    seen: list[Any] = []
    receive = v2.ClientProtocol.receive

    def noting(self: v2.ClientProtocol, message: str | bytes) -> list[ClientEvent]:
        events = receive(self, message)
        for event in events:
            push = getattr(event, "push", None)
            if push is not None and push.message == PLAYERS_PUSH:
                seen.append(push.payload)
        return events

    monkeypatch.setattr(v2.ClientProtocol, "receive", noting)
    return seen


# The names of players, which some languages would put into an order of their own.
NAMES = ["zoe", "10000", "ann", "999"]


@pytest.mark.parametrize("features", [FEATURES, FEATURES - {PLAYERS}])
async def test_players_come_in_the_order_of_joining(
    features: Collection[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        hosting(Echo) as server,
        playing(server, *NAMES, game="table 1") as (zoe, *_),
    ):
        name_features(monkeypatch, features)
        seen = watch_players(monkeypatch)
        async with server.client("bob") as bob:
            await bob.join_game("table 1")
            expected = dict.fromkeys([*NAMES, "bob"], True)
            assert list(bob.players.items()) == list(expected.items())
            assert zoe.players == expected
            pairs = [[*pair] for pair in expected.items()]
            whole = {"players": pairs if PLAYERS in features else expected, "all": True}
            assert whole in seen


async def test_each_client_gets_the_form_that_it_takes(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with hosting(Echo) as server, playing(server, "ann", game="table 1") as ann:
        name_features(monkeypatch, FEATURES - {PLAYERS})
        async with playing(server, "bob", game="table 1") as bob:
            name_features(monkeypatch, FEATURES)
            async with playing(server, "eve", game="table 1"):
                server.network.cut("eve")
                await trio.sleep(25)
                for client in (ann, bob):
                    assert client.players == {"ann": True, "bob": True, "eve": False}
                    assert client.online
                server.network.heal("eve")


@pytest.mark.parametrize("newer", [FEATURES, FEATURES - {PLAYERS}])
async def test_who_takes_over_gets_the_form_that_their_client_takes(
    newer: Collection[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    older = FEATURES - {PLAYERS} if PLAYERS in newer else FEATURES
    async with hosting(Echo) as server, trio.open_nursery() as nursery:
        name_features(monkeypatch, older)
        ann, bob = server.client("ann"), server.client("bob")
        for client in (ann, bob):
            await nursery.start(client.run)
            await client.join_game("table 1")
        name_features(monkeypatch, newer)
        async with server.client("ann") as again:
            await wait_all_tasks_blocked()
            assert not ann.connected
            assert again.players == {"ann": True, "bob": True}
            bob.disconnect()
            await wait_all_tasks_blocked()
            assert again.players == {"ann": True}


async def come_back_after(seconds: float, client: Client, network: Any) -> bool:
    """Cut a client off for so long; return whether it comes back."""
    network.cut(client.username)
    await trio.sleep(seconds)
    network.heal(client.username)
    await trio.sleep(20)
    return client.online


@pytest.mark.parametrize(
    ("grace", "told", "seconds", "comes_back"),
    [
        (1000.0, True, 1020, True),
        (1000.0, True, 1060, False),
        (float("inf"), True, 10_000, True),
        (0.5, True, 55, True),
        (0.5, True, 85, False),
        (1000.0, False, 55, True),
        (1000.0, False, 85, False),
    ],
)
@pytest.mark.no_cover
async def test_a_client_tries_for_as_long_as_the_server_says(
    grace: float,
    told: bool,
    seconds: float,
    comes_back: bool,
    autojump_clock: MockClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not told:
        name_features(monkeypatch, FEATURES - {GRACE})
    async with hosting(Echo, resume_grace=grace) as server, trio.open_nursery() as nursery:
        ann = server.client("ann")
        await nursery.start(ann.run)
        assert await come_back_after(seconds, ann, server.network) is comes_back
        ann.disconnect()


@pytest.mark.parametrize(("own", "seconds", "comes_back"), [(5, 30, False), (None, 9000, True)])
async def test_what_the_program_says_counts_more(
    own: float | None, seconds: float, comes_back: bool, autojump_clock: MockClock
) -> None:
    async with hosting(Echo, resume_grace=1000) as server, trio.open_nursery() as nursery:
        ann = server.client("ann", reconnect_for=own)
        await nursery.start(ann.run)
        assert await come_back_after(seconds, ann, server.network) is comes_back
        ann.disconnect()

"""Invitations of a user to a table, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from pgnet_trio import (
    Client,
    Game,
    Invitation,
    Packet,
    ReasonCode,
    Request,
    RequestFailed,
    Response,
)
from pgnet_trio.protocol import v2
from pgnet_trio.protocol.v2.features import FEATURES, INVITATIONS
from pgnet_trio.server import admission
from pgnet_trio.server.admission import InvitationPace
from pgnet_trio.server.room import invitations
from pgnet_trio.server.room.invitations import (
    LASTS,
    MOST_INVITED,
    TOLD_AGAIN_AFTER,
    Invitations,
)
from pgnet_trio.testing import HostedServer, SimulatedNetwork
from pgnet_trio.testing.hosting import Kit

if TYPE_CHECKING:
    from trio.testing import MockClock


class Dice(Game):
    max_players = 3

    def handle_game_packet(self, packet: Packet) -> Response:
        self.room.kick(packet.message)
        return Response("")


class Quiet(Game):
    players_invite = False


class Odd(Game):
    players_invite = "yes"


async def host(
    kit: Kit, password: str = "", game: type[Game] = Dice
) -> tuple[HostedServer, Client, Client]:
    """Host ann at an unlisted table, and bob at none."""
    server = await kit.host(game, admin_password="secret")
    ann, bob = await kit.play("ann"), await kit.play("bob")
    await ann.create_game(password=password, unlisted=True)
    return server, ann, bob


async def next_invitation(client: Client) -> Invitation:
    with trio.fail_after(60):
        return await anext(client.invitations())


async def refusal_of(coroutine: Any) -> RequestFailed:
    with pytest.raises(RequestFailed) as caught:
        await coroutine
    return caught.value


async def test_a_user_is_told_and_joins_an_unlisted_table(autojump_clock: MockClock) -> None:
    async with Kit(SimulatedNetwork()) as kit:
        _, ann, bob = await host(kit)
        told: list[Invitation] = []
        bob.on_invitation = told.append
        await ann.invite("bob")
        invitation = await next_invitation(bob)
        assert (invitation.inviter, invitation.game_class) == ("ann", "Dice")
        assert told == [invitation]
        assert await bob.get_game_dir() == {}
        await invitation.join()
        assert bob.game == invitation.game == ann.game
        assert list(bob.players) == ["ann", "bob"]


async def test_the_password_is_asked_of_others_only(autojump_clock: MockClock) -> None:
    async with Kit(SimulatedNetwork()) as kit:
        _, ann, bob = await host(kit, "secret")
        eve = await kit.play("eve")
        await ann.invite("bob")
        invitation = await next_invitation(bob)
        refused = await refusal_of(eve.join_game(invitation.game))
        assert refused.code == ReasonCode.WRONG_PASSWORD
        claimed = Packet(Request.JOIN_GAME, {"name": invitation.game, "invited": True})
        assert (await eve.request(claimed)).code == ReasonCode.WRONG_PASSWORD
        # The name is enough.
        await bob.join_game(invitation.game)
        assert bob.game == ann.game
        # And it was for once.
        await bob.leave_game()
        assert (await refusal_of(invitation.join())).code == ReasonCode.WRONG_PASSWORD


async def test_an_invited_user_may_watch_instead(autojump_clock: MockClock) -> None:
    async with Kit(SimulatedNetwork()) as kit:
        _, ann, bob = await host(kit, "secret")
        await ann.invite("bob")
        await (await next_invitation(bob)).join(spectate=True)
        assert (await refusal_of(bob.invite("eve"))).code == ReasonCode.SPECTATOR


async def test_who_invites_nobody_reads_why(autojump_clock: MockClock) -> None:
    async with Kit(SimulatedNetwork()) as kit:
        server, ann, bob = await host(kit)
        eve = await kit.play("eve")
        refused = await refusal_of(bob.invite("eve"))
        assert (refused.code, str(refused)) == (
            ReasonCode.NOT_IN_GAME,
            "You are in no game; join the one that you invite to.",
        )
        for username, code, text in [
            ("ann", ReasonCode.INVALID_ARGUMENT, "yourself"),
            ("", ReasonCode.INVALID_ARGUMENT, "Whom"),
            ("nobody", ReasonCode.UNKNOWN_USER, "not logged in"),
            ("BOB", ReasonCode.UNKNOWN_USER, "not logged in"),
        ]:
            refused = await refusal_of(ann.invite(username))
            assert refused.code == code
            assert text in str(refused)
        await eve.join_game(str(ann.game))
        assert (await refusal_of(ann.invite("eve"))).code == ReasonCode.ALREADY_IN_GAME
        await server.ban("bob")
        assert (await refusal_of(ann.invite("bob"))).code == ReasonCode.BANNED


async def test_who_is_nowhere_takes_no_place_among_the_invited(autojump_clock: MockClock) -> None:
    async with Kit(SimulatedNetwork()) as kit:
        _, ann, _ = await host(kit)
        for number in range(MOST_INVITED + 1):
            assert (await refusal_of(ann.invite(f"user{number}"))).code == ReasonCode.UNKNOWN_USER
        await ann.invite("bob")


async def test_as_many_are_invited_as_may_be(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invitations, "MOST_INVITED", 1)
    async with Kit(SimulatedNetwork()) as kit:
        _, ann, bob = await host(kit)
        await kit.play("eve")
        await ann.invite("bob")
        refused = await refusal_of(ann.invite("eve"))
        assert refused.code == ReasonCode.TOO_MANY_INVITATIONS
        assert "1 users are invited" in str(refused)
        await (await next_invitation(bob)).join()
        await ann.invite("eve")


async def test_nobody_is_told_twice_at_once(autojump_clock: MockClock) -> None:
    async with Kit(SimulatedNetwork()) as kit:
        _, ann, bob = await host(kit)
        await ann.invite("bob")
        refused = await refusal_of(ann.invite("bob"))
        assert refused.code == ReasonCode.TOO_MANY_INVITATIONS
        await trio.sleep(TOLD_AGAIN_AFTER)
        await ann.invite("bob")
        assert await next_invitation(bob) == await next_invitation(bob)


async def test_nobody_is_invited_to_one_table_after_the_other(autojump_clock: MockClock) -> None:
    async with Kit(SimulatedNetwork()) as kit:
        _, ann, bob = await host(kit)
        await ann.invite("bob")
        invitation = await next_invitation(bob)
        await ann.leave_game()
        await ann.create_game("table 2")
        refused = await refusal_of(ann.invite("bob"))
        assert refused.code == ReasonCode.TOO_MANY_INVITATIONS
        # Others may, and whoever has come may be invited again at once.
        eve = await kit.play("eve", game="table 3")
        await eve.invite("bob")
        await (await next_invitation(bob)).join()
        await bob.leave_game()
        await ann.invite("bob")
        assert (await next_invitation(bob)).game == "table 2" != invitation.game


def test_who_has_invited_whom_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "MAX_INVITED", 2)
    pace = InvitationPace()
    for number, name in enumerate(("ann", "bob", "cleo")):
        assert pace.may_tell(name, "eve", number)
        pace.note(name, "eve", number)
    told = [pace.may_tell(name, "eve", 3) for name in ("ann", "bob", "cleo")]
    assert told == [True, False, False]
    assert pace.may_tell("bob", "eve", 1 + TOLD_AGAIN_AFTER)
    pace.note("bob", "dan", 1 + TOLD_AGAIN_AFTER)
    pace.forget("cleo")
    assert pace.may_tell("cleo", "eve", 3)


@pytest.mark.parametrize("name", ["table 1", ""])
async def test_a_table_that_is_over_is_not_made_anew_for_who_was_invited(
    autojump_clock: MockClock, name: str
) -> None:
    async with Kit(SimulatedNetwork()) as kit:
        server = await kit.host(Dice)
        ann, bob = await kit.play("ann"), await kit.play("bob")
        await ann.create_game(name)
        await ann.invite("bob")
        invitation = await next_invitation(bob)
        await ann.leave_game()
        await trio.sleep(1)
        assert (await refusal_of(invitation.join())).code == ReasonCode.UNKNOWN_GAME
        assert bob.game is None
        assert server.stats().games == {}


@pytest.mark.parametrize(("game", "may"), [(Quiet, False), (Odd, True)])
async def test_a_class_may_forbid_it(
    autojump_clock: MockClock, game: type[Game], may: bool
) -> None:
    async with Kit(SimulatedNetwork()) as kit:
        _, ann, bob = await host(kit, game=game)
        if may:
            await ann.invite("bob")
            assert (await next_invitation(bob)).game_class == "Odd"
        else:
            assert (await refusal_of(ann.invite("bob"))).code == ReasonCode.REJECTED


async def test_a_kick_by_the_game_ends_an_invitation(autojump_clock: MockClock) -> None:
    async with Kit(SimulatedNetwork()) as kit:
        _, ann, bob = await host(kit, "secret")
        await ann.invite("bob")
        await ann.request(Packet("bob"))
        refused = await refusal_of((await next_invitation(bob)).join())
        assert refused.code == ReasonCode.WRONG_PASSWORD


async def test_a_name_that_somebody_else_has_next_is_not_invited(
    autojump_clock: MockClock,
) -> None:
    async with Kit(SimulatedNetwork()) as kit:
        server, ann, bob = await host(kit, "secret")
        await ann.invite("bob")
        server.delete_user("bob")
        await trio.sleep(1)
        assert not bob.connected
        other = await kit.play("bob")
        refused = await refusal_of(other.join_game(str(ann.game)))
        assert refused.code == ReasonCode.WRONG_PASSWORD


async def test_an_invitation_survives_a_dropped_connection(autojump_clock: MockClock) -> None:
    async with Kit(SimulatedNetwork()) as kit:
        _, ann, bob = await host(kit, "secret")
        kit.network.partition("bob")
        kit.network.drop("bob")
        await trio.sleep(1)
        assert not bob.online
        await ann.invite("bob")
        kit.network.heal("bob")
        await (await next_invitation(bob)).join()
        assert bob.game == ann.game


async def test_a_client_without_the_feature_is_not_told(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Kit(SimulatedNetwork()) as kit:
        _, ann, _ = await host(kit)
        options: Any = v2.ClientProtocol.__init__.__kwdefaults__
        monkeypatch.setitem(options, "features", FEATURES - {INVITATIONS})
        old = await kit.play("old")
        refused = await refusal_of(ann.invite("old"))
        assert refused.code == ReasonCode.UNKNOWN_USER
        with trio.move_on_after(10) as waited:
            await anext(old.invitations())
        assert waited.cancelled_caught


async def test_the_iterator_ends_with_the_session(autojump_clock: MockClock) -> None:
    async with Kit(SimulatedNetwork()) as kit:
        _, ann, bob = await host(kit)
        await ann.invite("bob")
        await trio.sleep(1)
        bob.disconnect()
        # What has come can be read.
        assert (await next_invitation(bob)).game == ann.game
        with trio.fail_after(10), pytest.raises(StopAsyncIteration):
            await anext(bob.invitations())


def test_places_are_bounded_and_invitations_end() -> None:
    invited = Invitations(["moved"])
    for number in range(MOST_INVITED - 1):
        assert invited.add(str(number), 10.0)
    assert not invited.add("more", 10.0)
    assert invited.add("moved", 20.0)
    assert invited.was_just_told("moved", 19.0 + TOLD_AGAIN_AFTER)
    assert not invited.was_just_told("moved", 20.0 + TOLD_AGAIN_AFTER)
    invited.end("0")
    assert invited.add("more", 10.0)
    assert invited.holds("1", 9.0 + LASTS)
    assert not invited.holds("1", 10.0 + LASTS)
    assert invited.names == ("moved",)
    assert not invited.was_just_told("nobody", 0.0)


def test_the_time_of_who_was_invited_before_a_move_begins_anew() -> None:
    invited = Invitations(["ann"])
    assert invited.holds("ann", 1000 * LASTS)
    assert not invited.holds("ann", 1001 * LASTS)

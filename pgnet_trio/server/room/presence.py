"""Who is told who is there: members who enter, and all others of those who come and go."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from pgnet_trio.messages import PLAYERS, Push
from pgnet_trio.protocol.v2.envelopes import encode_push

if TYPE_CHECKING:
    from pgnet_trio.server.room.members import Member, Members
    from pgnet_trio.server.room.player import Player
    from pgnet_trio.server.room.questions import Questions
    from pgnet_trio.server.room.runner import Runner

__all__ = ["Presence"]


class Presence:
    """Tells members that they are in or out, and who else is there.

    Args:
        runner: Has the game, and publishes what the others are told.
        members: The members.
        questions: The questions that a member who enters is shown.
    """

    def __init__(self, runner: Runner, members: Members, questions: Questions) -> None:
        self._instance = runner.instance
        self._publisher = runner.publisher
        self._members = members
        self._questions = questions

    def welcome(self, member: Member, heartbeat_rate: float) -> None:
        """Tell a member that they are in, with everything there is to know.

        Also for one who is in, and has come with another client that knows nothing yet.

        Args:
            member: The member.
            heartbeat_rate: How many heartbeats a second the game wants, if it wants any.
        """
        instance, views = self._instance, self._publisher.views
        player = member.player
        is_new = not member.entered
        # Another client begins with numbers of its own.
        self._publisher.simulation.forget_client(player.username)
        snapshot = None
        if is_new and views is not None:
            # Before they are told anything: if `view` raises, they never were in the game.
            snapshot = views.snapshot_for(member)
        player.enter_game(
            instance.name, heartbeat_rate if instance.has_heartbeat else 0.0, instance.time()
        )
        if not is_new and views is not None:
            snapshot = views.snapshot_for(member)
        if snapshot is not None:
            member.show(snapshot)
            if is_new and instance.tape is not None:
                instance.tape.note_states([(member.seat or "", snapshot.encoded)])
            if self._publisher.simulation.is_used:
                member.marked = -1
                self._publisher.simulation.mark([member])
        member.entered = True
        self._tell_all_players(member)
        for envelope in member.early:
            player.push(envelope)
        member.early.clear()
        for question in self._questions.of(player.username):
            player.ask(question)
        if is_new and not member.is_spectator:
            self.tell_players({player.username: player.online}, exclude=member)

    def refresh(self, member: Member) -> None:
        """Look at the state as a member would see it; raises what the game's `view` raises."""
        if self._publisher.views is not None:
            self._publisher.views.snapshot_for(member)

    def farewell(self, member: Member, reason: str, message: str) -> None:
        """Tell a member that they are out of the game, as the last thing they hear of it.

        It is written by the player's next flush.

        Args:
            member: The member.
            reason: A word for programs: left, kicked, closed, crashed, destroyed.
            message: Why, for people.
        """
        if self._publisher.views is not None:
            self._publisher.views.forget(member)
        self._publisher.simulation.forget_client(member.player.username)
        member.player.exit_game(reason, message, self._instance.time())
        self.withdraw_questions(member)

    def withdraw_questions(self, member: Member) -> None:
        """Wake whoever waits for the answers of a member who is gone."""
        if not member.is_spectator:
            self._questions.player_left(member.player.username)

    def catch_up(self, player: Player) -> None:
        """Tell a player who is back who is there now, if that has changed meanwhile.

        This does not wait for the turn in progress; it is written by the player's next flush.
        """
        member = self._members.get(player.username)
        if member is not None and member.missed_presence:
            self._tell_all_players(member)

    def tell_players(
        self, changes: Mapping[str, bool | None], exclude: Member | None = None
    ) -> None:
        """Tell the members, with the next publish, which players came, dropped or went.

        Args:
            changes: By player: True for connected, False for dropped, None for gone.
            exclude: A member who need not be told.
        """
        members = []
        for member in self._members.entered:
            if member is exclude:
                continue
            if member.player.online:
                members.append(member)
            else:
                # Changes would pile up until they are back; a list of who is there will do then.
                member.missed_presence = True
        if members:
            self._publisher.push(members, _players_encoder(changes, whole=False))

    def _tell_all_players(self, member: Member) -> None:
        # This list shows a member who is away as offline. By the time they read it they are back,
        # so it is sent again then.
        member.missed_presence = not member.player.online
        encode_for = _players_encoder(self._members.presence, whole=True)
        member.player.push(encode_for(member.player))


def _players_encoder(
    players: Mapping[str, bool | None], *, whole: bool
) -> Callable[[Player], bytes]:
    """Return what encodes who is there, as a player's client takes it; each form once.

    Args:
        players: By name: True for connected, False for dropped, None for gone.
        whole: Whether these are all players, or those that changed.
    """
    players = dict(players)

    @functools.cache
    def encode(as_list: bool) -> bytes:
        listed = [[*each] for each in players.items()] if as_list else players
        return encode_push(Push(PLAYERS, {"players": listed, "all": whole}))

    return lambda player: encode(player.takes_player_lists)

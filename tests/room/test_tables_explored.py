"""Tables under whatever players do, with drops and departures at any moment."""

from __future__ import annotations

from typing import Any

import attrs

from pgnet_trio import Bot, Game, Question, Ready, ReadyCheck, Reject, on
from pgnet_trio.testing import Faults, Seat, Table, explore


@attrs.define
class Do:
    what: str
    whom: str = ""


class Idle(Bot):
    """Plays in somebody's stead, and does nothing."""


class Restless(Game):
    """Does what players say with its host, its seats, its ready checks and itself."""

    persistent = True
    seats = 3
    max_players = 4

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.checks: list[bool] = []

    def get_save_string(self) -> str:
        return "saved"

    def view(self) -> dict[str, Any]:
        seats = self.room.seats
        return {
            "host": self.room.host,
            "seats": list(seats.values()),
            "playing": [seats.player(seat) for seat in seats],
            "ready": self.room.ready.players,
            "waiting": self.room.ready.waiting,
        }

    def user_left(self, username: str, reason: str) -> None:
        assert reason in ("left", "kicked", "grace_over")
        if username in self.room.seats.values():
            self.stand_in(username)

    def stand_in(self, player: str) -> None:
        seats = self.room.seats
        seat = seats.of(player)
        if seat is not None and seats[seat] == player and seats.player(seat) in (None, player):
            try:
                seats.substitute(player, Idle(f"bot {player}"))
            except ValueError as error:
                # The one before is just about to go.
                raise Reject("Not now.") from error

    @on(Do)
    def do(self, player: str, message: Do) -> None:
        room = self.room
        match message.what:
            case "host" if player == room.host and message.whom in room.players:
                room.host = message.whom
            case "take":
                room.seats.take(player)
            case "leave":
                room.seats.leave(player)
            case "stand in":
                self.stand_in(player)
            case "check" if not room.ready.is_open:
                room.nursery.start_soon(self.check)
            case "rematch":
                room.rematch()

    async def check(self) -> None:
        if not self.room.ready.is_open:
            self.checks.append(await self.room.ready.check(timeout=10))


class LeftAlone(Restless):
    """Has nobody play for those who leave."""

    def user_left(self, username: str, reason: str) -> None:
        assert reason in ("left", "kicked", "grace_over")


def moves(seat: Seat) -> Do:
    what = seat.random.choice(["host", "take", "take", "leave", "stand in", "check", "check"])
    if seat.random.random() < 0.05:
        what = "rematch"
    return Do(what, seat.random.choice(["ann", "bob", "cid"]))


def answers(seat: Seat, question: Question[Any]) -> Ready | None:
    assert isinstance(question.prompt, ReadyCheck) or question.packet.message == "ReadyCheck"
    return seat.random.choice([Ready(), Ready(), Ready(), Ready(False), None])


def somebody_here_is_host(table: Table) -> None:
    assert table.game.room.host in [name for name in table.players if " " not in name]


def each_has_one_seat(table: Table) -> None:
    seats = table.game.room.seats
    holders = [holder for holder in seats.values() if holder is not None]
    assert len(set(holders)) == len(holders)
    for seat, holder in seats.items():
        assert seats.player(seat) in (holder, f"bot {holder}", None)


def test_a_table_holds_whatever_its_players_do() -> None:
    done = explore(
        LeftAlone,
        players=3,
        spectators=1,
        moves=moves,
        answers=answers,
        invariants=[somebody_here_is_host, each_has_one_seat],
        seeds=range(4),
        rest=15.0,
        faults=Faults(leave_every=10, quit_every=15),
    )
    assert done.accepted > 50
    assert done.accepted_answers > 5
    assert done.departures > 3

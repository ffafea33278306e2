"""What the server answered survives `kill -9`: the short form of `tests.soak.kill_restart`."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgnet_trio.storage import SavedGame, SavedState, UserRecord
from tests.soak.kill_restart import GAME, STORES, Promises, kill_and_restart
from tests.soak.kill_restart_server import Ledger


@pytest.mark.parametrize("store", STORES)
@pytest.mark.no_cover
async def test_nothing_that_was_answered_is_lost(tmp_path: Path, store: str) -> None:
    summary = await kill_and_restart(tmp_path, store=store, kills=2, seed=3, seconds=0.2)
    assert summary.problems == []
    assert summary.kills == 2
    assert summary.registrations
    assert summary.invites
    assert summary.saves


def saved(total: str, *, user: str = "ann", code: str = "open") -> SavedState:
    return SavedState(
        users={user: UserRecord(user, "", "record")},
        games={GAME: SavedGame(GAME, "", total)},
        invite_codes={code: ""},
    )


def save_string(total: int) -> str:
    ledger = Ledger(GAME)
    ledger.total = total
    return ledger.get_save_string()


PROMISES = Promises(
    users={"ann": "password"},
    codes={"open"},
    used_codes={"used"},
    saved_total=5,
    highest_total=7,
)


@pytest.mark.parametrize("total", [5, 6, 7])
def test_kept_promises_are_no_problem(total: int) -> None:
    assert PROMISES.broken_by(saved(save_string(total))) == []


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        (saved(save_string(5), user="bob"), "user ann is lost"),
        (saved(save_string(5), code="other"), "an unused invite"),
        (saved(save_string(4)), "the game's total is 4"),
        (saved(save_string(8)), "the game's total is 8"),
    ],
)
def test_a_broken_promise_is_found(state: SavedState, problem: str) -> None:
    (found,) = PROMISES.broken_by(state)
    assert problem in found


def test_a_used_invite_that_is_back_is_found() -> None:
    state = saved(save_string(5))
    state.invite_codes["used"] = ""
    (found,) = PROMISES.broken_by(state)
    assert "a used invite" in found


def test_a_torn_save_string_is_found() -> None:
    with pytest.raises(ValueError, match="torn"):
        PROMISES.broken_by(saved(save_string(15)[:-1]))

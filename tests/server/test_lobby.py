"""The lobby: which games there are, and who is in which."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pgnet_trio.server.games.lobby import Lobby, LobbyRefusal


@pytest.fixture
def lobby() -> Lobby[str]:
    return Lobby()


def test_a_game_is_found_by_its_name_and_by_its_users(lobby: Lobby[str]) -> None:
    entry = lobby.add("table 1", "", "room")
    assert (entry.name, entry.room, entry.users) == ("table 1", "room", [])
    assert lobby.get("table 1") is entry
    assert lobby.get("table 2") is None
    assert lobby.game_of("ann") is None
    assert lobby.join("ann", "table 1", "") is entry
    assert lobby.game_of("ann") is entry
    assert lobby.leave("ann") is entry
    assert lobby.game_of("ann") is None
    assert lobby.leave("ann") is None


def test_users_are_in_the_order_of_joining(lobby: Lobby[str]) -> None:
    entry = lobby.add("table 1", "", "room")
    for name in ("cleo", "ann", "bob"):
        lobby.join(name, "table 1", "")
    lobby.leave("ann")
    lobby.join("ann", "table 1", "")
    assert entry.users == ["cleo", "bob", "ann"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "needs a name"),
        ("ab", "cannot be named 'ab'"),
        (" abc", "cannot be named"),
        ("The Admin's", "cannot be named"),
        ("my administration", "cannot be named"),
        ("x" * 51, "cannot be named"),
        ("table 1", "already"),
        ("x" * 100_000, "cannot be named"),
    ],
)
def test_a_name_that_no_new_game_may_have_is_refused(
    lobby: Lobby[str], name: str, why: str
) -> None:
    lobby.add("table 1", "", "room")
    with pytest.raises(LobbyRefusal, match=why) as caught:
        lobby.check_new(name)
    assert len(str(caught.value)) < 300


def test_a_saved_game_keeps_the_name_that_it_has(lobby: Lobby[str]) -> None:
    # The original allowed other names.
    lobby.add("x_é", "", "room")
    assert lobby.join("ann", "x_é", "").name == "x_é"


def test_two_games_cannot_have_one_name(lobby: Lobby[str]) -> None:
    lobby.check_new("table 1")
    entry = lobby.add("table 1", "", "room")
    with pytest.raises(ValueError, match="already"):
        lobby.add("table 1", "", "another")
    assert list(lobby) == [entry]


def test_a_game_with_a_password_is_joined_with_it_and_not_otherwise(lobby: Lobby[str]) -> None:
    entry = lobby.add("table 1", "hüsh", "room")
    with pytest.raises(LobbyRefusal, match="'table 1' has a password, and none was given"):
        lobby.join("ann", "table 1", "")
    for wrong in ("hüsh ", "HÜSH", "\ud800"):
        with pytest.raises(LobbyRefusal, match="password for the game 'table 1' is not right"):
            lobby.join("ann", "table 1", wrong)
        assert lobby.game_of("ann") is None
    assert lobby.join("ann", "table 1", "hüsh") is entry
    assert "hüsh" not in repr(entry)


def test_a_password_of_a_game_is_one_however_its_characters_are_composed(lobby: Lobby[str]) -> None:
    entry = lobby.add("table 1", "h\u00fcsh", "room")
    assert lobby.join("ann", "table 1", "hu\u0308sh") is entry
    old = lobby.add("table 2", "hu\u0308sh", "room")
    assert lobby.join("bob", "table 2", "h\u00fcsh") is old


def test_a_password_of_an_old_file_may_be_any_text(lobby: Lobby[str]) -> None:
    lobby.add("table 1", "\ud800", "room")
    with pytest.raises(LobbyRefusal):
        lobby.join("ann", "table 1", "?")
    lobby.join("ann", "table 1", "\ud800")


def test_a_user_is_in_one_game_at_a_time(lobby: Lobby[str]) -> None:
    lobby.add("table 1", "", "room")
    lobby.add("table 2", "", "room")
    lobby.check_free("ann")
    lobby.join("ann", "table 1", "")
    for name in ("table 1", "table 2", "table 3"):
        with pytest.raises(LobbyRefusal, match="You are in the game 'table 1'; leave it first"):
            lobby.join("ann", name, "")
    with pytest.raises(LobbyRefusal, match="leave it first"):
        lobby.check_free("ann")


def test_a_game_that_is_not_there_cannot_be_joined(lobby: Lobby[str]) -> None:
    with pytest.raises(LobbyRefusal, match="There is no game 'table 1'"):
        lobby.join("ann", "table 1", "")
    with pytest.raises(LobbyRefusal) as caught:
        lobby.join("ann", "x" * 100_000, "")
    assert len(str(caught.value)) < 300


def test_a_removed_game_leaves_its_users_free_and_its_name_too(lobby: Lobby[str]) -> None:
    old = lobby.add("table 1", "", "room")
    lobby.join("ann", "table 1", "")
    lobby.join("bob", "table 1", "")
    assert lobby.remove(old) == ["ann", "bob"]
    assert lobby.game_of("ann") is None
    new = lobby.add("table 1", "", "another room")
    lobby.join("ann", "table 1", "")
    # Whoever removes the old one late does not hit the new one.
    assert lobby.remove(old) == []
    assert lobby.get("table 1") is new
    assert lobby.game_of("ann") is new


USERS = st.sampled_from(["ann", "bob", "cleo"])
GAMES = st.sampled_from(["table 1", "table 2", "chess"])
PASSWORDS = st.sampled_from(["", "hush", "shush"])


class LobbyMachine(RuleBasedStateMachine):
    """The lobby against a model: games with their passwords, and users in order."""

    def __init__(self) -> None:
        super().__init__()
        self.lobby: Lobby[object] = Lobby()
        self.passwords: dict[str, str] = {}
        self.users: dict[str, list[str]] = {}
        self.spectators: set[str] = set()

    def game_of(self, user: str) -> str | None:
        return next((game for game, users in self.users.items() if user in users), None)

    @rule(game=GAMES, password=PASSWORDS)
    def add(self, game: str, password: str) -> None:
        if game in self.users:
            with pytest.raises(LobbyRefusal):
                self.lobby.check_new(game)
        else:
            self.lobby.check_new(game)
            self.lobby.add(game, password, object())
            self.passwords[game], self.users[game] = password, []

    @rule(user=USERS, game=GAMES, password=PASSWORDS, spectate=st.booleans())
    def join(self, user: str, game: str, password: str, spectate: bool) -> None:
        if self.game_of(user) is None and game in self.users and self.passwords[game] == password:
            self.lobby.join(user, game, password, spectate=spectate)
            self.users[game].append(user)
            self.spectators -= {user}
            self.spectators |= {user} if spectate else set()
        else:
            with pytest.raises(LobbyRefusal):
                self.lobby.join(user, game, password)

    @rule(user=USERS)
    def leave(self, user: str) -> None:
        game = self.game_of(user)
        entry = self.lobby.leave(user)
        assert (entry and entry.name) == game
        if game is not None:
            self.users[game].remove(user)

    @rule(game=GAMES)
    def remove(self, game: str) -> None:
        entry = self.lobby.get(game)
        assert (entry is None) == (game not in self.users)
        if entry is not None:
            assert self.lobby.remove(entry) == self.users.pop(game)

    @invariant()
    def games_and_users_agree(self) -> None:
        assert {entry.name: entry.users for entry in self.lobby} == self.users
        for game in self.lobby:
            assert game.player_count == len(set(game.users) - self.spectators)
        for user in ("ann", "bob", "cleo"):
            entry = self.lobby.game_of(user)
            assert (entry and entry.name) == self.game_of(user)


TestLobbyMachine = LobbyMachine.TestCase
TestLobbyMachine.settings = settings(max_examples=40, stateful_step_count=25)

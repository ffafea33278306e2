"""Tokens: who was here before comes back without their password being hashed, and nobody else."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from pgnet_trio import Client, Game, LoginRefused, Packet, Request
from pgnet_trio.crypto import KeyPair
from pgnet_trio.errors import ConnectFailed
from pgnet_trio.server.tokens import LIFETIME, MAX_TOKENS, LoginTokens
from pgnet_trio.storage import Changes, SavedState, Store, TokenRecord, UserRecord
from pgnet_trio.testing import HostedServer, MemoryStore, SimulatedNetwork
from tests.kit.hosting import CountingHasher, Recorder

if TYPE_CHECKING:
    from trio.testing import MockClock

ANN = UserRecord("ann", "", "$argon2id$ann")
BOB = UserRecord("bob", "", "$argon2id$bob")
SERVER, OTHER_SERVER = bytes(range(32)), bytes(range(1, 33))
TOKEN, OTHER_TOKEN = b"t" * 32, b"u" * 32
NOW = 1_000_000_000.0


def tokens(*saved: TokenRecord, now: float = NOW, server: bytes = SERVER) -> LoginTokens:
    return LoginTokens(saved, server, now)


def written(kept: LoginTokens) -> dict[bytes, TokenRecord | None]:
    with kept.saving() as changes:
        return dict(changes)


# What stands for a password


def test_a_token_stands_for_the_password_of_its_user_alone() -> None:
    kept = tokens()
    kept.add(ANN, TOKEN, NOW)
    record = kept.find(ANN, TOKEN, NOW)
    assert record is not None
    assert (record.username, record.expires) == ("ann", int(NOW) + LIFETIME)
    assert kept.find(ANN, OTHER_TOKEN, NOW) is None
    assert kept.find(BOB, TOKEN, NOW) is None


def test_it_ends_with_the_password_and_is_of_no_use_elsewhere() -> None:
    kept = tokens()
    kept.add(ANN, TOKEN, NOW)
    # As after a change of the password, or where another user has the name now.
    assert kept.find(attrs.evolve(ANN, password="$argon2id$other"), TOKEN, NOW) is None
    (record,) = written(kept).values()
    assert record is not None
    assert tokens(record).find(ANN, TOKEN, NOW) == record
    assert tokens(record, server=OTHER_SERVER).find(ANN, TOKEN, NOW) is None
    # A row that somebody gives to another user in the file.
    stolen = attrs.evolve(record, username="bob")
    assert tokens(stolen).find(BOB, TOKEN, NOW) is None


def test_it_ends_after_thirty_days() -> None:
    kept = tokens()
    kept.add(ANN, TOKEN, NOW)
    (record,) = written(kept).values()
    assert record is not None
    assert kept.find(ANN, TOKEN, NOW + LIFETIME - 1) is not None
    assert kept.find(ANN, TOKEN, NOW + LIFETIME) is None
    assert written(kept) == {record.digest: None}
    late = tokens(record, now=NOW + LIFETIME)
    assert late.find(ANN, TOKEN, NOW) is None
    assert written(late) == {record.digest: None}


def test_a_user_has_a_few_and_the_oldest_gives_way() -> None:
    kept = tokens()
    many = [bytes([number]) * 32 for number in range(MAX_TOKENS + 2)]
    for token in many:
        kept.add(ANN, token, NOW)
    assert [kept.find(ANN, token, NOW) is not None for token in many] == (
        [False, False] + [True] * MAX_TOKENS
    )
    kept.add(BOB, TOKEN, NOW)
    kept.revoke("ann")
    assert not any(kept.find(ANN, token, NOW) for token in many)
    assert kept.find(BOB, TOKEN, NOW) is not None


def test_a_token_takes_the_place_of_the_one_that_was_used() -> None:
    kept = tokens()
    kept.add(ANN, TOKEN, NOW)
    old = kept.find(ANN, TOKEN, NOW)
    kept.add(ANN, OTHER_TOKEN, NOW, instead_of=old)
    assert kept.find(ANN, TOKEN, NOW) is None
    assert kept.find(ANN, OTHER_TOKEN, NOW) is not None


def test_what_could_not_be_saved_is_tried_again() -> None:
    kept = tokens()
    kept.add(ANN, TOKEN, NOW)
    with contextlib.suppress(OSError), kept.saving() as changes:
        raise OSError
    assert written(kept) == changes
    assert written(kept) == {}


def test_what_changes_during_a_save_is_in_the_next_one() -> None:
    kept = tokens()
    kept.add(ANN, TOKEN, NOW)
    with kept.saving() as changes:
        (digest,) = changes
        kept.revoke("ann")
        kept.add(BOB, TOKEN, NOW)
    after = written(kept)
    assert after.pop(digest) is None
    assert [record.username for record in after.values() if record] == ["bob"]


@given(st.lists(st.sampled_from(["add", "revoke", "save", "fail"]), max_size=60))
def test_a_file_holds_in_the_end_what_stands_for_passwords(steps: list[str]) -> None:
    kept, file, count = tokens(), dict[bytes, TokenRecord](), 0
    for step in [*steps, "save"]:
        if step == "add":
            count += 1
            kept.add(ANN, count.to_bytes(32), NOW)
        elif step == "revoke":
            kept.revoke("ann")
        elif step == "fail":
            with contextlib.suppress(OSError), kept.saving():
                raise OSError
        else:
            for digest, record in written(kept).items():
                if record is None:
                    file.pop(digest, None)
                else:
                    file[digest] = record
        assert len(kept._unsaved) <= len(file) + MAX_TOKENS
    assert list(file.values()) == kept._tokens.get("ann", [])


def test_nothing_shows_a_digest() -> None:
    kept = tokens()
    kept.add(ANN, b"secret-token-secret-token-secret", NOW)
    record = kept.find(ANN, b"secret-token-secret-token-secret", NOW)
    assert record is not None
    changes = Changes(tokens={record.digest: record})
    for thing in (kept, record, changes, SavedState(tokens={record.digest: record})):
        assert repr(record.digest)[2:10] not in repr(thing)
        assert "secret" not in repr(thing)


# With a server


class PlainStore(Store):
    """A store of an author, who knows nothing of tokens."""

    def __init__(self) -> None:
        self.changes: list[Changes] = []
        self._inner = MemoryStore()

    def load(self) -> SavedState:
        return self._inner.load()

    def write(self, changes: Changes) -> None:
        self.changes.append(changes)
        self._inner.write(changes)

    def close(self) -> None:
        self._inner.close()


@attrs.define
class RestartableServer:
    """A server, and what it was asked to hash.

    Attributes:
        days: How much later it is for the server than by the clock.
    """

    network: SimulatedNetwork
    hasher: CountingHasher = attrs.field(factory=CountingHasher)
    days: float = 0.0
    server: HostedServer = attrs.field(init=False)

    def time(self) -> float:
        return trio.current_time() + self.days * 24 * 3600

    async def crash(self) -> None:
        """Let everything be saved that is saved every so often, and then stop the server."""
        await trio.sleep(15)
        await self.server.restart(crash=True)


def hosted(game: Callable[..., Game] = Recorder, **options: Any) -> RestartableServer:
    network = SimulatedNetwork()
    it = RestartableServer(network)
    environment = attrs.evolve(
        network.environment("server"), password_hasher=it.hasher, wall_clock=it.time
    )
    it.server = HostedServer(game, network=network, environment=environment, **options)
    return it


async def until_back(client: Client, seconds: float = 6) -> None:
    await trio.sleep(seconds)
    assert (client.connected, client.online) == (True, True)
    # The server answers: there is nothing left of an earlier connection.
    await client.get_game_dir()


def impostor(hosted: RestartableServer, password: str = "a guess", **options: Any) -> Client:
    """A client for ann's account that comes from elsewhere."""
    network = hosted.server.network
    return Client(
        network.connector(hosted.server, "mallory"),
        username="ann",
        password=password,
        environment=network.environment("mallory"),
        **options,
    )


async def test_who_was_here_is_back_without_a_hash(autojump_clock: MockClock) -> None:
    it = hosted()
    async with it.server.running(), it.server.client("ann", "pw") as ann:
        # The log-in has registered.
        assert it.hasher.verified == 0
        for _ in range(3):
            await it.crash()
            await until_back(ann)
        assert it.hasher.verified == 0
        # One token, which stays the same.
        assert len(it.server.store.state.tokens) == 1


async def test_a_token_that_was_not_saved_costs_a_hash_and_no_more(
    autojump_clock: MockClock,
) -> None:
    it = hosted()
    async with it.server.running(), it.server.client("ann", "pw") as ann:
        await it.server.restart(crash=True)
        await until_back(ann)
        assert it.hasher.verified == 1
        await it.crash()
        await until_back(ann)
        assert it.hasher.verified == 1


async def test_a_token_gets_a_successor_before_it_ends(autojump_clock: MockClock) -> None:
    it = hosted()
    async with it.server.running(), it.server.client("ann", "pw") as ann:
        for _ in range(4):
            it.days += 20
            await it.crash()
            await until_back(ann)
        assert it.hasher.verified == 0
        it.days += 31
        await it.crash()
        await until_back(ann)
        assert it.hasher.verified == 1
        await it.crash()
        assert len(it.server.store.state.tokens) == 1


async def test_a_store_that_keeps_no_tokens_gets_none(autojump_clock: MockClock) -> None:
    store = PlainStore()
    it = hosted(save_file=store)
    async with it.server.running(), it.server.client("ann", "pw") as ann:
        await it.crash()
        await until_back(ann)
        assert it.hasher.verified == 1
        assert ann._run.session._login._login_token == b""
    assert store.changes
    assert not any(changes.tokens for changes in store.changes)


async def test_a_deleted_user_has_no_token_and_their_name_neither(
    autojump_clock: MockClock,
) -> None:
    it = hosted()
    async with it.server.running():
        async with it.server.client("ann", "pw") as ann:
            await trio.sleep(15)
            token = ann._run.session._login._login_token
            assert len(token) == 32
            it.server.delete_user("ann")
            await trio.sleep(15)
            assert it.server.store.state.tokens == {}
        async with it.server.client("ann", "another's") as namesake:
            await trio.sleep(15)
            assert len(it.server.store.state.tokens) == 1
            thief = impostor(it)
            thief._run = thief._make_run("")
            thief._run.session._login._login_token = token
            with pytest.raises(LoginRefused, match="not right"):
                await thief._run.session.run()
            assert namesake.online


async def test_a_token_of_another_user_lets_nobody_in(autojump_clock: MockClock) -> None:
    it = hosted()
    async with it.server.running(), it.server.client("bob", "pw") as bob:
        async with it.server.client("ann", "pw"):
            pass
        thief = impostor(it)
        thief._run = thief._make_run("")
        thief._run.session._login._login_token = bob._run.session._login._login_token
        with pytest.raises(LoginRefused, match="not right"):
            await thief._run.session.run()


async def test_a_token_of_another_servers_key_lets_nobody_in(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    async with hosted(store=store).server.running() as server:
        async with server.client("ann", "pw") as ann:
            await trio.sleep(15)
            token = ann._run.session._login._login_token
    later = hosted(store=store)
    later.server._carryover.key = KeyPair(bytes(range(32)))
    async with later.server.running():
        client = later.server.client("ann", "pw")
        client._run = client._make_run("")
        client._run.session._login._login_token = token
        async with trio.open_nursery() as nursery:
            await nursery.start(client._run.session.run)
            assert later.hasher.verified == 1
            client._run.session.end("done")


async def test_the_admin_gets_no_token(autojump_clock: MockClock) -> None:
    it = hosted(admin_password="pw")
    async with it.server.running(), it.server.client("admin", "pw") as admin:
        assert admin._run.session._login._login_token == b""
        before = it.hasher.verified
        await it.crash()
        await until_back(admin)
        assert it.hasher.verified == before + 1
        assert it.server.store.state.tokens == {}


# Who guesses, and who comes back


@pytest.mark.parametrize("saved", [True, False])
async def test_a_stranger_who_fails_first_keeps_the_owner_out_of_nothing(
    autojump_clock: MockClock, saved: bool
) -> None:
    it = hosted(store=MemoryStore())
    async with it.server.running(), it.server.client("ann", "pw") as ann:
        await trio.sleep(15 if saved else 0)
        it.server.network.cut("ann")
        await it.server.restart(crash=True)
        for _ in range(5):
            with pytest.raises(LoginRefused, match="not right"):
                await impostor(it).run()
        with pytest.raises(ConnectFailed, match="Too many failed log-ins"):
            await impostor(it).run()
        it.server.network.heal("ann")
        await until_back(ann)


async def test_a_refusal_that_will_pass_ends_no_coming_back(autojump_clock: MockClock) -> None:
    it = hosted(save_file=PlainStore())
    async with it.server.running(), it.server.client("ann", "pw", reconnect_for=120) as ann:
        it.server.network.cut("ann")
        await it.server.restart(crash=True)
        # Somebody at ann's own address fails: ann has to wait, and is back a minute later.
        network = it.server.network
        connector = network.connector(it.server, "ann")
        network.heal("ann")
        for _ in range(5):
            guess = Client(connector, username="ann", password="a guess")
            with contextlib.suppress(ConnectFailed):
                await guess.run()
        await trio.sleep(10)
        assert "Too many failed log-ins" in ann.status
        await until_back(ann, 60)


async def test_the_admin_is_not_locked_out_by_a_stranger(autojump_clock: MockClock) -> None:
    it = hosted(admin_password="pw")
    async with it.server.running():
        network = it.server.network
        for _ in range(6):
            guess = Client(
                network.connector(it.server, "mallory"), username="admin", password="a guess"
            )
            with pytest.raises(ConnectFailed):
                await guess.run()
        async with it.server.client("admin", "pw") as admin:
            assert (await admin.request(Packet(Request.SAVE))).status == 0

"""A user's own save: read, written over what was read, and never over something newer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from pgnet_trio import CodecError, Game, Profile, ProfileConflict, ReasonCode, RequestFailed
from pgnet_trio.server.cluster.moderation_records import MAX_PROFILE
from pgnet_trio.testing import SimulatedNetwork
from pgnet_trio.testing.clusters import cluster
from pgnet_trio.testing.hosting import Kit

if TYPE_CHECKING:
    from trio.testing import MockClock


async def test_a_profile_is_read_and_written(autojump_clock: MockClock) -> None:
    async with Kit(SimulatedNetwork()) as table:
        await table.host(Game, save_file=None)
        ann = await table.play("ann")
        assert await ann.profile.read() == Profile({}, 0)
        data: dict[str, Any] = {"colour": "blue", "levels": [1, 2.5, None, True], "ü": {"a\0": ""}}
        saved = await ann.profile.write(data, version=0)
        assert saved == Profile(data, 1)
        assert await ann.profile.read() == saved
        bob = await table.play("bob")
        assert await bob.profile.read() == Profile({}, 0)


async def test_something_newer_is_never_written_over(autojump_clock: MockClock) -> None:
    async with Kit(SimulatedNetwork()) as table:
        await table.host(Game, save_file=None)
        ann = await table.play("ann")
        await ann.profile.write({"level": 1}, version=0)
        await ann.profile.write({"level": 2}, version=1)
        with pytest.raises(ProfileConflict) as caught:
            await ann.profile.write({"level": 1, "late": True}, version=1)
        assert caught.value.newer == Profile({"level": 2}, 2)
        assert caught.value.code == ReasonCode.NEWER_PROFILE
        assert "version 2" in str(caught.value)
        # As a program puts the two together.
        newer = caught.value.newer
        await ann.profile.write({**newer.data, "late": True}, version=newer.version)
        assert await ann.profile.read() == Profile({"level": 2, "late": True}, 3)


@pytest.mark.parametrize("version", [-1, 2**53, 2**63 - 1])
async def test_what_is_no_version_is_refused(autojump_clock: MockClock, version: int) -> None:
    async with Kit(SimulatedNetwork()) as table:
        await table.host(Game, save_file=None)
        ann = await table.play("ann")
        with pytest.raises(RequestFailed) as caught:
            await ann.profile.write({}, version=version)
        assert caught.value.code == ReasonCode.INVALID_ARGUMENT


async def test_a_profile_has_a_limit(autojump_clock: MockClock) -> None:
    async with Kit(SimulatedNetwork()) as table:
        await table.host(Game, save_file=None)
        ann = await table.play("ann")
        most = {"a": "x" * (MAX_PROFILE - len('{"a":""}'))}
        await ann.profile.write(most, version=0)
        # Bytes, and not characters.
        for more in ({"a": most["a"] + "x"}, {"a": "ü" * (MAX_PROFILE // 2)}):
            with pytest.raises(RequestFailed, match="16,384 bytes") as caught:
                await ann.profile.write(more, version=1)
            assert caught.value.code == ReasonCode.INVALID_ARGUMENT
        assert (await ann.profile.read()).data == most


async def test_what_cannot_travel_is_not_sent(autojump_clock: MockClock) -> None:
    async with Kit(SimulatedNetwork()) as table:
        await table.host(Game, save_file=None)
        ann = await table.play("ann")
        with pytest.raises(CodecError):
            await ann.profile.write({"a": object()}, version=0)


async def test_a_lost_answer_comes_after_all(autojump_clock: MockClock) -> None:
    async with Kit(SimulatedNetwork(latency=0.1)) as table, trio.open_nursery() as nursery:
        await table.host(Game, save_file=None)
        ann = await table.play("ann")
        saved: list[Profile] = []

        async def write() -> None:
            saved.append(await ann.profile.write({"a": 1}, version=0))

        nursery.start_soon(write)
        await trio.sleep(0.15)
        table.network.drop("ann")
        await trio.sleep(10)
        assert saved == [Profile({"a": 1}, 1)]


@pytest.mark.parametrize("seed", range(10))
async def test_each_write_counts_once_however_often_the_connection_drops(
    autojump_clock: MockClock, seed: int
) -> None:
    network = SimulatedNetwork(seed, latency=0.05)
    async with Kit(network) as table:
        await table.host(Game, save_file=None)
        ann = await table.play("ann", reconnect_for=None)
        network.conditions.drop_rate = 0.1
        for number in range(20):
            saved = await ann.profile.write({"number": number}, version=number)
            assert saved.version == number + 1
        assert await ann.profile.read() == Profile({"number": 19}, 20)
        assert network.dropped > 0


async def test_a_profile_is_the_same_at_all_servers(autojump_clock: MockClock) -> None:
    async with cluster(Game) as servers:
        ann = await servers.play("ann", "secret", node="a")
        await ann.profile.write({"a": 1}, version=0)
        ann.disconnect()
        await trio.sleep(2)
        again = await servers.play("ann", "secret", node="b")
        assert await again.profile.read() == Profile({"a": 1}, 1)

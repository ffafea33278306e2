"""Users of several processes meet in one queue."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from pgnet_trio import Client
from tests.cluster.test_terminals import cluster, free_ports
from tests.cluster.test_users_in_processes import teller

__all__ = ["cluster"]


async def meet(first: Client, second: Client) -> None:
    """Let one user look for a game, and then the other; they are in one, and leave it."""
    async with first.find_game() as search:
        assert search.position == 1
        async with second.find_game():
            pass
    assert first.game == second.game is not None
    for client in (first, second):
        await client.leave_game()


@pytest.mark.no_cover
async def test_users_of_two_processes_meet_also_once_the_queue_has_left_one(
    cluster: str, tmp_path: Path
) -> None:
    if "://" not in cluster:
        cluster = str(tmp_path / cluster)
    here, there = free_ports(2)
    key_file = tmp_path / "key"
    both = f"127.0.0.1:{here},127.0.0.1:{there}"
    async with teller(cluster, key_file, here) as first, teller(cluster, key_file, there) as second:
        async with (
            Client.remote(address=f"127.0.0.1:{here}", username="ann") as ann,
            Client.remote(address=f"127.0.0.1:{there}", username="bob") as bob,
        ):
            with trio.fail_after(60):
                await meet(ann, bob)
                await second.type("users\n")
                # Both are where the first of them has looked.
                await second.out.wait_for(rf"users \[.*ann.*{here}.*bob.*{here}.*\]")
                async with ann.find_game() as search:
                    assert search.position == 1
                    # The end of its input is that of the process, in good order.
                    await first.input.aclose()
                    assert await first.exit_status() == 0
                    async with Client.remote(address=both, username="cleo") as cleo:
                        async with cleo.find_game():
                            pass
                        assert cleo.game == await search.joined() is not None

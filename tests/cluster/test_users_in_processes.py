"""Users are told something by a process that they are not connected to."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from pgnet_trio import Client, Push, ReasonCode
from tests.cluster.test_terminals import cluster, free_ports
from tests.kit.subprocesses import Program, start_program

__all__ = ["cluster"]

ROOT = Path(__file__).parent.parent.parent


@asynccontextmanager
async def teller(cluster: str, key_file: Path, port: int) -> AsyncIterator[Program]:
    command = (sys.executable, "-m", "tests.cluster.teller")
    async with start_program(
        *(cluster, str(key_file), str(port)),
        command=command,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
    ) as program:
        await program.out.wait_for("ready")
        yield program


@pytest.mark.no_cover
async def test_users_are_reached_at_another_process(cluster: str, tmp_path: Path) -> None:
    if "://" not in cluster:
        cluster = str(tmp_path / cluster)
    here, there = free_ports(2)
    key_file = tmp_path / "key"
    async with teller(cluster, key_file, here), teller(cluster, key_file, there) as other:
        ann = Client.remote(address=f"127.0.0.1:{here}", username="ann")
        heard: list[str] = []
        ann.on_announcement = heard.append
        out = trio.Event()
        ann.on_connection = lambda is_in: None if is_in else out.set()
        async with ann:
            with trio.fail_after(60):
                await other.type("users\n")
                await other.out.wait_for(rf"users \[\('ann', '127\.0\.0\.1:{here}'\)\]")
                await other.type("push ann\n")
                assert await anext(ann.pushes()) == Push("hello", {"from": "afar"})
                await other.type("push bob\n")
                await other.out.wait_for("push False")
                await other.type("announce We close.\nkick ann\n")
                await out.wait()
            assert heard == ["We close."]
            assert (ann.close_reason, ann.close_code) == ("Out.", ReasonCode.KICKED)

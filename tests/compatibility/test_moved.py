"""What a client makes of a server that sends it to another address: one of 0.1, and this one."""

from __future__ import annotations

import pytest

from tests.compatibility.test_releases import NEW, OLD
from tests.kit.nodes import hosting_nodes
from tests.kit.subprocesses import start_program

# Only names that 0.1 has.
PROGRAM = """
import sys, trio
from pgnet_trio import Client, Packet, PGNetError

async def main():
    try:
        async with Client.remote(address=sys.argv[1], username="ann", password="x") as client:
            print("in", client.status, flush=True)
            response = await client.request(Packet("ask"))
            print("answered", response.message, client.online, flush=True)
    except PGNetError as error:
        print(type(error).__name__, error, flush=True)

trio.run(main)
"""

CLIENTS = [
    pytest.param(NEW, id="new"),
    pytest.param(
        OLD,
        id="0.1",
        marks=pytest.mark.skipif(
            not OLD, reason="PGNET_TRIO_0_1 names no Python with release 0.1, as in .ci/run"
        ),
    ),
]


@pytest.mark.parametrize("python", CLIENTS)
@pytest.mark.parametrize("where", ["at the log-in", "in the session"])
async def test_a_client_follows_or_says_why_it_is_out(python: str, where: str) -> None:
    env = {} if python == NEW else {"PYTHONPATH": None}
    async with hosting_nodes() as nodes:
        here, there = nodes.add("here"), nodes.add("there")
        address = f"127.0.0.1:{await here.listen()}"
        to = f"127.0.0.1:{await there.listen()}"
        if where == "at the log-in":
            here.sends_to = to
        else:
            here.answers_with_move = to
        async with start_program(
            address, command=(python, "-P", "-c", PROGRAM), env=env
        ) as program:
            if python == NEW:
                await program.out.wait_for("answered done True")
                assert nodes.log[1:] == [
                    "there token" if where == "at the log-in" else "there resume"
                ]
                assert nodes.sessions["ann"].taken[-1] == "ask"
            elif where == "at the log-in":
                told = "ConnectFailed .*did not log this client in: You are not here"
                await program.out.wait_for(told)
                assert nodes.log == ["here password"]
            else:
                await program.out.wait_for("in Logged in as ann")
                await program.out.wait_for("Disconnected The server is emptied")
                assert nodes.log == ["here password"]

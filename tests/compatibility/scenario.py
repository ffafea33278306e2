"""What a server and a client of any release do with each other; run by each release's own Python.

``python scenario.py server`` hosts the game below until its input ends, and prints its port and its
public key. ``python scenario.py client PORT KEY`` plays, and prints what it saw. Both print one
line of JSON. Only names that 0.1 has are used here, so that one file serves every release.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress

import attrs
import trio

import pgnet_trio
from pgnet_trio import Client, Game, PlayerLeft, Reject, RequestFailed, Server, on

CALLS = 40
"""Additions before, during and after the drop; each counts once."""


@attrs.frozen
class Add:
    amount: int


@attrs.frozen
class Total:
    total: int


@attrs.frozen
class Added:
    player: str
    total: int


@attrs.frozen
class Which:
    prompt: str


@attrs.frozen
class Side:
    side: str


@attrs.frozen
class Chosen:
    side: str


class Adding(Game):
    """Adds up, shows the total, and asks each player one question."""

    persistent = True

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.total = int(save_string or 0)

    async def run(self) -> None:
        while True:
            (player, *_) = await self.room.wait_players(1)
            with suppress(PlayerLeft):
                answer = await self.room.ask(
                    player, Which("left or right?"), Side, check=_check_side
                )
                self.room.push(Chosen(answer.side))
                await trio.sleep_forever()

    @on(Add)
    def add(self, player: str, add: Add) -> Total:
        if add.amount < 0:
            raise Reject("Only what is 0 or more can be added.", {"least": 0})
        self.total += add.amount
        self.room.push(Added(player, self.total))
        return Total(self.total)

    def view(self, player: str | None) -> dict[str, object]:
        return {"total": self.total, "you": player}

    def get_save_string(self) -> str:
        return str(self.total)


def _check_side(answer: Side) -> None:
    if answer.side not in ("left", "right"):
        raise Reject("There are two sides.")


async def serve() -> None:
    """Host until the input ends."""
    server = Server(Adding, port=0)
    async with trio.open_nursery() as nursery:
        port = await nursery.start(server.serve)
        print(
            json.dumps({"port": port, "key": server.pubkey, "package": pgnet_trio.__file__}),
            flush=True,
        )
        await trio.to_thread.run_sync(sys.stdin.read)
        server.shutdown()


async def play(port: int, key: str) -> None:
    """Play one round, over as many connections as it takes."""
    client = Client.remote(
        address="127.0.0.1", port=port, username="ann", password="p", verify_server_pubkey=key
    )
    drops = 0

    def count_drops(online: bool) -> None:
        nonlocal drops
        drops += not online

    client.on_online = count_drops
    seen: dict[str, object] = {"package": pgnet_trio.__file__}
    async with client:
        seen["protocol"] = client.protocol
        await client.create_game("adding up", options={"rules": "short"})
        seen["directory"] = sorted(await client.get_game_dir())
        pushes = client.pushes(Added)
        async for question in client.questions(Which):
            try:
                await question.answer(Side("up"))
            except RequestFailed as refused:
                seen["refused answer"] = str(refused)
            await question.answer(Side("left"))
            break
        async for chosen in client.pushes(Chosen):
            seen["chosen"] = chosen.side
            break
        # What came for the other iterator before is read by each of its own kind only.
        answers = []
        for number in range(CALLS):
            if number == CALLS // 2:
                print(json.dumps("drop"), flush=True)
            answers.append((await client.call(Add(1), Total)).total)
        seen["answers"] = answers == list(range(1, CALLS + 1))
        for _ in range(CALLS):
            client.send(Add(1))
        await client.wait_state(dict, lambda state: state["total"] == 2 * CALLS)
        totals = [(await anext(pushes)).total for _ in range(2 * CALLS)]
        seen["pushes"] = totals == list(range(1, 2 * CALLS + 1))
        try:
            await client.call(Add(-1))
        except RequestFailed as refused:
            seen["refused"] = [str(refused), refused.response.payload]
        seen["state"] = client.get_state(dict)
        seen["players"] = client.players
        await client.leave_game()
        assert client.left is not None
        seen["left"] = client.left.reason
    seen["drops"] = drops
    seen["end"] = client.close_reason
    print(json.dumps(seen), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "server":
        trio.run(serve)
    else:
        trio.run(play, int(sys.argv[2]), sys.argv[3])

#!/usr/bin/env bash
# lab-link 0.5.0 keeps a state in Pydantic models on the server, and sends each change to the
# clients as a JSON Patch. A command seats a player and deals a card: `table.players.append(player)`
# and then `player.hand.append(card)`. One expects the clients to see one card, as the server does.
# They see two: changes are gathered until the end of the tick, and the new player is written down
# only then, with the card in hand, after which the card is dealt once more. Who joins later and
# the HTTP route see two as well; the server's own objects have one, so its rules let the player
# play a card that stays on every screen. With an `await` between the two changes all is well.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    lab-link==0.5.0 uvicorn==0.38.0 pydantic==2.14.3 starlette==1.10.0
cat >check.py <<'PY'
import asyncio
import importlib.metadata
import json
import socket
import sys
from urllib.request import urlopen

import uvicorn
from lab_link import AsyncLabLinkClient, CommandContext, LabSync, ReactiveModel
from pydantic import Field

for name in ("lab-link", "pydantic", "starlette"):
    print(name, importlib.metadata.version(name))


class Player(ReactiveModel):
    name: str
    hand: list[str] = Field(default_factory=list)


class Table(ReactiveModel):
    players: list[Player] = Field(default_factory=list)


sync = LabSync()
table = sync.bind_state(Table())


@sync.command
async def seat(ctx: CommandContext, name: str, pause: bool):
    player = Player(name=name)
    table.players.append(player)
    if pause:
        await asyncio.sleep(0.1)
    player.hand.append("ace")


def hands(state):
    return [player["hand"] for player in state["players"]]


async def play():
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(sync.create_app(), log_level="error"))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    address = f"ws://127.0.0.1:{port}/sync/ws"
    async with AsyncLabLinkClient(address) as there:
        await there.send_command("seat", {"name": "first", "pause": False})
        await there.send_command("seat", {"name": "second", "pause": True})
        async with AsyncLabLinkClient(address) as later:
            seen = {
                "the server": hands(table.model_dump()),
                "who is there": hands(there.snapshot()),
                "who joins later": hands(later.snapshot()),
            }
    answer = await asyncio.to_thread(urlopen, f"http://127.0.0.1:{port}/sync/state")
    document = json.load(answer)
    seen["the HTTP route"] = hands(document.get("data", document))
    server.should_exit = True
    await serving
    return seen


seen = asyncio.run(play())
for who, cards in seen.items():
    print(f"{who} sees the hands {cards}")
if seen.pop("the server") != [["ace"], ["ace"]]:
    sys.exit("CHANGED: the server has other cards")
if any(cards != [["ace", "ace"], ["ace"]] for cards in seen.values()):
    sys.exit("CHANGED: this is not what the top of this script says")
print("AS STATED: what is added and changed in one tick is changed twice")
PY
timeout 60 venv/bin/python check.py

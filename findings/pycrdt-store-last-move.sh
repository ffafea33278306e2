#!/usr/bin/env bash
# A room of pycrdt-websocket 0.16.5 writes each update of its document into the SQLite store of
# pycrdt-store 0.1.5, and is thrown away when nobody is in it any more, which is the default. The
# last player makes a move and closes the page. One expects the move, which the room has received,
# to be in the store, since that is what the next player will see. It is not: the write is a task
# of the room, and the room's end, which comes as soon as the connection's, cancels it. Every move
# is stored but the last, with which games end, and no error and no log tells of it. Where the
# player stays for half a second longer, the move is stored.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    pycrdt-websocket==0.16.5 pycrdt-store==0.1.5 pycrdt==0.14.13 anyio==4.16.0 trio==0.35.0
cat >check.py <<'PY'
import importlib.metadata
import sys
from pathlib import Path

import trio
from pycrdt import Array, Doc, create_update_message, handle_sync_message
from pycrdt.store import SQLiteYStore
from pycrdt.websocket import WebsocketServer, YRoom

for name in ("pycrdt-websocket", "pycrdt-store", "pycrdt", "anyio", "trio"):
    print(name, importlib.metadata.version(name))
GAMES = 10
MOVES = ["opening", "answer", "capture", "mate"]


class Player:
    """A player at the other end of a connection, with the room's channel to them."""

    def __init__(self, path):
        self.path = path
        self.moves = Array()
        self.document = Doc({"moves": self.moves})
        self.to_room, self.from_player = trio.open_memory_channel(100)

    def __aiter__(self):
        return self

    async def __anext__(self):
        try:
            return await self.recv()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None

    async def recv(self):
        return await self.from_player.receive()

    async def send(self, message):
        await trio.lowlevel.checkpoint()
        answer = handle_sync_message(message[1:], self.document)
        if answer is not None:
            await self.to_room.send(answer)

    async def move(self, move):
        before = self.document.get_state()
        self.moves.append(move)
        await self.to_room.send(create_update_message(self.document.get_update(before)))


async def play(game, pause):
    """The moves that the room has had, and those in the store."""

    class Store(SQLiteYStore):
        db_path = str(Path(f"{game}.db").absolute())

    room = YRoom(ystore=Store("table"))
    room.ydoc["moves"] = received = Array()
    async with WebsocketServer() as server:
        server.rooms["table"] = room
        player = Player("table")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.serve, player)
            for move in MOVES:
                await trio.sleep(0.3)
                await player.move(move)
            await trio.sleep(pause)
            await player.to_room.aclose()
        assert not server.rooms
        await trio.sleep(0.3)
    stored = Array()
    document = Doc({"moves": stored})
    async with Store("table") as store:
        await store.apply_updates(document)
    return list(received), list(stored)


async def play_all(name, pause):
    """In how many games the room has had all moves, and in how many all are stored."""
    received = complete = only_last = 0
    for number in range(GAMES):
        had, stored = await play(f"{name}-{number}", pause)
        received += had == MOVES
        complete += stored == MOVES
        only_last += stored == MOVES[:-1]
    print(f"{name}: of {GAMES} games, the room has had all moves in {received},")
    print(f"    all are stored in {complete}, all but the last in {only_last}")
    return received, complete, only_last


at_once = trio.run(play_all, "leaves-at-once", 0)
later = trio.run(play_all, "stays-a-moment", 0.5)
if at_once[0] != GAMES or at_once[2] < GAMES - 2 or at_once[1] + at_once[2] != GAMES:
    sys.exit("CHANGED: the last move is stored, or others are not")
if later != (GAMES, GAMES, 0):
    sys.exit("CHANGED: moves are lost although the player stays")
print("AS STATED: the move with which the last player leaves is not stored")
PY
timeout 100 venv/bin/python check.py

"""The process that floods a server: `python -m tests.attacks.flooder FLOOD PORT SECONDS`.

It prints "ready" when all is set up, and how often it did what it does when its time is over. It
has a process of its own, so that what it costs is not in the times of somebody honest.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Awaitable, Callable

import attrs
import msgspec
import trio

from tests.attacks.peer import (
    OK,
    PING,
    STATE_WANTED,
    ConnectionEnded,
    Peer,
    Refused,
    SessionOver,
)

__all__ = ["ACCOUNTS", "AUDIENCE", "FLOODS"]

ACCOUNTS = 8
AUDIENCE = 24
"""Players at the flooded table who do nothing but read what comes."""

IN_FLIGHT = 16
AT_ONCE = 1_000
"""Envelopes in a frame of those floods that wait for no answer."""

TABLES = 200
"""Games in the directory that is asked for."""

PAUSE = 0.05
"""Seconds after a refusal."""

# What has to be looked for on the disk.
PAGE = b"GET /pgnet/client.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
ANSWER = b"HTTP/1.1 "

# A request is to fit into 64 KiB, ciphertext and WebSocket included.
_DEEP = b"\x91" * 90 + b"\xc0"
DEEP = msgspec.Raw(b"\x81\xa4deep\xdc" + (640).to_bytes(2, "big") + _DEEP * 640)
FLAT = msgspec.Raw(b"\x81\xa4flat\xdc" + (65_000).to_bytes(2, "big") + b"\x01" * 65_000)


@attrs.define
class Flood:
    """What is counted.

    Attributes:
        done: How often it was done.
        refused: How often the server refused it.
        ended: How often it ended a session or connection that was to stay.
    """

    done: int = 0
    refused: int = 0
    ended: int = 0
    names: int = 0


Act = Callable[[Flood, Peer], Awaitable[None]]


async def read(peer: Peer) -> None:
    """Take in whatever comes, until the connection is gone."""
    while True:
        await peer.receive()
        peer.answers()


async def _send_for_ever(flood: Flood, peer: Peer, make: Callable[[], list[int]]) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read, peer)
        while True:
            await peer.say(*[make()] * AT_ONCE)
            flood.done += AT_ONCE


async def ping(flood: Flood, peer: Peer) -> None:
    await _send_for_ever(flood, peer, lambda: [PING])


async def acknowledge(flood: Flood, peer: Peer) -> None:
    await _send_for_ever(flood, peer, peer.acknowledgement)


async def want_state(flood: Flood, peer: Peer) -> None:
    await _send_for_ever(flood, peer, lambda: [STATE_WANTED])


async def _request_for_ever(
    flood: Flood, peer: Peer, message: str, payload: msgspec.Raw | None
) -> None:
    outstanding = 0
    while True:
        while outstanding < IN_FLIGHT:
            await peer.say(peer.acknowledgement(), peer.next_request(message, payload))
            outstanding += 1
        await peer.receive()
        for answer in peer.answers().values():
            outstanding -= 1
            flood.done += 1
            flood.refused += answer.status != OK


async def request_deep(flood: Flood, peer: Peer) -> None:
    await _request_for_ever(flood, peer, "look", DEEP)


async def request_flat(flood: Flood, peer: Peer) -> None:
    await _request_for_ever(flood, peer, "look", FLAT)


async def directory(flood: Flood, peer: Peer) -> None:
    await _request_for_ever(flood, peer, "__pgnet__.game_dir", None)


async def create(flood: Flood, peer: Peer) -> None:
    while True:
        flood.names += 1
        name = f"{peer.name} {flood.names}"
        answer = await peer.request("__pgnet__.create_game", {"name": name})
        flood.done += 1
        if answer.status == OK:
            await peer.request("__pgnet__.leave_game")
        else:
            flood.refused += 1


async def join_and_leave(flood: Flood, peer: Peer) -> None:
    while True:
        answer = await peer.request("__pgnet__.join_game", {"name": "crowd"})
        flood.done += 1
        flood.refused += answer.status != OK
        await peer.request("__pgnet__.leave_game")


async def drop_and_resume(flood: Flood, peer: Peer) -> None:
    while True:
        peer.drop()
        if not await peer.resume():
            raise SessionOver("it was not resumed")
        flood.done += 1


async def log_in(flood: Flood, peer: Peer) -> None:
    while True:
        await peer.log_in()
        flood.done += 1
        peer.drop()


async def register(flood: Flood, peer: Peer) -> None:
    while True:
        flood.names += 1
        peer.name = f"{peer.name.partition('x')[0]}x{flood.names}"
        await peer.log_in()
        flood.done += 1
        await peer.leave()


async def ping_before_log_in(flood: Flood, peer: Peer) -> None:
    await peer.leave()
    while True:
        await peer.connect()
        # The server waits for a hello first.
        await peer.say([0, None])
        try:
            await ping(flood, peer)
        except* ConnectionEnded:
            flood.ended += 1


async def pages(flood: Flood, peer: Peer) -> None:
    await peer.leave()
    try:
        async with await trio.open_tcp_stream(
            "127.0.0.1", peer.port, local_address=peer.source
        ) as stream:
            while True:
                await stream.send_all(PAGE * IN_FLIGHT)
                answers, end = 0, b""
                while answers < IN_FLIGHT:
                    data = await stream.receive_some()
                    if not data:
                        raise ConnectionEnded("the server closed")
                    seen = end + data
                    answers += seen.count(ANSWER)
                    end = seen[-len(ANSWER) + 1 :]
                flood.done += IN_FLIGHT
    except (OSError, trio.BrokenResourceError) as error:
        raise ConnectionEnded(str(error)) from error


# Each flood, and where those who do it are: at a table of their own with others, or nowhere.
FLOODS: dict[str, tuple[Act, bool]] = {
    "ping": (ping, False),
    "acknowledgement": (acknowledge, False),
    "state wish": (want_state, True),
    "deep request": (request_deep, True),
    "flat request": (request_flat, True),
    "create game": (create, False),
    "join and leave": (join_and_leave, False),
    "drop and resume": (drop_and_resume, True),
    "log-in": (log_in, False),
    "registration": (register, False),
    "directory": (directory, False),
    "ping before log-in": (ping_before_log_in, False),
    "pages": (pages, False),
}

WITH_AUDIENCE = {"join and leave", "drop and resume"}
WITH_TABLES = {"directory"}


async def seated(port: int, name: str, source: str, *, at_table: bool) -> Peer:
    """Log somebody in, and have them join the flooded table."""
    peer = Peer(port, name, source=source)
    while True:
        try:
            await peer.log_in()
            break
        except SessionOver:
            # The server is busy with other log-ins.
            await trio.sleep(PAUSE)
    if at_table:
        await peer.request("__pgnet__.join_game", {"name": "crowd"})
    return peer


async def again_and_again(flood: Flood, peer: Peer, act: Act, *, at_table: bool) -> None:
    """Flood, and begin again after what ends it."""
    while True:
        try:
            try:
                await act(flood, peer)
            except* (ConnectionEnded, SessionOver, Refused):
                flood.ended += 1
            await trio.sleep(PAUSE)
            if act not in {log_in, register, ping_before_log_in, pages}:
                await peer.log_in()
                if at_table:
                    await peer.request("__pgnet__.join_game", {"name": "crowd"})
        except (ConnectionEnded, SessionOver, Refused):
            flood.refused += 1
            await trio.sleep(PAUSE)


async def make_tables(peer: Peer, count: int) -> None:
    """Fill the directory."""
    for number in range(count):
        await peer.request("__pgnet__.create_game", {"name": f"{peer.name} {number}"})
        await peer.request("__pgnet__.leave_game")


async def main(name: str, port: int, seconds: float, accounts: int, audience: int) -> Flood:
    """Flood a server for so many seconds."""
    act, at_table = FLOODS[name]
    flood = Flood()
    async with trio.open_nursery() as nursery:
        others = []
        if name in WITH_AUDIENCE:
            for number in range(audience):
                source = f"127.0.2.{number + 1}"
                others.append(await seated(port, f"fan{number}", source, at_table=True))
        peers = [
            await seated(port, f"flooder{number}", f"127.0.1.{number + 1}", at_table=at_table)
            for number in range(accounts)
        ]
        if name in WITH_TABLES:
            async with trio.open_nursery() as making:
                for peer in peers:
                    making.start_soon(make_tables, peer, TABLES // len(peers))
        print("ready", flush=True)
        for peer in others:
            nursery.start_soon(watch, peer)
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as flooding:
                for peer in peers:
                    flooding.start_soon(
                        functools.partial(again_and_again, flood, peer, act, at_table=at_table)
                    )
        nursery.cancel_scope.cancel()
    return flood


async def watch(peer: Peer) -> None:
    """Read what comes at the flooded table; a server may end this."""
    try:
        await read(peer)
    except (ConnectionEnded, SessionOver):
        pass


if __name__ == "__main__":
    result = trio.run(
        main,
        sys.argv[1],
        int(sys.argv[2]),
        float(sys.argv[3]),
        int(os.environ.get("ATTACKS_ACCOUNTS", ACCOUNTS)),
        int(os.environ.get("ATTACKS_AUDIENCE", AUDIENCE)),
    )
    print(json.dumps(attrs.asdict(result)), flush=True)

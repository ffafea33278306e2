#!/usr/bin/env bash
# chanio 0.1.0 brings Go's `select` to AnyIO, and so to Trio: it waits for several channels, and
# the first message wins. One expects it to take that one message, and to leave what other channels
# have for the next call. Where two channels that it waits for get a message in the same tick, it
# takes both off and hands out one: both senders are told that theirs was received, and the other
# message is gone. And `await after(0.5)`, the time limit beside the others, as in Go, itself waits
# for the half second before it returns, so a move that comes at once is handed out half a second
# late, and in half of all cases the time limit, which is over by then, is drawn instead of it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check chanio==0.1.0 anyio==4.16.0 trio==0.35.0
cat >check.py <<'PY'
import importlib.metadata
import sys

import trio
import trio.testing
from chanio import Channel, EndOfStream, after, select

for name in ("chanio", "anyio", "trio"):
    print(name, importlib.metadata.version(name))
ROUNDS = 100


async def two_senders():
    """How many messages were sent, handed out, and are still in a channel."""
    sent, handed_out, left = [], [], 0

    async def send(channel, move):
        await channel.send(move)
        sent.append(move)

    async def receive(channels):
        handed_out.append(await select(*channels))

    for _ in range(ROUNDS):
        channels = [Channel(capacity=1), Channel(capacity=1)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive, channels)
            await trio.testing.wait_all_tasks_blocked()
            for channel in channels:
                nursery.start_soon(send, channel, "move")
        for channel in channels:
            left += (await select(channel, default=None))[1] is not None
    return len(sent), len(handed_out), left


async def time_limit():
    """How often a move that is there at once is handed out, and when at the earliest."""
    in_time, earliest = 0, float("inf")
    for _ in range(ROUNDS):
        moves = Channel(capacity=1)
        began = trio.current_time()
        await moves.send("move")
        try:
            await select(moves, await after(0.5))
            in_time += 1
        except EndOfStream:
            pass
        earliest = min(earliest, trio.current_time() - began)
    return in_time, earliest


sent, handed_out, left = trio.run(two_senders)
print(f"sent {sent}, handed out {handed_out}, still there {left}")
in_time, earliest = trio.run(time_limit, clock=trio.testing.MockClock(autojump_threshold=0))
print(f"a move that is there: handed out {in_time} times of {ROUNDS}, after {earliest:.1f} s")
if (sent, handed_out, left) != (2 * ROUNDS, ROUNDS, 0):
    sys.exit("CHANGED: no message, or not every second one, is lost")
if not 10 < in_time < 90 or not 0.49 < earliest < 0.51:
    sys.exit("CHANGED: the time limit works")
print("AS STATED: the message that lost the race is gone, and a time limit is always waited out")
PY
timeout 60 venv/bin/python check.py

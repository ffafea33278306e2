#!/usr/bin/env bash
# A program counts with INCR through coredis 6.9.0, whose calls have a time-out, and the server
# answers too late. One expects a TimeoutError, and a command that happened once or not at all.
# The error comes, after three attempts: what timed out is sent again, twice, on the same
# connection, also where it is not idempotent. Three calls that raised have added nine. Scores and
# tickets that are counted this way run ahead of what anybody was told.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check coredis==6.9.0 trio==0.35.0
cat >check.py <<'PY'
import importlib.metadata
import sys

import coredis
import trio

print("coredis", importlib.metadata.version("coredis"), "trio", trio.__version__)


class SlowServer:
    """Counts each INCR as it comes, and answers it a second later."""

    def __init__(self):
        self.counter = 0
        self.connections = 0

    async def serve(self, stream):
        self.connections += 1
        received = b""
        async with trio.open_nursery() as answers:
            async for chunk in stream:
                received += chunk
                while command := self.take(received):
                    words, received = command
                    answers.start_soon(self.answer, stream, words)

    @staticmethod
    def take(received):
        """The first whole command, an array of bulk strings, and what follows it."""
        head, line_end, rest = received.partition(b"\r\n")
        words = []
        for _ in range(int(head[1:]) if line_end else 0):
            length, line_end, rest = rest.partition(b"\r\n")
            if not line_end or len(rest) < int(length[1:]) + 2:
                return None
            size = int(length[1:])
            words.append(rest[:size])
            rest = rest[size + 2 :]
        return (words, rest) if words else None

    async def answer(self, stream, words):
        try:
            if words[0] == b"INCR":
                self.counter += 1
                number = self.counter
                await trio.sleep(1)
                await stream.send_all(b":%d\r\n" % number)
            elif words[0] == b"HELLO":
                await stream.send_all(
                    b"%7\r\n+server\r\n+redis\r\n+version\r\n+8.0.0\r\n+proto\r\n:3\r\n"
                    b"+id\r\n:1\r\n+mode\r\n+standalone\r\n+role\r\n+master\r\n"
                    b"+modules\r\n*0\r\n"
                )
            else:
                await stream.send_all(b"+OK\r\n")
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass


async def main():
    server, raised = SlowServer(), []
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, server.serve, 0)
        port = listeners[0].socket.getsockname()[1]
        client = coredis.Redis(host="127.0.0.1", port=port, stream_timeout=0.2)
        async with client:
            for _ in range(3):
                try:
                    await client.incr("tickets")
                except Exception as error:
                    raised.append(type(error).__name__)
        nursery.cancel_scope.cancel()
    print(f"3 calls raised {raised}; {server.connections} connection, counted to {server.counter}")
    return raised, server.counter


raised, counter = trio.run(main)
if raised != ["TimeoutError"] * 3 or counter != 9:
    sys.exit("CHANGED: this is not what the top of this script says")
print("AS STATED: three increments that timed out were done nine times")
PY
timeout 60 venv/bin/python check.py

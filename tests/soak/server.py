"""The server that `tests.soak` runs: `python -m tests.soak.server SAVE_FILE TRANSPORT GRACE`.

It prints its port as one line of JSON, and then answers each line on standard input, `status` or
`census`, with one more. The admin's password comes in the environment variable `ADMIN_PASSWORD`,
and `SOAK_LOG` may name a file for the log. When standard input ends, so does the server, in order.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import Any

import nacl.pwhash
import trio

from pgnet_trio import Server
from pgnet_trio.crypto import PasswordHasher
from pgnet_trio.environment import Environment
from tests.soak.game import PlannedFault, SoakGame
from tests.soak.measure import Complaints, census, process_figures

__all__ = ["Lines", "server_figures", "soak_server"]


def soak_server(save_file: str, transport: str, grace: float, admin_password: str) -> Server:
    # What is looked for grows with the number of log-ins, so these have to be cheap.
    hasher = PasswordHasher(
        opslimit=nacl.pwhash.argon2id.OPSLIMIT_MIN, memlimit=nacl.pwhash.argon2id.MEMLIMIT_MIN
    )
    return Server(
        SoakGame,
        port=0,
        save_file=save_file,
        transport=transport,
        autosave_interval=1.0,
        admin_password=admin_password,
        environment=Environment(password_hasher=hasher),
        resume_grace=grace,
        ping_interval=2.0,
        keepalive_timeout=4.0,
        max_connections_per_address=500,
        failed_logins_per_address=None,
        registrations_per_address=None,
        # On a busy machine the whole process may have to wait for as long as the default.
        watchdog=2.0,
    )


def server_figures(server: Server) -> dict[str, float]:
    """What a server holds."""
    stats = server.stats()
    sessions, games = stats.sessions.values(), stats.games.values()
    return {
        "tasks": trio.lowlevel.current_statistics().tasks_living,
        "connections": stats.connections.total,
        "sessions": len(sessions),
        "detached": stats.away,
        "rooms": len(games),
        "members": sum(len(game.room.players) + len(game.room.spectators) for game in games),
        "seats": sum(game.users for game in games),
        "waiting_turns": sum(game.room.waiting_turns for game in games),
        "games_gone": len(stats.saves.ended_games),
        "accounts": stats.users,
        "invites": stats.invite_codes,
        "unacknowledged": sum(session.unacknowledged for session in sessions),
        "unacknowledged_bytes": sum(session.unacknowledged_bytes for session in sessions),
    }


class Lines:
    """Reads a stream line by line."""

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self._stream = stream
        self._text = b""

    async def next(self) -> str | None:
        """Wait for the next line; None at the end."""
        while b"\n" not in self._text:
            chunk = await self._stream.receive_some()
            if not chunk:
                return None
            self._text += chunk
        line, _, self._text = self._text.partition(b"\n")
        return line.decode()


async def main(save_file: str, transport: str, grace: float, admin_password: str) -> int:
    complaints = Complaints(planned=PlannedFault)
    complaints.install()
    if os.environ.get("SOAK_LOG"):
        handler = logging.FileHandler(os.environ["SOAK_LOG"])
        handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(levelname)s %(message)s"))
        logging.getLogger("pgnet_trio").addHandler(handler)
        logging.getLogger("pgnet_trio").setLevel(logging.INFO)
    server = soak_server(save_file, transport, grace, admin_password)
    async with trio.open_nursery() as nursery:
        port = await nursery.start(server.serve)
        print(json.dumps({"port": port}), flush=True)
        async with trio.lowlevel.FdStream(os.dup(0)) as stream:
            lines = Lines(stream)
            while (line := await lines.next()) is not None:
                # Without the log beside the file: its size says only when the last autosave was.
                answer: dict[str, Any] = {
                    **server_figures(server),
                    **process_figures([save_file]),
                    "planned_faults": complaints.planned_count,
                    "complaints": complaints.take(),
                }
                if line == "census":
                    answer["census"] = census()
                    # What was only waiting to be collected is no growth.
                    answer.update(process_figures([save_file]))
                print(json.dumps(answer), flush=True)
        server.shutdown()
    print(json.dumps({"complaints": complaints.take()}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(
        trio.run(main, sys.argv[1], sys.argv[2], float(sys.argv[3]), os.environ["ADMIN_PASSWORD"])
    )

"""The server of `tests.soak.kill_restart`: `python -m tests.soak.kill_restart_server SAVE_FILE`.

It prints its port and its public key as one line of JSON. The admin's password comes in the
environment variable `ADMIN_PASSWORD`.
"""

from __future__ import annotations

import json
import os
import sys

import nacl.pwhash
import trio

from pgnet_trio import Game, Packet, Response, Server
from pgnet_trio.crypto import PasswordHasher
from pgnet_trio.environment import Environment

__all__ = ["Ledger", "ledger_total"]

COPIES = 4000


def ledger_total(data: str) -> int:
    """Read a save string of `Ledger`; raises ValueError unless it is whole."""
    number, _, copies = data.partition(":")
    if copies != number * COPIES:
        raise ValueError(f"a torn save string: {data[:50]!r}")
    return int(number)


class Ledger(Game):
    """Counts; its save string is long, and says the same from its start to its end."""

    persistent = True

    def __init__(self, name: str, save_string: str | None = None) -> None:
        super().__init__(name, save_string)
        self.total = ledger_total(save_string) if save_string else 0

    def handle_game_packet(self, packet: Packet, /) -> Response:
        if packet.message == "add":
            self.total += 1
        return Response(f"The total is {self.total}.", {"total": self.total})

    def get_save_string(self) -> str:
        return f"{self.total}:{str(self.total) * COPIES}"


async def main(save_file: str, admin_password: str) -> int:
    # With passwords hashed in no time, there are many more writes to be killed in.
    hasher = PasswordHasher(
        opslimit=nacl.pwhash.argon2id.OPSLIMIT_MIN, memlimit=nacl.pwhash.argon2id.MEMLIMIT_MIN
    )
    server = Server(
        Ledger,
        port=0,
        save_file=save_file,
        autosave_interval=0.05,
        admin_password=admin_password,
        environment=Environment(password_hasher=hasher),
        max_logins_per_address=None,
        requests_per_second=None,
    )
    async with trio.open_nursery() as nursery:
        port = await nursery.start(server.serve)
        print(json.dumps({"port": port, "pubkey": server.pubkey}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(trio.run(main, sys.argv[1], os.environ["ADMIN_PASSWORD"]))

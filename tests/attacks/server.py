"""The server that 5,000 users log in to before it is killed: `python -m tests.attacks.server`.

It takes ``--save-file FILE`` and ``--port N``, and says where it listens as ``pgnet-trio serve``
does. Passwords cost it next to nothing, or the log-ins before the kill would take minutes; the
server that is started afterwards is the ordinary one.
"""

from __future__ import annotations

import argparse
import sys

import nacl.pwhash
import trio

from pgnet_trio import Server
from pgnet_trio.crypto import PasswordHasher
from pgnet_trio.environment import Environment
from tests.attacks.misbehaving import Games

AUTOSAVE_INTERVAL = 1.0
"""Seconds until what stands for passwords is in the save file, at most."""


async def main(save_file: str, port: int) -> None:
    hasher = PasswordHasher(
        opslimit=nacl.pwhash.argon2id.OPSLIMIT_MIN, memlimit=nacl.pwhash.argon2id.MEMLIMIT_MIN
    )
    server = Server(
        Games,
        save_file=save_file,
        port=port,
        autosave_interval=AUTOSAVE_INTERVAL,
        environment=Environment(password_hasher=hasher),
    )
    async with trio.open_nursery() as nursery:
        port = await nursery.start(server.serve)
        print(f"Listening on localhost, port {port}; public key {server.pubkey}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--save-file", required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    sys.exit(trio.run(main, options.save_file, options.port))

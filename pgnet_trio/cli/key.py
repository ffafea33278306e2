"""``pgnet-trio key``: the server's public key and fingerprint, and a new key."""

from __future__ import annotations

import argparse
import logging
import secrets
import sys
from pathlib import Path

from pgnet_trio.client.server_key import fingerprint
from pgnet_trio.crypto import KeyPair
from pgnet_trio.errors import PGNetError
from pgnet_trio.storage import DamagedKey, key_file_of, read_key, replace_key

__all__ = ["run", "set_up"]

ENDING = ".key"

EXAMPLES = """\
examples:
  pgnet-trio key my_game.sqlite
  pgnet-trio key my_game.sqlite.key
  pgnet-trio key my_game.sqlite --new

Players compare the fingerprint with what they are shown when they first connect; programs take the
public key, as Client.remote(verify_server_pubkey=...). The private key is never shown.
"""

WARNING = """\
Every client that knows the old key will refuse the server until its user accepts the new one.
A server that is running goes on with the old key until it is started again."""


class KeyFileError(PGNetError):
    """There is no key to show or to replace; the message says where one was expected."""


def set_up(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command, and the function that runs it."""
    parser.description = "Show a server's public key and its fingerprint, or make a new key."
    parser.epilog = EXAMPLES
    parser.set_defaults(run=run)
    parser.add_argument(
        "file",
        nargs="?",
        type=Path,
        metavar="SAVE_FILE|KEY_FILE",
        help=f"without it, the one file in the current folder whose name ends in {ENDING}",
    )
    parser.add_argument(
        "--new",
        action="store_true",
        help="make a new key; the old one is kept beside it, in a file that ends in .old",
    )
    parser.add_argument("--yes", action="store_true", help="with --new: do not ask")


def run(options: argparse.Namespace) -> int:
    """Show the key, or a new one.

    Returns:
        0.

    Raises:
        PGNetError: The key cannot be read or made, or the user said no.
    """
    logging.basicConfig(format="%(levelname)s %(message)s")
    path, key = _find(options.file)
    if options.new:
        if not options.yes:
            _ask(path, key)
        key = KeyPair.generate(secrets.token_bytes)
        old = replace_key(path, key)
        print(f"{path} has a new key; the old one is in {old}.")
        if options.yes:
            print(WARNING)
    print(f"public key   {key.pubkey}\nfingerprint  {fingerprint(key.pubkey)}")
    return 0


def _ask(path: Path, key: KeyPair) -> None:
    if sys.stdin is None or not sys.stdin.isatty():
        raise KeyFileError("--new needs --yes where standard input is no terminal")
    print(f"{path} has the key with the fingerprint\n  {fingerprint(key.pubkey)}\n{WARNING}")
    while (answer := input("Make a new key? (yes, no) ").strip()) != "yes":
        if answer == "no":
            raise KeyFileError(f"{path} stays as it was")


def _find(path: Path | None) -> tuple[Path, KeyPair]:
    if path is None:
        path = _only_one()
    beside = key_file_of(path)
    for candidate in [path] if path.suffix == ENDING else [beside, path]:
        try:
            key = read_key(candidate)
        except DamagedKey:
            if candidate == beside or path.suffix == ENDING:
                raise
            raise KeyFileError(
                f"{path} is no key file, and if it is a save file, it has no key yet: there is no "
                f"{beside}. A server makes it when it first runs"
            ) from None
        if key is not None:
            return candidate, key
    if path.suffix == ENDING:
        raise KeyFileError(f"there is no {path}")
    raise KeyFileError(f"there is neither {beside} nor {path}")


def _only_one() -> Path:
    found = sorted(Path().glob(f"*{ENDING}"))
    if len(found) == 1:
        return found[0]
    names = ", ".join(map(str, found)) or "none"
    raise KeyFileError(
        f"expected one file in the current folder whose name ends in {ENDING}, got {names}; say "
        "which save file or key file is meant"
    )

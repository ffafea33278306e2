"""``pgnet-trio connect``: a prompt on a server."""

from __future__ import annotations

import argparse
import contextlib
import getpass
import logging
import os
import sys
from collections.abc import Iterator

import trio

from pgnet_trio import devclient
from pgnet_trio.cli.arguments import transport_name
from pgnet_trio.cli.game_class import DEFAULT_GAME, load_game_class
from pgnet_trio.cli.known_servers import add_options, known_servers, server_names, trusted_key
from pgnet_trio.cli.passwords import find_secret
from pgnet_trio.client import Client
from pgnet_trio.errors import LoginRefused, PGNetError
from pgnet_trio.reason_codes import ReasonCode

__all__ = ["run", "set_up"]

PASSWORD_VARIABLE = "PGNET_PASSWORD"
INVITE_CODE_VARIABLE = "PGNET_INVITE_CODE"

EXAMPLES = """\
examples:
  pgnet-trio connect localhost
  pgnet-trio connect play.example.org:38929 --username ann
  pgnet-trio connect wss://play.example.org --invite-code-prompt
  pgnet-trio connect --game my_game.py:MyGame
  pgnet-trio connect play.example.org --forget
  printf '.join_game;name=table 1\\nsay;text=hi\\n' | pgnet-trio connect localhost --username bot

at the prompt:
  message;key=value;key2=value2     one packet
  .help                             the server's own requests: . stands for __pgnet__.
  ..message                         a message that begins with a dot
  say;count=2;text="2"              a number, and text that looks like one
  quit

Where standard input is no terminal, the lines are read from there. The exit status is 0 if every
line was sent and every answer had the status OK.
"""


def set_up(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command, and the function that runs it."""
    parser.description = "Open a prompt on a server, or on a game without one."
    parser.epilog = EXAMPLES
    parser.usage = "%(prog)s [OPTIONS] [ADDRESS]"
    parser.set_defaults(run=run, error=parser.error)
    parser.add_argument(
        "address",
        nargs="?",
        metavar="ADDRESS",
        help="host, host:port, [v6]:port, ws://... or wss://...; several with commas between them "
        "for servers that look like one; without it, a server inside this process is used",
    )
    parser.add_argument(
        "--game",
        metavar="MODULE:CLASS",
        help=f"without ADDRESS: the game class, or path/to/file.py:CLASS (default: {DEFAULT_GAME})",
    )
    parser.add_argument("--username", metavar="NAME", help="who logs in; asked for if absent")
    parser.add_argument(
        "--password-file",
        metavar="FILE",
        help=f"the password is the file's first line; it may also be in ${PASSWORD_VARIABLE}",
    )
    invite = parser.add_mutually_exclusive_group()
    invite.add_argument(
        "--invite-code-file",
        metavar="FILE",
        help=f"the invite code is the file's first line; it may also be in ${INVITE_CODE_VARIABLE}",
    )
    invite.add_argument("--invite-code-prompt", action="store_true", help="ask for an invite code")
    add_options(parser)
    parser.add_argument(
        "--forget",
        action="store_true",
        help="only remove ADDRESS from the known servers, and do not connect",
    )
    parser.add_argument(
        "--transport", type=transport_name, metavar="NAME", help="trio-websocket or websockets"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="log what happens")


def run(options: argparse.Namespace) -> int:
    """Read lines and send them until they end.

    Returns:
        0 if every line was sent and every answer had the status OK, else 1.

    Raises:
        PGNetError: The game or the server cannot be used; the message says why.
        SystemExit: The arguments make no sense together.
    """
    if options.address is not None:
        try:
            names = server_names(options.address)
        except ValueError as error:
            options.error(str(error))
    if options.forget:
        if options.address is None:
            options.error("--forget needs the ADDRESS to forget")
        return _forget(options, names)
    client = _make_client(options)
    with _open_console() as console:
        logging.basicConfig(format="%(levelname)s %(message)s")
        level = logging.DEBUG if options.verbose else logging.WARNING
        logging.getLogger("pgnet_trio").setLevel(level)
        try:
            return trio.run(devclient.run, client, console)
        except LoginRefused as error:
            if error.code != ReasonCode.UNKNOWN_USER:
                raise
            hint = "If you have one, add --invite-code-prompt."
            raise LoginRefused(f"{error} {hint}", code=error.code) from None


def _forget(options: argparse.Namespace, names: list[str]) -> int:
    servers = known_servers(options)
    forgotten = [name for name in names if servers.forget(name)]
    if not forgotten:
        raise PGNetError(f"{','.join(names)} is not among the known servers in {servers.path}")
    for name in forgotten:
        print(f"Forgot {name}; its key will be asked about again.")
    return 0


def _make_client(options: argparse.Namespace) -> Client:
    if options.address is not None and options.game is not None:
        options.error("--game is for a server inside this process: leave ADDRESS out, or --game")
    if options.address is None:
        game = load_game_class(options.game or DEFAULT_GAME)
    is_terminal = sys.stdin is not None and sys.stdin.isatty()
    if not options.username and not is_terminal:
        options.error("--username is needed where standard input is no terminal")
    # Read secrets from files first: an error there comes before any question. Ask for the others
    # last: only once the server's key is trusted is it sure who gets them.
    password = find_secret(options.password_file, PASSWORD_VARIABLE, None)
    invite_code = find_secret(options.invite_code_file, INVITE_CODE_VARIABLE, None)
    if options.address is not None:
        key = trusted_key(options, input if is_terminal else None)
    username = options.username
    while not username:
        username = input("Username: ").strip()
    if password is None and is_terminal:
        password = getpass.getpass("Password (Enter for none): ")
    if options.address is None:
        return Client.local(game=game, username=username, password=password or "")
    if invite_code is None and options.invite_code_prompt:
        invite_code = getpass.getpass("Invite code: ")
    return Client.remote(
        address=options.address,
        username=username,
        password=password or "",
        invite_code=invite_code or "",
        # Only protocol 2 verifies keys.
        verify_server_pubkey=key.pubkey if key.protocol > 1 else "",
        minimum_protocol=key.protocol,
        transport=options.transport,
    )


@contextlib.contextmanager
def _open_console() -> Iterator[devclient.Console]:
    has_terminal = all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout))
    if has_terminal and os.environ.get("TERM") != "dumb":
        try:
            from pgnet_trio.cli.prompt import LineHistory, PromptConsole, state_folder
        except ModuleNotFoundError:
            # The extra is not installed.
            pass
        else:
            with PromptConsole(LineHistory(state_folder() / "history")) as console:
                yield console
            return
    yield devclient.PlainConsole()

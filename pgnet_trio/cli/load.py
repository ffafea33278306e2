"""``pgnet-trio load``: many real clients that run an author's script on a server."""

from __future__ import annotations

import argparse
import functools
import inspect
import json
import logging
import os
import secrets
import sys
from pathlib import Path

import trio

from pgnet_trio.cli.arguments import duration, transport_name, whole
from pgnet_trio.cli.author_code import AuthorCodeError, load_module
from pgnet_trio.cli.known_servers import add_options, trusted_key
from pgnet_trio.cli.load_report import Progress, Report, Threshold, make_report, show_report
from pgnet_trio.cli.load_run import Bot, LoadClient, LoadRun
from pgnet_trio.cli.passwords import find_secret
from pgnet_trio.cli.process import allow_open_files
from pgnet_trio.client.address import parse_addresses
from pgnet_trio.errors import PGNetError
from pgnet_trio.messages import DEFAULT_PORT, is_username_allowed

__all__ = ["load_bot", "run", "set_up"]

MAX_CLIENTS = 10_000
"""Clients of one process, at most; each takes a file, a port and some 100 KiB."""

STANDARD_OUTPUT = "-"
"""The file name that means standard output."""

PASSWORD_VARIABLE = "PGNET_PASSWORD"

EXAMPLES = """\
examples:
  pgnet-trio load localhost --bot bots.py:play --clients 100
  pgnet-trio load localhost --bot bots.py:play --clients 500 --ramp 10s --seconds 1m
  pgnet-trio load localhost --bot bots.py:play --p99 50ms --max-errors 0 --json result.json

The bot is an async function, which gets a client that is logged in, and a number from 0 on:

  async def play(client, number):
      await client.join_game(f"table {number // 2}")
      while True:
          await client.request(Packet("move", {"x": number}))

Timed is all that it asks and sends: request, call, question.answer, create_game, join_game and the
like until the answer, and send until the server says that it has taken it. States are counted. It
runs until all bots have ended, --seconds are over, or Ctrl-C; the second Ctrl-C ends it at once.
The exit status is 1 if a threshold was missed, or if no bot ran without an error.

This is for servers of your own: it sends nothing anywhere but to ADDRESS, and there it is heavy
traffic and registers users. A server of default settings will not take it from one address; start
it with

  pgnet-trio serve ... --max-connections-per-address none --max-logins-per-address none \\
      --failed-logins-per-address none --registrations-per-address none \\
      --requests-per-second none

Each log-in costs the server about 60 ms of one core for its password, so the ramp may take longer.
"""


def set_up(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command, and the function that runs it."""
    parser.description = "Have many clients play on a server of your own, and measure it."
    parser.epilog = EXAMPLES
    parser.usage = "%(prog)s ADDRESS --bot MODULE:FUNC [OPTIONS]"
    parser.set_defaults(run=run, error=parser.error)
    parser.add_argument("address", metavar="ADDRESS", help="as for `pgnet-trio connect`")
    parser.add_argument(
        "--bot",
        required=True,
        metavar="MODULE:FUNC",
        help="what each client does, or path/to/file.py:FUNC",
    )
    parser.add_argument(
        "--clients",
        type=_clients,
        default=10,
        metavar="NUMBER",
        help=f"how many, up to {MAX_CLIENTS:,} (default: %(default)s)",
    )
    parser.add_argument(
        "--ramp",
        type=duration,
        default=10.0,
        metavar="TIME",
        help="from the first client's start to the last one's, such as 500ms, 10s or 2m "
        "(default: 10s)",
    )
    parser.add_argument(
        "--logins-at-once",
        type=_clients,
        default=8,
        metavar="NUMBER",
        help="clients that log in at the same time, at most; the others wait, and the ramp takes "
        "longer (default: %(default)s)",
    )
    parser.add_argument(
        "--seconds",
        type=duration,
        metavar="TIME",
        help="end the bots after this time, the ramp included (default: when all have ended)",
    )
    parser.add_argument(
        "--prefix",
        metavar="TEXT",
        help="the usernames are this and a number (default: load and four characters by chance, "
        "so that nobody is met who is registered already)",
    )
    parser.add_argument(
        "--password-file",
        metavar="FILE",
        help="the password of all users is the file's first line; it may also be in "
        f"${PASSWORD_VARIABLE} (default: a new one)",
    )
    threshold = parser.add_argument_group("thresholds")
    threshold.add_argument(
        "--p99",
        type=duration,
        metavar="TIME",
        help="99 %% of all that is asked, answered and sent takes no longer",
    )
    threshold.add_argument(
        "--state-p99",
        type=duration,
        metavar="TIME",
        help="99 %% of the states are no older when the next one comes; for games with ticks",
    )
    threshold.add_argument(
        "--max-errors", type=whole, metavar="NUMBER", help="there are no more errors than this"
    )
    parser.add_argument(
        "--json",
        nargs="?",
        const=STANDARD_OUTPUT,
        metavar="FILE",
        help="write the result to this file too; without FILE, or with -, to standard output, and "
        "the table to standard error",
    )
    add_options(parser)
    parser.add_argument(
        "--transport", type=transport_name, metavar="NAME", help="trio-websocket or websockets"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="log what happens")


def run(options: argparse.Namespace) -> int:
    """Run the load test.

    Returns:
        0 if all thresholds were met and some bot ran without an error, else 1.

    Raises:
        PGNetError: The bot or the server cannot be used; the message says why.
        SystemExit: The arguments make no sense together.
    """
    try:
        parse_addresses(options.address, DEFAULT_PORT)
    except ValueError as error:
        options.error(str(error))
    prefix = f"load{secrets.token_hex(2)}" if options.prefix is None else options.prefix
    last = f"{prefix}{options.clients - 1}"
    if not all(map(is_username_allowed, (f"{prefix}0", last))):
        options.error(
            f"--prefix: {last!r} is no username; they have 3 to 20 ASCII letters or digits, "
            "without 'admin'"
        )
    bot, file = load_bot(options.bot)
    password = find_secret(options.password_file, PASSWORD_VARIABLE, None)
    prints_json = options.json == STANDARD_OUTPUT
    if options.json is not None and not prints_json:
        _try_writing(options.json)
    is_terminal = sys.stdin is not None and sys.stdin.isatty()
    if prints_json and not sys.stdout.isatty():
        # Ask nobody: the question would become a part of the result.
        is_terminal = False
    key = trusted_key(options, input if is_terminal else None)
    logging.basicConfig(format="%(levelname)s %(message)s")
    level = logging.INFO if options.verbose else logging.ERROR
    logging.getLogger("pgnet_trio").setLevel(level)
    allow_open_files(2 * MAX_CLIENTS)
    make_client = functools.partial(
        LoadClient.remote,
        address=options.address,
        password=secrets.token_urlsafe() if password is None else password,
        # Only protocol 2 verifies keys.
        verify_server_pubkey=key.pubkey if key.protocol > 1 else "",
        minimum_protocol=key.protocol,
        transport=options.transport,
    )
    load = LoadRun(
        bot,
        make_client,
        prefix=prefix,
        clients=options.clients,
        ramp=options.ramp,
        seconds=options.seconds,
        file=file,
        logins_at_once=options.logins_at_once,
    )
    trio.run(load.run, Progress(options.clients))
    thresholds = []
    if options.p99 is not None:
        thresholds.append(Threshold("p99", options.p99, load.tally.slowest(99)))
    if options.state_p99 is not None:
        age = load.tally.ages.percentile(99)
        thresholds.append(Threshold("state age", options.state_p99, age))
    if options.max_errors is not None:
        errors = load.tally.error_count
        thresholds.append(Threshold("errors", options.max_errors, errors))
    report = make_report(
        load.tally,
        address=options.address,
        clients=options.clients,
        seconds=load.elapsed,
        cpu=load.cpu,
        protocol=key.protocol,
        thresholds=thresholds,
    )
    show_report(report, sys.stderr if prints_json else sys.stdout)
    if prints_json:
        print(_as_text(report), flush=True)
    elif options.json is not None:
        _write(options.json, report)
    return 0 if report.passed else 1


def load_bot(name: str, /) -> tuple[Bot, str]:
    """Import the function that ``MODULE:FUNC`` or ``path/to/file.py:FUNC`` names.

    Returns:
        The function, and its file.

    Raises:
        AuthorCodeError: There is no such function, or it cannot be a bot.
    """
    module, place, function_name = load_module(name, "FUNC")
    found = getattr(module, function_name, None)
    if found is None:
        functions = ", ".join(
            name
            for name, value in vars(module).items()
            if inspect.iscoroutinefunction(value) and value.__module__ == module.__name__
        )
        raise AuthorCodeError(
            f"{place} has no {function_name!r}; its async functions: {functions or 'none'}"
        )
    if not inspect.iscoroutinefunction(found):
        raise AuthorCodeError(f"{name} is no async function")
    try:
        inspect.signature(found).bind(None, 0)
    except TypeError:
        raise AuthorCodeError(
            f"{name} cannot be called with a client and a number: write "
            f"async def {function_name}(client, number)"
        ) from None
    return found, inspect.getsourcefile(found) or ""


def _clients(text: str) -> int:
    number = whole(text)
    if 0 < number <= MAX_CLIENTS:
        return number
    raise argparse.ArgumentTypeError(
        f"expected a number from 1 to {MAX_CLIENTS:,} (start several of these for more), "
        f"got {text!r}"
    )


def _try_writing(file: str) -> None:
    """Raise before the test, not after it, if its result cannot be written."""
    try:
        with open(file, "a", encoding="utf-8"):
            pass
    except OSError as error:
        raise PGNetError(f"cannot write {file!r}: {error.strerror}") from error


def _as_text(report: Report) -> str:
    return json.dumps(report.as_json(), indent=2)


def _write(file: str, report: Report) -> None:
    path = Path(file)
    temporary = path.with_name(f".{path.name}.new")
    text = _as_text(report) + "\n"
    try:
        # A device, such as /dev/stdout, cannot be replaced by a file.
        if not path.is_file():
            path.write_text(text, "utf-8")
            return
        temporary.write_text(text, "utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise PGNetError(f"cannot write {file!r}: {error.strerror}") from error

"""The command ``pgnet-trio``: each of its commands is a module of this package."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import io
import os
import re
import sys
from collections.abc import Sequence
from typing import NoReturn

from pgnet_trio.author_classes import near_miss
from pgnet_trio.errors import PGNetError, bare
from pgnet_trio.foreign_text import printable

__all__ = ["main"]

PROGRAM = "pgnet-trio"

SUMMARIES = {
    "serve": "host a game for others",
    "connect": "open a prompt on a server, or on a game without one",
    "key": "show a server's public key and its fingerprint, or make a new key",
    "backup": "copy a save file, also while a server uses it",
    "check": "say whether a save file is sound",
    "doctor": "say what may keep a server from running well, and what to mend",
    "cluster": "show the servers of a cluster, or have one give its games away",
    "replay": "play a recorded table again, to the same error",
    "types": "write the messages of a game as TypeScript",
    "load": "have many clients play on a server of your own, and measure it",
    "demo": "play a short game on this machine, to see that everything works",
}

EXAMPLES = """\
examples:
  pgnet-trio demo
  pgnet-trio serve my_game.py:MyGame
  pgnet-trio connect localhost
  pgnet-trio connect --game my_game.py:MyGame
  pgnet-trio key my_game.sqlite
  pgnet-trio backup my_game.sqlite monday.sqlite

`pgnet-trio COMMAND --help` shows the options of a command, with examples.
"""

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
"""What shells report for a program that Ctrl-C ended."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: The arguments after the program's name; those of this process if None.

    Returns:
        The exit status: 0 when all went well, 1 after an error, 130 after Ctrl-C; for `serve`,
        the exit code of the server.

    Raises:
        SystemExit: The arguments make no sense (status 2), or asked for help (status 0).
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Players' names and messages may be in any script; a terminal may lack it.
            stream.reconfigure(errors="backslashreplace")
    arguments = sys.argv[1:] if argv is None else list(argv)
    parser = _make_parser(arguments)
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        _refuse(options.parser, unknown)
    # It is no option, and what is in there becomes the server's options.
    del options.parser
    options.arguments = arguments
    try:
        status = _run_bare(options)
        sys.stdout.flush()
    except PGNetError as error:
        return _complain(str(error))
    except EOFError:
        return _complain("the input ended before everything was asked")
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Nobody reads the output any more. Python flushes once more at the end, into nothing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    return status


def _run_bare(options: argparse.Namespace) -> int:
    """Run the command; raise an error that is alone in its group without the group."""
    try:
        status: int = options.run(options)
    except BaseExceptionGroup as group:
        raise bare(group) from None
    return status


def _refuse(command: argparse.ArgumentParser, unknown: Sequence[str]) -> NoReturn:
    """End the program because of arguments that the command does not take."""
    option = next((each.partition("=")[0] for each in unknown if each.startswith("-")), None)
    if option is None:
        command.error(
            f"unexpected argument {unknown[0]!r}; {command.prog} --help shows what it takes"
        )
    meant = near_miss(option, re.findall(r"--[a-z-]+", command.format_help()))
    hint = f"did you mean {meant}?" if meant else f"{command.prog} --help shows them"
    command.error(f"there is no option {option}; {hint}")


def _complain(problem: str) -> int:
    print(f"{PROGRAM}: {printable(problem)}", file=sys.stderr)
    return EXIT_FAILED


def _make_parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Multiplayer games on Trio: host them, and try them out.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    version = importlib.metadata.version("pgnet_trio")
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {version}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, summary in SUMMARIES.items():
        command = commands.add_parser(
            name,
            help=summary,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.set_defaults(parser=command)
        # Load only the command that is used.
        if name in arguments:
            importlib.import_module(f"{__name__}.{name}").set_up(command)
    return parser

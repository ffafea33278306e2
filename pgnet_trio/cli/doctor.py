"""``pgnet-trio doctor``: what may keep a server from running well, and what to do about it."""

from __future__ import annotations

import argparse
import errno
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import socket
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs

from pgnet_trio.cli import serve
from pgnet_trio.cli.doctor_cluster import look_at_cluster
from pgnet_trio.cli.doctor_time import look_at_certificate, look_at_clock
from pgnet_trio.cli.finding import Finding, path_of
from pgnet_trio.cli.game_class import load_game_class
from pgnet_trio.cli.passwords import SecretError, find_secret
from pgnet_trio.environment import Environment
from pgnet_trio.errors import PGNetError
from pgnet_trio.foreign_text import printable
from pgnet_trio.game import Game
from pgnet_trio.matchmaking.queue import queues_of
from pgnet_trio.messages import DEFAULT_PORT
from pgnet_trio.recording import Recording
from pgnet_trio.server.limits import Limits
from pgnet_trio.server.memory import free_memory
from pgnet_trio.server.monitor_settings import LEAST_TOKEN, monitor_address
from pgnet_trio.standings.leaderboard import leaderboards_of
from pgnet_trio.storage import key_file_of, read_key
from pgnet_trio.storage.maintenance import check

__all__ = ["Finding", "examine", "run", "set_up"]

EXAMPLES = """\
examples:
  pgnet-trio doctor my_game.py:MyGame --save-file my_game.sqlite --listen-globally

It takes the options of `serve`, and changes nothing; run it as the user of the server, in its
folder. The exit status is 0 unless something is bad.
"""

FOUND_BAD = 1

LEAST_DISK = 200 * 1024 * 1024
"""Bytes that a disk should have left at least, beside room for another copy of the save file."""

BYTES_OF_A_PLAYER = 32 * 1024
"""What a connected player takes, without what the game keeps for them, and some more."""

LEAST_FILES = 1000
"""Entries that the file system should have room for."""

_SECRETS = ("admin_password_file", "monitor_token_file", "monitor_write_token_file")


def set_up(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command, which are those of ``serve``, and what runs it."""
    serve.set_up(parser)
    parser.description = "Look for what may keep a server from running well, and say what to mend."
    parser.epilog = EXAMPLES
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Look at everything.

    Returns:
        0; 1 where something is bad.
    """
    findings = list(examine(vars(options)))
    for finding in findings:
        print(f"{finding.level:<5} {printable(finding.text)}")
    bad = sum(finding.level == "bad" for finding in findings)
    warnings = sum(finding.level == "warn" for finding in findings)
    print(f"{bad} bad, {warnings} to look at, {len(findings) - bad - warnings} fine")
    return FOUND_BAD if bad else 0


def examine(settings: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what was found.

    Args:
        settings: The options of the server, as the command line has read them.
    """
    checks: tuple[Callable[[Mapping[str, Any]], Iterator[Finding]], ...] = (
        _versions,
        _options,
        _game,
        _save_file,
        _key,
        _secrets,
        _recordings,
        _log,
        _disk,
        _limits,
        _memory,
        _ports,
        look_at_certificate,
        look_at_clock,
        look_at_cluster,
    )
    for look in checks:
        try:
            yield from look(settings)
        except PGNetError as error:
            yield Finding("bad", str(error))
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            yield Finding("bad", f"{where}{error.strerror or error}")


def _versions(settings: Mapping[str, Any]) -> Iterator[Finding]:
    version = importlib.metadata.version
    yield Finding(
        "ok",
        f"pgnet_trio {version('pgnet_trio')}, Trio {version('trio')}, "
        f"Python {platform.python_version()}, {platform.system()} {platform.release()}",
    )
    slow = [
        name for name in ("websockets", "cryptography") if importlib.util.find_spec(name) is None
    ]
    if slow:
        yield Finding(
            "warn",
            f"{' and '.join(slow)} would make it faster: pip install 'pgnet_trio[speed]'",
        )
    if settings.get("development") and importlib.util.find_spec("watchfiles") is None:
        yield Finding(
            "warn", "--dev cannot watch the game's file: pip install 'pgnet_trio[reload]'"
        )


def _options(settings: Mapping[str, Any]) -> Iterator[Finding]:
    """Whatever `serve` refuses before it begins."""
    taken = dict(settings)
    secrets = [path for name in _SECRETS if (path := path_of(settings, name)) is not None]
    if not all(path.is_file() for path in secrets):
        return
    # Of the files that secrets are in `_secrets` has more to say.
    with suppress(SecretError):
        serve.use_options(taken)
        if "cluster" in taken:
            # What it needs is installed; nothing is opened before it runs.
            taken["cluster"].open(Environment())
    yield from ()


def _game(settings: Mapping[str, Any]) -> Iterator[Finding]:
    game = load_game_class(settings["game"])
    yield Finding("ok", f"the game {game.__name__} can be imported")
    # A property that says it for each game may stand there instead.
    says: object = game.persistent
    if settings.get("save_file") and says is Game.persistent:
        yield Finding(
            "warn",
            f"games of {game.__name__} are not saved: the class does not say persistent = True",
        )
    path = path_of(settings, "save_file")
    rated = any(queue.rating is True for queue in queues_of(game).values())
    if path is not None and path.suffix.lower() == ".json" and (rated or leaderboards_of(game)):
        yield Finding(
            "bad",
            f"{path} has no place for the results, leaderboards and ratings of {game.__name__}: "
            f"save to an SQLite file, as --save-file {path.with_suffix('.sqlite')}",
        )


def _save_file(settings: Mapping[str, Any]) -> Iterator[Finding]:
    path = path_of(settings, "save_file")
    if path is None:
        if settings.get("listen_globally") and not settings.get("cluster"):
            yield Finding(
                "warn", "there is no --save-file: users, games and the key are gone at the end"
            )
        return
    folder = path.absolute().parent
    if not folder.is_dir():
        yield Finding("bad", f"there is no folder {folder}: mkdir -p {folder}")
        return
    if not os.access(folder, os.W_OK | os.X_OK):
        yield Finding(
            "bad",
            f"{folder} cannot be written by {_user()}, as SQLite needs to: "
            f"chown {_user()} {folder}",
        )
    if not path.exists():
        yield Finding("ok", f"{path} is not there yet; it is made at the first start")
        return
    if not os.access(path, os.R_OK | os.W_OK):
        yield Finding(
            "bad", f"{path} cannot be read and written by {_user()}: chown {_user()} {path}"
        )
        return
    findings = check(path)
    for name in findings.damaged_games:
        yield Finding("bad", f"the save of the game {name!r} in {path} is damaged: restore a copy")
    yield Finding("ok", f"{path} is sound: users {findings.users}, games {findings.games}")
    yield from _private(path, "the users' passwords, as hashes")


def _key(settings: Mapping[str, Any]) -> Iterator[Finding]:
    save_file, path = path_of(settings, "save_file"), path_of(settings, "key_file")
    if path is None:
        if save_file is None:
            return
        path = key_file_of(save_file)
    if not path.exists():
        level = "warn" if save_file is not None and save_file.exists() else "ok"
        more = ", which players will not know: restore it from a backup" if level == "warn" else ""
        yield Finding(level, f"{path} is not there; a new key is made{more}")
        return
    read_key(path)
    yield Finding("ok", f"{path} has the server's key")
    yield from _private(path, "the server's private key")


def _secrets(settings: Mapping[str, Any]) -> Iterator[Finding]:
    for name in _SECRETS:
        path = path_of(settings, name)
        if path is None:
            continue
        option = f"--{name.replace('_', '-')}"
        if path.exists() and not path.is_file():
            # A pipe's secret would be gone, and perhaps nobody writes to it.
            yield Finding("warn", f"{option}: {path} is no ordinary file, and was not read")
            continue
        secret = find_secret(str(path), "", None)
        if secret is not None and len(secret) < LEAST_TOKEN:
            yield Finding(
                "warn", f"{option}: {len(secret)} characters; `openssl rand -hex 24` makes a better"
            )
        yield Finding("ok", f"{option}: {path} can be read")
        yield from _private(path, "a secret")


def _recordings(settings: Mapping[str, Any]) -> Iterator[Finding]:
    folder = path_of(settings, "record")
    if folder is None:
        return
    folder = folder.absolute()
    there = next(each for each in (folder, *folder.parents) if each.exists())
    if not there.is_dir():
        yield Finding("bad", f"--record: {there} is no folder")
    elif not os.access(there, os.W_OK | os.X_OK):
        yield Finding(
            "bad", f"--record: {there} cannot be written by {_user()}: chown {_user()} {there}"
        )
    elif there == folder:
        yield Finding("ok", f"{folder} can take recordings")
        yield from _private(folder, "all that players write", mode=700)
    else:
        yield Finding("ok", f"{folder} is not there yet; it is made at the start")
    most = settings.get("record_total_bytes", attrs.fields(Recording).total_bytes.default)
    free = shutil.disk_usage(there).free
    if free < most:
        yield Finding(
            "warn",
            f"{_mib(free)} are left on the disk of {folder}, and recordings may take {_mib(most)}: "
            "--record-total-bytes",
        )


def _log(settings: Mapping[str, Any]) -> Iterator[Finding]:
    file = path_of(settings, "log_file")
    if file is None:
        return
    there = file if file.exists() else file.absolute().parent
    if not there.exists():
        yield Finding("bad", f"--log-file: there is no folder {there}: mkdir -p {there}")
    elif file.is_dir():
        yield Finding("bad", f"--log-file: expected a file, and {file} is a folder")
    elif not os.access(there, os.W_OK):
        yield Finding(
            "bad", f"--log-file: {there} cannot be written by {_user()}: chown {_user()} {there}"
        )
    else:
        yield Finding("ok", f"--log-file: {file} can be written")


def _disk(settings: Mapping[str, Any]) -> Iterator[Finding]:
    path = path_of(settings, "save_file")
    folder = Path() if path is None else path.absolute().parent
    if not folder.is_dir():
        return
    free = shutil.disk_usage(folder).free
    size = path.stat().st_size if path is not None and path.exists() else 0
    wanted = LEAST_DISK + 2 * size
    level = "bad" if free < 2 * size + LEAST_DISK // 10 else "warn" if free < wanted else "ok"
    more = f"; make room until there are {_mib(wanted)}" if level != "ok" else ""
    yield Finding(level, f"{_mib(free)} are left on the disk of {folder}{more}")
    if hasattr(os, "statvfs"):
        entries = os.statvfs(folder)
        if entries.f_files and entries.f_favail < LEAST_FILES:
            yield Finding(
                "bad", f"the file system of {folder} has room for {entries.f_favail} more files"
            )


def _limits(settings: Mapping[str, Any]) -> Iterator[Finding]:
    if sys.platform == "win32":
        return
    import resource

    limits = _server_limits(settings)
    if limits is None or limits.max_connections is None or limits.max_http_connections is None:
        return
    wanted = limits.max_connections + limits.max_http_connections + serve.OTHER_FILES
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        yield Finding(
            "warn",
            f"the system lets this process open {hard:,} files, and --max-connections may take "
            f"{wanted:,}: LimitNOFILE={wanted} for a service, ulimit -Hn in a shell",
        )
    else:
        yield Finding("ok", f"enough files may be open: {wanted:,}")


def _memory(settings: Mapping[str, Any]) -> Iterator[Finding]:
    left, limits = free_memory(), _server_limits(settings)
    most = None if limits is None else limits.max_connections
    if left is None or most is None:
        return
    wanted = most * BYTES_OF_A_PLAYER
    if left < wanted:
        yield Finding(
            "warn",
            f"{_mib(left)} of memory are left, and {most:,} players may take {_mib(wanted)}: "
            f"--max-connections {left // BYTES_OF_A_PLAYER}",
        )
    else:
        yield Finding("ok", f"{_mib(left)} of memory are left")


def _ports(settings: Mapping[str, Any]) -> Iterator[Finding]:
    host = "0.0.0.0" if settings.get("listen_globally") else "127.0.0.1"
    yield from _port("", host, settings.get("port", DEFAULT_PORT))
    if settings.get("monitor"):
        yield from _port("the monitor: ", *monitor_address(settings["monitor"]))


def _port(whose: str, host: str, port: int) -> Iterator[Finding]:
    if port == 0:
        return
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                yield Finding(
                    "warn", f"{whose}port {port} is in use; fine, if the server runs already"
                )
            elif error.errno == errno.EACCES:
                yield Finding(
                    "bad",
                    f"{whose}port {port} may not be listened on by {_user()}: take one from 1024 "
                    "on, or AmbientCapabilities=CAP_NET_BIND_SERVICE",
                )
            else:
                yield Finding("bad", f"{whose}port {port} on {host}: {error.strerror or error}")
        else:
            yield Finding("ok", f"{whose}port {port} can be listened on")


def _private(path: Path, what: str, *, mode: int = 600) -> Iterator[Finding]:
    if sys.platform != "win32" and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield Finding("warn", f"others may read {path}, which has {what}: chmod {mode} {path}")


def _server_limits(settings: Mapping[str, Any]) -> Limits | None:
    names = attrs.fields_dict(Limits)
    try:
        return Limits(**{name: settings[name] for name in names if name in settings})
    except ValueError:
        # As `_options` says.
        return None


def _user() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else "this user"


def _mib(size: int) -> str:
    return f"{size / 1024 / 1024:,.0f} MiB"

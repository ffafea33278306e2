"""``pgnet-trio serve``: host a game."""

from __future__ import annotations

import argparse
import functools
from typing import Any

import attrs
import trio

from pgnet_trio.cli.arguments import (
    not_negative,
    port,
    positive,
    room_name,
    transport_name,
    whole,
)
from pgnet_trio.cli.cluster_options import CLUSTER_VARIABLE, use_cluster
from pgnet_trio.cli.development import GameFiles, check_development, reload_on_change
from pgnet_trio.cli.game_class import DEFAULT_GAME, load_game_class
from pgnet_trio.cli.hosting import Announcement, host
from pgnet_trio.cli.local_key import keep_local_key
from pgnet_trio.cli.logs import add_log_options, set_up_log, take_log_options
from pgnet_trio.cli.monitor_options import add_monitor_options, use_monitor
from pgnet_trio.cli.passwords import find_secret
from pgnet_trio.cli.process import allow_open_files, rare_full_collections
from pgnet_trio.cli.recording_options import add_recording_options, keep_hashes, use_recording
from pgnet_trio.cli.server_arguments import host_name, origin, site, trusted_proxies
from pgnet_trio.cli.service import Service
from pgnet_trio.cli.supervisor import Supervisor
from pgnet_trio.cli.worker import WorkerProcess
from pgnet_trio.cli.worker_plan import WorkerPlan, make_plan
from pgnet_trio.errors import PGNetError
from pgnet_trio.messages import DEFAULT_PORT
from pgnet_trio.server import Server
from pgnet_trio.server.limits import Limits

__all__ = ["run", "set_up", "use_options"]

OTHER_FILES = 100
"""Open files besides connections: the save file, ports, what the game opens."""

ADMIN_PASSWORD_VARIABLE = "PGNET_ADMIN_PASSWORD"

EXAMPLES = """\
examples:
  pgnet-trio serve my_game.py:MyGame
  pgnet-trio serve my_game.py:MyGame --dev
  pgnet-trio serve my_game.py:MyGame --record recordings
  pgnet-trio serve my_package.games:MyGame --listen-globally --save-file my_game.sqlite
  pgnet-trio serve my_game.py:MyGame --site web
  pgnet-trio serve my_game.py:MyGame --workers 4 --save-file my_game.sqlite
  pgnet-trio serve my_game.py:MyGame --listen-globally --port 443 \\
      --tls-certificate fullchain.pem --tls-key privkey.pem
  pgnet-trio serve --port 0 --admin-password-prompt --no-registration

The first Ctrl-C shuts the server down in good order: players are told, games are saved. The
second one ends it within two seconds, and the third one at once. SIGTERM, and SIGHUP (the terminal
was closed), do the same, but tell players that the server restarts: their clients wait until it is
back. The exit status is the server's exit code; a server that ends with -1 is started again.
"""

_LIMITS: dict[str, tuple[str, str]] = {
    "max_message_size": ("BYTES", "size of one message"),
    "max_login_message_size": ("BYTES", "size of one message before log-in"),
    "login_timeout": ("SECONDS", "for the handshake and the log-in together"),
    "ping_interval": ("SECONDS", "of silence until a client is asked for a sign of life"),
    "keepalive_timeout": ("SECONDS", "of silence until a client is dropped"),
    "max_connections": ("NUMBER", "of connections at the same time"),
    "max_connections_per_address": ("NUMBER", "of connections from one address"),
    "max_logins_per_address": ("NUMBER", "of these, how many that are not logged in yet"),
    "max_http_connections": ("NUMBER", "of connections that ask for pages"),
    "max_http_connections_per_address": ("NUMBER", "of these, how many from one address"),
    "http_keepalive_timeout": ("SECONDS", "until such a connection that asks no more is closed"),
    "failed_logins_per_account": ("NUMBER", "of failed log-ins a minute to one account"),
    "failed_logins_per_address": ("NUMBER", "of failed log-ins a minute from one address"),
    "registrations_per_address": ("NUMBER", "of new users an hour from one address"),
    "requests_per_second": ("NUMBER", "of requests of one user; more have to wait"),
    "max_requests_in_flight": ("NUMBER", "of unanswered requests of one user"),
    "max_bytes_in_flight": ("BYTES", "of unanswered requests of one user"),
    "max_unacknowledged_messages": ("NUMBER", "of messages to one user that wait to arrive"),
    "max_unacknowledged_bytes": ("BYTES", "of messages to one user that wait to arrive"),
    "max_games": ("NUMBER", "of games at the same time"),
    "max_games_per_user": ("NUMBER", "of these, how many that one user has created"),
    "max_options_size": ("BYTES", "of the options that a game is created with"),
    "empty_games_expire_after": ("SECONDS", "after which a saved game that is empty is ended"),
}


def set_up(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command, and the function that runs it."""
    parser.description = "Host a game, until Ctrl-C or until the admin shuts it down."
    parser.epilog = EXAMPLES
    # All options would hide what is wrong with one of them.
    parser.usage = "%(prog)s [OPTIONS] [MODULE:CLASS]"
    parser.set_defaults(run=run)
    parser.add_argument(
        "game",
        nargs="?",
        default=DEFAULT_GAME,
        metavar="MODULE:CLASS",
        help="the game class, or path/to/file.py:CLASS (default: %(default)s)",
    )
    # Pass on only the options that are given, so that the server's own defaults hold.
    option = parser.add_argument_group("hosting", argument_default=argparse.SUPPRESS).add_argument
    option(
        "--listen-globally",
        action="store_true",
        help="listen on all addresses of this machine, not only on localhost",
    )
    option("--port", type=port, help=f"0 takes any that is free (default: {DEFAULT_PORT})")
    option(
        "--save-file",
        metavar="FILE",
        help="where users and games are kept: JSON if it ends in .json, else SQLite",
    )
    option(
        "--key-file",
        metavar="FILE",
        help="where the server's private key lies (default: the save file with .key at its end; "
        "with neither, and on localhost only, the game's file with .key at its end)",
    )
    option(
        "--autosave-interval",
        type=positive,
        metavar="SECONDS",
        help="from one save of the games to the next (default: 10)",
    )
    option(
        "--no-registration",
        dest="registration_enabled",
        action="store_false",
        help="let nobody register without an invite code; a saved switch goes before this",
    )
    option("--require-user-password", action="store_true", help="register nobody without one")
    option(
        "--resume-grace",
        type=not_negative,
        metavar="SECONDS",
        help="for which a player whose connection dropped keeps their place (default: 30)",
    )
    option(
        "--duplicate-login",
        choices=["take_over", "refuse"],
        help="what a log-in does whose user is connected already (default: take_over)",
    )
    option(
        "--minimum-protocol",
        type=int,
        choices=[1, 2],
        help="2 refuses clients of PGNet, whose protocol has no forward secrecy (default: 1; with "
        "--cluster and --workers 2)",
    )
    option(
        "--trusted-proxies",
        type=trusted_proxies,
        metavar="ADDRESSES",
        help="proxies in front of this server, such as 127.0.0.1,::1 or 10.0.0.0/8: what they say "
        "in X-Forwarded-For is believed",
    )
    option(
        "--proxy-protocol",
        action="store_true",
        help="the trusted proxies begin each connection with the PROXY protocol, version 1 or 2",
    )
    option(
        "--tls-certificate",
        metavar="FILE",
        help="a certificate in PEM: speak TLS, to programs (wss://) and to browsers (https://); a "
        "renewed file holds for new connections",
    )
    option(
        "--tls-key",
        metavar="FILE",
        help="the certificate's private key in PEM (default: in the certificate's file)",
    )
    option(
        "--site",
        type=site,
        metavar="FOLDER",
        help="pages that browsers are shown on the same port; index.html is the first",
    )
    option(
        "--allowed-origin",
        dest="allowed_origins",
        action="append",
        type=origin,
        metavar="ORIGIN",
        help="whose pages may speak to this server beside its own, such as https://example.org; "
        "'*' for all, 'null' for pages that are files; may be given several times",
    )
    option(
        "--allowed-host",
        dest="allowed_hosts",
        action="append",
        type=host_name,
        metavar="HOST",
        help="a name by which browsers may ask for this server, beside its addresses, localhost "
        "and the machine's own name; may be given several times",
    )
    option(
        "--watchdog",
        type=_limit,
        metavar="SECONDS",
        help="after which a game that holds up all others is named in the log, or 'none' "
        "(default: 0.25)",
    )
    option(
        "--watchdog-exit",
        type=_limit,
        metavar="SECONDS",
        help="after which such a game ends the process, with status 70, or 1 where it keeps all "
        "of Python from running; or 'none' (default: none)",
    )
    option(
        "--cluster",
        nargs="?",
        const="",
        metavar="URL",
        help="make this server one of several that look like one: what they share, as "
        "postgresql://user@host/database or a save file; without URL, what is in the environment "
        f"variable {CLUSTER_VARIABLE}. All need the same --key-file",
    )
    option(
        "--node-address",
        metavar="ADDRESS",
        help="where clients find this server of the cluster: host:port, wss://host/path, or /path; "
        "with --worker-ports, host is enough",
    )
    option("--node-name", metavar="NAME", help="what it is called (default: its address)")
    option(
        "--drain-wait",
        type=not_negative,
        metavar="SECONDS",
        help="in which games that are not saved may come to their end when it gives its games to "
        "the others (default: 0)",
    )
    option(
        "--room",
        dest="rooms",
        action="append",
        type=room_name,
        metavar="NAME",
        help="a game that the server makes itself, which stays when nobody is in it; may be given "
        "several times",
    )
    option(
        "--no-creating",
        dest="players_create",
        action="store_false",
        help="let players create no games: there are those that are saved, and --room",
    )
    add_monitor_options(option)
    add_recording_options(option)
    option(
        "--dev",
        dest="development",
        action="store_true",
        help="development mode: show what the game raises to the client that caused it, and load "
        "the game's files again when they change; not together with --listen-globally",
    )
    option("--transport", type=transport_name, metavar="NAME", help="trio-websocket or websockets")
    parser.add_argument(
        "--workers",
        type=whole,
        metavar="NUMBER",
        help="use as many processes, to use as many cores: players see one server, on one port; "
        "needs --save-file with a file of SQLite, or --cluster",
    )
    option(
        "--worker-ports",
        action="store_true",
        help="give each of these processes a port of its own, from --port on: for TLS, and where "
        "processes cannot pass connections to each other",
    )
    # For the processes that this starts: the open file by which they hear from this one.
    parser.add_argument("--worker", type=whole, help=argparse.SUPPRESS)
    add_log_options(parser)
    admin = parser.add_argument_group(
        "password of the user admin",
        f"Without one nobody logs in as admin. It may also be in ${ADMIN_PASSWORD_VARIABLE}.",
    ).add_mutually_exclusive_group()
    admin.add_argument("--admin-password-file", metavar="FILE", help="it is the file's first line")
    admin.add_argument("--admin-password-prompt", action="store_true", help="ask for it")
    limit = parser.add_argument_group(
        "limits", "'none' switches one off.", argument_default=argparse.SUPPRESS
    ).add_argument
    for field in attrs.fields(Limits):
        unit, text = _LIMITS[field.name]
        is_whole = isinstance(field.default, int)
        # Not :g alone: it shows six digits only.
        default = f"{field.default:.12g}"
        limit(
            f"--{field.name.replace('_', '-')}",
            type=_whole_limit if is_whole else _limit,
            metavar=unit,
            help=f"{text} (default: {default})",
        )


def use_options(
    settings: dict[str, Any], worker: WorkerProcess | None = None
) -> tuple[Limits, WorkerPlan | None]:
    """Check the options, and put what a `Server` takes in the place of what was written.

    Args:
        settings: The options that were given; changed.
        worker: This process as one of several; None where it is none, or starts them.

    Returns:
        The limits, and what to start; None for a server in one process.

    Raises:
        PGNetError: Something is missing, or does not go together; the message says what.
    """
    try:
        limits = Limits(**{name: settings[name] for name in _LIMITS if name in settings})
    except ValueError as error:
        # Each limit is right by itself, but they do not fit each other.
        raise PGNetError(str(error)) from error
    if settings.get("tls_key") and not settings.get("tls_certificate"):
        raise PGNetError("--tls-key needs the certificate that it belongs to: --tls-certificate")
    if settings.get("proxy_protocol") and not settings.get("trusted_proxies"):
        raise PGNetError("--proxy-protocol needs the proxies' addresses: --trusted-proxies")
    use_recording(settings)
    if settings.get("development"):
        check_development(settings)
    count = settings.pop("workers", None)
    plan = None if count is None else make_plan(count, settings)
    if plan is None and settings.get("worker_ports"):
        raise PGNetError("--worker-ports is for --workers")
    use_cluster(settings, plan, worker)
    use_monitor(settings, None if worker is None else worker.orders.number)
    return limits, plan


@rare_full_collections()
def run(options: argparse.Namespace) -> int:
    """Host the game until the server ends.

    Returns:
        The server's exit code; or, where a second signal ended it, what shells report for that.

    Raises:
        PGNetError: The game, a file or the port cannot be used; the message says which and why.
    """
    settings = vars(options).copy()
    del settings["run"]
    log = take_log_options(settings)
    file, asks = settings.pop("admin_password_file"), settings.pop("admin_password_prompt")
    if settings.get("record"):
        keep_hashes(settings["arguments"])
    descriptor = settings.pop("worker")
    worker = None if descriptor is None else WorkerProcess.open(descriptor)
    limits, plan = use_options(settings, worker)
    most = limits.max_connections
    pages = limits.max_http_connections
    allow_open_files(None if most is None or pages is None else most + pages + OTHER_FILES)
    arguments = settings.pop("arguments")
    if worker is not None:
        settings["admin_password"] = worker.orders.admin_password
    else:
        settings["admin_password"] = find_secret(
            file, ADMIN_PASSWORD_VARIABLE, "Password for admin: " if asks else None
        )
    if settings["admin_password"] == "":
        raise PGNetError("expected a password for admin, got an empty one")
    globally = settings.get("listen_globally", False)
    scheme = None
    if "site" in settings:
        scheme = "https" if settings.get("tls_certificate") else "http"
    service = Service.from_environment()
    if plan is not None and worker is None:
        supervisor = Supervisor(arguments, plan, settings["admin_password"], service)
        return trio.run(
            functools.partial(
                supervisor.run, settings.get("port", DEFAULT_PORT), globally=globally, scheme=scheme
            )
        )
    name = settings.pop("game")
    files = GameFiles(name) if settings.get("development") else None
    game = load_game_class(name)
    set_up_log(**log, worker=None if worker is None else worker.orders.number)
    if worker is not None:
        make_server = functools.partial(Server, game, **settings)
        return worker.run(make_server)
    if not globally and not settings.keys() & {"save_file", "key_file"}:
        settings["key_file"] = keep_local_key(name)
    make_server, beside = functools.partial(Server, game, **settings), None
    if files is not None:
        make_server = functools.partial(_make_newest, files, settings)
        beside = functools.partial(reload_on_change, files)
    announce = functools.partial(Announcement, globally=globally, scheme=scheme, service=service)
    return trio.run(host, make_server, announce, None, beside, service)


def _make_newest(files: GameFiles, settings: dict[str, Any], **more: Any) -> Server:
    """Make a server of the game's class as it was loaded last: it may be another one by now."""
    return Server(files.game, **settings, **more)


def _limit(text: str) -> float | None:
    return None if text.lower() == "none" else positive(text)


def _whole_limit(text: str) -> int | None:
    if text.lower() == "none":
        return None
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected a whole number over 0, or none; got {text!r}")

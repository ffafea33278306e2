"""Who imports whom within `pgnet_trio.server`: every import runs down, for type checkers too."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.package.test_layers import Import, all_imports, build, our_imports, report

# From the bottom up. A module imports only from those before its own; `room` is one of them
# here, and has an order of its own within.
SERVER_LAYERS = (
    # The ground floor: numbers, rules and records.
    "causes",
    "refusals",
    "limits",
    "counters",
    "sources",
    "admission",
    "attempts",
    "tokens",
    "account_refusals",
    "accounts",
    "account_service",
    "hash_queue",
    "memory",
    "password_checks",
    "shutdown",
    "proxies",
    "certificate",
    # Who may do what, and who is banned.
    "roles",
    "bans",
    # The processes of one machine that look like one server.
    "workers.passed",
    "workers.passing",
    # Requests that are no WebSockets: the rules first, and then the task.
    "http.answers",
    "http.head",
    "http.opening",
    "http.origins",
    "http.files",
    "http.router",
    "http.pages",
    # What the servers of a cluster share: the interface, then the three engines but that in memory,
    # which is a part of the test kit.
    "cluster.errors",
    "cluster.records",
    "cluster.rules",
    "cluster.versions",
    "cluster.standing_records",
    "cluster.standing_tables",
    "cluster.moderation_records",
    "cluster.moderation_tables",
    "cluster.community_tables",
    "cluster.calls",
    "cluster.standings",
    "cluster.moderation",
    "cluster.community",
    "cluster.tables",
    "cluster.wakeups",
    "cluster.base",
    "cluster.engine",
    "cluster.owner",
    "cluster.notes",
    "cluster.node",
    "cluster.account_tables",
    "cluster.memory_standings",
    "cluster.memory_moderation",
    "cluster.memory_community",
    "cluster.memory_engine",
    "cluster.missing_engine",
    "cluster.memory_accounts",
    "cluster.memory_nodes",
    "cluster.memory_tables",
    "cluster.sql",
    "cluster.sql_standings",
    "cluster.sql_moderation",
    "cluster.sql_community",
    "cluster.sql_nodes",
    "cluster.sql_rooms",
    "cluster.sql_accounts",
    "cluster.sql_tables",
    "cluster.threads",
    "cluster.sqlite_engine",
    "cluster.postgres_engine",
    "cluster.digests",
    "cluster.shared_attempts",
    "cluster.shared_accounts",
    "cluster.opening",
    "cluster.cluster",
    "monitor_settings",
    "monitor.access",
    "options",
    "watchdog",
    "log_fields",
    # One game, and then all of them; `stats` shows them too.
    "room",
    "recording.segments",
    "recording.writer",
    "recording.beginning",
    "recording.tape",
    "recording.room",
    "stats",
    "games.lobby",
    "games.archive",
    "local_accounts",
    "community",
    "games.failures",
    "games.reservations",
    "games.results",
    "games.save_format",
    "games.saves",
    "games.claims",
    "games.codes",
    "games.opening",
    "games.quotas",
    "games.unended",
    "games.registry",
    "games.reloading",
    "games.claiming",
    # The games of a server that is one of several.
    "node.shares",
    "node.games",
    # One user, and then all of them.
    "sessions.handle",
    "sessions.needs",
    "sessions.sender",
    "sessions.mistakes",
    "sessions.budget",
    "sessions.packed",
    "sessions.announcements",
    "sessions.absence",
    "sessions.attachment",
    "sessions.own_requests",
    "sessions.search",
    "sessions.hold",
    "sessions.session",
    "sessions.registry",
    "node.users",
    "node.watch",
    "node.member",
    "node.link",
    "node.crowd",
    # Those who look for a game.
    "matchmaking.wishes",
    "matchmaking.searches",
    "matchmaking.homes",
    "matchmaking.tables",
    "matchmaking.matchmaker",
    "moderation.resets",
    "moderation.audit",
    "moderation.keeper",
    # What they share, and those who use it.
    "context",
    "making",
    "directory",
    "user_notes",
    "users",
    "request_table",
    "banning",
    "moderator_requests",
    "admin_requests",
    "account_requests",
    "standing_requests",
    "queue_requests",
    "invitation_requests",
    "guesses",
    "requests",
    "moving_session",
    "moving",
    "clustering",
    "draining",
    "connections.listeners",
    "connections.place",
    "connections.gate",
    "connections.entering",
    "connections.authentication",
    "connections.events",
    "connections.short_way",
    "connections.reader",
    "connections.login",
    "connections.serving",
    "bots",
    # Those who look at the server: the last to know all of it, and nobody below knows them.
    "monitor.rows",
    "monitor.describing",
    "monitor.servers",
    "monitor.history",
    "monitor.log_ring",
    "monitor.tasks",
    "monitor.live",
    "monitor.events",
    "monitor.forms",
    "monitor.playground",
    "monitor.actions",
    "monitor.pages",
    "monitor.instruments",
    "monitor.metrics",
    "monitor.app",
    "monitor.listener",
    "preparation",
    "run",
    "administration",
    "server",
)

# All that others see of a room. A session does not know its class.
ROOM_FACE = {"player", "owner", "room", "stats", "frozen", "kept", "outcome"}
FACE_FOR_SESSIONS = {"player"}

PREFIX = "pgnet_trio.server."


def place_of(module: str) -> str:
    """Where a module stands in `SERVER_LAYERS`; all of `room` is one place."""
    name = module.removeprefix(PREFIX)
    return "room" if name == "room" or name.startswith("room.") else name


def is_package(place: str) -> bool:
    """Whether this is the `__init__` of a folder, which holds nothing."""
    return any(layer.startswith(f"{place}.") for layer in SERVER_LAYERS)


def imports_that_run_up(imports: dict[str, list[Import]]) -> list[str]:
    rank = {layer: number for number, layer in enumerate(SERVER_LAYERS)}
    wrong = []
    for module, its_imports in imports.items():
        if not module.startswith(PREFIX) or is_package(place_of(module)):
            continue
        own = place_of(module)
        if own not in rank:
            wrong.append(f"{module} has no place: give {own!r} one in SERVER_LAYERS")
            continue
        for found in its_imports:
            if found.target == "pgnet_trio.server":
                wrong.append(f"{found}, which is above all of its modules")
            if not found.target.startswith(PREFIX):
                continue
            other = place_of(found.target)
            if other not in rank:
                wrong.append(f"{found}, which has no place")
            elif rank[other] > rank[own]:
                wrong.append(f"{found}: {other!r} comes after {own!r}")
            elif other == "room" and own != "room":
                face = FACE_FOR_SESSIONS if own.startswith("sessions.") else ROOM_FACE
                if found.target.removeprefix(f"{PREFIX}room.") not in face:
                    wrong.append(f"{found}: {own!r} sees only {sorted(face)} of a room")
    return wrong


def test_no_import_runs_up_within_the_server() -> None:
    problems = imports_that_run_up(our_imports())
    assert not problems, report(problems)


def test_every_place_is_that_of_a_module() -> None:
    # A module that was renamed would otherwise slip out of the order unnoticed.
    places = {place_of(module) for module in our_imports() if module.startswith(PREFIX)}
    assert set(SERVER_LAYERS) <= places, f"not there: {sorted(set(SERVER_LAYERS) - places)}"


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("context.py", "import pgnet_trio.server.run", "'run' comes after 'context'"),
        (
            "games/saves.py",
            "from pgnet_trio.server.games import registry",
            "'games.registry' comes",
        ),
        (
            "accounts.py",
            "if TYPE_CHECKING:\n    from pgnet_trio.server.context import ServerContext",
            "'context' comes after 'accounts'",
        ),
        ("limits.py", "def f():\n    import pgnet_trio.server.bots", "'bots' comes after"),
        ("room/queue.py", "import pgnet_trio.server.games.lobby", "comes after 'room'"),
        ("sessions/session.py", "import pgnet_trio.server.room.room", "sees only ['player']"),
        ("games/registry.py", "import pgnet_trio.server.room.queue", "sees only"),
        ("bots.py", "from pgnet_trio.server import Server", "above all of its modules"),
        ("extra.py", "", "pgnet_trio.server.extra has no place"),
        ("run.py", "import pgnet_trio.server.extra", "pgnet_trio.server.extra, which has no place"),
    ],
)
def test_an_import_that_runs_up_is_found(
    tmp_path: Path, name: str, text: str, complaint: str
) -> None:
    files = {
        f"server/{layer.replace('.', '/')}.py": "" for layer in SERVER_LAYERS if layer != "room"
    }
    files |= {"server/__init__.py": "", "server/room/room.py": "", "server/room/queue.py": ""}
    files |= {"server/games/__init__.py": "", f"server/{name}": text}
    (problem,) = imports_that_run_up(all_imports(build(tmp_path, files)))
    assert complaint in problem


def test_an_order_that_is_kept_is_accepted(tmp_path: Path) -> None:
    files = {
        "server/__init__.py": "from pgnet_trio.server.server import Server",
        "server/room/__init__.py": "",
        "server/room/queue.py": "import pgnet_trio.server.refusals, pgnet_trio.server.room.player",
        "server/room/player.py": "import pgnet_trio.messages",
        "server/sessions/session.py": "from pgnet_trio.server.room.player import Player",
        "server/refusals.py": "",
        "server/server.py": "import pgnet_trio.server.sessions.session",
    }
    assert imports_that_run_up(all_imports(build(tmp_path, files))) == []

"""Who imports whom: the layers of the package, read from its source."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import attrs
import pytest

PACKAGE = Path(__file__).parent.parent.parent / "pgnet_trio"

# A module imports only from its own layer and from those before it.
LAYERS = (
    # JavaScript, and what builds it: nothing of ours imports it, and it imports nothing of ours.
    "web",
    "errors",
    "reason_codes",
    "foreign_text",
    "author_classes",
    "author_lines",
    "codec",
    "messages",
    "typed",
    "crypto",
    "netcode",
    "protocol",
    "patch",
    "transport",
    "timers",
    "recording",
    "connection",
    "environment",
    "matchmaking",
    "standings",
    "game",
    "storage",
    "server",
    "asgi",
    "client",
    "bot",
    "testing",
    "replay",
    "terminal",
    "lines",
    "console",
    "examples",
    "devclient",
    "cli",
    "__main__",
)

# These never import one another, whatever their order.
STRANGERS = {"server", "client"}

# What may reach past the rules: (module, layer it imports, what it must be), and why.
EXCEPTIONS = {
    # A local client carries its own server, and a remote one must not load it.
    ("pgnet_trio.client.client", "server", "late"),
}

# These never import trio, nor a module of ours that does.
PURE_LAYERS = {
    "errors",
    "reason_codes",
    "foreign_text",
    "author_classes",
    "codec",
    "messages",
    "typed",
    "crypto",
    "protocol",
    "patch",
    "netcode",
    "matchmaking",
    "standings",
    "recording",
}
PURE_MODULES = {
    "pgnet_trio.client.address",
    "pgnet_trio.client.backoff",
    "pgnet_trio.client.route",
    "pgnet_trio.storage.interface",
    "pgnet_trio.server.games.lobby",
    "pgnet_trio.server.cluster.digests",
    "pgnet_trio.server.cluster.memory_tables",
    "pgnet_trio.server.cluster.notes",
    "pgnet_trio.server.cluster.rules",
    "pgnet_trio.server.cluster.sql_tables",
    "pgnet_trio.server.cluster.tables",
    "pgnet_trio.server.account_refusals",
    "pgnet_trio.server.accounts",
    "pgnet_trio.server.admission",
    "pgnet_trio.server.attempts",
    "pgnet_trio.server.sources",
    "pgnet_trio.server.hash_queue",
    "pgnet_trio.server.http.answers",
    "pgnet_trio.server.http.files",
    "pgnet_trio.server.http.head",
    "pgnet_trio.server.http.opening",
    "pgnet_trio.server.http.origins",
    "pgnet_trio.server.http.router",
    "pgnet_trio.server.limits",
    "pgnet_trio.server.monitor.access",
    "pgnet_trio.server.monitor_settings",
    "pgnet_trio.server.proxies",
    "pgnet_trio.server.tokens",
    "pgnet_trio.server.workers.passed",
    "pgnet_trio.transport.proxy_protocol",
    "pgnet_trio.transport.upgrade",
}

# The only layers that may touch a private name of a dependency: Trio's scheduler has no public
# seed, and a simulation needs one.
PRIVATE_NAMES_ALLOWED = {"testing"}

# Names that only look private: Python's manual says what they do.
DOCUMENTED_NAMES = {"os._exit", "sys._current_frames", "sys._getframe"}


@attrs.frozen
class Import:
    """One import statement of one of our modules.

    Attributes:
        target: The module that is imported, as exactly as the source says.
        kind: "top" when it runs with the module, "late" in a function, "type" when it is only
            for type checkers.
    """

    module: str
    line: int
    target: str
    kind: str

    def __str__(self) -> str:
        return f"{self.module}, line {self.line}, imports {self.target}"


def module_name(path: Path, package: Path) -> str:
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer_of(module: str) -> str:
    """The layer of one of our modules; empty for the package itself, which is above all."""
    return module.partition(".")[2].partition(".")[0]


def is_ours(module: str) -> bool:
    return module == "pgnet_trio" or module.startswith("pgnet_trio.")


def sources(package: Path) -> dict[str, ast.Module]:
    return {
        module_name(path, package): ast.parse(path.read_text("utf-8"), str(path))
        for path in sorted(package.rglob("*.py"))
    }


def last_name(node: ast.expr) -> str:
    """The name, or the last one behind dots; empty for what is none."""
    match node:
        case ast.Name(name) | ast.Attribute(attr=name):
            return name
    return ""


def imports_of(module: str, tree: ast.Module, modules: set[str]) -> Iterator[Import]:
    def walk(node: ast.AST, kind: str) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, node.lineno, alias.name, kind)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}, line {node.lineno}: imports are absolute"
            assert node.module is not None
            for alias in node.names:
                # `from pgnet_trio import codec` imports a module, not a name.
                inner = f"{node.module}.{alias.name}"
                yield Import(module, node.lineno, inner if inner in modules else node.module, kind)
        elif isinstance(node, ast.If) and last_name(node.test) == "TYPE_CHECKING":
            for statement in node.body:
                yield from walk(statement, "type")
            for statement in node.orelse:
                yield from walk(statement, kind)
        else:
            inside = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            for child in ast.iter_child_nodes(node):
                yield from walk(child, "late" if inside and kind == "top" else kind)

    yield from walk(tree, "top")


def all_imports(package: Path) -> dict[str, list[Import]]:
    trees = sources(package)
    modules = set(trees)
    # One statement may import several names of one module.
    return {
        module: list(dict.fromkeys(imports_of(module, tree, modules)))
        for module, tree in trees.items()
    }


@cache
def our_imports() -> dict[str, list[Import]]:
    """Those of the package itself, read once for all tests."""
    return all_imports(PACKAGE)


def broken_order(imports: dict[str, list[Import]]) -> list[str]:
    rank = {layer: number for number, layer in enumerate(LAYERS)}
    wrong = []
    for module, its_imports in imports.items():
        own = layer_of(module)
        if own == "":
            continue
        if own not in rank:
            wrong.append(f"{module} is in no layer: give {own!r} a place in LAYERS")
            continue
        for found in its_imports:
            if not is_ours(found.target):
                continue
            other = layer_of(found.target)
            if (module, other, found.kind) in EXCEPTIONS:
                continue
            if other == "":
                wrong.append(f"{found}: the package itself is above all of its modules")
            elif other not in rank:
                wrong.append(f"{found}, which is in no layer")
            elif rank[other] > rank[own]:
                wrong.append(f"{found}: {other!r} comes after {own!r}")
            elif {own, other} == STRANGERS:
                wrong.append(f"{found}: {own!r} and {other!r} never import each other")
    return wrong


def impure_imports(imports: dict[str, list[Import]]) -> list[str]:
    """Every way from a pure module to trio, through our own modules."""

    def routes(module: str, seen: set[str]) -> Iterator[list[Import]]:
        for found in imports.get(module, ()):
            if found.target.partition(".")[0] in {"trio", "trio_websocket"}:
                yield [found]
            elif is_ours(found.target) and found.kind != "type" and found.target not in seen:
                seen.add(found.target)
                for route in routes(found.target, seen):
                    yield [found, *route]

    return [
        f"{module} is pure, but: " + "; ".join(map(str, route))
        for module in imports
        if layer_of(module) in PURE_LAYERS or module in PURE_MODULES
        for route in routes(module, {module})
    ]


def packages_of(module: str) -> set[str]:
    """The packages that a module lies in; importing the module runs all of them first."""
    parts = module.split(".")
    return {".".join(parts[:count]) for count in range(1, len(parts))}


def import_graph(imports: dict[str, list[Import]]) -> dict[str, set[str]]:
    """The modules that each module needs, those for type checkers included.

    A module that reaches into another package runs that package too. It does not need the
    packages around itself: those import their parts, and not the other way round.
    """
    graph: dict[str, set[str]] = {}
    for module, its_imports in imports.items():
        needed = set()
        for found in its_imports:
            needed |= {found.target} | (packages_of(found.target) - packages_of(module))
        graph[module] = (needed & set(imports)) - {module}
    return graph


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """The strongly connected components of more than one node, by Tarjan's algorithm."""
    numbers: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []
    found: list[set[str]] = []

    def visit(node: str) -> None:
        numbers[node] = lowest[node] = len(numbers)
        path.append(node)
        for other in sorted(graph[node]):
            if other not in numbers:
                visit(other)
                lowest[node] = min(lowest[node], lowest[other])
            elif other in path:
                lowest[node] = min(lowest[node], numbers[other])
        if lowest[node] == numbers[node]:
            component = set(path[path.index(node) :])
            del path[path.index(node) :]
            if len(component) > 1:
                found.append(component)

    for node in sorted(graph):
        if node not in numbers:
            visit(node)
    return found


def circular_imports(imports: dict[str, list[Import]]) -> list[str]:
    """Every circle of modules, with the imports that close it."""
    return [
        f"{' and '.join(sorted(circle))} import each other:\n    "
        + "\n    ".join(
            str(found)
            for module in sorted(circle)
            for found in imports[module]
            if ({found.target} | (packages_of(found.target) - packages_of(module))) & circle
        )
        for circle in circles(import_graph(imports))
    ]


def circular_folders(imports: dict[str, list[Import]]) -> list[str]:
    """Every circle of folders and files that stand side by side, whichever of their modules."""
    wrong = []
    for package in sorted({around for module in imports for around in packages_of(module)}):
        depth = package.count(".") + 1
        graph: dict[str, set[str]] = {}
        closing: dict[tuple[str, str], list[Import]] = {}
        for module, its_imports in imports.items():
            if package not in packages_of(module):
                continue
            own = module.split(".")[depth]
            graph.setdefault(own, set())
            for found in its_imports:
                if package in packages_of(found.target) and found.target in imports:
                    other = found.target.split(".")[depth]
                    if other != own:
                        graph[own].add(other)
                        closing.setdefault((own, other), []).append(found)
        wrong += [
            f"in {package}, {' and '.join(sorted(circle))} import each other:\n    "
            + "\n    ".join(
                str(found)
                for (own, other), imports_between in sorted(closing.items())
                if own in circle and other in circle
                for found in imports_between
            )
            for circle in circles(graph)
        ]
    return wrong


def private_names(trees: dict[str, ast.Module]) -> list[str]:
    """Private modules and attributes of dependencies, as far as the source shows them."""

    def is_private(name: str) -> bool:
        return name.startswith("_") and not (name.startswith("__") and name.endswith("__"))

    wrong = []
    for module, tree in trees.items():
        if layer_of(module) in PRIVATE_NAMES_ALLOWED:
            continue
        foreign = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                imported = [alias.name for alias in node.names]
                foreign |= {
                    (alias.asname or alias.name.partition(".")[0])
                    for alias in node.names
                    if not is_ours(alias.name)
                }
            elif isinstance(node, ast.ImportFrom) and node.module != "__future__":
                assert node.module is not None
                if is_ours(node.module):
                    continue
                imported = [f"{node.module}.{alias.name}" for alias in node.names]
                foreign |= {alias.asname or alias.name for alias in node.names}
            else:
                continue
            wrong += [
                f"{module}, line {node.lineno}, imports {name}"
                for name in imported
                if any(map(is_private, name.split(".")))
            ]
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and is_private(node.attr):
                root = node.value
                while isinstance(root, ast.Attribute):
                    root = root.value
                if isinstance(root, ast.Name) and root.id in foreign:
                    name = ast.unparse(node)
                    if name not in DOCUMENTED_NAMES:
                        wrong.append(f"{module}, line {node.lineno}, uses {name}")
    return wrong


def report(problems: list[str]) -> str:
    return "\n  ".join(["", *problems])


def test_a_module_imports_only_from_layers_before_its_own() -> None:
    problems = broken_order(our_imports())
    assert not problems, report(problems)


def test_pure_modules_never_reach_trio() -> None:
    problems = impure_imports(our_imports())
    assert not problems, report(problems)


def test_no_modules_import_each_other_in_a_circle() -> None:
    problems = circular_imports(our_imports())
    assert not problems, report(problems)


def test_no_folders_import_each_other_in_a_circle() -> None:
    problems = circular_folders(our_imports())
    assert not problems, report(problems)


def test_no_private_name_of_a_dependency_is_used() -> None:
    problems = private_names(sources(PACKAGE))
    assert not problems, report(problems)


def test_the_names_in_the_rules_exist() -> None:
    # A module that was renamed would otherwise slip out of the rules unnoticed.
    modules = set(our_imports())
    named = PURE_MODULES | {module for module, _, _ in EXCEPTIONS}
    assert named <= modules, f"not there: {sorted(named - modules)}"


def imports_by_computed_name(trees: dict[str, ast.Module]) -> list[str]:
    """Every call that imports a module whose name the source does not say."""
    return [
        f"{module}, line {node.lineno}"
        for module, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and last_name(node.func) in {"import_module", "__import__"}
        and not isinstance(node.args[0], ast.Constant)
    ]


def test_what_a_players_program_needs_is_found_by_those_who_bundle_it() -> None:
    # PyInstaller and others read the source. The command line may look for an author's module.
    found = imports_by_computed_name(sources(PACKAGE))
    assert [each for each in found if not each.startswith("pgnet_trio.cli")] == []


def test_an_import_that_bundlers_cannot_find_is_found(tmp_path: Path) -> None:
    text = 'import importlib\nimportlib.import_module("a")\nimportlib.import_module("a" + name)'
    trees = sources(build(tmp_path, {"client/x.py": text}))
    assert imports_by_computed_name(trees) == ["pgnet_trio.client.x, line 3"]


def test_importing_the_package_leaves_optional_and_heavy_packages_alone() -> None:
    # Whoever hosts a game over memory needs no WebSocket library, and a client no database.
    heavy = {
        "asyncio",
        "h11",
        "prompt_toolkit",
        "psycopg",
        "pytest",
        "rich",
        "sqlite3",
        "trio_websocket",
        "websockets",
        "wsproto",
    }
    program = "import json, sys, pgnet_trio; print(json.dumps(sorted(sys.modules)))"
    # Measuring coverage imports packages of its own into the new process.
    environment = {name: value for name, value in os.environ.items() if "COVERAGE" not in name}
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=PACKAGE.parent,
        env=environment,
        stdout=subprocess.PIPE,
        timeout=60,
        check=True,
    )
    modules = json.loads(run.stdout)
    loaded = {name.partition(".")[0] for name in modules}
    assert "trio" in loaded
    assert not loaded & heavy
    # Nor does a player's program wait for the larger half of the package.
    assert "pgnet_trio.client.client" in modules
    assert "pgnet_trio.server" not in modules


# The rules themselves, tried on small packages that break them.


def build(folder: Path, files: dict[str, str]) -> Path:
    package = folder / "pgnet_trio"
    for name, text in {"__init__.py": "", **files}.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return package


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("codec.py", "import pgnet_trio.messages", "line 1, imports pgnet_trio.messages"),
        ("codec.py", "\nfrom pgnet_trio import messages", "line 2, imports pgnet_trio.messages"),
        ("codec.py", "from pgnet_trio import Packet", "the package itself"),
        ("codec.py", "def f():\n    import pgnet_trio.cli", "'cli' comes after 'codec'"),
        ("codec.py", "if TYPE_CHECKING:\n    import pgnet_trio.cli", "'cli' comes after"),
        ("client/x.py", "from pgnet_trio.server import Server", "never import each other"),
        ("client/client.py", "import pgnet_trio.server", "never import each other"),
        ("server/x.py", "def f():\n    import pgnet_trio.client", "'client' comes after 'server'"),
        ("errors.py", "import pgnet_trio.messages", "'messages' comes after 'errors'"),
        ("errors.py", "if TYPE_CHECKING:\n    import pgnet_trio.messages", "comes after 'errors'"),
        ("helpers.py", "", "pgnet_trio.helpers is in no layer"),
        ("cli/x.py", "import pgnet_trio.helpers", "pgnet_trio.helpers, which is in no layer"),
    ],
)
def test_a_broken_order_is_found(tmp_path: Path, name: str, text: str, complaint: str) -> None:
    package = build(tmp_path, {"messages.py": "", name: text})
    (problem,) = broken_order(all_imports(package))
    assert complaint in problem


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("messages.py", "from pgnet_trio.codec import encode_json\nimport trio, os"),
        ("client/client.py", "def local():\n    from pgnet_trio.server import Server"),
        ("__init__.py", "from pgnet_trio.cli import main\nfrom pgnet_trio.codec import x"),
    ],
)
def test_a_kept_order_is_accepted(tmp_path: Path, name: str, text: str) -> None:
    assert broken_order(all_imports(build(tmp_path, {name: text}))) == []


@pytest.mark.parametrize(
    ("files", "circle"),
    [
        pytest.param(
            {"a.py": "import pgnet_trio.b", "b.py": "from pgnet_trio.a import x"},
            {"a", "b"},
            id="two modules",
        ),
        pytest.param(
            {
                "a.py": "import pgnet_trio.b",
                "b.py": "import pgnet_trio.c",
                "c.py": "import pgnet_trio.a\nimport pgnet_trio.d",
                "d.py": "",
            },
            {"a", "b", "c"},
            id="three modules",
        ),
        pytest.param(
            {
                "a.py": "if TYPE_CHECKING:\n    from pgnet_trio.b import B",
                "b.py": "if TYPE_CHECKING:\n    from pgnet_trio.a import A",
            },
            {"a", "b"},
            id="only for type checkers",
        ),
        pytest.param(
            {"a.py": "import pgnet_trio.b", "b.py": "def f():\n    import pgnet_trio.a"},
            {"a", "b"},
            id="in a function",
        ),
        pytest.param(
            {
                "f/__init__.py": "",
                "f/a.py": "from pgnet_trio.f.b import x",
                "f/b.py": "from pgnet_trio.f import a",
            },
            {"f.a", "f.b"},
            id="within a folder",
        ),
        pytest.param(
            {
                "f/__init__.py": "from pgnet_trio.f.a import x",
                "f/a.py": "from pgnet_trio.f import y",
            },
            {"f", "f.a"},
            id="a part and its own package",
        ),
        pytest.param(
            {
                "f/__init__.py": "from pgnet_trio.f.a import x",
                "f/a.py": "import pgnet_trio.g",
                "f/b.py": "",
                "g.py": "import pgnet_trio.f.b",
            },
            {"f", "f.a", "g"},
            id="through a package that runs before its part",
        ),
    ],
)
def test_a_circle_of_modules_is_found(
    tmp_path: Path, files: dict[str, str], circle: set[str]
) -> None:
    imports = all_imports(build(tmp_path, files))
    (problem,) = circular_imports(imports)
    head, *lines = problem.splitlines()
    assert head == f"{' and '.join(f'pgnet_trio.{name}' for name in sorted(circle))} " + (
        "import each other:"
    )
    assert {line.split(",")[0].strip() for line in lines} == {f"pgnet_trio.{n}" for n in circle}


def test_a_circle_of_folders_is_found_where_no_modules_make_one(tmp_path: Path) -> None:
    files = {
        "f/__init__.py": "",
        "f/a.py": "import pgnet_trio.g.a",
        "f/b.py": "",
        "g/__init__.py": "",
        "g/a.py": "",
        "g/b.py": "import pgnet_trio.f.b",
        "h.py": "import pgnet_trio.g.b",
    }
    imports = all_imports(build(tmp_path, files))
    assert circular_imports(imports) == []
    assert circular_folders(imports) == [
        "in pgnet_trio, f and g import each other:\n"
        "    pgnet_trio.f.a, line 1, imports pgnet_trio.g.a\n"
        "    pgnet_trio.g.b, line 1, imports pgnet_trio.f.b"
    ]


def test_imports_without_a_circle_are_accepted(tmp_path: Path) -> None:
    files = {
        "__init__.py": "from pgnet_trio.f import x",
        "e.py": "",
        "f/__init__.py": "from pgnet_trio.f import a\nfrom pgnet_trio.f.b import x",
        "f/a.py": "from pgnet_trio.f.b import x\nimport pgnet_trio.e",
        "f/b.py": "import pgnet_trio.e",
        "g.py": "import pgnet_trio.f\nfrom pgnet_trio.f.b import x",
        # A plugin that nothing imports may use the package around it.
        "f/plugin.py": "from pgnet_trio.f import x",
    }
    imports = all_imports(build(tmp_path, files))
    assert circular_imports(imports) == []
    assert circular_folders(imports) == []


@pytest.mark.parametrize(
    "text",
    [
        "import trio",
        "from trio.lowlevel import checkpoint",
        "def f():\n    import trio",
        "if TYPE_CHECKING:\n    import trio",
        "import trio_websocket",
        "from pgnet_trio.errors import A",
        "from pgnet_trio.server import limits",
        "from pgnet_trio.server.limits import Limit",
    ],
)
def test_a_way_to_trio_is_found(tmp_path: Path, text: str) -> None:
    files = {
        "errors.py": "from pgnet_trio.transport import pair",
        "transport/__init__.py": "from pgnet_trio.transport.memory import pair",
        "transport/memory.py": "import trio",
        "server/__init__.py": "",
        "server/limits.py": "import pgnet_trio.errors",
        "server/games/lobby.py": text,
    }
    problems = impure_imports(all_imports(build(tmp_path, files)))
    (problem,) = [text for text in problems if text.startswith("pgnet_trio.server.games.lobby")]
    assert "imports trio" in problem


def test_pure_modules_may_import_each_other(tmp_path: Path) -> None:
    files = {
        "errors.py": "if TYPE_CHECKING:\n    from pgnet_trio.messages import Response",
        "messages.py": "import pgnet_trio.errors",
        "server/__init__.py": "import trio",
        "server/lobby.py": "from pgnet_trio.messages import Packet\nfrom contextlib import x",
    }
    assert impure_imports(all_imports(build(tmp_path, files))) == []


@pytest.mark.parametrize(
    "text",
    [
        "import trio._core",
        "from trio._core import run",
        "from trio import _core",
        "import trio\ntrio.lowlevel._thing",
        "from trio import lowlevel as l\nl._thing()",
    ],
)
def test_a_private_name_is_found(tmp_path: Path, text: str) -> None:
    package = build(tmp_path, {"cli/x.py": text})
    assert len(private_names(sources(package))) == 1


def test_private_names_of_our_own_are_fine(tmp_path: Path) -> None:
    text = "from __future__ import annotations\nimport trio\nself._x\ntrio.__version__\nother._x"
    assert private_names(sources(build(tmp_path, {"cli/x.py": text}))) == []

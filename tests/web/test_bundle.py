"""How the bundle is made and installed, with programs in the place of npm and Node.js."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import threading
import types
from pathlib import Path
from typing import Any

import pytest

from pgnet_trio.web import bundling
from tests.web.node import WEB, needs_packages


@needs_packages
def test_the_client_is_free_of_errors_of_types() -> None:
    compiler = WEB / "node_modules" / "typescript" / "bin" / "tsc"
    checked = subprocess.run(
        ["node", str(compiler), "--project", str(WEB)],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert (checked.stdout, checked.returncode) == ("", 0)


def test_the_lock_file_names_no_registry() -> None:
    lock = json.loads((WEB / "package-lock.json").read_text("utf-8"))
    packages = {name: each for name, each in lock["packages"].items() if name}
    assert len(packages) > 5
    for name, package in packages.items():
        assert "resolved" not in package, name
        assert package["integrity"].startswith("sha512-"), name


# How it is made. A folder with tools stands in for npm, and counts how often it is called.

TOOL = """#!/bin/sh
echo "$(basename "$0") $*" >> "{log}"
{body}
"""

NPM = 'mkdir -p node_modules/esbuild/bin node_modules/typescript/bin\nsleep "${NPM_SLEEPS:-0}"'

NODE = """
for argument in "$@"; do
    case "$argument" in
        --outfile=*) echo bundled > "${argument#--outfile=}" ;;
        --outDir) mkdir -p types
            for name in errors questions types environment guest client states prediction \\
                interpolation play server_clock netcode community; do
                echo "export declare const $name: 1;" > "types/$name.d.ts"
            done ;;
    esac
done
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of the sources, without what is made of them."""
    ignored = shutil.ignore_patterns("node_modules", "bundle", "__pycache__")
    shutil.copytree(WEB, tmp_path / "web", ignore=ignored)
    return tmp_path / "web"


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The log of what was called."""
    log, folder = tmp_path / "log", tmp_path / "tools"
    folder.mkdir()
    log.touch()
    for name, body in {"npm": NPM, "node": NODE}.items():
        (folder / name).write_text(TOOL.format(log=log, body=body), "utf-8")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return log


def build(web: Path, made: Path) -> None:
    made.mkdir()
    bundling.make_bundle(web, made)
    bundling.put_in_place(made, web / "bundle")


def test_the_bundle_says_what_it_was_made_from(source: Path, tools: Path, tmp_path: Path) -> None:
    assert not bundling.is_current(source)
    build(source, tmp_path / "made")
    types = (source / "bundle" / "client.d.ts").read_text("utf-8")
    assert types.startswith("/* The client of pgnet_trio; sources ")
    banner = types.partition("\n")[0] + "\n"
    for name in ("client.js", "netcode.js", "community.js"):
        (source / "bundle" / name).write_text(banner + "bundled", "utf-8")
    assert bundling.is_current(source)
    (source / "address.js").write_text("// other", "utf-8")
    assert not bundling.is_current(source)
    [npm, *_] = tools.read_text("utf-8").splitlines()
    assert npm.startswith("npm ci --ignore-scripts")


def test_nothing_is_left_in_the_folder_of_the_sources(
    source: Path, tools: Path, tmp_path: Path
) -> None:
    before = {path.name for path in source.iterdir()}
    build(source, tmp_path / "made")
    assert {path.name for path in source.iterdir()} - before == {"bundle"}
    assert {path.name for path in (source / "bundle").iterdir()} == {*bundling.OUTPUTS}


def test_several_builds_may_run_at_the_same_time(source: Path, tools: Path, tmp_path: Path) -> None:
    threads = [
        threading.Thread(target=build, args=(source, tmp_path / f"made {number}"))
        for number in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {path.name for path in (source / "bundle").iterdir()} == {*bundling.OUTPUTS}


def test_a_build_that_takes_too_long_is_given_up(
    source: Path, tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NPM_SLEEPS", "100")
    monkeypatch.setattr(bundling, "TIME_LIMIT", 0.5)
    with pytest.raises(bundling.BuildError, match=r"longer than 0\.5 s"):
        build(source, tmp_path / "made")
    assert not (source / "bundle").exists()


def test_a_tool_that_fails_says_why(
    source: Path, tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    npm = tmp_path / "tools" / "npm"
    npm.write_text("#!/bin/sh\necho 'no such host'\nexit 1\n", "utf-8")
    with pytest.raises(bundling.BuildError, match="npm failed: no such host"):
        build(source, tmp_path / "made")


def test_without_npm_another_one_is_asked_for_once(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr("sys.platform", "linux")
    assert bundling.needed_node(source) == [bundling.NODE]
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert bundling.needed_node(source) == []
    with pytest.raises(bundling.BuildError, match="there is no npm"):
        build(source, tmp_path / "made")


def test_the_declarations_of_several_modules_become_one() -> None:
    modules = [
        '/**\n * About.\n *\n * @import { A } from "./a.js"\n * @module\n */\n'
        'import type { A } from "./a.js";\nexport type B = A;\n/**\n * @typedef {1} B\n */\n',
        '/** Kept. */\nexport declare class C {\n    b: import("./b.js").B;\n}\n'
        'export { A, B, } from "./b.js";\nexport {};\n',
    ]
    expected = "export type B = A;\n\n/** Kept. */\nexport declare class C {\n    b: B;\n}\n"
    assert bundling.joined_types(modules) == expected


class FakeApp:
    """What hatchling shows its messages with."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def display_warning(self, message: str) -> None:
        self.warnings.append(message)


class FakeInterface:
    """What hatchling's class for hooks gives them; a build has the real one."""

    def __class_getitem__(cls, item: object) -> type:
        return cls

    def __init__(self, root: Path, target_name: str = "wheel") -> None:
        self.root = str(root)
        self.target_name = target_name
        self.app = FakeApp()


@pytest.fixture
def hook(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The hook of a project whose sources are a copy."""
    (tmp_path / "pgnet_trio").mkdir()
    (tmp_path / "pgnet_trio" / "web").symlink_to(source)
    name = "hatchling.builders.hooks.plugin.interface"
    interface = types.ModuleType(name)
    interface.BuildHookInterface = FakeInterface  # type: ignore[attr-defined]  # a module made here
    monkeypatch.setitem(sys.modules, name, interface)
    path = WEB / "hatch_build.py"
    spec = importlib.util.spec_from_file_location("hatch_build_in_test", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.BrowserClientHook(tmp_path)


def run_hook(hook: Any, version: str) -> dict[str, Any]:
    data: dict[str, Any] = {"force_include": {}}
    hook.initialize(version, data)
    return data


def test_the_hook_makes_the_bundle_beside_its_sources(hook: Any, source: Path, tools: Path) -> None:
    assert run_hook(hook, "editable") == {"force_include": {}}
    hook.finalize("editable", {}, "")
    assert {path.name for path in (source / "bundle").iterdir()} == {*bundling.OUTPUTS}
    assert hook.app.warnings == []


def test_the_hook_leaves_source_distributions_alone(hook: Any, source: Path, tools: Path) -> None:
    hook.target_name = "sdist"
    run_hook(hook, "standard")
    assert hook.dependencies() == []
    assert not (source / "bundle").exists()


def test_a_folder_that_cannot_be_written_to_keeps_the_bundle_out_of_no_wheel(
    hook: Any, source: Path, tools: Path
) -> None:
    # A file in the place of the folder: whoever runs the tests may be allowed everything else.
    (source / "bundle").touch()
    included = run_hook(hook, "standard")["force_include"]
    assert {*included.values()} == {f"pgnet_trio/web/bundle/{name}" for name in bundling.OUTPUTS}
    assert all(Path(path).is_file() for path in included)
    hook.finalize("standard", {}, "")
    assert not any(Path(path).exists() for path in included)
    assert hook.app.warnings == []


def test_where_it_cannot_be_made_the_installation_goes_on_and_says_so(
    hook: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    run_hook(hook, "editable")
    hook.finalize("editable", {}, "")
    [warning] = hook.app.warnings
    assert "without its client for browsers: there is no npm" in warning
    assert "\n" not in warning

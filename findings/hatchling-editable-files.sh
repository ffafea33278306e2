#!/usr/bin/env bash
# A game's package includes a built file, say the client's script, by hatchling's `force-include`,
# and the author works with an editable install. One expects the program to find the file as from
# a wheel, or an error at the installation. hatchling 1.33.0 does copy the file, into a folder in
# site-packages that has the package's name and nothing else in it; the package itself is imported
# from the source, and looks beside itself. The installation says nothing, the file is there, and
# `importlib.resources` does not find it. From the wheel it does: so it works for users and not
# for authors.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check hatchling==1.33.0 editables==0.6
cat >check.py <<'PY'
import importlib.metadata
import pathlib
import subprocess
import sys
import textwrap

print("hatchling", importlib.metadata.version("hatchling"))
source = pathlib.Path("source")
(source / "arena").mkdir(parents=True)
(source / "built").mkdir()
(source / "arena" / "__init__.py").touch()
(source / "built" / "client.js").write_text("// built")
(source / "pyproject.toml").write_text(
    textwrap.dedent(
        """
        [build-system]
        requires = ["hatchling"]
        build-backend = "hatchling.build"
        [project]
        name = "arena"
        version = "1"
        [tool.hatch.build.targets.wheel]
        packages = ["arena"]
        [tool.hatch.build.targets.wheel.force-include]
        "built/client.js" = "arena/client.js"
        """
    )
)
LOOK = """
import importlib.resources, pathlib, sysconfig
print((importlib.resources.files("arena") / "client.js").is_file())
print((pathlib.Path(sysconfig.get_path("purelib")) / "arena" / "client.js").is_file())
"""


def installed(*how):
    """Whether the package finds its file, and whether it lies in site-packages."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    options = ["--no-build-isolation", "--no-deps", "--no-index", "--force-reinstall"]
    subprocess.run([*pip, "install", *options, *how], check=True)
    look = subprocess.run([sys.executable, "-c", LOOK], check=True, capture_output=True, text=True)
    found = [line == "True" for line in look.stdout.split()]
    subprocess.run([*pip, "uninstall", "--yes", "arena"], check=True)
    return found


wheel, editable = installed("./source"), installed("--editable", "./source")
for name, (found, copied) in {"wheel": wheel, "editable": editable}.items():
    print(f"{name}: the package finds its file: {found}; it is in site-packages: {copied}")
if wheel != [True, True] or editable != [False, True]:
    sys.exit("CHANGED: this is not what the top of this script says")
print("AS STATED: an editable install puts the file where the package does not look")
PY
timeout 60 venv/bin/python check.py

"""The files for services: they start a server with options that there are, with few rights."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # its types are a package of their own

from pgnet_trio.cli import _make_parser

FOLDER = Path(__file__).parent.parent.parent / "docs" / "services"

MOST_EXPOSURE = 3.0


def unit() -> dict[str, list[str]]:
    """The settings of the unit by name, each as often as it stands there."""
    text = (FOLDER / "my_game.service").read_text("utf-8").replace("\\\n", " ")
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def docker(instruction: str) -> list[str]:
    text = (FOLDER / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
    found = re.search(rf"^{instruction} (.*)$", text, re.MULTILINE)
    assert found is not None
    words: list[str] = json.loads(found[1])
    return words


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text("utf-8"))
    return found


def check_command(words: list[str]) -> Any:
    assert Path(words[0]).name == "pgnet-trio"
    options, unknown = _make_parser(words[1:]).parse_known_args(words[1:])
    assert not unknown
    return options


def test_the_unit_starts_a_server_that_says_when_it_is_ready() -> None:
    settings = unit()
    assert settings["Type"] == ["notify"]
    assert settings["User"] == ["game"]
    assert settings["WantedBy"] == ["multi-user.target"]
    assert int(settings["WatchdogSec"][0]) > 0
    [command] = settings["ExecStart"]
    options = check_command(shlex.split(command))
    # No secret is in an argument, which others see.
    assert options.admin_password_file == "%d/admin_password"
    credentials = {each.partition(":")[0] for each in settings["LoadCredential"]}
    assert {f"%d/{name}" for name in credentials} == {
        options.admin_password_file,
        options.monitor_token_file,
    }


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="this takes systemd")
def test_the_unit_has_few_rights() -> None:
    found = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", "my_game.service"],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    exposure = re.search(r"Overall exposure level for \S+: ([0-9.]+)", found.stdout)
    assert exposure is not None, found.stdout
    assert float(exposure[1]) < MOST_EXPOSURE


def test_what_a_server_needs_of_the_system_is_not_forbidden() -> None:
    settings = unit()
    # To read and to raise how many files may be open is one of @resources.
    assert "@resources" not in " ".join(settings["SystemCallFilter"])
    # Free memory is read from /proc/meminfo.
    assert "ProcSubset" not in settings
    assert {"AF_INET", "AF_INET6", "AF_UNIX"} <= set(settings["RestrictAddressFamilies"][0].split())


def test_the_container_starts_a_server_with_options_that_there_are() -> None:
    entry = docker("ENTRYPOINT")
    alone = check_command([*entry, *docker("CMD")])
    assert alone.listen_globally
    service = compose()["services"]["game"]
    together = check_command([*entry, *service["command"]])
    assert together.save_file == "/data/my_game.sqlite"
    secrets = {Path(together.admin_password_file).name, Path(together.monitor_token_file).name}
    assert secrets == set(service["secrets"]) == set(compose()["secrets"])
    assert "USER game" in (FOLDER / "Dockerfile").read_text("utf-8")


def test_the_image_has_the_package_from_the_wheel_beside_it() -> None:
    text = (FOLDER / "Dockerfile").read_text("utf-8")
    found = re.search(
        r'^RUN pip install .*"\$\(ls (\S+)/(\S+\.whl)\)\[(\S+)\]"$', text, re.MULTILINE
    )
    assert found is not None
    folder, wheel, extras = found.groups()
    assert f"COPY {wheel} {folder}/" in text
    project = tomllib.loads((FOLDER.parent.parent / "pyproject.toml").read_text("utf-8"))["project"]
    assert set(extras.split(",")) <= set(project["optional-dependencies"])

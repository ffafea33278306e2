"""Puts the client for browsers into wheels and editable installs: see `bundling`.

Where it cannot be made, the rest of the package is built without it, and one line says so: the
server answers the request for it with what to do.

Hatchling runs this file; the package itself never imports it.
"""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

__all__ = ["BrowserClientHook"]


def _load_bundling() -> Any:
    # By its path: the package cannot be imported while it is built, for want of what it needs.
    spec = importlib.util.spec_from_file_location(
        "bundling", Path(__file__).with_name("bundling.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


bundling = _load_bundling()


class BrowserClientHook(BuildHookInterface[Any]):
    """Builds the bundle for wheels and editable installs."""

    def dependencies(self) -> list[str]:
        """Return what the build needs besides hatchling: a Node.js where the machine has no npm."""
        return bundling.needed_node(self._web) if self.target_name == "wheel" else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Make the bundle, where it is not there as it should be.

        Args:
            version: "standard" for a wheel, "editable" for an editable install.
            build_data: What hatchling is told: a folder that cannot be written to does not keep the
                bundle out of a wheel.
        """
        if self.target_name != "wheel" or bundling.is_current(self._web):
            return
        try:
            self._made = tempfile.TemporaryDirectory(prefix="pgnet-trio-web-")
            made = Path(self._made.name)
            bundling.make_bundle(self._web, made)
            try:
                bundling.put_in_place(made, self._web / "bundle")
            except OSError:
                if version == "editable":
                    raise
                for name in bundling.OUTPUTS:
                    build_data["force_include"][str(made / name)] = f"pgnet_trio/web/bundle/{name}"
        except (OSError, bundling.BuildError) as error:
            self.app.display_warning(
                "pgnet_trio is built without its client for browsers: "
                f"{' '.join(str(error).split())[:300]}. Install npm, and build it again."
            )

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the folder in which the bundle was made."""
        if self._made is not None:
            self._made.cleanup()

    _made: tempfile.TemporaryDirectory[str] | None = None

    @property
    def _web(self) -> Path:
        return Path(self.root) / "pgnet_trio" / "web"

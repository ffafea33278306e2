"""The TypeScript compiler, where there is one: that of the package's own client for browsers."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.kit.needed import NODE, PACKAGES, skip_without

COMPILER = Path("pgnet_trio", "web", "node_modules", "typescript", "bin", "tsc")


def compile_strictly(*files: Path) -> str:
    """Check TypeScript files, and return what the compiler says: nothing if all is well.

    The test is skipped where there is no compiler.
    """
    skip_without(NODE, PACKAGES)
    options = ["--strict", "--noEmit", "--noUncheckedIndexedAccess", "--exactOptionalPropertyTypes"]
    # As in the client's own tsconfig.json.
    options += ["--target", "es2022", "--lib", "es2024,dom,dom.iterable", "--types", ""]
    options += ["--module", "es2022", "--moduleResolution", "bundler", "--allowJs", "--checkJs"]
    compiled = subprocess.run(
        ["node", str(Path(__file__).parents[2] / COMPILER), *options, *map(str, files)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )
    return compiled.stdout

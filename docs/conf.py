"""How Sphinx builds these pages: ``sphinx-build -W docs docs/_build``."""

from __future__ import annotations

from importlib.metadata import version as installed_version

project = "pgnet_trio"
author = "The pgnet_trio authors"
copyright = "2026, The pgnet_trio authors"
version = release = installed_version("pgnet_trio")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinxcontrib_trio",
]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"pgnet_trio {version}"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# `name` in a docstring is a name of ours.
default_role = "py:obj"

# sphinxcontrib-trio builds on the classes that autodoc had first.
autodoc_use_legacy_class_based = True
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}

napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

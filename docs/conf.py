"""Sphinx configuration: `make docs` builds the site into docs/_build/html."""

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent / "extensions"), str(Path(__file__).parents[1])]

project = "swin-unetr"
author = "the developers of swin-unetr"
project_copyright = "2026, the developers of swin-unetr"
release = version = installed_version("swin-unetr")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "reference_pages", "figures_page"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "extensions"]
nitpicky = False
suppress_warnings: list[str] = []

autodoc_typehints = "description"
autodoc_member_order = "bysource"
napoleon_google_docstring = True

html_theme = "furo"
html_title = "swin-unetr"
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}

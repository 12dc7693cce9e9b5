"""How Sphinx makes a site of these pages: ``make docs``."""

from __future__ import annotations

import jupyter_ffdl

project = "jupyter_ffdl"
version = release = jupyter_ffdl.__version__
html_title = f"jupyter_ffdl {version}"
extensions = ["myst_parser"]
myst_heading_anchors = 4
# The pages are read on code hosts too and link to files of the project. scripts/links.py checks
# those links; Sphinx knows only its own pages.
suppress_warnings = ["myst.xref_missing", "toc.not_included"]

"""Sphinx builds the pages as a site: `make docs`.

The pages are plain Markdown, so that they also read well in the repository. Nothing is loaded from another host.
Sphinx is given the whole checkout, since pages refer to results and to the pages at its top.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from inferq import __version__  # noqa: E402

project = "inferq"
author = "inferq contributors"
version = release = __version__
html_title = f"inferq {release}"

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
root_doc = "docs/index"
include_patterns = ["docs/**", "bench/results/README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"]
exclude_patterns = [".git", ".venv*", "**/node_modules", "build"]
suppress_warnings = ["toc.not_readable"]  # a page may have its place in docs/index.md before it is written
myst_heading_anchors = 4  # links lead to headings, as they do in the repository
highlight_language = "text"

html_theme = "furo"
html_theme_options = {"light_css_variables": {"font-stack": "system-ui, sans-serif"}}
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False

"""Builds these pages into a site: ``make docs``. Warnings are errors; nothing is fetched.

Sphinx, MyST and Furo: all three are kept, install from a package index, and make pages that load
no font, script or style from another host.
"""

import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_extensions"))

project = "Lanai"
author = "The Lanai authors"
copyright = "The Lanai authors, Apache-2.0"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx_click",
    "sphinx_design",
    "public_names",
    "settings_page",
]
exclude_patterns = ["_*"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
# `name` in a docstring: a link where it is public, code where it is not.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 72

html_theme = "furo"
html_title = "Lanai"
html_static_path = ["_static"]
html_css_files = ["lanai.css"]
html_copy_source = False
html_show_sphinx = False
pygments_style = "friendly"
pygments_dark_style = "github-dark"
html_theme_options: dict[str, Any] = {
    "light_css_variables": {
        "color-brand-primary": "#0b5d6b",
        "color-brand-content": "#0b5d6b",
    },
    "dark_css_variables": {
        "color-brand-primary": "#6fd0de",
        "color-brand-content": "#6fd0de",
    },
    "navigation_with_keys": True,
}

"""Sphinx reads the Markdown in this folder; ``make docs`` builds it and fails on any warning."""

project = "kdpipe"
html_title = "kdpipe"
extensions = ["myst_parser"]
exclude_patterns = ["results/*/README.md"]
# GitHub and Sphinx then agree on what a heading's anchor is called.
myst_heading_anchors = 3
html_theme = "alabaster"
html_theme_options = {
    "description": "What a student network inherits from its teacher",
    "fixed_sidebar": True,
    "page_width": "72rem",
    "body_max_width": "auto",
}
html_copy_source = False
# The same sources give the same pages.
html_last_updated_fmt = None

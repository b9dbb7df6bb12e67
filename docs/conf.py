"""Sphinx reads the Markdown in this folder; ``make docs`` builds it and fails on any warning."""

project = "kdpipe"
html_title = "kdpipe"
extensions = ["myst_parser"]
# GitHub and Sphinx then agree on what a heading's anchor is called.
myst_heading_anchors = 4
html_theme = "alabaster"
html_theme_options = {
    "description": "What a student network inherits from its teacher",
    "fixed_sidebar": True,
    "page_width": "72rem",
    "body_max_width": "auto",
}
html_sidebars = {"**": ["about.html", "searchfield.html", "navigation.html"]}
smartquotes = False  # --config is not –config
html_copy_source = False
html_show_copyright = False
html_show_sourcelink = False

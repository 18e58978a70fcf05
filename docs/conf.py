"""How the documentation site is built: `make docs`. Nothing here asks a network."""

from sphinx.application import Sphinx

import instag_hf

project = "instag-hf"
author = "the authors of instag-hf"
release = version = instag_hf.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click"]
exclude_patterns = ["_build"]
default_role = "code"  # our docstrings write names in single backticks
nitpicky = True
# Types of other libraries, which the site does not fetch, and type variables and aliases, which have no page.
nitpick_ignore_regex = [
    (r"py:.*", r"(?!instag_hf\b).*"),
    (r"py:.*", r"instag_hf(\..+)?\._\w+"),
]

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_class_signature = "mixed"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = True

myst_heading_anchors = 3

html_theme = "furo"
html_title = f"instag-hf {release}"
html_show_sphinx = False
html_copy_source = False


def _keep_first_line(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Napoleon reads `words: words` of a property as a type and its meaning; an empty remark prevents that."""
    if what == "property":
        lines[:0] = ["..", ""]


def setup(app: Sphinx) -> None:
    """Run before napoleon does."""
    app.connect("autodoc-process-docstring", _keep_first_line, priority=400)

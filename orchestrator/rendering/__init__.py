"""The forms of a table, each made of the same `Table`."""

from collections.abc import Callable

from orchestrator.rendering.comma import comma
from orchestrator.rendering.latex import latex
from orchestrator.rendering.markdown import markdown
from orchestrator.rendering.page import html
from orchestrator.tables import Table

FORMS: dict[str, Callable[[Table], str]] = {"md": markdown, "tex": latex, "csv": comma, "html": html}
"""By the ending of the file's name."""

"""The forms of a table, each made of the same `Sheet`."""

from collections.abc import Callable

from orchestrator.results.rendering.csv import comma_separated
from orchestrator.results.rendering.latex import latex
from orchestrator.results.rendering.markdown import markdown
from orchestrator.results.rendering.page import html
from orchestrator.results.sheet import Sheet

FORMS: dict[str, Callable[[Sheet], str]] = {"md": markdown, "tex": latex, "csv": comma_separated, "html": html}
"""By the ending of the file's name."""

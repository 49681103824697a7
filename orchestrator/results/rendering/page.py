"""A table as a page of HTML that needs nothing but itself."""

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from orchestrator.results.sheet import Sheet


def html(table: Sheet) -> str:
    """The table and its notes."""
    return templates().get_template("page.html").render(table=table)


@cache
def templates() -> Environment:
    """Templates in which everything that is put in is escaped."""
    environment = Environment(
        loader=PackageLoader("orchestrator.results.rendering"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["sum_of_values"] = lambda counts: sum(counts.values())
    return environment

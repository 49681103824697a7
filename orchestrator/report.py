"""Render a stored study: `python -m orchestrator.report runs/commonvoice20-paper`."""

import sys
from collections.abc import Sequence
from typing import Annotated

import tyro
from rich.console import Console

from orchestrator.arguments import parse
from orchestrator.printing import escape_output
from orchestrator.redaction import first_line
from orchestrator.results.publish import Rendering
from orchestrator.results.rendering.terminal import show
from orchestrator.study.storage import Storage
from orchestrator.study.stored_study import Study


def render(study: Annotated[str, tyro.conf.Positional], to: str | None = None) -> None:
    """Render the tables, the figures and the report of a study from its ledger alone.

    Args:
        study: Folder or URL of the study: where its study.json lies.
        to: Folder or URL for what is rendered; by default beside the ledger.
    """
    rendering = Rendering.of(Study.at(study))
    target = Storage.at(to or study)
    rendering.write(target)
    console = Console(highlight=False, markup=False, emoji=False)
    for sheet in rendering.sheets:
        show(sheet, console)
    console.print(f"{rendering.told(target)}", soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Render the study that the arguments name. Returns the exit code: 0, or 2 for one that cannot be rendered."""
    escape_output()
    try:
        parse(render, arguments, prog="python -m orchestrator.report")
    except (ValueError, OSError) as error:
        Console(stderr=True, highlight=False, emoji=False, soft_wrap=True).print(first_line(error), markup=False)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

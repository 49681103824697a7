"""All that a study shows, tables, figures and the report, rendered from its ledger and brought to where it is read."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.redaction import first_line
from orchestrator.results.evidence import Evidence
from orchestrator.results.figures import draw
from orchestrator.results.rendering import FORMS, markdown
from orchestrator.results.report.document import report
from orchestrator.results.sheet import Sheet
from orchestrator.results.tables import sheets
from orchestrator.study.ledger import Ledger, Result
from orchestrator.study.storage import Storage
from orchestrator.study.stored_study import Study

if TYPE_CHECKING:
    from orchestrator.tracking.tracker import Tracker  # MLflow takes a second to import, which a report does not need


@dataclass(frozen=True)
class Rendering:
    """All files that a study shows; rendering the same ledger again gives the same bytes."""

    study: Study
    sheets: tuple[Sheet, ...]
    files: Mapping[str, str | bytes]
    """Contents by name."""
    undrawn: tuple[str, ...]
    """Why figures are not drawn that the study has."""

    @classmethod
    def of(cls, study: Study) -> "Rendering":
        """Raises ValueError when a file of the study is damaged."""
        evidences = {
            table.name: Evidence.of(table, study.trials, study.results, study.ledger) for table in study.layout.tables
        }
        shown = sheets(study, evidences)
        files: dict[str, str | bytes] = {
            f"{sheet.name}.{ending}": form(sheet) for sheet in shown for ending, form in FORMS.items()
        }
        figures, undrawn = draw(study, evidences)
        files |= {f"figures/{name}": content for name, content in figures.items()}
        files["report.html"] = report(study, evidences, shown, figures)
        return cls(study, shown, files, tuple(undrawn))

    def write(self, storage: Storage) -> None:
        """Put the files into a folder."""
        for name, content in self.files.items():
            storage.write(name, content)

    def told(self, storage: Storage) -> str:
        """Where the files are, and what is missing of them."""
        forms = ", ".join(f".{ending}" for ending in FORMS if ending != "md")
        names = ", ".join(f"{sheet.name}.md" for sheet in self.sheets)
        what = "Tables" if len(self.sheets) > 1 else "Table"
        told = f"{what}: {storage}/{names} ({forms}); report: {storage}/report.html"
        return "\n".join([told, *self.undrawn])

    def descriptions(self) -> list[str]:
        """The first table for MLflow's page, without a heading among its own, and shorter texts instead."""
        first = self.sheets[0]
        texts = [markdown(first, spread=spread).removeprefix("# ") for spread in (True, False)]
        return [*texts, f"The table is in `{first.name}.html`, below."]


@dataclass
class Publisher:
    """Renders a study for its folder and for its page on MLflow."""

    ledger: Ledger
    tracker: "Tracker"
    told: Callable[[str], None]

    def publish(self) -> Rendering:
        """Render what the ledger has now.

        Raises ValueError when a file of the study is damaged.
        """
        return self._publish(Study.read(self.ledger))

    @contextlib.contextmanager
    def every(self, seconds: float | None) -> Iterator[None]:
        """Publish again and again meanwhile, where there is something new."""
        if seconds is None:
            yield
            return
        ended = threading.Event()
        thread = threading.Thread(target=self._repeat, args=(seconds, ended), name="publish", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _repeat(self, seconds: float, ended: threading.Event) -> None:
        shown: Mapping[str, Result] | None = None
        while not ended.wait(seconds):
            try:
                study = Study.read(self.ledger)
                if study.results != shown:
                    self._publish(study)
                    shown = study.results
            except (ValueError, OSError) as error:  # the study goes on; the next time may do
                self.told(f"The table could not be rendered: {first_line(error)}")

    def _publish(self, study: Study) -> Rendering:
        rendering = Rendering.of(study)
        rendering.write(self.ledger.storage)
        for name, content in rendering.files.items():
            self.tracker.artifact(name, content)
        self.tracker.describe(rendering.descriptions())
        return rendering

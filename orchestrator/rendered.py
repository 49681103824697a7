"""All that a study shows, rendered from its ledger: tables, figures and the report."""

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.evidence import Evidence
from orchestrator.figures import draw
from orchestrator.rendering import FORMS, markdown
from orchestrator.report.document import report
from orchestrator.storage import Storage
from orchestrator.study import Study
from orchestrator.tables import Table, table1, table2


@dataclass(frozen=True)
class Rendering:
    """What a study shows; rendering the same ledger again gives the same bytes."""

    study: Study
    tables: tuple[Table, ...]
    files: Mapping[str, str | bytes]
    """By name."""

    @classmethod
    def of(cls, study: Study) -> "Rendering":
        """Raises ValueError when a file of the study is damaged."""
        evidence = Evidence.of(study.layout, study.trials, study.results, study.ledger)
        second = table2(study, evidence)
        tables = (table1(study, evidence), *([second] if second else []))
        files: dict[str, str | bytes] = {
            f"{table.name}.{ending}": form(table) for table in tables for ending, form in FORMS.items()
        }
        figures = draw(study.layout, study.trials, study.ledger, evidence)
        files |= {f"figures/{name}": content for name, content in figures.items()}
        files["report.html"] = report(study, evidence, tables, figures)
        return cls(study, tables, files)

    def write(self, storage: Storage) -> None:
        """Put the files into a folder."""
        for name, content in self.files.items():
            storage.write(name, content)

    def told(self, storage: Storage) -> str:
        """Where the files are."""
        forms = ", ".join(f".{ending}" for ending in FORMS if ending != "md")
        return f"Table: {storage}/table1.md ({forms}); report: {storage}/report.html"

    def description(self, longest: int) -> str:
        """Table 1 for MLflow's page, as much of it as `longest` characters hold, and without a heading among the page's
        own."""
        texts = [markdown(self.tables[0], spread=spread).removeprefix("# ") for spread in (True, False)]
        return next((text for text in texts if len(text) <= longest), "The table is in `table1.html`, below.")

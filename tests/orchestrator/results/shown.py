"""Tables of bare results, as a study shows them."""

from collections.abc import Mapping

from orchestrator.results.evidence import Evidence
from orchestrator.results.sheet import Sheet
from orchestrator.results.tables import sheets
from orchestrator.study.layout import Layout
from orchestrator.study.ledger import Ledger, Result
from orchestrator.study.storage import Storage
from orchestrator.study.stored_study import Study, Submission
from orchestrator.study.sweep import StoredTrial
from sweeps.commonvoice20 import Options, layout
from tests.orchestrator.stored import fields

Cells = Mapping[tuple[str, str, float, int], Result | None]


def shown(study: Study) -> tuple[Sheet, ...]:
    found = {t.name: Evidence.of(t, study.trials, study.results, study.ledger) for t in study.layout.tables}
    return sheets(study, found)


def some(found: Cells, tables: Layout | None = None) -> Sheet:
    """A table of bare results, without transcripts; None stands for a trial that was only asked for."""
    trials = [StoredTrial.of(f"{i}", {"label": f"{i}", "fields": fields(*key)}) for i, key in enumerate(found)]
    results = {f"{i}": result for i, result in enumerate(found.values()) if result}
    submission = Submission("some", tables or layout(Options(), "no speech", notes=["A note."]), "", tuple(trials))
    return shown(Study(Ledger(Storage.at("memory://nowhere")), submission, tuple(trials), results))[0]

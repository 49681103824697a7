"""What a study shows, brought to its folder and to its page on MLflow."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from orchestrator.ledger import Ledger, Result
from orchestrator.redaction import first_line
from orchestrator.rendered import Rendering
from orchestrator.study import Study
from orchestrator.tracking import LONGEST_TAG, Tracker


@dataclass
class Publisher:
    """Renders a study for its folder and for its page on MLflow."""

    ledger: Ledger
    tracker: Tracker
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
        self.tracker.describe(rendering.description(LONGEST_TAG))
        return rendering

"""The package of docs/your_own.md as it stands, in a folder outside this repository: in one process, and by Ray that is
started for it. Its paths, and the cache's, begin in that folder, where workers are not."""

import csv
import json
import re
import subprocess
from pathlib import Path
from typing import Any

from tests.faults.cluster import RAY, ROOT, environment

PAGE = (ROOT / "docs" / "your_own.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
FILES = dict(re.findall(r"`([\w/]+\.py)`[^\n`]*:\n\n```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))
COMMANDS = [block for language, block in BLOCKS if not language]
LINES = 57
"""Lines of code of the package."""
TIMES = ("time", "audio_seconds_per_second", "waiting_for_data_percent")
"""Values in which two runs that find the same numbers differ."""


def masked(text: str) -> str:
    """A table as it is printed, without its numbers: those of another processor differ after hundreds of steps."""
    return re.sub(r" +", " ", re.sub(r"\d+\.\d\d", "N", text))


def found(study: Path) -> dict[str, Any]:
    """All numbers of a study but those of its speed: the table, and each trial's result and reports."""
    with (study / "cer.csv").open(encoding="utf-8") as file:
        numbers: dict[str, Any] = {"table": list(csv.DictReader(file))}
    for trial in sorted((study / "trials").iterdir()):
        reports = json.loads((trial / "history.json").read_text(encoding="utf-8"))["reports"]
        numbers[trial.name] = [
            json.loads((trial / "result.json").read_text(encoding="utf-8"))["metrics"],
            [{name: value for name, value in report.items() if name not in TIMES} for report in reports],
        ]
    return numbers


def test_the_package_is_small() -> None:
    ours = [name for name in FILES if name.startswith("ours/")]
    assert ours == ["ours/corpus.py", "ours/distillation.py", "ours/study.py"]
    assert len([line for name in ours for line in FILES[name].splitlines() if line.strip()]) == LINES
    assert f"in {LINES} lines of code" in PAGE


def test_the_page_runs_here_and_by_ray(mark: str, tmp_path: Path, empty_database: Path) -> None:
    for name, code in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(code, encoding="utf-8")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mlflow.db").write_bytes(empty_database.read_bytes())
    variables = environment(mark, Path("cache"), PATH=f"{RAY.parent}:/usr/bin:/bin")
    variables.pop("OMP_NUM_THREADS", None)  # as the page's commands have it
    done = subprocess.run(
        ["bash", "-euxc", "".join(COMMANDS)],
        cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("2 trials, 0 finished, 2 to run") == 2
    assert done.stdout.count("finished, test CER") == 4
    (shown,) = [block for language, block in BLOCKS if language == "text"]
    assert masked(done.stdout).count(masked(shown)) == 2
    here, by_ray = (found(tmp_path / "runs" / name) for name in ("ours", "ours-with-ray"))
    (row,) = here["table"]
    assert all(0 <= float(row[f"weight_{weight}"]) <= 100 for weight in ("0", "0.5"))
    assert len(by_ray) == 3
    assert by_ray == here

"""The page on a corpus, a loss and a recipe of one's own, as it stands, in a folder outside this repository."""

import re
import subprocess
from pathlib import Path

from tests.faults.cluster import RAY, ROOT, Cluster

PAGE = ROOT / "docs" / "your_own.md"


def blocks(language: str) -> list[tuple[str, str]]:
    """The page's blocks of code, each with the paragraph before it."""
    pattern = rf"^([^\n]+)\n\n```{language}\n(.*?)^```"
    return re.findall(pattern, PAGE.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def test_the_page_runs_here_and_by_ray(cluster: Cluster, tmp_path: Path, empty_database: Path) -> None:
    for paragraph, code in blocks("python"):
        (name,) = re.findall(r"`([\w/]+\.py)`", paragraph)
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(code, encoding="utf-8")
    package = "".join(file.read_text(encoding="utf-8") for file in (tmp_path / "kiosk").iterdir())
    assert len([line for line in package.splitlines() if line]) < 60
    for storage in ("runs", "by_ray"):
        (tmp_path / storage).mkdir()
        (tmp_path / storage / "mlflow.db").write_bytes(empty_database.read_bytes())
    ((_, commands),) = blocks("sh")
    environment = cluster.environment | {
        "PATH": f"{RAY.parent}:/usr/bin:/bin",
        "L2S_CACHE": str(tmp_path / "cache"),
        "RAY_ADDRESS": cluster.address,
    }
    done = subprocess.run(
        ["bash", "-euxc", commands], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("2 trials, 0 finished, 2 to run") == 2
    assert done.stdout.count("finished, test CER") == 4
    here, by_ray = ((tmp_path / storage / "kiosk" / "cer.md").read_text() for storage in ("runs", "by_ray"))
    assert re.search(r"^\| en \| ours \| \S+ ± \S+ \| \S+ ± \S+ \|$", here, re.MULTILINE), here
    assert by_ray == here

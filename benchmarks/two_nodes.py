"""The miniature as a job on a cluster of two nodes, both on this machine: it ends well, and both nodes train.

    python -m benchmarks.two_nodes --steps 60

Needs the miniature (`python -m trainables.miniature`). Exits with the job's own exit code, or 1 where a node had
nothing to do.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import tyro

from orchestrator.printing import escape_output
from orchestrator.provenance import COMMIT, commit
from tests.faults.cluster import RAY, ROOT, Cluster
from tests.faults.processes import kill, marked, until
from trainables.cache import cache_folder

NODES = ("head", "second")


def main(languages: tuple[str, ...] = ("cs", "ro"), weights: tuple[float, ...] = (0.0, 0.5), steps: int = 60) -> int:
    """Submit the job, watch which nodes train, and print its output and a line of JSON."""
    mark, folder = f"l2s-{uuid.uuid4().hex[:8]}", Path(tempfile.mkdtemp(prefix="l2s-two-nodes-"))
    cluster = Cluster(folder, mark, processors=1)
    # As a researcher's data would be, on a path that all nodes share.
    variables = {"L2S_CACHE": str(cache_folder()), COMMIT: commit()}
    command = [str(RAY), "job", "submit", "--address", cluster.jobs, "--working-dir", str(ROOT)]
    command += ["--runtime-env-json", json.dumps({"env_vars": variables})]
    command += ["--", sys.executable, "sweeps/commonvoice20.py", "--preset", "mini", "--steps", str(steps)]
    command += ["--languages", *languages, "--weights", *map(str, weights), "--storage", str(folder / "runs")]
    try:
        cluster.start()
        cluster.add("second")
        until(cluster.serves_jobs, "the cluster takes jobs")
        begun = time.monotonic()
        job = subprocess.Popen(command, env=cluster.environment)
        trained: set[str] = set()
        while job.poll() is None:
            trained |= {node for node in NODES if _trains(mark, node)}
            time.sleep(0.5)
        seconds = time.monotonic() - begun
        results = [json.loads(path.read_text()) for path in (folder / "runs").glob("*/trials/*/result.json")]
    finally:
        kill(marked(mark))
        for left in (folder, *Path("/tmp").glob(f"{mark}-*")):
            shutil.rmtree(left, ignore_errors=True)
    finished = sum(result["status"] == "finished" for result in results)
    found = {"exit_code": job.returncode, "finished": finished, "nodes": sorted(trained), "seconds": round(seconds, 1)}
    print(json.dumps({"benchmark": "two_nodes", "steps": steps, **found}))
    return job.returncode or int(trained != set(NODES))


def _trains(mark: str, node: str) -> bool:
    """Whether a train worker runs on a node."""
    for pid in marked(mark, L2S_NODE=node):
        try:
            if "RayTrainWorker" in Path(f"/proc/{pid}/cmdline").read_text(errors="replace"):
                return True
        except OSError:
            continue
    return False


if __name__ == "__main__":
    escape_output()
    sys.exit(tyro.cli(main))

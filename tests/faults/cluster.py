"""A Ray cluster on this machine, whose nodes can be killed like machines."""

import os
import secrets
import socket
import subprocess
import sys
from pathlib import Path

from tests.faults.processes import MARK, kill, marked, runs, until

ROOT = Path(__file__).parent.parent.parent
RAY = Path(sys.executable).parent / "ray"


def environment(mark: str, cache: Path, **more: str) -> dict[str, str]:
    """Of a process of the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_", "PYTEST"))}
    return kept | {
        MARK: mark,
        "PYTHONPATH": str(ROOT),
        "L2S_CACHE": str(cache),
        "RAY_USAGE_STATS_ENABLED": "0",
        **more,
    }


class Cluster:
    """A head and other nodes, each started by `ray start`."""

    def __init__(self, folder: Path, mark: str, *, processors: int = 2) -> None:
        """`processors` are those that each node says it has."""
        self.folder, self.mark, self.processors = folder, mark, processors
        self.port, self.page, self.client = free_ports(3)
        self.environment = environment(
            mark,
            folder / "cache",
            RAY_AUTH_MODE="token",
            RAY_AUTH_TOKEN=secrets.token_hex(16),
            # A minute, by default, until a process believes that its head is gone.
            RAY_gcs_rpc_server_reconnect_timeout_s="10",
        )
        self.raylets: dict[str, int] = {}

    @property
    def address(self) -> str:
        """What a study joins."""
        return f"127.0.0.1:{self.port}"

    @property
    def jobs(self) -> str:
        """Where jobs are submitted to."""
        return f"http://127.0.0.1:{self.page}"

    def start(self) -> None:
        """Let the head run, and no other node."""
        if "head" in self.raylets and not runs(self.raylets["head"]):
            self.kill()
        for name in self.raylets.keys() - {"head"}:
            self.kill(name)
        if not self.raylets:
            dashboard = ["--include-dashboard=true", f"--dashboard-port={self.page}"]
            ports = [f"--port={self.port}", f"--ray-client-server-port={self.client}"]
            self._start("head", "--head", *ports, *dashboard)

    def add(self, name: str) -> None:
        """Start another node."""
        self._start(name, f"--address={self.address}")

    def kill(self, name: str | None = None) -> None:
        """All processes of a node at once, or of all nodes."""
        for node in [name] if name else list(self.raylets):
            kill(marked(self.mark, L2S_NODE=node))
            del self.raylets[node]

    def serves_jobs(self) -> bool:
        """Whether a job can be submitted yet: the page is there some seconds before what starts jobs."""
        command = [str(RAY), "job", "submit", "--address", self.jobs, "--", "true"]
        return subprocess.run(command, env=self.environment, capture_output=True, timeout=60).returncode == 0

    def _start(self, name: str, *options: str) -> None:
        command = [RAY, "start", *options, "--node-ip-address=127.0.0.1", "--disable-usage-stats"]
        command += [f"--num-cpus={self.processors}"]
        # Its own ports, as two nodes of one machine must have; little memory; a short path, for the sockets in it.
        command += ["--min-worker-port=0", "--max-worker-port=0", "--object-store-memory=80000000"]
        # Jobs are started through a node's agent. By default each wants the same port, and one that has none ends.
        command += [f"--dashboard-agent-listen-port={free_ports(1)[0]}"]
        command += [f"--temp-dir=/tmp/{self.mark}-{name}"]
        done = subprocess.run(
            command,
            env=self.environment | {"L2S_NODE": name},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            start_new_session=True,
        )
        assert done.returncode == 0, done.stdout
        until(lambda: self._is_up(name), f"the raylet of {name} runs")

    def _is_up(self, name: str) -> bool:
        for pid in marked(self.mark, L2S_NODE=name):
            if runs(pid) and Path(f"/proc/{pid}/comm").read_text().strip() == "raylet":
                self.raylets[name] = pid
                return True
        return False


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens on.

    Below 32 768, from where Linux hands out ports to whoever names none: there another cluster of the same machine
    would soon have one of these, which is listened on only some seconds later.
    """
    found: list[int] = []
    while len(found) < count:
        port = secrets.SystemRandom().randrange(20_000, 32_768)
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) and port not in found:
                found.append(port)
    return found

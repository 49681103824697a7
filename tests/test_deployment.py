"""Containers: what their own schemas and linters say, without an engine, and what nothing else would notice."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).parent.parent
DOCKER = ROOT / "docker"
COMPOSE = DOCKER / "compose.yaml"
COMPOSE_FILES = sorted(DOCKER.glob("compose*.yaml"))
MANIFESTS = sorted((DOCKER / "kuberay").glob("*.yaml"))
YAML_STYLE = {
    "extends": "default",
    "rules": {"document-start": "disable", "line-length": {"max": 130}, "comments": {"min-spaces-from-content": 1}},
}
KUBERNETES = "1.34"
KUBERAY = {
    "RayJob": "entrypoint backoffLimit shutdownAfterJobFinishes ttlSecondsAfterFinished submissionMode "
    "submitterPodTemplate rayClusterSpec",
    "RayCluster": "rayVersion authOptions headGroupSpec workerGroupSpecs",
    "head": "rayStartParams template",
    "workers": "groupName replicas minReplicas maxReplicas rayStartParams template",
}
"""Fields of KubeRay 1.6's resources, as far as they are used: its schemas are of a megabyte each."""


def run(*command: str | Path) -> None:
    """Run one of the environment's tools; what it complains about is the failure."""
    tool = Path(sys.executable).with_name(str(command[0]))
    result = subprocess.run([tool, *map(str, command[1:])], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr


def documents(path: Path) -> list[Any]:
    return list(yaml.safe_load_all(path.read_text()))


def walk(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every leaf with its path."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else None
    if items is None:
        yield path, node
        return
    for key, value in items:
        yield from walk(value, (*path, key))


def services() -> dict[str, Any]:
    return documents(COMPOSE)[0]["services"]


def ray_manifests() -> dict[str, Any]:
    found = [d for path in MANIFESTS for d in documents(path) if d["apiVersion"] == "ray.io/v1"]
    return {d["kind"]: d["spec"] for d in found}


def clusters() -> dict[str, Any]:
    manifests = ray_manifests()
    return {"RayCluster": manifests["RayCluster"], "RayJob": manifests["RayJob"]["rayClusterSpec"]}


def pod_templates() -> dict[str, Any]:
    found = {"submitter": ray_manifests()["RayJob"]["submitterPodTemplate"]}
    for kind, cluster in clusters().items():
        found[f"{kind} head"] = cluster["headGroupSpec"]["template"]
        for group in cluster["workerGroupSpecs"]:
            found[f"{kind} {group['groupName']}"] = group["template"]
    return found


def pinned(package: str) -> str:
    versions = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    return versions[package]


def stages() -> dict[str, list[list[str]]]:
    """The Dockerfile's instructions by stage, split into words."""
    text = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", (DOCKER / "Dockerfile").read_text(), flags=re.MULTILINE))
    found: dict[str, list[list[str]]] = {}
    for words in (shlex.split(line) for line in text.splitlines() if line.strip()):
        if words[0] == "FROM":
            found[words[3]] = []
        found[list(found)[-1]].append(words)
    return found


def test_linters_accept_the_files() -> None:
    run("hadolint", DOCKER / "Dockerfile")
    run("yamllint", "--strict", "--config-data", json.dumps(YAML_STYLE), DOCKER)
    run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", *COMPOSE_FILES)


@pytest.mark.parametrize("name", pod_templates())
def test_kubernetes_accepts_the_pods(name: str) -> None:
    template = {
        "apiVersion": "v1",
        "kind": "PodTemplate",
        "metadata": {"name": "it"},
        "template": pod_templates()[name],
    }
    kubernetes_validate.validate(template, KUBERNETES, strict=True)


def test_kuberay_knows_the_fields() -> None:
    found = [("RayJob", ray_manifests()["RayJob"])]
    for cluster in clusters().values():
        found += [("RayCluster", cluster), ("head", cluster["headGroupSpec"])]
        found += [("workers", group) for group in cluster["workerGroupSpecs"]]
    for name, spec in found:
        assert spec.keys() <= set(KUBERAY[name].split()), name


@pytest.mark.parametrize("name", pod_templates())
def test_no_pod_is_root(name: str) -> None:
    spec = pod_templates()[name]["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert [container["securityContext"]["allowPrivilegeEscalation"] for container in spec["containers"]] == [False]


def test_kubernetes_accepts_the_rest() -> None:
    plain = [d for path in MANIFESTS for d in documents(path) if d["apiVersion"] != "ray.io/v1"]
    assert {d["kind"] for d in plain} == {"ConfigMap", "PersistentVolumeClaim"}
    for document in plain:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


def test_nothing_is_open_to_the_network() -> None:
    ports = [port for service in services().values() for port in service.get("ports", ())]
    assert sorted(ports) == ["127.0.0.1:5000:5000", "127.0.0.1:8265:8265"]
    assert not [path for path, _ in walk(services()) if "network_mode" in path or "privileged" in path]


def test_every_ray_node_asks_for_the_token() -> None:
    for name in ("head", "worker"):
        environment = services()[name]["environment"]
        assert environment["RAY_AUTH_MODE"] == "token"
        assert environment["RAY_AUTH_TOKEN"].startswith("${RAY_AUTH_TOKEN:?")
    assert [cluster["authOptions"] for cluster in clusters().values()] == [{"mode": "token"}] * 2
    text = "".join(path.read_text() for path in (*COMPOSE_FILES, *MANIFESTS))
    assert set(re.findall(r"RAY_AUTH_MODE[:=] ?(\w+)", text)) == {"token"}


def test_no_secret_is_written_down() -> None:
    secret = re.compile(r"password|secret|token|access_?key", re.IGNORECASE)
    for file in (*COMPOSE_FILES, *MANIFESTS):
        for path, value in walk(documents(file)):
            key = str(path[-1])
            if secret.search(key) and key not in ("automountServiceAccountToken", "secretName"):
                assert str(value).startswith("${"), f"{file.name}: {key} must come from outside"
            if isinstance(value, str):
                assert not re.search(r"://[^/@\s]*:[^/@\s]*@", value), f"{file.name}: a password in {path}"
        assert "kind: Secret" not in file.read_text()


def test_the_example_names_what_compose_requires() -> None:
    required = set(re.findall(r"\$\{(\w+):\?", COMPOSE.read_text()))
    optional = set(re.findall(r"\$\{(\w+):-", COMPOSE.read_text()))
    example = (DOCKER / ".env.example").read_text()
    assert set(re.findall(r"^(\w+)=$", example, flags=re.MULTILINE)) == required
    assert set(re.findall(r"^# (\w+)=", example, flags=re.MULTILINE)) == optional
    assert not re.findall(r"^\w+=.+$", example, flags=re.MULTILINE), "a value in the example"
    ignored = subprocess.run(["git", "check-ignore", "--quiet", "--no-index", "docker/.env"], cwd=ROOT)
    assert ignored.returncode in (0, 128), "docker/.env must be in .gitignore"  # 128: not a clone


def test_images_are_pinned() -> None:
    bases = [words[0][1] for words in stages().values()]
    images = {image for image in bases if image not in stages()}
    images |= {service["image"] for service in services().values()}
    images |= {pod["spec"]["containers"][0]["image"] for pod in pod_templates().values()}
    loose = [image for image in images if not re.search(r":\d+(\.\d+)+(-\w+)*$", image)]
    assert not loose


def test_versions_are_those_of_the_project() -> None:
    assert {cluster["rayVersion"] for cluster in clusters().values()} == {pinned("ray")}
    python = re.search(r"FROM python:(\d+)\.(\d+)", (DOCKER / "Dockerfile").read_text())
    assert python is not None
    assert f">={python[1]}.{python[2]}" in (ROOT / "pyproject.toml").read_text()


def test_what_is_copied_and_started_exists() -> None:
    allowed = {line[1:] for line in (DOCKER / "Dockerfile.dockerignore").read_text().split() if line.startswith("!")}
    for name, instructions in stages().items():
        for words in instructions:
            if words[0] != "COPY" or words[1].startswith("--from="):
                continue
            for source in words[1:-1]:
                assert (ROOT / source).exists(), f"stage {name} copies {source}"
                assert source.rstrip("/") in allowed, f"{source} is ignored by Dockerfile.dockerignore"
    for service in services().values():
        if "build" in service:
            assert service["build"]["target"] in stages()
            assert (DOCKER / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
    script = shlex.split(ray_manifests()["RayJob"]["entrypoint"])[1]
    assert (ROOT / Path(script).relative_to("/app")).is_file()


def test_services_wait_for_what_is_defined() -> None:
    for name, service in services().items():
        for other, condition in service.get("depends_on", {}).items():
            if condition["condition"] == "service_healthy":
                assert "healthcheck" in services()[other], f"{name} waits for the health of {other}"
    assert documents(DOCKER / "compose.gpu.yaml")[0]["services"].keys() <= services().keys()


def test_mlflow_answers_under_the_name_it_is_asked_by() -> None:
    command = services()["mlflow"]["command"]
    hosts = next(word for word in command if word.startswith("--allowed-hosts=")).partition("=")[2].split(",")
    for name in ("head", "worker"):
        assert services()[name]["environment"]["MLFLOW_TRACKING_URI"].removeprefix("http://") in hosts


def test_the_job_and_the_cluster_run_the_same_head() -> None:
    heads = [cluster["headGroupSpec"] for cluster in clusters().values()]
    assert heads[0] == heads[1]


@pytest.mark.parametrize("kind", ["RayCluster", "RayJob"])
def test_no_cluster_waits_for_trials_to_make_it_grow(kind: str) -> None:
    """Trials are started where there is room for them: none waits, which is what an autoscaler goes by."""
    cluster = clusters()[kind]
    assert not cluster.get("enableInTreeAutoscaling")
    for group in cluster["workerGroupSpecs"]:
        assert group["minReplicas"] == group["replicas"] == group["maxReplicas"], group["groupName"]

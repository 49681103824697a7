"""MLflow's model registry: versions of a model, each with the trial that it came from."""

from collections.abc import Sequence
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Experiment, LifecycleStage, Run
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode

from orchestrator.redaction import public
from orchestrator.tracking.answers import configure, reaching, taking
from orchestrator.tracking.databases import database_file
from orchestrator.tracking.tracker import SIGNATURE

ARTIFACT = "model"
"""Folder among the artifacts of the trial's run."""
WHAT = "the model"


def register(uri: str, name: str, *, study: str, signature: str, folder: Path, description: str) -> str:
    """Make a version of the model `name` of `folder`, put among the artifacts of the trial's run; returns its number.

    Raises ValueError when MLflow does not answer, has no such run, or refuses.
    """
    file = database_file(uri)
    if file is not None and not file.exists():  # a client would make one
        raise ValueError(f"MLflow's database must be there, but {public(uri)} is not.")
    configure()
    with reaching(uri, WHAT):
        client = MlflowClient(tracking_uri=uri)
        experiment = client.get_experiment_by_name(study)
        runs = _runs(client, experiment, signature) if experiment else []
    if experiment and experiment.lifecycle_stage == LifecycleStage.DELETED:
        raise ValueError(
            f"MLflow's experiment {study!r} must not be deleted, but is; the study's command restores it, given again."
        )
    if not runs:
        raise ValueError(f"MLflow must have a run of the trial {signature} of the study {study!r}, but has none.")
    with taking(uri, WHAT):
        run = runs[0]
        client.log_artifacts(run.info.run_id, str(folder), ARTIFACT)
        _model(client, name)
        source = f"{run.info.artifact_uri}/{ARTIFACT}"
        tags = {SIGNATURE: signature}
        version = client.create_model_version(name, source, run.info.run_id, tags=tags, description=description)
    return str(version.version)


def _runs(client: MlflowClient, experiment: Experiment, signature: str) -> Sequence[Run]:
    return client.search_runs([experiment.experiment_id], f"tags.`{SIGNATURE}` = '{signature}'", max_results=1)


def _model(client: MlflowClient, name: str) -> None:
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
            raise

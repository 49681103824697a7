"""MLflow's model registry: versions of a model, each with the trial that it came from."""

from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode

from orchestrator.storage import first_line, public
from orchestrator.tracking import FILE, SIGNATURE

ARTIFACT = "model"
"""Folder among the artifacts of the trial's run."""


def register(uri: str, name: str, *, study: str, signature: str, folder: Path, description: str) -> str:
    """A new version of the model `name`: `folder`, put among the artifacts of the trial's run. Its number.

    Raises ValueError when MLflow does not answer, has no such run, or refuses.
    """
    if uri.startswith(FILE) and not Path(uri.removeprefix(FILE)).exists():  # a client would make one
        raise ValueError(f"MLflow's database must be there, but {uri} is not.")
    client = MlflowClient(tracking_uri=uri)
    try:
        run = _run(client, study, signature)
        client.log_artifacts(run.info.run_id, str(folder), ARTIFACT)
        _model(client, name)
        source = f"{run.info.artifact_uri}/{ARTIFACT}"
        tags = {SIGNATURE: signature}
        version = client.create_model_version(name, source, run.info.run_id, tags=tags, description=description)
    except MlflowException as error:
        raise ValueError(f"MLflow at {public(uri)} must take the model, but does not: {first_line(error)}") from error
    return str(version.version)


def _run(client: MlflowClient, study: str, signature: str) -> Run:
    experiment = client.get_experiment_by_name(study)
    where = f"tags.`{SIGNATURE}` = '{signature}'"
    runs = client.search_runs([experiment.experiment_id], where, max_results=1) if experiment else []
    if not runs:
        raise ValueError(f"MLflow must have a run of the trial {signature} of the study {study!r}, but has none.")
    return runs[0]


def _model(client: MlflowClient, name: str) -> None:
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
            raise

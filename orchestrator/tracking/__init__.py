"""MLflow: a study as a run with a child for each trial. Nothing else here imports mlflow."""

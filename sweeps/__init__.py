"""One script per paper: the only place where recipes and the orchestrator meet."""

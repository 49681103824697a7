"""One file per paper: a frozen description of an experiment that knows how to run itself."""

"""Recipes and all they need, in plain PyTorch: runs in this process, under torchrun, or in a Ray worker."""

import os

# Read when transformers is imported. What its reports warn of, weights that were not there, is an error here.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

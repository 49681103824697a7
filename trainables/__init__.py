"""Recipes and all they need, in plain PyTorch: runs in this process, under torchrun, or in a Ray worker."""

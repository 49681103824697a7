"""Ray: trials scheduled by Tune, each a Ray Train `TorchTrainer`. Nothing else here imports ray."""

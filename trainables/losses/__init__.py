"""Distillation losses: functions of `Sequences` that return one float32 value per utterance."""

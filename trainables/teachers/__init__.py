"""Frozen models whose hidden states a student learns from."""

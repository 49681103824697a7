"""Speech models that are trained."""

"""Runs studies: schedules recipes with Ray, remembers what is finished, records, renders. Never sees a tensor."""

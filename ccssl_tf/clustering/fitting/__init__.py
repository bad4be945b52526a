"""A fit from its start to its end: passes, stopping, checkpoints, restarts."""

"""Trainer: from a commit to a registered version, through a pipeline that reuses what it can."""

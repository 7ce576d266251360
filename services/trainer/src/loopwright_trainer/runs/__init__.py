"""Runs, stages and repositories: their rules, rows and use cases."""

"""A candidate tried in a scorer of its own, before any traffic."""

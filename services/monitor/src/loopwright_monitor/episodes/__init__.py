"""Episodes of drift and what was decided in each."""

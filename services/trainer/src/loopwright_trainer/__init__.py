"""Loopwright's trainer service."""

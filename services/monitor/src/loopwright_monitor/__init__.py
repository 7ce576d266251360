"""Loopwright's monitor service."""

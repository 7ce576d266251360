"""Loopwright's scorer service."""

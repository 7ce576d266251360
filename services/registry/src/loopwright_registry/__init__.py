"""Loopwright's registry service."""

"""Loopwright's deployer service."""

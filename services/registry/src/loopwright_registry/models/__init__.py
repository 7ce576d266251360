"""Registered models, their versions and aliases, and the sealing of versions."""
